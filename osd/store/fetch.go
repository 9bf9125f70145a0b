package store

import (
	"sync/atomic"

	"github.com/cairnstore/cairn/internal/slab"
)

// Fetcher is a QuickReader that can have data brought into memory.
type Fetcher interface {
	// Fetch begins to read up to n bytes of an object at off, for the quick reader to find them a moment later, and
	// returns at once; false when the Store itself is to be asked. When it is over, successful or not, done is called;
	// what it returns is called once the done of whatever else was over at that moment has been. While either
	// is at work, other fetches do not end.
	Fetch(k Key, off, n uint64, done func() func()) bool
}

// fetchParts is how many places of the device a fetch reads at most.
const fetchParts = 4

// fetch is one that is under way.
type fetch struct {
	d    *Disk
	r    reading
	mem  *slab.Buf
	left atomic.Int32 // parts being read, and one while they are begun
	done func() func()
}

// Fetch implements Fetcher.
func (q quick) Fetch(k Key, off, n uint64, done func() func()) bool {
	d := q.d
	if d.blocks == nil || d.enter() != nil {
		return false
	}
	begun := false
	defer func() {
		if !begun {
			d.life.RUnlock()
		}
	}()
	f := &fetch{d: d, done: done}
	if !f.prepare(&k, off, n) {
		f.mem.Release()
		return false
	}
	// Close waits until all is over: life is held till then, by whoever is last.
	begun = true
	f.left.Store(1)
	for i := range f.r.parts {
		p := &f.r.parts[i]
		f.left.Add(1)
		if !startRead(d.data, f.r.buf[p.at*blockBytes:][:p.run.count*blockBytes], int64(p.run.start)*blockBytes, func(n int, err error) func() {
			f.keep(p, n, err)
			return f.leave()
		}) {
			f.left.Add(-1)
			if i == 0 {
				begun = false
				f.mem.Release()
				return false
			}
			break // whoever asks again is told to ask the store
		}
	}
	if then := f.leave(); then != nil {
		then()
	}
	return true
}

// prepare finds out what is to be read.
func (f *fetch) prepare(k *Key, off, n uint64) bool {
	d := f.d
	if !d.view.TryRLock() {
		return false
	}
	defer d.view.RUnlock()
	h, err := d.lookup(k, true)
	if err != nil || off >= h.size || h.inline {
		return false
	}
	if n = min(n, h.size-off); n > quickBytes || off%blockBytes+n > quickBytes {
		return false
	}
	from := off &^ blockMask
	f.mem = slab.New(roundUp(int(off + n - from)))
	f.r = reading{mem: f.mem.Bytes(), quick: true, gather: true}
	return f.r.prepare(d, k, from, off+n-from) == nil && len(f.r.parts) > 0 && len(f.r.parts) <= fetchParts
}

// keep puts what was read into the cache, if it is what the index says. If not, whoever asks again finds that
// out: it may have moved meanwhile, or be damaged.
func (f *fetch) keep(p *part, n int, err error) {
	if err != nil || n != int(p.run.count)*blockBytes {
		return
	}
	for i, sum := range f.r.sums[p.at:][:p.run.count] {
		if b := f.r.buf[(p.at+i)*blockBytes:][:blockBytes]; checksum(b) == sum {
			f.d.blocks.keep(p.run.start+uint64(i), sum, b, f.r.tickets[p.at+i])
		}
	}
}

// leave ends a part; the last one ends the fetch.
func (f *fetch) leave() func() {
	if f.left.Add(-1) > 0 {
		return nil
	}
	f.mem.Release()
	f.d.life.RUnlock()
	return f.done()
}
