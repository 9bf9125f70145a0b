package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

type nameInput struct {
	Name string `path:"name" minLength:"1" maxLength:"255"`
}

type removeInput struct {
	Name    string `path:"name" minLength:"1" maxLength:"255"`
	Confirm string `query:"confirm" maxLength:"255" doc:"Repeat the name: this cannot be undone"`
}

const seePools = "see `cairn pool ls`"

func poolJSON(m *placement.Map, p *placement.Pool) api.Pool {
	out := api.Pool{
		ID: uint32(p.ID), Name: p.Name, Type: "replicated", Size: p.Size, MinSize: p.MinSize, PGNum: p.PGNum,
		PGNumTarget: p.PGNumTarget, Autoscale: p.Flags.AutoscaleMode(),
		Rule: int(p.Rule), RuleName: strconv.Itoa(int(p.Rule)), Application: p.Application, LastChange: uint64(p.Created),
	}
	if r, ok := m.Crush.Rule(int(p.Rule)); ok {
		out.RuleName = r.Name
	}
	c := &p.Chunks
	if out.Chunks = c.Redundancy.String(); !c.IsZero() {
		out.Dedup, out.Cut, out.ChunkSize, out.Compression = c.Dedup.String(), c.Cut.String(), c.ChunkSize, c.Packing.String()
	}
	if c.Redundancy.Codec != placement.Replica {
		out.Type = "erasure"
	}
	return out
}

func (s *Server) pool(name string) (api.Pool, error) {
	m := s.clusterMap()
	p := m.PoolByName(name)
	if p == nil {
		return api.Pool{}, notFound(seePools, "pool %q", name)
	}
	return poolJSON(m, p), nil
}

func (s *Server) poolRoutes() {
	handle(s, route{"GET", "/pools", "list-pools", "pools", "All pools", 0},
		func(context.Context, *none) ([]api.Pool, error) {
			m, out := s.clusterMap(), []api.Pool{}
			for i := range m.Pools {
				out = append(out, poolJSON(m, &m.Pools[i]))
			}
			return out, nil
		})
	handle(s, route{"GET", "/pools/{name}", "get-pool", "pools", "One pool", 0},
		func(_ context.Context, in *nameInput) (api.Pool, error) { return s.pool(in.Name) })
	handle(s, route{"POST", "/pools", "create-pool", "pools", "Make a pool", http.StatusCreated},
		func(ctx context.Context, in *struct{ Body api.PoolCreate }) (api.Pool, error) {
			b := &in.Body
			if b.MinSize > 0 && b.Size > 0 && b.MinSize > b.Size {
				return api.Pool{}, invalid("choose min_size at most size", "pool %q: min_size %d is larger than size %d", b.Name, b.MinSize, b.Size)
			}
			if _, err := s.backend.PoolCreate(ctx, api.PoolSpec{Name: b.Name, Size: b.Size, MinSize: b.MinSize,
				PGNum: b.PGNum, Rule: b.Rule, Application: b.Application, Autoscale: b.Autoscale,
				Chunks: b.Chunks, Dedup: b.Dedup, Cut: b.Cut, ChunkSize: b.ChunkSize, Compression: b.Compression}); err != nil {
				return api.Pool{}, fail(err, "see `cairn map show` for CRUSH rules")
			}
			return s.pool(b.Name)
		})
	handle(s, route{"PUT", "/pools/{name}/settings/{key}", "set-pool", "pools", "Change one setting of a pool", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Key  string `path:"key" maxLength:"64" doc:"application, chunk_size, chunks, compression, crush_rule, cut, dedup, min_size, pg_autoscale_mode, pg_num or size"`
			Body api.PoolSetting
		}) (api.Pool, error) {
			if !slices.Contains(api.PoolSettingKeys(), in.Key) {
				return api.Pool{}, invalid("the settings are "+strings.Join(api.PoolSettingKeys(), ", "),
					"pool %q has no setting %q that can be changed", in.Name, in.Key)
			}
			if err := s.backend.PoolSet(ctx, in.Name, in.Key, in.Body.Value); err != nil {
				return api.Pool{}, fail(err, seePools)
			}
			return s.pool(in.Name)
		})
	act(s, route{"DELETE", "/pools/{name}", "remove-pool", "pools", "Remove a pool with all its objects", 0},
		func(ctx context.Context, in *removeInput) error {
			if _, err := s.pool(in.Name); err != nil {
				return err
			}
			if err := confirmed("pool", in.Name, in.Confirm); err != nil {
				return err
			}
			if err := s.backend.PoolRemove(ctx, in.Name); err != nil {
				return fail(err, seePools)
			}
			return nil
		})
}

