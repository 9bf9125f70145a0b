package store_test

import (
	"errors"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest"
	"github.com/cairnstore/cairn/placement"
)

func obj(name string) store.Key {
	return store.Key{PG: placement.PGID{Pool: 1}, Name: name}
}

func write(k store.Key, off uint64, data string) *store.Batch {
	return &store.Batch{Ops: []store.Op{{Kind: store.OpWrite, Key: k, Off: off, Data: []byte(data)}}}
}

func TestSim(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return store.NewSim(store.SimOptions{}) },
		storetest.WithReopen(
			func(t *testing.T, s store.Store) store.Store {
				next, err := s.(*store.Sim).Reopen()
				if err != nil {
					t.Fatal(err)
				}
				return next
			},
			func(t *testing.T, s store.Store) store.Store { return s.(*store.Sim).Crash(0) }),
		storetest.WithSmall(func(t *testing.T) store.Store { return store.NewSim(store.SimOptions{Capacity: 32 << 20}) }))
}

func TestSimCrashLosesWhatWasNotCompleted(t *testing.T) {
	s := store.NewSim(store.SimOptions{Manual: true})
	acked := map[string]error{}
	for _, name := range []string{"a", "b", "c", "d"} {
		s.Submit(write(obj(name), 0, name), func(err error) { acked[name] = err })
	}
	if n := s.Complete(1); n != 1 || len(acked) != 1 {
		t.Fatalf("completed %d, acknowledged %v; want one", n, acked)
	}
	if _, err := s.Stat(obj("b")); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a pending batch is visible: %v", err)
	}
	after := s.Crash(1) // b reached the journal, unacknowledged
	for name, want := range map[string]error{"a": nil, "b": nil, "c": store.ErrNotFound, "d": store.ErrNotFound} {
		if _, err := after.Stat(obj(name)); !errors.Is(err, want) {
			t.Errorf("object %s after the crash: got %v, want %v", name, err, want)
		}
	}
	if len(acked) != 1 {
		t.Errorf("acknowledged after the crash: %v", acked)
	}
	if _, err := s.Stat(obj("a")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the crashed handle answers %v, want ErrClosed", err)
	}
	if s.Identity() != after.Identity() {
		t.Errorf("identity changed: %v, %v", s.Identity(), after.Identity())
	}
}

func TestSimFaults(t *testing.T) {
	broken := errors.New("broken")
	s := store.NewSim(store.SimOptions{})
	defer s.Close()
	if err := store.Apply(s, write(obj("a"), 0, "hello")); err != nil {
		t.Fatal(err)
	}
	if err := s.Rot(obj("a"), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(obj("a"), 0, 1); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read of a rotten block: %v, want ErrCorrupt", err)
	}
	if err := store.Apply(s, write(obj("a"), 1, "x")); err != nil {
		t.Errorf("write into a rotten block: %v", err)
	}
	if _, err := s.Read(obj("a"), 1, 1); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read of a rotten block of which a part was written: %v, want ErrCorrupt", err)
	}
	if err := store.Apply(s, write(obj("a"), 0, "HELLO")); err != nil {
		t.Errorf("write over a rotten block: %v", err)
	}
	if b, err := s.Read(obj("a"), 0, 9); err != nil || string(b) != "HELLO" {
		t.Errorf("read after repair: %q, %v", b, err)
	}
	s.SetHooks(func(store.Key) error { return broken }, nil)
	if _, err := s.Read(obj("a"), 0, 9); !errors.Is(err, broken) {
		t.Errorf("read with a failing device: %v", err)
	}
	s.SetHooks(nil, func(*store.Batch) error { return store.ErrNoSpace })
	if err := store.Apply(s, write(obj("b"), 0, "x")); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("write with a failing device: %v", err)
	}
	s.SetHooks(nil, nil)
	s.FailJournal(broken)
	for range 2 {
		if err := store.Apply(s, write(obj("b"), 0, "x")); !errors.Is(err, broken) {
			t.Errorf("write with a broken journal: %v", err)
		}
	}
	if _, err := s.Stat(obj("b")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a failed write left something: %v", err)
	}
}

func TestSimManualIsDeterministic(t *testing.T) {
	var first placement.UUID
	for i := range 2 {
		s := store.NewSim(store.SimOptions{Manual: true, Seed: 7})
		if i == 0 {
			first = s.Identity().Store
		} else if got := s.Identity().Store; got != first || got.IsZero() {
			t.Errorf("equal seeds make stores %s and %s", first, got)
		}
	}
}
