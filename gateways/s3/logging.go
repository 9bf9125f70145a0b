package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/s3/acl"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// docLogging is the name of the document that says where a bucket's access log goes.
const docLogging = "logging"

type xmlLogging struct {
	XMLName xml.Name       `xml:"BucketLoggingStatus"`
	Xmlns   string         `xml:"xmlns,attr,omitempty"`
	Enabled *xmlLogEnabled `xml:"LoggingEnabled"`
}

type xmlLogEnabled struct {
	Target string        `xml:"TargetBucket"`
	Prefix *string       `xml:"TargetPrefix"`
	Grants *xmlLogGrants `xml:"TargetGrants"`
	Format *xmlLogFormat `xml:"TargetObjectKeyFormat"`
}

// xmlLogGrants are kept as they came, once they were understood.
type xmlLogGrants struct {
	Inner string `xml:",innerxml"`
}

type xmlLogFormat struct {
	Simple      *struct{}         `xml:"SimplePrefix"`
	Partitioned *xmlLogPartitions `xml:"PartitionedPrefix"`
}

type xmlLogPartitions struct {
	Source string `xml:"PartitionDateSource,omitempty"`
}

const maxLogPrefix = 512

func (q *request) getBucketLogging() error {
	var x xmlLogging
	if _, err := q.config(docLogging, &x); err != nil {
		return err
	}
	x.XMLName, x.Xmlns = xml.Name{Local: "BucketLoggingStatus"}, xmlNS
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) putBucketLogging() error {
	var in xmlLogging
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if in.Enabled == nil {
		if err := q.b.SetConfig(q.ctx(), map[string][]byte{docLogging: nil}); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := q.checkLogging(in.Enabled); err != nil {
		return err
	}
	return q.configure(docLogging, xmlLogging{Enabled: in.Enabled}, http.StatusOK)
}

// checkLogging says what is wrong with where a log is to go.
func (q *request) checkLogging(in *xmlLogEnabled) error {
	if in.Target == "" || in.Prefix == nil || len(*in.Prefix) > maxLogPrefix || *in.Prefix != "" && bucket.CheckKey(*in.Prefix) != nil {
		return malformedXML()
	}
	if f := in.Format; f != nil {
		if (f.Simple == nil) == (f.Partitioned == nil) {
			return malformedXML()
		}
		if p := f.Partitioned; p != nil && p.Source != "" && p.Source != "EventTime" && p.Source != "DeliveryTime" {
			return malformedXML()
		}
	}
	invalid := func(why string) error {
		return apiErr("InvalidTargetBucketForLogging", "%s", why).with("TargetBucket", in.Target)
	}
	b, err := q.s.o.Buckets.Fresh(q.ctx(), in.Target)
	if errors.Is(err, bucket.ErrNoSuchBucket) {
		return invalid("The target bucket for logging does not exist")
	}
	if err != nil {
		return err
	}
	t, err := q.terms(b)
	if err != nil {
		return err
	}
	if t.owner != q.t.owner {
		return invalid("The owner for the bucket to be logged and the target bucket must be the same.")
	}
	// Whoever turns a log on could else have things written where they may write nothing.
	if v, err := q.decide(t, "s3:PutObject", *in.Prefix+"log", ""); err != nil || v == denied {
		return invalid("You may not put objects into the target bucket under this prefix")
	}
	if in.Grants == nil {
		return nil
	}
	if t.enforced() {
		return invalid("The target bucket allows no access control lists, so no grants of the log")
	}
	list, err := q.logGrants(in.Grants)
	if err != nil {
		return err
	}
	return t.refusePublic(list)
}

// logGrants makes an access control list of what readers of a log are granted.
func (q *request) logGrants(in *xmlLogGrants) (*acl.ACL, error) {
	list, err := acl.FromXML([]byte(`<AccessControlPolicy><Owner><ID>`+"owner"+`</ID></Owner><AccessControlList>`+in.Inner+`</AccessControlList></AccessControlPolicy>`), resolver{q})
	if err != nil {
		return nil, aclErr(err)
	}
	list.Owner = acl.User{ID: q.t.owner}
	for _, g := range list.Grants {
		if g.Permission != acl.FullControl && g.Permission != acl.Read && g.Permission != acl.Write {
			return nil, malformedXML()
		}
	}
	return list, nil
}

// loggingOf is where a bucket's log goes; nil for nowhere.
func loggingOf(t *terms) *xmlLogEnabled {
	x, err := parsed[xmlLogging](t.cfg, docLogging)
	if err != nil || x == nil {
		return nil // who reads the document is told
	}
	return x.Enabled
}

// logging is where the request is to be logged. One that was refused before its bucket was opened is logged, too.
func (q *request) logging() *xmlLogEnabled {
	if q.t == nil && q.bucket != "" && q.w.status == http.StatusForbidden && bucket.CheckName(q.bucket) == nil {
		ctx, cancel := context.WithTimeout(q.ctx(), time.Second)
		defer cancel()
		if b, err := q.s.o.Buckets.Bucket(ctx, q.bucket); err == nil {
			q.t, _ = q.terms(b)
		}
	}
	if q.t == nil {
		return nil
	}
	return loggingOf(q.t)
}

// Limits of logs that are not delivered yet.
const (
	maxLogBatch    = 1 << 20  // bytes of one bucket's; then they are delivered
	maxLogBytes    = 32 << 20 // of all; then records are dropped, and counted
	maxLogAttempts = 5
)

// delivery collects the access logs of buckets and puts them as objects where they are to go. What is collected is
// lost when the process dies: logs are told of as best can be done, as Amazon's are.
type delivery struct {
	s       *Server
	dropped prometheus.Counter
	wake    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex // guards below
	batches map[string]*logBatch
	bytes   int
}

// logBatch is a bucket's log since it was last delivered.
type logBatch struct {
	source, owner string
	to            *xmlLogEnabled
	began         time.Time
	lines         []byte
	attempts      int
	retry         time.Time
}

func newDelivery(s *Server) *delivery {
	return &delivery{
		s: s, wake: make(chan struct{}, 1), batches: map[string]*logBatch{},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "cairn_s3_access_log_dropped_total", Help: "Records of buckets' access logs that could not be delivered."}),
	}
}

