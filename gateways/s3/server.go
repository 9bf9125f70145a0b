package s3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Options configures New. The zero value of every optional field means "use the default".
type Options struct {
	Buckets *bucket.Service // required; the caller closes it after the Server
	// Users finds the user who has an access key; an error that is client.ErrNotFound
	// says that nobody has. Required. Answers are kept for UserTTL.
	Users func(ctx context.Context, accessKey string) (*wirepb.User, error)

	// Identities says what a user may do. Default: what the record of the user says.
	Identities func(ctx context.Context, u *wirepb.User) (Identity, error)
	// FindUser and FindEmail find users by name and by e-mail address, for access control
	// lists and policies; errors that are client.ErrNotFound say that there is none.
	// Default: nobody else is found, and principals of policies are not checked.
	FindUser  func(ctx context.Context, name string) (*wirepb.User, error)
	FindEmail func(ctx context.Context, address string) (*wirepb.User, error)

	// Principal finds a user or role in the ways of wirepb.UserGet; an error that is client.ErrNotFound says
	// that there is none. TokenKeys returns the keys of tokens, the newest last. Identity carries calls about
	// identities to the monitors. Default of each: AWS's IAM and STS are not offered, nor are tokens taken.
	Principal func(ctx context.Context, get *wirepb.UserGet) (*wirepb.User, error)
	TokenKeys func(ctx context.Context) ([]*wirepb.TokenKey, error)
	Identity  func(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error)
	// Issuers are identity providers that may be asked wherever they are. Others must have addresses that
	// are public, and https.
	Issuers []string

	// SigV2 also takes requests that are signed with the older Signature Version 2. Forms may be in any case.
	SigV2 bool
	// KMS has the keys of encryption that clients do not bring; nil, or without a root key: what needs them is refused.
	KMS *kms.Service
	// PlainSSEC says from where clients' keys are taken over plain HTTP; default PlainSSECLoopback.
	PlainSSEC string

	Region  string   // default us-east-1
	Domains []string // base domains for bucket.domain addresses; default none: path style only
	// WebsiteDomains are base domains for the websites of buckets, bucket.domain, beside
	// s3-website.DOMAIN and s3-website-REGION.DOMAIN of each of Domains.
	WebsiteDomains []string
	HostID         string // names this gateway in answers; default "cairn"
	Log            *slog.Logger
	Metrics        prometheus.Registerer // default: none
	TLS            *tls.Config           // of ServeTLS
	HTTP2          HTTP2                 // where HTTP/2 is spoken; default HTTP2TLS

	UserTTL       time.Duration // how long a user's keys are remembered; default 10 s
	MaxRequests   int           // served at a time, more are told to slow down; default 512
	MaxConns      int           // connections of one listener, more wait; default 8192
	MaxBuckets    int           // of one user; default 1000
	BodyIdle      time.Duration // a connection may be silent within a body; default 1 minute
	IdleTimeout   time.Duration // and between requests; default 2 minutes
	HeaderTimeout time.Duration // to send a request's header; default 20 s
	Notice        time.Duration // Close first lets the health check fail for so long, for those who balance load; default none
	Drain         time.Duration // Close then waits for requests under way; default 15 s
	LifecycleDay  time.Duration // how long lifecycle rules take a day for; default 24 hours. Shorter is for trying rules: see rulesPeriod
	EventPeriod   time.Duration // between looks for events that other gateways left behind; default 30 s, negative: none are delivered
	EventBacklog  int           // events that may wait in a partition for a topic that does not answer; default bucket.EventBacklog
	SweepPeriod   time.Duration // between sweeps of the buckets, the first at once; default 1 hour, negative: none

	AccessLog   io.Writer     // gets a line for each request, in one Write; default none
	LogFlush    time.Duration // the access log of a bucket is delivered as often as this, or when there is 1 MiB; default 5 minutes
	SlowRequest time.Duration // explain requests in the log that take longer, not counting their clients; default 10 s, negative: none

	Now func() time.Time // default time.Now
}

const maxHeaderBytes = 64 << 10

// From where clients' keys are taken over plain HTTP, where others may read along.
const (
	PlainSSECLoopback = "loopback" // from this machine
	PlainSSECAlways   = "always"   // what is in front of the gateway speaks TLS
	PlainSSECNever    = "never"
)

