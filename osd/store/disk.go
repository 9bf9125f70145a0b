package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/placement"
)

// Options configures Open. The zero value of every field means "use the default".
type Options struct {
	// BlockCacheBytes is the memory for blocks of data that were read lately; 0: none.
	BlockCacheBytes int64
	// IndexCacheBytes is the memory for entries of the index that were looked up lately; default and
	// least 1.25 MiB.
	IndexCacheBytes int64
	// CacheBytes is the memory of the index's block cache; default 48 MiB.
	CacheBytes int64
	// DirtyBytes bounds the small writes held in memory until they are written to their
	// place in the data file; default 32 MiB. Writing back begins at half of it.
	DirtyBytes int64
	// QueueBytes bounds the data of batches submitted and not yet durable; Submit blocks
	// beyond. Default 128 MiB.
	QueueBytes int64
	// Device is where journal and data are, when that is not what the directory's link says: the
	// device has another name now. The link is then changed. A store that has all in its
	// directory is refused.
	Device string
	// Discard tells the device what was freed for good. It is refused for a file that is used as a device.
	Discard bool
	// Yield is called before a group of batches is closed, if there was more than one in the last: whatever may bring
	// more of them can run then. It must come back soon. nil: nothing.
	Yield func()
	// NoODirect goes through the page cache.
	NoODirect bool
	// IdleCheckpoint is how long after the last batch memory and journal are emptied;
	// default 5 s, negative never.
	IdleCheckpoint time.Duration
	// Log receives state changes; default slog.Default().
	Log *slog.Logger
	// Now is the clock by which the device's latencies are taken; default the system's.
	Now func() time.Duration

	layer         fileLayer // default osLayer
	discardRegion uint64    // blocks; tests, whose stores are small
	discardAtOnce bool      // by the keeper: tests, which leave nothing to the scheduler
}

// Fit sets the sizes that are not set to what suits a process that is to stay below
// an amount of memory. The caches of blocks and of index entries are not a part of it.
func (o *Options) Fit(memory int64) {
	part := func(size *int64, of, low, high int64) {
		if *size == 0 {
			*size = min(max(memory/of, low), high)
		}
	}
	part(&o.CacheBytes, 10, 4<<20, 1<<30)
	part(&o.DirtyBytes, 16, 4<<20, 256<<20)
	part(&o.QueueBytes, 4, 16<<20, 512<<20)
}

