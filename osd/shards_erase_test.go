package osd

import (
	"sync/atomic"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// counting lets something happen once, before somebody is told what shards a store has.
type counting struct {
	store.Store
	before atomic.Pointer[func()]
}

func (c *counting) PoolShards() []store.PoolShards {
	if f := c.before.Swap(nil); f != nil {
		(*f)()
	}
	return c.Store.PoolShards()
}

// A pool that is made, and whose first shard is acknowledged, while the shards of removed pools are looked for, is not
// one of those.
func TestEraseSparesNewPool(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	hooked := &counting{Store: st}
	d := start(t, options(hooked, s))
	c := dialOSD(t, d)
	id := shardN(1, 0)
	id.Pool = 2
	ran := make(chan struct{})
	hook := func() {
		defer close(ran)
		s.edit(func(m *placement.Map) {
			m.NextPool = 3
			m.Pools = append(m.Pools, placement.Pool{ID: 2, Name: "q", Size: 1, MinSize: 1, PGNum: 1, PGNumTarget: 1, FirstPGNum: 1})
			m.PGs = append(m.PGs, placement.PoolPGs{Pool: 2, Records: []placement.PGRecord{{Term: 1, Version: 1, Primary: placement.NoOSD, InSync: []placement.OSDID{0}}}})
		})
		if err := putShard(t, c, id, shardBytes(100)); err != nil {
			t.Error(err)
		}
	}
	hooked.before.Store(&hook)
	d.eraseShards()
	<-ran // by the loop that sends reports, if that was faster
	if got, _, err := getShard(t, c, &wirepb.ShardGet{Id: id}); err != nil || len(got) != 100 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// What removes chunks must work on a full OSD: condemning a chunk, declaring void, removing references. What adds some
// does not.
func TestFullTakesCareOfChunks(t *testing.T) {
	for _, x := range []struct {
		grows  bool
		record bool
		kinds  []wirepb.OpKind
	}{
		{false, true, []wirepb.OpKind{wirepb.OpKind_CREATE}},
		{false, true, []wirepb.OpKind{wirepb.OpKind_ASSERT_VERSION, wirepb.OpKind_SET_ATTR}},
		{false, true, []wirepb.OpKind{wirepb.OpKind_ASSERT_EXISTS, wirepb.OpKind_OMAP_LIST, wirepb.OpKind_OMAP_RM}},
		{true, true, []wirepb.OpKind{wirepb.OpKind_ASSERT_EXISTS, wirepb.OpKind_OMAP_SET, wirepb.OpKind_RM_ATTR}},
		{true, true, []wirepb.OpKind{wirepb.OpKind_ASSERT_ABSENT, wirepb.OpKind_SET_ATTR, wirepb.OpKind_OMAP_SET}},
		{true, true, []wirepb.OpKind{wirepb.OpKind_WRITE}},
		{true, false, []wirepb.OpKind{wirepb.OpKind_CREATE}},
		{true, false, []wirepb.OpKind{wirepb.OpKind_SET_ATTR}},
		{true, false, []wirepb.OpKind{wirepb.OpKind_SET_REF}},
	} {
		req := &wirepb.OpRequest{Record: x.record}
		for _, k := range x.kinds {
			req.Ops = append(req.Ops, &wirepb.ObjOp{Kind: k})
		}
		if got := grows(req); got != x.grows {
			t.Errorf("record %v, %v: grows %v", x.record, x.kinds, got)
		}
	}
}
