package pg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// A PG keeps one object in the store's Meta space: its attribute "state" holds
// the encoded state, its omap the log, keyed by big-endian sequence number so
// that the order of keys is the order of the log. See docs/formats/pg.md.
const metaName = "pg"

const stateAttr = "state"

// stateVersion is the format of the state attribute. A newer one is refused.
const stateVersion = 2

// state is what a group must remember besides its log.
type state struct {
	tail      store.Version // position before the log's first entry
	committed store.Version // everything up to here is committed everywhere; may lag
	// complete: the objects are those of the log's head. Otherwise they are at least those of
	// completeTo, and a learner was interrupted on its way from there.
	complete   bool
	completeTo store.Version
	// scan: objects that no log names may differ from everybody else's, since entries were dropped
	// and what they had changed was not replaced yet. Only comparing everything helps then.
	scan bool
	// horizon is the wall time (unix ns) up to which request ids may have been forgotten: a
	// repeat of a request that was first sent before it cannot be told from a new one.
	horizon int64
	// pgNum is the pool's number of PGs for which the copy was divided last; zero: the pool's
	// first, by a version that knew no other. splitTo, if not zero, is the number that a split
	// under way leads to: objects may be in the children already.
	pgNum, splitTo uint32
}

// The encoding's length, now and in format 1, which did not have pgNum and splitTo.
const (
	stateBytes  = 54
	stateBytes1 = 46
)

func (s state) encode() []byte {
	b := make([]byte, 0, stateBytes)
	var flags byte
	if s.complete {
		flags |= 1
	}
	if s.scan {
		flags |= 2
	}
	b = append(b, stateVersion, flags)
	for _, v := range []store.Version{s.tail, s.committed, s.completeTo} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Term))
		b = binary.LittleEndian.AppendUint64(b, v.Seq)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(s.horizon))
	b = binary.LittleEndian.AppendUint32(b, s.pgNum)
	return binary.LittleEndian.AppendUint32(b, s.splitTo)
}

func decodeState(b []byte) (state, error) {
	if len(b) > 0 && b[0] > stateVersion {
		return state{}, fmt.Errorf("PG state has format %d, this version reads up to %d: start a newer cairn", b[0], stateVersion)
	}
	if !(len(b) == stateBytes && b[0] == stateVersion || len(b) == stateBytes1 && b[0] == 1) {
		return state{}, fmt.Errorf("PG state of %d bytes is damaged: want %d bytes of format %d: %w", len(b), stateBytes, stateVersion, store.ErrCorrupt)
	}
	s := state{complete: b[1]&1 != 0, scan: b[1]&2 != 0}
	for i, v := range []*store.Version{&s.tail, &s.committed, &s.completeTo} {
		p := b[2+12*i:]
		*v = store.Version{Term: placement.Term(binary.LittleEndian.Uint32(p)), Seq: binary.LittleEndian.Uint64(p[4:])}
	}
	s.horizon = int64(binary.LittleEndian.Uint64(b[38:]))
	if b[0] > 1 {
		s.pgNum, s.splitTo = binary.LittleEndian.Uint32(b[46:]), binary.LittleEndian.Uint32(b[50:])
		if s.splitTo != 0 && s.splitTo <= s.pgNum {
			return state{}, fmt.Errorf("PG state is damaged: a split from %d to %d PGs: %w", s.pgNum, s.splitTo, store.ErrCorrupt)
		}
	}
	return s, nil
}

func toPos(v store.Version) *wirepb.Position {
	return &wirepb.Position{Term: uint32(v.Term), Seq: v.Seq}
}

func fromPos(p *wirepb.Position) store.Version {
	return store.Version{Term: placement.Term(p.GetTerm()), Seq: p.GetSeq()}
}

type reqKey struct{ client, seq uint64 }

func keyOf(r *wirepb.ReqID) reqKey { return reqKey{r.GetClient(), r.GetSeq()} }

// pgLog is the group's log in memory: entries with consecutive sequence
// numbers, the first one following tail.
type pgLog struct {
	tail    store.Version
	entries []*wirepb.LogEntry
	bytes   int // of the entries, encoded

	// Indexes. Only a primary asks for a request, and only for recovery for an object, so they are
	// made when asked for, and forgotten again when nobody has asked for so many entries (see append).
	reqs      map[reqKey]*wirepb.LogEntry   // nil: to be made
	names     map[string][]*wirepb.LogEntry // of each object, in order; nil: to be made
	reqsIdle  int                           // entries appended since reqs was asked
	namesIdle int                           // the same of names
}

// indexIdle is after how many entries, besides as many as the log has, an index that nobody asks is forgotten:
// making it again then costs less than what keeping it would have.
const indexIdle = 1000

func entryPos(e *wirepb.LogEntry) store.Version { return fromPos(e.Pos) }

func (l *pgLog) head() store.Version {
	if n := len(l.entries); n > 0 {
		return entryPos(l.entries[n-1])
	}
	return l.tail
}

