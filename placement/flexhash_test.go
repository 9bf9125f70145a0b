package placement

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// checkRow checks everything a row of tp's map promises, except movement.
func checkRow(t fataler, tp topo, m *Map, id PGID, target []OSDID, row Row) {
	t.Helper()
	p := m.Pool(id.Pool)
	if row.Target != len(target) || !slices.Equal(row.Members[:row.Target], target) {
		t.Fatalf("%s: row %v does not start with target %v", id, row, target)
	}
	domain := tp.domain()
	reachable := map[OSDID]bool{}
	free := map[int]int{} // reachable OSDs by domain that are not in the row
	tp.each(func(_ topoHost, o topoOSD) {
		if o.reweight > 0 && (tp.class == "" || o.class == tp.class) {
			reachable[o.id] = true
			free[domain(o.id)]++
		}
	})
	inRow := map[int]int{}
	for i, o := range row.Members {
		if slices.Contains(row.Members[:i], o) {
			t.Fatalf("%s: %s twice in %v", id, o, row.Members)
		}
		if !reachable[o] {
			t.Fatalf("%s: %s in %v is out, of another class or not in the map", id, o, row.Members)
		}
		d := domain(o)
		if i < row.Target {
			if inRow[d] > 0 {
				t.Fatalf("%s: target %v has two members in domain %d", id, target, d)
			}
		} else {
			for other, n := range free {
				if n > 0 && inRow[other] < inRow[d] {
					t.Fatalf("%s: member %d of %v is the %d. of domain %d, while %d has only %d", id, i, row.Members, inRow[d]+1, d, other, inRow[other])
				}
			}
		}
		inRow[d]++
		free[d]--
	}
	in := 0
	for i := range m.OSDs {
		if m.OSDs[i].In() {
			in++
		}
	}
	if want := min(max(RowWidth(in), int(p.Size)), len(reachable)); len(row.Members) != want {
		t.Fatalf("%s: row %v has %d members, want %d", id, row.Members, len(row.Members), want)
	}
	domains := map[int]bool{}
	for o := range reachable {
		domains[domain(o)] = true
	}
	if want := min(int(p.Size), len(domains)); len(target) != want {
		t.Fatalf("%s: target %v, want %d members: size %d, %d domains", id, target, want, p.Size, len(domains))
	}
}

func TestRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tp := drawTopo(t)
		size := rapid.Uint32Range(1, 6).Draw(t, "size")
		m := tp.makeMap(t, size, 32)
		table := NewTable(m)
		for s := range uint32(32) {
			id := PGID{1, s}
			target, row := m.Target(id), m.Group(id)
			checkRow(t, tp, m, id, target, row)
			if got := table.Target(id); !slices.Equal(got, target) {
				t.Fatalf("%s: table says %v, map %v", id, got, target)
			}
			if diff := cmp.Diff(row, table.Group(id)); diff != "" {
				t.Fatalf("%s: table and map differ:\n%s", id, diff)
			}
		}
	})
}

// TestTargetsAreFull: three hosts of very unequal weights. CRUSH alone leaves PGs
// short; all of them must get three copies, and those it fills must be its answers.
func TestTargetsAreFull(t *testing.T) {
	tp := uniform(1, 3, 1, byHost)
	tp.hosts[0].osds[0].weight = 50
	tp.hosts[1].osds[0].weight = 30
	const pgs = 1024
	m := tp.makeMap(t, 3, pgs)
	in := newInputs(m)
	short := 0
	for s := range uint32(pgs) {
		id := PGID{1, s}
		got := m.Target(id)
		if len(got) != 3 {
			t.Fatalf("%s: target %v", id, got)
		}
		answer, err := m.Crush.Do(0, int(crushInput(id)), 3, in.weights)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer) < 3 {
			short++
		}
		for i, o := range answer {
			if got[i] != OSDID(o) {
				t.Fatalf("%s: target %v, CRUSH answers %v", id, got, answer)
			}
		}
	}
	if short == 0 {
		t.Fatal("CRUSH filled every PG: the topology does not test anything")
	}
}

