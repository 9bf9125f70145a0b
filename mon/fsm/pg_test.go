package fsm

import (
	"slices"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func ids(s ...placement.OSDID) []placement.OSDID { return s }

// A PG without data follows the target.
func TestUncreated(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	r.ok(&PoolCreate{Name: "p", PGNum: 1})
	rec := r.rec(0)
	target := r.s.Map().Target(placement.PGID{Pool: 1})
	if !slices.Equal(rec.InSync, target) || rec.Primary != target[0] || rec.Term != 1 || rec.Version != r.index || rec.Created {
		t.Fatalf("first record %+v, target %v", rec, target)
	}
	first := int(rec.Primary)
	r.ok(downOf(first, DownSilent))
	rec = r.rec(0)
	if rec.Term != 2 || rec.Primary != target[1] || len(rec.InSync) != 2 {
		t.Fatalf("one down: %+v", rec)
	}
	r.ok(downOf(int(target[1]), DownSilent))
	rec = r.rec(0)
	if rec.Term != 3 || rec.Primary != placement.NoOSD || !slices.Equal(rec.InSync, target[2:]) {
		t.Fatalf("below min_size: %+v", rec)
	}
	r.ok(bootOf(first, 2))
	r.ok(bootOf(int(target[1]), 2))
	rec = r.rec(0)
	if rec.Term != 5 || int(rec.Primary) != first || len(rec.InSync) != 3 {
		t.Fatalf("all back: %+v", rec)
	}
	r.ok(bootOf(int(target[2]), 2)) // a member that leads nothing restarts: nothing to do
	if got := r.rec(0); got.Term != rec.Term || got.Version != rec.Version {
		t.Fatalf("a restarted member changed the record: %+v", got)
	}
	r.ok(bootOf(first, 3)) // the primary restarts unnoticed: what it proposed before must fail
	if got := r.rec(0); got.Term != rec.Term+1 || got.Primary != rec.Primary {
		t.Fatalf("a restarted primary: %+v", got)
	}
	r.register(3)
	if got := r.rec(0).Term; got != 6 {
		t.Fatalf("an OSD that has never run changed the record: term %d", got)
	}
}

func TestPromotion(t *testing.T) {
	r := newRig(t)
	rec := r.created(3, PoolCreate{})
	p, q, s := rec.InSync[0], rec.InSync[1], rec.InSync[2]
	if !rec.Created || rec.Term != 1 || rec.Primary != p {
		t.Fatalf("%+v", rec)
	}
	set := rec.InSync
	expect := func(what string, term placement.Term, primary placement.OSDID) {
		t.Helper()
		got := r.rec(0)
		if got.Term != term || got.Primary != primary || !slices.Equal(got.InSync, set) {
			t.Fatalf("%s: %+v; want term %d, primary %v, in-sync %v", what, got, term, primary, set)
		}
	}
	r.ok(downOf(int(s), DownSilent))
	expect("a member is down", 1, p)
	r.ok(downOf(int(p), DownSilent))
	expect("the primary is down", 2, q)
	r.ok(downOf(int(q), DownSilent))
	expect("all are down", 3, placement.NoOSD)
	r.ok(bootOf(int(s), 2))
	expect("a member comes", 4, s)
	r.ok(bootOf(int(p), 2))
	expect("another member comes", 4, s)
	r.ok(bootOf(int(s), 3))
	expect("the primary restarts unnoticed", 5, p)
	r.ok(downOf(int(s), DownSilent))
	r.ok(bootOf(int(p), 3))
	expect("the primary restarts unnoticed, alone", 6, p)
	r.ok(&OSDReweight{ID: p})
	r.ok(&OSDReweight{ID: p, Weight: placement.WeightOne})
	expect("out and in", 6, p)
	// Several at once.
	r.ok(bootOf(int(q), 2))
	r.ok(&OSDDown{OSDs: []Down{{ID: p}, {ID: q}}})
	expect("both at once", 7, placement.NoOSD)
}

func TestPromotionPrefersTarget(t *testing.T) {
	r := newRig(t)
	rec := r.created(4, PoolCreate{Size: 3, MinSize: 1})
	out := rec.InSync[1]
	r.ok(&OSDReweight{ID: out}) // still in sync, no longer a target
	r.ok(downOf(int(rec.Primary), DownSilent))
	if got := r.rec(0).Primary; got != rec.InSync[2] {
		t.Fatalf("promoted %v, want %v, which is in the target (in-sync %v)", got, rec.InSync[2], rec.InSync)
	}
	r.ok(downOf(int(rec.InSync[2]), DownSilent))
	if got := r.rec(0).Primary; got != out {
		t.Fatalf("promoted %v, want %v, the last one", got, out)
	}
}

func TestPGChange(t *testing.T) {
	r := newRig(t)
	rec := r.created(5, PoolCreate{Size: 3, MinSize: 2})
	p, q, s := rec.InSync[0], rec.InSync[1], rec.InSync[2]
	var spare []placement.OSDID
	for id := placement.OSDID(0); id < 5; id++ {
		if !rec.Has(id) {
			spare = append(spare, id)
		}
	}
	try := func(f func(c *PGChange)) *PGChange { c := r.change(0); f(c); return c }

	// What changes nothing raises the version: an earlier proposal that is still under way is void then.
	stale := r.change(0)
	r.ok(try(func(c *PGChange) {}))
	if got := r.rec(0); got.Version != r.index || got.Term != rec.Term || !slices.Equal(got.InSync, rec.InSync) {
		t.Fatalf("nothing changed: %+v, was %+v", got, rec)
	}
	r.no(wirepb.Code_CONFLICT, "changed meanwhile", stale)
	r.ok(try(func(c *PGChange) { c.Created = false }))
	if !r.rec(0).Created {
		t.Fatal("it became uncreated")
	}
	r.no(wirepb.Code_NOT_FOUND, "does not exist", try(func(c *PGChange) { c.PG.Pool = 9 }))
	r.no(wirepb.Code_NOT_FOUND, "does not exist", try(func(c *PGChange) { c.PG.Shard = 9 }))
	r.no(wirepb.Code_CONFLICT, "changed meanwhile", try(func(c *PGChange) { c.Version-- }))
	r.no(wirepb.Code_CONFLICT, "changed meanwhile", try(func(c *PGChange) { c.Term++ }))
	r.no(wirepb.Code_CONFLICT, "changed meanwhile", try(func(c *PGChange) { c.From = q }))
	r.no(wirepb.Code_INVALID, "empty", try(func(c *PGChange) { c.InSync = nil }))
	r.no(wirepb.Code_INVALID, "twice", try(func(c *PGChange) { c.InSync = ids(p, p) }))
	r.no(wirepb.Code_INVALID, "not registered", try(func(c *PGChange) { c.InSync = ids(p, 77) }))
	r.no(wirepb.Code_INVALID, "not in the in-sync set", try(func(c *PGChange) { c.Primary = spare[0] }))
	r.no(wirepb.Code_CONFLICT, "min_size", try(func(c *PGChange) { c.InSync = ids(p) }))

	r.ok(try(func(c *PGChange) { c.InSync = ids(p, q) }))
	if got := r.rec(0); got.Term != rec.Term || got.Version != r.index || !slices.Equal(got.InSync, ids(p, q)) {
		t.Fatalf("one dropped: %+v", got)
	}
	r.ok(downOf(int(spare[0]), DownSilent))
	r.no(wirepb.Code_CONFLICT, "it is down", try(func(c *PGChange) { c.InSync = ids(p, q, spare[0]) }))
	r.ok(downOf(int(s), DownSilent))
	r.ok(try(func(c *PGChange) { c.InSync = ids(p, q, spare[1]) }))

	// Handing over raises the term; the new primary must be up.
	r.ok(downOf(int(q), DownSilent))
	r.no(wirepb.Code_CONFLICT, "cannot become primary", try(func(c *PGChange) { c.Primary = q }))
	r.ok(try(func(c *PGChange) { c.Primary = spare[1] }))
	if got := r.rec(0); got.Term != rec.Term+1 || got.Primary != spare[1] {
		t.Fatalf("handed over: %+v", got)
	}

	// Below min_size the set may grow, or stay, but not lose a member.
	r.ok(try(func(c *PGChange) { c.InSync = ids(spare[1], p) }))
	r.ok(bootOf(int(q), 2))
	r.ok(bootOf(int(s), 2))
	r.ok(&PoolSet{Name: "p", Key: "min_size", Value: "3"})
	r.no(wirepb.Code_CONFLICT, "below the pool's min_size 3", try(func(c *PGChange) { c.InSync = ids(spare[1], q) }))
	r.no(wirepb.Code_CONFLICT, "below the pool's min_size 3", try(func(c *PGChange) { c.InSync = ids(spare[1]) }))
	r.ok(try(func(c *PGChange) { c.InSync = ids(p, spare[1]) })) // another order
	r.ok(try(func(c *PGChange) { c.InSync = ids(p, spare[1], q) }))

	// A primary that is down in the map proposes nothing.
	c := r.change(0)
	r.ok(&OSDDown{OSDs: []Down{{ID: p}, {ID: q}, {ID: spare[1]}}})
	r.no(wirepb.Code_CONFLICT, "changed meanwhile", c)
	r.no(wirepb.Code_CONFLICT, "down in the map", r.change(0))
}

func TestCreatedBelowMinSize(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	r.ok(&OSDDown{OSDs: []Down{{ID: 0}, {ID: 1}}})
	r.ok(&PoolCreate{Name: "p", PGNum: 4})
	for shard := range uint32(4) {
		if rec := r.rec(shard); rec.Primary != placement.NoOSD || !slices.Equal(rec.InSync, ids(2)) {
			t.Fatalf("%+v", rec)
		}
	}
	r.ok(downOf(2, DownAdmin))
	if rec := r.rec(0); len(rec.InSync) != 0 || rec.Primary != placement.NoOSD {
		t.Fatalf("%+v", rec)
	}
}
