package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/gateways/admin"
	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func newServer(t *testing.T, o admin.Options) *admin.Server {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	if o.Now == nil {
		o.Now = func() time.Time { return admintest.Now }
	}
	s, err := admin.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error("close:", err)
		}
	})
	return s
}

type answer struct {
	code   int
	header http.Header
	body   string
}

func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("answer %d is no problem document: %q", a.code, a.body)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q, want application/problem+json", ct)
	}
	return p
}

func do(t *testing.T, h http.Handler, method, path, body string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// TestRequests walks through the interface. Every line is one request; they build on each other.
func TestRequests(t *testing.T) {
	backend, buckets := admintest.New(), &admintest.Buckets{}
	buckets.Put(api.Bucket{Name: "full", Owner: "u", Objects: 3})
	query := func(_ context.Context, id placement.PGID) (json.RawMessage, error) {
		switch id.Shard {
		case 0:
			return json.RawMessage(`{"pgid":"` + id.String() + `","seq":18446744073709551615}`), nil
		case 1:
			return nil, context.DeadlineExceeded
		case 2:
			return nil, fmt.Errorf("pg 1.2: %w", client.ErrNotFound)
		case 4:
			return nil, &wire.Error{Code: wirepb.Code_TRY_LATER, Text: "peering"}
		case 5:
			return nil, errors.New("connection refused")
		}
		return json.RawMessage(`{`), nil
	}
	osdCall := func(_ context.Context, to placement.OSDID, h *wirepb.Header) (json.RawMessage, error) {
		if q := h.GetPgScrubStart(); q != nil && q.All {
			return json.RawMessage(`{"pgs":7}`), nil
		} else if q != nil && q.Shard == 0 && q.Deep && !q.Repair {
			return json.RawMessage(`{"pgs":1}`), nil
		}
		if q := h.GetChunkCare(); q != nil {
			switch {
			case q.What == "chunks" && q.Shard == 0 && q.After == "" && q.Chunk == "" && q.Limit == 2:
				return json.RawMessage(`{"chunks":[{"chunk":"a","holders":[]},{"chunk":"b","holders":[]}],"after":"b"}`), nil
			case q.What == "chunks" && q.Shard == 0 && q.After == "b" && q.Limit == 3:
				return json.RawMessage(`{"chunks":[{"chunk":"c","holders":[]}]}`), nil
			case q.What == "chunks" && q.Shard > 0:
				return json.RawMessage(`{"chunks":[]}`), nil
			case q.What == "chunks":
				return nil, &wire.Error{Code: wirepb.Code_INVALID, Text: "no beginning of a fingerprint"}
			case q.What == "chunk" && strings.HasPrefix(q.Chunk, "own:"):
				return nil, &wire.Error{Code: wirepb.Code_NOT_FOUND, Text: "chunk " + q.Chunk}
			case q.What == "chunk":
				return json.RawMessage(`{"chunk":"c","holders":[1,-1],"refs":[{"nonce":"n","pool":1,"object":"o"}]}`), nil
			case q.What == "verify-chunk":
				return json.RawMessage(`{"chunk":"c","holders":[1,2],"verdict":{"ok":true}}`), nil
			case q.What == "status" && to == 0:
				return json.RawMessage(`{"pgs":4,"looked":3,"work":{"leaked":2},"chunks":{"chunks":9},"problems":[{"kind":"dangling","pool":1,"object":"a","text":"gone"}],"runs":5,"last":{"what":"audit","pgs":4,"errors":[],"work":{"leaked":2}}}`), nil
			case q.What == "audit" && to == 0 && q.MinAgeNs == 90e9 && q.Pool > 0, q.What == "gc" && to == 0 && q.MinAgeNs == -1 && q.Pool == 0:
				return json.RawMessage(`{"osd":0,"run":6}`), nil
			case to == 1 && q.What != "settle":
				return nil, &wire.Error{Code: wirepb.Code_TRY_LATER, Text: "not ready"}
			case q.What != "settle" || q.Pool == 0:
				return nil, errors.New("asked for " + q.String())
			case to == 1:
				return nil, &wire.Error{Code: wirepb.Code_TRY_LATER, Text: "not ready"}
			case q.MinAgeNs == 90e9:
				return json.RawMessage(`{"pgs":4,"pending":4,"waiting":"PG 1.0: too few holders"}`), nil
			case q.MinAgeNs == -1:
				return json.RawMessage(`{"pgs":4,"pending":1,"objects":5,"settled":3,"chunks":7,"bytes":8,"conflicts":1,"failed":2}`), nil
			}
			return nil, fmt.Errorf("asked for an idleness of %d", q.MinAgeNs)
		}
		if q := h.GetPgInconsistentList(); q != nil && q.Shard == 0 {
			return json.RawMessage(`{"epoch":3,"inconsistents":[{"object":{"name":"a"},"shards":[{"osd":1,"errors":["missing"]}]}]}`), nil
		} else if q != nil && q.Shard == 1 {
			return json.RawMessage(`[]`), nil
		}
		return nil, &wire.Error{Code: wirepb.Code_WRONG_PRIMARY, Text: "PG is not led by " + to.String()}
	}
	keys := kms.NewStore(clienttest.NewPool("s3"))
	s := newServer(t, admin.Options{Backend: backend, Buckets: buckets, Keys: func(context.Context) (*kms.Store, error) { return keys, nil }, PGQuery: query, OSDCall: osdCall})
	long := strings.Repeat("x", 2<<20)
	tests := []struct {
		method, path, body string
		code               int
		want               string // in the body
	}{
		{"GET", "/status", "", 200, `"fsid":"6b2d6996-7f98-4577-989a-9028a8ec59de"`},
		{"GET", "/health", "", 200, `{"status":"HEALTH_OK","checks":{}}`},
		{"GET", "/df", "", 200, `"stats_by_class":{"hdd"`},
		{"GET", "/mons", "", 200, `"leader":"a"`},
		{"GET", "/osds", "", 200, `"host":"host2"`},
		{"GET", "/osds/1", "", 200, `"host":"host1"`},
		{"POST", "/osds/drain", `{"osds":[1],"force":true}`, 204, ""},
		{"GET", "/osds/1", "", 200, `"draining":true,"full":"ok"`},
		{"GET", "/osds/drain", "", 200, `"pgs_left":12`},
		{"POST", "/osds/undrain", `{"osds":[1]}`, 204, ""},
		{"POST", "/osds/drain", `{"osds":[9]}`, 404, "osd.9"},
		{"POST", "/osds/drain", `{"osds":[]}`, 422, "expected array length >= 1"},
		{"GET", "/osds/ok-to-stop?osds=1,x", "", 422, "commas"},
		{"GET", "/osds/9", "", 404, "osd.9: not found"},
		{"GET", "/osds/-1", "", 422, "path.id"},
		{"GET", "/osds/x", "", 422, "path.id"},
		{"GET", "/osds/tree", "", 200, `"name":"host0"`},
		{"GET", "/osds/df", "", 200, `"kb_used_meta"`},
		{"GET", "/osds/stat", "", 200, `"num_up_osds":3`},
		{"POST", "/osds/1/out", "", 204, ""},
		{"GET", "/osds/1", "", 200, `"in":false`},
		{"POST", "/osds/1/in", "", 204, ""},
		{"GET", "/osds/1", "", 200, `"in":true`},
		{"PUT", "/osds/1/reweight", `{"weight":0.5}`, 204, ""},
		{"GET", "/osds/1", "", 200, `"reweight":0.5`},
		{"PUT", "/osds/1/reweight", `{"weight":1.5}`, 422, "expected number <= 1"},
		{"PUT", "/osds/1/reweight", `{"weight":1,"x":2}`, 422, "unexpected property"},
		{"PUT", "/osds/1/reweight", `{"weight":1`, 400, ""},
		{"PUT", "/osds/1/reweight", "", 400, "body is required"},
		{"PUT", "/osds/8/reweight", `{"weight":1}`, 404, "cairn osd tree"},
		{"POST", "/osds/2/down", "", 204, ""},
		{"POST", "/osds/9/down", "", 404, "osd.9"},
		{"POST", "/osds/2/sideways", "", 404, "no such path"},
		{"PUT", "/flags/noout", "", 204, ""},
		{"GET", "/flags", "", 200, `["noout"]`},
		{"DELETE", "/flags/noout", "", 204, ""},
		{"GET", "/flags", "", 200, `[]`},
		{"PUT", "/flags/nope", "", 422, "noout"},
		{"GET", "/pgs?pool=s3.data", "", 200, `"pgid":"2.3"`},
		{"GET", "/pgs?pool=nope", "", 404, `pool \"nope\": not found`},
		{"GET", "/pgs?osd=9", "", 404, "osd.9"},
		{"GET", "/pgs?state=recovering", "", 200, "[]"},
		{"GET", "/pgs?colour=red", "", 422, "unknown query parameter"},
		{"GET", "/pgs/stat", "", 200, `"num_pgs":12`},
		{"GET", "/pgs/1.0", "", 200, `"acting_primary"`},
		{"GET", "/pgs/1.8", "", 404, "has only 8 PGs"},
		{"GET", "/pgs/9.0", "", 404, "pool 9"},
		{"GET", "/pgs/zero", "", 422, "POOL.SHARD"},
		{"GET", "/pgs/1.0/query", "", 200, `{"pgid":"1.0","seq":18446744073709551615}`},
		{"GET", "/pgs/1.1/query", "", 504, "did not answer"},
		{"GET", "/pgs/1.2/query", "", 404, ""},
		{"GET", "/pgs/1.3/query", "", 500, "not JSON"},
		{"GET", "/pgs/1.4/query", "", 503, `"code":"try_later"`},
		{"GET", "/pgs/1.5/query", "", 503, "connection refused"},
		{"POST", "/pgs/1.0/deep-scrub", "", 200, `{"pgs":1}`},
		{"POST", "/pgs/1.0/scrub", "", 503, "not led by"},
		{"POST", "/pgs/1.0/polish", "", 404, "no such path"},
		{"POST", "/pgs/1.99/repair", "", 404, "has only 8 PGs"},
		{"GET", "/pgs/1.0/inconsistent", "", 200, `"errors":["missing"]`},
		{"GET", "/pgs/1.1/inconsistent", "", 500, "not what was asked for"},
		{"POST", "/osds/1/repair", "", 200, `{"pgs":7}`},
		{"POST", "/osds/9/scrub", "", 404, "osd.9"},
		{"GET", "/pools", "", 200, `"crush_rule_name":"replicated_rule"`},
		{"POST", "/pools", `{"name":"new/1"}`, 201, `"pg_num":8`},
		{"POST", "/pools", `{"name":"new/1"}`, 409, "exists"},
		{"POST", "/pools", `{"name":""}`, 422, "expected length"},
		{"POST", "/pools", `{"name":"p","size":99}`, 422, "expected number <= 32"},
		{"POST", "/pools", `{"name":"p","size":4}`, 422, "only 3 hosts"},
		{"POST", "/pools", `{"name":"p","size":2,"min_size":3}`, 422, "min_size 3 is larger"},
		{"POST", "/pools", `{"name":"p","crush_rule":"ec"}`, 404, "CRUSH rule"},
		{"POST", "/pools", `{"name":"` + long + `"}`, 413, ""},
		{"GET", "/pools/new%2F1", "", 200, `"pool_name":"new/1"`},
		{"PUT", "/pools/new%2F1/settings/size", `{"value":"2"}`, 200, `"size":2`},
		{"PUT", "/pools/new%2F1/settings/size", `{"value":"two"}`, 422, "not a number"},
		{"PUT", "/pools/new%2F1/settings/colour", `{"value":"2"}`, 422, "application, chunk_size, chunks, compression, crush_rule, cut, dedup, min_size, pg_autoscale_mode, pg_num, size"},
		{"PUT", "/pools/nope/settings/size", `{"value":"2"}`, 404, "cairn pool ls"},
		{"DELETE", "/pools/new%2F1", "", 403, "confirm=new/1"},
		{"DELETE", "/pools/new%2F1?confirm=new", "", 403, "not confirmed"},
		{"DELETE", "/pools/new%2F1?confirm=new%2F1", "", 204, ""},
		{"DELETE", "/pools/new%2F1?confirm=new%2F1", "", 404, ""},
		{"POST", "/pools", `{"name":"ec","chunks":"2:1:xor","dedup":"cluster","cut":"content","chunk_size":65536,"compression":"zstd"}`, 201,
			`"chunks":"2:1:xor","dedup":"cluster","cut":"content","chunk_size":65536,"compression":"zstd"`},
		{"GET", "/pools/ec", "", 200, `"type":"erasure"`},
		{"GET", "/pools/rbd", "", 200, `"chunks":"none"`},
		{"POST", "/pools", `{"name":"p","chunks":"2:1"}`, 422, "want none, replica:N, K:1:xor or K:M:rs"},
		{"POST", "/pools", `{"name":"p","chunks":"replica:3","dedup":"all"}`, 422, "expected value to be one of"},
		{"POST", "/pools", `{"name":"p","chunks":"replica:3","cut":"rabin"}`, 422, "expected value to be one of"},
		{"POST", "/pools", `{"name":"p","chunks":"replica:3","compression":"gzip"}`, 422, "expected value to be one of"},
		{"POST", "/pools", `{"name":"p","chunks":"replica:3","chunk_size":4096}`, 422, "expected number >= 8192"},
		{"POST", "/pools", `{"name":"p","chunks":"replica:3","chunk_size":10000}`, 422, "power of two"},
		{"POST", "/pools", `{"name":"p","size":2,"chunks":"2:2:rs"}`, 422, "want a size of at least 3"},
		{"PUT", "/pools/ec/settings/chunks", `{"value":"replica:2"}`, 200, `"type":"replicated"`},
		{"PUT", "/pools/ec/settings/chunk_size", `{"value":"256K"}`, 200, `"chunk_size":262144`},
		{"PUT", "/pools/ec/settings/compression", `{"value":"gzip"}`, 422, "want none, s2, zstd or lz4"},
		{"POST", "/pools/ec/settle", `{"idle_seconds":90}`, 200, `"pending":4`},
		{"POST", "/pools/ec/settle", `{"idle_seconds":90}`, 200, `"osd.0: PG 1.0: too few holders","osd.1: `},
		{"POST", "/pools/ec/settle", `{"idle_seconds":-1}`, 422, "expected number >= 0"},
		{"GET", "/pools/ec/settle", "", 200, `{"pgs":4,"pending":1,"objects":5,"settled":3,"chunks":7,"bytes":8,"conflicts":1,"failed":2,"waiting":["osd.1: `},
		{"GET", "/pools/nope/settle", "", 404, "cairn pool ls"},
		{"GET", "/chunks/care", "", 200, `"problems":[{"kind":"dangling","pool":1,"object":"a","text":"gone"}],"waiting":["osd.1: `},
		{"GET", "/chunks/care", "", 200, `"runs":[{"osd":0,"run":5,"what":"audit","pgs":4,`},
		{"POST", "/chunks/care/audit", `{"pool":"ec","min_age_seconds":90}`, 200, `{"runs":[{"osd":0,"run":6,"what":"audit",`},
		{"POST", "/chunks/care/gc", `{}`, 200, `"run":6`},
		{"POST", "/chunks/care/gc", `{"pool":"nope"}`, 404, "cairn pool ls"},
		{"POST", "/chunks/care/audit", `{"min_age_seconds":-1}`, 422, "expected number >= 0"},
		{"POST", "/chunks/care/nothing", `{}`, 404, ""},
		{"GET", "/pools/rbd/chunks?limit=2", "", 200, `{"chunks":[{"chunk":"a",`},
		{"GET", "/pools/rbd/chunks?limit=2", "", 200, `"after":"1.0/b"}`},
		{"GET", "/pools/rbd/chunks?pg=1.0&limit=3&after=1.0/b", "", 200, `{"chunks":[{"chunk":"c",`},
		{"GET", "/pools/rbd/chunks?after=7.0/b", "", 422, "what the last page said"},
		{"GET", "/pools/rbd/chunks?prefix=x", "", 422, "no beginning of a fingerprint"},
		{"GET", "/pools/rbd/chunks?pg=1", "", 422, "1"},
		{"GET", "/pools/nope/chunks", "", 404, "cairn pool ls"},
		{"GET", "/pools/rbd/chunks/x", "", 422, "is no fingerprint"},
		{"GET", "/pools/rbd/chunks/blake3:0a00000000000000000000000000000000000000000000000000000000000000", "", 200, `"refs":[{"nonce":"n","pool":1,"object":"o",`},
		{"GET", "/pools/rbd/chunks/own:0000000000000000000000000000000000000000000000000000000000000000", "", 404, "own:"},
		{"POST", "/pools/rbd/chunks/blake3:0a00000000000000000000000000000000000000000000000000000000000000/verify", "", 200, `"verdict":{"ok":true,`},
		{"POST", "/pools/rbd/settle", `{}`, 422, "makes no chunks"},
		{"PUT", "/pools/ec/settings/chunks", `{"value":"none"}`, 200, `"chunks":"none"}`},
		{"DELETE", "/pools/ec?confirm=ec", "", 204, ""},
		{"GET", "/map", "", 200, `step chooseleaf firstn 0 type host`},
		{"GET", "/map?pgs=true", "", 200, `"in_sync"`},
		{"GET", "/map/locate?pool=rbd&object=foo", "", 200, `"row":[`},
		{"GET", "/map/locate?pool=rbd", "", 422, "required query parameter is missing"},
		{"GET", "/map/locate?pool=nope&object=foo", "", 404, ""},
		{"POST", "/users", `{"name":"alice","display_name":"Alice"}`, 201, `"secret_key":"secret-of-alice"`},
		{"POST", "/users", `{"name":"alice"}`, 409, "exists"},
		{"GET", "/accounts", "", 200, `"name":"ListAccounts"`},
		{"POST", "/accounts/corp/iam/CreateUser", `{"params":{"UserName":"x"}}`, 200, `"tags":{"UserName":"x"}`},
		{"POST", "/accounts/-/iam/ListRoles", `{}`, 200, `"kind":"call","name":"ListRoles"`},
		{"POST", "/accounts/nobody/iam/ListUsers", `{}`, 404, "cairn account ls"},
		{"POST", "/accounts/corp/iam/PutUserPolicy", `{"params":{"PolicyDocument":"{}"}}`, 422, "Missing required field Statement"},
		{"POST", "/accounts/corp/iam/CreateRole", `{"params":{"AssumeRolePolicyDocument":"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}"}}`, 422, "AssumeRolePolicyDocument"},
		{"POST", "/accounts/corp/iam/RevokeSessions", `{"params":{"UserName":"x"}}`, 200, `"Before":`},
		{"POST", "/users", `{"name":"a b"}`, 422, "letters, digits"},
		{"POST", "/users", `{"name":"bob","access_key":"x"}`, 422, "only one of"},
		{"POST", "/users", `{"name":"bob","access_key":"x","secret_key":"y"}`, 201, `"access_key":"x","secret_key":"y"`},
		{"GET", "/users", "", 200, `"keys":[{"access_key":"ACCESSalice"}]`},
		{"GET", "/users?secrets=true", "", 200, "secret-of-alice"},
		{"GET", "/users/alice", "", 200, `[{"access_key":"ACCESSalice"}]`},
		{"GET", "/users/alice?secrets=true", "", 200, "secret-of-alice"},
		{"GET", "/users/carol", "", 404, "cairn user ls"},
		{"DELETE", "/users/bob", "", 403, "confirm=bob"},
		{"DELETE", "/users/bob?confirm=bob", "", 204, ""},
		{"GET", "/buckets", "", 200, `"name":"full"`},
		{"GET", "/encryption-keys", "", 200, "[]"},
		{"POST", "/encryption-keys", `{"id":"team/reports","description":"theirs"}`, 201, `"state":"enabled"`},
		{"POST", "/encryption-keys", `{"id":"team/reports"}`, 409, "exists"},
		{"POST", "/encryption-keys", `{"id":"a b"}`, 422, "letters, digits"},
		{"POST", "/encryption-keys/team%2Freports/rotate", "", 200, `"versions":2`},
		{"POST", "/encryption-keys/none/rotate", "", 404, "cairn kms key ls"},
		{"DELETE", "/encryption-keys/team%2Freports", "", 403, "confirm=team/reports"},
		{"DELETE", "/encryption-keys/team%2Freports?confirm=team/reports", "", 409, "cairn kms key disable"},
		{"POST", "/encryption-keys/team%2Freports/disable", "", 200, `"state":"disabled"`},
		{"POST", "/encryption-keys/team%2Freports/rotate", "", 409, "cairn kms key enable"},
		{"GET", "/encryption-keys", "", 200, `"description":"theirs"`},
		{"DELETE", "/encryption-keys/team%2Freports?confirm=team/reports", "", 204, ""},
		{"POST", "/buckets", `{"name":"pictures","owner":"alice"}`, 201, `"owner":"alice"`},
		{"POST", "/buckets", `{"name":"pictures","owner":"alice"}`, 409, "exists"},
		{"POST", "/buckets", `{"name":"pictures2","owner":"nobody"}`, 404, "cairn user ls"},
		{"GET", "/buckets/pictures", "", 200, `"objects":0`},
		{"PUT", "/buckets/pictures/settings/cut", `{"value":"content"}`, 200, `"settings":{"cut":"content"}`},
		{"PUT", "/buckets/pictures/settings/owner", `{"value":"bob"}`, 422, "chunk_size, chunks"},
		{"PUT", "/buckets/none/settings/cut", `{"value":"content"}`, 404, "cairn bucket ls"},
		{"GET", "/buckets/full/usage", "", 200, `"objects":3`},
		{"GET", "/buckets/full/usage?key=a/b", "", 200, `"key":"a/b"`},
		{"GET", "/buckets/none/usage", "", 404, "cairn bucket ls"},
		{"GET", "/users/alice/usage", "", 200, `"user":"alice"`},
		{"GET", "/users/nobody/usage", "", 404, "cairn user ls"},
		{"DELETE", "/buckets/pictures", "", 403, "confirm=pictures"},
		{"DELETE", "/buckets/pictures?confirm=pictures", "", 204, ""},
		{"DELETE", "/buckets/full?confirm=full", "", 409, "holds 3 objects"},
		{"DELETE", "/buckets/none?confirm=none", "", 404, "cairn bucket ls"},
		{"PATCH", "/status", "", 405, "not possible"},
		{"GET", "/nothing", "", 404, "/openapi.json"},
	}
	for _, tt := range tests {
		a := do(t, s, tt.method, api.Prefix+tt.path, tt.body)
		body := tt.body
		if len(body) > 100 {
			body = body[:100] + "..."
		}
		if a.code != tt.code || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s %s %s: got %d %s\nwant %d with %q", tt.method, tt.path, body, a.code, a.body, tt.code, tt.want)
		}
		if a.code >= 400 {
			if p := a.problem(t); p.Status != a.code || p.Title == "" {
				t.Errorf("%s %s: problem %+v lacks status or title", tt.method, tt.path, p)
			}
		}
	}
}

