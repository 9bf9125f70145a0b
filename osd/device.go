package osd

import (
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

const (
	deviceWindow = 10 * time.Second // default of Options.DeviceWindow
	deviceMarks  = 10               // histograms kept of it, evenly apart
	deviceRecent = 2                // so many of them back, or more, the median is taken from
	deviceEnough = 64               // operations that a median is of, if there were so many
)

// device follows how the store's device does. It belongs to the goroutine that reports.
type device struct {
	window time.Duration
	marks  []deviceMark // oldest first, at most deviceMarks+2
}

type deviceMark struct {
	at    clock.Mono
	stats store.DeviceStats
}

// fill writes into a report what the device did lately. A device that has just become slow does less than it did, so of
// all in the window the median would be that of before for most of the time: it is of the newest operations.
func (v *device) fill(r *wirepb.OSDReport, s store.Store, now clock.Mono) {
	m, ok := s.(store.Metered)
	if !ok {
		return
	}
	st := m.DeviceStats()
	r.DeviceReadErrors, r.DeviceWriteErrors, r.DeviceRetries = st.ReadErrors, st.WriteErrors, st.Retries
	r.ChecksumErrors, r.DeviceStalledUs = st.ChecksumErrors, st.Stalled.Microseconds()
	r.DiscardedBytes, r.DiscardErrors = st.DiscardedBytes, st.DiscardErrors
	if n := len(v.marks); n == 0 || now.Sub(v.marks[n-1].at) >= v.window/deviceMarks {
		v.marks = append(v.marks, deviceMark{now, st})
	}
	for len(v.marks) > 1 && now.Sub(v.marks[1].at) >= v.window {
		v.marks = v.marks[1:]
	}
	for op := range store.DeviceOps {
		h := st.Latency[op].Since(&v.marks[0].stats.Latency[op])
		if n := h.Count(); n > 0 {
			recent := h
			for i := len(v.marks) - 1 - deviceRecent; i > 0; i-- {
				if c := st.Latency[op].Since(&v.marks[i].stats.Latency[op]); c.Count() >= deviceEnough {
					recent = c
					break
				}
			}
			r.Device = append(r.Device, &wirepb.DeviceLatency{
				Op: uint32(op) + 1, Count: n, P50Us: recent.Quantile(0.5).Microseconds(), P99Us: h.Quantile(0.99).Microseconds(),
			})
		}
	}
}
