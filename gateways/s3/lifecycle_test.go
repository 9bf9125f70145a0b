package s3

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
)

// clocked is a gateway without HTTP, whose day passes when the test says so.
type clocked struct {
	t   *testing.T
	now time.Time
	svc *bucket.Service
	srv *Server
	b   *bucket.Bucket
}

func newClocked(t *testing.T, versions bool) *clocked {
	t.Helper()
	c := &clocked{t: t, now: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)}
	log, now := slog.New(slog.DiscardHandler), func() time.Time { return c.now }
	pool := clienttest.New(t)
	var err error
	if c.svc, err = bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: log, Now: now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.svc.Close() })
	if c.srv, err = New(Options{Buckets: c.svc, Users: users, Log: log, Now: now, SweepPeriod: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.srv.Close() })
	if c.b, err = c.svc.Create(t.Context(), "photos", "ann", ""); err != nil {
		t.Fatal(err)
	}
	if versions {
		if err := c.svc.SetVersioning(t.Context(), "photos", bucket.VersioningEnabled); err != nil {
			t.Fatal(err)
		}
		if err := c.svc.EnableObjectLock(t.Context(), "photos"); err != nil {
			t.Fatal(err)
		}
		c.fresh()
	}
	return c
}

func (c *clocked) fresh() {
	c.t.Helper()
	b, err := c.svc.Fresh(c.t.Context(), "photos")
	if err != nil {
		c.t.Fatal(err)
	}
	c.b = b
}

