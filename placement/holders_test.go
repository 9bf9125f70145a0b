package placement

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawCandidate(t *rapid.T, id OSDID) HolderCandidate {
	return HolderCandidate{
		ID: id, Domain: rapid.IntRange(-3, 6).Draw(t, "domain"),
		Weight:   rapid.SampledFrom([]uint32{WeightOne, WeightOne, WeightOne, WeightOne / 4, 0}).Draw(t, "reweight"),
		Up:       rapid.IntRange(0, 5).Draw(t, "up") > 0,
		Spare:    rapid.IntRange(0, 5).Draw(t, "spare") == 0,
		Slow:     rapid.IntRange(0, 5).Draw(t, "slow") == 0,
		Full:     Fullness(rapid.IntRange(0, int(Full)).Draw(t, "full")),
		Capacity: rapid.SampledFrom([]int64{0, 1, 1 << 40, math.MaxInt64}).Draw(t, "capacity"),
		Free:     rapid.SampledFrom([]int64{FreeUnknown, 0, 1, 1 << 30, 1 << 40, math.MaxInt64}).Draw(t, "free"),
		Busy:     rapid.SampledFrom([]uint64{0, 0, 1, 500, 700, 10_000, math.MaxUint64}).Draw(t, "busy"),
	}
}

func TestHolders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var cands []HolderCandidate
		for id := range rapid.IntRange(0, 24).Draw(t, "candidates") {
			cands = append(cands, drawCandidate(t, OSDID(id)))
		}
		n, seed := rapid.IntRange(-1, 26).Draw(t, "n"), rapid.Uint64().Draw(t, "seed")
		osds, apart := Holders(n, cands, seed)

		usable, inDomain := 0, map[int]int{}
		for i := range cands {
			if c := &cands[i]; c.Up && c.Full != Full && c.Free != 0 && c.Weight > 0 {
				usable++
				inDomain[c.Domain]++
			}
		}
		if want := max(min(n, usable), 0); len(osds) != want {
			t.Fatalf("%d OSDs of %d usable ones, want %d", len(osds), usable, want)
		}
		if want := max(min(n, len(inDomain)), 0); apart != want {
			t.Fatalf("%d are in different ones of %d domains, want %d", apart, len(inDomain), want)
		}
		taken := map[int]int{}
		for i, id := range osds {
			c := cands[id]
			if !c.Usable() || contains(osds[:i], id) {
				t.Fatalf("%s of %v: %+v", id, osds, c)
			}
			// Nobody gets a second shard, or third, while there is a domain with fewer.
			for d, have := range inDomain {
				if taken[d] < taken[c.Domain] && taken[d] < have {
					t.Fatalf("shard %d is in domain %d, which has %d, while domain %d has %d", i, c.Domain, taken[c.Domain], d, taken[d])
				}
			}
			taken[c.Domain]++
			if i < apart && taken[c.Domain] > 1 {
				t.Fatalf("%v: shards 0 to %d are not in different domains", osds, apart-1)
			}
		}
		mixed := rapid.Permutation(cands).Draw(t, "mixed")
		again, _ := Holders(n, mixed, seed)
		if diff := cmp.Diff(osds, again); diff != "" {
			t.Fatalf("in another order: %s", diff)
		}
	})
}

// fillRun writes chunks to a simulated cluster until it is four fifths full.
type fillRun struct {
	topo   topo
	shards int
	sizes  func(id OSDID) int64 // capacity in shards
	used   []int64
	table  *Table
	pgs    uint32
}

func newFillRun(t *testing.T, tp topo, redundancy string, sizes func(id OSDID) int64) *fillRun {
	r, err := ParseRedundancy(redundancy)
	if err != nil {
		t.Fatal(err)
	}
	tp = tp.clone()
	for h := range tp.hosts {
		for o := range tp.hosts[h].osds {
			tp.hosts[h].osds[o].weight = float64(sizes(tp.hosts[h].osds[o].id)) / 1e4
		}
	}
	const pgs = 128
	m := tp.makeMap(t, uint32(r.M)+1, pgs)
	m.Pools[0].Chunks = ChunkPolicy{Redundancy: r, ChunkSize: DefaultChunkSize}
	for i := range m.OSDs {
		m.OSDs[i].Capacity = sizes(m.OSDs[i].ID)
	}
	return &fillRun{topo: tp, shards: r.Shards(), sizes: sizes, used: make([]int64, len(m.OSDs)), table: NewTable(m), pgs: pgs}
}

