package monclient

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

var bg = context.Background()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wait(t *testing.T, s *Session, e placement.Epoch) *placement.Map {
	t.Helper()
	m, err := s.WaitMap(bg, e)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOpenErrors(t *testing.T) {
	if _, err := Open(Options{Self: func() wire.Identity { return wire.Identity{} }}); err == nil || !strings.Contains(err.Error(), "monitor address") {
		t.Errorf("without monitors: got %v", err)
	}
	if _, err := Open(Options{Mons: []string{"127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), "Self") {
		t.Errorf("without an identity: got %v", err)
	}
}

// Maps come by push, as deltas; whoever listens is told in order.
func TestMaps(t *testing.T) {
	fs := newFakes(t, 1)
	told := make(chan *placement.Map, 100)
	s := fs.open(func(o *Options) { o.OnMap = func(m *placement.Map) { told <- m } })
	first := wait(t, s, 0)
	if first.Epoch != 1 || s.Epoch() != 1 || s.Map() != first {
		t.Fatalf("first map has epoch %d, session has %d", first.Epoch, s.Epoch())
	}
	if m := <-told; m != first {
		t.Fatalf("told of epoch %d first", m.Epoch)
	}
	for range 10 {
		_, changed := s.Changed()
		m := fs.change()
		<-changed
		if got := wait(t, s, m.Epoch); got.Checksum() != m.Checksum() {
			t.Fatalf("map of epoch %d differs from the monitor's", m.Epoch)
		}
		if got := <-told; got.Epoch != m.Epoch {
			t.Fatalf("told of epoch %d, want %d", got.Epoch, m.Epoch)
		}
	}
	if n := fs.mons[0].fullMaps(); n != 1 {
		t.Errorf("%d full maps were sent, want 1 and then deltas", n)
	}
	// Another listener takes over.
	s.OnMap(nil)
	wait(t, s, fs.change().Epoch)
	if err := s.Refresh(bg); err != nil {
		t.Fatal(err)
	}
	if len(told) != 0 {
		t.Error("the first listener is still told")
	}
}

// A listener is never told of an older map, however maps arrive.
func TestOnMapOrder(t *testing.T) {
	fs := newFakes(t, 1)
	var last placement.Epoch
	done := make(chan struct{})
	s := fs.open(func(o *Options) {
		o.OnMap = func(m *placement.Map) { // serialised by the session; -race looks
			if m.Epoch <= last {
				t.Errorf("told of epoch %d after %d", m.Epoch, last)
			}
			if last = m.Epoch; last == 101 {
				close(done)
			}
		}
	})
	wait(t, s, 0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := s.Refresh(bg); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		fs.change()
	}
	<-done
	wg.Wait()
}

// Pushes that do not follow one another: the session fetches what it lacks, and
// a full map when what it has does not lead there.
func TestMapGaps(t *testing.T) {
	fs := newFakes(t, 1)
	mon := fs.mons[0]
	s := fs.open()
	wait(t, s, 0)
	fs.next()
	m := fs.change() // pushed as a delta from an epoch the session has not seen
	wait(t, s, m.Epoch)
	if n := mon.fullMaps(); n != 1 {
		t.Errorf("%d full maps were sent, want 1", n)
	}
	// A damaged delta.
	m = fs.next()
	bad := fs.delta(m)
	bad[len(bad)/2] ^= 1
	mon.send(m, bad)
	if got := wait(t, s, m.Epoch); got.Checksum() != m.Checksum() {
		t.Fatalf("got another map than that of epoch %d", m.Epoch)
	}
	// A session with a map that the monitor's deltas do not fit.
	fs.rewrite("x")
	m = fs.change()
	if got := wait(t, s, m.Epoch); got.Checksum() != m.Checksum() {
		t.Fatalf("got another map than that of epoch %d", m.Epoch)
	}
	if n := mon.fullMaps(); n != 2 {
		t.Errorf("%d full maps were sent, want 2", n)
	}
	// The same on a Refresh: nothing is pushed.
	fs.rewrite("y")
	m = fs.next()
	if err := s.Refresh(bg); err != nil || mon.fullMaps() < 3 || s.Map().Checksum() != m.Checksum() {
		t.Fatalf("refresh: got %v and epoch %d after %d full maps, want %d after at least 3", err, s.Epoch(), mon.fullMaps(), m.Epoch)
	}
}

// newer returns m in the format of a later version of cairn.
func newer(m *placement.Map) []byte {
	b := placement.EncodeMap(m)
	b[4]++ // the version, behind the magic; the checksum is right all the same
	end := len(b) - 4
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// A map of a later version is refused with words, at once, and stays the reason.
func TestUnknownMapVersion(t *testing.T) {
	fs := newFakes(t, 1)
	n := 0
	fs.mons[0].on(func(c *wire.Conn, m *wire.Message) bool {
		if m.Header.GetMonSubscribe() == nil {
			return false
		}
		if n++; n == 1 {
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MapUpdate{MapUpdate: &wirepb.MapUpdate{To: 1, Full: true}}}, Payload: newer(fs.m)})
		} else { // has no map
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MapUpdate{MapUpdate: &wirepb.MapUpdate{}}}})
		}
		return true
	})
	s := fs.open()
	for _, e := range []placement.Epoch{0, 7} {
		_, err := s.WaitMap(bg, e)
		var ve *placement.VersionError
		if !errors.As(err, &ve) || ve.Got != ve.Max+1 || !strings.Contains(err.Error(), "epoch 1") || !strings.Contains(err.Error(), ve.Error()) {
			t.Errorf("got %v, want that the version is unknown", err)
		}
		// The second session with the monitor offers nothing; there still is no map to wait for.
		if _, err := s.Call(bg, &wire.Message{Header: userGet("AK")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Refresh(bg); err != nil {
		t.Fatal(err)
	}
	if m := wait(t, s, 0); m.Epoch != 1 {
		t.Errorf("got epoch %d, want the map that can be understood", m.Epoch)
	}
}

// A monitor of another cluster cannot slip its map in, and one of a later version does not hide.
func TestBroken(t *testing.T) {
	fs := newFakes(t, 1)
	s := fs.open()
	wait(t, s, 0)
	other := fs.m.Clone()
	other.Epoch, other.Cluster = 50, placement.UUID{9}
	for want, payload := range map[string][]byte{"another cluster": placement.EncodeMap(other), "version": newer(other)} {
		fs.mons[0].on(func(c *wire.Conn, m *wire.Message) bool {
			if m.Header.GetMonGetMap() == nil {
				return false
			}
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MapUpdate{MapUpdate: &wirepb.MapUpdate{To: 50, Full: true}}}, Payload: payload})
			return true
		})
		if err := s.Refresh(bg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err := s.Broken(); err == nil || !strings.Contains(err.Error(), want) || s.Epoch() != 1 {
			t.Errorf("epoch %d is broken by %v, want %q", s.Epoch(), err, want)
		}
	}
	fs.mons[0].on(func(c *wire.Conn, m *wire.Message) bool {
		if m.Header.GetMonGetMap() == nil {
			return false
		}
		c.Reply(m, nil)
		return true
	})
	if err := s.Refresh(bg); err == nil || !strings.Contains(err.Error(), "want a map update") {
		t.Errorf("got %v, want that it is no map update", err)
	}
	fs.mons[0].on(nil)
	fs.next()
	if err := s.Refresh(bg); err != nil || s.Broken() != nil || s.Epoch() != 2 {
		t.Errorf("with a good map again: got %v, epoch %d, %v", err, s.Epoch(), s.Broken())
	}
}

