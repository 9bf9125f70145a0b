package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Taking a snapshot:
//
//  1. It is noted in the root (TAKING), with the next number.
//  2. Every partition is frozen: its range says so, and whoever wants to change something waits. Splits begin nothing new.
//  3. It is TAKEN in the root: this is the moment that it is of. Nothing is changed between the first partition's freezing and it.
//  4. Every partition learns the number and is free again. Who waits does that himself once it is TAKEN.
//
// If whoever takes it dies before 3, those who wait remove it from the root after a while, so that it cannot be taken any more, and go on.

// Errors of snapshots.
var (
	ErrNoSuchSnapshot = errors.New("no such snapshot")
	ErrSnapshotExists = errors.New("a snapshot of that name exists")
	ErrHasSnapshots   = fmt.Errorf("%w: it has snapshots", ErrBucketNotEmpty)
	ErrHasClones      = errors.New("the snapshot has clones")
)

// Limits of snapshots.
const (
	MaxSnapshots = 1000 // of a bucket
	maxClones    = 1000 // of a snapshot
	// staleFreeze is how long the taking of a snapshot may hold up changes before it is given up.
	staleFreeze = 5 * time.Second
)

// Snapshot is a bucket as it was at one moment.
type Snapshot struct {
	Name   string
	Taken  time.Time
	Clones []string // buckets that began as it and have bodies of it; it cannot be removed before them
	number uint64
}

func snapshotKey(number uint64) string { return fmt.Sprintf("%c%016x", kindSnapshot, number) }

// snapshotRecord is a snapshot as the root has it.
type snapshotRecord struct {
	raw []byte
	*bucketpb.Snapshot
}

// snapshotList is what the root says of snapshots.
type snapshotList struct {
	all  []snapshotRecord // by number
	last uint64           // number of the last one that was begun
	raw  []byte           // of the counter; nil: there never was one
}

func (b *Bucket) snapshotList(ctx context.Context, x id) (*snapshotList, error) {
	l := new(snapshotList)
	res, err := b.svc.meta.Do(ctx, rootObject(x), new(client.Op).OmapGet(string(kindSnapshots)).
		OmapList(string(kindSnapshot), prefixEnd(string(kindSnapshot)), 2*MaxSnapshots))
	if errors.Is(err, client.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	if res.Items[0].Found {
		n := new(bucketpb.Snapshots)
		if err := decode(res.Items[0].Data, n); err != nil {
			return nil, err
		}
		l.raw, l.last = res.Items[0].Data, n.Last
	}
	for _, kv := range res.Items[1].KVs {
		s := new(bucketpb.Snapshot)
		if err := decode(kv.Value, s); err != nil {
			return nil, err
		}
		l.all = append(l.all, snapshotRecord{kv.Value, s})
	}
	return l, nil
}

// newest is the newest number at which there is a snapshot, and has says whether there is one among some numbers. Those that are
// being removed are none.
func (l *snapshotList) newest() (n uint64) {
	for _, s := range l.all {
		if s.State == bucketpb.SnapshotState_TAKEN {
			n = s.Number
		}
	}
	return n
}

func (l *snapshotList) has(from, to uint64) bool {
	for _, s := range l.all {
		if s.State != bucketpb.SnapshotState_REMOVING && s.Number >= from && s.Number <= to {
			return true
		}
	}
	return to > l.last // taken since the list was read
}

func (l *snapshotList) byName(name string) *snapshotRecord {
	for i := range l.all {
		if l.all[i].Name == name {
			return &l.all[i]
		}
	}
	return nil
}

func (l *snapshotList) byNumber(number uint64) *snapshotRecord {
	for i := range l.all {
		if l.all[i].Number == number {
			return &l.all[i]
		}
	}
	return nil
}

// CheckSnapshotName says whether a snapshot may have a name: 1 to 63 lower-case letters, digits, dots and dashes.
func CheckSnapshotName(name string) error {
	if name == "" || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return fmt.Errorf("%w: snapshot name %q: use 1 to 63 lower-case letters, digits, dots and dashes", ErrInvalidName, name)
	}
	return nil
}

func snapErr(what, bucket, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s snapshot %q of bucket %q: %w", what, name, bucket, err)
}

