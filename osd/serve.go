package osd

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// handler takes the messages of clients and other OSDs, on the connections' own
// goroutines, and puts them into the mailbox of the shard they concern.
type handler struct{ d *OSD }

// Handle implements wire.Handler.
func (h handler) Handle(c *wire.Conn, m *wire.Message) {
	d := h.d
	hd := m.Header
	if hd.Tag != 0 && !d.booted.Load() && hd.GetHeartbeat() == nil {
		// Messages of PGs are taken from the first moment: others may see us up in the map
		// before we do. Their shard keeps them until it has that map.
		c.ReplyError(m, wirepb.Code_TRY_LATER, "%s is starting", d.id)
		return
	}
	if hd.Tag == 0 && hd.GetPg() == nil && hd.GetPgWrapped() == nil {
		return // only messages of PGs want no answer
	}
	epoch := placement.Epoch(hd.Epoch)
	switch {
	case hd.GetOp() != nil:
		d.onOp(c, m, hd.GetOp(), epoch)
	case hd.GetPg() != nil, hd.GetPgWrapped() != nil:
		p, payload, err := unwrap(m)
		if err != nil {
			d.log.Warn("message of a PG is damaged", "peer", c.Peer().Entity, "err", err)
			go c.Close() // waits for the goroutine we are on; the peer begins again
			return
		}
		from, ok := osdOf(c.Peer())
		if !ok || from != placement.OSDID(p.From) {
			d.log.Warn("message of a PG from somebody else than it says", "peer", c.Peer().Entity, "says", p.From)
			return
		}
		id := placement.PGID{Pool: placement.PoolID(p.Pool), Shard: p.Shard}
		d.shardOf(id).put(forGroup{id: id, epoch: epoch, mem: m.Mem, msg: pg.MsgEvent{From: from, Msg: p, Payload: payload}})
	case hd.GetHeartbeat() != nil:
		if _, known := d.beaters.Load(c); !known {
			d.beaters.Store(c, struct{}{})
		}
		d.onHeartbeat(c, m, hd.GetHeartbeat())
	case hd.GetPgList() != nil:
		l := hd.GetPgList()
		id := placement.PGID{Pool: placement.PoolID(l.Pool), Shard: l.Shard}
		ev := &pg.OpEvent{Handle: pg.Handle(d.handles.Add(1)), List: l}
		d.shardOf(id).put(forGroup{id: id, epoch: epoch, ev: ev, from: client{conn: c, req: m}})
	case hd.GetPgQueryState() != nil:
		q := hd.GetPgQueryState()
		id := placement.PGID{Pool: placement.PoolID(q.Pool), Shard: q.Shard}
		d.shardOf(id).say(call{func(s *shard) { s.query(id, client{conn: c, req: m}) }})
	case hd.GetPerfGet() != nil:
		d.onPerf(c, m)
	case hd.GetPgScrubStart() != nil:
		d.onScrubStart(c, m, hd.GetPgScrubStart())
	case hd.GetChunkCare() != nil:
		d.onChunkCare(c, m, hd.GetChunkCare())
	case hd.GetPgInconsistentList() != nil:
		q := hd.GetPgInconsistentList()
		id := placement.PGID{Pool: placement.PoolID(q.Pool), Shard: q.Shard}
		d.shardOf(id).say(call{func(s *shard) { s.inconsistent(id, client{conn: c, req: m}) }})
	case hd.GetChunkPlace() != nil:
		d.onChunkPlace(c, m, hd.GetChunkPlace(), epoch)
	case d.onShard(c, m, epoch):
	default:
		c.ReplyError(m, wirepb.Code_UNSUPPORTED, "%s does not know this request; is it older than you?", d.id)
	}
}

// Idle implements wire.Idler: what has come is worked off here and now. Heartbeats
// have connections of their own, and those who read them leave all work to others, also
// what somebody else has put into a mailbox: the next heartbeat must not wait for it.
func (h handler) Idle(c *wire.Conn) {
	if _, beats := h.d.beaters.Load(c); !beats {
		h.d.driveAll()
		return
	}
	for _, s := range h.d.shards {
		if s.filled.Load() {
			s.wake()
		}
	}
}

