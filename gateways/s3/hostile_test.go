package s3

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/client/clienttest"
)

// raw is a connection on which a client says what it likes.
type raw struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func (g *gateway) raw() *raw {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return &raw{conn.(*net.TCPConn), g.t, bufio.NewReader(conn)}
}

// send writes; that the gateway does not take it is no error.
func (c *raw) send(format string, args ...any) *raw {
	fmt.Fprintf(c, format, args...)
	return c
}

// rest returns what the gateway says until it closes the connection.
func (c *raw) rest() string {
	b, _ := io.ReadAll(c.r) // a reset is an end, too
	return string(b)
}

// answer reads one answer.
func (c *raw) answer(method string) (status int, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// head returns the beginning of a request that ann has signed, up to and without the empty line.
func (g *gateway) head(method, path string, more ...string) string {
	r := httptest.NewRequest(method, "http://"+g.addr+path, nil)
	sign(r, ann.Keys[0], unsignedBody, time.Now(), "us-east-1")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Amz-Date: %s\r\nX-Amz-Content-Sha256: %s\r\nAuthorization: %s\r\n",
		method, path, g.addr, r.Header.Get("X-Amz-Date"), unsignedBody, r.Header.Get("Authorization"))
	for _, h := range more {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

// serves checks that the gateway is well and that nothing is under way.
func (g *gateway) serves() {
	g.t.Helper()
	g.want(call{method: "GET", path: "/photos"}, 200)
	for range 10_000 {
		if len(g.srv.slots) == 0 {
			return
		}
		g.do(call{method: "GET", path: "/-/health"})
	}
	g.t.Error("a request is still under way")
}

func (g *gateway) missing(path string) {
	g.t.Helper()
	g.wantErr(call{method: "GET", path: path}, 404, "NoSuchKey")
}

// Clients that send slowly, or nothing, are given up by their deadlines.
func TestSlowLoris(t *testing.T) {
	pool := clienttest.New(t)
	patient, g := newGatewayOn(t, pool, nil), newGatewayOn(t, pool, func(o *Options) {
		o.HeaderTimeout, o.IdleTimeout, o.BodyIdle = 100*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
	})
	patient.want(call{method: "PUT", path: "/photos"}, 200)
	silent := g.raw()
	header := g.raw().send("GET /photos HTTP/1.1\r\nHost: x\r\nX-Amz-")
	stopped := g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 5", "")+"he")
	idle := g.raw().send("GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := silent.rest(); got != "" {
		t.Errorf("a silent client got %q", got)
	}
	if got := header.rest(); got != "" && !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("half a header got %q", got)
	}
	if got := stopped.rest(); !strings.Contains(got, "RequestTimeout") {
		t.Errorf("half a body got %q", got)
	}
	idle.rest() // ends
	// Something comes in time, but too little.
	slow := g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 1000000", ""))
	over := make(chan string, 1)
	go func() { over <- slow.rest() }() // until the gateway closes the connection
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for got := ""; got == ""; {
		select {
		case <-tick.C:
			slow.send("x")
		case got = <-over:
			if !strings.Contains(got, "RequestTimeout") {
				t.Errorf("a body of a byte at a time got %q", got)
			}
		}
	}
	g.ended()
	patient.missing("/photos/k")
}

// Who closes its half of the connection may or may not get an answer; half a body is not stored.
func TestHalfClosed(t *testing.T) {
	g := withBucket(t)
	c := g.raw().send("%s", g.head("PUT", "/photos/half", "Content-Length: 5", "")+"he")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.rest(); !strings.Contains(got, "<Code>IncompleteBody</Code>") {
		t.Errorf("half a body: %q", got)
	}
	g.missing("/photos/half")
	c = g.raw().send("%s", g.head("GET", "/photos", ""))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.rest(); got != "" && !strings.HasPrefix(got, "HTTP/1.1 ") {
		t.Errorf("half-closed: %q", got)
	}
	g.serves()
}

// Who asks for much and reads nothing is given up, and frees what it holds.
func TestNeverReads(t *testing.T) {
	pool := clienttest.New(t)
	reg := prometheus.NewRegistry()
	patient, g := newGatewayOn(t, pool, nil), newGatewayOn(t, pool, func(o *Options) { o.BodyIdle, o.Metrics = 200*time.Millisecond, reg })
	patient.want(call{method: "PUT", path: "/photos"}, 200)
	patient.put("/photos/large", strings.Repeat("x", 24<<20)) // more than sockets hold
	for range 4 {
		c := g.raw()
		if err := c.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		c.send("%s", g.head("GET", "/photos/large", ""))
	}
	// However late they are taken up on a busy machine, each comes to its end.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for over := 0.0; over < 4; <-tick.C {
		over = 0
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "cairn_s3_requests_total" {
				continue
			}
			for _, m := range f.Metric {
				over += m.GetCounter().GetValue()
			}
		}
	}
	g.ended()
}

