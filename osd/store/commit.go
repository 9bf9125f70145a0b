package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

const (
	bigBytes     = 64 << 10  // writes of this size go to the data file before the journal
	hugeBytes    = 256 << 10 // large writes of batches of this size are not left to the committer
	groupBytes   = 1 << 20   // a group is closed at this size
	groupBatches = 512
	aheadBatches = 32 // large writes of so many batches are under way at once
	queueBatches = 4096
	purgeObjects = 64 // objects of removed spaces purged per group
)

// item is a batch on its way.
type item struct {
	batch   *Batch
	done    func(error)
	bytes   int64
	err     error         // decided before planning
	big     []bigWrite    // written ahead, valid once ready is closed; or by the committer
	wantBig bool          // the batch has large writes
	ready   chan struct{} // nil: nothing to wait for
	unwrit  bool          // the committer is to write them
	retried bool          // after space was reclaimed
	loose   bool          // later ones need not wait until it is written; guarded by queue.mu
}

// queue is the bounded line of batches before the committer.
type queue struct {
	mu     sync.Mutex // guards below
	some   *sync.Cond // the committer waits here
	room   *sync.Cond // Submit waits here
	items  []*item
	bytes  int64
	max    int64
	closed bool
}

func (q *queue) init(maxBytes int64) {
	q.max = maxBytes
	q.some, q.room = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
}

// put appends, waiting for room; false when the queue is closed. It counts the
// batch if it is bulk, so that Close, which closes the queue first, waits for it.
func (q *queue) put(it *item, workers *sync.WaitGroup) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && len(q.items) > 0 && (q.bytes+it.bytes > q.max || len(q.items) >= queueBatches) {
		q.room.Wait()
	}
	if q.closed {
		return false
	}
	if it.ready != nil {
		workers.Add(1)
	}
	q.items = append(q.items, it)
	q.bytes += it.bytes
	q.some.Signal()
	return true
}

// head is the first item, without those that may be overtaken and are not written yet, or nil; with wait it is
// nil only when the queue is closed and empty.
func (q *queue) head(wait bool) *item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for _, it := range q.items {
			if !it.loose {
				return it
			}
		}
		if !wait || q.closed && len(q.items) == 0 {
			return nil
		}
		q.some.Wait()
	}
}

// written ends the wait for items that were loose.
func (q *queue) written(list []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range list {
		it.loose = false
	}
	q.some.Signal()
}

// unwritten appends the first items whose large writes are the committer's to do, and takes
// them for done, as the caller is about to write them.
func (q *queue) unwritten(list []*item) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := 0; i < len(q.items) && len(list) < aheadBatches; i++ {
		if it := q.items[i]; it.unwrit {
			it.unwrit = false
			list = append(list, it)
		}
	}
	return list
}

// pop takes an item out that head has returned.
func (q *queue) pop(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.items, it)
	copy(q.items[1:], q.items[:i]) // few are overtaken
	q.items[0] = nil
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
}

// leave gives back the room of batches that are done. Until then their data is
// in memory, so they count.
func (q *queue) leave(bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= bytes
	q.room.Broadcast()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
	q.room.Broadcast()
}

// isOver reports whether there is nothing left, and nothing will come.
func (q *queue) isOver() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.items) == 0
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// Submit implements Store.
func (d *Disk) Submit(b *Batch, done func(error)) {
	it := &item{batch: b, done: done, err: checkBatch(b)}
	if it.err == nil {
		for i := range b.Ops {
			op := &b.Ops[i]
			it.bytes += int64(len(op.Data) + len(op.Value))
			_, n := wholeBlocks(op.Off, uint64(len(op.Data)))
			it.wantBig = it.wantBig || op.Kind == OpWrite && n*blockBytes >= bigBytes
		}
	}
	switch {
	case it.wantBig && it.bytes >= hugeBytes:
		it.ready, it.loose = make(chan struct{}), b.Loose
	case it.wantBig:
		it.unwrit = true
	}
	if !d.queue.put(it, &d.workers) {
		go done(ErrClosed) // never inside Submit: the caller may hold what done needs
		return
	}
	if it.ready != nil {
		d.bulk.add(d, it)
	}
}

