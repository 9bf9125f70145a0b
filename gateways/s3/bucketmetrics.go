package s3

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of single buckets. There may be any number of buckets, so only some have metrics of their own: those that
// were used first, until they rest and others take their place. All others together are the bucket "" (no bucket has
// that name). Only buckets that exist count, so that nobody makes metrics with names that he made up.

const (
	maxBucketMetrics = 200              // buckets with metrics of their own
	bucketMetricRest = 10 * time.Minute // a bucket that was not used for so long gives its place away
)

// Kinds of operations, and of how they end.
const (
	kindRead = iota
	kindWrite
	kindList
	kindDelete
	kindConfig
	kindCount

	endOK = iota - kindCount - 1
	endRefused
	endFailed
	endCount
)

var (
	kindNames = [kindCount]string{"read", "write", "list", "delete", "config"}
	endNames  = [endCount]string{"ok", "refused", "failed"}
)

// kindOf sorts operations, by what they are called in the table of route.go.
func kindOf(op string) int {
	switch op {
	case "GetObject", "HeadObject", "GetObjectAttributes", "SelectObjectContent":
		return kindRead
	case "PutObject", "CopyObject", "PostObject", "UploadPart", "UploadPartCopy", "CreateMultipartUpload", "CompleteMultipartUpload":
		return kindWrite
	case "DeleteObject", "DeleteObjects", "AbortMultipartUpload":
		return kindDelete
	}
	if strings.HasPrefix(op, "List") || op == "HeadBucket" {
		return kindList
	}
	return kindConfig
}

type bucketCounts struct {
	used           time.Time
	requests       [kindCount][endCount]float64
	seconds        [kindCount]float64
	received, sent float64
}

func (c *bucketCounts) add(o *bucketCounts) {
	for k := range c.requests {
		for e := range c.requests[k] {
			c.requests[k][e] += o.requests[k][e]
		}
		c.seconds[k] += o.seconds[k]
	}
	c.received, c.sent = c.received+o.received, c.sent+o.sent
}

// bucketMetrics is a prometheus.Collector.
type bucketMetrics struct {
	mu    sync.Mutex // guards below
	of    map[string]*bucketCounts
	other bucketCounts
}

var (
	bucketRequests = prometheus.NewDesc("cairn_s3_bucket_requests_total", "Requests on a bucket by kind of operation and how they ended (ok, refused, failed); bucket \"\" is all that have no metrics of their own.", []string{"bucket", "kind", "end"}, nil)
	bucketSeconds  = prometheus.NewDesc("cairn_s3_bucket_request_seconds_total", "Time to serve the requests on a bucket, by kind of operation.", []string{"bucket", "kind"}, nil)
	bucketReceived = prometheus.NewDesc("cairn_s3_bucket_received_bytes_total", "Bytes of the bodies of requests on a bucket, as announced.", []string{"bucket"}, nil)
	bucketSent     = prometheus.NewDesc("cairn_s3_bucket_sent_bytes_total", "Bytes of answers to requests on a bucket.", []string{"bucket"}, nil)
)

// Describe implements prometheus.Collector.
func (m *bucketMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bucketRequests, bucketSeconds, bucketReceived, bucketSent} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *bucketMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	all := make(map[string]bucketCounts, len(m.of)+1)
	for name, c := range m.of {
		all[name] = *c
	}
	all[""] = m.other
	m.mu.Unlock()
	for name, c := range all {
		for k, kind := range kindNames {
			for e, end := range endNames {
				if n := c.requests[k][e]; n > 0 {
					ch <- prometheus.MustNewConstMetric(bucketRequests, prometheus.CounterValue, n, name, kind, end)
				}
			}
			if c.seconds[k] > 0 {
				ch <- prometheus.MustNewConstMetric(bucketSeconds, prometheus.CounterValue, c.seconds[k], name, kind)
			}
		}
		ch <- prometheus.MustNewConstMetric(bucketReceived, prometheus.CounterValue, c.received, name)
		ch <- prometheus.MustNewConstMetric(bucketSent, prometheus.CounterValue, c.sent, name)
	}
}

// done counts a request on a bucket.
func (m *bucketMetrics) done(name string, kind, status int, now time.Time, took time.Duration, received, sent int64) {
	end := endOK
	switch {
	case status >= http.StatusInternalServerError:
		end = endFailed
	case status >= http.StatusBadRequest:
		end = endRefused
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.place(name, now)
	c.used = now
	c.requests[kind][end]++
	c.seconds[kind] += took.Seconds()
	c.received += float64(max(received, 0))
	c.sent += float64(sent)
}

// place returns where a bucket is counted.
func (m *bucketMetrics) place(name string, now time.Time) *bucketCounts {
	if c := m.of[name]; c != nil {
		return c
	}
	if len(m.of) >= maxBucketMetrics {
		if now.Sub(m.other.used) < time.Second { // do not search for every request
			return &m.other
		}
		oldest := ""
		for n, c := range m.of {
			if oldest == "" || c.used.Before(m.of[oldest].used) {
				oldest = n
			}
		}
		if now.Sub(m.of[oldest].used) < bucketMetricRest {
			return &m.other
		}
		m.other.add(m.of[oldest]) // so that sums over all buckets never fall
		delete(m.of, oldest)
	}
	if m.of == nil {
		m.of = map[string]*bucketCounts{}
	}
	c := new(bucketCounts)
	m.of[name] = c
	return c
}
