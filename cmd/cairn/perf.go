package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client/bench"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/process"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// daemons asks the cluster's daemons, over the messenger, what they have used.
type daemons struct {
	peers *wire.Peers
	mons  []daemonAddr
	osds  []daemonAddr // that are up
}

type daemonAddr struct {
	name, addr string
	id         int // of an OSD
}

// perfPatience is how long one daemon may take to answer.
const perfPatience = 5 * time.Second

// findDaemons asks a monitor where the daemons are. The caller closes them.
func findDaemons(ctx context.Context, e *env) (*daemons, error) {
	c, err := e.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	m, err := c.Map(ctx, false)
	if err != nil {
		return nil, err
	}
	d := &daemons{}
	for _, mon := range m.Mons {
		d.mons = append(d.mons, daemonAddr{name: "mon." + mon.Name, addr: mon.Addr})
	}
	for _, o := range m.OSDs {
		if o.Up {
			d.osds = append(d.osds, daemonAddr{name: fmt.Sprintf("osd.%d", o.ID), addr: o.Addr, id: o.ID})
		}
	}
	if len(d.mons) == 0 {
		return nil, errors.New("the cluster map names no monitor; check `cairn map show`")
	}
	d.peers = wire.NewPeers(wire.Options{Self: wire.Identity{Entity: "client.admin"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return d, nil
}

func (d *daemons) close() { d.peers.Close() }

func (d *daemons) monAddrs() (addrs []string) {
	for _, m := range d.mons {
		addrs = append(addrs, m.addr)
	}
	return addrs
}

// perf asks one daemon.
func (d *daemons) perf(ctx context.Context, to daemonAddr) (*wirepb.Perf, error) {
	ctx, cancel := context.WithTimeout(ctx, perfPatience)
	defer cancel()
	r, err := d.peers.Call(ctx, to.addr, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PerfGet{PerfGet: &wirepb.PerfGet{}}}})
	if err != nil {
		return nil, fmt.Errorf("ask %s what it has used: %w", to.name, err)
	}
	p := r.Header.GetPerf()
	if p == nil {
		return nil, fmt.Errorf("ask %s what it has used: it answered something else", to.name)
	}
	return p, nil
}

// all asks many daemons at a time; who does not answer has no place in the result.
func (d *daemons) all(ctx context.Context, of []daemonAddr) []*wirepb.Perf {
	out := make([]*wirepb.Perf, len(of))
	var wg sync.WaitGroup
	for i := range of {
		wg.Go(func() { out[i], _ = d.perf(ctx, of[i]) }) // until it answers or its time is up; who does not is missing
	}
	wg.Wait()
	return out
}

// usage is bench.Options.Daemons.
func (d *daemons) usage(ctx context.Context) (us []bench.Daemon, err error) {
	everybody := slices.Concat(d.osds, d.mons)
	for i, p := range d.all(ctx, everybody) {
		if p != nil {
			us = append(us, bench.Daemon{Name: everybody[i].name, Usage: process.FromPerf(p)})
		}
	}
	return us, ctx.Err()
}

// osdPerf is an OSD in the output of `osd perf`.
type osdPerf struct {
	ID         int               `json:"id"`
	PerfStats  osdPerfStats      `json:"perf_stats"`
	UserS      float64           `json:"user_s"`
	SystemS    float64           `json:"system_s"`
	Resident   int64             `json:"resident_bytes"`
	Peak       int64             `json:"peak_bytes"`
	Counters   map[string]uint64 `json:"counters"`
	Unanswered bool              `json:"unanswered,omitempty"`
	Slow       bool              `json:"slow"`   // as the monitors judge, against others of its class
	Device     api.Device        `json:"device"` // as it last reported to the monitors
}

// latency returns what the device took for a kind of work, "-" if there was none.
func (o *osdPerf) latency(op string) string {
	for _, l := range o.Device.Latency {
		if l.Op == op {
			return fmt.Sprintf("%.2f/%.2f", float64(l.P50)/1e3, float64(l.P99)/1e3)
		}
	}
	return "-"
}

// word is what there is to say of the device besides numbers.
func (o *osdPerf) word() string {
	var words []string
	if o.Slow {
		words = append(words, "slow")
	}
	if n := o.Device.ReadErrors + o.Device.WriteErrors + o.Device.ChecksumErrors; n > 0 {
		words = append(words, fmt.Sprintf("%d errors", n))
	}
	return strings.Join(append(words, "ok")[:max(1, len(words))], ", ")
}

// osdPerfStats has Ceph's names. A write is applied when it is committed.
type osdPerfStats struct {
	CommitMs int64 `json:"commit_latency_ms"`
	ApplyMs  int64 `json:"apply_latency_ms"`
	CommitNs int64 `json:"commit_latency_ns"`
	ApplyNs  int64 `json:"apply_latency_ns"`
}

// runOSDPerf asks all OSDs that are up.
func runOSDPerf(ctx context.Context, e *env) error {
	d, err := findDaemons(ctx, e)
	if err != nil {
		return err
	}
	defer d.close()
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	known, err := c.OSDs(ctx)
	if err != nil {
		return err
	}
	list := []osdPerf{}
	for i, p := range d.all(ctx, d.osds) {
		o := osdPerf{ID: d.osds[i].id, Counters: map[string]uint64{}, Unanswered: p == nil}
		o.Device.Latency = []api.DeviceLatency{}
		for _, k := range known {
			if k.ID == o.ID {
				o.Slow, o.Device = k.Slow, k.Device
			}
		}
		u := process.FromPerf(p)
		o.UserS, o.SystemS, o.Resident, o.Peak = u.User.Seconds(), u.System.Seconds(), u.Resident, u.Peak
		for _, c := range p.GetCounters() {
			o.Counters[c.GetName()] = c.GetValue()
		}
		us := int64(min(o.Counters["commit_latency_us"], 1<<40))
		o.PerfStats = osdPerfStats{us / 1000, us / 1000, us * 1000, us * 1000}
		list = append(list, o)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.json() {
		return e.printJSON(map[string][]osdPerf{"osd_perf_infos": list})
	}
	var b strings.Builder
	fmt.Fprintln(&b, "osd  commit_latency(ms)  apply_latency(ms)   user(s)  system(s)  rss(MiB)       reads      writes  journal p50/p99(ms)  read p50/p99(ms)  device")
	for _, o := range list {
		if o.Unanswered {
			fmt.Fprintf(&b, "%3d  does not answer\n", o.ID)
			continue
		}
		fmt.Fprintf(&b, "%3d  %18.2f  %17.2f  %8.2f  %9.2f  %8.1f  %10d  %10d  %19s  %16s  %s\n", o.ID, float64(o.PerfStats.CommitNs)/1e6, float64(o.PerfStats.ApplyNs)/1e6,
			o.UserS, o.SystemS, float64(o.Resident)/(1<<20), o.Counters["read_ops"], o.Counters["write_ops"], o.latency("journal"), o.latency("read"), o.word())
	}
	_, err = io.WriteString(e.stdout, b.String())
	return err
}
