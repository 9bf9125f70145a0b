package store

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/placement"
)

var (
	benchSeconds  = flag.Float64("store.seconds", 10, "how long each overwrite benchmark, or the loop of kills, goes on")
	benchCapacity = flag.Int64("store.capacity", 4<<30, "bytes of each store of the overwrite benchmarks")
	benchJournal  = flag.Int64("store.journal", 64<<20, "bytes of its journal; small, so that it wraps often")
	benchDir      = flag.String("store.dir", "", "where the overwrite benchmarks put their stores; default a temporary directory")
)

// countLayer is the real file layer with a count of what is written where.
type countLayer struct {
	osLayer
	*written
}

// written counts bytes by file, and syncs.
type written struct{ journal, data, super, index, syncs atomic.Int64 }

func (w *written) sum() int64 {
	return w.journal.Load() + w.data.Load() + w.super.Load() + w.index.Load()
}

func (l countLayer) OpenFile(path string, direct bool) (file, error) {
	f, err := l.osLayer.OpenFile(path, direct)
	if err != nil {
		return nil, err
	}
	n := map[string]*atomic.Int64{journalName: &l.journal, dataName: &l.data, superName: &l.super}[filepath.Base(path)]
	return countFile{f, n, &l.syncs}, nil
}

func (l countLayer) Pebble() vfs.FS {
	return countFS{vfs.Default, &l.index, &l.syncs}
}

type countFile struct {
	file
	n, syncs *atomic.Int64
}

func (f countFile) WriteAt(p []byte, off int64) (int, error) {
	f.n.Add(int64(len(p)))
	return f.file.WriteAt(p, off)
}

func (f countFile) WriteMany(ws []ioWrite) error {
	for _, w := range ws {
		f.n.Add(int64(len(w.p)))
	}
	return writeMany(f.file, ws)
}

func (f countFile) WriteSync(p []byte, off int64) error {
	f.n.Add(int64(len(p)))
	f.syncs.Add(1)
	return f.file.WriteSync(p, off)
}

func (f countFile) Sync() error {
	f.syncs.Add(1)
	return f.file.Sync()
}

// countFS counts what the index writes, in whole blocks, as the device sees it.
type countFS struct {
	vfs.FS
	n, syncs *atomic.Int64
}

func (c countFS) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, cat)
	return countPebbleFile{f, c.n, c.syncs}, err
}

func (c countFS) ReuseForWrite(old, name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.ReuseForWrite(old, name, cat)
	return countPebbleFile{f, c.n, c.syncs}, err
}

type countPebbleFile struct {
	vfs.File
	n, syncs *atomic.Int64
}

func (f countPebbleFile) Write(p []byte) (int, error) {
	f.n.Add(int64(len(p)))
	return f.File.Write(p)
}

func (f countPebbleFile) Sync() error {
	f.syncs.Add(1)
	f.n.Add(blockBytes) // of the file's last block and its inode
	return f.File.Sync()
}

func (f countPebbleFile) SyncData() error {
	f.syncs.Add(1)
	f.n.Add(blockBytes)
	return f.File.SyncData()
}

const overwriteObject = 4 << 20

// overwriter is one store under load.
type overwriter struct {
	d       *Disk
	w       *written
	objects int
	seq     atomic.Uint64
	lats    []time.Duration
}

func newOverwriter(b *testing.B, dir string, fill float64, o Options) *overwriter {
	w := &written{}
	l := countLayer{written: w}
	if err := Create(dir, CreateOptions{JournalBytes: *benchJournal, Capacity: *benchCapacity, Log: quiet(), layer: l}); err != nil {
		b.Fatal(err)
	}
	o.Log, o.layer = quiet(), l
	d, err := Open(dir, o)
	if err != nil {
		b.Fatal(err)
	}
	x := &overwriter{d: d, w: w}
	data := alignedBytes(overwriteObject)
	for i := range data {
		data[i] = byte(i) ^ byte(i>>12)
	}
	for u := d.Usage(); float64(u.Used) < fill*float64(u.Capacity); u = d.Usage() {
		if err := Apply(d, &Batch{Ops: []Op{{Kind: OpWrite, Key: x.key(x.objects), Data: data}}}); err != nil {
			b.Fatal(err)
		}
		x.objects++
	}
	d.keeper.await(d)
	return x
}

const overwritePGs = 16

func (x *overwriter) key(i int) Key {
	return Key{PG: placement.PGID{Pool: 1, Shard: uint32(i % overwritePGs)}, Name: fmt.Sprintf("rbd_data.1234567890.%016x", i)}
}

