package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// DeviceOp is a kind of work the store has its device do.
type DeviceOp uint8

// The kinds.
const (
	DeviceRead    DeviceOp = iota // a read of the data area
	DeviceJournal                 // a durable write of the journal
	DeviceWrite                   // a write of the data area, not yet durable
	DeviceSync                    // making the data area durable
	DeviceOps
)

// String returns the kind in words that an administrator reads.
func (o DeviceOp) String() string {
	switch o {
	case DeviceRead:
		return "reads"
	case DeviceJournal:
		return "journal writes"
	case DeviceWrite:
		return "data writes"
	case DeviceSync:
		return "syncs"
	}
	return "unknown operations"
}

const (
	latencySub     = 8  // buckets per doubling: a quantile is right to within an eighth
	latencyOctaves = 26 // up to a minute; what takes longer counts as the longest
	latencyBuckets = 2*latencySub + (latencyOctaves-4)*latencySub

	// latencyUnit is the size up to which an operation counts as one. The time of a
	// larger one is divided, so that devices compare whatever is stored on them.
	latencyUnit = 256 << 10

	readTries = 3 // attempts at a read that fails

	// inFlightMax is how many operations are watched while they are under way.
	inFlightMax = 32
)

// Histogram counts durations in buckets that grow with them. Its memory is fixed.
type Histogram [latencyBuckets]uint64

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	n := bits.Len64(us)
	if n <= 4 {
		return int(us)
	}
	if n > latencyOctaves {
		return latencyBuckets - 1
	}
	return (n-4)*latencySub + int(us>>(n-4))
}

// bucketTop returns the longest duration of a bucket.
func bucketTop(i int) time.Duration {
	if i < 2*latencySub {
		return time.Duration(i) * time.Microsecond
	}
	shift := i/latencySub - 1
	return time.Duration((uint64(i%latencySub+latencySub+1)<<shift)-1) * time.Microsecond
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) { h[bucketOf(d)]++ }

// Count returns how many durations were counted.
func (h *Histogram) Count() uint64 {
	n := uint64(0)
	for _, c := range h {
		n += c
	}
	return n
}

// Since returns what was counted since an earlier state of the same histogram.
func (h *Histogram) Since(earlier *Histogram) Histogram {
	out := *h
	for i := range out {
		out[i] -= min(out[i], earlier[i])
	}
	return out
}

// Quantile returns a duration that the part q of all counted ones does not exceed, 0 if
// there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	need := max(1, uint64(q*float64(n)+0.5))
	for i, c := range h {
		if c >= need {
			return bucketTop(i)
		}
		need -= c
	}
	return bucketTop(latencyBuckets - 1)
}

// DeviceStats is how a store's device has done since the store was opened.
type DeviceStats struct {
	Latency        [DeviceOps]Histogram
	ReadErrors     uint64        // reads that failed for good
	WriteErrors    uint64        // writes and syncs that failed; the store stops with the first it cannot undo
	Retries        uint64        // reads that failed and were good when they were tried again
	ChecksumErrors uint64        // blocks that were not what had been written
	Discards       uint64        // rows of free blocks that the device was told of
	DiscardedBytes uint64        // in them
	DiscardErrors  uint64        // such that failed; there is at most one, and then no more
	Stalled        time.Duration // how long the oldest operation under way has been waiting
}

// Metered is a store that watches its device.
type Metered interface {
	// DeviceStats is cheap enough to call every second.
	DeviceStats() DeviceStats
}

// Stalling is a store that knows at any moment, for next to nothing, whether its device answers.
type Stalling interface {
	// Stalled is how long the oldest operation of the device under way has been waiting.
	Stalled() time.Duration
}

// Stalled implements Stalling.
func (d *Disk) Stalled() time.Duration { return d.meter.stalled() }

// Slow makes the store believe in a device that takes so many times as long for everything, but for small reads that many
// make at once: a fault for tests and measurements. It ends with 1.
func (d *Disk) Slow(times float64) error {
	switch {
	case !(times >= 1 && times <= 1000):
		return fmt.Errorf("a device %g times as slow: want 1 to 1000", times)
	case times == 1:
		d.meter.drags.Store(0)
	default:
		d.meter.drags.Store(math.Float64bits(times))
	}
	return nil
}

