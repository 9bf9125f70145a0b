package osd

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

type careFake []*wirepb.ChunkStat

func (c careFake) Report() ([]*wirepb.ChunkStat, *wirepb.ChunkWork) { return c, nil }

func (c careFake) Ask(context.Context, *wirepb.ChunkCare) (any, error) { return c, nil }

// What the care for chunks found is in the OSD's report, and told at once when it changes.
func TestCareIsReported(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	d := start(t, options(st, newStage(t)))
	before := d.report()
	if len(before.Chunks) != 0 {
		t.Fatalf("an OSD without care reports %v", before.Chunks)
	}
	found := &wirepb.ChunkStat{Pool: 1, Pgs: 2, Looked: 1, Chunks: 10, Lacking: 3}
	d.SetCare(careFake{found})
	after := d.report()
	if len(after.Chunks) != 1 || !proto.Equal(after.Chunks[0], found) {
		t.Fatalf("reports %v, want %v", after.Chunks, found)
	}
	if sameReport(before, after) {
		t.Error("the news waits")
	}
	d.SetCare(careFake{proto.Clone(found).(*wirepb.ChunkStat)})
	if !slices.EqualFunc(after.Chunks, d.report().Chunks, sameChunks) { // PGs may have news of their own
		t.Error("equal reports are sent again")
	}
}
