package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// planner turns batches into a redo record. Only the committer uses it, one
// group at a time: batches are planned one after the other on top of what the
// earlier ones of the group will have done, each undone again if it fails.
//
// It keeps the objects it has touched in a cache, which is always the state
// after the last planned batch, as nobody else changes objects.
type planner struct {
	d      *Disk
	cache  map[Key]*onode
	last   *onode // of cache: the one asked for last; nil: none
	segs   int    // segments in the cache, about
	gens   map[spaceKey]uint32
	stats  map[spaceKey]*planStat
	oid    uint64 // the last object number given out
	inline int64  // bytes of objects in the index

	sharing      bool               // there are clones, or were
	shares       map[uint64]*shares // by row of blocks; nil: none are shared
	sharesUnread bool               // the reading of one failed, which may pass

	// The group being planned.
	rec        redo
	blockAt    map[uint64]int32 // newest entry of rec.blocks for a block
	dirty      []*onode
	statDirty  []*planStat
	genDirty   map[spaceKey]bool
	arena      arena
	scratch    []byte
	later      int           // bound of what finish adds
	shareDirty []uint64      // rows
	view       *pebble.Batch // the index with the first viewed bytes of rec.kv; nil: not needed yet
	viewed     int

	// The batch being planned.
	txn    uint64
	undo   []undoRec
	saved  []onode // for undo
	allocs []run   // taken by the planner for this batch
	mark   planMark
	keep   uint64 // blocks that must stay free: the reserve, or none
	adds   int64  // bytes of index this batch adds for good
	blocks uint64 // blocks this batch adds
}

type planMark struct {
	kv, blocks, frees, dirty, arena, later, shares int
	inline                                         int64
}

// spaceStat counts the objects of a space and the sum of their sizes.
type spaceStat struct{ objects, bytes, records int64 }

// planStat is what the planner knows of a space.
type planStat struct {
	spaceStat
	key    spaceKey
	listed bool // in planner.statDirty
}

// onode is the cached state of the object under one name, which may be none.
type onode struct {
	key   Key
	gen   uint32 // generation of the space it was loaded in
	dirty bool   // in planner.dirty
	txn   uint64 // last batch that saved it for undo
	body
}

// body is all that moves with a rename.
type body struct {
	exists bool
	head
	segs     segTable
	all      bool     // segs is complete
	dirtyIdx []uint32 // segments the group changed
	newOmap  [][]byte // omap keys the group set: not in the index yet
	newAttrs [][]byte
	omapN    uint64 // at most so many omap keys; never above omapMax
	omapCut  bool   // the group deleted omap keys
	low      []byte // no omap key in the index is below it
	headDone bool   // the head in the index is up to date
	inDirty  bool   // the group changed the bytes in the index
	inData   []byte // what they become; nil: as in the index
	inBad    bool   // inData was made of damaged bytes
}

// undoRec is how to take back one change. What it needs depends on the kind.
type undoRec struct {
	kind   uint8
	entry  int32 // undoBlock: of rec.blocks; undoOnode: of saved
	idx    uint32
	gen    uint32
	on     *onode
	segs   segTable
	seg    *segment
	phys   uint64
	space  spaceKey
	stats  *planStat
	stat   spaceStat
	shares *shares
}

const (
	undoOnode = iota
	undoSeg
	undoBlock
	undoGen
	undoStat
	undoShares
)

// A part of the planner's cache is dropped between groups when it grows beyond these.
const (
	cacheObjects  = 8192
	cacheSegments = 32768 // 220 bytes each
)

func newPlanner(d *Disk) *planner {
	return &planner{
		d: d, cache: map[Key]*onode{}, gens: map[spaceKey]uint32{}, stats: map[spaceKey]*planStat{},
		blockAt: map[uint64]int32{}, shares: map[uint64]*shares{}, genDirty: map[spaceKey]bool{},
	}
}

// arena is memory for changed blocks, reused by every group.
type arena struct {
	chunks [][]byte
	n      int // blocks in use
}

const arenaBlocks = 64

