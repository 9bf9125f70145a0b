package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

func testMap() *placement.Map {
	return &placement.Map{
		Epoch: 5, Cluster: placement.UUID{1}, Crush: crush.NewDefault(), NextPool: 2, NextOSD: 3,
		OSDs: []placement.OSD{
			{ID: 0, Incarnation: 1, Addr: "127.0.0.1:1", Up: true}, {ID: 1, Addr: "127.0.0.1:2"}, {ID: 2, Addr: "127.0.0.1:3"},
		},
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 2, MinSize: 1, PGNum: 5, PGNumTarget: 5, FirstPGNum: 5}},
		PGs: []placement.PoolPGs{{Pool: 1, Records: []placement.PGRecord{
			{Term: 3, Primary: 0, InSync: []placement.OSDID{0, 1}, Created: true},
			{Term: 3, Primary: placement.NoOSD, InSync: []placement.OSDID{1, 2}, Created: true},
			{Term: 3, Primary: placement.NoOSD, InSync: []placement.OSDID{0, 1}, Created: true},
			{Primary: placement.NoOSD},
			{Term: 1, Primary: placement.NoOSD, InSync: []placement.OSDID{0}},
		}}},
	}
}

func TestRoute(t *testing.T) {
	for _, tt := range []struct {
		shard  uint32
		change func(*placement.Map)
		want   obstacle
		text   string
	}{
		{0, nil, nothing, ""},
		{0, func(m *placement.Map) { m.Flags = placement.FlagPause }, paused, "the cluster is paused: client reads and writes wait until the pause flag is cleared"},
		{0, func(m *placement.Map) { m.Pools = nil }, poolGone, ""},
		{0, func(m *placement.Map) { m.OSDs[0].Up = false }, noPrimary, "pg 1.0: no primary: in-sync osds 0,1 are down"},
		{0, func(m *placement.Map) { m.OSDs[0].Addr = "" }, noPrimary, "pg 1.0: no primary: in-sync osd 1 is down"},
		{1, nil, noPrimary, "pg 1.1: no primary: in-sync osds 1,2 are down"},
		{2, nil, noPrimary, "pg 1.2: no primary: in-sync osd 1 is down"},
		{3, nil, noPrimary, "pg 1.3: no primary yet: no OSD has created it; are enough OSDs up?"},
		{4, nil, noPrimary, "pg 1.4: no primary yet"},
		{9, nil, noPrimary, "pg 1.9: no record in the cluster map of epoch 5"},
	} {
		m := testMap()
		if tt.change != nil {
			tt.change(m)
		}
		r := &request{pool: 1, pg: func(*placement.Pool) placement.PGID { return placement.PGID{Pool: 1, Shard: tt.shard} }}
		got, met := route(m, r)
		if met != tt.want {
			t.Errorf("shard %d: got obstacle %d, want %d", tt.shard, met, tt.want)
		}
		if text := explain(m, got, met); text != tt.text {
			t.Errorf("shard %d: got %q, want %q", tt.shard, text, tt.text)
		}
		if want := (target{pg: placement.PGID{Pool: 1}, osd: 0, term: 3, incarnation: 1, addr: "127.0.0.1:1"}); met == nothing && got != want {
			t.Errorf("got target %+v, want %+v", got, want)
		}
	}
}

func TestRetryBudget(t *testing.T) {
	var b budget
	now := time.Unix(1000, 0)
	b.init(now)
	for i := range retryBurst {
		if d := b.take(now); d != 0 {
			t.Fatalf("retry %d waits %v", i, d)
		}
	}
	for i := range 10 {
		if got, want := b.take(now), time.Duration(i+1)*time.Second/retryRate; got.Round(time.Microsecond) != want {
			t.Errorf("retry %d over the burst waits %v, want %v", i, got, want)
		}
	}
	if d := b.take(now.Add(time.Second)); d != 0 {
		t.Errorf("a second later a retry waits %v", d)
	}
}

func TestFlights(t *testing.T) {
	var f flights
	f.init(100, 2)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	a, err := f.acquire(context.Background(), 60)
	if err != nil || a != 60 {
		t.Fatal(a, err)
	}
	if _, err := f.acquire(ended, 60); !errors.Is(err, context.Canceled) {
		t.Errorf("over the bytes: got %v", err)
	}
	b, err := f.acquire(context.Background(), 40)
	if err != nil {
		t.Fatalf("room for 40 bytes was not given back: %v", err)
	}
	if _, err := f.acquire(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("over the operations: got %v", err)
	}
	f.release(a)
	f.release(b)
	if n, err := f.acquire(context.Background(), 1000); err != nil || n != 100 {
		t.Errorf("larger than all: got %d, %v", n, err)
	}
}

// Results of the error codes, all of them.
func TestErrorOf(t *testing.T) {
	for c, name := range wirepb.Code_name {
		if err := ErrorOf(wirepb.Code(c)); (err == nil) != (c == 0) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if !errors.Is(ErrorOf(999), ErrInternal) {
		t.Error("an unknown code is not an internal error")
	}
}

// FuzzAnswer gives any bytes as an OSD's answer.
func FuzzAnswer(f *testing.F) {
	good := &wirepb.OpReply{Version: 3, Results: []*wirepb.ObjResult{{}, {Size: 5}, {DataOff: 1, DataLen: 2}, {Kvs: []*wirepb.KV{{Key: []byte("k")}}}}}
	b, err := good.MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(int32(0), b, []byte("payload"))
	f.Add(int32(4), b, []byte{})
	f.Fuzz(func(t *testing.T, code int32, b, payload []byte) {
		reply := &wirepb.OpReply{}
		if reply.UnmarshalVT(b) != nil {
			reply = nil
		}
		op := new(Op).AssertExists().Stat().Read(0, 0).GetAttrs()
		res, err := op.Answer("p", "o", wirepb.Code(code), "", reply, payload)
		if (res == nil) == (err == nil) {
			t.Fatalf("got %v and %v", res, err)
		}
		if res != nil && len(res.Items) != op.Len() {
			t.Fatalf("%d items", len(res.Items))
		}
	})
}
