package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// SweepStats counts what a Sweep did.
type SweepStats struct {
	Buckets   int // looked at
	Outbox    int // outbox records dealt with
	Erased    int // deleted objects whose undelete window was over
	Abandoned int // puts that nobody finishes any more
	Pending   int // outbox records that are not due yet
	Removed   int // buckets whose remains were removed
}

// Sweep goes through all buckets and finishes what crashes left behind: due
// outbox records, abandoned puts, deletions and splits half done. It may run
// anywhere, at any time, more than once. It goes on after an error and returns
// the first ones.
func (s *Service) Sweep(ctx context.Context) (SweepStats, error) {
	var st SweepStats
	var errs []error
	note := func(what string, err error) {
		if err != nil && len(errs) < 10 {
			errs = append(errs, fmt.Errorf("sweep %s: %w", what, err))
		}
	}
	var names, dead []string
	note("registry", s.records(ctx, kindBucket, func(_ string, r *record) error {
		switch {
		case r.State != bucketpb.BucketState_CREATING:
			names = append(names, r.Name)
		case s.o.Now().Sub(time.Unix(0, r.Since)) > s.o.IntentTTL:
			if err := s.bury(ctx, r); err != nil && !errors.Is(err, ErrBusy) { // whoever began it is gone
				return err
			}
		}
		return nil
	}))
	note("registry", s.records(ctx, kindDead, func(key string, _ *record) error {
		dead = append(dead, key)
		return nil
	}))
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		st.Buckets++
		b, err := s.Fresh(ctx, name)
		if errors.Is(err, ErrNoSuchBucket) {
			continue
		}
		if err == nil {
			err = b.sweep(ctx, &st)
		}
		if !errors.Is(err, ErrNoSuchBucket) && !errors.Is(err, errGone) {
			note("bucket "+name, err)
		}
	}
	for _, key := range dead {
		if ctx.Err() != nil {
			break
		}
		gone, err := s.removeDead(ctx, key)
		note("remains of a deleted bucket", err)
		if gone {
			st.Removed++
		}
	}
	note("buckets", ctx.Err())
	return st, errors.Join(errs...)
}

// sweep deals with one bucket.
func (b *Bucket) sweep(ctx context.Context, st *SweepStats) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	if err := b.walk(ctx, x, func(p *partition) error {
		if p.Split != nil {
			if err := b.runSplit(ctx, p.n); err != nil && !retryable(err) {
				return err
			}
		}
		if !p.whole() { // made before there were counts
			if err := b.count(ctx, p.n); err != nil && !retryable(err) && !errors.Is(err, ErrBusy) {
				return err
			}
		}
		if len(p.Closing) > 0 {
			if err := b.heal(ctx, p); err != nil && !retryable(err) {
				return err
			}
		}
		erased, err := b.expire(ctx, p.n)
		st.Erased += erased
		if err != nil {
			return err
		}
		n, err := b.svc.sweepOutbox(ctx, p.object)
		st.Outbox += n.done
		st.Pending += n.pending
		return err
	}); err != nil {
		return err
	}
	if err := b.sweepSnapshots(ctx, x); err != nil && !retryable(err) && !errors.Is(err, ErrBusy) {
		return err
	}
	if err := b.shared(ctx); err != nil && !retryable(err) && !errors.Is(err, ErrBusy) {
		return err
	}
	if err := b.sweepSessions(ctx); err != nil {
		return err
	}
	now := b.svc.o.Now()
	return b.scan(ctx, kindIntent, "", keyEnd, MaxListEntries, func(rec string, value []byte) (string, bool, error) {
		key, x, err := splitKey(string(kindIntent) + rec)
		if err != nil {
			return "", false, err
		}
		in := new(bucketpb.Intent)
		if err := decode(value, in); err != nil {
			return "", false, err
		}
		stale := func(in *bucketpb.Intent) bool { return now.Sub(time.Unix(0, in.Renewed)) > b.svc.o.IntentTTL }
		if !stale(in) {
			return "", false, nil
		}
		dropped, err := b.dropIntent(ctx, key, x, stale)
		if dropped {
			st.Abandoned++
		}
		return "", false, err
	})
}

type outboxStats struct{ done, pending int }

// outboxBatch bounds the records that are read, and carried out together.
const outboxBatch = 64