// commitLoop is the one committer: batches become groups, groups become durable.
func (d *Disk) commitLoop() {
	defer close(d.committed)
	many := false // batches came together last time
	for {
		it := d.queue.head(len(d.purges) == 0)
		if it == nil && d.queue.isOver() {
			return
		}
		if many && d.opts.Yield != nil {
			d.opts.Yield() // one more in the group costs a fraction of a group of its own
		}
		group := d.planGroup()
		many = len(group) > 1
		if len(d.purges) > 0 && d.failed() == nil && d.planner.cost() < d.journal.maxPayload()/4 {
			d.planPurge()
		}
		d.commit(group)
	}
}

// planGroup takes batches off the queue as long as they are ready and fit, and
// plans them. Batches that fail stay in the group to be answered in order.
func (d *Disk) planGroup() (group []*item) {
	d.writeWaiting()
	for len(group) < groupBatches && d.planner.cost() < groupBytes {
		it := d.queue.head(false)
		if it == nil {
			break
		}
		if it.unwrit {
			if len(group) > 0 {
				return group // what came later waits for those that came with it
			}
			d.writeWaiting()
		}
		if it.ready != nil {
			if len(group) > 0 {
				select {
				case <-it.ready:
				default:
					return group // do not make the others wait for a large write
				}
			}
			<-it.ready
		}
		err := d.failed()
		if err == nil {
			err = it.err
		}
		if err == nil {
			err = it.batch.lineErr()
		}
		if err == nil {
			err = d.planner.plan(it.batch, it.big)
		}
		switch {
		case errors.Is(err, errGroupFull):
			if len(group) > 0 || !d.planner.empty() {
				return group // commit those before it, then try again
			}
			err = invalid("batch with too many small changes for a journal of %d bytes: send several", d.journal.size)
		case errors.Is(err, ErrNoSpace) && !it.retried && d.failed() == nil && (d.reclaimable() || errors.Is(it.err, ErrNoSpace) || d.queue.anyBehind()):
			// Where there was no room when the large data came there may be by now.
			if len(group) > 0 || !d.planner.empty() {
				return group
			}
			it.retried = true
			d.retryAfterReclaim(it)
			continue
		}
		if it.err = err; err != nil {
			it.batch.endLine(err)
			d.releaseBig(it.big)
			it.big = nil
		}
		d.queue.pop(it)
		group = append(group, it)
	}
	return group
}

// retryAfterReclaim makes freed space usable and prepares a batch for another
// attempt. The group is empty.
func (d *Disk) retryAfterReclaim(it *item) {
	for len(d.purges) > 0 && d.failed() == nil {
		d.planPurge()
		d.commit(nil)
	}
	d.keeper.await(d)
	d.compactIndex()
	d.takeRoom(it)
}

// keepFor returns how many blocks a batch with large data must leave free.
func (d *Disk) keepFor(b *Batch) uint64 {
	if b.Reserve {
		return d.reserve.Load() / 2
	}
	return d.reserve.Load()
}

// reclaimable reports whether a checkpoint could make room.
func (d *Disk) reclaimable() bool {
	_, waiting, _ := d.alloc.counts()
	return waiting > 0 || len(d.purges) > 0 || !d.planner.empty() || d.indexBytes.Load()-d.measured.Load() > 1<<20 ||
		d.worthCompacting()
}

// planPurge adds a bounded part of a removed space's purge to the group.
func (d *Disk) planPurge() {
	p := d.purges[0]
	done, err := d.planner.purgeSome(p.space, p.gen, purgeObjects)
	if err != nil {
		// The space is gone for readers; only its room is not regained. Try again at the next open.
		d.log.Error("store: cannot purge a removed space", "dir", d.dir, "pg", p.space.pg, "err", err)
		d.purges = d.purges[1:]
		return
	}
	if done {
		d.purges = d.purges[1:]
	}
}

// commit makes the planned group durable and visible and answers its batches.
func (d *Disk) commit(group []*item) {
	err := d.failed()
	if err == nil && !d.planner.empty() {
		if err = d.commitRecord(group); err != nil {
			d.fail(err)
			err = d.failed()
		}
	}
	d.planner.reset()
	var bytes int64
	for _, it := range group {
		bytes += it.bytes
		if it.err == nil {
			it.err = err
		}
		it.done(it.err)
	}
	d.queue.leave(bytes)
}

