package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// In a bucket with an undelete window what is deleted or replaced is kept until the window ends. The operation that ends
// an object moves its entry from kindEntry to kindKept and the value of its body key to kindKeptBody, instead of asking
// for its data to be removed: nothing else refers to that data, and nobody touches it. A third record, kindExpiry, is in the
// order of time, for whoever erases what has expired. All three lie in the partition of the key, so that keeping, bringing
// back and erasing are one operation each, which compares the kept entry: of an undelete and an erasure one wins.

// undeleteSetting is the setting of a bucket that says how long what is deleted is kept.
const undeleteSetting = "undelete"

// Limits of the undelete window.
const (
	MinUndelete = time.Second
	MaxUndelete = 10 * 365 * 24 * time.Hour
)

// soonExpiry is how far ahead an expiry is waited for; what expires later is found by the next Sweep.
const soonExpiry = time.Hour

// parseWindow reads an undelete window: 0, or a number with unit, such as 7d, 2w or 90m.
func parseWindow(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, fmt.Errorf("%w: %q is no undelete window: want 0, or 1s to %dd, such as 7d, 12h or 90m", client.ErrInvalid, s, MaxUndelete/(24*time.Hour))
	}
	if s == "0" {
		return 0, nil
	}
	unit := time.Duration(0)
	number := s
	if i := len(s) - 1; i > 0 {
		unit = map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[i]]
		number = s[:i]
	}
	d, err := time.ParseDuration(s)
	if unit > 0 {
		var n uint64
		n, err = strconv.ParseUint(number, 10, 16)
		d = time.Duration(n) * unit
	}
	if err != nil || d != 0 && d < MinUndelete || d > MaxUndelete {
		return bad()
	}
	return d, nil
}

// window is how long what is deleted from the bucket is kept, as far as this handle knows.
func (b *Bucket) window() (time.Duration, error) {
	for _, p := range b.rec.Load().Settings {
		if p.Name == undeleteSetting {
			return parseWindow(p.Value)
		}
	}
	return 0, nil
}

// keepsDeleted reports whether the bucket's index may hold records of kept objects: it does from when its window is set.
func keepsDeleted(r *bucketpb.Bucket) bool {
	for _, p := range r.Settings {
		if p.Name == undeleteSetting {
			return true
		}
	}
	return false
}

// keptName tells the kept objects of one key apart: the newest is the first. It is the id that users have for one.
func keptName(deleted int64, x []byte) string { return fmt.Sprintf("%016x%x", ^uint64(deleted), x[:8]) }

const keptNameLen = 32

func validKeptName(s string) bool {
	return len(s) == keptNameLen && strings.Trim(s, "0123456789abcdef") == ""
}

func keptKey(kind byte, key, name string) string { return string(kind) + key + "\x00" + name }

// splitKept takes the key and the name out of what follows the kind byte in the omap key of a kept object.
func splitKept(record string) (key, name string, err error) {
	key, name, ok := strings.Cut(record, "\x00")
	if !ok || key == "" || !validKeptName(name) {
		return "", "", fmt.Errorf("%w: the record %q of a deleted object", ErrCorrupt, record)
	}
	return key, name, nil
}

func expiryBound(at int64) string { return fmt.Sprintf("%c%016x", kindExpiry, max(at, 0)) }

func expiryKey(k *bucketpb.Kept, key, name string) string {
	return expiryBound(k.Expires) + key + "\x00" + name
}

func splitExpiry(omap string) (at int64, key, name string, err error) {
	if len(omap) < 17 {
		return 0, "", "", fmt.Errorf("%w: expiry %q", ErrCorrupt, omap)
	}
	if at, err = strconv.ParseInt(omap[1:17], 16, 64); err != nil {
		return 0, "", "", fmt.Errorf("%w: expiry %q", ErrCorrupt, omap)
	}
	key, name, err = splitKept(omap[17:])
	return at, key, name, err
}

// kept is a kept object as read from the index.
type kept struct {
	key, name string
	raw       []byte
	body      []byte // value of its body key, when asked for
	*bucketpb.Kept
}

