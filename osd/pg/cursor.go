package pg

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// cursorAttr of the PG's Meta object holds how far a backfill of this copy has come, see docs/formats/pg.md.
// It counts only while the copy is incomplete.
const (
	cursorAttr    = "cursor"
	cursorVersion = 1
	cursorBytes   = 13 // before the name
)

// cursor says that all objects with names up to `name` are those of log position `at`. So whoever
// has a log that reaches back to there need not compare them again: what its entries behind
// that position name is all that can differ. The zero value says nothing.
type cursor struct {
	name string
	at   store.Version
}

func (c cursor) encode() []byte {
	b := append(make([]byte, 0, cursorBytes+len(c.name)), cursorVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.at.Term))
	b = binary.LittleEndian.AppendUint64(b, c.at.Seq)
	return append(b, c.name...)
}

// decodeCursor returns no cursor for what it does not know: then everything is compared.
func decodeCursor(b []byte) cursor {
	if len(b) <= cursorBytes || b[0] != cursorVersion {
		return cursor{}
	}
	return cursor{name: string(b[cursorBytes:]), at: store.Version{
		Term: placement.Term(binary.LittleEndian.Uint32(b[1:])), Seq: binary.LittleEndian.Uint64(b[5:])}}
}

func (g *Group) loadCursor(r store.Reader) error {
	b, err := r.Attr(g.metaKey(), []byte(cursorAttr))
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCorrupt):
		return nil
	case err != nil:
		return fmt.Errorf("read how far the backfill of PG %s has come: %w", g.id, err)
	}
	g.cursor = decodeCursor(b)
	return nil
}

// reach notes, when the primary asks for the page behind `after`, that everything up to there is
// as our log's head has it: the primary asks only when all that differed up to there has been
// copied, and writes behind that are in our log before its question.
func (g *Group) reach(after string) {
	if after == "" || g.st.complete || !fitName([]byte(after)) {
		return
	}
	g.cursor = cursor{after, g.log.head()}
	g.persist([]store.Op{{Kind: store.OpSetAttr, Key: g.metaKey(), Name: []byte(cursorAttr), Value: g.cursor.encode()}}, nil)
}

// dropCursor forgets the cursor, in the batch that makes it untrue.
func (g *Group) dropCursor(ops []store.Op) []store.Op {
	if g.cursor == (cursor{}) || g.cfg.is(KeepCursor) {
		return ops
	}
	g.cursor = cursor{}
	return append(ops, store.Op{Kind: store.OpRmAttr, Key: g.metaKey(), Name: []byte(cursorAttr)})
}

// resumeBackfill goes on with a backfill where it was interrupted, by us or by another primary, if
// our log reaches back to there. What was written since, and what diverged entries name, is copied again
// left of the cursor; to its right everything is compared anyway.
func (g *Group) resumeBackfill(p *peer, keep store.Version, diverged []*wirepb.LogEntry) *wirepb.PGLearn {
	name, base := string(p.info.Cursor), fromPos(p.info.CursorAt)
	if keep.Seq < base.Seq {
		base = keep
	}
	head := fromPos(p.info.Head)
	if name == "" || base.Seq < g.log.tail.Seq || !g.log.has(base) || !g.log.has(keep) || keep.Seq > head.Seq {
		return nil
	}
	for _, entries := range [][]*wirepb.LogEntry{diverged, g.log.after(base.Seq)} {
		for _, e := range entries {
			if o := string(e.Object); o <= name && !g.cfg.is(SkipLeft) {
				g.addNeed(p, o)
			}
		}
	}
	p.backfill = &backfill{upTo: name}
	return &wirepb.PGLearn{Keep: toPos(keep), Entries: g.log.after(keep.Seq)}
}
