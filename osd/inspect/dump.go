package inspect

import (
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Usage is where the bytes of a store are, and how much each PG has of them.
type Usage struct {
	store.Layout
	Objects int64        `json:"objects"`
	PGs     []PGUsage    `json:"pgs"`
	Shards  []ShardUsage `json:"shards"`
}

// PGUsage counts the objects of a PG, in all spaces, and the bytes that clients see.
type PGUsage struct {
	PG      string `json:"pg"`
	Objects int64  `json:"objects"`
	Bytes   int64  `json:"bytes"`
}

// UsageOf sums a store up.
func UsageOf(in *store.Inspector) (Usage, error) {
	u := Usage{PGs: []PGUsage{}, Shards: []ShardUsage{}}
	var err error
	if u.Layout, err = in.Layout(); err != nil {
		return u, err
	}
	ids, err := in.PGs()
	if err != nil {
		return u, err
	}
	for _, id := range ids {
		n, bytes, err := in.SpaceUsage(id, store.Objects)
		if err != nil {
			return u, err
		}
		u.Objects += n
		u.PGs = append(u.PGs, PGUsage{id.String(), n, bytes})
	}
	pools, err := in.PoolShards()
	if err != nil {
		return u, err
	}
	for _, p := range pools {
		u.Shards = append(u.Shards, ShardUsage{p.Pool, p.Shards, p.Bytes})
	}
	return u, nil
}

// LogEntry is an entry of a PG's log, for people.
type LogEntry struct {
	Position string   `json:"position"`
	Object   string   `json:"object"`
	Removed  bool     `json:"removed,omitempty"`
	Request  string   `json:"request,omitempty"`
	At       int64    `json:"at"` // unix nanoseconds
	Partial  bool     `json:"partial,omitempty"`
	Extents  []uint64 `json:"extents,omitempty"` // offset, length, offset, ...
	Keys     []string `json:"keys,omitempty"`
	Attrs    []string `json:"attrs,omitempty"`
	Result   int      `json:"result_bytes"`
}

// Log calls f for the entries of a PG's log.
func Log(r store.Reader, id placement.PGID, f func(LogEntry) error) error {
	rec, err := pg.ReadRecord(r, id)
	if err != nil {
		return err
	}
	_, err = pg.WalkLog(r, id, rec, func(e *wirepb.LogEntry) error {
		p := e.GetPos()
		out := LogEntry{Position: store.Version{Term: placement.Term(p.GetTerm()), Seq: p.GetSeq()}.String(), Object: string(e.Object),
			Removed: e.Removed, At: e.At, Partial: e.Partial, Extents: e.Extents, Result: len(e.Result)}
		if q := e.Req; q != nil {
			out.Request = fmt.Sprintf("%x.%d", q.GetClient(), q.GetSeq())
		}
		for _, k := range e.Keys {
			out.Keys = append(out.Keys, string(k))
		}
		for _, a := range e.Attrs {
			out.Attrs = append(out.Attrs, string(a))
		}
		return f(out)
	})
	return err
}

// Pair is an attribute or an omap key with its value.
type Pair struct {
	Kind  string `json:"kind"` // attr or omap
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// Pairs calls f for the attributes and the omap of an object.
func Pairs(r store.Reader, k store.Key, f func(Pair) error) error {
	attrs, err := r.Attrs(k)
	if err != nil {
		return err
	}
	for _, kv := range attrs {
		if err := f(Pair{"attr", kv.Key, kv.Value}); err != nil {
			return err
		}
	}
	var start []byte
	for {
		kvs, more, err := r.OmapList(k, start, nil, 1000)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			if err := f(Pair{"omap", kv.Key, kv.Value}); err != nil {
				return err
			}
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		start = append(slices.Clone(kvs[len(kvs)-1].Key), 0)
	}
}