const seeUsers = "see `cairn user ls`"

func userJSON(u *wirepb.User, secrets bool) api.User {
	out := api.User{Name: u.GetName(), DisplayName: u.GetDisplayName(), Email: u.GetEmail(), Admin: u.GetAdmin(), Suspended: u.GetSuspended(), Keys: []api.UserKey{}}
	for _, k := range u.GetKeys() {
		key := api.UserKey{AccessKey: k.GetAccessKey()}
		if secrets {
			key.SecretKey = k.GetSecretKey()
		}
		out.Keys = append(out.Keys, key)
	}
	return out
}

func (s *Server) userRoutes() {
	handle(s, route{"GET", "/users", "list-users", "users", "All users", 0},
		func(ctx context.Context, in *struct {
			Secrets bool `query:"secrets" doc:"Show secret keys"`
		}) ([]api.User, error) {
			users, err := s.backend.UserList(ctx)
			if err != nil {
				return nil, fail(err, "")
			}
			out := []api.User{}
			for _, u := range users {
				out = append(out, userJSON(u, in.Secrets))
			}
			sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
			return out, nil
		})
	handle(s, route{"GET", "/users/{name}", "get-user", "users", "One user", 0},
		func(ctx context.Context, in *struct {
			Name    string `path:"name" minLength:"1" maxLength:"255"`
			Secrets bool   `query:"secrets" doc:"Show secret keys"`
		}) (api.User, error) {
			u, err := s.backend.UserGet(ctx, in.Name)
			if err != nil {
				return api.User{}, fail(err, seeUsers)
			}
			return userJSON(u, in.Secrets), nil
		})
	handle(s, route{"POST", "/users", "create-user", "users", "Make a user; the answer shows the secret key", http.StatusCreated},
		func(ctx context.Context, in *struct{ Body api.UserCreate }) (api.User, error) {
			b := &in.Body
			if (b.AccessKey == "") != (b.SecretKey == "") {
				return api.User{}, invalid("give both, or none to have them made", "user %q: only one of access key and secret key is given", b.Name)
			}
			u := &wirepb.User{Name: b.Name, DisplayName: b.DisplayName, Email: b.Email, Admin: b.Admin}
			if b.AccessKey != "" {
				u.Keys = []*wirepb.AccessKey{{AccessKey: b.AccessKey, SecretKey: b.SecretKey}}
			}
			made, err := s.backend.UserCreate(ctx, u)
			if err != nil {
				return api.User{}, fail(err, seeUsers)
			}
			return userJSON(made, true), nil
		})
	act(s, route{"DELETE", "/users/{name}", "remove-user", "users", "Remove a user and its keys", 0},
		func(ctx context.Context, in *removeInput) error {
			if _, err := s.backend.UserGet(ctx, in.Name); err != nil {
				return fail(err, seeUsers)
			}
			if err := confirmed("user", in.Name, in.Confirm); err != nil {
				return err
			}
			if err := s.backend.UserRemove(ctx, in.Name); err != nil {
				return fail(err, seeUsers)
			}
			return nil
		})
}

const seeBuckets = "see `cairn bucket ls`"

// bucketsOrFail returns the bucket interface, if this monitor has one.
func (s *Server) bucketsOrFail() (Buckets, error) {
	if s.buckets == nil {
		return nil, api.NewProblem(fmt.Errorf("this monitor does not administer buckets: %w", api.ErrUnsupported), "use an S3 client at a gateway")
	}
	return s.buckets, nil
}