func parseKept(key, name string, raw []byte) (*kept, error) {
	k := &kept{key: key, name: name, raw: raw, Kept: new(bucketpb.Kept)}
	if err := decode(raw, k.Kept); err != nil {
		return nil, err
	}
	if k.Entry == nil || len(k.Entry.Id) != len(id{}) {
		return nil, fmt.Errorf("%w: a deleted object without an id", ErrCorrupt)
	}
	return k, nil
}

// expiryOf returns the omap key of the expiry of a kept object.
func expiryOf(kv client.KV) (string, error) {
	key, name, err := splitKept(kv.Key[1:])
	if err != nil {
		return "", err
	}
	k, err := parseKept(key, name, kv.Value)
	if err != nil {
		return "", err
	}
	return expiryKey(k.Kept, key, name), nil
}

// remove has an operation, which compares the kept entry, remove it.
func (k *kept) remove(op *client.Op) {
	op.OmapRm(keptKey(kindKept, k.key, k.name)).OmapRm(keptKey(kindKeptBody, k.key, k.name)).OmapRm(expiryKey(k.Kept, k.key, k.name))
}

// keep has the operation that ends s, read with the value of its body key, keep it. It returns what the index grows by.
func (b *Bucket) keep(op *client.Op, key string, s *stored, now time.Time, window time.Duration, sum *tally) (bytes int64) {
	k := &bucketpb.Kept{Entry: s.entry, Deleted: now.UnixNano(), Expires: now.Add(window).UnixNano()}
	name, raw := keptName(k.Deleted, s.entry.Id), encode(k)
	sum.kept(k, 1)
	op.OmapSet(keptKey(kindKept, key, name), raw).OmapSet(expiryKey(k, key, name), []byte{Format})
	bytes = int64(2*len(key) + len(raw))
	if hasBody(s.entry) {
		op.OmapSet(keptKey(kindKeptBody, key, name), s.body)
		bytes += int64(len(key) + len(s.body))
	}
	return bytes
}

// expireSoon has what is kept in a partition looked at when the window is over, if that is soon.
func (b *Bucket) expireSoon(n uint64, after time.Duration) {
	if after > soonExpiry {
		return // Sweep
	}
	x, err := b.id()
	if err != nil {
		return
	}
	b.svc.jobs.add("expiries of "+partObject(x, n), max(after, 0)+10*time.Millisecond, func(ctx context.Context) error {
		_, err := b.expire(ctx, n)
		if errors.Is(err, errGone) || err != nil && retryable(err) {
			return nil // deleted, or splitting: Sweep
		}
		return err
	})
}

// Kept describes an object that was deleted or replaced and can be brought back.
type Kept struct {
	Key      string
	ID       string // tells those of one key apart
	Size     int64
	ETag     string
	Modified time.Time // when it was put
	Deleted  time.Time
	Expires  time.Time // it is erased from then on
}

func keptFrom(k *kept) *Kept {
	return &Kept{
		Key: k.key, ID: k.name, Size: int64(k.Entry.Size), ETag: etagOf(k.Entry), Modified: time.Unix(0, k.Entry.Mtime),
		Deleted: time.Unix(0, k.Deleted), Expires: time.Unix(0, k.Expires),
	}
}

// DeletedInput selects what Deleted returns.
type DeletedInput struct {
	Prefix  string
	After   string // only keys above this,
	AfterID string //   and of this key, if set, what follows this id
	Max     int    // more than MaxListEntries means that many
}

// DeletedPage is a page of what a bucket keeps.
type DeletedPage struct {
	Objects   []*Kept
	Truncated bool // there is more: go on after the last one
}

