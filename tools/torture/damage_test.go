package torture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
)

// journalGroup is a group of records found in a journal.
type journalGroup struct {
	off, seq uint64
	payload  uint32
}

// lastGroups returns the two newest groups of a journal (docs/formats/store.md).
func lastGroups(t *testing.T, journal []byte) (last, before journalGroup) {
	t.Helper()
	for off := 0; off+64 <= len(journal); off += 4096 {
		if !bytes.HasPrefix(journal[off:], []byte("CGJ1")) {
			continue
		}
		g := journalGroup{uint64(off), binary.LittleEndian.Uint64(journal[off+8:]), binary.LittleEndian.Uint32(journal[off+20:])}
		switch {
		case g.seq > last.seq:
			last, before = g, last
		case g.seq > before.seq:
			before = g
		}
	}
	if before.seq == 0 {
		t.Fatal("the journal has fewer than two groups")
	}
	return last, before
}

// checkpoint returns the sequence number from which a store replays its journal.
func checkpoint(t *testing.T, superblock []byte) (seq uint64) {
	t.Helper()
	var newest uint64
	for _, b := range [][]byte{superblock[:4096], superblock[4096:]} {
		if generation := binary.LittleEndian.Uint64(b[16:]); generation >= newest {
			newest, seq = generation, binary.LittleEndian.Uint64(b[112:])
		}
	}
	return seq
}

// killWithWork kills an OSD when its journal has at least a few groups to replay.
func killWithWork(ctx context.Context, t *testing.T, c *Cluster, i int) {
	t.Helper()
	for {
		err := c.until(ctx, "groups in the journal", func() error { return hasWork(t, c, i) })
		if err != nil {
			t.Fatal(err)
		}
		c.OSDs[i].Kill()
		if hasWork(t, c, i) == nil {
			return
		}
		if err := c.Revive(ctx, i); err != nil { // a checkpoint came in between
			t.Fatal(err)
		}
	}
}

