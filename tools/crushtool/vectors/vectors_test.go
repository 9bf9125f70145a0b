package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/placement/crush"
)

// TestGenerator: the seed determines the map, and every map is one that Parse accepts.
func TestGenerator(t *testing.T) {
	for _, kind := range []string{"straw2", "list", "tree", "uniform", "straw", "any"} {
		for seed := range uint64(50) {
			text := newGenerator(seed, kind).mapText()
			if newGenerator(seed, kind).mapText() != text {
				t.Fatalf("seed %d kind %s makes two different maps", seed, kind)
			}
			m, err := crush.Parse(text)
			if err != nil {
				t.Fatalf("seed %d kind %s: %v", seed, kind, err)
			}
			if len(m.Rules) != 6 {
				t.Errorf("seed %d kind %s has %d rules, want 6", seed, kind, len(m.Rules))
			}
		}
	}
}

func TestRunErrors(t *testing.T) {
	var out bytes.Buffer
	o := options{Crushtool: "/nonexistent/crushtool", Seed: 7, Maps: 1, Inputs: 1, Kind: "any"}
	if err := run(context.Background(), o, &out); err == nil || !strings.Contains(err.Error(), "seed 7") || !strings.Contains(err.Error(), "/nonexistent/crushtool") {
		t.Errorf("without crushtool: %v", err)
	}
	o.Write = t.TempDir()
	if err := run(context.Background(), o, &out); err == nil || !strings.Contains(err.Error(), "-name") {
		t.Errorf("-write without -name: %v", err)
	}
}

func TestFirstDifference(t *testing.T) {
	if got := firstDifference("a\nb", "a\nc"); !strings.Contains(got, `line 2: got "b", want "c"`) {
		t.Error(got)
	}
	if got := firstDifference("a", "a\nc"); !strings.Contains(got, "got 1 lines, want 2") {
		t.Error(got)
	}
}
