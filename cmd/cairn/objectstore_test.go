package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// aStore makes the store of an OSD with one PG, 1.a, and returns its directory.
func aStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "osd")
	o := store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 1 << 30}
	o.Identity = store.Identity{Cluster: placement.UUID{1}, OSD: 3}
	if err := store.Create(dir, o); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id := placement.PGID{Pool: 1, Shard: 10}
	state, err := pg.ImportedState(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := store.Key{PG: id, Name: "greeting"}
	if err := store.Apply(s, &store.Batch{Ops: []store.Op{
		{Kind: store.OpSetAttr, Key: pg.MetaKey(id), Name: []byte(pg.StateAttr), Value: state},
		{Kind: store.OpWrite, Key: k, Data: []byte(strings.Repeat("hello ", 1000))},
		{Kind: store.OpSetAttr, Key: k, Name: []byte("colour"), Value: []byte("blue")},
		{Kind: store.OpOmapSet, Key: k, Name: []byte("key"), Value: []byte{0, 1}},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestObjectstore goes through the commands as a script would, by their exit codes.
func TestObjectstore(t *testing.T) {
	dir := aStore(t)
	file := filepath.Join(t.TempDir(), "1.a")
	c := newCluster(t) // not asked
	want := func(code int, text string, argv ...string) string {
		t.Helper()
		r := c.admin(t, append([]string{"objectstore"}, argv...)...)
		if r.code != code || !strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("cairn objectstore %s: exit code %d, want %d and %q:\n%s%s", strings.Join(argv, " "), r.code, code, text, r.stdout, r.stderr)
		}
		return r.stdout
	}
	data := "--data=" + dir
	want(2, "--data is missing", "fsck")
	want(22, "no store here", "fsck", "--data="+t.TempDir())
	want(0, "no damage", "fsck", "--deep", data)
	want(0, "1.a  incomplete, to be compared", "list", data)
	want(0, `"greeting"`, "list", data, "--pg=1.a")
	want(0, `"pg"`, "list", data, "--pg=1.a", "--space=meta")
	want(2, "--space", "list", data, "--pg=1.a", "--space=moon")
	want(0, "1.a  1", "usage", data)
	want(0, "  of it allocated", "usage", data)
	want(0, "can be discarded", "trim", data, "--dry-run")
	want(0, "discarded", "trim", data)
	want(exitCannotOpen, "no store here", "trim", "--data="+t.TempDir())
	want(0, "copy 1: format", "dump", "superblock", data)
	want(0, "it ends in order", "dump", "journal", data)
	want(0, "incomplete, to be compared", "dump", "pg", data, "--pg=1.a")
	want(0, "", "dump", "log", data, "--pg=1.a")
	want(3, "not found", "dump", "log", data, "--pg=1.b")
	want(0, "8192 bytes at", "dump", "object", data, "--pg=1.a", "--name=greeting")
	want(3, "not found", "dump", "object", data, "--pg=1.a", "--name=farewell")
	want(0, "\"colour\"", "dump", "omap", data, "--pg=1.a", "--name=greeting")
	want(0, "0x0001", "dump", "omap", data, "--pg=1.a", "--name=greeting")
	want(2, "--pg", "export", data, "--file="+file)
	want(3, "does not have the PG", "export", data, "--pg=1.b", "--file="+file)
	want(0, "2 objects", "export", data, "--pg=1.a", "--file="+file)
	want(5, "there already", "export", data, "--pg=1.a", "--file="+file)
	want(5, "remove it first", "import", data, "--file="+file)
	want(5, "--confirm", "remove", data, "--pg=1.a")
	want(5, "--confirm 1.a", "remove", data, "--pg=1.a", "--confirm=1.b")
	want(0, "removed PG 1.a", "remove", data, "--pg=1.a", "--confirm=1.a")
	want(3, "not on this store", "remove", data, "--pg=1.a", "--confirm=1.a")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(cut, b[:len(b)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	want(20, "damaged or incomplete", "import", data, "--file="+cut)
	want(0, "imported PG 1.a of osd.3", "import", data, "--file="+file)
	for argv, v := range map[string]any{
		"fsck": &store.FsckReport{}, "list": &[]inspect.State{}, "usage": &inspect.Usage{}, "trim --dry-run": &store.TrimReport{}, "list --pg=1.a": &[]map[string]any{},
		"dump superblock": &[]store.SuperCopy{}, "dump journal": &[]store.JournalGroup{}, "dump pg --pg=1.a": &inspect.State{},
		"dump log --pg=1.a": &[]inspect.LogEntry{}, "dump omap --pg=1.a --name=greeting": &[]inspect.Pair{}, "dump object --pg=1.a --name=greeting": &store.ObjectDump{},
	} {
		out := want(0, "", append(strings.Fields(argv), data, "-o", "json")...)
		if err := json.Unmarshal([]byte(out), v); err != nil {
			t.Errorf("%s: %v: %s", argv, err, out)
		}
	}
	flip(t, filepath.Join(dir, "superblock"), 50)
	want(20, "superblock-copy", "fsck", data)
	want(21, "REPAIRED", "fsck", "--repair", data)
	want(0, "no damage", "fsck", data)
	flip(t, filepath.Join(dir, "superblock"), 50)
	flip(t, filepath.Join(dir, "superblock"), 4096+50)
	want(22, "superblock damaged", "fsck", data)
}

// flip changes a byte of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestObjectstoreInUse: a store that an OSD has open is refused, with the process.
func TestObjectstoreInUse(t *testing.T) {
	dir := aStore(t)
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, argv := range []string{"fsck", "fsck --repair", "list", "dump superblock", "remove --pg=1.a --confirm=1.a"} {
		r := newCluster(t).admin(t, append(append([]string{"objectstore"}, strings.Fields(argv)...), "--data="+dir)...)
		if r.code != exitConflict || !strings.Contains(r.stderr, "in use by process") {
			t.Errorf("%s: exit code %d: %s", argv, r.code, r.stderr)
		}
	}
}