func (o *Options) fill() error {
	if o.Buckets == nil || o.Users == nil {
		return errors.New("s3 gateway: Buckets and Users are required")
	}
	str := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	dur := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	str(&o.Region, "us-east-1")
	str(&o.HostID, "cairn")
	str(&o.PlainSSEC, PlainSSECLoopback)
	if o.PlainSSEC != PlainSSECLoopback && o.PlainSSEC != PlainSSECAlways && o.PlainSSEC != PlainSSECNever {
		return fmt.Errorf("s3 gateway: keys of clients over plain HTTP: %q: want loopback, always or never", o.PlainSSEC)
	}
	dur(&o.UserTTL, 10*time.Second)
	dur(&o.BodyIdle, time.Minute)
	dur(&o.IdleTimeout, 2*time.Minute)
	dur(&o.HeaderTimeout, 20*time.Second)
	dur(&o.Drain, 15*time.Second)
	dur(&o.SweepPeriod, time.Hour)
	dur(&o.EventPeriod, 30*time.Second)
	if o.EventBacklog == 0 {
		o.EventBacklog = bucket.EventBacklog
	}
	dur(&o.LogFlush, 5*time.Minute)
	dur(&o.SlowRequest, 10*time.Second)
	dur(&o.LifecycleDay, realDay)
	switch o.HTTP2 {
	case "":
		o.HTTP2 = HTTP2TLS
	case HTTP2TLS, HTTP2Off, HTTP2All:
	default:
		return fmt.Errorf("s3 gateway: HTTP/2 %q: want %s, %s or %s", o.HTTP2, HTTP2TLS, HTTP2Off, HTTP2All)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxRequests == 0 {
		o.MaxRequests = 512
	}
	if o.MaxConns == 0 {
		o.MaxConns = 8192
	}
	if o.MaxBuckets == 0 {
		o.MaxBuckets = 1000
	}
	if o.MaxRequests < 1 || o.MaxBuckets < 1 || o.MaxConns < 1 {
		return errors.New("s3 gateway: MaxRequests, MaxConns and MaxBuckets must be positive")
	}
	if o.Notice < 0 || o.Drain < 0 {
		return errors.New("s3 gateway: Notice and Drain must not be negative")
	}
	if o.LifecycleDay < time.Second || o.LifecycleDay > realDay {
		return fmt.Errorf("s3 gateway: a lifecycle day of %s: want 1 second to 24 hours", o.LifecycleDay)
	}
	for _, domains := range [][]string{o.Domains, o.WebsiteDomains} {
		for i, d := range domains {
			domains[i] = strings.ToLower(strings.Trim(d, "."))
			if domains[i] == "" {
				return errors.New("s3 gateway: an empty domain")
			}
		}
	}
	return nil
}

// Server is an S3 gateway. It is an http.Handler; Serve is for those who have a
// listener only.
type Server struct {
	o       Options
	log     *slog.Logger
	users   *userCache
	people  *people
	tokens  *sealer
	oidc    *oidcVerifier
	metrics *metrics
	slots   chan struct{}
	sites   []string // domains of websites
	stop    context.CancelFunc
	sweeper sync.WaitGroup

	logs // of access

	mu      sync.Mutex // guards below
	closed  bool
	servers []*http.Server

	leaving chan struct{} // closed when Close begins
	hurry   chan struct{} // for tests: ends the notice

	notifier *notifier
}

// New makes a gateway and starts sweeping the buckets in the background. Close it.
func New(o Options) (*Server, error) {
	o.Domains, o.WebsiteDomains = slices.Clone(o.Domains), slices.Clone(o.WebsiteDomains)
	if err := o.fill(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{o: o, log: o.Log, users: newUserCache(o), people: newPeople(o), tokens: &sealer{ask: o.TokenKeys}, oidc: newOIDC(o), metrics: m, slots: make(chan struct{}, o.MaxRequests), stop: stop, leaving: make(chan struct{})}
	s.notifier = newNotifier(s)
	if o.EventPeriod > 0 {
		s.sweeper.Go(func() { s.notifier.run(ctx) }) // stopped by Close
	}
	s.sites, s.delivery = o.siteDomains(), newDelivery(s)
	if o.Metrics != nil {
		if err := o.Metrics.Register(s.delivery.dropped); err != nil {
			stop()
			return nil, fmt.Errorf("s3 gateway: metrics: %w", err)
		}
	}
	s.delivery.done.Add(1)
	go s.delivery.run(ctx) // stopped by Close
	if o.SweepPeriod > 0 {
		s.sweeper.Add(2)
		go s.sweep(ctx)      // stopped by Close
		go s.carryRules(ctx) // stopped by Close
	}
	return s, nil
}

func (s *Server) sweep(ctx context.Context) {
	defer s.sweeper.Done()
	t := time.NewTicker(s.o.SweepPeriod)
	defer t.Stop()
	for {
		st, err := s.o.Buckets.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Warn("sweep the buckets", "err", err)
		default:
			s.log.Debug("swept the buckets", "buckets", st.Buckets, "outbox", st.Outbox, "erased", st.Erased, "abandoned", st.Abandoned, "pending", st.Pending)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Close fails the health check, stops taking requests, waits for those under way for
// the Drain time, then cuts them off. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		close(s.leaving)
	}
	s.closed = true
	servers := s.servers
	s.servers = nil
	s.mu.Unlock()
	s.stop()
	if s.o.Notice > 0 && len(servers) > 0 {
		select {
		case <-time.After(s.o.Notice):
		case <-s.hurry:
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Drain)
	defer cancel()
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, hs := range servers {
		all.Go(func() { // ends with ctx
			if hs.Shutdown(ctx) != nil {
				errs[i] = hs.Close()
			}
		})
	}
	all.Wait()
	s.sweeper.Wait()
	s.delivery.close()
	return errors.Join(errs...)
}

func newRequestID() string {
	var id [8]byte
	rand.Read(id[:])
	return strings.ToUpper(hex.EncodeToString(id[:]))
}

// request is one request on its way through.
type request struct {
	s        *Server
	w        *answer
	r        *http.Request
	id       string
	query    url.Values
	op       string
	bucket   string
	key      string
	snapshot string       // of the bucket; "": the bucket as it is
	view     *bucket.View // this snapshot, once it was found
	vhost    bool         // the bucket is in the host's name
	form     *form        // of a browser's upload
	site     bool         // to the bucket's website
	sig      *signature
	key256   []byte // signing key
	raw      *idleReader
	broken   atomic.Pointer[apiError] // what was wrong with the body
	user     *wirepb.User             // without a name for who does not sign
	who      *who
	// What the user's record says of it, before that is believed; for temporary credentials their session.
	identity Identity
	session  *claims
	iam      *identityRequest  // nil: the request is about buckets
	b        *bucket.Bucket    // the one the request is about, once that is authorised
	t        *terms            // of b
	check    *objectCheck      // what the object has still to be asked
	tags     map[string]string // that the request gives, once a policy has looked at them
	given    bool              // tags were read from the body,
	tagsErr  *apiError         // which may have failed

	told // to access logs

	// What policies found out about objects that are there, and what they could not.
	existing map[tagged]map[string]string
	unknown  error
	// lookedFor is the missing key that asks whether its like may be listed.
	lookedFor string
}

func (q *request) ctx() context.Context { return q.r.Context() }

// answer watches what is sent, and that the client takes it.
type answer struct {
	http.ResponseWriter
	ctl    *http.ResponseController
	idle   time.Duration
	set    time.Time
	wrote  bool
	first  time.Time     // when the answer began
	waited time.Duration // until the client took what was sent
	status int
	as     int // the status of what is sent with success as an error's page
	bytes  int64
	check  *objectCheck
}

func (a *answer) WriteHeader(status int) {
	if !a.wrote {
		if status < http.StatusBadRequest && a.check != nil && !a.check.done {
			panic(errors.New("s3: an object is about to be answered with before its access was decided"))
		}
		if a.as != 0 && status < http.StatusMultipleChoices {
			status = a.as
		}
		a.wrote, a.status, a.first = true, status, time.Now()
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	now := time.Now()
	if now.Sub(a.set) > time.Second {
		_ = a.ctl.SetWriteDeadline(now.Add(a.idle)) // not every ResponseWriter can; then there is no limit
		a.set = now
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	a.waited += time.Since(now)
	return n, err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	q := &request{s: s, r: r, op: "Unknown", w: &answer{ResponseWriter: w, ctl: http.NewResponseController(w), idle: s.o.BodyIdle}}
	q.raw = &idleReader{r: r.Body, c: q.w.ctl, idle: s.o.BodyIdle, done: r.Body == http.NoBody}
	q.id = newRequestID()
	if r.ContentLength == 0 && r.ProtoAtLeast(1, 1) && r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		// net/http says it when a body is read, so never if that is empty. Amazon does, and botocore
		// that does not hear it garbles the next answer on the connection, and waits a minute for it.
		w.WriteHeader(http.StatusContinue)
	}
	h := w.Header()
	if len(r.TransferEncoding) > 0 || s.isLeaving() {
		// Who is in front of us may see another end of a chunked body than we do: nothing behind it is a request.
		h.Set("Connection", "close")
	}
	h.Set("x-amz-request-id", q.id)
	h.Set("x-amz-id-2", s.o.HostID)
	h.Set("Server", "cairn")
	code := "OK"
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				q.over(code, began)
				panic(http.ErrAbortHandler)
			}
			s.log.Error("request handler panicked", "request", q.id, "op", q.op, "panic", p, "stack", string(debug.Stack()))
			code = "InternalError"
			if !q.w.wrote {
				q.fail(apiErr("InternalError", "The gateway met an internal error."))
			}
		}
		q.raw.rest()
		if !q.w.set.IsZero() {
			_ = q.w.ctl.SetWriteDeadline(time.Time{})
		}
		q.over(code, began)
		s.log.Debug("request", "request", q.id, "op", q.op, "bucket", q.bucket, "key", q.key, "status", q.w.status, "code", code, "sent", q.w.bytes, "took", time.Since(began), "from", r.RemoteAddr)
	}()
	if err := q.serve(); err != nil {
		e := toAPI(err)
		if b := q.broken.Load(); b != nil && e.Status >= 500 {
			e = b // net/http cancels all else when a body cannot be read
		}
		q.detail(e)
		code = e.Code
		if e.Status >= 500 && e.Code != "NotImplemented" && e.Code != "SlowDown" && q.ctx().Err() == nil {
			s.log.Warn("request failed", "request", q.id, "op", q.op, "bucket", q.bucket, "err", err)
		}
		q.fail(e)
	}
}

func (q *request) serve() error {
	s := q.s
	addressed := q.address()
	if q.r.Method == http.MethodGet && q.bucket == healthBucket && q.key == healthKey {
		return q.health()
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		s.metrics.inflight.Inc()
		defer s.metrics.inflight.Dec()
	default:
		return apiErr("SlowDown", "The gateway serves as many requests as it can. Reduce your request rate.")
	}
	var err error
	if q.query, err = url.ParseQuery(q.r.URL.RawQuery); err != nil || len(q.r.URL.RawQuery) > 16<<10 {
		return apiErr("InvalidURI", "Couldn't parse the specified URI.")
	}
	if addressed != nil {
		return addressed
	}
	if s.o.SlowRequest > 0 {
		q.r = q.r.WithContext(bucket.WithTimes(q.r.Context(), &q.spent.times))
	}
	if q.site {
		return q.website()
	}
	if q.r.Method == http.MethodGet && q.bucket == healthBucket && q.key == usageKey {
		return q.usage()
	}
	if q.r.Method == http.MethodOptions {
		return q.preflight()
	}
	if q.isIdentity() {
		return q.serveIdentity()
	}
	q.fromElsewhere()
	op, refused := q.route() // first, so that the operation has a name in logs and metrics
	if refused != nil && refused.Code != "NotImplemented" {
		return refused // whoever asks
	}
	began := time.Now()
	e := q.authenticate()
	q.spent.identify = time.Since(began)
	if e != nil {
		return e
	}
	if refused != nil {
		if q.who.anonymous() {
			return accessDenied()
		}
		return refused
	}
	began = time.Now()
	err = q.authorise(op.action)
	q.spent.decide = time.Since(began)
	if err != nil {
		return err
	}
	if err := q.openSnapshot(); err != nil {
		return err
	}
	return op.run(q)
}

// The health check lies at /-/health, which cannot be a bucket's: names have three
// characters at least.
const (
	healthBucket = "-"
	healthKey    = "health"
)

// isLeaving reports whether the gateway is being closed.
func (s *Server) isLeaving() bool {
	select {
	case <-s.leaving:
		return true
	default:
		return false
	}
}

func (q *request) health() error {
	q.op = "Health"
	if q.s.isLeaving() {
		return apiErr("ServiceUnavailable", "The gateway is about to stop.")
	}
	ctx, cancel := context.WithTimeout(q.ctx(), 5*time.Second)
	defer cancel()
	if err := q.s.o.Buckets.Ping(ctx); err != nil {
		e := apiErr("ServiceUnavailable", "The cluster does not answer.")
		e.cause = err
		return e
	}
	q.w.Header().Set("Content-Type", "text/plain")
	_, err := q.w.Write([]byte("ok\n"))
	if err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err)
	}
	return nil
}