// TestOtherRulesStayShort: a rule that asks for two racks and two hosts in each is
// not given hosts beyond them.
func TestOtherRulesStayShort(t *testing.T) {
	tp := uniform(1, 5, 1, "step choose firstn 2 type rack\n\tstep chooseleaf firstn 2 type host")
	m := tp.makeMap(t, 4, 32)
	for s := range uint32(32) {
		if row := m.Group(PGID{1, s}); row.Target > 2 || len(row.Members) != 4 {
			t.Fatalf("row %v", row)
		}
	}
}

func TestUnknown(t *testing.T) {
	m := uniform(1, 3, 1, byHost).makeMap(t, 3, 8)
	table := NewTable(m)
	for _, id := range []PGID{{2, 0}, {1, 8}, {0, 0}, {1, math.MaxUint32}} {
		if a, b := m.Target(id), table.Target(id); a != nil || b != nil {
			t.Errorf("%s: targets %v and %v, want none", id, a, b)
		}
		if a, b := m.Group(id), table.Group(id); a.Members != nil || b.Members != nil {
			t.Errorf("%s: groups %v and %v, want none", id, a, b)
		}
	}
	m.Pools[0].Rule = 7
	if got := m.Group(PGID{1, 0}); got.Target != 0 || len(got.Members) != 0 {
		t.Errorf("unknown rule: %v", got)
	}
	m.Crush = nil
	if got := m.Group(PGID{1, 0}); got.Target != 0 || len(got.Members) != 0 {
		t.Errorf("no CRUSH map: %v", got)
	}
	if got := (&Map{}).Target(PGID{1, 0}); got != nil {
		t.Errorf("empty map: %v", got)
	}
}

// TestDeviceWithoutOSD: CRUSH knows a device that no OSD serves; it is never chosen.
func TestDeviceWithoutOSD(t *testing.T) {
	m := uniform(1, 4, 1, byHost).makeMap(t, 3, 64)
	m.OSDs = m.OSDs[:3]
	for s := range uint32(64) {
		if row := m.Group(PGID{1, s}); contains(row.Members, 3) || len(row.Members) != 3 {
			t.Fatalf("row %v", row)
		}
	}
}

// TestTwoTakes: a rule with two roots, fast first; the row reaches both.
func TestTwoTakes(t *testing.T) {
	tp := uniform(1, 6, 2, byHost)
	for h := range tp.hosts {
		tp.hosts[h].osds[1].class = "hdd"
	}
	tp.class = "ssd"
	tp.rule = "step chooseleaf firstn 1 type host\n\tstep emit\n\tstep take default class hdd\n\tstep chooseleaf firstn -1 type host"
	m := tp.makeMap(t, 3, 64)
	for s := range uint32(64) {
		row := m.Group(PGID{1, s})
		if row.Target != 3 || len(row.Members) != 8 || row.Members[0]%2 != 0 || row.Members[1]%2 != 1 || row.Members[2]%2 != 1 {
			t.Fatalf("row %v", row)
		}
	}
}

// moved counts what rows of m lost when it became next.
func moved(m, next *Table, shards uint32) (targets, members int) {
	for s := range shards {
		id := PGID{1, s}
		targets += lost(m.Target(id), next.Target(id))
		members += lost(m.Group(id).Members, next.Group(id).Members)
	}
	return targets, members
}

func lost(old, new []OSDID) (n int) {
	for _, o := range old {
		if !contains(new, o) {
			n++
		}
	}
	return n
}