func (s *Server) bucketRoutes() {
	handle(s, route{"GET", "/buckets", "list-buckets", "buckets", "All buckets", 0},
		func(ctx context.Context, _ *none) ([]api.Bucket, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return nil, err
			}
			out, err := b.List(ctx)
			if err != nil {
				return nil, fail(err, "")
			}
			out = append([]api.Bucket{}, out...)
			sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
			return out, nil
		})
	stat := func(ctx context.Context, name string) (api.Bucket, error) {
		b, err := s.bucketsOrFail()
		if err != nil {
			return api.Bucket{}, err
		}
		out, err := b.Stat(ctx, name)
		if err != nil {
			return api.Bucket{}, fail(err, seeBuckets)
		}
		return out, nil
	}
	handle(s, route{"GET", "/buckets/{name}", "get-bucket", "buckets", "One bucket", 0},
		func(ctx context.Context, in *nameInput) (api.Bucket, error) { return stat(ctx, in.Name) })
	handle(s, route{"POST", "/buckets", "create-bucket", "buckets", "Make a bucket", http.StatusCreated},
		func(ctx context.Context, in *struct{ Body api.BucketCreate }) (api.Bucket, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.Bucket{}, err
			}
			if _, err := s.backend.UserGet(ctx, in.Body.Owner); err != nil {
				return api.Bucket{}, fail(err, seeUsers)
			}
			if err := b.Create(ctx, in.Body.Owner, in.Body.Name); err != nil {
				return api.Bucket{}, fail(err, seeBuckets)
			}
			return stat(ctx, in.Body.Name)
		})
	handle(s, route{"PUT", "/buckets/{name}/settings/{key}", "set-bucket", "buckets", "Change one setting of a bucket", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Key  string `path:"key" maxLength:"64" doc:"chunk_size, chunks, compression, cut, dedup or undelete"`
			Body api.BucketSetting
		}) (api.Bucket, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.Bucket{}, err
			}
			if !slices.Contains(api.BucketSettingKeys(), in.Key) {
				return api.Bucket{}, invalid("the settings are "+strings.Join(api.BucketSettingKeys(), ", "),
					"bucket %q has no setting %q that can be changed", in.Name, in.Key)
			}
			if err := b.Set(ctx, in.Name, in.Key, in.Body.Value); err != nil {
				return api.Bucket{}, fail(err, seeBuckets)
			}
			return stat(ctx, in.Name)
		})
	handle(s, route{"GET", "/buckets/{name}/usage", "get-bucket-usage", "buckets", "What a bucket or an object takes, and what deduplication saves", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Key  string `query:"key" maxLength:"1024" doc:"Of this object only"`
		}) (api.BucketUsage, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.BucketUsage{}, err
			}
			out, err := b.Usage(ctx, in.Name, in.Key)
			if err != nil {
				return out, fail(err, seeBuckets)
			}
			return out, nil
		})
	handle(s, route{"GET", "/users/{name}/usage", "get-user-usage", "users", "What all buckets of a user take, and what deduplication saves", 0},
		func(ctx context.Context, in *nameInput) (api.BucketUsage, error) {
			b, err := s.bucketsOrFail()
			if err != nil {
				return api.BucketUsage{}, err
			}
			if _, err := s.backend.UserGet(ctx, in.Name); err != nil {
				return api.BucketUsage{}, fail(err, seeUsers)
			}
			out, err := b.UserUsage(ctx, in.Name)
			if err != nil {
				return out, fail(err, seeBuckets)
			}
			return out, nil
		})
	act(s, route{"DELETE", "/buckets/{name}", "remove-bucket", "buckets", "Remove an empty bucket", 0},
		func(ctx context.Context, in *removeInput) error {
			if _, err := stat(ctx, in.Name); err != nil {
				return err
			}
			if err := confirmed("bucket", in.Name, in.Confirm); err != nil {
				return err
			}
			if err := s.buckets.Remove(ctx, in.Name); err != nil {
				return removeProblem(in.Name, err)
			}
			return nil
		})
}
