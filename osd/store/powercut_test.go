package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/osd/store/storetest/shrink"
)

var powerCuts = flag.Int("store.cuts", 0, "how many times TestDiskPowerCut cuts the power; 0: a few")

// cutsPerDisk is how many power cuts a disk lives through before the test takes a new one.
const cutsPerDisk = 50

// TestDiskPowerCut cuts the power at many points of many lives. After each,
// the store holds every acknowledged batch, and of those not acknowledged a
// first few entirely and the rest not at all; and all of it checks.
func TestDiskPowerCut(t *testing.T) {
	seed := seedOf(t)
	cuts := 150
	if testing.Short() {
		cuts = 40
	}
	if *powerCuts > 0 {
		cuts = *powerCuts
	}
	var sum crashSum
	for disk := uint64(0); sum.cuts < cuts; disk++ {
		if err := crashDisk(t, seed+disk, min(cutsPerDisk, cuts-sum.cuts), &sum); err != nil {
			t.Fatalf("%v\nreplay this disk alone, as far as chance of the scheduler allows: go test -run '^%s$' -store.seed=%d -store.cuts=%d",
				err, t.Name(), seed+disk, cutsPerDisk)
		}
	}
	t.Logf("%d power cuts, %d of them while the store was opened, on %d disks; %d batches acknowledged before them, %d more found, %d KiB discarded; nothing lost, everything checks",
		sum.cuts, sum.opening, (sum.cuts+cutsPerDisk-1)/cutsPerDisk, sum.acked, sum.more, sum.discarded>>10)
	if sum.cuts >= 150 && sum.discarded == 0 {
		t.Error("nothing was discarded")
	}
}

type crashSum struct{ cuts, opening, acked, more, discarded int }

// crashDisk lets one disk live through a number of power cuts.
func crashDisk(t *testing.T, seed uint64, cuts int, sum *crashSum) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	l := newFaultLayer(seed)
	l.onDevice = seed%2 == 0
	createFault(t, l)
	m := mirror{NewSim(SimOptions{Manual: true})}
	number := 0
	for cut := range cuts {
		c := crash{seed: rng.Uint64(), cutAt: 1 + rng.IntN(250)}
		if rng.IntN(4) == 0 {
			c.cutAt = 1 + rng.IntN(12) // while opening
		}
		for range 1 + rng.IntN(300) {
			number++
			c.batches = append(c.batches, crashBatch(rng, number))
		}
		before := l.clone()
		after, out := c.live(l)
		err := out.err
		if err == nil {
			err = out.verify(after, m, c.batches)
		}
		if err != nil {
			return fmt.Errorf("power cut %d: %w\n%s", cut, err, c.shorten(before))
		}
		sum.cuts++
		sum.acked += out.acked
		sum.more += out.found - out.acked
		sum.discarded += out.discarded
		if out.opening {
			sum.opening++
		}
		l = after
	}
	return nil
}

// crash is one life of a disk, which ends by a power cut.
type crash struct {
	seed    uint64
	cutAt   int // which change of the medium is the last
	batches []*Batch
}

// outcome is what was seen of it.
type outcome struct {
	acked     int // batches
	found     int // batches that are there after the cut
	opening   bool
	discarded int // bytes
	err       error
}

// crashOptions are different in every life.
func crashOptions(l *faultLayer, rng *rand.Rand) Options {
	o := faultOptions(l)
	o.DirtyBytes = []int64{32 << 10, 256 << 10, 1 << 20}[rng.IntN(3)]
	o.CacheBytes = 1 << 20
	o.Discard, o.discardAtOnce, o.discardRegion = rng.IntN(3) > 0, rng.IntN(2) == 0, 4<<rng.IntN(4)
	return o
}

