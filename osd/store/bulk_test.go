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

// TestLoose: a batch that may be overtaken lets others through until its data is written, and is then as durable as they are.
func TestLoose(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	d := newDisk(crashDir, faultOptions(l))
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	go d.keepLoop()
	go d.commitLoop()
	writers := func(n int) {
		d.bulk.mu.Lock()
		defer d.bulk.mu.Unlock()
		if d.bulk.writers = n; n == 0 {
			d.bulk.start(d)
		}
	}
	writers(bulkWriters) // all busy
	large := bytes.Repeat([]byte{'l'}, hugeBytes)
	done := make(chan string, 8)
	submit := func(name string, b *Batch) {
		d.Submit(b, func(err error) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			done <- name
		})
	}
	submit("loose", &Batch{Ops: []Op{writeOp("a", 0, large)}, Loose: true})
	for i, name := range []string{"b", "c"} {
		submit(name, &Batch{Ops: []Op{writeOp(name, 0, []byte(name))}})
		if got := <-done; got != name {
			t.Fatalf("small batch %d: %s was done first", i, got)
		}
	}
	submit("strict", &Batch{Ops: []Op{writeOp("d", 0, large)}})
	submit("behind", &Batch{Ops: []Op{writeOp("e", 0, []byte("e"))}})
	submit("last", &Batch{Ops: []Op{writeOp("f", 0, large)}, Loose: true})
	writers(0)
	if err := d.Close(); err != nil { // waits for all
		t.Fatal(err)
	}
	order := map[string]int{}
	for i := range 4 {
		order[<-done] = i
	}
	if order["strict"] > order["behind"] {
		t.Errorf("a batch was overtaken that may not be: %v", order)
	}
	d = newDisk(crashDir, faultOptions(l))
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	go d.keepLoop()
	go d.commitLoop()
	for _, name := range []string{"a", "d", "f"} {
		wantRead(t, d, name, 'l', hugeBytes)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLooseGivesRoomBack: what has overtaken a loose batch, and lacks room, gets that which the loose one has taken.
func TestLooseGivesRoomBack(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	d := newDisk(crashDir, faultOptions(l))
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	d.bulk.writers = bulkWriters
	large := bytes.Repeat([]byte{'l'}, hugeBytes)
	errs := make(chan error, 1)
	d.Submit(&Batch{Ops: []Op{writeOp("a", 0, large)}, Loose: true}, func(err error) { errs <- err })
	d.Submit(&Batch{Ops: []Op{writeOp("b", 0, []byte("b"))}}, func(error) {})
	it := d.queue.head(false)
	if it == nil || string(it.batch.Ops[0].Key.Name) != "b" {
		t.Fatal("the small batch waits for the loose one")
	}
	d.bulk.writers = 0
	d.bulk.mu.Lock()
	d.bulk.start(d)
	d.bulk.mu.Unlock()
	d.workers.Wait()
	if !d.giveBack(it) || d.giveBack(it) {
		t.Error("the room of the loose batch was not given back, or more than once")
	}
	go d.keepLoop()
	go d.commitLoop()
	if err := <-errs; err != nil { // there is room after all: it is written again
		t.Error(err)
	}
	wantRead(t, d, "a", 'l', hugeBytes)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