// TestRowsMoveLittle checks the exact bound of docs/placement.md for one OSD that
// comes: a row loses one member at most if its target stays, and only to the
// newcomer; each exchange in the target exchanges at most two members more.
// Leaving is the same read backwards.
func TestRowsMoveLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tp := drawTopo(t)
		tp.class = ""
		more := tp.clone()
		h := rapid.IntRange(0, len(more.hosts)-1).Draw(t, "host")
		o := drawOSD(t, 100)
		more.hosts[h].osds = append(more.hosts[h].osds, o)
		const pgs = 64
		size := rapid.Uint32Range(1, 6).Draw(t, "size")
		a, b := NewTable(tp.makeMap(t, size, pgs)), NewTable(more.makeMap(t, size, pgs))
		for s := range uint32(pgs) {
			id := PGID{1, s}
			ra, rb := a.Group(id), b.Group(id)
			ta, tb := a.Target(id), b.Target(id)
			exchanged := max(lost(ta, tb), lost(tb, ta))
			bound := 2 * exchanged
			if contains(rb.Members, o.id) {
				bound++
			}
			if got := lost(ra.Members, rb.Members); got > bound {
				t.Fatalf("%s: adding %s to host %d made %v of %v: %d members lost, bound %d", id, o.id, h, rb, ra, got, bound)
			}
			// Reading backwards, the width may shrink at a step of RowWidth.
			if got := lost(rb.Members, ra.Members); got > bound+max(0, len(rb.Members)-len(ra.Members)) {
				t.Fatalf("%s: removing %s from host %d made %v of %v: %d members lost, bound %d", id, o.id, h, ra, rb, got, bound)
			}
		}
	})
}

// TestMovedFraction compares what moves with the least that can: a newcomer must
// get its share of all members, and nothing else needs to move.
func TestMovedFraction(t *testing.T) {
	const pgs = 4096
	tests := []struct {
		name          string
		before        topo
		change        func(*topo)
		share         float64 // of the newcomer or leaver
		targets, rows float64 // bound as a multiple of the least
	}{
		{"host joins 10", uniform(1, 10, 4, byHost), addHost(4), 1. / 11, 1.25, 1.2},
		{"host joins 40", uniform(1, 40, 4, byHost), addHost(4), 1. / 41, 1.25, 1.2},
		{"host leaves 10", uniform(1, 10, 4, byHost), removeHost, 1. / 10, 1.25, 1.2},
		{"osd joins 10 hosts", uniform(1, 10, 4, byHost), addOSD, 1. / 41, 2.2, 1.2},
		{"osd joins 20 flat", uniform(1, 1, 20, byOSD), addOSD, 1. / 21, 1.25, 1.2},
		{"osd out of 40", uniform(1, 10, 4, byHost), outOSD, 1. / 40, 1.25, 1.2},
		{"rack joins 6", uniform(6, 4, 3, byRack), addRack(4, 3), 1. / 7, 1.25, 1.2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := tt.before.clone()
			tt.change(&after)
			a, b := NewTable(tt.before.makeMap(t, 3, pgs)), NewTable(after.makeMap(t, 3, pgs))
			targets, members := moved(a, b, pgs)
			width := len(a.Group(PGID{1, 0}).Members)
			t.Logf("targets moved %.2f of the least, row members %.2f",
				float64(targets)/(tt.share*3*pgs), float64(members)/(tt.share*float64(width)*pgs))
			if got, lim := float64(targets), tt.share*3*pgs*tt.targets; got > lim {
				t.Errorf("%.0f target members moved, bound %.0f", got, lim)
			}
			if got, lim := float64(members), tt.share*float64(width)*pgs*tt.rows; got > lim {
				t.Errorf("%.0f row members moved, bound %.0f", got, lim)
			}
		})
	}
}

func addHost(osds int) func(*topo) {
	return func(tp *topo) {
		h := topoHost{id: 900, rack: 0}
		for i := range osds {
			h.osds = append(h.osds, topoOSD{id: OSDID(900 + i), weight: 1, reweight: WeightOne, class: "ssd"})
		}
		tp.hosts = append(tp.hosts, h)
	}
}

func addRack(hosts, osds int) func(*topo) {
	return func(tp *topo) {
		for h := range hosts {
			th := topoHost{id: 900 + h, rack: 50}
			for i := range osds {
				th.osds = append(th.osds, topoOSD{id: OSDID(900 + h*osds + i), weight: 1, reweight: WeightOne, class: "ssd"})
			}
			tp.hosts = append(tp.hosts, th)
		}
	}
}

func removeHost(tp *topo) { tp.hosts = append(tp.hosts[:4:4], tp.hosts[5:]...) }

func addOSD(tp *topo) {
	tp.hosts[0].osds = append(tp.hosts[0].osds, topoOSD{id: 900, weight: 1, reweight: WeightOne, class: "ssd"})
}

