package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// Limits of the server.
const (
	requestTimeout = 60 * time.Second // of one request, changes included
	maxBodyBytes   = 1 << 20
	maxHeaderBytes = 64 << 10
	watchPeriod    = time.Second
)

// Options configures New.
type Options struct {
	Backend Backend // required
	// Buckets serves /buckets; nil: they are answered as not supported.
	Buckets Buckets
	// Keys returns the records of encryption keys, for /encryption-keys; nil: not supported.
	Keys func(ctx context.Context) (*kms.Store, error)
	// PGQuery asks a PG's primary for its inner state, as JSON; nil: not supported.
	PGQuery func(ctx context.Context, pg placement.PGID) (json.RawMessage, error)
	// OSDCall asks an OSD for something that it answers with JSON; nil: not supported.
	OSDCall func(ctx context.Context, to placement.OSDID, h *wirepb.Header) (json.RawMessage, error)
	Log     *slog.Logger // default slog.Default()
	// Token, if not empty, must be given as bearer token with every request except /metrics.
	Token string
	Now   func() time.Time // default time.Now
}

// Server is the REST interface of one monitor.
type Server struct {
	backend   Backend
	buckets   Buckets
	keys      func(context.Context) (*kms.Store, error)
	pgQuery   func(context.Context, placement.PGID) (json.RawMessage, error)
	osdCall   func(context.Context, placement.OSDID, *wirepb.Header) (json.RawMessage, error)
	log       *slog.Logger
	token     string
	now       func() time.Time
	since     since
	tracker   tracker
	tables    tableCache
	usages    usages
	transport *http.Transport
	handler   http.Handler
	api       huma.API

	mu     sync.Mutex // guards below
	http   *http.Server
	closed bool
	stop   chan struct{}
	wg     sync.WaitGroup
}

// New makes the server; Serve or Handler put it to use.
func New(o Options) (*Server, error) {
	if o.Backend == nil {
		return nil, errors.New("admin server: no backend given")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		backend: o.Backend, buckets: o.Buckets, keys: o.Keys, pgQuery: o.PGQuery, osdCall: o.OSDCall, log: o.Log, token: o.Token, now: o.Now,
		transport: newForwardTransport(), stop: make(chan struct{}),
	}
	// gin's debug mode, its default, prints to standard output. The mode is the
	// library's global; every user of it in this program wants this value.
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.UseRawPath, r.UnescapePathValues = true, true // names may contain an escaped slash
	r.RedirectTrailingSlash, r.RedirectFixedPath = false, false
	r.HandleMethodNotAllowed = true
	if err := r.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("admin server: %w", err)
	}
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, s.recovered), s.limit, s.authorize, s.identify, s.toLeader)
	r.NoRoute(func(c *gin.Context) {
		s.abort(c, &api.Problem{Status: http.StatusNotFound, Code: api.CodeNotFound,
			Detail: fmt.Sprintf("%s %s: no such path", c.Request.Method, c.Request.URL.Path), Next: "see /openapi.json for what there is"})
	})
	r.NoMethod(func(c *gin.Context) {
		s.abort(c, &api.Problem{Status: http.StatusMethodNotAllowed, Code: api.CodeInvalid,
			Detail: fmt.Sprintf("%s is not possible on %s", c.Request.Method, c.Request.URL.Path), Next: "see /openapi.json for what is"})
	})

	cfg := huma.DefaultConfig("cairn", "1.0.0")
	cfg.Info.Description = "Administration of a cairn storage cluster: state, pools, OSDs, placement groups, users and buckets. " +
		"Errors are RFC 7807 problems with a `code` for programs and a `next` step for people."
	cfg.CreateHooks = nil // no $schema member in every answer
	cfg.DocsPath = ""     // the stock page loads scripts from elsewhere
	cfg.SchemasPath = ""
	cfg.RejectUnknownQueryParameters = true
	s.api = humagin.New(r, cfg)
	s.routes()
	r.GET("/metrics", s.metrics())

	// Browsers of people who administer the cluster visit other sites, too: those
	// must not be able to send changes here.
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, &api.Problem{Status: http.StatusForbidden, Code: api.CodeNotPermitted,
			Detail: "a browser sent this change from another site", Next: "use the cairn command or this server's own pages"})
	}))
	s.handler = cross.Handler(r)
	return s, nil
}

