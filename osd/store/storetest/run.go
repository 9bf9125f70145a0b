package storetest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

var seedFlag = flag.Uint64("storetest.seed", 0, "seed of the random store tests; 0 picks one and prints it")

// Seed is the seed of this test: the flag's, or a new one, which it prints
// with the command that replays it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()>>1 | 1
	}
	t.Logf("seed %d; replay: go test -run '^%s$' -storetest.seed=%d", seed, strings.ReplaceAll(t.Name(), "/", "$/^"), seed)
	return seed
}

// An Option adds tests that need more than an empty store.
type Option func(*suite)

// WithReopen gives the suite a way to close a store and open it again. crash
// is the same without the Close; nil when the engine has no such way.
func WithReopen(reopen, crash func(t *testing.T, s store.Store) store.Store) Option {
	return func(s *suite) { s.reopen, s.crash = reopen, crash }
}

// WithSmall gives the suite stores that a few MiB fill. Their capacity must be at
// most 256 MiB.
func WithSmall(open func(t *testing.T) store.Store) Option {
	return func(s *suite) { s.small = open }
}

type suite struct {
	open, small   func(t *testing.T) store.Store
	reopen, crash func(t *testing.T, s store.Store) store.Store
}

// Run runs the suite. open makes an empty store; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store, opts ...Option) {
	s := &suite{open: open}
	for _, o := range opts {
		o(s)
	}
	for _, c := range []struct {
		name string
		f    func(t *testing.T, s store.Store)
	}{
		{"Data", testData}, {"Attrs", testAttrs}, {"Omap", testOmap}, {"List", testList}, {"Rename", testRename}, {"Split", testSplit}, {"Clone", testClone}, {"Shards", testShards}, {"Records", testRecords},
		{"RemoveSpace", testRemoveSpace}, {"Atomic", testAtomic}, {"BadInput", testBadInput}, {"Limits", testLimits},
		{"Order", testOrder}, {"Aliasing", testAliasing}, {"Identity", testIdentity}, {"Usage", testUsage},
		{"ReadInto", testReadInto}, {"Close", testClose}, {"Concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := s.open(t)
			defer st.Close()
			c.f(t, st)
		})
	}
	t.Run("Random", s.testRandom)
	if s.reopen != nil {
		t.Run("Reopen", func(t *testing.T) { s.testRestart(t, s.reopen) })
	}
	if s.crash != nil {
		t.Run("Crash", func(t *testing.T) { s.testRestart(t, s.crash) })
	}
	if s.small != nil {
		t.Run("Full", func(t *testing.T) { testFull(t, s.small(t)) })
		t.Run("FullRemoveSpace", func(t *testing.T) { testFullRemoveSpace(t, s.small(t)) })
	}
}

var pg = placement.PGID{Pool: 3, Shard: 0x2f}

func key(name string) store.Key { return store.Key{PG: pg, Name: name} }

func batch(ops ...store.Op) *store.Batch { return &store.Batch{Ops: ops} }

func write(k store.Key, off uint64, data []byte) store.Op {
	return store.Op{Kind: store.OpWrite, Key: k, Off: off, Data: data}
}

func must(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := store.Apply(s, batch(ops...)); err != nil {
		t.Fatal(err)
	}
}

// pattern is n bytes that differ from place to place.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*31 ^ byte(i>>16)*17 ^ seed
	}
	return b
}

func wantData(t *testing.T, s store.Store, k store.Key, want []byte) {
	t.Helper()
	got, err := s.Read(k, 0, store.MaxObjectBytes)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("object %s: got %d bytes, want %d, first difference at %d", k, len(got), len(want), firstDiff(got, want))
	}
	info, err := s.Stat(k)
	if err != nil || info.Size != uint64(len(want)) {
		t.Fatalf("stat %s: got size %d, %v; want %d", k, info.Size, err, len(want))
	}
}

