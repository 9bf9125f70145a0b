package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/store"
)

// TestObjectstoreShards: shards of chunks are shown, checked and named, and are no PG.
func TestObjectstoreShards(t *testing.T) {
	dir := aStore(t)
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("shard of a chunk"), 8<<10)
	for i := range 3 {
		name := chunk.Shard{Chunk: chunk.Fingerprint{chunk.BLAKE3, 0xab, byte(i)}, Gen: 0x77, Index: 5}
		k := store.ShardKey(2, name.Name())
		data[0] = byte(i)
		if err := store.Apply(s, &store.Batch{Ops: []store.Op{
			{Kind: store.OpWrite, Key: k, Data: data}, {Kind: store.OpSetVersion, Key: k, Mtime: 1e18},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t) // not asked
	run := func(code int, argv ...string) string {
		t.Helper()
		r := c.admin(t, append([]string{"objectstore", "--data=" + dir}, argv...)...)
		if r.code != code {
			t.Fatalf("cairn objectstore %v: exit code %d, want %d:\n%s%s", argv, r.code, code, r.stdout, r.stderr)
		}
		return r.stdout + r.stderr
	}
	has := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in:\n%s", w, out)
			}
		}
	}
	has(run(0, "list", "--pool=2"), "131072  2001-09-09T01:46:40.000Z  0000000000000077  5   blake3:ab00", "blake3:ab02")
	has(run(0, "usage"), "POOL  SHARDS  BYTES", "2     3       384 KiB")
	has(run(2, "list", "--pool=2", "--pg=1.a"), "belong to no PG")
	has(run(0, "fsck", "--deep"), "no damage", "5 objects") // PG 1.a has two, with its records
	if out := run(0, "list"); strings.Contains(out, "2.0") || !strings.Contains(out, "1.a") {
		t.Errorf("PGs:\n%s", out)
	}
	var shards []inspect.Shard
	if err := json.Unmarshal([]byte(run(0, "list", "--pool=2", "-o", "json")), &shards); err != nil || len(shards) != 3 || shards[1].Index != 5 || shards[1].Stored != 1e18 {
		t.Errorf("%+v, %v", shards, err)
	}
	file := filepath.Join(dir, "data")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\x01hard of a chunkshard"))
	if at < 0 {
		t.Fatal("the second shard is not in the data file")
	}
	flip(t, file, at+100)
	has(run(20, "fsck", "--deep"), "DAMAGE", "pool 2/shards/01ab01", "cairn gc repair")
	if out := run(20, "fsck", "--deep"); strings.Contains(out, "pg repair") {
		t.Errorf("shards are no PG's:\n%s", out)
	}
}
