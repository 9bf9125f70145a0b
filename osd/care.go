package osd

import "github.com/cairnstore/cairn/internal/wire/wirepb"

// Care looks after the chunks of the PGs that an OSD leads (package chunkcare). It is a client of the cluster, which
// this package knows nothing of; so whoever runs both tells them of each other.
type Care interface {
	// Report returns what it found, by pool.
	Report() []*wirepb.ChunkStat
}

// SetCare says who looks after the chunks of the OSD's PGs.
func (d *OSD) SetCare(c Care) { d.care.Store(&c) }

// chunkStats is what the care for chunks found; nil if there is none.
func (d *OSD) chunkStats() []*wirepb.ChunkStat {
	if c := d.care.Load(); c != nil {
		return (*c).Report()
	}
	return nil
}

// sameChunks compares what matters enough to be told within a second.
func sameChunks(a, b *wirepb.ChunkStat) bool {
	return a.Pool == b.Pool && a.Pgs == b.Pgs && a.Looked == b.Looked && a.Chunks == b.Chunks && a.Lacking == b.Lacking &&
		a.Misplaced == b.Misplaced && a.Missing == b.Missing && a.Damaged == b.Damaged && a.Dangling == b.Dangling
}
