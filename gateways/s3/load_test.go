package s3

import (
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bench"
	"github.com/cairnstore/cairn/client/bucket"
)

// The load of `cairn s3 bench`, of every kind, against a gateway.
func TestLoad(t *testing.T) {
	g := newGateway(t, nil)
	server := bench.S3Server{Endpoints: []string{"http://" + g.addr}, AccessKey: ann.Keys[0].AccessKey, SecretKey: ann.Keys[0].SecretKey}
	if u, err := bench.S3Usage(t.Context(), server); err != nil || u.CPU() <= 0 {
		t.Errorf("what the gateway has used: %v, %v", u, err)
	}
	for _, payload := range []bench.Payload{bench.PayloadSigned, bench.PayloadUnsigned, bench.PayloadTrailer} {
		server.Payload = payload
		o := bench.S3Options{Server: server, Bucket: "load", Run: string(payload), Sizes: []int64{0, 100, 20_000}, InFlight: 4, Time: time.Minute, Seed: 1}
		run := func(kind bench.Kind, ops int64) *bench.S3Result {
			t.Helper()
			o.Kind, o.Ops = kind, ops
			r, err := bench.RunS3(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Ops != ops || r.Latency.Max <= 0 || r.Latency.P50 > r.Latency.P99 {
				t.Errorf("%s: got %+v", kind, r)
			}
			return r
		}
		o.Spread = payload == bench.PayloadSigned
		if r := run(bench.Put, 60); r.Objects != 60 || r.MiBPerSec <= 0 {
			t.Errorf("put: got %+v", r)
		}
		run(bench.Get, 90)
		o.Page = 7
		if r := run(bench.ListS3, 30); r.Keys == 0 {
			t.Errorf("list: got %+v", r)
		}
		o.Sizes = []int64{10}
		if r := run(bench.Mixed, 200); len(r.PerOp) != 4 {
			t.Errorf("mixed: got %+v", r)
		}
		if r := run(bench.Delete, 20); r.Objects != 40 {
			t.Errorf("delete: got %+v", r)
		}
		run(bench.Get, 50)
		if n, err := bench.CleanS3(t.Context(), server, "load", o.Run, 2); err != nil || n < 40 {
			t.Errorf("clean: %d, %v", n, err)
		}
	}
	if l, err := g.svc.List(t.Context(), ""); err != nil || len(l) != 0 {
		t.Errorf("buckets are left: %v, %v", l, err)
	}
}

// Objects in parts, and what a load says when bytes are wrong.
func TestLoadFinds(t *testing.T) {
	g := newGateway(t, nil)
	o := bench.S3Options{
		Server: bench.S3Server{Endpoints: []string{"http://" + g.addr}, AccessKey: ann.Keys[0].AccessKey, SecretKey: ann.Keys[0].SecretKey},
		Kind:   bench.Put, Bucket: "load", Run: "r", Sizes: []int64{11 << 20}, PartSize: 5 << 20, InFlight: 2, Time: time.Minute, Ops: 2,
	}
	if _, err := bench.RunS3(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	b, err := g.svc.Bucket(t.Context(), "load")
	if err != nil {
		t.Fatal(err)
	}
	if obj, err := b.Head(t.Context(), "bench.r/00000001"); err != nil || obj.Parts != 3 {
		t.Errorf("got %+v, %v, want three parts", obj, err)
	}
	o.Kind = bench.Get
	if _, err := bench.RunS3(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for body, word := range map[string]string{"short": "5 bytes came", strings.Repeat("x", 11<<20): "wrong data"} {
		for _, key := range []string{"bench.r/00000000", "bench.r/00000001"} {
			if _, err := b.Put(t.Context(), key, bucket.PutInput{Body: strings.NewReader(body), Size: int64(len(body)), Attrs: bucket.Attrs{Owner: "ann"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := bench.RunS3(t.Context(), o); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want %q", err, word)
		}
	}
	o.Run = "other"
	if _, err := bench.RunS3(t.Context(), o); err == nil || !strings.Contains(err.Error(), "make it with put") {
		t.Errorf("a run that is not there: %v", err)
	}
}
