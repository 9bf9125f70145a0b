package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// How OSDs are asked about shards.
const (
	adviceLasts = time.Second
	adviceKept  = 4096    // pieces of advice
	shardRate   = 8 << 20 // bytes in a second: so much longer may the answer for a shard take than for others
	placeBytes  = 4 << 10 // what a question for advice counts among operations under way
	placeMost   = 64      // OSDs asked for at most
)

// clusterHolders are the OSDs of a cluster, for one pool.
type clusterHolders struct {
	c    *Client
	pool placement.PoolID

	mu     sync.Mutex // guards below
	advice map[adviceKey]advice
	table  *placement.Table
	epoch  placement.Epoch // of table
	slow   []placement.OSDID
	slowIn placement.Epoch // the map that says so
}

// adviceKey is what was asked: of which PG, how many, without whom.
type adviceKey struct {
	shard uint32
	count int
	avoid string
}

type advice struct {
	osds []placement.OSDID
	at   time.Time
}

// Up implements Holders.
func (h *clusterHolders) Up(osd placement.OSDID) bool { return h.c.Map().IsUp(osd) }

// Slow implements Holders. The list is never changed, only replaced.
func (h *clusterHolders) Slow() []placement.OSDID {
	m := h.c.Map()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slowIn != m.Epoch {
		h.slow, h.slowIn = nil, m.Epoch
		for i := range m.OSDs {
			if m.OSDs[i].Slow {
				h.slow = append(h.slow, m.OSDs[i].ID)
			}
		}
	}
	return h.slow
}

// Place implements Holders. Advice for whole chunks is kept for a while: it is about load, not about truth.
func (h *clusterHolders) Place(ctx context.Context, entry string, count int, have, avoid []placement.OSDID) ([]placement.OSDID, error) {
	pool := h.c.Map().Pool(h.pool)
	if pool == nil {
		return nil, fmt.Errorf("%w: the pool was removed", ErrNotFound)
	}
	avoid = slices.Clone(avoid)
	slices.Sort(avoid)
	if len(have) > 0 {
		osds, err := h.ask(ctx, entry, min(2*(len(have)+count)+len(avoid), placeMost), avoid)
		if err != nil {
			return nil, err
		}
		return h.beside(osds, count, have), nil
	}
	k := adviceKey{shard: placement.PGOf(pool, entry).Shard, count: count, avoid: fmt.Sprint(avoid)}
	now := time.Now()
	h.mu.Lock()
	a, ok := h.advice[k]
	h.mu.Unlock()
	if ok && now.Sub(a.at) < adviceLasts {
		return a.osds, nil
	}
	osds, err := h.ask(ctx, entry, count, avoid)
	if err != nil {
		return nil, err
	}
	// With too few failure domains the primary names several OSDs of some: better those than nobody for a repair, but a
	// new chunk would not survive what it is said to.
	osds = h.beside(osds, count, nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.advice) >= adviceKept || h.advice == nil {
		h.advice = map[adviceKey]advice{}
	}
	h.advice[k] = advice{osds, now}
	return osds, nil
}

// beside returns those of osds that have a failure domain other than those of have and of each other.
func (h *clusterHolders) beside(osds []placement.OSDID, count int, have []placement.OSDID) (chosen []placement.OSDID) {
	t := h.tableNow()
	taken := map[int]bool{}
	for _, id := range have {
		if d, ok := t.Domain(h.pool, id); ok {
			taken[d] = true
		}
	}
	for _, id := range osds {
		d, ok := t.Domain(h.pool, id)
		if len(chosen) < count && ok && !taken[d] && !slices.Contains(have, id) {
			taken[d] = true
			chosen = append(chosen, id)
		}
	}
	return chosen
}

func (h *clusterHolders) tableNow() *placement.Table {
	m := h.c.Map()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.table == nil || h.epoch != m.Epoch {
		h.table, h.epoch = placement.NewTable(m), m.Epoch
	}
	return h.table
}

// ask asks the primary of an entry's PG. The OSDs that it names are all different and no more than asked for.
func (h *clusterHolders) ask(ctx context.Context, entry string, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	not := make([]int32, len(avoid))
	for i, id := range avoid {
		not[i] = int32(id)
	}
	m, g := h.c.send(ctx, &request{
		op: core.Op{Pool: h.pool, Object: entry, Bytes: placeBytes},
		header: func(s *core.Send) *wirepb.Header {
			return &wirepb.Header{Body: &wirepb.Header_ChunkPlace{ChunkPlace: &wirepb.ChunkPlace{
				Pool: uint32(h.pool), Shard: s.PG.Shard, Count: uint32(count), Avoid: not,
			}}}
		},
	})
	if g != nil {
		return nil, fmt.Errorf("ask for holders: %w: %s", g.err, g.text)
	}
	defer m.Release()
	if code := m.Header.GetCode(); code != wirepb.Code_OK {
		return nil, fmt.Errorf("ask for holders: %w: %s", ErrorOf(code), m.Header.GetError())
	}
	var osds []placement.OSDID
	for _, o := range m.Header.GetChunkPlaced().GetOsds() {
		if id := placement.OSDID(o); id >= 0 && len(osds) < count && !slices.Contains(osds, id) {
			osds = append(osds, id)
		}
	}
	return osds, nil
}