func (a *arena) block() []byte {
	if a.n/arenaBlocks == len(a.chunks) {
		a.chunks = append(a.chunks, alignedBytes(arenaBlocks*blockBytes))
	}
	off := a.n % arenaBlocks * blockBytes
	b := a.chunks[a.n/arenaBlocks][off : off+blockBytes : off+blockBytes]
	a.n++
	return b
}

// reset ends the group.
func (p *planner) reset() {
	for _, on := range p.dirty {
		on.dirty = false
		for _, i := range on.dirtyIdx {
			if s, _ := on.segs.get(i); s != nil {
				s.listed = false
			}
		}
		on.dirtyIdx, on.newOmap, on.newAttrs, on.omapCut = nil, nil, nil, false
		on.inDirty, on.inData, on.inBad = false, nil, false
	}
	clear(p.dirty)
	p.dirty = p.dirty[:0]
	if cap(p.rec.kv) > 4<<20 {
		p.rec.kv = nil
	}
	clear(p.rec.blocks)
	p.rec = redo{kv: p.rec.kv[:0], blocks: p.rec.blocks[:0], frees: p.rec.frees[:0]}
	p.later = 0
	p.resetShares()
	clear(p.blockAt)
	for _, st := range p.statDirty {
		st.listed = false
	}
	p.statDirty = p.statDirty[:0]
	clear(p.genDirty)
	if len(p.arena.chunks) > 8 {
		p.arena.chunks = p.arena.chunks[:8]
	}
	p.arena.n = 0
	if len(p.cache) > cacheObjects || p.segs > cacheSegments {
		p.shrinkCache()
	}
}

// shrinkCache forgets objects, no matter which, until half of the room is free.
func (p *planner) shrinkCache() {
	p.last = nil
	for k, on := range p.cache {
		if len(p.cache) <= cacheObjects/2 && p.segs <= cacheSegments/2 {
			return
		}
		p.segs -= on.segs.size()
		delete(p.cache, k)
	}
	p.segs = 0
}

// empty reports whether the group changes nothing.
func (p *planner) empty() bool {
	return len(p.rec.kv) == 0 && len(p.rec.blocks) == 0 && len(p.dirty) == 0
}

// cost bounds the size of the group's record from above.
func (p *planner) cost() int {
	return len(p.rec.kv) + len(p.rec.frees)*16 + len(p.blockAt)*(blockBytes+10) + p.later
}

// What finish will add for an object, besides its name, and for a segment.
const (
	headCost = 160
	segCost  = 260
)

// plan adds a batch to the group, or leaves the group as it was and says why.
func (p *planner) plan(b *Batch, big []bigWrite) error {
	p.begin()
	p.keep = p.d.reserve.Load()
	switch {
	case onlyShrinks(b), usesReserve(b):
		p.keep = 0
	case b.Reserve:
		p.keep /= 2
	}
	err := p.ops(b, big)
	if err == nil && !onlyShrinks(b) {
		err = p.room()
	}
	if err == nil && p.cost() > p.d.journal.maxPayload() {
		err = errGroupFull
	}
	if err != nil {
		p.rollback()
	}
	return err
}

// errGroupFull says that the batch does not fit behind the others of the group.
var errGroupFull = errors.New("group full")

func (p *planner) begin() {
	p.txn++
	p.undo, p.saved, p.allocs = p.undo[:0], p.saved[:0], p.allocs[:0]
	p.adds, p.blocks = 0, 0
	p.mark = planMark{len(p.rec.kv), len(p.rec.blocks), len(p.rec.frees), len(p.dirty), p.arena.n, p.later, len(p.shareDirty), p.inline}
}

