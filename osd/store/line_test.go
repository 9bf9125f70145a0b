package store_test

import (
	"errors"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// A batch that fails ends its line: what is behind it must not take effect. Batches
// of another line, or of none, go on.
func TestLine(t *testing.T) {
	disk, _ := newDisk(t, store.Options{Log: quietLog()})
	sim := store.NewSim(store.SimOptions{})
	t.Cleanup(func() { sim.Close() })
	for name, s := range map[string]store.Store{"disk": disk, "sim": sim} {
		t.Run(name, func(t *testing.T) {
			defer s.Close()
			key := func(name string) store.Key {
				return store.Key{PG: placement.PGID{Pool: 1}, Name: name}
			}
			touch := func(name string) []store.Op { return []store.Op{{Kind: store.OpTouch, Key: key(name)}} }
			lost := []store.Op{{Kind: store.OpRename, Key: key("nothing"), To: key("x")}}
			var line, other store.Line
			batches := []struct {
				b    store.Batch
				want error
			}{
				{store.Batch{Ops: touch("before"), Line: &line}, nil},
				{store.Batch{Ops: lost, Line: &line}, store.ErrNotFound},
				{store.Batch{Ops: touch("behind"), Line: &line}, store.ErrNotFound},
				{store.Batch{Ops: touch("other"), Line: &other}, nil},
				{store.Batch{Ops: touch("none")}, nil},
				{store.Batch{Ops: touch("behind"), Line: &line}, store.ErrNotFound},
			}
			got := make(chan error, len(batches))
			for i := range batches { // all at once: most share a group
				s.Submit(&batches[i].b, func(err error) { got <- err })
			}
			for i, b := range batches {
				if err := <-got; !errors.Is(err, b.want) || b.want == nil && err != nil {
					t.Errorf("batch %d: %v, want %v", i, err, b.want)
				}
			}
			objs, _, err := s.List(placement.PGID{Pool: 1}, store.Objects, "", 10)
			if err != nil || len(objs) != 3 || objs[0].Name != "before" || objs[1].Name != "none" || objs[2].Name != "other" {
				t.Fatalf("objects %+v, %v; want before, none, other", objs, err)
			}
		})
	}
}
