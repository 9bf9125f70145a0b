package bucket

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// change is a put or a deletion under a key, tried until it neither loses a race
// nor violates its conditions. What becomes of the version that was current is
// for the bucket's versioning to say.
type change struct {
	key   string
	known bool // tip is what we believe is there; else it is read first
	tip   *stored
	cond  Cond
	// need adds further conditions to the operation; when one of them does not hold the change fails with lost.
	need func(op *client.Op)
	lost error
	// entry makes what is put, knowing the object that is there (nil: none); its error ends the change.
	// Without it the key is deleted, or gets a delete marker.
	entry func(old *stored) (*bucketpb.Entry, error)
	body  []byte // value of the body key; nil: none
	// writes, if set, adds further writes.
	writes func(op *client.Op)
	sum    tally // of these
	// same says that the entry put has the body of the old one.
	same bool // only in a bucket that keeps no versions

	placed    *bucketpb.Entry    // out: what is current now, an object or a marker; nil: nothing
	committed func(p *partition) // if set, is told where it took effect
}

// live returns what is an object, not a delete marker.
func live(s *stored) *stored {
	if s == nil || s.entry.Marker {
		return nil
	}
	return s
}

// step is one operation on a partition that changes what lies under a key, as it is put together.
type step struct {
	b     *Bucket
	p     *partition
	key   string
	now   time.Time
	op    *client.Op
	races []int // the conditions that others may break by being faster
	box   bucketpb.Outbox
	kept  int64 // bytes that the index grows by
	sum   tally // what the partition's counts change by

	window time.Duration // what is discarded is kept for so long, and can be brought back
	keeps  []*stored     // this, then

	recorder Recorder // that has events in the operation
}

func (b *Bucket) step(p *partition, key string) (*step, error) {
	window, err := b.window()
	return &step{b: b, p: p, key: key, now: b.svc.o.Now(), op: p.guard(), window: window}, err
}

// expect demands that s is at its place, or if it is nil that nothing lies under the key.
func (x *step) expect(s *stored) {
	x.races = append(x.races, x.op.Len())
	if s == nil {
		x.races = append(x.races, x.op.Len()+1)
		x.op.CmpOmapAbsent(omapKey(kindEntry, x.key)).CmpOmapAbsent(omapKey(kindMarker, x.key))
		return
	}
	x.op.CmpOmap(s.at, s.raw)
}

// put stores an entry at its place as the current one.
func (x *step) put(e *bucketpb.Entry, body []byte) {
	raw := encode(e)
	x.kept += int64(len(x.key) + len(raw) + len(body))
	x.sum.entry(e, true, 1)
	if e.Marker {
		x.op.OmapSet(omapKey(kindMarker, x.key), raw)
		return
	}
	x.op.OmapSet(omapKey(kindEntry, x.key), raw)
	if body != nil {
		x.op.OmapSet(omapKey(kindBody, x.key), body)
	}
}

// clear removes the current entry; with replaced its place is taken by put, in the same step.
func (x *step) clear(tip *stored, by *bucketpb.Entry, body []byte) {
	if tip == nil {
		return
	}
	x.sum.entry(tip.entry, true, -1)
	if by == nil || by.Marker != tip.entry.Marker {
		x.op.OmapRm(tip.at)
	}
	if !tip.entry.Marker && (by == nil || by.Marker || body == nil) {
		x.op.OmapRm(omapKey(kindBody, x.key))
	}
}

// retire makes the current entry a noncurrent version.
func (x *step) retire(tip *stored) {
	e := cloneEntry(tip.entry)
	e.Noncurrent, e.NullBelow, e.NullSeq = x.now.UnixNano(), false, 0
	raw := encode(e)
	x.sum.entry(e, false, 1)
	x.op.OmapSet(versionKey(kindVersion, x.key, e.Seq), raw)
	x.kept += int64(len(x.key) + 17 + len(raw))
	if hasBody(e) {
		x.op.OmapSet(versionKey(kindVersionBody, x.key, e.Seq), tip.body)
		x.kept += int64(len(tip.body))
	}
}

