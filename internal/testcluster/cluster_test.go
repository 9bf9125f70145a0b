package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
)

func logger(t *testing.T) *slog.Logger {
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// start starts a cluster, in a directory of its own if o names none, until the test ends.
func start(t *testing.T, ctx context.Context, o testcluster.Options) *testcluster.Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Log == nil {
		o.Log = logger(t)
	}
	c, err := testcluster.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// open connects to a cluster, until the test ends, and opens a pool of it.
func open(t *testing.T, ctx context.Context, c *testcluster.Cluster, name string) (*client.Client, *client.Pool) {
	t.Helper()
	cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	pool, err := cl.Pool(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return cl, pool
}

// startPool starts a cluster without S3, makes the pool "data" in it, and opens that when everything is clean.
func startPool(t *testing.T, ctx context.Context, o testcluster.Options, p api.PoolSpec) (*testcluster.Cluster, *client.Client, *client.Pool) {
	t.Helper()
	o.NoS3 = true
	c := start(t, ctx, o)
	p.Name, p.Application = "data", "test"
	if _, err := c.Mon(0).PoolCreate(ctx, p); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after the start")
	cl, pool := open(t, ctx, c, p.Name)
	return c, cl, pool
}

func clean(t *testing.T, ctx context.Context, c *testcluster.Cluster, when string) {
	t.Helper()
	if err := c.WaitClean(ctx); err != nil {
		t.Fatalf("not clean %s: %v", when, err)
	}
}

// TestClusterSurvivesAnOSD writes through the client, kills an OSD, goes on,
// brings it back, and restarts everything.
func TestClusterSurvivesAnOSD(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := testcluster.Options{Dir: t.TempDir(), Log: logger(t)}
	c, err := testcluster.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Close() }()
	if err := c.WaitClean(ctx); err != nil {
		t.Fatalf("not clean after the start: %v", err)
	}
	want := map[string][]byte{}
	put := func(from, to int) {
		t.Helper()
		cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		p, err := cl.Pool(ctx, "s3")
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i < to; i++ {
			name := fmt.Sprintf("object-%d", i)
			data := bytes.Repeat([]byte(name), 1+i*i*7)
			if _, err := p.Do(ctx, name, new(client.Op).WriteFull(data).SetAttr("n", []byte(name)).OmapSet("k", data[:5])); err != nil {
				t.Fatalf("write %s: %v", name, err)
			}
			want[name] = data
		}
	}
	check := func() {
		t.Helper()
		cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		p, err := cl.Pool(ctx, "s3")
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range want {
			r, err := p.Do(ctx, name, new(client.Op).Read(0, 0).GetAttr("n").OmapGet("k"))
			if err != nil {
				t.Fatalf("read %s: %v", name, err)
			}
			if !bytes.Equal(r.Items[0].Data, data) || string(r.Items[1].Data) != name || !bytes.Equal(r.Items[2].Data, data[:5]) {
				t.Fatalf("%s: got %d bytes, attr %q, want %d bytes", name, len(r.Items[0].Data), r.Items[1].Data, len(data))
			}
		}
	}
	put(0, 40)
	check()
	if err := c.KillOSD(1); err != nil {
		t.Fatal(err)
	}
	put(40, 60)
	check()
	if err := c.StartOSD(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitClean(ctx); err != nil {
		t.Fatalf("not clean after osd1 came back: %v", err)
	}
	if err := c.KillOSD(0); err != nil {
		t.Fatal(err)
	}
	check()
	if err := c.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if c, err = testcluster.Start(ctx, o); err != nil {
		t.Fatalf("start again: %v", err)
	}
	check()
}
