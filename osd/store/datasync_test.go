package store

import (
	"errors"
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
