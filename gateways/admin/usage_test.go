package admin

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// TestUsageMetrics: buckets and users have metrics once somebody leads who has looked at them, no more than a fixed number, and
// none when they are gone, chunks are not made, or another monitor leads.
func TestUsageMetrics(t *testing.T) {
	b, buckets := admintest.New(), &admintest.Buckets{}
	s, err := New(Options{Backend: b, Buckets: buckets, Now: func() time.Time { return admintest.Now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range usageMost + 20 {
		buckets.Put(api.Bucket{Name: fmt.Sprintf("b%04d", i), Owner: "acme", Bytes: 5})
	}
	var pauses []time.Duration
	metrics := func() string {
		t.Helper()
		if !s.sampleOnce(context.Background(), func(d time.Duration) bool { pauses = append(pauses, d); return true }) {
			t.Fatal("it was ended")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	if m := metrics(); strings.Contains(m, "cairn_bucket_") {
		t.Error("no pool makes chunks, and there are metrics")
	}
	b.Edit(func(st *admintest.State) {
		st.Map.Pools[1].Chunks.Redundancy = placement.Redundancy{Codec: placement.Replica, K: 1, M: 1}
		(*st.Services)[0].Chunks = &wirepb.ServiceChunks{Written: 7, Reread: 3}
	})
	m := metrics()
	for _, want := range []string{`cairn_bucket_dedup_ratio{bucket="b0000"} 1`, `cairn_bucket_chunked_bytes{bucket="b0499"} 5`, `cairn_user_dedup_ratio{user="acme"} 1`,
		`cairn_gateway_chunks_written_total{kind="s3",name="gw1"} 7`, `cairn_gateway_chunk_objects_reread_total{kind="s3",name="gw1"} 3`} {
		if !strings.Contains(m, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(m, "b0500") || len(pauses) != usageMost+1 {
		t.Errorf("there are metrics of more than %d buckets, %d pauses", usageMost, len(pauses))
	}
	if err := buckets.Remove(context.Background(), "b0003"); err == nil && strings.Contains(metrics(), "b0003") {
		t.Error("a bucket that is gone has metrics")
	}
	if s.sampleOnce(context.Background(), func(time.Duration) bool { return false }) {
		t.Error("it goes on when it is ended")
	}
	b.Edit(func(st *admintest.State) { st.Quorum.Leader = "b" })
	metrics()
	b.Edit(func(st *admintest.State) { st.Quorum.Leader = st.Quorum.Self })
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if strings.Contains(w.Body.String(), "cairn_bucket_") {
		t.Error("what was found when it led before is told")
	}
}
