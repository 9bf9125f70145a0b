package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Freed room is told to the device, if that is wanted. What may be discarded is decided from one thing only, the map
// of free blocks: a block is free there when no checkpoint to come, no replay and no index entry knows it any more
// (allocator.checkpointed), or when nothing durable ever did. While it is being discarded it is taken, so nobody else
// gets it. A read that began when the block still was an object's may find it discarded, as it may find it
// overwritten: the checksum tells, and the read begins anew.

const (
	regionBlocks = 1 << 20 / blockBytes  // what is discarded is a row of whole regions
	discardMost  = 32 << 20 / blockBytes // at a time
	holdLooks    = 64                    // regions that hold looks at under the allocator's lock
	fillBlocks   = 16 << 20 / blockBytes // of holes that are filled at once, if there are as many
)

// regionMap is what an allocator knows of the regions of the data file. Its owner's mu guards it.
type regionMap struct {
	size  uint64          // blocks of a region
	note  bool            // what is freed is to be discarded
	stale bitSet          // regions in which something was freed since they were discarded
	holes bitSet          // regions whose room the file system has again; none of their blocks is free
	held  uint64          // blocks that are being discarded; they count as used
	holed uint64          // blocks in holes; they do not
	freed *sync.Cond      // held fell
	fill  func(run) error // takes room of the file system for holes again; called with mu held
}

// bitSet is a set of small numbers.
type bitSet []uint64

func (s *bitSet) set(from, to uint64, on bool) {
	for i := from; i < to; i++ {
		if w := i / 64; w >= uint64(len(*s)) {
			if !on {
				return
			}
			*s = append(*s, make([]uint64, w+1-uint64(len(*s)))...)
		}
		if on {
			(*s)[i/64] |= 1 << (i % 64)
		} else {
			(*s)[i/64] &^= 1 << (i % 64)
		}
	}
}

func (s bitSet) has(i uint64) bool { return i/64 < uint64(len(s)) && s[i/64]>>(i%64)&1 != 0 }

// next returns the first number from i on that is in the set.
func (s bitSet) next(i uint64) (uint64, bool) {
	for ; i/64 < uint64(len(s)); i++ {
		if s[i/64]>>(i%64) == 0 {
			i |= 63
		} else if s.has(i) {
			return i, true
		}
	}
	return 0, false
}

// noteFreed remembers that something in the regions of a run may be worth discarding.
func (a *allocator) noteFreed(r run) {
	if a.note {
		a.stale.set(r.start/a.region(), (r.end()+a.region()-1)/a.region(), true)
	}
}

func (a *allocator) region() uint64 { return a.regionMap.size }

func (a *allocator) wholeFree(r run) bool { return r.end() <= a.blocks && a.m.taken(r) == 0 }

// hold takes a row of regions that are wholly free and not yet discarded. more says that there may be others,
// also when it has found none this time.
func (a *allocator) hold() (r run, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := a.region()
	for range holdLooks {
		i, ok := a.stale.next(0)
		if !ok {
			return run{}, false
		}
		a.stale.set(i, i+1, false)
		// One that is not free now is noted again when the next of its blocks is freed.
		if r = (run{i * size, size}); !a.wholeFree(r) {
			continue
		}
		for i++; r.count < discardMost && a.stale.has(i) && a.wholeFree(run{i * size, size}); i++ {
			a.stale.set(i, i+1, false)
			r.count += size
		}
		a.m.set(r, true)
		a.used += r.count
		a.held += r.count
		return r, true
	}
	return run{}, true
}

// letGo ends what hold began. Those that became holes are free again when they are filled.
func (a *allocator) letGo(r run, holes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held -= r.count
	a.used -= r.count
	if holes {
		a.holes.set(r.start/a.region(), r.end()/a.region(), true)
		a.holed += r.count
	} else {
		a.m.set(r, false)
	}
	a.freed.Broadcast()
}

