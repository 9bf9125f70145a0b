package store

import (
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// enter begins a read. Close waits for those inside.
func (d *Disk) enter() error {
	d.life.RLock()
	if d.closed {
		d.life.RUnlock()
		return ErrClosed
	}
	return nil
}

// lookup finds the head of an object; the caller holds view. With quick it looks into memory only.
func (d *Disk) lookup(k *Key, quick bool) (h head, err error) {
	if err := checkKey(k); err != nil {
		return head{}, err
	}
	var room [320]byte
	key := appendHeadKey(room[:0], k, d.gens[k.space()])
	ok := false
	if quick {
		known := false
		if h, ok, known = d.knownHead(key); !known {
			return head{}, ErrWait
		}
	} else {
		h, ok, err = d.getHead(key)
	}
	switch {
	case err != nil:
		return h, fmt.Errorf("object %s: %w", *k, err)
	case !ok:
		return h, &missing{*k}
	}
	return h, nil
}

// missing is the error of an object that does not exist. Every write to a new object meets it, and few look at its text.
type missing struct{ k Key }

func (e *missing) Error() string { return fmt.Sprintf("object %s: %v", e.k, ErrNotFound) }
func (e *missing) Unwrap() error { return ErrNotFound }

// Stat implements Reader.
func (d *Disk) Stat(k Key) (Info, error) {
	if err := d.enter(); err != nil {
		return Info{}, err
	}
	defer d.life.RUnlock()
	d.view.RLock()
	defer d.view.RUnlock()
	h, err := d.lookup(&k, false)
	if err != nil {
		return Info{}, err
	}
	return h.info(), nil
}

func (h *head) info() Info {
	return Info{Size: h.size, Version: h.version, Mtime: h.mtime, OmapKeys: h.omapMax}
}

// Read implements Reader.
func (d *Disk) Read(k Key, off, n uint64) ([]byte, error) { return d.read(&reading{}, k, off, n) }

// read reads into r.mem if that suits the disk, else into fresh memory.
func (d *Disk) read(r *reading, k Key, off, n uint64) ([]byte, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.life.RUnlock()
	if r.quick {
		return r.fromMemory(d, &k, off, n)
	}
	// Blocks are read without holding view: meanwhile one may be overwritten at home, or freed
	// and used again. The checksum tells, and the read begins anew. The last attempt
	// holds view, so that nothing moves and a mismatch is damage.
	const attempts = 4
	for i := 1; ; i++ {
		hold := i == attempts
		d.view.RLock()
		err := r.prepare(d, &k, off, n)
		if !hold || err != nil {
			d.view.RUnlock()
		}
		if err != nil {
			return nil, err
		}
		err = r.finish(d, &k)
		if hold {
			d.view.RUnlock()
		}
		if err == nil {
			return r.out, nil
		}
		if hold || !r.mismatch {
			if r.mismatch {
				d.meter.checksums.Add(1)
			}
			return nil, err
		}
	}
}

// reading is a read in two steps: what memory knows, then what the disk holds.
type reading struct {
	mem      []byte   // of the caller, to use when aligned; nil: none
	buf      []byte   // whole blocks
	out      []byte   // the part asked for
	dirty    bool     // buf is not zero: holes must be cleared
	first    uint64   // block of the object at buf[0]
	sums     []uint32 // of all blocks in buf; none if it was not read from blocks
	parts    []part
	mismatch bool // finish failed for a checksum
	cached   bool // look into the block cache, and keep there what was read
	quick    bool // do not wait for the disk
	gather   bool // but find out what is to be read there
	seg      segment

	room    [4]uint32         // for few sums
	tickets [cacheRead]uint64 // of the cache, by block in buf
}

// holeSum is the checksum of a block of zeros.
var holeSum = checksum(make([]byte, blockBytes))

// part is a row of blocks to read from the data file.
type part struct {
	at  int // block in buf
	run run
}

// prepare looks up the blocks and copies those in the overlay; the caller holds view.
func (r *reading) prepare(d *Disk, k *Key, off, n uint64) error {
	r.parts, r.out, r.sums = r.parts[:0], nil, r.room[:0]
	h, err := d.lookup(k, r.quick)
	if err != nil {
		return err
	}
	if off >= h.size || n == 0 {
		return nil
	}
	// By what is asked for, not what there is: a scrub, which asks for much, must see the disk.
	r.cached = d.blocks != nil && off%blockBytes+n <= cacheRead*blockBytes
	n = min(n, h.size-off)
	if r.quick && (h.inline || n > quickBytes) {
		return ErrWait
	}
	if h.inline {
		if r.out, err = d.readInline(&h, off, n, r.mem); err != nil {
			return fmt.Errorf("object %s: %w", *k, err)
		}
		return nil
	}
	r.first = off / blockBytes
	last := (off + n - 1) / blockBytes
	if size := int(last-r.first+1) * blockBytes; size <= len(r.mem) && off%blockBytes == 0 && isAligned(r.mem) {
		r.buf, r.dirty = r.mem[:size], true
	} else {
		r.buf, r.dirty = alignedBytes(size), false
	}
	r.out = r.buf[off-r.first*blockBytes:][:n:n]
	if blocks := int(last-r.first) + 1; blocks <= len(r.room) {
		r.sums = r.room[:blocks]
	} else {
		r.sums = make([]uint32, blocks)
	}
	var room [16]byte
	for idx := uint32(r.first / segBlocks); idx <= uint32(last/segBlocks); idx++ {
		there, err := r.segment(d, appendSegKey(room[:0], h.oid, idx))
		if err == ErrWait {
			return err
		}
		if err != nil {
			return fmt.Errorf("object %s: %w", *k, err)
		}
		s := &r.seg
		base := uint64(idx) * segBlocks
		from, to := max(r.first, base)-base, min(last, base+segBlocks-1)-base
		for i := from; i <= to; i++ {
			at := int(base + i - r.first)
			if !there || s.phys[i] == 0 {
				if r.dirty {
					clear(r.buf[at*blockBytes:][:blockBytes])
				}
				r.sums[at] = holeSum
				continue
			}
			r.sums[at] = s.sum[i]
			if b, ok := d.overlay.get(s.phys[i]); ok {
				dst := r.buf[at*blockBytes:][:blockBytes]
				copy(dst, b)
				if checksum(dst) != s.sum[i] {
					return fmt.Errorf("object %s: block at offset %d, in memory: %w", *k, (base+i)*blockBytes, ErrCorrupt)
				}
				continue
			}
			if r.cached {
				if d.blocks.get(s.phys[i], s.sum[i], r.buf[at*blockBytes:][:blockBytes]) {
					continue
				}
				r.tickets[at] = d.blocks.ticket(s.phys[i])
			}
			if r.quick && !r.gather {
				return ErrWait
			}
			r.add(at, s.phys[i])
		}
	}
	return nil
}

func (r *reading) add(at int, phys uint64) {
	if n := len(r.parts); n > 0 {
		if p := &r.parts[n-1]; p.run.end() == phys && p.at+int(p.run.count) == at {
			p.run.count++
			return
		}
	}
	r.parts = append(r.parts, part{at, run{phys, 1}})
}

// warmBlocks is from where on blocks that were read are fetched from memory one ahead of their
// verification: the device has put them there, not this processor.
const warmBlocks = 16

// finish reads and verifies the blocks that are only on disk.
func (r *reading) finish(d *Disk, k *Key) error {
	r.mismatch = false
	for _, p := range r.parts {
		b := r.buf[p.at*blockBytes:][:p.run.count*blockBytes]
		off := int64(p.run.start) * blockBytes
		if n, err := d.data.ReadAt(b, off); n < len(b) {
			if err == io.EOF { // shorter than the index says: as good as garbage
				err = ErrCorrupt
			}
			return fmt.Errorf("object %s: block at offset %d (offset %d of %s): %w", *k, (r.first+uint64(p.at))*blockBytes, off, d.path(dataName), err)
		}
		for i, sum := range r.sums[p.at:][:p.run.count] {
			if p.run.count >= warmBlocks {
				slab.Warm(b[(i+1)*blockBytes:])
			}
			if checksum(b[i*blockBytes:][:blockBytes]) != sum {
				r.mismatch = true
				return fmt.Errorf("object %s: block at offset %d (offset %d of %s): %w", *k,
					(r.first+uint64(p.at+i))*blockBytes, off+int64(i)*blockBytes, d.path(dataName), ErrCorrupt)
			}
			if r.cached {
				d.blocks.keep(p.run.start+uint64(i), sum, b[i*blockBytes:][:blockBytes], r.tickets[p.at+i])
			}
		}
	}
	return nil
}

// readBlock reads one block for the committer. Nothing moves under it: only
// the committer changes objects, and a block being written home is in the overlay.
func (d *Disk) readBlock(phys uint64, sum uint32, b []byte) error {
	d.view.RLock()
	o, ok := d.overlay.get(phys)
	if ok {
		copy(b, o)
	}
	d.view.RUnlock()
	return d.finishBlock(phys, sum, b, ok)
}

// finishBlock reads a block from the data file unless it is in b already, and verifies it.
func (d *Disk) finishBlock(phys uint64, sum uint32, b []byte, have bool) error {
	if !have {
		if n, err := d.data.ReadAt(b[:blockBytes], int64(phys)*blockBytes); n < blockBytes {
			if err == io.EOF {
				err = ErrCorrupt
			}
			return fmt.Errorf("offset %d of %s: %w", phys*blockBytes, d.path(dataName), err)
		}
	}
	if checksum(b[:blockBytes]) != sum {
		d.meter.checksums.Add(1)
		return fmt.Errorf("offset %d of %s: %w", phys*blockBytes, d.path(dataName), ErrCorrupt)
	}
	return nil
}

// Attrs implements Reader.
func (d *Disk) Attrs(k Key) ([]KV, error) {
	it, h, err := d.iterate(&k, keyAttr, nil, nil)
	if err != nil {
		return nil, err
	}
	defer d.life.RUnlock()
	if !h.hasAttrs {
		return nil, it.close(&k)
	}
	kvs, _ := it.take(1<<30, 1<<30)
	return kvs, it.close(&k)
}

// Attr implements Reader.
func (d *Disk) Attr(k Key, name []byte) ([]byte, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.life.RUnlock()
	d.view.RLock()
	defer d.view.RUnlock()
	h, err := d.lookup(&k, false)
	if err != nil {
		return nil, err
	}
	if h.hasAttrs {
		v, ok, err := d.get(appendKV(nil, keyAttr, h.oid, name))
		if err != nil {
			return nil, fmt.Errorf("object %s: attribute %q: %w", k, name, err)
		}
		if ok {
			return v, nil
		}
	}
	return nil, fmt.Errorf("object %s: attribute %q: %w", k, name, ErrNotFound)
}

// OmapGet implements Reader.
func (d *Disk) OmapGet(k Key, keys [][]byte) ([]KV, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.life.RUnlock()
	d.view.RLock()
	defer d.view.RUnlock()
	h, err := d.lookup(&k, false)
	if err != nil || !h.hasOmap {
		return nil, err
	}
	var out []KV
	for _, key := range keys {
		v, ok, err := d.get(appendKV(nil, keyOmap, h.oid, key))
		if err != nil {
			return nil, fmt.Errorf("object %s: omap key %q: %w", k, key, err)
		}
		if ok {
			out = append(out, KV{cloneBytes(key), v})
		}
	}
	return out, nil
}

// OmapList implements Reader.
func (d *Disk) OmapList(k Key, start, end []byte, limit int) ([]KV, bool, error) {
	limit, err := checkLimit(limit)
	if err != nil {
		return nil, false, err
	}
	it, h, err := d.iterate(&k, keyOmap, start, end)
	if err != nil {
		return nil, false, err
	}
	defer d.life.RUnlock()
	if !h.hasOmap {
		return nil, false, it.close(&k)
	}
	kvs, more := it.take(limit, maxListBytes)
	return kvs, more, it.close(&k)
}

// kvIter walks over the attributes or omap of one object, as of one moment.
type kvIter struct{ it *pebble.Iterator }

// iterate opens an iterator; when it succeeds the caller leaves life.
func (d *Disk) iterate(k *Key, kind byte, start, end []byte) (kvIter, head, error) {
	if err := d.enter(); err != nil {
		return kvIter{}, head{}, err
	}
	d.view.RLock()
	defer d.view.RUnlock()
	h, err := d.lookup(k, false)
	if err != nil {
		d.life.RUnlock()
		return kvIter{}, h, err
	}
	lo := appendKV(nil, kind, h.oid, start)
	hi := keyAfter(appendKV(nil, kind, h.oid, nil))
	if len(end) > 0 {
		hi = appendKV(nil, kind, h.oid, end)
	}
	if slices.Compare(lo, hi) > 0 {
		hi = lo
	}
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		d.life.RUnlock()
		return kvIter{}, h, fmt.Errorf("object %s: %w", *k, corrupt(err))
	}
	return kvIter{it}, h, nil
}