func testData(t *testing.T, s store.Store) {
	k := key("a")
	if _, err := s.Read(k, 0, 1); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("read of nothing: %v, want ErrNotFound", err)
	}
	must(t, s, store.Op{Kind: store.OpTouch, Key: k})
	wantData(t, s, k, nil)
	var want []byte
	put := func(off, n int) {
		t.Helper()
		p := pattern(n, byte(off+n))
		if end := off + n; end > len(want) {
			want = append(want, make([]byte, end-len(want))...)
		}
		copy(want[off:], p)
		must(t, s, write(k, uint64(off), p))
		wantData(t, s, k, want)
	}
	// Small, block-sized, odd, over segment boundaries, large at odd places.
	for _, c := range [][2]int{{0, 5}, {3, 4096}, {4096, 4096}, {100000, 1}, {262143, 2}, {262144, 4096}, {8192, 65536},
		{1, 70000}, {4095, 200001}, {1 << 20, 1 << 20}, {1<<20 + 5, 300}, {3 << 20, 65535}, {0, 3 << 20}} {
		put(c[0], c[1])
	}
	cut := func(n int) {
		t.Helper()
		if n < len(want) {
			want = want[:n:n]
		} else {
			want = append(want, make([]byte, n-len(want))...)
		}
		must(t, s, store.Op{Kind: store.OpTruncate, Key: k, Off: uint64(n)})
		wantData(t, s, k, want)
	}
	for _, n := range []int{3<<20 + 7, 2<<20 + 1, 2 << 20, 2<<20 + 9000, 100001, 200000, 4096, 4095, 5000, 0, 1} {
		cut(n)
	}
	put(0, 500000)
	for _, c := range [][2]int{{10, 20}, {4096, 4096}, {5000, 100000}, {262140, 10}, {499999, 100}, {600000, 5}, {0, 4095}, {0, 1 << 20}} {
		clear(want[min(c[0], len(want)):min(c[0]+c[1], len(want))])
		must(t, s, store.Op{Kind: store.OpZero, Key: k, Off: uint64(c[0]), Len: uint64(c[1])})
		wantData(t, s, k, want)
	}
	for _, c := range [][3]uint64{{500000, 1, 0}, {499999, 10, 1}, {1 << 40, 1 << 40, 0}, {0, 0, 0}, {0, 1 << 63, 500000}} {
		if b, err := s.Read(k, c[0], c[1]); err != nil || uint64(len(b)) != c[2] {
			t.Errorf("read %d bytes at %d: got %d, %v; want %d", c[1], c[0], len(b), err, c[2])
		}
	}
	must(t, s, write(k, 900000, nil)) // nothing written, nothing extended
	wantData(t, s, k, want)
	must(t, s, store.Op{Kind: store.OpRemove, Key: k}, store.Op{Kind: store.OpRemove, Key: key("never")})
	if _, err := s.Stat(k); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("stat of a removed object: %v", err)
	}
	v := store.Version{Term: 7, Seq: 1 << 40}
	must(t, s, store.Op{Kind: store.OpSetVersion, Key: k, Version: v, Mtime: -5})
	if info, err := s.Stat(k); err != nil || info != (store.Info{Version: v, Mtime: -5}) {
		t.Fatalf("stat of an object made again: %+v, %v", info, err)
	}
}