// address finds bucket and key in the host and the path. The path is taken as it
// was sent: nothing in it is cleaned.
func (q *request) address() *apiError {
	path := q.r.URL.Path
	host := q.r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if q.bucket, q.site = q.s.siteOf(host); q.site {
		q.key = strings.TrimPrefix(path, "/")
		if q.bucket == "" {
			return nil
		}
		return q.checkKey()
	}
	for _, d := range q.s.o.Domains {
		if b, ok := strings.CutSuffix(host, "."+d); ok && b != "" {
			q.bucket, q.key, q.vhost = b, strings.TrimPrefix(path, "/"), true
			q.bucket, q.snapshot = splitSnapshot(q.bucket)
			return q.checkKey()
		}
	}
	q.bucket, q.key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	q.bucket, q.snapshot = splitSnapshot(q.bucket)
	return q.checkKey()
}

func (q *request) checkKey() *apiError {
	switch {
	case q.key == "":
		return nil
	case q.bucket == "":
		return apiErr("InvalidURI", "The path names a key but no bucket.")
	case len(q.key) > bucket.MaxKeyBytes:
		return apiErr("KeyTooLongError", "Your key is too long.").with("Size", itoa(len(q.key))).with("MaxSizeAllowed", itoa(bucket.MaxKeyBytes))
	case bucket.CheckKey(q.key) != nil:
		return apiErr("InvalidArgument", "The key must be UTF-8 without NUL bytes.")
	}
	return nil
}

