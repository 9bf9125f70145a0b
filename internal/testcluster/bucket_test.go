package testcluster_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

var dedupMiB = flag.Int("dedup-mib", 8, "size of the body in MiB that TestBucketDedup puts ten times")

// TestBucketDedup puts the same body ten times: the first brings its bytes to the cluster, each other one less than a
// hundredth of them, and all take the space of one. A bucket in a pool without chunks does the same by settings of its own.
// When all are deleted nothing is left.
//
//	go test ./internal/testcluster -run TestBucketDedup -dedup-mib 1024 -v
//
// measures it with 1 GiB.
func TestBucketDedup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c, _, _ := startPool(t, ctx, testcluster.Options{OSDs: 4}, api.PoolSpec{Size: 3, MinSize: 1, Chunks: "2:1:xor", Cut: "content", PGNum: 8})
	if _, err := c.Mon(0).PoolCreate(ctx, api.PoolSpec{Name: "plain", Size: 2, MinSize: 1, PGNum: 4, Application: "test"}); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "with two pools")
	if err := c.Mon(0).ConfigSet(ctx, "gc_interval", "1s"); err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &countingConn{conn, &sent, nil}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	n := *dedupMiB << 20
	want := make([]byte, n+1)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(want)
	var gone []func() // each waits until nothing is left in a pool
	for _, name := range []string{"data", "plain"} {
		pool, err := cl.Pool(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: logger(t), Grace: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer svc.Close()
		if _, err := svc.Create(ctx, "films", "ann", ""); err != nil {
			t.Fatal(err)
		}
		if name == "plain" {
			if err := svc.Set(ctx, "films", "chunks", "4:2:rs"); err == nil {
				t.Error("4:2:rs was taken on four OSDs with two copies")
			}
			if err := svc.Set(ctx, "films", "chunks", "3:1:xor"); err != nil {
				t.Fatal(err)
			}
		}
		b, err := svc.Bucket(ctx, "films")
		if err != nil {
			t.Fatal(err)
		}
		put := func(key string, body []byte) (moved int64, took time.Duration) {
			t.Helper()
			before, start := sent.Load(), time.Now()
			if _, err := b.Put(ctx, key, bucket.PutInput{Body: bytes.NewReader(body), Size: int64(len(body))}); err != nil {
				t.Fatal(err)
			}
			return sent.Load() - before, time.Since(start)
		}
		shards := func() (n int) {
			t.Helper()
			for i := range c.OSDs() {
				list, _, err := pool.Shards().List(ctx, c.OSD(i).ID(), nil, 10_000)
				if err != nil {
					t.Fatal(err)
				}
				n += len(list)
			}
			return n
		}
		first, took := put("k0", want[1:])
		written, held := cl.ChunkStats().Written, shards()
		var others int64
		var time9 time.Duration
		for i := 1; i < 10; i++ {
			moved, took := put(fmt.Sprint("k", i), want[1:])
			others += moved
			time9 += took
		}
		share := float64(others) / 9 / float64(n)
		t.Logf("pool %s: the first put of %d bytes sent %d in %v, the others %.4f %% of the body each, in %v", name, n, first, took, 100*share, time9/9)
		if first < int64(n) || share > 0.01 {
			t.Errorf("pool %s: the first put sent %d bytes of %d, each other %.4f %%", name, first, n, 100*share)
		}
		if now := shards(); now != held || held == 0 || cl.ChunkStats().Written != written {
			t.Errorf("pool %s: %d shards after one put, %d after ten; %d chunks written, then %d", name, held, now, written, cl.ChunkStats().Written)
		}
		inserted, _ := put("inserted", want)
		if name == "data" {
			t.Logf("pool %s: with a byte in front: %.2f %% of the body", name, 100*float64(inserted)/float64(n))
		}
		u, err := b.Usage(ctx, "k3", bucket.UsageLimits{Chunks: 100_000, Time: time.Minute})
		if err != nil || u.Chunked != int64(n) || u.ChunkBytes != int64(n) || u.SharedBytes < int64(n)*9/10 {
			t.Errorf("pool %s: usage %+v, %v", name, u, err)
		}
		o, err := b.Get(ctx, "k7")
		if err != nil {
			t.Fatal(err)
		}
		r, err := o.Open(ctx, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, want[1:]) {
			t.Fatalf("pool %s: %d bytes come back, %v", name, len(got), err)
		}
		keys := []string{"inserted"}
		for i := range 10 {
			keys = append(keys, fmt.Sprint("k", i))
		}
		for i, err := range b.DeleteMany(ctx, keys) {
			if err != nil {
				t.Fatalf("delete %s: %v", keys[i], err)
			}
		}
		if _, err := svc.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		gone = append(gone, func() {
			t.Helper()
			for shards() > 0 {
				select {
				case <-ctx.Done():
					t.Fatalf("pool %s: %d shards are left", name, shards())
				case <-time.After(200 * time.Millisecond):
				}
			}
			for _, kind := range []placement.RecordKind{placement.ChunkEntry, placement.Outbox} {
				if names, _, err := pool.ListRecords(ctx, kind, client.Cursor{}, 1000); err != nil || len(names) > 0 {
					t.Errorf("pool %s: %d records of kind %c are left, %v", name, len(names), kind, err)
				}
			}
		})
	}
	for _, wait := range gone {
		wait()
	}
}

// countingConn counts what is sent, and with got what is received.
type countingConn struct {
	net.Conn
	n, got *atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.got != nil {
		c.got.Add(int64(n))
	}
	return n, err
}