// Limits of what the store has been given and not answered, above which those who
// bring work leave it to the shards' own goroutines. They are well below the store's
// own, where giving it more means waiting.
const (
	pressedBatches = 1024
	pressedBytes   = 32 << 20
)

func (d *OSD) pressed() bool {
	return d.pending.Load() > pressedBatches || d.pendingBytes.Load() > pressedBytes
}

// onOp checks a client's operation and hands it to its PG.
func (d *OSD) onOp(c *wire.Conn, m *wire.Message, op *wirepb.OpRequest, epoch placement.Epoch) {
	if err := objop.Validate(op, len(m.Payload)); err != nil {
		c.Reply(m, &wire.Message{Header: refusal(err)})
		return
	}
	id := placement.PGID{Pool: placement.PoolID(op.Pool), Shard: op.Shard}
	write := objop.IsWrite(op)
	d.mu.Lock()
	cur := d.cur
	d.mu.Unlock()
	if pool := cur.Pool(id.Pool); pool != nil && epoch <= cur.Epoch {
		if want := placement.PGOf(pool, string(op.Object)); want != id {
			c.ReplyError(m, wirepb.Code_STALE_MAP, "object %q belongs to PG %s, not %s, in map epoch %d", op.Object, want, id, cur.Epoch)
			return
		}
	}
	if cur.Flags&placement.FlagPause != 0 {
		c.ReplyError(m, wirepb.Code_TRY_LATER, "the cluster is paused (flag pause)")
		return
	}
	if write && op.Req != nil && !d.fence.admit(op.Req.Client, c.Number()) {
		c.ReplyError(m, wirepb.Code_TRY_LATER, "%s has since heard from this client on a later connection", d.id)
		return
	}
	ev := &pg.OpEvent{Handle: pg.Handle(d.handles.Add(1)), Op: op, Payload: m.Payload, Write: write, Wall: d.clk.Wall().UnixNano(), Epoch: epoch}
	if ev.Grows = write && grows(op); ev.Grows {
		ev.Full = d.full()
	}
	d.shardOf(id).put(forGroup{id: id, epoch: epoch, ev: ev, from: client{conn: c, req: m, write: write}})
}

// refusal is the answer to a request that objop.Validate does not take. It names the
// operation: a kind we do not know is UNSUPPORTED, the rest INVALID.
func refusal(err error) *wirepb.Header {
	var e *objop.Error
	if !errors.As(err, &e) {
		return &wirepb.Header{Code: wirepb.Code_INVALID, Error: err.Error()}
	}
	return &wirepb.Header{Code: e.Code, Error: e.Error(), Body: &wirepb.Header_OpReply{OpReply: &wirepb.OpReply{Failed: uint32(e.Index + 1)}}}
}

// grows reports whether an operation may need more space; the others must work on a full OSD. Among them is what records
// need so that chunks can be removed or moved: marks, and records without bytes.
func grows(op *wirepb.OpRequest) bool {
	for _, o := range op.Ops {
		if op.Record && (o.Kind == wirepb.OpKind_CREATE || o.Kind == wirepb.OpKind_SET_ATTR) {
			continue
		}
		switch o.Kind {
		case wirepb.OpKind_CREATE, wirepb.OpKind_WRITE, wirepb.OpKind_WRITE_FULL, wirepb.OpKind_APPEND,
			wirepb.OpKind_SET_ATTR, wirepb.OpKind_OMAP_SET, wirepb.OpKind_SET_REF:
			return true
		}
	}
	return false
}

// Closed implements wire.Handler: messages to or from that peer may be lost.
func (h handler) Closed(c *wire.Conn, _ error) {
	h.d.beaters.Delete(c)
	for _, s := range h.d.shards {
		s.wake() // what it brought last
	}
	peer, ok := osdOf(c.Peer())
	if !ok || h.d.ctx.Err() != nil {
		return
	}
	for _, s := range h.d.shards {
		s.say(peerReset{peer})
	}
	h.d.beats.probe(peer)
}

// osdOf returns the OSD a peer says it is.
func osdOf(id wire.Identity) (placement.OSDID, bool) {
	n, ok := strings.CutPrefix(id.Entity, "osd.")
	if !ok {
		return placement.NoOSD, false
	}
	v, err := strconv.ParseInt(n, 10, 32)
	return placement.OSDID(v), err == nil && v >= 0
}