func (o *Options) fill() {
	if o.CacheBytes <= 0 {
		o.CacheBytes = 48 << 20
	}
	if o.DirtyBytes <= 0 {
		o.DirtyBytes = 32 << 20
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 128 << 20
	}
	if o.IdleCheckpoint == 0 {
		o.IdleCheckpoint = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.layer == nil {
		o.layer = osLayer{}
	}
}

// Disk is the real Store: a journal, a data file and an index in one
// directory. See docs/formats/store.md for what lies there.
//
// The flow of a batch: Submit writes large data to fresh blocks of the data
// file; the committer plans batches into one redo record, makes it durable in
// the journal, applies it to the index and the overlay, and calls done; the
// keeper writes the overlay home and moves the checkpoint, which recycles the
// journal and the freed blocks.
type Disk struct {
	dir  string
	opts Options
	log  *slog.Logger

	lock     io.Closer
	files    *storeFiles
	data     file
	meter    *meter // what data and journal go through
	discards discarder
	syncs    dataSync
	db       *pebble.DB
	cache    *pebble.Cache
	alloc    *allocator
	blocks   *blockCache // nil: none

	journal *journal // the committer's, as is planner
	planner *planner
	asked   int       // the committer's: calls of checkRoom
	churn   int64     // the committer's: bytes of index changes since compactIndex
	waiting []*item   // the committer's, reused
	writes  []ioWrite // the same

	journalBytes int64 // of the superblock, the rest of which is superMu's
	limitBytes   int64 // its capacity

	reserve     atomic.Uint64 // blocks kept back for deletes
	capacity    atomic.Int64
	indexBytes  atomic.Int64 // measured at the last checkpoint, plus what came since
	omapBytes   atomic.Int64 // of indexBytes, measured
	inlineBytes atomic.Int64 // of small objects, in the index
	measured    atomic.Int64 // indexBytes at the last checkpoint
	freeBytes   atomic.Int64 // of the file system, when last asked
	freeSince   atomic.Int64 // indexBytes then
	failure     atomic.Pointer[error]
	forgive     func(FindingKind, error) bool // of an Inspector: whether to go on at damage; nil: never
	failedCh    chan struct{}                 // closed with failure

	superMu sync.Mutex // guards super and the writing of it
	super   superblock

	queue queue

	// view makes a group visible as a whole: the index, the overlay and the
	// counters change together under its write lock.
	view    sync.RWMutex // guards below
	overlay *overlay
	heads   *indexCache // of the index
	filter  *headFilter // the names that have heads; nil until they are read
	gens    map[spaceKey]uint32
	stats   map[spaceKey]spaceStat
	applied checkpoint // the group to come: everything before is applied

	purges  []purge // the committer's: removed spaces to empty
	keeper  keeper
	idleT   *time.Timer
	idleOn  atomic.Bool
	idleSeq atomic.Uint64

	life   sync.RWMutex // readers hold it shared, Close takes it
	closed bool         // guarded by life

	bulk      bulk
	workers   sync.WaitGroup // batches in bulk
	committed chan struct{}  // closed when the committer has ended
	closeOnce sync.Once
	closeErr  error
}

type purge struct {
	space spaceKey
	gen   uint32
}

var _ Store = (*Disk)(nil)

// Names in a data directory.
const (
	superName   = "superblock" // not when there is a device
	lockName    = "lock"
	journalName = "journal"
	dataName    = "data"
	indexName   = "index"
)

// Index entries about the index itself.
var (
	metaStoreKey = []byte("Mstore")   // whose it is
	metaFlushKey = []byte("Mflushed") // the journal group it is flushed up to, exclusive
)

// Open opens the store in dir. It refuses directories that hold no store,
// stores made by a newer program, stores in use, and stores whose journal lost
// acknowledged writes.
func Open(dir string, o Options) (*Disk, error) {
	d := newDisk(dir, o)
	if err := d.open(); err != nil {
		d.closeFiles()
		return nil, fmt.Errorf("open store %s: %w", dir, explain(err))
	}
	d.startDiscards() // ended by Close
	go d.commitLoop() // ended by Close
	go d.keepLoop()   // ended by Close
	return d, nil
}

// newDisk returns a Disk that has nothing open yet.
func newDisk(dir string, o Options) *Disk {
	o.fill()
	d := &Disk{
		dir: dir, opts: o, log: o.Log, overlay: newOverlay(), meter: newMeter(o.Now),
		gens: map[spaceKey]uint32{}, stats: map[spaceKey]spaceStat{},
		committed: make(chan struct{}), failedCh: make(chan struct{}),
	}
	d.queue.init(o.QueueBytes)
	d.keeper.init()
	d.syncs.init()
	d.idleT = time.AfterFunc(time.Hour, d.idle)
	d.idleT.Stop()
	d.planner = newPlanner(d)
	return d
}

// explain adds the next step to errors of the operating system.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w (the OSD must write there: remount the file system read-write; if the kernel made it read-only, check the disk)", err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w (the OSD must read and write there: run it as the owner of the directory, or chown the directory)", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w (the index needs some room to open: free space on this file system)", err)
	}
	return err
}

