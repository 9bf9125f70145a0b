package sim

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/cairnstore/cairn/osd/pg"
)

var onlyFlag = flag.String("sim.only", "", "measure only mutants and slips whose name this regular expression matches")

var measureFlag = flag.Int("sim.measure", 0, "say how many of the first so many seeds notice each mutant and slip")

// noticed runs a seed with a broken rule and returns what was noticed, "" for nothing. A mutant
// may run into one of the code's own checks.
func noticed(m pg.Mutant, s Slip, seed int) (what string) {
	defer func() {
		if r := recover(); r != nil {
			what = fmt.Sprint("panic: ", r)
		}
	}()
	if r := Run(Options{Seed: uint64(seed), Mutant: m, Slip: s}); len(r.Fails) > 0 {
		return r.Fails[0]
	}
	return ""
}

// broken is a rule that is broken on purpose, and how many seeds may be needed to notice.
type broken struct {
	mutant pg.Mutant
	slip   Slip
	seeds  int // four times what it took when this was written, at least
}

func (b broken) name() string {
	if b.slip != NoSlip {
		return b.slip.String()
	}
	return b.mutant.String()
}

// TestMutants breaks one rule at a time and demands that the simulation notices within so many
// seeds. Rules that chance hardly ever hits are broken in the scripts of osd/pg.
func TestMutants(t *testing.T) {
	if testing.Short() {
		return // minutes rather than seconds, if something is wrong
	}
	for _, b := range []broken{
		{mutant: pg.AcceptOldTerm, seeds: 100},
		{mutant: pg.AckEarly, seeds: 20},
		{mutant: pg.AnyEpoch, seeds: 700},
		{mutant: pg.AnyWord, seeds: 120},
		{mutant: pg.ChildWithoutLog, seeds: 60},
		{mutant: pg.CommitEarly, seeds: 20},
		{mutant: pg.CompleteEarly, seeds: 20},
		{mutant: pg.CountLearner, seeds: 60},
		{mutant: pg.DropUnion, seeds: 60},
		{mutant: pg.ForgetOutbox, seeds: 20},
		{mutant: pg.ForgetRequests, seeds: 20},
		{mutant: pg.ForgetHorizon, seeds: 500},
		{mutant: pg.ForgetTouched, seeds: 160},
		{mutant: pg.HoldRefused, seeds: 200},
		{mutant: pg.KeepTail, seeds: 300},
		{mutant: pg.OutboxAfter, seeds: 160},
		{mutant: pg.ReadUnleased, seeds: 120},
		{mutant: pg.ServeEarly, seeds: 100},
		{mutant: pg.ShrinkEarly, seeds: 20},
		{mutant: pg.UnlockedPush, seeds: 40},
		{slip: Impatient, seeds: 500},
		{slip: BlindCare, seeds: 400},
		{slip: IgnoreVoid, seeds: 60},
	} {
		t.Run(b.name(), func(t *testing.T) {
			t.Parallel()
			for seed := 1; seed <= b.seeds; seed++ {
				if what := noticed(b.mutant, b.slip, seed); what != "" {
					t.Logf("seed %d: %.150s", seed, what)
					return
				}
			}
			t.Fatalf("not noticed by seeds 1 to %d", b.seeds)
		})
	}
}

// TestMeasure is for whoever changes the simulation: is it still sharp?
func TestMeasure(t *testing.T) {
	if *measureFlag == 0 {
		return
	}
	var all []broken
	for _, m := range pg.Mutants() {
		all = append(all, broken{mutant: m})
	}
	for s := range slipNames {
		if Slip(s) != NoSlip {
			all = append(all, broken{slip: Slip(s)})
		}
	}
	for _, b := range all {
		if !regexp.MustCompile(*onlyFlag).MatchString(b.name()) {
			continue
		}
		found, first, example := 0, 0, ""
		for seed := 1; seed <= *measureFlag; seed++ {
			if what := noticed(b.mutant, b.slip, seed); what != "" {
				if found++; found == 1 {
					first, example = seed, what
				}
			}
		}
		t.Logf("%-24s %4d of %d seeds, first %4d: %.110s", b.name(), found, *measureFlag, first, example)
	}
}

// TestMutantsTable: docs/testing.md lists every mutant with who must notice it, and somebody must.
func TestMutantsTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range pg.Mutants() {
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(m.String()) + "` \\|[^|]*\\| (within \\d+ seeds)? ?\\| (yes)? ?\\|$").FindSubmatch(page)
		if row == nil {
			t.Errorf("docs/testing.md has no row for the mutant %q", m)
			continue
		}
		if len(row[1]) == 0 && len(row[2]) == 0 {
			t.Errorf("nobody must notice the mutant %q", m)
		}
	}
}
