package store

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstore/cairn/placement"
)

var smallObjects = flag.Int("store.objects", 1_000_000, "objects that BenchmarkSmallObjects writes")

// BenchmarkSmallObjects writes objects of 1 KiB as an OSD does, each with its version, its log entry
// and the state of its PG, the logs cut at 5000 entries, and prints what they take of the device per
// byte of data: blocks of the data file and files of the index, after compactions have settled. The
// journal is a fixed cost, and not counted. Then it overwrites them at random and prints it again.
func BenchmarkSmallObjects(b *testing.B) {
	for _, c := range []struct {
		name  string
		size  int
		attrs bool
	}{{"1KiB", 1024, false}, {"1KiB-attribute", 1024, true}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				benchSmall(b, *smallObjects, c.size, c.attrs)
			}
		})
	}
}

func benchSmall(b *testing.B, objects, size int, attrs bool) {
	dir := filepath.Join(b.TempDir(), "osd")
	if err := Create(dir, CreateOptions{Capacity: 64 << 30, Log: quiet()}); err != nil {
		b.Fatal(err)
	}
	d, err := Open(dir, Options{Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { d.Close() }()
	const pgs, logMax = 64, 5000
	rng := rand.New(rand.NewPCG(1, 2))
	chacha := rand.NewChaCha8([32]byte{3})
	var seqs [pgs]uint64
	slots := make(chan []byte, 32)
	for range cap(slots) {
		slots <- make([]byte, size)
	}
	submit := func(n int) {
		pg := placement.PGID{Pool: 1, Shard: uint32(n % pgs)}
		k := Key{PG: pg, Name: fmt.Sprintf("rbd_data.1234567890.%016x", n)}
		meta := Key{PG: pg, Space: Meta, Name: "pg"}
		seqs[n%pgs]++
		seq := seqs[n%pgs]
		data := <-slots
		_, _ = chacha.Read(data) // nothing compresses it
		var entry [110]byte
		copy(entry[:], k.Name)
		_, _ = chacha.Read(entry[80:])
		batch := &Batch{Ops: []Op{
			{Kind: OpTruncate, Key: k}, {Kind: OpWrite, Key: k, Data: data},
			{Kind: OpSetVersion, Key: k, Version: Version{Term: 1, Seq: seq}, Mtime: 1700000000e9 + int64(seq)},
			{Kind: OpOmapSet, Key: meta, Name: binary.BigEndian.AppendUint64(nil, seq), Value: entry[:]},
			{Kind: OpSetAttr, Key: meta, Name: []byte("state"), Value: entry[40:]},
		}}
		if attrs {
			batch.Ops = append(batch.Ops, Op{Kind: OpSetAttr, Key: k, Name: []byte("user.type"), Value: entry[70:102]})
		}
		if seq > logMax && seq%312 == 0 {
			batch.Ops = append(batch.Ops, Op{Kind: OpOmapRmRange, Key: meta, End: binary.BigEndian.AppendUint64(nil, seq-logMax)})
		}
		d.Submit(batch, func(err error) {
			if err != nil {
				b.Error(err)
			}
			slots <- data
		})
	}
	phase := func(what string, next func(i int) int) {
		start, cpu, wrote := time.Now(), cpuNow(b), writtenNow(b)
		for i := range objects {
			submit(next(i))
		}
		var idle [][]byte
		for range cap(slots) {
			idle = append(idle, <-slots)
		}
		for _, p := range idle {
			slots <- p
		}
		if b.Failed() {
			b.FailNow()
		}
		loaded := time.Since(start)
		d.keeper.await(d)
		d.settle()
		logical := float64(objects * size)
		index, files := dirBytes(b, filepath.Join(dir, indexName))
		m := d.db.Metrics()
		u := d.Usage()
		used, _, _ := d.alloc.counts()
		b.Logf("%s: %d objects of %d bytes in %.1f s, %.1f us CPU each; device wrote %.2f x (index flush %.2f x, compactions %.2f x); index %d MiB in %d files, blocks %d MiB: %.3f x; usage says %.3f x",
			what, objects, size, loaded.Seconds(), float64((cpuNow(b)-cpu).Microseconds())/float64(objects),
			float64(writtenNow(b)-wrote)/logical, float64(m.Flush.WriteThroughput.Bytes)/logical, float64(compacted(d))/logical,
			index>>20, files, used*blockBytes>>20,
			(float64(index)+float64(used*blockBytes))/logical, float64(u.Used-d.fixedBytes())/logical)
		b.ReportMetric((float64(index)+float64(used*blockBytes))/logical, what+"-space/byte")
	}
	phase("written", func(i int) int { return i })
	phase("overwritten", func(int) int { return rng.IntN(objects) })
	start, cpu := time.Now(), cpuNow(b)
	const reads = 20000
	for range reads {
		n := rng.IntN(objects)
		k := Key{PG: placement.PGID{Pool: 1, Shard: uint32(n % pgs)}, Name: fmt.Sprintf("rbd_data.1234567890.%016x", n)}
		if p, err := d.Read(k, 0, 4096); err != nil || len(p) != size {
			b.Fatalf("read %s: %d bytes, %v", k, len(p), err)
		}
	}
	b.Logf("read: %.1f us, %.1f us CPU", float64(time.Since(start).Microseconds())/reads, float64((cpuNow(b)-cpu).Microseconds())/reads)
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	start = time.Now()
	if d, err = Open(dir, Options{Log: quiet()}); err != nil {
		b.Fatal(err)
	}
	b.Logf("open: %.2f s", time.Since(start).Seconds())
}

func compacted(d *Disk) (n uint64) {
	m := d.db.Metrics()
	for _, l := range m.Levels {
		n += l.TableBytesCompacted + l.BlobBytesCompacted
	}
	return n
}

// settle waits until the index has nothing to compact of its own accord.
func (d *Disk) settle() {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for calm := 0; calm < 25; <-look.C {
		if m := d.db.Metrics(); m.Compact.NumInProgress == 0 && m.Table.ObsoleteCount == 0 && m.Table.ZombieCount == 0 {
			calm++
		} else {
			calm = 0
		}
	}
}

func cpuNow(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// writtenNow is what this process has caused to be written to devices.
func writtenNow(b *testing.B) int64 {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return ru.Oublock * 512
}

func dirBytes(b *testing.B, dir string) (n int64, files int) {
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var i fs.FileInfo
			if i, err = e.Info(); err == nil {
				n, files = n+i.Sys().(*syscall.Stat_t).Blocks*512, files+1
			}
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n, files
}
