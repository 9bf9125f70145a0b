package osd

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// meteredSim is a store whose device does what the test says.
type meteredSim struct {
	store.Store
	stats store.DeviceStats
}

func (s *meteredSim) DeviceStats() store.DeviceStats { return s.stats }

// TestDeviceReport: a report tells of the last seconds only, and of errors since the start.
func TestDeviceReport(t *testing.T) {
	s := &meteredSim{}
	v := device{window: deviceWindow}
	now := clock.Mono(time.Hour)
	report := func() *wirepb.OSDReport {
		r := &wirepb.OSDReport{}
		v.fill(r, s, now)
		now = now.Add(time.Second)
		return r
	}
	if r := report(); len(r.Device) != 0 {
		t.Fatalf("nothing was done: %v", r.Device)
	}
	for range 100 {
		s.stats.Latency[store.DeviceJournal].Add(80 * time.Millisecond)
	}
	s.stats.ReadErrors, s.stats.Retries, s.stats.ChecksumErrors, s.stats.Stalled = 3, 2, 1, time.Second
	r := report()
	if len(r.Device) != 1 || r.Device[0].Op != 2 || r.Device[0].Count != 100 || r.Device[0].P50Us < 80000 || r.Device[0].P99Us > 91000 {
		t.Fatalf("device: %v, want 100 journal writes of 80 ms", r.Device)
	}
	if r.DeviceReadErrors != 3 || r.DeviceRetries != 2 || r.ChecksumErrors != 1 || r.DeviceStalledUs != 1e6 {
		t.Errorf("errors: %v", r)
	}
	for i := 0; len(r.Device) > 0; i++ {
		if i > int(3*deviceWindow/2/time.Second) {
			t.Fatalf("still told of after %d s: %v", i, r.Device)
		}
		s.stats.Latency[store.DeviceRead].Add(time.Millisecond)
		if r = report(); len(r.Device) == 2 && i < 5 && r.Device[1].Count != 100 {
			t.Fatalf("after %d s: %v", i, r.Device)
		}
		if len(r.Device) == 1 && r.Device[0].Op == 1 {
			if n := r.Device[0].Count; n > uint64(3*deviceWindow/2/time.Second) {
				t.Errorf("%d reads are told of, one was made a second", n)
			}
			break
		}
	}
	if n := len(v.marks); n > deviceMarks+2 {
		t.Errorf("%d states are kept", n)
	}
	v.fill(&wirepb.OSDReport{}, store.Store(nil), now) // a store that does not watch its device
}
