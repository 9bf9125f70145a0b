package store

import (
	"bytes"
	"testing"
)

// TestBulk: batches with large writes that came while the writers were busy are synced together, and become durable in
// few groups of the journal.
func TestBulk(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	d := newDisk(crashDir, faultOptions(l))
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	go d.keepLoop()
	d.bulk.writers = bulkWriters // all busy
	const batches, blocks = 5, hugeBytes / blockBytes
	errs := make(chan error, batches)
	for i := range batches {
		d.Submit(&Batch{Ops: []Op{writeOp(string(rune('a'+i)), 0, bytes.Repeat([]byte{byte('a' + i)}, blocks*blockBytes))}}, func(err error) { errs <- err })
	}
	d.bulk.mu.Lock()
	d.bulk.writers = 0
	d.bulk.start(d)
	d.bulk.mu.Unlock()
	d.workers.Wait()
	before := d.DeviceStats()
	if n := before.Latency[DeviceSync].Count(); n != 1 {
		t.Errorf("the data of %d batches took %d syncs, want 1", batches, n)
	}
	go d.commitLoop()
	for range batches {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	after := d.DeviceStats()
	groups := after.Latency[DeviceJournal].Since(&before.Latency[DeviceJournal])
	if syncs := after.Latency[DeviceSync].Since(&before.Latency[DeviceSync]); groups.Count() != 1 || syncs.Count() != 0 {
		t.Errorf("%d groups of the journal and %d more syncs, want 1 and none", groups.Count(), syncs.Count())
	}
	for i := range batches {
		wantRead(t, d, string(rune('a'+i)), byte('a'+i), blocks*blockBytes)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
