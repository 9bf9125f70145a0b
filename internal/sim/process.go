package sim

import "time"

// endpoint names a process on the network: OSDs from 0 on, monitors and clients from their bases.
type endpoint int

const (
	monBase    endpoint = 1000
	clientBase endpoint = 2000
)

// process is a program that may die, start again, and freeze.
type process struct {
	w      *world
	at     endpoint
	alive  bool
	life   int      // raised by every death: what belongs to an older one is void
	frozen bool     // stopped by a signal, with its clock running on
	inbox  []func() // what waits for it to go on
}

// life is one life of a process: what is meant for it never reaches a later one.
type life struct {
	p *process
	n int
}

// ref returns the present life.
func (p *process) ref() life { return life{p, p.life} }

func (l life) do(run func()) { l.p.do(l.n, run) }

// do lets something happen in the process, now or when it goes on, if it still is the same life.
func (p *process) do(life int, run func()) {
	switch {
	case !p.alive || p.life != life:
	case p.frozen:
		p.inbox = append(p.inbox, run)
	default:
		run()
	}
}

// later lets something happen in this life of the process after a while.
func (p *process) later(d time.Duration, run func()) {
	life := p.life
	p.w.after(d, func() { p.do(life, run) })
}

// die ends the process.
func (p *process) die() {
	p.alive, p.frozen, p.inbox = false, false, nil
	p.life++
}

// freeze stops the process until thaw.
func (p *process) freeze() { p.frozen = p.alive }

// thaw lets the process go on with everything that has come meanwhile.
func (p *process) thaw() {
	if !p.frozen {
		return
	}
	p.frozen = false
	waiting, life := p.inbox, p.life
	p.inbox = nil
	for i, run := range waiting {
		// Each is an event of its own, so that others may come in between.
		p.w.after(time.Duration(i)*20*time.Microsecond, func() { p.do(life, run) })
	}
}
