package pg

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// What follows reads and makes the records of PGs for tools that work on stores no OSD has open.

// Record is what a store remembers of a PG besides its log. See docs/formats/pg.md.
type Record struct {
	Complete   bool
	Scan       bool // not complete, and only comparing all objects makes it so
	Tail       store.Version
	Committed  store.Version
	CompleteTo store.Version
	Horizon    time.Time
	PGNum      uint32 // of the pool, for which the copy was divided last; 0: its first
	SplitTo    uint32 // not 0: a split under way leads to it
}

// MetaKey names the object that holds a PG's records.
func MetaKey(id placement.PGID) store.Key {
	return store.Key{PG: id, Space: store.Meta, Name: metaName}
}

// The attributes of that object: the state, without which the PG does not exist, and notes
// that speak of this very copy at this very time.
const (
	StateAttr  = stateAttr
	CursorAttr = cursorAttr
	ScrubAttr  = scrubAttr
)

// ParseState reads an encoded state.
func ParseState(b []byte) (Record, error) {
	s, err := decodeState(b)
	if err != nil {
		return Record{}, err
	}
	return Record{Complete: s.complete, Scan: s.scan, Tail: s.tail, Committed: s.committed, CompleteTo: s.completeTo,
		Horizon: time.Unix(0, s.horizon).UTC(), PGNum: s.pgNum, SplitTo: s.splitTo}, nil
}

// ReadRecord reads a PG's state. ErrNotFound: the PG does not exist on this store.
func ReadRecord(r store.Reader, id placement.PGID) (Record, error) {
	b, err := r.Attr(MetaKey(id), []byte(stateAttr))
	if err != nil {
		return Record{}, fmt.Errorf("read state of PG %s: %w", id, err)
	}
	rec, err := ParseState(b)
	if err != nil {
		return Record{}, fmt.Errorf("PG %s: %w", id, err)
	}
	return rec, nil
}

// WalkLog calls f for every entry of a PG's log, and returns the log's head. Entries must
// follow one another, as when the OSD loads them.
func WalkLog(r store.Reader, id placement.PGID, rec Record, f func(*wirepb.LogEntry) error) (head store.Version, err error) {
	head = rec.Tail
	start := logKey(rec.Tail.Seq + 1)
	for {
		kvs, more, err := r.OmapList(MetaKey(id), start, nil, 1000)
		if err != nil {
			return head, fmt.Errorf("read log of PG %s: %w", id, err)
		}
		for _, kv := range kvs {
			e, err := ParseLogEntry(kv, head)
			if err != nil {
				return head, fmt.Errorf("log of PG %s: %w", id, err)
			}
			head = entryPos(e)
			if err := f(e); err != nil {
				return head, err
			}
		}
		if !more || len(kvs) == 0 {
			return head, nil
		}
		start = append(kvs[len(kvs)-1].Key, 0)
	}
}

// ParseLogEntry decodes an entry, which must follow the position before.
func ParseLogEntry(kv store.KV, before store.Version) (*wirepb.LogEntry, error) {
	e := &wirepb.LogEntry{}
	if err := e.UnmarshalVT(kv.Value); err != nil {
		return nil, fmt.Errorf("entry %x is damaged: %w: %w", kv.Key, err, store.ErrCorrupt)
	}
	pos := entryPos(e)
	if string(kv.Key) != string(logKey(pos.Seq)) || pos.Seq != before.Seq+1 || pos.Term < before.Term {
		return nil, fmt.Errorf("entry %s at key %x where %d belongs: %w", pos, kv.Key, before.Seq+1, store.ErrCorrupt)
	}
	return e, nil
}

// UntrustedState makes of an encoded state one that claims nothing: the copy is not complete, and what its
// objects are only comparing all of them can tell. Such a copy never leads, is dropped if it is a member, and counts again
// when the primary has compared it, or when an administrator makes it the truth by force. tail and log
// stay, and what a split must know. Whoever puts it in place removes CursorAttr in the same batch: a cursor
// would keep what is left of it from being compared.
func UntrustedState(b []byte) ([]byte, error) {
	s, err := decodeState(b)
	if err != nil {
		return nil, err
	}
	s.complete, s.scan, s.completeTo = false, true, store.Version{}
	return s.encode(), nil
}

// ImportedState is UntrustedState for a copy whose objects were put together from those of a PG and of
// what a split under way had moved already: that split has never begun. Without a state, because it
// was damaged, it is that of a PG with an empty log.
func ImportedState(b []byte) ([]byte, error) {
	if b == nil {
		b = state{}.encode()
	}
	s, err := decodeState(b)
	if err != nil {
		return nil, err
	}
	s.splitTo = 0
	return UntrustedState(s.encode())
}

// CheckRecords reports whether an OSD could load what the store has about a PG. ErrNotFound: the PG does not exist.
func CheckRecords(r store.Reader, id placement.PGID) error {
	g := &Group{cfg: Config{}.withDefaults(), id: id, scrubs: noScrubs()}
	err := g.load(r)
	if errors.Is(err, store.ErrNotFound) && g.exists {
		return fmt.Errorf("PG %s: %w", id, store.ErrCorrupt)
	}
	return err
}