// openSuper locks the store and reads whose it is.
func (d *Disk) openSuper() error {
	l := d.opts.layer
	names, err := l.List(d.dir)
	if err != nil {
		return err
	}
	if len(others(names)) == len(names) { // do not put a lock into a directory that is not ours
		return notAStore(names)
	}
	if d.lock, err = l.Lock(filepath.Join(d.dir, lockName)); err != nil {
		return err
	}
	if d.opts.Device != "" {
		if d.opts.Device, err = filepath.Abs(d.opts.Device); err != nil {
			return err
		}
	}
	if d.files, err = openSuper(l, d.dir, d.opts.Device, !d.opts.NoODirect); err != nil {
		return err
	}
	sb, err := readSuperblock(d.files.super, d.files.supers)
	if err != nil {
		if errors.Is(err, errNotSuper) {
			return fmt.Errorf("%s holds something else, not a cairn superblock: choose another directory or device", d.path(superName))
		}
		return fmt.Errorf("%s: %w", d.path(superName), err)
	}
	if err := d.files.check(sb); err != nil {
		return err
	}
	if d.opts.Discard {
		if err := d.canDiscard(); err != nil {
			return err
		}
	}
	d.super = *sb
	d.journalBytes, d.limitBytes = sb.journal, sb.capacity
	return nil
}

func (d *Disk) open() error {
	if err := d.openSuper(); err != nil {
		return err
	}
	if err := d.openFiles(); err != nil {
		return err
	}
	if err := d.openIndex(); err != nil {
		return fmt.Errorf("index %s: %w", d.path(indexName), err)
	}
	var err error
	if d.blocks, err = newBlockCache(d.opts.BlockCacheBytes); err != nil {
		return err
	}
	if err := d.replay(); err != nil {
		return err
	}
	if err := d.scan(); err != nil {
		return err
	}
	if err := d.digHoles(); err != nil {
		return err
	}
	d.measure()
	size, err := d.data.Size()
	if err != nil {
		return err
	}
	d.refreshCapacity(size) // now that the index is measured
	d.alloc.setMax(d.maxBlocks())
	// What the journal has freed is free now. So its blocks must not be replayed once more, over what
	// will lie there then.
	if err := d.checkpoint(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return d.opened()
}

// opened makes the start known: first the device's new name or size, then that
// the store is in use.
func (d *Disk) opened() error {
	f := d.files
	if f.device != nil && f.name != f.linked {
		l := d.opts.layer
		if err := errors.Join(l.WriteLink(f.name, filepath.Join(d.dir, linkName)), l.SyncDir(d.dir)); err != nil {
			return fmt.Errorf("name the device in %s: %w", filepath.Join(d.dir, linkName), err)
		}
		d.log.Info("store: the device has another name now", "dir", d.dir, "device", f.name, "was", f.linked)
	}
	if old := d.super.device; f.device != nil && f.bytes > old {
		d.log.Info("store: the device has grown", "dir", d.dir, "device", f.name, "bytes", f.bytes, "was", old)
	}
	return d.writeSuper(func(s *superblock) {
		s.clean, s.making, s.device = false, false, f.bytes
		s.holes = s.holes || d.opts.Discard && d.punches()
	})
}

// forgives reports whether opening goes on at damage. What belongs to another store, or is of
// a newer format, is no damage.
func (d *Disk) forgives(kind FindingKind, err error) bool {
	return d.forgive != nil && errors.Is(err, ErrCorrupt) && d.forgive(kind, err)
}

func notAStore(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("%w: the directory is empty: make a store in it first", ErrNotStore)
	}
	return fmt.Errorf("%w: there is no file %q and no link to a device, but %s; check the path and that the right disk is mounted",
		ErrNotStore, superName, strings.Join(names[:min(len(names), 5)], ", "))
}

