package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/cairnstore/cairn/placement"
)

// indexFormat is the Pebble format of the index. It is named, not "the newest",
// so that a newer library does not silently make stores that older programs
// cannot open.
const indexFormat = pebble.FormatValueSeparation

// Sizes of the index, chosen by BenchmarkSmallObjects. Keeping values apart from keys (Pebble's value
// separation) would halve what compactions write, but left 1.7 bytes on the device for each byte of small
// objects once they had been overwritten, and made reads dearer.
const (
	// indexMemTable is how much the index collects before it writes: what changes again meanwhile, as heads and
	// the log of a PG do, is written once. Pebble grows it from small.
	indexMemTable = 16 << 20
	// indexBase is the size of the first level below the newest tables: what it holds of overwritten
	// entries is room lost.
	indexBase = 32 << 20
)

// pebbleLog passes Pebble's messages on; its chatter is for developers.
type pebbleLog struct{ log *slog.Logger }

func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("index", "msg", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Warn("index", "msg", fmt.Sprintf(format, args...))
}

// Fatalf must not return: Pebble calls it when its state cannot be trusted,
// for example because the list of its tables cannot be written.
func (l pebbleLog) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	l.log.Error("index: cannot go on; nothing acknowledged is lost; restart the OSD when the cause is removed", "err", msg)
	panic(msg)
}

func (d *Disk) openIndex() error {
	var err error
	if d.heads, err = newIndexCache(d.opts.IndexCacheBytes); err != nil {
		return err
	}
	d.cache = pebble.NewCache(d.opts.CacheBytes)
	o := &pebble.Options{
		FS: d.opts.layer.Pebble(), Cache: d.cache, DisableWAL: true, FormatMajorVersion: indexFormat,
		MemTableSize: indexMemTable, MemTableStopWritesThreshold: 3, LBaseMaxBytes: indexBase,
		// Higher than Pebble's 4: a compaction of a small index writes all of it anew.
		L0CompactionThreshold: 8, L0StopWritesThreshold: 64,
		MaxOpenFiles: 256, Logger: pebbleLog{d.log}, ErrorIfNotExists: true,
	}
	if _, ok := d.opts.layer.(watchLayer); ok { // what it writes is thrown away: as little as possible
		o.DisableAutomaticCompactions, o.MemTableSize, o.L0StopWritesThreshold = true, 16<<20, 1<<20
	}
	o.EnsureDefaults()
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.EventListener = &pebble.EventListener{BackgroundError: func(err error) {
		if errors.Is(err, pebble.ErrCancelledCompaction) {
			return
		}
		d.fail(fmt.Errorf("index %s: %w", d.path(indexName), explain(err)))
	}}
	// Pebble would end the process. A read that meets damage gets the error, and whoever asked can
	// put a good copy in place; a compaction that meets it ends in BackgroundError.
	o.EventListener.DataCorruption = func(info pebble.DataCorruptionInfo) {
		d.log.Error("index: damaged", "file", info.Path, "err", info.Details)
	}
	o.EventListener.EnsureDefaults(o.Logger)
	db, err := pebble.Open(d.path(indexName), o)
	if err != nil {
		return corrupt(err)
	}
	d.db = db
	v, ok, err := d.get(metaStoreKey)
	switch {
	case err != nil:
		return err
	case !ok || len(v) != 16:
		err := fmt.Errorf("it does not say which store it belongs to: %w", ErrCorrupt)
		if !d.forgives(FoundIndexOwner, err) {
			return err
		}
	case placement.UUID(v) != d.super.id.Store && d.files.device != nil:
		return fmt.Errorf("it belongs to store %s, and device %s holds store %s: that is another OSD's; find the right device (lsblk, /dev/disk/by-id) and name it with --device",
			placement.UUID(v), d.files.name, d.super.id.Store)
	case placement.UUID(v) != d.super.id.Store:
		return fmt.Errorf("it belongs to store %s, the superblock to %s: the files of two stores are mixed up", placement.UUID(v), d.super.id.Store)
	}
	return d.checkIndexAge()
}

// noteFlush tells the index how far the flush goes that the caller is about to begin.
func (d *Disk) noteFlush(seq uint64) error {
	if err := d.db.Set(metaFlushKey, binary.BigEndian.AppendUint64(nil, seq), pebble.NoSync); err != nil {
		return fmt.Errorf("flush index: %w", err)
	}
	return nil
}