func testAttrs(t *testing.T, s store.Store) {
	k := key("a")
	set := func(name, value string) store.Op {
		return store.Op{Kind: store.OpSetAttr, Key: k, Name: []byte(name), Value: []byte(value)}
	}
	must(t, s, set("b", "1"), set("a", ""), set("\x00\xff", "x"), set("b", "2"))
	got, err := s.Attrs(k)
	want := []store.KV{{Key: []byte("\x00\xff"), Value: []byte("x")}, {Key: []byte("a")}, {Key: []byte("b"), Value: []byte("2")}}
	if err != nil || !equalKVs(got, want) {
		t.Fatalf("got %s, %v", showKVs(got), err)
	}
	if v, err := s.Attr(k, []byte("a")); err != nil || len(v) != 0 {
		t.Errorf("empty attribute: got %q, %v", v, err)
	}
	must(t, s, store.Op{Kind: store.OpRmAttr, Key: k, Name: []byte("b")}, store.Op{Kind: store.OpRmAttr, Key: k, Name: []byte("none")})
	for _, name := range []string{"b", "none"} {
		if _, err := s.Attr(k, []byte(name)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("attribute %q: %v, want ErrNotFound", name, err)
		}
	}
	if _, err := s.Attr(key("none"), []byte("a")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("attribute of no object: %v", err)
	}
	if _, err := s.Attrs(key("none")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("attributes of no object: %v", err)
	}
	must(t, s, store.Op{Kind: store.OpRemove, Key: k}, store.Op{Kind: store.OpTouch, Key: k})
	if got, err := s.Attrs(k); err != nil || len(got) != 0 {
		t.Errorf("attributes of an object made again: %s, %v", showKVs(got), err)
	}
}

func testOmap(t *testing.T, s store.Store) {
	k := key("log")
	entry := func(i int) []byte { return fmt.Appendf(nil, "%06d", i) }
	set := func(i int) store.Op {
		return store.Op{Kind: store.OpOmapSet, Key: k, Name: entry(i), Value: entry(i)}
	}
	check := func(from, to int) {
		t.Helper()
		n := 0
		var start []byte
		for more := true; more; {
			var kvs []store.KV
			var err error
			if kvs, more, err = s.OmapList(k, start, nil, 100); err != nil {
				t.Fatal(err)
			}
			for _, kv := range kvs {
				if want := entry(from + n); !bytes.Equal(kv.Key, want) || !bytes.Equal(kv.Value, want) {
					t.Fatalf("entry %d: got %q=%q, want %q", n, kv.Key, kv.Value, want)
				}
				n++
				start = append(bytes.Clone(kv.Key), 0)
			}
		}
		if n != to-from {
			t.Fatalf("got %d keys, want %d", n, to-from)
		}
		if info, err := s.Stat(k); err != nil || info.OmapKeys < uint64(n) {
			t.Fatalf("stat says %d keys, %v; there are %d", info.OmapKeys, err, n)
		}
	}
	// A log: entries come at the end and are cut at the beginning, in one batch.
	const keep = 300
	must(t, s, store.Op{Kind: store.OpTouch, Key: k})
	check(0, 0)
	for i := 0; i < 1200; i += 40 {
		var ops []store.Op
		for j := range 40 {
			ops = append(ops, set(i+j))
		}
		if i+40 > keep {
			ops = append(ops, store.Op{Kind: store.OpOmapRmRange, Key: k, End: entry(i + 40 - keep)})
		}
		must(t, s, ops...)
		check(max(0, i+40-keep), i+40)
	}
	kvs, err := s.OmapGet(k, [][]byte{entry(1100), entry(5), entry(1000), []byte("zzz")})
	if err != nil || len(kvs) != 2 || string(kvs[0].Key) != "001100" || string(kvs[1].Value) != "001000" {
		t.Errorf("get: %s, %v", showKVs(kvs), err)
	}
	if kvs, more, err := s.OmapList(k, entry(1000), entry(1003), 10); err != nil || more || len(kvs) != 3 {
		t.Errorf("list of a range: %d keys, more %v, %v; want 3", len(kvs), more, err)
	}
	if kvs, more, err := s.OmapList(k, entry(1003), entry(1000), 10); err != nil || more || len(kvs) != 0 {
		t.Errorf("list of a range turned round: %d keys, more %v, %v", len(kvs), more, err)
	}
	must(t, s, set(3), store.Op{Kind: store.OpOmapRmRange, Key: k, Name: entry(4)}) // below what was cut
	check(3, 4)
	must(t, s, set(4), store.Op{Kind: store.OpOmapClear, Key: k}, set(9))
	check(9, 10)
	must(t, s, store.Op{Kind: store.OpOmapRm, Key: k, Name: entry(9)}, store.Op{Kind: store.OpOmapRm, Key: k, Name: entry(9)})
	check(0, 0)
	if _, err := s.OmapGet(key("none"), nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("omap of no object: %v", err)
	}
	// One answer is bounded: a few of the largest values, and more to come.
	for i := range 6 {
		must(t, s, store.Op{Kind: store.OpOmapSet, Key: k, Name: entry(i), Value: make([]byte, store.MaxValueBytes)})
	}
	kvs, more, err := s.OmapList(k, nil, nil, 100)
	if err != nil || !more || len(kvs) == 0 || len(kvs) > 5 {
		t.Errorf("list of 6 MiB: %d keys, more %v, %v; want a part", len(kvs), more, err)
	}
}