func (d *Disk) openFiles() error {
	l, direct := d.opts.layer, !d.opts.NoODirect
	if err := d.files.open(l, d.dir, &d.super, direct); err != nil {
		return err
	}
	d.data = d.meter.file(d.files.data, DeviceWrite)
	b := alignedBytes(blockBytes)
	if _, err := d.data.ReadAt(b, 0); err != nil {
		return fmt.Errorf("data file %s: %w", d.path(dataName), err)
	}
	if err := checkDataHeader(b, d.super.id.Store); err != nil && !d.forgives(FoundDataHeader, err) {
		return fmt.Errorf("data file %s: %w", d.path(dataName), err)
	}
	jf := d.meter.file(d.files.journal, DeviceJournal)
	d.journal = &journal{f: jf, path: d.path(journalName), size: uint64(d.super.journal), store: d.super.id.Store}
	n, err := jf.Size()
	if err != nil {
		return err
	}
	if n != d.super.journal {
		return fmt.Errorf("journal %s has %d bytes, the superblock says %d: it was replaced or cut; restore it, or make this OSD anew from its peers: %w",
			d.path(journalName), n, d.super.journal, ErrCorrupt)
	}
	if direct && !jf.Direct() {
		d.log.Info("store: this file system has no direct I/O, using the page cache", "dir", d.dir)
	}
	size, err := d.data.Size()
	if err != nil {
		return err
	}
	d.refreshCapacity(size)
	maxBlocks := d.maxBlocks()
	step := min(max(maxBlocks/16, 16<<20/blockBytes), 1<<30/blockBytes)
	d.alloc = newAllocator(uint64(size/blockBytes), maxBlocks, step, d.grow)
	d.alloc.fill, d.alloc.note = d.fillHoles, d.opts.Discard
	if d.opts.discardRegion > 0 {
		d.alloc.regionMap.size = d.opts.discardRegion
	}
	return nil
}

// refreshCapacity asks the file system what is free and sets the capacity:
// what the superblock says, or else what we have plus that.
func (d *Disk) refreshCapacity(dataSize int64) {
	d.refreshFree()
	if d.alloc != nil {
		dataSize = int64(d.alloc.size()) * blockBytes // without holes: what is free counts their room
	}
	c := d.journalBytes + dataSize + d.indexBytes.Load() + d.freeBytes.Load()
	if d.files.device != nil {
		c = d.files.bytes
	}
	if d.limitBytes > 0 && (d.files.device == nil || c > d.limitBytes) {
		c = d.limitBytes
	}
	d.capacity.Store(c)
	d.reserve.Store(uint64(min(max(c/64, 1<<20), 256<<20)) / blockBytes)
}

// fsKeep is what the data file leaves free on the file system, and writes to
// the index too: Pebble needs room to write tables anew before it drops the
// old, about as much again as there is, up to the size of its upper levels.
func (d *Disk) fsKeep() int64 {
	return max(int64(d.reserve.Load())*blockBytes, 16<<20+min(d.indexBytes.Load(), 128<<20))
}

// refreshFree asks the file system what is free; it keeps the last answer when
// that fails.
func (d *Disk) refreshFree() {
	if _, free, err := d.opts.layer.Space(d.dir); err == nil {
		d.freeBytes.Store(free)
		d.freeSince.Store(d.indexBytes.Load())
	}
}

// fixedBytes is what journal and superblock take.
func (d *Disk) fixedBytes() int64 {
	if d.files.device != nil {
		return deviceData(d.journalBytes)
	}
	return d.journalBytes + superCopies*blockBytes
}

func (d *Disk) maxBlocks() uint64 {
	n := uint64(max(0, d.capacity.Load()-d.fixedBytes())) / blockBytes
	if s, ok := d.files.data.(*section); ok {
		n = min(n, uint64(s.limit)/blockBytes)
	}
	return n
}

// grow extends the data file, leaving the file system some room for the index.
func (d *Disk) grow(blocks uint64) error {
	size := int64(blocks) * blockBytes
	old, err := d.data.Size()
	if err != nil {
		return err
	}
	d.refreshFree()
	if free, keep := d.freeBytes.Load(), d.fsKeep(); d.files.device == nil && size-old > free-keep {
		return fmt.Errorf("file system of %s: %d bytes free, %d kept back for the index: %w", d.dir, free, keep, ErrNoSpace)
	}
	err = d.data.Allocate(size)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("grow %s: %w", d.path(dataName), ErrNoSpace)
	}
	return err
}