// freeRegions calls f for the rows of regions that are wholly free, or wholly holes, and those in between.
func (a *allocator) freeRegions(f func(r run, free bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := a.region()
	row, was := run{}, false
	for i := uint64(0); i*size < a.blocks; i++ {
		r := run{i * size, min(size, a.blocks-i*size)}
		free := r.count == size && (a.holes.has(i) || a.m.taken(r) == 0)
		if free != was && row.count > 0 {
			f(row, was)
			row = run{r.start, 0}
		}
		row.count += r.count
		was = free
	}
	if row.count > 0 {
		f(row, was)
	}
}

// dig takes every region that is wholly free for a hole, or with on false for none.
func (a *allocator) dig(on bool) {
	var rows []run
	a.freeRegions(func(r run, free bool) {
		if free {
			rows = append(rows, r)
		}
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, row := range rows {
		for i := row.start / a.region(); i < row.end()/a.region(); i++ {
			r := run{i * a.region(), a.region()}
			if a.holes.has(i) == on {
				continue
			}
			a.holes.set(i, i+1, on)
			a.m.set(r, on)
			if on {
				a.holed += r.count
			} else {
				a.holed -= r.count
			}
		}
		if !on {
			a.stale.set(row.start/a.region(), row.end()/a.region(), true)
		}
	}
}

// reach makes the data area known up to a block.
func (a *allocator) reach(blocks uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if blocks > a.blocks && a.grow(blocks) == nil {
		a.setBlocks(blocks)
	}
}

// holeRow is a row of holes with n blocks, or if there is none the longest one.
func (a *allocator) holeRow(n uint64) (best run) {
	size := a.region()
	for i, ok := a.holes.next(0); ok; i, ok = a.holes.next(i) {
		r := run{i * size, 0}
		for ; r.count < n && a.holes.has(i); i++ {
			r.count += size
		}
		if r.count > best.count {
			best = r
		}
		if r.count >= n {
			return best
		}
	}
	return best
}

// fillRow makes holes free blocks again; the caller holds mu.
func (a *allocator) fillRow(r run) error {
	if err := a.fill(r); err != nil {
		return err
	}
	a.holes.set(r.start/a.region(), r.end()/a.region(), false)
	a.holed -= r.count
	a.m.set(r, false)
	return nil
}

// widen makes at least n blocks more free: holes first, then behind the end of the file. The caller holds mu.
func (a *allocator) widen(n uint64) error {
	for n > 0 && a.holed > 0 {
		r := a.holeRow(max(n, fillBlocks))
		err := a.fillRow(r)
		if need := (n + a.region() - 1) / a.region() * a.region(); err != nil && need < r.count {
			r.count = need
			err = a.fillRow(r)
		}
		if err != nil {
			return err
		}
		n -= min(n, r.count)
	}
	if n == 0 {
		return nil
	}
	return a.extend(n)
}

// findInHoles is find among the holes.
func (a *allocator) findInHoles(n uint64) (run, bool) {
	if a.holed < n {
		return run{}, false
	}
	r := a.holeRow(n)
	if r.count < n || a.fillRow(r) != nil {
		return run{}, false
	}
	return run{r.start, n}, true
}

// discarder tells the device of freed room, in the background.
type discarder struct {
	wake  chan struct{}
	quit  chan struct{}
	ended chan struct{}
	off   atomic.Bool // the device cannot, or has failed to

	calls, bytes, errors atomic.Uint64
}

// punches reports whether what is discarded is room of a file, which the file system may give to others.
func (d *Disk) punches() bool { return d.files.device == nil }

// canDiscard refuses what is promised to keep its room.
func (d *Disk) canDiscard() error {
	if d.files.device == nil {
		return nil
	}
	if fi, err := os.Stat(d.files.name); err == nil && fi.Mode().IsRegular() {
		return fmt.Errorf("discard: %s is a file used as a device, which takes all of its room whenever it is opened, and would take back what it gave: "+
			"attach it to a loop device and name that, keep the data in the directory, or leave discard off: %w", d.files.name, ErrInvalid)
	}
	return nil
}

// digHoles finds out, when the store is opened, which parts of the data file may have no room of the file system: those
// that are free in a file from which room was ever given back. All others get theirs, which a crash may have undone.
func (d *Disk) digHoles() error {
	if !d.super.holes || !d.punches() {
		return nil
	}
	var taken []run
	d.alloc.freeRegions(func(r run, free bool) {
		if !free {
			taken = append(taken, r)
		}
	})
	d.alloc.dig(true)
	for _, r := range taken {
		if err := d.data.Reserve(int64(r.start)*blockBytes, int64(r.count)*blockBytes); err != nil {
			// Only what was free and is used by now can lack room: the store works as long as the rest suffices.
			d.log.Warn("store: cannot take room for all of the data file; free space on this file system", "dir", d.dir, "err", err)
			return nil
		}
	}
	return nil
}

// fillHoles takes room of the file system again, as grow does.
func (d *Disk) fillHoles(r run) error {
	d.refreshFree()
	n := int64(r.count) * blockBytes
	if free, keep := d.freeBytes.Load(), d.fsKeep(); n > free-keep {
		return fmt.Errorf("file system of %s: %d bytes free, %d kept back for the index: %w", d.dir, free, keep, ErrNoSpace)
	}
	err := d.data.Reserve(int64(r.start)*blockBytes, n)
	d.refreshFree()
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill %s: %w", d.path(dataName), ErrNoSpace)
	}
	return err
}

// startDiscards begins to discard what is freed from now on.
func (d *Disk) startDiscards() {
	if !d.opts.Discard {
		return
	}
	d.discards.wake, d.discards.quit, d.discards.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go d.discardLoop() // ended by stopDiscards
}

func (d *Disk) stopDiscards() {
	if d.discards.quit != nil {
		close(d.discards.quit)
		<-d.discards.ended
	}
}

// freedForGood wakes the discarder, after a checkpoint. It never waits.
func (d *Disk) freedForGood() {
	for more := d.opts.discardAtOnce && d.opts.Discard && !d.discards.off.Load(); more; {
		more = d.discardSome()
	}
	select {
	case d.discards.wake <- struct{}{}:
	default:
	}
}

func (d *Disk) discardLoop() {
	s := &d.discards
	defer close(s.ended)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		for more := true; more && !s.off.Load(); {
			began := time.Now()
			more = d.discardSome()
			// Half of the time the device is left alone: others wait for it.
			pause.Reset(time.Since(began))
			select {
			case <-s.quit:
				return
			case <-pause.C:
			}
		}
	}
}

// discardSome discards one row of free regions; false: there are no more.
func (d *Disk) discardSome() (more bool) {
	r, more := d.alloc.hold()
	if r.count == 0 {
		return more
	}
	// What a group that failed has given back may be in the journal: a store that has failed discards nothing.
	// It has failed before it gives back, so whoever holds that sees it.
	if d.failed() != nil {
		d.alloc.letGo(r, false)
		return false
	}
	s := &d.discards
	n := int64(r.count) * blockBytes
	err := d.data.Discard(int64(r.start)*blockBytes, n)
	unable := errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOTTY)
	if d.alloc.letGo(r, d.punches() && !unable); d.punches() {
		d.refreshFree() // it has what the data file has not any more
	}
	switch {
	case err == nil:
		s.calls.Add(1)
		s.bytes.Add(uint64(n))
		return true
	case unable:
		d.log.Info("store: the device knows no discard; it gets none until the OSD starts again", "dir", d.dir, "device", d.path(dataName))
	default:
		s.errors.Add(1)
		d.log.Warn("store: a discard failed; the device gets no more until the OSD starts again", "dir", d.dir, "device", d.path(dataName), "bytes", n, "err", err)
	}
	s.off.Store(true)
	return false
}

