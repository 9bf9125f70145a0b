package store

// overlay holds blocks whose newest content is in the journal but not yet at
// home in the data file. Its map and memory hold no pointers, so the garbage
// collector does not look at it. It has no lock: Disk.view guards it.
type overlay struct {
	at      map[uint64]ovEntry // by block of the data file
	chunks  [][]byte
	spare   []uint32 // free slots
	retired []uint32 // slots replaced while being written home
}

type ovEntry struct {
	slot   uint32
	homing bool // being written home: do not change in place
}

const ovChunkBlocks = 256 // 1 MiB

func newOverlay() *overlay { return &overlay{at: map[uint64]ovEntry{}} }

func (o *overlay) slot(i uint32) []byte {
	off := int(i%ovChunkBlocks) * blockBytes
	return o.chunks[i/ovChunkBlocks][off : off+blockBytes : off+blockBytes]
}

// get returns a block's content, valid until the next change of the overlay.
func (o *overlay) get(phys uint64) ([]byte, bool) {
	e, ok := o.at[phys]
	if !ok {
		return nil, false
	}
	return o.slot(e.slot), true
}

// put stores a copy, padded with zeros.
func (o *overlay) put(phys uint64, data []byte) {
	e, ok := o.at[phys]
	if ok && e.homing {
		o.retired = append(o.retired, e.slot)
		ok = false
	}
	if !ok {
		if len(o.spare) == 0 {
			base := uint32(len(o.chunks) * ovChunkBlocks)
			o.chunks = append(o.chunks, alignedBytes(ovChunkBlocks*blockBytes))
			for i := range uint32(ovChunkBlocks) {
				o.spare = append(o.spare, base+ovChunkBlocks-1-i)
			}
		}
		e = ovEntry{slot: o.spare[len(o.spare)-1]}
		o.spare = o.spare[:len(o.spare)-1]
		o.at[phys] = e
	}
	s := o.slot(e.slot)
	clear(s[copy(s, data):])
}

// drop forgets blocks that were freed.
func (o *overlay) drop(r run) {
	for p := r.start; p < r.end() && len(o.at) > 0; p++ {
		if e, ok := o.at[p]; ok {
			delete(o.at, p)
			if e.homing {
				o.retired = append(o.retired, e.slot)
			} else {
				o.spare = append(o.spare, e.slot)
			}
		}
	}
}

type homing struct {
	phys uint64
	slot uint32
}

// beginHoming marks every block as being written home and lists them.
func (o *overlay) beginHoming() []homing {
	list := make([]homing, 0, len(o.at))
	for p, e := range o.at {
		e.homing = true
		o.at[p] = e
		list = append(list, homing{p, e.slot})
	}
	return list
}

// endHoming forgets the listed blocks, except those changed meanwhile.
func (o *overlay) endHoming(list []homing) {
	for _, h := range list {
		if e, ok := o.at[h.phys]; ok && e.homing && e.slot == h.slot {
			delete(o.at, h.phys)
			o.spare = append(o.spare, h.slot)
		}
	}
	o.spare = append(o.spare, o.retired...)
	o.retired = nil
	if len(o.at) == 0 { // idle: give the memory back
		*o = *newOverlay()
	}
}

func (o *overlay) len() int { return len(o.at) + len(o.retired) }
