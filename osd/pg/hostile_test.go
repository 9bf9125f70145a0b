package pg

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// strange draws what peers do not send: limits passed, fields missing, numbers that wrap.
type strange struct{ *rand.Rand }

func (r strange) num() uint64 {
	all := []uint64{0, 1, 2, 3, 7, 100, store.MaxObjectBytes, store.MaxObjectBytes + 1, math.MaxInt64, math.MaxUint64 - 1, math.MaxUint64}
	return all[r.IntN(len(all))]
}

func (r strange) bytes() []byte {
	all := []int{0, 1, 1, 1, 3, store.MaxNameBytes, store.MaxNameBytes + 1, store.MaxKeyBytes + 1, store.MaxValueBytes + 1}
	b := make([]byte, all[r.IntN(len(all))])
	if len(b) > 0 {
		b[0] = "abc"[r.IntN(3)]
	}
	return b
}

func (r strange) pos() *wirepb.Position {
	if r.IntN(8) == 0 {
		return nil
	}
	return &wirepb.Position{Term: uint32(r.IntN(4)), Seq: uint64(r.IntN(6))}
}

func (r strange) entry() *wirepb.LogEntry {
	return &wirepb.LogEntry{Pos: r.pos(), Object: r.bytes(), Req: &wirepb.ReqID{Client: 1, Seq: uint64(r.IntN(3))}, Result: r.bytes()}
}

func (r strange) body(head store.Version, pushed uint64) any {
	next := &wirepb.LogEntry{Pos: &wirepb.Position{Term: 3, Seq: head.Seq + 1}, Object: r.bytes(), Result: r.bytes()}
	entries := []*wirepb.LogEntry{r.entry(), r.entry()}[:r.IntN(3)]
	if r.IntN(2) == 0 {
		entries = []*wirepb.LogEntry{next}
	}
	keep := r.pos()
	if r.IntN(2) == 0 {
		keep = toPos(head)
	}
	switch r.IntN(10) {
	case 0:
		return &wirepb.PGMsg_Query{Query: &wirepb.PGQuery{}}
	case 1:
		return &wirepb.PGMsg_Activate{Activate: &wirepb.PGActivate{Keep: keep, Entries: entries, Committed: r.pos(), Staged: [][]byte{r.bytes(), []byte("a"), []byte("a")}[:r.IntN(4)]}}
	case 2, 3, 4:
		var ms []*wirepb.Mutation
		for range r.IntN(3) {
			ms = append(ms, &wirepb.Mutation{Kind: uint32(r.IntN(16)), Off: r.num(), Len: r.num(), Name: r.bytes(), Value: r.bytes(), End: r.bytes(), DataOff: r.num(), DataLen: r.num()})
		}
		return &wirepb.PGMsg_Replicate{Replicate: &wirepb.PGReplicate{Prev: keep, Entry: next, Committed: r.pos(), NoData: r.IntN(4) == 0, Mutations: ms}}
	case 5, 6:
		return &wirepb.PGMsg_Push{Push: &wirepb.PGPush{Id: pushed, Object: r.bytes(), Staged: r.IntN(2) == 0, Remove: r.IntN(4) == 0, Version: r.pos(),
			Off: r.num(), First: r.IntN(2) == 0, Last: r.IntN(2) == 0, Size: r.num(), Mtime: -1,
			Attrs: []*wirepb.KV{{Key: r.bytes(), Value: r.bytes()}}[:r.IntN(2)], Omap: []*wirepb.KV{{Key: r.bytes(), Value: r.bytes()}}[:r.IntN(2)]}}
	case 7:
		return &wirepb.PGMsg_Learn{Learn: &wirepb.PGLearn{Reset_: r.IntN(2) == 0, Keep: keep, Entries: entries, Committed: r.pos(), Horizon: -1}}
	case 8:
		return &wirepb.PGMsg_Complete{Complete: &wirepb.PGComplete{Pos: r.pos()}}
	}
	return &wirepb.PGMsg_Scan{Scan: &wirepb.PGScan{After: r.bytes(), Limit: uint32(r.num())}}
}

