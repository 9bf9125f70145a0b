package sim

import (
	"errors"
	"iter"
	"slices"
	"time"
)

// fiber is code of a process that waits for answers where it stands, as osd/chunkcare does. It runs as a coroutine of the
// one thread: everything that it waits for is an event, and at each of them its process may die.
type fiber struct {
	pl    *plane
	p     *process
	yield func(struct{}) bool
	next  func() (struct{}, bool)
	stop  func()
	waits int
	round int // of what it does again and again
	dead  bool
	over  bool
}

// errCrashed is what code is told whose process has died. It has no choice but to return.
var errCrashed = errors.New("crashed")

// spawn begins a fiber in the present life of a process.
func (pl *plane) spawn(p *process, run func(*fiber)) *fiber {
	f := &fiber{pl: pl, p: p}
	f.next, f.stop = iter.Pull(func(yield func(struct{}) bool) {
		f.yield = yield
		run(f)
	})
	pl.fibers = append(pl.fibers, f)
	p.later(0, f.resume)
	return f
}

func (f *fiber) resume() {
	if f.over {
		return
	}
	if _, more := f.next(); !more {
		f.end()
	}
}

func (f *fiber) end() {
	f.over = true
	f.pl.fibers = slices.DeleteFunc(f.pl.fibers, func(x *fiber) bool { return x == f })
}

// ended ends the fibers of a process that has died; nil: all.
func (pl *plane) ended(p *process) {
	if pl == nil {
		return
	}
	for _, f := range slices.Clone(pl.fibers) {
		if p == nil || f.p == p {
			f.stop()
			f.end()
		}
	}
}

// await has something begun, and waits until it calls wake. That counts once, and nothing happens inside of it.
func (f *fiber) await(begin func(wake func())) error {
	if f.dead {
		return errCrashed
	}
	f.waits++
	n := f.waits
	begin(func() {
		f.p.later(0, func() {
			if f.waits == n {
				f.waits++
				f.resume()
			}
		})
	})
	if !f.yield(struct{}{}) {
		f.dead = true
		return errCrashed
	}
	return nil
}

// pause waits.
func (f *fiber) pause(d time.Duration) {
	_ = f.await(func(wake func()) { f.p.later(d, wake) })
}