// The monitor of the session dies, is cut off or freezes: another one serves.
func TestFailover(t *testing.T) {
	for name, kill := range map[string]func(f *fakeMon){
		"cut":    func(f *fakeMon) { f.gate.cut() },
		"closed": func(f *fakeMon) { f.stop() },
		"frozen": func(f *fakeMon) { f.gate.freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			fs := newFakes(t, 3)
			s := fs.open(func(o *Options) { o.Patience = 200 * time.Millisecond })
			for range 2 { // two of three
				wait(t, s, fs.change().Epoch)
				kill(fs.serving())
			}
			wait(t, s, fs.change().Epoch)
			if m, err := s.Call(bg, &wire.Message{Header: userGet("AK")}); err != nil || m.Header.GetUser().GetName() != "ann" {
				t.Errorf("call: got %v, %v", m, err)
			}
		})
	}
}

// A monitor that freezes while nobody asks anything is noticed by the ping.
func TestPing(t *testing.T) {
	fs := newFakes(t, 2)
	s := fs.open(func(o *Options) {
		o.Mons, o.pingEvery, o.Patience = o.Mons[:1], 10*time.Millisecond, 200*time.Millisecond
	})
	wait(t, s, 0)
	fs.mons[0].gate.freeze()
	<-fs.mons[1].subscribed
}

