package osd

import (
	"github.com/cairnstore/cairn/internal/process"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// onPerf answers what the process has used and what the OSD has done.
func (d *OSD) onPerf(c *wire.Conn, m *wire.Message) {
	u, err := process.Self()
	if err != nil {
		c.ReplyError(m, wirepb.Code_UNSUPPORTED, "%s: %v", d.id, err)
		return
	}
	p := u.Perf()
	var st store.DeviceStats
	if m, ok := d.o.Store.(store.Metered); ok {
		st = m.DeviceStats()
	}
	sh := d.holds.perf()
	for _, n := range []struct {
		name  string
		value uint64
	}{
		{"commit_latency_us", uint64(max(d.commitUs.Load(), 0))}, // a recent average, the one that does not count up
		{"busy_us", uint64(d.busyNow().Microseconds())},          // how long a small write takes lately; neither does this
		{"read_ops", d.stats.readOps.Load()},
		{"write_ops", d.stats.writeOps.Load()},
		{"read_bytes", d.stats.readBytes.Load()},
		{"write_bytes", d.stats.writeBytes.Load()},
		{"shard_puts", sh.Puts},
		{"shard_put_bytes", sh.PutBytes},
		{"shard_gets", sh.Gets},
		{"shard_get_bytes", sh.GotBytes},
		{"shard_drops", sh.Drops},
		{"shard_refused", sh.Refused},
		{"shard_errors", sh.Errors},
		{"discards", st.Discards},
		{"discarded_bytes", st.DiscardedBytes},
	} {
		p.Counters = append(p.Counters, &wirepb.PerfCounter{Name: n.name, Value: n.value})
	}
	c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Perf{Perf: p}}})
}
