package mon

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

const (
	accusersMax   = 64               // per OSD; two are enough to mark it down
	accusationTTL = 10 * time.Second // a report that is not repeated counts this long
	reportersMin  = 2                // silent OSDs need this many reporters ...
	reportersFew  = 3                // ... unless fewer OSDs than this are up
	samplesMax    = 6                // reports that rates are taken over
	servicesMax   = fsm.MaxServices
)

// watch is what the leader knows of OSDs and gateways beyond the map. It begins
// empty with every leader, so nothing in it may be relied on to be there. It
// has no clock of its own; times are the caller's.
type watch struct {
	silenceMax, reportTimeout, outAfter, serviceTimeout time.Duration

	growAfter, slowAfter, slowClear time.Duration

	mu       sync.Mutex // guards below
	since    time.Time  // this monitor leads since
	osds     map[placement.OSDID]*osdWatch
	services map[serviceKey]api.ServiceStatus

	growSince map[placement.PoolID]time.Time // since when the pool has had too few PGs
}

type serviceKey struct{ kind, name string }

type osdWatch struct {
	upFrom    placement.Epoch // of the life this is about
	heard     time.Time       // last report, or when this life was first seen
	downSince time.Time       // first seen down; zero while up
	accused   map[placement.OSDID]accusation

	status  api.OSDStatus
	samples []sample
	speed   slowness
	found   *api.SlowDevice // what it was last found slow in; never changed, only replaced
	wasOut  uint64          // the incarnation that was out when it had too many errors
}

// accusation is a peer's report that an OSD does not answer.
type accusation struct {
	at          time.Time
	silentSince time.Time
	refused     bool
	incarnation uint64
}

// sample is what rates are computed from.
type sample struct {
	at time.Time
	r  *wirepb.OSDReport
}

func newWatch(o *Options, now time.Time) *watch {
	return &watch{
		silenceMax: o.SilenceMax, reportTimeout: o.ReportTimeout,
		outAfter: o.OutAfter, serviceTimeout: o.ServiceTimeout,
		growAfter: o.GrowAfter, slowAfter: o.SlowAfter, slowClear: o.SlowClear, growSince: make(map[placement.PoolID]time.Time),
		since:    now,
		osds:     make(map[placement.OSDID]*osdWatch),
		services: make(map[serviceKey]api.ServiceStatus),
	}
}

// osd returns what is known of an OSD of the map. mu is held.
func (w *watch) osd(id placement.OSDID) *osdWatch {
	o := w.osds[id]
	if o == nil {
		o = &osdWatch{}
		w.osds[id] = o
	}
	return o
}

