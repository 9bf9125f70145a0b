package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

// Whatever happens to the index, the cache either knows nothing of a key or what the
// index says. The slots are few against the keys, so they take each other's places.
func TestIndexCache(t *testing.T) {
	for _, size := range []int64{0, indexCacheSmall + 1} { // of the heap, and mapped
		testIndexCache(t, size)
	}
}

func testIndexCache(t *testing.T, size int64) {
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	c, err := newIndexCache(size)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.slots = c.slots[:64*indexWays]
	index := map[string][]byte{}
	known := 0
	key := func() []byte {
		if chance.IntN(2) == 0 {
			return appendSegKey(nil, chance.Uint64N(200), uint32(chance.IntN(3)))
		}
		k := Key{PG: placement.PGID{Pool: 1, Shard: uint32(chance.IntN(3))}, Space: Objects, Name: fmt.Sprintf("%0*d", 1+chance.IntN(160), chance.IntN(20))}
		return appendHeadKey(nil, &k, uint32(chance.IntN(2)))
	}
	for step := range 300_000 {
		k := key()
		switch chance.IntN(10) {
		case 0, 1, 2:
			v := bytes.Repeat([]byte{byte(step)}, chance.IntN(150))
			index[string(k)] = v
			if err := c.set(k, v); err != nil {
				t.Fatal(err)
			}
		case 3:
			delete(index, string(k))
			if err := c.delete(k); err != nil {
				t.Fatal(err)
			}
		case 4:
			if step%1000 == 4 {
				kind := []byte{keyHead, keySeg}[chance.IntN(2)]
				for k := range index {
					if k[0] == kind {
						delete(index, k)
					}
				}
				if err := c.deleteRange([]byte{kind}, []byte{kind + 1}); err != nil {
					t.Fatal(err)
				}
			}
		default:
			want, there := index[string(k)]
			v, found, ok := c.get(k, nil)
			if ok && (found != there || !bytes.Equal(v, want)) {
				t.Fatalf("seed %d, step %d: key %x: got %x, %v; the index has %x, %v", seed, step, k, v, found, want, there)
			}
			if ok {
				known++
			} else {
				c.put(k, want, there)
			}
		}
	}
	if known < 10_000 {
		t.Errorf("seed %d: only %d of 150000 lookups were known", seed, known)
	}
	long := append([]byte{keyHead}, make([]byte, indexRoom)...)
	c.put(long, nil, true)
	if _, _, ok := c.get(long, nil); ok {
		t.Error("a long key was kept")
	}
	// A range of another kind of keys changes nothing.
	k := appendSegKey(nil, 7, 7)
	c.put(k, []byte("seven"), true)
	if err := c.deleteRange([]byte{keyOmap}, []byte{keyOmap, 9}); err != nil {
		t.Fatal(err)
	}
	if v, _, ok := c.get(k, nil); !ok || string(v) != "seven" {
		t.Error("a range of the omap emptied the cache")
	}
}

// TestIndexCacheKeepsWhatIsAsked: keys that are asked for once do not displace those that are asked for often.
func TestIndexCacheKeepsWhatIsAsked(t *testing.T) {
	c, err := newIndexCache(0)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(len(c.slots))
	ask := func(oid uint64) bool {
		k := appendSegKey(nil, oid, 0)
		_, _, known := c.get(k, nil)
		if !known {
			c.put(k, []byte("x"), true)
		}
		return known
	}
	stayed := uint64(0)
	for round := range uint64(20) {
		for i := range n / 8 {
			if ask(i) && round == 19 {
				stayed++
			}
			ask(n + round*n/4 + 2*i) // once each
			ask(n + round*n/4 + 2*i + 1)
		}
	}
	if stayed < n/8*9/10 {
		t.Errorf("%d of %d stayed", stayed, n/8)
	}
}

// TestQuickNeverStale has readers ask for what is in memory while objects are overwritten, cut and made anew, written home and
// cloned: what a quick reader says is no older than what had been acknowledged when it was asked.
func TestQuickNeverStale(t *testing.T) {
	d, _ := newCachedFault(t, 4<<20, indexCacheSmall+1)
	const objects, rounds = 8, 150
	var mu sync.Mutex // guards below
	acked := map[string]byte{}
	ended := false
	fill := func(n byte) []byte { return bytes.Repeat([]byte{n}, 3*blockBytes) }
	var wg sync.WaitGroup
	answered := 0
	for r := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(5, uint64(r)))
			for {
				name := fmt.Sprint("o", rng.IntN(objects))
				mu.Lock()
				over, least := ended, acked[name]
				mu.Unlock()
				if over {
					return
				}
				b, err := d.Quick().Read(testKey(name), uint64(rng.IntN(3))*blockBytes, blockBytes)
				if errors.Is(err, ErrWait) {
					b, err = d.Read(testKey(name), 0, 1)
				} else if err == nil {
					mu.Lock()
					answered++
					mu.Unlock()
				}
				switch {
				case least == 0 && errors.Is(err, ErrNotFound):
				case err != nil:
					t.Errorf("%s: %v", name, err)
					return
				case b[0] < least || len(b) > 1 && !bytes.Equal(b, bytes.Repeat(b[:1], len(b))):
					t.Errorf("%s: read %d ... %d after %d was acknowledged", name, b[0], b[len(b)-1], least)
					return
				}
				runtime.Gosched()
			}
		}()
	}
	for n := byte(1); n <= rounds; n++ {
		for i := range objects {
			name := fmt.Sprint("o", i)
			ops := []Op{writeOp(name, 0, fill(n))}
			switch (int(n) + i) % 7 {
			case 0: // other blocks
				ops = append([]Op{{Kind: OpTruncate, Key: testKey(name)}}, ops...)
			case 1: // another object
				ops = append([]Op{{Kind: OpRemove, Key: testKey(name)}}, ops...)
			case 2: // by another name
				ops = []Op{writeOp("new", 0, fill(n)), {Kind: OpRename, Key: testKey("new"), To: testKey(name)}}
			case 3:
				ops = append(ops, Op{Kind: OpClone, Key: testKey(name), To: testKey("copy")})
			}
			if err := Apply(d, &Batch{Ops: ops}); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			acked[name] = n
			mu.Unlock()
		}
		switch n % 4 {
		case 0:
			d.keeper.askRelief()
		case 2:
			d.keeper.await(d)
		}
	}
	mu.Lock()
	ended = true
	mu.Unlock()
	wg.Wait()
	if answered < 100 {
		t.Errorf("only %d reads were answered from memory", answered)
	}
}