// put places one chunk.
func (f *fillRun) put(t *testing.T, seed uint64, busy func(OSDID) uint64) []OSDID {
	cands := f.table.ChunkCandidates(PGID{1, uint32(seed) % f.pgs}, f.shards)
	for i := range cands {
		c := &cands[i]
		c.Free = c.Capacity - f.used[c.ID]
		c.Busy = busy(c.ID)
	}
	osds, apart := Holders(f.shards, cands, seed)
	if apart != f.shards {
		t.Fatalf("%d shards in %d domains", f.shards, apart)
	}
	for _, id := range osds {
		f.used[id]++
	}
	return osds
}

// TestHoldersFillEvenly: on disks of sizes 1, 2 and 4, filled to 80 % by chunks alone, fullness differs by less than
// 5 points, whatever rows and failure domains look like.
func TestHoldersFillEvenly(t *testing.T) {
	oneTwoFour := func(id OSDID) int64 { return 2000 << (id % 3) }
	byHostSize := func(per OSDID) func(OSDID) int64 { return func(id OSDID) int64 { return 2000 << (id / per % 3) } }
	for _, tt := range []struct {
		name       string
		topo       topo
		redundancy string
		sizes      func(OSDID) int64
	}{
		{"12 disks, 4:2", uniform(1, 12, 1, byHost), "4:2:rs", oneTwoFour},
		{"12 disks without hosts, 4:1", uniform(1, 1, 12, byOSD), "4:1:xor", oneTwoFour},
		{"9 disks, copies", uniform(1, 9, 1, byHost), "replica:3", oneTwoFour},
		{"18 disks in 6 hosts, 2:1", uniform(1, 6, 3, byHost), "2:1:xor", oneTwoFour},
		{"24 disks in 12 hosts each of a size, 4:2", uniform(1, 12, 2, byHost), "4:2:rs", byHostSize(2)},
		{"48 disks in 24 hosts, 9:3", uniform(1, 24, 2, byHost), "9:3:rs", oneTwoFour},
		{"60 disks in 12 racks, 4:2", uniform(12, 1, 5, byRack), "4:2:rs", oneTwoFour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFillRun(t, tt.topo, tt.redundancy, tt.sizes)
			var total int64
			for id := range f.used {
				total += tt.sizes(OSDID(id))
			}
			for n := int64(0); n*int64(f.shards) < total*8/10; n++ {
				f.put(t, uint64(n)*0x9e3779b97f4a7c15>>7, func(OSDID) uint64 { return 0 })
			}
			least, most := 1.0, 0.0
			for id, used := range f.used {
				full := float64(used) / float64(tt.sizes(OSDID(id)))
				least, most = min(least, full), max(most, full)
			}
			t.Logf("fullness from %.1f to %.1f %%", 100*least, 100*most)
			if most-least >= 0.05 {
				t.Errorf("fullness from %.1f to %.1f %%, want a difference below 5 points", 100*least, 100*most)
			}
		})
	}
}

// TestHoldersAvoidSlow: an OSD ten times as slow as the others gets less than a fifth of its fair share, and what it
// gets is mostly parity; one that the monitors call slow likewise. Half as fast again is nothing.
func TestHoldersAvoidSlow(t *testing.T) {
	const chunks = 20000
	for _, tt := range []struct {
		name      string
		busy      uint64 // of the OSD, the others have 1000 or a little more
		slow      bool
		from, to  float64 // part of the fair share
		shards, k int
	}{
		{"ten times as slow", 10_000, false, 0, 0.2, 6, 4},
		{"four times as slow", 4000, false, 0, 0.4, 6, 4},
		{"little slower", 1400, false, 0.9, 1.1, 6, 4},
		{"faster", 100, false, 0.9, 1.1, 6, 4},
		{"nobody knows", 0, false, 0.9, 1.1, 6, 4},
		{"slow by the monitors", 0, true, 0, 0.2, 6, 4},
		{"ten times as slow, three copies", 10_000, false, 0, 0.2, 3, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cands []HolderCandidate
			for id := range OSDID(12) {
				cands = append(cands, HolderCandidate{ID: id, Domain: int(id), Weight: WeightOne, Up: true, Capacity: 1 << 40, Free: 1 << 39, Busy: 1000 + 20*uint64(id)})
			}
			cands[5].Busy, cands[5].Slow = tt.busy, tt.slow
			got, data := 0, 0
			for seed := range uint64(chunks) {
				osds, _ := Holders(tt.shards, cands, seed)
				if i := slices.Index(osds, 5); i >= 0 {
					got++
					if i < tt.k {
						data++
					}
				}
			}
			part := float64(got) / (chunks * float64(tt.shards) / 12)
			t.Logf("%.3f of its share", part)
			if part < tt.from || part > tt.to {
				t.Errorf("got %.2f of its share, want %.2f to %.2f", part, tt.from, tt.to)
			}
			if tt.to < 0.9 && tt.k > 1 && data > 0 {
				t.Errorf("%d of %d shards are data", data, got)
			}
		})
	}
}

