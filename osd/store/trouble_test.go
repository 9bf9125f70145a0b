package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestTrouble lets reads, writes and syncs of data, journal and index fail, some or all
// of them for a while from any point on, with EIO or because the disk is full. Every
// batch is answered. What was acknowledged is there when the store is opened again, what
// was refused is not, and what a stop of the store left open is there from its beginning up
// to some batch. Nothing is wrong, and nothing panics.
func TestTrouble(t *testing.T) {
	seed := seedOf(t)
	lives := 100
	if testing.Short() {
		lives = 25
	}
	var sum troubleSum
	for disk := uint64(0); sum.lives < lives; disk++ {
		if err := troubledDisk(t, seed+disk, &sum); err != nil {
			t.Fatalf("%v\nreplay this disk alone, as far as chance of the scheduler allows: go test -run '^%s$' -store.seed=%d", err, t.Name(), seed+disk)
		}
	}
	t.Logf("%+v", sum)
}

type troubleSum struct{ lives, failures, acked, refused, stopped, open, corrupt int }

// trouble is what goes wrong in one life.
type trouble struct {
	ops    []string
	err    error
	from   int // how many such operations are good first
	length int // how many then fail
	seen   int
}

func drawTrouble(rng *rand.Rand) *trouble {
	tr := &trouble{err: syscall.EIO, from: rng.IntN(30), length: []int{1, 3, 10, 1 << 30}[rng.IntN(4)]}
	ops := []string{"read", "write", "writesync", "sync", "allocate", "index read", "index write", "index sync"}
	if rng.IntN(3) == 0 {
		// The journal has its room; nothing is read that is not there.
		tr.err, ops = syscall.ENOSPC, []string{"write", "allocate", "index write", "index sync"}
	}
	if tr.ops = ops; rng.IntN(4) > 0 {
		tr.ops = []string{ops[rng.IntN(len(ops))]}
	}
	return tr
}

// fault implements faultLayer.fault.
func (tr *trouble) fault(op, name string, _ int64) error {
	// Pebble ends the process when it cannot write the list of its tables, as it must; here it would
	// end the test. What it then finds when it starts is what a power cut leaves.
	if strings.HasPrefix(name, "MANIFEST") || strings.HasPrefix(name, "marker") || name == indexName {
		return nil
	}
	if !slices.Contains(tr.ops, op) {
		return nil
	}
	if tr.seen++; tr.seen > tr.from && tr.seen <= tr.from+tr.length {
		return &troubleErr{op, name, tr.err}
	}
	return nil
}

type troubleErr struct {
	op, name string
	err      error
}

func (e *troubleErr) Error() string { return fmt.Sprintf("%s of %s: %v", e.op, e.name, e.err) }
func (e *troubleErr) Unwrap() error { return e.err }

// fate is what became of a batch.
type fate uint8

const (
	fateAcked   fate = iota
	fateRefused      // it failed, and the store went on
	fateOpen         // the store stopped: it may be in the journal
)

func troubledDisk(t *testing.T, seed uint64, sum *troubleSum) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	l := newFaultLayer(seed)
	l.onDevice = rng.IntN(3) == 0
	createFault(t, l)
	m := mirror{NewSim(SimOptions{Manual: true})}
	number, unread := 0, false // a part written to a block that could not be read leaves it damaged
	for life := range 10 {
		sum.lives++
		tr := drawTrouble(rng)
		unread = unread || tr.err == syscall.EIO && (slices.Contains(tr.ops, "read") || slices.Contains(tr.ops, "index read"))
		var batches []*Batch
		for range 1 + rng.IntN(80) {
			number++
			batches = append(batches, crashBatch(rng, number))
		}
		// Pebble leaves a goroutine behind when it cannot open, which the tests would find.
		opening := rng.IntN(6) == 0 && !slices.ContainsFunc(tr.ops, func(op string) bool { return strings.HasPrefix(op, "index") })
		if opening {
			tr.from /= 4
			l.setFault(tr.fault)
		}
		d, err := Open(crashDir, crashOptions(l, rng))
		fates := make([]fate, 0, len(batches))
		if err == nil {
			d.reuseSoon()
			l.setFault(tr.fault)
			if fates, err = submitThrough(d, batches, 1+rng.IntN(8)); err != nil {
				return fmt.Errorf("life %d, %+v: %w", life, *tr, err)
			}
		} else if !opening {
			return fmt.Errorf("life %d: %w", life, err)
		}
		if tr.seen > tr.from {
			sum.failures++
		}
		cut := rng.IntN(2) == 0
		if cut {
			l.setFault(nil)
			l = l.restart()
		}
		if d != nil {
			if d.failed() != nil {
				sum.stopped++
			}
			d.Close() // in vain, or with more trouble
		}
		l.setFault(nil)
		if err := verifyFates(l, m, batches, fates, unread, sum); err != nil {
			return fmt.Errorf("life %d, %+v, power cut %v: %w", life, *tr, cut, err)
		}
	}
	return nil
}

// submitThrough submits all batches whatever becomes of the others, and returns what does.
func submitThrough(d *Disk, batches []*Batch, window int) ([]fate, error) {
	fates := make([]fate, len(batches))
	errs := make([]error, len(batches))
	room := make(chan struct{}, window)
	var wg sync.WaitGroup
	for i, b := range batches {
		room <- struct{}{}
		wg.Add(1)
		d.Submit(b, func(err error) {
			switch {
			case err == nil:
			case d.failed() != nil && errors.Is(err, d.failed()): // else it was refused before the store stopped
				fates[i] = fateOpen
			default:
				fates[i], errs[i] = fateRefused, err
			}
			<-room
			wg.Done()
		})
	}
	wg.Wait()
	open := false
	for i, f := range fates {
		if open = open || f == fateOpen; open && f == fateAcked {
			return nil, fmt.Errorf("batch %d acknowledged after the store had stopped", i)
		}
		var trouble *troubleErr
		if f == fateRefused && !errors.As(errs[i], &trouble) && !errors.Is(errs[i], ErrNoSpace) {
			return nil, fmt.Errorf("batch %d: %w", i, errs[i])
		}
	}
	return fates, nil
}

// verifyFates opens the store without trouble and compares it with the model, which it brings to
// what the store holds.
func verifyFates(l *faultLayer, m mirror, batches []*Batch, fates []fate, unread bool, sum *troubleSum) error {
	d, err := Open(crashDir, faultOptions(l))
	if err != nil {
		return fmt.Errorf("open without trouble: %w", err)
	}
	defer d.Close()
	d.reuseSoon()
	var open []*Batch
	for i, f := range fates {
		switch f {
		case fateAcked:
			m.apply(batches[i])
			sum.acked++
		case fateRefused:
			sum.refused++
		case fateOpen:
			open = append(open, batches[i])
			sum.open++
		}
	}
	var first error
	for i := 0; ; i++ {
		corrupt, err := agree(d, m.Sim)
		if err == nil && corrupt > 0 && !unread {
			err = fmt.Errorf("%d answers are ErrCorrupt", corrupt)
		}
		if err == nil {
			sum.corrupt += corrupt
			break
		}
		if first == nil {
			first = err
		}
		if i == len(open) {
			return fmt.Errorf("%d batches, %d of them open when the store stopped: %w", len(fates), len(open), first)
		}
		m.apply(open[i])
	}
	var found []string
	_, err = d.Check(context.Background(), func(p Problem) {
		if !unread || !errors.Is(p.Err, ErrCorrupt) {
			found = append(found, p.String())
		}
	})
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("the check finds: %s", strings.Join(found, "; "))
	}
	return err
}