// sweepOutbox carries out what is due in a partition's outbox.
func (s *Service) sweepOutbox(ctx context.Context, object string) (n outboxStats, err error) {
	from := string(kindOutbox)
	for {
		now := s.o.Now()
		res, err := s.meta.Do(ctx, object, new(client.Op).OmapList(from, prefixEnd(string(kindOutbox)), outboxBatch))
		if errors.Is(err, client.ErrNotFound) {
			return n, nil // the bucket was deleted
		}
		if err != nil {
			return n, err
		}
		due := res.Items[0].KVs
		more := res.Items[0].More
		for i, kv := range due {
			at, err := outboxDue(kv.Key)
			if err != nil {
				return n, err
			}
			if at.After(now) {
				due, more = due[:i], false
				n.pending++
				break
			}
			from = kv.Key + "\x00"
		}
		done, err := s.carryOut(ctx, object, due)
		n.done += done
		n.pending += len(due) - done
		if err != nil {
			return n, fmt.Errorf("outbox of %s: %w", object, err)
		}
		if !more {
			if n.pending > 0 {
				s.soon(object)
			}
			return n, nil
		}
	}
}

// carryOut does what outbox records ask for, then removes them, and returns how
// many are done. Doing it twice is harmless: ids are never used again.
func (s *Service) carryOut(ctx context.Context, object string, kvs []client.KV) (done int, err error) {
	var refs []*bucketpb.DataRef
	op := new(client.Op).AssertExists()
	for _, kv := range kvs {
		box := new(bucketpb.Outbox)
		if err := decode(kv.Value, box); err != nil {
			return 0, err
		}
		if len(box.Upload) > 0 {
			if gone, err := s.removeUpload(ctx, box); err != nil {
				return 0, err
			} else if !gone {
				continue
			}
		}
		refs = append(refs, box.Data...)
		op.OmapRm(kv.Key)
		done++
	}
	if done == 0 {
		return 0, nil
	}
	if err := s.removeData(ctx, refs); err != nil {
		return 0, err
	}
	_, err = s.meta.Do(ctx, object, op)
	if errors.Is(err, client.ErrNotFound) {
		err = nil // the bucket was deleted, and its remains with it
	}
	if err != nil {
		return 0, err
	}
	return done, nil
}

