package bucket

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Quotas. The quota of a bucket is shared out among the partitions of its index: the range of each has an allotment, which its
// counts may reach. An operation that raises the counts says so in its bounds (tally.into), and it compares the range, so none gets past the
// allotment that is in force at that moment. The sum of all allotments is never more than the quota, so neither is what the bucket holds,
// whoever puts through however many gateways. Who finds no room in one partition shares out anew (shareOut): what the others
// do not need goes to where it is wanted.
//
// The quota of a user is over all his buckets, which share nothing. Each process sums their counts every few seconds and adds what it puts
// itself, so what others put in between is found out late.

// ErrQuota says that a quota does not allow a change; the error is a *QuotaError.
var ErrQuota = errors.New("quota exceeded")

// QuotaError says which quota does not allow a change.
type QuotaError struct {
	User   bool // it is the owner's, not the bucket's
	Name   string
	What   string // "objects" or "bytes"
	Limit  int64
	Used   int64
	Wanted int64
}

func (e *QuotaError) Error() string {
	of := "bucket"
	if e.User {
		of = "user"
	}
	return fmt.Sprintf("%v: %s %q has %d of %d %s, and %d more are wanted", ErrQuota, of, e.Name, e.Used, e.Limit, e.What, e.Wanted)
}

// Is makes it an ErrQuota.
func (e *QuotaError) Is(target error) bool { return target == ErrQuota }

// Quota bounds what a bucket, or all buckets of a user, may hold: versions included, delete markers not. 0 is no bound.
type Quota struct {
	Objects, Bytes         int64
	WarnObjects, WarnBytes int64 // from here on it is told
}

func (q Quota) check() error {
	for _, n := range []int64{q.Objects, q.Bytes, q.WarnObjects, q.WarnBytes} {
		if n < 0 || n == noBound {
			return fmt.Errorf("%w: a quota of %d", client.ErrInvalid, n)
		}
	}
	return nil
}

// Warns says what of the counts is at a soft bound, "" if nothing is.
func (q Quota) Warns(c Counts) string {
	switch {
	case q.WarnBytes > 0 && c.Bytes >= q.WarnBytes:
		return fmt.Sprintf("%d bytes, it is to be told from %d", c.Bytes, q.WarnBytes)
	case q.WarnObjects > 0 && c.Objects >= q.WarnObjects:
		return fmt.Sprintf("%d objects, it is to be told from %d", c.Objects, q.WarnObjects)
	}
	return ""
}

func quotaFrom(q *bucketpb.Quota) Quota {
	return Quota{Objects: q.GetObjects(), Bytes: q.GetBytes(), WarnObjects: q.GetWarnObjects(), WarnBytes: q.GetWarnBytes()}
}

func quotaTo(q Quota) *bucketpb.Quota {
	if q == (Quota{}) {
		return nil
	}
	x := newID()
	return &bucketpb.Quota{Objects: q.Objects, Bytes: q.Bytes, WarnObjects: q.WarnObjects, WarnBytes: q.WarnBytes, Revision: x[:8]}
}

// mayFit spares a large body that the bucket's quota would refuse in the end.
func (b *Bucket) mayFit(ctx context.Context, key string, size int64) error {
	q := b.Quota()
	if q.Bytes == 0 || size < 1<<20 {
		return nil
	}
	c, err := b.RecentCounts(ctx)
	if err != nil || c.Bytes+size <= q.Bytes {
		return err
	}
	if b.rec.Load().Versioning == VersioningOff {
		o, err := b.Head(ctx, key)
		switch {
		case err == nil:
			c.Bytes -= o.Size
		case !errors.Is(err, ErrNoSuchKey):
			return err
		}
	}
	if c.Bytes+size <= q.Bytes {
		return nil
	}
	return &QuotaError{Name: b.name, What: "bytes", Limit: q.Bytes, Used: c.Bytes, Wanted: size}
}

// noBound is the share of what has no bound.
const noBound = math.MaxInt64

func boundsOf(objects, bytes int64) tally {
	t := tally{}
	for i := range t {
		t[i] = noBound
	}
	t[cObjects], t[cBytes] = objects, bytes
	return t
}

// shareSum adds to a share, of which no bound stays none.
func shareSum(share, n int64) int64 {
	if share == noBound {
		return noBound
	}
	return share + n
}

// noShare is the share of what holds nothing yet, beside something with another share.
func noShare(beside int64) int64 {
	if beside == noBound {
		return noBound
	}
	return 0
}

