package mon

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

const (
	subscribersMax = 65536
	pendingMax     = 2048                   // maps waiting to be published; beyond that subscribers get a whole one
	slowRetry      = 250 * time.Millisecond // how soon a subscriber whose queue was full is tried again
)

// publisher turns the sequence of maps into deltas and sends them to the
// subscribers. One goroutine does all the sending, so every subscriber sees
// rising epochs; a subscriber that reads too slowly is skipped until its queue
// has room, and then gets everything it lacks at once.
type publisher struct {
	log  *slog.Logger
	keep int // deltas

	mu      sync.Mutex // guards below
	pending []*placement.Map
	broken  bool // pending does not continue from base: a snapshot came in between
	newSubs []newSub
	base    *placement.Map // newest published; epoch 0 before the first
	full    []byte         // encoding of base; nil until somebody needs it
	history []delta        // rising, each beginning where the one before ends, the last ending at base
	newBase chan struct{}  // closed and replaced whenever base changes
	subs    map[*wire.Conn]placement.Epoch
	wake    chan struct{}
}

// delta leads from one published epoch to the next.
type delta struct {
	from, to placement.Epoch
	enc      []byte
}

type newSub struct {
	c    *wire.Conn
	req  *wire.Message
	have placement.Epoch
}

func newPublisher(log *slog.Logger, keep int, base *placement.Map) *publisher {
	return &publisher{
		log: log, keep: keep, base: base,
		newBase: make(chan struct{}),
		subs:    make(map[*wire.Conn]placement.Epoch),
		wake:    make(chan struct{}, 1),
	}
}

func (p *publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// add queues maps for publishing, oldest first.
func (p *publisher) add(maps []*placement.Map) {
	p.mu.Lock()
	p.pending = append(p.pending, maps...)
	if len(p.pending) > pendingMax {
		p.pending = append([]*placement.Map(nil), p.pending[len(p.pending)-1])
		p.broken = true
	}
	p.mu.Unlock()
	p.signal()
}

// reset publishes a map that does not follow from the last.
func (p *publisher) reset(m *placement.Map) {
	p.mu.Lock()
	p.pending, p.broken = []*placement.Map{m}, true
	p.mu.Unlock()
	p.signal()
}

// subscribe answers req and sends c all later maps. It reports whether there
// was room for one more subscriber.
func (p *publisher) subscribe(c *wire.Conn, req *wire.Message, have placement.Epoch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.subs)+len(p.newSubs) >= subscribersMax {
		return false
	}
	p.newSubs = append(p.newSubs, newSub{c, req, have})
	p.signal()
	return true
}

// unsubscribe forgets a connection that has ended.
func (p *publisher) unsubscribe(c *wire.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.subs, c)
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	retry := time.NewTimer(slowRetry)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-p.wake:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if lagging := p.publish(); lagging {
			retry.Reset(slowRetry)
		}
	}
}

// publish makes deltas of the pending maps and sends what there is to send. It
// reports whether some subscriber's queue was full.
func (p *publisher) publish() (lagging bool) {
	p.mu.Lock()
	pending, broken, base, subs := p.pending, p.broken, p.base, p.newSubs
	p.pending, p.broken, p.newSubs = nil, false, nil
	p.mu.Unlock()

	// Only this goroutine changes base and history, so the encoding needs no lock.
	var made []delta
	anew := false
	for _, m := range pending {
		if broken || base.Epoch == 0 {
			anew, made = true, nil
		} else {
			made = append(made, delta{from: base.Epoch, to: m.Epoch, enc: placement.EncodeDelta(placement.Diff(base, m))})
		}
		base, broken = m, false
	}
	p.mu.Lock()
	if base != p.base {
		p.base, p.full = base, nil
		if anew {
			p.history = nil
		}
		p.remember(made)
		close(p.newBase)
		p.newBase = make(chan struct{})
	}
	p.mu.Unlock()
	p.greet(subs)
	return p.send()
}

