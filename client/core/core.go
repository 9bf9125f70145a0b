package core

import (
	"container/heap"
	"container/list"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// How operations are retried.
const (
	backoffMin  = 10 * time.Millisecond
	backoffMax  = time.Second
	bytesPerSec = 8 << 20 // data may take this much longer than Config.AttemptTimeout
	doublings   = 2       // of an attempt's time after unanswered ones
)

// Core is one client's operations. It is not safe for concurrent use.
type Core struct {
	cfg     Config
	m       *placement.Map // nil before the first
	closed  bool
	retries budget

	ops      map[uint64]*op
	underWay []*op      // those that have room, in no particular but always the same order
	waiting  *list.List // of *op: those that wait for room, in order
	bytes    int64      // of those under way
	timers   timers

	admitting bool // operations are being let out of waiting
	spare     *op  // memory of one that is over; nil: there is none

	now clock.Mono
	fx  Effects
}

// phase is what an operation does.
type phase uint8

const (
	queued  phase = iota // waits for room
	resting              // waits for a while, or for a map
	asking               // waits for an answer
	over
)

// op is an operation and what happened to it so far.
type op struct {
	Op
	phase phase
	slot  int           // in Core.underWay
	elem  *list.Element // in Core.waiting
	room  int64         // bytes it holds of Config.MaxBytes

	t       target
	met     obstacle
	version placement.Epoch // of the PG's record when it was last asked
	anyMap  bool            // it rests because somebody's map is old: any newer one is a reason to ask again

	attempt uint64     // number of the last attempt
	began   clock.Mono // when that was
	pending bool       // that attempt has been sent
	first   clock.Mono // when the first attempt was sent, zero if none
	silent  int        // attempts that its primary did not answer
	unknown bool       // an earlier attempt may have been carried out unseen
	last    cause
	backoff time.Duration

	wake  clock.Mono // what it waits for until then is over; zero never
	timer int        // in Core.timers, -1 if not there
}

// cause is why an attempt was not the last one, for errors.
type cause struct {
	osd   placement.OSDID // whom it was sent to, NoOSD: there was none yet
	err   error           // why there was no answer; nil: it was this one:
	code  wirepb.Code
	text  string
	epoch placement.Epoch
}

// New returns a Core without a map: operations wait until it has one.
func New(cfg Config) *Core {
	c := &Core{cfg: cfg.withDefaults(), ops: map[uint64]*op{}, waiting: list.New()}
	c.retries.tokens = retryBurst
	return c
}

// Epoch returns the epoch of the map the Core goes by, 0 before the first.
func (c *Core) Epoch() placement.Epoch {
	if c.m == nil {
		return 0
	}
	return c.m.Epoch
}

// Load returns how many operations are under way and how many bytes they move,
// and how many wait for room.
func (c *Core) Load() (ops int, bytes int64, waiting int) {
	return len(c.underWay), c.bytes, c.waiting.Len()
}

// Step applies one event at time now and returns what the driver must do. It never blocks.
func (c *Core) Step(now clock.Mono, ev Event) Effects {
	c.now = now
	c.fx = Effects{Drop: c.fx.Drop[:0], Send: c.fx.Send[:0], Done: c.fx.Done[:0]}
	switch ev := ev.(type) {
	case SubmitEvent:
		c.onSubmit(ev.Op)
	case *SubmitEvent:
		c.onSubmit(ev.Op)
	case MapEvent:
		c.onMap(ev.Map)
	case AnswerEvent:
		c.onAnswer(ev)
	case *AnswerEvent:
		c.onAnswer(*ev)
	case LostEvent:
		c.onLost(ev)
	case DialEvent:
		c.onDial(ev)
	case CancelEvent:
		if o := c.ops[ev.ID]; o != nil {
			c.giveUp(o, Cancelled)
		}
	case CloseEvent:
		c.closed = true
		for c.waiting.Len() > 0 {
			c.giveUp(c.waiting.Front().Value.(*op), Closed)
		}
		for _, o := range slices.Clone(c.underWay) {
			c.giveUp(o, Closed)
		}
	case TickEvent:
	}
	c.onTime()
	if len(c.timers) > 0 {
		c.fx.Wake = c.timers[0].wake
	}
	return c.fx
}

func (c *Core) onSubmit(spec Op) {
	if c.ops[spec.ID] != nil {
		return // the driver's mistake: the first one has the id
	}
	o := c.spare
	if c.spare = nil; o == nil {
		o = new(op)
	}
	*o = op{Op: spec, timer: -1, room: min(max(spec.Bytes, 1), c.cfg.MaxBytes), backoff: backoffMin, t: target{osd: placement.NoOSD}, last: cause{osd: placement.NoOSD}}
	c.ops[o.ID] = o
	switch {
	case c.closed:
		c.giveUp(o, Closed)
	case c.waiting.Len() == 0 && c.fits(o):
		c.admit(o)
	case c.waiting.Len() >= c.cfg.MaxWaiting:
		c.fail(o, &Error{Reason: Busy, Text: fmt.Sprintf("%d operations of this client wait for their turn", c.waiting.Len())})
	default:
		o.elem = c.waiting.PushBack(o)
		c.setTimer(o, 0)
	}
}

// fits reports whether there is room for an operation. What is larger than all
// the room gets all of it.
func (c *Core) fits(o *op) bool {
	return int64(len(c.underWay)) < c.cfg.MaxOps && c.bytes+o.room <= c.cfg.MaxBytes
}

func (c *Core) admit(o *op) {
	o.slot = len(c.underWay)
	c.underWay = append(c.underWay, o)
	c.bytes += o.room
	o.phase = resting
	c.begin(o)
}

// begin asks the operation's primary, or rests when there is nobody to ask.
func (c *Core) begin(o *op) {
	if o.Deadline != 0 && c.now >= o.Deadline {
		c.giveUp(o, Deadline)
		return
	}
	if c.m == nil {
		c.fx.Newest = true
		c.rest(o)
		return
	}
	t, met := route(c.m, &o.Op)
	if t != o.t {
		o.backoff, o.silent = backoffMin, 0
	}
	o.t, o.met, o.version, o.anyMap = t, met, version(c.m, t.pg), false
	switch met {
	case poolGone:
		c.fail(o, &Error{Reason: PoolGone, Text: fmt.Sprintf("the pool was removed (cluster map of epoch %d)", c.m.Epoch)})
		return
	case paused, noPrimary:
		// The next map will help. Should we have missed it, asking will.
		if o.backoff == backoffMax {
			c.fx.Newest, c.fx.Suspect = true, true
		}
		c.rest(o)
		return
	}
	o.phase, o.pending = asking, true
	o.attempt++
	o.began = c.now
	var age time.Duration
	if o.first == 0 {
		o.first = c.now
	} else {
		age = max(c.now.Sub(o.first), time.Millisecond)
	}
	patience := c.cfg.AttemptTimeout + time.Duration(max(o.Bytes, 0))*time.Second/bytesPerSec
	c.setTimer(o, c.now.Add(patience<<min(o.silent, doublings)))
	c.fx.Send = append(c.fx.Send, Send{
		ID: o.ID, Attempt: o.attempt, PG: t.pg, OSD: t.osd, Incarnation: t.incarnation, Addr: t.addr, Epoch: c.m.Epoch, PGNum: c.m.Pool(o.Pool).PGNum, Age: age,
	})
}

// rest waits a little longer each time.
func (c *Core) rest(o *op) {
	o.phase = resting
	d := jitter(o.backoff, c.cfg.Client, o.ID, o.attempt) + c.retries.take(c.now)
	o.backoff = min(2*o.backoff, backoffMax)
	c.setTimer(o, c.now.Add(d))
}

// onMap asks again where the map changes whom to ask, or may have changed what
// was waited for.
func (c *Core) onMap(m *placement.Map) {
	if m == nil || c.m != nil && m.Epoch <= c.m.Epoch {
		return
	}
	first := c.m == nil
	c.m = m
	for _, o := range slices.Clone(c.underWay) {
		t, met := route(m, &o.Op)
		switch o.phase {
		case resting:
			if first || t != o.t || met != o.met || o.anyMap || met == nothing && version(m, t.pg) != o.version {
				c.begin(o)
			}
		case asking:
			if met == paused || met == nothing && t == o.t {
				continue // what is under way when the cluster is paused may end
			}
			c.drop(o, false)
			c.begin(o)
		}
	}
}

// drop stops waiting for an attempt's answer. If it was sent it may be carried
// out, now or later.
func (c *Core) drop(o *op, silent bool) {
	o.unknown = o.unknown || o.pending
	o.pending, o.phase = false, resting
	c.fx.Drop = append(c.fx.Drop, Drop{ID: o.ID, Attempt: o.attempt, Silent: silent})
}

// current returns the operation that waits for this attempt, nil if none does.
func (c *Core) current(id, attempt uint64) *op {
	if o := c.ops[id]; o != nil && o.phase == asking && o.attempt == attempt {
		return o
	}
	return nil
}

// onAnswer looks at an answer: is it for the caller, or a reason to try again?
func (c *Core) onAnswer(ev AnswerEvent) {
	if ev.Epoch > c.Epoch() {
		c.fx.WantEpoch = ev.Epoch
	}
	o := c.current(ev.ID, ev.Attempt)
	if o == nil {
		return
	}
	o.pending = false
	again := true
	switch ev.Code {
	case wirepb.Code_STALE_MAP, wirepb.Code_WRONG_PRIMARY:
		// If it did not say which epoch it means, or knows less than we do, asking the monitors cannot hurt.
		c.fx.Newest = c.fx.Newest || ev.Epoch <= c.Epoch()
		o.anyMap = true
	case wirepb.Code_TRY_LATER:
	case wirepb.Code_STALE_TERM:
		o.unknown = true // it was in the log of a primary that no longer is one: its successor may have it
	case wirepb.Code_NOT_FOUND:
		if again = !ev.Body; again {
			c.fx.Newest, o.anyMap = true, true // not the object but the pool is unknown there: either OSD or we have an old map
		}
	default:
		again = false
	}
	if !again {
		c.result(o, ev)
		return
	}
	o.silent = 0
	o.last = cause{osd: o.t.osd, code: ev.Code, text: ev.Text, epoch: ev.Epoch}
	c.rest(o)
}

// result ends an operation with an answer that retrying does not change.
func (c *Core) result(o *op, ev AnswerEvent) {
	done := Done{Answer: ev}
	if o.Write && o.unknown {
		switch ev.Code {
		case wirepb.Code_OK, wirepb.Code_NOT_FOUND, wirepb.Code_EXISTS, wirepb.Code_CONFLICT, wirepb.Code_INVALID:
			// The PG knows request ids: this is the one outcome of all attempts.
		case wirepb.Code_TIMED_OUT:
			done.Err = &Error{Reason: Forgotten, Text: ev.Text} // it was carried out long ago or never: nobody knows any more
		default:
			// Said of this attempt only. An earlier one may have been carried out, so this must not look
			// like a write that surely failed.
			done.Err = &Error{Reason: Refused, Text: fmt.Sprintf("pg %s: %s refused a retry of a request that was not answered before: %s", o.t.pg, o.t.osd, ev.Text)}
		}
	}
	c.finish(o, done)
}

func (c *Core) onLost(ev LostEvent) {
	o := c.current(ev.ID, ev.Attempt)
	if o == nil {
		return
	}
	if ev.TooLarge {
		c.fail(o, &Error{Reason: TooLarge, Text: ev.Err.Error()})
		return
	}
	if !ev.Sent {
		c.unsent(o)
	}
	o.unknown = o.unknown || o.pending
	o.pending = false
	o.last = cause{osd: o.t.osd, err: ev.Err}
	c.fx.Newest = true // a broken connection or a refused one: perhaps the map knows more
	c.rest(o)
}

// unsent takes back that the last attempt was sent.
func (c *Core) unsent(o *op) {
	o.pending = false
	if o.first == o.began {
		o.first = 0
	}
}

func (c *Core) onDial(ev DialEvent) {
	o := c.current(ev.ID, ev.Attempt)
	switch {
	case o == nil:
	case !ev.Connected:
		c.unsent(o)
	default:
		o.pending = true
		if o.first == 0 {
			o.first = c.now
		}
	}
}

// onTime does what was to be done by now.
func (c *Core) onTime() {
	for len(c.timers) > 0 && c.timers[0].wake <= c.now {
		o := c.timers[0]
		switch {
		case o.Deadline != 0 && c.now >= o.Deadline:
			c.giveUp(o, Deadline)
		case o.phase == asking:
			o.silent++
			c.fx.Newest, c.fx.Suspect = true, true
			c.drop(o, true)
			c.begin(o) // it has waited long enough
		default:
			c.begin(o)
		}
	}
}

// giveUp ends an operation that waits for something.
func (c *Core) giveUp(o *op, why Reason) {
	e := &Error{Reason: why}
	if o.phase == queued && why != Closed {
		e.Text = fmt.Sprintf("too many operations under way in this client: limits are %d operations and %d bytes", c.cfg.MaxOps, c.cfg.MaxBytes)
		c.fail(o, e)
		return
	}
	if o.phase == asking {
		// If the time was up just after it was sent, what it answered before says more.
		if o.last.osd != o.t.osd || c.now.Sub(o.began) >= c.cfg.AttemptTimeout/2 {
			o.silent++
		}
		c.drop(o, false)
	}
	e.Text = c.waitsFor(o)
	e.Unknown = o.Write && o.unknown
	c.fail(o, e)
}

// waitsFor says in words what an operation waits for.
func (c *Core) waitsFor(o *op) string {
	switch {
	case o.phase == queued:
		return "it was not sent"
	case c.m == nil:
		return "there is no cluster map yet"
	case o.met != nothing:
		return explain(c.m, o.t, o.met)
	case o.attempt == 0:
		return "it was not sent"
	}
	s := fmt.Sprintf("pg %s: primary %s ", o.t.pg, o.t.osd)
	if o.silent == 0 && o.last.osd == o.t.osd {
		return s + c.said(&o.last)
	}
	s += "does not answer"
	if o.attempt > 1 {
		s += fmt.Sprintf(" (%d attempts)", o.attempt)
	}
	if o.last.osd != placement.NoOSD {
		s += fmt.Sprintf("; before, %s %s", o.last.osd, c.said(&o.last))
	}
	return s
}

// said says in words why an attempt was not the last one.
func (c *Core) said(l *cause) string {
	if l.err != nil {
		return fmt.Sprintf("cannot be reached: %v", l.err)
	}
	s := fmt.Sprintf("answered %s", l.code)
	if l.text != "" {
		s += ": " + l.text
	}
	if l.code == wirepb.Code_WRONG_PRIMARY || l.code == wirepb.Code_STALE_MAP {
		s += fmt.Sprintf(" (its map has epoch %d, ours %d)", l.epoch, c.m.Epoch)
	}
	return s
}

func (c *Core) fail(o *op, e *Error) { c.finish(o, Done{Err: e}) }

// finish ends an operation and lets others have its room.
func (c *Core) finish(o *op, d Done) {
	d.ID, d.PG, d.OSD, d.Attempts = o.ID, o.t.pg, o.t.osd, int(o.attempt)
	c.fx.Done = append(c.fx.Done, d)
	delete(c.ops, o.ID)
	if o.timer >= 0 {
		heap.Remove(&c.timers, o.timer)
	}
	if o.elem != nil {
		c.waiting.Remove(o.elem)
	}
	started := o.phase != queued
	o.phase = over
	if started {
		last := c.underWay[len(c.underWay)-1]
		c.underWay[o.slot], last.slot = last, o.slot
		c.underWay[len(c.underWay)-1] = nil
		c.underWay = c.underWay[:len(c.underWay)-1]
		c.bytes -= o.room
	}
	if c.admitting {
		return // the loop below has come to us by what it admitted
	}
	c.admitting = true
	for f := c.waiting.Front(); f != nil && !c.closed && c.fits(f.Value.(*op)); f = c.waiting.Front() {
		next := c.waiting.Remove(f).(*op)
		next.elem = nil
		c.admit(next)
	}
	c.admitting = false
	c.spare = o // for the next Step: this one may still look at it
}

// setTimer says until when the operation waits for what it waits for, 0 for
// ever; its deadline ends it in any case.
func (c *Core) setTimer(o *op, at clock.Mono) {
	if o.Deadline != 0 && (at == 0 || at > o.Deadline) {
		at = o.Deadline
	}
	o.wake = at
	switch {
	case at == 0 && o.timer >= 0:
		heap.Remove(&c.timers, o.timer)
	case at == 0:
	case o.timer >= 0:
		heap.Fix(&c.timers, o.timer)
	default:
		heap.Push(&c.timers, o)
	}
}