func testList(t *testing.T, s store.Store) {
	names := []string{"\x00", "\x00\x00", "a", "a\x00", "a\x00b", "a/b", "ab", "b", "\xff", "\xff\xff"}
	var ops []store.Op
	for i, n := range names {
		ops = append(ops, store.Op{Kind: store.OpTouch, Key: key(n)}, store.Op{Kind: store.OpTruncate, Key: key(n), Off: uint64(i)})
		ops = append(ops, store.Op{Kind: store.OpSetVersion, Key: key(n), Version: store.Version{Seq: uint64(i)}})
	}
	other := placement.PGID{Pool: 3, Shard: 0x30}
	ops = append(ops, store.Op{Kind: store.OpTouch, Key: store.Key{PG: other, Space: store.Meta, Name: "m"}})
	must(t, s, ops...)
	for i := -1; i < len(names); i++ {
		after := ""
		if i >= 0 {
			after = names[i]
		}
		got, more, err := s.List(pg, store.Objects, after, 4)
		want := names[i+1 : min(i+5, len(names))]
		if err != nil || len(got) != len(want) || more != (i+5 < len(names)) {
			t.Fatalf("after %q: got %v, more %v, %v; want %q", after, got, more, err, want)
		}
		for j, e := range got {
			if e.Name != want[j] || e.Size != uint64(i+1+j) || e.Version.Seq != e.Size {
				t.Errorf("after %q, entry %d: got %+v, want %q", after, j, e, want[j])
			}
		}
	}
	if got, more, err := s.List(pg, store.Meta, "", 4); err != nil || more || len(got) != 0 {
		t.Errorf("list of an empty space: %v, %v, %v", got, more, err)
	}
	if pgs, err := s.PGs(); err != nil || len(pgs) != 2 || pgs[0] != pg || pgs[1] != other {
		t.Errorf("PGs: %v, %v", pgs, err)
	}
	must(t, s, store.Op{Kind: store.OpRemove, Key: store.Key{PG: other, Space: store.Meta, Name: "m"}})
	if pgs, err := s.PGs(); err != nil || len(pgs) != 1 {
		t.Errorf("PGs after a remove: %v, %v", pgs, err)
	}
}

