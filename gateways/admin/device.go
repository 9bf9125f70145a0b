package admin

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// deviceOps are the names of the kinds of work in reports, from 1 on.
var deviceOps = [...]string{1: "read", 2: "journal", 3: "write", 4: "sync"}

// deviceOf returns what a report says of the OSD's device.
func deviceOf(r *wirepb.OSDReport) api.Device {
	d := api.Device{
		Latency:    []api.DeviceLatency{},
		ReadErrors: r.GetDeviceReadErrors(), WriteErrors: r.GetDeviceWriteErrors(), Retries: r.GetDeviceRetries(),
		ChecksumErrors: r.GetChecksumErrors(), Stalled: r.GetDeviceStalledUs(),
		Discarded: r.GetDiscardedBytes(), DiscardErrors: r.GetDiscardErrors(),
	}
	for _, l := range r.GetDevice() {
		if op := l.GetOp(); op > 0 && int(op) < len(deviceOps) { // a newer OSD may know more
			d.Latency = append(d.Latency, api.DeviceLatency{Op: deviceOps[op], Count: l.GetCount(), P50: l.GetP50Us(), P99: l.GetP99Us()})
		}
	}
	return d
}

// checkDevices reports OSDs whose devices are slow, or do not read what was written.
func (v *View) checkDevices(h checks) {
	var slow, bad, spurious []string
	limit := uint64(v.Map.ConfigNumber(placement.KeyReadErrorLimit))
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		st, _ := v.report(o.ID)
		if o.Slow && o.Up {
			slow = append(slow, slowDetail(o, st.Slow))
		}
		if st.Report == nil || st.Report.GetIncarnation() != o.Incarnation {
			continue
		}
		d := deviceOf(st.Report)
		next := fmt.Sprintf("check its disk, cable and kernel log, and replace it: `cairn osd drain %d`", int(o.ID))
		if limit > 0 && d.ReadErrors+d.ChecksumErrors >= limit {
			bad = append(bad, fmt.Sprintf("%s (class %s) has had %d failed reads and %d damaged blocks since it started; %s",
				o.ID, o.Class, d.ReadErrors, d.ChecksumErrors, next))
		}
		if limit > 0 && d.Retries >= limit {
			spurious = append(spurious, fmt.Sprintf("%s (class %s) has had %d reads that were good only when tried again; %s", o.ID, o.Class, d.Retries, next))
		}
	}
	if n := len(slow); n > 0 {
		h.add("OSD_SLOW_DEVICE", api.HealthWarn, n, fmt.Sprintf("%d osd(s) have slow devices", n), slow)
	}
	if n := len(bad); n > 0 {
		h.add("OSD_READ_ERRORS", api.HealthWarn, n, fmt.Sprintf("%d osd(s) have devices with read errors", n), bad)
	}
	if n := len(spurious); n > 0 {
		h.add("OSD_SPURIOUS_READ_ERRORS", api.HealthWarn, n, fmt.Sprintf("%d osd(s) have spurious read errors", n), spurious)
	}
}

// slowDetail says in what an OSD's device is slow, against whom, and what to do.
func slowDetail(o *placement.OSD, d *api.SlowDevice) string {
	next := fmt.Sprintf("see `cairn osd perf`, check its disk and kernel log; if it stays so, `cairn osd drain %d`", int(o.ID))
	if d == nil {
		return fmt.Sprintf("%s (class %s) is slow, as the last leading monitor found; %s", o.ID, o.Class, next)
	}
	figures := fmt.Sprintf("a median of %s, its %d peers %s", short(d.P50), d.Peers, short(d.PeersP50))
	if d.P99 > 0 {
		figures += fmt.Sprintf("; p99 %s, its peers %s", short(d.P99), short(d.PeersP99))
	}
	return fmt.Sprintf("%s (class %s) is slow in %s: %s; since %s; %s", o.ID, o.Class, d.Kind, figures, d.Since.UTC().Format(time.RFC3339), next)
}

// short rounds a duration for people.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

var (
	descDevLatency   = desc("osd_device_latency_seconds", "Quantiles of the device's work in the last seconds.", "osd", "op", "quantile")
	descDevOps       = desc("osd_device_window_operations", "How many operations of the device these quantiles are about.", "osd", "op")
	descDevReadErr   = desc("osd_device_read_errors_total", "Reads of the device that failed for good, since the OSD started.", "osd")
	descDevWriteErr  = desc("osd_device_write_errors_total", "Writes and syncs of the device that failed, since the OSD started.", "osd")
	descDevRetries   = desc("osd_device_read_retries_total", "Reads of the device that were good only when tried again, since the OSD started.", "osd")
	descDevChecksums = desc("osd_checksum_errors_total", "Blocks that were not what had been written, since the OSD started.", "osd")
	descDevDiscarded = desc("osd_device_discarded_bytes_total", "Free room that the device was told of, since the OSD started.", "osd")
	descDevDiscErr   = desc("osd_device_discard_errors_total", "Discards that the device failed, since the OSD started.", "osd")
	descDevStalled   = desc("osd_device_stalled_seconds", "How long the oldest operation of the device under way has been waiting.", "osd")
	descOSDSlow      = desc("osd_slow_device", "1 if the device is much slower than others of its class.", "osd")
)

// collectDevice sends what is known of an OSD's device.
func collectDevice(ch chan<- prometheus.Metric, o *api.OSDInfo, id string) {
	send(ch, descOSDSlow, prometheus.GaugeValue, b2f(o.Slow), id)
	if o.Reported == 0 {
		return
	}
	for _, l := range o.Device.Latency {
		send(ch, descDevLatency, prometheus.GaugeValue, float64(l.P50)/1e6, id, l.Op, "0.5")
		send(ch, descDevLatency, prometheus.GaugeValue, float64(l.P99)/1e6, id, l.Op, "0.99")
		send(ch, descDevOps, prometheus.GaugeValue, float64(l.Count), id, l.Op)
	}
	send(ch, descDevReadErr, prometheus.CounterValue, float64(o.Device.ReadErrors), id)
	send(ch, descDevWriteErr, prometheus.CounterValue, float64(o.Device.WriteErrors), id)
	send(ch, descDevRetries, prometheus.CounterValue, float64(o.Device.Retries), id)
	send(ch, descDevChecksums, prometheus.CounterValue, float64(o.Device.ChecksumErrors), id)
	send(ch, descDevDiscarded, prometheus.CounterValue, float64(o.Device.Discarded), id)
	send(ch, descDevDiscErr, prometheus.CounterValue, float64(o.Device.DiscardErrors), id)
	send(ch, descDevStalled, prometheus.GaugeValue, float64(o.Device.Stalled)/1e6, id)
}