// single are headers of which nobody may send two: what one program takes from such a request another does not, nor a
// policy's condition what the operation does.
var single = []string{
	"Authorization", "Content-Md5", "X-Amz-Acl", "X-Amz-Bypass-Governance-Retention", "X-Amz-Content-Sha256", "X-Amz-Copy-Source", "X-Amz-Date",
	"X-Amz-Decoded-Content-Length", "X-Amz-Metadata-Directive", "X-Amz-Object-Lock-Legal-Hold", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date",
	"X-Amz-Object-Ownership", "X-Amz-Security-Token", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
	"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Storage-Class", "X-Amz-Tagging", "X-Amz-Website-Redirect-Location",
}

// authenticate finds out who asks.
func (q *request) authenticate() *apiError {
	for _, name := range single {
		if len(q.r.Header[name]) > 1 {
			return apiErr("InvalidArgument", "The header %s is there more than once.", name)
		}
	}
	if q.op == "PostObject" {
		return q.authenticateForm()
	}
	if q.s.o.SigV2 && claimsV2(q.r, q.query) {
		return q.authenticateV2()
	}
	sig, e := parseSignature(q.r, q.query)
	if e != nil {
		return e
	}
	if sig == nil {
		return q.anonymous()
	}
	if e := sig.checkClaim(q.r, q.s.o.Now(), q.s.o.Region); e != nil {
		return e
	}
	user, secret, e := q.known(sig.accessKey)
	if e != nil {
		return e
	}
	key := q.s.users.signingKey(secret, sig)
	if e := sig.verify(q.r, key); e != nil {
		return e
	}
	q.sig, q.key256 = sig, key
	return q.become(user)
}