func (h *clusterHolders) shardID(id ShardID) *wirepb.ShardID {
	return &wirepb.ShardID{Pool: uint32(h.pool), Fingerprint: id.Chunk[:], Gen: uint64(id.Gen), Index: uint32(id.Index)}
}

// Put implements Holders.
func (h *clusterHolders) Put(ctx context.Context, osd placement.OSDID, id ShardID, data []byte, mem *slab.Buf) error {
	m, err := h.call(ctx, osd, &wire.Message{
		Header: &wirepb.Header{Body: &wirepb.Header_ShardPut{ShardPut: &wirepb.ShardPut{Id: h.shardID(id)}}}, Payload: data, Mem: mem,
	}, len(data))
	m.Release()
	return err
}

// Get implements Holders.
func (h *clusterHolders) Get(ctx context.Context, osd placement.OSDID, id ShardID, off, n uint32) (ShardData, error) {
	m, err := h.call(ctx, osd, &wire.Message{
		Header: &wirepb.Header{Body: &wirepb.Header_ShardGet{ShardGet: &wirepb.ShardGet{Id: h.shardID(id), Offset: uint64(off), Length: uint64(n)}}},
	}, int(n))
	if err != nil {
		m.Release()
		return ShardData{}, err
	}
	return ShardData{Data: m.Payload, Free: m.Release}, nil
}

// dropsAtOnce is how many shards one request drops.
const dropsAtOnce = 500

// Drop implements Holders.
func (h *clusterHolders) Drop(ctx context.Context, osd placement.OSDID, ids []ShardID) error {
	for part := range slices.Chunk(ids, dropsAtOnce) {
		d := &wirepb.ShardDrop{}
		for _, id := range part {
			d.Ids = append(d.Ids, h.shardID(id))
		}
		m, err := h.call(ctx, osd, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_ShardDrop{ShardDrop: d}}}, 0)
		m.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// call asks one OSD, once. The answer may have to be released even after an error. Who gives up has the payload's memory
// for itself when call returns.
func (h *clusterHolders) call(ctx context.Context, osd placement.OSDID, m *wire.Message, bytes int) (*wire.Message, error) {
	c := h.c
	o := c.Map().OSD(osd)
	if o == nil || !o.Up || o.Addr == "" {
		return nil, errNotUp
	}
	callers := ctx
	ctx, cancel := context.WithTimeout(ctx, c.o.AttemptTimeout+time.Duration(bytes)*time.Second/shardRate)
	defer cancel()
	conn, err := c.osds.Get(ctx, o.Addr)
	if err != nil {
		return nil, err
	}
	if got := conn.Peer().Entity; got != osd.String() {
		c.session.Want(0)
		return nil, fmt.Errorf("%s answers at its address %s", got, o.Addr)
	}
	var sent chan struct{}
	if len(m.Payload) > 0 {
		sent = make(chan struct{})
		m.Sent = func() { close(sent) }
	}
	answer, err := conn.Call(ctx, m)
	if err != nil && sent != nil && callers.Err() != nil {
		t := time.NewTimer(c.o.AttemptTimeout) // the connection is dead by then
		defer t.Stop()
		select {
		case <-sent:
		case <-t.C:
		}
	}
	var refused *wire.Error
	switch {
	case err == nil:
		return answer, nil
	case errors.As(err, &refused):
		if e := placement.Epoch(refused.Epoch); e > c.Map().Epoch {
			c.session.Want(e)
		}
		return answer, fmt.Errorf("%w: %s", ErrorOf(refused.Code), refused.Text)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.session.Want(0)
		c.mu.Lock()
		c.probe(conn)
		c.mu.Unlock()
	default:
		c.session.Want(0)
	}
	return answer, err
}

// chunkPool returns the chunks of a pool, the same for everybody in this process.
func (c *Client) chunkPool(p *Pool) *Chunks {
	c.chunkMu.Lock()
	defer c.chunkMu.Unlock()
	x := c.chunks[p.id]
	if x == nil {
		if c.chunks == nil {
			c.chunks = map[placement.PoolID]*Chunks{}
		}
		policy := func() ChunkPolicy {
			if pool := c.Map().Pool(p.id); pool != nil {
				return pool.Chunks
			}
			return ChunkPolicy{}
		}
		x = NewChunks(p.name, p.id, rawPool{p}, &clusterHolders{c: c, pool: p.id}, policy, c.plane)
		c.chunks[p.id] = x
	}
	return x
}

// ChunkStats returns what the client has done with chunks.
func (c *Client) ChunkStats() ChunkStats { return c.plane.Stats() }

// rawPool carries out Ops without reading the chunks that results refer to.
type rawPool struct{ p *Pool }

func (r rawPool) Do(ctx context.Context, object string, op *Op) (*Result, error) {
	return r.p.DoRaw(ctx, object, op)
}
