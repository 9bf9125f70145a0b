package sim

import (
	"errors"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Invariant: every member of the in-sync set, as the monitors have it now, has everything
// that is committed on its disk, or knows that it has lost its copy; and never all of them.
// An empty disk, or one that has not got everything yet, never counts.

// checkMembers looks at the last entry or, when the record has changed, at every object.
func (w *world) checkMembers(id placement.PGID, all bool) {
	c := w.check.pgs[id]
	if c == nil || len(c.chain) == 0 {
		return
	}
	last := c.chain[len(c.chain)-1]
	rec := w.mons.record(id)
	if rec == nil {
		return
	}
	holders := 0
	for _, m := range rec.InSync {
		n := w.osds[m]
		copied := copyOf(n, id)
		if n.gone || !copied.Exists || !copied.Complete {
			continue
		}
		holders++
		if err := copied.Holds(last); err != nil {
			w.failf("PG %s: %s is in sync but lacks %v, which is committed: %v; record %+v", id, m, last.Pos, err, *rec)
		}
		if !all {
			if c.latest[string(last.Object)] == last { // else it is another PG's by now
				w.checkObject(n, id, copied, last)
			}
			continue
		}
		for _, name := range c.names {
			w.checkObject(n, id, copied, c.latest[name])
		}
	}
	if holders == 0 {
		w.failf("PG %s: nobody in sync has %v, which is committed; record %+v", id, last.Pos, *rec)
	}
}

// checkObject demands that a member's object is at least as new as the last write to it that was committed.
func (w *world) checkObject(n *osd, id placement.PGID, copied pg.Copy, e *wirepb.LogEntry) {
	name := string(e.Object)
	n.disk.st.SetHooks(nil, nil) // what the disk has, not what it can read just now
	defer n.hook()
	info, err := n.disk.st.Stat(store.Key{PG: id, Space: store.Objects, Name: name})
	for at := id; errors.Is(err, store.ErrNotFound) && at.Shard > 0; {
		at = parentOf(at) // it may not have been moved yet
		info, err = n.disk.st.Stat(store.Key{PG: at, Space: store.Objects, Name: name})
	}
	switch {
	case err == nil && info.Version.Seq >= e.Pos.Seq:
	case errors.Is(err, store.ErrNotFound) && (e.Removed || copied.Names(name, e.Pos.Seq)):
		// Or a later write, which may not be committed, removed it.
	default:
		w.failf("PG %s: %s is in sync, but has %q at %v (%v), not at %v (removed: %v)", id, n.id, name, info.Version, err, e.Pos, e.Removed)
	}
}

// copyOf returns what a disk has of a PG. As long as the copy of a PG it was split from has not
// been divided there, that is it.
func copyOf(n *osd, id placement.PGID) pg.Copy {
	copied := pg.CopyOn(n.disk.st, id)
	for at := id; !copied.Exists && at.Shard > 0; {
		at = parentOf(at)
		p := pg.CopyOn(n.disk.st, at)
		if p.Exists && p.PGNum <= id.Shard && (p.PGNum == 0 || placement.SplitParent(id.Shard, p.PGNum) == at.Shard) {
			return p
		}
	}
	return copied
}

// parentOf returns the PG from which a PG splits when pools grow one PG at a time.
func parentOf(id placement.PGID) placement.PGID {
	return placement.PGID{Pool: id.Pool, Shard: placement.SplitParent(id.Shard, id.Shard)}
}
