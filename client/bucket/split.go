package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// A partition P that has grown too large gives its upper half to a new one, Q:
//
//  1. P's range says that it will split at `at` into Q (Split.To).
//  2. Q is made, empty, at P's end, and linked between P and P's right neighbour.
//  3. Batch by batch from the top: P's end moves down, which freezes the batch
//     (moving); its records are copied to Q; Q's start moves down, which makes Q
//     answer for them; P drops its copies.
//  4. The root learns of Q, and P forgets the split.
//
// Every step compares the range it changes, so any number of processes may carry
// it out together and go on where another stopped. Readers and writers of a
// frozen batch wait the few operations it takes; after a while they do them.

// kinds of records that belong to a key and move with it.
var movedKinds = []byte{kindEntry, kindBody, kindMarker, kindVersion, kindVersionBody, kindIntent, kindUpload, kindKept, kindKeptBody, kindHeld, kindHeldBody}

const (
	moveBatchBytes   = 512 << 10
	moveBatchEntries = 1024
	// An operation has room for 900 KiB of keys, values and what goes with each of them.
	copyBytes  = 640 << 10
	copyRecord = 96
	copyList   = 1024 // records of a kind read at a time
)

// grown counts what was put into a partition and now and then asks whether it
// should be split.
func (b *Bucket) grown(v *view, p *partition, bytes int64) {
	s := b.svc
	v.mu.Lock()
	l := v.load[p.n]
	if l == nil {
		if len(v.load) >= maxCachedPartitions {
			clear(v.load)
		}
		// Several processes put into the same partition and none sees the others: begin at random
		// so that together they look often enough.
		l = &load{entries: rand.IntN(1 + s.o.SplitEntries/4), bytes: rand.Int64N(1 + s.o.SplitBytes/4)}
		v.load[p.n] = l
	}
	l.entries++
	l.bytes += bytes
	due := l.entries > s.o.SplitEntries/2 || l.bytes > s.o.SplitBytes/2
	if due {
		*l = load{}
	}
	v.mu.Unlock()
	if due {
		s.jobs.add("split "+p.object, 0, func(ctx context.Context) error { return b.maybeSplit(ctx, p.n) })
	}
}

// weighed is a record and what it takes.
type weighed struct {
	key   string
	bytes int64
}

// weigh lists a partition's records from key from on, by key.
func (b *Bucket) weigh(ctx context.Context, p *partition, from, end string) (all []weighed, entries int, bytes int64, err error) {
	for _, kind := range []byte{kindEntry, kindMarker, kindVersion, kindIntent, kindUpload, kindKept, kindHeld} {
		at := omapKey(kind, from)
		for {
			res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapList(at, omapKey(kind, end), 4096))
			if err != nil {
				return nil, 0, 0, guardErr(err)
			}
			for _, kv := range res.Items[1].KVs {
				w := weighed{key: keyOf(kv.Key[1:]), bytes: int64(len(kv.Key) + len(kv.Value))}
				var e *bucketpb.Entry
				switch kind {
				case kindEntry, kindVersion, kindHeld:
					e = new(bucketpb.Entry)
					if err := decode(kv.Value, e); err != nil {
						return nil, 0, 0, err
					}
				case kindKept:
					k := new(bucketpb.Kept)
					if err := decode(kv.Value, k); err != nil {
						return nil, 0, 0, err
					}
					e, w.bytes = k.Entry, w.bytes+int64(len(kv.Key)) // with its expiry
				}
				if e != nil {
					switch {
					case e.Marker:
					case e.Layout == bucketpb.Layout_INLINE:
						w.bytes += int64(len(kv.Key)) + storedOf(e)
					case e.Layout == bucketpb.Layout_PARTS:
						w.bytes += int64(len(kv.Key)) + 64*int64(e.Parts)
					}
				}
				bytes += w.bytes
				all = append(all, w)
				at = kv.Key + "\x00"
			}
			if !res.Items[1].More {
				break
			}
			if len(all) > 16*b.svc.o.SplitEntries {
				break // a split of what was seen will be followed by another
			}
		}
	}
	slices.SortStableFunc(all, func(x, y weighed) int { return compareStrings(x.key, y.key) })
	return all, len(all), bytes, nil
}

