package chunkcare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// Settling makes chunks of bytes that objects have themselves, as small writes leave them: fast then, compact now.
//
// It is a client's write like any other. The bytes are read at a version of the object, chunks are made of them, and one
// operation with that version as its condition makes the object refer to the chunks instead. A write that comes in
// between makes that fail and nothing has happened but chunks that nobody refers to: they are given up, or found by
// the audit if settling ends in the middle. What is written over a settled object later is laid over its references.

// Chunker makes chunks of what objects of one pool have. A *client.Chunks is one.
type Chunker interface {
	// Do is Cluster.Do, but reads have all bytes, those of chunks, too.
	Do(ctx context.Context, object string, op *client.Op) (*client.Result, error)
	// PutChunks stores chunks of data for an object; see client.Chunks.
	PutChunks(ctx context.Context, object string, data []byte, o client.ChunkOptions) ([]chunk.Ref, error)
	// AbandonChunks gives up references that were not set.
	AbandonChunks(ctx context.Context, object string, refs []chunk.Ref)
}

// SettleRules say which objects are settled, those that meet one of them. The zero value: none.
type SettleRules struct {
	Every time.Duration // how often all objects are looked at; 0: only when somebody asks
	Idle  time.Duration // not written for so long; 0: this rule is off
	Age   time.Duration // seen with bytes of their own so long ago, written since or not; 0: off
	Size  uint64        // with so many bytes of their own; 0: off

	Rate uint64 // bytes that are settled in a second at most; 0: no limit
}

// SettleRulesOf reads the central configuration.
func SettleRulesOf(m *placement.Map) SettleRules {
	return SettleRules{
		Every: m.ConfigDuration(placement.KeySettleInterval), Idle: m.ConfigDuration(placement.KeySettleIdle),
		Age: m.ConfigDuration(placement.KeySettleAge), Size: uint64(m.ConfigNumber(placement.KeySettleSize)) << 20,
		Rate: uint64(m.ConfigNumber(placement.KeySettleRate)) << 20,
	}
}

// settledVersion is how an object was when it was looked at last: what did not change needs no second look.
type settledVersion struct {
	version uint64    // when nothing was left to do; 0: something was
	since   time.Time // when it was first seen with bytes of its own
}

// tenantsApp is the application whose objects are of many tenants.
const tenantsApp = "s3"

// settlePolicy returns how chunks are made of an object that is settled: as its attribute says, or nil. One that cannot be read or
// does not fit the pool, which may have been changed, does not count.
func settlePolicy(p *placement.Pool, attr []byte) client.ChunkOptions {
	if s, err := chunk.DecodeSettle(attr); attr != nil && err == nil && s.Policy.CheckSize(p.Size) == nil {
		return client.ChunkOptions{Policy: &s.Policy, Tenant: s.Tenant}
	}
	pol := p.Chunks
	if pol.Dedup == placement.DedupTenant && p.Application == tenantsApp {
		// Whose an object is cannot be told from it. Chunks that are not shared are right for everybody.
		pol.Dedup = placement.DedupOff
	}
	return client.ChunkOptions{Policy: &pol}
}

// settleObject settles one object of a PG if a rule says so.
func (c *Care) settleObject(ctx context.Context, pool *placement.Pool, object string, rules SettleRules, known *settledVersion) error {
	ch, err := c.o.Chunks(pool.ID)
	if err != nil {
		return err
	}
	fail := func(what string, err error) error {
		return fmt.Errorf("settle object %q of pool %q: %s: %w", object, pool.Name, what, err)
	}
	res, err := c.o.Cluster.Do(ctx, pool.ID, object, new(client.Op).Stat().GetAttr(chunk.SettleAttr))
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fail("look at it", err)
	}
	stat := res.Items[0]
	c.countSettle(pool.ID, func(s *SettleStatus) { s.Objects++ })
	var attr []byte
	if a := &res.Items[1]; a.Found {
		attr = a.Data
	}
	opts := settlePolicy(pool, attr)
	pol := *opts.Policy
	if pol.IsZero() {
		*known = settledVersion{version: stat.Version}
		return nil
	}
	if known.version == stat.Version || stat.Size < min(settleLeast, uint64(pol.ChunkSize)) {
		return nil
	}
	refs, err := c.refsAt(ctx, pool.ID, object, stat.Version)
	if gone(err) {
		return nil // it is being written
	}
	if err != nil {
		return fail("read its references", err)
	}
	spans := plan(&pol, stat.Size, refs)
	if len(spans) == 0 {
		*known = settledVersion{version: stat.Version}
		return nil
	}
	now := c.o.Clock.Wall()
	if known.since.IsZero() {
		known.since = now
	}
	if !rules.meet(now, stat.Mtime, known.since, ownBytes(ownRanges(stat.Size, refs))) {
		return nil
	}
	version, chunks := stat.Version, false
	for _, round := range rounds(&pol, spans) {
		began := c.o.Clock.Wall()
		next, refs, err := c.settleRound(ctx, ch, object, opts, version, stat.Mtime, round)
		switch {
		case gone(err):
			c.countSettle(pool.ID, func(s *SettleStatus) { s.Conflicts++ })
			return nil // written meanwhile; the next look finds it
		case err != nil:
			return fail(fmt.Sprintf("%d to %d", round[0].From, round[len(round)-1].To), err)
		}
		c.countSettle(pool.ID, func(s *SettleStatus) {
			s.Chunks += int64(len(refs))
			for i := range refs {
				s.Bytes += int64(refs[i].Range.Len())
			}
		})
		chunks = chunks || len(refs) > 0
		version = next
		c.brake(ctx, rules.Rate, ownBytes(round), began)
	}
	*known = settledVersion{version: version}
	if chunks {
		c.countSettle(pool.ID, func(s *SettleStatus) { s.Settled++ })
	}
	return nil
}