// TestHostilePrimary: a follower takes whatever may arrive without a panic, and nothing that its
// store would refuse, since that would stop the OSD.
func TestHostilePrimary(t *testing.T) {
	for seed := range uint64(40) {
		r := strange{rand.New(rand.NewPCG(seed, 1))}
		st := store.NewSim(store.SimOptions{Manual: true})
		g, err := New(Config{Self: 2, Leases: NewLeases(1, time.Second), LogMax: 4, LogKeep: -1}, castPG, st)
		if err != nil {
			t.Fatal(err)
		}
		var stream, n uint64
		step := func(ev Event) {
			for evs := []Event{ev}; len(evs) > 0; evs = evs[1:] {
				fx := g.Step(clock.Mono(time.Hour), evs[0])
				for _, p := range fx.Persist {
					st.Submit(&store.Batch{Ops: p.Ops}, func(err error) {
						if errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrNotFound) {
							t.Errorf("seed %d: a batch was refused: %v, after %T", seed, err, ev)
						}
						evs = append(evs, PersistedEvent{ID: p.ID, Err: err})
					})
					st.Flush()
				}
				for _, l := range fx.List {
					objs, more, err := st.List(castPG, store.Objects, l.After, l.Limit)
					evs = append(evs, ListedEvent{Token: l.Token, Objects: objs, More: more, Err: err})
				}
				for _, o := range fx.Send {
					if o.Msg.GetReject() != nil {
						stream = 0
					}
				}
			}
		}
		view := View{Epoch: 1, Exists: true, Size: 3, MinSize: 2, Target: ids(0, 1, 2),
			Record: placement.PGRecord{Term: 3, Version: 1, Primary: 0, InSync: ids(0, 1), Created: true},
			Peers:  map[placement.OSDID]Peer{0: {Up: true}, 1: {Up: true}, 2: {Up: true}}}
		if seed%2 == 0 {
			view.Record.InSync = ids(0, 1, 2)
		}
		step(MapEvent{View: view})
		for i := range 60 {
			body := r.body(g.log.head(), uint64(i))
			_, query := body.(*wirepb.PGMsg_Query)
			if stream == 0 || query {
				stream, n = g.fol.stream+1, 0
				body = &wirepb.PGMsg_Query{Query: &wirepb.PGQuery{}}
			}
			n++
			m := &wirepb.PGMsg{Pool: 1, From: 0, Term: 3, Stream: stream, N: n}
			setBody(m, body)
			if step(MsgEvent{From: 0, Msg: m, Payload: r.bytes()}); t.Failed() {
				return
			}
		}
		if _, err := New(Config{Self: 2, Leases: NewLeases(1, time.Second)}, castPG, st); err != nil {
			t.Fatalf("seed %d: it cannot be loaded again: %v", seed, err)
		}
	}
}

// TestHostilePeer: nor does a primary mind what its peers say.
func TestHostilePeer(t *testing.T) {
	for seed := range uint64(60) {
		r := strange{rand.New(rand.NewPCG(seed, 2))}
		c := active(t, 3, smallLog)
		for i := range 12 {
			c.mustWrite(0, string(rune('a'+i%3)), "x")
		}
		c.cut[[2]placement.OSDID{2, 0}] = true
		c.a(0).step(ResetEvent{Peer: 2})
		c.pass(100 * time.Millisecond)
		var n uint64
		for range 30 {
			p := c.peer(0, 2)
			if p == nil {
				break
			}
			if p.nIn == 0 {
				n = 0
			}
			n++
			m := &wirepb.PGMsg{Pool: 1, From: 2, Term: 1, Stream: p.stream, N: n}
			switch r.IntN(7) {
			case 0, 1:
				setBody(m, &wirepb.PGMsg_Info{Info: &wirepb.PGInfo{Exists: r.IntN(2) == 0, Head: r.pos(), Tail: r.pos(), Committed: r.pos(), CompleteTo: r.pos(),
					Entries: []*wirepb.LogEntry{r.entry(), r.entry()}[:r.IntN(3)]}})
			case 2:
				setBody(m, &wirepb.PGMsg_Activated{Activated: &wirepb.PGActivated{}})
			case 3:
				setBody(m, &wirepb.PGMsg_Acked{Acked: &wirepb.PGAcked{Pos: &wirepb.Position{Term: 1, Seq: r.num()}}})
			case 4:
				setBody(m, &wirepb.PGMsg_Pushed{Pushed: &wirepb.PGPushed{Id: r.num(), Object: r.bytes()}})
			case 5:
				setBody(m, &wirepb.PGMsg_Scanned{Scanned: &wirepb.PGScanned{End: r.IntN(2) == 0, Objects: []*wirepb.ObjectVersion{{Object: r.bytes(), Version: r.pos()}}}})
			case 6:
				setBody(m, &wirepb.PGMsg_Completed{Completed: &wirepb.PGCompleted{Pos: r.pos()}})
			}
			c.a(0).step(MsgEvent{From: 2, Msg: m})
			c.govern(60 * time.Millisecond)
		}
	}
}
