package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
)

// keeper is the state of the one goroutine that writes blocks home and moves
// the checkpoint. The two are apart: memory is emptied often, in small sorted
// pieces without a sync, and the checkpoint, which flushes the index, moves only
// when the journal is half full. So index entries that change again and again
// are written once in a long while.
type keeper struct {
	mu      sync.Mutex // guards below
	cond    *sync.Cond // any change
	wanted  bool       // a checkpoint
	relief  bool       // room in the overlay
	stopped bool
	ended   bool
	begun   uint64     // checkpoints begun
	over    uint64     // checkpoints ended: the last one begun is this one when equal
	moved   uint64     // raised whenever there may be more room in overlay or journal
	done    checkpoint // of the superblock: the tail of the journal
	going   uint64     // position that the last checkpoint begun reaches
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

// askRelief wants the overlay to be written home soon.
func (k *keeper) askRelief() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.relief {
		k.relief = true
		k.cond.Broadcast()
	}
}

func (k *keeper) wake() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moved++
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
		for !k.wanted && !k.relief && !k.stopped {
			k.cond.Wait()
		}
		if k.stopped {
			k.ended = true
			k.cond.Broadcast()
			return
		}
		full := k.wanted
		k.wanted, k.relief = false, false
		if full {
			k.begun++
		}
		if d.failed() == nil {
			k.mu.Unlock()
			if full {
				if err := d.checkpoint(); err != nil {
					d.fail(fmt.Errorf("checkpoint: %w", err))
				}
			} else if err := d.relieve(); err != nil {
				d.fail(fmt.Errorf("write back: %w", err))
			}
			k.mu.Lock()
		}
		k.over = k.begun
		k.moved++
		k.cond.Broadcast()
	}
}

// waitRoom holds the committer back until a record of n blocks and total bytes
// fits into the overlay and the journal.
func (d *Disk) waitRoom(n, total int) error {
	k := &d.keeper
	for {
		k.mu.Lock()
		j := d.journal
		fits := j.place(j.pos, total)+uint64(total)-k.done.pos <= j.size
		seen := k.moved
		k.mu.Unlock()
		d.view.RLock()
		dirty := d.overlay.len()
		d.view.RUnlock()
		holds := dirty == 0 || int64(dirty+n)*blockBytes <= d.opts.DirtyBytes
		if fits && holds {
			return nil
		}
		k.mu.Lock()
		k.wanted = k.wanted || !fits
		k.relief = k.relief || !holds
		k.cond.Broadcast()
		for k.moved == seen && d.failed() == nil {
			k.cond.Wait()
		}
		k.mu.Unlock()
		if err := d.failed(); err != nil {
			return err
		}
	}
}

// freedBytes is how much freed room may wait for a checkpoint: large writes
// free much and take little of the journal.
const freedBytes = 1 << 30

// afterCommit wakes the keeper when there is enough to do, or arranges that it
// is woken once the store has been idle.
func (d *Disk) afterCommit() {
	d.view.RLock()
	dirty, applied := d.overlay.len(), d.applied
	d.view.RUnlock()
	d.keeper.mu.Lock()
	tail := max(d.keeper.done.pos, d.keeper.going) // one that is under way need not be asked for
	d.keeper.mu.Unlock()
	_, freed, blocks := d.alloc.counts()
	switch {
	case applied.pos-tail > d.journal.size/2, freed > min(freedBytes/blockBytes, blocks/16) && applied.pos > tail:
		d.keeper.ask()
	case int64(dirty)*blockBytes > d.opts.DirtyBytes/2:
		d.keeper.askRelief()
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

// relieve empties the overlay, but for what comes meanwhile. Nothing is synced:
// the journal holds it all until the next checkpoint.
func (d *Disk) relieve() error {
	d.view.RLock()
	list := d.overlay.blocks()
	d.view.RUnlock()
	return d.writeHome(list)
}

// checkpoint writes home what the journal holds, makes the index durable, and
// moves the journal's tail. Nothing is given up before what replaces it is on
// the medium: blocks and index, then superblock, then reuse.
func (d *Disk) checkpoint() error {
	d.keeper.mu.Lock()
	done := d.keeper.done
	d.keeper.mu.Unlock()
	d.view.RLock()
	to := d.applied
	var list []uint64
	if to.seq > done.seq {
		list = d.overlay.blocks()
	}
	d.view.RUnlock()
	if to.seq <= done.seq {
		return nil
	}
	d.keeper.mu.Lock()
	d.keeper.going = to.pos
	d.keeper.mu.Unlock()
	if err := d.noteFlush(to.seq); err != nil {
		return err
	}
	flushed, err := d.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush index: %w", err)
	}
	if err := d.writeHome(list); err != nil {
		return err
	}
	if err := d.syncs.wait(d.data); err != nil {
		return fmt.Errorf("data file: %w", err)
	}
	select {
	case <-flushed:
	case <-d.failedCh: // Pebble retries a failed flush for ever
	}
	if err := d.failed(); err != nil { // what went home may be lost, and the journal still has it
		return err
	}
	d.view.RLock()
	to.known = d.applied.seq - 1
	d.view.RUnlock()
	if err := d.writeSuper(func(s *superblock) { s.checkpoint = to }); err != nil {
		return err
	}
	d.alloc.checkpointed(to.seq - 1)
	d.freedForGood()
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

// homeBlocks is how many blocks are written home at a time. What waits for room
// goes on after each.
const homeBlocks = 256

// writeHome writes blocks of the overlay to the data file, in order, rows of
// neighbours at once, and forgets them. A block that was changed since it was
// listed goes home as it is now, and one that is gone does not: both are in the
// journal, behind what the caller is about to give up.
func (d *Disk) writeHome(blocks []uint64) error {
	slices.Sort(blocks)
	var list []homing
	var buf []byte
	var writes []ioWrite
	if len(blocks) > 0 {
		buf = alignedBytes(min(homeBlocks, len(blocks)) * blockBytes)
	}
	for len(blocks) > 0 {
		n := min(homeBlocks, len(blocks))
		d.view.RLock()
		list, buf = d.overlay.copyOut(blocks[:n], list[:0], buf[:0])
		d.view.RUnlock()
		blocks = blocks[n:]
		writes = writes[:0]
		for i := 0; i < len(list); {
			n := 1
			for i+n < len(list) && list[i+n].phys == list[i].phys+uint64(n) {
				n++
			}
			writes = append(writes, ioWrite{buf[i*blockBytes : (i+n)*blockBytes], int64(list[i].phys) * blockBytes})
			i += n
		}
		if err := writeMany(d.data, writes); err != nil {
			return fmt.Errorf("write back %d blocks to %s: %w", len(list), d.path(dataName), noSpace(err))
		}
		d.view.Lock()
		d.overlay.home(list)
		d.view.Unlock()
		d.keeper.wake()
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