func (p *planner) rollback() {
	for i := len(p.undo) - 1; i >= 0; i-- {
		switch u := &p.undo[i]; u.kind {
		case undoOnode:
			dirty := u.on.dirty
			*u.on = p.saved[u.entry]
			u.on.dirty = dirty
		case undoSeg:
			u.segs[u.idx] = u.seg
		case undoBlock:
			if u.entry < 0 {
				delete(p.blockAt, u.phys)
			} else {
				p.blockAt[u.phys] = u.entry
			}
		case undoGen:
			p.gens[u.space] = u.gen
		case undoStat:
			u.stats.spaceStat = u.stat
		case undoShares:
			p.shares[u.phys] = u.shares
		}
	}
	for i := range p.undo {
		if p.undo[i].kind == undoGen {
			p.dropStale()
			break
		}
	}
	clear(p.undo)
	clear(p.saved)
	p.shareDirty = p.shareDirty[:p.mark.shares]
	if p.viewed > p.mark.kv {
		p.dropView()
	}
	p.rec.kv = p.rec.kv[:p.mark.kv]
	p.rec.blocks = p.rec.blocks[:p.mark.blocks]
	p.rec.frees = p.rec.frees[:p.mark.frees]
	for _, on := range p.dirty[p.mark.dirty:] {
		on.dirty = false
	}
	p.dirty = p.dirty[:p.mark.dirty]
	p.arena.n, p.later, p.inline = p.mark.arena, p.mark.later, p.mark.inline
	p.d.alloc.release(p.allocs)
	p.allocs = p.allocs[:0]
}

// dropStale forgets objects looked up after a removal of their space that has
// been undone: they were looked for in a generation that is not to be.
func (p *planner) dropStale() {
	p.last = nil
	for k, on := range p.cache {
		if on.gen != p.gens[k.space()] {
			delete(p.cache, k)
		}
	}
}

// room checks the space the batch adds to the index against what is left.
func (p *planner) room() error {
	add := p.adds + int64(p.blocks)*blockBytes
	if add == 0 {
		return nil
	}
	return p.d.checkRoom(add, p.keep)
}

func (p *planner) ops(b *Batch, big []bigWrite) error {
	for i := range b.Ops {
		var pre *bigWrite
		if len(big) > 0 && big[0].op == i {
			pre, big = &big[0], big[1:]
		}
		if err := p.op(&b.Ops[i], pre); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) op(op *Op, pre *bigWrite) error {
	switch op.Kind {
	case OpRemoveSpace:
		return p.removeSpace(op.Key.space())
	case OpRemove:
		on, err := p.get(op.Key)
		if err != nil || !on.exists {
			return err
		}
		return p.remove(on)
	case OpRename:
		return p.rename(op)
	case OpClone:
		return p.clone(op)
	}
	on, err := p.get(op.Key)
	if err != nil {
		return err
	}
	p.touch(on)
	if !on.exists {
		p.oid++
		on.body = body{exists: true, head: head{oid: p.oid}, all: true}
		p.addStat(&on.key, 1, 0)
		p.adds += int64(len(on.key.Name)) + 64
	}
	switch op.Kind {
	case OpWrite:
		return p.write(on, op, pre)
	case OpZero:
		end := min(op.Off+op.Len, on.size)
		if on.inline {
			p.zeroInline(on, op.Off, end)
			return nil
		}
		return p.zero(on, op.Off, end)
	case OpTruncate:
		if on.inline {
			return p.truncateInline(on, op.Off)
		}
		if op.Off < on.size {
			if err := p.zero(on, op.Off, on.size); err != nil {
				return err
			}
		}
		p.resize(on, op.Off)
	case OpSetAttr:
		on.hasAttrs = on.hasAttrs || p.changeHead(on)
		on.newAttrs = append(on.newAttrs, op.Name)
		p.setKV(keyAttr, on.oid, op.Name, op.Value)
	case OpRmAttr:
		if on.hasAttrs {
			p.delKV(keyAttr, on.oid, op.Name)
		}
	case OpOmapSet:
		on.hasOmap = on.hasOmap || p.changeHead(on)
		p.countOmap(on)
		on.newOmap = append(on.newOmap, op.Name)
		if string(op.Name) < string(on.low) {
			on.low = nil
		}
		p.setKV(keyOmap, on.oid, op.Name, op.Value)
	case OpOmapRm:
		if on.hasOmap {
			on.omapCut = true
			p.delKV(keyOmap, on.oid, op.Name)
		}
	case OpOmapRmRange:
		if on.hasOmap {
			return p.rmOmapRange(on, op.Name, op.End)
		}
	case OpOmapClear:
		if on.hasOmap {
			on.hasOmap, on.omapMax, on.omapN = false, 0, 0
			p.changeHead(on)
			return p.rmOmapRange(on, nil, nil)
		}
	case OpSetVersion:
		on.version, on.mtime = op.Version, op.Mtime
		p.changeHead(on)
	}
	return nil
}

// changeHead notes that the head must be written; always true.
func (p *planner) changeHead(on *onode) bool {
	on.headDone = false
	return true
}

// countOmap keeps the bound of the number of keys. The head is rewritten only
// when the bound doubles, so setting a key costs one index entry, not two.
func (p *planner) countOmap(on *onode) {
	if on.omapN++; on.omapN > on.omapMax {
		on.omapMax = max(8, 2*on.omapN)
		p.changeHead(on)
	}
}

// get finds the object under a name, in the cache or in the index.
func (p *planner) get(k Key) (*onode, error) {
	if on := p.last; on != nil && on.key == k { // a batch changes one object in several ways
		return on, nil
	}
	if on := p.cache[k]; on != nil {
		p.last = on
		return on, nil
	}
	on := &onode{key: k, gen: p.gens[k.space()]}
	p.scratch = appendHeadKey(p.scratch[:0], &k, on.gen)
	h, ok, err := p.d.getHead(p.scratch)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", k, err)
	}
	if ok {
		on.body = body{exists: true, head: h, all: h.inline, headDone: true, omapN: h.omapMax}
	}
	p.cache[k], p.last = on, on
	return on, nil
}

