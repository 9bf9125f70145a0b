package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// generator makes one random map, in text, with what to ask of it.
type generator struct {
	rnd        *rand.Rand
	kind       string
	out        strings.Builder
	nextID     int
	classes    []string
	reweights  []float64 // by device
	replicas   []int
	spread     int  // how unequal weights are
	comparable bool // crushtool's decompiled text should equal ours
}

func newGenerator(seed uint64, kind string) *generator {
	g := &generator{rnd: rand.New(rand.NewPCG(seed, 0xc4a5)), kind: kind, comparable: true}

	// crushtool 16 makes no shadow trees at all of a map with a uniform bucket, and fills
	// the inner nodes of a tree bucket's shadow from uninitialised memory, so that
	// two runs disagree: there is nothing to compare with.
	if kind == "straw2" || kind == "list" || kind == "straw" {
		g.classes = []string{"hdd", "ssd", "nvme"}[:g.rnd.IntN(4)]
	}
	g.spread = g.rnd.IntN(4)
	g.replicas = []int{1 + g.rnd.IntN(3), 3 + g.rnd.IntN(6)}
	return g
}

func (g *generator) alg() string {
	switch g.kind {
	case "any":
		return []string{"uniform", "list", "tree", "straw", "straw2"}[g.rnd.IntN(5)]
	default:
		return g.kind
	}
}

func (g *generator) printf(format string, args ...any) { fmt.Fprintf(&g.out, format, args...) }

func (g *generator) tunables() {
	t := []int{0, 0, 50, 1, 1, 1, 1}
	switch g.rnd.IntN(3) {
	case 0: // legacy
		t = []int{2, 5, 19, 0, 0, 0, 0}
	case 1:
		t = []int{g.rnd.IntN(4), g.rnd.IntN(4), 5 + g.rnd.IntN(60), g.rnd.IntN(2), g.rnd.IntN(4), g.rnd.IntN(2), g.rnd.IntN(2)}
	}
	for i, name := range []string{
		"choose_local_tries", "choose_local_fallback_tries", "choose_total_tries", "chooseleaf_descend_once",
		"chooseleaf_vary_r", "chooseleaf_stable", "straw_calc_version",
	} {
		g.printf("tunable %s %d\n", name, t[i])
	}
	g.printf("tunable allowed_bucket_algs 62\n")
}

// weight is uneven unless the map wants equal weights.
func (g *generator) weight(even bool) string {
	switch {
	case even:
		return "1.000"
	case g.rnd.IntN(12) == 0:
		return "0.000"
	}
	switch g.spread {
	case 0:
		return fmt.Sprintf("%.3f", 0.05+g.rnd.Float64()*8)
	case 1: // widely different, which straw lengths are sensitive to
		return fmt.Sprintf("%.3f", 0.001+99.9*math.Pow(g.rnd.Float64(), 6))
	}
	g.comparable = false // crushtool prints three digits only
	return fmt.Sprintf("%.5f", 0.00002+99*math.Pow(g.rnd.Float64(), 3))
}

type item struct {
	name, weight string
}

func (g *generator) bucket(typ, name string, items []item) item {
	alg := g.alg()
	if alg == "uniform" && (len(items) == 0 || items[0].weight == "0.000") {
		alg = "list" // crushtool aborts on a uniform bucket without weight
	}
	g.printf("%s %s {\n", typ, name)
	if g.rnd.IntN(3) > 0 {
		g.nextID--
		g.printf("\tid %d\n", g.nextID)
		for _, c := range g.classes {
			if g.rnd.IntN(3) == 0 {
				g.nextID--
				g.printf("\tid %d class %s\n", g.nextID, c)
			}
		}
	}
	g.printf("\talg %s\n\thash 0\n", alg)
	for _, it := range items {
		w := it.weight
		if alg == "uniform" {
			w = items[0].weight
		}
		g.printf("\titem %s weight %s\n", it.name, w)
	}
	g.printf("}\n")
	return item{name: name, weight: g.weight(false)}
}

