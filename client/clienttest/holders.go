package clienttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// Holders are OSDs in memory that hold shards of chunks, each its own failure domain. They are safe for concurrent use.
type Holders struct {
	mu     sync.Mutex // guards below
	osds   []holder
	turn   int
	slow   []placement.OSDID // in the map
	before func(context.Context, HolderCall) error
	after  func(context.Context, HolderCall, error) error
	places int
}

type holder struct {
	shards map[client.ShardID][]byte
	down   bool
	full   bool
}

// HolderCall describes a request to a holder to the hooks.
type HolderCall struct {
	What string // put, get or drop
	OSD  placement.OSDID
	ID   client.ShardID // of drop the first
}

var errDown = errors.New("connection refused")

// NewHolders returns n of them, osd.0 and so on.
func NewHolders(n int) *Holders {
	h := &Holders{osds: make([]holder, n)}
	for i := range h.osds {
		h.osds[i].shards = map[client.ShardID][]byte{}
	}
	return h
}

// Before sets a hook that runs ahead of every request. It may block, or return an error instead of carrying the
// request out.
func (h *Holders) Before(hook func(context.Context, HolderCall) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = hook
}

// After sets a hook that runs behind every request and says what is returned, so that answers can be lost.
func (h *Holders) After(hook func(context.Context, HolderCall, error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.after = hook
}

// SetDown stops an OSD or starts it again. Everybody knows.
func (h *Holders) SetDown(osd placement.OSDID, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.osds[osd].down = down
}

// SetFull has an OSD refuse shards or take them again.
func (h *Holders) SetFull(osd placement.OSDID, full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.osds[osd].full = full
}

// Lose removes all shards of an OSD.
func (h *Holders) Lose(osd placement.OSDID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.osds[osd].shards)
}

// Move moves a shard from one OSD to another, as care does.
func (h *Holders) Move(id client.ShardID, from, to placement.OSDID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.osds[from].shards[id]
	if ok {
		delete(h.osds[from].shards, id)
		h.osds[to].shards[id] = b
	}
	return ok
}

// Shards returns which shards an OSD has, in no particular order.
func (h *Holders) Shards(osd placement.OSDID) []client.ShardID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.osds[osd].shards))
}

// Count returns how many shards there are in all.
func (h *Holders) Count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.osds {
		n += len(h.osds[i].shards)
	}
	return n
}

// Bytes returns how many bytes all shards have together.
func (h *Holders) Bytes() (n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.osds {
		for _, b := range h.osds[i].shards {
			n += int64(len(b))
		}
	}
	return n
}

// Places returns how often somebody asked where to put shards.
func (h *Holders) Places() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.places
}

// Clone returns an independent copy without hooks.
func (h *Holders) Clone() *Holders {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := NewHolders(len(h.osds))
	for i := range h.osds {
		c.osds[i] = holder{shards: maps.Clone(h.osds[i].shards), down: h.osds[i].down, full: h.osds[i].full}
	}
	return c
}

var _ client.Holders = (*Holders)(nil)

// Place implements client.Holders: OSDs that are up, in turn.
func (h *Holders) Place(_ context.Context, _ string, count int, have, avoid []placement.OSDID) (osds []placement.OSDID, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.places++
	h.turn++
	for i := range h.osds {
		n := (h.turn + i) % len(h.osds)
		id := placement.OSDID(n)
		if len(osds) < count && !h.osds[n].down && !slices.Contains(have, id) && !slices.Contains(avoid, id) {
			osds = append(osds, id)
		}
	}
	return osds, nil
}

// Up implements client.Holders.
func (h *Holders) Up(osd placement.OSDID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return osd >= 0 && int(osd) < len(h.osds) && !h.osds[osd].down
}

// Slow implements client.Holders.
func (h *Holders) Slow() []placement.OSDID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.slow)
}

// SetSlow says which OSDs are slow in the map.
func (h *Holders) SetSlow(osds ...placement.OSDID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow = osds
}

