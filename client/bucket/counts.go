package bucket

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Each partition counts what it holds. The counts are changed by the very operation that changes a record, with OMAP_ADD, so
// they need no read and are never wrong; their sum over the partitions is the bucket's. A partition made before there were
// counts is counted from its first key on: its range says how far (Range.Counted), and operations on keys beyond leave the
// counts alone.

// countsKey is where a partition's counts are.
const countsKey = string(kindCounts)

// Places of the counters; docs/formats/bucket.md.
const (
	cObjects       = iota // objects and versions of objects, delete markers not
	cBytes                // of these
	cVersions             // those of them that are not current
	cVersionBytes         // of these
	cMarkers              // delete markers, current or not
	cUploads              // multipart uploads under way
	cKept                 // deleted objects that can be brought back; they are in none of the above
	cKeptBytes            // of these
	cHeld                 // objects and versions that only snapshots have; they are in none of the above
	cHeldBytes            // of these
	countersStored        // how many there are
)

// tally is what an operation adds to the counts of a partition.
type tally [countersStored]int64

// entry takes an entry in, or with sign -1 out.
func (t *tally) entry(e *bucketpb.Entry, current bool, sign int64) {
	if e.Marker {
		t[cMarkers] += sign
		return
	}
	t[cObjects] += sign
	t[cBytes] += sign * int64(e.Size)
	if !current {
		t[cVersions] += sign
		t[cVersionBytes] += sign * int64(e.Size)
	}
}

func (t *tally) held(e *bucketpb.Entry, sign int64) {
	if !e.Marker {
		t[cHeld] += sign
		t[cHeldBytes] += sign * int64(e.Size)
	}
}

func (t *tally) kept(k *bucketpb.Kept, sign int64) {
	t[cKept] += sign
	t[cKeptBytes] += sign * int64(k.Entry.Size)
}

// countedKinds are the kinds of records that are counted.
var countedKinds = []byte{kindEntry, kindMarker, kindVersion, kindUpload, kindKept, kindHeld}

// record takes in a record as it is stored.
func (t *tally) record(kind byte, value []byte) error {
	switch kind {
	case kindEntry, kindMarker, kindVersion, kindHeld:
		e := new(bucketpb.Entry)
		if err := decode(value, e); err != nil {
			return err
		}
		if kind == kindHeld {
			t.held(e, 1)
			break
		}
		t.entry(e, kind != kindVersion, 1)
	case kindUpload:
		t[cUploads]++
	case kindKept:
		k := new(bucketpb.Kept)
		if err := decode(value, k); err != nil {
			return err
		}
		if k.Entry == nil {
			return fmt.Errorf("%w: a deleted object without an entry", ErrCorrupt)
		}
		t.kept(k, 1)
	}
	return nil
}

func (t *tally) add(o *tally, sign int64) {
	for i, n := range o {
		t[i] += sign * n
	}
}

// into has an operation on a partition change its counts, within its allotment.
func (t *tally) into(op *client.Op, p *partition) {
	if a := p.Allotment; a == nil || a.Objects == noBound && a.Bytes == noBound || t[cObjects] <= 0 && t[cBytes] <= 0 {
		t.unbounded(op)
		return
	}
	n := t.used()
	bounds := boundsOf(p.Allotment.Objects, p.Allotment.Bytes)
	op.OmapAddWithin(countsKey, t[:n], bounds[:n], false)
}

// unbounded is into whatever the allotment.
func (t *tally) unbounded(op *client.Op) {
	if n := t.used(); n > 0 {
		op.OmapAdd(countsKey, t[:n])
	}
}

// used is how many counters there are up to the last one that changes.
func (t *tally) used() int {
	n := len(t)
	for n > 0 && t[n-1] == 0 {
		n--
	}
	return n
}