// Deleted lists what was deleted or replaced and can be brought back, by key and for each key the newest first.
func (b *Bucket) Deleted(ctx context.Context, in DeletedInput) (*DeletedPage, error) {
	in.Max = min(max(in.Max, 0), MaxListEntries)
	out := &DeletedPage{}
	if in.Max == 0 {
		return out, nil
	}
	roll := roller{prefix: in.Prefix, after: in.After}
	from, end := roll.bounds(in.AfterID)
	if in.After != "" && in.AfterID == "" {
		from = max(from, in.After+"\x01") // behind all of that key, whose names stand behind a NUL
	}
	now := b.svc.o.Now().UnixNano()
	err := b.scan(ctx, kindKept, from, end, in.Max+1, func(record string, value []byte) (string, bool, error) {
		key, name, err := splitKept(record)
		if err != nil {
			return "", false, err
		}
		k, err := parseKept(key, name, value)
		if err != nil {
			return "", false, keyErr("list deleted", b, key, err)
		}
		if k.Expires <= now {
			return "", false, nil // as good as erased
		}
		if len(out.Objects) == in.Max {
			out.Truncated = true
			return "", true, nil
		}
		out.Objects = append(out.Objects, keptFrom(k))
		return "", false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what is deleted from bucket %q: %w", b.name, err)
	}
	return out, nil
}

// Undelete brings an object back that was deleted or replaced: the one with that id, or with "" the one under the key that
// was deleted last. If there is an object under the key it fails with ErrPrecondition, unless forced: then that one
// is deleted, and kept in turn; or unless the bucket keeps versions: then it is one. What is brought back has everything as it was but the time of its last change, which is
// now, so that no cache takes an older copy for it.
func (b *Bucket) Undelete(ctx context.Context, key, name string, force bool) (*Object, error) {
	o, err := b.undelete(ctx, key, name, force)
	return o, keyErr("undelete", b, key, err)
}

func (b *Bucket) undelete(ctx context.Context, key, name string, force bool) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if name != "" && !validKeptName(name) {
		return nil, ErrNotKept
	}
	for {
		k, err := b.findKept(ctx, key, name)
		if err != nil {
			return nil, err
		}
		e := k.Entry
		e.Mtime, e.Noncurrent, e.Revision = b.svc.o.Now().UnixNano(), 0, newRevision()
		c := &change{
			key: key, body: k.body, lost: ErrNotKept,
			// A bucket that keeps versions keeps what is there as one.
			cond:   Cond{Absent: !force && b.rec.Load().Versioning != VersioningEnabled},
			need:   func(op *client.Op) { op.CmpOmap(keptKey(kindKept, key, k.name), k.raw) },
			entry:  func(*stored) (*bucketpb.Entry, error) { return cloneEntry(e), nil },
			writes: k.remove,
		}
		c.sum.kept(k.Kept, -1)
		err = b.commit(ctx, c)
		switch {
		case err == nil:
			return b.object(key, c.placed, k.body), nil
		case errors.Is(err, ErrNotKept) && name == "":
			continue // somebody else brought it back: is there an older one?
		}
		return nil, err
	}
}

// findKept reads a kept object, whole; name "": the newest of the key.
func (b *Bucket) findKept(ctx context.Context, key, name string) (k *kept, err error) {
	err = b.onKey(ctx, key, false, func(_ *view, p *partition) error {
		k = nil
		from, end := keptKey(kindKept, key, name), keptKey(kindKept, key, "")+"\xff"
		if name != "" {
			end = from + "\x00"
		}
		now := b.svc.o.Now().UnixNano()
		for k == nil {
			res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapList(from, end, 64))
			if err != nil {
				return guardErr(err)
			}
			for _, kv := range res.Items[1].KVs {
				_, n, err := splitKept(kv.Key[1:])
				if err != nil {
					return err
				}
				found, err := parseKept(key, n, kv.Value)
				if err != nil {
					return err
				}
				if found.Expires > now {
					k = found
					break
				}
				from = kv.Key + "\x00"
			}
			if k == nil && !res.Items[1].More {
				return ErrNotKept
			}
		}
		return b.keptBody(ctx, p, k)
	})
	return k, err
}

// keptBody reads the value of the body key of a kept object, if it has one.
func (b *Bucket) keptBody(ctx context.Context, p *partition, k *kept) error {
	if !hasBody(k.Entry) {
		return nil
	}
	at := keptKey(kindKept, k.key, k.name)
	res, err := b.svc.meta.Do(ctx, p.object, p.guard().CmpOmap(at, k.raw).OmapGet(keptKey(kindKeptBody, k.key, k.name)))
	if i, conflict, _ := failed(err); conflict && i == 1 {
		return errRaced
	}
	if err != nil {
		return guardErr(err)
	}
	if k.body = res.Items[2].Data; k.body == nil {
		k.body = []byte{}
	}
	if k.Entry.Layout == bucketpb.Layout_INLINE && int64(len(k.body)) != storedOf(k.Entry) {
		return fmt.Errorf("%w: the inline body of a deleted object has %d bytes, its entry says %d", ErrCorrupt, len(k.body), storedOf(k.Entry))
	}
	return nil
}

