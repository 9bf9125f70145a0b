package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Why an operation on a partition has to be tried again. None of them leaves
// this package.
var (
	errStale = errors.New("the picture of the index is old")
	errGone  = errors.New("the partition does not exist")
	errRaced = errors.New("the entry was changed meanwhile")
)

// movingError: the key is in a batch that a split is moving out of the partition.
type movingError struct{ from *partition }

func (e *movingError) Error() string { return "the key is being moved by a split" }

// closingError: a deletion of the bucket closed the partition for writes.
type closingError struct{ p *partition }

func (e *closingError) Error() string { return "the bucket is being deleted" }

// frozenError: a snapshot is being taken, and nothing may be changed for a moment.
type frozenError struct{ p *partition }

func (e *frozenError) Error() string { return "a snapshot is being taken" }

// partition is one partition of an index as last seen.
type partition struct {
	n      uint64
	object string
	raw    []byte // the range attribute
	*bucketpb.Range
}

// guard begins an operation that fails with Conflict at index 0 when the
// partition is no longer what p says.
func (p *partition) guard() *client.Op { return new(client.Op).CmpAttr(rangeAttr, p.raw) }

func (p *partition) start() string { return string(p.Start) }
func (p *partition) end() string   { return string(p.End) }

// with returns the range changed by f, ready to be stored.
func (p *partition) with(f func(r *bucketpb.Range)) []byte {
	r := &bucketpb.Range{Start: p.Start, End: p.End, Next: p.Next, Closing: p.Closing, Counted: p.Counted, Freezing: p.Freezing, Snapshot: p.Snapshot}
	if a := p.Allotment; a != nil {
		r.Allotment = &bucketpb.Allotment{Generation: a.Generation, Objects: a.Objects, Bytes: a.Bytes}
	}
	if s := p.Split; s != nil {
		r.Split = &bucketpb.Split{To: s.To, At: s.At, Linked: s.Linked, Moving: s.Moving, MovingEnd: s.MovingEnd}
	}
	f(r)
	return encode(r)
}

// guardErr turns the failed guard of an operation on a partition into errStale.
func guardErr(err error) error {
	if i, conflict, missing := failed(err); conflict && i == 0 || missing {
		return errStale
	}
	return err
}

type child struct {
	start string
	n     uint64
}

// view is what this process remembers of one bucket's index. All of it may be
// old; guards find that out.
type view struct {
	mu    sync.Mutex // guards below
	roots []child    // by start; nil: not read yet
	parts map[uint64]*partition
	load  map[uint64]*load

	replaced int // how much speaks for keys that are put being there already

	quota sync.Mutex // held by who looks for room within the quota; guards full
	full  fullness   // when last there was none

	counts    Counts // as of countedAt
	countedAt time.Time

	config  *Config // nil: not read yet
	configs int     // how often this process has changed it
}

// load counts what this process put into a partition since it last asked
// whether the partition should be split.
type load struct {
	entries int
	bytes   int64
}

const maxCachedPartitions = 1 << 16

// mostlyNew says whether to put a key without a look at what is there. A wrong guess costs an operation more than a look
// does, and those of others that it was sent together with.
func (v *view) mostlyNew() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.replaced < replacedStep
}

// guessed notes whether a key that was put was new.
func (v *view) guessed(isNew bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if isNew {
		v.replaced = max(v.replaced-1, 0)
	} else {
		v.replaced = min(v.replaced+replacedStep, 4*replacedStep)
	}
}

// replacedStep is how many new keys weigh as much as one that was there.
const replacedStep = 16

func (v *view) cached(n uint64) *partition {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.parts[n]
}

func (v *view) keep(p *partition) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.parts) >= maxCachedPartitions {
		clear(v.parts)
	}
	v.parts[p.n] = p
}

func (v *view) drop(ps ...*partition) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range ps {
		if p != nil && v.parts[p.n] == p {
			delete(v.parts, p.n)
		}
	}
}

// forget drops the list of partitions, to be read again.
func (v *view) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.roots = nil
}

// root returns the bucket's list of partitions, which may lag behind a split:
// the links between partitions make up for that.
func (b *Bucket) root(ctx context.Context, bid id, v *view) ([]child, error) {
	v.mu.Lock()
	roots := v.roots
	v.mu.Unlock()
	if roots != nil {
		return roots, nil
	}
	from := string(kindChild)
	for {
		res, err := b.svc.meta.Do(ctx, rootObject(bid), new(client.Op).OmapList(from, prefixEnd(string(kindChild)), 0))
		if errors.Is(err, client.ErrNotFound) {
			return nil, errGone
		}
		if err != nil {
			return nil, err
		}
		for _, kv := range res.Items[0].KVs {
			c := new(bucketpb.Child)
			if err := decode(kv.Value, c); err != nil {
				return nil, fmt.Errorf("index root %s: %w", rootObject(bid), err)
			}
			roots = append(roots, child{start: kv.Key[1:], n: c.Id})
			from = kv.Key + "\x00"
		}
		if !res.Items[0].More {
			break
		}
	}
	if len(roots) == 0 || roots[0].start != "" {
		return nil, fmt.Errorf("%w: index root %s does not begin at the first key", ErrCorrupt, rootObject(bid))
	}
	v.mu.Lock()
	v.roots = roots
	v.mu.Unlock()
	return roots, nil
}

