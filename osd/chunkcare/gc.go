package chunkcare

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// gc deletes the chunks of one PG that nobody has referred to for two GC intervals.
func (c *Care) gc(ctx context.Context, id placement.PGID, interval time.Duration) error {
	due := c.o.Clock.Wall().Add(-2 * interval).UnixNano()
	if c.o.Mutant == GCNoEpoch {
		due = c.o.Clock.Wall().UnixNano()
	}
	return c.pages(ctx, id, placement.Condemned, func(names []string) (bool, error) {
		goOn := true
		for i, n := range names {
			if when, _, ok := parseCondemned(n); ok && when > due {
				names, goOn = names[:i], false // later ones are younger
				break
			}
		}
		return goOn, c.most(ctx, len(names), func(i int) error { return c.expire(ctx, id.Pool, names[i], due) })
	})
}

// expire works off the record of a chunk that was condemned long enough ago.
func (c *Care) expire(ctx context.Context, pool placement.PoolID, record string, due int64) error {
	_, fp, ok := parseCondemned(record)
	if !ok {
		return fmt.Errorf("record of a condemned chunk: %w: its name is %q", client.ErrCorrupt, record)
	}
	e, err := c.entry(ctx, at{pool, fp})
	if err != nil {
		return err
	}
	switch {
	case e == nil || len(e.refs) > 0:
	case e.condemned == 0: // the crash of who condemned it came before that
		if err := c.condemn(ctx, e.at(), e.version); err != nil {
			return err
		}
	case e.condemned > due: // revived and condemned again: that has a record of its own
	default:
		if ok, err := c.remove(ctx, e); err != nil || !ok {
			return err // it has changed: the record has it looked at again
		}
	}
	return c.forget(ctx, pool, record)
}

// remove deletes a chunk, unless its entry has changed.
//
// Its generation is forbidden while the entry is still there, so that there is no moment in which heal could make the
// entry again of shards that are about to be dropped: before the entry goes there is one, afterwards there is the void
// record. After the entry would be too late. Who gets no further than the void record has done no harm: that forbids to
// make an entry of the generation, and this one is made; it serves as before, may be referred to again, and whoever
// deletes it later renews the record. It is not taken back if the entry has changed: somebody else who deletes the same
// chunk may rely on it.
func (c *Care) remove(ctx context.Context, e *entry) (bool, error) {
	if err := c.forbid(ctx, e.pool, e.layout.Gen, e.fp); err != nil {
		return false, err
	}
	op := new(client.Op)
	if c.o.Mutant != GCUnconditional {
		op.AssertVersion(e.version).CmpAttr(chunk.CondemnedAttr, binary.LittleEndian.AppendUint64(nil, uint64(e.condemned)))
	}
	_, err := c.o.Cluster.Do(ctx, e.pool, e.fp.IndexName(), op.Remove(false))
	switch {
	case gone(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("delete chunk %s: %w", e.fp, err)
	}
	c.count(func(w *Work) { w.Deleted++; w.DeletedBytes += int64(e.layout.Stored) })
	// The entry is gone for good: its generation does not come back. Shards that cannot be dropped now are found as orphans.
	for i, h := range e.layout.Holders {
		if h == placement.NoOSD || !c.o.Cluster.Map().IsUp(h) {
			continue
		}
		if err := c.o.Shards.Drop(ctx, h, []ShardID{e.shard(i)}); err != nil {
			c.log.Debug("shard of a deleted chunk not dropped; it is found as an orphan later", "shard", e.shard(i), "osd", h, "err", err)
		}
	}
	return true, nil
}
