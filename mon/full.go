package mon

import (
	"time"

	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

const (
	fullReportAge = 30 * time.Second // an older report says nothing about space any more
	fullSlack     = 0.01             // how far an OSD must fall below a ratio to count as below it again
)

// fullness judges by the reports how full OSDs are, and returns what the map does
// not say yet. An OSD at a ratio would go to and fro with every object, so it has to
// fall a little below before the map takes it back. mu is held.
func (w *watch) fullness(now time.Time, m *placement.Map) []fsm.FullOSD {
	near, backfill, full := m.ConfigRatio(placement.KeyNearFullRatio), m.ConfigRatio(placement.KeyBackfillFullRatio), m.ConfigRatio(placement.KeyFullRatio)
	var changed []fsm.FullOSD
	for i := range m.OSDs {
		o := &m.OSDs[i]
		s := w.osd(o.ID)
		r := s.status.Report
		if !o.Up || r == nil || r.GetCapacity() <= 0 || r.GetIncarnation() != o.Incarnation || now.Sub(s.status.At) > fullReportAge {
			continue
		}
		used := 1 - float64(r.GetAvailable())/float64(r.GetCapacity())
		level := func(used float64) placement.Fullness {
			switch {
			case used >= full:
				return placement.Full
			case used >= backfill:
				return placement.BackfillFull
			case used >= near:
				return placement.NearFull
			}
			return placement.NotFull
		}
		is := level(used)
		if is < o.Full {
			is = min(o.Full, level(used+fullSlack))
		}
		if is != o.Full {
			changed = append(changed, fsm.FullOSD{ID: o.ID, Full: is})
		}
	}
	return changed
}
