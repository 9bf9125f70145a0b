package client_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

var (
	bg       = context.Background()
	seedFlag = flag.Uint64("seed", 0, "seed of the random test; 0: a new one")
)

func TestMain(m *testing.M) {
	slab.Poison()
	goleak.VerifyTestMain(m)
}

func TestReadWrite(t *testing.T) {
	cl := newCluster(t, 1, 3)
	p := cl.pool(cl.connect())
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB, through the payload
	for shard := range uint32(8) {
		name := cl.objectIn(shard)
		if err := p.WriteFull(bg, name, data); err != nil {
			t.Fatal(err)
		}
		got, err := p.Read(bg, name, 16, 32)
		if err != nil || string(got) != "0123456789abcdef0123456789abcdef" {
			t.Fatalf("read: got %q, %v", got, err)
		}
		st, err := p.Stat(bg, name)
		if err != nil || st.Size != 1<<20 || st.Version == 0 || time.Since(st.Mtime) > time.Hour {
			t.Fatalf("stat: got %+v, %v", st, err)
		}
	}
	if all, err := p.Read(bg, cl.objectIn(0), 0, 0); err != nil || !bytes.Equal(all, data) {
		t.Fatalf("read of all: %d bytes, %v", len(all), err)
	}
	// Several writes, reads with and without data, mixed with conditions.
	res, err := p.Do(bg, "multi", new(client.Op).AssertAbsent().Write(0, []byte("ab")).Write(4, []byte("cd")).OmapSet("k", []byte("v")))
	if err != nil {
		t.Fatal(err)
	}
	res, err = p.Do(bg, "multi", new(client.Op).AssertVersion(res.Version).Read(0, 2).Read(9, 2).Read(4, 0).OmapGet("k").GetAttr("none"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s|%s|%s|%s|%v", res.Items[1].Data, res.Items[2].Data, res.Items[3].Data, res.Items[4].Data, res.Items[5].Found); got != "ab||cd|v|false" {
		t.Errorf("got %s", got)
	}
	// A read within a write answers in the result.
	res, err = p.Do(bg, "multi", new(client.Op).Read(0, 2).Remove(false))
	if err != nil || string(res.Items[0].Data) != "ab" || res.Version != 0 {
		t.Errorf("read and remove: got %+v, %v", res, err)
	}
	if err := p.Remove(bg, "multi"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("second remove: got %v, want not found", err)
	}
}

func TestErrors(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	if err := p.WriteFull(bg, "o", nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		op    *client.Op
		want  error
		index int
	}{
		{new(client.Op).Stat().AssertAbsent(), client.ErrExists, 1},
		{new(client.Op).CmpAttr("a", []byte("x")), client.ErrConflict, 0},
		{new(client.Op), client.ErrInvalid, -1},
		{new(client.Op).Truncate(1 << 40), client.ErrInvalid, 0},
		{new(client.Op).SetAttr("a", make([]byte, 2<<20)), client.ErrInvalid, -1}, // not even the messenger takes it
	} {
		_, err := p.Do(bg, "o", tt.op)
		var oe *client.OpError
		if !errors.Is(err, tt.want) || !errors.As(err, &oe) || oe.Index != tt.index || oe.Pool != "p" || oe.Object != "o" {
			t.Errorf("got %#v, want %v at %d", err, tt.want, tt.index)
		}
	}
	if _, err := p.Do(bg, "", new(client.Op).Stat()); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("got %v, want invalid", err)
	}
	for code, want := range map[wirepb.Code]error{
		wirepb.Code_NO_SPACE: client.ErrNoSpace, wirepb.Code_CORRUPT: client.ErrCorrupt, wirepb.Code_IO_ERROR: client.ErrIO,
		wirepb.Code_NOT_PERMITTED: client.ErrNotPermitted, wirepb.Code_UNSUPPORTED: client.ErrUnsupported, wirepb.Code_INTERNAL: client.ErrInternal,
	} {
		cl.osds[0].once(func(c *wire.Conn, m *wire.Message) { c.ReplyError(m, code, "because") })
		if err := p.WriteFull(bg, "o", []byte("x")); !errors.Is(err, want) || !strings.Contains(err.Error(), "because") {
			t.Errorf("%v: got %v, want %v", code, err, want)
		}
	}
}