// TakeSnapshot keeps the bucket as it is at one moment, between the beginning of this call and its end: what was put, deleted or changed before
// is in it so, what begins afterwards is not. Changes wait meanwhile, for a few operations on each partition of the index. It takes no copies, and
// no space until something that it has is deleted or replaced.
func (b *Bucket) TakeSnapshot(ctx context.Context, name string) (Snapshot, error) {
	if err := CheckSnapshotName(name); err != nil {
		return Snapshot{}, err
	}
	var wait backoff
	for {
		s, err := b.takeSnapshot(ctx, name)
		switch {
		case err == nil:
			return *s, nil
		case errors.Is(err, errGone):
			if err := b.refresh(ctx); err != nil {
				return Snapshot{}, snapErr("take", b.name, name, err)
			}
		case !retryable(err):
			return Snapshot{}, snapErr("take", b.name, name, err)
		}
		if err := wait.sleep(ctx); err != nil {
			return Snapshot{}, snapErr("take", b.name, name, err)
		}
	}
}

func (b *Bucket) takeSnapshot(ctx context.Context, name string) (*Snapshot, error) {
	x, err := b.id()
	if err != nil {
		return nil, err
	}
	l, err := b.snapshotList(ctx, x)
	if err != nil {
		return nil, err
	}
	for i := range l.all {
		s := &l.all[i]
		switch {
		case s.State == bucketpb.SnapshotState_TAKING: // one at a time; or it was given up
			if err := b.giveUp(ctx, x, s); err != nil {
				return nil, err
			}
			return nil, errRaced
		case s.Name == name && s.State == bucketpb.SnapshotState_TAKEN:
			return nil, ErrSnapshotExists
		}
	}
	if len(l.all) >= MaxSnapshots {
		return nil, fmt.Errorf("%w: it has %d, more are not allowed", client.ErrConflict, len(l.all))
	}
	now := b.svc.o.Now().UnixNano()
	s := &bucketpb.Snapshot{Name: name, Number: l.last + 1, State: bucketpb.SnapshotState_TAKING, Since: now}
	op := new(client.Op).AssertExists()
	if l.raw == nil {
		op.CmpOmapAbsent(string(kindSnapshots))
	} else {
		op.CmpOmap(string(kindSnapshots), l.raw)
	}
	op.OmapSet(string(kindSnapshots), encode(&bucketpb.Snapshots{Last: s.Number})).OmapSet(snapshotKey(s.Number), encode(s))
	if err := b.onRoot(ctx, x, op); err != nil {
		return nil, err
	}
	parts, err := b.freeze(ctx, x, s.Number)
	var taken *bucketpb.Snapshot
	if err == nil {
		now = b.svc.o.Now().UnixNano()
		taken = &bucketpb.Snapshot{Name: name, Number: s.Number, State: bucketpb.SnapshotState_TAKEN, Taken: now, Since: now}
		err = b.onRoot(ctx, x, new(client.Op).CmpOmap(snapshotKey(s.Number), encode(s)).OmapSet(snapshotKey(s.Number), encode(taken)))
	}
	undo, cancel := detached(ctx)
	defer cancel()
	if err != nil {
		// Nobody waits longer than need be. If the answer was lost and it is taken, it is all the same: the partitions learn of it.
		_ = b.onRoot(undo, x, new(client.Op).CmpOmap(snapshotKey(s.Number), encode(s)).OmapRm(snapshotKey(s.Number)))
		for _, p := range parts {
			_ = b.thaw(undo, p)
		}
		return nil, err
	}
	if err := together(undo, len(parts), func(ctx context.Context, i int) error {
		return ignoreRetryable(b.thawAs(ctx, parts[i], taken))
	}); err != nil {
		b.svc.log.Debug("free a bucket after taking a snapshot", "bucket", b.name, "err", err) // whoever comes next does
	}
	return &Snapshot{Name: name, Taken: time.Unix(0, now), number: s.Number}, nil
}