// replayBatch is how many bytes of index changes are applied at once in a replay.
const replayBatch = 256 << 10

// replay brings the index and the overlay to the end of the journal.
func (d *Disk) replay() error {
	from := d.super.checkpoint
	groups := 0
	b := d.db.NewBatch()
	defer func() { b.Close() }()
	flush := func() error {
		err := d.db.Apply(b, pebble.NoSync)
		b.Reset()
		return err
	}
	err := d.journal.replay(from, d.super.clean, d.log, func(seq uint64, r *redo) error {
		groups++
		if err := applyKV(r.kv, pebbleBatch{b}); err != nil {
			return err
		}
		if b.Len() > replayBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		for _, f := range r.frees {
			if f.count > 1<<32 {
				return fmt.Errorf("free of %d blocks: %w", f.count, ErrCorrupt)
			}
			d.overlay.drop(f)
		}
		for _, w := range r.blocks {
			d.overlay.put(w.phys, w.data)
		}
		if int64(d.overlay.len())*blockBytes > d.opts.DirtyBytes {
			return d.relieve() // the journal may hold more than memory should
		}
		return nil
	})
	if ferr := flush(); err == nil { // what came before damage counts, for those who go on at it
		err = ferr
	}
	if err != nil {
		return err
	}
	j := d.journal
	d.applied = checkpoint{pos: j.pos, seq: j.seq, link: j.link}
	d.keeper.done = from
	if groups > 0 {
		d.log.Info("store: journal replayed", "dir", d.dir, "groups", groups, "blocks", d.overlay.len())
	}
	return nil
}

// pebbleBatch makes a pebble.Batch an indexBatch.
type pebbleBatch struct{ b *pebble.Batch }

func (p pebbleBatch) set(k, v []byte) error { return p.b.Set(k, v, nil) }
func (p pebbleBatch) delete(k []byte) error { return p.b.Delete(k, nil) }
func (p pebbleBatch) deleteRange(from, to []byte) error {
	return p.b.DeleteRange(from, to, nil)
}

// fail stops the store for good: what is on the medium is no longer certain.
func (d *Disk) fail(err error) {
	err = fmt.Errorf("store %s stopped: %w", d.dir, err)
	if d.failure.CompareAndSwap(nil, &err) {
		d.log.Error("store: stopped after an error; restart the OSD when the cause is removed", "dir", d.dir, "err", err)
		close(d.failedCh)
		d.keeper.wake()
	}
}

