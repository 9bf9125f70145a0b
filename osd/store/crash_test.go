package store

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

var crashSeed = flag.Uint64("store.seed", 0, "seed of the crash tests; 0 picks one and prints it")

func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()>>1 | 1
	}
	t.Logf("seed %d; replay: go test -run '^%s$' -store.seed=%d", seed, t.Name(), seed)
	return seed
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

const (
	crashDir    = "/osd"
	crashDevice = "/dev/disk"
)

func faultOptions(l *faultLayer) Options {
	return Options{layer: l, DirtyBytes: 256 << 10, IdleCheckpoint: -1, Log: quiet()}
}

// createFault makes a small store on a fault layer.
func createFault(t testing.TB, l *faultLayer) {
	t.Helper()
	o := CreateOptions{JournalBytes: 256 << 10 << (2 * l.rng.IntN(2)), Capacity: 64 << 20, Log: quiet(), layer: l, tinyJournal: true}
	o.Identity.Store = placement.UUID{1, 2, 3}
	if l.onDevice {
		l.addDevice(crashDevice, 32<<20)
		o.Device, o.Capacity = crashDevice, 0
	}
	if err := Create(crashDir, o); err != nil {
		t.Fatal(err)
	}
}

func openFault(t testing.TB, l *faultLayer) *Disk {
	t.Helper()
	d, err := Open(crashDir, faultOptions(l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// crashBatch makes a batch that writes a number all over: the same to an
// object's data, to a few others, to attributes and omap. mirror says what is
// then there; it is the model of this test.
func crashBatch(rng *rand.Rand, n int, m mirror) *Batch {
	b := &Batch{}
	add := func(op Op) { b.Ops = append(b.Ops, op) }
	for range 1 + rng.IntN(4) {
		k := Key{PG: placement.PGID{Pool: 1, Shard: rng.Uint32N(2)}, Space: Space(rng.IntN(2)), Name: fmt.Sprint("o", rng.IntN(5))}
		name := fmt.Appendf(nil, "k%d", rng.IntN(8))
		switch r := rng.IntN(20); {
		case r < 9:
			size := []int{10, 4096, 9000, 70000, 140000}[rng.IntN(5)]
			off := uint64(rng.IntN(300000))
			if k.Name <= "o1" && rng.IntN(4) > 0 { // small objects, that now and then outgrow the index
				size, off = rng.IntN(1500), uint64(rng.IntN(800))
			}
			if rng.IntN(2) == 0 {
				off &^= blockMask
			}
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(n + i>>9)
			}
			add(Op{Kind: OpWrite, Key: k, Off: off, Data: data})
		case r < 11:
			add(Op{Kind: OpOmapSet, Key: k, Name: name, Value: fmt.Append(nil, n)})
		case r < 12:
			add(Op{Kind: OpSetAttr, Key: k, Name: name, Value: fmt.Append(nil, n)})
		case r < 13:
			add(Op{Kind: OpSetVersion, Key: k, Version: Version{Seq: uint64(n)}})
		case r < 14:
			add(Op{Kind: OpTruncate, Key: k, Off: uint64(rng.IntN(300000)) >> (9 * rng.IntN(2))})
		case r < 15:
			add(Op{Kind: OpZero, Key: k, Off: uint64(rng.IntN(200000)), Len: uint64(rng.IntN(100000))})
		case r < 17:
			add(Op{Kind: OpRemove, Key: k})
		case r < 18:
			add(Op{Kind: OpOmapRmRange, Key: k, Name: name})
		case r < 19 && n%3 == 0:
			add(Op{Kind: OpRemoveSpace, Key: k})
		default:
			to := k
			to.Name = fmt.Sprint("o", rng.IntN(5))
			if rng.IntN(2) == 0 { // into another PG, as when PGs are split
				to.PG.Shard, to.Name = 1-k.PG.Shard, k.Name
			}
			add(Op{Kind: OpTouch, Key: k})
			add(Op{Kind: OpRename, Key: k, To: to})
		}
	}
	m.apply(b)
	return b
}

// mirror is a Sim used as a model; the conformance suite holds it to the plain model.
type mirror struct{ *Sim }

func (m mirror) apply(b *Batch) {
	m.state.apply(b)
}

// dump prints all a store holds, for comparison.
func dump(s Store) (string, error) {
	var b strings.Builder
	pgs, err := s.PGs()
	if err != nil {
		return "", err
	}
	for _, pg := range pgs {
		objects, bytes := s.PGUsage(pg)
		fmt.Fprintf(&b, "pg %s: %d objects %d bytes\n", pg, objects, bytes)
		for sp := Objects; sp <= Staging; sp++ {
			list, _, err := s.List(pg, sp, "", maxListEntries)
			if err != nil {
				return "", err
			}
			for _, e := range list {
				k := Key{pg, sp, e.Name}
				info, err1 := s.Stat(k)
				data, err2 := s.Read(k, 0, MaxObjectBytes)
				attrs, err3 := s.Attrs(k)
				omap, _, err4 := s.OmapList(k, nil, nil, maxListEntries)
				if err := errors.Join(err1, err2, err3, err4); err != nil {
					return "", err
				}
				fmt.Fprintf(&b, "%s %d size %d %s data %08x", k, sp, info.Size, info.Version, checksum(data))
				for _, kv := range slices.Concat(attrs, omap) {
					fmt.Fprintf(&b, " %q=%q", kv.Key, kv.Value)
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.String(), nil
}

// TestDiskPowerCut cuts the power at many points of many lives. After each,
// the store holds every acknowledged batch, and of those not acknowledged a
// first few entirely and the rest not at all.
func TestDiskPowerCut(t *testing.T) {
	seed := seedOf(t)
	lives := 75
	if testing.Short() {
		lives = 20
	}
	t.Run("directory", func(t *testing.T) { powerCuts(t, newFaultLayer(seed), seed, lives) })
	t.Run("device", func(t *testing.T) {
		l := newFaultLayer(seed)
		l.onDevice = true
		powerCuts(t, l, seed, lives)
	})
}

func powerCuts(t *testing.T, l *faultLayer, seed uint64, lives int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	createFault(t, l)
	m := mirror{NewSim(SimOptions{Manual: true})}
	states := []string{""} // what the store holds after each batch of this life
	number := 0
	for life := range lives {
		fault := rng.IntN(250)
		if rng.IntN(4) == 0 {
			fault = rng.IntN(12) // while opening
		}
		l.cutAt = l.ops + 1 + fault
		var acked int
		d, err := Open(crashDir, faultOptions(l))
		if err == nil {
			d.alloc.mu.Lock()
			d.alloc.lowest = true
			d.alloc.mu.Unlock()
			if acked, err = crashLife(d, rng, m, &number, &states); err != nil {
				t.Fatalf("life %d: %v", life, err)
			}
			d.Close()
		} else if l.cut == nil {
			t.Fatalf("life %d: %v", life, err)
		}
		l = l.restart()
		d, err = Open(crashDir, faultOptions(l))
		if err != nil {
			t.Fatalf("life %d: open after the cut: %v", life, err)
		}
		got, err := dump(d)
		if err != nil {
			t.Fatalf("life %d: after the cut: %v", life, err)
		}
		at := slices.Index(states[acked:], got)
		if at < 0 {
			for i, s := range states {
				if s == got {
					t.Fatalf("life %d: %d batches were acknowledged, only %d are there", life, acked, i)
				}
			}
			t.Fatalf("life %d: %d of %d batches acknowledged; the store holds\n%swhich is no state between\n%sand\n%s",
				life, acked, len(states)-1, got, states[acked], states[len(states)-1])
		}
		if _, err := d.Check(t.Context(), func(p Problem) { t.Errorf("life %d: %s", life, p) }); err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		if err := d.Close(); err != nil {
			t.Fatalf("life %d: close: %v", life, err)
		}
		// Go on from what is there: the model is made anew from the store.
		states = []string{got}
		m = modelOf(t, l)
	}
}

// modelOf copies a closed store into a model.
func modelOf(t *testing.T, l *faultLayer) mirror {
	t.Helper()
	d, err := Open(crashDir, faultOptions(l))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m := mirror{NewSim(SimOptions{Manual: true})}
	pgs, _ := d.PGs()
	for _, pg := range pgs {
		for sp := Objects; sp <= Staging; sp++ {
			list, _, _ := d.List(pg, sp, "", maxListEntries)
			for _, e := range list {
				k := Key{pg, sp, e.Name}
				data, err := d.Read(k, 0, MaxObjectBytes)
				if err != nil {
					t.Fatal(err)
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
	return m
}

// crashLife submits batches, a few at a time, until one fails, and returns
// how many were acknowledged.
func crashLife(d *Disk, rng *rand.Rand, m mirror, number *int, states *[]string) (acked int, err error) {
	type result struct {
		i   int
		err error
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	results := make(chan result, 1000)
	window := 1 + rng.IntN(8)
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
	for i := 0; i < 400 && !failed; i++ {
		*number++
		b := crashBatch(rng, *number, m)
		s, err := dump(m.Sim)
		if err != nil {
			return acked, err
		}
		*states = append(*states, s)
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
