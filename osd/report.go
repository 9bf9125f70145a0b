package osd

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
)

// reportLoop tells the monitors how the OSD and the PGs it leads are: soon when
// something changed, else now and then as a sign of life.
func (d *OSD) reportLoop() {
	defer d.wg.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last *wirepb.OSDReport
	var sent time.Duration
	dev := device{window: d.o.DeviceWindow}
	start := d.clk.Mono()
	for {
		select {
		case <-timer.C:
		case <-d.ctx.Done():
			return
		}
		timer.Reset(d.o.ReportEvery)
		d.eraseShards()
		r := d.report()
		if r == nil {
			continue
		}
		dev.fill(r, d.o.Store, d.clk.Mono())
		now := d.clk.Mono().Sub(start)
		if last != nil && now-sent < 5*d.o.ReportEvery && sameReport(last, r) {
			continue
		}
		ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
		_, err := d.o.Monitors.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdReport{OsdReport: r}}})
		cancel()
		if err != nil {
			d.log.Debug("report not delivered", "err", err)
			continue
		}
		last, sent = r, now
	}
}

// sameReport compares what matters enough to be told within a second.
func sameReport(a, b *wirepb.OSDReport) bool {
	if a.Used != b.Used || a.Objects != b.Objects || a.WriteOps != b.WriteOps || a.ReadOps != b.ReadOps || len(a.Pgs) != len(b.Pgs) ||
		a.ShardStats.GetPuts() != b.ShardStats.GetPuts() || a.ShardStats.GetGets() != b.ShardStats.GetGets() || a.ShardStats.GetErrors() != b.ShardStats.GetErrors() ||
		a.DeviceReadErrors != b.DeviceReadErrors || a.ChecksumErrors != b.ChecksumErrors || a.DeviceRetries != b.DeviceRetries {
		return false
	}
	if !slices.EqualFunc(a.Chunks, b.Chunks, sameChunks) {
		return false
	}
	for i, p := range a.Pgs {
		q := b.Pgs[i]
		if p.Pool != q.Pool || p.Shard != q.Shard || p.Term != q.Term || p.State != q.State || p.Degraded != q.Degraded ||
			p.Misplaced != q.Misplaced || p.Objects != q.Objects || p.ScrubErrors != q.ScrubErrors || p.LastScrub != q.LastScrub || p.Unfound != q.Unfound || p.Waiting != q.Waiting || !slices.Equal(p.Acting, q.Acting) || !slices.Equal(p.Up, q.Up) {
			return false
		}
	}
	return true
}

// report gathers the figures; nil when the daemon stops meanwhile.
func (d *OSD) report() *wirepb.OSDReport {
	u := d.o.Store.Usage()
	d.mu.Lock()
	inc := d.incarnation
	d.mu.Unlock()
	r := &wirepb.OSDReport{
		Id: int32(d.id), Incarnation: inc, Capacity: u.Capacity, Used: u.Used, Available: u.Available, Objects: u.Objects,
		DataBytes: u.Data, OmapBytes: u.Omap, MetaBytes: u.Meta, StoredBytes: u.Stored, AllocatedBytes: u.Allocated, CommitLatencyUs: d.commitUs.Load(),
		ReadOps: d.stats.readOps.Load(), WriteOps: d.stats.writeOps.Load(),
		ReadBytes: d.stats.readBytes.Load(), WriteBytes: d.stats.writeBytes.Load(),
		RecoveredObjects: d.stats.recoveredObjects.Load(), RecoveredBytes: d.stats.recoveredBytes.Load(),
		ReadErrors: d.stats.readErrors.Load(), ScrubFound: d.stats.scrubFound.Load(), Repaired: d.stats.repaired.Load(),
	}
	d.reportShards(r, u)
	r.Chunks, r.ChunkWork = d.chunkStats()
	for _, s := range d.shards {
		part := make(chan []*wirepb.PGStat, 1)
		var held atomic.Uint32
		s.say(call{func(s *shard) {
			var pgs []*wirepb.PGStat
			for _, g := range pg.Sorted(s.groups) {
				if g.Exists() {
					held.Add(1)
				}
				if g.Leads() {
					st := g.Stat(d.o.Store.PGUsage(g.ID()))
					st.Records = d.o.Store.PGRecords(g.ID())
					pgs = append(pgs, st)
				}
			}
			part <- pgs
		}})
		select {
		case pgs := <-part:
			r.Pgs = append(r.Pgs, pgs...)
			r.PgCount += held.Load()
		case <-d.ctx.Done():
			return nil
		}
	}
	return r
}

// groupCount returns how many PGs the OSD takes part in.
func (d *OSD) groupCount() int {
	n := make(chan int, len(d.shards))
	for _, s := range d.shards {
		s.say(call{func(s *shard) { n <- len(s.groups) }})
	}
	total := 0
	for range d.shards {
		select {
		case c := <-n:
			total += c
		case <-d.ctx.Done():
			return total
		}
	}
	return total
}
