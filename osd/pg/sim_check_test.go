package pg_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// observe checks, after each step of a node, what must hold at every moment.
func (w *world) observe(n *node) {
	if term, ok := n.g.Serving(); ok {
		if who, seen := w.leaders[term]; seen && who != n.id {
			w.failf("%s and %s both serve in term %d", who, n.id, term)
		}
		w.leaders[term] = n.id
	}
	if have, limit := n.g.Queued(); have > limit {
		w.failf("%s holds %d requests, the limit is %d", n.id, have, limit)
	}
	w.extend(n)
}

// extend takes over what a primary calls committed. Nobody may ever disagree about
// it, and the disk of every member must have it.
func (w *world) extend(n *node) {
	have := uint64(len(w.chain))
	for _, e := range n.g.Committed(0) {
		if e.Pos.Seq <= have {
			if old := w.chain[e.Pos.Seq-1]; e.Pos.Term != old.Pos.Term || !bytes.Equal(e.Object, old.Object) || e.Req.GetSeq() != old.Req.GetSeq() {
				w.failf("%s calls %v of %q committed, but %v of %q was", n.id, e.Pos, e.Object, old.Pos, old.Object)
				return
			}
			continue
		}
		if e.Pos.Seq != have+1 {
			w.failf("%s calls %v committed, but nobody committed %d", n.id, e.Pos, have+1)
			return
		}
		have++
		w.chain = append(w.chain, e)
		w.checkMembers()
	}
}

// checkMembers demands that every member of the in-sync set, as the monitors have it
// now, has the last committed entry on its disk, or knows that it has lost its copy;
// and that not all have lost it.
func (w *world) checkMembers() {
	if len(w.chain) == 0 {
		return
	}
	last := w.chain[len(w.chain)-1]
	holders := 0
	for _, id := range w.mon.record().InSync {
		n := w.nodes[id]
		c := pg.CopyOn(n.st, simPG)
		if n.gone || !c.Exists || !c.Complete {
			continue
		}
		if err := c.Holds(last); err != nil {
			w.failf("%s is in sync but lacks %v, which is committed: %v; record %+v", id, last.Pos, err, *w.mon.record())
		}
		holders++
	}
	if holders == 0 {
		w.failf("nobody in sync has %v, which is committed; record %+v", last.Pos, *w.mon.record())
	}
}

// dump describes what a disk holds of the PG's objects.
func (w *world) dump(n *node) string {
	var b strings.Builder
	objs, _, err := n.st.List(simPG, store.Objects, "", 1000)
	if err != nil {
		w.failf("list on %s: %v", n.id, err)
	}
	for _, o := range objs {
		k := store.Key{PG: simPG, Name: o.Name}
		data, err := n.st.Read(k, 0, 1<<20)
		omap, _, err2 := n.st.OmapList(k, nil, nil, 100)
		fmt.Fprintf(&b, "%s %s %q %s %v %v\n", o.Name, o.Version, data, omap, err, err2)
	}
	return b.String()
}

// compareCopies checks that all members hold the same objects and logs once everything is quiet.
func (w *world) compareCopies() {
	var first placement.OSDID
	for i, id := range w.mon.record().InSync {
		if i == 0 {
			first = id
			continue
		}
		if got, want := w.dump(w.nodes[id]), w.dump(w.nodes[first]); got != want {
			w.failf("members differ: %s has\n%s%s has\n%s", first, want, id, got)
		}
	}
	for _, id := range w.mon.record().InSync {
		for _, e := range w.nodes[id].g.Log() {
			if e.Pos.Seq > uint64(len(w.chain)) {
				w.failf("%s has %v in its log, which never was committed, when all is quiet", id, e.Pos)
			} else if c := w.chain[e.Pos.Seq-1]; c.Pos.Term != e.Pos.Term || !bytes.Equal(c.Object, e.Object) {
				w.failf("%s has %v in its log where %v was committed", id, e.Pos, c.Pos)
			}
		}
	}
}