func testRename(t *testing.T, s store.Store) {
	src := store.Key{PG: pg, Space: store.Staging, Name: "x"}
	dst := key("a")
	data := pattern(300000, 1)
	must(t, s, write(src, 0, data), store.Op{Kind: store.OpSetAttr, Key: src, Name: []byte("n"), Value: []byte("v")},
		store.Op{Kind: store.OpOmapSet, Key: src, Name: []byte("k"), Value: []byte("w")})
	must(t, s, write(dst, 0, pattern(100000, 2)), store.Op{Kind: store.OpOmapSet, Key: dst, Name: []byte("old"), Value: nil})
	must(t, s, store.Op{Kind: store.OpRename, Key: src, To: dst}, write(dst, 10, []byte("hello")))
	copy(data[10:], "hello")
	wantData(t, s, dst, data)
	if kvs, _, err := s.OmapList(dst, nil, nil, 10); err != nil || len(kvs) != 1 || string(kvs[0].Key) != "k" {
		t.Errorf("omap came along: %s, %v", showKVs(kvs), err)
	}
	if v, err := s.Attr(dst, []byte("n")); err != nil || string(v) != "v" {
		t.Errorf("attribute came along: %q, %v", v, err)
	}
	if _, err := s.Stat(src); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old name: %v", err)
	}
	must(t, s, store.Op{Kind: store.OpRename, Key: dst, To: dst})
	wantData(t, s, dst, data)
	far := store.Key{PG: placement.PGID{Pool: 9}, Name: "b"}
	must(t, s, store.Op{Kind: store.OpRename, Key: dst, To: far}, write(dst, 0, []byte("new")))
	wantData(t, s, far, data)
	wantData(t, s, dst, []byte("new"))
	if n, b := s.PGUsage(far.PG); n != 1 || b != int64(len(data)) {
		t.Errorf("usage of the other PG: %d objects, %d bytes", n, b)
	}
	if err := store.Apply(s, batch(store.Op{Kind: store.OpRename, Key: key("none"), To: dst})); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("rename of nothing: %v", err)
	}
}

func testRemoveSpace(t *testing.T, s store.Store) {
	var ops []store.Op
	for i := range 200 {
		k := key(fmt.Sprint("o", i))
		ops = append(ops, write(k, 0, pattern(5000, byte(i))), store.Op{Kind: store.OpOmapSet, Key: k, Name: []byte("k"), Value: []byte("v")})
	}
	meta := store.Key{PG: pg, Space: store.Meta, Name: "info"}
	must(t, s, append(ops, store.Op{Kind: store.OpTouch, Key: meta})...)
	// What the batch itself made before goes too, what it makes after stays.
	must(t, s, write(key("o5"), 0, []byte("changed")), write(key("new"), 0, []byte("gone too")),
		store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: pg}}, write(key("o7"), 0, []byte("again")),
		store.Op{Kind: store.OpRename, Key: key("o7"), To: key("o8")})
	if got, more, err := s.List(pg, store.Objects, "", 10); err != nil || more || len(got) != 1 || got[0].Name != "o8" {
		t.Fatalf("list: %v, %v", got, err)
	}
	wantData(t, s, key("o8"), []byte("again"))
	if n, b := s.PGUsage(pg); n != 1 || b != 5 {
		t.Errorf("usage: %d objects, %d bytes; want 1, 5", n, b)
	}
	if _, err := s.Stat(meta); err != nil {
		t.Errorf("the other space: %v", err)
	}
	if kvs, _, err := s.OmapList(key("o8"), nil, nil, 1); err != nil || len(kvs) != 0 {
		t.Errorf("omap of an object made again: %s, %v", showKVs(kvs), err)
	}
	must(t, s, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: pg}}, store.Op{Kind: store.OpRemoveSpace, Key: meta},
		write(key("x"), 0, []byte("1")), store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: pg}})
	if pgs, err := s.PGs(); err != nil || len(pgs) != 0 {
		t.Errorf("PGs: %v, %v; want none", pgs, err)
	}
}

