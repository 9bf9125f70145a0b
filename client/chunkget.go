package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/internal/chunk/pack"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// read fills dst with the bytes of a chunk from off on. It looks where the reference says, or where the index said
// last, and asks the index when that does not work. The error is a *goneError if the index has no such chunk.
func (x *Chunks) read(ctx context.Context, object string, ref *chunk.Ref, off uint32, dst []byte) error {
	x.plane.n.read.Add(1)
	key := layoutKey{int32(x.pool), ref.Chunk}
	l, known := x.plane.layouts.get(key)
	if !known {
		l = ref.Layout
	}
	pause := holderPause
	for same := 0; ; {
		free, err := x.plane.room(ctx, int64(len(dst)), int(l.Redundancy.K))
		if err != nil {
			return err
		}
		g := &gather{x: x, fp: ref.Chunk, l: &l, off: off, dst: dst}
		err = g.run(ctx)
		free() // what follows may take long
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: chunk %s of object %q: %w", timeout(ctx.Err()), ref.Chunk, object, err)
		}
		truth, terr := x.layoutNow(ctx, ref.Chunk)
		var gone *goneError
		switch {
		case errors.As(terr, &gone):
			x.plane.layouts.drop(key)
			return terr
		case terr != nil:
			return fmt.Errorf("chunk %s of object %q: its entry in the index: %w; before that: %w", ref.Chunk, object, terr, err)
		case truth.Size != l.Size:
			return fmt.Errorf("%w: chunk %s of object %q has %d bytes by the reference, %d by the index", ErrCorrupt, ref.Chunk, object, l.Size, truth.Size)
		case truth.Gen != l.Gen || !slices.Equal(truth.Holders, l.Holders):
			x.plane.n.moved.Add(1)
			x.plane.layouts.put(key, truth)
			l, same = truth, 0
			continue
		}
		// The index says the same. If too many shards are lost for good it will not help to wait, but care may be about
		// to enter new holders.
		var he *holdersError
		if errors.As(err, &he) && he.lost() > int(l.Redundancy.M) {
			if same++; same >= indexPatience {
				return fmt.Errorf("%w: chunk %s of object %q cannot be read, %d of its %d shards are lost: %w; `cairn gc audit` and `cairn health detail` say more",
					ErrCorrupt, ref.Chunk, object, he.lost(), l.Redundancy.Shards(), err)
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: chunk %s of object %q: %w; its holders have to come back", timeout(ctx.Err()), ref.Chunk, object, err)
		}
		pause = min(2*pause, chunkBackoffMax)
	}
}

// lost is how many shards are gone, not only out of reach.
func (e *holdersError) lost() int {
	var shards []int
	for _, h := range e.said {
		if (h.osd == placement.NoOSD || errors.Is(h.err, ErrNotFound) || errors.Is(h.err, ErrCorrupt)) && !slices.Contains(shards, h.shard) {
			shards = append(shards, h.shard)
		}
	}
	return len(shards)
}

// layoutNow reads the layout of a chunk from the index.
func (x *Chunks) layoutNow(ctx context.Context, fp chunk.Fingerprint) (chunk.Layout, error) {
	res, err := x.raw.Do(ctx, fp.IndexName(), new(Op).AsRecord().GetAttr(chunk.LayoutAttr))
	switch {
	case errors.Is(err, ErrNotFound):
		return chunk.Layout{}, &goneError{fp}
	case err != nil:
		return chunk.Layout{}, err
	}
	defer res.Release()
	return layoutOf(&res.Items[0])
}

// gather reads bytes of one chunk from its shards, by one layout: first those data shards that have the bytes, and
// others when one fails or is slow.
//
// What is wanted is a part of one or more data shards. The missing ones are made anew from the same bytes of any k
// shards: those from lo to hi of each, which is the least that covers all that is wanted.
type gather struct {
	x   *Chunks
	fp  chunk.Fingerprint
	l   *chunk.Layout
	off uint32
	dst []byte

	coder    *ec.Coder
	size     uint32 // of a shard
	lo, hi   uint32
	shards   []shardRead
	results  chan shardGot
	under    sync.WaitGroup
	ctx      context.Context
	flying   int
	rebuild  bool
	sluggish []placement.OSDID // the cluster says so: the last to be asked for a whole chunk
	said     []held
	memories []ShardData // of shards that are kept until the end
}