// maybeSplit splits a partition if it is too large.
func (b *Bucket) maybeSplit(ctx context.Context, n uint64) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	p, err := b.readPartition(ctx, x, n)
	if errors.Is(err, errGone) || err == nil && len(p.Closing) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if p.Split == nil {
		if !p.whole() { // it is split as a whole or not counted at all
			if err := b.count(ctx, n); err != nil {
				return ignoreRetryable(err)
			}
			if p, err = b.readPartition(ctx, x, n); err != nil || p.Split != nil || !p.whole() {
				return ignoreRetryable(err)
			}
		}
		all, entries, bytes, err := b.weigh(ctx, p, p.start(), p.end())
		if err != nil && !retryable(err) || err == nil && entries <= b.svc.o.SplitEntries && bytes <= b.svc.o.SplitBytes {
			return err
		}
		at := middle(all, bytes)
		if err != nil || at <= p.start() {
			return nil // changed meanwhile, or a single key holds nearly all: later
		}
		to := rand.Uint64N(1<<63-2) + 2 // 1 is the first partition; making it exclusively finds a collision
		raw := p.with(func(r *bucketpb.Range) { r.Split = &bucketpb.Split{To: to, At: []byte(at)} })
		if _, err := b.svc.meta.Do(ctx, p.object, p.guard().SetAttr(rangeAttr, raw)); err != nil {
			return ignoreRetryable(guardErr(err))
		}
		b.svc.log.Info("splitting a bucket index partition", "bucket", b.name, "partition", p.object, "entries", entries, "bytes", bytes)
	}
	return ignoreRetryable(b.runSplit(ctx, n))
}

func ignoreRetryable(err error) error {
	if err != nil && retryable(err) {
		return nil
	}
	return err
}

// middle is the key at which about half the bytes lie below.
func middle(all []weighed, total int64) string {
	var sum int64
	for _, w := range all {
		if sum >= total/2 {
			return w.key
		}
		sum += w.bytes
	}
	return ""
}

// runSplit carries a split out to its end. A retryable error means that somebody
// else is at it too.
func (b *Bucket) runSplit(ctx context.Context, n uint64) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	began := time.Now()
	var bounds []string // where batches begin, ascending
	for steps := 0; ; steps++ {
		p, err := b.readPartition(ctx, x, n)
		if err != nil {
			return err
		}
		switch sp := p.Split; {
		case sp == nil:
			v := b.svc.view(x)
			v.drop(v.cached(n))
			v.forget()
			b.svc.log.Debug("split a bucket index partition", "bucket", b.name, "partition", p.object, "steps", steps, "took", time.Since(began))
			return nil
		case len(p.Closing) > 0:
			return &closingError{p}
		case p.Freezing > 0 && !sp.Moving:
			return &frozenError{p}
		case !sp.Linked:
			err = b.linkSplit(ctx, x, p)
		case sp.Moving:
			err = b.moveBatch(ctx, x, p)
		case p.end() <= string(sp.At):
			err = b.endSplit(ctx, x, p)
		default:
			bounds, err = b.nextBatch(ctx, p, bounds)
		}
		if err != nil && !errors.Is(err, errStale) {
			return err
		}
		if steps > 1<<20 {
			return fmt.Errorf("%w: the split of %s does not end", ErrCorrupt, p.object)
		}
	}
}

// advanceSplit finishes the batch that is being moved out of a partition, if there is one.
func (b *Bucket) advanceSplit(ctx context.Context, n uint64) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	p, err := b.readPartition(ctx, x, n)
	if err != nil || p.Split == nil || !p.Split.Moving {
		return err
	}
	return b.moveBatch(ctx, x, p)
}

// setRange replaces p's range, if it still is what p says.
func (b *Bucket) setRange(ctx context.Context, p *partition, op *client.Op, f func(r *bucketpb.Range)) error {
	_, err := b.svc.meta.Do(ctx, p.object, op.SetAttr(rangeAttr, p.with(f)))
	return guardErr(err)
}