func TestMalformedAnswers(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	if err := p.WriteFull(bg, "o", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]*wirepb.Header{
		"nothing":            {},
		"no results":         {Body: &wirepb.Header_OpReply{OpReply: &wirepb.OpReply{}}},
		"outside of payload": {Body: &wirepb.Header_OpReply{OpReply: &wirepb.OpReply{Results: []*wirepb.ObjResult{{DataOff: 1<<64 - 1, DataLen: 2}}}}},
		"strange code":       {Body: &wirepb.Header_OpReply{OpReply: &wirepb.OpReply{Results: []*wirepb.ObjResult{{Code: wirepb.Code_CORRUPT}}}}},
	} {
		cl.osds[0].once(func(c *wire.Conn, m *wire.Message) { c.Reply(m, &wire.Message{Header: h, Payload: []byte("x")}) })
		if _, err := p.Read(bg, "o", 0, 0); !errors.Is(err, client.ErrInternal) {
			t.Errorf("%s: got %v, want internal", name, err)
		}
	}
}

// Whatever the reason to retry, it is the same request that comes again.
func TestRetries(t *testing.T) {
	for name, hook := range map[string]func(c *wire.Conn, m *wire.Message){
		"TRY_LATER":     func(c *wire.Conn, m *wire.Message) { c.ReplyError(m, wirepb.Code_TRY_LATER, "peering") },
		"STALE_MAP":     func(c *wire.Conn, m *wire.Message) { c.ReplyError(m, wirepb.Code_STALE_MAP, "old") },
		"WRONG_PRIMARY": func(c *wire.Conn, m *wire.Message) { c.ReplyError(m, wirepb.Code_WRONG_PRIMARY, "not me") },
		"pool unknown":  func(c *wire.Conn, m *wire.Message) { c.ReplyError(m, wirepb.Code_NOT_FOUND, "no such pool") },
		"STALE_TERM":    func(c *wire.Conn, m *wire.Message) { c.ReplyError(m, wirepb.Code_STALE_TERM, "over") },
		"connection lost": func(c *wire.Conn, m *wire.Message) {
			go c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t, 1, 1)
			p := cl.pool(cl.connect())
			cl.osds[0].once(hook)
			if err := p.WriteFull(bg, "o", []byte("x")); err != nil {
				t.Fatal(err)
			}
			first, second := <-cl.osds[0].got, <-cl.osds[0].got
			if a, b := first.GetOp().AgeMs, second.GetOp().AgeMs; a != 0 || b == 0 {
				t.Errorf("ages %d and %d, want 0 and more", a, b)
			}
			if a, b := first.GetOp().Req, second.GetOp().Req; a.Client == 0 || a.Client != b.Client || a.Seq != b.Seq {
				t.Errorf("request ids %v and %v, want the same", a, b)
			}
			if err := p.WriteFull(bg, "o", []byte("x")); err != nil {
				t.Fatal(err)
			}
			third := <-cl.osds[0].got
			if third.GetOp().Req.Seq == first.GetOp().Req.Seq {
				t.Error("another operation has the same request id")
			}
		})
	}
}

// The answer to a write is lost after it took effect: the retry gets the same
// answer, though by now its condition no longer holds.
func TestLostAnswer(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	cl.osds[0].once(func(c *wire.Conn, m *wire.Message) {
		cl.execute(m.Header.GetOp(), m.Payload)
		go c.Close()
	})
	if _, err := p.Do(bg, "o", new(client.Op).Create(true).Append([]byte("once"))); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.Read(bg, "o", 0, 0); string(got) != "once" {
		t.Errorf("got %q, want the write once", got)
	}
	if n := cl.executed(); n != 2 { // the write and the read
		t.Errorf("%d requests carried out, want 2", n)
	}
}