// shardRead is what is known of one shard.
type shardRead struct {
	dst    []byte // where its wanted bytes go; nil: none are wanted
	from   uint32 // of those, in the shard
	done   bool   // they are there
	whole  []byte // its bytes from lo to hi, once they are there
	flying int    // requests under way
	asked  bool   // for lo to hi
	slow   bool
	failed bool
}

// shardGot is the answer to one request.
type shardGot struct {
	shard int
	whole bool // lo to hi were asked for
	data  ShardData
	took  time.Duration
	err   error
}

// run fills dst or returns a *holdersError, or an error that no other shard would change.
func (g *gather) run(ctx context.Context) error {
	l := g.l
	if l.Packing != placement.PackNone {
		return g.packed(ctx)
	}
	if uint64(g.off)+uint64(len(g.dst)) > uint64(l.Size) || l.Size != l.Stored {
		return fmt.Errorf("%w: bytes %d+%d of a chunk of %d, %d stored", ErrCorrupt, g.off, len(g.dst), l.Size, l.Stored)
	}
	var err error
	if g.coder, err = ec.New(l.Redundancy); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	g.plan()
	ctx, cancel := context.WithCancel(ctx)
	g.ctx = ctx
	defer g.end(cancel)
	for i := range g.shards {
		switch s := &g.shards[i]; {
		case s.dst == nil:
		case l.Redundancy.M > 0 && g.unwell(l.Holders[i]):
			g.rebuild = true // others are asked instead, this one if there are too few
		default:
			g.ask(i, false)
		}
	}
	return g.wait()
}

// packed reads a chunk that is compressed: all of it.
func (g *gather) packed(ctx context.Context) error {
	l := *g.l
	if uint64(g.off)+uint64(len(g.dst)) > uint64(l.Size) {
		return fmt.Errorf("%w: bytes %d+%d of a chunk of %d", ErrCorrupt, g.off, len(g.dst), l.Size)
	}
	stored := slab.New(int(l.Stored))
	defer stored.Release()
	l.Packing, l.Size = placement.PackNone, l.Stored
	plain := &gather{x: g.x, fp: g.fp, l: &l, dst: stored.Bytes()}
	if err := plain.run(ctx); err != nil {
		return err
	}
	l = *g.l
	if len(g.dst) == int(l.Size) {
		out, err := pack.Unpack(l.Packing, stored.Bytes(), int(l.Size), g.dst[:0:len(g.dst)])
		if err != nil {
			return fmt.Errorf("%w: unpack: %w", ErrCorrupt, err)
		}
		if &out[0] != &g.dst[0] {
			copy(g.dst, out)
		}
		return nil
	}
	all := slab.New(int(l.Size))
	defer all.Release()
	out, err := pack.Unpack(l.Packing, stored.Bytes(), int(l.Size), all.Bytes()[:0])
	if err != nil {
		return fmt.Errorf("%w: unpack: %w", ErrCorrupt, err)
	}
	copy(g.dst, out[g.off:])
	return nil
}

// plan divides what is wanted among the data shards.
func (g *gather) plan() {
	g.size = g.l.ShardSize()
	g.shards = make([]shardRead, g.l.Redundancy.Shards())
	// Of a whole chunk as many shards are read as it has of data, whichever they are. For a part of it others would be k
	// requests instead of one, which is worth it only when somebody is late.
	if g.l.Redundancy.Codec == placement.Replica || uint32(len(g.dst)) > (uint32(g.l.Redundancy.K)-1)*g.size {
		g.sluggish = g.x.hold.Slow()
	}
	g.results = make(chan shardGot, 2*len(g.shards)) // each is asked twice at most
	if g.l.Redundancy.Codec == placement.Replica {
		i := g.chooseCopy()
		g.lo, g.hi = g.off, g.off+uint32(len(g.dst))
		g.shards[i] = shardRead{dst: g.dst, from: g.lo}
		return
	}
	g.lo, g.hi = g.size, 0
	for at, rest := g.off, g.dst; len(rest) > 0; {
		i, from := at/g.size, at%g.size
		n := min(g.size-from, uint32(len(rest)))
		g.shards[i] = shardRead{dst: rest[:n:n], from: from}
		g.lo, g.hi = min(g.lo, from), max(g.hi, from+n)
		at, rest = at+n, rest[n:]
	}
}