// allot moves the share of what is moved, as far as from has one, from there or to another partition.
func (t *tally) allot(from, to *bucketpb.Allotment, sign int64) {
	if from != nil && to != nil {
		objects, bytes := min(t[cObjects], max(from.Objects, 0)), min(t[cBytes], max(from.Bytes, 0))
		to.Objects, to.Bytes = shareSum(to.Objects, sign*objects), shareSum(to.Bytes, sign*bytes)
	}
}

// counts reports whether the records of a key are in the partition's counts.
func (p *partition) counts(key string) bool { return key < string(p.Counted) }

// whole reports whether all records are.
func (p *partition) whole() bool { return string(p.Counted) == keyEnd }

// newRange is the range of the partition that a bucket begins with.
func newRange() []byte {
	return encode(&bucketpb.Range{End: []byte(keyEnd), Counted: []byte(keyEnd)})
}

func parseTally(raw []byte) (t tally, err error) {
	ns := client.Counters(raw)
	if len(raw)%8 != 0 {
		return t, fmt.Errorf("%w: counts of %d bytes", ErrCorrupt, len(raw))
	}
	copy(t[:], ns) // a newer version may have more
	return t, nil
}

// Counts are how much a bucket holds.
type Counts struct {
	Objects, Bytes         int64 // objects and their versions, current or not
	Versions, VersionBytes int64 // those of them that are not current
	Markers                int64 // delete markers
	Uploads                int64 // multipart uploads under way
	Kept, KeptBytes        int64 // what was deleted and can be brought back; it is in none of the others
	Held, HeldBytes        int64 // what only snapshots have; it is in none of the others

	Partitions int  // of the index
	Partial    bool // not all of the index has been counted yet; Sweep and a check see to it
}

func (c *Counts) take(t *tally) {
	c.Objects += t[cObjects]
	c.Bytes += t[cBytes]
	c.Versions += t[cVersions]
	c.VersionBytes += t[cVersionBytes]
	c.Markers += t[cMarkers]
	c.Uploads += t[cUploads]
	c.Kept += t[cKept]
	c.KeptBytes += t[cKeptBytes]
	c.Held += t[cHeld]
	c.HeldBytes += t[cHeldBytes]
}

// Counts sums the counts of the bucket's partitions, one read each. While nothing is changed they are exact; of changes meanwhile some are
// in, and what a split is just moving may be in twice.
func (b *Bucket) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	ps, err := b.partitions(ctx)
	if err != nil {
		return c, nameErr("count", b.name, err)
	}
	c.Partitions = len(ps)
	for _, p := range ps {
		c.take(&p.sum)
		c.Partial = c.Partial || !p.whole()
	}
	return c, nil
}

