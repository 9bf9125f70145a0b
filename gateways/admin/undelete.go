package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/api"
)

// purgeAtOnce is how many deleted objects one request erases, about: well below the time that it may take.
const purgeAtOnce = 2000

func (b service) Deleted(ctx context.Context, name string, in api.DeletedQuery) (api.DeletedPage, error) {
	out := api.DeletedPage{Objects: []api.DeletedObject{}}
	h, err := b.s.Fresh(ctx, name)
	if err != nil {
		return out, err
	}
	page, err := h.Deleted(ctx, bucket.DeletedInput{Prefix: in.Prefix, After: in.After, AfterID: in.AfterID, Max: in.Limit})
	if err != nil {
		return out, err
	}
	for _, k := range page.Objects {
		out.Objects = append(out.Objects, api.DeletedObject{
			Key: k.Key, ID: k.ID, Size: k.Size, ETag: k.ETag, Modified: unix(k.Modified), Deleted: unix(k.Deleted), Expires: unix(k.Expires),
		})
	}
	out.More = page.Truncated
	return out, nil
}

func (b service) Undelete(ctx context.Context, name string, in api.Undelete) (api.Undeleted, error) {
	h, err := b.s.Fresh(ctx, name)
	if err != nil {
		return api.Undeleted{}, err
	}
	o, err := h.Undelete(ctx, in.Key, in.ID, in.Force)
	switch {
	case errors.Is(err, bucket.ErrPrecondition):
		return api.Undeleted{}, fmt.Errorf("%w: %w", api.ErrExists, err)
	case errors.Is(err, bucket.ErrNotKept):
		return api.Undeleted{}, fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case err != nil:
		return api.Undeleted{}, err
	}
	out := api.Undeleted{Bucket: name, Key: o.Key, Size: o.Size, ETag: o.ETag()}
	if h.Info().Versioning != bucket.VersioningOff {
		out.Version = o.Version
	}
	return out, nil
}

func (b service) Purge(ctx context.Context, name, prefix string) (api.Purged, error) {
	h, err := b.s.Fresh(ctx, name)
	if err != nil {
		return api.Purged{}, err
	}
	n, more, err := h.Purge(ctx, prefix, purgeAtOnce)
	return api.Purged{Erased: n, More: more}, err
}

func (s *Server) undeleteRoutes() {
	seeDeleted := func(name string) string { return "see `cairn bucket ls` and `cairn bucket deleted " + name + "`" }
	handle(s, route{"GET", "/buckets/{name}/deleted", "list-deleted-objects", "buckets", "Objects of a bucket that were deleted or replaced and can be brought back", 0},
		func(ctx context.Context, in *struct {
			Name    string `path:"name" minLength:"1" maxLength:"255"`
			Prefix  string `query:"prefix" maxLength:"1024"`
			After   string `query:"after" maxLength:"1024" doc:"Go on behind this key"`
			AfterID string `query:"after_id" maxLength:"64" doc:"and behind this id of it"`
			Limit   int    `query:"limit" minimum:"0" maximum:"1000" doc:"Default 1000"`
		}) (api.DeletedPage, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.DeletedPage{}, err
			}
			q := api.DeletedQuery{Prefix: in.Prefix, After: in.After, AfterID: in.AfterID, Limit: in.Limit}
			if q.Limit == 0 {
				q.Limit = api.MaxDeletedPage
			}
			out, err := b.Deleted(ctx, in.Name, q)
			if err != nil {
				return out, fail(err, seeBuckets)
			}
			return out, nil
		})
	handle(s, route{"POST", "/buckets/{name}/undelete", "undelete-object", "buckets", "Bring back an object that was deleted or replaced", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Body api.Undelete
		}) (api.Undeleted, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.Undeleted{}, err
			}
			out, err := b.Undelete(ctx, in.Name, in.Body)
			if errors.Is(err, api.ErrExists) {
				return out, api.NewProblem(err, "to delete that one, which can be brought back in turn, give force (`cairn bucket undelete --force`)")
			}
			if err != nil {
				return out, fail(err, seeDeleted(in.Name))
			}
			return out, nil
		})
	handle(s, route{"POST", "/buckets/{name}/purge", "purge-deleted-objects", "buckets", "Erase deleted objects of a bucket for good, some at a time", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Body api.Purge
		}) (api.Purged, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.Purged{}, err
			}
			if err := confirmed("what is deleted from bucket", in.Name, in.Body.Confirm); err != nil {
				return api.Purged{}, err
			}
			out, err := b.Purge(ctx, in.Name, in.Body.Prefix)
			if err != nil {
				return out, fail(err, seeBuckets)
			}
			return out, nil
		})
}

// removeProblem is the answer to a removal of a bucket that failed.
func removeProblem(name string, err error) error {
	if errors.Is(err, bucket.ErrKeepsDeleted) {
		return api.NewProblem(&translated{err, api.ErrConflict},
			"wait until they have expired, see `cairn bucket deleted "+name+"`, or erase them with `cairn bucket purge "+name+" --confirm "+name+"`")
	}
	return fail(err, seeBuckets)
}