func testAtomic(t *testing.T, s store.Store) {
	a, b := key("a"), key("b")
	must(t, s, write(a, 0, []byte("before")), store.Op{Kind: store.OpOmapSet, Key: a, Name: []byte("k"), Value: []byte("v")})
	before := s.Usage()
	err := store.Apply(s, batch(
		write(a, 3, pattern(100000, 3)), write(b, 0, []byte("b")), store.Op{Kind: store.OpOmapClear, Key: a},
		store.Op{Kind: store.OpSetAttr, Key: a, Name: []byte("n"), Value: []byte("v")},
		store.Op{Kind: store.OpRename, Key: b, To: key("c")}, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: pg}},
		store.Op{Kind: store.OpRename, Key: b, To: a}, // b is gone
	))
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	wantData(t, s, a, []byte("before"))
	if kvs, _, err := s.OmapList(a, nil, nil, 10); err != nil || len(kvs) != 1 {
		t.Errorf("omap: %s, %v", showKVs(kvs), err)
	}
	if kvs, err := s.Attrs(a); err != nil || len(kvs) != 0 {
		t.Errorf("attributes: %s, %v", showKVs(kvs), err)
	}
	if got, _, err := s.List(pg, store.Objects, "", 10); err != nil || len(got) != 1 {
		t.Errorf("objects: %v, %v", got, err)
	}
	if after := s.Usage(); after.Objects != before.Objects || after.Data != before.Data {
		t.Errorf("usage: %+v, before %+v", after, before)
	}
}

func testOrder(t *testing.T, s store.Store) {
	const n = 300
	var mu sync.Mutex
	var got []int
	var wg sync.WaitGroup
	for i := range n {
		op := write(key("a"), 0, fmt.Appendf(nil, "%08d", i))
		switch i % 10 {
		case 3:
			op = write(key("big"), uint64(i), pattern(100000, byte(i))) // takes another way
		case 5:
			op = store.Op{Kind: store.OpRename, Key: key("none"), To: key("x")} // fails late
		case 7:
			op = store.Op{Kind: store.OpWrite} // fails early
		}
		wg.Add(1)
		s.Submit(batch(op), func(err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			got = append(got, i)
			if bad := i%10 == 5 || i%10 == 7; bad != (err != nil) {
				t.Errorf("batch %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range n {
		if got[i] != i {
			t.Fatalf("done was called for %d as number %d", got[i], i)
		}
	}
	wantData(t, s, key("a"), []byte("00000299"))
	if err := store.Apply(s, &store.Batch{}); err != nil {
		t.Errorf("empty batch: %v", err)
	}
}

func testAliasing(t *testing.T, s store.Store) {
	k := key("a")
	for _, n := range []int{10, 4096, 200000} {
		data, name, value := pattern(n, 1), []byte("name"), []byte("value")
		must(t, s, write(k, 0, data), store.Op{Kind: store.OpSetAttr, Key: k, Name: name, Value: value},
			store.Op{Kind: store.OpOmapSet, Key: k, Name: name, Value: value})
		clear(data)
		clear(name)
		clear(value)
		for range 2 {
			got, err := s.Read(k, 0, uint64(n))
			if err != nil || !bytes.Equal(got, pattern(n, 1)) {
				t.Fatalf("%d bytes: the store kept or shares memory: %v", n, err)
			}
			clear(got)
			v, err := s.Attr(k, []byte("name"))
			if err != nil || string(v) != "value" {
				t.Fatalf("attribute: %q, %v", v, err)
			}
			clear(v)
			kvs, _, err := s.OmapList(k, nil, nil, 1)
			if err != nil || len(kvs) != 1 || string(kvs[0].Key) != "name" || string(kvs[0].Value) != "value" {
				t.Fatalf("omap: %s, %v", showKVs(kvs), err)
			}
			clear(kvs[0].Key)
			clear(kvs[0].Value)
		}
		must(t, s, store.Op{Kind: store.OpRemove, Key: k})
	}
}

func testIdentity(t *testing.T, s store.Store) {
	id := s.Identity()
	if id.Store.IsZero() {
		t.Fatal("the store has no UUID")
	}
	id.Cluster, id.OSD, id.Incarnation = placement.UUID{1, 2}, 12, 1<<40
	if err := s.SetIdentity(id); err != nil {
		t.Fatal(err)
	}
	if got := s.Identity(); got != id {
		t.Errorf("got %+v, want %+v", got, id)
	}
	other := id
	other.Store[3]++
	if err := s.SetIdentity(other); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("another store UUID: %v, want ErrInvalid", err)
	}
	if got := s.Identity(); got != id {
		t.Errorf("after a refused change: %+v, want %+v", got, id)
	}
}

func testUsage(t *testing.T, s store.Store) {
	const size = 4 << 20
	u0 := s.Usage()
	if u0.Capacity <= 0 || u0.Available <= 0 || u0.Available > u0.Capacity || u0.Objects != 0 {
		t.Fatalf("empty store: %+v", u0)
	}
	must(t, s, write(key("a"), 0, make([]byte, size)), store.Op{Kind: store.OpTouch, Key: store.Key{PG: pg, Space: store.Meta, Name: "m"}})
	u1 := s.Usage()
	if got := u1.Data - u0.Data; got < size || got > size+size/8 {
		t.Errorf("after writing %d bytes: %d more", size, got)
	}
	if u1.Used != u1.Data+u1.Omap+u1.Meta || u1.Objects != 1 || u1.Available > u0.Available-size {
		t.Errorf("got %+v", u1)
	}
	must(t, s, store.Op{Kind: store.OpZero, Key: key("a"), Len: size / 2})
	if got := s.Usage().Data - u0.Data; got > size/2+size/8 {
		t.Errorf("after zeroing half: %d more", got)
	}
	must(t, s, store.Op{Kind: store.OpRemove, Key: key("a")})
	if u2 := s.Usage(); u2.Data != u0.Data || u2.Objects != 0 {
		t.Errorf("after removing: %+v, at first %+v", u2, u0)
	}
}

func testClose(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Add(1)
		s.Submit(batch(write(key("a"), uint64(i), pattern(1+i%2*70000, 1))), func(err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("batch %d, queued before Close: %v", i, err)
			}
		})
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if err := store.Apply(s, batch(write(key("a"), 0, []byte("x")))); !errors.Is(err, store.ErrClosed) {
		t.Errorf("submit: %v", err)
	}
	_, err1 := s.Stat(key("a"))
	_, err2 := s.Read(key("a"), 0, 1)
	_, err3 := s.Attrs(key("a"))
	_, err4 := s.Attr(key("a"), nil)
	_, err5 := s.OmapGet(key("a"), nil)
	_, _, err6 := s.OmapList(key("a"), nil, nil, 1)
	_, _, err7 := s.List(pg, store.Objects, "", 1)
	_, err8 := s.PGs()
	err9 := s.SetIdentity(s.Identity())
	for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("method %d after Close: %v, want ErrClosed", i, err)
		}
	}
	s.Usage()
	s.PGUsage(pg)
}

