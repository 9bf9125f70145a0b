package client

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/internal/chunk/pack"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// random fills b from the system's source of chance, which cannot fail.
func random(b []byte) { _, _ = io.ReadFull(crand.Reader, b) }

func newNonce() (n chunk.Nonce) { random(n[:]); return n }

func newGen() chunk.Gen {
	var b [8]byte
	random(b[:])
	return chunk.Gen(binary.LittleEndian.Uint64(b[:]) | 1) // never 0
}

// DedupDomain returns the dedup domain in which a policy makes chunks for a tenant; "": they are shared with nobody.
func DedupDomain(pol *ChunkPolicy, tenant string) string {
	switch pol.Dedup {
	case placement.DedupTenant:
		return chunk.Domain(tenant, pol.Redundancy)
	case placement.DedupCluster:
		return chunk.Domain(chunk.ClusterDomain, pol.Redundancy)
	}
	return ""
}

// fingerprint names data in the dedup domain that the policy wants; none: nobody else has that name.
func fingerprint(pol *ChunkPolicy, tenant string, data []byte) (fp chunk.Fingerprint, domain string) {
	if domain = DedupDomain(pol, tenant); domain == "" {
		return ownFingerprint(data), ""
	}
	return chunk.Of(chunk.BLAKE3, domain, data), domain
}

// ownFingerprint names a chunk that is not shared.
func ownFingerprint(data []byte) chunk.Fingerprint {
	var r [chunk.OwnRandom]byte
	random(r[:])
	return chunk.OwnOf(r, data)
}

// put stores data as a chunk that an object is going to refer to, or finds it stored. The chunk's entry in the index
// has the back-reference then; the reference's range begins at 0. Whoever gets an error that is not certain leaves
// what there may be to the audit.
func (x *Chunks) put(ctx context.Context, object string, pol *ChunkPolicy, tenant string, data []byte) (chunk.Ref, error) {
	fp, domain := fingerprint(pol, tenant, data)
	p := &putting{x: x, fp: fp, entry: fp.IndexName(), pol: pol, data: data}
	defer p.free()
	ref := chunk.Ref{Range: chunk.Range{To: uint64(len(data))}, Chunk: fp}
	fail := func(what string, err error) (chunk.Ref, error) {
		return chunk.Ref{}, fmt.Errorf("chunk %s of object %q: %s: %w", fp, object, what, err)
	}
	ref.Nonce = newNonce()
	var last error
	for range chunkAttempts { // each ends for certain before the next, so that the nonce is listed once
		back := chunk.BackRef{Nonce: ref.Nonce, Pool: x.pool, Object: object, At: x.plane.now().UnixNano()}
		if domain != "" {
			l, err := x.adopt(ctx, p.entry, domain, &back)
			switch {
			case err == nil && int(l.Size) != len(data):
				return fail("use what is stored", fmt.Errorf("%w: it has %d bytes, not %d; `cairn gc audit` looks into it", ErrCorrupt, l.Size, len(data)))
			case err == nil:
				x.plane.n.shared.Add(1)
				ref.Layout = l
				return ref, nil
			case errors.Is(err, ErrConflict):
				// Those who refer to it may get it back one day. These bytes are not to wait for that.
				fp, domain = ownFingerprint(data), ""
				p.fp, p.entry, ref.Chunk = fp, fp.IndexName(), fp
			case !errors.Is(err, ErrNotFound):
				return fail("look for it in the index", err)
			}
		}
		l, err := p.store(ctx)
		if err != nil {
			return fail("store it", err)
		}
		op := new(Op).AsRecord().AssertAbsent().AssertNoRecord(chunk.VoidChunkName(l.Gen, fp)).
			SetAttr(chunk.LayoutAttr, l.Append(nil)).OmapSet(back.Key(), back.Value())
		if domain != "" {
			op.SetAttr(chunk.DomainAttr, chunk.EncodeDomain(domain))
		}
		_, err = x.raw.Do(ctx, p.entry, op)
		switch {
		case err == nil:
			x.plane.n.written.Add(1)
			ref.Layout = l
			return ref, nil
		case unknownOutcome(err):
			return fail("enter it into the index", err) // its shards may be what the index has
		}
		x.drop(ctx, fp, l.Gen, l.Holders)
		switch {
		case errors.Is(err, ErrExists):
			x.plane.n.lostRaces.Add(1)
		case errors.Is(err, ErrConflict): // taken for orphans: it took us too long
		default:
			return fail("enter it into the index", err)
		}
		last = err
	}
	return fail(fmt.Sprintf("gave up after %d attempts; the last", chunkAttempts), fmt.Errorf("%w: %w", ErrTryLater, last))
}

