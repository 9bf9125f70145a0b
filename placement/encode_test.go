package placement

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/placement/crush"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// sameMap compares maps the way their encodings do.
var sameMap = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b *crush.Map) bool { return sameCrush(a, b) }),
}

// drawMap draws a map that passes Validate.
func drawMap(t *rapid.T) *Map {
	tp := drawTopo(t)
	m := tp.makeMap(t, rapid.Uint32Range(1, 4).Draw(t, "size"), rapid.Uint32Range(1, 12).Draw(t, "pgs"))
	m.Epoch = Epoch(rapid.Uint64Range(1, 1<<40).Draw(t, "epoch"))
	m.Created = rapid.Int64().Draw(t, "created")
	copy(m.Cluster[:], "one test cluster")
	changeMap(t, m, 12)
	return m
}

// changeMap makes up to limit random changes to m, which must be the caller's own.
// The result passes Validate.
func changeMap(t *rapid.T, m *Map, limit int) {
	m.Modified = rapid.Int64().Draw(t, "modified")
	short := rapid.StringMatching(`[a-z]{1,3}`)
	for range rapid.IntRange(0, limit).Draw(t, "changes") {
		switch rapid.IntRange(0, 14).Draw(t, "change") {
		case 0:
			m.Flags ^= 1 << rapid.IntRange(0, len(flagNames)-1).Draw(t, "flag")
		case 1:
			mon := Mon{Name: short.Draw(t, "mon"), Addr: short.Draw(t, "addr"), RaftAddr: "r:1", AdminAddr: "a:2"}
			m.Mons = put(m.Mons, mon, monKey, strings.Compare)
		case 2:
			if len(m.Mons) > 0 {
				m.Mons = slices.Delete(m.Mons, 0, 1)
			}
		case 3:
			s := Service{Kind: rapid.SampledFrom([]string{"s3", "nfs"}).Draw(t, "kind"), Name: short.Draw(t, "service"), Addr: "x:9"}
			m.Services = put(m.Services, s, serviceKey, ServiceID.compare)
		case 4:
			if len(m.Services) > 0 {
				m.Services = slices.Delete(m.Services, 0, 1)
			}
		case 5:
			o := &m.OSDs[rapid.IntRange(0, len(m.OSDs)-1).Draw(t, "osd")]
			o.Up, o.AutoOut = rapid.Bool().Draw(t, "up"), rapid.Bool().Draw(t, "auto out")
			o.Draining, o.Full = rapid.Bool().Draw(t, "draining"), Fullness(rapid.IntRange(0, int(Full)).Draw(t, "full"))
			o.Slow = rapid.Bool().Draw(t, "slow")
			o.Incarnation = rapid.Uint64().Draw(t, "incarnation")
			o.Weight = rapid.Uint32Range(0, WeightOne).Draw(t, "reweight")
			o.Capacity = rapid.Int64Range(0, math.MaxInt64).Draw(t, "capacity")
			o.Addr = short.Draw(t, "addr")
			o.UpFrom = min(m.Epoch, Epoch(rapid.Uint64Range(0, 99).Draw(t, "up from")))
		case 6:
			o := OSD{ID: m.NextOSD, Class: "ssd", Weight: WeightOne}
			copy(o.Store[:], fmt.Sprintf("store %d", o.ID))
			m.OSDs, m.NextOSD = append(m.OSDs, o), m.NextOSD+1
		case 7: // an OSD goes, and with it every mention of it
			if len(m.OSDs) > 1 {
				i := rapid.IntRange(0, len(m.OSDs)-1).Draw(t, "gone")
				id := m.OSDs[i].ID
				m.OSDs = slices.Delete(m.OSDs, i, i+1)
				for i := range m.PGs {
					for s := range m.PGs[i].Records {
						if r := &m.PGs[i].Records[s]; r.Has(id) || r.Primary == id {
							*r = PGRecord{Term: r.Term, Primary: NoOSD}
						}
					}
				}
			}
		case 8:
			p := Pool{ID: m.NextPool, Name: fmt.Sprintf("pool%d", m.NextPool), Size: 3, MinSize: 2, PGNum: rapid.Uint32Range(1, 8).Draw(t, "pgs"), Application: "rbd"}
			p.PGNumTarget, p.FirstPGNum = p.PGNum+rapid.Uint32Range(0, 2).Draw(t, "to grow"), p.PGNum
			m.Pools, m.NextPool = append(m.Pools, p), m.NextPool+1
			recs := make([]PGRecord, p.PGNum)
			for i := range recs {
				recs[i].Primary = NoOSD
			}
			m.PGs = append(m.PGs, PoolPGs{Pool: p.ID, Records: recs})
		case 9:
			if len(m.Pools) > 1 {
				i := rapid.IntRange(0, len(m.Pools)-1).Draw(t, "gone")
				m.Pools, m.PGs = slices.Delete(m.Pools, i, i+1), slices.Delete(m.PGs, i, i+1)
			}
		case 10: // a pool grows or, though clusters do not do that, shrinks
			i := rapid.IntRange(0, len(m.Pools)-1).Draw(t, "pool")
			n := rapid.Uint32Range(1, 20).Draw(t, "pgs")
			recs := slices.Clone(m.PGs[i].Records[:min(int(n), len(m.PGs[i].Records))])
			for len(recs) < int(n) {
				recs = append(recs, PGRecord{Primary: NoOSD})
			}
			m.Pools[i].PGNum, m.PGs[i].Records = n, recs
			m.Pools[i].PGNumTarget, m.Pools[i].FirstPGNum = n, min(n, m.Pools[i].FirstPGNum)
		case 11:
			i := rapid.IntRange(0, len(m.PGs)-1).Draw(t, "pool")
			s := rapid.IntRange(0, len(m.PGs[i].Records)-1).Draw(t, "shard")
			r := &m.PGs[i].Records[s]
			r.Term++
			r.InSync = nil
			for range rapid.IntRange(1, 4).Draw(t, "members") {
				if id := m.OSDs[rapid.IntRange(0, len(m.OSDs)-1).Draw(t, "member")].ID; !r.Has(id) {
					r.InSync = append(r.InSync, id)
				}
			}
			r.Primary, r.Created, r.Version = r.InSync[0], true, m.Epoch
			r.Forced = rapid.Bool().Draw(t, "forced")
		case 12:
			m.Config = put(m.Config, Setting{Key: short.Draw(t, "key"), Value: short.Draw(t, "value")}, settingKey, strings.Compare)
		case 14:
			p := &m.Pools[rapid.IntRange(0, len(m.Pools)-1).Draw(t, "pool")]
			p.Chunks = ChunkPolicy{}
			if r := rapid.SampledFrom([]string{"none", "replica:2", "4:1:xor", "2:3:rs"}).Draw(t, "chunks"); r != "none" {
				p.Chunks = drawPolicy(t, r)
				p.Size = max(p.Size, uint32(p.Chunks.Redundancy.M)+1)
			}
		case 13:
			if len(m.Config) > 0 {
				m.Config = slices.Delete(m.Config, 0, 1)
			}
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "change CRUSH") == 0 {
		c := m.Crush.Clone()
		c.Tunables.ChooseTotalTries = rapid.IntRange(10, 200).Draw(t, "tries")
		if err := c.Finalize(); err != nil {
			t.Fatal(err)
		}
		m.Crush = c
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
}

// drawPolicy draws how chunks of a redundancy are made.
func drawPolicy(t *rapid.T, redundancy string) ChunkPolicy {
	r, err := ParseRedundancy(redundancy)
	if err != nil {
		t.Fatal(err)
	}
	return ChunkPolicy{
		Redundancy: r,
		Dedup:      rapid.SampledFrom([]Dedup{DedupTenant, DedupCluster, DedupOff}).Draw(t, "dedup"),
		Cut:        rapid.SampledFrom([]Cut{CutFixed, CutContent}).Draw(t, "cut"),
		ChunkSize:  rapid.SampledFrom([]uint32{16 << 10, DefaultChunkSize, MaxChunkSize}).Draw(t, "chunk size"),
		Packing:    rapid.SampledFrom([]Packing{PackNone, PackS2, PackZstd, PackLZ4}).Draw(t, "packing"),
	}
}

// put inserts or replaces an item of a sorted list.
func put[T, K any](list []T, item T, key func(*T) K, compare func(a, b K) int) []T {
	i, ok := slices.BinarySearchFunc(list, key(&item), func(e T, k K) int { return compare(key(&e), k) })
	if ok {
		list[i] = item
		return list
	}
	return slices.Insert(list, i, item)
}

// goldenMap has something in every field.
func goldenMap(t fataler) *Map {
	t.Helper()
	cm, err := crush.Parse(uniform(1, 3, 1, byHost).text())
	if err != nil {
		t.Fatalf("%v", err)
	}
	m := &Map{
		Epoch: 300, Created: 1_700_000_000_000_000_000, Modified: 1_700_000_001_000_000_000, Flags: FlagNoOut | FlagNoDeepScrub,
		Mons: []Mon{
			{Name: "a", Addr: "10.0.0.1:6789", RaftAddr: "10.0.0.1:6790", AdminAddr: "10.0.0.1:8443"},
			{Name: "b", Addr: "[fd00::2]:6789", RaftAddr: "[fd00::2]:6790", AdminAddr: "[fd00::2]:8443"},
		},
		OSDs: []OSD{
			{ID: 0, Incarnation: 5, Addr: "10.0.0.1:7000", Class: "ssd", Up: true, Weight: WeightOne, UpFrom: 280, DownAt: 270, Capacity: 1 << 40},
			{ID: 1, Incarnation: 1, Addr: "10.0.0.2:7000", Class: "hdd", Up: true, Weight: WeightOne / 2, UpFrom: 3, Capacity: 4 << 40, Draining: true, Full: BackfillFull, Slow: true},
			{ID: 2, Incarnation: 9, Addr: "10.0.0.3:7000", Class: "ssd", AutoOut: true, UpFrom: 7, DownAt: 299, Capacity: 1 << 40},
		},
		Crush: cm,
		Pools: []Pool{
			{ID: 1, Name: "rbd", Size: 3, MinSize: 2, PGNum: 4, Application: "rbd", Created: 4, PGNumTarget: 8, FirstPGNum: 3},
			{ID: 3, Name: "bücket", Size: 2, MinSize: 1, PGNum: 2, Application: "s3", Flags: PoolNoAutoscale, Created: 290, PGNumTarget: 2, FirstPGNum: 2,
				Chunks: ChunkPolicy{Redundancy{XOR, 4, 1}, DedupCluster, CutContent, 64 << 10, PackLZ4}},
		},
		PGs: []PoolPGs{
			{Pool: 1, Records: []PGRecord{
				{Term: 7, Version: 299, Primary: 0, InSync: []OSDID{0, 1}, Created: true},
				{Term: 2, Version: 250, Primary: 1, InSync: []OSDID{1, 0, 2}, Created: true},
				{Term: 9, Version: 299, Primary: NoOSD, InSync: []OSDID{2}, Created: true, Forced: true},
				{Term: 3, Version: 281, Primary: 0, InSync: []OSDID{0, 1}, Created: true},
			}},
			{Pool: 3, Records: []PGRecord{
				{Term: 1, Version: 290, Primary: 1, InSync: []OSDID{1, 0}},
				{Primary: NoOSD},
			}},
		},
		Services: []Service{{Kind: "nfs", Name: "gw1", Addr: "10.0.0.1:2049"}, {Kind: "s3", Name: "gw1", Addr: "10.0.0.1:9000"}},
		Config:   []Setting{{"recovery_max_active", "3"}, {"scrub_interval", "24h"}},
		NextPool: 4, NextOSD: 3,
	}
	copy(m.Cluster[:], "golden cluster 1")
	for i := range m.OSDs {
		copy(m.OSDs[i].Store[:], fmt.Sprintf("store of osd.%d   ", i))
	}
	if err := m.Validate(); err != nil {
		t.Fatalf("%v", err)
	}
	return m
}

func TestMapGolden(t *testing.T) {
	m := goldenMap(t)
	b := EncodeMap(m)
	golden(t, "map.hex", []byte(hex.Dump(b)))
	back, err := DecodeMap(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back, sameMap); diff != "" {
		t.Fatal(diff)
	}
}

func TestMapRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		b := EncodeMap(m)
		back, err := DecodeMap(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, back, sameMap); diff != "" {
			t.Fatal(diff)
		}
		if err := back.Validate(); err != nil {
			t.Fatal(err)
		}
		if again := EncodeMap(back); !bytes.Equal(again, b) {
			t.Fatalf("encoding differs after a round trip:\n%x\n%x", b, again)
		}
		if m.Checksum() != back.Checksum() {
			t.Fatal("checksums of equal maps differ")
		}
	})
}

