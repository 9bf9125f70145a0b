package shrink

import (
	"slices"
	"testing"
)

func TestList(t *testing.T) {
	for n := range 9 {
		list := make([]int, n)
		for i := range list {
			list[i] = i
		}
		for a := range list {
			for b := range a + 1 {
				got := List(list, 1000, func(p []int) bool { return slices.Contains(p, a) && slices.Contains(p, b) })
				if !slices.Contains(got, a) || !slices.Contains(got, b) || len(got) > 2 || len(got) > 1 && a == b {
					t.Errorf("of %d, what fails with %d and %d: got %v", n, a, b, got)
				}
			}
		}
		runs := 0
		if got := List(list, 3, func([]int) bool { runs++; return false }); len(got) != n || runs > 3 {
			t.Errorf("what never fails: %v, %d runs", got, runs)
		}
		if got := List(list, 1000, func([]int) bool { return true }); len(got) != 0 {
			t.Errorf("what always fails: %v", got)
		}
	}
}