// chooseCopy picks one of several copies: any, but rather one whose OSD is well.
func (g *gather) chooseCopy() int {
	h := g.l.Holders
	turn := rand.IntN(len(h))
	for i := range h {
		if c := (turn + i) % len(h); h[c] != placement.NoOSD && g.x.hold.Up(h[c]) && !g.unwell(h[c]) {
			return c
		}
	}
	return turn
}

// unwell reports whether others should be asked rather than an OSD.
func (g *gather) unwell(osd placement.OSDID) bool {
	return osd != placement.NoOSD && (g.x.plane.inTrouble(osd) || slices.Contains(g.sluggish, osd))
}

// ask sends a request for the bytes of a shard that are wanted, or for those from lo to hi.
func (g *gather) ask(i int, whole bool) {
	s := &g.shards[i]
	osd := g.l.Holders[i]
	switch {
	case osd == placement.NoOSD:
		g.fail(i, nil)
		return
	case !g.x.hold.Up(osd):
		g.fail(i, errNotUp)
		return
	}
	off, n := g.lo, g.hi-g.lo
	if !whole {
		off, n = s.from, uint32(len(s.dst))
	}
	whole = off == g.lo && n == g.hi-g.lo
	s.asked = s.asked || whole
	s.flying++
	g.flying++
	g.under.Go(func() { // ends with g.ctx
		began := time.Now()
		d, err := g.x.hold.Get(g.ctx, osd, ShardID{g.fp, g.l.Gen, i}, off, n)
		if err == nil && len(d.Data) != int(n) {
			err = fmt.Errorf("%w: %d bytes instead of %d at %d", ErrCorrupt, len(d.Data), n, off)
			d.free()
		}
		g.results <- shardGot{shard: i, whole: whole, data: d, took: time.Since(began), err: err}
	})
}

var errNotUp = errors.New("is not up")

// fail notes that a shard cannot be had.
func (g *gather) fail(i int, err error) {
	osd := g.l.Holders[i]
	g.shards[i].failed = true
	g.rebuild = true
	g.said = append(g.said, held{i, osd, err})
	switch {
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt):
		g.x.plane.n.badShards.Add(1)
		if g.x.plane.log != nil {
			g.x.plane.log.Warn("shard of a chunk is bad", "chunk", g.fp.String(), "generation", uint64(g.l.Gen), "shard", i, "osd", osd.String(), "err", err)
		}
	case osd != placement.NoOSD && !errors.Is(err, errNotUp) && g.ctx.Err() == nil:
		g.x.plane.troubled(osd, err)
	}
}

// wait works answers off until there is enough.
func (g *gather) wait() error {
	var slow <-chan time.Time
	t := time.NewTimer(g.x.plane.speeds.patience(g.hi - g.lo))
	defer t.Stop()
	slow = t.C
	for {
		if g.complete() {
			return nil
		}
		if g.rebuild {
			if ok, err := g.make(); ok || err != nil {
				return err
			}
			g.more()
		}
		if g.flying == 0 {
			return &holdersError{said: g.said}
		}
		select {
		case r := <-g.results:
			g.got(r)
		case <-slow:
			if slow = nil; !g.hedge() { // too many already: others' answers make room
				t.Reset(g.x.plane.speeds.patience(g.hi - g.lo))
				slow = t.C
			}
		case <-g.ctx.Done():
			return &holdersError{said: append(g.said, g.silent()...)}
		}
	}
}

// silent is what is said of those that have not answered.
func (g *gather) silent() (said []held) {
	for i := range g.shards {
		if g.shards[i].flying > 0 {
			said = append(said, held{i, g.l.Holders[i], errors.New("has not answered")})
		}
	}
	return said
}

