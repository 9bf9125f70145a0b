package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
)

func testBadInput(t *testing.T, s store.Store) {
	long := strings.Repeat("n", store.MaxNameBytes+1)
	longKey := make([]byte, store.MaxKeyBytes+1)
	longValue := make([]byte, store.MaxValueBytes+1)
	k := key("a")
	bad := map[string]store.Op{
		"no kind":              {Key: k},
		"unknown kind":         {Kind: 200, Key: k},
		"no name":              {Kind: store.OpTouch, Key: key("")},
		"long name":            {Kind: store.OpTouch, Key: key(long)},
		"unknown space":        {Kind: store.OpTouch, Key: store.Key{PG: pg, Space: 4, Name: "a"}},
		"unknown space to rm":  {Kind: store.OpRemoveSpace, Key: store.Key{PG: pg, Space: 9}},
		"write beyond":         {Kind: store.OpWrite, Key: k, Off: store.MaxObjectBytes, Data: []byte("x")},
		"write far beyond":     {Kind: store.OpWrite, Key: k, Off: math.MaxUint64, Data: []byte("x")},
		"zero beyond":          {Kind: store.OpZero, Key: k, Off: 1, Len: store.MaxObjectBytes},
		"zero overflow":        {Kind: store.OpZero, Key: k, Off: math.MaxUint64, Len: math.MaxUint64},
		"truncate beyond":      {Kind: store.OpTruncate, Key: k, Off: store.MaxObjectBytes + 1},
		"long attribute name":  {Kind: store.OpSetAttr, Key: k, Name: longKey},
		"long attribute value": {Kind: store.OpSetAttr, Key: k, Name: []byte("n"), Value: longValue},
		"long omap key":        {Kind: store.OpOmapSet, Key: k, Name: longKey},
		"long omap value":      {Kind: store.OpOmapSet, Key: k, Name: []byte("n"), Value: longValue},
		"long range end":       {Kind: store.OpOmapRmRange, Key: k, End: longKey},
		"rename to no name":    {Kind: store.OpRename, Key: k, To: key("")},
		"rename from no name":  {Kind: store.OpRename, Key: key(""), To: k},
		"clone to no name":     {Kind: store.OpClone, Key: k, To: key("")},
	}
	for name, op := range bad {
		err := store.Apply(s, batch(store.Op{Kind: store.OpTouch, Key: k}, op))
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if err := store.Apply(s, nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no batch: got %v, want ErrInvalid", err)
	}
	many := &store.Batch{Ops: make([]store.Op, store.MaxBatchOps+1)}
	huge, meta := &store.Batch{}, &store.Batch{}
	data := make([]byte, 32<<20)
	for i := range 3 {
		huge.Ops = append(huge.Ops, write(k, uint64(i), data))
	}
	for i := range 9 {
		meta.Ops = append(meta.Ops, store.Op{Kind: store.OpOmapSet, Key: k, Name: []byte{byte(i)}, Value: longValue[1:]})
	}
	for name, b := range map[string]*store.Batch{"many operations": many, "too much data": huge, "too much metadata": meta} {
		if err := store.Apply(s, b); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if _, err := s.Stat(k); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a refused batch left something: %v", err)
	}
	_, err1 := s.Stat(key(""))
	_, err2 := s.Read(key(long), 0, 1)
	_, err3 := s.Attrs(store.Key{PG: pg, Space: 4, Name: "a"})
	_, _, err4 := s.OmapList(k, nil, nil, 0)
	_, _, err5 := s.List(pg, store.Objects, "", -1)
	_, _, err6 := s.List(pg, 7, "", 1)
	for i, err := range []error{err1, err2, err3, err4, err5, err6} {
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("bad read %d: got %v, want ErrInvalid", i, err)
		}
	}
}

