package fsm

import (
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// TestChunks: policies that the cluster can keep are taken, others refused with what would be enough.
func TestChunks(t *testing.T) {
	r := newRig(t)
	r.osds(5)
	need := func(part string, c PoolCreate) {
		t.Helper()
		r.no(wirepb.Code_CONFLICT, part, &c)
	}
	need(`need 6 failure domains, one for each shard, but CRUSH rule "replicated_rule" spreads over hosts and finds 5 with OSDs that are in; `+
		`start OSDs on 1 more host, or choose 3:2:rs, 2:2:rs, 4:1:xor or 3:1:xor`, PoolCreate{Name: "p", Chunks: "4:2:rs"})
	need("on 7 more hosts", PoolCreate{Name: "p", Chunks: "9:3:rs"})
	need("makes no chunks, so dedup has no effect", PoolCreate{Name: "p", Dedup: "cluster"})
	for part, c := range map[string]PoolCreate{
		`redundancy "raid5": want none, replica:N, K:1:xor or K:M:rs`:            {Chunks: "raid5"},
		"want 2 to 20 data shards, not 21":                                       {Chunks: "21:2:rs"},
		"want 1 to 6 parity shards, not 7":                                       {Chunks: "4:7:rs"},
		"xor has one parity shard; for more use rs, such as 4:2:rs":              {Chunks: "4:2:xor"},
		`dedup "all": want tenant, cluster or off`:                               {Chunks: "2:1:xor", Dedup: "all"},
		`cut "rabin": want fixed or content`:                                     {Chunks: "2:1:xor", Cut: "rabin"},
		`compression "gzip": want none, s2, zstd or lz4`:                         {Chunks: "2:1:xor", Compression: "gzip"},
		`chunk_size "100000": want a power of two from 8K to 4M`:                 {Chunks: "2:1:xor", ChunkSize: 100000},
		"chunk_size 8K gives 3:2:rs shards of less than 4K":                      {Chunks: "3:2:rs", ChunkSize: 8 << 10},
		"survive the loss of 2 OSDs as the chunks do: want a size of at least 3": {Chunks: "3:2:rs", Size: 2},
	} {
		c.Name = "p"
		r.no(wirepb.Code_INVALID, part, &c)
	}

	r.ok(&PoolCreate{Name: "p", PGNum: 1, Chunks: "3:2:rs"})
	want := placement.ChunkPolicy{Redundancy: placement.Redundancy{Codec: placement.ReedSolomon, K: 3, M: 2}, ChunkSize: placement.DefaultChunkSize}
	if p := r.s.Map().PoolByName("p"); p.Chunks != want || p.Size != 3 {
		t.Fatalf("%+v", p)
	}
	r.no(wirepb.Code_INVALID, "want a size of at least 3", &PoolSet{Name: "p", Key: "size", Value: "2"})
	r.no(wirepb.Code_CONFLICT, "need 8 failure domains", &PoolSet{Name: "p", Key: "chunks", Value: "6:2:rs"})
	r.same(&PoolSet{Name: "p", Key: "cut", Value: "fixed"})
	for _, kv := range [][2]string{{"chunks", "4:1:xor"}, {"size", "2"}, {"dedup", "off"}, {"cut", "content"}, {"chunk_size", "256K"}, {"compression", "s2"}} {
		r.ok(&PoolSet{Name: "p", Key: kv[0], Value: kv[1]})
	}
	r.no(wirepb.Code_INVALID, "want a size of at least 3", &PoolSet{Name: "p", Key: "chunks", Value: "2:2:rs"})
	want = placement.ChunkPolicy{Redundancy: placement.Redundancy{Codec: placement.XOR, K: 4, M: 1}, Dedup: placement.DedupOff,
		Cut: placement.CutContent, ChunkSize: 256 << 10, Packing: placement.PackS2}
	if p := r.s.Map().PoolByName("p"); p.Chunks != want {
		t.Fatalf("%+v", p)
	}
	r.ok(&PoolSet{Name: "p", Key: "chunks", Value: "none"})
	if p := r.s.Map().PoolByName("p"); p.Chunks != (placement.ChunkPolicy{}) {
		t.Fatalf("%+v", p)
	}
	r.no(wirepb.Code_CONFLICT, "makes no chunks", &PoolSet{Name: "p", Key: "compression", Value: "lz4"})
	r.ok(&PoolSet{Name: "p", Key: "chunks", Value: "replica:2"})
}

// TestUsualRedundancies: every mode that people know is taken, in a cluster with just enough hosts, with as many
// copies of the index as it needs.
func TestUsualRedundancies(t *testing.T) {
	for _, s := range append([]string{"replica:5"}, usualRedundancies...) {
		red, err := placement.ParseRedundancy(s)
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t)
		r.osds(max(red.Shards(), 3))
		r.ok(&PoolCreate{Name: "p", PGNum: 1, Chunks: s})
		if p := r.s.Map().PoolByName("p"); p.Chunks.Redundancy != red || p.Size != max(3, uint32(red.M)+1) {
			t.Errorf("%s: %+v", s, p)
		}
		if have, typ := r.s.table.Domains(1); have != max(red.Shards(), 3) || typ != "host" {
			t.Errorf("%s: %d %ss", s, have, typ)
		}
	}
}

// TestFillSizes: a pool is served while as many OSDs are down as its chunks survive, unless somebody says otherwise,
// and needs no more failure domains for that than its shards do.
func TestFillSizes(t *testing.T) {
	for s, want := range map[string]struct{ size, minSize, asked, least uint32 }{
		"2:1:xor": {3, 2, 0, 0}, "4:1:xor": {3, 2, 0, 0}, "2:2:rs": {4, 2, 0, 0}, "4:2:rs": {4, 2, 0, 0}, "9:3:rs": {5, 2, 0, 0}, "20:6:rs": {8, 2, 0, 0},
		"replica:1": {3, 2, 0, 0}, "replica:3": {3, 2, 0, 0}, "replica:5": {5, 2, 0, 0},
		"3:2:rs": {3, 2, 3, 0}, "6:2:rs": {6, 3, 6, 0}, "3:1:xor": {2, 1, 2, 0}, "8:3:rs": {5, 4, 0, 4},
	} {
		c := &PoolCreate{Name: "p", PGNum: 1, Chunks: s, Size: want.asked, MinSize: want.least}
		c.FillSizes()
		if c.Size != want.size || c.MinSize != want.minSize {
			t.Errorf("%s, size %d, min_size %d: became %d and %d, want %d and %d", s, want.asked, want.least, c.Size, c.MinSize, want.size, want.minSize)
		}
		red, err := placement.ParseRedundancy(s)
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t)
		r.osds(max(red.Shards(), int(c.Size)))
		r.ok(c)
		served := int(c.Size)-int(red.M) >= int(c.MinSize)
		if plain := want.asked+want.least == 0 && red.Codec != placement.Replica; plain && !served {
			t.Errorf("%s: size %d, min_size %d: not served while %d are down", s, c.Size, c.MinSize, red.M)
		}
	}
	for _, s := range []string{"", "none", "nonsense"} {
		c := &PoolCreate{Name: "p", Chunks: s}
		if c.FillSizes(); c.Size != 0 || c.MinSize != 0 {
			t.Errorf("chunks %q: %+v", s, c)
		}
	}
}