// RecentCounts is Counts, for a large bucket as of the last ten seconds.
func (b *Bucket) RecentCounts(ctx context.Context) (Counts, error) {
	x, err := b.id()
	if err != nil {
		return Counts{}, err
	}
	v := b.svc.view(x)
	v.mu.Lock()
	c, at := v.counts, v.countedAt
	v.mu.Unlock()
	if c.Partitions > 4 && b.svc.o.Now().Sub(at) < useAge {
		return c, nil
	}
	at = b.svc.o.Now()
	if c, err = b.Counts(ctx); err != nil {
		return c, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts, v.countedAt = c, at
	return c, nil
}

// counted is a partition and its counts, read together.
type counted struct {
	*partition
	sum tally
}

// partitions reads all partitions with their counts, from the first to the last. Those that the root knows are asked together.
func (b *Bucket) partitions(ctx context.Context) ([]counted, error) {
	for try := 0; ; try++ {
		ps, err := b.readPartitions(ctx)
		if errors.Is(err, errGone) && try == 0 {
			if err = b.refresh(ctx); err == nil {
				continue
			}
		}
		return ps, err
	}
}

func (b *Bucket) readPartitions(ctx context.Context) ([]counted, error) {
	bid, err := b.id()
	if err != nil {
		return nil, err
	}
	v := b.svc.view(bid)
	roots, err := b.root(ctx, bid, v)
	if err != nil {
		return nil, err
	}
	known := make([]counted, len(roots))
	if err := together(ctx, len(roots), func(ctx context.Context, i int) (err error) {
		known[i], err = b.readCounted(ctx, bid, roots[i].n)
		return err
	}); err != nil {
		if errors.Is(err, errGone) {
			v.forget()
		}
		return nil, err
	}
	// What the root does not know yet is between them.
	byNumber := map[uint64]counted{}
	for _, p := range known {
		byNumber[p.n] = p
	}
	var all []counted
	for n := uint64(firstPartition); n != 0; {
		p, ok := byNumber[n]
		if !ok {
			v.forget()
			if p, err = b.readCounted(ctx, bid, n); err != nil {
				return nil, err
			}
		}
		if all = append(all, p); len(all) > maxCachedPartitions {
			return nil, fmt.Errorf("%w: the partitions of bucket %q are linked in a circle", ErrCorrupt, b.name)
		}
		n = p.Next
	}
	return all, nil
}

func (b *Bucket) readCounted(ctx context.Context, bid id, n uint64) (c counted, err error) {
	c.partition = &partition{n: n, object: partObject(bid, n), Range: new(bucketpb.Range)}
	res, err := b.svc.meta.Do(ctx, c.object, new(client.Op).GetAttr(rangeAttr).OmapGet(countsKey))
	if errors.Is(err, client.ErrNotFound) || err == nil && !res.Items[0].Found {
		return c, errGone
	}
	if err != nil {
		return c, err
	}
	c.raw = res.Items[0].Data
	if err := decode(c.raw, c.Range); err != nil {
		return c, fmt.Errorf("index partition %s: %w", c.object, err)
	}
	c.sum, err = parseTally(res.Items[1].Data)
	return c, err
}

// countBatch is how many records are counted in one step, about.
const countBatch = 1000

// count counts what a partition holds and has not counted yet, step by step.
func (b *Bucket) count(ctx context.Context, n uint64) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	var wait backoff
	for batch := countBatch; ; {
		p, err := b.readPartition(ctx, x, n)
		if err != nil || p.whole() || p.Split != nil || len(p.Closing) > 0 {
			return err
		}
		switch err := b.countSome(ctx, p, batch); {
		case err == nil:
			wait, batch = backoff{}, countBatch
			continue
		case !errors.Is(err, errStale):
			return err
		}
		batch = max(batch/4, 16) // somebody changed something meanwhile: be quicker
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// countSome takes the records of the next keys into the counts, if nothing is changed meanwhile.
func (b *Bucket) countSome(ctx context.Context, p *partition, batch int) error {
	t, upTo, version, err := b.tallyFrom(ctx, p, string(p.Counted), batch)
	if err != nil {
		return err
	}
	raw := p.with(func(r *bucketpb.Range) { r.Counted = []byte(upTo) })
	op := p.guard().AssertVersion(version).SetAttr(rangeAttr, raw)
	if p.Counted == nil {
		op.OmapSet(countsKey, client.AppendCounters(nil, t[:])) // whatever an earlier count left
	} else {
		op.OmapAdd(countsKey, t[:])
	}
	if _, err := b.svc.meta.Do(ctx, p.object, op); errors.Is(err, client.ErrConflict) {
		return errStale
	} else if err != nil {
		return guardErr(err)
	}
	return nil
}

// tallyFrom counts the records of about batch records' keys from one on, up to upTo. version is the partition's when it began.
func (b *Bucket) tallyFrom(ctx context.Context, p *partition, from string, batch int) (t tally, upTo string, version uint64, err error) {
	first, seen := true, 0
	for last := ""; ; {
		var lists []client.ResultItem
		for _, kind := range countedKinds { // one by one: together they may be more than an answer has room for
			res, err := b.svc.meta.Do(ctx, p.object, p.guard().Stat().OmapList(omapKey(kind, from), omapKey(kind, p.end()), min(batch, MaxListEntries)))
			if err != nil {
				return t, "", 0, guardErr(err)
			}
			if v := res.Items[1].Version; first {
				first, version = false, v
			} else if v != version {
				return t, "", 0, errStale
			}
			lists = append(lists, res.Items[2])
		}
		all, more, err := merge(countedKinds, lists)
		if err != nil {
			return t, "", 0, err
		}
		for _, r := range all {
			key := keyOf(r.key)
			if seen >= batch && key != last { // all records of a key are counted together
				return t, key, version, nil
			}
			if err := t.record(r.kind, r.value); err != nil {
				return t, "", 0, fmt.Errorf("record %q of %s: %w", r.key, p.object, err)
			}
			last, from = key, r.key+"\x00"
			seen++
		}
		if !more {
			return t, keyEnd, version, nil
		}
	}
}

// Miscount is a partition whose counts are not what it holds.
type Miscount struct {
	Partition    string
	Stored, Real Counts
}

// Checked is what a check of the counts found.
type Checked struct {
	Partitions int
	Wrong      []Miscount
	Busy       int // partitions that were changed all the while, and not checked
}

// CheckCounts counts all records of the bucket and compares. With repair it has what is wrong, or was never counted, counted anew.
func (b *Bucket) CheckCounts(ctx context.Context, repair bool) (Checked, error) {
	var out Checked
	fail := func(err error) (Checked, error) { return out, nameErr("check the counts of", b.name, err) }
	x, err := b.id()
	if err != nil {
		return fail(err)
	}
	for n := uint64(firstPartition); n != 0; {
		p, wrong, err := b.checkCounts(ctx, x, n)
		switch {
		case errors.Is(err, errStale):
			out.Busy++
			if p, err = b.readPartition(ctx, x, n); err != nil {
				return fail(err)
			}
		case err != nil:
			return fail(err)
		}
		out.Partitions++
		if wrong != nil {
			out.Wrong = append(out.Wrong, *wrong)
			if repair && p.Split == nil {
				if err := b.recount(ctx, p); err != nil {
					return fail(err)
				}
			}
		}
		n = p.Next
	}
	return out, nil
}

// checkCounts compares the counts of one partition; errStale: it is too busy.
func (b *Bucket) checkCounts(ctx context.Context, x id, n uint64) (*partition, *Miscount, error) {
	var wait backoff
	for {
		c, err := b.readCounted(ctx, x, n)
		if err != nil {
			return nil, nil, err
		}
		t, _, version, err := b.tallyFrom(ctx, c.partition, c.start(), 1<<30)
		if err == nil {
			// The counts were read before: they are of the same moment if nothing happened since.
			again, e := b.svc.meta.Do(ctx, c.object, c.guard().AssertVersion(version).OmapGet(countsKey))
			switch {
			case errors.Is(e, client.ErrConflict):
				err = errStale
			case e != nil:
				return nil, nil, e
			default:
				sum, e := parseTally(again.Items[2].Data)
				if e != nil {
					return nil, nil, e
				}
				if sum == t && c.whole() {
					return c.partition, nil, nil
				}
				m := &Miscount{Partition: c.object}
				m.Stored.take(&sum)
				m.Stored.Partial = !c.whole()
				m.Real.take(&t)
				return c.partition, m, nil
			}
		}
		if !errors.Is(err, errStale) {
			return nil, nil, err
		}
		if wait.n > 5 {
			return nil, nil, errStale
		}
		if err := wait.sleep(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// recount forgets a partition's counts and counts it anew.
func (b *Bucket) recount(ctx context.Context, p *partition) error {
	if len(p.Counted) > 0 {
		if err := b.setRange(ctx, p, p.guard(), func(r *bucketpb.Range) { r.Counted = nil }); err != nil && !errors.Is(err, errStale) {
			return err
		}
	}
	return b.count(ctx, p.n)
}
