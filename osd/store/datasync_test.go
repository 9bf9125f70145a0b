package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
)

// syncFile counts its syncs, which last until something comes from hold.
type syncFile struct {
	file
	hold    chan error
	syncs   atomic.Int32
	written atomic.Int32
	durable atomic.Int32
}

func (f *syncFile) Sync() error {
	f.syncs.Add(1)
	n := f.written.Load()
	err := <-f.hold
	f.durable.Store(n)
	return err
}

// TestDataSyncIsShared: who comes while a sync is under way does not take it for his, but shares
// the next with all others who do; after one that failed nothing is durable any more.
func TestDataSyncIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &syncFile{hold: make(chan error)}
		var s dataSync
		s.init()
		var wg sync.WaitGroup
		come := func(want error) {
			wg.Go(func() {
				n := f.written.Add(1)
				if err := s.wait(f); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				if d := f.durable.Load(); want == nil && d < n {
					t.Errorf("write %d is said to be durable, only %d are", n, d)
				}
			})
			synctest.Wait()
		}
		for range 5 {
			come(nil)
		}
		f.hold <- nil
		synctest.Wait()
		if n := f.syncs.Load(); n != 2 {
			t.Fatalf("%d syncs begun for one and four that came meanwhile, want 2", n)
		}
		f.hold <- nil
		wg.Wait()
		come(syscall.EIO)
		come(syscall.EIO)
		f.hold <- syscall.EIO
		wg.Wait()
		come(syscall.EIO)
		if n := f.syncs.Load(); n != 3 {
			t.Errorf("%d syncs, want none after one that failed", n)
		}
	})
}

// onceFile is a data file whose sync fails once, as the kernel tells an error once, and that sees how many sync at a time.
type onceFile struct {
	file
	fail    atomic.Bool
	running atomic.Int32
	most    atomic.Int32
}

func (f *onceFile) Sync() error {
	f.most.Store(max(f.most.Load(), f.running.Add(1)))
	defer f.running.Add(-1)
	if f.fail.CompareAndSwap(true, false) {
		return syscall.EIO
	}
	for range 20 { // others get the chance to come
		runtime.Gosched()
	}
	return f.file.Sync()
}

type onceLayer struct {
	*faultLayer
	f *onceFile
}

func (l onceLayer) OpenFile(name string, direct bool) (file, error) {
	f, err := l.faultLayer.OpenFile(name, direct)
	if err == nil && filepath.Base(name) == dataName {
		l.f.file = f
		return l.f, nil
	}
	return f, err
}

func openOnce(t *testing.T) (*Disk, *onceFile) {
	t.Helper()
	l := onceLayer{newFaultLayer(1), &onceFile{}}
	createFault(t, l.faultLayer)
	o := faultOptions(l.faultLayer)
	o.layer = l
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, l.f
}

// TestSyncErrorIsEverybodys: the error of one sync of the data file, which may concern what others have written, keeps the
// checkpoint from giving up the journal's copy of it.
func TestSyncErrorIsEverybodys(t *testing.T) {
	for range 8 { // two channels are ready, and chance takes one
		d, f := openOnce(t)
		apply(t, d, writeOp("x", 0, letterBytes('x', 16))) // in the journal and in memory
		before := d.super.checkpoint.seq
		f.fail.Store(true)
		if err := Apply(d, &Batch{Ops: []Op{writeOp("a", 0, letterBytes('a', 256))}}); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want EIO", err)
		}
		if err := d.checkpoint(); err == nil || d.super.checkpoint.seq != before {
			t.Fatalf("checkpoint %d became %d (%v) in a store that has failed", before, d.super.checkpoint.seq, err)
		}
	}
}

// TestOneSyncAtATime: of two syncs of the data file at a time one could get the error that concerns the other.
func TestOneSyncAtATime(t *testing.T) {
	d, f := openOnce(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for n := range 40 {
				name := fmt.Sprint(i)
				if err := Apply(d, &Batch{Ops: []Op{writeOp(name, 0, letterBytes('a'+byte(n%20), []int{64, 256}[i%2]))}}); err != nil {
					t.Error(err)
					return
				}
				if n%10 == 0 {
					d.keeper.await(d)
				}
			}
		})
	}
	wg.Wait()
	if n := f.most.Load(); n != 1 {
		t.Errorf("%d syncs at a time", n)
	}
}
