package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// fixer makes the repairs of a check durable: through the journal, in order, in groups
// that a crash leaves done or undone.
type fixer struct {
	d      *Disk
	kv     []byte
	groups int
	counts map[uint64]uint64 // true numbers of omap keys, by object number
}

const fixBytes = 1 << 20

// begin brings the store to a checkpoint, which writes both copies of the superblock,
// and mends what lies outside of the index.
func (x *fixer) begin(in *Inspector, found []Finding) error {
	d := x.d
	x.counts = map[uint64]uint64{}
	for i := range found {
		switch f := &found[i]; f.Kind {
		case FoundDataHeader:
			// The superblock says whose the store is, the index and all checksums what is in it.
			if err := d.data.WriteSync(encodeDataHeader(d.super.id.Store), 0); err != nil {
				return fmt.Errorf("data file: %w", err)
			}
			f.Repaired = "written anew"
		case FoundIndexOwner:
			x.kv = appendKVSet(x.kv, metaStoreKey, d.super.id.Store[:])
			f.Repaired = "written anew"
		case FoundSuperblock:
			f.Repaired = "written anew from the good copy"
		}
	}
	if err := d.writeSuper(func(s *superblock) { s.clean = false }); err != nil {
		return err
	}
	if err := d.checkpoint(); err != nil {
		return err
	}
	return x.flush()
}

func (x *fixer) set(k, v []byte) error {
	x.kv = appendKVSet(x.kv, k, v)
	return x.full()
}

func (x *fixer) delete(k []byte) error {
	x.kv = appendKVDelete(x.kv, k)
	return x.full()
}

func (x *fixer) deleteRange(from, to []byte) error {
	x.kv = appendKVDelRange(x.kv, from, to)
	return x.full()
}

func (x *fixer) full() error {
	if len(x.kv) < fixBytes {
		return nil
	}
	return x.flush()
}

// flush commits what has come together as one group.
func (x *fixer) flush() error {
	if len(x.kv) == 0 {
		return nil
	}
	d, rec := x.d, &redo{kv: x.kv}
	seq := d.journal.seq
	if err := d.journal.write(d.journal.encode(rec)); err != nil {
		return err
	}
	b := d.db.NewBatch()
	defer b.Close()
	if err := applyKV(rec.kv, pebbleBatch{b}); err != nil {
		return err
	}
	if err := d.db.Apply(b, pebble.NoSync); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	d.view.Lock()
	d.changed(rec.kv)
	d.applied = checkpoint{pos: d.journal.pos, seq: seq + 1, link: d.journal.link}
	d.view.Unlock()
	x.kv = x.kv[:0]
	if x.groups++; x.groups%4 == 0 { // the smallest journal holds 16 such groups
		return d.checkpoint()
	}
	return nil
}

// end writes the last repairs and closes the journal in order.
func (x *fixer) end() error {
	if err := x.fixCounts(); err != nil {
		return err
	}
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.d.checkpoint(); err != nil {
		return err
	}
	if err := x.d.data.Sync(); err != nil {
		return err
	}
	return x.d.writeSuper(func(s *superblock) { s.clean = true })
}

// fixCounts corrects the bounds of how many omap keys objects have.
func (x *fixer) fixCounts() error {
	if len(x.counts) == 0 {
		return nil
	}
	var bad error
	_, _, err := x.d.eachPair([]byte{keyHead}, []byte{keyHead + 1}, -1, func(k, v []byte) {
		h, err := decodeHead(v)
		if n, ok := x.counts[h.oid]; err == nil && ok && h.omapMax < n && bad == nil {
			h.omapMax = n
			bad = x.set(cloneBytes(k), h.append(nil))
		}
	})
	if err == nil {
		err = bad
	}
	return err
}