// TrimReport is what Trim did.
type TrimReport struct {
	Free      int64 `json:"free_bytes"`      // in whole regions of 1 MiB that hold nothing
	Discarded int64 `json:"discarded_bytes"` // that the device was told of
	Before    int64 `json:"allocated_before"`
	After     int64 `json:"allocated_after"` // by the file system for the data file; 0 of a block device
	Dry       bool  `json:"dry_run"`
}

// ErrNoDiscard is a device that does not know what discarding is.
var ErrNoDiscard = errors.New("the device knows no discard")

// Trim tells the device of all room of a stopped OSD's store that is free. With dry it changes nothing and only
// says how much that would be.
func Trim(ctx context.Context, dir string, dry bool, progress func(done int64)) (TrimReport, error) {
	if dry {
		return trimmable(dir)
	}
	d := newDisk(dir, Options{IdleCheckpoint: -1, Discard: true, Log: slog.New(slog.DiscardHandler)})
	if err := d.open(); err != nil {
		d.closeFiles()
		return TrimReport{}, fmt.Errorf("open store %s: %w", dir, explain(err))
	}
	rep, err := d.trim(ctx, progress)
	return rep, errors.Join(err, d.Close())
}

// trim is Trim for a store without goroutines yet.
func (d *Disk) trim(ctx context.Context, progress func(done int64)) (rep TrimReport, err error) {
	go d.keepLoop() // ended by Close
	for len(d.purges) > 0 && d.failed() == nil {
		d.planPurge()
		d.commit(nil)
	}
	go d.commitLoop() // ended by Close
	d.keeper.await(d) // what the purges have freed is free for good
	rep.Before = allocated(d.path(dataName))
	if s, ok := d.files.data.(*section); ok { // the memory knows only how far its blocks are used now
		d.alloc.reach(uint64(s.limit) / blockBytes)
	}
	d.alloc.dig(false) // what has been given back may have been so in part only: once more costs nothing
	d.alloc.freeRegions(func(r run, free bool) {
		if free {
			rep.Free += int64(r.count) * blockBytes
		}
	})
	for more := true; more && ctx.Err() == nil; {
		more = d.discardSome()
		rep.Discarded = int64(d.discards.bytes.Load())
		if progress != nil {
			progress(rep.Discarded)
		}
	}
	rep.After = allocated(d.path(dataName))
	switch {
	case ctx.Err() != nil:
		return rep, ctx.Err()
	case d.failed() != nil:
		return rep, d.failed()
	case d.discards.errors.Load() > 0:
		return rep, fmt.Errorf("%s: a discard failed after %d bytes", d.path(dataName), rep.Discarded)
	case d.discards.off.Load():
		return rep, fmt.Errorf("%s: %w", d.path(dataName), ErrNoDiscard)
	}
	return rep, nil
}

