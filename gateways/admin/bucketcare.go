package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/api"
)

// serviced are Buckets that have a service behind them.
type serviced interface {
	Service(ctx context.Context) (*bucket.Service, error)
}

// Service implements serviced.
func (b service) Service(context.Context) (*bucket.Service, error) { return b.s, nil }

func (s *Server) bucketService(ctx context.Context) (*bucket.Service, error) {
	b, err := s.bucketsOrFail()
	if err != nil {
		return nil, err
	}
	x, ok := b.(serviced)
	if !ok {
		return nil, api.NewProblem(fmt.Errorf("this monitor does not administer quotas and snapshots: %w", api.ErrUnsupported), "ask another monitor")
	}
	svc, err := x.Service(ctx)
	if err != nil {
		return nil, fail(err, "")
	}
	return svc, nil
}

// Some work on a large bucket takes longer than a request may. It goes on then.
const (
	careWait = 20 * time.Second
	careTime = 6 * time.Hour
)

// goOn does something that may take long. If it does, it goes on when the request has been answered.
func (s *Server) goOn(ctx context.Context, what string, do func(context.Context) error) error {
	done := make(chan error, 1)
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), careTime)
	go func() { // ends with its operations, which the context bounds
		defer cancel()
		done <- do(work)
	}()
	t := time.NewTimer(careWait)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return api.NewProblem(fmt.Errorf("%s takes a while: %w", what, api.ErrTryLater), "it goes on; look in a moment whether it is done")
	}
}

func countsJSON(c bucket.Counts) api.Counts {
	return api.Counts{
		Objects: c.Objects, Bytes: c.Bytes, Versions: c.Versions, VersionBytes: c.VersionBytes, Markers: c.Markers, Uploads: c.Uploads,
		Deleted: c.Kept, DeletedBytes: c.KeptBytes, Held: c.Held, HeldBytes: c.HeldBytes, Partitions: c.Partitions, Partial: c.Partial,
	}
}

func quotaJSON(q bucket.Quota, c bucket.Counts) api.QuotaState {
	return api.QuotaState{
		Quota: api.Quota{Objects: q.Objects, Bytes: q.Bytes, WarnObjects: q.WarnObjects, WarnBytes: q.WarnBytes},
		Used:  countsJSON(c), Warning: q.Warns(c),
	}
}

func quotaFrom(q api.Quota) bucket.Quota {
	return bucket.Quota{Objects: q.Objects, Bytes: q.Bytes, WarnObjects: q.WarnObjects, WarnBytes: q.WarnBytes}
}

type quotaInput struct {
	Name string `path:"name" minLength:"1" maxLength:"255"`
	Body api.Quota
}

func (s *Server) bucketQuota(ctx context.Context, name string, set *api.Quota) (api.QuotaState, error) {
	svc, err := s.bucketService(ctx)
	if err != nil {
		return api.QuotaState{}, err
	}
	if set != nil {
		if err := svc.SetQuota(ctx, name, quotaFrom(*set)); err != nil {
			return api.QuotaState{}, fail(err, seeBuckets)
		}
	}
	b, err := svc.Fresh(ctx, name)
	var c bucket.Counts
	if err == nil {
		c, err = b.Counts(ctx)
	}
	if err != nil {
		return api.QuotaState{}, fail(err, seeBuckets)
	}
	out := quotaJSON(b.Quota(), c)
	out.Bucket = name
	return out, nil
}

func (s *Server) userQuota(ctx context.Context, name string, set *api.Quota) (api.QuotaState, error) {
	svc, err := s.bucketService(ctx)
	if err != nil {
		return api.QuotaState{}, err
	}
	if _, err := s.backend.UserGet(ctx, name); err != nil {
		return api.QuotaState{}, fail(err, seeUsers)
	}
	if set != nil {
		if err := svc.SetUserQuota(ctx, name, quotaFrom(*set)); err != nil {
			return api.QuotaState{}, fail(err, seeUsers)
		}
	}
	q, err := svc.UserQuota(ctx, name)
	var c bucket.Counts
	if err == nil {
		c, err = svc.UserCounts(ctx, name)
	}
	if err != nil {
		return api.QuotaState{}, fail(err, seeUsers)
	}
	out := quotaJSON(q, c)
	out.User = name
	return out, nil
}

