package osd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Shards of chunks are immutable, belong to no PG, and need no lease: whoever knows a shard's name may read it from the
// OSD that holds it. They lie in a space of their own of the store, one for each pool (docs/formats/shards.md).

// Limits of what others may ask of shards.
const (
	shardBytesMax  = chunk.MaxBytes
	shardDropMax   = 1000      // shards that one ShardDrop names
	shardListMax   = 1000      // shards that one ShardList answers
	shardQueueMax  = 1024      // requests that wait for a shardWriter
	shardQueueData = 256 << 20 // and the bytes they bring
	shardWriters   = 4
)

// shardCounters count since the start of the daemon.
type shardCounters struct {
	puts, gets, drops, putBytes, gotBytes, refused, errors atomic.Uint64
}

// shards is the OSD as holder of shards.
type shards struct {
	shardCounters
	queue  chan func() // for shardWriters
	queued atomic.Int64

	mu    sync.Mutex // guards below
	acked []*wire.Conn
}

// shardOf is a shard's name in the store. The request's must have been checked.
func shardOf(id *wirepb.ShardID) (s chunk.Shard) {
	copy(s.Chunk[:], id.GetFingerprint())
	s.Gen, s.Index = chunk.Gen(id.GetGen()), uint8(id.GetIndex())
	return s
}

// shardText names a shard for people.
func shardText(id *wirepb.ShardID) string {
	s := shardOf(id)
	return fmt.Sprintf("%s, pool %d", &s, id.GetPool())
}

// checkShard says what is wrong with the name of a shard that somebody has sent.
func checkShard(id *wirepb.ShardID) error {
	switch {
	case id == nil || id.Pool == 0:
		return errors.New("the request names no shard, or no pool")
	case len(id.Fingerprint) != len(chunk.Fingerprint{}) || id.Fingerprint[0] == 0:
		return fmt.Errorf("fingerprint of %d bytes: want an algorithm and 32 bytes", len(id.Fingerprint))
	case id.Gen == 0:
		return errors.New("a shard of generation 0: generations are random and never 0")
	case id.Index >= chunk.MaxShards:
		return fmt.Errorf("shard number %d: chunks have at most %d shards", id.Index, chunk.MaxShards)
	}
	return nil
}

func shardKey(id *wirepb.ShardID) store.Key {
	s := shardOf(id)
	return store.ShardKey(placement.PoolID(id.Pool), s.Name())
}

// startShards begins to serve shards.
func (d *OSD) startShards() {
	d.holds.queue = make(chan func(), shardQueueMax)
	for range shardWriters {
		d.wg.Add(1)
		go func() { // until Close ends ctx
			defer d.wg.Done()
			for {
				select {
				case run := <-d.holds.queue:
					run()
				case <-d.ctx.Done():
					return
				}
			}
		}()
	}
}

// onShard takes requests about shards; false: the message is none.
func (d *OSD) onShard(c *wire.Conn, m *wire.Message, epoch placement.Epoch) bool {
	h := m.Header
	switch {
	case h.GetShardPut() != nil:
		d.onShardPut(c, m, h.GetShardPut().Id, epoch)
	case h.GetShardGet() != nil:
		d.onShardGet(c, m, h.GetShardGet())
	case h.GetShardDrop() != nil:
		d.onShardDrop(c, m, h.GetShardDrop())
	case h.GetShardList() != nil:
		d.onShardList(c, m, h.GetShardList())
	default:
		return false
	}
	return true
}

// shardPut is a shard on its way into the store.
type shardPut struct {
	d     *OSD
	c     *wire.Conn
	m     *wire.Message
	id    *wirepb.ShardID
	key   store.Key
	batch store.Batch
	ops   [2]store.Op
	bytes int64
	began clock.Mono
}

