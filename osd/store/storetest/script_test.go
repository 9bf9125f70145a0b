package storetest

import (
	"errors"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
)

// TestShrink: of a long script only the two operations are left that together fail, and
// they can be named and found again.
func TestShrink(t *testing.T) {
	steps := Script(5, 60, 10)
	broken := errors.New("broken")
	runs := 0
	// Fails when there is a rename after a truncate.
	run := func(steps []Step) error {
		runs++
		cut := false
		for _, s := range steps {
			if s.Batch == nil {
				continue
			}
			for _, op := range s.Batch.Ops {
				if op.Kind == store.OpRename && cut {
					return broken
				}
				cut = cut || op.Kind == store.OpTruncate
			}
		}
		return nil
	}
	short, err := Shrink(steps, run, 500)
	ops := 0
	for _, s := range short {
		ops += len(s.ops)
	}
	if !errors.Is(err, broken) || ops != 2 {
		t.Fatalf("%d operations left, %v; want 2\n%s", ops, err, Show(short))
	}
	again, err := only(steps, strings.Trim(numbers(short), "'"))
	if err != nil || run(again) == nil || Show(again) != Show(short) {
		t.Errorf("replayed: %v\n%s, want\n%s", err, Show(again), Show(short))
	}
	runs = 0
	if _, err := Shrink(steps, run, 3); !errors.Is(err, broken) || runs > 4 {
		t.Errorf("bounded to 3 runs: %d, %v", runs, err)
	}
	if rest, err := Shrink(steps, func([]Step) error { return nil }, 10); err != nil || len(rest) != len(steps) {
		t.Errorf("a script that does not fail: %d steps, %v", len(rest), err)
	}
	for _, bad := range []string{"x", "60", "0:999", "-1"} {
		if _, err := only(steps, bad); err == nil {
			t.Errorf("steps %q: no error", bad)
		}
	}
}
