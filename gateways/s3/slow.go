package s3

import (
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// spent is where the time of a request went, as far as its clients and the cluster do not say.
type spent struct {
	identify time.Duration // to find out who asks
	decide   time.Duration // and whether it may, with what was read for that
	times    bucket.Times  // of the cluster
}

// explain says of a request that took long where the time went. What it waited for the client is not counted.
func (q *request) explain(code string, took time.Duration) {
	limit := q.s.o.SlowRequest
	if limit <= 0 || took-q.raw.waited-q.w.waited < limit {
		return
	}
	indexed, index, slowIndex := q.spent.times.Index.Read()
	moved, data, slowData := q.spent.times.Data.Read()
	q.s.log.Warn("slow request", "request", q.id, "op", q.op, "bucket", q.bucket, "key", q.key, "status", q.w.status, "code", code,
		"from", q.r.RemoteAddr, "took", took.Round(time.Millisecond),
		"waited_for_body", q.raw.waited.Round(time.Millisecond), "received", q.raw.bytes,
		"waited_to_send", q.w.waited.Round(time.Millisecond), "sent", q.w.bytes,
		"identify", q.spent.identify.Round(time.Millisecond), "decide", q.spent.decide.Round(time.Millisecond),
		"index_ops", indexed, "index", index.Round(time.Millisecond), "slowest_index_op", slowIndex.Round(time.Millisecond),
		"data_ops", moved, "data", data.Round(time.Millisecond), "slowest_data_op", slowData.Round(time.Millisecond))
}