func (b *Bucket) linkSplit(ctx context.Context, x id, p *partition) error {
	fresh := &bucketpb.Range{Start: p.End, End: p.End, Next: p.Next, Snapshot: p.Snapshot}
	if p.whole() {
		fresh.Counted = []byte(keyEnd)
	}
	if a := p.Allotment; a != nil { // its share comes with what is moved
		fresh.Allotment = &bucketpb.Allotment{Generation: a.Generation, Objects: noShare(a.Objects), Bytes: noShare(a.Bytes)}
	}
	q := encode(fresh)
	_, err := b.svc.meta.Do(ctx, partObject(x, p.Split.To), new(client.Op).Create(true).SetAttr(rangeAttr, q))
	if err != nil && !errors.Is(err, client.ErrExists) { // a helper may have made it
		return err
	}
	return b.setRange(ctx, p, p.guard(), func(r *bucketpb.Range) { r.Next, r.Split.Linked = r.Split.To, true })
}

// nextBatch freezes the topmost batch.
func (b *Bucket) nextBatch(ctx context.Context, p *partition, bounds []string) ([]string, error) {
	for len(bounds) > 0 && bounds[len(bounds)-1] >= p.end() {
		bounds = bounds[:len(bounds)-1]
	}
	if len(bounds) == 0 {
		all, _, _, err := b.weigh(ctx, p, string(p.Split.At), p.end())
		if err != nil {
			return nil, err
		}
		bounds = batches(all, string(p.Split.At))
	}
	from := bounds[len(bounds)-1]
	return bounds, b.setRange(ctx, p, p.guard(), func(r *bucketpb.Range) {
		r.Split.Moving, r.Split.MovingEnd, r.End = true, r.End, []byte(from)
	})
}

// batches cuts records into batches and returns where they begin; the first at at.
func batches(all []weighed, at string) []string {
	bounds := []string{at}
	n, bytes := 0, int64(0)
	for _, w := range all {
		if (n >= moveBatchEntries || bytes+w.bytes > moveBatchBytes) && w.key > bounds[len(bounds)-1] {
			bounds = append(bounds, w.key)
			n, bytes = 0, 0
		}
		n++
		bytes += w.bytes
	}
	return bounds
}

// moveBatch copies the frozen batch to the new partition and drops it here.
func (b *Bucket) moveBatch(ctx context.Context, x id, p *partition) error {
	from, end := p.end(), string(p.Split.MovingEnd)
	q, err := b.readPartition(ctx, x, p.Split.To)
	if err != nil {
		return err
	}
	if len(q.Closing) > 0 {
		return &closingError{q}
	}
	var sum tally
	if p.whole() {
		if sum, err = b.tallyBatch(ctx, p, from, end); err != nil {
			return err
		}
	}
	switch q.start() {
	case end: // the batch is not there yet
		if err := b.copyBatch(ctx, p, q, from, end, &sum); err != nil {
			return err
		}
	case from: // a helper brought it
	default:
		return errStale // the batch was finished, and perhaps the next begun, since p was read
	}
	op := p.guard()
	for _, kind := range movedKinds {
		op.OmapRmRange(omapKey(kind, from), omapKey(kind, end))
	}
	if err := b.dropExpiries(ctx, p, from, end); err != nil {
		return err
	}
	var out tally
	out.add(&sum, -1)
	out.into(op, p)
	return b.setRange(ctx, p, op, func(r *bucketpb.Range) {
		r.Split.Moving, r.Split.MovingEnd = false, nil
		sum.allot(p.Allotment, r.Allotment, -1)
	})
}

