package wire

import (
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// someHeader makes a header of one of the kinds for which roomFor has memory, or of another.
func someHeader(rng *rand.Rand) *wirepb.Header {
	maybe := func() bool { return rng.IntN(3) > 0 }
	word := func() []byte { return []byte("abcdefgh")[:rng.IntN(9)] }
	pos := func() *wirepb.Position {
		if !maybe() {
			return nil
		}
		return &wirepb.Position{Term: rng.Uint32N(3), Seq: rng.Uint64N(3)}
	}
	req := func() *wirepb.ReqID {
		if !maybe() {
			return nil
		}
		return &wirepb.ReqID{Client: rng.Uint64N(2), Seq: rng.Uint64N(2)}
	}
	h := &wirepb.Header{Epoch: rng.Uint64N(2), Tag: rng.Uint64N(2), Error: string(word())}
	p := &wirepb.PGMsg{Pool: 1, Stream: rng.Uint64N(3), N: rng.Uint64N(300)}
	switch rng.IntN(7) {
	case 0:
		op := &wirepb.OpRequest{Pool: 1, Object: word(), Req: req()}
		for range rng.IntN(4) {
			op.Ops = append(op.Ops, &wirepb.ObjOp{Kind: wirepb.OpKind_WRITE, Name: word(), DataLen: rng.Uint64N(300)})
		}
		h.Body = &wirepb.Header_Op{Op: op}
	case 1:
		r := &wirepb.OpReply{Version: rng.Uint64N(2)}
		for range rng.IntN(4) {
			r.Results = append(r.Results, &wirepb.ObjResult{Value: word(), Size: rng.Uint64N(2)})
		}
		h.Body = &wirepb.Header_OpReply{OpReply: r}
	case 2:
		h.Body = &wirepb.Header_Ack{Ack: &wirepb.Ack{}}
	case 3:
		p.Body = &wirepb.PGMsg_Acked{Acked: &wirepb.PGAcked{Pos: pos()}}
		h.Body = &wirepb.Header_Pg{Pg: p}
	case 4:
		p.Body = &wirepb.PGMsg_Query{Query: &wirepb.PGQuery{}}
		if maybe() {
			p.Body = nil
		}
		h.Body = &wirepb.Header_Pg{Pg: p}
	default:
		r := &wirepb.PGReplicate{Prev: pos(), Committed: pos(), NoData: maybe()}
		if maybe() {
			r.Entry = &wirepb.LogEntry{Pos: pos(), Object: word(), Req: req(), Result: word(), Extents: []uint64{rng.Uint64N(1000)}}
		}
		for range rng.IntN(5) {
			r.Mutations = append(r.Mutations, &wirepb.Mutation{Kind: rng.Uint32N(9), Name: word(), Value: word()})
		}
		p.Body = &wirepb.PGMsg_Replicate{Replicate: r}
		h.Body = &wirepb.Header_Pg{Pg: p}
	}
	return h
}

// TestRoom: into the memory that roomFor returns, a header decodes to what it decodes to without, be it whole, several
// in a row, or damaged.
func TestRoom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	fine := 0
	for i := range 30000 {
		var b []byte
		for n := 1 + rng.IntN(6)/5; n > 0; n-- {
			part, err := someHeader(rng).MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, part...)
		}
		if rng.IntN(2) == 0 {
			for range rng.IntN(3) {
				if len(b) > 0 {
					b[rng.IntN(len(b))] = byte(rng.IntN(256))
				}
			}
			b = b[:rng.IntN(len(b)+1)]
		}
		want := &wirepb.Header{}
		wantErr := want.UnmarshalVT(b)
		got := &roomFor(b).h
		gotErr := got.UnmarshalVT(b)
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("seed %d, round %d: %x: error %v, without room %v", seed, i, b, gotErr, wantErr)
		}
		if wantErr != nil {
			continue
		}
		fine++
		if !proto.Equal(got, want) {
			t.Fatalf("seed %d, round %d: %x: decodes to\n%v\nwithout room to\n%v", seed, i, b, got, want)
		}
	}
	if fine < 10000 {
		t.Fatalf("seed %d: only %d headers were fine", seed, fine)
	}
}

// TestRoomSaves: what the frequent messages consist of is allocated together. (The numbers are those of the names and
// values, and of what a log keeps, and one.)
func TestRoomSaves(t *testing.T) {
	pos := &wirepb.Position{Term: 1, Seq: 2}
	req := &wirepb.ReqID{Client: 1, Seq: 2}
	pgMsg := func(m *wirepb.PGMsg) *wirepb.Header { return &wirepb.Header{Body: &wirepb.Header_Pg{Pg: m}} }
	for name, tt := range map[string]struct {
		h    *wirepb.Header
		want float64
	}{
		"op":    {&wirepb.Header{Body: &wirepb.Header_Op{Op: &wirepb.OpRequest{Object: []byte("o"), Req: req, Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE}}}}}, 3},
		"reply": {&wirepb.Header{Body: &wirepb.Header_OpReply{OpReply: &wirepb.OpReply{Version: 1, Results: []*wirepb.ObjResult{{}}}}}, 1},
		"acked": {pgMsg(&wirepb.PGMsg{Body: &wirepb.PGMsg_Acked{Acked: &wirepb.PGAcked{Pos: pos}}}), 1},
		"replicate": {pgMsg(&wirepb.PGMsg{Body: &wirepb.PGMsg_Replicate{Replicate: &wirepb.PGReplicate{
			Prev: pos, Committed: pos, Mutations: []*wirepb.Mutation{{Kind: 1}, {Kind: 2}},
			Entry: &wirepb.LogEntry{Pos: pos, Req: req, Object: []byte("o"), Result: []byte("r")},
		}}}), 4},
	} {
		b, err := tt.h.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		got := testing.AllocsPerRun(100, func() {
			if err := roomFor(b).h.UnmarshalVT(b); err != nil {
				t.Fatal(err)
			}
		})
		if got != tt.want {
			t.Errorf("%s: %v allocations, want %v", name, got, tt.want)
		}
	}
}