// adopt adds a back-reference to a chunk that is stored. ErrNotFound says that it is not, ErrConflict that it was but is lost.
// An entry that was made without its domain gets it, if it is known.
func (x *Chunks) adopt(ctx context.Context, entry, domain string, back *chunk.BackRef) (chunk.Layout, error) {
	op := new(Op).AsRecord().AssertExists().CmpAttrAbsent(chunk.LostAttr).
		OmapSet(back.Key(), back.Value()).RmAttr(chunk.CondemnedAttr).GetAttr(chunk.LayoutAttr)
	if domain != "" {
		op.SetAttr(chunk.DomainAttr, chunk.EncodeDomain(domain))
	}
	res, err := x.raw.Do(ctx, entry, op)
	if err != nil {
		return chunk.Layout{}, err
	}
	return layoutOf(&res.Items[4])
}

func layoutOf(it *ResultItem) (chunk.Layout, error) {
	if !it.Found {
		return chunk.Layout{}, fmt.Errorf("%w: its entry has no layout", ErrCorrupt)
	}
	l, err := chunk.DecodeLayout(it.Data)
	if err != nil {
		return l, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return l, nil
}

// forget takes a back-reference back that no object has, as well as that is possible now; the audit finds what is left.
func (x *Chunks) forget(ctx context.Context, object string, refs []chunk.Ref) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropPatience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range refs {
		back := chunk.BackRef{Nonce: refs[i].Nonce, Pool: x.pool, Object: object}
		wg.Go(func() { // ctx bounds it
			_, _ = x.raw.Do(ctx, refs[i].Chunk.IndexName(), new(Op).AsRecord().AssertExists().OmapRm(back.Key()))
		})
	}
	wg.Wait()
}

// drop removes the shards of a generation that is not in the index for certain; the audit finds what is left.
func (x *Chunks) drop(ctx context.Context, fp chunk.Fingerprint, gen chunk.Gen, holders []placement.OSDID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropPatience)
	defer cancel()
	var wg sync.WaitGroup
	for i, osd := range holders {
		if osd != placement.NoOSD && x.hold.Up(osd) {
			wg.Go(func() { _ = x.hold.Drop(ctx, osd, []ShardID{{fp, gen, i}}) }) // ctx bounds it
		}
	}
	wg.Wait()
}

// putting is a chunk on its way to its holders.
type putting struct {
	x     *Chunks
	fp    chunk.Fingerprint
	entry string
	pol   *ChunkPolicy
	data  []byte

	layout   chunk.Layout // without generation and holders
	shards   [][]byte     // nil: not made yet
	mems     []*slab.Buf  // of each shard, nil: the caller's memory
	packed   *slab.Buf
	extra    *slab.Buf
	freeRoom func()
}

func (p *putting) free() {
	p.packed.Release()
	p.extra.Release()
	if p.freeRoom != nil {
		p.freeRoom()
	}
}