func (c *clocked) put(key, body string, a bucket.Attrs) *bucket.Object {
	c.t.Helper()
	o, err := c.b.Put(c.t.Context(), key, bucket.PutInput{Body: strings.NewReader(body), Size: int64(len(body)), Attrs: a})
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

func (c *clocked) remove(key string) {
	c.t.Helper()
	if err := c.b.Delete(c.t.Context(), key, bucket.Cond{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *clocked) rules(inner string) {
	c.t.Helper()
	doc := "<LifecycleConfiguration>" + inner + "</LifecycleConfiguration>"
	if err := c.b.SetConfig(c.t.Context(), map[string][]byte{docLifecycle: []byte(doc)}); err != nil {
		c.t.Fatal(err)
	}
}

// days lets days pass, carries out the rules, and compares what they did and what is left: keys, with a
// number for each noncurrent version and m for a delete marker.
func (c *clocked) days(n int, did Expired, left ...string) {
	c.t.Helper()
	c.now = c.now.AddDate(0, 0, n)
	got, err := c.srv.Expire(c.t.Context())
	if err != nil || got != did {
		c.t.Fatalf("the rules did %+v, %v; want %+v", got, err, did)
	}
	page, err := c.b.Versions(c.t.Context(), bucket.VersionsInput{Max: 1000})
	if err != nil {
		c.t.Fatal(err)
	}
	var have []string
	for _, o := range page.Versions {
		switch {
		case o.Latest && o.Marker:
			have = append(have, o.Key+" m")
		case o.Latest:
			have = append(have, o.Key)
		default:
			have[len(have)-1] += "+"
		}
	}
	if !slices.Equal(have, left) {
		c.t.Fatalf("left are %q, want %q", have, left)
	}
}

func TestLifecycleExpires(t *testing.T) {
	c := newClocked(t, false)
	c.put("log/a", "x", bucket.Attrs{})
	c.put("log/big", strings.Repeat("x", 2000), bucket.Attrs{})
	c.put("keep", "x", bucket.Attrs{})
	c.put("tagged", "x", bucket.Attrs{Tags: map[string]string{"tmp": "1"}})
	c.put("other", "x", bucket.Attrs{Tags: map[string]string{"tmp": "2"}})
	if _, err := c.b.CreateUpload(t.Context(), "log/up", bucket.UploadInput{}); err != nil {
		t.Fatal(err)
	}
	c.days(100, Expired{}, "keep", "log/a", "log/big", "other", "tagged") // no rules
	c.now = c.now.AddDate(0, 0, -100)
	c.rules(`<Rule><ID>a</ID><Status>Enabled</Status><Filter><And><Prefix>log/</Prefix><ObjectSizeLessThan>1000</ObjectSizeLessThan></And></Filter><Expiration><Days>3</Days></Expiration></Rule>` +
		`<Rule><ID>b</ID><Status>Enabled</Status><Filter><Tag><Key>tmp</Key><Value>1</Value></Tag></Filter><Expiration><Date>2030-05-08T00:00:00Z</Date></Expiration></Rule>` +
		`<Rule><ID>c</ID><Status>Disabled</Status><Prefix></Prefix><Expiration><Days>1</Days></Expiration></Rule>` +
		`<Rule><ID>d</ID><Status>Enabled</Status><Prefix>log/</Prefix><AbortIncompleteMultipartUpload><DaysAfterInitiation>5</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>`)
	c.days(3, Expired{}, "keep", "log/a", "log/big", "other", "tagged") // three days and until midnight
	c.days(1, Expired{Objects: 1}, "keep", "log/big", "other", "tagged")
	c.days(2, Expired{Uploads: 1}, "keep", "log/big", "other", "tagged")
	c.days(1, Expired{Objects: 1}, "keep", "log/big", "other")
	c.days(100, Expired{}, "keep", "log/big", "other")
}

func TestLifecycleOfVersions(t *testing.T) {
	c := newClocked(t, true)
	c.rules(`<Rule><ID>a</ID><Status>Enabled</Status><Prefix>t/</Prefix><Expiration><Days>10</Days></Expiration></Rule>` +
		`<Rule><ID>n</ID><Status>Enabled</Status><Prefix></Prefix><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>` +
		`<Rule><ID>g</ID><Status>Enabled</Status><Prefix>gone</Prefix><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays></NoncurrentVersionExpiration></Rule>` +
		`<Rule><ID>m</ID><Status>Enabled</Status><Prefix>gone</Prefix><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>`)
	for range 4 {
		c.put("k", "x", bucket.Attrs{})
	}
	c.put("gone", "x", bucket.Attrs{})
	c.remove("gone")
	c.put("held", "x", bucket.Attrs{Lock: bucket.Lock{Hold: true}})
	c.put("held", "y", bucket.Attrs{})
	c.put("held", "z", bucket.Attrs{})
	c.put("t/1", "x", bucket.Attrs{})
	c.days(1, Expired{}, "gone m+", "held++", "k+++", "t/1")
	c.days(2, Expired{Versions: 3, Kept: 1}, "gone m", "held++", "k+", "t/1")
	c.days(0, Expired{Markers: 1, Kept: 1}, "held++", "k+", "t/1")
	c.days(8, Expired{Objects: 1, Kept: 1}, "held++", "k+", "t/1 m+")
	c.days(5, Expired{Kept: 1}, "held++", "k+", "t/1 m+") // the newest noncurrent one stays by the rule
}

// Several gateways carry out the same rules at once, while objects are put again: what was put since is not
// removed, and an object gets one delete marker.
func TestLifecycleTogether(t *testing.T) {
	c := newClocked(t, true)
	c.rules(`<Rule><ID>a</ID><Status>Enabled</Status><Prefix></Prefix><Expiration><Days>1</Days></Expiration></Rule>`)
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		c.put(k, "x", bucket.Attrs{})
	}
	c.now = c.now.AddDate(0, 0, 5)
	page, err := c.b.Versions(t.Context(), bucket.VersionsInput{Max: 10})
	if err != nil {
		t.Fatal(err)
	}
	c.put("a", "new", bucket.Attrs{})
	for _, o := range page.Versions { // as another gateway that listed before the put would
		_, err := c.b.DeleteVersion(t.Context(), o.Key, bucket.DeleteInput{Cond: bucket.Cond{Is: o}})
		if (err == nil) != (o.Key != "a") {
			t.Fatalf("delete %s as it was listed: %v", o.Key, err)
		}
	}
	done := make(chan error, 3)
	for range cap(done) {
		go func() { _, err := c.srv.Expire(context.Background()); done <- err }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	c.days(0, Expired{}, "a+", "b m+", "c m+", "d m+", "e m+")
}

// A day that was shortened passes as such: no midnight is waited for, rules run several
// times in it, and clients are still told real days.
func TestLifecycleDay(t *testing.T) {
	at := time.Date(2030, 5, 1, 12, 0, 3, 0, time.UTC)
	if got, want := after(at, 2, 10*time.Second), at.Add(20*time.Second); !got.Equal(want) {
		t.Errorf("2 days of 10 s after %s end at %s, want %s", at, got, want)
	}
	if got, want := after(at, 2, realDay), time.Date(2030, 5, 4, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("2 days after %s end at %s, want %s", at, got, want)
	}
	for _, c := range []struct{ day, sweep, want time.Duration }{
		{realDay, time.Hour, time.Hour}, {10 * time.Second, time.Hour, 2500 * time.Millisecond}, {time.Minute, time.Second, time.Second},
	} {
		s := &Server{o: Options{LifecycleDay: c.day, SweepPeriod: c.sweep}}
		if got := s.rulesPeriod(); got != c.want {
			t.Errorf("a day of %s, sweeps every %s: rules run every %s, want %s", c.day, c.sweep, got, c.want)
		}
	}
	c := newClocked(t, false)
	c.srv.o.LifecycleDay = 10 * time.Second
	c.put("log/a", "x", bucket.Attrs{})
	c.rules("<Rule><ID>r</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>")
	c.now = c.now.Add(9 * time.Second)
	c.days(0, Expired{}, "log/a")
	c.now = c.now.Add(2 * time.Second)
	c.days(0, Expired{Objects: 1})
	if _, err := New(Options{Buckets: c.svc, Users: users, SweepPeriod: -1, LifecycleDay: 48 * time.Hour}); err == nil {
		t.Error("a day of 48 hours was taken")
	}
}
