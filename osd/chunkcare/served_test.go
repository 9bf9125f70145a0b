package chunkcare

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// silent is a world of which one PG of two is not served; it counts those who wait for it.
type silent struct {
	*repairWorld
	out    placement.PGID
	silent bool
	waited int
	led    []Led
	onRefs func()
}

func (s *silent) Do(ctx context.Context, pool placement.PoolID, name string, op *client.Op) (*client.Result, error) {
	if s.silent && placement.PGOf(s.m.Pool(pool), name) == s.out {
		s.waited++
		return nil, client.ErrTimeout
	}
	return s.repairWorld.Do(ctx, pool, name, op)
}

func (s *silent) Refs(ctx context.Context, pool placement.PoolID, object string) ([]chunk.Ref, error) {
	if s.silent && placement.PGOf(s.m.Pool(pool), object) == s.out {
		s.waited++
		return nil, client.ErrTimeout
	}
	if s.onRefs != nil {
		s.onRefs()
	}
	return s.repairWorld.Refs(ctx, pool, object)
}

// List lists what of the one PG that the pool in memory has belongs to a PG.
func (s *silent) List(ctx context.Context, id placement.PGID, kind placement.RecordKind, after string, limit int) (names []string, more bool, err error) {
	all, _, err := s.repairWorld.List(ctx, id, kind, after, 1<<20)
	for _, n := range all {
		if placement.PGOf(s.m.Pool(1), n) == id {
			names = append(names, n)
		}
	}
	return names[:min(len(names), limit)], len(names) > limit, err
}

// Led implements Groups.
func (s *silent) Led() []Led { return s.led }

func newSilent(t *testing.T) *silent {
	s := &silent{repairWorld: newRepairWorld(t, "replica:2", 5), out: placement.PGID{Pool: 1, Shard: 1}, led: []Led{{ID: placement.PGID{Pool: 1}, Clean: true}}}
	p := &s.m.Pools[0]
	p.PGNum, p.FirstPGNum, p.PGNumTarget = 2, 2, 2
	c, err := New(Options{Self: 99, Cluster: s, Shards: shardsOf{s.repairWorld}, Groups: s, Clock: s, Parallel: 1, Log: s.care.log})
	if err != nil {
		t.Fatal(err)
	}
	s.care = c
	return s
}

// TestUnserved: of a PG that is not served only a few operations wait, and it keeps nothing from being done for others; if the map says
// so none waits. When it is served again, what was left is done.
func TestUnserved(t *testing.T) {
	s := newSilent(t)
	const objects = 90
	for i := range byte(objects) {
		s.write(t, fmt.Sprint("o", i), i)
	}
	for i := range objects {
		if _, err := s.Do(context.Background(), 1, fmt.Sprint("o", i), new(client.Op).Remove(false)); err != nil {
			t.Fatal(err)
		}
	}
	here := func() (n int) { // outbox records in the PG that is served
		for _, r := range s.Records(placement.Outbox) {
			if placement.PGOf(s.m.Pool(1), r) != s.out {
				n++
			}
		}
		return n
	}
	all := here()
	stuck := 0 // those whose chunk's entry is in the other one
	for i := range byte(objects) {
		fp := chunk.Of(chunk.BLAKE3, chunk.Domain("", placement.Redundancy{M: 1}), noise(i, 128<<10))
		if placement.PGOf(s.m.Pool(1), fmt.Sprint("o", i)) != s.out && placement.PGOf(s.m.Pool(1), fp.IndexName()) == s.out {
			stuck++
		}
	}
	if stuck <= failuresMax || stuck >= all {
		t.Fatalf("%d of %d records are of entries in the other PG: no test", stuck, all)
	}
	s.silent = true
	if rep := s.ask(t, AskAudit); len(rep.Errors) == 0 {
		t.Error("it says nothing of the PG that is not served")
	}
	if left := here(); left != stuck || s.waited > unservedAfter {
		t.Errorf("%d of %d outbox records are left, want %d; %d operations waited", left, all, stuck, s.waited)
	}
	s.m.PGs = []placement.PoolPGs{{Pool: 1, Records: []placement.PGRecord{{Primary: 0}, {Primary: placement.NoOSD}}}}
	s.now, s.waited = s.now.Add(2*unservedFor), 0
	if s.ask(t, AskAudit); s.waited > 0 {
		t.Errorf("nobody leads the PG, and %d operations wait for it", s.waited)
	}
	s.silent, s.m.PGs = false, nil
	if s.ask(t, AskAudit); here() != 0 {
		t.Errorf("%d outbox records are left", here())
	}
}

// TestProblemsPass: what is not wrong any more is not told any more, without anybody asking for a look.
func TestProblemsPass(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.care.o.Shards = shardsOf{w}
	w.write(t, "o", 1)
	e := w.chunkOf(t)
	w.care.Step(context.Background())
	down := func(yes bool) {
		for i := range w.m.OSDs {
			for _, h := range e.layout.Holders[:2] {
				if w.m.OSDs[i].ID == h {
					w.m.OSDs[i].Up = !yes
				}
			}
		}
	}
	down(true)
	w.care.Step(context.Background())
	first := w.care.Status().Problems
	if len(first) != 1 || first[0].Kind != "unreadable" || first[0].Since == "" {
		t.Fatalf("two of three holders are down: %+v", first)
	}
	w.now = w.now.Add(2 * countEvery)
	w.care.Step(context.Background())
	if again := w.care.Status().Problems; len(again) != 1 || again[0] != first[0] {
		t.Errorf("%+v, want %+v", again, first)
	}
	down(false)
	w.care.Step(context.Background())
	if left := w.care.Status().Problems; len(left) != 0 {
		t.Errorf("all holders are up: %+v", left)
	}
}

// TestRepairBeforeLooks: PGs that the OSD has just begun to lead have their chunks repaired by what the map says before any is
// looked at more closely.
func TestRepairBeforeLooks(t *testing.T) {
	s := newSilent(t)
	s.led = []Led{{ID: placement.PGID{Pool: 1}}, {ID: placement.PGID{Pool: 1, Shard: 1}}}
	for i := range byte(10) {
		s.write(t, fmt.Sprint("o", i), i)
	}
	lost := s.m.OSDs[0].ID
	on := func() (n int) {
		for _, name := range s.Records(placement.ChunkEntry) {
			fp, _ := chunk.FingerprintOf(name)
			if e, err := s.care.entry(context.Background(), at{1, fp}); err != nil || slices.Contains(e.layout.Holders, lost) {
				n++
			}
		}
		return n
	}
	s.m.OSDs[0].Up, s.m.OSDs[0].Weight = false, 0
	if on() == 0 {
		t.Fatal("it has no shards")
	}
	looks := 0
	s.onRefs = func() {
		if looks++; looks == 1 && on() > 0 {
			t.Errorf("%d chunks are on an OSD that is gone when objects are looked at", on())
		}
	}
	s.now = s.now.Add(time.Hour) // references are old enough to be looked at
	if s.care.Step(context.Background()); looks == 0 {
		t.Error("nothing was looked at")
	}
}
