package store

import (
	"maps"
	"slices"
	"syscall"
)

// memDiscards is what became of the discarded parts of a memFile. A device may make them zeros or anything else, at
// once or only when the power fails; a file system takes back the room.
type memDiscards struct {
	idle   map[int]bool // sectors discarded and not written since, whose content changes with a power cut
	holes  map[int]bool // blocks of a file without room of the file system
	filled map[int]bool // blocks that got room again, which a power cut may undo
	count  int          // bytes discarded
}

func (f *memFile) Discard(off, n int64) error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.aligned(nil, off); err != nil || n%blockBytes != 0 || int(off+n) > len(f.data) {
		return syscall.EINVAL
	}
	if err := f.l.check("discard", f.name, off); err != nil {
		return err
	}
	if !f.l.tick() { // the cut may have come after it, too
		if c := f.l.cut.files[f.name]; c != nil && int(off+n) <= len(c.data) && f.l.rng.IntN(2) == 0 {
			c.discarded(int(off), int(n))
		}
		return errPower
	}
	f.discarded(int(off), int(n))
	return nil
}

func (f *memFile) discarded(off, n int) {
	d := &f.discards
	if d.idle == nil {
		d.idle, d.holes, d.filled = map[int]bool{}, map[int]bool{}, map[int]bool{}
	}
	d.count += n
	switch mood := f.l.rng.IntN(3); mood {
	case 0, 1:
		f.put(f.l.leftover(mood == 0, n), int64(off))
	default:
		for s := off / sector; s < (off+n)/sector; s++ {
			d.idle[s] = true
		}
	}
	if !f.device {
		for b := off / blockBytes; b < (off+n)/blockBytes; b++ {
			d.holes[b] = true
			delete(d.filled, b)
		}
	}
}

// leftover is what a device reads as where something was discarded.
func (l *faultLayer) leftover(zero bool, n int) []byte {
	b := make([]byte, n)
	if !zero {
		for i := range b {
			b[i] = byte(l.rng.Uint32())
		}
	}
	return b
}

// written forgets that a part was discarded.
func (d *memDiscards) written(off, n int) {
	if len(d.idle) == 0 && len(d.holes) == 0 {
		return
	}
	for s := off / sector; s < (off+n)/sector; s++ {
		delete(d.idle, s)
	}
	for b := off / blockBytes; b < (off+n)/blockBytes; b++ {
		delete(d.holes, b)
	}
}

// inHoles is how many bytes of a part lie in holes.
func (d *memDiscards) inHoles(off, n int) (bytes int64) {
	if len(d.holes) > 0 {
		for b := off / blockBytes; b < (off+n)/blockBytes; b++ {
			if d.holes[b] {
				bytes += blockBytes
			}
		}
	}
	return bytes
}

func (f *memFile) Reserve(off, n int64) error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.l.check("reserve", f.name, off); err != nil {
		return err
	}
	d := &f.discards
	if _, free, _ := f.l.space(); d.inHoles(int(off), int(n)) > free {
		return syscall.ENOSPC
	}
	for b := int(off / blockBytes); b < int((off+n)/blockBytes); b++ {
		if d.holes[b] {
			delete(d.holes, b)
			d.filled[b] = true
		}
	}
	if !f.l.tick() {
		return errPower
	}
	return nil
}

// afterCut is what a power cut leaves: c is the file on the medium then.
func (d *memDiscards) afterCut(c *memFile) {
	if d.idle == nil {
		return
	}
	n := &c.discards
	n.idle, n.holes, n.filled = map[int]bool{}, maps.Clone(d.holes), map[int]bool{}
	for _, s := range slices.Sorted(maps.Keys(d.idle)) {
		if mood := c.l.rng.IntN(3); mood < 2 && (s+1)*sector <= len(c.data) {
			copy(c.data[s*sector:(s+1)*sector], c.l.leftover(mood == 0, sector))
		}
	}
	for _, b := range slices.Sorted(maps.Keys(d.filled)) {
		if c.l.rng.IntN(2) == 0 {
			n.holes[b] = true
		}
	}
}

func (d memDiscards) clone() memDiscards {
	return memDiscards{maps.Clone(d.idle), maps.Clone(d.holes), maps.Clone(d.filled), d.count}
}
