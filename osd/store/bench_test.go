package store_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// benchSubmit keeps inflight batches of the OSD's shape going: data, version,
// a log entry, and now and then a cut of the log.
func benchSubmit(b *testing.B, size, inflight, objects, objectBytes int) {
	dir := filepath.Join(b.TempDir(), "osd")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := store.Create(dir, store.CreateOptions{JournalBytes: 256 << 20, Capacity: 8 << 30, Log: log}); err != nil {
		b.Fatal(err)
	}
	d, err := store.Open(dir, store.Options{Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	const pgs = 8
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	room := make(chan struct{}, inflight)
	var wg sync.WaitGroup
	b.SetBytes(int64(size))
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		n := rng.IntN(objects)
		pg := placement.PGID{Pool: 1, Shard: uint32(n % pgs)}
		k := store.Key{PG: pg, Name: fmt.Sprintf("rbd_data.1234567890.%016x", n)}
		meta := store.Key{PG: pg, Space: store.Meta, Name: "log"}
		v := store.Version{Term: 1, Seq: uint64(i + 1)}
		off := uint64(0)
		if objectBytes > size {
			off = uint64(rng.IntN(objectBytes/size) * size)
		}
		batch := &store.Batch{Ops: []store.Op{
			{Kind: store.OpWrite, Key: k, Off: off, Data: data},
			{Kind: store.OpSetVersion, Key: k, Version: v, Mtime: int64(i)},
			{Kind: store.OpOmapSet, Key: meta, Name: fmt.Appendf(nil, "%016x", i), Value: data[:160]},
		}}
		if i%100 == 99 && i > 3000 {
			batch.Ops = append(batch.Ops, store.Op{Kind: store.OpOmapRmRange, Key: meta, End: fmt.Appendf(nil, "%016x", i-3000)})
		}
		room <- struct{}{}
		wg.Add(1)
		d.Submit(batch, func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
			wg.Done()
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-us/op")
}

func BenchmarkSubmit4K(b *testing.B) {
	for _, inflight := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(inflight), func(b *testing.B) { benchSubmit(b, 4096, inflight, 256, 4<<20) })
	}
}

func BenchmarkSubmit64K(b *testing.B) { benchSubmit(b, 64<<10, 16, 256, 4<<20) }

func BenchmarkSubmit4M(b *testing.B) { benchSubmit(b, 4<<20, 4, 64, 4<<20) }

func BenchmarkRead4K(b *testing.B)     { benchRead(b, 4096, false) }
func BenchmarkRead4M(b *testing.B)     { benchRead(b, 4<<20, false) }
func BenchmarkReadInto4K(b *testing.B) { benchRead(b, 4096, true) }
func BenchmarkReadInto4M(b *testing.B) { benchRead(b, 4<<20, true) }

func benchRead(b *testing.B, size int, into bool) {
	dir := filepath.Join(b.TempDir(), "osd")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := store.Create(dir, store.CreateOptions{JournalBytes: 64 << 20, Capacity: 8 << 30, Log: log}); err != nil {
		b.Fatal(err)
	}
	d, err := store.Open(dir, store.Options{Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	const objects = 32
	key := func(i int) store.Key {
		return store.Key{PG: placement.PGID{Pool: 1}, Name: fmt.Sprintf("rbd_data.1234567890.%016x", i)}
	}
	for i := range objects {
		if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpWrite, Key: key(i), Data: make([]byte, 4<<20)}}}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			p := store.NewBuffer(size)
			for range (b.N + 3) / 4 {
				if into {
					if _, err := store.ReadInto(d, key(rng.IntN(objects)), uint64(rng.IntN(4<<20/size)*size), p); err != nil {
						b.Error(err)
						return
					}
				} else if _, err := d.Read(key(rng.IntN(objects)), uint64(rng.IntN(4<<20/size)*size), uint64(size)); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-us/op")
}
