package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest"
)

// drawOptions are options that change how a store works and nothing of what it answers.
func drawOptions(rng *rand.Rand) store.Options {
	pick := func(of ...int64) int64 { return of[rng.IntN(len(of))] }
	return store.Options{
		CacheBytes: pick(1<<20, 8<<20), DirtyBytes: pick(16<<10, 256<<10, 4<<20), QueueBytes: pick(64<<10, 1<<20, 64<<20),
		BlockCacheBytes: pick(0, 64<<10, 1<<20), IndexCacheBytes: pick(0, 2<<20),
		NoODirect: rng.IntN(2) == 0, IdleCheckpoint: -1, Log: quietLog(),
	}
}

// mayDiscard makes a store discard, sometimes.
func mayDiscard(rng *rand.Rand, o store.Options) store.Options {
	if rng.IntN(2) == 0 {
		return store.WithDiscard(o, 1<<(2*rng.IntN(5)))
	}
	return o
}

// diskEvent carries out what is the same for every Disk.
func diskEvent(s store.Store, e storetest.Event) {
	if q, ok := s.(quickFirst); ok {
		s = q.Disk
	}
	switch d := s.(*store.Disk); e {
	case storetest.Checkpoint:
		d.Checkpoint()
	case storetest.Relief:
		d.Relieve()
	}
}

// quickFirst is a Disk that is asked for what it has in memory first, and says the same in both ways.
type quickFirst struct{ *store.Disk }

func (q quickFirst) Stat(k store.Key) (store.Info, error) {
	want, werr := q.Disk.Stat(k)
	got, err := q.Quick().Stat(k)
	if !errors.Is(err, store.ErrWait) && (got != want || fmt.Sprint(err) != fmt.Sprint(werr)) {
		return got, fmt.Errorf("quick: stat of %s: %+v, %w; else %+v, %w", k, got, err, want, werr)
	}
	return want, werr
}

func (q quickFirst) Read(k store.Key, off, n uint64) ([]byte, error) {
	for range 2 { // the second finds what the first has put into the caches
		got, err := q.Quick().Read(k, off, n)
		want, werr := q.Disk.Read(k, off, n)
		if !errors.Is(err, store.ErrWait) && (!bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(werr)) {
			return got, fmt.Errorf("quick: %d bytes at %d of %s: other bytes, or %w; else %w", n, off, k, err, werr)
		}
		buf, err := q.Quick().ReadBuf(k, off, n)
		if err == nil && (!bytes.Equal(buf.Bytes(), want) || werr != nil) {
			return got, fmt.Errorf("quick: %d bytes at %d of %s: other bytes in counted memory; else %w", n, off, k, werr)
		}
		if err == nil {
			buf.Release()
		}
	}
	return q.Disk.Read(k, off, n)
}

// openQuick opens a store on l.
func openQuick(l *store.Medium, o store.Options) (store.Store, error) {
	d, err := l.Open(o)
	if err != nil {
		return nil, err
	}
	return quickFirst{d}, nil
}

// inMemory is a Disk on a medium that can lose power.
func inMemory(rng *rand.Rand, device bool) storetest.Variant {
	where := "in memory"
	if device {
		where = "on a device in memory"
	}
	seed, journal := rng.Uint64(), int64(4<<20)<<rng.IntN(3)
	var l *store.Medium
	var draw *rand.Rand
	return storetest.Variant{
		Name: fmt.Sprintf("disk %s, journal of %d KiB", where, journal>>10),
		Open: func() (store.Store, error) {
			l, draw = store.NewMedium(seed), rand.New(rand.NewPCG(seed, 1))
			o := store.CreateOptions{JournalBytes: journal, Capacity: 256 << 20}
			if device {
				o.Device, o.Capacity = l.AddDevice(128<<20), 0
			}
			if err := l.Create(o); err != nil {
				return nil, err
			}
			l.Drowsy()
			return openQuick(l, mayDiscard(draw, drawOptions(draw)))
		},
		Happen: func(s store.Store, e storetest.Event) (store.Store, error) {
			switch e {
			case storetest.Reopen:
				if err := s.Close(); err != nil {
					return s, err
				}
				return openQuick(l, mayDiscard(draw, drawOptions(draw)))
			case storetest.Crash:
				l = l.PowerCut()
				l.Drowsy()
				s.Close() // in vain
				return openQuick(l, mayDiscard(draw, drawOptions(draw)))
			}
			diskEvent(s, e)
			return s, nil
		},
	}
}

// onDisk is a Disk in files or on a device.
func onDisk(t *testing.T, rng *rand.Rand, l layout) storetest.Variant {
	seed := rng.Uint64()
	var dir string
	var draw *rand.Rand
	options := func() store.Options {
		if l.name == onFile.name { // it keeps its room
			return drawOptions(draw)
		}
		return mayDiscard(draw, drawOptions(draw))
	}
	return storetest.Variant{
		Name: "disk, " + l.name,
		Open: func() (store.Store, error) {
			remove(dir) // of an earlier run, when a script is made shorter
			dir, draw = l.make(t, 256<<20), rand.New(rand.NewPCG(seed, 1))
			return store.Open(dir, options())
		},
		Happen: func(s store.Store, e storetest.Event) (store.Store, error) {
			if e == storetest.Reopen || e == storetest.Crash {
				if err := s.Close(); err != nil {
					return s, err
				}
				return store.Open(dir, options())
			}
			diskEvent(s, e)
			return s, nil
		},
	}
}

// remove removes a store, and the file it is on.
func remove(dir string) {
	if file, err := os.Readlink(filepath.Join(dir, "block")); err == nil && !strings.HasPrefix(file, "/dev/") {
		os.Remove(file)
	}
	if dir != "" {
		os.RemoveAll(dir)
	}
}

// TestMetamorphic runs the same random batches on both engines, on every layout, with random options that
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
		all := []storetest.Variant{sim, inMemory(rng, false), inMemory(rng, true)}
		for _, l := range layouts() {
			all = append(all, onDisk(t, rng, l))
		}
		return all
	})
}