// sharesKey is where a bucket's root has the state of the sharing out.
const sharesKey = string(kindShares)

// room is the objects and bytes of something.
type room struct{ objects, bytes int64 }

func (r *room) add(o room) {
	r.objects, r.bytes = shareSum(r.objects, o.objects), shareSum(r.bytes, o.bytes)
}

// SetQuota bounds what a bucket may hold from now on; the zero Quota lifts all bounds. What it holds already stays, however much it is.
// It is in force, everywhere, when this returns. If it fails half way, the next sweep goes on.
func (s *Service) SetQuota(ctx context.Context, name string, q Quota) error {
	if err := q.check(); err != nil {
		return nameErr("set the quota of", name, err)
	}
	if err := s.alter(ctx, name, "set the quota of", func(r *bucketpb.Bucket) error { r.Quota = quotaTo(q); return nil }); err != nil {
		return err
	}
	b, err := s.Fresh(ctx, name)
	if err != nil {
		return err
	}
	_, free, err := b.shareOut(ctx, 0, room{})
	if err == nil && (free.objects < 0 || free.bytes < 0) {
		// It holds more, or was given more because it was being put into all the while: that is taken back now.
		_, _, err = b.shareOut(ctx, 0, room{})
	}
	if err != nil {
		return nameErr("set the quota of", name, err)
	}
	return nil
}

// Quota returns what bounds the bucket, as far as this handle knows.
func (b *Bucket) Quota() Quota { return quotaFrom(b.rec.Load().Quota) }

// makeRoom is for a change that did not fit into the allotment of a partition. errStale: it may fit now.
func (b *Bucket) makeRoom(ctx context.Context, v *view, p *partition, want room) error {
	v.quota.Lock() // of many who find no room here one looks for it
	defer v.quota.Unlock()
	c, err := b.readCounted(ctx, id(b.rec.Load().Id), p.n)
	if err != nil {
		return err
	}
	if string(c.raw) != string(p.raw) {
		return errStale // somebody else has made room, or split it
	}
	now := b.svc.o.Now()
	if now.Sub(v.full.at) < refuseAge { // it was looked for just now, in all of the index
		if err := v.full.refuses(b, want); err != nil {
			return err
		}
	}
	r, free, err := b.shareOnce(ctx, p.n, want)
	if err != nil {
		return err // errRaced, most likely: others share out, and may have made room
	}
	v.full = fullness{at: now, quota: r, free: free}
	if err := v.full.refuses(b, want); err != nil {
		return err
	}
	v.full = fullness{}
	return errRoom
}

// errRoom says that there is room now, for whoever is quick.
var errRoom = fmt.Errorf("%w: room was made", errStale)

// fullness is what was free in a bucket when there was not enough.
type fullness struct {
	at    time.Time
	quota *bucketpb.Quota
	free  room
}

func (f *fullness) refuses(b *Bucket, want room) error {
	switch {
	case want.bytes > 0 && want.bytes > f.free.bytes:
		return &QuotaError{Name: b.name, What: "bytes", Limit: f.quota.GetBytes(), Used: f.quota.GetBytes() - f.free.bytes, Wanted: want.bytes}
	case want.objects > 0 && want.objects > f.free.objects:
		return &QuotaError{Name: b.name, What: "objects", Limit: f.quota.GetObjects(), Used: f.quota.GetObjects() - f.free.objects, Wanted: want.objects}
	}
	return nil
}

// shareOut shares the bucket's quota out among its partitions, so that there is room for what is wanted in one of them (0: none). It returns
// the quota and what of it was free.
//
// Every sharing out has a number. The first pass gives each partition that number and takes its share back but for what it
// holds; nobody with a lower number can give it anything after that. So what is free then is for this one to give, in the second pass, once.
func (b *Bucket) shareOut(ctx context.Context, wants uint64, want room) (q *bucketpb.Quota, free room, err error) {
	var wait backoff
	for {
		if q, free, err = b.shareOnce(ctx, wants, want); err == nil || !retryable(err) {
			return q, free, err
		}
		if wait.n > 60 { // seconds
			return nil, room{}, ErrBusy
		}
		if err := wait.sleep(ctx); err != nil {
			return nil, room{}, err
		}
	}
}