func TestWithoutBucketsAndQuery(t *testing.T) {
	s := newServer(t, admin.Options{Backend: admintest.New()})
	for _, path := range []string{"/buckets", "/buckets/x", "/encryption-keys", "/pgs/1.0/query", "/pgs/1.0/inconsistent"} {
		a := do(t, s, "GET", api.Prefix+path, "")
		if p := a.problem(t); a.code != 501 || p.Code != api.CodeUnsupported {
			t.Errorf("%s: %d %+v, want 501 unsupported", path, a.code, p)
		}
	}
}

// TestBackendErrors checks that a condition of the monitor becomes a status, a code and a next step.
func TestBackendErrors(t *testing.T) {
	backend := admintest.New()
	s := newServer(t, admin.Options{Backend: backend})
	tests := []struct {
		err    error
		status int
		code   string
		next   bool
	}{
		{api.ErrNotFound, 404, api.CodeNotFound, true},
		{api.ErrConflict, 409, api.CodeConflict, false},
		{api.ErrInvalid, 422, api.CodeInvalid, false},
		{api.ErrNoQuorum, 503, api.CodeNoQuorum, true},
		{api.ErrTryLater, 503, api.CodeTryLater, true},
		{context.DeadlineExceeded, 504, api.CodeTimeout, false},
		{client.ErrExists, 409, api.CodeExists, false},
		{client.ErrNotPermitted, 403, api.CodeNotPermitted, false},
		{errors.New("disk on fire"), 500, api.CodeInternal, false},
	}
	for _, tt := range tests {
		backend.Edit(func(s *admintest.State) { *s.Fail = fmt.Errorf("pool rbd: %w", tt.err) })
		a := do(t, s, "DELETE", api.Prefix+"/pools/rbd?confirm=rbd", "")
		p := a.problem(t)
		if a.code != tt.status || p.Code != tt.code || (p.Next != "") != tt.next || !strings.Contains(p.Detail, tt.err.Error()) {
			t.Errorf("%v: got %d %+v; want %d %s, next step: %v", tt.err, a.code, p, tt.status, tt.code, tt.next)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	s := newServer(t, admin.Options{Backend: admintest.New()})
	a := do(t, s, "GET", "/openapi.json", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Summary     string `json:"summary"`
			Parameters  []struct{ Name, In string }
			Responses   map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.code != 200 {
		t.Fatalf("GET /openapi.json: %d, %v", a.code, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q, want 3.1", doc.OpenAPI)
	}
	want := strings.Fields(`
		get/status get/health get/df get/mons get/map get/map/locate get/flags put/flags/{flag} delete/flags/{flag}
		get/osds get/osds/tree get/osds/df get/osds/stat get/osds/{id} post/osds/{id}/in post/osds/{id}/out
		post/osds/{id}/down put/osds/{id}/reweight get/pgs get/pgs/stat get/pgs/{pgid} get/pgs/{pgid}/query
		post/pgs/{pgid}/scrub post/pgs/{pgid}/deep-scrub post/pgs/{pgid}/repair get/pgs/{pgid}/inconsistent
		post/osds/{id}/scrub post/osds/{id}/deep-scrub post/osds/{id}/repair
		get/pools post/pools get/pools/{name} delete/pools/{name} put/pools/{name}/settings/{key} get/pools/{name}/settle post/pools/{name}/settle
		get/users post/users get/users/{name} delete/users/{name} get/accounts post/accounts/{account}/iam/{action}
		get/chunks/care post/chunks/care/gc post/chunks/care/audit post/chunks/care/repair post/chunks/care/verify
		get/pools/{name}/chunks get/pools/{name}/chunks/{chunk} post/pools/{name}/chunks/{chunk}/verify
		get/buckets post/buckets get/buckets/{name} delete/buckets/{name} get/users/{name}/usage put/buckets/{name}/settings/{key} get/buckets/{name}/usage
		get/encryption-keys post/encryption-keys post/encryption-keys/{id}/rotate post/encryption-keys/{id}/disable post/encryption-keys/{id}/enable delete/encryption-keys/{id}
		get/buckets/{name}/deleted post/buckets/{name}/undelete post/buckets/{name}/purge
		get/buckets/{name}/quota put/buckets/{name}/quota get/users/{name}/quota put/users/{name}/quota post/buckets/{name}/check
		get/buckets/{name}/snapshots post/buckets/{name}/snapshots delete/buckets/{name}/snapshots/{snapshot} post/buckets/{name}/snapshots/{snapshot}/clone
		get/audit get/config put/config/{key} delete/config/{key} post/crush/move post/pgs/{pgid}/force-primary
		get/osds/ok-to-stop get/osds/safe-to-destroy get/osds/ok-to-drain get/osds/drain post/osds/drain post/osds/undrain
		delete/osds/{id} put/osds/{id}/class put/osds/{id}/crush-weight`)
	have := map[string]bool{}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			have[method+strings.TrimPrefix(path, api.Prefix)] = true
			if op.OperationID == "" || op.Summary == "" || !bytes.Contains(op.Responses["default"], []byte("Problem")) {
				t.Errorf("%s %s: no id, summary or problem response", method, path)
			}
			var inPath, declared []string
			for _, part := range strings.Split(path, "/") {
				if strings.HasPrefix(part, "{") {
					inPath = append(inPath, strings.Trim(part, "{}"))
				}
			}
			for _, p := range op.Parameters {
				if p.In == "path" {
					declared = append(declared, p.Name)
				}
			}
			if d := cmp.Diff(inPath, declared); d != "" {
				t.Errorf("%s %s: parameters of the path that the operation reads (-want +got):\n%s", method, path, d)
			}
		}
	}
	for _, w := range want {
		if !have[w] {
			t.Errorf("the document lacks %s", w)
		}
		delete(have, w)
	}
	for extra := range have {
		t.Errorf("%s is in the document and not in this test", extra)
	}
	if b, err := s.OpenAPI(); err != nil || !json.Valid(b) {
		t.Errorf("OpenAPI(): %v", err)
	}
}

// TestForward runs a follower in front of a leader.
func TestForward(t *testing.T) {
	leader := admintest.New()
	ls := httptest.NewServer(newServer(t, admin.Options{Backend: leader}))
	defer ls.Close()
	addr := strings.TrimPrefix(ls.URL, "http://")
	follower := admintest.New()
	follower.Edit(func(s *admintest.State) { s.Quorum.Self, s.Quorum.LeaderAdmin = "b", addr; clear(s.Reports) })
	f := newServer(t, admin.Options{Backend: follower})

	if a := do(t, f, "GET", api.Prefix+"/health", ""); a.code != 200 || !strings.Contains(a.body, "HEALTH_OK") {
		t.Errorf("health by the follower: %d %s, want the leader's HEALTH_OK", a.code, a.body)
	}
	if a := do(t, f, "POST", api.Prefix+"/pools", `{"name":"p"}`); a.code != 201 || leader.Map().PoolByName("p") == nil || follower.Map().PoolByName("p") != nil {
		t.Errorf("pool create by the follower: %d %s, want it made by the leader", a.code, a.body)
	}
	if a := do(t, f, "GET", api.Prefix+"/osds/9", ""); a.code != 404 || a.problem(t).Code != api.CodeNotFound {
		t.Errorf("an error of the leader: %d %s, want it unchanged", a.code, a.body)
	}
	if a := do(t, f, "GET", "/metrics", ""); !strings.Contains(a.body, "cairn_mon_leader 0") || strings.Contains(a.body, "cairn_osd_up") {
		t.Errorf("metrics of the follower: %s, want only its own", a.body)
	}

	// The leader lost its office, and each takes the other for the leader.
	leader.Edit(func(s *admintest.State) { s.Quorum.Leader = "b" })
	a := do(t, f, "GET", api.Prefix+"/health", "")
	if p := a.problem(t); a.code != 503 || p.Code != api.CodeNoLeader || !strings.Contains(p.Detail, "monitor b passed this request on") {
		t.Errorf("two monitors that point at each other: %d %+v", a.code, p)
	}

	ls.Close()
	a = do(t, f, "GET", api.Prefix+"/health", "")
	if p := a.problem(t); a.code != 503 || p.Code != api.CodeNoLeader || !strings.Contains(p.Detail, addr) {
		t.Errorf("unreachable leader: %d %+v, want 503 that names %s", a.code, p, addr)
	}
}

func TestNoLeader(t *testing.T) {
	b := admintest.New()
	b.Edit(func(s *admintest.State) { s.Quorum.Leader, s.Quorum.LeaderAdmin = "", "" })
	s := newServer(t, admin.Options{Backend: b})
	a := do(t, s, "GET", api.Prefix+"/status", "")
	if p := a.problem(t); a.code != 503 || p.Code != api.CodeNoLeader || !strings.Contains(p.Detail, "a, b, c") || p.Next == "" {
		t.Errorf("status without leader: %d %+v", a.code, p)
	}
	if a := do(t, s, "GET", api.Prefix+"/mons", ""); a.code != 200 || !strings.Contains(a.body, `"quorum":[]`) {
		t.Errorf("mons without leader: %d %s, want an answer with an empty quorum", a.code, a.body)
	}
	if a := do(t, s, "GET", api.Prefix+"/map", ""); a.code != 200 {
		t.Errorf("map without leader: %d %s", a.code, a.body)
	}
	b.Edit(func(s *admintest.State) { s.Quorum.Leader = "c" })
	if a := do(t, s, "GET", api.Prefix+"/status", ""); a.code != 503 || !strings.Contains(a.body, "does not know its REST address") {
		t.Errorf("leader without address: %d %s", a.code, a.body)
	}
}

func TestMetrics(t *testing.T) {
	b := admintest.New()
	b.KillOSD(2)
	b.Edit(func(s *admintest.State) {
		s.Map.OSDs[1].Slow = true
		r := s.Reports[0].Report
		r.DeviceReadErrors, r.DeviceWriteErrors, r.DeviceRetries, r.ChecksumErrors, r.DeviceStalledUs = 1, 2, 3, 4, 5e6
		r.Device = []*wirepb.DeviceLatency{{Op: 2, Count: 50, P50Us: 1500, P99Us: 8000}, {Op: 99, Count: 1}, nil}
	})
	a := do(t, newServer(t, admin.Options{Backend: b}), "GET", "/metrics", "")
	for _, want := range []string{
		"cairn_health_status 1\n", `cairn_health_check{check="OSD_DOWN",severity="HEALTH_WARN"} 1`, `cairn_osd_up{osd="0"} 1`,
		`cairn_osd_up{osd="2"} 0`, `cairn_pgs{state="degraded"} 12`, `cairn_pgs{state="clean"} 0`, "cairn_pgs_total 12",
		"cairn_cluster_capacity_bytes 6.442450944e+10", `cairn_pool_objects{pool="rbd"} 80`, "cairn_mon_leader 1",
		`cairn_services{kind="s3"} 1`, "cairn_map_epoch ",
		`cairn_osd_slow_device{osd="0"} 0`, `cairn_osd_slow_device{osd="1"} 1`, `cairn_osd_device_latency_seconds{op="journal",osd="0",quantile="0.99"} 0.008`,
		`cairn_osd_device_window_operations{op="journal",osd="0"} 50`, `cairn_osd_device_read_errors_total{osd="0"} 1`,
		`cairn_osd_device_write_errors_total{osd="0"} 2`, `cairn_osd_device_read_retries_total{osd="0"} 3`,
		`cairn_osd_checksum_errors_total{osd="0"} 4`, `cairn_osd_stored_bytes{osd="1"} 204800`, `cairn_osd_allocated_bytes{osd="1"} 3.3792e+08`, `cairn_osd_device_discarded_bytes_total{osd="1"} 1.048576e+06`,
		`cairn_osd_device_stalled_seconds{osd="0"} 5`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	if t.Failed() {
		t.Log(a.body)
	}
}

func TestToken(t *testing.T) {
	s := newServer(t, admin.Options{Backend: admintest.New(), Token: "s3cret"})
	for header, code := range map[string]int{"": 401, "Bearer wrong": 401, "s3cret": 401, "Bearer s3cret": 200} {
		if a := do(t, s, "GET", api.Prefix+"/health", "", "Authorization", header); a.code != code {
			t.Errorf("Authorization %q: %d, want %d", header, a.code, code)
		}
	}
	if a := do(t, s, "GET", "/metrics", ""); a.code != 200 {
		t.Errorf("metrics: %d, want 200 without token", a.code)
	}
}

func TestOtherSitesMayNotChange(t *testing.T) {
	s := newServer(t, admin.Options{Backend: admintest.New()})
	if a := do(t, s, "PUT", "http://127.0.0.1:7480"+api.Prefix+"/flags/pause", "", "Sec-Fetch-Site", "cross-site"); a.code != 403 {
		t.Errorf("a change from another site: %d, want 403", a.code)
	}
	if a := do(t, s, "PUT", "http://127.0.0.1:7480"+api.Prefix+"/flags/pause", "", "Origin", "http://evil.example"); a.code != 403 {
		t.Errorf("a change with another origin: %d, want 403", a.code)
	}
}

// TestNoMapYet: a monitor that has just started answers, too.
func TestNoMapYet(t *testing.T) {
	for _, m := range []*placement.Map{nil, {}} {
		s := newServer(t, admin.Options{Backend: newborn{admintest.New(), m}})
		for _, path := range []string{"/status", "/health", "/df", "/osds", "/osds/tree", "/osds/df", "/pgs", "/pools", "/map", "/flags", "/mons"} {
			if a := do(t, s, "GET", api.Prefix+path, ""); a.code != 200 {
				t.Errorf("%s: %d %s", path, a.code, a.body)
			}
		}
		if a := do(t, s, "GET", "/metrics", ""); a.code != 200 {
			t.Errorf("metrics: %d %s", a.code, a.body)
		}
	}
}

type newborn struct {
	*admintest.Backend
	m *placement.Map
}

func (n newborn) Map() *placement.Map { return n.m }

// TestBucketService runs the bucket requests against a real bucket service in memory.
func TestBucketService(t *testing.T) {
	pool := clienttest.New(t)
	svc := bucket.New(pool, pool)
	defer svc.Close()
	backend := admintest.New()
	s := newServer(t, admin.Options{Backend: backend, Buckets: admin.FromService(svc)})
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/users", `{"name":"alice"}`, 201, ""},
		{"GET", "/buckets", "", 200, "[]"},
		{"POST", "/buckets", `{"name":"pictures","owner":"alice"}`, 201, `"objects":0`},
		{"POST", "/buckets", `{"name":"pictures","owner":"alice"}`, 409, "exists"},
		{"POST", "/buckets", `{"name":"Not_A_Name","owner":"alice"}`, 422, ""},
		{"GET", "/buckets/nothing", "", 404, "cairn bucket ls"},
	} {
		if a := do(t, s, tt.method, api.Prefix+tt.path, tt.body); a.code != tt.code || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s %s %s: %d %s, want %d with %q", tt.method, tt.path, tt.body, a.code, a.body, tt.code, tt.want)
		}
	}
	b, err := svc.Bucket(context.Background(), "pictures")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := b.Put(context.Background(), fmt.Sprint("k", i), bucket.PutInput{Body: strings.NewReader("12345"), Size: 5}); err != nil {
			t.Fatal(err)
		}
	}
	if a := do(t, s, "GET", api.Prefix+"/buckets/pictures", ""); !strings.Contains(a.body, `"objects":3,"bytes":15`) {
		t.Errorf("stat: %s, want 3 objects of 15 bytes", a.body)
	}
	if a := do(t, s, "GET", api.Prefix+"/buckets", ""); !strings.Contains(a.body, `"name":"pictures","owner":"alice"`) || !strings.Contains(a.body, `"objects":-1`) {
		t.Errorf("list: %s", a.body)
	}
	if a := do(t, s, "DELETE", api.Prefix+"/buckets/pictures?confirm=pictures", ""); a.code != 409 || a.problem(t).Code != api.CodeConflict {
		t.Errorf("remove with objects: %d %s", a.code, a.body)
	}
	for _, err := range b.DeleteMany(context.Background(), []string{"k0", "k1", "k2"}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if a := do(t, s, "DELETE", api.Prefix+"/buckets/pictures?confirm=pictures", ""); a.code != 204 {
		t.Errorf("remove: %d %s", a.code, a.body)
	}
}

// TestUndelete deletes objects of a bucket that keeps them, and lists them, brings them back and purges them.
func TestUndelete(t *testing.T) {
	pool := clienttest.New(t)
	svc := bucket.New(pool, pool)
	defer svc.Close()
	s := newServer(t, admin.Options{Backend: admintest.New(), Buckets: admin.FromService(svc)})
	ctx := context.Background()
	if _, err := svc.Create(ctx, "pictures", "alice", ""); err != nil {
		t.Fatal(err)
	}
	want := func(method, path, body string, code int, want string) string {
		t.Helper()
		a := do(t, s, method, api.Prefix+"/buckets/"+path, body)
		if a.code != code || !strings.Contains(a.body, want) {
			t.Errorf("%s %s %s: %d %s, want %d with %q", method, path, body, a.code, a.body, code, want)
		}
		return a.body
	}
	want("PUT", "pictures/settings/undelete", `{"value":"soon"}`, 422, "7d")
	want("PUT", "pictures/settings/undelete", `{"value":"7d"}`, 200, `"undelete":"7d"`)
	b, err := svc.Fresh(ctx, "pictures")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a/1", "a/2", "a/2", "b"} {
		if _, err := b.Put(ctx, key, bucket.PutInput{Body: strings.NewReader("12345"), Size: 5}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"a/1", "b"} {
		if err := b.Delete(ctx, key, bucket.Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	page := want("GET", "pictures/deleted?prefix=a/&limit=1", "", 200, `"key":"a/1"`)
	if !strings.Contains(page, `"more":true`) || strings.Contains(page, "a/2") {
		t.Errorf("a page: %s", page)
	}
	want("GET", "pictures/deleted?prefix=a/&after=a/1", "", 200, `"key":"a/2"`)
	want("GET", "pictures/deleted?limit=1001", "", 422, "limit")
	want("GET", "none/deleted", "", 404, "cairn bucket ls")
	want("GET", "pictures/usage", "", 200, `"deleted":3,"deleted_bytes":15`)
	want("POST", "pictures/undelete", `{"key":"a/1"}`, 200, `"key":"a/1","size":5`)
	want("POST", "pictures/undelete", `{"key":"a/1"}`, 404, "cairn bucket deleted pictures")
	want("POST", "pictures/undelete", `{"key":"a/2"}`, 409, "--force")
	want("POST", "pictures/undelete", `{"key":"a/2","force":true}`, 200, `"key":"a/2"`)
	want("POST", "pictures/undelete", `{"key":"b","id":"x"}`, 404, "no such deleted object")
	want("POST", "pictures/undelete", `{"key":""}`, 422, "")
	for i, err := range b.DeleteMany(ctx, []string{"a/1", "a/2"}) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	want("DELETE", "pictures?confirm=pictures", "", 409, "cairn bucket purge pictures")
	want("POST", "pictures/purge", `{"confirm":"x"}`, 403, "confirm=pictures")
	want("POST", "pictures/purge", `{"confirm":"pictures","prefix":"a/"}`, 200, `"erased":3,"more":false`)
	want("POST", "pictures/purge", `{"confirm":"pictures"}`, 200, `"erased":1,"more":false`)
	want("GET", "pictures/deleted", "", 200, `"objects":[]`)
	want("DELETE", "pictures?confirm=pictures", "", 204, "")
}

// broken is a backend with a bug.
type broken struct{ *admintest.Backend }

func (broken) Services() []api.ServiceStatus { panic("bug") }

func TestPanicIsAnAnswer(t *testing.T) {
	a := do(t, newServer(t, admin.Options{Backend: broken{admintest.New()}}), "GET", api.Prefix+"/status", "")
	if p := a.problem(t); a.code != 500 || p.Code != api.CodeInternal || strings.Contains(a.body, "bug") {
		t.Errorf("got %d %+v, want a problem that does not tell the panic", a.code, p)
	}
}

func TestServeAndClose(t *testing.T) {
	s := newServer(t, admin.Options{Backend: admintest.New()})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(ln) }() // ends with Close
	c, err := api.NewClient(api.ClientOptions{Addrs: []string{ln.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if h, err := c.Health(context.Background()); err != nil || h.Status != api.HealthOK {
		t.Errorf("health: %+v, %v", h, err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err != nil {
		t.Error("Serve:", err)
	}
	if err := s.Serve(ln); err == nil {
		t.Error("Serve after Close: no error")
	}
}
