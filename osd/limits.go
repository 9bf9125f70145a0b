package osd

import (
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// limits are those of the options, where they say something, else those of the central configuration.
func limits(l pg.Limits, m *placement.Map) pg.Limits {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&l.Sources, m.ConfigNumber(placement.KeyRecoveryMaxPGs))
	set(&l.Targets, m.ConfigNumber(placement.KeyRecoveryMaxPGs))
	set(&l.Pushes, m.ConfigNumber(placement.KeyRecoveryMaxActive))
	return l
}

// ratios are parts of the capacity from which an OSD is more or less full.
type ratios struct{ near, backfill, full float64 }

func (o *Options) ratios(m *placement.Map) *ratios {
	r := &ratios{m.ConfigRatio(placement.KeyNearFullRatio), m.ConfigRatio(placement.KeyBackfillFullRatio), m.ConfigRatio(placement.KeyFullRatio)}
	if o.FullRatio > 0 {
		r.full = o.FullRatio
	}
	return r
}

// fullness judges our own store by the ratios of the newest map.
func (d *OSD) fullness() placement.Fullness {
	u, r := d.o.Store.Usage(), d.ratios.Load()
	if u.Capacity <= 0 || r == nil {
		return placement.NotFull
	}
	switch used := float64(u.Capacity-u.Available) / float64(u.Capacity); {
	case used >= r.full:
		return placement.Full
	case used >= r.backfill:
		return placement.BackfillFull
	case used >= r.near:
		return placement.NearFull
	}
	return placement.NotFull
}
