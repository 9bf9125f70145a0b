package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/seal"
)

// S3Options configures StartS3.
type S3Options struct {
	Mons      []string // required: messenger addresses of some monitors
	Name      string   // of this gateway; default "s3"
	Listen    []string // host:port of plain HTTP; default 127.0.0.1:0, unless there is TLSListen
	TLSListen []string // host:port of HTTPS, with Gateway.TLS
	Advertise string   // host:port shown to people; default: the listener's address
	Metrics   string   // host:port to serve metrics on, at /metrics; default: nowhere
	Pool      string   // default DefaultS3Pool
	RootKeys  string   // file with the root keys of encryption, for its owner alone; default none
	Gateway   s3.Options
	Log       *slog.Logger
}

// S3 is a running S3 gateway.
type S3 struct {
	Addr  string   // shown to people
	Addrs []string // of all listeners; those with TLS begin with https://
	// MetricsAddr is where metrics are served; "": nowhere.
	MetricsAddr string

	o       S3Options
	client  *client.Client
	buckets *bucket.Service
	server  *s3.Server
	metrics *http.Server // nil: none
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	failed  chan error
}

// StartS3 connects to the cluster and serves S3. The pool must exist.
func StartS3(ctx context.Context, o S3Options) (*S3, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Name == "" {
		o.Name = "s3"
	}
	if len(o.Listen)+len(o.TLSListen) == 0 {
		o.Listen = []string{"127.0.0.1:0"}
	}
	if o.Pool == "" {
		o.Pool = DefaultS3Pool
	}
	slow := time.AfterFunc(tellAfter, func() {
		o.Log.Warn("S3 gateway waits for the monitors", "gateway", o.Name, "mons", o.Mons)
	})
	c, err := client.Connect(ctx, client.Options{Mons: o.Mons, Entity: "client.s3." + o.Name, Log: o.Log})
	slow.Stop()
	if err != nil {
		return nil, err
	}
	g := &S3{o: o, client: c, failed: make(chan error, 1)}
	if err := g.start(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *S3) start(ctx context.Context) error {
	pool, err := g.client.Pool(ctx, g.o.Pool)
	if errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("S3 gateway %s: pool %q does not exist; make it with `cairn pool create %s --application s3`", g.o.Name, g.o.Pool, g.o.Pool)
	}
	if err != nil {
		return err
	}
	var roots []seal.Key
	if g.o.RootKeys != "" {
		if roots, err = kms.ReadRoots(g.o.RootKeys); err != nil {
			return fmt.Errorf("S3 gateway %s: %w", g.o.Name, err)
		}
	}
	if g.buckets, err = bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: g.o.Log}); err != nil {
		return err
	}
	so := g.o.Gateway
	so.Buckets, so.Log = g.buckets, g.o.Log
	so.KMS = kms.NewService(kms.Options{Pool: pool, Roots: roots})
	g.identities(&so)
	if g.o.Metrics != "" {
		reg := prometheus.NewRegistry()
		so.Metrics = reg
		if err := g.serveMetrics(reg); err != nil {
			return err
		}
	}
	if g.server, err = s3.New(so); err != nil {
		return err
	}
	if err := g.listen(); err != nil {
		return err
	}
	bctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.wg.Go(func() { g.beacons(bctx) }) // ends with cancel
	return nil
}

// listen opens all listeners and then serves on them.
func (g *S3) listen() error {
	type listener struct {
		ln    net.Listener
		serve func(net.Listener) error
		addr  string
	}
	var all []listener
	open := func(at, scheme string, serve func(net.Listener) error) error {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			for _, l := range all {
				l.ln.Close()
			}
			return fmt.Errorf("S3 gateway %s: %w", g.o.Name, err)
		}
		all = append(all, listener{ln, serve, scheme + ln.Addr().String()})
		return nil
	}
	for _, at := range g.o.Listen {
		if err := open(at, "", g.server.Serve); err != nil {
			return err
		}
	}
	for _, at := range g.o.TLSListen {
		if err := open(at, "https://", g.server.ServeTLS); err != nil {
			return err
		}
	}
	g.failed = make(chan error, len(all))
	for _, l := range all {
		g.Addrs = append(g.Addrs, l.addr)
		g.wg.Go(func() { // ends with server.Close
			if err := l.serve(l.ln); err != nil {
				g.failed <- err
			}
		})
	}
	if g.Addr = g.o.Advertise; g.Addr == "" {
		g.Addr = g.Addrs[0]
	}
	return nil
}

// serveMetrics serves what is in a registry, and what Go and the kernel know of the process.
func (g *S3) serveMetrics(reg *prometheus.Registry) error {
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	ln, err := net.Listen("tcp", g.o.Metrics)
	if err != nil {
		return fmt.Errorf("S3 gateway %s: metrics: %w", g.o.Name, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	g.metrics = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(g.o.Log.Handler(), slog.LevelDebug)}
	g.MetricsAddr = ln.Addr().String()
	g.wg.Go(func() { // ends with Close
		if err := g.metrics.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			g.o.Log.Error("metrics are no longer served", "gateway", g.o.Name, "err", err)
		}
	})
	return nil
}

// Failed delivers the error that ended the server, if one did.
func (g *S3) Failed() <-chan error { return g.failed }

// beacons tells the monitors that the gateway is there, and at the end that it leaves.
func (g *S3) beacons(ctx context.Context) {
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	b := client.ServiceBeacon{Kind: "s3", Name: g.o.Name, Addr: g.Addr}
	for {
		bctx, cancel := context.WithTimeout(ctx, 8*time.Second)
		if err := g.client.Beacon(bctx, b); err != nil && ctx.Err() == nil {
			g.o.Log.Warn("monitors not told of the gateway", "gateway", g.o.Name, "err", err)
		}
		cancel()
		select {
		case <-t.C:
		case <-ctx.Done():
			b.Leaving = true
			bctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = g.client.Beacon(bctx, b) // if it is lost, the silence says the same later
			cancel()
			return
		}
	}
}

// Close stops the gateway after the requests under way.
func (g *S3) Close() error {
	var err error
	if g.server != nil {
		err = g.server.Close()
	}
	if g.cancel != nil {
		g.cancel()
	}
	if g.metrics != nil {
		err = errors.Join(err, g.metrics.Close())
	}
	g.wg.Wait()
	if g.buckets != nil {
		err = errors.Join(err, g.buckets.Close())
	}
	return errors.Join(err, g.client.Close())
}
