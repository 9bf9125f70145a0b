package pg_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// TestLearnLongLog: a log whose kept results are larger than a batch of the store
// may be is learnt all the same. (The store would have refused the batch, and the
// OSD would have stopped.)
func TestLearnLongLog(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	cfg := pg.Config{Self: 2, Leases: pg.NewLeases(1, time.Second)}
	id := placement.PGID{Pool: 1}
	g, err := pg.New(cfg, id, st)
	if err != nil {
		t.Fatal(err)
	}
	var answers []*wirepb.PGMsg
	step := func(ev pg.Event) {
		t.Helper()
		events := []pg.Event{ev}
		for len(events) > 0 {
			fx := g.Step(clock.Mono(time.Second), events[0])
			events = events[1:]
			for _, p := range fx.Persist {
				if err := store.Apply(st, &store.Batch{Ops: p.Ops}); err != nil {
					t.Fatalf("batch of %d operations: %v", len(p.Ops), err)
				}
				events = append(events, pg.PersistedEvent{ID: p.ID})
			}
			for _, o := range fx.Send {
				answers = append(answers, o.Msg)
			}
		}
	}
	step(pg.MapEvent{View: pg.View{
		Epoch: 5, Exists: true, Size: 3, MinSize: 2, Target: []placement.OSDID{0, 1, 2},
		Record: placement.PGRecord{Term: 3, Version: 4, Primary: 0, InSync: []placement.OSDID{0, 1}, Created: true},
		Peers:  map[placement.OSDID]pg.Peer{0: {Up: true}, 1: {Up: true}, 2: {Up: true}},
	}})
	msg := func(n uint64) *wirepb.PGMsg { return &wirepb.PGMsg{Pool: 1, From: 0, Term: 3, Stream: 1, N: n} }
	q := msg(1)
	q.Body = &wirepb.PGMsg_Query{Query: &wirepb.PGQuery{}}
	step(pg.MsgEvent{From: 0, Msg: q})
	learn := &wirepb.PGLearn{Reset_: true, Keep: &wirepb.Position{Term: 1, Seq: 100}, Committed: &wirepb.Position{Term: 3, Seq: 2100}}
	for i := range 2000 {
		learn.Entries = append(learn.Entries, &wirepb.LogEntry{
			Pos: &wirepb.Position{Term: 3, Seq: uint64(101 + i)}, Object: []byte("o"), Result: bytes.Repeat([]byte{1}, 16<<10),
		})
	}
	l := msg(2)
	l.Body = &wirepb.PGMsg_Learn{Learn: learn}
	step(pg.MsgEvent{From: 0, Msg: l})
	if n := len(answers); n != 2 || answers[1].GetLearned() == nil {
		t.Fatalf("answers: %v", answers)
	}
	again, err := pg.New(cfg, id, st)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Query(0); got.Head != "3'2100" || got.Tail != "1'100" || got.Complete {
		t.Fatalf("after a restart: %+v", got)
	}
}
