package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// StartRead implements asyncReader.
func (f *memFile) StartRead(p []byte, off int64, done func(int, error) func()) bool {
	go func() { // ends with the read
		if then := done(f.ReadAt(p, off)); then != nil {
			then()
		}
	}()
	return true
}

// fetchNow fetches and waits; false when the store itself is to be asked.
func fetchNow(d *Disk, k Key, off, n uint64) bool {
	over := make(chan struct{})
	if !d.Quick().(Fetcher).Fetch(k, off, n, func() func() { return func() { close(over) } }) {
		return false
	}
	<-over
	return true
}

// TestFetch: what was fetched is in memory, what is much or not known is not fetched, and damage is found by those who read.
func TestFetch(t *testing.T) {
	d, l := newCachedFault(t, 1<<20, 0)
	a, hole := testKey("a"), testKey("hole")
	data := bytes.Join([][]byte{fillBytes('a', blockBytes), fillBytes('b', blockBytes), fillBytes('c', blockBytes+100)}, nil)
	apply(t, d, writeOp("a", 0, data))
	apply(t, d, writeOp("large", 0, fillBytes('l', 20*blockBytes)))
	apply(t, d, writeOp("hole", blockBytes, fillBytes('h', blockBytes)), writeOp("hole", 3*blockBytes, fillBytes('h', blockBytes)))
	d.keeper.await(d)
	for _, name := range []string{"large", "a", "hole"} { // where they lie is known now
		if _, err := d.Read(testKey(name), 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	want := func(k Key, off, n uint64, data []byte) {
		t.Helper()
		if b, err := d.Quick().Read(k, off, n); err != nil || !bytes.Equal(b, data) {
			t.Errorf("%d bytes at %d of %s: %v, or other bytes", n, off, k, err)
		}
	}
	if !fetchNow(d, a, 5, 1<<30) {
		t.Fatal("not fetched")
	}
	want(a, 5, 16*blockBytes-5, data[5:])
	if !fetchNow(d, hole, 0, 4*blockBytes) {
		t.Fatal("not fetched")
	}
	want(hole, 0, 4*blockBytes, bytes.Join([][]byte{fillBytes(0, blockBytes), fillBytes('h', blockBytes), fillBytes(0, blockBytes), fillBytes('h', blockBytes)}, nil))
	for _, c := range []struct {
		name   string
		off, n uint64
	}{{"large", 0, 17 * blockBytes}, {"large", 0, 1 << 40}, {"large", 100, 16 * blockBytes}, {"a", 1 << 30, 5}, {"none", 0, 5}, {"a", 0, blockBytes}} {
		if fetchNow(d, testKey(c.name), c.off, c.n) {
			t.Errorf("%d bytes at %d of %s: fetched, though it is much, nothing, or there", c.n, c.off, c.name)
		}
	}

	// What cannot be read, or is not what was written, is not there afterwards.
	large := testKey("large")
	l.setFault(func(op, name string, off int64) error {
		if op == "read" {
			return errors.New("unreadable")
		}
		return nil
	})
	if !fetchNow(d, large, 4*blockBytes, blockBytes) {
		t.Error("not fetched")
	}
	l.setFault(nil)
	if _, err := d.Quick().Read(large, 4*blockBytes, blockBytes); !errors.Is(err, ErrWait) {
		t.Errorf("what could not be read: %v", err)
	}
	apply(t, d, writeOp("large", 4*blockBytes, fillBytes('m', blockBytes)))
	d.keeper.await(d)
	s, err := d.getSegment(appendSegKey(nil, d.planner.cache[large].oid, 0))
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.files[filepath.Join(crashDir, dataName)].data[s.phys[4]*blockBytes] ^= 1
	l.mu.Unlock()
	if !fetchNow(d, large, 4*blockBytes, blockBytes) {
		t.Error("not fetched")
	}
	if _, err := d.Quick().Read(large, 4*blockBytes, blockBytes); !errors.Is(err, ErrWait) {
		t.Errorf("a damaged block: %v", err)
	}
	if _, err := d.Read(large, 4*blockBytes, blockBytes); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged block, of the store itself: %v", err)
	}
}

// TestFetchNeverStale: fetches that cross writes leave nothing old behind, and Close waits for them.
func TestFetchNeverStale(t *testing.T) {
	d, _ := newCachedFault(t, 4<<20, 0)
	var mu sync.Mutex // guards below
	acked := map[string]byte{}
	ended, fetched := false, 0
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(9, uint64(r)))
			for {
				name := fmt.Sprint("o", rng.IntN(4))
				mu.Lock()
				over, least := ended, acked[name]
				mu.Unlock()
				if over {
					return
				}
				if least == 0 {
					continue
				}
				off := uint64(rng.IntN(2)) * blockBytes
				got := fetchNow(d, testKey(name), off, blockBytes)
				b, err := d.Quick().Read(testKey(name), off, blockBytes)
				if errors.Is(err, ErrWait) {
					b, err = d.Read(testKey(name), off, blockBytes)
				}
				if err != nil || b[0] < least {
					t.Errorf("%s: read %v, %v, after %d was acknowledged", name, b[:min(1, len(b))], err, least)
					return
				}
				if got {
					mu.Lock()
					fetched++
					mu.Unlock()
				}
			}
		}()
	}
	for n := byte(1); n <= 40; n++ {
		for i := range 4 {
			name := fmt.Sprint("o", i)
			ops := []Op{writeOp(name, 0, fillBytes(n, 2*blockBytes))}
			if (int(n)+i)%5 == 0 {
				ops = append([]Op{{Kind: OpRemove, Key: testKey(name)}}, ops...)
			}
			if err := Apply(d, &Batch{Ops: ops}); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			acked[name] = n
			mu.Unlock()
		}
		d.keeper.await(d)
	}
	mu.Lock()
	ended = true
	mu.Unlock()
	wg.Wait()
	if fetched == 0 {
		t.Error("nothing was fetched")
	}
	q := d.Quick().(Fetcher)
	began := make(chan struct{})
	d.blocks.drop(run{1, cacheDropMany + 1})
	d.view.RLock()
	all := d.alloc.size()
	d.view.RUnlock()
	d.blocks.drop(run{1, all})
	for range 10 {
		q.Fetch(testKey("o1"), 0, 2*blockBytes, func() func() { return func() { <-began } })
	}
	over := make(chan error)
	go func() { over <- d.Close() }()
	close(began)
	if err := <-over; err != nil {
		t.Error(err)
	}
	if q.Fetch(testKey("o1"), 0, blockBytes, func() func() { return nil }) {
		t.Error("a store that is closed fetches")
	}
}