// live opens the store, submits the batches, some at a time, and returns the
// medium after the cut.
func (c *crash) live(l *faultLayer) (after *faultLayer, out outcome) {
	rng := rand.New(rand.NewPCG(c.seed, 2))
	l.cutAt = l.ops + c.cutAt
	d, err := Open(crashDir, crashOptions(l, rng))
	switch {
	case err == nil:
		d.reuseSoon()
		out.acked, out.err = submitAll(d, c.batches, 1+rng.IntN(8))
		d.Close()
		out.discarded = int(d.DeviceStats().DiscardedBytes)
	case l.cut == nil:
		out.err = err
	default:
		out.opening = true
	}
	return l.restart(), out
}

// reuseSoon makes blocks that were freed the first to be used again, and the data
// file grow slowly.
func (d *Disk) reuseSoon() {
	d.alloc.mu.Lock()
	defer d.alloc.mu.Unlock()
	d.alloc.lowest, d.alloc.step = true, 64
}

// verify compares the store with the model after the batches that it must hold,
// and then after each one more.
func (o *outcome) verify(l *faultLayer, m mirror, batches []*Batch) error {
	d, err := Open(crashDir, faultOptions(l))
	if err != nil {
		return fmt.Errorf("open after the cut: %w", err)
	}
	defer d.Close()
	d.reuseSoon()
	got, err := dump(d)
	if err != nil {
		return fmt.Errorf("after the cut: %w", err)
	}
	for _, b := range batches[:o.acked] {
		m.apply(b)
	}
	first := ""
	for o.found = o.acked; ; o.found++ {
		want, err := dump(m.Sim)
		if err != nil {
			return err
		}
		if want == got {
			break
		}
		if first == "" {
			first = want
		}
		if o.found == len(batches) {
			return fmt.Errorf("of %d batches %d were acknowledged; the store holds\n%swhich is no state from\n%sto\n%s", len(batches), o.acked, got, first, want)
		}
		m.apply(batches[o.found])
	}
	return check(d)
}

// check is an error with all that a check finds.
func check(d *Disk) error {
	var found []string
	_, err := d.Check(context.Background(), func(p Problem) { found = append(found, p.String()) })
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("the check finds: %s", strings.Join(found, "; "))
	}
	return err
}

