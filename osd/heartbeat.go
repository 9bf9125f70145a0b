package osd

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// heartbeats asks the OSDs we share PGs with for read leases, a few times a
// second, and tells the monitors of those that do not answer.
type heartbeats struct {
	d *OSD

	mu    sync.Mutex // guards below
	peers map[placement.OSDID]*beat
}

// beat is the heartbeat to one peer.
type beat struct {
	id     placement.OSDID
	kick   chan struct{} // capacity 1: ask now
	cancel context.CancelFunc

	mu          sync.Mutex // guards below
	addr        string
	incarnation uint64
}

func newHeartbeats(d *OSD) *heartbeats {
	return &heartbeats{d: d, peers: map[placement.OSDID]*beat{}}
}

// follow begins and ends heartbeats as the map says who is up.
func (h *heartbeats) follow(m *placement.Map) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.d.ctx.Err() != nil {
		return
	}
	for i := range m.OSDs {
		o := &m.OSDs[i]
		b := h.peers[o.ID]
		switch {
		case o.ID == h.d.id:
		case o.Up && b == nil:
			ctx, cancel := context.WithCancel(h.d.ctx)
			b = &beat{id: o.ID, kick: make(chan struct{}, 1), cancel: cancel, addr: o.Addr, incarnation: o.Incarnation}
			h.peers[o.ID] = b
			h.retry(o.Addr) // it has just booted, whatever we saw before
			h.d.wg.Add(1)
			go h.run(ctx, b) // until the peer is down or Close ends ctx
		case o.Up:
			b.mu.Lock()
			news := b.incarnation != o.Incarnation
			b.addr, b.incarnation = o.Addr, o.Incarnation
			b.mu.Unlock()
			if news {
				h.retry(o.Addr)
			}
		case b != nil:
			b.cancel()
			delete(h.peers, o.ID)
		}
	}
	for id, b := range h.peers {
		if m.OSD(id) == nil {
			b.cancel()
			delete(h.peers, id)
		}
	}
}

// retry has an address dialled again that did not answer.
func (h *heartbeats) retry(addr string) {
	h.d.peers.Retry(addr)
	h.d.beatPeers.Retry(addr)
}

// probe asks a peer at once, because something made us doubt that it lives.
func (h *heartbeats) probe(id placement.OSDID) {
	h.mu.Lock()
	b := h.peers[id]
	h.mu.Unlock()
	if b != nil {
		select {
		case b.kick <- struct{}{}:
		default:
		}
	}
}

func (h *heartbeats) run(ctx context.Context, b *beat) {
	defer h.d.wg.Done()
	d := h.d
	answered := d.clk.Mono()
	var reported clock.Mono
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-b.kick:
		case <-ctx.Done():
			return
		}
		b.mu.Lock()
		addr, inc := b.addr, b.incarnation
		b.mu.Unlock()
		err := h.ask(ctx, b.id, addr)
		now := d.clk.Mono()
		next := d.o.HeartbeatEvery
		switch {
		case err == nil:
			answered, reported = now, 0
		case ctx.Err() != nil:
			return
		default:
			// Only a dial made now tells that nobody listens now; a backoff repeats old news.
			refused, silent := wire.IsRefused(err) && !errors.Is(err, wire.ErrBackoff) || errors.Is(err, errAnother), now.Sub(answered)
			if refused || wire.IsRefused(err) {
				next = d.o.HeartbeatEvery / 4
			}
			if (refused || silent >= d.o.SilentAfter) && (reported == 0 || now.Sub(reported) >= time.Second) {
				reported = now
				h.report(b.id, inc, refused, silent)
			}
		}
		timer.Reset(next)
	}
}

// errAnother: somebody else listens where the peer did, so the peer does not; say an OSD
// whose disk was replaced has another id now. It proves as much as a refused connection.
var errAnother = errors.New("another daemon answers at its address")

// ask sends one heartbeat. Half a lease is time enough for an answer to be worth having.
func (h *heartbeats) ask(ctx context.Context, id placement.OSDID, addr string) error {
	d := h.d
	ctx, cancel := context.WithTimeout(ctx, max(d.o.Lease, 500*time.Millisecond))
	defer cancel()
	asked := d.clk.Mono()
	d.mu.Lock()
	inc := d.incarnation
	d.mu.Unlock()
	r, err := d.beatPeers.Call(ctx, addr, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Heartbeat{
		Heartbeat: &wirepb.Heartbeat{From: int32(d.id), Incarnation: inc, Asked: int64(asked), Acts: uint64(d.acts())}}}})
	if err != nil {
		return err
	}
	if e := placement.Epoch(r.Header.Epoch); e > placement.Epoch(d.epoch.Load()) {
		d.o.Monitors.Want(e)
	}
	hb := r.Header.GetHeartbeatReply()
	if hb == nil || placement.OSDID(hb.From) != id {
		return errAnother
	}
	d.loads.heard(asked, id, hb)
	if hb.LeaseNs > 0 {
		d.throttle.SetFull(id, placement.Fullness(min(hb.Full, uint32(placement.Full))))
		d.leases.Received(asked, id, time.Duration(hb.LeaseNs), placement.Epoch(hb.Epoch))
	}
	return nil
}

// onHeartbeat grants a lease.
func (d *OSD) onHeartbeat(c *wire.Conn, m *wire.Message, hb *wirepb.Heartbeat) {
	own := d.ownLoad()
	r := &wirepb.HeartbeatReply{From: int32(d.id), Asked: hb.Asked, Full: uint32(own.full), FreeBytes: own.free, BusyUs: uint64(own.busy / time.Microsecond)}
	if from, ok := osdOf(c.Peer()); ok && from == placement.OSDID(hb.From) && d.booted.Load() {
		d.leases.Acts(from, placement.Epoch(hb.Acts))
		lease, epoch := d.leases.Grant(d.clk.Mono(), from)
		r.LeaseNs, r.Epoch = int64(lease), uint64(epoch)
	}
	c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_HeartbeatReply{HeartbeatReply: r}}})
}

// report tells the monitors that a peer does not answer.
func (h *heartbeats) report(id placement.OSDID, inc uint64, refused bool, silent time.Duration) {
	d := h.d
	d.log.Info("peer does not answer", "osd", d.id, "peer", id, "refused", refused, "silent", silent)
	d.wg.Add(1)
	go func() { // until a monitor has it or two seconds are over
		defer d.wg.Done()
		ctx, cancel := context.WithTimeout(d.ctx, 2*time.Second)
		defer cancel()
		_, err := d.o.Monitors.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdFailure{OsdFailure: &wirepb.OSDFailure{
			Reporter: int32(d.id), Target: int32(id), TargetIncarnation: inc, Refused: refused, SilentMs: silent.Milliseconds(),
		}}}})
		if err != nil {
			d.log.Debug("failure not reported", "peer", id, "err", err)
		}
	}()
}

// acts returns the epoch of a map that all our groups act on, or a newer one. The daemon's own map may be
// newer than what a shard has got to.
func (d *OSD) acts() placement.Epoch {
	e := ^uint64(0)
	for _, s := range d.shards {
		e = min(e, s.acts.Load())
	}
	return placement.Epoch(e)
}