// checkIndexAge refuses an index that lacks what the journal does not hold any more.
// Pebble takes a damaged end of the list of its tables for one that a crash tore off,
// and opens what there was before.
func (d *Disk) checkIndexAge() error {
	want := d.super.checkpoint.seq
	if want <= 1 {
		return nil
	}
	v, ok, err := d.get(metaFlushKey)
	if err != nil {
		return err
	}
	seq := uint64(0)
	if ok && len(v) == 8 {
		seq = binary.BigEndian.Uint64(v)
	}
	if seq >= want {
		return nil
	}
	err = fmt.Errorf("it holds what the journal had before group %d, and at the last checkpoint it held all before %d: it lost tables, perhaps because the newest file MANIFEST is damaged; "+
		"acknowledged writes are missing from it, so make this OSD anew from its peers: %w", seq, want, ErrCorrupt)
	if d.forgives(FoundIndexOld, err) {
		return nil
	}
	return err
}

// corrupt turns Pebble's checksum errors into ours.
func corrupt(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		return fmt.Errorf("index: %w: %w", ErrCorrupt, err)
	}
	return err
}

// get returns a copy of an index value.
func (d *Disk) get(key []byte) ([]byte, bool, error) {
	v, c, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, corrupt(err)
	}
	defer c.Close()
	return cloneBytes(v), true, nil
}

// fetch reads an entry of the index past the cache and remembers there what was decoded.
func (d *Disk) fetch(key []byte, decode func([]byte) error) (found bool, err error) {
	v, c, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		d.heads.put(key, nil, false)
		return false, nil
	}
	if err != nil {
		return false, corrupt(err)
	}
	defer c.Close()
	if err := decode(v); err != nil {
		return false, err
	}
	d.heads.put(key, v, true)
	return true, nil
}

// changed tells what is in memory of the index what a group has just changed in it.
func (d *Disk) changed(kv []byte) {
	if err := applyKV(kv, headNotes{d.heads, d.filter}); err != nil { // the index has just taken it
		d.heads.clear()
		d.filter.stop()
	}
}

// eachPair calls f for up to n index entries in [lo, hi) and says whether more
// follow. The slices are valid only during the call.
func (d *Disk) eachPair(lo, hi []byte, n int, f func(key, value []byte)) (count int, more bool, err error) {
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return 0, false, corrupt(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if count == n {
			more = true
			break
		}
		v, verr := it.ValueAndErr()
		if verr != nil {
			it.Close()
			return count, false, corrupt(verr)
		}
		count++
		f(it.Key(), v)
	}
	return count, more, corrupt(it.Close())
}

func (d *Disk) eachKey(lo, hi []byte, n int, f func(key []byte)) (int, bool, error) {
	return d.eachPair(lo, hi, n, func(k, _ []byte) { f(k) })
}

func (d *Disk) eachSegment(oid uint64, f func(idx uint32, s *segment)) error {
	lo := appendSegKey(nil, oid, 0)
	var bad error
	_, _, err := d.eachPair(lo, keyAfter(lo[:9]), -1, func(k, v []byte) {
		_, idx, ok := parseSegKey(k)
		s, err := decodeSegment(v)
		if !ok || idx >= maxSegments {
			err = fmt.Errorf("index key %x: %w", k, ErrCorrupt)
		}
		if err != nil {
			bad = err
			return
		}
		f(idx, s)
	})
	if err == nil {
		err = bad
	}
	return err
}

// scan learns at open what memory holds of the index: generations, counters,
// taken blocks, the last object number, removed spaces yet to be purged.
func (d *Disk) scan() error {
	if err := d.scanSpaces(); err != nil {
		return err
	}
	if err := d.scanHeads(); err != nil {
		return err
	}
	_, more, err := d.eachPair([]byte{keyShare}, []byte{keyShare + 1}, 0, func(_, _ []byte) {})
	if err != nil {
		return err
	}
	d.planner.sharing = more
	var bad error
	_, _, err = d.eachPair([]byte{keySeg}, []byte{keySeg + 1}, -1, func(k, v []byte) {
		if bad != nil {
			return
		}
		s, err := decodeSegment(v)
		if err == nil {
			s.runs(func(_ int, r run) {
				if err == nil {
					err = d.alloc.claim(r, d.planner.shared)
				}
			})
			d.planner.resetShares() // or those of a store full of clones would all stay in memory
		}
		if err != nil {
			oid, idx, _ := parseSegKey(k)
			bad = fmt.Errorf("index %s: object number %d, segment %d: %w", d.path(indexName), oid, idx, err)
		}
	})
	if err == nil {
		err = bad
	}
	return err
}