// known finds the user who has an access key, and its secret.
func (q *request) known(accessKey string) (*wirepb.User, string, *apiError) {
	if token := q.token(); token != "" {
		return q.knownSession(accessKey, token)
	}
	found, err := q.s.users.find(q.ctx(), accessKey, q.s.o.Now())
	switch {
	case errors.Is(err, client.ErrNotFound):
		return nil, "", apiErr("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.").with("AWSAccessKeyId", accessKey)
	case err != nil:
		e := apiErr("ServiceUnavailable", "The gateway cannot look up users now. Try again.")
		e.cause = err
		return nil, "", e
	}
	q.identity = found.identity
	return found.user, found.secret, nil
}

// become takes the request for one of a user whose signature holds.
func (q *request) become(user *wirepb.User) *apiError {
	if user.Suspended {
		return apiErr("AccessDenied", "The user is suspended.")
	}
	identity := q.identity
	if q.s.o.Identities != nil {
		var err error
		if identity, err = q.s.o.Identities(q.ctx(), user); err != nil {
			e := apiErr("ServiceUnavailable", "The gateway cannot look up policies now. Try again.")
			e.cause = err
			return e
		}
		identity.Name = user.Name
	}
	q.user, q.who = user, &who{Identity: identity, name: identity.Name}
	return nil
}

// anonymous takes a request that nobody signed.
func (q *request) anonymous() *apiError {
	payload := q.r.Header.Get("X-Amz-Content-Sha256")
	switch payload {
	case "":
		payload = unsignedBody
	case streamSigned, streamSignedTrailer:
		return apiErr("InvalidRequest", "Anonymous requests don't support this x-amz-content-sha256 value. Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.")
	}
	q.sig, q.user, q.who = &signature{payload: payload}, &wirepb.User{}, &who{}
	return nil
}
