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
		l.addDevice(crashDevice, 16<<20)
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
// object's data, to a few others, to attributes and omap.
func crashBatch(rng *rand.Rand, n int) *Batch {
	b := &Batch{}
	add := func(op Op) { b.Ops = append(b.Ops, op) }
	for range 1 + rng.IntN(4) {
		k := Key{PG: placement.PGID{Pool: 1, Shard: rng.Uint32N(2)}, Space: Space(rng.IntN(2)), Name: fmt.Sprint("o", rng.IntN(5))}
		name := fmt.Appendf(nil, "k%d", rng.IntN(8))
		switch r := rng.IntN(20); {
		case r < 9:
			size := []int{10, 4096, 9000, 70000, 140000, hugeBytes + 9000}[rng.IntN(6)]
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
			add(Op{Kind: []OpKind{OpRename, OpClone}[rng.IntN(2)], Key: k, To: to})
		}
	}
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