// remember appends deltas and drops the oldest above the limit. mu is held.
func (p *publisher) remember(made []delta) {
	p.history = append(p.history, made...)
	if drop := len(p.history) - p.keep; drop > 0 {
		p.history = slices.Delete(p.history, 0, drop)
	}
}

// greet answers new subscribers.
func (p *publisher) greet(subs []newSub) {
	for _, s := range subs {
		m := p.update(s.have)
		if err := s.c.Reply(s.req, m); err != nil {
			p.log.Debug("answer a subscription", "to", s.c.Peer().Entity, "err", err)
			continue // its connection has ended
		}
		p.mu.Lock()
		p.subs[s.c] = max(s.have, placement.Epoch(m.Header.Epoch))
		p.mu.Unlock()
	}
}

// send brings the subscribers up to date, but those whose queue is full.
func (p *publisher) send() (lagging bool) {
	type parcel struct {
		c *wire.Conn
		m *wire.Message
	}
	var out []parcel
	p.mu.Lock()
	to := p.base.Epoch
	updates := make(map[placement.Epoch]*wire.Message) // most subscribers lack the same
	for c, sent := range p.subs {
		switch {
		case c.Err() != nil:
			delete(p.subs, c)
		case sent < to:
			if updates[sent] == nil {
				updates[sent] = p.updateLocked(sent)
			}
			out = append(out, parcel{c, updates[sent]})
		}
	}
	p.mu.Unlock()

	for _, o := range out {
		err := o.c.Send(o.m)
		p.mu.Lock()
		_, still := p.subs[o.c]
		switch {
		case !still: // it ended meanwhile
		case err == nil:
			p.subs[o.c] = to
		case errors.Is(err, wire.ErrQueueFull):
			lagging = true
		default:
			delete(p.subs, o.c)
		}
		p.mu.Unlock()
	}
	return lagging
}

// update returns the MapUpdate for somebody who has epoch have.
func (p *publisher) update(have placement.Epoch) *wire.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.updateLocked(have)
}

func (p *publisher) updateLocked(have placement.Epoch) *wire.Message {
	to := p.base.Epoch
	u := &wirepb.MapUpdate{From: uint64(have), To: uint64(to)}
	var payload []byte
	switch i, ok := p.find(have); {
	case have >= to: // nothing newer here; perhaps the peer comes from a monitor that is ahead
		u.To = uint64(have)
	case ok && p.worth(i):
		for _, d := range p.history[i:] {
			payload = binary.LittleEndian.AppendUint32(payload, uint32(len(d.enc)))
			payload = append(payload, d.enc...)
		}
	default:
		if p.full == nil {
			p.full = placement.EncodeMap(p.base)
		}
		payload, u.From, u.Full = p.full, 0, true
	}
	return &wire.Message{Header: &wirepb.Header{Epoch: uint64(to), Body: &wirepb.Header_MapUpdate{MapUpdate: u}}, Payload: payload}
}

// find returns the index of the delta that begins at epoch have.
func (p *publisher) find(have placement.Epoch) (int, bool) {
	i := sort.Search(len(p.history), func(i int) bool { return p.history[i].from >= have })
	return i, i < len(p.history) && p.history[i].from == have
}

// worth reports whether the deltas from i on are smaller than the whole map. It
// only looks when they are not obviously small.
func (p *publisher) worth(i int) bool {
	n := 0
	for _, d := range p.history[i:] {
		n += len(d.enc) + 4
	}
	if n <= 16<<10 {
		return true
	}
	if p.full == nil {
		p.full = placement.EncodeMap(p.base)
	}
	return n < len(p.full)
}

// waitFor waits until a map of at least epoch want is published.
func (p *publisher) waitFor(ctx context.Context, want placement.Epoch) error {
	for {
		p.mu.Lock()
		have, next := p.base.Epoch, p.newBase
		p.mu.Unlock()
		if have >= want {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