// onShardPut stores a shard. It runs on the connection's goroutine, so whatever may take long is left to a shardWriter.
func (d *OSD) onShardPut(c *wire.Conn, m *wire.Message, id *wirepb.ShardID, epoch placement.Epoch) {
	if err := checkShard(id); err != nil {
		d.refuseShard(c, m, wirepb.Code_INVALID, "%v", err)
		return
	}
	if n := len(m.Payload); n == 0 || n > shardBytesMax {
		d.refuseShard(c, m, wirepb.Code_INVALID, "%s: %d bytes: shards have 1 to %d", shardText(id), n, shardBytesMax)
		return
	}
	d.mu.Lock()
	cur := d.cur
	d.mu.Unlock()
	switch {
	case cur.Flags&placement.FlagPause != 0:
		d.refuseShard(c, m, wirepb.Code_TRY_LATER, "the cluster is paused (flag pause)")
		return
	case cur.Pool(placement.PoolID(id.Pool)) != nil:
	case epoch > cur.Epoch:
		d.wg.Add(1)
		go d.putAfter(c, m, id, epoch) // until the map is there, or the time is up
		return
	default:
		d.refuseShard(c, m, wirepb.Code_NOT_FOUND, "pool %d does not exist in map epoch %d", id.Pool, cur.Epoch)
		return
	}
	if d.full() {
		d.refuseShard(c, m, wirepb.Code_NO_SPACE, "%s", d.fullText())
		return
	}
	p := &shardPut{d: d, c: c, m: m, id: id, key: shardKey(id), began: d.clk.Mono()}
	p.ops = [2]store.Op{
		{Kind: store.OpWrite, Key: p.key, Data: m.Payload, Mem: m.Mem},
		{Kind: store.OpSetVersion, Key: p.key, Mtime: d.clk.Wall().UnixNano()},
	}
	p.batch.Ops, p.batch.Loose = p.ops[:], true // nobody knows of it before it is acknowledged
	p.bytes = roomOf(p.batch.Ops)
	if d.quick != nil && !d.pressed() && !d.room.isTight() {
		if _, err := d.quick.Stat(p.key); errors.Is(err, store.ErrNotFound) && d.promise(p.bytes+batchRoom) {
			p.submit()
			d.room.redeem(p.bytes + batchRoom)
			return
		}
	}
	d.queueShard(c, m, p.run)
}

// shardMapWait is how long a shard waits for the map that has its pool.
var shardMapWait = 2 * time.Second

// putAfter stores a shard of a pool that only a later map has. Those who wait are bounded by the connections' limits.
func (d *OSD) putAfter(c *wire.Conn, m *wire.Message, id *wirepb.ShardID, epoch placement.Epoch) {
	defer d.wg.Done()
	ctx, cancel := context.WithTimeout(d.ctx, shardMapWait)
	defer cancel()
	d.o.Monitors.Want(epoch)
	news, err := d.o.Monitors.WaitMap(ctx, epoch)
	if err != nil || news.Epoch < epoch {
		d.refuseShard(c, m, wirepb.Code_TRY_LATER, "%s has not got map epoch %d yet", d.id, epoch)
		return
	}
	d.onMap(news) // the session may tell us of it later
	d.onShardPut(c, m, id, epoch)
}

// queueShard has a shardWriter do what may take long.
func (d *OSD) queueShard(c *wire.Conn, m *wire.Message, run func()) {
	n := int64(len(m.Payload))
	if before := d.holds.queued.Add(n) - n; before == 0 || before+n <= shardQueueData {
		select {
		case d.holds.queue <- func() { run(); d.holds.queued.Add(-n) }:
			return
		default:
		}
	}
	d.holds.queued.Add(-n)
	d.refuseShard(c, m, wirepb.Code_TRY_LATER, "%s has too many shards to write", d.id)
}

// run looks whether the shard is there already, and stores it if not.
func (p *shardPut) run() {
	d := p.d
	same, err := p.there()
	switch {
	case err != nil:
		d.shardError(p.c, p.m, p.id, err)
		return
	case same:
		d.holds.puts.Add(1)
		p.c.Reply(p.m, ack())
		p.m.Release()
		return
	}
	// As shard.noRoom and shard.submit do: when there is little room, what was promised is taken before others are.
	want := p.bytes + batchRoom
	ok := d.promise(want)
	if ok && d.room.isTight() {
		d.room.redeem(want)
		d.room.gate.Lock()
		defer d.room.gate.Unlock()
		ok = d.promise(want)
	}
	if !ok {
		d.refuseShard(p.c, p.m, wirepb.Code_NO_SPACE, "%s", d.fullText())
		return
	}
	p.submit()
	d.room.redeem(want)
}

// errShardDiffers says that somebody stores other bytes under the name of a shard that is there.
var errShardDiffers = errors.New("it is there already with other bytes")

// there reports whether the store has the shard, as it should be: it may be put again when the answer was lost. One that
// cannot be read is written anew.
func (p *shardPut) there() (bool, error) {
	st := p.d.o.Store
	info, err := st.Stat(p.key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case info.Size != uint64(len(p.m.Payload)):
		return false, fmt.Errorf("%w: %d of them, not %d", errShardDiffers, info.Size, len(p.m.Payload))
	}
	data, mem, err := store.ReadBuf(st, p.key, 0, max(info.Size, verifyAtLeast)) // from the disk: it may be damaged there
	defer mem.Release()
	switch {
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(data, p.m.Payload):
		return false, errShardDiffers
	}
	return true, nil
}

