package chunkcare

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// outbox works off what objects of one PG dropped.
func (c *Care) outbox(ctx context.Context, g *group) error {
	id, f := g.id, &finds{}
	err := c.pages(ctx, id, placement.Outbox, func(names []string) (bool, error) {
		// Records of one object need one look at it. They are older than the look, so their writes are, too.
		var objects []string
		records := map[string][]string{}
		for _, n := range names {
			_, _, o, ok := chunk.OutboxOf(n)
			if !ok {
				return false, fmt.Errorf("outbox record of PG %s: %w: its name is %q", id, client.ErrCorrupt, n)
			}
			if records[o] == nil {
				objects = append(objects, o)
			}
			records[o] = append(records[o], n)
		}
		return true, c.most(ctx, len(objects), func(i int) error { return c.drop(ctx, id.Pool, objects[i], records[objects[i]], f) })
	})
	c.found(g, ofOutbox, f, err == nil)
	return err
}

// drop carries out outbox records of an object.
func (c *Care) drop(ctx context.Context, pool placement.PoolID, object string, records []string, f *finds) error {
	has, err := c.nonces(ctx, pool, object)
	if err != nil {
		return err
	}
	if c.o.Mutant == OutboxBlind {
		has = nil
	}
	for _, name := range records {
		res, err := c.o.Cluster.Do(ctx, pool, name, new(client.Op).Read(0, 0))
		if errors.Is(err, client.ErrNotFound) {
			continue // somebody else was faster
		}
		if err != nil {
			return fmt.Errorf("outbox of object %q: %w", object, err)
		}
		list, err := chunk.DecodeDropped(res.Items[0].Data)
		if err != nil {
			f.add(Problem{Kind: "damaged", Pool: pool, Object: object, Text: fmt.Sprintf("an outbox record cannot be read: %v", err)})
			continue // whom it names cannot be told; the audit finds them
		}
		for _, d := range list {
			if has[d] {
				continue // the write that would have dropped it never happened
			}
			back := chunk.BackRef{Nonce: d.Nonce, Pool: pool, Object: object}
			if err := c.unref(ctx, at{pool, d.Chunk}, back.Key()); err != nil {
				return err
			}
			c.count(func(w *Work) { w.Dropped++ })
		}
		if err := c.forget(ctx, pool, name); err != nil {
			return err
		}
	}
	return nil
}

// nonces returns what an object refers to.
func (c *Care) nonces(ctx context.Context, pool placement.PoolID, object string) (map[chunk.Dropped]bool, error) {
	refs, err := c.o.Cluster.Refs(ctx, pool, object)
	if err != nil {
		return nil, fmt.Errorf("references of object %q: %w", object, err)
	}
	has := make(map[chunk.Dropped]bool, len(refs))
	for i := range refs {
		has[chunk.Dropped{Chunk: refs[i].Chunk, Nonce: refs[i].Nonce}] = true
	}
	return has, nil
}
