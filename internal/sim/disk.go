package sim

import (
	"errors"
	"time"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
)

// errDisk is what a broken disk says.
var errDisk = errors.New("simulated disk error")

// disk is an OSD's store and how it behaves. It outlives the process.
type disk struct {
	st   *store.Sim
	lag  time.Duration // it is slower by that much
	hung bool          // nothing ends any more, until it does
	held []func()      // what would have ended meanwhile

	saved []func() // what the process hears of its batches, in the order in which they were submitted

	onRead  func(store.Key) error    // how reads of objects fail; nil: they do not
	onBatch func(*store.Batch) error // and batches; a restart ends that
}

// finish ends something the disk was asked to do, after d.
func (n *osd) finish(d time.Duration, run func()) {
	st := n.disk.st
	n.w.after(d+n.disk.lag, func() {
		switch {
		case n.disk.st != st: // the process has died, and the requests with it
		case n.disk.hung:
			n.disk.held = append(n.disk.held, run)
		default:
			run()
		}
	})
}

// unhang lets the disk go on.
func (n *osd) unhang() {
	n.disk.hung, n.disk.lag = false, 0
	held := n.disk.held
	n.disk.held = nil
	for _, run := range held {
		n.finish(n.w.rand(0, n.w.k.disk), run)
	}
}

// read asks the disk for something that does not change it, and lets then happen in the process.
func (n *osd) read(run func() (then func())) {
	life := n.life
	n.finish(n.w.rand(0, 3*time.Millisecond), func() {
		if n.life == life && n.alive {
			n.later(n.w.rand(0, 3*time.Millisecond), run())
		}
	})
}

// fail stops the daemon soon, because of its store.
func (n *osd) fail() {
	if n.broken {
		return
	}
	n.broken = true
	n.later(n.w.rand(0, 30*time.Millisecond), func() {
		n.crash(true)
		n.w.after(n.w.rand(0, 3*time.Second), n.start)
	})
}

// persist gives a batch of a group to the disk. If it fails, the group hears of it, and unless it was for want of space the daemon stops soon.
// As store.Store demands, answers come in the order of the batches, also if the process was frozen
// when some came and others come just when it goes on.
func (n *osd) persist(s *shard, g *pg.Group, p pg.Persist) {
	w, life, st, id := n.w, n.life, n.disk.st, g.ID()
	st.Submit(&store.Batch{Ops: p.Ops, Line: s.lines[id], Reserve: p.Reserve}, func(err error) {
		n.disk.saved = append(n.disk.saved, func() {
			if err != nil {
				if !errors.Is(err, errDisk) && !errors.Is(err, store.ErrNoSpace) {
					w.failf("%s: PG %s: batch: %v", n.id, id, err)
				}
				w.logf("%s: PG %s: batch: %v", n.id, id, err)
				if !errors.Is(err, store.ErrNoSpace) { // that is for the group to judge
					n.fail()
				}
			}
			s.event(g, pg.PersistedEvent{ID: p.ID, Err: err})
		})
		n.do(life, n.nextSaved)
	})
	n.finish(w.rand(0, w.k.disk), func() { st.Complete(1) })
}

// nextSaved tells the process of the oldest batch that it has not heard of.
func (n *osd) nextSaved() {
	tell := n.disk.saved[0]
	n.disk.saved = n.disk.saved[1:]
	tell()
}
