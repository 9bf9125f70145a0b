package s3

import (
	"encoding/json"

	"github.com/cairnstore/cairn/internal/process"
)

// usageKey lies beside the health check and says what the process has used, to whoever signs: benchmarks ask before and
// after a load.
const usageKey = "usage"

// Usage is the answer, as JSON.
type Usage struct {
	UserNs        int64 `json:"user_ns"`
	SystemNs      int64 `json:"system_ns"`
	ResidentBytes int64 `json:"resident_bytes"`
}

func (q *request) usage() error {
	q.op = "Usage"
	if e := q.authenticate(); e != nil {
		return e
	}
	if q.who.anonymous() {
		return accessDenied()
	}
	u, err := process.Self()
	if err != nil {
		return err
	}
	b, err := json.Marshal(Usage{int64(u.User), int64(u.System), u.Resident})
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", "application/json")
	if _, err := q.w.Write(b); err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err)
	}
	return nil
}
