package pg

// lockKind is what somebody does with an object while he holds its lock.
type lockKind uint8

const (
	reading lockKind = iota // a client's read: sees committed data only
	writing                 // a client's write, until it has committed
	copying                 // a push: needs the object to stand still, committed or not
	mending                 // a repair: as copying, and alone, since it may replace our copy by an equal one
)

// objLock orders what happens to one object: one write or many reads at a
// time, first come first served, so that a read never sees a write that has not
// committed and a push never sees half of one.
//
// A push does not wait for the write to commit, only for our own disk to have
// it: the learner's log has the write, too. If it waited, a write that cannot
// commit for want of a second copy would keep the second copy from being made. The same
// goes for a repair. Reads go on meanwhile.
type objLock struct {
	readers int
	copiers int
	mender  bool
	writer  bool
	settled bool // what the writer does is on our disk
	queue   []lockWait
}

type lockWait struct {
	kind lockKind
	run  func()
}

type lockTable map[string]*objLock

// acquire runs run as soon as the lock is free for it, at once if it is now.
func (t lockTable) acquire(name string, kind lockKind, run func()) {
	if t.try(name, kind) {
		run()
		return
	}
	l := t[name]
	l.queue = append(l.queue, lockWait{kind, run})
}

// try takes the lock if it is free now. If it is not, acquire lets the caller wait for it.
func (t lockTable) try(name string, kind lockKind) bool {
	l := t[name]
	if l == nil {
		l = &objLock{}
		t[name] = l
	}
	// Copiers and menders overtake: those who wait before them may wait for a commit that needs
	// the copy, or for a reader that needs the repair.
	if !l.free(kind) || len(l.queue) > 0 && !kind.overtakes() {
		return false
	}
	l.take(kind)
	return true
}

func (k lockKind) overtakes() bool { return k == copying || k == mending }

func (l *objLock) free(kind lockKind) bool {
	switch kind {
	case reading:
		return !l.writer
	case copying:
		return (!l.writer || l.settled) && !l.mender
	case mending:
		return (!l.writer || l.settled) && !l.mender && l.copiers == 0
	}
	return !l.writer && l.readers == 0 && l.copiers == 0 && !l.mender
}

func (l *objLock) take(kind lockKind) {
	switch kind {
	case reading:
		l.readers++
	case copying:
		l.copiers++
	case mending:
		l.mender = true
	default:
		l.writer, l.settled = true, false
	}
}

// overtake lets everybody who may overtake have the lock, as far as it is free.
func (l *objLock) overtake() (ready []func()) {
	kept := l.queue[:0]
	for _, w := range l.queue {
		if w.kind.overtakes() && l.free(w.kind) {
			l.take(w.kind)
			ready = append(ready, w.run)
			continue
		}
		kept = append(kept, w)
	}
	clear(l.queue[len(kept):])
	l.queue = kept
	return ready
}

// settle says that the writer's change is on our disk, and lets copiers run.
func (t lockTable) settle(name string) {
	l := t[name]
	if l == nil || !l.writer {
		return
	}
	l.settled = true
	for _, run := range l.overtake() {
		run()
	}
}

// release gives the lock back and runs whoever is next.
func (t lockTable) release(name string, kind lockKind) {
	l := t[name]
	if l == nil {
		return // the table was reset with the term
	}
	switch kind {
	case reading:
		l.readers--
	case copying:
		l.copiers--
	case mending:
		l.mender = false
	default:
		l.writer, l.settled = false, false
	}
	ready := l.overtake()
	for len(l.queue) > 0 {
		w := l.queue[0]
		if !l.free(w.kind) {
			break
		}
		l.queue = l.queue[1:]
		l.take(w.kind)
		ready = append(ready, w.run)
	}
	if len(l.queue) == 0 && !l.writer && l.readers == 0 && l.copiers == 0 && !l.mender {
		delete(t, name)
	}
	for _, run := range ready {
		run()
	}
}
