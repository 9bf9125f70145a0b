package s3

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstore/cairn/client/bucket"
)

// Expired counts what a run of the lifecycle rules removed.
type Expired struct {
	Objects  int64 // current ones: deleted, or under a delete marker now
	Versions int64 // that were not current
	Markers  int64 // delete markers that nothing lay under any more
	Uploads  int64 // that were neither completed nor aborted
	Kept     int64 // locked, or changed meanwhile: the next run looks again
}

// rulesPeriod is how often the lifecycle rules are carried out: with each sweep, or
// four times in a day that was shortened.
func (s *Server) rulesPeriod() time.Duration {
	return max(min(s.o.SweepPeriod, s.o.LifecycleDay/4), 100*time.Millisecond)
}

// carryRules carries out the lifecycle rules again and again.
func (s *Server) carryRules(ctx context.Context) {
	defer s.sweeper.Done()
	t := time.NewTicker(s.rulesPeriod())
	defer t.Stop()
	for {
		if _, err := s.Expire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("carry out lifecycle rules", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// expireAtOnce is how many removals of one bucket are under way at a time.
const expireAtOnce = 8

// Expire carries out the lifecycle rules of all buckets, once. Any number of
// gateways may do it at the same time: each removal is of what was seen, or none.
func (s *Server) Expire(ctx context.Context) (Expired, error) {
	var sum Expired
	infos, err := s.o.Buckets.List(ctx, "")
	if err != nil {
		return sum, err
	}
	var errs []error
	for _, in := range infos {
		b, err := s.o.Buckets.Fresh(ctx, in.Name)
		if err == nil {
			err = s.expire(ctx, b, &sum)
		}
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		if err != nil && !errors.Is(err, bucket.ErrNoSuchBucket) && len(errs) < 10 {
			errs = append(errs, err)
		}
	}
	return sum, errors.Join(errs...)
}

// expire carries out the rules of one bucket.
func (s *Server) expire(ctx context.Context, b *bucket.Bucket, sum *Expired) error {
	cfg, err := b.Config(ctx)
	if err != nil {
		return err
	}
	rules, err := parsed[xmlLifecycle](cfg, docLifecycle)
	if err != nil || rules == nil {
		return err
	}
	x := &expiry{s: s, b: b, rules: rules, now: s.o.Now(), sum: sum}
	told, err := parsed[xmlNotification](cfg, docNotification)
	if err != nil {
		return err
	}
	if told != nil {
		ctx = bucket.Recording(ctx, &telling{s: s, cfg: told, bucket: b.Name(), owner: b.Info().Owner, by: "s3.amazonaws.com"})
	}
	var gctx context.Context
	x.all, gctx = errgroup.WithContext(ctx)
	x.all.SetLimit(expireAtOnce)
	before := *sum
	var looked []error // at what rules speak of: a bucket may be large
	if rules.any(func(r *xmlLifecycleRule) bool { return r.Expiration != nil || r.Noncurrent != nil }) {
		looked = append(looked, x.versions(gctx))
	}
	if rules.any(func(r *xmlLifecycleRule) bool { return r.Abort != nil }) {
		looked = append(looked, x.uploads(gctx))
	}
	err = errors.Join(append(looked, x.all.Wait())...)
	if *sum != before {
		s.log.Info("lifecycle rules removed objects", "bucket", b.Name(), "objects", sum.Objects-before.Objects, "versions", sum.Versions-before.Versions,
			"markers", sum.Markers-before.Markers, "uploads", sum.Uploads-before.Uploads, "kept", sum.Kept-before.Kept)
	}
	return err
}

// expiry is one run over one bucket.
type expiry struct {
	s     *Server
	b     *bucket.Bucket
	rules *xmlLifecycle
	now   time.Time
	sum   *Expired
	all   *errgroup.Group
}

// do removes something, some of them at a time; what is locked or has changed stays.
func (x *expiry) do(count *int64, remove func() error) {
	x.all.Go(func() error { // ends with its operation, which the context bounds
		err := remove()
		var locked *bucket.LockedError
		switch {
		case err == nil:
			atomic.AddInt64(count, 1)
		case errors.As(err, &locked), errors.Is(err, bucket.ErrPrecondition), errors.Is(err, bucket.ErrNoSuchKey), errors.Is(err, bucket.ErrNoSuchUpload):
			atomic.AddInt64(&x.sum.Kept, 1)
		default:
			return err
		}
		return nil
	})
}

// versions looks at all that is in the bucket, by key and newest first.
func (x *expiry) versions(ctx context.Context) error {
	in := bucket.VersionsInput{Max: bucket.MaxListEntries}
	var tip *bucket.Object // of the key that is being looked at
	under := 0             // noncurrent ones of it seen
	for {
		page, err := x.b.Versions(ctx, in)
		if err != nil {
			return err
		}
		for _, o := range page.Versions {
			if tip == nil || o.Key != tip.Key {
				x.alone(ctx, tip, under)
				tip, under = o, 0
				x.current(ctx, o)
				continue
			}
			under++
			x.noncurrent(ctx, o, under)
		}
		if !page.Truncated {
			x.alone(ctx, tip, under)
			return nil
		}
		in.AfterKey, in.AfterVersion = page.LastKey, page.LastVersion
	}
}

// current deletes what is current if a rule says so.
func (x *expiry) current(ctx context.Context, o *bucket.Object) {
	if o.Marker {
		return
	}
	if at, rule := x.rules.expires(o, x.s.o.LifecycleDay); rule == "" || x.now.Before(at) {
		return
	}
	x.do(&x.sum.Objects, func() error {
		_, err := x.b.DeleteVersion(ctx, o.Key, bucket.DeleteInput{Cond: bucket.Cond{Is: o}})
		return err
	})
}

// noncurrent removes the nth noncurrent version of a key if a rule says so.
func (x *expiry) noncurrent(ctx context.Context, o *bucket.Object, nth int) {
	for i := range x.rules.Rules {
		r := &x.rules.Rules[i]
		n := r.Noncurrent
		if n == nil || !r.fits(o) || n.Newer != nil && nth <= *n.Newer || x.now.Before(after(o.Noncurrent, *n.Days, x.s.o.LifecycleDay)) {
			continue
		}
		x.do(&x.sum.Versions, func() error {
			_, err := x.b.DeleteVersion(ctx, o.Key, bucket.DeleteInput{Version: o.Version, Cond: bucket.Cond{Is: o}})
			return err
		})
		return
	}
}

// alone removes a delete marker under which nothing lies any more.
func (x *expiry) alone(ctx context.Context, tip *bucket.Object, under int) {
	if tip == nil || !tip.Marker || under > 0 {
		return
	}
	due := false
	for i := range x.rules.Rules {
		r := &x.rules.Rules[i]
		due = due || r.Expiration != nil && r.Expiration.Marker != nil && *r.Expiration.Marker && r.fits(tip)
	}
	at, rule := x.rules.expires(tip, x.s.o.LifecycleDay)
	if !due && (rule == "" || x.now.Before(at)) {
		return
	}
	x.do(&x.sum.Markers, func() error {
		_, err := x.b.DeleteVersion(ctx, tip.Key, bucket.DeleteInput{Version: tip.Version, Cond: bucket.Cond{Is: tip}})
		return err
	})
}

// uploads aborts uploads that were begun too long ago.
func (x *expiry) uploads(ctx context.Context) error {
	in := bucket.UploadsInput{Max: bucket.MaxListEntries}
	for {
		page, err := x.b.Uploads(ctx, in)
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			o := &bucket.Object{Key: u.Key}
			for i := range x.rules.Rules {
				r := &x.rules.Rules[i]
				if r.Abort == nil || !r.fits(o) || x.now.Before(after(u.Started, r.Abort.Days, x.s.o.LifecycleDay)) {
					continue
				}
				x.do(&x.sum.Uploads, func() error { return x.b.Abort(ctx, u.Key, u.ID) })
				break
			}
		}
		if !page.Truncated {
			return nil
		}
		in.AfterKey, in.AfterUpload = page.LastKey, page.LastUpload
	}
}