// TestHoldersInProportion: what is chosen is in proportion to free space, also where some should have more than they
// can: those are in every chunk.
func TestHoldersInProportion(t *testing.T) {
	const chunks = 30000
	count := func(n int, free ...int64) string {
		cands := make([]HolderCandidate, len(free))
		for i := range cands {
			cands[i] = HolderCandidate{ID: OSDID(i), Domain: i, Weight: WeightOne, Up: true, Free: free[i]}
		}
		got := make([]int, len(free))
		for seed := range uint64(chunks) {
			osds, _ := Holders(n, cands, seed)
			for _, id := range osds {
				got[id]++
			}
		}
		s := ""
		for _, g := range got {
			s += fmt.Sprintf("%.2f ", float64(g)/chunks)
		}
		return s
	}
	for _, tt := range []struct {
		n    int
		free []int64
		want string
	}{
		{1, []int64{1 << 30, 1 << 30, 2 << 30}, "0.25 0.25 0.50 "},
		{2, []int64{1 << 30, 1 << 30, 2 << 30}, "0.50 0.50 1.00 "},
		{2, []int64{1 << 30, 1 << 30, 9 << 30}, "0.50 0.50 1.00 "},
		{3, []int64{1 << 30, 1 << 30, 1 << 30, 1 << 30, 2 << 30}, "0.50 0.50 0.50 0.50 1.00 "},
		{2, []int64{1 << 30, 2 << 30, 3 << 30, 4 << 30}, "0.20 0.40 0.60 0.80 "},
	} {
		if got := count(tt.n, tt.free...); got != tt.want {
			t.Errorf("%d of %v: chosen in %sof the chunks, want %s", tt.n, tt.free, got, tt.want)
		}
	}
}

func TestHoldersAvoidFull(t *testing.T) {
	cands := make([]HolderCandidate, 8)
	for i := range cands {
		cands[i] = HolderCandidate{ID: OSDID(i), Domain: i, Weight: WeightOne, Up: true, Capacity: 1 << 40, Free: 1 << 39}
	}
	cands[2].Full, cands[7].Spare = BackfillFull, true
	got := 0
	for seed := range uint64(5000) {
		osds, _ := Holders(6, cands, seed)
		if contains(osds, 2) || contains(osds, 7) {
			got++
		}
	}
	if got > 100 {
		t.Errorf("one that is too full for backfill, and one that is not in the row, are in %d of 5000 chunks", got)
	}
	cands[3].Up, cands[4].Full = false, Full
	if osds, apart := Holders(6, cands, 1); apart != 6 || !contains(osds, 2) || !contains(osds, 7) {
		t.Errorf("got %v, want all that are usable, also that which is too full for backfill", osds)
	}
}