// ended waits until nothing is under way; the test's own deadline ends it.
func (g *gateway) ended() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(g.srv.slots) > 0 {
		<-tick.C
	}
}

// heap returns the bytes that are in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// A thousand connections that say nothing, or half a header, cost little, and others are served.
func TestIdleConnections(t *testing.T) {
	g := withBucket(t)
	before := heap()
	const n = 1000
	for i := range n {
		c := g.raw()
		switch i % 3 {
		case 1:
			c.send("GET /photos HTTP/1.1\r\nHost: x\r\nX-Amz-Meta-")
		case 2: // idle after a request
			if c.send("GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n"); i%30 == 2 {
				if status, _ := c.answer("GET"); status != 200 {
					t.Fatalf("connection %d: status %d", i, status)
				}
			}
		}
	}
	g.serves()
	each := (heap() - before) / n
	t.Logf("%d bytes for each of %d connections, both ends together", each, n)
	if each > 64<<10 {
		t.Errorf("%d bytes for each of %d connections", each, n)
	}
}

// Beyond the limit of connections nobody is taken until one goes.
func TestConnectionLimit(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.MaxConns = 2 })
	first, second := g.raw(), g.raw()
	for _, c := range []*raw{first, second} {
		if status, _ := c.send("GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n").answer("GET"); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	third := g.raw().send("GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := third.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if b, err := third.r.Peek(1); err == nil {
		t.Errorf("a third connection got %q", b)
	}
	if err := third.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if status, _ := third.answer("GET"); status != 200 {
		t.Errorf("status %d", status)
	}
}

