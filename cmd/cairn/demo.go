package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
)

// demoOptions are the flags of `cairn demo`.
type demoOptions struct {
	tree, dir  string
	mons, osds int
	keep       bool
	verbose    bool
	flags      daemonFlags
}

// Limits of what the demo stores, so that it stays a demo in anybody's folder.
const (
	demoFilesMax  = 5000
	demoBytesMax  = 256 << 20
	demoTransfers = 8
	demoBucket    = "demo"
	demoWait      = time.Minute // for the cluster to say what the demo waits to see
)

// demo is one run: a cluster, clients of it, and what was stored.
type demo struct {
	e   *env
	o   demoOptions
	c   *testcluster.Cluster
	s3  *minio.Client
	api *api.Client

	sums  map[string][sha256.Size]byte // by key
	bytes int64
	began time.Time
}

// runDemo does what a new user would: store, read back, lose an OSD, go on.
func runDemo(ctx context.Context, e *env, o demoOptions) (err error) {
	log, err := devLog(e, o.flags, o.verbose)
	if err != nil {
		return err
	}
	if o.osds < 3 {
		return usageErrorf("flag --osds %d: want at least 3, to lose one and keep two copies", o.osds)
	}
	d := &demo{e: e, o: o, sums: map[string][sha256.Size]byte{}, began: time.Now()}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "cairn-demo-"); err != nil {
			return fmt.Errorf("directory for the demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	d.step("Starting a cluster of %d monitor(s) and %d OSDs in %s", o.mons, o.osds, dir)
	d.c, err = testcluster.Start(ctx, testcluster.Options{Dir: dir, Mons: o.mons, OSDs: o.osds, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.c.Close()) }()
	if err := d.play(ctx, dir); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if o.keep {
		fmt.Fprintln(e.stdout, "\nStaying up until Ctrl-C.")
		<-ctx.Done()
	}
	return nil
}

// step announces what comes next, with the seconds since the start.
func (d *demo) step(format string, args ...any) {
	fmt.Fprintf(d.e.stdout, "[%5.1fs] %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) play(ctx context.Context, dir string) error {
	var err error
	if d.api, err = api.NewClient(api.ClientOptions{Addrs: d.c.AdminAddrs(), Timeout: d.e.timeout}); err != nil {
		return err
	}
	defer d.api.Close()
	d.s3, err = minio.New(d.c.S3Addr(), &minio.Options{Creds: credentials.NewStaticV4(d.c.AccessKey, d.c.SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		return err
	}
	if err := d.waitHealth(ctx, "healthy", func(s api.Status) bool { return s.Health.Status == api.HealthOK }); err != nil {
		return err
	}
	if err := d.s3.MakeBucket(ctx, demoBucket, minio.MakeBucketOptions{}); err != nil {
		return fmt.Errorf("make bucket %s: %w", demoBucket, err)
	}
	if err := d.store(ctx, d.o.tree, "before/"); err != nil {
		return err
	}
	if err := d.compare(ctx); err != nil {
		return err
	}

	victim := d.c.OSD(1).ID()
	d.step("Killing %s", victim)
	if err := d.c.KillOSD(1); err != nil {
		return err
	}
	stall := time.Now()
	if err := d.put(ctx, "after/written-right-after-the-kill", []byte("still here\n")); err != nil {
		return err
	}
	d.step("The first write after the kill was acknowledged %.1f s after it", time.Since(stall).Seconds())
	if err := d.store(ctx, d.o.tree, "after/"); err != nil {
		return err
	}
	if err := d.compare(ctx); err != nil {
		return err
	}
	if err := d.waitHealth(ctx, "degraded", func(s api.Status) bool { return s.Health.Status != api.HealthOK && s.PGMap.Degraded > 0 }); err != nil {
		return err
	}

	d.step("Starting %s again", victim)
	if err := d.c.StartOSD(ctx, 1); err != nil {
		return err
	}
	if err := d.waitHealth(ctx, "clean again", func(s api.Status) bool { return s.Health.Status == api.HealthOK }); err != nil {
		return err
	}
	if err := d.compare(ctx); err != nil {
		return err
	}
	d.step("Done: %d objects, %s, nothing lost", len(d.sums), show.Bytes(d.bytes))
	if d.o.keep {
		printEndpoints(d.e.stdout, d.c, dir)
		return nil
	}
	printNext(d.e.stdout, d.c)
	return nil
}

// store puts the files of a tree, several at a time.
func (d *demo) store(ctx context.Context, tree, prefix string) error {
	files, err := demoFiles(tree)
	if err != nil {
		return err
	}
	begun, before := time.Now(), d.bytes
	type stored struct {
		key string
		sum [sha256.Size]byte
		n   int64
	}
	done := make(chan stored, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(demoTransfers)
	for _, f := range files {
		g.Go(func() error {
			data, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(tree, f)
			if err != nil {
				return err
			}
			key := prefix + filepath.ToSlash(rel)
			if _, err := d.s3.PutObject(gctx, demoBucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
				return fmt.Errorf("put %s: %w", key, err)
			}
			done <- stored{key, sha256.Sum256(data), int64(len(data))}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	close(done)
	for s := range done {
		d.sums[s.key] = s.sum
		d.bytes += s.n
	}
	d.step("Stored %d files (%s) of %s through S3 in %.1f s", len(files), show.Bytes(d.bytes-before), tree, time.Since(begun).Seconds())
	return nil
}

func (d *demo) put(ctx context.Context, key string, data []byte) error {
	if _, err := d.s3.PutObject(ctx, demoBucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	d.sums[key] = sha256.Sum256(data)
	d.bytes += int64(len(data))
	return nil
}

// demoFiles lists the regular files of a tree, without hidden folders and build results.
func demoFiles(tree string) ([]string, error) {
	var files []string
	var total int64
	err := filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if name := e.Name(); path != tree && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); len(files) >= demoFilesMax || total > demoBytesMax {
			return filepath.SkipAll
		}
		files = append(files, path)
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no files to store; name another with --tree", tree)
	}
	return files, err
}

// compare reads everything back and compares digests.
func (d *demo) compare(ctx context.Context) error {
	begun := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(demoTransfers)
	for key, want := range d.sums {
		g.Go(func() error {
			obj, err := d.s3.GetObject(gctx, demoBucket, key, minio.GetObjectOptions{})
			if err != nil {
				return fmt.Errorf("get %s: %w", key, err)
			}
			defer obj.Close()
			h := sha256.New()
			if _, err := io.Copy(h, obj); err != nil {
				return fmt.Errorf("get %s: %w", key, err)
			}
			if got := [sha256.Size]byte(h.Sum(nil)); got != want {
				return fmt.Errorf("%s came back different: SHA-256 %x, stored %x", key, got, want)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	d.step("Read %d objects back, all equal, in %.1f s", len(d.sums), time.Since(begun).Seconds())
	return nil
}

// waitHealth polls the status until ok, and prints it.
func (d *demo) waitHealth(ctx context.Context, what string, ok func(api.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		s, err := d.api.Status(ctx)
		if err == nil && ok(s) {
			d.step("The cluster is %s:", what)
			var b bytes.Buffer
			if err := show.Status(&b, s); err != nil {
				return err
			}
			for line := range strings.Lines(b.String()) {
				fmt.Fprint(d.e.stdout, "    ", line)
			}
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("the cluster did not become %s within %v: last status %+v (%w)", what, demoWait, s, errors.Join(err, ctx.Err()))
		}
	}
}

// printNext says how to get a cluster that stays.
func printNext(w io.Writer, c *testcluster.Cluster) {
	fmt.Fprintf(w, `
It had its REST interface on http://%s and S3 on http://%s
with access key %s, secret key %s; all of it is gone now.

Try next:
  make demo KEEP=1             the same, and it stays up, with endpoints and credentials
  ./bin/cairn dev              a cluster that keeps its data in .cairn/dev
  ./bin/cairn status           (in another shell, with the CAIRN_ADMIN that dev prints)
  ./bin/cairn osd tree
  ./bin/cairn --help           everything else
`, c.AdminAddrs()[0], c.S3Addr(), c.AccessKey, c.SecretKey)
}