// after returns the entries behind seq; the result shares the log's memory.
func (l *pgLog) after(seq uint64) []*wirepb.LogEntry {
	if seq <= l.tail.Seq {
		return l.entries
	}
	if i := seq - l.tail.Seq; i < uint64(len(l.entries)) {
		return l.entries[i:]
	}
	return nil
}

// has reports whether position v is in the log or is its tail.
func (l *pgLog) has(v store.Version) bool {
	if v.Seq <= l.tail.Seq {
		return v == l.tail
	}
	i := v.Seq - l.tail.Seq - 1
	return i < uint64(len(l.entries)) && entryPos(l.entries[i]) == v
}

func (l *pgLog) append(e *wirepb.LogEntry) { l.appendSized(e, e.SizeVT()) }

// appendSized is append for who knows the entry's encoded size.
func (l *pgLog) appendSized(e *wirepb.LogEntry, size int) {
	l.bytes += size
	l.entries = append(l.entries, e)
	if l.reqs != nil {
		if l.reqsIdle++; l.reqsIdle > len(l.entries)+indexIdle {
			l.reqs = nil
		} else if e.Req != nil {
			l.reqs[keyOf(e.Req)] = e
		}
	}
	if l.names != nil {
		if l.namesIdle++; l.namesIdle > len(l.entries)+indexIdle {
			l.names = nil
		} else {
			l.names[string(e.Object)] = append(l.names[string(e.Object)], e)
		}
	}
}

// byReq returns the newest entry of a request, nil if the log has none.
func (l *pgLog) byReq(key reqKey) *wirepb.LogEntry {
	l.reqsIdle = 0
	if l.reqs == nil {
		l.reqs = make(map[reqKey]*wirepb.LogEntry, len(l.entries))
		for _, e := range l.entries {
			if e.Req != nil {
				l.reqs[keyOf(e.Req)] = e
			}
		}
	}
	return l.reqs[key]
}

// byName returns the entries of an object, in order.
func (l *pgLog) byName(name string) []*wirepb.LogEntry {
	l.namesIdle = 0
	if l.names == nil {
		l.names = map[string][]*wirepb.LogEntry{}
		for _, e := range l.entries {
			l.names[string(e.Object)] = append(l.names[string(e.Object)], e)
		}
	}
	return l.names[name]
}

// cut drops the entries behind seq and returns them.
func (l *pgLog) cut(seq uint64) []*wirepb.LogEntry {
	gone := l.after(seq)
	l.entries = l.entries[:len(l.entries)-len(gone)]
	l.forget(gone)
	return gone
}

func (l *pgLog) forget(gone []*wirepb.LogEntry) {
	for _, e := range gone {
		l.bytes -= e.SizeVT()
		if e.Req != nil && l.reqs != nil && l.reqs[keyOf(e.Req)] == e {
			delete(l.reqs, keyOf(e.Req))
		}
		if l.names != nil {
			l.unname(e)
		}
	}
}

// unname takes an entry out of its object's list. Entries go from the log's beginning, or all
// behind a position do.
func (l *pgLog) unname(e *wirepb.LogEntry) {
	name := string(e.Object)
	list := l.names[name]
	if len(list) > 0 && list[0] == e {
		list = list[1:]
	} else {
		for i, o := range slices.Backward(list) {
			if o == e {
				clear(list[i:])
				list = list[:i]
				break
			}
		}
	}
	if len(list) == 0 {
		delete(l.names, name)
		return
	}
	l.names[name] = list
}

// trim drops the first n entries.
func (l *pgLog) trim(n int) {
	l.forget(l.entries[:n])
	l.tail = entryPos(l.entries[n-1])
	l.entries = append([]*wirepb.LogEntry(nil), l.entries[n:]...)
}

func logKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func (g *Group) metaKey() store.Key { return store.Key{PG: g.id, Space: store.Meta, Name: metaName} }

func (g *Group) objKey(name string) store.Key {
	return store.Key{PG: g.id, Space: store.Objects, Name: name}
}

func (g *Group) stagedKey(name string) store.Key {
	return store.Key{PG: g.id, Space: store.Staging, Name: name}
}

func (g *Group) opState() store.Op {
	g.st.tail = g.log.tail
	return store.Op{Kind: store.OpSetAttr, Key: g.metaKey(), Name: []byte(stateAttr), Value: g.st.encode()}
}

func (g *Group) opEntry(e *wirepb.LogEntry) store.Op {
	const keyBytes = 8
	b := make([]byte, keyBytes+e.SizeVT()) // for key and value
	binary.BigEndian.PutUint64(b, e.Pos.Seq)
	key, value := b[:keyBytes:keyBytes], b[keyBytes:]
	if _, err := e.MarshalToSizedBufferVT(value); err != nil {
		panic("encode log entry: " + err.Error()) // cannot fail for a message without required fields
	}
	return store.Op{Kind: store.OpOmapSet, Key: g.metaKey(), Name: key, Value: value}
}

