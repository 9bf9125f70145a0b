package store

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestHistogram: quantiles are right to within an eighth, whatever is counted.
func TestHistogram(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var h Histogram
		var all []time.Duration
		for range 1 + rng.IntN(400) {
			d := time.Duration(rng.Int64N(1 << (5 + rng.IntN(30))))
			h.Add(d)
			all = append(all, d)
		}
		slices.Sort(all)
		if h.Count() != uint64(len(all)) {
			t.Fatalf("counted %d of %d", h.Count(), len(all))
		}
		for _, q := range []float64{0.5, 0.99} {
			want := all[max(1, int(q*float64(len(all))+0.5))-1]
			if got := h.Quantile(q); got < want-time.Microsecond || got > want+want/latencySub+time.Microsecond {
				t.Fatalf("p%v of %d durations: %v, want %v", 100*q, len(all), got, want)
			}
		}
	}
	var h Histogram
	for i := range latencyBuckets {
		if top := bucketTop(i); bucketOf(top) != i || i+1 < latencyBuckets && bucketOf(top+time.Microsecond) != i+1 {
			t.Fatalf("bucket %d ends at %v, which is in bucket %d", i, top, bucketOf(top))
		}
	}
	h.Add(-time.Second)
	h.Add(time.Hour)
	earlier := h
	h.Add(time.Millisecond)
	since := h.Since(&earlier)
	if got := since.Quantile(0.5); since.Count() != 1 || got < time.Millisecond || got > 1200*time.Microsecond {
		t.Errorf("since: %d counted, %v", since.Count(), got)
	}
	if h.Quantile(0) != 0 || h.Quantile(1) < time.Minute || (&Histogram{}).Quantile(0.5) != 0 {
		t.Errorf("ends: %v %v", h.Quantile(0), h.Quantile(1))
	}
}

// handClock goes on only when it is told to, or by a step whenever it is read.
type handClock struct{ now, step atomic.Int64 }

func (c *handClock) read() time.Duration { return time.Duration(c.now.Add(c.step.Load())) }

func openMetered(t *testing.T, c *handClock) (*Disk, *faultLayer) {
	t.Helper()
	l := newFaultLayer(1)
	createFault(t, l)
	o := faultOptions(l)
	o.Now = c.read
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, l
}

// TestDeviceLatency: every kind of work is counted as long as it takes, large operations by
// their parts.
func TestDeviceLatency(t *testing.T) {
	var c handClock
	d, _ := openMetered(t, &c)
	before := d.DeviceStats()
	c.step.Store(int64(40 * time.Millisecond)) // two readings of the clock are an operation
	apply(t, d, writeOp("small", 0, []byte("x")))
	big := bytes.Repeat([]byte("b"), 1<<20)
	apply(t, d, writeOp("big", 0, big))
	wantRead(t, d, "big", 'b', len(big))
	now := d.DeviceStats()
	for op, want := range map[DeviceOp]time.Duration{
		DeviceJournal: 40 * time.Millisecond, DeviceSync: 40 * time.Millisecond,
		DeviceWrite: 10 * time.Millisecond, DeviceRead: 10 * time.Millisecond, // four units
	} {
		h := now.Latency[op].Since(&before.Latency[op])
		if got := h.Quantile(0.5); h.Count() == 0 || got < want || got > want+want/latencySub {
			t.Errorf("%s: %d with a median of %v, want %v", op, h.Count(), got, want)
		}
	}
	if n := now.Latency[DeviceJournal].Since(&before.Latency[DeviceJournal]); n.Count() != 2 {
		t.Errorf("%d journal writes, want 2", n.Count())
	}
}

// TestDeviceErrors: errors are counted, and a read that is good at the second try is no error.
func TestDeviceErrors(t *testing.T) {
	var c handClock
	d, l := openMetered(t, &c)
	big := bytes.Repeat([]byte("b"), 128<<10)
	apply(t, d, writeOp("b", 0, big))
	fails := 2
	l.setFault(func(op, name string, _ int64) error {
		if op == "read" && name == dataName && fails > 0 {
			fails--
			return syscall.EIO
		}
		return nil
	})
	wantRead(t, d, "b", 'b', len(big))
	if s := d.DeviceStats(); s.Retries != 1 || s.ReadErrors != 0 {
		t.Errorf("after two failures and a good read: %d retries, %d errors", s.Retries, s.ReadErrors)
	}
	fails = 100
	if _, err := d.Read(testKey("b"), 0, 1); !errors.Is(err, syscall.EIO) {
		t.Fatalf("read: %v, want EIO", err)
	}
	if s := d.DeviceStats(); s.Retries != 1 || s.ReadErrors != 1 || fails != 100-readTries {
		t.Errorf("after a bad read: %d retries, %d errors, %d attempts", s.Retries, s.ReadErrors, 100-fails)
	}
	l.setFault(failing("write", dataName, syscall.EIO))
	if err := Apply(d, &Batch{Ops: []Op{writeOp("b", 0, big)}}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("write: %v, want EIO", err)
	}
	l.setFault(nil)
	if s := d.DeviceStats(); s.WriteErrors != 1 {
		t.Errorf("%d write errors, want 1", s.WriteErrors)
	}
	n, err := d.data.Size()
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(blockBytes); off < n; off += blockBytes {
		l.flip(dataName, off)
	}
	if _, err := d.Read(testKey("b"), 0, 1); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("read of a damaged block: %v", err)
	}
	if s := d.DeviceStats(); s.ChecksumErrors != 1 {
		t.Errorf("%d checksum errors, want 1: the attempts of one read count once", s.ChecksumErrors)
	}
}

// stuckFile does not return from a write until it is let go.
type stuckFile struct {
	file
	entered, release chan struct{}
}

func (f stuckFile) WriteSync([]byte, int64) error {
	close(f.entered)
	<-f.release
	return io.ErrShortWrite
}

// TestDeviceStalled: an operation that does not end shows.
func TestDeviceStalled(t *testing.T) {
	var c handClock
	m := newMeter(c.read)
	f := stuckFile{entered: make(chan struct{}), release: make(chan struct{})}
	done := make(chan error)
	go func() { done <- m.file(f, DeviceJournal).WriteSync(nil, 0) }() // ends below
	<-f.entered
	c.now.Add(int64(7 * time.Second))
	if s := m.stats(); s.Stalled != 7*time.Second {
		t.Errorf("stalled for %v, want 7s", s.Stalled)
	}
	close(f.release)
	if err := <-done; err == nil {
		t.Error("the error was lost")
	}
	if s := m.stats(); s.Stalled != 0 || s.WriteErrors != 1 || s.Latency[DeviceJournal].Count() != 1 {
		t.Errorf("afterwards: stalled %v, %d errors", s.Stalled, s.WriteErrors)
	}
	for op := range DeviceOps {
		if strings.Contains(op.String(), "unknown") {
			t.Errorf("kind %d has no name", op)
		}
	}
}
