package node

import (
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/osd/chunkcare"
)

// CareOf is the care for chunks as the OSD beside it sees it, for osd.OSD.SetCare.
func CareOf(c *chunkcare.Care) osd.Care { return care{c} }

type care struct{ c *chunkcare.Care }

// Report implements osd.Care.
func (c care) Report() []*wirepb.ChunkStat {
	var out []*wirepb.ChunkStat
	for _, p := range c.c.Pools() {
		s := &p.Stat
		out = append(out, &wirepb.ChunkStat{
			Pool: uint32(p.Pool), Pgs: uint32(p.PGs), Looked: uint32(p.Looked),
			Chunks: s.Chunks, References: s.References, Bytes: s.Bytes, Stored: s.Stored, Physical: s.Physical, Condemned: s.Condemned,
			Degraded: s.Degraded, Lacking: s.DegradedShards, Misplaced: s.Misplaced, Missing: s.Missing, Damaged: s.Damaged, Dangling: s.Dangling,
		})
	}
	return out
}
