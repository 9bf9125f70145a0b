package store

import (
	"bytes"
	"errors"
	"testing"
)

// TestRoomInTurn: there is room for one of two batches, and the data of the later one is on the disk first. The earlier
// one gets the room all the same; an OSD that let it through has to stop when it is refused.
func TestRoomInTurn(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	d := newDisk(crashDir, faultOptions(l))
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	go d.keepLoop()
	const piece, first, later = 8, 64, 32 // blocks
	var taken [][]run
	for {
		r, err := d.alloc.alloc(piece, d.reserve.Load(), 0)
		if err != nil {
			break
		}
		taken = append(taken, r)
	}
	for err := error(nil); err == nil; {
		_, err = d.alloc.alloc(1, d.reserve.Load(), 0)
	}
	for _, r := range taken[len(taken)-(first+later-1)/piece:] {
		d.alloc.release(r)
	}
	d.bulk.writers = bulkWriters // the first batch has to wait
	errs := [2]chan error{make(chan error, 1), make(chan error, 1)}
	for i, blocks := range []int{first, later} {
		d.Submit(&Batch{Ops: []Op{writeOp(string(rune('a'+i)), 0, bytes.Repeat([]byte{byte('a' + i)}, blocks*blockBytes))}}, func(err error) { errs[i] <- err })
	}
	d.writeWaiting()
	if behind := d.queue.others(d.queue.head(false)); len(behind) != 1 || len(behind[0].big) == 0 {
		t.Fatal("the later batch has not written its data")
	}
	d.bulk.mu.Lock()
	d.bulk.writers = 0
	d.bulk.start(d)
	d.bulk.mu.Unlock()
	go d.commitLoop()
	if err := <-errs[0]; err != nil {
		t.Errorf("the first of two batches: %v", err)
	}
	if err := <-errs[1]; !errors.Is(err, ErrNoSpace) {
		t.Errorf("the second: %v, want that there is no space", err)
	}
	wantRead(t, d, "a", 'a', first*blockBytes)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
