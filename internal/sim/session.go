package sim

import (
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// session is how an OSD or a client hears of the monitors, in one life: it follows one of
// them, and another when that one is silent.
type session struct {
	w       *world
	p       *process
	self    life
	mon     *monitor
	lag     time.Duration // the longest that a new map waits before it is on its way
	have    *published    // newest map received
	heard   clock.Mono
	wanted  placement.Epoch
	asking  bool
	onMap   func(*published)
	waiters []waiter
}

// waiter waits for a map.
type waiter struct {
	epoch placement.Epoch
	run   func(*published)
}

func newSession(w *world, p *process, lag time.Duration, onMap func(*published)) *session {
	s := &session{w: w, p: p, self: p.ref(), lag: lag, onMap: onMap, mon: pick(w, w.mons.all[:]), heard: w.now}
	w.mons.sessions = append(w.mons.sessions, s)
	s.ask()
	s.keep()
	return s
}

func (s *session) ended() bool { return !s.p.alive || s.p.life != s.self.n }

func (s *session) epoch() placement.Epoch {
	if s.have == nil {
		return 0
	}
	return s.have.m.Epoch
}

// push sends a map that the followed monitor has just got.
func (s *session) push(from *monitor, p *published) {
	s.w.after(s.w.rand(0, s.lag), func() {
		s.w.net.post(from.at, s.self, func() { s.receive(p) })
	})
}

func (s *session) receive(p *published) {
	if s.ended() {
		return
	}
	s.heard = s.w.now
	if p == nil || p.m.Epoch <= s.epoch() {
		return
	}
	s.have = p
	s.onMap(p)
	ready := slices.DeleteFunc(slices.Clone(s.waiters), func(w waiter) bool { return w.epoch > p.m.Epoch })
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool { return w.epoch <= p.m.Epoch })
	for _, w := range ready {
		w.run(p)
	}
}

// whenHas runs something once a map of that epoch is here.
func (s *session) whenHas(e placement.Epoch, run func(*published)) {
	if s.epoch() >= e {
		run(s.have)
		return
	}
	s.waiters = append(s.waiters, waiter{e, run})
	s.want(e)
}

// want says that a map of that epoch exists and is needed soon.
func (s *session) want(e placement.Epoch) {
	if e > s.epoch() {
		s.wanted = max(s.wanted, e)
		s.press()
	}
}

func (s *session) press() {
	if s.asking || s.wanted <= s.epoch() {
		return
	}
	s.asking = true
	s.ask()
	s.p.later(s.w.rand(50*time.Millisecond, 300*time.Millisecond), func() {
		s.asking = false
		if s.wanted > s.epoch() && s.w.chance(0.3) {
			s.mon = pick(s.w, s.w.mons.all[:])
		}
		s.press()
	})
}

// ask asks the monitor for its newest map.
func (s *session) ask() {
	m := s.mon
	s.w.net.post(s.p.at, m.ref(), func() {
		newest := m.have
		s.w.net.post(m.at, s.self, func() { s.receive(newest) })
	})
}

// keep looks now and then whether the monitor is still there.
func (s *session) keep() {
	s.p.later(max(s.lag, s.w.rand(800*time.Millisecond, 1500*time.Millisecond)), func() {
		if s.w.now.Sub(s.heard) > max(2*s.lag, 2*time.Second) {
			s.mon = pick(s.w, s.w.mons.all[:])
		}
		s.ask()
		s.keep()
	})
}

// call has something done at the leading monitor. done gets the answer, or false if there was
// none in time; it may have been done all the same, and more than once.
func (s *session) call(run func(ms *monitors, reply func(fsm.Result)), done func(fsm.Result, bool)) {
	over := false
	finish := func(res fsm.Result, ok bool) {
		if !over && done != nil {
			done(res, ok)
		}
		over = true
	}
	var try func(n int)
	try = func(n int) {
		m := s.mon
		s.w.net.post(s.p.at, m.ref(), func() {
			m.relay(run, func(res fsm.Result) {
				s.w.net.post(m.at, s.self, func() { finish(res, true) })
			})
		})
		s.p.later(s.w.rand(time.Second, 2*time.Second), func() {
			switch {
			case over:
			case n == 3:
				finish(fsm.Result{Code: wirepb.Code_TIMED_OUT}, false)
			default:
				s.mon = pick(s.w, s.w.mons.all[:])
				try(n + 1)
			}
		})
	}
	try(1)
}

// propose asks for a change.
func (s *session) propose(b fsm.Body, done func(fsm.Result, bool)) {
	s.call(func(ms *monitors, reply func(fsm.Result)) { ms.propose(b, reply) }, done)
}