// removeUpload closes an upload; when it has been closed for the grace period,
// which is longer than a part in progress goes without looking, it removes the
// parts that no object keeps, and the upload.
func (s *Service) removeUpload(ctx context.Context, box *bucketpb.Outbox) (done bool, err error) {
	u, err := idOf(box.Upload)
	if err != nil {
		return false, err
	}
	object := uploadObject(u)
	res, err := s.meta.Do(ctx, object, new(client.Op).GetAttr(stateAttr))
	if errors.Is(err, client.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	now := s.o.Now()
	if state := string(res.Items[0].Data); state == stateOpen {
		_, err := s.meta.Do(ctx, object, new(client.Op).CmpAttr(stateAttr, []byte(stateOpen)).
			SetAttr(stateAttr, []byte(strconv.FormatInt(now.UnixNano(), 10))))
		if errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrNotFound) {
			return false, nil // another sweep did
		}
		if err != nil || s.o.Grace > 0 {
			return false, err
		}
	} else if closed, err := strconv.ParseInt(state, 10, 64); err != nil {
		return false, fmt.Errorf("%w: state %q of %s", ErrCorrupt, state, object)
	} else if now.Sub(time.Unix(0, closed)) < s.o.Grace {
		return false, nil
	}
	keep := make(map[string]bool, len(box.Keep))
	for _, k := range box.Keep {
		keep[string(k)] = true
	}
	from := string(kindAttempt)
	for {
		res, err := s.meta.Do(ctx, object, new(client.Op).OmapList(from, prefixEnd(string(kindAttempt)), MaxListEntries))
		if errors.Is(err, client.ErrNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		var refs []*bucketpb.DataRef
		for _, kv := range res.Items[0].KVs {
			x, ok := parseID(kv.Key[1:])
			a := new(bucketpb.Attempt)
			if err := decode(kv.Value, a); err != nil || !ok {
				return false, fmt.Errorf("%w: attempt %q of %s: %v", ErrCorrupt, kv.Key, object, err)
			}
			if !keep[string(x[:])] {
				refs = append(refs, &bucketpb.DataRef{Id: x[:], Count: a.Count})
			}
			from = kv.Key + "\x00"
		}
		if err := s.removeData(ctx, refs); err != nil {
			return false, err
		}
		if !res.Items[0].More {
			break
		}
	}
	_, err = s.meta.Do(ctx, object, new(client.Op).Remove(true))
	return err == nil, err
}

// cleanDead removes what a deleted bucket left, or asks for it to be tried again.
func (s *Service) cleanDead(ctx context.Context, key string) error {
	gone, err := s.removeDead(ctx, key)
	if err == nil && !gone {
		s.jobs.add("clean bucket "+key, s.o.Grace+10*time.Millisecond, func(ctx context.Context) error { return s.cleanDead(ctx, key) })
	}
	return err
}

// removeDead ends the uploads and puts of a deleted bucket, empties its outboxes
// and, when nothing is left, removes its index. It reports whether all is gone.
func (s *Service) removeDead(ctx context.Context, key string) (gone bool, err error) {
	res, err := s.meta.Do(ctx, registryObject, new(client.Op).OmapGet(key))
	if err != nil || !res.Items[0].Found {
		return false, err
	}
	r, err := parseRecord(res.Items[0].Data)
	if err != nil {
		return false, err
	}
	b := &Bucket{svc: s, name: r.Name}
	b.rec.Store(r)
	x := id(r.Id)
	var partitions []string
	busy := false
	err = b.walk(ctx, x, func(p *partition) error {
		partitions = append(partitions, p.object)
		if p.Split != nil && !p.Split.Linked {
			partitions = append(partitions, partObject(x, p.Split.To)) // made, but not linked yet
		}
		if err := s.drain(ctx, p.object); err != nil {
			return err
		}
		n, err := s.sweepOutbox(ctx, p.object)
		busy = busy || n.pending > 0
		if err != nil {
			return err
		}
		tells, err := s.waiting(ctx, p.object) // until they are delivered, or too old
		busy = busy || tells
		return err
	})
	if errors.Is(err, errGone) {
		// An earlier try, or another process, has begun to remove the index from its far end; that
		// begins only when all of it is empty. Or it was never made.
		err = nil
	}
	if err != nil || busy {
		return false, err
	}
	// From the far end, so that a crash leaves a chain that can be walked again.
	for i := len(partitions) - 1; i >= 0; i-- {
		if _, err := s.meta.Do(ctx, partitions[i], new(client.Op).Remove(true)); err != nil {
			return false, err
		}
	}
	if _, err := s.meta.Do(ctx, rootObject(x), new(client.Op).Remove(true)); err != nil {
		return false, err
	}
	if len(r.CloneOf) > 0 { // nothing is borrowed any more
		if err := s.pin(ctx, r.Bucket, false); err != nil {
			return false, err
		}
	}
	_, err = s.meta.Do(ctx, registryObject, new(client.Op).CmpOmap(key, r.raw).OmapRm(key))
	if errors.Is(err, client.ErrConflict) {
		err = nil
	}
	return err == nil, err
}

// drain turns the uploads and intents of a deleted bucket's partition into outbox records.
func (s *Service) drain(ctx context.Context, object string) error {
	for _, kind := range []byte{kindUpload, kindIntent} {
		from := string(kind)
		for {
			res, err := s.meta.Do(ctx, object, new(client.Op).OmapList(from, prefixEnd(string(kind)), 256))
			if errors.Is(err, client.ErrNotFound) {
				return errGone
			}
			if err != nil {
				return err
			}
			kvs := res.Items[0].KVs
			if len(kvs) == 0 {
				break
			}
			op := new(client.Op)
			due := s.o.Now().Add(s.o.Grace)
			for _, kv := range kvs {
				op.CmpOmap(kv.Key, kv.Value)
			}
			for _, kv := range kvs {
				_, x, err := splitKey(kv.Key)
				if err != nil {
					return err
				}
				box := &bucketpb.Outbox{Upload: x[:]}
				if kind == kindIntent {
					in := new(bucketpb.Intent)
					if err := decode(kv.Value, in); err != nil {
						return err
					}
					if !bytes.Equal(in.Id, x[:]) {
						return fmt.Errorf("%w: intent %q", ErrCorrupt, kv.Key)
					}
					box = &bucketpb.Outbox{Data: []*bucketpb.DataRef{{Id: in.Id, Count: in.Count}}}
				}
				op.OmapRm(kv.Key).OmapSet(outboxKey(due, newID()), encode(box))
				from = kv.Key + "\x00"
			}
			_, err = s.meta.Do(ctx, object, op)
			if errors.Is(err, client.ErrConflict) {
				from = string(kind) // another process drains it too
				continue
			}
			if err != nil {
				return err
			}
			if !res.Items[0].More {
				break
			}
		}
	}
	return nil
}

// now is soon for work that is due at once.
func (s *Service) now(object string) {
	s.jobs.add("outbox of "+object, 0, func(ctx context.Context) error {
		_, err := s.sweepOutbox(ctx, object)
		return err
	})
}
