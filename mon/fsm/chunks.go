package fsm

import (
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// usualRedundancies are what a refusal proposes, the safest first, then the cheapest.
var usualRedundancies = []string{
	"9:3:rs", "6:2:rs", "4:2:rs", "3:2:rs", "2:2:rs", "4:1:xor", "3:1:xor", "2:1:xor", "replica:3", "replica:2", "replica:1",
}

// setChunks changes one setting of how a pool's chunks are made.
func setChunks(p *placement.Pool, key, value string) error {
	if key != placement.ChunksKey && p.Chunks.IsZero() {
		return refuse(wirepb.Code_CONFLICT, "pool %q makes no chunks, so %s has no effect; say first how to keep them, with chunks 4:2:rs or replica:3, for example", p.Name, key)
	}
	if err := p.Chunks.Set(key, value); err != nil {
		return invalid("pool %q: %v", p.Name, err)
	}
	return nil
}

// setAllChunks sets what a new pool is to have; what is empty keeps its default.
func (c *PoolCreate) setAllChunks(p *placement.Pool) error {
	size := ""
	if c.ChunkSize != 0 {
		size = placement.FormatChunkSize(c.ChunkSize)
	}
	for _, kv := range [][2]string{
		{placement.ChunksKey, c.Chunks}, {placement.DedupKey, c.Dedup}, {placement.CutKey, c.Cut},
		{placement.ChunkSizeKey, size}, {placement.CompressionKey, c.Compression},
	} {
		if kv[1] == "" {
			continue
		}
		if err := setChunks(p, kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

// checkChunks refuses a chunk policy that does not fit the pool.
func checkChunks(p *placement.Pool) error {
	if err := p.Chunks.CheckSize(p.Size); err != nil {
		return invalid("pool %q: %v", p.Name, err)
	}
	return nil
}

// checkDomains refuses a redundancy that has more shards than there are failure domains: some would share one, and be
// lost together. t.table is that of t.m, which has the pool already.
func (t *txn) checkDomains(p *placement.Pool, rule string) error {
	need := p.Chunks.Redundancy.Shards()
	if p.Chunks.IsZero() {
		return nil
	}
	have, typ := t.table.Domains(p.ID)
	if have >= need {
		return nil
	}
	add := "OSDs on " + more(need-have, typ)
	if typ == t.m.Crush.TypeName(0) {
		add = more(need-have, "OSD")
	}
	return refuse(wirepb.Code_CONFLICT,
		"pool %q: chunks %s need %d failure domains, one for each shard, but CRUSH rule %q spreads over %ss and finds %d with OSDs that are in; start %s, or choose %s",
		p.Name, p.Chunks.Redundancy, need, rule, typ, have, add, fitting(have))
}

func more(n int, what string) string {
	if n == 1 {
		return "1 more " + what
	}
	return fmt.Sprintf("%d more %ss", n, what)
}

// fitting names the usual redundancies for which so many failure domains are enough, at most four.
func fitting(domains int) string {
	var out []string
	for _, s := range usualRedundancies {
		if r, err := placement.ParseRedundancy(s); err == nil && r.Shards() <= domains && len(out) < 4 {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	if last := len(out) - 1; last > 0 {
		return strings.Join(out[:last], ", ") + " or " + out[last]
	}
	return out[0]
}