func (d *Disk) commitRecord(group []*item) error {
	rec := d.planner.finish()
	total := roundUp(groupHeader + rec.size())
	if rec.size() > d.journal.maxPayload() {
		return fmt.Errorf("record of %d bytes for a journal of %d: a bug", rec.size(), d.journal.size)
	}
	if err := d.waitRoom(len(rec.blocks), total); err != nil {
		return err
	}
	for _, it := range group {
		if it.err == nil && unsynced(it.big) {
			// The journal is about to reference these blocks.
			if err := d.syncs.wait(d.data); err != nil {
				return fmt.Errorf("data file: %w", err)
			}
			break
		}
	}
	if err := d.failed(); err != nil { // since the group was planned
		return err
	}
	seq := d.journal.seq
	if err := d.journal.write(d.journal.encode(rec)); err != nil {
		return err
	}
	b := d.db.NewBatchWithSize(len(rec.kv) + 64)
	defer b.Close()
	if err := applyKV(rec.kv, pebbleBatch{b}); err != nil {
		return err
	}
	d.indexBytes.Add(int64(len(rec.kv)))
	d.churn += int64(len(rec.kv))
	if err := d.show(seq, b, rec); err != nil {
		return err
	}
	if len(rec.frees) > 0 {
		d.alloc.free(seq, rec.frees)
	}
	d.afterCommit()
	return nil
}

// show makes a durable group visible, all at once.
func (d *Disk) show(seq uint64, b *pebble.Batch, rec *redo) error {
	p, j := d.planner, d.journal
	d.view.Lock()
	defer d.view.Unlock()
	if err := d.db.Apply(b, pebble.NoSync); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	d.changed(rec.kv)
	for _, f := range rec.frees {
		d.overlay.drop(f)
		d.blocks.drop(f)
	}
	for i := range rec.blocks {
		d.overlay.put(rec.blocks[i].phys, rec.blocks[i].data)
		d.blocks.drop(run{rec.blocks[i].phys, 1})
	}
	for _, s := range p.statDirty {
		if s.spaceStat == (spaceStat{}) {
			delete(d.stats, s.key)
		} else {
			d.stats[s.key] = s.spaceStat
		}
	}
	for sp := range p.genDirty {
		for g := d.gens[sp]; g < p.gens[sp]; g++ { // none when the removal was undone
			d.purges = append(d.purges, purge{sp, g})
		}
		d.gens[sp] = p.gens[sp]
	}
	d.inlineBytes.Store(p.inline)
	d.applied = checkpoint{pos: j.pos, seq: seq + 1, link: j.link}
	return nil
}

// wholeBlocks is the part of a write that covers blocks entirely.
func wholeBlocks(off, n uint64) (first, count uint64) {
	first = (off + blockMask) / blockBytes
	if end := (off + n) / blockBytes; end > first {
		return first, end - first
	}
	return first, 0
}

// writeBig puts the large writes of a batch into fresh blocks. They are not
// yet durable: see syncBig, and the committer syncs once for all of a group that are not.
func (d *Disk) writeBig(b *Batch, keep uint64) (out []bigWrite, err error) {
	if out, err = d.placeBig(b, keep); err == nil {
		err = d.writePlaced(b, out)
	}
	if err != nil {
		d.releaseBig(out)
		return nil, err
	}
	return out, nil
}

// syncBig makes the large writes of batches durable, so that the committer, which all batches wait for,
// only has the journal to wait for. A store whose device refuses it has failed.
func (d *Disk) syncBig(list []*item) {
	if !slices.ContainsFunc(list, func(it *item) bool { return len(it.big) > 0 }) {
		return
	}
	if err := d.syncs.wait(d.data); err != nil {
		d.fail(fmt.Errorf("data file: %w", err))
		return
	}
	for _, it := range list {
		for i := range it.big {
			it.big[i].synced = true
		}
	}
}

// unsynced reports whether some of the large writes are not yet durable.
func unsynced(big []bigWrite) bool {
	return slices.ContainsFunc(big, func(w bigWrite) bool { return !w.synced })
}