// submit gives the shard to the store.
func (p *shardPut) submit() {
	d := p.d
	d.pending.Add(1)
	d.pendingBytes.Add(p.bytes)
	d.room.took(p.bytes)
	d.o.Store.Submit(&p.batch, p.done)
}

// done answers. It runs on a goroutine of the store.
func (p *shardPut) done(err error) {
	d := p.d
	d.pending.Add(-1)
	d.pendingBytes.Add(-p.bytes)
	switch {
	case err == nil:
		d.committed(p.began, p.bytes)
		d.holds.puts.Add(1)
		d.holds.putBytes.Add(uint64(len(p.m.Payload)))
		d.ackShard(p.c, p.m, ack())
		return
	case errors.Is(err, store.ErrNoSpace):
		d.holds.refused.Add(1)
		d.ackShard(p.c, p.m, &wire.Message{Header: &wirepb.Header{Code: wirepb.Code_NO_SPACE, Error: d.fullText()}})
		return
	}
	d.writeFailed(err, p.id)
	d.holds.errors.Add(1)
	d.ackShard(p.c, p.m, &wire.Message{Header: &wirepb.Header{Code: wirepb.Code_IO_ERROR, Error: fmt.Sprintf("%s cannot store %s: %v", d.id, shardText(p.id), err)}})
}

// writeFailed stops the daemon if its store cannot be written any more.
func (d *OSD) writeFailed(err error, id *wirepb.ShardID) {
	if !errors.Is(err, store.ErrInvalid) {
		d.fail(fmt.Errorf("%s cannot write %s: %w", d.id, shardText(id), err))
	}
}

// ackShard queues an answer that a goroutine of the store has; finish flushes it together with others.
func (d *OSD) ackShard(c *wire.Conn, m, answer *wire.Message) {
	c.QueueReply(m, answer) // the client is gone if it fails
	m.Release()
	d.holds.mu.Lock()
	if n := len(d.holds.acked); n == 0 || d.holds.acked[n-1] != c {
		d.holds.acked = append(d.holds.acked, c)
	}
	d.holds.mu.Unlock()
	select {
	case d.answered <- struct{}{}:
	default:
	}
}

// flushShards sends what ackShard has queued.
func (d *OSD) flushShards() {
	d.holds.mu.Lock()
	conns := d.holds.acked
	d.holds.acked = nil
	d.holds.mu.Unlock()
	flush(conns)
}

func ack() *wire.Message {
	return &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Ack{Ack: &wirepb.Ack{}}}}
}

// fullText says that there is no room.
func (d *OSD) fullText() string {
	u, r := d.o.Store.Usage(), d.ratios.Load()
	if u.Capacity <= 0 || r == nil {
		return fmt.Sprintf("%s is full: delete data or add OSDs", d.id)
	}
	return fmt.Sprintf("%s is full: %.1f %% of %d bytes are used, the full ratio is %.1f %%: delete data or add OSDs",
		d.id, 100*float64(u.Capacity-u.Available)/float64(u.Capacity), u.Capacity, 100*r.full)
}

// refuseShard answers a request that is not carried out.
func (d *OSD) refuseShard(c *wire.Conn, m *wire.Message, code wirepb.Code, format string, args ...any) {
	d.holds.refused.Add(1)
	c.ReplyError(m, code, format, args...)
	m.Release()
}

// shardError answers with what the store says of a shard.
func (d *OSD) shardError(c *wire.Conn, m *wire.Message, id *wirepb.ShardID, err error) {
	code := wirepb.Code_IO_ERROR
	switch {
	case errors.Is(err, store.ErrNotFound):
		c.ReplyError(m, wirepb.Code_NOT_FOUND, "%s is not on %s", shardText(id), d.id)
		m.Release()
		return
	case errors.Is(err, store.ErrCorrupt):
		code = wirepb.Code_CORRUPT
		d.log.Warn("a shard is damaged", "osd", d.id, "shard", shardText(id), "err", err)
	case errors.Is(err, errShardDiffers):
		code = wirepb.Code_CONFLICT
	case errors.Is(err, store.ErrClosed):
		code = wirepb.Code_TRY_LATER
	case errors.Is(err, store.ErrInvalid):
		code = wirepb.Code_INVALID
	}
	d.holds.errors.Add(1)
	c.ReplyError(m, code, "%s on %s: %v", shardText(id), d.id, err)
	m.Release()
}

