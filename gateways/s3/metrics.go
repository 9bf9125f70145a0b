package s3

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the gateway. Labels take values from small fixed sets only: names of
// operations and error codes.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter
	inflight prometheus.Gauge
	events   *prometheus.CounterVec
	buckets  bucketMetrics
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cairn_s3_requests_total", Help: "Requests by operation and S3 error code (OK for none)."}, []string{"op", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cairn_s3_request_seconds", Help: "Time to serve a request, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}, []string{"op"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "cairn_s3_received_bytes_total", Help: "Bytes of request bodies, as announced."}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "cairn_s3_sent_bytes_total", Help: "Bytes of answers."}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cairn_s3_requests_in_flight", Help: "Requests being served."}),
		events:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cairn_s3_events_total", Help: "Events told to topics: recorded with a change, delivered, failed (and tried again), dropped (too old, too many, or of a topic that is no more)."}, []string{"what"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.received, m.sent, m.inflight, m.events, &m.buckets} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("s3 gateway: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) done(op, code string, took time.Duration, received, sent int64) {
	m.requests.WithLabelValues(op, code).Inc()
	m.seconds.WithLabelValues(op).Observe(took.Seconds())
	m.received.Add(float64(max(received, 0)))
	m.sent.Add(float64(sent))
}
