package pg

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// When a write makes references to chunks vanish, the chunks' entries in the index must hear of it one day, and those lie in
// other PGs. So the PG notes it in an object of its own, a record in its outbox, by an entry that is logged before that of
// the write. In that order: a log that ends between the two has a record of references that are still there, and whoever works
// the record off looks first. The other way round they would never be let go of.

// addOutbox gives the outbox record of a write its place in the log. It returns nil if the record's name is taken.
func (g *Group) addOutbox(r *request, ev *ExecutedEvent) *write {
	ld := g.lead
	prev := g.log.head()
	pos := store.Version{Term: ld.term, Seq: prev.Seq + 1}
	// The position is given once, so nobody has ever heard of the name: only who guesses it can be in the way. It is
	// locked like any object that is written, since recovery must not copy what our disk does not have.
	name := chunk.OutboxName(pos.Term, pos.Seq, r.name)
	if !ld.locks.try(name, writing) {
		return nil
	}
	key := g.objKey(name)
	e := &wirepb.LogEntry{Pos: toPos(pos), Object: []byte(name), At: r.ev.Wall}
	w := &write{lead: ld, entry: e, seq: pos.Seq, prev: prev, local: g.cfg.is(CommitEarly), ops: []store.Op{
		{Kind: store.OpWrite, Key: key, Data: chunk.AppendDropped(nil, ev.Drops)},
		{Kind: store.OpSetVersion, Key: key, Version: pos, Mtime: r.ev.Op.Mtime},
	}}
	g.log.append(e)
	ld.inflight = append(ld.inflight, w)
	return w
}

// declineDrops refuses a write that was executed, but not logged, because its outbox record cannot be.
func (g *Group) declineDrops(r *request) {
	g.reply(r.handles, Reply{Code: wirepb.Code_TRY_LATER, Text: fmt.Sprintf("PG %s: somebody uses the name of the next outbox record", g.id)})
	g.finish(r)
}

// ---- listings ----

// listMax is how many names a listing has at most.
const listMax = 1000

// ListFrom says what the store is to be asked for a client's listing: objects with names behind after, so many. Records sort
// before all objects of clients.
func ListFrom(l *wirepb.PGList) (after string, limit int) {
	if limit = int(l.Limit); limit <= 0 || limit > listMax {
		limit = listMax
	}
	least := lastRecord
	if l.Record != 0 {
		least = placement.RecordName(placement.RecordKind(l.Record), nil, "")
	}
	return max(string(l.After), least), limit
}

// lastRecord is not less than any record's name.
var lastRecord = func() string {
	b := make([]byte, store.MaxNameBytes)
	for i := range b {
		b[i] = 0xff
	}
	b[0] = placement.RecordMark
	return string(b)
}()

// ListReply makes the answer of what the store has listed.
func ListReply(l *wirepb.PGList, objs []store.ListEntry, more bool) *wirepb.PGListReply {
	reply := &wirepb.PGListReply{More: more}
	for _, o := range objs {
		if l.Record != 0 {
			if k, ok := placement.RecordOf(o.Name); !ok || k != placement.RecordKind(l.Record) {
				reply.More = false
				break
			}
		}
		reply.Objects = append(reply.Objects, []byte(o.Name))
	}
	return reply
}
