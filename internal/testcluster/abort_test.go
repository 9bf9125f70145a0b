package testcluster_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

// TestAbortedPut: clients that break off in the middle of what they send, in every framing, at any place, leave nothing
// behind in the cluster: once the gateway has swept and the care for chunks has run, there is no data object, no upload,
// no chunk and no shard but those of what was there before, which nothing has touched.
func TestAbortedPut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds, most of which it waits")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	eager := func(o *chunkcare.Options) {
		o.Tick = 10 * time.Millisecond
		o.Settings = func(m *placement.Map) chunkcare.Settings {
			set := chunkcare.SettingsOf(m)
			set.GCInterval, set.OutboxEvery = 100*time.Millisecond, 100*time.Millisecond
			return set
		}
	}
	c, _, _ := startPool(t, ctx, testcluster.Options{OSDs: 4, TuneCare: eager}, api.PoolSpec{Size: 3, MinSize: 1, Chunks: "2:1:xor", ChunkSize: 128 << 10, PGNum: 8})
	if _, err := c.Mon(0).PoolCreate(ctx, api.PoolSpec{Name: "plain", Size: 2, MinSize: 1, PGNum: 4, Application: "test"}); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "with two pools")
	for key, value := range map[string]string{"gc_orphan_age": "1s", "chunk_scrub_interval": "2s"} {
		if err := c.Mon(0).ConfigSet(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, name := range []string{"data", "plain"} {
		t.Run(name, func(t *testing.T) {
			pool, err := cl.Pool(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			aborted(ctx, t, c, pool)
		})
	}
}

func aborted(ctx context.Context, t *testing.T, c *testcluster.Cluster, pool *client.Pool) {
	var later atomic.Int64 // hours
	svc, err := bucket.NewService(bucket.Options{
		Meta: pool, Data: pool, Log: logger(t), Grace: -1, ChunkBytes: 256 << 10, ChunkedBytes: 512 << 10,
		Now: func() time.Time { return time.Now().Add(time.Duration(later.Load()) * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	key := &wirepb.AccessKey{AccessKey: "KEY", SecretKey: "secret"}
	gw, err := s3.New(s3.Options{Buckets: svc, Log: logger(t), SweepPeriod: -1, Drain: time.Minute, Users: func(context.Context, string) (*wirepb.User, error) {
		return &wirepb.User{Name: "ann", Keys: []*wirepb.AccessKey{key}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- gw.Serve(ln) }() // until Close
	a := &aborter{ctx: ctx, t: t, addr: ln.Addr().String(), signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
	before := bytes.Repeat([]byte("before "), 100<<10)
	a.whole("PUT", "/photos", nil)
	a.whole("PUT", "/photos/kept", before)
	var up struct{ UploadId string }
	if err := xml.Unmarshal(a.whole("POST", "/photos/parts?uploads=", nil), &up); err != nil {
		t.Fatal(err)
	}
	a.whole("PUT", "/photos/parts?partNumber=1&uploadId="+up.UploadId, before)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	n := 0
	for _, size := range []int{100, 20 << 10, 300 << 10, 2 << 20} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		for _, path := range []string{"/photos/new-%d", "/photos/kept", "/photos/parts?partNumber=2&uploadId=" + up.UploadId, "/photos/parts?partNumber=1&uploadId=" + up.UploadId} {
			for _, framed := range []bool{false, true} {
				for _, cut := range []int{0, 1, rng.IntN(size), size - 1} {
					n++
					p := path
					if strings.Contains(p, "%d") {
						p = fmt.Sprintf(p, n)
					}
					slots <- struct{}{}
					all.Go(func() { // until it has hung up
						defer func() { <-slots }()
						a.part(p, body, cut, framed)
					})
				}
			}
		}
	}
	all.Wait()
	a.part("/photos/parts?uploadId="+up.UploadId, []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"), 30, false)
	if got := a.whole("GET", "/photos/kept", nil); !bytes.Equal(got, before) {
		t.Errorf("what was there is %d other bytes", len(got))
	}
	if got := a.whole("GET", "/photos", nil); bytes.Count(got, []byte("<Key>")) != 1 {
		t.Errorf("listed: %s", got)
	}
	a.whole("DELETE", "/photos/parts?uploadId="+up.UploadId, nil)
	if err := gw.Close(); err != nil { // waits for the requests that were broken off
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	later.Store(3)
	var st bucket.SweepStats
	for range 2 { // uploads are closed, then removed
		if st, err = svc.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d broken off; swept: %+v", n, st)
		later.Add(1)
	}
	nothing := func(but string) {
		t.Helper()
		var names []string
		for from := (client.Cursor{}); !from.End; {
			page, next, err := pool.List(ctx, from, 1000)
			if err != nil {
				t.Fatal(err)
			}
			names, from = append(names, page...), next
		}
		ids := map[string]bool{}
		for _, name := range names {
			switch {
			case strings.HasPrefix(name, "s3.data."):
				ids[strings.Split(name, ".")[2]] = true
			case strings.HasPrefix(name, "s3.up."):
				t.Errorf("left behind %s: %s", but, name)
			}
		}
		if want := map[bool]int{true: 1}[but == "beside kept"]; len(ids) != want {
			t.Errorf("%d bodies are left %s, want %d: %q", len(ids), but, want, names)
		}
	}
	nothing("beside kept")
	b, err := svc.Bucket(ctx, "photos")
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.Get(ctx, "kept")
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Open(ctx, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, before) {
		t.Errorf("what was there is %d other bytes: %v", len(got), err)
	}
	r.Close()
	if err := b.Delete(ctx, "kept", bucket.Cond{}); err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	nothing("in an empty bucket")
	last := ""
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		entries, _, err := pool.ListRecords(ctx, placement.ChunkEntry, client.Cursor{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		outbox, _, err := pool.ListRecords(ctx, placement.Outbox, client.Cursor{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		shards := 0
		for i := range c.OSDs() {
			list, _, err := pool.Shards().List(ctx, c.OSD(i).ID(), nil, 1000)
			if err != nil {
				t.Fatal(err)
			}
			shards += len(list)
		}
		if last = fmt.Sprintf("%d chunks, %d shards, %d dropped references", len(entries), shards, len(outbox)); len(entries)+shards+len(outbox) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("left behind: %s", last)
		case <-tick.C:
		}
	}
}

// aborter sends requests, whole or in part.
type aborter struct {
	ctx    context.Context
	t      *testing.T
	addr   string
	signer *v4.Signer
}

func (a *aborter) request(method, path, payload string, size int, header map[string]string, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(a.ctx, method, "http://"+a.addr+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	r.ContentLength = int64(size)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	r.Header.Set("X-Amz-Content-Sha256", payload)
	if err := a.signer.SignHTTP(a.ctx, aws.Credentials{AccessKeyID: "KEY", SecretAccessKey: "secret"}, r, payload, "s3", "us-east-1", time.Now()); err != nil {
		a.t.Fatal(err)
	}
	return r
}

func (a *aborter) whole(method, path string, body []byte) []byte {
	a.t.Helper()
	resp, err := http.DefaultClient.Do(a.request(method, path, "UNSIGNED-PAYLOAD", len(body), nil, bytes.NewReader(body)))
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		a.t.Fatalf("%s %s: %d %s, %v", method, path, resp.StatusCode, b, err)
	}
	return b
}

// part sends cut bytes of a body, then hangs up.
func (a *aborter) part(path string, body []byte, cut int, framed bool) {
	size, payload, header := len(body), "UNSIGNED-PAYLOAD", map[string]string{}
	method := http.MethodPut
	if strings.HasPrefix(path, "/photos/parts?uploadId") {
		method = http.MethodPost
	}
	if framed {
		payload, header["X-Amz-Decoded-Content-Length"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", fmt.Sprint(size)
		at := rand.IntN(size) // in two chunks, if that is allowed
		if at < 8192 {
			at = 0
		}
		var b bytes.Buffer
		for _, piece := range [][]byte{body[:at], body[at:]} {
			if len(piece) > 0 {
				fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
			}
		}
		b.WriteString("0\r\n\r\n")
		body, size = b.Bytes(), b.Len()
		cut = min(cut, size-3)
	}
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Error(err)
		return
	}
	defer conn.Close()
	if err := a.request(method, path, payload, size, header, &short{bytes.NewReader(body[:cut])}).Write(conn); err == nil && cut < size {
		a.t.Errorf("%d of %d bytes were a whole request", cut, size)
	}
}

// short breaks off where its bytes end.
type short struct{ r *bytes.Reader }

func (s *short) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