// onRoot changes the root; errRaced: a condition does not hold.
func (b *Bucket) onRoot(ctx context.Context, x id, op *client.Op) error {
	_, err := b.svc.meta.Do(ctx, rootObject(x), op)
	switch {
	case errors.Is(err, client.ErrConflict):
		return errRaced
	case errors.Is(err, client.ErrNotFound):
		return errGone
	}
	return err
}

// giveUp removes a snapshot that has been being taken for so long that nobody does any more.
func (b *Bucket) giveUp(ctx context.Context, x id, s *snapshotRecord) error {
	if b.svc.o.Now().Sub(time.Unix(0, s.Since)) < staleFreeze {
		return errRaced
	}
	return b.onRoot(ctx, x, new(client.Op).CmpOmap(snapshotKey(s.Number), s.raw).OmapRm(snapshotKey(s.Number)))
}

// freeze freezes all partitions for a snapshot and returns them as they are then.
func (b *Bucket) freeze(ctx context.Context, x id, number uint64) (all []*partition, err error) {
	roots, err := b.root(ctx, x, b.svc.view(x))
	if err != nil {
		return nil, err
	}
	// All at once first: the less time passes the better. What fails, or is not known yet, is seen to below.
	_ = together(ctx, len(roots), func(ctx context.Context, i int) error {
		_, _ = b.freezeOne(ctx, x, roots[i].n, number)
		return nil
	})
	// A frozen partition makes no new ones, so behind this walk all are frozen.
	for n := uint64(firstPartition); n != 0; {
		var wait backoff
		for {
			p, err := b.freezeOne(ctx, x, n, number)
			if err == nil {
				all = append(all, p)
				n = p.Next
				break
			}
			if !errors.Is(err, errStale) || wait.n > 100 {
				return all, err
			}
			if err := wait.sleep(ctx); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// freezeOne freezes a partition; errStale: it was changed meanwhile.
func (b *Bucket) freezeOne(ctx context.Context, x id, n, number uint64) (*partition, error) {
	p, err := b.readPartition(ctx, x, n)
	switch {
	case err != nil:
		return nil, err
	case p.Freezing == number:
		return p, nil
	case len(p.Closing) > 0:
		return nil, ErrBusy // the bucket is being deleted
	case p.Freezing > 0: // for one that was given up, or of which the partition does not know yet
		if err := b.thaw(ctx, p); err != nil && !retryable(err) {
			return nil, err
		}
		return nil, errStale
	case p.Snapshot >= number:
		return nil, errRaced // ours was given up
	case p.Split != nil && p.Split.Moving:
		if err := b.moveBatch(ctx, x, p); err != nil && !retryable(err) {
			return nil, err
		}
		return nil, errStale
	}
	raw := p.with(func(r *bucketpb.Range) { r.Freezing = number })
	if _, err := b.svc.meta.Do(ctx, p.object, p.guard().SetAttr(rangeAttr, raw)); err != nil {
		return nil, guardErr(err)
	}
	p.Freezing, p.raw = number, raw
	return p, nil
}

// thaw frees a partition that was frozen for a snapshot that is taken, or given up. errStale: it is still being taken.
func (b *Bucket) thaw(ctx context.Context, p *partition) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	l, err := b.snapshotList(ctx, x)
	if err != nil {
		return err
	}
	s := l.byNumber(p.Freezing)
	switch {
	case s == nil:
		return b.thawAs(ctx, p, nil)
	case s.State == bucketpb.SnapshotState_TAKING:
		if err := b.giveUp(ctx, x, s); err != nil {
			return err
		}
		return b.thawAs(ctx, p, nil)
	}
	return b.thawAs(ctx, p, s.Snapshot)
}

// thawAs frees a partition; s is the snapshot that it was frozen for, nil if that was given up, or removed since.
func (b *Bucket) thawAs(ctx context.Context, p *partition, s *bucketpb.Snapshot) error {
	return b.setRange(ctx, p, p.guard(), func(r *bucketpb.Range) {
		if s != nil {
			r.Snapshot = s.Number
		}
		r.Freezing = 0
	})
}

// Snapshots lists the bucket's snapshots, oldest first.
func (b *Bucket) Snapshots(ctx context.Context) ([]Snapshot, error) {
	var out []Snapshot
	err := b.withRoot(ctx, func(x id) error {
		l, err := b.snapshotList(ctx, x)
		if err != nil {
			return err
		}
		out = nil
		for _, s := range l.all {
			if s.State == bucketpb.SnapshotState_TAKEN {
				out = append(out, snapshotFrom(s.Snapshot))
			}
		}
		return nil
	})
	if err != nil {
		return nil, nameErr("list the snapshots of", b.name, err)
	}
	return out, nil
}

func snapshotFrom(s *bucketpb.Snapshot) Snapshot {
	out := Snapshot{Name: s.Name, Taken: time.Unix(0, s.Taken), number: s.Number}
	for _, c := range s.Clones {
		out.Clones = append(out.Clones, c.Name)
	}
	return out
}

// withRoot runs f, again if races get in its way.
func (b *Bucket) withRoot(ctx context.Context, f func(x id) error) error {
	var wait backoff
	for {
		x, err := b.id()
		if err == nil {
			err = f(x)
		}
		switch {
		case errors.Is(err, errGone):
			if err := b.refresh(ctx); err != nil {
				return err
			}
		case err == nil || !retryable(err):
			return err
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// RemoveSnapshot removes a snapshot, and what only it has.
func (b *Bucket) RemoveSnapshot(ctx context.Context, name string) error {
	err := b.withRoot(ctx, func(x id) error {
		l, err := b.snapshotList(ctx, x)
		if err != nil {
			return err
		}
		s := l.byName(name)
		switch {
		case s == nil || s.State != bucketpb.SnapshotState_TAKEN:
			return ErrNoSuchSnapshot
		case len(s.Clones) > 0:
			return fmt.Errorf("%w: %s", ErrHasClones, strings.Join(snapshotFrom(s.Snapshot).Clones, ", "))
		}
		next := &bucketpb.Snapshot{Name: "", Number: s.Number, State: bucketpb.SnapshotState_REMOVING, Taken: s.Taken, Since: b.svc.o.Now().UnixNano()}
		return b.onRoot(ctx, x, new(client.Op).CmpOmap(snapshotKey(s.Number), s.raw).OmapSet(snapshotKey(s.Number), encode(next)))
	})
	if err == nil {
		err = b.dropSnapshots(ctx)
	}
	return snapErr("remove", b.name, name, err)
}

// dropSnapshots removes what snapshots had that are being removed, and then these. It may be done by several, and again.
func (b *Bucket) dropSnapshots(ctx context.Context) error {
	var gone []snapshotRecord
	return b.withRoot(ctx, func(x id) error {
		l, err := b.snapshotList(ctx, x)
		if err != nil {
			return err
		}
		gone = gone[:0]
		for _, s := range l.all {
			if s.State == bucketpb.SnapshotState_REMOVING {
				gone = append(gone, s)
			}
		}
		if len(gone) == 0 {
			return nil
		}
		// All that moves in a split goes from left to right, as we do.
		for n := uint64(firstPartition); n != 0; {
			if err := b.dropHeld(ctx, x, n, l); err != nil {
				return err
			}
			p, err := b.readPartition(ctx, x, n) // now: it may have been split since
			if err != nil {
				return err
			}
			n = p.Next
		}
		for _, s := range gone {
			err := b.onRoot(ctx, x, new(client.Op).CmpOmap(snapshotKey(s.Number), s.raw).OmapRm(snapshotKey(s.Number)))
			if err != nil && !errors.Is(err, errRaced) { // another one did it
				return err
			}
		}
		return nil
	})
}

// dropHeld removes from a partition what no snapshot has any more, and has it hold nothing for those that are gone.
func (b *Bucket) dropHeld(ctx context.Context, x id, n uint64, l *snapshotList) error {
	var wait backoff
	from := string(kindHeld)
	for {
		p, err := b.readPartition(ctx, x, n)
		if err != nil {
			return err
		}
		done := false
		switch {
		case p.Freezing > 0:
			err = b.thaw(ctx, p)
		case p.Snapshot > 0 && !l.has(p.Snapshot, p.Snapshot):
			err = b.setRange(ctx, p, p.guard(), func(r *bucketpb.Range) { r.Snapshot = min(r.Snapshot, l.newest()) })
		default:
			from, done, err = b.dropSome(ctx, p, l, from)
		}
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			wait = backoff{}
			continue
		case !retryable(err):
			return err
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// dropSome looks at some of the held entries of a partition, and returns where to go on.
func (b *Bucket) dropSome(ctx context.Context, p *partition, l *snapshotList, from string) (next string, done bool, err error) {
	res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapList(from, prefixEnd(string(kindHeld)), eraseBatch))
	if err != nil {
		return from, false, guardErr(err)
	}
	op, box, races, sum := p.guard(), new(bucketpb.Outbox), 0, tally{}
	next = from
	for _, kv := range res.Items[1].KVs {
		died, err := diedOf(kv.Key)
		if err != nil {
			return from, false, err
		}
		e := new(bucketpb.Entry)
		if err := decode(kv.Value, e); err != nil {
			return from, false, err
		}
		if l.has(e.Born+1, died) || keyOf(kv.Key[1:]) < p.start() { // the latter is on its way here in a split
			next = kv.Key + "\x00"
			continue
		}
		if e.Shared && races > 0 {
			break // of several that share a body the last must know that it is: one by one
		}
		body := string(kindHeldBody) + kv.Key[1:]
		s := &stored{at: kv.Key, raw: kv.Value, entry: e}
		if e.Layout == bucketpb.Layout_PARTS && !e.Marker {
			res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapGet(body))
			if err != nil {
				return from, false, guardErr(err)
			}
			s.body = res.Items[1].Data
		}
		var refs []*bucketpb.DataRef
		var other *stored
		if e.Shared {
			if other, err = b.sharer(ctx, p, keyOf(kv.Key[1:]), e.Id, kv.Key); err != nil {
				return from, false, err
			}
		}
		if other == nil {
			if refs, err = dataRefs(e, s.body); err != nil {
				return from, false, err
			}
		} else {
			op.CmpOmap(other.at, other.raw)
		}
		op.CmpOmap(kv.Key, kv.Value)
		op.OmapRm(kv.Key).OmapRm(body)
		races++
		box.Data = append(box.Data, refs...)
		if p.counts(keyOf(kv.Key[1:])) {
			sum.held(e, -1)
		}
		next = kv.Key + "\x00"
		if e.Shared || len(box.Data) > eraseRefs {
			break
		}
	}
	if races > 0 {
		if len(box.Data) > 0 {
			op.OmapSet(outboxKey(b.svc.o.Now().Add(b.svc.o.Grace), newID()), encode(box))
		}
		sum.into(op, p)
		if _, err := b.svc.meta.Do(ctx, p.object, op); err != nil {
			if i, conflict, _ := failed(err); conflict && i > 0 {
				return from, false, errRaced
			}
			return from, false, guardErr(err)
		}
		if len(box.Data) > 0 {
			b.svc.soon(p.object)
		}
		return next, false, nil
	}
	return next, !res.Items[1].More, nil
}

// sweepSnapshots finishes what was begun with snapshots.
func (b *Bucket) sweepSnapshots(ctx context.Context, x id) error {
	l, err := b.snapshotList(ctx, x)
	if err != nil || l.raw == nil {
		return err
	}
	for i := range l.all {
		if s := &l.all[i]; s.State == bucketpb.SnapshotState_TAKING {
			if err := b.giveUp(ctx, x, s); err != nil && !errors.Is(err, errRaced) {
				return err
			}
		}
	}
	if err := b.walk(ctx, x, func(p *partition) error {
		switch {
		case p.Freezing > 0:
			return ignoreRetryable(b.thaw(ctx, p))
		case p.Snapshot > 0 && !l.has(p.Snapshot, p.Snapshot): // a partition that was made, but not linked, when that was removed
			return ignoreRetryable(b.dropHeld(ctx, x, p.n, l))
		}
		return nil
	}); err != nil {
		return err
	}
	return b.dropSnapshots(ctx)
}

// hasSnapshots refuses to delete a bucket that has some.
func (b *Bucket) hasSnapshots(ctx context.Context, x id) error {
	l, err := b.snapshotList(ctx, x)
	if err != nil {
		return err
	}
	if len(l.all) > 0 {
		return ErrHasSnapshots
	}
	return nil
}