// take returns the next pairs and whether more follow.
func (i kvIter) take(limit, bytes int) (kvs []KV, more bool) {
	size := 0
	for ok := i.it.First(); ok; ok = i.it.Next() {
		if len(kvs) == limit || size >= bytes {
			return kvs, true
		}
		v, err := i.it.ValueAndErr()
		if err != nil {
			return nil, false // close reports it
		}
		kv := KV{cloneBytes(i.it.Key()[kvPrefix:]), cloneBytes(v)}
		size += len(kv.Key) + len(kv.Value)
		kvs = append(kvs, kv)
	}
	return kvs, false
}

func (i kvIter) close(k *Key) error {
	err := i.it.Error()
	if cerr := i.it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("object %s: %w", *k, corrupt(err))
	}
	return nil
}

// List implements Reader.
func (d *Disk) List(pg placement.PGID, sp Space, after string, limit int) ([]ListEntry, bool, error) {
	limit, err := checkLimit(limit)
	if err != nil {
		return nil, false, err
	}
	if sp > lastSpace {
		return nil, false, invalid("list space %d of PG %s: no such space", sp, pg)
	}
	if err := d.enter(); err != nil {
		return nil, false, err
	}
	defer d.life.RUnlock()
	s := spaceKey{pg, sp}
	d.view.RLock()
	prefix := appendHeadPrefix(nil, s, d.gens[s])
	lo := append(cloneBytes(prefix), after...)
	if after != "" {
		lo = append(lo, 0) // the next name in order
	}
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: keyAfter(prefix)})
	d.view.RUnlock()
	if err != nil {
		return nil, false, fmt.Errorf("list space %d of PG %s: %w", sp, pg, corrupt(err))
	}
	var out []ListEntry
	more := false
	for ok := it.First(); ok; ok = it.Next() {
		if len(out) == limit {
			more = true
			break
		}
		v, verr := it.ValueAndErr()
		var h head
		if verr == nil {
			h, verr = decodeHead(v)
		}
		if verr != nil {
			err = verr
			break
		}
		out = append(out, ListEntry{Name: string(it.Key()[len(prefix):]), Version: h.version, Size: h.size, Mtime: h.mtime})
	}
	if err == nil {
		err = it.Error()
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, false, fmt.Errorf("list space %d of PG %s: %w", sp, pg, corrupt(err))
	}
	return out, more, nil
}

// PGs implements Reader.
func (d *Disk) PGs() ([]placement.PGID, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.life.RUnlock()
	d.view.RLock()
	defer d.view.RUnlock()
	var out []placement.PGID
	for k, s := range d.stats {
		if s.objects > 0 && k.sp != Shards {
			out = append(out, k.pg)
		}
	}
	slices.SortFunc(out, comparePG)
	return slices.Compact(out), nil
}