func (g *generator) mapText() string {
	g.tunables()
	hosts, perHost, racks := 3+g.rnd.IntN(8), 1+g.rnd.IntN(6), 1+g.rnd.IntN(4)
	if g.rnd.IntN(10) == 0 {
		hosts, perHost = hosts*4, perHost*4
	}
	devices := hosts * perHost
	for i := range devices {
		class := ""
		if len(g.classes) > 0 && g.rnd.IntN(8) > 0 {
			class = " class " + g.classes[g.rnd.IntN(len(g.classes))]
		}
		g.printf("device %d osd.%d%s\n", i, i, class)
		w := 1.0
		switch g.rnd.IntN(10) {
		case 0:
			w = 0
		case 1:
			w = float64(1+g.rnd.IntN(15)) / 16
		}
		g.reweights = append(g.reweights, w)
	}
	g.printf("type 0 osd\ntype 1 host\ntype 3 rack\ntype 11 root\n")
	even := g.rnd.IntN(3) == 0
	var hostItems []item
	for h := range hosts {
		var items []item
		for d := range perHost {
			items = append(items, item{name: fmt.Sprintf("osd.%d", h*perHost+d), weight: g.weight(even)})
		}
		hostItems = append(hostItems, g.bucket("host", fmt.Sprintf("h%d", h), items))
	}
	var rackItems []item
	for r := range racks {
		var items []item
		for i := r; i < len(hostItems); i += racks {
			items = append(items, hostItems[i])
		}
		rackItems = append(rackItems, g.bucket("rack", fmt.Sprintf("r%d", r), items))
	}
	g.bucket("root", "default", rackItems)
	if g.rnd.IntN(3) == 0 { // a second root over the same hosts
		g.bucket("root", "flat", hostItems)
	}
	g.rules()
	return g.out.String()
}

func (g *generator) rules() {
	for id := range 6 {
		take := "default"
		if len(g.classes) > 0 && g.rnd.IntN(2) == 0 {
			take += " class " + g.classes[g.rnd.IntN(len(g.classes))]
		}
		mode, typ := "firstn", "replicated"
		if g.rnd.IntN(2) == 0 {
			mode, typ = "indep", "erasure"
		}
		g.printf("rule r%d {\n\tid %d\n\ttype %s\n\tmin_size 1\n\tmax_size 20\n", id, id, typ)
		for _, set := range []string{
			"set_choose_tries", "set_chooseleaf_tries", "set_choose_local_tries",
			"set_choose_local_fallback_tries", "set_chooseleaf_vary_r", "set_chooseleaf_stable",
		} {
			if g.rnd.IntN(6) == 0 {
				limit := 40
				if strings.HasSuffix(set, "_r") {
					limit = 4
				} else if strings.HasSuffix(set, "stable") {
					limit = 2
				}
				g.printf("\tstep %s %d\n", set, g.rnd.IntN(limit))
			}
		}
		g.printf("\tstep take %s\n", take)
		switch g.rnd.IntN(5) {
		case 0:
			g.printf("\tstep choose %s 0 type osd\n", mode)
		case 1:
			g.printf("\tstep chooseleaf %s 0 type rack\n", mode)
		case 2:
			g.printf("\tstep choose %s %d type rack\n\tstep chooseleaf %s %d type host\n", mode, 1+g.rnd.IntN(3), mode, 1+g.rnd.IntN(3))
		case 3:
			g.printf("\tstep choose %s -1 type host\n\tstep choose %s 1 type osd\n\tstep emit\n\tstep take default\n\tstep chooseleaf firstn 1 type rack\n", mode, mode)
		default:
			g.printf("\tstep chooseleaf %s 0 type host\n", mode)
		}
		g.printf("\tstep emit\n}\n")
	}
}
