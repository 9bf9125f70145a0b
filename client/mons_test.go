package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func TestConnectErrors(t *testing.T) {
	if _, err := client.Connect(bg, client.Options{Log: quiet}); err == nil {
		t.Error("connect without monitors")
	}
	gone := listen(t)
	addr := gone.Addr().String()
	gone.Close()
	ctx, cancel := context.WithTimeout(bg, 200*time.Millisecond)
	defer cancel()
	_, err := client.Connect(ctx, client.Options{Mons: []string{addr}, Log: quiet})
	if !errors.Is(err, client.ErrTimeout) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want that %s refused", err, addr)
	}
}

// A map of a later version is refused with words, at once.
func TestUnknownMapVersion(t *testing.T) {
	cl := newCluster(t, 1, 1)
	newer := placement.EncodeMap(cl.current())
	newer[4]++ // the version, behind the magic; the checksum is right all the same
	end := len(newer) - 4
	binary.LittleEndian.PutUint32(newer[end:], crc32.Checksum(newer[:end], crc32.MakeTable(crc32.Castagnoli)))
	cl.mons[0].set(func(f *fakeMon) {
		f.hook = func(c *wire.Conn, m *wire.Message) bool {
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MapUpdate{MapUpdate: &wirepb.MapUpdate{To: 1, Full: true}}}, Payload: newer})
			return true
		}
	})
	_, err := client.Connect(bg, client.Options{Mons: []string{cl.mons[0].proxy.addr()}, Log: quiet, Timeout: time.Hour})
	var ve *placement.VersionError
	if !errors.As(err, &ve) || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v, want that the version is unknown", err)
	}
}

// A monitor of another cluster cannot slip its map in.
func TestOtherCluster(t *testing.T) {
	cl := newCluster(t, 1, 1)
	c := cl.connect()
	other := cl.current().Clone()
	other.Epoch, other.Cluster = 50, placement.UUID{9}
	cl.mons[0].set(func(f *fakeMon) {
		f.hook = func(c *wire.Conn, m *wire.Message) bool {
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MapUpdate{MapUpdate: &wirepb.MapUpdate{To: 50, Full: true}}}, Payload: placement.EncodeMap(other)})
			return true
		}
	})
	if err := c.Refresh(bg); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("got %v, want that the map is of another cluster", err)
	}
	if e := c.Map().Epoch; e != 1 {
		t.Errorf("the client has the map of epoch %d", e)
	}
	// Who waits in vain learns the reason.
	cl.osds[0].on(func(*wire.Conn, *wire.Message) bool { return true })
	ctx, cancel := context.WithTimeout(bg, 300*time.Millisecond)
	defer cancel()
	if err := cl.pool(c).WriteFull(ctx, "o", nil); !errors.Is(err, client.ErrTimeout) || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("got %v, want a timeout that says why the map is old", err)
	}
}

// The monitor of the session dies, is cut off or freezes: another one serves.
func TestMonFailover(t *testing.T) {
	for name, kill := range map[string]func(f *fakeMon){
		"cut":    func(f *fakeMon) { f.proxy.cut() },
		"closed": func(f *fakeMon) { f.proxy.ln.Close(); f.proxy.cut() },
		"frozen": func(f *fakeMon) { f.proxy.freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t, 3, 1)
			c := cl.connect(func(o *client.Options) { o.AttemptTimeout = 200 * time.Millisecond })
			for range 2 { // two of three
				m := cl.change(func(*placement.Map) {})
				if _, err := c.WaitMap(bg, m.Epoch); err != nil {
					t.Fatal(err)
				}
				kill(cl.sessionMon(t))
			}
			m := cl.change(func(*placement.Map) {})
			if _, err := c.WaitMap(bg, m.Epoch); err != nil {
				t.Fatal(err)
			}
			if u, err := c.User(bg, "AK"); err != nil || u.Name != "ann" {
				t.Errorf("user: got %+v, %v", u, err)
			}
		})
	}
}

// sessionMon returns the monitor that has a subscriber; the last map came from it.
func (cl *cluster) sessionMon(t *testing.T) *fakeMon {
	for _, f := range cl.mons {
		f.mu.Lock()
		n := len(f.subs)
		f.mu.Unlock()
		f.proxy.mu.Lock()
		usable := f.proxy.frozen == nil
		f.proxy.mu.Unlock()
		if n > 0 && usable {
			return f
		}
	}
	t.Fatal("no monitor has a subscriber")
	return nil
}

// A monitor without the others says "later" until another is asked.
func TestMonTryLater(t *testing.T) {
	cl := newCluster(t, 1, 1)
	c := cl.connect()
	n := 0
	cl.mons[0].set(func(f *fakeMon) {
		f.hook = func(c *wire.Conn, m *wire.Message) bool {
			if m.Header.GetUserGet() == nil {
				return false
			}
			if n++; n > 2 {
				return false
			}
			c.ReplyError(m, wirepb.Code_TRY_LATER, "no quorum")
			return true
		}
	})
	u, err := c.User(bg, "AK")
	if err != nil || u.DisplayName != "Ann" || len(u.Keys) != 1 || u.Keys[0] != (client.AccessKey{AccessKey: "AK", SecretKey: "SK"}) {
		t.Errorf("got %+v, %v", u, err)
	}
	cl.mons[0].set(func(f *fakeMon) {
		f.hook = func(c *wire.Conn, m *wire.Message) bool {
			c.ReplyError(m, wirepb.Code_TRY_LATER, "no quorum")
			return true
		}
	})
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	if _, err := c.User(ctx, "AK"); !errors.Is(err, client.ErrTimeout) || !strings.Contains(err.Error(), "no quorum") {
		t.Errorf("got %v, want a timeout that says no quorum", err)
	}
}

func TestUserAndBeacon(t *testing.T) {
	cl := newCluster(t, 1, 1)
	c := cl.connect()
	if u, err := c.UserNamed(bg, "ann"); err != nil || u.DisplayName != "Ann" || len(u.Keys) != 0 {
		t.Errorf("user by name: %+v, %v", u, err)
	}
	if _, err := c.UserNamed(bg, "nobody"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("nobody by name: %v", err)
	}
	if _, err := c.User(bg, "nobody"); !errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("got %v, want not found", err)
	}
	if err := c.Beacon(bg, client.ServiceBeacon{Kind: "s3", Name: "gw1", Addr: "127.0.0.1:8000"}); err != nil {
		t.Fatal(err)
	}
	m, err := c.WaitMap(bg, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := (placement.Service{Kind: "s3", Name: "gw1", Addr: "127.0.0.1:8000"}); len(m.Services) != 1 || m.Services[0] != want {
		t.Errorf("got %+v, want %+v", m.Services, want)
	}
}