// TestReadQueue reads a file of the operating system, more at once than the queue holds; what the queue does not
// take is read plainly.
func TestReadQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	f, err := osLayer{}.CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const blocks = 200
	data := alignedBytes(blocks * blockBytes)
	for i := range blocks {
		copy(data[i*blockBytes:][:blockBytes], fillBytes(byte(i), blockBytes))
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if f, err = (osLayer{}).OpenFile(path, true); err != nil {
		t.Fatal(err)
	}
	m := newMeter(nil)
	mf := m.file(f, DeviceWrite)
	var wg sync.WaitGroup
	queued, refused := 0, 0
	for round := range 5 {
		bufs := make([][]byte, blocks)
		ends := make([]error, blocks)
		for i := range bufs {
			bufs[i] = alignedBytes(blockBytes)
			wg.Add(1)
			if startRead(mf, bufs[i], int64(i)*blockBytes, func(n int, err error) func() {
				if ends[i] = err; err == nil && n != blockBytes {
					ends[i] = fmt.Errorf("%d bytes", n)
				}
				return wg.Done
			}) {
				queued++
				continue
			}
			refused++
			_, ends[i] = mf.ReadAt(bufs[i], int64(i)*blockBytes)
			wg.Done()
		}
		wg.Wait()
		for i, b := range bufs {
			if ends[i] == nil && !bytes.Equal(b, data[i*blockBytes:][:blockBytes]) {
				t.Errorf("round %d, block %d: other bytes", round, i)
			}
		}
	}
	t.Logf("%d queued, %d refused, direct I/O: %v", queued, refused, f.Direct())
	if s := m.stats(); s.Stalled > time.Hour || s.Latency[DeviceRead].Count() == 0 && queued > 0 {
		t.Errorf("%+v", s)
	}
	for i := range m.inFlight {
		if m.inFlight[i].Load() != 0 {
			t.Error("a read counts as being under way for ever")
		}
	}
	// Behind the end there is nothing.
	done := make(chan int, 1)
	if startRead(mf, alignedBytes(blockBytes), blocks*blockBytes, func(n int, err error) func() { done <- n; return nil }) {
		if n := <-done; n != 0 {
			t.Errorf("%d bytes behind the end", n)
		}
	}
	if err := mf.Close(); err != nil {
		t.Error(err)
	}
	if startRead(mf, alignedBytes(blockBytes), 0, func(int, error) func() { return nil }) {
		t.Error("a file that is closed reads")
	}
}