func outOSD(tp *topo) { tp.hosts[2].osds[1].reweight = 0 }

// TestRowsAreFair: OSDs get members in proportion to their weights where the domains
// leave a choice.
func TestRowsAreFair(t *testing.T) {
	tp := uniform(1, 1, 30, byOSD)
	total := 0.0
	for i := range tp.hosts[0].osds {
		o := &tp.hosts[0].osds[i]
		o.weight = []float64{1, 2}[i%2]
		total += o.weight
	}
	const pgs = 8192
	m := tp.makeMap(t, 1, pgs)
	r := newInputs(m)
	reach := r.reach(0)
	var first [30]float64
	for s := range uint32(pgs) {
		first[reach.row(PGID{1, s}, nil, 1).Members[0]]++
	}
	for i, n := range first {
		want := pgs * tp.hosts[0].osds[i].weight / total
		if math.Abs(n-want) > 6*math.Sqrt(want) {
			t.Errorf("osd.%d is first in %.0f rows, want %.0f", i, n, want)
		}
	}
}

func TestNegLog2(t *testing.T) {
	for i := range 1 << 16 {
		x := uint64(i)<<48 | 1<<47
		want := -math.Log2(float64(x) / (1 << 64))
		got := float64(negLog2(x)) / (1 << 32)
		if math.Abs(got-want) > 3e-7 {
			t.Fatalf("negLog2(%#x) = %.9f, want %.9f", x, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		if a > b {
			a, b = b, a
		}
		if negLog2(a) < negLog2(b) {
			t.Fatalf("negLog2 rises from %#x to %#x", a, b)
		}
		if s := score(a, b); s == used {
			t.Fatal("a score looks used")
		}
	})
	if got := negLog2(0); got != 64<<32 {
		t.Errorf("negLog2(0) = %d", got)
	}
}

func TestRowWidth(t *testing.T) {
	for in, want := range map[int]int{0: 4, 3: 4, 8: 4, 9: 8, 35: 8, 36: 16, 95: 16, 96: 24, 10000: 24} {
		if got := RowWidth(in); got != want {
			t.Errorf("RowWidth(%d) = %d, want %d", in, got, want)
		}
	}
}

// TestRowsGolden pins rows of fixed topologies.
func TestRowsGolden(t *testing.T) {
	var b strings.Builder
	dump := func(name string, tp topo, size uint32) {
		m := tp.makeMap(t, size, 16)
		fmt.Fprintf(&b, "%s\n", name)
		for s := range uint32(16) {
			r := m.Group(PGID{1, s})
			fmt.Fprintf(&b, "1.%x\t%v | %v\n", s, r.Members[:r.Target], r.Members[r.Target:])
		}
	}
	dump("3 hosts of 1", uniform(1, 3, 1, byHost), 3)
	dump("1 host of 6, by osd", uniform(1, 1, 6, byOSD), 3)
	dump("3 racks of 4 hosts of 2, by host", uniform(3, 4, 2, byHost), 3)
	dump("3 racks of 4 hosts of 2, by rack", uniform(3, 4, 2, byRack), 2)
	dump("10 racks of 5 hosts of 4, by host", uniform(10, 5, 4, byHost), 3)
	odd := uniform(2, 3, 3, byHost)
	odd.hosts[0].osds[0].weight = 4
	odd.hosts[1].osds[2].reweight = 0
	odd.hosts[2].osds[1].reweight = WeightOne / 2
	odd.hosts[3].osds[0].class = "hdd"
	odd.class = "ssd"
	dump("unequal, by class and host", odd, 3)
	golden(t, "rows.txt", []byte(b.String()))
}

// TestTableNext: a later epoch gets the same answers as a table made anew, shares
// what is unchanged, and leaves the old table as it was.
func TestTableNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tp := drawTopo(t)
		m := tp.makeMap(t, 3, 16)
		old := NewTable(m)
		before := make([]Row, 16)
		for s := range before {
			if rapid.Bool().Draw(t, "asked") {
				old.Group(PGID{1, uint32(s)})
			}
			before[s] = m.Group(PGID{1, uint32(s)})
		}
		next := *m
		next.Pools = slices.Clone(m.Pools)
		next.OSDs = slices.Clone(m.OSDs)
		switch rapid.IntRange(0, 6).Draw(t, "change") {
		case 0:
			next.Epoch++
		case 1:
			next.Pools[0].PGNum = 32
		case 2:
			next.Pools[0].Size = 2
		case 3:
			next.OSDs[0].Weight ^= WeightOne
		case 4:
			more := tp.clone()
			more.hosts[0].osds = append(more.hosts[0].osds, drawOSD(t, 100))
			next = *more.makeMap(t, 3, 16)
		case 5:
			next.Pools = append(next.Pools, Pool{ID: 2, Name: "q", Size: 1, MinSize: 1, PGNum: 8})
		case 6:
			next.Crush = m.Crush.Clone()
		}
		nt := old.Next(&next)
		if nt.Map() != &next || old.Map() != m {
			t.Fatal("Map returns another map")
		}
		for i := range next.Pools {
			for s := range next.Pools[i].PGNum {
				id := PGID{next.Pools[i].ID, s}
				if diff := cmp.Diff(next.Group(id), nt.Group(id)); diff != "" {
					t.Fatalf("%s: %s", id, diff)
				}
				if !slices.Equal(next.Target(id), nt.Target(id)) {
					t.Fatalf("%s: target %v, want %v", id, nt.Target(id), next.Target(id))
				}
			}
		}
		for s, want := range before {
			if diff := cmp.Diff(want, old.Group(PGID{1, uint32(s)})); diff != "" {
				t.Fatalf("the old table changed: %s", diff)
			}
		}
	})
}

