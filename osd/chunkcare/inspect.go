package chunkcare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/report"
	"github.com/cairnstore/cairn/placement"
)

// ListMax is how many chunks one listing has at most.
const ListMax = 1000

// ListChunks lists the chunks of one PG whose fingerprints begin with prefix, those after another one: the order is that of
// algorithms and digests.
func (c *Care) ListChunks(ctx context.Context, id placement.PGID, prefix, after string, limit int) (report.Chunks, error) {
	out := report.Chunks{Chunks: []report.Chunk{}}
	from, err := firstWith(prefix)
	if err == nil && after != "" {
		var fp chunk.Fingerprint
		if fp, err = chunk.ParseFingerprint(after); fp.IndexName() > from {
			from = fp.IndexName()
		}
	}
	if err != nil {
		return out, fmt.Errorf("%w: %w", client.ErrInvalid, err)
	}
	limit = min(max(limit, 1), ListMax)
	for {
		names, more, err := c.o.Cluster.List(ctx, id, placement.ChunkEntry, from, min(c.o.Page, limit-len(out.Chunks)))
		if err != nil || len(names) == 0 {
			return out, err
		}
		past := false
		names = slices.DeleteFunc(names, func(n string) bool {
			fp, ok := chunk.FingerprintOf(n)
			other := !ok || !strings.HasPrefix(fp.String(), prefix)
			past = past || other
			from = n
			return other
		})
		list := make([]*report.Chunk, len(names))
		err = c.each(ctx, len(names), func(i int) error {
			fp, _ := chunk.FingerprintOf(names[i])
			e, err := c.entry(ctx, at{id.Pool, fp})
			switch {
			case errors.Is(err, client.ErrCorrupt):
				list[i] = &report.Chunk{Chunk: fp.String(), PGID: id.String(), Lost: err.Error(), Holders: []int{}}
				return nil
			case err != nil || e == nil:
				return err
			}
			list[i] = e.report()
			return nil
		})
		if err != nil {
			return out, err
		}
		for _, x := range list {
			if x != nil {
				out.Chunks = append(out.Chunks, *x)
			}
		}
		switch {
		case past || !more:
			return out, nil
		case len(out.Chunks) >= limit:
			fp, _ := chunk.FingerprintOf(from)
			out.After = fp.String()
			return out, nil
		}
	}
}

// firstWith returns a name of the index that is before those of fingerprints that begin with a prefix, and behind others.
func firstWith(prefix string) (string, error) {
	if prefix == "" {
		return "", nil
	}
	alg, digest, ok := strings.Cut(prefix, ":")
	size := 2 * (len(chunk.Fingerprint{}) - 1)
	if !ok || len(digest) > size {
		return "", fmt.Errorf("%q is no beginning of a fingerprint: want blake3, sha256 or own, a colon, and some hexadecimal digits", prefix)
	}
	fp, err := chunk.ParseFingerprint(alg + ":" + digest + strings.Repeat("0", size-len(digest)))
	if err != nil {
		return "", fmt.Errorf("%q is no beginning of a fingerprint: want blake3, sha256 or own, a colon, and some hexadecimal digits", prefix)
	}
	name := fp.IndexName()
	for i := len(name) - 1; i >= 0; i-- { // the name before that one
		b := []byte(name)
		if b[i]--; name[i] != 0 {
			return string(b[:i+1]) + strings.Repeat("\xff", len(name)-i-1), nil
		}
		name = string(b)
	}
	return "", nil
}

// report says what the entry says.
func (e *entry) report() *report.Chunk {
	l := &e.layout
	r := &report.Chunk{
		Chunk: e.fp.String(), PGID: e.pg.String(), Generation: fmt.Sprintf("%016x", uint64(l.Gen)),
		Bytes: int64(l.Size), Stored: int64(l.Stored), Compression: l.Packing.String(), Redundancy: l.Redundancy.String(),
		ShardBytes: int64(l.ShardSize()), Holders: []int{}, References: len(e.refs), More: e.more,
	}
	for _, h := range l.Holders {
		r.Holders = append(r.Holders, int(h))
	}
	if e.condemned != 0 {
		r.Condemned = timeText(e.condemned)
	}
	switch {
	case e.damaged:
		r.Lost = "bytes"
	case e.lost:
		r.Lost = "shards"
	}
	if e.domain != "" {
		tenant := chunk.TenantOf(e.domain)
		r.Tenant = &tenant
	}
	return r
}

