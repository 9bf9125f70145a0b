package testcluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/mon"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/placement"
)

// TestFillUp fills a cluster with many writes at a time: it goes through the steps of fullness, in map
// and health, and refuses what has no room before any OSD stops for it. When it is full the
// map still changes, and deletes and truncates work, until everything is well again.
func TestFillUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, _, pool := startPool(t, ctx, testcluster.Options{
		OSDs: 2, Capacity: 160 << 20,
		TuneOSD: func(o *osd.Options) { o.ReportEvery = 50 * time.Millisecond },
		TuneMon: func(o *mon.Options) { o.TickEvery = 50 * time.Millisecond },
	}, api.PoolSpec{PGNum: 8, Size: 2, MinSize: 1})
	cl, err := api.NewClient(api.ClientOptions{Addrs: c.AdminAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	alive := func(when string) {
		t.Helper()
		for i := range c.OSDs() {
			if err := c.OSD(i).Err(); err != nil {
				t.Fatalf("%s: osd.%d stopped: %v", when, i, err)
			}
		}
	}
	body := func(name string, n int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%-16s", name)), n/16) }

	// One by one to each step, so that it is seen.
	var kept []string
	for _, step := range []struct {
		full placement.Fullness
		code []string
	}{
		{placement.NearFull, []string{"OSD_NEARFULL", "POOL_NEARFULL"}},
		{placement.BackfillFull, []string{"OSD_BACKFILLFULL", "POOL_BACKFILLFULL"}},
	} {
		for c.Mon(0).Map().OSD(0).Full < step.full || c.Mon(0).Map().OSD(1).Full < step.full {
			name := fmt.Sprint("step-", len(kept))
			if err := pool.WriteFull(ctx, name, body(name, 2<<20)); err != nil {
				t.Fatalf("before it is %s: %v", step.full, err)
			}
			kept = append(kept, name)
			if err := c.WaitMap(ctx, func(m *placement.Map) bool { // until both have told of it
				told := true
				for i := range 2 {
					r := c.Mon(0).Reports()[placement.OSDID(i)].Report
					told = told && r.GetObjects() >= int64(len(kept))
				}
				return told
			}); err != nil {
				t.Fatal(err)
			}
		}
		h, err := cl.Health(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range step.code {
			if _, ok := h.Checks[code]; !ok {
				t.Errorf("%s: health has %v, not %s", step.full, h.Codes(), code)
			}
		}
	}

	// Then all at once: much more is under way than there is room for.
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 48 {
		wg.Go(func() {
			name := fmt.Sprint("flood-", w)
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			err := pool.WriteFull(ctx, name, body(name, 2<<20))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				kept = append(kept, name)
			case !errors.Is(err, client.ErrNoSpace):
				t.Errorf("write %s: %v, want that there is no space", name, err)
			}
		})
	}
	wg.Wait()
	alive("flooded")
	slices.Sort(kept)
	for w := 0; ; w++ { // whatever is left is filled by small ones
		name := fmt.Sprint("rest-", w)
		err := pool.WriteFull(ctx, name, body(name, 64<<10))
		if errors.Is(err, client.ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatalf("write %s: %v", name, err)
		}
		kept = append(kept, name)
	}
	if err := c.WaitMap(ctx, func(m *placement.Map) bool { return m.OSD(0).Full == placement.Full || m.OSD(1).Full == placement.Full }); err != nil {
		t.Fatalf("no OSD is full in the map: %v", err)
	}
	h, err := cl.Health(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if h.Status != api.HealthErr || h.Checks["OSD_FULL"].Summary.Count == 0 || h.Checks["POOL_FULL"].Summary.Count != 1 {
		t.Errorf("health of a full cluster: %s, %v", h.Status, h.Codes())
	}

	// The map changes, what is there is read, and what frees space is done.
	if err := cl.FlagSet(ctx, "noout", true); err != nil {
		t.Errorf("a change of the map: %v", err)
	}
	for _, name := range kept {
		n := map[string]int{"step": 2 << 20, "floo": 2 << 20, "rest": 64 << 10}[name[:4]]
		if got, err := pool.Read(ctx, name, 0, 0); err != nil || !bytes.Equal(got, body(name, n)) {
			t.Fatalf("read %s when full: %d bytes, %v", name, len(got), err)
		}
	}
	for i, name := range kept {
		op := new(client.Op).Truncate(16)
		if i%2 == 0 {
			op = new(client.Op).Remove(false)
		}
		if _, err := pool.Do(ctx, name, op); err != nil {
			t.Fatalf("make %s smaller when full: %v", name, err)
		}
	}
	alive("emptied")
	if err := c.WaitMap(ctx, func(m *placement.Map) bool {
		return m.OSD(0).Full == placement.NotFull && m.OSD(1).Full == placement.NotFull
	}); err != nil {
		t.Fatalf("OSDs stay full: %v", err)
	}
	if err := c.WaitMap(ctx, func(*placement.Map) bool { // the primary hears of its peer's space by the next heartbeat
		err = pool.WriteFull(ctx, "again", body("again", 4<<20))
		return !errors.Is(err, client.ErrNoSpace)
	}); err != nil {
		t.Fatalf("writes are refused after space was made: %v", err)
	}
	if err != nil {
		t.Fatalf("write after space was made: %v", err)
	}
	if err := cl.FlagSet(ctx, "noout", false); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "afterwards")
	if err := c.WaitMap(ctx, func(*placement.Map) bool { // until the primaries have reported that nothing waits for room
		h, err = cl.Health(ctx)
		return err == nil && !slices.ContainsFunc(h.Codes(), func(code string) bool { return strings.HasSuffix(code, "FULL") })
	}); err != nil {
		t.Errorf("health afterwards: %v, %v", h.Codes(), err)
	}
}