func TestTableNextShares(t *testing.T) {
	m := uniform(1, 4, 2, byHost).makeMap(t, 3, 16)
	a := NewTable(m)
	row := a.Group(PGID{1, 3})
	next := *m
	next.Epoch++
	next.Crush = m.Crush.Clone()
	b := a.Next(&next)
	if got := b.pools[0].rows[3].Load(); got == nil || &got.Members[0] != &row.Members[0] {
		t.Fatal("Next does not share rows though nothing they depend on changed")
	}
}

func TestTableConcurrent(t *testing.T) {
	m := uniform(1, 6, 2, byHost).makeMap(t, 3, 64)
	table := NewTable(m)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for s := range uint32(64) {
				id := PGID{1, s}
				if !cmp.Equal(table.Group(id), m.Group(id)) {
					t.Errorf("%s: group differs", id)
				}
			}
		})
	}
	wg.Wait()
}

func TestDoesNotDependOnOrder(t *testing.T) {
	// The same hardware with CRUSH items in another order gives the same rows.
	tp := uniform(1, 5, 3, byHost)
	rev := tp.clone()
	slices.Reverse(rev.hosts)
	a, b := tp.makeMap(t, 3, 64), rev.makeMap(t, 3, 64)
	for s := range uint32(64) {
		if diff := cmp.Diff(a.Group(PGID{1, s}), b.Group(PGID{1, s})); diff != "" {
			t.Fatalf("1.%x: %s", s, diff)
		}
	}
}

func thousand(b *testing.B) *Map {
	b.Helper()
	return uniform(10, 10, 10, byHost).makeMap(b, 3, 4096)
}

func BenchmarkTarget1000(b *testing.B) {
	m := thousand(b)
	in := newInputs(m)
	s := uint32(0)
	for b.Loop() {
		in.target(&m.Pools[0], PGID{1, s & 4095}, nil)
		s++
	}
}

func BenchmarkGroup1000(b *testing.B) {
	m := thousand(b)
	in := newInputs(m)
	r := in.reach(0)
	s := uint32(0)
	for b.Loop() {
		id := PGID{1, s & 4095}
		r.row(id, in.target(&m.Pools[0], id, nil), 24)
		s++
	}
}

func BenchmarkTableCached1000(b *testing.B) {
	t := NewTable(thousand(b))
	t.Target(PGID{1, 7})
	for b.Loop() {
		t.Target(PGID{1, 7})
	}
}

func BenchmarkTableNext1000(b *testing.B) {
	m := thousand(b)
	t := NewTable(m)
	for b.Loop() {
		t = t.Next(m)
	}
}