var copyMiB = flag.Int("copy-mib", 8, "size of the body in MiB that TestBucketCopy copies")

// TestBucketCopy copies an object, as a whole and in parts, and deletes it: less than a hundredth of the body moves between
// client and OSDs in either direction, the copies can be read when all chunks that nobody refers to are gone, and the chunk
// index and the objects agree about every reference.
//
//	go test ./internal/testcluster -run TestBucketCopy -copy-mib 256 -v
//
// measures it with 256 MiB.
func TestBucketCopy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	eager := func(o *chunkcare.Options) {
		o.Tick = 10 * time.Millisecond
		o.Settings = func(m *placement.Map) chunkcare.Settings {
			set := chunkcare.SettingsOf(m)
			set.GCInterval, set.OutboxEvery = 100*time.Millisecond, 100*time.Millisecond
			return set
		}
	}
	c, _, _ := startPool(t, ctx, testcluster.Options{OSDs: 4, TuneCare: eager}, api.PoolSpec{Size: 3, MinSize: 1, Chunks: "2:1:xor", PGNum: 8})
	var moved atomic.Int64
	cl, err := client.Connect(ctx, client.Options{Mons: c.MonAddrs(), Log: logger(t), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &countingConn{conn, &moved, &moved}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	pool, err := cl.Pool(ctx, "data")
	if err != nil {
		t.Fatal(err)
	}
	svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: logger(t), Grace: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	if _, err := svc.Create(ctx, "films", "ann", ""); err != nil {
		t.Fatal(err)
	}
	b, err := svc.Bucket(ctx, "films")
	if err != nil {
		t.Fatal(err)
	}
	n := int64(*copyMiB) << 20
	want := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{4}).Read(want)
	if _, err := b.Put(ctx, "k", bucket.PutInput{Body: bytes.NewReader(want), Size: n}); err != nil {
		t.Fatal(err)
	}
	src, err := b.Get(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	cheap := func(what string, f func() error) {
		t.Helper()
		before, start := moved.Load(), time.Now()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		share := float64(moved.Load()-before) / float64(n)
		t.Logf("%s of %d MiB moved %.4f %% of them in %v", what, *copyMiB, 100*share, time.Since(start))
		if share > 0.01 {
			t.Errorf("%s moved %.4f %% of the body", what, 100*share)
		}
	}
	cheap("a copy", func() error { _, err := b.Copy(ctx, src, "copy", bucket.CopyInput{}); return err })
	cheap("a copy in parts", func() error {
		up, err := b.CreateUpload(ctx, "parts", bucket.UploadInput{})
		if err != nil {
			return err
		}
		var parts []bucket.CompletePart
		for i, r := range [][2]int64{{0, n - 2<<20 - 5}, {n - 2<<20 - 5, 2<<20 + 5}} {
			p, err := b.CopyPart(ctx, "parts", up, i+1, src, r[0], r[1], nil, nil)
			if err != nil {
				return err
			}
			parts = append(parts, bucket.CompletePart{Number: i + 1, ETag: p.ETag})
		}
		_, err = b.Complete(ctx, "parts", up, bucket.CompleteInput{Parts: parts})
		return err
	})
	remove := func(key string) {
		t.Helper()
		if err := b.Delete(ctx, key, bucket.Cond{}); err != nil {
			t.Fatal(err)
		}
		if _, err := svc.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		for { // until the dropped references are worked off
			names, _, err := pool.ListRecords(ctx, placement.Outbox, client.Cursor{}, 1)
			if err == nil && len(names) == 0 {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("dropped references are left: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	for _, gone := range []string{"k", "copy", "parts"} {
		remove(gone)
		leaked, dangling, refs := compareReferences(t, ctx, pool)
		if leaked != 0 || dangling != 0 || (refs == 0) != (gone == "parts") {
			t.Errorf("without %s: %d references leaked, %d dangling, %d right", gone, leaked, dangling, refs)
		}
		for _, key := range map[string][]string{"k": {"copy", "parts"}, "copy": {"parts"}}[gone] {
			o, err := b.Get(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			r, err := o.Open(ctx, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s without %s: %d bytes, %v", key, gone, len(got), err)
			}
		}
	}
}

// compareReferences holds the references of all objects of a pool against the chunk index.
func compareReferences(t *testing.T, ctx context.Context, pool *client.Pool) (leaked, dangling, right int) {
	t.Helper()
	index := map[chunk.Nonce]bool{}
	entries, next, err := pool.ListRecords(ctx, placement.ChunkEntry, client.Cursor{}, 10_000)
	if err != nil || !next.End {
		t.Fatalf("list %d chunks: %v", len(entries), err)
	}
	for _, name := range entries {
		fp, _ := chunk.FingerprintOf(name)
		info, err := pool.Chunks().Info(ctx, fp, 1000)
		if errors.Is(err, client.ErrNotFound) {
			continue // collected since it was listed
		}
		if err != nil || info.More {
			t.Fatalf("chunk %s: more %v, %v", fp, info.More, err)
		}
		for _, r := range info.Refs {
			index[r.Nonce] = true
		}
	}
	names, next, err := pool.List(ctx, client.Cursor{}, 10_000)
	if err != nil || !next.End {
		t.Fatalf("list %d objects: %v", len(names), err)
	}
	for _, name := range names {
		refs, _, err := pool.Chunks().Refs(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range refs {
			if !index[refs[i].Nonce] {
				dangling++
				continue
			}
			right++
			delete(index, refs[i].Nonce)
		}
	}
	return len(index), dangling, right
}
