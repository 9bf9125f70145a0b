package admin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// The metrics of buckets and users come from looks at their usage in the background: nothing keeps such totals.
const (
	usageFirst = time.Minute      // after the start
	usageEvery = 10 * time.Minute // all of them, or less often: ...
	usagePart  = 100              // ... looks take so small a part of the time
	usageMost  = 500              // buckets, and users, that have metrics: the first by name
)

// usages are the newest looks at usage.
type usages struct {
	mu             sync.Mutex // guards below
	buckets, users map[string]api.BucketUsage
}

// usageGauges are the metrics of a usage; the first label value is the kind, bucket or user.
var usageGauges = []struct {
	name, help string
	value      func(*api.BucketUsage) float64
}{
	{"chunked_bytes", "Bytes of the objects of the %s that chunks have, when it was looked at last.", func(u *api.BucketUsage) float64 { return float64(u.Chunked) }},
	{"chunk_unique_bytes", "Bytes of the different chunks of the %s.", func(u *api.BucketUsage) float64 { return float64(u.UniqueBytes) }},
	{"chunk_stored_bytes", "Bytes of the different chunks of the %s after compression.", func(u *api.BucketUsage) float64 { return float64(u.Stored) }},
	{"dedup_ratio", "Bytes that chunks have to bytes of the different chunks of the %s; 1 without chunks.", func(u *api.BucketUsage) float64 { return u.DedupRatio }},
}

var bucketDescs, userDescs = usageDescs("bucket"), usageDescs("user")

func usageDescs(kind string) (descs []*prometheus.Desc) {
	for _, g := range usageGauges {
		descs = append(descs, desc(kind+"_"+g.name, strings.ReplaceAll(g.help, "%s", kind), kind))
	}
	return descs
}

// collect sends the metrics.
func (u *usages) collect(ch chan<- prometheus.Metric) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, k := range []struct {
		descs []*prometheus.Desc
		all   map[string]api.BucketUsage
	}{{bucketDescs, u.buckets}, {userDescs, u.users}} {
		for name, x := range k.all {
			for i, g := range usageGauges {
				send(ch, k.descs[i], prometheus.GaugeValue, g.value(&x), name)
			}
		}
	}
}

// sampleUsages looks at usage now and then until the server is closed.
func (s *Server) sampleUsages() {
	defer s.wg.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.wg.Go(func() { // until Close
		<-s.stop
		cancel()
	})
	wait := func(d time.Duration) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-s.stop:
			return false
		case <-t.C:
			return true
		}
	}
	for next := usageFirst; wait(next); next = usageEvery {
		if !s.sampleOnce(ctx, wait) {
			return
		}
	}
}

// sampleOnce looks at the usage of all buckets and users, with pauses. Where nobody makes chunks, or another monitor leads, there is
// nothing to tell. It returns false if wait does.
func (s *Server) sampleOnce(ctx context.Context, wait func(time.Duration) bool) bool {
	u := &s.usages
	chunks := func() bool {
		q := s.backend.Quorum()
		return q.Leader != "" && q.Leader == q.Self && s.buckets != nil && slices.ContainsFunc(s.clusterMap().Pools, func(p placement.Pool) bool {
			return p.Application == "s3" && !p.Chunks.IsZero()
		})
	}
	if !chunks() {
		u.mu.Lock()
		u.buckets, u.users = nil, nil
		u.mu.Unlock()
		return true
	}
	list, err := s.buckets.List(ctx)
	if err != nil {
		s.log.Debug("usage of buckets not looked at", "err", err)
		return true
	}
	var buckets, users []string
	for i := range list {
		buckets, users = append(buckets, list[i].Name), append(users, list[i].Owner)
	}
	for _, k := range []struct {
		names []string
		at    *map[string]api.BucketUsage
		look  func(context.Context, string) (api.BucketUsage, error)
	}{
		{buckets, &u.buckets, func(ctx context.Context, name string) (api.BucketUsage, error) { return s.buckets.Usage(ctx, name, "") }},
		{users, &u.users, s.buckets.UserUsage},
	} {
		slices.Sort(k.names)
		k.names = slices.Compact(k.names)
		k.names = k.names[:min(len(k.names), usageMost)]
		u.mu.Lock()
		old := *k.at
		*k.at = map[string]api.BucketUsage{} // without those that are gone
		for _, n := range k.names {
			if x, ok := old[n]; ok {
				(*k.at)[n] = x
			}
		}
		u.mu.Unlock()
		for _, n := range k.names {
			began := s.now()
			x, err := k.look(ctx, n)
			if err == nil {
				u.mu.Lock()
				(*k.at)[n] = x
				u.mu.Unlock()
			}
			if !wait(s.now().Sub(began) * usagePart) {
				return false
			}
			if !chunks() {
				return true
			}
		}
	}
	return true
}
