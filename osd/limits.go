package osd

import (
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
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

// fullSlack bounds what is written before it is looked again whether the OSD is full: others may fill the file system.
const fullSlack = 64 << 20

// full reports whether clients' writes that need space are refused. Each asks, so as long as there is plenty it is enough
// to count what the store is given.
func (d *OSD) full() bool {
	spent := d.room.slack.Load()
	if spent > 0 {
		return false
	}
	waiting := d.waiting() // in this order: a batch that ends meanwhile counts twice then, not never
	u, r := d.o.Store.Usage(), d.ratios.Load()
	if u.Capacity > 0 && r != nil {
		// Half of what may be written until it is nearly full. If something was taken meanwhile the next one looks again.
		if left := int64(min(r.near, r.full)*float64(u.Capacity)) - (u.Capacity - u.Available) - waiting; left > 0 {
			d.room.slack.CompareAndSwap(spent, min(left/2, fullSlack))
		}
		if d.ratios.Load() != r {
			d.room.slack.Store(0) // they have changed meanwhile
		}
	}
	return r.judge(u) >= placement.Full
}

// fullness judges our own store, which is so full, by the ratios of the newest map.
func (d *OSD) fullness(u store.Usage) placement.Fullness {
	f := d.ratios.Load().judge(u)
	if f >= placement.NearFull {
		d.room.slack.Store(0) // others than our clients fill it, too: from now on each looks
	}
	return f
}

func (r *ratios) judge(u store.Usage) placement.Fullness {
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
