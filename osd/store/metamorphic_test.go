package store_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest"
)

// drawOptions are options that change how a store works and nothing of what it answers.
func drawOptions(rng *rand.Rand) store.Options {
	pick := func(of ...int64) int64 { return of[rng.IntN(len(of))] }
	return store.Options{
		CacheBytes: pick(1<<20, 8<<20), DirtyBytes: pick(16<<10, 256<<10, 4<<20), QueueBytes: pick(64<<10, 1<<20, 64<<20),
		NoODirect: rng.IntN(2) == 0, IdleCheckpoint: -1, Log: quietLog(),
	}
}

// diskEvent carries out what is the same for every Disk.
func diskEvent(s store.Store, e storetest.Event) {
	switch d := s.(*store.Disk); e {
	case storetest.Checkpoint:
		d.Checkpoint()
	case storetest.Relief:
		d.Relieve()
	}
}

// inMemory is a Disk on a medium that can lose power.
func inMemory(rng *rand.Rand) storetest.Variant {
	seed, journal := rng.Uint64(), int64(4<<20)<<rng.IntN(3)
	var l *store.Medium
	var draw *rand.Rand
	return storetest.Variant{
		Name: fmt.Sprintf("disk in memory, journal of %d KiB", journal>>10),
		Open: func() (store.Store, error) {
			l, draw = store.NewMedium(seed), rand.New(rand.NewPCG(seed, 1))
			if err := l.Create(store.CreateOptions{JournalBytes: journal, Capacity: 256 << 20}); err != nil {
				return nil, err
			}
			l.Drowsy()
			return l.Open(drawOptions(draw))
		},
		Happen: func(s store.Store, e storetest.Event) (store.Store, error) {
			switch e {
			case storetest.Reopen:
				if err := s.Close(); err != nil {
					return s, err
				}
				return l.Open(drawOptions(draw))
			case storetest.Crash:
				l = l.PowerCut()
				l.Drowsy()
				s.Close() // in vain
				return l.Open(drawOptions(draw))
			}
			diskEvent(s, e)
			return s, nil
		},
	}
}

// onDisk is a Disk in files.
func onDisk(t *testing.T, rng *rand.Rand) storetest.Variant {
	root, seed, n := t.TempDir(), rng.Uint64(), 0
	var dir string
	var draw *rand.Rand
	return storetest.Variant{
		Name: "disk",
		Open: func() (store.Store, error) {
			n++
			dir, draw = filepath.Join(root, fmt.Sprint(n)), rand.New(rand.NewPCG(seed, 1))
			if err := store.Create(dir, store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 1 << 30, Log: quietLog()}); err != nil {
				return nil, err
			}
			return store.Open(dir, drawOptions(draw))
		},
		Happen: func(s store.Store, e storetest.Event) (store.Store, error) {
			if e == storetest.Reopen || e == storetest.Crash {
				if err := s.Close(); err != nil {
					return s, err
				}
				return store.Open(dir, drawOptions(draw))
			}
			diskEvent(s, e)
			return s, nil
		},
	}
}

// TestMetamorphic runs the same random batches on both engines, with random options that
// change when they are opened anew, with checkpoints and power cuts at random moments: all
// must do the same.
func TestMetamorphic(t *testing.T) {
	n := 250
	if testing.Short() {
		n = 80
	}
	storetest.Play(t, n, 12, func(rng *rand.Rand) []storetest.Variant {
		sim := storetest.Variant{
			Name: "sim",
			Open: func() (store.Store, error) { return store.NewSim(store.SimOptions{}), nil },
			Happen: func(s store.Store, e storetest.Event) (store.Store, error) {
				switch e {
				case storetest.Reopen:
					return s.(*store.Sim).Reopen()
				case storetest.Crash:
					return s.(*store.Sim).Crash(0), nil
				}
				return s, nil
			},
		}
		return []storetest.Variant{sim, inMemory(rng), inMemory(rng), onDisk(t, rng)}
	})
}
