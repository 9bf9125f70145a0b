package placement

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestApplyDiff: Apply(Diff(a, b)) is b, through the encoding, and a stays as it was.
func TestApplyDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawMap(t)
		var b *Map
		if rapid.Bool().Draw(t, "unrelated") {
			b = drawMap(t)
		} else {
			b = a.Clone()
			b.Epoch++
			changeMap(t, b, 6)
		}
		before := EncodeMap(a)
		d := Diff(a, b)
		enc := EncodeDelta(d)
		back, err := DecodeDelta(enc)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, back, sameMap); diff != "" {
			t.Fatalf("delta after a round trip: %s", diff)
		}
		if again := EncodeDelta(back); !bytes.Equal(enc, again) {
			t.Fatal("delta encoding differs after a round trip")
		}
		got, err := a.Apply(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, got, sameMap); diff != "" {
			t.Fatalf("after the delta: %s", diff)
		}
		if !bytes.Equal(EncodeMap(b), EncodeMap(got)) {
			t.Fatal("encodings differ after the delta")
		}
		if !bytes.Equal(before, EncodeMap(a)) {
			t.Fatal("Apply changed its receiver")
		}
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDiffFromNothing(t *testing.T) {
	m := goldenMap(t)
	for _, old := range []*Map{nil, {}} {
		got, err := (&Map{}).Apply(Diff(old, m))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got, sameMap); diff != "" {
			t.Fatal(diff)
		}
	}
}

// nextGolden is the golden map two epochs later, with a change of every kind.
func nextGolden(t fataler) *Map {
	t.Helper()
	m := goldenMap(t).Clone()
	m.Epoch, m.Modified, m.Flags = 302, m.Modified+5e9, 0
	m.Mons[1].Name = "c"
	m.OSDs[2].Up, m.OSDs[2].AutoOut, m.OSDs[2].Weight, m.OSDs[2].UpFrom, m.OSDs[2].Incarnation = true, false, WeightOne, 302, 10
	m.OSDs = append(m.OSDs, OSD{ID: 5, Store: UUID{5}, Class: "nvme", Weight: WeightOne, Addr: "10.0.0.4:7000"})
	m.NextOSD, m.NextPool = 6, 5
	m.Pools[1] = Pool{ID: 4, Name: "new", Size: 1, MinSize: 1, PGNum: 1, Created: 302, PGNumTarget: 1, FirstPGNum: 1,
		Chunks: ChunkPolicy{Redundancy{Replica, 1, 0}, DedupOff, CutFixed, DefaultChunkSize, PackZstd}}
	m.PGs[1] = PoolPGs{Pool: 4, Records: []PGRecord{{Term: 1, Version: 302, Primary: 5, InSync: []OSDID{5}}}}
	m.PGs[0].Records[2] = PGRecord{Term: 10, Version: 302, Primary: 2, InSync: []OSDID{2}, Created: true}
	m.Services = m.Services[1:]
	m.Config = []Setting{{"scrub_interval", "48h"}}
	m.Crush = m.Crush.Clone()
	m.Crush.Tunables.ChooseTotalTries = 60
	if err := m.Crush.Finalize(); err != nil {
		t.Fatalf("%v", err)
	}
	if err := m.Validate(); err != nil {
		t.Fatalf("%v", err)
	}
	return m
}

func TestDeltaGolden(t *testing.T) {
	a, b := goldenMap(t), nextGolden(t)
	d := Diff(a, b)
	want := &Delta{
		From: 300, To: 302, Sum: b.Checksum(), Cluster: b.Cluster, Created: b.Created, Modified: b.Modified,
		NextPool: 5, NextOSD: 6,
		Mons: b.Mons[1:], MonsGone: []string{"b"},
		OSDs:  b.OSDs[2:],
		Pools: b.Pools[1:], PoolsGone: []PoolID{3},
		PGs: []PGsDelta{
			{Pool: 1, Count: 4, Changed: []ShardRecord{{2, b.PGs[0].Records[2]}}},
			{Pool: 4, Count: 1, Changed: []ShardRecord{{0, b.PGs[1].Records[0]}}},
		},
		ServicesGone: []ServiceID{{"nfs", "gw1"}},
		Config:       b.Config, ConfigGone: []string{"recovery_max_active"},
		CrushChanged: true, Crush: b.Crush,
	}
	if diff := cmp.Diff(want, d, sameMap); diff != "" {
		t.Fatal(diff)
	}
	enc := EncodeDelta(d)
	golden(t, "delta.hex", []byte(hex.Dump(enc)))
}

// TestDeltasAreSmall: one PG's new record in a large map is a delta of few bytes.
func TestDeltasAreSmall(t *testing.T) {
	a := uniform(10, 10, 10, byHost).makeMap(t, 3, 4096)
	b := a.Clone()
	b.Epoch++
	b.PGs[0].Records[1234] = PGRecord{Term: 1, Primary: 999, InSync: []OSDID{999, 5, 17}, Created: true, Version: b.Epoch}
	if n := len(EncodeDelta(Diff(a, b))); n > 80 {
		t.Fatalf("delta has %d bytes", n)
	}
}

// TestApplyShares: what a delta does not touch is the same memory.
func TestApplyShares(t *testing.T) {
	a := goldenMap(t)
	b := a.Clone()
	b.Epoch++
	b.PGs[0].Records[0].Term++
	got, err := a.Apply(Diff(a, b))
	if err != nil {
		t.Fatal(err)
	}
	if got.Crush != a.Crush || &got.OSDs[0] != &a.OSDs[0] || &got.Pools[0] != &a.Pools[0] || &got.PGs[1].Records[0] != &a.PGs[1].Records[0] {
		t.Fatal("unchanged parts were copied")
	}
	if &got.PGs[0].Records[0] == &a.PGs[0].Records[0] {
		t.Fatal("changed records are shared")
	}
}

