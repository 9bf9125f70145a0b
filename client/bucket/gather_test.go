package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
)

// crowd has n changes wait behind one that is under way, and then lets them go. It returns their errors and how many
// operations that write the index it took.
func (f *fixture) crowd(n int, change func(i int) error) (errs []error, writes int) {
	f.t.Helper()
	first, let := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	held := false
	f.meta.Before(func(_ context.Context, c clienttest.Call) error {
		if !c.Writes {
			return nil
		}
		mu.Lock()
		writes++
		hold := !held
		held = true
		mu.Unlock()
		if hold {
			close(first)
			<-let
		}
		return nil
	})
	defer f.meta.Before(nil)
	errs = make([]error, n)
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = change(0) })
	<-first
	for i := 1; i < n; i++ {
		wg.Go(func() { errs[i] = change(i) })
	}
	for f.waiting() < n-1 {
		runtime.Gosched()
	}
	close(let)
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	return errs, writes
}

func (f *fixture) waiting() (n int) {
	f.svc.gatherer.mu.Lock()
	defer f.svc.gatherer.mu.Unlock()
	for _, l := range f.svc.gatherer.lanes {
		n += len(l.waiting)
	}
	return n
}

func (f *fixture) wantIdle() {
	f.t.Helper()
	f.svc.gatherer.mu.Lock()
	defer f.svc.gatherer.mu.Unlock()
	if n := len(f.svc.gatherer.lanes); n != 0 {
		f.t.Errorf("%d lanes are left", n)
	}
}

// Small puts at a time become one operation.
func TestGatherPuts(t *testing.T) {
	f := newFixture(t, nil)
	f.put("warm", nil) // what is remembered of the index is read
	body := func(i int) []byte { return []byte(fmt.Sprint("body ", i)) }
	errs, writes := f.crowd(40, func(i int) error { _, err := put(f.b, fmt.Sprint("k", i), body(i)); return err })
	for i, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
		f.want(fmt.Sprint("k", i), body(i))
	}
	if writes != 2 {
		t.Errorf("40 puts, 39 of them at a time, took %d operations, want 2", writes)
	}
	f.wantIdle()
}

// Of those that are gathered one's condition fails alone, and of two on one key both have their turn.
func TestGatherConflicts(t *testing.T) {
	f := newFixture(t, nil)
	f.put("k3", []byte("old"))
	f.put("k5", []byte("old"))
	errs, _ := f.crowd(30, func(i int) error {
		in := PutInput{Body: bytes.NewReader([]byte("new")), Size: 3}
		if i%2 == 1 {
			in.Cond = Cond{Absent: true}
		}
		_, err := f.b.Put(context.Background(), fmt.Sprint("k", i%10), in)
		return err
	})
	won := map[int]int{}
	for i, err := range errs {
		switch {
		case err == nil && i%2 == 1:
			won[i%10]++
		case err != nil && (i%2 == 0 || !errors.Is(err, ErrPrecondition)):
			t.Errorf("put %d: %v", i, err)
		}
	}
	for _, k := range []int{1, 3, 5, 7, 9} {
		want := 1
		if k == 3 || k == 5 {
			want = 0
		}
		if won[k] != want {
			t.Errorf("k%d: %d of three puts that want no object succeeded, want %d", k, won[k], want)
		}
	}
	f.wantIdle()
}

// When nobody knows what became of a joint operation, nobody is told that it succeeded, or tries again as if it had not.
func TestGatherUnknown(t *testing.T) {
	f := newFixture(t, nil)
	f.put("warm", nil)
	lost := errors.New("lost")
	joint := 0
	var mu sync.Mutex
	f.meta.After(func(_ context.Context, c clienttest.Call, err error) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Writes && len(c.Ops) > 10 && err == nil {
			joint++
			return &client.OpError{Index: -1, Err: client.ErrTimeout, Text: lost.Error()}
		}
		return err
	})
	errs, _ := f.crowd(9, func(i int) error { _, err := put(f.b, fmt.Sprint("k", i), nil); return err })
	for i, err := range errs[1:] {
		if !errors.Is(err, client.ErrTimeout) {
			t.Errorf("put %d: %v, want that it timed out", i+1, err)
		}
	}
	if errs[0] != nil || joint != 1 {
		t.Errorf("the first: %v; %d joint operations, want 1", errs[0], joint)
	}
	f.wantIdle()
}

// A caller who goes away while it waits takes its change along, and holds nobody up.
func TestGatherCancelled(t *testing.T) {
	f := newFixture(t, nil)
	f.put("warm", nil)
	first, let := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var object string
	writes := 0
	f.meta.Before(func(_ context.Context, c clienttest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Writes {
			writes++
			object = c.Object
			if writes == 1 {
				close(first)
				<-let
			}
		}
		return nil
	})
	errs := make([]error, 2)
	var wg sync.WaitGroup
	wg.Go(func() { _, errs[0] = put(f.b, "k0", nil) })
	<-first
	wg.Go(func() { _, errs[1] = put(f.b, "k1", nil) })
	for f.waiting() == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.svc.gather(ctx, object, new(client.Op).OmapSet("never", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("the one who went away: %v", err)
	}
	close(let)
	wg.Wait()
	if errs[0] != nil || errs[1] != nil {
		t.Errorf("the others: %v", errs)
	}
	mu.Lock()
	defer mu.Unlock()
	if writes != 2 {
		t.Errorf("%d operations, want 2", writes)
	}
	f.wantIdle()
}