// partition returns partition n, from the cache or the cluster.
func (b *Bucket) partition(ctx context.Context, bid id, v *view, n uint64) (*partition, error) {
	if p := v.cached(n); p != nil {
		return p, nil
	}
	p, err := b.readPartition(ctx, bid, n)
	if err == nil {
		v.keep(p)
	}
	return p, err
}

func (b *Bucket) readPartition(ctx context.Context, bid id, n uint64) (*partition, error) {
	p := &partition{n: n, object: partObject(bid, n), Range: new(bucketpb.Range)}
	res, err := b.svc.meta.Do(ctx, p.object, new(client.Op).GetAttr(rangeAttr))
	if errors.Is(err, client.ErrNotFound) || err == nil && !res.Items[0].Found {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	p.raw = res.Items[0].Data
	if err := decode(p.raw, p.Range); err != nil {
		return nil, fmt.Errorf("index partition %s: %w", p.object, err)
	}
	return p, nil
}

// locate finds the partition that holds key, starting from what is remembered.
func (b *Bucket) locate(ctx context.Context, key string) (*view, *partition, error) {
	bid, err := b.id()
	if err != nil {
		return nil, nil, err
	}
	v := b.svc.view(bid)
	roots, err := b.root(ctx, bid, v)
	if err != nil {
		return v, nil, err
	}
	i, found := slices.BinarySearchFunc(roots, key, func(c child, k string) int { return strings.Compare(c.start, k) })
	if !found {
		i--
	}
	n := roots[i].n
	var prev *partition
	for hops := 0; ; hops++ {
		p, err := b.partition(ctx, bid, v, n)
		switch {
		case err != nil:
			v.forget()
			return v, nil, err
		case hops == 2:
			v.forget() // the list of partitions lags
		case hops > maxCachedPartitions:
			return v, nil, fmt.Errorf("%w: the partitions of bucket %q are linked in a circle", ErrCorrupt, b.name)
		}
		if key < p.start() { // prev gave its upper keys away, p does not have this one yet
			if prev != nil {
				v.drop(prev, p)
				return v, nil, &movingError{from: prev}
			}
			// The root is told of a partition when it is whole; p is remembered from before that.
			v.drop(p)
			if p, err = b.partition(ctx, bid, v, n); err != nil {
				return v, nil, err
			}
			if key < p.start() {
				return v, nil, fmt.Errorf("%w: index partition %s begins after its place", ErrCorrupt, p.object)
			}
		}
		if key < p.end() {
			return v, p, nil
		}
		if p.Next == 0 {
			return v, nil, fmt.Errorf("%w: index partition %s is the last but ends", ErrCorrupt, p.object)
		}
		prev, n = p, p.Next
	}
}

// onKey runs f on the partition that holds key, again and again until no change
// of the index's shape gets in its way.
func (b *Bucket) onKey(ctx context.Context, key string, write bool, f func(v *view, p *partition) error) error {
	var wait backoff
	rooms := 0
	for {
		v, p, err := b.locate(ctx, key)
		if err == nil && write && len(p.Closing) > 0 {
			err = &closingError{p}
		}
		if err == nil && write && p.Freezing > 0 {
			err = &frozenError{p}
		}
		if err == nil {
			err = f(v, p)
		}
		var moving *movingError
		var closing *closingError
		var frozen *frozenError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &frozen):
			v.drop(frozen.p)
			if err := b.thaw(ctx, frozen.p); err != nil && !retryable(err) {
				return err
			}
		case errors.Is(err, errRoom) && rooms < maxTries && ctx.Err() == nil:
			// At once: who looks for room next takes back what is not used.
			rooms++
			v.drop(p)
			continue
		case errors.Is(err, errStale):
			v.drop(p)
		case errors.Is(err, errRaced):
		case errors.As(err, &moving):
			// The mover needs a few operations; if it takes long it may be dead, and anybody can do it.
			if wait.n >= 4 {
				if err := b.advanceSplit(ctx, moving.from.n); err != nil && !retryable(err) {
					return err
				}
			}
		case errors.As(err, &closing):
			v.drop(closing.p)
			if wait.n >= 2 {
				err := b.heal(ctx, closing.p)
				if errors.Is(err, errGone) {
					err = b.refresh(ctx) // the deletion went through; the closed index waits to be removed
				}
				if err != nil && !retryable(err) {
					return err
				}
			}
		case errors.Is(err, errGone):
			if err := b.refresh(ctx); err != nil {
				return err
			}
		default:
			return err
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

func retryable(err error) bool {
	var moving *movingError
	var closing *closingError
	var frozen *frozenError
	return errors.As(err, &frozen) || errors.Is(err, errStale) || errors.Is(err, errRaced) || errors.Is(err, errGone) || errors.As(err, &moving) || errors.As(err, &closing)
}

// backoff spaces out tries: the first at once, then 1 ms doubling to 100 ms, with
// jitter, about 30 s in all.
type backoff struct{ n int }

const maxTries = 400

func (w *backoff) sleep(ctx context.Context) error {
	w.n++
	if w.n == 1 {
		return ctx.Err()
	}
	if w.n > maxTries {
		return ErrBusy
	}
	d := time.Millisecond << min(w.n-2, 7)
	d = d/2 + rand.N(d)
	t := time.NewTimer(min(d, 100*time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// walk calls f for each partition from the first to the last, freshly read.
func (b *Bucket) walk(ctx context.Context, bid id, f func(p *partition) error) error {
	n := uint64(firstPartition)
	for hops := 0; n != 0; hops++ {
		if hops > maxCachedPartitions {
			return fmt.Errorf("%w: the partitions of bucket %q are linked in a circle", ErrCorrupt, b.name)
		}
		p, err := b.readPartition(ctx, bid, n)
		if err != nil {
			return err
		}
		if err := f(p); err != nil {
			return err
		}
		n = p.Next
	}
	return nil
}

// stored is an entry as read from the index.
type stored struct {
	at    string // its omap key
	raw   []byte
	body  []byte // value of the body key, when asked for
	entry *bucketpb.Entry
}

// read reads the object under a key from p; nil when there is none.
func (b *Bucket) read(ctx context.Context, p *partition, key string, body bool) (*stored, error) {
	s, err := b.tip(ctx, p, key, body)
	return live(s), err
}

// scan calls f with the records of one kind from key from (inclusive) to end, in
// order, until f says stop or another place to go on at: a string above the
// record's own key, "" for the next record. Records come with the kind byte cut off.
func (b *Bucket) scan(ctx context.Context, kind byte, from, end string, batch int, f func(key string, value []byte) (next string, stop bool, err error)) error {
	return b.scanKinds(ctx, []byte{kind}, from, end, batch, func(_ byte, key string, value []byte) (string, bool, error) { return f(key, value) })
}

// record is what scanKinds has read: without the kind byte in its key.
type scanned struct {
	kind  byte
	key   string
	value []byte
}

// scanKinds is scan of several kinds, whose records come in the order of their keys.
func (b *Bucket) scanKinds(ctx context.Context, kinds []byte, from, end string, batch int, f func(kind byte, key string, value []byte) (next string, stop bool, err error)) error {
	for from < end {
		var all []scanned
		var upTo string
		var more bool
		err := b.onKey(ctx, keyOf(from), false, func(_ *view, p *partition) error {
			upTo = min(p.end(), end)
			op := p.guard()
			for _, kind := range kinds {
				op.OmapList(omapKey(kind, from), omapKey(kind, upTo), batch)
			}
			res, err := b.svc.meta.Do(ctx, p.object, op)
			if err != nil {
				return guardErr(err)
			}
			all, more, err = merge(kinds, res.Items[1:])
			return err
		})
		if err != nil {
			return err
		}
		jumped := false
		for _, r := range all {
			if r.key < from {
				continue // within what was jumped over
			}
			next, stop, err := f(r.kind, r.key, r.value)
			if stop || err != nil {
				return err
			}
			jumped = next != ""
			from = max(next, r.key+"\x00")
		}
		if !more {
			from = max(from, upTo)
		}
		if !jumped {
			batch = min(2*batch, MaxListEntries) // mostly one prefix: larger steps pay
		}
	}
	return nil
}

// merge brings the lists of several kinds into one order, up to where the shortest of those that are
// cut off ends; more says that one is.
func merge(kinds []byte, lists []client.ResultItem) (all []scanned, more bool, err error) {
	bound := keyEnd
	for i := range kinds {
		kvs := lists[i].KVs
		if !lists[i].More {
			continue
		}
		if len(kvs) == 0 {
			return nil, false, fmt.Errorf("%w: a list without progress", ErrCorrupt)
		}
		more, bound = true, min(bound, kvs[len(kvs)-1].Key[1:])
	}
	for i, kind := range kinds {
		for _, kv := range lists[i].KVs {
			if kv.Key[1:] <= bound {
				all = append(all, scanned{kind, kv.Key[1:], kv.Value})
			}
		}
	}
	if len(kinds) > 1 {
		slices.SortFunc(all, func(x, y scanned) int { return compareStrings(x.key, y.key) })
	}
	return all, more, nil
}

// keyOf is the key that decides where a bound of a scan lies: bounds may carry an
// id behind a NUL, which no key has.
func keyOf(bound string) string {
	key, _, _ := strings.Cut(bound, "\x00")
	return key
}
