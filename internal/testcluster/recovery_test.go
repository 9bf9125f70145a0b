package testcluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd/store"
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
	c, cl, pool := startPool(t, ctx, testcluster.Options{OSDs: recoveryOSDs, Capacity: 1 << 30}, api.PoolSpec{Size: 3, PGNum: recoveryPGs})
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

// TestRecoveryOfParts: of large objects in which little was written, little moves.
func TestRecoveryOfParts(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c, _, pool := startPool(t, ctx, testcluster.Options{OSDs: 3}, api.PoolSpec{Size: 3, PGNum: 4})
	do := func(name string, op *client.Op) {
		t.Helper()
		if _, err := pool.Do(ctx, name, op); err != nil {
			t.Fatal(err)
		}
	}
	const (
		objects, size, block = 8, 1 << 20, 4 << 10
		pairs, value         = 4000, 200
	)
	for i := range objects {
		do(fmt.Sprintf("object-%d", i), new(client.Op).WriteFull(bytes.Repeat([]byte{1}, size)))
	}
	key := func(i int) string { return fmt.Sprintf("key-%08d", i) }
	for i := 0; i < pairs; i += 500 {
		op := new(client.Op)
		for n := range 500 {
			op.OmapSet(key(i+n), bytes.Repeat([]byte{1}, value))
		}
		do("index", op)
	}

	before := recovered(c)
	if err := c.KillOSD(1); err != nil {
		t.Fatal(err)
	}
	written := 0
	for i := range 100 {
		do(fmt.Sprintf("object-%d", i%objects), new(client.Op).Write(uint64(i*7919*block%size), bytes.Repeat([]byte{byte(i)}, block)))
		do("index", new(client.Op).OmapSet(key(i*37%pairs), bytes.Repeat([]byte{byte(i)}, value)))
		written += block + len(key(i)) + value
	}
	do("index", new(client.Op).OmapRm(key(3)))
	if err := c.StartOSD(ctx, 1); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after the OSD was away")
	moved := recovered(c) - before
	t.Logf("clients wrote %d bytes into objects of %d; %.0f were copied: %.3f times as many", written, objects*size+pairs*value, moved, moved/float64(written))
	if moved > 1.2*float64(written) || moved < 0.5*float64(written) {
		t.Errorf("%.0f bytes were copied for %d that were written, want at most 1.2 times as many", moved, written)
	}
	for i := range objects {
		if n := equalCopies(t, c, fmt.Sprintf("object-%d", i)); n != 3 {
			t.Errorf("object-%d has %d copies", i, n)
		}
	}
	if n := equalCopies(t, c, "index"); n != 3 {
		t.Errorf("the index has %d copies", n)
	}
}

// equalCopies counts the copies of an object, and demands that they are equal.
func equalCopies(t *testing.T, c *testcluster.Cluster, name string) (n int) {
	t.Helper()
	var first []byte
	for i := range c.OSDs() {
		st := c.OSD(i).Store
		pgs, err := st.PGs()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range pgs {
			k := store.Key{PG: id, Name: name}
			info, err := st.Stat(k)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			data, err2 := st.Read(k, 0, info.Size)
			omap, _, err3 := st.OmapList(k, nil, nil, 10000)
			if err := errors.Join(err, err2, err3); err != nil {
				t.Fatal(err)
			}
			all := fmt.Appendf(data, "%v %q", info.Version, omap)
			if n++; n == 1 {
				first = all
			} else if !bytes.Equal(first, all) {
				t.Errorf("%s on %s is not like the others", name, c.OSD(i).ID())
			}
		}
	}
	return n
}
