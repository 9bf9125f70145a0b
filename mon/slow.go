package mon

import (
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// An OSD is compared with the others of its device class, each kind of work for itself: with the
// median of the others, so that neither one bad peer nor a moment in which all are slow says
// anything. What is slower by the configured factor for a while is slow; what is so no more for
// longer than that is not. In between nothing changes.
const (
	slowSamples   = 32               // operations in a report's window that the median is worth something of
	slowTail      = 200              // ... and the 99th percentile
	slowPeers     = 3                // OSDs of the class to compare with
	slowTailFloor = 4                // how many times the floor the 99th percentile must be
	slowStalled   = 5 * time.Second  // an operation under way for so long does not end
	slowReports   = 3                // reports, all of them slow, and
	slowAfter     = 20 * time.Second // so long, before an OSD is slow: tails are of the last ten seconds, of different ones
	slowSoon      = 2 * time.Second  // and so long if it is the median that says so, which is of the last two
	slowClear     = time.Minute      // how long it must be well again
	slowExpire    = 10 * time.Minute // how long without such work before it is given another chance
	slowAgain     = time.Hour        // who is slow again so soon after that has to wait twice as long for the next one, ...
	slowAgainMost = 3                // ... and so often
	slowReportAge = 15 * time.Second // older reports are not compared
	slowMargin    = 0.6              // what is well stays below this part of what is slow

	minInRatio = 0.75 // so many OSDs stay in, whatever errors they report
)

// kindStalled stands beside the kinds of a report: how long the oldest operation has been under way.
const (
	kindStalled = 5
	kindsEnd    = 6
)

var kindNames = [kindsEnd]string{1: "reads", 2: "journal writes", 3: "data writes", 4: "syncs", 5: "an operation that does not end"}

// slowness is what the leader remembers of one OSD's speed.
type slowness struct {
	judged   time.Time // the report that was last looked at
	badSince time.Time // zero: not bad
	bad      int       // reports since
	well     time.Time // since when it is well; zero: it is not
	heard    time.Time // when it was last bad, or the kind that it is slow in was last seen
	kind     int       // what it is slow in; 0: not known, another leader found out

	steadySince time.Time // likewise, of medians
	steady      int

	slow    bool      // what the map said last
	cleared time.Time // when it last stopped to
	again   int       // how often in a row it was slow again soon after
}

// follow takes in what the map says. An OSD that is well as long as little is asked of it must not come and go every minute:
// what moves off it and back would cost more than it is worth.
func (p *slowness) follow(now time.Time, slow bool) {
	if slow == p.slow {
		return
	}
	p.slow = slow
	switch {
	case !slow:
		p.cleared = now
	case !p.cleared.IsZero() && now.Sub(p.cleared) < slowAgain:
		p.again = min(p.again+1, slowAgainMost)
	default:
		p.again = 0
	}
}

// speed is one OSD's figures in one kind of work.
type speed struct {
	p50, p99 time.Duration
	tail     bool // there was enough for p99
}

// class collects the figures of one device class, sorted.
type class struct{ p50, p99 [kindsEnd][]time.Duration }

// speeds reads the figures of a report.
func speeds(r *wirepb.OSDReport) (out [kindsEnd]speed, ok [kindsEnd]bool) {
	for _, d := range r.GetDevice() {
		if k := d.GetOp(); k >= 1 && k < kindStalled && d.GetCount() >= slowSamples {
			out[k] = speed{time.Duration(d.GetP50Us()) * time.Microsecond, time.Duration(d.GetP99Us()) * time.Microsecond, d.GetCount() >= slowTail}
			ok[k] = true
		}
	}
	stalled := time.Duration(r.GetDeviceStalledUs()) * time.Microsecond
	out[kindStalled], ok[kindStalled] = speed{stalled, stalled, false}, true
	return out, ok
}

// othersMedian returns the median of a sorted list without one of the values in it.
func othersMedian(sorted []time.Duration, own time.Duration) time.Duration {
	at, _ := slices.BinarySearch(sorted, own)
	n := len(sorted) - 1
	get := func(i int) time.Duration {
		if i >= at {
			i++
		}
		return sorted[i]
	}
	if n%2 == 1 {
		return get(n / 2)
	}
	return (get(n/2-1) + get(n/2)) / 2
}

// comparable reports whether an OSD's newest report says how it is now.
func (s *osdWatch) comparable(now time.Time, o *placement.OSD) bool {
	r := s.status.Report
	return o.Up && r != nil && r.GetIncarnation() == o.Incarnation && now.Sub(s.status.At) <= slowReportAge
}

// slow compares the OSDs and returns what the map does not say yet. mu is held.
func (w *watch) slow(now time.Time, m *placement.Map) []fsm.SlowOSD {
	classes := map[string]*class{}
	for i := range m.OSDs {
		o := &m.OSDs[i]
		s := w.osd(o.ID)
		if !s.comparable(now, o) {
			continue
		}
		c := classes[o.Class]
		if c == nil {
			c = &class{}
			classes[o.Class] = c
		}
		v, ok := speeds(s.status.Report)
		for k := range kindsEnd {
			if ok[k] {
				c.p50[k] = append(c.p50[k], v[k].p50)
			}
			if ok[k] && v[k].tail {
				c.p99[k] = append(c.p99[k], v[k].p99)
			}
		}
	}
	for _, c := range classes {
		for k := range kindsEnd {
			slices.Sort(c.p50[k])
			slices.Sort(c.p99[k])
		}
	}
	var changed []fsm.SlowOSD
	for i := range m.OSDs {
		o := &m.OSDs[i]
		s := w.osd(o.ID)
		s.speed.follow(now, o.Slow)
		if s.comparable(now, o) && s.status.At != s.speed.judged {
			s.speed.judged = s.status.At
			w.compare(now, m, o, s, classes[o.Class])
		}
		if is := w.isSlow(now, &s.speed, o.Slow); is != o.Slow {
			changed = append(changed, fsm.SlowOSD{ID: o.ID, Slow: is})
		}
	}
	return changed
}

// compare looks at one new report. mu is held.
func (w *watch) compare(now time.Time, m *placement.Map, o *placement.OSD, s *osdWatch, c *class) {
	factor := float64(m.ConfigNumber(placement.KeySlowFactor))
	floor := m.ConfigDuration(placement.KeySlowFloor)
	v, ok := speeds(s.status.Report)
	var worst *api.SlowDevice
	worstBy, steady := 0.0, false
	well, seen := true, false // of the kind that it is slow in, or of all if that is not known
	for k := 1; k < kindsEnd; k++ {
		if !ok[k] || len(c.p50[k]) <= slowPeers {
			continue
		}
		low := floor
		if k == kindStalled {
			low = slowStalled
		}
		d := &api.SlowDevice{Kind: kindNames[k], P50: v[k].p50, PeersP50: othersMedian(c.p50[k], v[k].p50), Peers: len(c.p50[k]) - 1}
		by := float64(v[k].p50) / max(float64(low), factor*float64(d.PeersP50))
		steady = steady || k != kindStalled && by >= 1
		if v[k].tail && len(c.p99[k]) > slowPeers {
			d.P99, d.PeersP99 = v[k].p99, othersMedian(c.p99[k], v[k].p99)
			by = max(by, float64(d.P99)/max(slowTailFloor*float64(low), factor*float64(d.PeersP99)))
		}
		if by >= 1 && by > worstBy {
			worst, worstBy = d, by
			s.speed.kind = k
		}
		if s.speed.kind == 0 || s.speed.kind == k {
			well = well && by < slowMargin
			seen = seen || k != kindStalled || s.speed.kind == kindStalled
		}
	}
	p := &s.speed
	switch {
	case !steady:
		p.steadySince, p.steady = time.Time{}, 0
	case p.steady == 0:
		p.steadySince, p.steady = now, 1
	default:
		p.steady++
	}
	switch {
	case worst != nil:
		if p.badSince.IsZero() {
			p.badSince, p.bad = now, 0
		}
		p.bad++
		p.heard, p.well = now, time.Time{}
		worst.Since = p.badSince
		if o.Slow && s.found != nil {
			worst.Since = s.found.Since
		}
		s.found = worst
	case !seen: // nothing to judge by
		p.badSince = time.Time{}
	default:
		p.badSince, p.heard = time.Time{}, now
		switch {
		case !well:
			p.well = time.Time{}
		case p.well.IsZero():
			p.well = now
		}
	}
}

// isSlow decides, given what the map says. mu is held.
func (w *watch) isSlow(now time.Time, p *slowness, was bool) bool {
	if !was {
		return !p.badSince.IsZero() && p.bad >= slowReports && now.Sub(p.badSince) >= w.slowAfter ||
			p.steady >= slowReports && now.Sub(p.steadySince) >= min(slowSoon, w.slowAfter)
	}
	if p.heard.IsZero() {
		p.heard = now // a new leader
	}
	switch {
	case !p.well.IsZero() && now.Sub(p.well) >= w.slowClear<<p.again, p.badSince.IsZero() && now.Sub(p.heard) >= slowExpire<<p.again:
		p.kind = 0
		return false
	}
	return true
}

// readErrors counts the reads that did not give what had been written.
func readErrors(r *wirepb.OSDReport) uint64 { return r.GetDeviceReadErrors() + r.GetChecksumErrors() }

// failing returns the OSD whose reads failed more often than the configuration lets pass, to be
// marked out: one at a time, not again when somebody lets it in, and never so that few are left. mu is held.
func (w *watch) failing(now time.Time, m *placement.Map) (id placement.OSDID, errs uint64) {
	limit := uint64(m.ConfigNumber(placement.KeyReadErrorLimit))
	if limit == 0 || !m.ConfigSwitch(placement.KeyReadErrorOut) || m.Flags&placement.FlagNoOut != 0 {
		return placement.NoOSD, 0
	}
	in := 0
	for i := range m.OSDs {
		if m.OSDs[i].In() {
			in++
		}
	}
	if float64(in-1) < minInRatio*float64(len(m.OSDs)) {
		return placement.NoOSD, 0
	}
	for i := range m.OSDs {
		o := &m.OSDs[i]
		s := w.osd(o.ID)
		if !s.comparable(now, o) {
			continue
		}
		n := readErrors(s.status.Report)
		switch {
		case n < limit || s.wasOut == o.Incarnation:
		case !o.In():
			s.wasOut = o.Incarnation // if it comes in again, somebody wants it so
		default:
			return o.ID, n
		}
	}
	return placement.NoOSD, 0
}