// Limits of one erasure.
const (
	eraseBatch = 64
	eraseRefs  = 2000 // bodies of parts that one operation asks to be removed, about
)

// expiring is a kept object that is to be erased, if it is still there.
type expiring struct{ key, name, expiry string }

// expire erases what has expired in a partition and returns how many.
func (b *Bucket) expire(ctx context.Context, n uint64) (erased int, err error) {
	x, err := b.id()
	if err != nil {
		return 0, err
	}
	var wait backoff
	from := string(kindExpiry)
	for {
		p, err := b.readPartition(ctx, x, n)
		if err != nil {
			return erased, err
		}
		res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapList(from, prefixEnd(string(kindExpiry)), eraseBatch))
		if err = guardErr(err); err == nil {
			now := b.svc.o.Now().UnixNano()
			var due []expiring
			for _, kv := range res.Items[1].KVs {
				at, key, name, err := splitExpiry(kv.Key)
				if err != nil {
					return erased, err
				}
				if at > now {
					b.expireSoon(n, time.Duration(at-now))
					break
				}
				due = append(due, expiring{key, name, kv.Key})
			}
			if len(due) == 0 {
				return erased, nil
			}
			var did, n int
			if did, n, err = b.erase(ctx, p, due); err == nil {
				erased += did
				from = due[n-1].expiry + "\x00"
			}
		}
		switch {
		case err == nil:
			wait = backoff{}
			continue
		case !retryable(err):
			return erased, err
		}
		if err := wait.sleep(ctx); err != nil {
			return erased, err
		}
	}
}

// erase removes kept objects of a partition and has their data removed. It deals with the first n of them, at least
// one. What has gone meanwhile, or to another partition in a split, has only its expiry removed. What lies before the
// partition is on its way to it in a split, and left alone.
func (b *Bucket) erase(ctx context.Context, p *partition, due []expiring) (erased, n int, err error) {
	read := p.guard()
	for _, d := range due {
		read.OmapGet(keptKey(kindKept, d.key, d.name))
	}
	res, err := b.svc.meta.Do(ctx, p.object, read)
	if err != nil {
		return 0, 0, guardErr(err)
	}
	op, box, last := p.guard(), new(bucketpb.Outbox), int64(0)
	var found []*kept
	var gone []string
	for i, d := range due {
		item := res.Items[1+i]
		if n = i + 1; d.key < p.start() {
			continue
		}
		if !item.Found || d.key >= p.end() {
			gone = append(gone, d.expiry)
			continue
		}
		k, err := parseKept(d.key, d.name, item.Data)
		if err != nil {
			return 0, 0, err
		}
		if k.Entry.Layout == bucketpb.Layout_PARTS {
			if len(box.Data) > eraseRefs {
				n = i
				break
			}
			if err := b.keptBody(ctx, p, k); err != nil {
				return 0, 0, err
			}
		}
		refs, err := dataRefs(k.Entry, k.body)
		if err != nil {
			return 0, 0, err
		}
		at := keptKey(kindKept, d.key, d.name)
		if k.Entry.Shared {
			other, err := b.sharer(ctx, p, d.key, k.Entry.Id, at)
			if err != nil {
				return 0, 0, err
			}
			if other != nil { // it keeps the body
				op.CmpOmap(other.at, other.raw)
				refs = nil
			}
		}
		op.CmpOmap(at, k.raw)
		box.Data, last, found = append(box.Data, refs...), max(last, k.Deleted), append(found, k)
		gone = append(gone, d.expiry)
	}
	var sum tally
	for _, k := range found {
		k.remove(op)
		if p.counts(k.key) {
			sum.kept(k.Kept, -1)
		}
	}
	for _, expiry := range gone {
		op.OmapRm(expiry)
	}
	now := b.svc.o.Now()
	// Readers that began before the deletion have their time, however short the window was.
	when := time.Unix(0, last).Add(b.svc.o.Grace)
	if when.Before(now) {
		when = now
	}
	if len(box.Data) > 0 {
		op.OmapSet(outboxKey(when, newID()), encode(box))
	}
	sum.into(op, p)
	if _, err := b.svc.meta.Do(ctx, p.object, op); err != nil {
		if i, conflict, _ := failed(err); conflict && i > 0 {
			return 0, 0, errRaced // one was brought back
		}
		return 0, 0, guardErr(err)
	}
	if len(box.Data) > 0 {
		b.svc.jobs.add("outbox of "+p.object, when.Sub(now), func(ctx context.Context) error {
			_, err := b.svc.sweepOutbox(ctx, p.object)
			return err
		})
	}
	return len(found), n, nil
}

