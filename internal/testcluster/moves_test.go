package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// What TestMoves puts in: large enough that objects dominate, in enough PGs that chance does
// not decide how much moves. Where PGs lie follows from the ids alone, so that every run moves
// the same ones.
const (
	movePGs     = 256
	moveObjects = 1000
	moveBytes   = 32 << 10
	moveCopies  = 3
)

// TestMoves adds an OSD to five equal ones, and drains another one then: little more moves than
// must, the drained one is empty, everything is clean and every object right.
func TestMoves(t *testing.T) {
	if testing.Short() {
		return // gigabytes of journals and a minute of copying
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c, _, pool := startPool(t, ctx, testcluster.Options{OSDs: 5, Capacity: 1 << 30}, api.PoolSpec{Size: moveCopies, PGNum: movePGs})
	body := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, moveBytes/2) }
	for i := range moveObjects {
		if _, err := pool.Do(ctx, fmt.Sprintf("object-%d", i), new(client.Op).WriteFull(body(i))); err != nil {
			t.Fatal(err)
		}
	}
	before, sent := copies(t, c), recovered(c)
	moved := func(what string) {
		t.Helper()
		const total = moveObjects * moveCopies
		after, bytes := copies(t, c), recovered(c)
		came := 0
		for k := range after {
			if !before[k] {
				came++
			}
		}
		part, n := float64(came)/total, c.OSDs()
		t.Logf("one of %d OSDs %s: %.3f of the copies moved, the least is %.3f; %.3f of the bytes were sent, repeats included",
			n, what, part, 1/float64(n), (bytes-sent)/(total*moveBytes))
		if part > 1.2/float64(n) {
			t.Errorf("%.3f of the copies moved, want at most 1.2/%d", part, n)
		}
		before, sent = after, bytes
	}

	if _, err := c.AddOSD(ctx); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after an OSD was added")
	moved("added")

	if err := c.Mon(0).OSDDrain(ctx, []placement.OSDID{c.OSD(1).ID()}, true); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after an OSD was drained")
	moved("drained")
	for c.OSD(1).Store.Usage().Objects > 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the drained OSD still has %d objects", c.OSD(1).Store.Usage().Objects)
		}
	}
	for i := range moveObjects {
		r, err := pool.Do(ctx, fmt.Sprintf("object-%d", i), new(client.Op).Read(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Items[0].Data, body(i)) {
			t.Fatalf("object-%d has other bytes than were written", i)
		}
	}
}

// copies lists who has which object.
func copies(t *testing.T, c *testcluster.Cluster) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for i := range c.OSDs() {
		st := c.OSD(i).Store
		pgs, err := st.PGs()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range pgs {
			for after, more := "", true; more; {
				var objs []store.ListEntry
				if objs, more, err = st.List(id, store.Objects, after, 1000); err != nil {
					t.Fatal(err)
				}
				for _, o := range objs {
					after = o.Name
					all[fmt.Sprintf("%d %s", i, o.Name)] = true
				}
				more = more && len(objs) > 0
			}
		}
	}
	return all
}

// recovered asks the daemons how many bytes they have copied to each other since they started.
func recovered(c *testcluster.Cluster) (sum float64) {
	for i := range c.OSDs() {
		sum += float64(c.OSD(i).Recovered())
	}
	return sum
}