// add takes a line of a bucket's log.
func (d *delivery) add(source, owner string, to *xmlLogEnabled, line []byte) {
	name := source + "\x00" + to.Target + "\x00" + *to.Prefix
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes+len(line) > maxLogBytes {
		d.dropped.Inc()
		return
	}
	b := d.batches[name]
	if b == nil {
		b = &logBatch{source: source, owner: owner, began: d.s.o.Now()}
		d.batches[name] = b
	}
	b.to, b.lines = to, append(b.lines, line...)
	d.bytes += len(line)
	if len(b.lines) >= maxLogBatch {
		select {
		case d.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// due takes the batches out that are to be delivered.
func (d *delivery) due(all bool) []*logBatch {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.s.o.Now()
	var out []*logBatch
	for name, b := range d.batches {
		if all || (len(b.lines) >= maxLogBatch || now.Sub(b.began) >= d.s.o.LogFlush) && !now.Before(b.retry) {
			out = append(out, b)
			delete(d.batches, name)
		}
	}
	slices.SortFunc(out, func(a, b *logBatch) int { return strings.Compare(a.source, b.source) })
	return out
}

// run delivers logs until ctx ends.
func (d *delivery) run(ctx context.Context) {
	defer d.done.Done()
	t := time.NewTicker(max(min(d.s.o.LogFlush/4, 10*time.Second), 10*time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-d.wake:
		}
		d.flush(ctx, false)
	}
}

// flush delivers what is due, or all.
func (d *delivery) flush(ctx context.Context, all bool) {
	for _, b := range d.due(all) {
		err := d.deliver(ctx, b)
		switch b.attempts++; {
		case err == nil:
			d.forget(b, 0)
		case all || b.attempts >= maxLogAttempts || errors.Is(err, errNoTarget):
			n := bytes.Count(b.lines, []byte("\n"))
			d.forget(b, n)
			d.s.log.Warn("the access log of a bucket is lost: it could not be delivered", "bucket", b.source, "target", b.to.Target, "records", n, "err", err)
		default:
			d.s.log.Info("the access log of a bucket is delivered later", "bucket", b.source, "target", b.to.Target, "err", err)
			b.retry = d.s.o.Now().Add(time.Duration(b.attempts) * 5 * time.Second)
			d.mu.Lock()
			name := b.source + "\x00" + b.to.Target + "\x00" + *b.to.Prefix
			if later := d.batches[name]; later != nil {
				b.lines, b.to = append(b.lines, later.lines...), later.to
			}
			d.batches[name] = b
			d.mu.Unlock()
		}
	}
}

func (d *delivery) forget(b *logBatch, lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes -= len(b.lines)
	d.dropped.Add(float64(lost))
}

// errNoTarget says that a log has no place to go to any more.
var errNoTarget = errors.New("the target bucket is gone or somebody else's")

// deliver puts a batch, as the target bucket's owner.
func (d *delivery) deliver(ctx context.Context, batch *logBatch) error {
	s := d.s
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	b, err := s.o.Buckets.Bucket(ctx, batch.to.Target)
	if errors.Is(err, bucket.ErrNoSuchBucket) {
		return fmt.Errorf("%w: %w", errNoTarget, err)
	}
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://log.delivery/", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "text/plain")
	q := &request{
		s: s, r: r, op: "PutObject", bucket: batch.to.Target, query: url.Values{}, sig: &signature{payload: unsignedBody},
		w: &answer{ResponseWriter: &noAnswer{http.Header{}}}, user: &wirepb.User{Name: batch.owner},
		who: &who{Identity: Identity{Account: batch.owner, Root: true}, name: batch.owner},
	}
	t, err := q.terms(b)
	if err != nil {
		return err
	}
	if t.owner != batch.owner {
		return errNoTarget
	}
	q.b, q.t = b, t
	var unique [8]byte
	rand.Read(unique[:])
	q.key = batch.to.key(batch, s.o.Region, s.o.Now(), strings.ToUpper(hex.EncodeToString(unique[:])))
	if g := batch.to.Grants; g != nil && !t.enforced() {
		list, err := q.logGrants(g)
		if err != nil {
			return err
		}
		r.Header.Set("X-Amz-Grant-Full-Control", `id="`+t.owner+`"`)
		for _, g := range list.Grants {
			value := `id="` + g.User.ID + `"`
			if g.Group != "" {
				value = `uri="` + string(g.Group) + `"`
			}
			name := "X-Amz-Grant-" + strings.ReplaceAll(strings.ToLower(g.Permission.String()), "_", "-")
			if old := r.Header.Get(name); old != "" {
				value = old + "," + value
			}
			r.Header.Set(name, value)
		}
	}
	_, err = q.store(&payload{in: bytes.NewReader(batch.lines), size: int64(len(batch.lines))})
	return err
}

// key is that of a log object.
func (x *xmlLogEnabled) key(b *logBatch, region string, now time.Time, unique string) string {
	if f := x.Format; f == nil || f.Partitioned == nil {
		return *x.Prefix + now.UTC().Format("2006-01-02-15-04-05-") + unique
	}
	at := now
	name := now.UTC().Format("2006-01-02-15-04-05-")
	if x.Format.Partitioned.Source == "EventTime" {
		at = b.began
		name = at.UTC().Format("2006-01-02-00-00-00-") // as Amazon: such an object is of a day
	}
	return *x.Prefix + b.owner + "/" + region + "/" + b.source + "/" + at.UTC().Format("2006/01/02/") + name + unique
}

// noAnswer is the answer to what nobody asked for.
type noAnswer struct{ h http.Header }

func (n *noAnswer) Header() http.Header         { return n.h }
func (n *noAnswer) Write(b []byte) (int, error) { return len(b), nil }
func (n *noAnswer) WriteHeader(int)             {}

// close delivers what is left, as far as that can be done soon.
func (d *delivery) close() {
	d.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d.flush(ctx, true)
}

// seldom warns of what could happen at every request.
type seldom struct {
	mu   sync.Mutex // guards below
	last time.Time
}

func (s *seldom) warn(log *slog.Logger, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.last) > time.Minute {
		s.last = now
		log.Warn("the gateway's access log cannot be written", "err", err)
	}
}