func (g *gather) got(r shardGot) {
	s := &g.shards[r.shard]
	s.flying--
	g.flying--
	if r.err != nil {
		if !s.failed && !s.done {
			g.fail(r.shard, r.err)
		}
		return
	}
	g.x.plane.speeds.took(uint32(len(r.data.Data)), r.took)
	switch {
	case s.dst != nil && !s.done:
		b := r.data.Data
		if r.whole {
			b = b[s.from-g.lo:]
		}
		copy(s.dst, b)
		s.done = true
		if r.whole && g.rebuild && len(s.dst) < len(r.data.Data) {
			s.whole = r.data.Data
			g.memories = append(g.memories, r.data)
			return
		}
		if r.whole && len(s.dst) == len(r.data.Data) {
			s.whole = s.dst
		}
		r.data.free()
	case r.whole && s.whole == nil:
		s.whole = r.data.Data
		g.memories = append(g.memories, r.data)
	default:
		r.data.free()
	}
}

// complete reports whether all that is wanted is there.
func (g *gather) complete() bool {
	for i := range g.shards {
		if s := &g.shards[i]; s.dst != nil && !s.done {
			return false
		}
	}
	return true
}

// hedge calls those slow that have not answered, so that others are asked, unless that is done too often.
func (g *gather) hedge() bool {
	n := 0
	for i := range g.shards {
		if g.shards[i].flying > 0 {
			n++
		}
	}
	if !g.x.plane.speeds.hedge(n) {
		return false
	}
	for i := range g.shards {
		if s := &g.shards[i]; s.flying > 0 {
			s.slow = true
		}
	}
	g.rebuild = true
	g.x.plane.n.hedged.Add(int64(n))
	return true
}

// more asks until k shards can be expected to give their bytes from lo to hi.
func (g *gather) more() {
	expected := 0
	for i := range g.shards {
		if s := &g.shards[i]; s.whole != nil || s.asked && s.flying > 0 && !s.slow {
			expected++
		}
	}
	for _, trouble := range []bool{false, true} {
		for i := range g.shards {
			if expected >= int(g.l.Redundancy.K) {
				return
			}
			s := &g.shards[i]
			if s.whole != nil || s.asked || s.failed || s.slow || !trouble && g.unwell(g.l.Holders[i]) {
				continue
			}
			if g.ask(i, true); !s.failed {
				expected++
			}
		}
	}
}

// make makes what is missing of what is there, if that is enough.
func (g *gather) make() (ok bool, err error) {
	have := 0
	for i := range g.shards {
		if g.shards[i].whole != nil {
			have++
		}
	}
	if have < int(g.l.Redundancy.K) {
		return false, nil
	}
	g.x.plane.n.rebuilt.Add(1)
	n := int(g.hi - g.lo)
	parts, want := make([][]byte, len(g.shards)), make([]bool, len(g.shards))
	for i := range g.shards {
		s := &g.shards[i]
		if parts[i] = s.whole; s.whole != nil || s.dst == nil || s.done {
			continue
		}
		want[i] = true
		if len(s.dst) == n {
			parts[i] = s.dst[:0:n]
		}
	}
	if err := g.coder.Reconstruct(parts, want); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInternal, err)
	}
	for i := range g.shards {
		if s := &g.shards[i]; want[i] {
			if b := parts[i][s.from-g.lo:]; &b[0] != &s.dst[0] {
				copy(s.dst, b)
			}
			s.done = true
		}
	}
	return true, nil
}

// end stops what is under way, waits for it and gives memory back.
func (g *gather) end(cancel context.CancelFunc) {
	if g.complete() {
		for i := range g.shards { // whoever was too slow is not waited for again at once
			if s := &g.shards[i]; s.slow && s.flying > 0 {
				g.x.plane.troubled(g.l.Holders[i], nil)
			}
		}
	}
	cancel()
	g.under.Wait()
	for {
		select {
		case r := <-g.results:
			r.data.free()
		default:
			for i := range g.memories {
				g.memories[i].free()
			}
			return
		}
	}
}