// An answer that comes twice, and one that comes when nobody waits any more.
func TestDuplicateAnswer(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	cl.osds[0].on(func(c *wire.Conn, m *wire.Message) bool {
		if m.Header.GetOp() == nil {
			return false
		}
		a := cl.execute(m.Header.GetOp(), m.Payload)
		for range 2 {
			c.Reply(m, &wire.Message{Header: a.h, Payload: a.payload})
		}
		return true
	})
	for i := range 20 {
		want := fmt.Sprint(i)
		if err := p.WriteFull(bg, "o", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Read(bg, "o", 0, 0); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
}

// An OSD that refuses a retry for a reason of its own does not make the write a failure.
func TestUnknownOutcome(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	n := 0
	cl.osds[0].on(func(c *wire.Conn, m *wire.Message) bool {
		if n++; n == 1 {
			cl.execute(m.Header.GetOp(), m.Payload)
			go c.Close()
		} else {
			c.ReplyError(m, wirepb.Code_NO_SPACE, "full")
		}
		return true
	})
	err := p.WriteFull(bg, "o", []byte("x"))
	if !errors.Is(err, client.ErrTimeout) || !errors.Is(err, client.ErrNoSpace) {
		t.Errorf("got %v, want a timeout that names the lack of space", err)
	}
	if strings.Contains(err.Error(), "deadline") {
		t.Errorf("%q says that the time was up", err)
	}
}

// A PG that no longer knows whether an old request was carried out says so.
func TestForgottenRequest(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	n := 0
	cl.osds[0].on(func(c *wire.Conn, m *wire.Message) bool {
		if n++; n == 1 {
			go c.Close()
		} else {
			c.ReplyError(m, wirepb.Code_TIMED_OUT, "first sent long ago")
		}
		return true
	})
	if err := p.WriteFull(bg, "o", []byte("x")); !errors.Is(err, client.ErrTimeout) || !strings.Contains(err.Error(), "first sent long ago") {
		t.Errorf("got %v, want a timeout with the OSD's words", err)
	}
}

// A new map reaches the client by push; operations follow it.
func TestMapPush(t *testing.T) {
	cl := newCluster(t, 1, 2)
	c := cl.connect()
	p := cl.pool(c)
	m := cl.change(setPrimary(1))
	if _, err := c.WaitMap(bg, m.Epoch); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteFull(bg, cl.objectIn(0), nil); err != nil {
		t.Fatal(err)
	}
	if len(cl.osds[0].got) != 0 || len(cl.osds[1].got) != 1 {
		t.Errorf("osd.0 got %d requests, osd.1 %d; want 0 and 1", len(cl.osds[0].got), len(cl.osds[1].got))
	}
	if n := cl.mons[0].fullMaps(); n != 1 {
		t.Errorf("%d full maps were sent, want 1 and then deltas", n)
	}
	l, err := c.Locate("p", cl.objectIn(0))
	if err != nil || l.Primary != 1 || l.Addr != cl.osds[1].proxy.addr() || l.Epoch != m.Epoch || !slices.Equal(l.InSync, []placement.OSDID{0, 1}) {
		t.Errorf("locate: got %+v, %v", l, err)
	}
	if _, err := c.Locate("q", "o"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("locate in no pool: got %v", err)
	}
}

// The monitor pushes nothing: the OSD's answer says that there is a newer map.
func TestWrongPrimaryFetchesMap(t *testing.T) {
	cl := newCluster(t, 1, 2)
	p := cl.pool(cl.connect())
	cl.mons[0].set(func(f *fakeMon) { f.mute = true })
	cl.change(setPrimary(1))
	if err := p.WriteFull(bg, cl.objectIn(0), nil); err != nil {
		t.Fatal(err)
	}
	if len(cl.osds[0].got) == 0 || len(cl.osds[1].got) != 1 {
		t.Errorf("osd.0 got %d requests, osd.1 %d; want some and 1", len(cl.osds[0].got), len(cl.osds[1].got))
	}
}

// An epoch seen in any answer makes the client fetch the map.
func TestEpochInAnswer(t *testing.T) {
	cl := newCluster(t, 1, 1)
	c := cl.connect()
	p := cl.pool(c)
	cl.mons[0].set(func(f *fakeMon) { f.mute = true })
	m := cl.change(func(*placement.Map) {})
	if err := p.WriteFull(bg, "o", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitMap(bg, m.Epoch); err != nil {
		t.Fatal(err)
	}
}

func TestPoolComesAndGoes(t *testing.T) {
	cl := newCluster(t, 1, 1)
	c := cl.connect()
	if _, err := c.Pool(bg, "q"); !errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), `"q"`) {
		t.Errorf("got %v, want not found", err)
	}
	cl.mons[0].set(func(f *fakeMon) { f.mute = true })
	cl.change(func(m *placement.Map) {
		m.Pools = append(m.Pools, placement.Pool{ID: 2, Name: "q", Size: 1, MinSize: 1, PGNum: 1, Created: m.Epoch, PGNumTarget: 1, FirstPGNum: 1})
		m.PGs = append(m.PGs, placement.PoolPGs{Pool: 2, Records: []placement.PGRecord{{Term: 1, Primary: 0, InSync: []placement.OSDID{0}, Created: true}}})
		m.NextPool = 3
	})
	q, err := c.Pool(bg, "q") // newer than the client's map
	if err != nil {
		t.Fatal(err)
	}
	if err := q.WriteFull(bg, "o", nil); err != nil || q.ID() != 2 || q.Name() != "q" {
		t.Fatal(err)
	}
	m := cl.change(func(m *placement.Map) { m.Pools, m.PGs = m.Pools[:1], m.PGs[:1] })
	if _, err := c.WaitMap(bg, m.Epoch); err != nil {
		t.Fatal(err)
	}
	if err := q.WriteFull(bg, "o", nil); !errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), "removed") {
		t.Errorf("got %v, want that the pool was removed", err)
	}
	if _, _, err := q.List(bg, client.Cursor{}, 1); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("list: got %v, want not found", err)
	}
}