func timeText(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// showTries is how often a chunk is looked at whose shards are moved meanwhile.
const showTries = 3

// ShowChunk tells all that is known of a chunk, with verify after reading all of its shards.
func (c *Care) ShowChunk(ctx context.Context, pool placement.PoolID, fp chunk.Fingerprint, verify bool) (*report.Chunk, error) {
	for tries := 1; ; tries++ {
		e, err := c.entry(ctx, at{pool, fp})
		if err == nil && e == nil {
			err = fmt.Errorf("chunk %s: %w in the index of the pool", fp, client.ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		r, err := c.show(ctx, e, verify)
		if err != nil || tries == showTries || r.Verdict == nil || r.Verdict.OK {
			return r, err
		}
		if now, err := c.entry(ctx, e.at()); err == nil && now != nil && bytes.Equal(now.raw, e.raw) {
			return r, nil
		}
	}
}

func (c *Care) show(ctx context.Context, e *entry, verify bool) (*report.Chunk, error) {
	r := e.report()
	for _, kv := range e.refs {
		b, err := chunk.ParseBackRef(kv.Key, kv.Value)
		if err != nil {
			r.Refs = append(r.Refs, report.Ref{Object: err.Error()})
			continue
		}
		r.Refs = append(r.Refs, report.Ref{Nonce: b.Nonce.String(), Pool: int(b.Pool), Object: b.Object, Since: timeText(b.At)})
	}
	for _, id := range c.leavers(e) {
		r.Leaving = append(r.Leaving, int(id))
	}
	v, err := c.judge(ctx, e, light)
	if err != nil {
		return nil, err
	}
	r.Shards = make([]report.Shard, len(v.shards))
	for i, s := range v.shards {
		r.Shards[i] = report.Shard{Shard: i, OSD: int(e.layout.Holders[i]), State: s.String()}
	}
	if verify {
		err = c.verify(ctx, e, r)
	}
	return r, err
}

// String names a state for people.
func (s state) String() string { return [...]string{"good", "away", "misplaced", "lost"}[s] }

// verify reads all shards of a chunk.
func (c *Care) verify(ctx context.Context, e *entry, r *report.Chunk) error {
	m := c.o.Cluster.Map()
	v := &report.Verdict{Needed: int(e.layout.Redundancy.K), Fingerprint: "unknown"}
	r.Verdict = v
	shards := make([][]byte, len(r.Shards))
	err := c.each(ctx, len(shards), func(i int) error {
		h := e.layout.Holders[i]
		if h == placement.NoOSD || !m.IsUp(h) {
			return nil
		}
		data, err := c.o.Shards.Get(ctx, h, e.shard(i)) // its OSD holds every block against its checksum
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.Shards[i].Text = err.Error()
			if is(err, client.ErrNotFound, client.ErrCorrupt) {
				r.Shards[i].State = lost.String()
			}
		case len(data) != int(e.layout.ShardSize()):
			r.Shards[i].State, r.Shards[i].Text = "wrong", fmt.Sprintf("it has %d bytes", len(data))
		default:
			shards[i] = data
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range shards {
		if s != nil {
			v.Readable++
		}
	}
	if v.Readable < v.Needed {
		v.Text = fmt.Sprintf("%d of its %d shards can be read, %d are needed", v.Readable, len(shards), v.Needed)
		return nil
	}
	x, err := examine(e, shards)
	if err != nil {
		return err
	}
	v.Together, v.Text = x.together, x.wrong
	v.Parity = x.wrong == "" && parityAgrees(e, x.shards)
	switch {
	case x.verified:
		v.Fingerprint = "right"
	case !e.fp.Verifiable(e.domain):
		v.Fingerprint = "unverifiable"
	case x.wrong != "":
		v.Fingerprint = "wrong"
	}
	if x.odd >= 0 {
		r.Shards[x.odd].State = "wrong"
		v.Text = fmt.Sprintf("shard %d on osd.%d is not of this chunk; the others are, and a repair makes it again", x.odd, e.layout.Holders[x.odd])
	} else if v.Text == "" && v.Readable < len(shards) {
		v.Text = fmt.Sprintf("%d of its %d shards can be read", v.Readable, len(shards))
	}
	v.OK = v.Text == "" && v.Parity
	return nil
}