// Purge erases what the bucket keeps under keys with a prefix, at once, and returns how many objects that were. After limit
// of them, about, it stops and says that there is more. What is deleted meanwhile may stay.
func (b *Bucket) Purge(ctx context.Context, prefix string, limit int) (erased int, more bool, err error) {
	fail := func(err error) (int, bool, error) {
		return erased, false, fmt.Errorf("purge what is deleted from bucket %q: %w", b.name, err)
	}
	roll := roller{prefix: prefix}
	from, end := roll.bounds("")
	for {
		var due []expiring
		err := b.scan(ctx, kindKept, from, end, eraseBatch, func(record string, value []byte) (string, bool, error) {
			key, name, err := splitKept(record)
			if err != nil {
				return "", false, err
			}
			k, err := parseKept(key, name, value)
			if err != nil {
				return "", false, keyErr("purge", b, key, err)
			}
			due = append(due, expiring{key, name, expiryKey(k.Kept, key, name)})
			return "", len(due) == eraseBatch, nil
		})
		if err != nil {
			return fail(err)
		}
		if len(due) == 0 {
			return erased, false, nil
		}
		if erased >= limit {
			return erased, true, nil
		}
		err = b.onKey(ctx, due[0].key, true, func(_ *view, p *partition) error {
			n := 1
			for n < len(due) && due[n].key < p.end() {
				n++
			}
			did, _, err := b.erase(ctx, p, due[:n])
			erased += did
			return err
		})
		if err != nil {
			return fail(err)
		}
		from = due[0].key // what was left of these, and what follows
	}
}

// Of one key a bucket keeps about so many objects, the newest ones: all of a key lie in one partition. Whoever keeps one looks
// now and then.
const (
	keptOfKey   = 1000
	trimOneTime = 64 // in so many
)

// trimNow has it seen to, now and then, that not too many objects of one key are kept.
func (b *Bucket) trimNow(key string) {
	if rand.IntN(trimOneTime) == 0 {
		b.svc.jobs.add("trim "+b.name+"/"+key, 0, func(ctx context.Context) error {
			_, err := b.trim(ctx, key)
			return err
		})
	}
}

// trim erases those of one key that are too many.
func (b *Bucket) trim(ctx context.Context, key string) (erased int, err error) {
	err = b.onKey(ctx, key, true, func(_ *view, p *partition) error {
		from, seen := keptKey(kindKept, key, ""), 0
		for {
			res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapList(from, keptKey(kindKept, key, "")+"\xff", eraseBatch))
			if err != nil {
				return guardErr(err)
			}
			var due []expiring
			for _, kv := range res.Items[1].KVs {
				from = kv.Key + "\x00"
				if seen++; seen <= keptOfKey {
					continue
				}
				expiry, err := expiryOf(kv)
				if err != nil {
					return err
				}
				due = append(due, expiring{key, kv.Key[len(kv.Key)-keptNameLen:], expiry})
			}
			for len(due) > 0 {
				did, n, err := b.erase(ctx, p, due)
				if err != nil {
					return err
				}
				erased, due = erased+did, due[n:]
			}
			if !res.Items[1].More {
				return nil
			}
		}
	})
	if errors.Is(err, ErrNoSuchBucket) {
		err = nil
	}
	return erased, err
}