// What is too large is refused with the right error, and costs no memory.
func TestOversized(t *testing.T) {
	g := withBucket(t)
	up := g.want(call{method: "POST", path: "/photos/k?uploads"}, 200)
	_, rest, _ := strings.Cut(string(up.body), "<UploadId>")
	id, _, _ := strings.Cut(rest, "<")
	long := strings.Repeat("x", 1025)
	many := func(n int, part string) string { return strings.Repeat(part, n) }
	before := heap()
	for name, x := range map[string]struct {
		c      call
		status int
		code   string
	}{
		"key":           {call{method: "PUT", path: "/photos/" + long}, 400, "KeyTooLongError"},
		"query":         {call{method: "GET", path: "/photos?prefix=" + many(20, long)}, 400, "InvalidURI"},
		"metadata":      {call{method: "PUT", path: "/photos/k", header: map[string]string{"X-Amz-Meta-A": many(3, long)}}, 400, "MetadataTooLarge"},
		"delete":        {call{method: "POST", path: "/photos?delete", body: []byte("<Delete>" + many(1001, "<Object><Key>k</Key></Object>") + "</Delete>")}, 400, "MalformedXML"},
		"delete bytes":  {call{method: "POST", path: "/photos?delete", body: []byte("<Delete><Object><Key>" + many(9<<10, long) + "</Key></Object></Delete>")}, 400, "MaxMessageLengthExceeded"},
		"delete key":    {call{method: "POST", path: "/photos?delete", body: []byte("<Delete><Object><Key>" + long + "</Key></Object></Delete>")}, 200, ""},
		"parts":         {call{method: "POST", path: "/photos/k?uploadId=" + id, body: []byte("<CompleteMultipartUpload>" + many(10_001, "<Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>") + "</CompleteMultipartUpload>")}, 400, "MalformedXML"},
		"part number":   {call{method: "PUT", path: "/photos/k?partNumber=10001&uploadId=" + id}, 400, "InvalidArgument"},
		"nested XML":    {call{method: "PUT", path: "/photos?tagging", body: []byte(many(5000, "<a>") + many(5000, "</a>"))}, 400, "MalformedXML"},
		"entities":      {call{method: "PUT", path: "/photos?tagging", body: []byte(`<!DOCTYPE a [<!ENTITY b "` + long + `"><!ENTITY c "&b;&b;&b;&b;">]><Tagging><TagSet><Tag><Key>&c;</Key><Value>v</Value></Tag></TagSet></Tagging>`)}, 400, "MalformedXML"},
		"tags":          {call{method: "PUT", path: "/photos?tagging", body: []byte("<Tagging><TagSet>" + many(51, "<Tag><Key>k</Key><Value>v</Value></Tag>") + "</TagSet></Tagging>")}, 400, ""},
		"policy":        {call{method: "PUT", path: "/photos?policy", body: []byte(`{"Version":"` + many(21, long) + `"}`)}, 400, ""},
		"nested policy": {call{method: "PUT", path: "/photos?policy", body: []byte(many(9000, "["))}, 400, "MalformedPolicy"},
		"length":        {call{method: "PUT", path: "/photos/k", payload: streamUnsignedTrailer, header: map[string]string{"X-Amz-Decoded-Content-Length": "99999999999999"}}, 400, "EntityTooLarge"},
		"no length":     {call{method: "PUT", path: "/photos/k", payload: streamUnsignedTrailer, header: map[string]string{"X-Amz-Decoded-Content-Length": "99999999999999999999"}}, 400, "InvalidArgument"},
		"chunk":         {call{method: "PUT", path: "/photos/k", payload: streamUnsignedTrailer, header: map[string]string{"X-Amz-Decoded-Content-Length": "5"}, raw: []byte("7fffffffffffffff\r\nhello")}, 400, "IncompleteBody"},
		"chunk header":  {call{method: "PUT", path: "/photos/k", payload: streamSigned, header: map[string]string{"X-Amz-Decoded-Content-Length": "5"}, raw: []byte("5;chunk-signature=" + many(1000, long))}, 400, ""},
		"trailer":       {call{method: "PUT", path: "/photos/k", payload: streamUnsignedTrailer, header: map[string]string{"X-Amz-Decoded-Content-Length": "5"}, raw: []byte("5\r\nhello\r\n0\r\n" + many(1000, "x-a:"+long+"\r\n"))}, 400, ""},
		"range":         {call{method: "GET", path: "/photos/k", header: map[string]string{"Range": "bytes=" + many(4000, "0-1,")}}, 404, "NoSuchKey"},
		"copy source":   {call{method: "PUT", path: "/photos/k", header: map[string]string{"X-Amz-Copy-Source": "/photos/" + many(20, long)}}, 400, ""},
		"tagging":       {call{method: "PUT", path: "/photos/k", header: map[string]string{"X-Amz-Tagging": many(20, long) + "=v"}}, 400, ""},
		"token":         {call{method: "GET", path: "/photos?list-type=2&continuation-token=" + many(10, long)}, 400, "InvalidArgument"},
	} {
		x.c.user = ann
		if strings.HasSuffix(x.c.path, "?delete") {
			sum := md5.Sum(x.c.body)
			x.c.header = map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(sum[:])}
		}
		r := g.want(x.c, x.status)
		if x.code != "" && r.err.Code != x.code {
			t.Errorf("%s: %s %s, want %s", name, r.err.Code, r.err.Message, x.code)
		}
	}
	g.serves()
	g.missing("/photos/k")
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("%d bytes are still in use", grown)
	}
	// Of a header too large for net/http nothing is kept but what the limit allows.
	c := g.raw().send("GET /photos HTTP/1.1\r\nHost: x\r\n")
	line := "X-A: " + strings.Repeat(long, 10) + "\r\n"
	for range 1000 { // 10 MB, unless the connection is cut
		if _, err := io.WriteString(c, line); err != nil {
			break
		}
	}
	if got := c.rest(); got != "" && !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("10 MB of header got %q", got)
	}
}

