package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/placement"
)

// TestCheckWhilePurging: blocks of a removed space whose newest content was only
// in memory are gone from there once they are purged. A check that began before
// must not take that for damage. (TestDiskPowerCut met it: a store that is opened
// with a removed space goes on purging.)
func TestCheckWhilePurging(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := filepath.Join(t.TempDir(), "osd")
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 1 << 30, Log: log}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, Options{IdleCheckpoint: -1, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pg := placement.PGID{Pool: 1}
	b := &Batch{}
	for i := range 5 {
		b.Ops = append(b.Ops, Op{Kind: OpWrite, Key: Key{PG: pg, Name: fmt.Sprint("o", i)}, Data: make([]byte, 4096)})
	}
	if err := Apply(d, b); err != nil {
		t.Fatal(err)
	}
	var problems []Problem
	d.view.RLock()
	c := checker{d: d, ctx: t.Context(), snap: d.db.NewSnapshot(), seq: d.applied.seq, names: map[uint64]Key{}, inline: map[uint64]uint64{},
		found: func(p Problem) { problems = append(problems, p) }}
	d.view.RUnlock()
	defer c.snap.Close()
	if err := c.heads(); err != nil {
		t.Fatal(err)
	}
	if err := Apply(d, &Batch{Ops: []Op{{Kind: OpRemoveSpace, Key: Key{PG: pg}}}}); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for oid := range c.names {
		last = max(last, oid)
	}
	for range 1000 { // each batch lets the committer purge a little
		if err := Apply(d, &Batch{Ops: []Op{{Kind: OpTouch, Key: Key{PG: placement.PGID{Pool: 2}, Name: "x"}}}}); err != nil {
			t.Fatal(err)
		}
		_, closer, err := d.db.Get(appendSegKey(nil, last, 0))
		if errors.Is(err, pebble.ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		closer.Close()
	}
	if err := c.segments(); err != nil {
		t.Fatal(err)
	}
	if c.blocks != 5 || len(problems) > 0 {
		t.Errorf("%d blocks looked at, want 5; problems: %v", c.blocks, problems)
	}
	// Real damage is still seen.
	if _, err := d.Check(t.Context(), func(p Problem) { t.Errorf("an intact store: %s", p) }); err != nil {
		t.Fatal(err)
	}
}