func testLimits(t *testing.T, s store.Store) {
	k := key(strings.Repeat("\xff", store.MaxNameBytes))
	name, value := bytes.Repeat([]byte{0xff}, store.MaxKeyBytes), pattern(store.MaxValueBytes, 4)
	must(t, s, store.Op{Kind: store.OpSetAttr, Key: k, Name: name, Value: value}, store.Op{Kind: store.OpOmapSet, Key: k, Name: name, Value: value},
		store.Op{Kind: store.OpOmapSet, Key: k, Name: nil, Value: nil})
	if v, err := s.Attr(k, name); err != nil || !bytes.Equal(v, value) {
		t.Errorf("largest attribute: %d bytes, %v", len(v), err)
	}
	if kvs, more, err := s.OmapList(k, nil, nil, math.MaxInt); err != nil || more || len(kvs) != 2 || !bytes.Equal(kvs[1].Value, value) {
		t.Errorf("smallest and largest omap key: %d keys, %v, %v", len(kvs), more, err)
	}
	if got, more, err := s.List(pg, store.Objects, "", math.MaxInt); err != nil || more || len(got) != 1 || got[0].Name != k.Name {
		t.Errorf("list: %d entries, %v, %v", len(got), more, err)
	}
	if _, more, err := s.List(pg, store.Objects, k.Name, 1); err != nil || more {
		t.Errorf("list after the last: %v, %v", more, err)
	}
	data := pattern(store.MaxObjectBytes, 9)
	must(t, s, write(k, 0, data))
	wantData(t, s, k, data)
	must(t, s, store.Op{Kind: store.OpTruncate, Key: k, Off: 1}, store.Op{Kind: store.OpTruncate, Key: k, Off: store.MaxObjectBytes})
	clear(data[1:])
	wantData(t, s, k, data)
	must(t, s, store.Op{Kind: store.OpRemove, Key: k})
	// As many operations as allowed, on as many objects.
	b := &store.Batch{}
	for i := range store.MaxBatchOps {
		b.Ops = append(b.Ops, store.Op{Kind: store.OpTouch, Key: key(fmt.Sprint(i))})
	}
	if err := store.Apply(s, b); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.PGUsage(pg); n != store.MaxBatchOps {
		t.Errorf("got %d objects, want %d", n, store.MaxBatchOps)
	}
}