// discard says that what an entry, read whole if snapshots or the bucket keep it, holds becomes useless. The step removes its record.
func (x *step) discard(ctx context.Context, s *stored, bypass bool) error {
	if err := locked(s.entry, x.now, bypass); err != nil {
		return err
	}
	held, kept := s.entry.Born < x.p.Snapshot, x.window > 0 && !s.entry.Marker
	if (held || kept) && hasBody(s.entry) && s.body == nil {
		return errRaced // it was read before anybody kept it
	}
	if held && kept && !s.entry.Marker {
		s = s.sharing()
	}
	if held {
		x.hold(s)
	}
	if kept {
		x.keeps = append(x.keeps, s)
	}
	if held || kept || s.entry.Marker {
		return nil
	}
	return x.release(ctx, s)
}

// do carries the step out. lost is the error when a condition fails that is nobody's race.
func (x *step) do(ctx context.Context, v *view, p *partition, lost error) error {
	if len(x.box.Data) > 0 {
		x.op.OmapSet(outboxKey(x.now.Add(x.b.svc.o.Grace), newID()), encode(&x.box))
	}
	for _, s := range x.keeps {
		x.kept += x.b.keep(x.op, x.key, s, x.now, x.window, &x.sum)
	}
	bounded := -1
	if p.counts(x.key) {
		bounded = x.op.Len()
		x.sum.into(x.op, p)
	}
	want, owner := room{x.sum[cObjects], x.sum[cBytes]}, x.b.rec.Load().Owner
	grows := want.objects > 0 || want.bytes > 0
	if grows {
		if err := x.b.svc.mayUse(ctx, owner, want); err != nil {
			return err
		}
	}
	err := x.b.svc.gather(ctx, p.object, x.op)
	switch {
	case err != nil && grows:
		x.b.svc.uses(owner, room{-want.objects, -want.bytes})
	case err == nil && !grows && want != (room{}):
		x.b.svc.uses(owner, want)
	}
	if err == nil {
		if len(x.keeps) > 0 {
			x.b.expireSoon(p.n, x.window)
			x.b.trimNow(x.key)
		}
		if len(x.box.Data) > 0 {
			x.b.svc.soon(p.object)
		}
		if x.recorder != nil {
			x.recorder.Recorded(p.object)
		}
		x.b.grown(v, p, x.kept)
		return nil
	}
	i, conflict, _ := failed(err)
	switch {
	case conflict && i == bounded:
		return x.b.makeRoom(ctx, v, p, want)
	case conflict && slices.Contains(x.races, i):
		return errRaced
	case conflict && i > 0 && lost != nil:
		return lost
	}
	return guardErr(err)
}

// hasBody reports whether an entry has a value under the body key.
func hasBody(e *bucketpb.Entry) bool {
	return !e.Marker && (e.Layout == bucketpb.Layout_INLINE || e.Layout == bucketpb.Layout_PARTS)
}

func (b *Bucket) commit(ctx context.Context, c *change) error {
	return b.onKey(ctx, c.key, true, func(v *view, p *partition) error {
		mode := b.rec.Load().Versioning
		x, err := b.step(p, c.key)
		if err != nil {
			return err
		}
		guess := c.known && c.tip == nil
		if guess && !v.mostlyNew() {
			c.known, guess = false, false
		}
		if !c.known {
			// What is moved or discarded is needed whole; most of it has no body to bring along.
			tip, err := b.tip(ctx, p, c.key, mode != VersioningOff || x.window > 0 || p.Snapshot > 0)
			if err == nil && tip != nil && tip.body == nil && tip.entry.Layout == bucketpb.Layout_PARTS {
				tip, err = b.tip(ctx, p, c.key, true)
			}
			if err != nil {
				return err
			}
			c.tip, c.known = tip, true
			v.guessed(tip == nil)
		}
		old := live(c.tip)
		is := old
		if c.entry == nil {
			is = c.tip // a delete marker can be deleted, too
		}
		if err := c.cond.check(is); err != nil {
			return err
		}
		if mode == VersioningOff && c.tip != nil && (c.tip.entry.Seq > 0 || c.tip.entry.Marker) {
			return b.renew(ctx) // versioning was turned on by somebody else
		}
		x.expect(c.tip)
		e, err := c.make(old, mode, x.now)
		if e != nil {
			e.Born = p.Snapshot
		}
		if err != nil {
			return err
		}
		null, err := x.replaced(ctx, p, c, mode)
		if err != nil {
			return err
		}
		if c.need != nil {
			c.need(x.op)
		}
		if err := x.succeed(ctx, c, e, null, mode); err != nil {
			c.known = false
			return err
		}
		if c.writes != nil {
			c.writes(x.op)
		}
		if err := x.announce(ctx, c.happens(e), e); err != nil {
			return err
		}
		x.sum.add(&c.sum, 1)
		if err := x.do(ctx, v, p, c.lost); err != nil {
			c.known = false
			return err
		}
		if guess {
			v.guessed(true)
		}
		c.placed = e
		if c.committed != nil {
			c.committed(p)
		}
		return nil
	})
}

