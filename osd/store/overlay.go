package store

// overlay holds blocks whose newest content is in the journal but not yet at
// home in the data file. Its map and memory hold no pointers, so the garbage
// collector does not look at it. It has no lock: Disk.view guards it.
type overlay struct {
	at     map[uint64]ovEntry // by block of the data file
	chunks [][]byte
	spare  []uint32 // free slots
	puts   uint64   // so far
}

type ovEntry struct {
	slot uint32
	put  uint64 // which put it was: whether what was written home is still the newest
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
	if !ok {
		if len(o.spare) == 0 {
			base := uint32(len(o.chunks) * ovChunkBlocks)
			o.chunks = append(o.chunks, alignedBytes(ovChunkBlocks*blockBytes))
			for i := range uint32(ovChunkBlocks) {
				o.spare = append(o.spare, base+ovChunkBlocks-1-i)
			}
		}
		e.slot = o.spare[len(o.spare)-1]
		o.spare = o.spare[:len(o.spare)-1]
	}
	o.puts++
	e.put = o.puts
	o.at[phys] = e
	s := o.slot(e.slot)
	clear(s[copy(s, data):])
}

// drop forgets blocks that were freed.
func (o *overlay) drop(r run) {
	for p := r.start; p < r.end() && len(o.at) > 0; p++ {
		if e, ok := o.at[p]; ok {
			delete(o.at, p)
			o.spare = append(o.spare, e.slot)
		}
	}
}

// blocks lists all there is, in no order.
func (o *overlay) blocks() []uint64 {
	list := make([]uint64, 0, len(o.at))
	for p := range o.at {
		list = append(list, p)
	}
	return list
}

// homing is a block on its way home: the put of it that is being written.
type homing struct{ phys, put uint64 }

// copyOut appends the listed blocks that are still there to list, and their
// content to buf, in the same order.
func (o *overlay) copyOut(phys []uint64, list []homing, buf []byte) ([]homing, []byte) {
	for _, p := range phys {
		if e, ok := o.at[p]; ok {
			list = append(list, homing{p, e.put})
			buf = append(buf, o.slot(e.slot)...)
		}
	}
	return list, buf
}

// home forgets blocks that were written home, except those changed meanwhile.
func (o *overlay) home(list []homing) {
	for _, h := range list {
		if e, ok := o.at[h.phys]; ok && e.put == h.put {
			delete(o.at, h.phys)
			o.spare = append(o.spare, e.slot)
		}
	}
	if len(o.at) == 0 { // idle: give the memory back
		*o = overlay{at: map[uint64]ovEntry{}, puts: o.puts}
	}
}

func (o *overlay) len() int { return len(o.at) }