// trimmable finds out what Trim would discard.
func trimmable(dir string) (TrimReport, error) {
	in, err := Inspect(dir, InspectOptions{})
	if err != nil {
		return TrimReport{}, err
	}
	rep, err := in.trimmable()
	return rep, errors.Join(err, in.Close())
}

func (in *Inspector) trimmable() (TrimReport, error) {
	d := in.d
	if err := errors.Join(in.journal.Err, d.canDiscard()); err != nil {
		return TrimReport{}, err
	}
	size, err := d.files.dataBytes()
	if err != nil {
		return TrimReport{}, err
	}
	used, err := in.usedBlocks(size)
	if err != nil {
		return TrimReport{}, err
	}
	used.add(0)
	rep := TrimReport{Dry: true}
	if d.punches() {
		rep.Before = allocated(d.path(dataName))
		rep.After = rep.Before
	}
	end := uint64(0) // of the last run
	gap := func(to uint64) {
		from := (end + regionBlocks - 1) / regionBlocks
		if to /= regionBlocks; to > from {
			rep.Free += int64(to-from) * regionBlocks * blockBytes
		}
	}
	err = used.runs(func(r run) error {
		gap(r.start)
		end = r.end()
		return nil
	})
	gap(uint64(size) / blockBytes)
	return rep, err
}
