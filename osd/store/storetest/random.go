package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Workload makes random batches over a small world, so that operations meet:
// the same few objects are written, renamed, removed and made again. Equal
// seeds make equal batches.
type Workload struct {
	rng     *rand.Rand
	MaxData int // bytes of one write; default 200 KiB, crossing the journal/extent threshold
	Objects int // names in each space; default 6
	stamp   uint64
}

// NewWorkload makes a workload.
func NewWorkload(seed uint64) *Workload {
	return &Workload{rng: rand.New(rand.NewPCG(seed, 1)), MaxData: 200 << 10, Objects: 6}
}

func (w *Workload) key() store.Key {
	return store.Key{
		PG:    placement.PGID{Pool: 1, Shard: w.rng.Uint32N(2)},
		Space: store.Space(w.rng.IntN(3)),
		Name:  fmt.Sprintf("o%d", w.rng.IntN(w.Objects)),
	}
}

func (w *Workload) name() []byte {
	if w.rng.IntN(20) == 0 {
		return []byte{0, byte(w.rng.IntN(3)), 0xff}[:1+w.rng.IntN(3)] // awkward bytes
	}
	return fmt.Appendf(nil, "k%02d", w.rng.IntN(30))
}

func (w *Workload) bytes(n int) []byte {
	b := make([]byte, n)
	w.stamp++
	x := w.stamp*0x9e3779b97f4a7c15 | 1
	for i := range b {
		if i%512 == 0 {
			x = x*6364136223846793005 + 1442695040888963407
		}
		b[i] = byte(x>>56) + byte(i)
	}
	return b
}

// offset favours block and segment boundaries and their neighbours.
func (w *Workload) offset(limit int) uint64 {
	switch w.rng.IntN(4) {
	case 0:
		return uint64(w.rng.IntN(limit/4096+1) * 4096)
	case 1:
		return uint64(max(0, w.rng.IntN(limit/4096+1)*4096+w.rng.IntN(3)-1))
	case 2:
		return uint64(w.rng.IntN(8192))
	}
	return uint64(w.rng.IntN(limit))
}

func (w *Workload) smallOffset() uint64 {
	return []uint64{0, 0, w.rng.Uint64N(100), w.rng.Uint64N(1200), w.rng.Uint64N(3000)}[w.rng.IntN(5)]
}

func (w *Workload) size() int {
	switch w.rng.IntN(5) {
	case 0:
		return w.rng.IntN(w.MaxData)
	case 1:
		return 4096 * (1 + w.rng.IntN(max(1, w.MaxData/4096)))
	case 2:
		return w.rng.IntN(10)
	}
	return min(w.MaxData, 1+w.rng.IntN(12000))
}

// Batch makes the next batch.
func (w *Workload) Batch() *store.Batch {
	n := 1 + w.rng.IntN(6)
	if w.rng.IntN(8) == 0 {
		n = w.rng.IntN(30)
	}
	b := &store.Batch{}
	for range n {
		b.Ops = append(b.Ops, w.op())
	}
	return b
}

func (w *Workload) op() store.Op {
	op := store.Op{Key: w.key()}
	// Two names are mostly of small objects: around the size up to which a store may keep data elsewhere.
	small := op.Key.Name <= "o1" && w.rng.IntN(8) > 0
	switch r := w.rng.IntN(100); {
	case r < 34 && small:
		op.Kind, op.Off, op.Data = store.OpWrite, w.smallOffset(), w.bytes(w.rng.IntN(1500))
	case r < 40 && small:
		op.Kind, op.Off, op.Len = store.OpZero, w.smallOffset(), w.smallOffset()
	case r < 46 && small:
		op.Kind, op.Off = store.OpTruncate, w.smallOffset()
	case r < 34:
		op.Kind, op.Off, op.Data = store.OpWrite, w.offset(1<<20), w.bytes(w.size())
	case r < 40:
		op.Kind, op.Off, op.Len = store.OpZero, w.offset(1<<20), w.offset(1<<19)
	case r < 46:
		op.Kind, op.Off = store.OpTruncate, w.offset(1<<20)
	case r < 52:
		op.Kind = store.OpRemove
	case r < 60:
		op.Kind, op.Name, op.Value = store.OpSetAttr, w.name(), w.bytes(w.rng.IntN(100))
	case r < 63:
		op.Kind, op.Name = store.OpRmAttr, w.name()
	case r < 75:
		op.Kind, op.Name, op.Value = store.OpOmapSet, w.name(), w.bytes(w.rng.IntN(300))
	case r < 79:
		op.Kind, op.Name = store.OpOmapRm, w.name()
	case r < 83:
		op.Kind, op.Name = store.OpOmapRmRange, w.name()
		if w.rng.IntN(3) > 0 {
			op.End = w.name()
		}
	case r < 84:
		op.Kind = store.OpOmapClear
	case r < 90:
		op.Kind, op.Mtime = store.OpSetVersion, int64(w.rng.Uint64()>>1)
		op.Version = store.Version{Term: placement.Term(w.rng.Uint32N(9)), Seq: w.rng.Uint64N(1000)}
	case r < 94:
		op.Kind, op.To = store.OpClone, w.key()
	case r < 97:
		op.Kind, op.To = store.OpRename, w.key()
	case r < 99:
		op.Kind = store.OpRemoveSpace
	default:
		op.Kind = store.OpTouch
	}
	return op
}

func random(s store.Store, w *Workload, m *model, n int) error {
	for i := range n {
		b := w.Batch()
		ok := m.apply(b)
		err := store.Apply(s, b)
		switch {
		case !ok && !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("batch %d renames what does not exist: got %v, want ErrNotFound", i, err)
		case ok && err != nil:
			return fmt.Errorf("batch %d: %w", i, err)
		}
		if err := w.probe(s, m); err != nil {
			return fmt.Errorf("after batch %d: %w", i, err)
		}
		if w.rng.IntN(16) == 0 || i == n-1 {
			if err := compare(s, m); err != nil {
				return fmt.Errorf("after batch %d: %w", i, err)
			}
		}
	}
	return nil
}

// probe makes one random read.
func (w *Workload) probe(s store.Store, m *model) error {
	k := w.key()
	off, n := w.offset(1<<20), uint64(w.size())
	got, err := s.Read(k, off, n)
	o := m.objs[k]
	if o == nil {
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read %s, which does not exist: got %d bytes, %v", k, len(got), err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	size := uint64(len(o.data))
	want := o.data[min(off, size):min(off+n, size)]
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read %s [%d, +%d): got %d bytes, want %d, first difference at %d", k, off, n, len(got), len(want), firstDiff(got, want))
	}
	from, to := w.name(), w.name()
	kvs, _, err := s.OmapList(k, from, to, 1000)
	if err != nil {
		return err
	}
	sub := map[string][]byte{}
	for key, v := range o.omap {
		if key >= string(from) && key < string(to) {
			sub[key] = v
		}
	}
	if want := sortedKVs(sub); !equalKVs(kvs, want) {
		return fmt.Errorf("omap of %s from %q to %q: got %s, want %s", k, from, to, showKVs(kvs), showKVs(want))
	}
	return nil
}