// touch saves an object for undo and puts it on the group's list.
func (p *planner) touch(on *onode) {
	if on.txn != p.txn {
		p.undo = append(p.undo, undoRec{kind: undoOnode, on: on, entry: int32(len(p.saved))})
		p.saved = append(p.saved, *on)
		on.txn = p.txn
	}
	if !on.dirty {
		on.dirty = true
		p.dirty = append(p.dirty, on)
		p.later += headCost + len(on.key.Name)
	}
}

// seg returns a segment for reading, nil when it maps nothing.
func (p *planner) seg(on *onode, idx uint32) (*segment, error) {
	s, known := on.segs.get(idx)
	if known || on.all {
		return s, nil
	}
	p.scratch = appendSegKey(p.scratch[:0], on.oid, idx)
	s, err := p.d.getSegment(p.scratch)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", on.key, err)
	}
	p.putSeg(on, idx, s)
	return s, nil
}

// change returns a segment for writing: a copy, as undo keeps the old one.
func (p *planner) change(on *onode, idx uint32) (*segment, error) {
	old, err := p.seg(on, idx)
	if err != nil {
		return nil, err
	}
	p.roomForSeg(on, idx)
	s := &segment{}
	if old != nil {
		*s = *old
	} else {
		p.segs++
	}
	p.undo = append(p.undo, undoRec{kind: undoSeg, segs: on.segs, idx: idx, seg: on.segs[idx]})
	on.segs[idx] = s
	if !s.listed {
		s.listed = true
		on.dirtyIdx = append(on.dirtyIdx, idx)
		p.later += segCost
	}
	return s, nil
}

func (p *planner) stat(sp spaceKey) *planStat {
	st := p.stats[sp]
	if st == nil {
		st = &planStat{key: sp}
		p.stats[sp] = st
	}
	return st
}

// saveStat returns the counters of a space to be changed.
func (p *planner) saveStat(sp spaceKey) *planStat {
	st := p.stat(sp)
	p.undo = append(p.undo, undoRec{kind: undoStat, stats: st, stat: st.spaceStat})
	if !st.listed {
		st.listed = true
		p.statDirty = append(p.statDirty, st)
	}
	return st
}

func (p *planner) addStat(k *Key, objects, bytes int64) {
	count(&p.saveStat(k.space()).spaceStat, k.Name, objects, bytes)
}

func (p *planner) resize(on *onode, size uint64) {
	if size != on.size {
		p.addStat(&on.key, 0, int64(size)-int64(on.size))
		on.size = size
		p.changeHead(on)
	}
}

