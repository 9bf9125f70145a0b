package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDedupEstimate counts a tree in which one file is there twice, once with a byte inserted at the front.
func TestDedupEstimate(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", data)
	write("below/b", data)
	write("below/c", append([]byte{0}, data...))
	write("zeros", make([]byte, 1<<20))
	write("empty", nil)
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t) // not asked
	const logical = 3*4<<20 + 1 + 1<<20
	estimate := func(code int, argv ...string) estimateReport {
		t.Helper()
		r := c.admin(t, append([]string{"dedup", "estimate", "-o", "json"}, argv...)...)
		var got estimateReport
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != code {
			t.Fatalf("exit code %d, want %d; %v\n%s%s", r.code, code, err, r.stdout, r.stderr)
		}
		return got
	}
	got := estimate(0, dir)
	if got.Files != 5 || got.LeftOut != 1 || got.Chunks != 4+4+5+1 || got.UniqueChunks != 4+5+1 || got.Logical != logical ||
		got.Unique != 2*4<<20+1+1<<20 || got.Stored != got.Unique || got.Sample != 1 {
		t.Errorf("fixed: %+v", got)
	}
	got = estimate(0, "--cut=content", "--chunk-size=8K", "--compression=s2", dir, filepath.Join(dir, "link"))
	if got.Files != 6 || got.Logical != logical+4<<20 || got.Unique < 4<<20 || got.Unique > 4<<20+100<<10 || got.Stored > got.Unique-16<<10 {
		t.Errorf("content: %+v", got)
	}
	r := c.admin(t, "dedup", "estimate", dir, filepath.Join(dir, "gone"))
	if r.code != exitFailed || !strings.Contains(r.stderr, "gone: no such file") || !strings.Contains(r.stdout, "unreadable     1") ||
		!strings.Contains(r.stdout, "unique         9.0 MiB") {
		t.Errorf("with a file that is gone: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, argv := range [][]string{{}, {"--cut=round", dir}, {"--chunk-size=5", dir}, {"--compression=zip", dir}} {
		if r := c.admin(t, append([]string{"dedup", "estimate"}, argv...)...); r.code != exitUsage {
			t.Errorf("%q: exit code %d, want %d: %s", argv, r.code, exitUsage, r.stderr)
		}
	}
}

func TestPoolSettle(t *testing.T) {
	c := newCluster(t)
	if r := c.admin(t, "pool", "create", "ec", "--chunks=2:1:xor"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	for _, tt := range []struct {
		argv []string
		code int
		want string
	}{
		{[]string{"ec", "--idle=3s"}, 0, "9 of 6 PGs to be looked at; since the OSDs started 15 objects looked at, 9 settled: 21 chunks, 3 MiB\n"},
		{[]string{"ec", "--status"}, 0, "0 of 6 PGs"},
		{[]string{"ec", "--wait", "-o=json"}, 0, `"bytes": 3145728`},
		{[]string{"ec", "--idle=-3s"}, exitUsage, "zero or more"},
		{[]string{"rbd"}, exitUsage, "makes no chunks"},
		{[]string{"nope"}, exitNotFound, "nope"},
	} {
		if r := c.admin(t, append([]string{"pool", "settle"}, tt.argv...)...); r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("cairn pool settle %q: exit code %d, want %d and %q:\n%s%s", tt.argv, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
	}
}