// A body is what its length says, and one request is not two.
func TestLyingLengths(t *testing.T) {
	g := withBucket(t)
	// Shorter than said: nothing is stored. Longer: what is too much is another request, and none.
	c := g.raw().send("%s", g.head("PUT", "/photos/short", "Content-Length: 50", "")+"hello")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.rest(); !strings.Contains(got, "<Code>IncompleteBody</Code>") {
		t.Errorf("short: %q", got)
	}
	g.missing("/photos/short")
	c = g.raw().send("%s", g.head("PUT", "/photos/long", "Content-Length: 5", "")+"hello, world\r\n\r\n")
	if status, _ := c.answer("PUT"); status != 200 {
		t.Errorf("long: status %d", status)
	}
	if got := c.rest(); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("what is too long got %q", got)
	}
	if r := g.want(call{method: "GET", path: "/photos/long"}, 200); string(r.body) != "hello" {
		t.Errorf("stored %q", r.body)
	}
	smuggled := "GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, headers := range map[string][]string{
		"two lengths":           {"Content-Length: 5", "Content-Length: 6"},
		"a list of lengths":     {"Content-Length: 5, 6"},
		"negative":              {"Content-Length: -5"},
		"signed":                {"Content-Length: +5"},
		"no number":             {"Content-Length: 5a"},
		"huge":                  {"Content-Length: 99999999999999999999"},
		"chunked twice":         {"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"},
		"unknown encoding":      {"Transfer-Encoding: xchunked", "Content-Length: 5"},
		"identity":              {"Transfer-Encoding: identity, chunked"},
		"a blank before colons": {"Content-Length : 5"},
		"two hosts":             {"Content-Length: 5", "Host: y"},
		"a bare return":         {"Content-Length: 5", "X-A: b\rTransfer-Encoding: chunked"},
	} {
		body := "0\r\n\r\n" // of five bytes, and none
		c := g.raw().send("%s", g.head("PUT", "/photos/smuggled", append(headers, "")...)+body+smuggled)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got := c.rest()
		if status := strings.SplitN(got, " ", 3); len(status) < 2 || status[1] < "400" || status[1] > "599" {
			t.Errorf("%s: %q", name, got)
		}
		if strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%s: what follows was answered: %q", name, got)
		}
		g.missing("/photos/smuggled")
	}
	// A body in chunks has no length that is said. If one is said nevertheless, the chunks count, and nothing follows.
	for _, headers := range [][]string{{"Transfer-Encoding: chunked", ""}, {"Content-Length: 70", "Transfer-Encoding: chunked", ""}} {
		c := g.raw().send("%s", g.head("PUT", "/photos/chunked", headers...)+"2\r\nhi\r\n0\r\n\r\n"+smuggled)
		got := c.rest()
		if !strings.HasPrefix(got, "HTTP/1.1 200") || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%q: %q", headers, got)
		}
		if r := g.want(call{method: "GET", path: "/photos/chunked"}, 200); string(r.body) != "hi" {
			t.Errorf("%q: stored %q", headers, r.body)
		}
	}
	g.serves()
}

// Headers of which a request has one come once.
func TestDuplicateHeaders(t *testing.T) {
	g := withBucket(t)
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "Content-MD5", "X-Amz-Copy-Source", "X-Amz-Decoded-Content-Length"} {
		c := g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 5", name+": x", name+": y", "Connection: close", "")+"hello")
		if got := c.rest(); !strings.HasPrefix(got, "HTTP/1.1 4") {
			t.Errorf("two of %s: %q", name, got)
		}
	}
	g.missing("/photos/k")
}