func (b *Bucket) shareOnce(ctx context.Context, wants uint64, want room) (q *bucketpb.Quota, free room, err error) {
	x, err := b.id()
	if err != nil {
		return nil, free, err
	}
	sharing, err := b.nextSharing(ctx, x)
	if err != nil {
		return nil, free, err
	}
	generation := sharing.Generation
	defer func() {
		if err != nil { // others need not wait
			undo, cancel := detached(ctx)
			defer cancel()
			_, _ = b.svc.meta.Do(undo, rootObject(x), new(client.Op).CmpOmap(sharesKey, encode(sharing)).
				OmapSet(sharesKey, encode(&bucketpb.Shares{Generation: generation})))
		}
	}()
	// Only now: whoever changes the quota later has a higher number than we.
	r, err := b.svc.readRecord(ctx, b.name)
	switch {
	case err != nil:
		return nil, free, err
	case r == nil || id(r.Id) != x:
		return nil, free, errGone
	}
	limit := room{noBound, noBound}
	if n := r.Quota.GetObjects(); n > 0 {
		limit.objects = n
	}
	if n := r.Quota.GetBytes(); n > 0 {
		limit.bytes = n
	}
	// From left to right: what a split moves meanwhile is seen twice, never missed.
	var all []*partition
	free = limit
	for n := uint64(firstPartition); n != 0; {
		p, err := b.takeShare(ctx, x, n, generation, limit)
		if err != nil {
			return nil, free, err
		}
		all = append(all, p)
		free.add(room{-p.Allotment.Objects, -p.Allotment.Bytes})
		n = p.Next
	}
	give := sharesOf(all, free, wants, want)
	if err := together(ctx, len(all), func(ctx context.Context, i int) error {
		if give[i] == (room{}) {
			return nil
		}
		return b.giveShare(ctx, x, all[i], generation, give[i])
	}); err != nil {
		return nil, free, err
	}
	return r.Quota, free, b.endSharing(ctx, x, sharing, r.Quota)
}

// sharesOf divides what is free: first what is wanted, then half of the rest to where that was, and the other half to all alike.
func sharesOf(all []*partition, free room, wants uint64, want room) []room {
	give := make([]room, len(all))
	divide := func(free, want int64, has func(p *partition) int64, to func(r *room) *int64) {
		if free == noBound {
			return
		}
		if free < 0 { // more is held than allowed: what is deleted anywhere must not make room there
			for i, p := range all {
				*to(&give[i]) = -has(p)
			}
			return
		}
		want = max(want, 0)
		rest, left := free, free-want
		for i, p := range all {
			if p.n == wants && left >= 0 {
				*to(&give[i]) = want + left/2
				rest = left - left/2
			}
		}
		each, over := rest/int64(len(all)), rest%int64(len(all))
		for i := range all {
			*to(&give[i]) += each
			if int64(i) < over {
				*to(&give[i])++
			}
		}
	}
	divide(free.objects, want.objects, func(p *partition) int64 { return p.Allotment.Objects }, func(r *room) *int64 { return &r.objects })
	divide(free.bytes, want.bytes, func(p *partition) int64 { return p.Allotment.Bytes }, func(r *room) *int64 { return &r.bytes })
	return give
}

// nextSharing begins a sharing out.
func (b *Bucket) nextSharing(ctx context.Context, x id) (*bucketpb.Shares, error) {
	res, err := b.svc.meta.Do(ctx, rootObject(x), new(client.Op).OmapGet(sharesKey))
	if errors.Is(err, client.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	op, sh := new(client.Op).AssertExists(), new(bucketpb.Shares)
	if raw := res.Items[0].Data; res.Items[0].Found {
		if err := decode(raw, sh); err != nil {
			return nil, err
		}
		op.CmpOmap(sharesKey, raw)
	} else {
		op.CmpOmapAbsent(sharesKey)
	}
	now := b.svc.o.Now()
	if age := now.Sub(time.Unix(0, sh.Begun)); len(sh.Revision) == 0 && age >= 0 && age < staleSharing {
		return nil, errSharing
	}
	sh.Generation, sh.Revision, sh.Begun = sh.Generation+1, nil, now.UnixNano()
	_, err = b.svc.meta.Do(ctx, rootObject(x), op.OmapSet(sharesKey, encode(sh)))
	if errors.Is(err, client.ErrConflict) {
		return nil, errRaced
	}
	return sh, err
}

// staleSharing is how long a sharing out may take before another one takes its place.
const staleSharing = 3 * time.Second

// errSharing says that somebody else is sharing out.
var errSharing = fmt.Errorf("%w: the quota is being shared out", errRaced)

// endSharing notes that a quota was shared out, unless another sharing out has begun.
func (b *Bucket) endSharing(ctx context.Context, x id, sh *bucketpb.Shares, q *bucketpb.Quota) error {
	begun := encode(sh)
	done := encode(&bucketpb.Shares{Generation: sh.Generation, Revision: sharesRevision(q), Begun: sh.Begun})
	_, err := b.svc.meta.Do(ctx, rootObject(x), new(client.Op).CmpOmap(sharesKey, begun).OmapSet(sharesKey, done))
	if errors.Is(err, client.ErrConflict) {
		return nil // theirs is of a record as new as ours
	}
	return err
}

// sharesRevision is what Shares say when a quota was shared out.
func sharesRevision(q *bucketpb.Quota) []byte {
	if q == nil {
		return []byte{0}
	}
	return q.Revision
}

// shared has the quota shared out if that was not done to the end when it was set.
func (b *Bucket) shared(ctx context.Context) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	res, err := b.svc.meta.Do(ctx, rootObject(x), new(client.Op).OmapGet(sharesKey))
	if errors.Is(err, client.ErrNotFound) {
		return errGone
	}
	if err != nil {
		return err
	}
	sh, q := new(bucketpb.Shares), b.rec.Load().Quota
	if res.Items[0].Found {
		if err := decode(res.Items[0].Data, sh); err != nil {
			return err
		}
	} else if q == nil {
		return nil
	}
	if string(sh.Revision) == string(sharesRevision(q)) {
		return nil
	}
	_, _, err = b.shareOut(ctx, 0, room{})
	return err
}

