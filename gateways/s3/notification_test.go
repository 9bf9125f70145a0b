package s3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
)

// hook takes events.
type hook struct {
	t      *testing.T
	server *httptest.Server
	got    chan eventRecord

	mu     sync.Mutex // guards below
	broken bool       // answers with an error
	tries  int
}

func newHook(t *testing.T) *hook {
	h := &hook{t: t, got: make(chan eventRecord, 1000)}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		broken := h.broken
		h.tries++
		h.mu.Unlock()
		var doc struct{ Records []eventRecord }
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &doc)
		}
		if err != nil || r.Method != http.MethodPost || len(doc.Records) != 1 {
			t.Errorf("%s %s: %v", r.Method, b, err)
		}
		if broken {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.got <- doc.Records[0]
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *hook) break_(broken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = broken
}

func (h *hook) next() eventRecord {
	h.t.Helper()
	select {
	case r := <-h.got:
		return r
	case <-h.t.Context().Done():
		h.t.Fatal("no event comes")
		panic("unreachable")
	}
}

func (g *gateway) topic(name, endpoint string) {
	g.t.Helper()
	doc, err := NewTopic(endpoint, time.Now())
	if err == nil {
		err = g.svc.SetTopic(g.t.Context(), name, doc)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func notifications(topics ...string) []byte {
	return []byte("<NotificationConfiguration>" + strings.Join(topics, "") + "</NotificationConfiguration>")
}

func destination(topic, events, filter string) string {
	var b strings.Builder
	for e := range strings.SplitSeq(events, ",") {
		b.WriteString("<Event>" + e + "</Event>")
	}
	return "<TopicConfiguration><Id>id of " + topic + "</Id><Topic>arn:aws:sns:us-east-1::" + topic + "</Topic>" + b.String() + filter + "</TopicConfiguration>"
}

func keyFilter(prefix, suffix string) string {
	return "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>" + prefix + "</Value></FilterRule><FilterRule><Name>Suffix</Name><Value>" + suffix + "</Value></FilterRule></S3Key></Filter>"
}

// Each change is told of once, in AWS's words, and nothing else is.
func TestNotifications(t *testing.T) {
	g := withBucket(t)
	h := newHook(t)
	g.topic("all", h.server.URL+"/x")
	g.put("/photos/before", "x")
	g.want(call{method: "PUT", path: "/photos?notification", body: notifications(destination("all", "s3:ObjectCreated:*,s3:ObjectRemoved:*,s3:ObjectTagging:*,s3:ObjectAcl:Put", keyFilter("a ", ".txt")))}, 200)
	g.put("/photos/other", "x")
	r := g.put("/photos/a%20dir/ü+.txt", "hello")
	got := g.check(h.next(), "ObjectCreated:Put", "a+dir/%C3%BC%2B.txt")
	if o := got.Happening.Object; *o.Size != 5 || `"`+o.ETag+`"` != r.header.Get("Etag") || o.Version != "" || o.Sequencer == "" {
		t.Errorf("object %+v", o)
	}
	if got.User.ID != "ann" || got.Request.Address != "127.0.0.1" || got.Response.Request != r.header.Get("X-Amz-Request-Id") || got.Happening.ID != "id of all" || got.Happening.Bucket.ARN != "arn:aws:s3:::photos" {
		t.Errorf("%+v", got)
	}
	g.want(call{method: "PUT", path: "/photos/a%20copy.txt", header: map[string]string{"X-Amz-Copy-Source": "/photos/before"}}, 200)
	g.check(h.next(), "ObjectCreated:Copy", "a+copy.txt")
	var up struct{ UploadId string }
	if err := xml.Unmarshal(g.want(call{method: "POST", path: "/photos/a%20b.txt?uploads"}, 200).body, &up); err != nil {
		t.Fatal(err)
	}
	part := g.want(call{method: "PUT", path: "/photos/a%20b.txt?partNumber=1&uploadId=" + up.UploadId, body: []byte("part")}, 200)
	g.want(call{method: "POST", path: "/photos/a%20b.txt?uploadId=" + up.UploadId,
		body: []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + part.header.Get("Etag") + "</ETag></Part></CompleteMultipartUpload>")}, 200)
	if o := g.check(h.next(), "ObjectCreated:CompleteMultipartUpload", "a+b.txt").Happening.Object; *o.Size != 4 || !strings.HasSuffix(o.ETag, "-1") {
		t.Errorf("object %+v", o)
	}
	g.want(call{method: "PUT", path: "/photos/a%20b.txt?tagging", body: []byte("<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>")}, 200)
	g.check(h.next(), "ObjectTagging:Put", "a+b.txt")
	g.want(call{method: "DELETE", path: "/photos/a%20b.txt?tagging"}, 204)
	g.check(h.next(), "ObjectTagging:Delete", "a+b.txt")
	g.want(call{method: "PUT", path: "/photos/a%20b.txt?acl", header: map[string]string{"X-Amz-Acl": "public-read"}}, 200)
	g.check(h.next(), "ObjectAcl:Put", "a+b.txt")
	g.wantErr(call{method: "PUT", path: "/photos/a%20b.txt", header: map[string]string{"If-None-Match": "*"}}, 412, "PreconditionFailed")
	g.want(call{method: "DELETE", path: "/photos/a%20none.txt"}, 204) // nothing is there
	sum := "<Delete><Object><Key>a b.txt</Key></Object><Object><Key>a copy.txt</Key></Object><Object><Key>other</Key></Object></Delete>"
	g.want(call{method: "POST", path: "/photos?delete", body: []byte(sum), header: map[string]string{"Content-Md5": md5Of(sum)}}, 200)
	keys := []string{h.next().Happening.Object.Key, h.next().Happening.Object.Key}
	if slices.Sort(keys); !slices.Equal(keys, []string{"a+b.txt", "a+copy.txt"}) {
		t.Errorf("removed: %q", keys)
	}

	g.want(call{method: "PUT", path: "/photos?versioning", body: []byte("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")}, 200)
	v := g.put("/photos/a%20v.txt", "1").header.Get("X-Amz-Version-Id")
	if o := g.check(h.next(), "ObjectCreated:Put", "a+v.txt").Happening.Object; o.Version != v {
		t.Errorf("version %q, want %q", o.Version, v)
	}
	m := g.want(call{method: "DELETE", path: "/photos/a%20v.txt"}, 204).header.Get("X-Amz-Version-Id")
	if o := g.check(h.next(), "ObjectRemoved:DeleteMarkerCreated", "a+v.txt").Happening.Object; o.Version != m || o.Size != nil {
		t.Errorf("%+v, want version %q", o, m)
	}
	g.want(call{method: "DELETE", path: "/photos/a%20v.txt?versionId=" + v}, 204)
	if o := g.check(h.next(), "ObjectRemoved:Delete", "a+v.txt").Happening.Object; o.Version != v {
		t.Errorf("version %q, want %q", o.Version, v)
	}
	// Off again.
	g.want(call{method: "PUT", path: "/photos?notification", body: notifications()}, 200)
	g.put("/photos/a%20b.txt", "x")
	g.nothingWaits(h)
}

func (g *gateway) check(r eventRecord, name, key string) eventRecord {
	g.t.Helper()
	if r.Name != name || r.Happening.Object.Key != key || r.Happening.Bucket.Name != "photos" || r.Source != "aws:s3" || r.Version != "2.1" {
		g.t.Errorf("got %+v, want %s of %s", r, name, key)
	}
	return r
}

// nothingWaits waits until all events have been delivered and dropped, and none but those expected came.
func (g *gateway) nothingWaits(h *hook) {
	g.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for left := 1; left > 0; {
		left = 0
		err := g.svc.EventPartitions(g.t.Context(), func(p string) error {
			topics, err := g.svc.EventTopics(g.t.Context(), p)
			left += len(topics)
			return err
		})
		if err != nil {
			g.t.Fatal(err)
		}
		<-tick.C
	}
	select {
	case r := <-h.got:
		g.t.Errorf("one more event: %+v", r)
	default:
	}
}

// Events wait for an endpoint that does not answer, while others get theirs, in any gateway's care, and outlive the bucket.
func TestNotificationsWait(t *testing.T) {
	pool := clienttest.New(t)
	g := newGatewayOn(t, pool, func(o *Options) { o.EventPeriod = -1 }) // delivers nothing that it does not make itself
	g.want(call{method: "PUT", path: "/photos"}, 200)
	down, up := newHook(t), newHook(t)
	down.break_(true)
	g.topic("down", down.server.URL)
	g.topic("up", up.server.URL)
	g.want(call{method: "PUT", path: "/photos?notification", body: notifications(
		destination("down", "s3:ObjectCreated:*", ""), destination("up", "s3:ObjectRemoved:*", ""))}, 200)
	for i := range 20 {
		g.put(fmt.Sprintf("/photos/%d", i), "x")
		g.want(call{method: "DELETE", path: fmt.Sprintf("/photos/%d", i)}, 204)
	}
	g.want(call{method: "DELETE", path: "/photos"}, 204)
	// This one did nothing of it.
	other := newGatewayOn(t, pool, func(o *Options) { o.EventPeriod = 10 * time.Millisecond })
	seen := map[string]bool{}
	for range 20 {
		seen[up.next().Happening.Object.Key] = true
	}
	down.break_(false)
	made := map[string]bool{}
	for range 20 {
		made[down.next().Happening.Object.Key] = true
	}
	if len(seen) != 20 || len(made) != 20 {
		t.Errorf("%d and %d of 20", len(seen), len(made))
	}
	other.nothingWaits(down)
}

// The backlog of a topic that does not answer is bounded: the oldest go.
func TestNotificationsBacklog(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.EventPeriod, o.EventBacklog = -1, 5 })
	g.want(call{method: "PUT", path: "/photos"}, 200)
	h := newHook(t)
	g.topic("t", h.server.URL)
	g.want(call{method: "PUT", path: "/photos?notification", body: notifications(destination("t", "s3:ObjectCreated:*", ""))}, 200)
	for i := range 8 {
		g.put(fmt.Sprintf("/photos/%d", i), "x")
	}
	var keys []string
	err := g.svc.EventPartitions(t.Context(), func(p string) error {
		if err := g.srv.notifier.trim(t.Context(), p, "t"); err != nil {
			return err
		}
		evs, _, err := g.svc.EventsOf(t.Context(), p, "t", nil, 100)
		for _, ev := range evs {
			var doc struct{ Records []eventRecord }
			if err := json.Unmarshal(ev.Doc, &doc); err != nil {
				return err
			}
			keys = append(keys, doc.Records[0].Happening.Object.Key)
		}
		return err
	})
	if err != nil || !slices.Equal(keys, []string{"3", "4", "5", "6", "7"}) {
		t.Errorf("kept %q, %v", keys, err)
	}
	// One of two gateways delivers.
	err = g.svc.EventPartitions(t.Context(), func(p string) error {
		for _, x := range []struct {
			who   string
			until time.Duration
			mine  bool
		}{{"a", time.Hour, true}, {"b", time.Hour, false}, {"a", -time.Hour, true}, {"b", time.Hour, true}, {"a", time.Hour, false}} {
			mine, err := g.svc.ClaimEvents(t.Context(), p, x.who, time.Now().Add(x.until))
			if err != nil || mine != x.mine {
				t.Errorf("claim by %s: %v, %v", x.who, mine, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Of a topic that is no more they are dropped.
	if err := g.svc.SetTopic(t.Context(), "t", nil); err != nil {
		t.Fatal(err)
	}
	drop, failed := g.srv.notifier.send(t.Context(), nil, []bucket.StoredEvent{{}})
	if len(drop) != 1 || failed != nil {
		t.Errorf("dropped %d, %v", len(drop), failed)
	}
}

// What lifecycle rules remove has events of its own.
func TestNotificationsOfLifecycle(t *testing.T) {
	var later atomic.Int64
	g := newGateway(t, func(o *Options) {
		o.LifecycleDay, o.Now = time.Second, func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	g.want(call{method: "PUT", path: "/photos"}, 200)
	h := newHook(t)
	g.topic("t", h.server.URL)
	g.want(call{method: "PUT", path: "/photos?notification", body: notifications(destination("t", "s3:LifecycleExpiration:*", ""))}, 200)
	g.put("/photos/k", "x")
	rules := "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter/><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
	g.want(call{method: "PUT", path: "/photos?lifecycle", body: []byte(rules), header: map[string]string{"Content-Md5": md5Of(rules)}}, 200)
	later.Store(int64(time.Hour))
	if _, err := g.srv.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.check(h.next(), "LifecycleExpiration:Delete", "k")
	g.nothingWaits(h)
}

func TestNotificationConfigurations(t *testing.T) {
	g := withBucket(t)
	g.topic("t", "http://127.0.0.1:1/")
	g.topic("u", "http://127.0.0.1:1/")
	put := func(body []byte) call { return call{method: "PUT", path: "/photos?notification", body: body} }
	g.want(put(notifications(destination("t", "s3:ObjectCreated:Put", keyFilter("a", "x")), destination("u", "s3:ObjectCreated:Copy", ""), strings.ReplaceAll(destination("t", "s3:ObjectCreated:Put", keyFilter("b", "x")), "id of t", ""))), 200)
	r := g.want(call{method: "GET", path: "/photos?notification"}, 200)
	var x xmlNotification
	if err := xml.Unmarshal(r.body, &x); err != nil || len(x.Topics) != 3 || x.Topics[2].ID == "" || x.Topics[0].Filter == nil || len(x.Topics[0].Filter.Rules) != 2 || x.Topics[1].Topic != "arn:aws:sns:us-east-1::u" {
		t.Errorf("%v: %s", err, r.body)
	}
	for name, c := range map[string]struct{ body, code string }{
		"no topic":      {destination("none", "s3:ObjectCreated:Put", ""), "InvalidArgument"},
		"a queue":       {"<QueueConfiguration><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>", "InvalidArgument"},
		"a function":    {"<CloudFunctionConfiguration><CloudFunction>arn:aws:lambda:us-east-1:1:function:f</CloudFunction><Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration>", "InvalidArgument"},
		"no event":      {"<TopicConfiguration><Topic>arn:aws:sns:us-east-1::t</Topic></TopicConfiguration>", "MalformedXML"},
		"unknown event": {destination("t", "s3:Nothing", ""), "MalformedXML"},
		"overlap":       {destination("t", "s3:ObjectCreated:*", keyFilter("a", "")) + destination("u", "s3:ObjectCreated:Put", keyFilter("ab", "c")), "InvalidArgument"},
		"same id":       {destination("t", "s3:ObjectCreated:Put", "") + destination("t", "s3:ObjectCreated:Copy", ""), "InvalidArgument"},
		"filter":        {destination("t", "s3:ObjectCreated:*", "<Filter><S3Key><FilterRule><Name>infix</Name><Value>x</Value></FilterRule></S3Key></Filter>"), "InvalidArgument"},
		"two prefixes":  {destination("t", "s3:ObjectCreated:*", "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>x</Value></FilterRule><FilterRule><Name>Prefix</Name><Value>y</Value></FilterRule></S3Key></Filter>"), "InvalidArgument"},
	} {
		if r := g.want(put(notifications(c.body)), 400); r.err.Code != c.code {
			t.Errorf("%s: %s %s, want %s", name, r.err.Code, r.err.Message, c.code)
		}
	}
	g.wantErr(call{user: bob, method: "PUT", path: "/photos?notification", body: notifications()}, 403, "AccessDenied")
	for _, endpoint := range []string{"", "x", "ftp://x/", "http://", "file:///etc/passwd"} {
		if _, err := NewTopic(endpoint, time.Now()); err == nil {
			t.Errorf("endpoint %q was taken", endpoint)
		}
	}
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