// testConcurrent has writers change objects in ways a reader can check: all
// bytes of an object, its version and an omap value carry one number.
func testConcurrent(t *testing.T, s store.Store) {
	const objects = 4
	rounds := uint64(60)
	if testing.Short() {
		rounds = 25
	}
	size := func(o int) int { return []int{3, 9000, 40000, 150000}[o] }
	content := func(o int, n uint64) []byte { return bytes.Repeat([]byte{byte(n)}, size(o)) }
	state := func(o int, n uint64) *store.Batch {
		k := key(fmt.Sprint("o", o))
		return batch(write(k, 0, content(o, n)), store.Op{Kind: store.OpSetVersion, Key: k, Version: store.Version{Seq: n}},
			store.Op{Kind: store.OpOmapSet, Key: k, Name: []byte("n"), Value: fmt.Append(nil, n)},
			store.Op{Kind: store.OpOmapSet, Key: k, Name: []byte("m"), Value: fmt.Append(nil, n)})
	}
	var acked [objects]atomic.Uint64
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for o := range objects {
		if err := store.Apply(s, state(o, 0)); err != nil {
			t.Fatal(err)
		}
		writers.Add(1)
		go func() {
			defer writers.Done()
			for n := uint64(1); n <= rounds; n++ {
				if n%7 == 0 { // its blocks are freed and used by others
					must := batch(append([]store.Op{{Kind: store.OpRemove, Key: key(fmt.Sprint("o", o))}}, state(o, n).Ops...)...)
					if err := store.Apply(s, must); err != nil {
						t.Errorf("object %d: %v", o, err)
						return
					}
				} else if err := store.Apply(s, state(o, n)); err != nil {
					t.Errorf("object %d: %v", o, err)
					return
				}
				acked[o].Store(n)
			}
		}()
	}
	for r := range 3 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				o := i % objects
				k, low := key(fmt.Sprint("o", o)), acked[o].Load()
				b, err := s.Read(k, 0, 1<<20)
				if err != nil || len(b) != size(o) || !bytes.Equal(b, bytes.Repeat(b[:1], len(b))) {
					t.Errorf("object %d: a part of a batch, or %v", o, err)
					return
				}
				if b[0] < byte(low) {
					t.Errorf("object %d: read %d after %d was acknowledged", o, b[0], low)
					return
				}
				if info, err := s.Stat(k); err != nil || info.Version.Seq < low {
					t.Errorf("object %d: version %s after %d was acknowledged, %v", o, info.Version, low, err)
					return
				}
				kvs, _, err := s.OmapList(k, nil, nil, 10)
				if err != nil || len(kvs) != 2 || !bytes.Equal(kvs[0].Value, kvs[1].Value) {
					t.Errorf("object %d: omap %s, %v", o, showKVs(kvs), err)
					return
				}
				s.Usage()
			}
		}()
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// fill writes objects until the store is full, and returns how many it took.
func fill(t *testing.T, s store.Store, size int) int {
	t.Helper()
	if c := s.Usage().Capacity; c > 256<<20 {
		t.Fatalf("a small store has at most 256 MiB, not %d", c)
	}
	for i := 0; ; i++ {
		err := store.Apply(s, batch(write(key(fmt.Sprint("f", i)), 0, pattern(size, byte(i))), store.Op{Kind: store.OpSetVersion, Key: key(fmt.Sprint("f", i))}))
		if errors.Is(err, store.ErrNoSpace) {
			if _, err := s.Stat(key(fmt.Sprint("f", i))); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("a refused write left something: %v", err)
			}
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func testFull(t *testing.T, s store.Store) {
	defer s.Close()
	for round := range 3 {
		n := fill(t, s, 1<<20)
		small := fill2(t, s)
		if n < 4 {
			t.Fatalf("round %d: full after %d objects", round, n)
		}
		for i := range n { // nothing was harmed
			wantData(t, s, key(fmt.Sprint("f", i)), pattern(1<<20, byte(i)))
		}
		// What others have decided may use a part of what is kept back.
		for i, n := range []int{4 << 10, 100 << 10} {
			b := batch(write(key(fmt.Sprint("r", i)), 0, pattern(n, byte(i))))
			b.Reserve = true
			if err := store.Apply(s, b); err != nil {
				t.Fatalf("round %d: %d bytes into the reserve: %v", round, n, err)
			}
			wantData(t, s, key(fmt.Sprint("r", i)), pattern(n, byte(i)))
		}
		// In place, shrinking, with a log entry, as the OSD does it: all of that goes on.
		log := store.Key{PG: pg, Space: store.Meta, Name: "log"}
		for i := range n {
			k := key(fmt.Sprint("f", i))
			logged := store.Op{Kind: store.OpOmapSet, Key: log, Name: fmt.Append(nil, round, i), Value: make([]byte, 200)}
			var err error
			switch i % 4 {
			case 0:
				err = store.Apply(s, batch(store.Op{Kind: store.OpTruncate, Key: k, Off: 5}, logged))
			case 1:
				err = store.Apply(s, batch(store.Op{Kind: store.OpZero, Key: k, Off: 100, Len: 500000}, logged))
			}
			if err == nil {
				err = store.Apply(s, batch(store.Op{Kind: store.OpRemove, Key: k}, logged))
			}
			if err != nil {
				t.Fatalf("round %d: emptying a full store: %v", round, err)
			}
		}
		for i := range small {
			must(t, s, store.Op{Kind: store.OpRemove, Key: key(fmt.Sprint("s", i))})
		}
		for i := range 2 {
			must(t, s, store.Op{Kind: store.OpRemove, Key: key(fmt.Sprint("r", i))})
		}
		if u := s.Usage(); u.Data > 64<<10 || u.Available <= 0 {
			t.Fatalf("round %d: after emptying: %+v", round, u)
		}
	}
	if n := fill(t, s, 300<<10); n < 12 {
		t.Errorf("after emptying three times, room for only %d objects", n)
	}
}

// fill2 fills the last gaps with small objects.
func fill2(t *testing.T, s store.Store) int {
	t.Helper()
	for i := 0; ; i++ {
		err := store.Apply(s, batch(write(key(fmt.Sprint("s", i)), 0, pattern(4096, byte(i)))))
		if errors.Is(err, store.ErrNoSpace) {
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testFullRemoveSpace fills the store, drops all at once and needs the room at once.
func testFullRemoveSpace(t *testing.T, s store.Store) {
	defer s.Close()
	first := fill(t, s, 256<<10)
	for round := range 3 {
		must(t, s, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: pg}})
		if n := fill(t, s, 256<<10); n < first*9/10 {
			t.Fatalf("round %d: room for %d objects, at first for %d", round, n, first)
		}
	}
}

// testReadInto reads the same through ReadInto, into memory of every alignment.
func testReadInto(t *testing.T, s store.Store) {
	k := key("a")
	want := pattern(300000, 7)
	must(t, s, write(k, 0, want), store.Op{Kind: store.OpZero, Key: k, Off: 8192, Len: 70000})
	clear(want[8192:78192])
	mem := store.NewBuffer(1 << 20)
	for _, c := range [][3]int{{0, 0, 300000}, {0, 0, 1 << 19}, {0, 8192, 4096}, {1, 0, 5000}, {0, 5, 100}, {4096, 299999, 4096}, {0, 300000, 10}, {0, 0, 0}, {0, 4096, 4097}} {
		for i := range mem {
			mem[i] = 0xee
		}
		p := mem[c[0]:][:c[2]]
		n, err := store.ReadInto(s, k, uint64(c[1]), p)
		exp := want[min(c[1], len(want)):min(c[1]+c[2], len(want))]
		if err != nil || !bytes.Equal(p[:n], exp) {
			t.Errorf("ReadInto %v: %d bytes, %v; want %d", c, n, err, len(exp))
		}
		if rest := mem[c[0]+c[2]:]; len(rest) > 0 && rest[0] != 0xee {
			t.Errorf("ReadInto %v: wrote beyond the buffer", c)
		}
	}
	if _, err := store.ReadInto(s, key("none"), 0, mem); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ReadInto of nothing: %v", err)
	}
}