func (su *suite) testRandom(t *testing.T) {
	n := 400
	if testing.Short() {
		n = 120
	}
	Play(t, n, 0, func(*rand.Rand) []Variant {
		return []Variant{{Name: "the store", Open: func() (store.Store, error) { return su.open(t), nil }}}
	})
}

// testRestart goes through many lives of one store.
func (su *suite) testRestart(t *testing.T, restart func(*testing.T, store.Store) store.Store) {
	w, m := NewWorkload(Seed(t)), newModel()
	s := su.open(t)
	defer func() { s.Close() }()
	lives := 8
	if testing.Short() {
		lives = 4
	}
	id := s.Identity()
	for life := range lives {
		if err := random(s, w, m, 1+w.rng.IntN(40)); err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		id.Incarnation++
		if err := s.SetIdentity(id); err != nil {
			t.Fatal(err)
		}
		data := s.Usage().Data
		s = restart(t, s)
		if err := compare(s, m); err != nil {
			t.Fatalf("after restart %d: %v", life, err)
		}
		if s.Identity() != id {
			t.Fatalf("after restart %d: identity %+v, want %+v", life, s.Identity(), id)
		}
		if got := s.Usage().Data; got > data { // less when a purge went on
			t.Errorf("after restart %d: %d bytes of data, before %d", life, got, data)
		}
	}
}