// TestQuick: what is in memory is answered without I/O, and all else is not answered.
func TestQuick(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	o := faultOptions(l)
	o.BlockCacheBytes = 1 << 20
	open := func() *Disk {
		d, err := Open(crashDir, o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	apply(t, d, writeOp("a", 0, fillBytes('a', 2*blockBytes)))
	apply(t, d, writeOp("hole", 8*blockBytes, fillBytes('h', blockBytes)))
	apply(t, d, writeOp("large", 0, fillBytes('l', 17*blockBytes)))
	apply(t, d, writeOp("tiny", 0, []byte("t")))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open()
	defer d.Close()
	var quiet atomic.Bool // no I/O may happen
	l.setFault(func(op, name string, off int64) error {
		if quiet.Load() && op == "read" {
			t.Errorf("%s of %s at %d", op, name, off)
		}
		return nil
	})
	wait := func(name string, off, n uint64) {
		t.Helper()
		quiet.Store(true)
		defer quiet.Store(false)
		if _, err := d.Quick().Read(testKey(name), off, n); !errors.Is(err, ErrWait) {
			t.Errorf("%d bytes at %d of %s: %v, want ErrWait", n, off, name, err)
		}
		if b, err := d.Quick().ReadBuf(testKey(name), off, n); !errors.Is(err, ErrWait) {
			b.Release()
			t.Errorf("%d bytes at %d of %s, counted: %v, want ErrWait", n, off, name, err)
		}
	}
	want := func(name string, off, n uint64, is byte) {
		t.Helper()
		quiet.Store(true)
		defer quiet.Store(false)
		if b, err := d.Quick().Read(testKey(name), off, n); err != nil || !bytes.Equal(b, fillBytes(is, int(n))) {
			t.Errorf("%d bytes at %d of %s: %v, or other bytes", n, off, name, err)
		}
	}
	read := func(name string, off, n uint64) {
		t.Helper()
		if _, err := d.Read(testKey(name), off, n); err != nil {
			t.Fatal(err)
		}
	}
	wait("a", 0, blockBytes) // nothing is known
	if _, err := d.Quick().Stat(testKey("a")); !errors.Is(err, ErrWait) {
		t.Errorf("stat: %v, want ErrWait", err)
	}
	if _, err := d.Stat(testKey("a")); err != nil {
		t.Fatal(err)
	}
	if i, err := d.Quick().Stat(testKey("a")); err != nil || i.Size != 2*blockBytes {
		t.Errorf("stat: %+v, %v", i, err)
	}
	wait("a", 0, blockBytes) // not where it lies
	read("a", 0, blockBytes)
	want("a", 0, blockBytes, 'a')
	want("a", 5, 100, 'a')
	wait("a", 0, 2*blockBytes)
	apply(t, d, writeOp("a", blockBytes, fillBytes('a', blockBytes))) // on its way home
	want("a", 0, 2*blockBytes, 'a')
	apply(t, d, writeOp("a", 0, fillBytes('b', blockBytes)))
	want("a", 0, blockBytes, 'b')
	d.keeper.await(d)
	wait("a", 0, blockBytes)

	read("hole", blockBytes, blockBytes)
	want("hole", blockBytes, blockBytes, 0)
	read("large", 0, blockBytes)
	read("large", 16*blockBytes, blockBytes)
	wait("large", 0, 17*blockBytes)
	read("tiny", 0, 1)
	wait("tiny", 0, 1) // the index has its bytes

	if _, err := d.Quick().Read(testKey("none"), 0, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("an object that never was: %v", err)
	}
	d.filter.stop()
	if _, err := d.Quick().Read(testKey("none"), 0, 1); !errors.Is(err, ErrWait) {
		t.Errorf("an object that was not asked for: %v", err)
	}
	if _, err := d.Read(testKey("none"), 0, 1); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := d.Quick().Read(testKey("none"), 0, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("an object that is known not to exist: %v", err)
	}
	d.view.Lock() // as while a group is made visible
	_, err := d.Quick().Stat(testKey("a"))
	_, rerr := d.Quick().Read(testKey("a"), 0, 1)
	d.view.Unlock()
	if !errors.Is(err, ErrWait) || !errors.Is(rerr, ErrWait) {
		t.Errorf("while a group is made visible: %v, %v", err, rerr)
	}
}

func fillBytes(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