// freeRun gives up blocks: their content in this group is void, and they are
// used anew only after a checkpoint.
func (p *planner) freeRun(r run) {
	for b := r.start; b < r.end() && len(p.blockAt) > 0; b++ {
		if e, ok := p.blockAt[b]; ok {
			p.undo = append(p.undo, undoRec{kind: undoBlock, phys: b, entry: e})
			delete(p.blockAt, b)
		}
	}
	if n := len(p.rec.frees); n > p.mark.frees && p.rec.frees[n-1].end() == r.start {
		p.rec.frees[n-1].count += r.count
		return
	}
	p.rec.frees = append(p.rec.frees, r)
}

// putBlock records a block's new content. data must stay unchanged until done.
func (p *planner) putBlock(phys uint64, data []byte) {
	e, ok := p.blockAt[phys]
	if !ok {
		e = -1
	}
	p.undo = append(p.undo, undoRec{kind: undoBlock, phys: phys, entry: e})
	p.blockAt[phys] = int32(len(p.rec.blocks))
	p.rec.blocks = append(p.rec.blocks, blockWrite{phys, data})
}

// blockNow reads the content a block has after what is planned so far, into b. What is damaged stays
// damaged: seal gives the block that it becomes its checksum.
func (p *planner) blockNow(s *segment, i int, b []byte) (seal func([]byte) uint32) {
	if e, ok := p.blockAt[s.phys[i]]; ok {
		clear(b[copy(b, p.rec.blocks[e].data):])
		if checksum(b) == s.sum[i] {
			return checksum
		}
		return wrongChecksum
	}
	if err := p.d.readBlock(s.phys[i], s.sum[i], b); err != nil {
		return wrongChecksum
	}
	return checksum
}

// wrongChecksum is a checksum that the block does not have. A write of a part of a block whose rest
// cannot be read must not fail: whoever replicates relies on it. Nor may it make the rest look whole, so
// that reads go on to fail until all of the block is written anew, by a repair for example.
func wrongChecksum(b []byte) uint32 { return ^checksum(b) }

// remove deletes an object with all it has.
func (p *planner) remove(on *onode) error {
	p.touch(on)
	if err := p.removeStored(on); err != nil {
		return err
	}
	p.addStat(&on.key, -1, -int64(on.size))
	on.body = body{}
	return nil
}

// removeStored records the deletion of all the index and the data file hold of
// an object.
func (p *planner) removeStored(on *onode) error {
	if err := p.loadAll(on); err != nil {
		return err
	}
	for i := range on.segs {
		s, _ := on.segs.get(uint32(i))
		if s == nil {
			continue
		}
		s.runs(func(_ int, r run) { p.giveUp(r) })
		p.scratch = appendSegKey(p.scratch[:0], on.oid, uint32(i))
		p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
	}
	if on.inline || on.inDirty {
		p.scratch = appendInlineKey(p.scratch[:0], on.oid)
		p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
	}
	if on.inline {
		p.inline -= int64(on.size)
	}
	if on.hasAttrs {
		if _, err := p.rmKeys(keyAttr, on.oid, nil, nil, on.newAttrs); err != nil {
			return fmt.Errorf("object %s: %w", on.key, err)
		}
	}
	if on.hasOmap {
		if err := p.rmOmapRange(on, nil, nil); err != nil {
			return err
		}
	}
	p.scratch = appendHeadKey(p.scratch[:0], &on.key, on.gen)
	p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
	return nil
}

// loadAll completes on.segs.
func (p *planner) loadAll(on *onode) error {
	if on.all {
		return nil
	}
	err := p.d.eachSegment(on.oid, func(idx uint32, s *segment) {
		if _, known := on.segs.get(idx); !known {
			p.putSeg(on, idx, s)
		}
	})
	if err != nil {
		return fmt.Errorf("object %s: %w", on.key, err)
	}
	on.all = true
	return nil
}

