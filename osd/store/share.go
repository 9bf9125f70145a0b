package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/internal/codec"
)

// A clone shares the blocks of the object it was made of. Who shares is not written down, only how
// many more users than one a block has, in entries of the index that each count for a row of blocks.
// A block without such a count has one user, or none. A write to a block with several goes to a
// fresh block; giving one up takes one off the count, and the last user frees it.

// shareBlocks is how many blocks one entry counts for: a clone of a contiguous object of 4 MiB
// changes three.
const shareBlocks = 512

const shareVersion = 1

// shareCost bounds what finish adds for an entry.
const shareCost = shareBlocks*7 + 32

// shares are the users beyond the first of a row of blocks.
type shares struct {
	extra  [shareBlocks]uint32
	txn    uint64 // planner: the batch that made this copy
	listed bool   // planner: in shareDirty
	unread error  // why the entry cannot be read: every block counts as shared, and none is freed
}

func (s *shares) of(block uint64) uint32 {
	switch {
	case s == nil:
		return 0
	case s.unread != nil:
		return math.MaxUint32
	}
	return s.extra[block%shareBlocks]
}

func appendShareKey(b []byte, row uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, keyShare), row)
}

func parseShareKey(b []byte) (row uint64, ok bool) {
	if len(b) != 9 {
		return 0, false
	}
	row = binary.BigEndian.Uint64(b[1:])
	return row, row <= 1<<44/shareBlocks
}

// append encodes the counts; nothing when there are none.
func (s *shares) append(b []byte) []byte {
	begun := false
	last := 0
	for i := 0; i < shareBlocks; {
		n := 1
		for i+n < shareBlocks && s.extra[i+n] == s.extra[i] {
			n++
		}
		if s.extra[i] > 0 {
			if !begun {
				b, begun = append(b, shareVersion), true
			}
			b = binary.AppendUvarint(b, uint64(i-last))
			b = binary.AppendUvarint(b, uint64(n))
			b = binary.AppendUvarint(b, uint64(s.extra[i]))
			last = i + n
		}
		i += n
	}
	return b
}

func decodeShares(b []byte) (*shares, error) {
	bad := fmt.Errorf("index entry of shared blocks cannot be read: %w", ErrCorrupt)
	if len(b) < 2 || b[0] != shareVersion {
		return nil, bad
	}
	s := &shares{}
	d := codec.NewDecoder(b[1:])
	before := uint32(0) // extra users of the row that ends at i
	for i := uint64(0); d.Left() > 0; {
		gap, n, extra := d.Uvarint(), d.Uvarint(), d.Uvarint()
		if d.Err() != nil || gap > shareBlocks || n == 0 || n > shareBlocks || i+gap+n > shareBlocks || extra == 0 || extra >= math.MaxUint32 ||
			gap == 0 && i > 0 && uint32(extra) == before {
			return nil, bad
		}
		for i += gap; n > 0; n-- {
			s.extra[i] = uint32(extra)
			i++
		}
		before = uint32(extra)
	}
	return s, nil
}

// getShares reads an entry; nil when there is none. A damaged one is there, but unread.
func (d *Disk) getShares(row uint64) (*shares, error) { return readShares(d.db, row) }

// readShares is getShares of an index, or of a snapshot of one.
func readShares(index pebble.Reader, row uint64) (*shares, error) {
	var room [16]byte
	v, c, err := index.Get(appendShareKey(room[:0], row))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		err = corrupt(err)
		return &shares{unread: err}, err
	}
	defer c.Close()
	s, err := decodeShares(v)
	if err != nil {
		return &shares{unread: err}, err
	}
	return s, nil
}

// cacheShares is how many entries the planner keeps between groups.
const cacheShares = 512 // 2 KiB each

// sharesOf returns the counts for a block as planned so far.
func (p *planner) sharesOf(block uint64) *shares {
	if !p.sharing {
		return nil
	}
	row := block / shareBlocks
	s, ok := p.shares[row]
	if !ok {
		var err error
		if s, err = p.d.getShares(row); err != nil {
			// Never free what somebody may use: the room comes back when the store is opened anew.
			p.d.log.Error("store: who shares blocks cannot be read; they are not freed", "dir", p.d.dir, "row", row, "err", err)
		}
		p.shares[row] = s
		p.sharesUnread = p.sharesUnread || err != nil && !errors.Is(err, ErrCorrupt)
	}
	return s
}

// shared reports whether a block has other users.
func (p *planner) shared(block uint64) bool { return p.sharesOf(block).of(block) > 0 }

// changeShares returns the counts for a block for writing, or why they cannot be read.
func (p *planner) changeShares(block uint64) (*shares, error) {
	old := p.sharesOf(block)
	switch {
	case old == nil:
		old = &shares{}
		p.undo = append(p.undo, undoRec{kind: undoShares, phys: block / shareBlocks})
	case old.unread != nil:
		return nil, old.unread
	case old.txn == p.txn:
		return old, nil
	default:
		p.undo = append(p.undo, undoRec{kind: undoShares, phys: block / shareBlocks, shares: old})
	}
	s := *old
	s.txn = p.txn
	if !s.listed {
		s.listed = true
		p.shareDirty = append(p.shareDirty, block/shareBlocks)
		p.later += shareCost
	}
	p.shares[block/shareBlocks] = &s
	return &s, nil
}