// Handler returns the interface as an http.Handler.
func (s *Server) Handler() http.Handler { return s.handler }

// OpenAPI returns the OpenAPI 3.1 document as JSON.
func (s *Server) OpenAPI() ([]byte, error) { return json.MarshalIndent(s.api.OpenAPI(), "", "  ") }

// ServeHTTP makes the server an http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve accepts connections on ln until Close, and closes ln. It returns nil after Close.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closed || s.http != nil {
		s.mu.Unlock()
		ln.Close()
		return errors.New("admin server: Serve called twice or after Close")
	}
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      requestTimeout + 15*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv := s.http
	s.wg.Add(2)
	go s.watch()        // stopped by Close
	go s.sampleUsages() // likewise
	s.mu.Unlock()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin server on %s: %w", ln.Addr(), err)
	}
	return nil
}

// watch lets the server see the maps go by even when nobody asks, so that it
// can say since when OSDs are up.
func (s *Server) watch() {
	defer s.wg.Done()
	t := time.NewTicker(watchPeriod)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.observe()
		}
	}
}

// Close stops accepting, gives requests under way a few seconds and returns
// when all are done. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
		return nil
	}
	s.closed = true
	srv := s.http
	close(s.stop)
	s.mu.Unlock()
	var err error
	if srv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err = srv.Shutdown(ctx); err != nil {
			err = srv.Close()
		}
	}
	s.transport.CloseIdleConnections()
	s.wg.Wait()
	return err
}

// clusterMap returns the monitor's map. One that has just started may have none,
// or one without CRUSH map; then everything is empty.
func (s *Server) clusterMap() *placement.Map {
	m := s.backend.Map()
	if m != nil && m.Crush != nil {
		return m
	}
	empty := &placement.Map{}
	if m != nil {
		*empty = *m
	}
	empty.Crush = crush.NewDefault()
	return empty
}

// observe is view, and has the tracker take note of it.
func (s *Server) observe() *View {
	v := s.view()
	if v.Quorum.Leader == v.Quorum.Self { // the others have no reports
		s.tracker.observe(v, v.PGs())
		v.Progress = s.tracker.list(v.Now)
	}
	return v
}

// view takes a consistent look at the cluster.
func (s *Server) view() *View {
	m := s.clusterMap()
	up, in := s.since.observe(m)
	return &View{
		Map: m, Quorum: s.backend.Quorum(), Reports: s.backend.Reports(), Services: s.backend.Services(),
		Now: s.now(), UpSince: up, InSince: in, Target: s.tables.of(m).Target,
	}
}

func (s *Server) recovered(c *gin.Context, v any) {
	s.log.Error("admin request panicked", "method", c.Request.Method, "path", c.Request.URL.Path, "panic", fmt.Sprint(v))
	s.abort(c, &api.Problem{Status: http.StatusInternalServerError, Code: api.CodeInternal,
		Detail: "the monitor failed on this request", Next: "its log has the reason; please report it"})
}

// limit bounds a request in size and time.
func (s *Server) limit(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)
	ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}

func (s *Server) authorize(c *gin.Context) {
	if s.token == "" || c.Request.URL.Path == "/metrics" {
		return
	}
	want := "Bearer " + s.token
	if subtle.ConstantTimeCompare([]byte(c.GetHeader("Authorization")), []byte(want)) != 1 {
		c.Header("WWW-Authenticate", "Bearer")
		s.abort(c, &api.Problem{Status: http.StatusUnauthorized, Code: api.CodeNotPermitted,
			Detail: "this monitor asks for a token and the request has none, or another",
			Next:   "give it in CAIRN_ADMIN_TOKEN or as `Authorization: Bearer TOKEN`"})
	}
}

// abort answers with a problem and ends the request.
func (s *Server) abort(c *gin.Context, p *api.Problem) {
	c.Abort()
	if !c.Writer.Written() {
		writeProblem(c.Writer, p)
	}
}

func writeProblem(w http.ResponseWriter, p *api.Problem) {
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	b, err := json.Marshal(p)
	if err != nil { // only a value of the request could be the reason
		b = []byte(`{"title":"Internal Server Error","status":500,"code":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) // nobody is left to hear of an error
}