// The primary does not answer; the next map names another: the operation goes
// there at once, long before the attempt's time is up.
func TestPrimaryMovesWhileWaiting(t *testing.T) {
	cl := newCluster(t, 1, 2)
	p := cl.pool(cl.connect(func(o *client.Options) { o.Timeout, o.AttemptTimeout = time.Hour, time.Hour }))
	name := cl.objectIn(0) // osd.0
	cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(bg, name, []byte("x")) }()
	first := <-cl.osds[0].got
	cl.change(setPrimary(1))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	second := <-cl.osds[1].got
	if first.GetOp().Req.Seq != second.GetOp().Req.Seq {
		t.Error("the second primary got another request id")
	}
}

// All in-sync OSDs go down while an operation waits, and one comes back.
func TestNoPrimaryForAWhile(t *testing.T) {
	cl := newCluster(t, 1, 2)
	c := cl.connect(func(o *client.Options) { o.Timeout, o.AttemptTimeout = time.Hour, time.Hour })
	p := cl.pool(c)
	cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(bg, cl.objectIn(0), []byte("x")) }()
	<-cl.osds[0].got
	cl.change(func(m *placement.Map) { setPrimary(placement.NoOSD)(m); markDown(0, 1)(m) })
	m := cl.change(func(m *placement.Map) {
		m.OSDs[1].Up, m.OSDs[1].Incarnation, m.OSDs[1].UpFrom = true, 2, m.Epoch
		setPrimary(1)(m)
	})
	if _, err := c.WaitMap(bg, m.Epoch); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A frozen OSD eats attempts, not the deadline: when it thaws the write is done.