// placeBig chooses the blocks of the large writes of a batch. After an error
// the caller releases those that are returned.
func (d *Disk) placeBig(b *Batch, keep uint64) (out []bigWrite, err error) {
	for i := range b.Ops {
		op := &b.Ops[i]
		if op.Kind != OpWrite {
			continue
		}
		first, n := wholeBlocks(op.Off, uint64(len(op.Data)))
		if n*blockBytes < bigBytes {
			continue
		}
		runs, err := d.alloc.alloc(n, keep, 0)
		if err != nil {
			return out, err
		}
		w := bigWrite{op: i, first: first, runs: runs, phys: make([]uint64, 0, n)}
		for _, r := range runs {
			for j := range r.count {
				w.phys = append(w.phys, r.start+j)
			}
		}
		data := op.Data[first*blockBytes-op.Off:][:n*blockBytes]
		if known := op.Mem.SumsOf(data); known != nil {
			w.sums = append(make([]uint32, 0, n), known...)
		} else {
			w.sums = make([]uint32, n)
			for j := range w.sums {
				w.sums[j] = checksum(data[j*blockBytes:][:blockBytes])
			}
		}
		out = append(out, w)
	}
	return out, nil
}

// parts calls f for each row of neighbouring blocks and what goes there.
func (w *bigWrite) parts(b *Batch, f func(block uint64, p []byte) error) error {
	op := &b.Ops[w.op]
	data := op.Data[w.first*blockBytes-op.Off:]
	for _, r := range w.runs {
		n := r.count * blockBytes
		if err := f(r.start, data[:n:n]); err != nil {
			return fmt.Errorf("object %s: %w", op.Key, err)
		}
		data = data[n:]
	}
	return nil
}

// writeWaiting writes the large writes of all batches in the queue that have no worker, many
// at once. Each of 64 KiB costs a fraction of what it does with a goroutine and a system
// call of its own.
func (d *Disk) writeWaiting() {
	if d.failed() != nil {
		return
	}
	waiting := d.queue.unwritten(d.waiting[:0])
	writes := d.writeTogether(waiting, d.writes[:0])
	clear(waiting)
	clear(writes)
	d.waiting, d.writes = waiting[:0], writes[:0]
}

// writeTogether writes the large writes of batches, many at once, and notes with each how that went. It returns writes,
// which is memory to work in.
func (d *Disk) writeTogether(list []*item, writes []ioWrite) []ioWrite {
	if len(list) == 1 {
		it := list[0]
		if it.err == nil {
			it.big, it.err = d.writeBig(it.batch, d.keepFor(it.batch))
		}
		return writes
	}
	for _, it := range list {
		if it.err != nil {
			continue
		}
		if it.big, it.err = d.placeBig(it.batch, d.keepFor(it.batch)); it.err != nil {
			d.releaseBig(it.big)
			it.big = nil
			continue
		}
		for i := 0; i < len(it.big) && it.err == nil; i++ {
			it.err = it.big[i].parts(it.batch, func(block uint64, p []byte) error {
				if d.data.Direct() && !isAligned(p) {
					return d.writeData(block, p)
				}
				writes = append(writes, ioWrite{p, int64(block) * blockBytes})
				return nil
			})
		}
	}
	if err := writeMany(d.data, writes); err != nil {
		// Some may have failed, and not the others: each tells for itself.
		for _, it := range list {
			if it.err == nil {
				it.err = d.writePlaced(it.batch, it.big)
			}
		}
	}
	for _, it := range list {
		if it.err != nil { // also when it has no room: it may be tried again
			d.releaseBig(it.big)
			it.big = nil
		}
	}
	return writes
}

// writePlaced writes the large writes of one batch to their blocks, one by one.
func (d *Disk) writePlaced(b *Batch, big []bigWrite) (err error) {
	for i := 0; i < len(big) && err == nil; i++ {
		err = big[i].parts(b, d.writeData)
	}
	return err
}

var bounce = sync.Pool{New: func() any { b := alignedBytes(256 << 10); return &b }}

// writeData writes whole blocks, through aligned memory when the caller's is not.
func (d *Disk) writeData(block uint64, p []byte) error {
	off := int64(block) * blockBytes
	if isAligned(p) || !d.data.Direct() {
		if _, err := d.data.WriteAt(p, off); err != nil {
			return fmt.Errorf("write %d bytes at %d of %s: %w", len(p), off, d.path(dataName), noSpace(err))
		}
		return nil
	}
	buf := bounce.Get().(*[]byte)
	defer bounce.Put(buf)
	for len(p) > 0 {
		n := copy(*buf, p)
		if _, err := d.data.WriteAt((*buf)[:n], off); err != nil {
			return fmt.Errorf("write %d bytes at %d of %s: %w", n, off, d.path(dataName), noSpace(err))
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (d *Disk) releaseBig(big []bigWrite) {
	for i := range big {
		d.alloc.release(big[i].runs)
	}
}
