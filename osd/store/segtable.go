package store

// segTable is the segments of an object, by number. nil: not known; noSegment: known to be absent. Nobody
// appends to one: undo has slices of what there was.
type segTable []*segment

// maxSegments is how many segments the largest object has.
const maxSegments = (MaxObjectBytes + segBytes - 1) / segBytes

var noSegment = &segment{} // nobody changes it

// get returns nil for a segment that is absent, or not known.
func (t segTable) get(idx uint32) (s *segment, known bool) {
	if int(idx) >= len(t) || t[idx] == nil {
		return nil, false
	}
	if t[idx] == noSegment {
		return nil, true
	}
	return t[idx], true
}

// tablePart is how many entries of a segTable take as much memory as a segment.
const tablePart = 16

// size is what the table takes of the planner's cache, in segments.
func (t segTable) size() int {
	n := len(t) / tablePart
	for _, s := range t {
		if s != nil {
			n++
		}
	}
	return n
}

// roomForSeg makes the table of segments long enough.
func (p *planner) roomForSeg(on *onode, idx uint32) {
	if int(idx) >= len(on.segs) {
		t := make(segTable, max(int(idx)+1, 2*len(on.segs)))
		copy(t, on.segs)
		p.segs += len(t)/tablePart - len(on.segs)/tablePart
		on.segs = t
	}
}

// putSeg notes what the index has; nil: nothing.
func (p *planner) putSeg(on *onode, idx uint32, s *segment) {
	p.roomForSeg(on, idx)
	if s == nil {
		s = noSegment
	}
	on.segs[idx] = s
	p.segs++
}