func TestFrozenOSD(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect(func(o *client.Options) { o.AttemptTimeout = 20 * time.Millisecond }))
	if err := p.WriteFull(bg, "o", nil); err != nil { // the connection is there
		t.Fatal(err)
	}
	cl.osds[0].proxy.freeze()
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(bg, "o", []byte("x")) }()
	ctx, cancel := context.WithTimeout(bg, 200*time.Millisecond)
	defer cancel()
	if err := p.WriteFull(ctx, "other", []byte("x")); !errors.Is(err, client.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), ": primary osd.0 ") || !strings.Contains(err.Error(), "may or may not") {
		t.Errorf("got %v, want a timeout that names osd.0", err)
	}
	cl.osds[0].proxy.thaw()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDeadlineText(t *testing.T) {
	for _, tt := range []struct {
		name   string
		break_ func(cl *cluster)
		want   []string
		not    string
	}{
		{"silent", func(cl *cluster) {
			cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
		}, []string{"gave up at the deadline", "primary osd.0 does not answer", "may or may not"}, ""},
		{"no primary", func(cl *cluster) {
			cl.change(func(m *placement.Map) { setPrimary(placement.NoOSD)(m); markDown(0, 1)(m) })
		}, []string{"no primary: in-sync osds 0,1 are down"}, "may or may not"},
		{"primary down", func(cl *cluster) {
			cl.change(markDown(0))
		}, []string{"no primary: in-sync osd 0 is down"}, "may or may not"},
		{"paused", func(cl *cluster) {
			cl.change(func(m *placement.Map) { m.Flags |= placement.FlagPause })
		}, []string{"paused", "pause flag"}, "may or may not"},
		{"refused", func(cl *cluster) {
			cl.osds[0].proxy.ln.Close()
		}, []string{"primary osd.0 cannot be reached", "refused"}, "may or may not"},
		{"peering", func(cl *cluster) {
			cl.osds[0].on(func(c *wire.Conn, m *wire.Message) bool {
				c.ReplyError(m, wirepb.Code_TRY_LATER, "waits for osd.7")
				return true
			})
		}, []string{"primary osd.0 answered TRY_LATER: waits for osd.7"}, ""},
		{"wrong primary", func(cl *cluster) {
			cl.osds[0].on(func(c *wire.Conn, m *wire.Message) bool {
				c.ReplyError(m, wirepb.Code_WRONG_PRIMARY, "not me")
				return true
			})
		}, []string{"osd.0 answered WRONG_PRIMARY", "its map has epoch 1, ours 1"}, ""},
		{"monitors gone", func(cl *cluster) {
			cl.mons[0].proxy.ln.Close()
			cl.mons[0].proxy.cut()
			cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
		}, []string{"primary osd.0 does not answer", "no monitor is reachable", "refused"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cl := newCluster(t, 1, 2)
			c := cl.connect(func(o *client.Options) { o.AttemptTimeout = time.Second })
			p := cl.pool(c)
			tt.break_(cl)
			if _, err := c.WaitMap(bg, cl.current().Epoch); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			err := p.WriteFull(ctx, cl.objectIn(0), []byte("x"))
			if !errors.Is(err, client.ErrTimeout) {
				t.Fatalf("got %v, want a timeout", err)
			}
			for _, w := range append(tt.want, "pg 1.0", `"p"`) {
				if !strings.Contains(err.Error(), w) && !(w == "pg 1.0" && tt.name == "paused") {
					t.Errorf("got %q, which lacks %q", err, w)
				}
			}
			if tt.not != "" && strings.Contains(err.Error(), tt.not) {
				t.Errorf("got %q, which has %q", err, tt.not)
			}
		})
	}
}

func TestPauseEnds(t *testing.T) {
	cl := newCluster(t, 1, 1)
	c := cl.connect()
	p := cl.pool(c)
	m := cl.change(func(m *placement.Map) { m.Flags |= placement.FlagPause })
	if _, err := c.WaitMap(bg, m.Epoch); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(bg, "o", nil) }()
	cl.change(func(m *placement.Map) { m.Flags = 0 })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCancel(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect())
	cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(ctx, "o", nil) }()
	<-cl.osds[0].got
	cancel()
	if err := <-done; !errors.Is(err, client.ErrTimeout) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("got %v, want a cancellation", err)
	}
}

func TestClose(t *testing.T) {
	cl := newCluster(t, 2, 1)
	c := cl.connect()
	p := cl.pool(c)
	cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(bg, "o", nil) }()
	<-cl.osds[0].got
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, client.ErrClosed) {
		t.Errorf("under way: got %v, want closed", err)
	}
	if err := p.WriteFull(bg, "o", nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("afterwards: got %v, want closed", err)
	}
	if _, err := c.User(bg, "AK"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("user: got %v, want closed", err)
	}
	if _, err := c.WaitMap(bg, 99); !errors.Is(err, client.ErrClosed) {
		t.Errorf("wait for a map: got %v, want closed", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// Operations over the limit wait, and all of them are done in the end.
func TestInFlightLimit(t *testing.T) {
	cl := newCluster(t, 1, 1)
	p := cl.pool(cl.connect(func(o *client.Options) { o.MaxInFlightOps, o.MaxInFlightBytes = 2, 100<<10 }))
	var mu sync.Mutex
	var held []func()
	release := make(chan struct{})
	cl.osds[0].on(func(c *wire.Conn, m *wire.Message) bool {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-release:
			return false
		default:
		}
		held = append(held, func() { cl.osds[0].serve(c, m) })
		return true
	})
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := p.WriteFull(bg, fmt.Sprint(i), make([]byte, 40<<10)); err != nil {
				t.Error(err)
			}
		})
	}
	<-cl.osds[0].got
	<-cl.osds[0].got
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	err := p.WriteFull(ctx, "over", make([]byte, 1<<20)) // more than all the room
	if !errors.Is(err, client.ErrTimeout) || !strings.Contains(err.Error(), "limits are 2 operations") {
		t.Errorf("got %v, want that there are too many operations", err)
	}
	mu.Lock()
	if len(held) != 2 {
		t.Errorf("%d requests under way, want 2", len(held))
	}
	close(release)
	for _, f := range held {
		f()
	}
	mu.Unlock()
	wg.Wait()
	if err := p.WriteFull(bg, "large", make([]byte, 1<<20)); err != nil {
		t.Errorf("larger than all the room: %v", err)
	}
}

