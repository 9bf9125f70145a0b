package main

import (
	"strconv"
	"testing"
)

// TestStoredName: every name that list prints can be given, and plain ones as they are.
func TestStoredName(t *testing.T) {
	for _, name := range []string{"a", `"`, `"a`, `a"b`, "\x00o\x00\x00\x00\x01a", "\xff\xfe", `"quoted"`} {
		if got := storedName(strconv.Quote(name)); got != name {
			t.Errorf("%q in quotes became %q", name, got)
		}
	}
	for _, name := range []string{"a", `"`, `"a`, `a"b`, `"a" "b"`} {
		if got := storedName(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
}