// serve carries out a request between the hooks.
func (h *Holders) serve(ctx context.Context, call HolderCall, f func(*holder) error) error {
	h.mu.Lock()
	before, after := h.before, h.after
	h.mu.Unlock()
	if before != nil {
		if err := before(ctx, call); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	var err error
	switch {
	case call.OSD < 0 || int(call.OSD) >= len(h.osds):
		err = fmt.Errorf("there is no %s", call.OSD)
	case h.osds[call.OSD].down:
		err = errDown
	default:
		err = f(&h.osds[call.OSD])
	}
	h.mu.Unlock()
	if after != nil {
		err = after(ctx, call, err)
	}
	return err
}

// Put implements client.Holders.
func (h *Holders) Put(ctx context.Context, osd placement.OSDID, id client.ShardID, data []byte, _ *slab.Buf) error {
	return h.serve(ctx, HolderCall{"put", osd, id}, func(o *holder) error {
		old, ok := o.shards[id]
		switch {
		case o.full:
			return fmt.Errorf("%w: %s is full", client.ErrNoSpace, osd)
		case ok && !bytes.Equal(old, data):
			return fmt.Errorf("%w: it is there already with other bytes", client.ErrInvalid)
		}
		o.shards[id] = bytes.Clone(data)
		return nil
	})
}

// Get implements client.Holders.
func (h *Holders) Get(ctx context.Context, osd placement.OSDID, id client.ShardID, off, n uint32) (d client.ShardData, err error) {
	err = h.serve(ctx, HolderCall{"get", osd, id}, func(o *holder) error {
		b, ok := o.shards[id]
		if !ok {
			return fmt.Errorf("%w: %s has no such shard", client.ErrNotFound, osd)
		}
		off := min(int(off), len(b))
		d.Data = bytes.Clone(b[off:min(off+int(n), len(b))])
		return nil
	})
	return d, err
}

// Drop implements client.Holders.
func (h *Holders) Drop(ctx context.Context, osd placement.OSDID, ids []client.ShardID) error {
	return h.serve(ctx, HolderCall{"drop", osd, ids[0]}, func(o *holder) error {
		for _, id := range ids {
			delete(o.shards, id)
		}
		return nil
	})
}

// Limits of the chunks of a Pool.
const (
	chunkBytesMax = 64 << 20
	chunkPatience = time.Minute
)

// MakeChunks gives the pool a chunk policy, and n OSDs to hold the chunks. Pool.Do then reads chunks, and DoChunked makes
// them. It is called before the pool is used.
func (p *Pool) MakeChunks(policy client.ChunkPolicy, n int) *Holders {
	p.useHolders(policy, NewHolders(n))
	return p.holders
}

func (p *Pool) useHolders(policy client.ChunkPolicy, h *Holders) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy, p.holders = policy, h
	plane := client.NewChunkPlane(chunkBytesMax, chunkPatience, nil)
	p.chunks = client.NewChunks(p.name, 1, rawPool{p}, h, func() client.ChunkPolicy { return policy }, plane)
	p.plane = plane
}

// rawPool carries out Ops and leaves references as they are.
type rawPool struct{ p *Pool }

func (r rawPool) Do(ctx context.Context, object string, op *client.Op) (*client.Result, error) {
	return r.p.DoRaw(ctx, object, op)
}

// DoChunked implements client.ChunkObjects.
func (p *Pool) DoChunked(ctx context.Context, object string, op *client.Op, o client.ChunkOptions) (*client.Result, error) {
	if p.chunks == nil {
		return p.DoRaw(ctx, object, op)
	}
	return p.chunks.DoChunked(ctx, object, op, o)
}

// Chunks returns what makes the pool's chunks and reads them, nil without MakeChunks.
func (p *Pool) Chunks() *client.Chunks { return p.chunks }

// CheckPolicy refuses policies that want more shards than there are OSDs, as a Client's pool does.
func (p *Pool) CheckPolicy(pol client.ChunkPolicy) error {
	if n := len(p.holders.osds); pol.Redundancy.Shards() > n {
		return fmt.Errorf("%w: chunks %s want %d OSDs, there are %d", client.ErrConflict, pol.Redundancy, pol.Redundancy.Shards(), n)
	}
	return nil
}

// ChunkStats returns what was done with chunks.
func (p *Pool) ChunkStats() client.ChunkStats {
	if p.plane == nil {
		return client.ChunkStats{}
	}
	return p.plane.Stats()
}