func TestApplyRefuses(t *testing.T) {
	a, b := goldenMap(t), nextGolden(t)
	t.Run("epoch", func(t *testing.T) {
		c := a.Clone()
		c.Epoch = 299
		_, err := c.Apply(Diff(a, b))
		var ee *EpochError
		if !errors.As(err, &ee) || *ee != (EpochError{Have: 299, From: 300, To: 302}) {
			t.Fatalf("got %v", err)
		}
	})
	tests := map[string]func(m *Map, d *Delta){
		"other cluster":       func(m *Map, d *Delta) { m.Cluster[0] ^= 1 },
		"other map":           func(m *Map, d *Delta) { m.OSDs[0].Incarnation++ },
		"other records":       func(m *Map, d *Delta) { m.PGs[0].Records[0].Term++ },
		"checksum":            func(m *Map, d *Delta) { d.Sum++ },
		"unsorted OSDs":       func(m *Map, d *Delta) { d.OSDs = []OSD{{ID: 5}, {ID: 4}} },
		"pool without PGs":    func(m *Map, d *Delta) { d.PGs = d.PGs[:1] },
		"PGs without pool":    func(m *Map, d *Delta) { d.PGs = append(d.PGs, PGsDelta{Pool: 9}) },
		"PGs twice":           func(m *Map, d *Delta) { d.PGs[1].Pool = 1 },
		"shard beyond count":  func(m *Map, d *Delta) { d.PGs[0].Changed[0].Shard = 1 << 31 },
		"count beyond shards": func(m *Map, d *Delta) { d.PGs[0].Count = 1 << 31 },
		"count too low":       func(m *Map, d *Delta) { d.PGs[0].Count = 1 },
		"CRUSH map lost":      func(m *Map, d *Delta) { d.Crush = nil },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			m, d := a.Clone(), Diff(a, b)
			spoil(m, d)
			if _, err := m.Apply(d); !errors.Is(err, ErrDeltaMismatch) {
				t.Fatalf("got %v, want ErrDeltaMismatch", err)
			}
		})
	}
}

func TestDecodeDeltaRefuses(t *testing.T) {
	b := EncodeDelta(Diff(goldenMap(t), nextGolden(t)))
	for n := range b {
		if _, err := DecodeDelta(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := DecodeDelta(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a byte more: %v", err)
	}
	// Every cut of the body itself, behind a good checksum.
	for n := range len(b) - 14 {
		if _, err := DecodeDelta(resealed(deltaFormat, b[10:10+n])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("body cut to %d bytes: %v", n, err)
		}
	}
}

func FuzzDecodeDelta(f *testing.F) {
	a, b := goldenMap(f), nextGolden(f)
	enc := EncodeDelta(Diff(a, b))
	f.Add(enc, false)
	f.Add(enc[10:len(enc)-4], true)
	empty := EncodeDelta(Diff(nil, a))
	f.Add(empty[10:len(empty)-4], true)
	f.Fuzz(func(t *testing.T, in []byte, reseal bool) {
		if reseal {
			in = resealed(deltaFormat, in)
		}
		d, err := DecodeDelta(in)
		if err != nil {
			return
		}
		if again, err := DecodeDelta(EncodeDelta(d)); err != nil {
			t.Fatalf("decodes, but not again after encoding: %v", err)
		} else if diff := cmp.Diff(d, again, sameMap); diff != "" {
			t.Fatal(diff)
		}
		d.From, d.Cluster = a.Epoch, a.Cluster
		got, err := a.Apply(d)
		if err != nil {
			return
		}
		if got.Checksum() != d.Sum {
			t.Fatal("a result with the wrong checksum was accepted")
		}
	})
}

// large is a map near the limits: 1,000 OSDs and 32,768 PGs.
func large(b *testing.B) (*Map, *Map) {
	b.Helper()
	m := uniform(10, 10, 10, byHost).makeMap(b, 3, MaxPGs)
	for s := range m.PGs[0].Records {
		r := &m.PGs[0].Records[s]
		r.Term, r.InSync, r.Created = 12, []OSDID{OSDID(s % 1000), OSDID((s + 400) % 1000), OSDID((s + 700) % 1000)}, true
		r.Primary = r.InSync[0]
	}
	n := m.Clone()
	n.Epoch++
	n.PGs[0].Records[77].Term++
	return m, n
}

func BenchmarkEncodeMapLarge(b *testing.B) {
	m, _ := large(b)
	for b.Loop() {
		b.SetBytes(int64(len(EncodeMap(m))))
	}
}

func BenchmarkDecodeMapLarge(b *testing.B) {
	m, _ := large(b)
	enc := EncodeMap(m)
	b.SetBytes(int64(len(enc)))
	for b.Loop() {
		if _, err := DecodeMap(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiffLarge(b *testing.B) {
	m, n := large(b)
	for b.Loop() {
		Diff(m, n)
	}
}

func BenchmarkApplyLarge(b *testing.B) {
	m, n := large(b)
	d := Diff(m, n)
	for b.Loop() {
		if _, err := m.Apply(d); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleMap_Apply() {
	old := &Map{Epoch: 7}
	next := old.Clone()
	next.Epoch, next.Flags = 8, FlagPause
	got, err := old.Apply(Diff(old, next))
	fmt.Println(got.Epoch, got.Flags == FlagPause, err)
	// Output: 8 true <nil>
}
