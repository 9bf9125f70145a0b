package wirepb_test

import (
	"reflect"
	"testing"

	"github.com/cairnstore/cairn/internal/chunk/report"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// fill gives each field of a struct another value, times n.
func fill(p any, n int64) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(n * int64(i+1))
	}
}

// TestChunkCounts: no figure is left out on the wire, nor when they are added.
func TestChunkCounts(t *testing.T) {
	var w, w3 report.ChunkWork
	fill(&w, 1)
	fill(&w3, 3)
	if got := wirepb.ChunkWorkOf(w).Counts(); got != w {
		t.Errorf("%+v came as %+v", w, got)
	}
	sum := w
	sum.Add(w)
	sum.Add(w)
	if sum != w3 {
		t.Errorf("three times %+v is %+v", w, sum)
	}
	if got := w3.Since(w3); got != (report.ChunkWork{}) {
		t.Errorf("nothing since is %+v", got)
	}
	var s, s2 report.ChunkStat
	fill(&s, 1)
	fill(&s2, 2)
	m := &wirepb.ChunkStat{}
	if m.SetCounts(s); m.Counts() != s {
		t.Errorf("%+v came as %+v", s, m.Counts())
	}
	if sum := s; true {
		if sum.Add(s); sum != s2 {
			t.Errorf("twice %+v is %+v", s, sum)
		}
	}
}