func (d *Disk) failed() error {
	if p := d.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// writeSuper changes the superblock and makes it durable.
func (d *Disk) writeSuper(change func(*superblock)) error {
	d.superMu.Lock()
	defer d.superMu.Unlock()
	next := d.super
	change(&next)
	next.generation++
	if err := writeSuperblock(d.files.super, d.files.supers, &next); err != nil {
		return fmt.Errorf("%s: %w", d.path(superName), err)
	}
	d.super = next
	return nil
}

// Identity implements Store.
func (d *Disk) Identity() Identity {
	d.superMu.Lock()
	defer d.superMu.Unlock()
	return d.super.id
}

// SetIdentity implements Store.
func (d *Disk) SetIdentity(id Identity) error {
	if d.queue.isClosed() {
		return ErrClosed
	}
	if err := d.failed(); err != nil {
		return err
	}
	if err := checkIdentity(d.Identity(), id); err != nil {
		return err
	}
	return d.writeSuper(func(s *superblock) { s.id = id })
}

// Close implements Store.
func (d *Disk) Close() error {
	d.closeOnce.Do(func() {
		d.stopDiscards()
		d.queue.close()
		<-d.committed
		d.workers.Wait()
		d.idleT.Stop()
		d.keeper.stop()
		if d.failed() == nil {
			if err := d.checkpoint(); err != nil {
				d.closeErr = err
			} else if err := d.writeSuper(func(s *superblock) { s.clean = true }); err != nil {
				d.closeErr = err
			}
		}
		d.life.Lock()
		d.closed = true
		err := d.closeFiles()
		d.life.Unlock()
		if d.closeErr == nil {
			d.closeErr = err
		}
	})
	return d.closeErr
}

func (d *Disk) closeFiles() error {
	var errs []error
	if d.db != nil {
		errs = append(errs, d.db.Close())
	}
	d.blocks.close()
	d.heads.close()
	if d.cache != nil {
		d.cache.Unref()
	}
	errs = append(errs, d.files.close())
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// indexElsewhere is how much the index takes where it does not share the room of the
// data. It counts as used, so what it takes counts as capacity, too.
func (d *Disk) indexElsewhere() int64 {
	if d.files.device == nil {
		return 0
	}
	return d.indexBytes.Load()
}

// indexShare is how many bytes of data on a device a byte of index may stand for at
// least, when the directory's file system is what is running full.
const indexShare = 16

// Usage implements Store.
func (d *Disk) Usage() Usage {
	used, waiting, _ := d.alloc.counts()
	u := Usage{Capacity: d.capacity.Load() + d.indexElsewhere(), Data: int64(used-waiting-1) * blockBytes}
	index := d.indexBytes.Load()
	u.Omap = min(d.omapBytes.Load(), index)
	inline := d.inlineBytes.Load()
	u.Data += inline
	u.Meta = d.fixedBytes() + blockBytes + max(0, index-u.Omap-inline)
	u.Used = u.Data + u.Omap + u.Meta
	inFile := int64(d.alloc.size()-used+waiting) * blockBytes // free within the data file
	fs := d.freeBytes.Load() - d.fsKeep()                     // what the file system of the directory can still take
	if d.files.device == nil {
		fs += inFile
	} else {
		fs *= indexShare
	}
	u.Available = max(0, min(u.Capacity-int64(d.reserve.Load())*blockBytes-u.Used, fs))
	u.Allocated = d.fixedBytes() + index + int64(d.alloc.size())*blockBytes
	if d.files.device != nil { // which is not allocated in advance
		u.Allocated = d.fixedBytes() + index + int64(used)*blockBytes
	}
	d.view.RLock()
	defer d.view.RUnlock()
	for k, s := range d.stats {
		switch k.sp {
		case Objects:
			u.Objects += s.objects
			u.Stored += s.bytes
		case Shards:
			u.Shards += s.objects
			u.InShards += s.bytes
		}
	}
	return u
}

// PGUsage implements Store.
func (d *Disk) PGUsage(pg placement.PGID) (objects, bytes int64) {
	d.view.RLock()
	defer d.view.RUnlock()
	s := d.stats[spaceKey{pg, Objects}]
	return s.objects, s.bytes
}

// freeAsk is after how many batches that grow the index the file system is
// asked again what is free: others may use it too.
const freeAsk = 64

// checkRoom decides whether a batch that adds to what is stored still fits: into
// the capacity, keeping back keep blocks, and into the file system, keeping
// back room for the index to breathe. Only the committer calls it.
func (d *Disk) checkRoom(add int64, keep uint64) error {
	used, _, _ := d.alloc.counts()
	have := int64(used)*blockBytes + d.fixedBytes() + d.indexBytes.Load() - d.indexElsewhere()
	if c := d.capacity.Load(); have+int64(keep)*blockBytes > c {
		return fmt.Errorf("store %s: %d bytes more wanted, %d of %d used: %w", d.dir, add, have, c, ErrNoSpace)
	}
	if d.asked++; d.asked%freeAsk == 0 {
		d.refreshFree()
	}
	spare := d.fsKeep()
	if keep == 0 {
		spare /= 2
	}
	if free := d.freeBytes.Load() - (d.indexBytes.Load() - d.freeSince.Load()); free < spare {
		return fmt.Errorf("file system of %s: %d bytes free, %d kept back for the index: %w", d.dir, free, spare, ErrNoSpace)
	}
	return nil
}