// TestChunkCandidates: there are enough failure domains among the candidates if the cluster has them, the row's
// members first; and failure domains are those of the rule.
func TestChunkCandidates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tp := drawTopo(t)
		m := tp.makeMap(t, rapid.Uint32Range(1, 4).Draw(t, "size"), 16)
		for i := range m.OSDs {
			m.OSDs[i].Up = rapid.IntRange(0, 4).Draw(t, "up") > 0
			m.OSDs[i].Full = Fullness(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "full"))
		}
		m.Pools[0].Chunks.Redundancy = Redundancy{ReedSolomon, 4, 2}
		table := NewTable(m)
		domain := tp.domain()
		usable, all := map[int]bool{}, map[int]bool{}
		tp.each(func(_ topoHost, o topoOSD) {
			if o.reweight > 0 && (tp.class == "" || o.class == tp.class) {
				all[domain(o.id)] = true
				if m.OSD(o.id).Up && m.OSD(o.id).Full != Full {
					usable[domain(o.id)] = true
				}
			}
		})
		if n, _ := table.Domains(1); n != len(all) {
			t.Fatalf("%d domains, want %d", n, len(all))
		}
		n := rapid.IntRange(0, 14).Draw(t, "n")
		id := PGID{1, rapid.Uint32Range(0, 15).Draw(t, "shard")}
		cands := table.ChunkCandidates(id, n)
		row := table.Group(id).Members
		if len(cands) < len(row) {
			t.Fatalf("%d candidates, but %d members", len(cands), len(row))
		}
		number, found := map[int]int{}, map[int]bool{}
		for i, c := range cands {
			if i < len(row) && c.ID != row[i] {
				t.Fatalf("candidate %d is %s, want the row's %s", i, c.ID, row[i])
			}
			o := m.OSD(c.ID)
			if c.Spare != (i >= max(len(row), 2*n)) {
				t.Fatalf("candidate %d of a row of %d: %+v", i, len(row), c)
			}
			if c.Up != o.Up || c.Full != o.Full || c.Weight != o.Weight || c.Free != FreeUnknown {
				t.Fatalf("%+v, but the map has %+v", c, o)
			}
			if other, ok := number[c.Domain]; ok && other != domain(c.ID) {
				t.Fatalf("%s: domain %d is also another", c.ID, c.Domain)
			}
			number[c.Domain] = domain(c.ID)
			if d, ok := table.Domain(1, c.ID); !ok || d != c.Domain {
				t.Fatalf("%s: domain %d (%v), want %d", c.ID, d, ok, c.Domain)
			}
			if c.Usable() {
				found[domain(c.ID)] = true
			}
		}
		if len(number) < len(row) && len(found) > len(number) {
			t.Fatal("one domain has several numbers")
		}
		if len(found) < min(n, len(usable)) {
			t.Fatalf("usable OSDs in %d domains, want %d of %d", len(found), n, len(usable))
		}
	})
}

// TestCandidatesOfOlderChunks: when a pool's chunks get fewer shards than they had, or the cluster's rows grow narrower,
// those that exist still find all their places among the candidates.
func TestCandidatesOfOlderChunks(t *testing.T) {
	m := uniform(1, 40, 1, byHost).makeMap(t, 4, 16)
	m.Pools[0].Chunks = ChunkPolicy{Redundancy: Redundancy{ReedSolomon, 9, 3}, ChunkSize: DefaultChunkSize}
	was := NewTable(m)
	for _, r := range []Redundancy{{XOR, 2, 1}, {}} {
		m = m.Clone()
		m.Pools[0].Chunks = ChunkPolicy{Redundancy: r}
		is := was.Next(m)
		for shard := range uint32(16) {
			var ids []OSDID
			for _, c := range is.ChunkCandidates(PGID{1, shard}, 12) {
				if c.Spare {
					t.Errorf("%s: %s is spare", r, c.ID)
				}
				ids = append(ids, c.ID)
			}
			if diff := cmp.Diff(was.Group(PGID{1, shard}).Members, ids); diff != "" {
				t.Errorf("%s, PG 1.%x: %s", r, shard, diff)
			}
		}
	}
}

func TestDomains(t *testing.T) {
	for rule, want := range map[string]string{byHost: "6 host", byRack: "2 rack", byOSD: "18 osd"} {
		n, typ := NewTable(uniform(2, 3, 3, rule).makeMap(t, 2, 8)).Domains(1)
		if got := fmt.Sprint(n, " ", typ); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

func BenchmarkHolders(b *testing.B) {
	m := uniform(10, 10, 10, byHost).makeMap(b, 3, 4096)
	m.Pools[0].Chunks.Redundancy = Redundancy{ReedSolomon, 4, 2}
	for i := range m.OSDs {
		m.OSDs[i].Capacity = 1 << 40
	}
	table := NewTable(m)
	table.ChunkCandidates(PGID{1, 0}, 6)
	b.ReportAllocs()
	for i := range b.N {
		cands := table.ChunkCandidates(PGID{1, uint32(i) % 512}, 6)
		for j := range cands {
			cands[j].Free, cands[j].Busy = 1<<39+int64(j)<<30, 1000+uint64(j)
		}
		Holders(6, cands, uint64(i))
	}
}

// BenchmarkChunkCandidatesFirst is the first question of a pool after a change of CRUSH map or reweights.
func BenchmarkChunkCandidatesFirst(b *testing.B) {
	m := uniform(10, 10, 10, byHost).makeMap(b, 3, 4096)
	m.Pools[0].Chunks.Redundancy = Redundancy{ReedSolomon, 4, 2}
	for range b.N {
		NewTable(m).ChunkCandidates(PGID{1, 0}, 6)
	}
}
