package sim

import (
	"bytes"
	"fmt"
	"iter"
	"strings"

	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Invariant: some time after the last fault every client is done and every PG active+clean.

func (w *world) checkLiveness() {
	if len(w.fails) > 0 || !w.busy() {
		return
	}
	w.failf("not quiet %v after the faults", quietMax)
	for _, c := range w.clients {
		if !c.done {
			w.fails = append(w.fails, fmt.Sprintf("client %d is not done", c.id))
		}
	}
	w.fails = append(w.fails, w.unclean()...)
	w.fails = append(w.fails, w.plane.unfinished()...)
	for _, n := range w.osds {
		if !n.alive {
			continue
		}
		for _, s := range n.shards {
			for _, g := range pg.Sorted(s.groups) {
				if g.Leads() {
					w.fails = append(w.fails, fmt.Sprintf("%s: %+v", n.id, g.Query(1)))
				}
			}
		}
	}
}

// Invariant: when all is quiet, all members hold the same, byte for byte and version for
// version, and in their logs what was committed.

func (w *world) compareCopies() {
	for _, id := range w.check.sorted() {
		rec := w.mons.record(id)
		if rec == nil {
			continue
		}
		chain := w.check.pgs[id].chain
		for i, m := range rec.InSync {
			if got, want := w.dump(w.osds[m], id), w.dump(w.osds[rec.InSync[0]], id); i > 0 && got != want {
				w.failf("PG %s: members differ: %s has\n%s%s has\n%s", id, rec.InSync[0], want, m, got)
			}
			for _, e := range w.osds[m].group(id).Log() {
				if e.Pos.Seq > uint64(len(chain)) {
					w.failf("PG %s: %s has %v in its log, which never was committed, when all is quiet", id, m, e.Pos)
				} else if c := chain[e.Pos.Seq-1]; !sameEntry(c, e) {
					w.failf("PG %s: %s has %v in its log where %v was committed", id, m, e.Pos, c.Pos)
				}
			}
		}
	}
}

// dump describes what a disk holds of a PG's objects.
func (w *world) dump(n *osd, id placement.PGID) string {
	var b strings.Builder
	st := n.disk.st
	objs, _, err := st.List(id, store.Objects, "", 1000)
	if err != nil {
		w.failf("list on %s: %v", n.id, err)
	}
	for _, o := range objs {
		k := store.Key{PG: id, Name: o.Name}
		data, err := st.Read(k, 0, 1<<20)
		omap, _, err2 := st.OmapList(k, nil, nil, 100)
		attrs, err3 := st.Attrs(k)
		fmt.Fprintf(&b, "%s %s %q %s %s %v %v %v\n", o.Name, o.Version, data, omap, attrs, err, err2, err3)
	}
	return b.String()
}

// Invariant: nobody keeps a copy that is of no use to anybody.

func (w *world) checkLeftovers() {
	newest := w.mons.newest()
	for n, id := range w.copies() {
		if rec := newest.m.PG(id); rec == nil || !rec.Has(n.id) {
			w.failf("%s still holds PG %s, of which it is no member; record %+v", n.id, id, rec)
		}
	}
}

// copies goes through the PGs on all disks.
func (w *world) copies() iter.Seq2[*osd, placement.PGID] {
	return func(yield func(*osd, placement.PGID) bool) {
		for _, n := range w.osds {
			if n.gone {
				continue
			}
			ids, err := n.disk.st.PGs()
			if err != nil {
				w.failf("list PGs on %s: %v", n.id, err)
			}
			for _, id := range ids {
				if !yield(n, id) {
					return
				}
			}
		}
	}
}

// Invariant: monitors that have carried out the same commands have the same map, also when one
// of them began from a snapshot.

func (w *world) checkMonitors() {
	st := fsm.New()
	snap := w.rng.IntN(len(w.mons.log))
	for i, raw := range w.mons.log {
		c, err := fsm.Decode(raw)
		if err != nil {
			w.failf("monitors: log index %d: %v", i+1, err)
			return
		}
		st.Apply(c, placement.Epoch(i+1))
		if i == snap {
			b, err := st.Snapshot().Encode()
			if err == nil {
				st, err = fsm.Restore(b)
			}
			if err != nil {
				w.failf("monitors: snapshot at log index %d: %v", i+1, err)
				return
			}
		}
	}
	if !bytes.Equal(placement.EncodeMap(st.Map()), placement.EncodeMap(w.mons.st.Map())) {
		w.failf("monitors: a replayed log makes another map")
	}
}
