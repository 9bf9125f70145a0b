package placement

import (
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/placement/crush"
	"pgregory.net/rapid"
)

// topo is a cluster's hardware, from which tests make maps.
type topo struct {
	hosts []topoHost
	rule  string // steps between take and emit
	class string // of the rule's take; empty for any
}

type topoHost struct {
	id   int // decides the bucket id, so that hosts keep theirs when others come and go
	rack int
	osds []topoOSD
}

type topoOSD struct {
	id       OSDID
	weight   float64 // CRUSH weight
	reweight uint32
	class    string
}

const (
	byHost = "step chooseleaf firstn 0 type host"
	byRack = "step chooseleaf firstn 0 type rack"
	byOSD  = "step choose firstn 0 type osd"
)

// clone copies a topo so that the copy can be changed.
func (tp topo) clone() topo {
	tp.hosts = append([]topoHost(nil), tp.hosts...)
	for i := range tp.hosts {
		tp.hosts[i].osds = append([]topoOSD(nil), tp.hosts[i].osds...)
	}
	return tp
}

// each calls f for each OSD.
func (tp topo) each(f func(h topoHost, o topoOSD)) {
	for _, h := range tp.hosts {
		for _, o := range h.osds {
			f(h, o)
		}
	}
}

// text writes the topology in CRUSH's language.
func (tp topo) text() string {
	var b strings.Builder
	b.WriteString("tunable choose_local_tries 0\ntunable choose_local_fallback_tries 0\ntunable choose_total_tries 100\n" +
		"tunable chooseleaf_descend_once 1\ntunable chooseleaf_vary_r 1\ntunable chooseleaf_stable 1\ntunable straw_calc_version 1\n")
	tp.each(func(_ topoHost, o topoOSD) {
		fmt.Fprintf(&b, "device %d osd.%d class %s\n", o.id, o.id, o.class)
	})
	b.WriteString("type 0 osd\ntype 1 host\ntype 2 rack\ntype 3 root\n")
	racks := map[int]string{}
	weights := map[int]float64{}
	last := 0
	for _, h := range tp.hosts {
		fmt.Fprintf(&b, "host host%d {\n\tid -%d\n\talg straw2\n\thash 0\n", h.id, 1000+h.id)
		sum := 0.0
		for _, o := range h.osds {
			fmt.Fprintf(&b, "\titem osd.%d weight %.5f\n", o.id, o.weight)
			sum += o.weight
		}
		b.WriteString("}\n")
		racks[h.rack] += fmt.Sprintf("\titem host%d weight %.5f\n", h.id, sum)
		weights[h.rack] += sum
		last = max(last, h.rack)
	}
	root := ""
	for r := range last + 1 {
		if racks[r] != "" {
			fmt.Fprintf(&b, "rack rack%d {\n\tid -%d\n\talg straw2\n\thash 0\n%s}\n", r, 100+r, racks[r])
			root += fmt.Sprintf("\titem rack%d weight %.5f\n", r, weights[r])
		}
	}
	fmt.Fprintf(&b, "root default {\n\tid -1\n\talg straw2\n\thash 0\n%s}\n", root)
	take := "default"
	if tp.class != "" {
		take += " class " + tp.class
	}
	fmt.Fprintf(&b, "rule data {\n\tid 0\n\ttype replicated\n\tstep take %s\n\t%s\n\tstep emit\n}\n", take, tp.rule)
	return b.String()
}

// fataler is what makes a map need from a test; *testing.T and *rapid.T have it.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// makeMap builds a map of the topology with one pool.
func (tp topo) makeMap(t fataler, size, pgs uint32) *Map {
	t.Helper()
	cm, err := crush.Parse(tp.text())
	if err != nil {
		t.Fatalf("topology: %v\n%s", err, tp.text())
	}
	m := &Map{Epoch: 1, Crush: cm, NextPool: 2}
	byID := map[OSDID]topoOSD{}
	tp.each(func(_ topoHost, o topoOSD) {
		byID[o.id] = o
		m.NextOSD = max(m.NextOSD, o.id+1)
	})
	for id := range m.NextOSD {
		if o, ok := byID[id]; ok {
			m.OSDs = append(m.OSDs, OSD{ID: id, Weight: o.reweight, Class: o.class, Up: true})
		}
	}
	m.Pools = []Pool{{ID: 1, Name: "p", Size: size, MinSize: 1, PGNum: pgs, PGNumTarget: pgs, FirstPGNum: pgs}}
	m.PGs = []PoolPGs{{Pool: 1, Records: make([]PGRecord, pgs)}}
	for i := range m.PGs[0].Records {
		m.PGs[0].Records[i].Primary = NoOSD
	}
	return m
}

// domain returns a function from OSD to the failure domain the rule spreads over.
func (tp topo) domain() func(OSDID) int {
	of := map[OSDID]int{}
	tp.each(func(h topoHost, o topoOSD) {
		switch {
		case strings.HasSuffix(tp.rule, "type host"):
			of[o.id] = h.id
		case strings.HasSuffix(tp.rule, "type rack"):
			of[o.id] = h.rack
		default:
			of[o.id] = int(o.id)
		}
	})
	return func(id OSDID) int { return of[id] }
}

// uniform returns racks*hosts*osds equal OSDs with ids in order.
func uniform(racks, hosts, osds int, rule string) topo {
	tp := topo{rule: rule}
	id := OSDID(0)
	for h := range racks * hosts {
		th := topoHost{id: h, rack: h % racks}
		for range osds {
			th.osds = append(th.osds, topoOSD{id: id, weight: 1, reweight: WeightOne, class: "ssd"})
			id++
		}
		tp.hosts = append(tp.hosts, th)
	}
	return tp
}

// drawTopo draws a topology: up to 12 hosts in up to 5 racks with up to 6 OSDs
// each, unequal weights, gaps in the ids, some OSDs out or partly out.
func drawTopo(t *rapid.T) topo {
	tp := topo{rule: rapid.SampledFrom([]string{byHost, byHost, byRack, byOSD}).Draw(t, "rule")}
	if rapid.IntRange(0, 3).Draw(t, "by class") == 0 {
		tp.class = "ssd"
	}
	racks := rapid.IntRange(1, 5).Draw(t, "racks")
	id := OSDID(0)
	for h := range rapid.IntRange(1, 12).Draw(t, "hosts") {
		th := topoHost{id: h, rack: rapid.IntRange(0, racks-1).Draw(t, "rack")}
		for range rapid.IntRange(1, 6).Draw(t, "osds") {
			th.osds = append(th.osds, drawOSD(t, id))
			id += OSDID(rapid.SampledFrom([]int{1, 1, 1, 3}).Draw(t, "gap"))
		}
		tp.hosts = append(tp.hosts, th)
	}
	if tp.class != "" { // the class must exist for the rule to be valid
		tp.hosts[0].osds[0].class = tp.class
	}
	return tp
}

func drawOSD(t *rapid.T, id OSDID) topoOSD {
	return topoOSD{
		id:       id,
		weight:   rapid.SampledFrom([]float64{1, 1, 1, 2, 4, 0.5}).Draw(t, "weight"),
		reweight: rapid.SampledFrom([]uint32{WeightOne, WeightOne, WeightOne, WeightOne, WeightOne / 2, 0}).Draw(t, "reweight"),
		class:    rapid.SampledFrom([]string{"ssd", "ssd", "hdd"}).Draw(t, "class"),
	}
}