func (d *Disk) scanSpaces() error {
	var bad error
	badKey := func(k []byte) { bad = fmt.Errorf("index %s: key %x: %w", d.path(indexName), k, ErrCorrupt) }
	_, _, err := d.eachPair([]byte{keyDoomed}, []byte{keyGen + 1}, -1, func(k, v []byte) {
		switch k[0] {
		case keyDoomed:
			s, rest, ok := parseSpace(k[1:])
			if !ok || len(rest) != 4 {
				badKey(k)
				return
			}
			d.purges = append(d.purges, purge{s, binary.BigEndian.Uint32(rest)})
		case keyGen:
			s, _, ok := parseSpace(k[1:])
			if !ok || len(v) != 4 {
				badKey(k)
				return
			}
			d.gens[s] = binary.BigEndian.Uint32(v)
			d.planner.gens[s] = d.gens[s]
		}
	})
	if err == nil {
		err = bad
	}
	return err
}

func (d *Disk) scanHeads() error {
	var bad error
	filter := newHeadFilter()
	_, _, err := d.eachPair([]byte{keyHead}, []byte{keyHead + 1}, -1, func(k, v []byte) {
		s, gen, name, ok := parseHeadKey(k)
		h, err := decodeHead(v)
		if !ok || err != nil {
			bad = fmt.Errorf("index %s: key %x: %w", d.path(indexName), k, ErrCorrupt)
			return
		}
		filter.add(k)
		d.planner.oid = max(d.planner.oid, h.oid)
		if h.inline {
			d.planner.inline += int64(h.size)
		}
		if gen == d.gens[s] {
			st := d.stats[s]
			count(&st, name, 1, int64(h.size))
			d.stats[s] = st
		}
	})
	for s, st := range d.stats {
		d.planner.stats[s] = &planStat{spaceStat: st, key: s}
	}
	d.inlineBytes.Store(d.planner.inline)
	if err == nil {
		err = bad
	}
	if err == nil {
		d.filter = filter
	}
	return err
}

// A full store compacts its index when that has changed enough since the last
// time for it to pay, and is small enough not to hold everything up for long.
const (
	compactChurn = 16 << 10
	compactMax   = 256 << 20
)

// worthCompacting reports whether compactIndex would do something.
func (d *Disk) worthCompacting() bool {
	n := d.indexBytes.Load()
	return n < compactMax && d.churn > max(compactChurn, n/1024)
}

// compactIndex makes the room of deleted entries usable, which Pebble would do
// later, in its own time. It goes piece by piece, so that it needs little room
// to begin with. The committer calls it when the store is full.
func (d *Disk) compactIndex() {
	if !d.worthCompacting() || d.failed() != nil {
		return
	}
	d.churn = 0
	const pieces = 16
	step := d.planner.oid/pieces + 1
	ranges := [][2][]byte{{{keyHead}, {keyHead + 1}}}
	for _, kind := range []byte{keyAttr, keyInline, keyOmap, keySeg} {
		for i := range uint64(pieces) {
			ranges = append(ranges, [2][]byte{appendKV(nil, kind, i*step, nil), appendKV(nil, kind, (i+1)*step, nil)})
		}
	}
	for _, r := range ranges {
		size, err := d.db.EstimateDiskUsage(r[0], r[1])
		d.refreshFree()
		if err == nil && (size == 0 || int64(size)+4<<20 > d.freeBytes.Load()) {
			continue
		}
		if err == nil {
			err = d.db.Compact(context.Background(), r[0], r[1], false)
		}
		if err != nil {
			d.log.Warn("store: cannot compact the index to make room", "dir", d.dir, "err", err)
			return
		}
	}
	d.awaitDeletes()
	d.measure()
	d.refreshFree()
}

// awaitDeletes waits, but not long, until the index has deleted the tables
// that a compaction replaced. Pebble has no event that comes after its count.
func (d *Disk) awaitDeletes() {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	last, same := int64(-1), 0
	for same < 10 {
		n := d.db.Metrics().Table.ObsoleteCount
		if n == 0 {
			return
		}
		if same++; n != last {
			last, same = n, 0
		}
		<-look.C
	}
}

// measure asks the index how much of the disk it takes.
func (d *Disk) measure() {
	total := int64(d.db.Metrics().DiskSpaceUsage())
	d.indexBytes.Store(total)
	d.measured.Store(total)
	if n, err := d.db.EstimateDiskUsage([]byte{keyOmap}, []byte{keyOmap + 1}); err == nil {
		d.omapBytes.Store(min(int64(n), total))
	}
}