// happens says what the change is to those who are told of it.
func (c *change) happens(e *bucketpb.Entry) string {
	switch {
	case e == nil:
		return Removed
	case e.Marker:
		return Marked
	}
	return Created
}

// make returns what becomes current: nil when the key is to be empty.
func (c *change) make(old *stored, mode Versioning, now time.Time) (e *bucketpb.Entry, err error) {
	switch {
	case c.entry != nil:
		if e, err = c.entry(old); err != nil {
			return nil, err
		}
	case mode == VersioningOff:
		if c.tip == nil {
			return nil, errNothing
		}
		return nil, nil
	default:
		x := newID()
		e = &bucketpb.Entry{Id: x[:], Marker: true, Mtime: now.UnixNano(), Revision: newRevision()}
	}
	e.Seq, e.Version, e.NullBelow, e.NullSeq = 0, nil, false, 0
	if mode == VersioningOff {
		return e, nil
	}
	e.Seq = uint64(now.UnixNano())
	if c.tip != nil {
		e.Seq = max(e.Seq, c.tip.entry.Seq+1)
	}
	if mode == VersioningEnabled {
		e.Version = binary.BigEndian.AppendUint64(nil, rand.Uint64())
		if c.tip != nil {
			e.NullBelow, e.NullSeq = c.tip.entry.NullBelow, c.tip.entry.NullSeq
			if isNull(c.tip.entry) {
				e.NullBelow, e.NullSeq = true, c.tip.entry.Seq
			}
		}
	}
	return e, nil
}

// replaced returns the noncurrent null version if another one takes its place; a key has one.
func (x *step) replaced(ctx context.Context, p *partition, c *change, mode Versioning) (*stored, error) {
	if c.tip == nil || mode != VersioningSuspended || isNull(c.tip.entry) || !c.tip.entry.NullBelow {
		return nil, nil
	}
	null, err := x.b.version(ctx, p, x.key, c.tip.entry.NullSeq)
	if err == nil && null == nil {
		err = errRaced
	}
	if err != nil {
		return nil, err
	}
	x.expect(null)
	return null, nil
}

// succeed puts e, or nothing, in the place of what is current, and drops the null version that is replaced.
func (x *step) succeed(ctx context.Context, c *change, e *bucketpb.Entry, null *stored, mode Versioning) error {
	tip := c.tip
	switch {
	case tip == nil:
	case mode == VersioningOff || mode == VersioningSuspended && isNull(tip.entry):
		if c.same {
			if err := x.preserve(tip, e); err != nil {
				return err
			}
			break
		}
		if err := x.discard(ctx, tip, false); err != nil {
			return err
		}
	case c.same:
		return fmt.Errorf("%w: the bucket keeps versions now", ErrBusy)
	default:
		x.retire(tip)
	}
	if null != nil {
		x.drop(null)
		if err := x.discard(ctx, null, false); err != nil {
			return err
		}
	}
	if c.same {
		x.sum.entry(tip.entry, true, -1)
	} else {
		x.clear(tip, e, c.body)
	}
	if e != nil {
		x.put(e, c.body)
	}
	return nil
}

// drop removes a noncurrent version, which the step must expect: its attributes may have been changed
// since it was read, to a lock.
func (x *step) drop(s *stored) {
	x.sum.entry(s.entry, false, -1)
	x.op.OmapRm(s.at)
	if hasBody(s.entry) {
		x.op.OmapRm(versionKey(kindVersionBody, x.key, s.entry.Seq))
	}
}

// renew reads the bucket's record again, for a change that must follow it.
func (b *Bucket) renew(ctx context.Context) error {
	old := b.rec.Load()
	b.svc.uncache(b.name)
	r, err := b.svc.lookup(ctx, b.name)
	if err != nil {
		return err
	}
	if string(r.Id) != string(old.Id) {
		return errGone
	}
	if r.Versioning == VersioningOff {
		return fmt.Errorf("%w: a version in a bucket that never kept any", ErrCorrupt)
	}
	b.rec.Store(r)
	return errRaced
}
