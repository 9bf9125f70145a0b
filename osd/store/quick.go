package store

import (
	"errors"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// ErrWait is the answer of a Quick reader that would have to ask the disk, or to wait for somebody who does.
var ErrWait = errors.New("the answer is not in memory")

// QuickStore is a Store that can answer some reads from memory at once.
type QuickStore interface {
	// Quick returns a Reader that does no I/O. Its methods answer what the Store's would, or ErrWait:
	// then the Store itself is to be asked. What is much is never answered, so that whoever must not be
	// held up can ask here.
	Quick() QuickReader
}

// QuickReader is a Reader that answers from memory or not at all.
type QuickReader interface {
	Reader
	BufReader
}

// quickBytes is how much data a quick read returns at most.
const quickBytes = cacheRead * blockBytes

// quick implements QuickReader.
type quick struct{ d *Disk }

var _ QuickStore = (*Disk)(nil)

// Quick implements QuickStore.
func (d *Disk) Quick() QuickReader { return quick{d} }

// Stat implements Reader.
func (q quick) Stat(k Key) (Info, error) {
	d := q.d
	if err := d.enter(); err != nil {
		return Info{}, err
	}
	defer d.life.RUnlock()
	if !d.view.TryRLock() { // a group is being made visible, which takes the index a while
		return Info{}, ErrWait
	}
	defer d.view.RUnlock()
	h, err := d.lookup(&k, true)
	if err != nil {
		return Info{}, err
	}
	return h.info(), nil
}

// Read implements Reader.
func (q quick) Read(k Key, off, n uint64) ([]byte, error) {
	return q.d.read(&reading{quick: true}, k, off, n)
}

// ReadBuf implements BufReader.
func (q quick) ReadBuf(k Key, off, n uint64) (*slab.Buf, error) {
	if n > quickBytes {
		return nil, ErrWait
	}
	return q.d.readBuf(k, off, n, true)
}

// Attr implements Reader.
func (q quick) Attr(Key, []byte) ([]byte, error) { return nil, ErrWait }

// Attrs implements Reader.
func (q quick) Attrs(Key) ([]KV, error) { return nil, ErrWait }

// OmapGet implements Reader.
func (q quick) OmapGet(Key, [][]byte) ([]KV, error) { return nil, ErrWait }

// OmapList implements Reader.
func (q quick) OmapList(Key, []byte, []byte, int) ([]KV, bool, error) { return nil, false, ErrWait }

// List implements Reader.
func (q quick) List(placement.PGID, Space, string, int) ([]ListEntry, bool, error) {
	return nil, false, ErrWait
}

// PGs implements Reader.
func (q quick) PGs() ([]placement.PGID, error) { return nil, ErrWait }

// fromMemory is Disk.read for a quick reading; the caller is inside.
func (r *reading) fromMemory(d *Disk, k *Key, off, n uint64) ([]byte, error) {
	if !d.view.TryRLock() {
		return nil, ErrWait
	}
	defer d.view.RUnlock()
	if err := r.prepare(d, k, off, n); err != nil {
		return nil, err
	}
	return r.out, nil
}

// segment puts a segment into r.seg; false when there is none.
func (r *reading) segment(d *Disk, key []byte) (found bool, err error) {
	if !r.quick {
		return d.findSegment(key, &r.seg)
	}
	found, known := d.knownSegment(key, &r.seg)
	if !known {
		return false, ErrWait
	}
	return found, nil
}