// frozen calls f with the records of some kinds in a frozen batch, those of each kind in order. Most batches are read by one operation.
func (b *Bucket) frozen(ctx context.Context, p *partition, kinds []byte, from, end string, f func(kind byte, kv client.KV) error) error {
	type list struct {
		kind byte
		at   string
	}
	var open []list
	for _, kind := range kinds {
		open = append(open, list{kind, omapKey(kind, from)})
	}
	several := true
	for len(open) > 0 {
		asked := open
		if !several {
			asked = open[:1]
		}
		op := p.guard()
		for _, l := range asked {
			op.OmapList(l.at, omapKey(l.kind, end), copyList)
		}
		res, err := b.svc.meta.Do(ctx, p.object, op)
		if errors.Is(err, client.ErrInvalid) && len(asked) > 1 {
			several = false // large ones left no room in the answer for those of another kind
			continue
		}
		if err != nil {
			return guardErr(err)
		}
		left := open[len(asked):]
		var more []list
		for i, l := range asked {
			kvs := res.Items[1+i].KVs
			for _, kv := range kvs {
				if err := f(l.kind, kv); err != nil {
					return err
				}
				l.at = kv.Key + "\x00"
			}
			if res.Items[1+i].More {
				more = append(more, l)
			}
		}
		open = append(more, left...)
	}
	return nil
}

// tallyBatch counts what is in the frozen batch.
func (b *Bucket) tallyBatch(ctx context.Context, p *partition, from, end string) (t tally, err error) {
	err = b.frozen(ctx, p, countedKinds, from, end, func(kind byte, kv client.KV) error {
		if err := t.record(kind, kv.Value); err != nil {
			return fmt.Errorf("record %q of %s: %w", kv.Key, p.object, err)
		}
		return nil
	})
	return t, err
}

// dropExpiries removes the expiries of what is kept in the frozen batch. They lie in the order of time; the new partition has its own.
func (b *Bucket) dropExpiries(ctx context.Context, p *partition, from, end string) error {
	op, n := p.guard(), 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		_, err := b.svc.meta.Do(ctx, p.object, op)
		op, n = p.guard(), 0
		return guardErr(err)
	}
	err := b.frozen(ctx, p, []byte{kindKept}, from, end, func(_ byte, kv client.KV) error {
		expiry, err := expiryOf(kv)
		if err != nil {
			return err
		}
		op.OmapRm(expiry)
		if n++; n < copyList {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// copyBatch copies records that are frozen in p to q, and then makes q answer for
// them. Until then q does not show them, and a helper may write the same again.
func (b *Bucket) copyBatch(ctx context.Context, p, q *partition, from, end string, sum *tally) error {
	op, held := q.guard(), 0
	set := func(key string, value []byte) error {
		weight := len(key) + len(value) + copyRecord
		if held > 0 && held+weight > copyBytes {
			if _, err := b.svc.meta.Do(ctx, q.object, op); err != nil {
				return guardErr(err)
			}
			op, held = q.guard(), 0
		}
		op.OmapSet(key, value)
		held += weight
		return nil
	}
	err := b.frozen(ctx, p, movedKinds, from, end, func(kind byte, kv client.KV) error {
		if kind == kindKept {
			expiry, err := expiryOf(kv)
			if err != nil {
				return err
			}
			if err := set(expiry, []byte{Format}); err != nil {
				return err
			}
		}
		return set(kv.Key, kv.Value)
	})
	if err != nil {
		return err
	}
	sum.unbounded(op) // nothing is refused that was there before
	return b.setRange(ctx, q, op, func(r *bucketpb.Range) {
		r.Start = []byte(from)
		// It may have been made a while before it was linked, and know nothing of what p learned meanwhile.
		r.Snapshot = max(r.Snapshot, p.Snapshot)
		if a := p.Allotment; a != nil && r.Allotment.GetGeneration() < a.Generation {
			r.Allotment = &bucketpb.Allotment{Generation: a.Generation, Objects: noShare(a.Objects), Bytes: noShare(a.Bytes)}
		}
		sum.allot(p.Allotment, r.Allotment, 1)
	})
}

// endSplit tells the root and forgets the split.
func (b *Bucket) endSplit(ctx context.Context, x id, p *partition) error {
	entry := encode(&bucketpb.Child{Id: p.Split.To})
	_, err := b.svc.meta.Do(ctx, rootObject(x), new(client.Op).AssertExists().OmapSet(omapKey(kindChild, string(p.Split.At)), entry))
	if errors.Is(err, client.ErrNotFound) {
		return errGone
	}
	if err != nil {
		return err
	}
	return b.setRange(ctx, p, p.guard(), func(r *bucketpb.Range) { r.Split = nil })
}