// meet reports whether an object is to be settled now.
func (r *SettleRules) meet(now, written, since time.Time, own uint64) bool {
	return r.Idle > 0 && now.Sub(written) >= r.Idle || r.Age > 0 && now.Sub(since) >= r.Age || r.Size > 0 && own >= r.Size
}

// brake waits until so many bytes may have been settled since a time.
func (c *Care) brake(ctx context.Context, rate, n uint64, began time.Time) {
	if rate == 0 {
		return
	}
	wait := time.Duration(float64(n) / float64(rate) * float64(time.Second))
	if wait -= c.o.Clock.Wall().Sub(began); wait > 0 {
		c.o.Pause(ctx, wait)
	}
}

// pause is Options.Pause by default.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// settleRefs is how many references are read at a time.
const settleRefs = 512

// refsAt returns the references of an object at a version, sorted.
func (c *Care) refsAt(ctx context.Context, pool placement.PoolID, object string, version uint64) (refs []chunk.Ref, err error) {
	for at := uint64(0); ; at = refs[len(refs)-1].Range.To {
		res, err := c.o.Cluster.Do(ctx, pool, object, new(client.Op).AssertVersion(version).ReadRefs(at, settleRefs))
		if err != nil {
			return nil, err
		}
		it := &res.Items[1]
		refs = append(refs, it.Refs...)
		if !it.More || len(it.Refs) == 0 {
			return refs, nil
		}
	}
}

// settleRound makes chunks of parts of an object. It returns the object's version afterwards, and the references that it
// has been given.
func (c *Care) settleRound(ctx context.Context, ch Chunker, object string, opts client.ChunkOptions, version uint64, mtime time.Time, parts []chunk.Range) (_ uint64, refs []chunk.Ref, _ error) {
	op := new(client.Op).AssertVersion(version)
	for _, p := range parts {
		op.Read(p.From, p.Len())
	}
	res, err := ch.Do(ctx, object, op)
	if err != nil {
		return 0, nil, err
	}
	defer res.Release()
	set := new(client.Op).At(mtime)
	if c.o.Mutant != SettleBlind {
		set.AssertVersion(version)
	}
	for i, p := range parts {
		data := res.Items[1+i].Data
		if uint64(len(data)) != p.Len() {
			ch.AbandonChunks(ctx, object, refs)
			return 0, nil, fmt.Errorf("%w: %d bytes at %d were read, there should be %d", client.ErrInternal, len(data), p.From, p.Len())
		}
		for _, s := range segments(opts.Policy, data) {
			made, err := ch.PutChunks(ctx, object, data[s.From:s.To], opts)
			if err != nil {
				ch.AbandonChunks(ctx, object, refs)
				return 0, nil, err
			}
			refs = append(refs, made...)
			for _, r := range made {
				set.SetRef(p.From+s.From+r.Range.From, r.Range.Len(), r)
			}
		}
	}
	if len(refs) == 0 {
		return version, nil, nil
	}
	out, err := ch.Do(ctx, object, set)
	if err != nil {
		if !is(err, client.ErrTimeout, client.ErrClosed, client.ErrInternal) || c.o.Mutant == SettleAbandon {
			ch.AbandonChunks(ctx, object, refs) // certainly not set
		}
		return 0, nil, err
	}
	return out.Version, refs, nil
}