func hasWork(t *testing.T, c *Cluster, i int) error {
	t.Helper()
	super, err := os.ReadFile(filepath.Join(c.OSDDir(i), "superblock"))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := os.ReadFile(filepath.Join(c.OSDDir(i), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	_, before := lastGroups(t, journal)
	if first := checkpoint(t, super); before.seq < first+3 {
		return fmt.Errorf("replay would begin at group %d, and all but the last end at %d", first, before.seq)
	}
	return nil
}

// edit changes a file.
func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedStore: an OSD is killed while clients write, and its files are
// damaged before it starts again. What a crash can leave behind it repairs, any
// other damage it refuses, saying where; the clients notice neither.
func TestDamagedStore(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 20*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3})
	pool := openPool(ctx, t, c, api.PoolCreate{Name: "p"})
	w := NewWorkload(Load{Seed: seed()}, newStats(), pool)
	w.Begin(ctx)
	at := func(name string) string { return filepath.Join(c.OSDDir(2), name) }
	victim := c.OSDs[2]
	for _, tc := range []struct {
		name   string
		change func(t *testing.T)
		says   []string // nil: it starts
	}{
		{"the newest group torn", func(t *testing.T) {
			edit(t, at("journal"), func(b []byte) []byte {
				last, _ := lastGroups(t, b)
				b[last.off+64+uint64(last.payload)/2] ^= 0xff
				return b
			})
		}, nil},
		{"junk behind the newest group", func(t *testing.T) {
			edit(t, at("journal"), func(b []byte) []byte {
				last, _ := lastGroups(t, b)
				next := (last.off + 64 + uint64(last.payload) + 4095) &^ 4095
				copy(b[min(next, uint64(len(b))):], value("junk", 1, 4096))
				return b
			})
		}, nil},
		{"one copy of the superblock", func(t *testing.T) {
			edit(t, at("superblock"), func(b []byte) []byte { b[17] ^= 1; return b })
		}, nil},
		{"an older group", func(t *testing.T) {
			edit(t, at("journal"), func(b []byte) []byte {
				_, before := lastGroups(t, b)
				b[before.off+64] ^= 0xff
				return b
			})
		}, []string{"journal"}},
		{"the journal cut off", func(t *testing.T) {
			edit(t, at("journal"), func(b []byte) []byte { return b[:len(b)/2] })
		}, []string{"journal"}},
		{"no journal", func(t *testing.T) {
			if err := os.Remove(at("journal")); err != nil {
				t.Fatal(err)
			}
		}, []string{"journal"}},
		{"both copies of the superblock", func(t *testing.T) {
			edit(t, at("superblock"), func(b []byte) []byte { b[17] ^= 1; b[4096+17] ^= 1; return b })
		}, []string{"superblock"}},
		{"the data file of another store", func(t *testing.T) {
			edit(t, at("data"), func(b []byte) []byte { b[17] ^= 1; return b[:4096] })
		}, []string{"data"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := c.WaitClean(ctx); err != nil {
				t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
			}
			killWithWork(ctx, t, c, 2)
			keep := t.TempDir() // what is refused must be left as it was
			if tc.says != nil {
				if err := os.CopyFS(filepath.Join(keep, "osd"), os.DirFS(c.OSDDir(2))); err != nil {
					t.Fatal(err)
				}
			}
			tc.change(t)
			if tc.says == nil {
				if err := c.Revive(ctx, 2); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err := victim.StartToEnd(); err != nil {
				t.Fatal(err)
			}
			exit, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			code, err := victim.WaitExit(exit)
			if err != nil {
				t.Fatal(err)
			}
			line := victim.Tail(1)
			t.Log(line)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			wantText(t, "refusal", line, append(tc.says, "cairn: ", c.OSDDir(2))...)
			// With the right files back it goes on where it was.
			if err := errors.Join(os.RemoveAll(c.OSDDir(2)), os.CopyFS(c.OSDDir(2), os.DirFS(filepath.Join(keep, "osd"))), c.Revive(ctx, 2)); err != nil {
				t.Fatal(err)
			}
		})
	}
	w.Stop()
	if err := errors.Join(w.Err(), c.WaitClean(ctx), w.Verify(ctx, true)); err != nil {
		t.Error(err)
	}
	c.OSDs[0].Kill() // so that much is read from the one that was damaged
	if err := w.Verify(ctx, false); err != nil {
		t.Error(err)
	}
}

// TestFullCluster: when the OSDs are full, writes are refused in so many words,
// reads and removals work, and after some removals writes do again.
func TestFullCluster(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 20*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3, Capacity: "128MiB"})
	pool := openPool(ctx, t, c, api.PoolCreate{Name: "p", PGNum: 8})
	const size = 2 << 20
	name := func(i int) string { return fmt.Sprintf("o-%d", i) }
	n := 0
	for ; n < 100; n++ {
		err := pool.WriteFull(ctx, name(n), value(name(n), 1, size))
		if errors.Is(err, client.ErrNoSpace) {
			wantText(t, "refused write", err.Error(), name(n), `pool "p"`, "full", "delete data or add OSDs")
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 20 || n == 100 {
		t.Fatalf("%d objects of 2 MiB fit on OSDs of 128 MiB", n)
	}
	t.Logf("%d objects of 2 MiB fit on OSDs of 128 MiB", n)
	for i, p := range c.OSDs { // also after a restart
		p.Kill()
		if err := c.Revive(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if got, err := pool.Read(ctx, name(i), 0, 0); err != nil || !bytes.Equal(got, value(name(i), 1, size)) {
			t.Fatalf("object %s on full OSDs: %d bytes, %v", name(i), len(got), err)
		}
	}
	err := c.until(ctx, "health to say that OSDs are full", func() error {
		r, err := c.Cairn(ctx, "health", "detail")
		if err == nil && !strings.Contains(r.Stdout, "FULL") {
			err = errors.New(r.Both())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for i := range n {
		if err := pool.Remove(ctx, name(i)); err != nil {
			t.Fatalf("remove on full OSDs: %v", err)
		}
	}
	if err := c.WaitClean(ctx); err != nil {
		t.Fatal(err)
	}
	err = c.until(ctx, "writes to be taken again", func() error {
		return pool.WriteFull(ctx, "again", value("again", 1, size))
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBadDirectories: directories that cannot be written, or have no room, are
// refused by name. The file systems exist only for the program that is tested.
func TestBadDirectories(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 10*time.Minute)
	c := alone(t)
	dir := filepath.Join(c.o.Dir, "disk")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unshare := []string{"--mount"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	osd := []string{"osd", "--host", "h", "--mons", "127.0.0.1:1", "--journal", "32MiB", "--data"}
	mon := []string{"mon", "--name", "a", "--addr", "127.0.0.1:0", "--raft-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0",
		"--initial", "a=127.0.0.1:7000/127.0.0.1:7001/127.0.0.1:7002", "--data"}
	if r, err := c.Command(ctx, nil, "unshare", append(unshare, "mount", "-t", "tmpfs", "none", dir)...); err != nil || r.Code != 0 {
		// Some containers forbid every mount. A directory nobody can make says at least something.
		t.Logf("no file systems of our own here: %v %s", err, r.Both())
		c.run(ctx, t, 1, []string{"/proc/cairn"}, append(osd, "/proc/cairn")...)
		c.run(ctx, t, 1, []string{"/proc/cairn"}, append(mon, "/proc/cairn")...)
		return
	}
	mounted := func(options string, code int, want []string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		script := `mount -t tmpfs -o ` + options + ` none "$1" && shift && exec "$@"`
		r, err := c.Command(ctx, nil, "unshare", append(append(slices.Clone(unshare), "sh", "-c", script, "sh", dir, c.o.Binary), args...)...)
		if err != nil {
			t.Fatal(err)
		}
		what := "cairn " + strings.Join(args, " ") + " on a tmpfs with " + options
		wantText(t, what, r.Both(), want...)
		if r.Code != code {
			t.Errorf("%s: exit code %d, want %d: %s", what, r.Code, code, r.Both())
		}
	}
	mounted("ro", 1, []string{filepath.Join(dir, "osd"), "read-only file system"}, append(osd, filepath.Join(dir, "osd"))...)
	mounted("ro", 1, []string{filepath.Join(dir, "mon"), "read-only file system"}, append(mon, filepath.Join(dir, "mon"))...)
	mounted("size=16m", 1, []string{filepath.Join(dir, "osd"), "no space left on"}, append(osd, filepath.Join(dir, "osd"))...)
	mounted("size=4k", 1, []string{filepath.Join(dir, "mon"), "no space left on"}, append(mon, filepath.Join(dir, "mon"))...)
}