// batch is an overwrite as an OSD makes it: data, version, a log entry, and
// now and then a cut of the log.
func (x *overwriter) batch(rng *rand.Rand, data []byte) *Batch {
	k := x.key(rng.IntN(x.objects))
	n := x.seq.Add(1)
	log := Key{PG: k.PG, Space: Meta, Name: "log"}
	bt := &Batch{Ops: []Op{
		{Kind: OpWrite, Key: k, Off: uint64(rng.IntN(overwriteObject/blockBytes) * blockBytes), Data: data},
		{Kind: OpSetVersion, Key: k, Version: Version{Term: 1, Seq: n}, Mtime: int64(n)},
		{Kind: OpOmapSet, Key: log, Name: fmt.Appendf(nil, "e%016x", n), Value: data[:160]},
	}}
	const keep = 3000 * overwritePGs
	if n > keep && rng.IntN(100) == 0 {
		bt.Ops = append(bt.Ops, Op{Kind: OpOmapRmRange, Key: log, Name: []byte("e"), End: fmt.Appendf(nil, "e%016x", n-keep)})
	}
	return bt
}

// run keeps inflight batches going until the time is over.
func (x *overwriter) run(b *testing.B, seed uint64, inflight int, until time.Time) {
	rng := rand.New(rand.NewPCG(seed, 1))
	data := alignedBytes(64 * blockBytes)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	room := make(chan struct{}, inflight)
	var mu sync.Mutex
	for i := 0; ; i++ {
		room <- struct{}{}
		start := time.Now()
		if start.After(until) || b.Failed() {
			<-room
			break
		}
		x.d.Submit(x.batch(rng, data[i%64*blockBytes:][:blockBytes]), func(err error) {
			if err != nil {
				b.Error(err)
			}
			took := time.Since(start)
			mu.Lock()
			x.lats = append(x.lats, took)
			mu.Unlock()
			<-room
		})
	}
	for range inflight {
		room <- struct{}{}
	}
}

// overwrite measures random overwrites of 4 KiB in stores that are 80 % full.
func overwrite(b *testing.B, stores, inflight int) {
	if b.N > 1 {
		b.Fatalf("the benchmark goes on for -store.seconds, not %d times", b.N)
	}
	root := *benchDir
	if root == "" {
		root = b.TempDir()
	}
	var xs []*overwriter
	for i := range stores {
		dir := filepath.Join(root, fmt.Sprint("osd", i))
		x := newOverwriter(b, dir, 0.8, Options{})
		defer os.RemoveAll(dir)
		defer x.d.Close()
		xs = append(xs, x)
	}
	load := func(d time.Duration) {
		var wg sync.WaitGroup
		until := time.Now().Add(d)
		for i, x := range xs {
			wg.Go(func() { x.run(b, uint64(i)+7, inflight, until) })
		}
		wg.Wait()
	}
	whole := time.Duration(*benchSeconds * float64(time.Second))
	load(whole / 4) // until journal and index are in their stride
	var before [5]int64
	var ops int
	for _, x := range xs {
		x.d.keeper.await(x.d)
		before[0] += x.w.journal.Load()
		before[1] += x.w.data.Load()
		before[2] += x.w.index.Load()
		before[3] += x.w.super.Load()
		before[4] += x.w.syncs.Load()
		x.lats = x.lats[:0]
	}
	pos := xs[0].d.journal.pos
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	cpu := ru.Utime.Nano() + ru.Stime.Nano()
	b.ResetTimer()
	start := time.Now()
	load(whole)
	took := time.Since(start)
	b.StopTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	cpu = ru.Utime.Nano() + ru.Stime.Nano() - cpu
	// What is still in memory has to be written too.
	for _, x := range xs {
		x.d.keeper.await(x.d)
	}
	var after [5]int64
	var lats []time.Duration
	for _, x := range xs {
		after[0] += x.w.journal.Load()
		after[1] += x.w.data.Load()
		after[2] += x.w.index.Load()
		after[3] += x.w.super.Load()
		after[4] += x.w.syncs.Load()
		lats = append(lats, x.lats...)
	}
	ops = len(lats)
	slices.Sort(lats)
	per := func(i int) float64 { return float64(after[i]-before[i]) / float64(ops) / blockBytes }
	if testing.Verbose() {
		b.Logf("index of the first store:\n%s", xs[0].d.db.Metrics().StringForTests())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(per(0)+per(1)+per(2)+per(3), "wa")
	b.ReportMetric(per(0), "wa-journal")
	b.ReportMetric(per(1), "wa-home")
	b.ReportMetric(per(2), "wa-index")
	b.ReportMetric(float64(after[4]-before[4])/float64(ops), "syncs/op")
	b.ReportMetric(float64(ops)/took.Seconds(), "op/s")
	b.ReportMetric(float64(cpu)/1e3/float64(ops), "cpu-us/op")
	b.ReportMetric(float64(lats[ops/2])/1e6, "p50-ms")
	b.ReportMetric(float64(lats[ops*99/100])/1e6, "p99-ms")
	b.ReportMetric(float64(lats[ops-1])/1e6, "max-ms")
	b.ReportMetric(float64(xs[0].d.journal.pos-pos)/float64(*benchJournal), "wraps")
}

// BenchmarkOverwrite is what the store does to the disk in the long run.
func BenchmarkOverwrite(b *testing.B) {
	for _, c := range [][2]int{{1, 1}, {1, 16}, {3, 16}} {
		b.Run(fmt.Sprintf("stores=%d/inflight=%d", c[0], c[1]), func(b *testing.B) { overwrite(b, c[0], c[1]) })
	}
}