// shorten looks for a shorter life that fails, too. Goroutines are part of it, so each
// is tried a few times.
func (c *crash) shorten(before *faultLayer) string {
	type item struct{ batch, op int }
	var items []item
	for i, b := range c.batches {
		for j := range b.Ops {
			items = append(items, item{i, j})
		}
	}
	pick := func(items []item) (bs []*Batch) {
		last := -1
		for _, it := range items {
			if it.batch != last {
				bs, last = append(bs, &Batch{}), it.batch
			}
			b := bs[len(bs)-1]
			b.Ops = append(b.Ops, c.batches[it.batch].Ops[it.op])
		}
		return bs
	}
	base, err := modelOf(before.clone())
	if err != nil {
		return fmt.Sprintf("(the life before cannot be read again: %v)", err)
	}
	var last error
	var at int
	short := shrink.List(items, 400, func(items []item) bool {
		for try := range 3 {
			s := crash{seed: c.seed, batches: pick(items), cutAt: c.cutAt}
			if try > 0 {
				s.cutAt = 1 + int(c.seed>>try)%(c.cutAt+1)
			}
			m := mirror{base.Reborn()}
			after, out := s.live(before.clone())
			err := out.err
			if err == nil {
				err = out.verify(after, m, s.batches)
			}
			if err != nil {
				last, at = err, s.cutAt
				return true
			}
		}
		return false
	})
	if last == nil {
		return "(the same life did not fail again: chance of the scheduler is part of it)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the shortest life found that fails, %d of %d operations, cut at change %d: %v\n", len(short), len(items), at, last)
	for i, batch := range pick(short) {
		fmt.Fprintf(&b, "%4d", i)
		for _, op := range batch.Ops {
			fmt.Fprintf(&b, " %s;", showOp(&op))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func showOp(op *Op) string {
	return fmt.Sprintf("kind %d %s/%d off %d len %d data %d name %q end %q to %s", op.Kind, op.Key, op.Key.Space, op.Off, op.Len, len(op.Data), op.Name, op.End, op.To)
}

// Reborn is a copy of a Sim.
func (s *Sim) Reborn() *Sim {
	c := NewSim(SimOptions{Manual: true})
	copies := map[*simPage]*simPage{} // clones go on sharing
	for k, o := range s.state.objs {
		n := *o
		n.pages = append([]*simPage(nil), o.pages...)
		n.attrs, n.omap = append([]KV(nil), o.attrs...), append([]KV(nil), o.omap...)
		for i, p := range n.pages {
			if p != nil && copies[p] == nil {
				copies[p] = &simPage{append([]byte(nil), p.b...), p.users, p.bad}
			}
			n.pages[i] = copies[p]
		}
		c.state.attach(k, &n)
	}
	return c
}

// modelOf copies a closed store into a model.
func modelOf(l *faultLayer) (m mirror, err error) {
	d, err := Open(crashDir, faultOptions(l))
	if err != nil {
		return m, err
	}
	defer d.Close()
	m = mirror{NewSim(SimOptions{Manual: true})}
	pgs, _ := d.PGs()
	for _, pg := range pgs {
		for sp := Objects; sp <= Staging; sp++ {
			list, _, _ := d.List(pg, sp, "", maxListEntries)
			for _, e := range list {
				k := Key{pg, sp, e.Name}
				data, err := d.Read(k, 0, MaxObjectBytes)
				if err != nil {
					return m, err
				}
				b := &Batch{Ops: []Op{{Kind: OpWrite, Key: k, Data: data}, {Kind: OpSetVersion, Key: k, Version: e.Version}, {Kind: OpTruncate, Key: k, Off: e.Size}}}
				attrs, _ := d.Attrs(k)
				for _, kv := range attrs {
					b.Ops = append(b.Ops, Op{Kind: OpSetAttr, Key: k, Name: kv.Key, Value: kv.Value})
				}
				omap, _, _ := d.OmapList(k, nil, nil, maxListEntries)
				for _, kv := range omap {
					b.Ops = append(b.Ops, Op{Kind: OpOmapSet, Key: k, Name: kv.Key, Value: kv.Value})
				}
				m.apply(b)
			}
		}
	}
	return m, nil
}

// clone copies a medium on which everything is synced.
func (l *faultLayer) clone() *faultLayer {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := newFaultLayer(1)
	n.total, n.onDevice, n.links = l.total, l.onDevice, maps.Clone(l.links)
	n.index = l.index.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 3))})
	for name, f := range l.files {
		n.files[name] = &memFile{l: n, name: name, data: append([]byte(nil), f.data...), old: map[int][]byte{}, durable: true, synced: len(f.data), device: f.device, discards: f.discards.clone()}
	}
	return n
}

// submitAll submits batches, a window of them at a time, until one fails, and
// returns how many were acknowledged.
func submitAll(d *Disk, batches []*Batch, window int) (acked int, err error) {
	type result struct {
		i   int
		err error
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	results := make(chan result, len(batches))
	failed := false
	take := func() error {
		r := <-results
		switch {
		case r.err != nil && !errors.Is(r.err, errPower):
			return r.err
		case r.err != nil:
			failed = true
		case !failed: // after the cut a batch that changes nothing may still succeed
			if r.i != acked {
				return fmt.Errorf("batch %d acknowledged after %d", r.i, acked-1)
			}
			acked++
		}
		return nil
	}
	open := 0
	for i, b := range batches {
		if failed {
			break
		}
		wg.Add(1)
		d.Submit(b, func(err error) {
			results <- result{i, err}
			wg.Done()
		})
		for open++; open >= window; open-- {
			if err := take(); err != nil {
				return acked, err
			}
		}
	}
	for ; open > 0; open-- {
		if err := take(); err != nil {
			return acked, err
		}
	}
	return acked, nil
}
