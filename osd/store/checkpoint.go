package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
)

// keeper is the state of the one goroutine that moves the checkpoint.
type keeper struct {
	mu      sync.Mutex // guards below
	cond    *sync.Cond // any change
	wanted  bool
	stopped bool
	ended   bool
	begun   uint64     // checkpoints begun
	over    uint64     // checkpoints ended: the last one begun is this one when equal
	done    checkpoint // of the superblock: the tail of the journal
}

func (k *keeper) init() { k.cond = sync.NewCond(&k.mu) }

// ask wants a checkpoint soon.
func (k *keeper) ask() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.wanted {
		k.wanted = true
		k.cond.Broadcast()
	}
}

func (k *keeper) wake() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cond.Broadcast()
}

// await waits for a checkpoint that covers all that is applied now.
func (k *keeper) await(d *Disk) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = true
	k.cond.Broadcast()
	for want := k.begun + 1; k.over < want && !k.stopped && d.failed() == nil; {
		k.cond.Wait()
	}
}

// stop ends the goroutine and waits for it.
func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	k.cond.Broadcast()
	for !k.ended {
		k.cond.Wait()
	}
}

func (d *Disk) keepLoop() {
	k := &d.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		for !k.wanted && !k.stopped {
			k.cond.Wait()
		}
		if k.stopped {
			k.ended = true
			k.cond.Broadcast()
			return
		}
		k.wanted = false
		k.begun++
		if d.failed() == nil {
			k.mu.Unlock()
			if err := d.checkpoint(); err != nil {
				d.fail(fmt.Errorf("checkpoint: %w", err))
			}
			k.mu.Lock()
		}
		k.over = k.begun
		k.cond.Broadcast()
	}
}

// waitRoom holds the committer back until a record of n blocks and total bytes
// fits into the overlay and the journal.
func (d *Disk) waitRoom(n, total int) error {
	for {
		d.view.RLock()
		dirty := d.overlay.len()
		d.view.RUnlock()
		k := &d.keeper
		k.mu.Lock()
		j := d.journal
		fits := j.place(j.pos, total)+uint64(total)-k.done.pos <= j.size
		seen := k.over
		k.mu.Unlock()
		if fits && (dirty == 0 || int64(dirty+n)*blockBytes <= d.opts.DirtyBytes) {
			return nil
		}
		k.mu.Lock()
		k.wanted = true
		k.cond.Broadcast()
		for k.over == seen && d.failed() == nil {
			k.cond.Wait()
		}
		k.mu.Unlock()
		if err := d.failed(); err != nil {
			return err
		}
	}
}

// afterCommit wakes the keeper when there is enough to do, or arranges that it
// is woken once the store has been idle.
func (d *Disk) afterCommit() {
	d.view.RLock()
	dirty, applied := d.overlay.len(), d.applied
	d.view.RUnlock()
	d.keeper.mu.Lock()
	tail := d.keeper.done.pos
	d.keeper.mu.Unlock()
	if int64(dirty)*blockBytes > d.opts.DirtyBytes/2 || applied.pos-tail > d.journal.size/2 {
		d.keeper.ask()
	}
	if d.opts.IdleCheckpoint > 0 && d.idleOn.CompareAndSwap(false, true) {
		d.idleSeq.Store(applied.seq)
		d.idleT.Reset(d.opts.IdleCheckpoint)
	}
}

// idle runs some time after a commit: again later if there were more commits,
// else it empties overlay and journal. An idle store has no timer.
func (d *Disk) idle() {
	d.view.RLock()
	seq := d.applied.seq
	d.view.RUnlock()
	if d.idleSeq.Swap(seq) != seq && !d.queue.isClosed() {
		d.idleT.Reset(d.opts.IdleCheckpoint)
		return
	}
	d.idleOn.Store(false)
	d.keeper.ask()
}

// checkpoint writes home what the journal holds, makes the index durable, and
// moves the journal's tail. Nothing is given up before what replaces it is on
// the medium: blocks, then index, then superblock, then reuse.
func (d *Disk) checkpoint() error {
	d.view.Lock()
	to := d.applied
	var list []homing
	if to.seq > d.keeper.done.seq {
		list = d.overlay.beginHoming()
	}
	d.view.Unlock()
	if to.seq <= d.keeper.done.seq {
		return nil
	}
	if err := d.writeHome(list); err != nil {
		return err
	}
	if err := d.data.Sync(); err != nil {
		return fmt.Errorf("data file: %w", err)
	}
	if err := d.flushIndex(); err != nil {
		return err
	}
	d.view.RLock()
	to.known = d.applied.seq - 1
	d.view.RUnlock()
	if err := d.writeSuper(func(s *superblock) { s.checkpoint = to }); err != nil {
		return err
	}
	d.view.Lock()
	d.overlay.endHoming(list)
	d.view.Unlock()
	d.alloc.checkpointed(to.seq - 1)
	d.keeper.mu.Lock()
	d.keeper.done = to
	d.keeper.mu.Unlock()
	d.measure()
	if size, err := d.data.Size(); err == nil {
		d.refreshCapacity(size)
		d.alloc.setMax(d.maxBlocks())
	}
	return nil
}

// flushIndex makes everything applied to the index durable.
func (d *Disk) flushIndex() error {
	flushed, err := d.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush index: %w", err)
	}
	select {
	case <-flushed:
		return nil
	case <-d.failedCh: // Pebble retries a failed flush for ever
		return d.failed()
	}
}

const homeBytes = 1 << 20 // longest single write back

// writeHome writes blocks of the overlay to the data file, in order, rows of
// neighbours at once. The slots do not change meanwhile: see overlay.put.
func (d *Disk) writeHome(list []homing) error {
	slices.SortFunc(list, func(a, b homing) int { return cmp.Compare(a.phys, b.phys) })
	var buf []byte
	for len(list) > 0 {
		n := 1
		for n < len(list) && n < homeBytes/blockBytes && list[n].phys == list[0].phys+uint64(n) {
			n++
		}
		d.view.RLock() // the overlay may get new chunks; the content of homing slots is frozen
		b := d.overlay.slot(list[0].slot)
		if n > 1 {
			if buf == nil {
				buf = alignedBytes(homeBytes)
			}
			for i, h := range list[:n] {
				copy(buf[i*blockBytes:], d.overlay.slot(h.slot))
			}
			b = buf[:n*blockBytes]
		}
		d.view.RUnlock()
		if err := d.writeData(list[0].phys, b); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// noSpace makes ENOSPC an ErrNoSpace.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