// Expectations that are none, and clients that do not wait.
func TestExpectations(t *testing.T) {
	g := withBucket(t)
	c := g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 5", "Expect: 200-ok", "Connection: close", "")+"hello")
	if got := c.rest(); !strings.HasPrefix(got, "HTTP/1.1 417") {
		t.Errorf("another expectation: %q", got)
	}
	c = g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 5", "Expect: 100-continue", "Connection: close", "")+"hello")
	if got := c.rest(); !strings.HasPrefix(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200") {
		t.Errorf("without waiting: %q", got)
	}
	// A refused one whose client sends its body anyway: nothing of that is taken for a request.
	c = g.raw().send("%s", g.head("PUT", "/none-such/k", "Content-Length: 35", "Expect: 100-continue", "")+"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := c.rest(); !strings.HasPrefix(got, "HTTP/1.1 404") || strings.Count(got, "HTTP/1.1 ") != 1 {
		t.Errorf("refused: %q", got)
	}
	g.serves()
}

// Bodies that never end are read no further than they count.
func TestEndlessBodies(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.BodyIdle = 100 * time.Millisecond })
	g.want(call{method: "PUT", path: "/photos"}, 200)
	block := bytes.Repeat([]byte("x"), 64<<10)
	var all sync.WaitGroup
	for _, path := range []string{"/none-such/k", "/photos?tagging", "/photos?policy", "/photos?nonsense"} {
		c := g.raw().send("%s", g.head("PUT", path, "Content-Length: 1000000000000", ""))
		all.Go(func() { // until the gateway closes the connection
			sent := 0
			for sent < 1<<30 {
				n, err := c.Write(block)
				if sent += n; err != nil {
					break
				}
			}
			if sent >= 64<<20 {
				t.Errorf("%s: %d bytes of a body that is not wanted were read", path, sent)
			}
		})
	}
	all.Wait()
	g.ended()
}

// Close lets what is under way end, refuses what is new, and tells those who ask whether the
// gateway is well; whoever does not end by the deadline is cut off.
func TestDrain(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.Notice, o.Drain = time.Hour, time.Minute })
	g.srv.hurry = make(chan struct{})
	g.want(call{method: "PUT", path: "/photos"}, 200)
	under := g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 5", "")+"he")
	waitInflight(t, g, 1)
	idle := g.raw()
	closed := make(chan error, 1)
	go func() { closed <- g.srv.Close() }() // when what is under way has ended
	for !g.srv.isLeaving() {
		runtime.Gosched()
	}
	// Within the notice all is served, but the health check says that this will end.
	if status, body := idle.send("GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n").answer("GET"); status != 503 || !strings.Contains(body, "about to stop") {
		t.Errorf("health: status %d, %q", status, body)
	}
	if got := idle.rest(); got != "" {
		t.Errorf("the connection went on with %q", got)
	}
	last := g.raw().send("%s", g.head("GET", "/photos", ""))
	if status, _ := last.answer("GET"); status != 200 {
		t.Errorf("within the notice: status %d", status)
	}
	close(g.srv.hurry)
	for { // until nobody listens any more; the test's own deadline ends this
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-closed:
		t.Fatalf("closed before a request under way had ended: %v", err)
	default:
	}
	if status, _ := under.send("llo").answer("PUT"); status != 200 {
		t.Errorf("the request under way: status %d", status)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if o, err := g.svc.Bucket(t.Context(), "photos"); err != nil {
		t.Error(err)
	} else if got, err := o.Get(t.Context(), "k"); err != nil || got.Size != 5 {
		t.Errorf("what was put: %+v, %v", got, err)
	}
}

// A client that never ends its request does not keep the gateway from stopping.
func TestDrainDeadline(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.Drain = 50 * time.Millisecond })
	g.want(call{method: "PUT", path: "/photos"}, 200)
	c := g.raw().send("%s", g.head("PUT", "/photos/k", "Content-Length: 5", "")+"he")
	waitInflight(t, g, 1)
	if err := g.srv.Close(); err != nil {
		t.Error(err)
	}
	c.rest()
}