func TestEmptyMap(t *testing.T) {
	back, err := DecodeMap(EncodeMap(&Map{}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Map{}, back, sameMap); diff != "" {
		t.Fatal(diff)
	}
}

// TestDecodeMapRefuses: every cut and every flipped bit is noticed.
func TestDecodeMapRefuses(t *testing.T) {
	b := EncodeMap(goldenMap(t))
	for n := range b {
		if _, err := DecodeMap(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		if _, err := DecodeMap(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d damaged: %v", i, err)
		}
	}
	if _, err := DecodeMap(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a byte more: %v", err)
	}
}

func TestNewerVersion(t *testing.T) {
	seal := func(f codec.Format) []byte {
		e := codec.NewEncoder(nil)
		mark := e.Begin(f.Magic, f.MaxVersion+1)
		e.String("from the future")
		e.End(mark)
		return e.Bytes()
	}
	_, mapErr := DecodeMap(seal(mapFormat))
	_, deltaErr := DecodeDelta(seal(deltaFormat))
	for what, err := range map[string]error{"cluster map": mapErr, "cluster map delta": deltaErr} {
		var ve *VersionError
		if !errors.As(err, &ve) || ve.What != what || ve.Got != 5 || ve.Max != 4 || !strings.Contains(err.Error(), "upgrade") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// resealed returns body in an envelope with a good checksum, so that tests and
// fuzzing get past it.
func resealed(f codec.Format, body []byte) []byte {
	e := codec.NewEncoder(nil)
	mark := e.Begin(f.Magic, f.MaxVersion)
	e.Raw(body)
	e.End(mark)
	return e.Bytes()
}

// resealedAs is resealed for a map of an earlier version.
func resealedAs(version uint16, body []byte) []byte {
	return resealed(codec.Format{Magic: mapFormat.Magic, MaxVersion: version}, body)
}

// TestDecodeIsFrugal: bodies that claim huge counts cost a small multiple of their
// own size.
func TestDecodeIsFrugal(t *testing.T) {
	const size = 1 << 20
	prefix := func(lists ...uint64) *codec.Encoder {
		e := codec.NewEncoder(nil)
		e.Uvarint(1)
		encodeHeader(e, &header{})
		for _, n := range lists {
			e.Uvarint(n)
		}
		return e
	}
	tests := map[string]*codec.Encoder{
		"OSDs":     prefix(0, 40000),
		"pools":    prefix(0, 0, 0, MaxPools),
		"records":  prefix(0, 0, 0, 0, 1, 1, MaxPGs),
		"services": prefix(0, 0, 0, 0, 0, MaxServices),
		"too many": prefix(0, math.MaxUint64),
	}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			in := resealed(mapFormat, append(e.Bytes(), make([]byte, size)...))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := DecodeMap(in); err == nil {
				t.Error("decoded")
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 20*size {
				t.Errorf("decoding %d bytes allocated %d", len(in), got)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(m *Map)
		want   string
	}{
		{"epoch 0", func(m *Map) { m.Epoch = 0 }, "epoch of at least 1"},
		{"no CRUSH map", func(m *Map) { m.Crush = nil }, "no CRUSH map"},
		{"mons unsorted", func(m *Map) { slices.Reverse(m.Mons) }, "must be sorted"},
		{"mon without name", func(m *Map) { m.Mons[0].Name = "" }, "name of a monitor is empty"},
		{"mon with long address", func(m *Map) { m.Mons[0].RaftAddr = strings.Repeat("x", 999) }, "999 bytes"},
		{"OSD twice", func(m *Map) { m.OSDs[1].ID = 0 }, "osd.0 is there twice"},
		{"OSD negative", func(m *Map) { m.OSDs[0].ID = -1 }, "allowed are 0"},
		{"OSD id too high", func(m *Map) { m.OSDs[2].ID, m.NextOSD = MaxOSDID+1, MaxOSDID+2 }, "allowed are 0"},
		{"OSD beyond next", func(m *Map) { m.NextOSD = 2 }, "next id is 2"},
		{"OSD store twice", func(m *Map) { m.OSDs[2].Store = m.OSDs[0].Store }, "same store"},
		{"OSD reweight", func(m *Map) { m.OSDs[2].Weight = WeightOne + 1 }, "reweight"},
		{"OSD from the future", func(m *Map) { m.OSDs[2].UpFrom = 301 }, "in the future"},
		{"OSD capacity", func(m *Map) { m.OSDs[2].Capacity = -1 }, "capacity"},
		{"OSD class", func(m *Map) { m.OSDs[2].Class = strings.Repeat("x", 256) }, "class of osd.2 has 256 bytes"},
		{"pool unsorted", func(m *Map) { slices.Reverse(m.Pools) }, "must be sorted"},
		{"pool id 0", func(m *Map) { m.Pools[0].ID, m.PGs[0].Pool = 0, 0 }, "ids start at 1"},
		{"pool beyond next", func(m *Map) { m.NextPool = 3 }, "the next is 3"},
		{"pool names", func(m *Map) { m.Pools[1].Name = "rbd" }, "same name"},
		{"pool without name", func(m *Map) { m.Pools[1].Name = "" }, "is empty"},
		{"pool size 0", func(m *Map) { m.Pools[1].Size = 0 }, "0 copies"},
		{"pool size", func(m *Map) { m.Pools[1].Size = 33 }, "33 copies"},
		{"pool min_size", func(m *Map) { m.Pools[1].MinSize = 3 }, "min_size 3"},
		{"pool rule", func(m *Map) { m.Pools[1].Rule = 5 }, "rule 5"},
		{"pool from the future", func(m *Map) { m.Pools[1].Created = 1000 }, "in the future"},
		{"pool without records", func(m *Map) { m.PGs = m.PGs[:1] }, "PG records of 1"},
		{"records of another pool", func(m *Map) { m.PGs[1].Pool = 2 }, "PG records of pool 2"},
		{"too few records", func(m *Map) { m.Pools[0].PGNum = 5 }, "5 PGs and 4 PG records"},
		{"no PGs", func(m *Map) { m.Pools[0].PGNum, m.PGs[0].Records = 0, nil }, "0 PGs"},
		{"too many PGs", func(m *Map) { m.Pools[0].PGNum, m.PGs[0].Records = MaxPGs, make([]PGRecord, MaxPGs) }, "at most 32768"},
		{"in-sync twice", func(m *Map) { m.PGs[0].Records[0].InSync = []OSDID{0, 0} }, "PG 1.0: osd.0 is in the in-sync set twice"},
		{"in-sync unknown", func(m *Map) { m.PGs[0].Records[3].InSync = []OSDID{0, 7} }, "PG 1.3: in-sync member osd.7 does not exist"},
		{"in-sync empty", func(m *Map) { m.PGs[0].Records[3].InSync = nil }, "set is empty"},
		{"in-sync long", func(m *Map) { m.PGs[0].Records[3].InSync = make([]OSDID, 65) }, "65 in-sync members"},
		{"primary unknown", func(m *Map) { m.PGs[0].Records[3].Primary = 7 }, "primary osd.7 does not exist"},
		{"primary -2", func(m *Map) { m.PGs[0].Records[3].Primary = -2 }, "primary osd.-2 does not exist"},
		{"primary not in sync", func(m *Map) { m.PGs[0].Records[3].Primary = 2 }, "not in its in-sync set"},
		{"record from the future", func(m *Map) { m.PGs[0].Records[3].Version = 301 }, "in the future"},
		{"service twice", func(m *Map) { m.Services[1].Kind = "nfs" }, "is there twice"},
		{"OSD fullness", func(m *Map) { m.OSDs[1].Full = Full + 1 }, "fullness(4)"},
		{"pool to shrink", func(m *Map) { m.Pools[0].PGNumTarget = 3 }, "is to have 3"},
		{"pool to grow too far", func(m *Map) { m.Pools[0].PGNumTarget = MaxPGs + 1 }, "is to have 32769"},
		{"pool began with nothing", func(m *Map) { m.Pools[0].FirstPGNum = 0 }, "began with 0"},
		{"pool began larger", func(m *Map) { m.Pools[0].FirstPGNum = 5 }, "began with 5"},
		{"chunks of an unknown codec", func(m *Map) { m.Pools[1].Chunks.Redundancy.Codec = 9 }, `pool "bücket": codec 9 of its chunks is not known`},
		{"chunks of an unknown domain", func(m *Map) { m.Pools[1].Chunks.Dedup = 3 }, "dedup 3 of its chunks is not known"},
		{"chunks cut otherwise", func(m *Map) { m.Pools[1].Chunks.Cut = 2 }, "cut 2 of its chunks is not known"},
		{"chunks packed otherwise", func(m *Map) { m.Pools[1].Chunks.Packing = 4 }, "compression 4 of its chunks is not known"},
		{"chunks of no data", func(m *Map) { m.Pools[1].Chunks.Redundancy.K = 0 }, "want 2 to 20 data shards"},
		{"chunks of a crooked size", func(m *Map) { m.Pools[1].Chunks.ChunkSize++ }, "want a power of two from 8K to 4M"},
		{"chunks safer than their index", func(m *Map) { m.Pools[1].Chunks.Redundancy = Redundancy{ReedSolomon, 4, 2} }, "want a size of at least 3"},
		{"no chunks, but how", func(m *Map) { m.Pools[1].Chunks.Redundancy = Redundancy{} }, "where no chunks are made"},
		{"forced before it was created", func(m *Map) { m.PGs[1].Records[0].Forced = true }, "forced before"},
		{"setting twice", func(m *Map) { m.Config[1].Key = m.Config[0].Key }, "setting recovery_max_active is there twice"},
		{"setting without key", func(m *Map) { m.Config[0].Key = "" }, "key of a setting is empty"},
		{"setting too long", func(m *Map) { m.Config[0].Value = strings.Repeat("x", MaxValue+1) }, "4097 bytes"},
		{"service without kind", func(m *Map) { m.Services[0].Kind = "" }, "kind of a service is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := goldenMap(t)
			tt.change(m)
			if err := m.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			_, _ = DecodeMap(EncodeMap(m)) // whatever it says, it must not panic
		})
	}
}

// TestCloneIsDeep changes everything in a clone that may be changed in place.
func TestCloneIsDeep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		before := EncodeMap(m)
		c := m.Clone()
		if diff := cmp.Diff(m, c, sameMap); diff != "" {
			t.Fatal(diff)
		}
		changeMap(t, c, 30)
		for i := range c.PGs {
			for s := range c.PGs[i].Records {
				c.PGs[i].Records[s].Term += 9
			}
		}
		for i := range c.OSDs {
			c.OSDs[i].Incarnation++
		}
		for i := range c.Pools {
			c.Pools[i].Name += "x"
		}
		if after := EncodeMap(m); !bytes.Equal(before, after) {
			t.Fatal("changing a clone changed the original")
		}
	})
}

func FuzzDecodeMap(f *testing.F) {
	f.Add(EncodeMap(goldenMap(f)), false)
	f.Add(EncodeMap(&Map{}), false)
	body := EncodeMap(goldenMap(f))
	f.Add(body[10:len(body)-4], true)
	f.Fuzz(func(t *testing.T, in []byte, reseal bool) {
		if reseal {
			in = resealed(mapFormat, in)
		}
		m, err := DecodeMap(in)
		if err != nil {
			return
		}
		_ = m.Validate()
		if again, err := DecodeMap(EncodeMap(m)); err != nil {
			t.Fatalf("decodes, but not again after encoding: %v", err)
		} else if diff := cmp.Diff(m, again, sameMap); diff != "" {
			t.Fatal(diff)
		}
		table := NewTable(m)
		for i := range m.Pools[:min(len(m.Pools), 3)] {
			id := PGID{m.Pools[i].ID, 0}
			if diff := cmp.Diff(m.Group(id), table.Group(id)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
