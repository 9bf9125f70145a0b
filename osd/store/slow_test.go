package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSlow: a device that is made slow takes so many times as long, until it is well again.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Disk{meter: newMeter(nil)}
		for _, bad := range []float64{0, 0.5, -1, 1001} {
			if err := d.Slow(bad); err == nil {
				t.Errorf("%g times as slow was taken", bad)
			}
		}
		for _, times := range []float64{1, 10, 2.5, 1} {
			if err := d.Slow(times); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_ = d.meter.timed(DeviceJournal, 1, func() error { <-time.After(time.Millisecond); return nil })
			if took, want := time.Since(began), time.Duration(times*float64(time.Millisecond)); took != want {
				t.Errorf("%g times as slow: %s, want %s", times, took, want)
			}
		}
	})
}