// report takes an OSD's report.
func (w *watch) report(now time.Time, m *placement.Map, r *wirepb.OSDReport) {
	id := placement.OSDID(r.Id)
	o := m.OSD(id)
	if o == nil || r.Incarnation < o.Incarnation {
		return // unknown, or a last word of a former life
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.osd(id)
	s.heard = now
	if n := len(s.samples); n > 0 && s.samples[n-1].r.Incarnation != r.Incarnation {
		s.samples = nil // its counters began anew
	}
	s.samples = append(s.samples, sample{now, r})
	if len(s.samples) > samplesMax {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	s.status = api.OSDStatus{Report: r, At: now, Rates: ratesOf(s.samples)}
}

// ratesOf returns averages over the samples.
func ratesOf(s []sample) api.OSDRates {
	if len(s) < 2 {
		return api.OSDRates{}
	}
	a, b := s[0], s[len(s)-1]
	secs := b.at.Sub(a.at).Seconds()
	if secs <= 0 {
		return api.OSDRates{}
	}
	rate := func(from, to uint64) float64 {
		if to < from {
			return 0
		}
		return float64(to-from) / secs
	}
	return api.OSDRates{
		ReadOps: rate(a.r.ReadOps, b.r.ReadOps), WriteOps: rate(a.r.WriteOps, b.r.WriteOps),
		ReadBytes: rate(a.r.ReadBytes, b.r.ReadBytes), WriteBytes: rate(a.r.WriteBytes, b.r.WriteBytes),
		RecoveredObjects: rate(a.r.RecoveredObjects, b.r.RecoveredObjects),
		RecoveredBytes:   rate(a.r.RecoveredBytes, b.r.RecoveredBytes),
	}
}

// failure takes a peer's report about an OSD. It reports whether the leader
// should look at the OSDs now rather than at the next tick.
func (w *watch) failure(now time.Time, m *placement.Map, f *wirepb.OSDFailure) bool {
	from, id := placement.OSDID(f.Reporter), placement.OSDID(f.Target)
	o := m.OSD(id)
	if o == nil || from == id || !m.IsUp(from) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.osd(id)
	if f.Alive {
		delete(s.accused, from)
		return false
	}
	if !o.Up || f.TargetIncarnation < o.Incarnation {
		return false
	}
	if _, known := s.accused[from]; !known && len(s.accused) >= accusersMax {
		return true // enough of them
	}
	if s.accused == nil {
		s.accused = make(map[placement.OSDID]accusation)
	}
	silent := time.Duration(min(max(f.SilentMs, 0), int64(time.Hour/time.Millisecond))) * time.Millisecond
	s.accused[from] = accusation{at: now, silentSince: now.Add(-silent), refused: f.Refused, incarnation: f.TargetIncarnation}
	return true
}

// verdict is what the leader should propose.
type verdict struct {
	down []fsm.Down
	out  []placement.OSDID
	gone []placement.Service
	full []fsm.FullOSD
	slow []fsm.SlowOSD
	bad  placement.OSDID // to be marked out for its device's errors, or NoOSD
	errs uint64          // how many they are
}

// look goes through all OSDs and services.
func (w *watch) look(now time.Time, m *placement.Map) verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	var v verdict
	up := 0
	for i := range m.OSDs {
		if m.OSDs[i].Up {
			up++
		}
	}
	need := reportersMin
	if up < reportersFew {
		need = 1
	}
	outAfter := w.outAfter
	if _, set := m.Setting(placement.KeyOutAfter); set {
		if outAfter = m.ConfigDuration(placement.KeyOutAfter); outAfter == 0 {
			outAfter = -1 // never
		}
	}
	for i := range m.OSDs {
		o := &m.OSDs[i]
		s := w.osd(o.ID)
		if o.Up {
			if reason, dead := w.judge(now, m, o, s, need); dead && m.Flags&placement.FlagNoDown == 0 {
				v.down = append(v.down, fsm.Down{ID: o.ID, Incarnation: o.Incarnation, Reason: reason})
			}
			continue
		}
		s.accused = nil
		if s.downSince.IsZero() {
			s.downSince = now
		}
		long := outAfter >= 0 && now.Sub(s.downSince) > outAfter
		if long && o.In() && m.Flags&placement.FlagNoOut == 0 {
			v.out = append(v.out, o.ID)
		}
	}
	for id := range w.osds {
		if m.OSD(id) == nil {
			delete(w.osds, id)
		}
	}
	v.gone = w.lost(now, m)
	v.full = w.fullness(now, m)
	v.slow = w.slow(now, m)
	v.bad, v.errs = w.failing(now, m)
	return v
}

// judge decides whether an up OSD is dead. mu is held.
func (w *watch) judge(now time.Time, m *placement.Map, o *placement.OSD, s *osdWatch, need int) (fsm.DownReason, bool) {
	if s.upFrom != o.UpFrom {
		// A new life: it has the full time to report, and old complaints are void.
		// So it is at a new leader's first look.
		s.upFrom, s.heard = o.UpFrom, now
		for from, a := range s.accused {
			if a.incarnation < o.Incarnation {
				delete(s.accused, from)
			}
		}
	}
	s.downSince = time.Time{}
	silent := 0
	for from, a := range s.accused {
		switch {
		case !m.IsUp(from), now.Sub(a.at) > accusationTTL, a.incarnation < o.Incarnation:
			delete(s.accused, from)
		case a.refused:
			return fsm.DownRefused, true
		case now.Sub(a.silentSince) > w.silenceMax:
			silent++
		}
	}
	if silent >= need {
		return fsm.DownSilent, true
	}
	if now.Sub(s.heard) > w.reportTimeout {
		return fsm.DownSilent, true
	}
	return "", false
}

// lost returns the services of the map that have not been heard of for long. mu is held.
func (w *watch) lost(now time.Time, m *placement.Map) []placement.Service {
	var gone []placement.Service
	for _, s := range m.Services {
		heard := w.since
		if st, ok := w.services[serviceKey{s.Kind, s.Name}]; ok {
			heard = st.At
		}
		if now.Sub(heard) > w.serviceTimeout {
			gone = append(gone, s)
		}
	}
	for k, st := range w.services {
		if now.Sub(st.At) > w.serviceTimeout {
			delete(w.services, k)
		}
	}
	return gone
}

// beacon takes a gateway's sign of life. It returns what should be proposed:
// a change of the map's entry, or nil.
func (w *watch) beacon(now time.Time, m *placement.Map, b *wirepb.ServiceBeacon) fsm.Body {
	k := serviceKey{b.Kind, b.Name}
	svc := placement.Service{Kind: b.Kind, Name: b.Name, Addr: b.Addr}
	w.mu.Lock()
	defer w.mu.Unlock()
	listed := slices.Contains(m.Services, svc)
	if b.Leaving {
		delete(w.services, k)
		for _, s := range m.Services {
			if s.Kind == b.Kind && s.Name == b.Name {
				return &fsm.ServiceRemove{Services: []fsm.Service{fsm.Service(s)}}
			}
		}
		return nil
	}
	if _, known := w.services[k]; known || len(w.services) < servicesMax {
		w.services[k] = api.ServiceStatus{Kind: b.Kind, Name: b.Name, Addr: b.Addr, At: now, Chunks: b.Chunks}
	}
	if listed {
		return nil
	}
	return &fsm.ServiceSet{Service: fsm.Service(svc)}
}

// forget drops a service whose registration was refused.
func (w *watch) forget(kind, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.services, serviceKey{kind, name})
}

// reports returns the newest report of each OSD.
func (w *watch) reports() map[placement.OSDID]api.OSDStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[placement.OSDID]api.OSDStatus, len(w.osds))
	for id, s := range w.osds {
		if s.status.Report != nil {
			st := s.status
			st.Slow = s.found
			out[id] = st
		}
	}
	return out
}

// list returns the services, by kind and name.
func (w *watch) list() []api.ServiceStatus {
	w.mu.Lock()
	out := make([]api.ServiceStatus, 0, len(w.services))
	for _, s := range w.services {
		out = append(out, s)
	}
	w.mu.Unlock()
	slices.SortFunc(out, func(a, b api.ServiceStatus) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}
