package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// census is what there is of chunks in a pool, counted on all sides.
type census struct {
	objects, refs     int // objects, and their references
	chunks, back      int // entries of the index, and the references that they list
	shards            int
	bytes             int64 // of the shards that OSDs hold
	sizes             int64 // of the chunks
	outbox, condemned int   // records that wait for GC
	voids             int

	unknown []string // references of objects whose chunk does not list them
	leaked  []string // references that no object has
	unused  []string // entries that list none
	missing []string // shards that are not where the index says
	orphans []string // shards where the index knows of none
}

func (n *census) String() string {
	return fmt.Sprintf("%d objects have %d references to %d chunks of %d bytes, in %d shards of %d bytes; %d void records", n.objects, n.refs, n.chunks, n.sizes, n.shards, n.bytes, n.voids)
}

// quiet says what is not yet as it should be.
func (n *census) quiet() error {
	var errs []error
	for _, x := range []struct {
		what string
		list []string
	}{{"leaked references", n.leaked}, {"chunks that nobody refers to", n.unused}, {"missing shards", n.missing}, {"shards that no chunk has", n.orphans}} {
		if len(x.list) > 0 {
			errs = append(errs, fmt.Errorf("%d %s: %s", len(x.list), x.what, strings.Join(x.list[:min(5, len(x.list))], "; ")))
		}
	}
	if n.outbox+n.condemned > 0 {
		errs = append(errs, fmt.Errorf("%d records in outboxes, %d of condemned chunks", n.outbox, n.condemned))
	}
	return errors.Join(errs...)
}

// entryOf is a chunk's entry in the index.
type entryOf struct {
	fp     chunk.Fingerprint
	layout chunk.Layout
	refs   map[string]chunk.BackRef // by key
}

func (e *entryOf) shard(i int) client.ShardID {
	return client.ShardID{Chunk: e.fp, Gen: e.layout.Gen, Index: i}
}