// The session knows one monitor; the map tells it of the others, and of which cluster it is.
func TestMonsFromMap(t *testing.T) {
	fs := newFakes(t, 2)
	s := fs.open(func(o *Options) { o.Mons = o.Mons[:1] })
	wait(t, s, 0)
	if c := <-fs.mons[0].subscribed; !c.Peer().Cluster.IsZero() {
		t.Errorf("a session without a map says it is of cluster %s", c.Peer().Cluster)
	}
	fs.mons[0].stop()
	wait(t, s, fs.change().Epoch)
	if c := <-fs.mons[1].subscribed; c.Peer().Cluster != clusterID || c.Peer().Entity != "client.test" {
		t.Errorf("the second monitor sees %+v", c.Peer())
	}
}

// A monitor that lags behind what others have seen is asked again, and given up
// for another when it does not catch up.
func TestLaggingMonitor(t *testing.T) {
	for name, lag := range map[string]func(c *wire.Conn, m, stale *wire.Message) bool{
		"old map": func(c *wire.Conn, m, stale *wire.Message) bool { _ = c.Reply(m, stale); return true },
		"TRY_LATER": func(c *wire.Conn, m, _ *wire.Message) bool {
			c.ReplyError(m, wirepb.Code_TRY_LATER, "later")
			return true
		},
		"silent": func(*wire.Conn, *wire.Message, *wire.Message) bool { return true }, // waits for that epoch; it answers pings
	} {
		t.Run(name, func(t *testing.T) {
			fs := newFakes(t, 2)
			stale := fs.mons[0].mapsSince(0)
			fs.mons[0].on(func(c *wire.Conn, m *wire.Message) bool {
				if m.Header.GetMonSubscribe() != nil {
					_ = c.Reply(m, stale)
					return true
				}
				return lag(c, m, stale)
			})
			s := fs.open(func(o *Options) { o.Mons, o.Patience = o.Mons[:1], 200*time.Millisecond })
			wait(t, s, 0)
			m := fs.next() // nobody pushes it
			wait(t, s, m.Epoch)
			if n := len(fs.mons[0].asked); n <= missesMax {
				t.Errorf("the lagging monitor was asked %d times, want more than %d", n, missesMax)
			}
		})
	}
}

// A suspected monitor is left for another, unless there is none or it is too early for that.
func TestSuspect(t *testing.T) {
	fs := newFakes(t, 2)
	s := fs.open(func(o *Options) { o.Mons, o.suspectAge = o.Mons[:1], 1 })
	wait(t, s, 0)
	s.Suspect()
	<-fs.mons[1].subscribed

	for name, tt := range map[string]struct {
		mons int
		age  time.Duration
	}{"only one": {1, 1}, "young": {2, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			fs := newFakes(t, tt.mons)
			s := fs.open(func(o *Options) { o.Mons, o.suspectAge = o.Mons[:1], tt.age })
			wait(t, s, 0)
			first := <-fs.mons[0].subscribed
			s.Suspect()
			for len(s.suspect) > 0 { // until the session has looked at it
				runtime.Gosched()
			}
			s.Want(0)
			if c := <-fs.mons[0].asked; c != first {
				t.Error("the session with the monitor was given up")
			}
		})
	}
}

func userGet(key string) *wirepb.Header {
	return &wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: &wirepb.UserGet{AccessKey: key}}}
}

// Answers for good end a Call, others are asked for again until the time is up.
func TestCall(t *testing.T) {
	fs := newFakes(t, 1)
	s := fs.open()
	m, err := s.Call(bg, &wire.Message{Header: userGet("AK"), Payload: []byte("echo")})
	if err != nil || m.Header.GetUser().GetName() != "ann" || string(m.Payload) != "echo" {
		t.Fatalf("got %v, %v", m, err)
	}
	_, err = s.Call(bg, &wire.Message{Header: userGet("nobody")})
	var we *wire.Error
	if !errors.As(err, &we) || we.Code != wirepb.Code_NOT_FOUND || we.Text != "no user has this key" {
		t.Errorf("got %v, want not found", err)
	}
	if _, err = s.Call(bg, &wire.Message{Header: userGet(strings.Repeat("x", 2<<20))}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("got %v, want too large", err)
	}
	codes := []wirepb.Code{wirepb.Code_TRY_LATER, wirepb.Code_STALE_MAP, wirepb.Code_TIMED_OUT}
	fs.mons[0].on(func(c *wire.Conn, m *wire.Message) bool {
		if m.Header.GetUserGet() == nil || len(codes) == 0 {
			return false
		}
		c.ReplyError(m, codes[0], "no quorum")
		codes = codes[1:]
		return true
	})
	if m, err = s.Call(bg, &wire.Message{Header: userGet("AK")}); err != nil || m.Header.GetUser().GetName() != "ann" {
		t.Errorf("after retries: got %v, %v", m, err)
	}
	fs.mons[0].on(func(c *wire.Conn, m *wire.Message) bool {
		c.ReplyError(m, wirepb.Code_TRY_LATER, "no quorum")
		return true
	})
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	_, err = s.Call(ctx, &wire.Message{Header: userGet("AK")})
	var gave *GaveUpError
	if !errors.As(err, &gave) || !errors.Is(err, context.DeadlineExceeded) || wire.CodeOf(gave.Last) != wirepb.Code_TRY_LATER || !strings.Contains(err.Error(), "no quorum") {
		t.Errorf("got %v, want the monitors' last answer", err)
	}
}