// ends looks up both names of an operation that puts one object, or what it is made of, under another
// name, and removes what that name held. There is no `to` when they are the same: nothing is to be done.
func (p *planner) ends(op *Op, verb string) (from, to *onode, err error) {
	if from, err = p.get(op.Key); err != nil {
		return nil, nil, err
	}
	if !from.exists {
		return nil, nil, fmt.Errorf("%s object %s to %s: %w", verb, op.Key, op.To, ErrNotFound)
	}
	if op.Key == op.To {
		return from, nil, nil
	}
	if to, err = p.get(op.To); err == nil && to.exists {
		err = p.remove(to)
	}
	return from, to, err
}

func (p *planner) rename(op *Op) error {
	from, to, err := p.ends(op, "rename")
	if err != nil || to == nil {
		return err
	}
	p.touch(from)
	p.touch(to)
	p.scratch = appendHeadKey(p.scratch[:0], &from.key, from.gen)
	p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
	p.addStat(&from.key, -1, -int64(from.size))
	p.addStat(&to.key, 1, int64(from.size))
	to.gen = p.gens[to.key.space()]
	to.body, from.body = from.body, body{}
	p.changeHead(to)
	return nil
}

// removeSpace empties a space at once, however much it holds: its objects stay
// behind under the old generation and are purged by and by.
func (p *planner) removeSpace(sp spaceKey) error {
	if p.stat(sp).objects == 0 {
		return nil
	}
	for k, on := range p.cache {
		if k.space() != sp {
			continue
		}
		// What this group made is not in the index, where the purge would look for it.
		if on.dirty && on.exists {
			if err := p.remove(on); err != nil {
				return err
			}
		}
	}
	old := p.gens[sp]
	p.undo = append(p.undo, undoRec{kind: undoGen, space: sp, gen: old})
	p.gens[sp] = old + 1
	p.genDirty[sp] = true
	for k, on := range p.cache {
		if k.space() == sp {
			p.touchQuietly(on)
			on.body, on.gen = body{}, old+1
		}
	}
	p.saveStat(sp).spaceStat = spaceStat{}
	p.scratch = appendDoomedKey(p.scratch[:0], sp, old)
	p.rec.kv = appendKVSet(p.rec.kv, p.scratch, nil)
	p.scratch = appendGenKey(p.scratch[:0], sp)
	gen := []byte{byte((old + 1) >> 24), byte((old + 1) >> 16), byte((old + 1) >> 8), byte(old + 1)}
	p.rec.kv = appendKVSet(p.rec.kv, p.scratch, gen)
	return nil
}

// touchQuietly saves an object for undo without making the group write it.
func (p *planner) touchQuietly(on *onode) {
	if on.txn != p.txn {
		p.undo = append(p.undo, undoRec{kind: undoOnode, on: on, entry: int32(len(p.saved))})
		p.saved = append(p.saved, *on)
		on.txn = p.txn
	}
}

// finish adds the changed heads and segments to the record and drops blocks
// that were overwritten or freed within the group.
func (p *planner) finish() *redo {
	for _, on := range p.dirty {
		if !on.exists {
			continue
		}
		if !on.headDone {
			p.scratch = appendHeadKey(p.scratch[:0], &on.key, on.gen)
			n := len(p.scratch)
			p.scratch = on.head.append(p.scratch)
			p.rec.kv = appendKVSet(p.rec.kv, p.scratch[:n], p.scratch[n:])
			on.headDone = true
		}
		if on.inDirty {
			p.finishInline(on)
		}
		for _, i := range on.dirtyIdx {
			p.scratch = appendSegKey(p.scratch[:0], on.oid, i)
			n := len(p.scratch)
			if s := on.segs[i]; s.mapped > 0 {
				p.scratch = s.append(p.scratch)
				p.rec.kv = appendKVSet(p.rec.kv, p.scratch[:n], p.scratch[n:])
			} else {
				on.segs[i] = noSegment
				p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
			}
		}
	}
	p.finishShares()
	live := p.rec.blocks[:0]
	for i, w := range p.rec.blocks {
		if e, ok := p.blockAt[w.phys]; ok && int(e) == i {
			live = append(live, w)
		}
	}
	p.rec.blocks = live
	return &p.rec
}
