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
	"github.com/cairnstore/cairn/placement"
)

// What TestRecovery works with: enough PGs that chance does not decide who has how much to do.
const (
	recoveryOSDs    = 6
	recoveryPGs     = 256
	recoveryObjects = 1200
	recoveryBytes   = 16 << 10
)

// TestRecovery: an OSD that was away while clients wrote gets what it missed and little more; and when
// it is lost for good, all others share the work of making its copies again.
func TestRecovery(t *testing.T) {
	if testing.Short() {
		return // gigabytes of journals and a minute of copying
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := testcluster.Start(ctx, testcluster.Options{Dir: t.TempDir(), OSDs: recoveryOSDs, NoS3: true, Capacity: 1 << 30, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Mon(0).PoolCreate(ctx, api.PoolSpec{Name: "data", Size: 3, PGNum: recoveryPGs, Application: "test"}); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after the start")
	cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	pool, err := cl.Pool(ctx, "data")
	if err != nil {
		t.Fatal(err)
	}
	const away = 2
	id := c.OSD(away).ID()
	home := map[string]bool{} // objects that the OSD has a copy of
	write := func(round, i int) (missed int) {
		t.Helper()
		name := fmt.Sprintf("object-%d", i)
		n := recoveryBytes/2 + (i*7919+round*104729)%recoveryBytes
		if _, err := pool.Do(ctx, name, new(client.Op).WriteFull(bytes.Repeat([]byte{byte(i + round)}, n))); err != nil {
			t.Fatal(err)
		}
		if home[name] {
			return n
		}
		return 0
	}
	for i := range recoveryObjects {
		loc, err := cl.Locate("data", fmt.Sprintf("object-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range loc.InSync {
			home[fmt.Sprintf("object-%d", i)] = home[fmt.Sprintf("object-%d", i)] || m == id
		}
		write(0, i)
	}

	before := recovered(c)
	if err := c.KillOSD(away); err != nil {
		t.Fatal(err)
	}
	missed := 0
	for i := range recoveryObjects / 2 {
		missed += write(1, i)
	}
	if err := c.StartOSD(ctx, away); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after the OSD was away")
	moved := recovered(c) - before
	t.Logf("clients wrote %d bytes that the OSD missed; %.0f were copied to it: %.3f times as many", missed, moved, moved/float64(missed))
	if moved > 1.2*float64(missed) || moved < 0.9*float64(missed) {
		t.Errorf("%.0f bytes were copied for %d that were missed, want at most 1.2 times as many", moved, missed)
	}

	// Now it does not return.
	pushed, held := make([]float64, c.OSDs()), make([]int64, c.OSDs())
	for i := range c.OSDs() {
		pushed[i], held[i] = float64(c.OSD(i).Recovered()), c.OSD(i).Store.Usage().Objects
	}
	if err := c.KillOSD(away); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitMap(ctx, func(m *placement.Map) bool { return !m.IsUp(id) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Mon(0).OSDReweight(ctx, id, 0); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after the OSD was lost")
	gave, got, sumGave, sumGot := map[int]float64{}, map[int]float64{}, 0.0, 0.0
	for i := range c.OSDs() {
		if i == away {
			continue
		}
		gave[i], got[i] = float64(c.OSD(i).Recovered())-pushed[i], float64(c.OSD(i).Store.Usage().Objects-held[i])
		sumGave, sumGot = sumGave+gave[i], sumGot+got[i]
	}
	share := 1 / float64(recoveryOSDs-1)
	for i := range c.OSDs() {
		if i == away {
			continue
		}
		t.Logf("OSD %d gave %.2f of its share of what was copied and got %.2f", i, gave[i]/sumGave/share, got[i]/sumGot/share)
		if gave[i] > 2*share*sumGave || got[i] > 2*share*sumGot {
			t.Errorf("OSD %d gave %.0f of %.0f bytes and got %.0f of %.0f objects: more than twice its share", i, gave[i], sumGave, got[i], sumGot)
		}
	}
}
