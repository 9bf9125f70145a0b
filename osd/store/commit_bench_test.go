package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/placement"
)

// pacedLayer is the real file layer, but the device is not there: the journal's writes wait for the
// benchmark instead, so that every group has as many batches as it wants, and blocks that go home are dropped.
type pacedLayer struct {
	osLayer
	next chan struct{} // a group may be written
}

func (l pacedLayer) OpenFile(path string, direct bool) (file, error) {
	f, err := l.osLayer.OpenFile(path, direct)
	if err != nil || filepath.Base(path) == superName {
		return f, err
	}
	return pacedFile{f, l}, nil
}

type pacedFile struct {
	file
	l pacedLayer
}

func (f pacedFile) WriteSync([]byte, int64) error {
	<-f.l.next
	return nil
}

func (f pacedFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), f.WriteMany(nil) }
func (f pacedFile) Sync() error                            { return nil }

func (f pacedFile) WriteMany([]ioWrite) error {
	<-time.After(200 * time.Microsecond)
	return nil
}

// BenchmarkCommit is what the store itself costs for a write of 4 KiB with its version and its log entry,
// five to a group: no system call that a device would answer. Objects are new, or of 4 MiB and overwritten at random.
func BenchmarkCommit(b *testing.B) {
	for _, over := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "overwrite"}[over], func(b *testing.B) { benchCommit(b, over) })
	}
}

func benchCommit(b *testing.B, over bool) {
	const pgs, inGroup, objects, logMax, trim = 32, 5, 64, 1000, 64
	dir := filepath.Join(b.TempDir(), "osd")
	l := pacedLayer{next: make(chan struct{})}
	if err := Create(dir, CreateOptions{Capacity: 64 << 30, Log: quiet()}); err != nil {
		b.Fatal(err)
	}
	d, err := Open(dir, Options{Log: quiet(), layer: l, IndexCacheBytes: 16 << 20, DirtyBytes: 32 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	data := alignedBytes(64 * blockBytes)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	var seqs [pgs]uint64
	entry := make([]byte, 110)
	n := 0
	var wg sync.WaitGroup
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
		wg.Done()
	}
	submit := func() {
		var k Key
		off := uint64(0)
		if over {
			i := rng.IntN(objects)
			k = Key{PG: placement.PGID{Pool: 1, Shard: uint32(i % pgs)}, Name: fmt.Sprintf("rbd_data.1234567890.%016x", i)}
			off = uint64(rng.IntN(1024)) * blockBytes
		} else {
			k = Key{PG: placement.PGID{Pool: 1, Shard: uint32(rng.IntN(pgs))}, Name: fmt.Sprintf("benchmark_data_host_%d_object%d", 1234, n)}
		}
		meta := Key{PG: k.PG, Space: Meta, Name: "pg"}
		seqs[k.PG.Shard]++
		seq := seqs[k.PG.Shard]
		copy(entry, k.Name)
		ops := []Op{
			{Kind: OpWrite, Key: k, Off: off, Data: data[n%64*blockBytes:][:blockBytes]},
			{Kind: OpSetVersion, Key: k, Version: Version{Term: 1, Seq: seq}, Mtime: 1700000000e9 + int64(seq)},
			{Kind: OpOmapSet, Key: meta, Name: binary.BigEndian.AppendUint64(nil, seq), Value: cloneBytes(entry)},
		}
		if seq > logMax && seq%trim == 0 {
			ops = append(ops, Op{Kind: OpOmapRmRange, Key: meta, Name: binary.BigEndian.AppendUint64(nil, seq-logMax-trim), End: binary.BigEndian.AppendUint64(nil, seq-logMax)})
		}
		n++
		wg.Add(1)
		d.Submit(&Batch{Ops: ops}, done)
	}
	b.ReportAllocs()
	cpu := cpuNow(b)
	b.ResetTimer()
	for i := range b.N {
		submit()
		if i > inGroup && i%inGroup == inGroup-1 {
			l.next <- struct{}{} // the group before
		}
	}
	end := make(chan struct{})
	go func() {
		wg.Wait()
		close(end)
	}()
	for going := true; going; {
		select {
		case l.next <- struct{}{}:
		case <-end:
			going = false
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuNow(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/float64(d.journal.seq), "batches/group")
	go func() {
		for {
			select {
			case l.next <- struct{}{}:
			case <-d.committed:
				return
			}
		}
	}()
}