// onShardGet reads a shard: at once if it is in memory, else as other reads are done.
func (d *OSD) onShardGet(c *wire.Conn, m *wire.Message, g *wirepb.ShardGet) {
	if err := checkShard(g.Id); err != nil {
		d.refuseShard(c, m, wirepb.Code_INVALID, "%v", err)
		return
	}
	k := shardKey(g.Id)
	if d.quick != nil && !g.Verify {
		if d.getShard(d.quick, c, m, g, k) {
			return
		}
		if d.fetchShard(c, m, g, k) {
			return
		}
	}
	d.offload(func() { d.getShard(d.o.Store, c, m, g, k) })
}

// fetchShard has the store bring what is little into memory, and answers then; false: it is not little.
func (d *OSD) fetchShard(c *wire.Conn, m *wire.Message, g *wirepb.ShardGet, k store.Key) bool {
	f, ok := d.quick.(store.Fetcher)
	if !ok || g.Stat {
		return false
	}
	n := g.Length
	if n == 0 {
		n = math.MaxUint64 - g.Offset
	}
	return f.Fetch(k, g.Offset, n, func() func() {
		return func() {
			if !d.getShard(d.quick, c, m, g, k) { // it moved meanwhile, or cannot be read
				d.offload(func() { d.getShard(d.o.Store, c, m, g, k) })
			}
		}
	})
}

// verifyAtLeast is how much is asked for to verify a shard: what is little might come from memory, where it may be
// good still.
const verifyAtLeast = 1 << 20

// getShard reads from r and answers; false: r does not know.
func (d *OSD) getShard(r store.Reader, c *wire.Conn, m *wire.Message, g *wirepb.ShardGet, k store.Key) bool {
	info, err := r.Stat(k)
	if errors.Is(err, store.ErrWait) {
		return false
	}
	off, n := g.Offset, g.Length
	if n == 0 || n > info.Size {
		n = info.Size
	}
	var data []byte
	var mem *slab.Buf
	switch {
	case err != nil || g.Stat && !g.Verify:
	case g.Verify:
		_, mem, err = store.ReadBuf(r, k, 0, max(info.Size, verifyAtLeast))
	case off > info.Size:
		d.refuseShard(c, m, wirepb.Code_INVALID, "%s has %d bytes: there are none at %d", shardText(g.Id), info.Size, off)
		return true
	default:
		// From the beginning of a block, so that the store reads into memory that is not copied, with its checksums.
		from := off - off%blockBytes
		if n = min(n, info.Size-off); n > 0 {
			if data, mem, err = store.ReadBuf(r, k, from, off-from+n); err == nil {
				data = data[min(off-from, uint64(len(data))):]
			}
		}
	}
	if errors.Is(err, store.ErrWait) {
		return false
	}
	if err != nil {
		d.shardError(c, m, g.Id, err)
		return true
	}
	d.holds.gets.Add(1)
	d.holds.gotBytes.Add(uint64(len(data)))
	c.Reply(m, &wire.Message{
		Header: &wirepb.Header{Body: &wirepb.Header_ShardGot{ShardGot: &wirepb.ShardGot{Size: info.Size, Stored: info.Mtime}}}, Payload: data, Mem: memOf(mem, data),
	})
	mem.Release()
	m.Release()
	return true
}

// memOf is the memory of a payload, nil without one.
func memOf(mem *slab.Buf, data []byte) *slab.Buf {
	if len(data) == 0 {
		return nil
	}
	return mem
}

// onShardDrop removes shards.
func (d *OSD) onShardDrop(c *wire.Conn, m *wire.Message, drop *wirepb.ShardDrop) {
	if n := len(drop.Ids); n > shardDropMax {
		d.refuseShard(c, m, wirepb.Code_INVALID, "%d shards to drop: send at most %d at a time", n, shardDropMax)
		return
	}
	b := &store.Batch{}
	for _, id := range drop.Ids {
		if err := checkShard(id); err != nil {
			d.refuseShard(c, m, wirepb.Code_INVALID, "%v", err)
			return
		}
		b.Ops = append(b.Ops, store.Op{Kind: store.OpRemove, Key: shardKey(id)})
	}
	if len(b.Ops) == 0 {
		c.Reply(m, ack())
		return
	}
	d.queueShard(c, m, func() {
		d.pending.Add(1)
		d.o.Store.Submit(b, func(err error) {
			d.pending.Add(-1)
			if err == nil {
				d.holds.drops.Add(uint64(len(b.Ops)))
				d.ackShard(c, m, ack())
				return
			}
			d.holds.errors.Add(1)
			if !errors.Is(err, store.ErrNoSpace) {
				d.writeFailed(err, drop.Ids[0])
			}
			d.ackShard(c, m, &wire.Message{Header: &wirepb.Header{Code: wirepb.Code_IO_ERROR,
				Error: fmt.Sprintf("%s cannot drop %d shards, %s the first: %v", d.id, len(b.Ops), shardText(drop.Ids[0]), err)}})
		})
	})
}