func TestList(t *testing.T) {
	cl := newCluster(t, 1, 3)
	p := cl.pool(cl.connect())
	var want []string
	for i := range 100 {
		n := fmt.Sprintf("o%02d", i)
		want = append(want, n)
		if err := p.WriteFull(bg, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{0, 1, 7, 100} {
		var got []string
		for at := (client.Cursor{}); !at.End; {
			names, next, err := p.List(bg, at, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(names) > limit {
				t.Fatalf("%d names, limit %d", len(names), limit)
			}
			got, at = append(got, names...), next
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %d names %q", limit, len(got), got)
		}
	}
	if names, next, err := p.List(bg, client.Cursor{Shard: 99}, 1); err != nil || len(names) != 0 || !next.End {
		t.Errorf("behind the end: got %q, %+v, %v", names, next, err)
	}
	// An OSD that sends the same names again and again must not keep us for ever.
	for _, o := range cl.osds {
		o.on(func(c *wire.Conn, m *wire.Message) bool {
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PgListReply{PgListReply: &wirepb.PGListReply{Objects: [][]byte{[]byte("a")}, More: true}}}})
			return true
		})
	}
	if _, _, err := p.List(bg, client.Cursor{}, 5); !errors.Is(err, client.ErrInternal) || !strings.Contains(err.Error(), "pg 1.0") {
		t.Errorf("got %v, want that the listing goes back", err)
	}
}

// Many operations while primaries move, connections break and OSDs say "later":
// every one is carried out exactly once.
func TestChaos(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: go test ./client -run TestChaos -seed %d", seed, seed)
	cl := newCluster(t, 2, 3)
	c := cl.connect(func(o *client.Options) { o.AttemptTimeout = 500 * time.Millisecond })
	p := cl.pool(c)
	for i, o := range cl.osds {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		o.on(func(c *wire.Conn, m *wire.Message) bool {
			switch rng.IntN(12) {
			case 0:
				c.ReplyError(m, wirepb.Code_TRY_LATER, "dice")
			case 1:
				go c.Close()
			case 2: // carried out, the answer is lost
				cl.execute(m.Header.GetOp(), m.Payload)
				go c.Close()
			default:
				return false
			}
			return true
		})
	}
	stop := make(chan struct{})
	var movers sync.WaitGroup
	movers.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 99))
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			cl.change(setPrimary(placement.OSDID(rng.IntN(3))))
			if rng.IntN(20) == 0 {
				cl.mons[rng.IntN(2)].proxy.cut()
			}
		}
	})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := p.Do(bg, fmt.Sprint("o", w), new(client.Op).Append([]byte{'x'})); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	movers.Wait()
	if n := cl.data.Bytes(); n != 160 {
		t.Errorf("160 appends made %d bytes", n)
	}
}

// A request carries the epoch of the map by which its OSD and PG were chosen, though a newer map
// has come while the connection was made: the OSD must be able to tell that the choice is old.
func TestEpochOfTheChoice(t *testing.T) {
	cl := newCluster(t, 1, 1)
	dialling, proceed := make(chan struct{}, 1000), make(chan struct{})
	c := cl.connect(func(o *client.Options) {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == cl.osds[0].proxy.addr() {
				dialling <- struct{}{}
				<-proceed
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	p := cl.pool(c)
	done := make(chan error, 1)
	go func() { done <- p.WriteFull(bg, "o", nil) }()
	<-dialling
	m := cl.change(func(*placement.Map) {})
	if _, err := c.WaitMap(bg, m.Epoch); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if h := <-cl.osds[0].got; h.Epoch != uint64(m.Epoch)-1 {
		t.Errorf("the request has epoch %d, want %d", h.Epoch, m.Epoch-1)
	}
}
