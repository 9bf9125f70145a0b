package mon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

// tryNew opens a monitor in dir and closes it again.
func tryNew(t *testing.T, dir string, change func(*Options)) error {
	t.Helper()
	o := Options{Name: "a", Dir: dir, Addr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", Log: testLog(t, "a"),
		Initial: []placement.Mon{{Name: "a", Addr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0"}}}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		return err
	}
	return m.Close()
}

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q does not have %q", err, p)
		}
	}
}

func TestDirectoryChecks(t *testing.T) {
	used := t.TempDir()
	if err := tryNew(t, used, nil); err != nil {
		t.Fatal(err)
	}
	rewrite := func(old, new string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(used)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, identityFile)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("%s has no %q", b, old)
		}
		if err := os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	other := `"cluster": "00000000000000000000000000000007", "name"`

	wantText(t, tryNew(t, rewrite(`"format": 1`, `"format": 2`), nil), "format 2", "newer version")
	wantText(t, tryNew(t, rewrite(`"format": 1`, `"format": 0`), nil), "damaged")
	wantText(t, tryNew(t, rewrite(`{`, `[`), nil), "damaged", identityFile)
	wantText(t, tryNew(t, used, func(o *Options) { o.Name, o.Initial, o.Join = "b", nil, []string{"x:1"} }), "belongs to monitor a", "b")
	wantText(t, tryNew(t, rewrite(`"name"`, other), func(o *Options) { o.Cluster = placement.UUID{15: 8} }), "belongs to cluster", "-000000000007")
	wantText(t, tryNew(t, rewrite(`"name"`, `"cluster": "07", "name"`), nil), "hexadecimal")
	if err := tryNew(t, rewrite(`"name"`, other), func(o *Options) { o.Cluster = placement.UUID{15: 7} }); err != nil {
		t.Fatal(err)
	}

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantText(t, tryNew(t, foreign, nil), "not a monitor's", "thesis.tex")
	wantText(t, tryNew(t, filepath.Join(foreign, "thesis.tex"), nil), "thesis.tex", "make the directory")
}

func TestDirectoryInUse(t *testing.T) {
	c := startCluster(t, 1, nil)
	wantText(t, tryNew(t, c.mons["a"].dir, nil), "in use by another process")
}

func TestDirErrorHints(t *testing.T) {
	for err, hint := range map[error]string{
		syscall.ENOSPC:   "free some space",
		syscall.EROFS:    "read-only",
		fs.ErrPermission: "write access",
	} {
		wantText(t, dirError("/d", "write x", fmt.Errorf("deep: %w", err)), "/d", "write x", hint)
	}
	if err := dirError("/d", "x", syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Logf("this system has no /dev/full: %v", err)
		return
	}
	wantText(t, dirError("/d", "write x", writeSynced("/dev/full", []byte("x"))), "full", "free some space")
}

func TestOptionChecks(t *testing.T) {
	mons := []placement.Mon{{Name: "a", Addr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0"}, {Name: "b", Addr: "h:3", RaftAddr: "h:4"}}
	for _, c := range []struct {
		change func(*Options)
		text   string
	}{
		{func(o *Options) { o.Name = "" }, "name"},
		{func(o *Options) { o.Name = "a/b" }, "not allowed"},
		{func(o *Options) { o.Dir = "" }, "no directory"},
		{func(o *Options) { o.Join = []string{"x:1"} }, "both"},
		{func(o *Options) { o.Name = "z" }, "not among the initial"},
		{func(o *Options) { o.Initial = append(mons[:1:1], mons...) }, "twice"},
		{func(o *Options) { o.Initial = make([]placement.Mon, 10) }, "at most 9"},
		{func(o *Options) { o.Initial = []placement.Mon{{Name: "a", Addr: "h:1", RaftAddr: "h:2"}} }, "make them equal"},
		{func(o *Options) { o.Addr = "" }, "messenger"},
		{func(o *Options) { o.RaftAddr = "999.1.1.1:1" }, "Raft transport"},
	} {
		wantText(t, tryNew(t, t.TempDir(), c.change), c.text)
	}
	m, err := New(Options{Name: "a", Dir: t.TempDir(), Addr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", Log: testLog(t, "a")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	wantText(t, m.Start(), "is empty", "joins")
	wantText(t, m.Start(), "twice")
}