// onShardList lists shards of a pool.
func (d *OSD) onShardList(c *wire.Conn, m *wire.Message, l *wirepb.ShardList) {
	after := ""
	if a := l.After; a != nil {
		if len(a.Fingerprint) != len(chunk.Fingerprint{}) || a.Index >= chunk.MaxShards {
			d.refuseShard(c, m, wirepb.Code_INVALID, "list shards after a fingerprint of %d bytes, number %d: want %d bytes, and a number below %d",
				len(a.Fingerprint), a.Index, len(chunk.Fingerprint{}), chunk.MaxShards)
			return
		}
		s := shardOf(a)
		after = s.Name()
	}
	if l.Pool == 0 {
		d.refuseShard(c, m, wirepb.Code_INVALID, "list shards: the request names no pool")
		return
	}
	limit := int(min(cmp.Or(l.Limit, shardListMax), shardListMax))
	d.offload(func() {
		pool := placement.PoolID(l.Pool)
		key := store.ShardKey(pool, "")
		objs, more, err := d.o.Store.List(key.PG, key.Space, after, limit)
		if err != nil {
			d.holds.errors.Add(1)
			c.ReplyError(m, wirepb.Code_IO_ERROR, "list shards of pool %d on %s: %v", l.Pool, d.id, err)
			return
		}
		r := &wirepb.ShardListed{More: more}
		for _, o := range objs {
			s, ok := chunk.ParseShardName(o.Name)
			if !ok {
				d.log.Warn("what has no name of a shard lies among them", "osd", d.id, "pool", l.Pool, "name", fmt.Sprintf("%q", o.Name))
				continue
			}
			r.Ids = append(r.Ids, &wirepb.ShardID{Pool: l.Pool, Fingerprint: s.Chunk[:], Gen: uint64(s.Gen), Index: uint32(s.Index)})
			r.Sizes, r.Stored = append(r.Sizes, o.Size), append(r.Stored, o.Mtime)
		}
		c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_ShardListed{ShardListed: r}}})
	})
}

// perf returns what was done, for reports.
func (s *shardCounters) perf() *wirepb.ShardStats {
	return &wirepb.ShardStats{
		Puts: s.puts.Load(), PutBytes: s.putBytes.Load(), Gets: s.gets.Load(), GotBytes: s.gotBytes.Load(),
		Drops: s.drops.Load(), Refused: s.refused.Load(), Errors: s.errors.Load(),
	}
}

// reportShards adds to a report what the OSD holds of chunks.
func (d *OSD) reportShards(r *wirepb.OSDReport, u store.Usage) {
	r.ShardStats = d.holds.perf()
	for _, p := range d.o.Store.PoolShards() {
		r.Shards = append(r.Shards, &wirepb.PoolShards{Pool: uint32(p.Pool), Shards: p.Shards, Bytes: p.Bytes})
	}
	d.mu.Lock()
	cur := d.cur
	d.mu.Unlock()
	if u.Shards > 0 || slices.ContainsFunc(cur.Pools, func(p placement.Pool) bool { return !p.Chunks.Redundancy.IsZero() }) {
		// The bytes of an object that are in chunks lie elsewhere: of its size there is no more here than the data that are not shards'.
		r.StoredBytes = min(u.Stored, max(0, u.Data-u.InShards)) + u.InShards
	}
}

// eraseShards removes the shards of pools that are no more. Ids of pools are not given twice.
func (d *OSD) eraseShards() {
	there := d.o.Store.PoolShards() // before the map: it knows then of every pool that still is and has shards
	d.mu.Lock()
	cur := d.cur
	d.mu.Unlock()
	for _, p := range there {
		if cur == nil || cur.Pool(p.Pool) != nil {
			continue
		}
		k := store.ShardKey(p.Pool, "")
		err := store.Apply(d.o.Store, &store.Batch{Ops: []store.Op{{Kind: store.OpRemoveSpace, Key: k}}})
		switch {
		case err == nil:
			d.log.Info("shards of a removed pool erased", "osd", d.id, "pool", p.Pool, "shards", p.Shards, "bytes", p.Bytes)
		case !errors.Is(err, store.ErrNoSpace):
			d.fail(fmt.Errorf("%s cannot erase the shards of pool %d, which was removed: %w", d.id, p.Pool, err))
			return
		}
	}
}