// excess returns how many of the oldest entries are not wanted any more: those beyond LogMax that
// are older than LogKeep, and those beyond LogHard and LogBytes whatever their age.
func (l *pgLog) excess(c *Config) int {
	count, bytes := len(l.entries), l.bytes
	if count == 0 {
		return 0
	}
	roof := c.LogBytes
	if bytes > roof {
		roof -= roof / 16 // or each write would be followed by a trim
	}
	for i, e := range l.entries {
		left := count - i
		if left <= c.LogHard && bytes <= roof && !(left > c.LogMax && l.older(e, c.LogKeep)) {
			return i
		}
		bytes -= e.SizeVT()
	}
	return count
}

// older reports whether an entry is that much older than the newest, or age does not matter.
func (l *pgLog) older(e *wirepb.LogEntry, than time.Duration) bool {
	return than < 0 || l.entries[len(l.entries)-1].At-e.At > int64(than)
}

// opsTrim keeps the log within its limits: once a sixteenth of LogMax is too much, the oldest
// committed entries go. Every member decides for itself. Time is what entries say: a wall clock that
// was set costs at most entries that are kept for longer, or not for as long.
func (g *Group) opsTrim() []store.Op {
	l, c := &g.log, &g.cfg
	step := c.LogMax/16 + 1
	if len(l.entries) < c.LogMax+step && l.bytes <= c.LogBytes || g.st.committed.Seq <= l.tail.Seq {
		return nil
	}
	// Cheap in the common case: a log whose entries are young.
	if last := l.entries[min(step, len(l.entries))-1]; l.bytes <= c.LogBytes && len(l.entries) < c.LogHard+step &&
		!l.older(last, c.LogKeep) {
		return nil
	}
	n := min(l.excess(c), int(g.st.committed.Seq-l.tail.Seq), len(l.entries))
	if n < step && (l.bytes <= c.LogBytes || n == 0) {
		return nil
	}
	from := g.log.tail.Seq + 1
	for _, e := range g.log.entries[:n] {
		g.st.horizon = max(g.st.horizon, e.At)
	}
	g.log.trim(n)
	return []store.Op{
		{Kind: store.OpOmapRmRange, Key: g.metaKey(), Name: logKey(from), End: logKey(g.log.tail.Seq + 1)},
		g.opState(),
	}
}

// load reads state and log from the store.
func (g *Group) load(r store.Reader) error {
	b, err := r.Attr(g.metaKey(), []byte(stateAttr))
	if err != nil {
		return fmt.Errorf("read state of PG %s: %w", g.id, err)
	}
	if g.st, err = decodeState(b); err != nil {
		return fmt.Errorf("PG %s: %w", g.id, err)
	}
	g.exists = true
	if err := g.loadScrubs(r); err != nil {
		return err
	}
	if err := g.loadCursor(r); err != nil {
		return err
	}
	g.log.tail = g.st.tail
	start := logKey(g.st.tail.Seq + 1)
	for {
		kvs, more, err := r.OmapList(g.metaKey(), start, nil, 1000)
		if err != nil {
			return fmt.Errorf("read log of PG %s: %w", g.id, err)
		}
		for _, kv := range kvs {
			e := &wirepb.LogEntry{}
			if err := e.UnmarshalVT(kv.Value); err != nil {
				return fmt.Errorf("log entry %x of PG %s is damaged: %w: %w", kv.Key, g.id, err, store.ErrCorrupt)
			}
			if want := g.log.head().Seq + 1; e.GetPos().GetSeq() != want {
				return fmt.Errorf("log of PG %s has entry %d where %d belongs: %w", g.id, e.GetPos().GetSeq(), want, store.ErrCorrupt)
			}
			g.log.append(e)
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		start = append(kvs[len(kvs)-1].Key, 0)
	}
}

// encodeResult packs an answer for the log: length of the reply, reply, payload.
func encodeResult(r *wirepb.OpReply, payload []byte) []byte {
	n := r.SizeVT()
	b := make([]byte, 4+n+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(n))
	if _, err := r.MarshalToSizedBufferVT(b[4 : 4+n]); err != nil {
		panic("encode reply: " + err.Error()) // cannot fail, see opEntry
	}
	copy(b[4+n:], payload)
	return b
}

func decodeResult(b []byte) (*wirepb.OpReply, []byte, error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, fmt.Errorf("kept result of %d bytes is damaged: %w", len(b), store.ErrCorrupt)
	}
	n := binary.LittleEndian.Uint32(b)
	r := &wirepb.OpReply{}
	if err := r.UnmarshalVT(b[4 : 4+n]); err != nil {
		return nil, nil, fmt.Errorf("kept result is damaged: %w: %w", err, store.ErrCorrupt)
	}
	return r, b[4+n:], nil
}
