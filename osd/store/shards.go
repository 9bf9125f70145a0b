package store

import (
	"cmp"
	"slices"

	"github.com/cairnstore/cairn/placement"
)

// PoolShards counts the shards of chunks that a store holds for one pool.
type PoolShards struct {
	Pool   placement.PoolID
	Shards int64
	Bytes  int64 // their sizes
}

// ShardKey is the key of a shard: all those of a pool are in one space, whatever PG their chunks' entries in the
// index are in.
func ShardKey(pool placement.PoolID, name string) Key {
	return Key{PG: placement.PGID{Pool: pool}, Space: Shards, Name: name}
}

// PoolShards implements Store.
func (d *Disk) PoolShards() []PoolShards {
	d.view.RLock()
	defer d.view.RUnlock()
	var out []PoolShards
	for k, s := range d.stats {
		if k.sp == Shards && s.objects > 0 {
			out = append(out, PoolShards{k.pg.Pool, s.objects, s.bytes})
		}
	}
	return sortedShards(out)
}

// PoolShards implements Store.
func (s *Sim) PoolShards() []PoolShards {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []PoolShards
	for k, sp := range s.state.spaces {
		if k.sp == Shards && len(sp.names) > 0 {
			out = append(out, PoolShards{k.pg.Pool, int64(len(sp.names)), sp.bytes})
		}
	}
	return sortedShards(out)
}

func sortedShards(s []PoolShards) []PoolShards {
	slices.SortFunc(s, func(a, b PoolShards) int { return cmp.Compare(a.Pool, b.Pool) })
	return s
}

// count notes objects that came or went under a name, and the bytes that they have more.
func count[N string | []byte](s *spaceStat, name N, objects, bytes int64) {
	s.objects += objects
	s.bytes += bytes
	if len(name) > 0 && name[0] == placement.RecordMark {
		s.records += objects
	}
}

// PGRecords implements Store.
func (d *Disk) PGRecords(pg placement.PGID) int64 {
	d.view.RLock()
	defer d.view.RUnlock()
	return d.stats[spaceKey{pg, Objects}].records
}

// PGRecords implements Store.
func (s *Sim) PGRecords(pg placement.PGID) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.state.spaces[simSpaceKey{pg, Objects}]
	if sp == nil {
		return 0
	}
	n, _ := slices.BinarySearch(sp.names, string(rune(placement.RecordMark+1))) // records come first
	return int64(n)
}