func (s *Server) bucketCareRoutes() {
	handle(s, route{"GET", "/buckets/{name}/quota", "get-bucket-quota", "buckets", "A bucket's quota, and what it holds", 0},
		func(ctx context.Context, in *nameInput) (api.QuotaState, error) {
			return s.bucketQuota(ctx, in.Name, nil)
		})
	handle(s, route{"PUT", "/buckets/{name}/quota", "set-bucket-quota", "buckets", "Bound what a bucket may hold", 0},
		func(ctx context.Context, in *quotaInput) (api.QuotaState, error) {
			return s.bucketQuota(ctx, in.Name, &in.Body)
		})
	handle(s, route{"GET", "/users/{name}/quota", "get-user-quota", "users", "A user's quota, and what all his buckets hold", 0},
		func(ctx context.Context, in *nameInput) (api.QuotaState, error) {
			return s.userQuota(ctx, in.Name, nil)
		})
	handle(s, route{"PUT", "/users/{name}/quota", "set-user-quota", "users", "Bound what all buckets of a user may hold", 0},
		func(ctx context.Context, in *quotaInput) (api.QuotaState, error) {
			return s.userQuota(ctx, in.Name, &in.Body)
		})
	handle(s, route{"POST", "/buckets/{name}/check", "check-bucket", "buckets", "Recount a bucket and compare with its counts", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Body api.CheckCounts
		}) (api.CheckedCounts, error) {
			out := api.CheckedCounts{Bucket: in.Name, Wrong: []api.Miscount{}}
			svc, err := s.bucketService(ctx)
			if err != nil {
				return out, err
			}
			b, err := svc.Fresh(ctx, in.Name)
			if err != nil {
				return out, fail(err, seeBuckets)
			}
			var c bucket.Checked
			if err := s.goOn(ctx, "counting", func(ctx context.Context) (err error) { c, err = b.CheckCounts(ctx, in.Body.Repair); return err }); err != nil {
				return out, fail(err, seeBuckets)
			}
			out.Partitions, out.Busy, out.Repaired = c.Partitions, c.Busy, in.Body.Repair && len(c.Wrong) > 0
			for _, m := range c.Wrong {
				out.Wrong = append(out.Wrong, api.Miscount{Partition: m.Partition, Stored: countsJSON(m.Stored), Real: countsJSON(m.Real)})
			}
			return out, nil
		})
	s.snapshotRoutes()
}

func snapshotJSON(name string, s bucket.Snapshot) api.Snapshot {
	return api.Snapshot{Bucket: name, Name: s.Name, Taken: unix(s.Taken), Clones: append([]string{}, s.Clones...)}
}

func (s *Server) snapshotRoutes() {
	find := func(ctx context.Context, name string) (*bucket.Service, *bucket.Bucket, error) {
		svc, err := s.bucketService(ctx)
		if err != nil {
			return nil, nil, err
		}
		b, err := svc.Fresh(ctx, name)
		if err != nil {
			return nil, nil, fail(err, seeBuckets)
		}
		return svc, b, nil
	}
	see := func(name string) string { return "see `cairn bucket snapshot ls " + name + "`" }
	type one struct {
		Name     string `path:"name" minLength:"1" maxLength:"255"`
		Snapshot string `path:"snapshot" minLength:"1" maxLength:"63"`
	}
	handle(s, route{"GET", "/buckets/{name}/snapshots", "list-snapshots", "buckets", "Snapshots of a bucket, oldest first", 0},
		func(ctx context.Context, in *nameInput) ([]api.Snapshot, error) {
			_, b, err := find(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			all, err := b.Snapshots(ctx)
			if err != nil {
				return nil, fail(err, seeBuckets)
			}
			out := []api.Snapshot{}
			for _, x := range all {
				out = append(out, snapshotJSON(in.Name, x))
			}
			return out, nil
		})
	handle(s, route{"POST", "/buckets/{name}/snapshots", "create-snapshot", "buckets", "Take a snapshot of a bucket", http.StatusCreated},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Body api.SnapshotCreate
		}) (api.Snapshot, error) {
			_, b, err := find(ctx, in.Name)
			if err != nil {
				return api.Snapshot{}, err
			}
			x, err := b.TakeSnapshot(ctx, in.Body.Name)
			if err != nil {
				return api.Snapshot{}, fail(err, see(in.Name))
			}
			return snapshotJSON(in.Name, x), nil
		})
	act(s, route{"DELETE", "/buckets/{name}/snapshots/{snapshot}", "remove-snapshot", "buckets", "Remove a snapshot, and what only it has", 0},
		func(ctx context.Context, in *one) error {
			_, b, err := find(ctx, in.Name)
			if err != nil {
				return err
			}
			if err := s.goOn(ctx, "removing the snapshot", func(ctx context.Context) error { return b.RemoveSnapshot(ctx, in.Snapshot) }); err != nil {
				return fail(err, see(in.Name))
			}
			return nil
		})
	handle(s, route{"POST", "/buckets/{name}/snapshots/{snapshot}/clone", "clone-snapshot", "buckets", "Make a bucket of a snapshot", http.StatusCreated},
		func(ctx context.Context, in *struct {
			Name     string `path:"name" minLength:"1" maxLength:"255"`
			Snapshot string `path:"snapshot" minLength:"1" maxLength:"63"`
			Body     api.BucketClone
		}) (api.Bucket, error) {
			svc, _, err := find(ctx, in.Name)
			if err != nil {
				return api.Bucket{}, err
			}
			if in.Body.Owner != "" {
				if _, err := s.backend.UserGet(ctx, in.Body.Owner); err != nil {
					return api.Bucket{}, fail(err, seeUsers)
				}
			}
			var made *bucket.Bucket
			if err := s.goOn(ctx, "cloning", func(ctx context.Context) (err error) {
				made, err = svc.Clone(ctx, in.Name, in.Snapshot, in.Body.Name, in.Body.Owner)
				return err
			}); err != nil {
				return api.Bucket{}, fail(err, see(in.Name))
			}
			return bucketJSON(made.Info()), nil
		})
}
