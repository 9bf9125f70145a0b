package s3

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

func TestMain(m *testing.M) {
	slab.Poison()
	goleak.VerifyTestMain(m)
}

// gateway is a server on loopback over an in-memory pool, with two users.
type gateway struct {
	t    *testing.T
	pool *clienttest.Pool
	svc  *bucket.Service
	srv  *Server
	addr string
	tr   *http.Transport
}

var (
	ann = &wirepb.User{Name: "ann", DisplayName: "Ann", Keys: []*wirepb.AccessKey{{AccessKey: "ANNKEY", SecretKey: "ann/secret+1"}}}
	bob = &wirepb.User{Name: "bob", Keys: []*wirepb.AccessKey{{AccessKey: "BOBKEY", SecretKey: "bobsecret"}}}
	eve = &wirepb.User{Name: "eve", Suspended: true, Keys: []*wirepb.AccessKey{{AccessKey: "EVEKEY", SecretKey: "evesecret"}}}
)

func users(_ context.Context, accessKey string) (*wirepb.User, error) {
	for _, u := range []*wirepb.User{ann, bob, eve} {
		if u.Keys[0].AccessKey == accessKey {
			return u, nil
		}
	}
	return nil, fmt.Errorf("access key %q: %w", accessKey, client.ErrNotFound)
}

func userNamed(_ context.Context, name string) (*wirepb.User, error) {
	for _, u := range []*wirepb.User{ann, bob, eve} {
		if u.Name == name {
			return u, nil
		}
	}
	return nil, fmt.Errorf("user %q: %w", name, client.ErrNotFound)
}

func userWithEmail(ctx context.Context, address string) (*wirepb.User, error) {
	name, ok := strings.CutSuffix(address, "@example.com")
	if !ok {
		return nil, fmt.Errorf("address %q: %w", address, client.ErrNotFound)
	}
	return userNamed(ctx, name)
}

func newGateway(t *testing.T, change func(o *Options)) *gateway {
	t.Helper()
	return newGatewayOn(t, clienttest.New(t), change)
}

func newGatewayOn(t *testing.T, pool *clienttest.Pool, change func(o *Options)) *gateway {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	g := &gateway{t: t, pool: pool, tr: &http.Transport{DisableCompression: true}}
	var err error
	if g.svc, err = bucket.NewService(bucket.Options{Meta: g.pool, Data: g.pool, Log: log}); err != nil {
		t.Fatal(err)
	}
	o := Options{Buckets: g.svc, Users: users, FindUser: userNamed, FindEmail: userWithEmail, Log: log, Drain: time.Second, Domains: []string{"s3.test"}}
	if change != nil {
		change(&o)
	}
	if g.srv, err = New(o); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = ln.Addr().String()
	done := make(chan error, 1)
	go func() { done <- g.srv.Serve(ln) }()
	t.Cleanup(func() {
		g.tr.CloseIdleConnections()
		if err := g.srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		g.svc.Close()
	})
	return g
}
