package pg_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/cairnstore/cairn/osd/pg"
)

var measureFlag = flag.Int("pg.measure", 0, "say how many of the first so many seeds notice each defect")

func mutantNamed(name string) pg.Mutant {
	for _, m := range pg.Mutants() {
		if m.String() == name {
			return m
		}
	}
	panic("no mutant " + name)
}

// mutant makes a world whose groups have a defect.
func mutant(name string) func(*world) {
	return func(w *world) { w.cfg.Mutant = mutantNamed(name) }
}

// notice runs a seed with a defect and returns what was noticed, "" for nothing. A mutant may
// run into one of the code's own checks.
func notice(t *testing.T, name string, seed int) (what string) {
	defer func() {
		if r := recover(); r != nil {
			what = fmt.Sprint(r)
		}
	}()
	if o := runSeed(t, uint64(seed), false, mutant(name)); len(o.fails) > 0 {
		return o.fails[0]
	}
	return ""
}

// TestDefectsInSimulation breaks one rule at a time and demands that the simulation
// notices within so many seeds: four times what it took when this was written, at
// least. Defects that chance hardly ever hits are played in TestDefectsInScripts.
func TestDefectsInSimulation(t *testing.T) {
	if testing.Short() {
		return // minutes rather than seconds, if something is wrong
	}
	for _, c := range []struct {
		name string
		max  int
	}{
		{"ack early", 10},
		{"any epoch", 400},
		{"commit early", 10},
		{"complete early", 20},
		{"count a learner", 40},
		{"drop the union", 80},
		{"forget requests", 10},
		{"forget the horizon", 300},
		{"read unleased", 300},
		{"shrink early", 20},
		{"unlocked push", 100},
		{"wait for the dead", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := 1; seed <= c.max; seed++ {
				if what := notice(t, c.name, seed); what != "" {
					t.Logf("seed %d: %.150s", seed, what)
					return
				}
			}
			t.Fatalf("not noticed by seeds 1 to %d", c.max)
		})
	}
}

// TestMeasureDefects is for whoever changes the simulation: is it still sharp?
func TestMeasureDefects(t *testing.T) {
	if *measureFlag == 0 {
		return
	}
	for _, m := range pg.Mutants() {
		name := m.String()
		found, first := 0, 0
		for seed := 1; seed <= *measureFlag; seed++ {
			if what := notice(t, name, seed); what != "" {
				if found++; found == 1 {
					first = seed
				}
			}
		}
		t.Logf("%-24s %4d of %d seeds, first %d", name, found, *measureFlag, first)
	}
}
