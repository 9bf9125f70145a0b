package store

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/placement"
)

var (
	startObjects = flag.Int("store.startobjects", 2_000_000, "objects of the store that BenchmarkStart opens, and BenchmarkMemory fills")
	benchMemory  = flag.Int64("store.memory", 512<<20, "bytes of memory that BenchmarkMemory may use")
)

// residentBytes is the memory of this process.
func residentBytes(b *testing.B, what string) float64 {
	s, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(s), what)
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb * 1024
}

// fillObjects writes n objects of 4 KiB, as an OSD does.
func fillObjects(b *testing.B, d *Disk, n int) {
	data := make([]byte, blockBytes)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 64)
	for i := range n {
		pg := placement.PGID{Pool: 1, Shard: uint32(i % 64)}
		k := Key{PG: pg, Name: fmt.Sprintf("rbd_data.1234567890.%016x", i)}
		log := Key{PG: pg, Space: Meta, Name: "log"}
		batch := &Batch{Ops: []Op{
			{Kind: OpWrite, Key: k, Data: data}, {Kind: OpSetVersion, Key: k, Version: Version{Seq: uint64(i)}, Mtime: int64(i)},
			{Kind: OpOmapSet, Key: log, Name: fmt.Appendf(nil, "%016x", i), Value: data[:110]},
		}}
		if i%(64*1000) < 64 && i > 64*5000 {
			batch.Ops = append(batch.Ops, Op{Kind: OpOmapRmRange, Key: log, End: fmt.Appendf(nil, "%016x", i-64*5000)})
		}
		slots <- struct{}{}
		wg.Add(1)
		d.Submit(batch, func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
			wg.Done()
		})
	}
	wg.Wait()
}

// crashNow stops a store without a checkpoint.
func crashNow(b *testing.B, d *Disk) {
	d.fail(errors.New("the benchmark has it crash"))
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStart opens a store of many objects: closed in order, and after a crash with
// 256 MiB of small groups in its journal.
func BenchmarkStart(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "osd")
	const full = 256 << 20
	if err := Create(dir, CreateOptions{JournalBytes: 2*full + 16<<20, Log: quiet()}); err != nil {
		b.Fatal(err)
	}
	opts := Options{IdleCheckpoint: -1, Log: quiet()}
	open := func(what string) *Disk {
		began := time.Now()
		cpu := cpuNow(b)
		d, err := Open(dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), what+"-s")
		b.ReportMetric((cpuNow(b) - cpu).Seconds(), what+"-cpu-s")
		return d
	}
	d := open("empty")
	fillObjects(b, d, *startObjects)
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		d = open("closed")
		d.keeper.await(d)
		for i := 0; ; i++ {
			d.view.RLock()
			pos := d.applied.pos
			d.view.RUnlock()
			d.keeper.mu.Lock()
			have := pos - d.keeper.done.pos
			d.keeper.mu.Unlock()
			if have > full-64<<10 {
				b.ReportMetric(float64(have)/(1<<20), "journal-MiB")
				break
			}
			pg := placement.PGID{Pool: 1, Shard: uint32(i % 64)}
			k := Key{PG: pg, Name: fmt.Sprintf("rbd_data.1234567890.%016x", i%*startObjects)}
			if err := Apply(d, &Batch{Ops: []Op{
				{Kind: OpWrite, Key: k, Off: 100, Data: make([]byte, 1000)}, {Kind: OpSetVersion, Key: k, Version: Version{Seq: uint64(i)}},
				{Kind: OpOmapSet, Key: Key{PG: pg, Space: Meta, Name: "log"}, Name: fmt.Appendf(nil, "x%016x", i), Value: make([]byte, 110)},
			}}); err != nil {
				b.Fatal(err)
			}
		}
		crashNow(b, d)
		d = open("crashed")
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory fills a store with the sizes that a daemon's memory flag gives it, and prints
// what the process takes: at its start, at most while it fills, at rest, and after another start.
func BenchmarkMemory(b *testing.B) {
	debug.SetMemoryLimit(*benchMemory)
	debug.SetGCPercent(200)
	opts := Options{IdleCheckpoint: -1, Log: quiet()}
	for range b.N {
		dir := filepath.Join(b.TempDir(), "osd")
		if err := Create(dir, CreateOptions{Log: quiet()}); err != nil {
			b.Fatal(err)
		}
		d, err := Open(dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(residentBytes(b, "VmRSS:")/(1<<20), "start-MiB")
		fillObjects(b, d, *startObjects)
		b.ReportMetric(residentBytes(b, "VmHWM:")/(1<<20), "most-MiB")
		d.keeper.await(d)
		debug.FreeOSMemory()
		b.ReportMetric(residentBytes(b, "VmRSS:")/(1<<20), "rest-MiB")
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		if d, err = Open(dir, opts); err != nil {
			b.Fatal(err)
		}
		debug.FreeOSMemory()
		b.ReportMetric(residentBytes(b, "VmRSS:")/(1<<20), "reopened-MiB")
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
