package pg

// objLock orders what happens to one object: one write or many reads at a
// time, first come first served, so that a read never sees a write that has not
// committed and a push never sees half of one.
type objLock struct {
	readers int
	writer  bool
	queue   []lockWait
}

type lockWait struct {
	write bool
	run   func()
}

type lockTable map[string]*objLock

// acquire runs run as soon as the lock is free for it, at once if it is now.
func (t lockTable) acquire(name string, write bool, run func()) {
	l := t[name]
	if l == nil {
		l = &objLock{}
		t[name] = l
	}
	if len(l.queue) > 0 || l.writer || write && l.readers > 0 {
		l.queue = append(l.queue, lockWait{write, run})
		return
	}
	l.take(write)
	run()
}

func (l *objLock) take(write bool) {
	if write {
		l.writer = true
	} else {
		l.readers++
	}
}

// release gives the lock back and runs whoever is next.
func (t lockTable) release(name string, write bool) {
	l := t[name]
	if l == nil {
		return // the table was reset with the term
	}
	if write {
		l.writer = false
	} else {
		l.readers--
	}
	var ready []func()
	for len(l.queue) > 0 {
		w := l.queue[0]
		if l.writer || w.write && l.readers > 0 {
			break
		}
		l.queue = l.queue[1:]
		l.take(w.write)
		ready = append(ready, w.run)
	}
	if len(l.queue) == 0 && !l.writer && l.readers == 0 {
		delete(t, name)
	}
	for _, run := range ready {
		run()
	}
}