// readEntry reads an entry of the index, nil if there is none.
func readEntry(ctx context.Context, pool *client.Pool, name string) (*entryOf, error) {
	fp, ok := chunk.FingerprintOf(name)
	if !ok {
		return nil, fmt.Errorf("the chunk index has an entry %q", name)
	}
	e := &entryOf{fp: fp, refs: map[string]chunk.BackRef{}}
	for after := ""; ; {
		res, err := pool.DoRaw(ctx, name, new(client.Op).AsRecord().GetAttr(chunk.LayoutAttr).OmapListAfter(after, "", 1000))
		if errors.Is(err, client.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if e.layout, err = chunk.DecodeLayout(res.Items[0].Data); err != nil {
			return nil, fmt.Errorf("chunk %s: %w", fp, err)
		}
		kvs := res.Items[1].KVs
		for _, kv := range kvs {
			if e.refs[kv.Key], err = chunk.ParseBackRef(kv.Key, kv.Value); err != nil {
				return nil, fmt.Errorf("chunk %s: %w", fp, err)
			}
		}
		if !res.Items[1].More || len(kvs) == 0 {
			return e, nil
		}
		after = kvs[len(kvs)-1].Key
	}
}

// records lists all records of a kind.
func records(ctx context.Context, pool *client.Pool, kind placement.RecordKind) (names []string, err error) {
	for at := (client.Cursor{}); !at.End; {
		var page []string
		if page, at, err = pool.ListRecords(ctx, kind, at, 1000); err != nil {
			return nil, err
		}
		names = append(names, page...)
	}
	return names, nil
}

// readIndex reads all entries of the index, by name.
func readIndex(ctx context.Context, pool *client.Pool) (map[string]*entryOf, error) {
	names, err := records(ctx, pool, placement.ChunkEntry)
	if err != nil {
		return nil, err
	}
	all := map[string]*entryOf{}
	for _, name := range names {
		e, err := readEntry(ctx, pool, name)
		if err != nil {
			return nil, err
		}
		if e != nil {
			all[name] = e
		}
	}
	return all, nil
}

// takeCensus counts what there is of chunks in a pool. While anything is under way it is not of one moment: only
// references of objects whose chunk does not list them are made sure of.
func takeCensus(ctx context.Context, pool *client.Pool) (*census, error) {
	n := &census{}
	var objects []string
	for at := (client.Cursor{}); !at.End; {
		page, next, err := pool.List(ctx, at, 1000)
		if err != nil {
			return nil, err
		}
		objects, at = append(objects, page...), next
	}
	refs := map[string][]chunk.Ref{}
	for _, o := range objects {
		rs, _, err := pool.Chunks().Refs(ctx, o)
		if errors.Is(err, client.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		refs[o] = rs
		n.objects++
	}
	index, err := readIndex(ctx, pool)
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{} // by chunk and key
	for o, rs := range refs {
		for i := range rs {
			back := chunk.BackRef{Nonce: rs[i].Nonce, Pool: pool.ID(), Object: o}
			name := rs[i].Chunk.IndexName()
			if !listed[name+back.Key()] {
				listed[name+back.Key()] = true
				n.refs++
			}
			e := index[name]
			if e != nil {
				if _, ok := e.refs[back.Key()]; ok {
					continue
				}
			}
			if err := n.sure(ctx, pool, o, &rs[i]); err != nil {
				return nil, err
			}
		}
	}
	held, err := n.held(ctx, pool)
	if err != nil {
		return nil, err
	}
	for name, e := range index {
		n.chunks++
		n.back += len(e.refs)
		n.sizes += int64(e.layout.Size)
		if len(e.refs) == 0 {
			n.unused = append(n.unused, e.fp.String())
		}
		for key, b := range e.refs {
			if !listed[name+key] {
				n.leaked = append(n.leaked, fmt.Sprintf("of object %s to chunk %s", b.Object, e.fp))
			}
		}
		for i, h := range e.layout.Holders {
			at := heldAt{h, e.shard(i)}
			if size, ok := held[at]; !ok || size != int64(e.layout.ShardSize()) {
				n.missing = append(n.missing, fmt.Sprintf("shard %d of chunk %s on %s (%d bytes of %d)", i, e.fp, h, size, e.layout.ShardSize()))
			}
			delete(held, at)
		}
	}
	for at := range held {
		n.orphans = append(n.orphans, fmt.Sprintf("shard %d of chunk %s on %s", at.shard.Index, at.shard.Chunk, at.osd))
	}
	for kind, count := range map[placement.RecordKind]*int{
		placement.Outbox: &n.outbox, placement.Condemned: &n.condemned, placement.VoidRef: &n.voids, placement.VoidChunk: &n.voids,
	} {
		names, err := records(ctx, pool, kind)
		if err != nil {
			return nil, err
		}
		*count += len(names)
	}
	return n, nil
}

// sure notes a reference of which the chunk's entry did not know, if the object still has it after another look at that.
func (n *census) sure(ctx context.Context, pool *client.Pool, object string, ref *chunk.Ref) error {
	e, err := readEntry(ctx, pool, ref.Chunk.IndexName())
	if err != nil {
		return err
	}
	back := chunk.BackRef{Nonce: ref.Nonce, Pool: pool.ID(), Object: object}
	what := "is not in the index"
	if e != nil {
		if _, ok := e.refs[back.Key()]; ok {
			return nil
		}
		what = "does not list it"
	}
	rs, _, err := pool.Chunks().Refs(ctx, object)
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(rs, func(r chunk.Ref) bool { return r.Chunk == ref.Chunk && r.Nonce == ref.Nonce }) {
		n.unknown = append(n.unknown, fmt.Sprintf("bytes %d to %d of object %s: chunk %s %s", ref.Range.From, ref.Range.To, object, ref.Chunk, what))
	}
	return nil
}

type heldAt struct {
	osd   placement.OSDID
	shard client.ShardID
}

// held returns all shards that OSDs hold, with their sizes.
func (n *census) held(ctx context.Context, pool *client.Pool) (map[heldAt]int64, error) {
	all := map[heldAt]int64{}
	m := pool.Client().Map()
	for i := range m.OSDs {
		id := m.OSDs[i].ID
		if !m.IsUp(id) {
			continue
		}
		for after := (*client.ShardID)(nil); ; {
			list, more, err := pool.Shards().List(ctx, id, after, 500)
			if err != nil {
				return nil, fmt.Errorf("shards on %s: %w", id, err)
			}
			for _, h := range list {
				all[heldAt{id, h.ID}] = h.Size
				n.shards++
				n.bytes += h.Size
			}
			if !more || len(list) == 0 {
				break
			}
			after = &list[len(list)-1].ID
		}
	}
	return all, nil
}

// quietChunks waits until nothing of the chunks is left to be done. A reference of an object to a chunk that does not know
// of it is never as it should be.
func (c *Cluster) quietChunks(ctx context.Context) (n *census, err error) {
	cl, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := cl.Pool(ctx, chunkPool)
	if err != nil {
		return nil, err
	}
	var dangling error
	err = c.until(ctx, "the care for chunks to be done", func() (err error) {
		if n, err = takeCensus(ctx, pool); err != nil {
			return err
		}
		if len(n.unknown) > 0 {
			dangling = fmt.Errorf("%d dangling references: %s", len(n.unknown), strings.Join(n.unknown[:min(5, len(n.unknown))], "; "))
			return nil
		}
		return n.quiet()
	})
	return n, errors.Join(err, dangling)
}