// takeShare takes back what a partition was given and does not need.
func (b *Bucket) takeShare(ctx context.Context, x id, n, generation uint64, limit room) (*partition, error) {
	var wait backoff
	for slack := int64(0); ; {
		c, err := b.readCounted(ctx, x, n)
		if err != nil {
			return nil, err
		}
		if c.Allotment.GetGeneration() > generation {
			return nil, errRaced
		}
		next := &bucketpb.Allotment{Generation: generation, Objects: noBound, Bytes: noBound}
		// Exactly what it holds; while it is being put into, somewhat more, but not more than it had.
		had := room{noBound, noBound}
		if a := c.Allotment; a != nil {
			had = room{a.Objects, a.Bytes}
		}
		if limit.objects != noBound {
			next.Objects = min(c.sum[cObjects]+slack, max(had.objects, c.sum[cObjects]))
		}
		if limit.bytes != noBound {
			next.Bytes = min(c.sum[cBytes]+slack<<12, max(had.bytes, c.sum[cBytes]))
		}
		bounds := boundsOf(next.Objects, next.Bytes)
		raw := c.with(func(r *bucketpb.Range) { r.Allotment = next })
		_, err = b.svc.meta.Do(ctx, c.object, c.guard().OmapAddWithin(countsKey, make([]int64, 2), bounds[:2], true).SetAttr(rangeAttr, raw))
		if err == nil {
			c.raw, c.Allotment = raw, next
			return c.partition, nil
		}
		if _, conflict, missing := failed(err); !conflict && !missing {
			return nil, err
		}
		slack = min(2*slack+1, 1<<40)
		if err := wait.sleep(ctx); err != nil {
			return nil, err
		}
	}
}

// giveShare adds to the allotment of a partition, once.
func (b *Bucket) giveShare(ctx context.Context, x id, p *partition, generation uint64, give room) error {
	for range maxTries {
		raw := p.with(func(r *bucketpb.Range) {
			r.Allotment.Objects = shareSum(r.Allotment.Objects, give.objects)
			r.Allotment.Bytes = shareSum(r.Allotment.Bytes, give.bytes)
		})
		_, err := b.svc.meta.Do(ctx, p.object, p.guard().SetAttr(rangeAttr, raw))
		if err = guardErr(err); !errors.Is(err, errStale) {
			return err
		}
		if give.objects < 0 || give.bytes < 0 {
			return errRaced // a split may have moved what is to be taken
		}
		// A split goes on, or another sharing out has begun: then this one may give nothing any more.
		if p, err = b.readPartition(ctx, x, p.n); err != nil {
			return err
		}
		if p.Allotment.GetGeneration() != generation {
			return errRaced
		}
	}
	return ErrBusy
}

// ---- quotas of users ----

// userUse is what this process knows of how much a user has.
type userUse struct {
	mu    sync.Mutex // guards below
	read  time.Time  // zero: never
	quota Quota
	used  room // since then this process's own changes are in it
}

// useAge is for how long a sum of all of a user's buckets is relied on.
const useAge = 10 * time.Second

