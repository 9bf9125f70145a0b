package osd

import (
	"context"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// listener is a stage that hears of failures.
type listener struct {
	*stage
	failures chan *wirepb.OSDFailure
}

func (l *listener) Call(ctx context.Context, req *wire.Message) (*wire.Message, error) {
	if f := req.Header.GetOsdFailure(); f != nil {
		select {
		case l.failures <- f:
		default:
		}
	}
	return l.stage.Call(ctx, req)
}

// An OSD whose disk was replaced is another one at the same address. Its answers do
// not keep the one that was there before alive.
func TestAnotherAnswers(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	l := &listener{stage: s, failures: make(chan *wirepb.OSDFailure, 1)}
	o := options(st, s)
	o.Monitors = l
	d := start(t, o)
	s.edit(func(m *placement.Map) {
		m.NextOSD = 2
		m.OSDs = append(m.OSDs, placement.OSD{ID: 1, Class: "ssd", Weight: placement.WeightOne, Up: true, Incarnation: 7, Addr: d.Addr()})
	})
	select {
	case f := <-l.failures:
		if f.Target != 1 || f.TargetIncarnation != 7 || !f.Refused {
			t.Errorf("report %v, want that osd.1 in its life 7 refuses", f)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("osd.0 answers at the address of osd.1, and nobody is told")
	}
}

// A heartbeat is answered whatever the shards are at: its reader takes no work from their
// mailboxes, not even what somebody else has put there and is about to work off.
func TestHeartbeatBesideWork(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	d := start(t, options(st, newStage(t)))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := wire.Dial(ctx, d.Addr(), wire.Options{Self: wire.Identity{Entity: "osd.1", Cluster: testCluster}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hangs := make(chan struct{})
	defer close(hangs)
	d.shards[0].append(mail{other: call{func(*shard) { <-hangs }}}) // as somebody does who was preempted before Idle
	for i := range 3 {
		m := &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Heartbeat{Heartbeat: &wirepb.Heartbeat{From: 1}}}}
		if _, err := c.Call(ctx, m); err != nil {
			t.Fatalf("heartbeat %d behind work that hangs: %v", i+1, err)
		}
	}
}