// meter counts what a device does. It is safe for concurrent use, and takes no lock.
type meter struct {
	now      func() time.Duration
	latency  [DeviceOps][latencyBuckets]atomic.Uint64
	inFlight [inFlightMax]atomic.Int64 // when each began, plus one; 0: free

	drags atomic.Uint64 // Float64bits of how many times longer operations take than they do; 0: no longer

	readErrors, writeErrors, retries, checksums atomic.Uint64
}

func newMeter(now func() time.Duration) *meter {
	if now == nil {
		start := time.Now()
		now = func() time.Duration { return time.Since(start) }
	}
	return &meter{now: now}
}

// DeviceStats implements Metered.
func (d *Disk) DeviceStats() DeviceStats {
	s := d.meter.stats()
	s.Discards, s.DiscardedBytes, s.DiscardErrors = d.discards.calls.Load(), d.discards.bytes.Load(), d.discards.errors.Load()
	return s
}

func (m *meter) stats() DeviceStats {
	s := DeviceStats{
		ReadErrors: m.readErrors.Load(), WriteErrors: m.writeErrors.Load(),
		Retries: m.retries.Load(), ChecksumErrors: m.checksums.Load(),
	}
	for op := range m.latency {
		for i := range m.latency[op] {
			s.Latency[op][i] = m.latency[op][i].Load()
		}
	}
	s.Stalled = m.stalled()
	return s
}

// stalled is how long the oldest operation under way has been waiting.
func (m *meter) stalled() time.Duration {
	oldest := int64(0)
	for i := range m.inFlight {
		if at := m.inFlight[i].Load(); at != 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	if oldest == 0 {
		return 0
	}
	return max(0, m.now()-time.Duration(oldest-1))
}

// timed carries out one operation and counts how long it took.
func (m *meter) timed(op DeviceOp, bytes int, run func() error) error {
	began := m.now()
	slot := m.enter(began)
	err := run()
	if d := m.drags.Load(); d != 0 {
		<-time.After(time.Duration(float64(m.now()-began) * (math.Float64frombits(d) - 1)))
	}
	took := m.now() - began
	if slot >= 0 {
		m.inFlight[slot].Store(0)
	}
	took /= time.Duration(max(1, (bytes+latencyUnit-1)/latencyUnit))
	m.latency[op][bucketOf(took)].Add(1)
	return err
}

// enter takes a free place among those under way, or returns -1.
func (m *meter) enter(began time.Duration) int {
	for i := range m.inFlight {
		if p := &m.inFlight[i]; p.Load() == 0 && p.CompareAndSwap(0, int64(began)+1) {
			return i
		}
	}
	return -1
}

// meteredFile is a file whose operations are counted. Reads that fail are tried again: a
// cable or a controller may have had a moment, and the block is good.
type meteredFile struct {
	file
	m     *meter
	write DeviceOp // what a durable write is
}

func (m *meter) file(f file, write DeviceOp) file { return &meteredFile{f, m, write} }

func (f *meteredFile) ReadAt(p []byte, off int64) (n int, err error) {
	for try := 1; ; try++ {
		err = f.m.timed(DeviceRead, len(p), func() (err error) {
			n, err = f.file.ReadAt(p, off)
			return err
		})
		switch {
		case err == nil || errors.Is(err, io.EOF):
			if try > 1 {
				f.m.retries.Add(1)
			}
			return n, err
		case try == readTries:
			f.m.readErrors.Add(1)
			return n, err
		}
	}
}

func (f *meteredFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.m.timed(DeviceWrite, len(p), func() (err error) {
		n, err = f.file.WriteAt(p, off)
		return err
	})
	return n, f.wrote(err)
}

func (f *meteredFile) WriteSync(p []byte, off int64) error {
	return f.wrote(f.m.timed(f.write, len(p), func() error { return f.file.WriteSync(p, off) }))
}

func (f *meteredFile) Sync() error {
	return f.wrote(f.m.timed(DeviceSync, 0, f.file.Sync))
}

func (f *meteredFile) wrote(err error) error {
	if err != nil {
		f.m.writeErrors.Add(1)
	}
	return err
}
