package s3

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sums gathers the counters of requests by bucket.
func sums(t *testing.T, m *bucketMetrics) (of map[string]float64, total float64) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	fams, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	of = map[string]float64{}
	for _, f := range fams {
		if f.GetName() != "cairn_s3_bucket_requests_total" {
			continue
		}
		for _, x := range f.Metric {
			for _, l := range x.Label {
				if l.GetName() == "bucket" {
					of[l.GetValue()] += x.Counter.GetValue()
					total += x.Counter.GetValue()
				}
			}
		}
	}
	return of, total
}

// However many buckets there are, only so many have metrics of their own, and what all of them add up to never falls.
func TestBucketMetricsBounded(t *testing.T) {
	m := &bucketMetrics{}
	now := time.Unix(1_800_000_000, 0)
	for i := range 3 * maxBucketMetrics {
		m.done(fmt.Sprint("b", i), kindRead, 200, now, time.Millisecond, 1, 2)
		now = now.Add(time.Second)
	}
	of, total := sums(t, m)
	if len(of) != maxBucketMetrics+1 || total != 3*maxBucketMetrics || of["b0"] != 1 {
		t.Fatalf("%d buckets, %v requests, %v of the first", len(of), total, of["b0"])
	}
	now = now.Add(bucketMetricRest)
	m.done("new", kindWrite, 503, now, time.Millisecond, -1, 2)
	of, total = sums(t, m)
	if len(of) != maxBucketMetrics+1 || total != 3*maxBucketMetrics+1 || of["new"] != 1 || of["b0"] != 0 {
		t.Errorf("after a rest: %d buckets, %v requests, %v of a new one, %v of the first", len(of), total, of["new"], of["b0"])
	}
}

// Requests are counted for their bucket, if it exists.
func TestBucketMetrics(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/a", "body")
	g.want(call{method: "GET", path: "/photos/a"}, 200)
	g.want(call{method: "GET", path: "/photos/missing"}, 404)
	g.want(call{method: "GET", path: "/photos?list-type=2"}, 200)
	g.want(call{method: "GET", path: "/made-up/a"}, 404)
	g.want(call{method: "GET", path: "/photos/a", user: bob}, 403)
	g.srv.metrics.buckets.mu.Lock()
	defer g.srv.metrics.buckets.mu.Unlock()
	c := g.srv.metrics.buckets.of["photos"]
	if len(g.srv.metrics.buckets.of) != 1 || c == nil {
		t.Fatalf("got %v", g.srv.metrics.buckets.of)
	}
	if c.requests[kindRead][endOK] != 1 || c.requests[kindRead][endRefused] != 2 || c.requests[kindWrite][endOK] != 1 || c.requests[kindList][endOK] != 1 || c.received != 4 || c.sent < 4 {
		t.Errorf("got %+v", c)
	}
}

func TestKindOf(t *testing.T) {
	for op, want := range map[string]int{"GetObject": kindRead, "UploadPart": kindWrite, "ListObjectsV2": kindList, "ListParts": kindList, "DeleteObjects": kindDelete, "PutBucketPolicy": kindConfig} {
		if got := kindOf(op); got != want {
			t.Errorf("%s: got %s, want %s", op, kindNames[got], kindNames[want])
		}
	}
}
