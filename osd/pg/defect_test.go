package pg_test

import (
	"flag"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/osd/pg"
)

var measureFlag = flag.Int("pg.measure", 0, "say how many of the first so many seeds notice each defect")

// ofTheDriver are rules that the driver keeps, not the group.
var ofTheDriver = map[string]func(*world){
	"deliver before the map":       func(w *world) { w.eager = true },
	"lead at once after a restart": func(w *world) { w.impatient = true },
	"tell leases of maps late":     func(w *world) { w.lateEpoch = true },
}

func mutant(name string) func(*world) {
	if tune := ofTheDriver[name]; tune != nil {
		return tune
	}
	return func(w *world) { w.cfg.SetDefect(name) }
}

func TestMeasureDefects(t *testing.T) {
	if *measureFlag == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(pg.Defects))
	names = append(names, slices.Sorted(maps.Keys(ofTheDriver))...)
	if only := os.Getenv("DEFECT"); only != "" {
		names = []string{only}
	}
	for _, name := range names {
		found, first, why := 0, 0, ""
		for seed := 1; seed <= *measureFlag; seed++ {
			func() {
				defer func() {
					if r := recover(); r != nil {
						found++
						if first == 0 {
							first, why = seed, "panic"
						}
					}
				}()
				if o := runSeed(t, uint64(seed), false, mutant(name)); len(o.fails) > 0 {
					found++
					if first == 0 {
						first, why = seed, o.fails[0]
					}
				}
			}()
		}
		if len(why) > 150 {
			why = why[:150]
		}
		t.Logf("%-30s %4d of %d, first %d: %s", name, found, *measureFlag, first, why)
	}
}
