// Package shrink makes lists that fail a test short: delta debugging. It knows nothing of
// stores, so that the tests of the package store itself can use it.
package shrink

import "slices"

// List leaves out parts of list, halves first, then ever smaller ones, down to single
// items, as long as the rest fails. It calls fails runs times at most, and returns the
// shortest list that failed; list itself is expected to fail.
func List[T any](list []T, runs int, fails func([]T) bool) []T {
	for n := (len(list) + 1) / 2; len(list) > 0; {
		cut := false
		for from := 0; from < len(list); {
			try := slices.Concat(list[:from], list[min(from+n, len(list)):])
			if runs--; runs < 0 {
				return list
			}
			if fails(try) {
				list, cut = try, true
			} else {
				from += n
			}
		}
		if n == 1 && !cut {
			return list
		}
		if !cut || n > len(list) {
			n = max(1, (min(n, len(list))+1)/2)
			if n == 1 && len(list) < 2 && cut {
				return list
			}
		}
	}
	return list
}
