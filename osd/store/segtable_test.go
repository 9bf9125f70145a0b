package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// A batch that fails after it has reached far beyond the segments known of an object leaves those as they were.
func TestFailedBatchRestoresSegments(t *testing.T) {
	d, _ := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 3*segBytes)))
	far := uint64(MaxObjectBytes - 5*blockBytes)
	missing := Op{Kind: OpRename, Key: testKey("nowhere"), To: testKey("b")}
	err := Apply(d, &Batch{Ops: []Op{
		{Kind: OpZero, Key: testKey("a"), Off: segBytes, Len: blockBytes},
		writeOp("a", far, bytes.Repeat([]byte("c"), 5*blockBytes)),
		{Kind: OpZero, Key: testKey("a"), Len: blockBytes},
		missing,
	}})
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("batch that renames what is not there: %v, want %v", err, ErrNotFound)
	}
	beside := bytes.Repeat([]byte("b"), blockBytes) // beside what had been changed
	apply(t, d, writeOp("a", blockBytes, beside), writeOp("a", segBytes+blockBytes, beside))
	want := bytes.Repeat([]byte("a"), 3*segBytes)
	copy(want[blockBytes:], beside)
	copy(want[segBytes+blockBytes:], beside)
	if got, err := d.Read(testKey("a"), 0, MaxObjectBytes); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v: not what was written", len(got), err)
	}
	sound(t, d)
}

// A segment with a number that no object has is damage, and not a reason to take memory for all those before it.
func TestSegmentNumberOutOfRange(t *testing.T) {
	d, _ := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), segBytes)))
	on := d.planner.cache[testKey("a")]
	on.all = false
	if err := d.db.Set(appendSegKey(nil, on.oid, 1<<20), (&segment{}).append(nil), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := Apply(d, &Batch{Ops: []Op{{Kind: OpRemove, Key: testKey("a")}}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("remove: %v, want %v", err, ErrCorrupt)
	}
}
