package pg

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// What follows lets the checkers of the simulation look inside. Nothing of it changes anything.

// Serving returns the term in which the group answers clients, or false.
func (g *Group) Serving() (placement.Term, bool) {
	if g.lead == nil || !g.lead.serving {
		return 0, false
	}
	return g.lead.term, true
}

// LeadTerm returns the term in which the group leads, or 0.
func (g *Group) LeadTerm() placement.Term {
	if g.lead == nil {
		return 0
	}
	return g.lead.term
}

// Committed returns the entries behind seq that this primary calls committed.
func (g *Group) Committed(seq uint64) []*wirepb.LogEntry {
	if g.lead == nil || !g.lead.activated {
		return nil
	}
	es := g.log.after(seq)
	for i, e := range es {
		if e.Pos.Seq > g.lead.committed.Seq {
			return es[:i]
		}
	}
	return es
}

// Log returns the group's log.
func (g *Group) Log() []*wirepb.LogEntry { return g.log.entries }

// Queued returns how many requests the group holds, and the most it may.
func (g *Group) Queued() (n, limit int) {
	if g.lead == nil {
		return 0, 0
	}
	return len(g.lead.waiting) + len(g.lead.requests) + len(g.lead.inflight), g.cfg.QueueMax + g.cfg.InFlightMax
}

// Copy is what a disk holds of a PG.
type Copy struct {
	Exists, Complete bool
	Tail             store.Version
	PGNum            uint32 // the pool's number of PGs for which the copy was divided last; 0: its first
	r                store.Reader
	key              store.Key
}

// CopyOn reads a PG's state from a disk.
func CopyOn(r store.Reader, id placement.PGID) Copy {
	c := Copy{r: r, key: store.Key{PG: id, Space: store.Meta, Name: metaName}}
	b, err := r.Attr(c.key, []byte(stateAttr))
	if err != nil {
		return c
	}
	st, err := decodeState(b)
	if err != nil {
		return c
	}
	c.Exists, c.Complete, c.Tail, c.PGNum = true, st.complete, st.tail, st.pgNum
	return c
}

// Holds reports whether the disk's log has an entry, or has trimmed it.
func (c Copy) Holds(e *wirepb.LogEntry) error {
	if e.Pos.Seq <= c.Tail.Seq {
		return nil
	}
	kvs, err := c.r.OmapGet(c.key, [][]byte{logKey(e.Pos.Seq)})
	if err != nil || len(kvs) == 0 {
		return fmt.Errorf("no entry at %d (tail %s): %v", e.Pos.Seq, c.Tail, err)
	}
	var got wirepb.LogEntry
	if err := got.UnmarshalVT(kvs[0].Value); err != nil {
		return err
	}
	if entryPos(&got) != entryPos(e) || string(got.Object) != string(e.Object) {
		return fmt.Errorf("entry %s of %q where %s of %q belongs", entryPos(&got), got.Object, entryPos(e), e.Object)
	}
	return nil
}

// Names reports whether an entry of the disk's log behind seq names an object.
func (c Copy) Names(object string, seq uint64) bool {
	kvs, _, err := c.r.OmapList(c.key, logKey(seq+1), nil, 1000)
	if err != nil {
		return false
	}
	for _, kv := range kvs {
		var e wirepb.LogEntry
		if len(kv.Key) == len(logKey(0)) && e.UnmarshalVT(kv.Value) == nil && string(e.Object) == object {
			return true
		}
	}
	return false
}