// encode makes the shards.
func (p *putting) encode(ctx context.Context) error {
	r := p.pol.Redundancy
	n := int64(len(p.data))
	free, err := p.x.plane.room(ctx, n+n*int64(r.Shards())/int64(max(r.K, 1)), r.Shards())
	if err != nil {
		return err
	}
	p.freeRoom = free
	stored, used := p.data, placement.PackNone
	if most := pack.Most(len(p.data)); p.pol.Packing != placement.PackNone && most > 0 && pack.Compressible(p.data) {
		p.packed = slab.New(len(p.data))
		if stored, used = pack.Pack(p.pol.Packing, p.data, p.packed.Bytes()[:0]); used == placement.PackNone {
			p.packed.Release()
			p.packed = nil
		}
	}
	if r.Codec != placement.Replica && (len(stored)+int(r.K)-1)/int(r.K) < placement.MinShardSize {
		r = placement.Redundancy{Codec: placement.Replica, K: 1, M: r.M}
	}
	coder, err := ec.New(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p.layout = chunk.Layout{Size: uint32(len(p.data)), Stored: uint32(len(stored)), Packing: used, Redundancy: r}
	var extra []byte
	if n := coder.ExtraBytes(len(stored)); n > 0 {
		p.extra = slab.New(n)
		extra = p.extra.Bytes()
	}
	p.shards = coder.Encode(stored, extra)
	p.mems = make([]*slab.Buf, len(p.shards))
	if r.Codec == placement.Replica && p.packed == nil {
		p.packed = new(slab.Buf)
		p.packed.InitWith(stored) // so that the copies share one checksum
	}
	if r.Codec == placement.Replica && len(p.shards) > 1 {
		p.packed.Sum()
	}
	for i, s := range p.shards {
		for _, m := range []*slab.Buf{p.packed, p.extra} {
			if _, ok := m.Holds(s); ok {
				p.mems[i] = m
			}
		}
	}
	return nil
}

// store brings the shards to holders, a new generation of them, and returns when all are durable. A holder that fails
// or is full is replaced. After an error nothing refers to what was stored, and it has been dropped where possible.
func (p *putting) store(ctx context.Context) (chunk.Layout, error) {
	x := p.x
	if p.shards == nil {
		if err := p.encode(ctx); err != nil {
			return chunk.Layout{}, err
		}
	}
	l := p.layout
	l.Gen = newGen()
	n := len(p.shards)
	failed, late := x.plane.troubles()
	first, avoid, err := p.places(ctx, n, union(failed, x.hold.Slow()), late)
	if err != nil {
		return l, err
	}
	if len(first) < n {
		return l, fmt.Errorf("%w: %s wants %d, the PG offers %d (%v); are OSDs down or full? see `cairn status`", ErrFewHolders, l.Redundancy, n, len(first), first)
	}
	// The same advice serves many chunks: each has its data on others, so that reads spread.
	first = slices.Clone(first[:n])
	turn := rand.IntN(n)
	l.Holders = append(first[turn:], first[:turn]...)

	r := &storing{p: p, l: &l, avoid: slices.Clone(avoid), n: n, results: make(chan shardPut, 2*n), shards: make([]shardStored, n)}
	ctx, cancel := context.WithCancel(ctx)
	r.ctx = ctx
	defer r.under.Wait()
	defer cancel()
	err = r.run()
	if err != nil {
		cancel()
		r.under.Wait()
		x.dropTried(ctx, p.fp, l.Gen, n, r.tried)
	}
	return l, err
}

// places asks who should hold n shards, and returns whom it avoided. Those that are late are better than those that are
// slow for long or fail, and these are better than nobody.
func (p *putting) places(ctx context.Context, n int, bad, late []placement.OSDID) (osds, avoid []placement.OSDID, err error) {
	for _, avoid = range [][]placement.OSDID{union(bad, late), bad, nil} {
		osds, err = p.x.hold.Place(ctx, p.entry, n, nil, avoid)
		if err != nil || len(osds) >= n || len(avoid) == 0 {
			break
		}
	}
	return osds, avoid, err
}

// union returns all that are in one of two lists.
func union(a, b []placement.OSDID) []placement.OSDID {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// allFull reports whether all that holders said is that they are full.
func allFull(said []held) bool {
	return !slices.ContainsFunc(said, func(h held) bool { return !errors.Is(h.err, ErrNoSpace) })
}

// dropTried drops any shard of a generation from OSDs that may have one.
func (x *Chunks) dropTried(ctx context.Context, fp chunk.Fingerprint, gen chunk.Gen, n int, tried []placement.OSDID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropPatience)
	defer cancel()
	ids := make([]ShardID, n)
	for i := range ids {
		ids[i] = ShardID{fp, gen, i}
	}
	slices.Sort(tried)
	var wg sync.WaitGroup
	for _, osd := range slices.Compact(tried) {
		if x.hold.Up(osd) {
			wg.Go(func() { _ = x.hold.Drop(ctx, osd, ids) }) // ctx bounds it
		}
	}
	wg.Wait()
}
