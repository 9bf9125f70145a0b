package estimate

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

func TestExact(t *testing.T) {
	c := New(placement.PackS2, 0)
	var buf Buffer
	zeros := make([]byte, 64<<10)
	for range 10 {
		c.Add(zeros, &buf)
	}
	c.Add(zeros[:100], &buf)
	r := c.Report()
	if want := (Report{Chunks: 11, UniqueChunks: 2, Logical: 10*64<<10 + 100, Unique: 64<<10 + 100, Stored: r.Stored, Sample: 1}); r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if r.Stored < 100 || r.Stored > 8<<10 {
		t.Errorf("%d bytes of zeros and 100 that do not pay are compressed to %d", 64<<10, r.Stored)
	}
}

// TestSample: with too many chunks the figures are near, memory is bounded, and the order has no influence.
func TestSample(t *testing.T) {
	const different, limit = 8000, 1000
	var got [2]Report
	for order := range got {
		c := New(placement.PackNone, limit)
		var buf Buffer
		data := make([]byte, 100)
		for i := range 3 * different {
			n := i % different
			if order == 1 {
				n = different - 1 - n
			}
			binary.LittleEndian.PutUint32(data, uint32(n))
			c.Add(data, &buf)
			if len(c.known) > limit {
				t.Fatalf("%d chunks are remembered, limit %d", len(c.known), limit)
			}
		}
		got[order] = c.Report()
	}
	if got[0] != got[1] {
		t.Errorf("the order of chunks has an influence: %+v and %+v", got[0], got[1])
	}
	r := got[0]
	if r.Sample < different/limit || r.Chunks != 3*different || r.Logical != 300*different {
		t.Errorf("got %+v", r)
	}
	if off := math.Abs(float64(r.Unique)/(100*different) - 1); off > 0.1 {
		t.Errorf("%d unique bytes are estimated, there are %d", r.Unique, 100*different)
	}
	if r.UniqueChunks*100 != r.Unique {
		t.Errorf("%d unique chunks of 100 bytes have %d", r.UniqueChunks, r.Unique)
	}
}