// maxUsers bounds the users that are remembered.
const maxUsers = 4096

func userQuotaKey(user string) string { return string(kindUserQuota) + user }

// SetUserQuota bounds what all buckets of a user may hold together; the zero Quota lifts all bounds. Other gateways
// follow within ten seconds.
func (s *Service) SetUserQuota(ctx context.Context, user string, q Quota) error {
	err := q.check()
	if user == "" {
		err = fmt.Errorf("%w: a quota of nobody", ErrInvalidName)
	}
	if err == nil {
		op := new(client.Op)
		if q == (Quota{}) {
			op.OmapRm(userQuotaKey(user))
		} else {
			op.OmapSet(userQuotaKey(user), encode(quotaTo(q)))
		}
		_, err = s.meta.Do(ctx, registryObject, op)
	}
	if err != nil {
		return fmt.Errorf("set the quota of user %q: %w", user, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, user)
	return nil
}

// UserQuota returns what bounds a user's buckets.
func (s *Service) UserQuota(ctx context.Context, user string) (Quota, error) {
	res, err := s.meta.Do(ctx, registryObject, new(client.Op).OmapGet(userQuotaKey(user)))
	if errors.Is(err, client.ErrNotFound) || err == nil && !res.Items[0].Found {
		return Quota{}, nil
	}
	q := new(bucketpb.Quota)
	if err == nil {
		err = decode(res.Items[0].Data, q)
	}
	if err != nil {
		return Quota{}, fmt.Errorf("read the quota of user %q: %w", user, err)
	}
	return quotaFrom(q), nil
}

// UserCounts sums the counts of all buckets of a user.
func (s *Service) UserCounts(ctx context.Context, user string) (Counts, error) {
	var sum Counts
	infos, err := s.List(ctx, user)
	if err != nil {
		return sum, err
	}
	for _, in := range infos {
		b, err := s.Bucket(ctx, in.Name)
		var c Counts
		if err == nil {
			c, err = b.Counts(ctx)
		}
		if errors.Is(err, ErrNoSuchBucket) || errors.Is(err, errGone) {
			continue // deleted meanwhile
		}
		if err != nil {
			return sum, err
		}
		sum.Objects += c.Objects
		sum.Bytes += c.Bytes
		sum.Versions += c.Versions
		sum.VersionBytes += c.VersionBytes
		sum.Markers += c.Markers
		sum.Uploads += c.Uploads
		sum.Kept += c.Kept
		sum.KeptBytes += c.KeptBytes
		sum.Held += c.Held
		sum.HeldBytes += c.HeldBytes
		sum.Partitions += c.Partitions
		sum.Partial = sum.Partial || c.Partial
	}
	return sum, nil
}

func (s *Service) use(user string) *userUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	if u == nil {
		if len(s.users) >= maxUsers {
			clear(s.users)
		}
		u = new(userUse)
		s.users[user] = u
	}
	return u
}

// mayUse says whether a user's quota allows more. What is allowed counts as used at once.
func (s *Service) mayUse(ctx context.Context, user string, want room) error {
	u := s.use(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	age := s.o.Now().Sub(u.read)
	for fresh := false; ; fresh = true {
		if u.read.IsZero() || age > useAge || fresh {
			now := s.o.Now()
			q, err := s.UserQuota(ctx, user)
			if err != nil {
				return err
			}
			u.quota, u.used = q, room{}
			if q.Objects > 0 || q.Bytes > 0 {
				c, err := s.UserCounts(ctx, user)
				if err != nil {
					return err
				}
				u.used = room{c.Objects, c.Bytes}
			}
			u.read, age, fresh = now, 0, true
		}
		e := &QuotaError{User: true, Name: user, What: "bytes", Limit: u.quota.Bytes, Used: u.used.bytes, Wanted: want.bytes}
		over := e.Limit > 0 && want.bytes > 0 && e.Used+want.bytes > e.Limit
		if !over && u.quota.Objects > 0 && want.objects > 0 && u.used.objects+want.objects > u.quota.Objects {
			e.What, e.Limit, e.Used, e.Wanted, over = "objects", u.quota.Objects, u.used.objects, want.objects, true
		}
		switch {
		case !over:
			u.used.add(want)
			return nil
		case fresh || age < refuseAge:
			return e
		}
	}
}

// uses notes what a user's buckets hold more, or less, than was known.
func (s *Service) uses(user string, more room) {
	u := s.use(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used.add(more)
}

// refuseAge is how old a sum may be that a change is refused by.
const refuseAge = time.Second