// A Call that a monitor does not answer goes to another one.
func TestCallSilent(t *testing.T) {
	fs := newFakes(t, 2)
	s := fs.open(func(o *Options) { o.Attempt = 100 * time.Millisecond })
	wait(t, s, 0)
	fs.serving().on(func(_ *wire.Conn, m *wire.Message) bool { return m.Header.GetUserGet() != nil })
	if m, err := s.Call(bg, &wire.Message{Header: userGet("AK")}); err != nil || m.Header.GetUser().GetName() != "ann" {
		t.Errorf("got %v, %v", m, err)
	}
}

// While no monitor can be reached, errors say what each one's failure was.
func TestTroubles(t *testing.T) {
	fs := newFakes(t, 2)
	s := fs.open()
	wait(t, s, 0)
	if _, err := s.Call(bg, &wire.Message{Header: userGet("AK")}); err != nil {
		t.Fatal(err)
	}
	if got := s.Trouble(); got != "" {
		t.Errorf("connected, but %q", got)
	}
	gone := newFakes(t, 1)
	gone.mons[0].stop()
	s = gone.open()
	ctx, cancel := context.WithTimeout(bg, 300*time.Millisecond)
	defer cancel()
	_, callErr := s.Call(ctx, &wire.Message{Header: userGet("AK")})
	_, mapErr := s.WaitMap(ctx, 3)
	for _, err := range []error{callErr, mapErr} {
		var gave *GaveUpError
		if !errors.As(err, &gave) || gave.Last != nil || !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "no monitor is reachable: "+gone.mons[0].addr()) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v, want that the monitor refused", err)
		}
	}
	if !strings.Contains(mapErr.Error(), "epoch 3, have 0") {
		t.Errorf("got %v, want the epochs", mapErr)
	}
}

// A request of a monitor is answered, not left hanging.
func TestRequestsAreRefused(t *testing.T) {
	fs := newFakes(t, 1)
	wait(t, fs.open(), 0)
	conn := <-fs.mons[0].subscribed
	if _, err := conn.Call(bg, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Ack{Ack: &wirepb.Ack{}}}}); wire.CodeOf(err) != wirepb.Code_UNSUPPORTED {
		t.Errorf("got %v, want unsupported", err)
	}
}

func TestClose(t *testing.T) {
	fs := newFakes(t, 2)
	s := fs.open()
	wait(t, s, 0)
	asked := make(chan struct{}, 10)
	for _, f := range fs.mons {
		f.on(func(_ *wire.Conn, m *wire.Message) bool {
			if m.Header.GetUserGet() != nil {
				asked <- struct{}{}
			}
			return true
		})
	}
	called, waited := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Call(bg, &wire.Message{Header: userGet("AK")})
		called <- err
	}()
	go func() {
		_, err := s.WaitMap(bg, 99)
		waited <- err
	}()
	<-asked
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := <-called; !errors.Is(err, ErrClosed) {
		t.Errorf("call under way: got %v, want closed", err)
	}
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Errorf("wait under way: got %v, want closed", err)
	}
	if _, err := s.Call(bg, &wire.Message{Header: userGet("AK")}); !errors.Is(err, ErrClosed) {
		t.Errorf("call: got %v, want closed", err)
	}
	if err := s.Refresh(bg); !errors.Is(err, ErrClosed) {
		t.Errorf("refresh: got %v, want closed", err)
	}
	if m := s.Map(); m == nil || m.Epoch != 1 {
		t.Error("the map is gone after Close")
	}
}