// share counts one user more for each block of a run. A user that cannot be counted there must not be:
// the block would be freed, or written, under it.
func (p *planner) share(r run) error {
	p.sharing = true
	for b := r.start; b < r.end(); b++ {
		s, err := p.changeShares(b)
		if err != nil {
			return fmt.Errorf("who shares block %d cannot be read: %w", b, err)
		}
		s.extra[b%shareBlocks]++
	}
	return nil
}

// giveUp ends an object's use of blocks. Those that nobody else uses are freed.
func (p *planner) giveUp(r run) {
	if !p.sharing {
		p.freeRun(r)
		return
	}
	for r.count > 0 {
		n := uint64(0)
		for n < r.count && !p.shared(r.start+n) {
			n++
		}
		if n > 0 {
			p.freeRun(run{r.start, n})
		} else {
			n = 1
			if s, err := p.changeShares(r.start); err == nil {
				s.extra[r.start%shareBlocks]--
			} // else it stays: a count too high only keeps room that nobody uses
		}
		r = run{r.start + n, r.count - n}
	}
}

// finishShares adds the changed counts to the record.
func (p *planner) finishShares() {
	for _, row := range p.shareDirty {
		p.scratch = appendShareKey(p.scratch[:0], row)
		n := len(p.scratch)
		if p.scratch = p.shares[row].append(p.scratch); len(p.scratch) > n {
			p.rec.kv = appendKVSet(p.rec.kv, p.scratch[:n], p.scratch[n:])
		} else {
			p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
		}
	}
}

func (p *planner) resetShares() {
	for _, row := range p.shareDirty {
		if s := p.shares[row]; s != nil {
			s.listed = false
		}
	}
	p.shareDirty = p.shareDirty[:0]
	if len(p.shares) > cacheShares || p.sharesUnread { // the next group tries again to read it
		clear(p.shares)
		p.sharesUnread = false
	}
	p.dropView()
}

// clone makes To a copy of Key that shares its blocks. What it costs depends on how the object is
// laid out, not on its size: its attributes, omap and the map of its blocks are copied.
func (p *planner) clone(op *Op) error {
	from, to, err := p.ends(op, "clone")
	if err != nil || to == nil {
		return err
	}
	if err := p.loadAll(from); err != nil {
		return err
	}
	p.touch(to)
	to.gen = p.gens[to.key.space()]
	p.oid++
	to.body = body{exists: true, head: from.head, all: true, omapN: from.omapN}
	to.oid, to.inline = p.oid, false
	p.addStat(&to.key, 1, int64(to.size))
	p.adds += int64(len(to.key.Name)) + 64
	if from.inline {
		b, bad := p.inlineNow(from)
		p.setInline(to, append(p.arena.block()[:0:blockBytes], b...), bad)
	}
	for i := range from.segs {
		old, _ := from.segs.get(uint32(i))
		if old == nil || old.mapped == 0 {
			continue
		}
		s := *old
		s.listed = true
		p.putSeg(to, uint32(i), &s)
		to.dirtyIdx = append(to.dirtyIdx, uint32(i))
		p.later += segCost
		p.adds += int64(16 + 6*s.mapped)
		s.runs(func(_ int, r run) {
			if err == nil {
				err = p.share(r)
			}
		})
		if err != nil {
			return fmt.Errorf("clone object %s to %s: %w", op.Key, op.To, err)
		}
	}
	if p.cost() > p.d.journal.maxPayload() { // before many of them take too much memory
		return errGroupFull
	}
	for _, c := range []struct {
		has  bool
		kind byte
		keys *[][]byte
	}{{from.hasAttrs, keyAttr, &to.newAttrs}, {from.hasOmap, keyOmap, &to.newOmap}} {
		if !c.has {
			continue
		}
		if *c.keys, err = p.copyKVs(c.kind, from, to.oid); err != nil {
			return fmt.Errorf("clone object %s to %s: %w", op.Key, op.To, err)
		}
	}
	return nil
}

// copyKVs gives another object the attributes or omap of one, as they are after what is planned so
// far, and returns their names.
func (p *planner) copyKVs(kind byte, from *onode, oid uint64) (names [][]byte, err error) {
	o := &pebble.IterOptions{LowerBound: appendKV(nil, kind, from.oid, nil), UpperBound: keyAfter(appendKV(nil, kind, from.oid, nil))}
	var it *pebble.Iterator
	if from.dirty { // some of it may not be in the index yet
		if err := p.readAhead(); err != nil {
			return nil, err
		}
		it, err = p.view.NewIter(o)
	} else {
		it, err = p.d.db.NewIter(o)
	}
	if err != nil {
		return nil, corrupt(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, corrupt(err)
		}
		name := cloneBytes(it.Key()[kvPrefix:])
		p.setKV(kind, oid, name, v)
		if names = append(names, name); len(p.rec.kv) > p.d.journal.maxPayload() {
			return nil, errGroupFull
		}
	}
	return names, corrupt(it.Error())
}

// readAhead makes p.view show the index with what is planned so far.
func (p *planner) readAhead() error {
	if p.view == nil {
		p.view = p.d.db.NewIndexedBatch()
		p.viewed = 0
	}
	err := applyKV(p.rec.kv[p.viewed:], pebbleBatch{p.view})
	p.viewed = len(p.rec.kv)
	return err
}

func (p *planner) dropView() {
	if p.view != nil {
		p.view.Close() // of a batch that is not committed: cannot fail
		p.view = nil
	}
}
