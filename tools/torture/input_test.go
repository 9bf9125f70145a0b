package torture

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// alone is a cluster of no processes: for programs that run by themselves.
func alone(t *testing.T) *Cluster {
	t.Helper()
	c := &Cluster{o: Options{Binary: program, Dir: testDir(t)}, l: newLauncher()}
	if err := os.MkdirAll(filepath.Join(c.o.Dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.l.close)
	return c
}

// run runs the program to its end and wants an exit code and texts in its output.
func (c *Cluster) run(ctx context.Context, t *testing.T, code int, want []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := c.Cairn(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, "cairn "+strings.Join(args, " "), r.Both(), want...)
	if r.Code != code {
		t.Errorf("cairn %s: exit code %d, want %d: %s", strings.Join(args, " "), r.Code, code, r.Both())
	}
}

func wantText(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s: %q is missing in: %s", what, w, got)
		}
	}
	for _, mark := range crashMarks {
		if strings.Contains(got, string(mark)) {
			t.Errorf("%s: crashed: %s", what, got)
		}
	}
}

// waitLog waits until a process has written a text.
func waitLog(ctx context.Context, t *testing.T, c *Cluster, p *Proc, text string) {
	t.Helper()
	err := c.until(ctx, fmt.Sprintf("%q in the log of %s", text, p.Name), func() error {
		b, err := os.ReadFile(p.Log)
		if err == nil && !strings.Contains(string(b), text) {
			err = fmt.Errorf("the log ends with: %s", p.Tail(3))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestRefused: what makes no sense is refused at once, with the thing's name and
// what would be right.
func TestRefused(t *testing.T) {
	ctx := deadline(t, 10*time.Minute)
	c := alone(t)
	at := func(name string) string { return filepath.Join(c.o.Dir, name) }
	if err := os.WriteFile(at("file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	// No port of its own: another program may have the default ones.
	mon := []string{"mon", "--name", "a", "--data", at("mon"), "--addr", "127.0.0.1:0", "--raft-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}
	for _, tc := range []struct {
		code int
		want []string
		args []string
	}{
		{2, []string{"unknown command", "nonsense", "--help"}, []string{"nonsense"}},
		{2, []string{"unknown flag: --bogus"}, []string{"osd", "--bogus"}},
		{2, []string{"--data", "--mons", "required"}, []string{"osd"}},
		{2, []string{"--name", "--data", "required"}, []string{"mon"}},
		{2, []string{"--mons is required"}, []string{"gateway", "s3"}},
		{2, []string{"--journal", `"5x"`, "64MiB"}, []string{"osd", "--data", at("o"), "--mons", "127.0.0.1:1", "--journal", "5x"}},
		{1, []string{"journal of 4096 bytes", "33554432"}, []string{"osd", "--data", at("o"), "--mons", "127.0.0.1:1", "--journal", "4096"}},
		{2, []string{"--memory", "64MiB"}, append(mon, "--memory", "1")},
		{2, []string{"--log-level", "loud", "debug"}, append(mon, "--log-level", "loud")},
		{2, []string{"--initial", "a=1.2.3.4", "NAME=ADDR/RAFT/ADMIN"}, append(mon, "--initial", "a=1.2.3.4")},
		{1, []string{"monitor a", "initial monitors", "same, whole list"}, append(mon, "--initial", "b=127.0.0.1:1/127.0.0.1:2/127.0.0.1:3")},
		{2, []string{"--location", "host"}, []string{"osd", "--data", at("o"), "--mons", "127.0.0.1:1", "--location", "host=x"}},
		{1, []string{at("file"), "not a directory"}, []string{"osd", "--data", at("file"), "--mons", "127.0.0.1:1"}},
		{1, []string{at("file"), "has 1 bytes", "larger device"}, []string{"osd", "--data", at("o"), "--device", at("file"), "--mons", "127.0.0.1:1", "--journal", "32MiB"}},
		{1, []string{"/dev/none", "lsblk"}, []string{"osd", "--data", at("o"), "--device", "/dev/none", "--mons", "127.0.0.1:1"}},
		{1, []string{at("none"), "capacity"}, []string{"osd", "--data", at("o"), "--device", at("none"), "--mons", "127.0.0.1:1"}},
		{1, []string{"no store here", "superblock", "check the path"}, []string{"osd", "--data", c.o.Dir, "--mons", "127.0.0.1:1"}},
		{4, []string{"127.0.0.1:1", "refused", "CAIRN_ADMIN"}, []string{"--admin", "127.0.0.1:1", "status"}},
		{4, []string{"127.0.0.1:1", "127.0.0.1:2"}, []string{"--admin", "127.0.0.1:1,127.0.0.1:2", "object", "get", "o", "-", "-p", "p"}},
		{2, []string{"NAME"}, []string{"pool", "create"}},
	} {
		c.run(ctx, t, tc.code, tc.want, tc.args...)
	}
}

// TestUnreachableMonitors: daemons wait for monitors, and say for whom and why.
func TestUnreachableMonitors(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 10*time.Minute)
	c := alone(t)
	osd := c.Proc("osd", "osd", "--data", c.OSDDir(0), "--host", "h", "--mons", "127.0.0.1:1", "--journal", "32MiB")
	if err := osd.Start(); err != nil {
		t.Fatal(err)
	}
	waitLog(ctx, t, c, osd, "127.0.0.1:1: connect: connection refused")
	osd.Stop()
	wantText(t, "osd", osd.Tail(5), "register store", "no monitor is reachable")
	s3 := c.Proc("s3", "gateway", "s3", "--mons", "127.0.0.1:1", "--listen", "127.0.0.1:0")
	if err := s3.Start(); err != nil {
		t.Fatal(err)
	}
	waitLog(ctx, t, c, s3, "127.0.0.1:1")
	s3.Stop()
	wantText(t, "gateway", s3.Tail(5), "connect to the cluster", "127.0.0.1:1: connect: connection refused")
}

// TestUnknownMapVersion: a map that this version cannot read is refused in words
// that say what to do, by daemons too.
func TestUnknownMapVersion(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 10*time.Minute)
	c := alone(t)
	m := &placement.Map{Epoch: 7, Cluster: placement.UUID{1}, Crush: crush.NewDefault(), NextPool: 1}
	newer := placement.EncodeMap(m)
	newer[4] = 99 // the version behind the magic
	end := len(newer) - 4
	binary.LittleEndian.PutUint32(newer[end:], crc32.Checksum(newer[:end], crc32.MakeTable(crc32.Castagnoli)))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := wire.Serve(ln, wire.Options{
		Self: wire.Identity{Entity: "mon.a", Cluster: m.Cluster}, Handler: newerMonitor(newer),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	t.Cleanup(func() { _ = srv.Close() })
	c.run(ctx, t, 1, []string{"cluster map of epoch 7", "version 99"}, "gateway", "s3", "--mons", srv.Addr(), "--listen", "127.0.0.1:0")
	// An OSD waits: another monitor may have a map for it.
	osd := c.Proc("osd", "osd", "--data", c.OSDDir(0), "--host", "h", "--mons", srv.Addr(), "--journal", "32MiB")
	if err := osd.Start(); err != nil {
		t.Fatal(err)
	}
	waitLog(ctx, t, c, osd, "still waits")
	osd.Stop()
	wantText(t, "osd", osd.Tail(5), "cluster map of epoch 7", "version 99", "upgrade")
}

// newerMonitor answers everything with a map of a later version.
type newerMonitor []byte

func (m newerMonitor) Closed(*wire.Conn, error) {}

func (m newerMonitor) Handle(c *wire.Conn, req *wire.Message) {
	h := &wirepb.Header{Epoch: 7, Body: &wirepb.Header_MapUpdate{MapUpdate: &wirepb.MapUpdate{To: 7, Full: true}}}
	switch req.Header.Body.(type) {
	case *wirepb.Header_OsdRegister:
		h = &wirepb.Header{Epoch: 7, Body: &wirepb.Header_OsdRegistered{OsdRegistered: &wirepb.OSDRegistered{Cluster: append([]byte{1}, make([]byte, 15)...)}}}
	case *wirepb.Header_OsdBoot:
		h = &wirepb.Header{Epoch: 7, Body: &wirepb.Header_Ack{Ack: &wirepb.Ack{}}}
	}
	msg := &wire.Message{Header: h}
	if h.GetMapUpdate() != nil {
		msg.Payload = m
	}
	_ = c.Reply(req, msg) // the daemon may have given up
}

// TestGarbage: bytes that are no messages, and announcements of huge ones, end
// their own connection and nothing else. Nor does a second daemon on the same
// directory, or one of another cluster.
func TestGarbage(t *testing.T) {
	ctx := deadline(t, 10*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3, Gateway: true, FlapLimit: 1})
	pool := openPool(ctx, t, c, api.PoolCreate{Name: "p"})
	all := fill(ctx, t, pool, "o-", 20, 10_000)

	random := make([]byte, 100_000)
	_, _ = rand.Read(random) // never fails
	huge := make([]byte, 24)
	copy(huge, []byte{0xCA, 0x17, 1, 0})
	binary.LittleEndian.PutUint32(huge[4:], 1<<31)
	binary.LittleEndian.PutUint32(huge[8:], 1<<31)
	binary.LittleEndian.PutUint32(huge[20:], crc32.Checksum(huge[:20], crc32.MakeTable(crc32.Castagnoli)))
	cut := []byte{0xCA, 0x17, 1, 1, 40, 0}
	big := []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 4<<20))
	targets := append(append([]string{c.S3Addr}, c.Addrs...), append(c.AdminAddrs, c.OSDAddrs...)...)
	for _, addr := range targets {
		for _, junk := range [][]byte{random, huge, cut, big, nil} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatalf("%s: %v", addr, err)
			}
			_, _ = conn.Write(junk) // the other side may close while we write
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // it may have closed already
			}
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // fails only on a closed connection
			if _, err := io.Copy(io.Discard, io.LimitReader(conn, 1<<20)); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s keeps a connection open that brought %d bytes of junk and ended", addr, len(junk))
			}
			conn.Close()
		}
	}
	for _, req := range []struct{ method, path, body string }{
		{"POST", "/api/v1/pools", `{"name":`}, {"POST", "/api/v1/pools", `{"name":"` + strings.Repeat("x", 3<<20) + `"}`},
		{"GET", "/api/v1/nothing", ""}, {"DELETE", "/api/v1/pools/p", ""}, {"POST", "/api/v1/users", `[]`}, {"PUT", "/api/v1/pools/p/size", "\x00"},
	} {
		r, err := http.NewRequestWithContext(ctx, req.method, "http://"+c.AdminAddrs[0]+req.path, strings.NewReader(req.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Errorf("%s %s: %v", req.method, req.path, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s %s with %d bytes of nonsense: status %s, want one that blames the request", req.method, req.path, len(req.body), resp.Status)
		}
	}

	// The same directory twice.
	addr, err := FreeAddrs(4)
	if err != nil {
		t.Fatal(err)
	}
	c.run(ctx, t, 5, []string{c.OSDDir(0), "in use by process"}, "osd", "--data", c.OSDDir(0), "--host", "host0", "--mons", c.Addrs[0], "--listen", addr[0])
	c.run(ctx, t, 1, []string{"mon.a", "in use"}, "mon", "--name", "a", "--data", filepath.Join(c.o.Dir, "mon.a"), "--addr", addr[1], "--raft-addr", addr[2], "--admin-addr", addr[3])
	// The same port twice.
	c.run(ctx, t, 1, []string{c.OSDAddrs[1], "address already in use"}, "osd", "--data", filepath.Join(c.o.Dir, "another"), "--host", "h", "--mons", c.Addrs[0], "--listen", c.OSDAddrs[1], "--journal", "32MiB")

	if err := c.Check(); err != nil {
		t.Error(err)
	}
	for _, p := range c.procs() {
		if !p.Running() {
			t.Errorf("%s has ended", p.Name)
		}
	}
	if _, err := c.WaitServing(ctx, "p"); err != nil {
		t.Error(err)
	}
	compare(ctx, t, pool, "after all the junk", all)
	if inShort(t) {
		return
	}

	// An OSD that keeps failing has to wait, and its log says so.
	flapping := c.OSDs[2]
	for range 2 {
		flapping.Kill()
		if err := c.WaitOSDs(ctx, 2); err != nil {
			t.Fatal(err)
		}
		if err := flapping.Start(); err != nil {
			t.Fatal(err)
		}
		err := c.until(ctx, "the OSD to be up or to complain", func() error {
			if b, err := os.ReadFile(flapping.Log); err != nil || strings.Contains(string(b), "still waits for the monitors") {
				return err
			}
			st, err := c.API.OSDStat(ctx)
			if err == nil && st.Up != 3 {
				err = fmt.Errorf("%d OSDs are up", st.Up)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	waitLog(ctx, t, c, flapping, "still waits for the monitors")
	wantText(t, "log of a flapping OSD", flapping.Tail(50), "times within")
}
