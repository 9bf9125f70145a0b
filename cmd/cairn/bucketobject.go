package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/node"
)

// `cairn bucket object` works on the objects of a bucket as an administrator, without a gateway and without anybody's S3
// keys; `cairn object` is below that, on the objects of a pool.

// bucketOpener connects to the cluster and opens the service of its buckets.
type bucketOpener func(ctx context.Context, mons []string, pool string, timeout time.Duration) (*bucket.Service, io.Closer, error)

func openBuckets(ctx context.Context, mons []string, pool string, timeout time.Duration) (*bucket.Service, io.Closer, error) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil)) // what goes wrong is in the errors
	c, err := client.Connect(ctx, client.Options{Mons: mons, Entity: "client.admin", Timeout: timeout, Log: log})
	if err != nil {
		return nil, nil, err
	}
	p, err := c.Pool(ctx, pool)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	s, err := bucket.NewService(bucket.Options{Meta: p, Data: p, Log: log})
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return s, closers{s, c}, nil
}

// closers close one after the other.
type closers []io.Closer

func (cs closers) Close() (err error) {
	for _, c := range cs {
		err = errors.Join(err, c.Close())
	}
	return err
}

// bucketFlags are those of `cairn bucket object`.
type bucketFlags struct {
	pool, prefix, after, version string
	versions, csv, bypass        bool
	limit                        int64
	contentType                  string
}

func newBucketObjectCommand(e *env) *cobra.Command {
	f := &bucketFlags{}
	leaf := func(use, short string, want []string, do func(ctx context.Context, b *bucket.Bucket, key string, a []string) error) *cobra.Command {
		return e.leaf(use, short, args(want...), func(ctx context.Context, a []string) error {
			name, key, _ := strings.Cut(a[0], "/")
			if strings.HasPrefix(want[0], "BUCKET/") && key == "" {
				return usageErrorf("%q: want BUCKET/KEY", a[0])
			}
			return withBucket(ctx, e, f.pool, name, func(b *bucket.Bucket) error { return do(ctx, b, key, a) })
		})
	}
	one, file := []string{"BUCKET/KEY"}, []string{"BUCKET/KEY", "FILE"}
	ls := leaf("ls BUCKET[/PREFIX]", "List the objects of a bucket, all of them: an inventory with --csv or -o json", []string{"BUCKET[/PREFIX]"},
		func(ctx context.Context, b *bucket.Bucket, prefix string, _ []string) error {
			f.prefix = prefix
			return runBucketObjects(ctx, e, b, f)
		})
	ls.Flags().BoolVar(&f.versions, "versions", false, "list versions and delete markers, too")
	ls.Flags().BoolVar(&f.csv, "csv", false, "print comma-separated values with a line of titles")
	ls.Flags().Int64Var(&f.limit, "limit", 0, "stop after so many (default: no limit)")
	ls.Flags().StringVar(&f.after, "after", "", "begin behind this key")
	stat := leaf("stat BUCKET/KEY", "Show what is known of an object", one, func(ctx context.Context, b *bucket.Bucket, key string, _ []string) error {
		return runBucketObjectStat(ctx, e, b, key, f.version)
	})
	get := leaf("get BUCKET/KEY FILE", "Fetch an object into a file, - for standard output", file, func(ctx context.Context, b *bucket.Bucket, key string, a []string) error {
		return runBucketObjectGet(ctx, e, b, key, f.version, a[1])
	})
	put := leaf("put BUCKET/KEY FILE", "Store a file, which becomes the bucket's owner's", file, func(ctx context.Context, b *bucket.Bucket, key string, a []string) error {
		return runBucketObjectPut(ctx, e, b, key, a[1], f.contentType)
	})
	put.Flags().StringVar(&f.contentType, "content-type", "", "what it is, such as text/plain")
	rm := leaf("rm BUCKET/KEY", "Remove an object; where versions are kept, put a delete marker", one, func(ctx context.Context, b *bucket.Bucket, key string, _ []string) error {
		return runBucketObjectRemove(ctx, e, b, key, f)
	})
	rm.Flags().BoolVar(&f.bypass, "bypass-governance", false, "remove a version that is locked in governance mode")
	for _, cmd := range []*cobra.Command{stat, get, rm} {
		cmd.Flags().StringVar(&f.version, "version", "", "this version (default: the current one)")
	}
	versions := leaf("versions BUCKET/KEY", "List the versions of an object, newest first", one, func(ctx context.Context, b *bucket.Bucket, key string, _ []string) error {
		g := *f
		g.prefix, g.versions, g.csv, g.limit, g.after = key, true, false, 0, ""
		return runBucketObjects(ctx, e, b, &g)
	})
	cmd := group("object", "Objects of a bucket, without gateway and S3 keys", ls, stat, get, put, rm, versions)
	cmd.PersistentFlags().StringVar(&f.pool, "pool", node.DefaultS3Pool, "pool of the gateways")
	return cmd
}

// withBucket connects to the cluster and finds a bucket.
func withBucket(ctx context.Context, e *env, pool, name string, do func(*bucket.Bucket) error) (err error) {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := c.Map(ctx, false)
	if err != nil {
		return err
	}
	var mons []string
	for _, mon := range m.Mons {
		mons = append(mons, mon.Addr)
	}
	if len(mons) == 0 {
		return errors.New("the cluster map names no monitor; check `cairn map show`")
	}
	s, closer, err := e.openBuckets(ctx, mons, pool, e.timeout)
	if err != nil {
		return fmt.Errorf("open pool %q: %w", pool, err)
	}
	defer func() {
		if cerr := closer.Close(); err == nil {
			err = cerr
		}
	}()
	b, err := s.Bucket(ctx, name)
	if err != nil {
		return err
	}
	return do(b)
}

// listedKey is an object of a listing.
type listedKey struct {
	Key        string `json:"key"`
	Size       int64  `json:"size"`
	Modified   string `json:"modified"`
	ETag       string `json:"etag,omitempty"`
	Owner      string `json:"owner,omitempty"`
	Class      string `json:"storage_class,omitempty"`
	Version    string `json:"version,omitempty"`
	Latest     bool   `json:"latest,omitempty"`
	Marker     bool   `json:"delete_marker,omitempty"`
	Noncurrent string `json:"noncurrent_since,omitempty"`
}

func listed(b *bucket.Bucket, o *bucket.Object, versions bool) listedKey {
	k := listedKey{Key: o.Key, Size: o.Size, Modified: o.Modified.UTC().Format(time.RFC3339Nano), Owner: o.Attrs.Owner, Class: o.Attrs.Class}
	if k.Owner == "" {
		k.Owner = b.Info().Owner
	}
	if !o.Marker {
		k.ETag = o.ETag()
		if k.Class == "" {
			k.Class = "STANDARD"
		}
	}
	if versions {
		k.Version, k.Latest, k.Marker = o.Version, o.Latest, o.Marker
		if !o.Noncurrent.IsZero() {
			k.Noncurrent = o.Noncurrent.UTC().Format(time.RFC3339Nano)
		}
	}
	return k
}

// keyPrinter prints keys as they come, so that a list may be longer than memory.
type keyPrinter struct {
	e        *env
	versions bool
	csv      *csv.Writer // nil: for people, or JSON
	n        int64
}

func (p *keyPrinter) print(k listedKey) (err error) {
	p.n++
	switch {
	case p.csv != nil:
		row := []string{k.Key, strconv.FormatInt(k.Size, 10), k.Modified, k.ETag, k.Owner, k.Class}
		if p.versions {
			row = append(row, k.Version, strconv.FormatBool(k.Latest), strconv.FormatBool(k.Marker), k.Noncurrent)
		}
		return p.csv.Write(row)
	case p.e.json():
		begin := ",\n    "
		if p.n == 1 {
			begin = "[\n    "
		}
		b, err := json.Marshal(k)
		if err == nil {
			_, err = fmt.Fprintf(p.e.stdout, "%s%s", begin, b)
		}
		return err
	}
	size := show.Bytes(k.Size)
	if k.Marker {
		size = "deleted"
	}
	if p.versions {
		mark := " "
		if k.Latest {
			mark = "*"
		}
		_, err = fmt.Fprintf(p.e.stdout, "%s  %10s  %-32s %s %s\n", k.Modified[:19]+"Z", size, k.Version, mark, printable(k.Key))
		return err
	}
	_, err = fmt.Fprintf(p.e.stdout, "%s  %10s  %s\n", k.Modified[:19]+"Z", size, printable(k.Key))
	return err
}

// printable shows a key so that it cannot do things to a terminal.
func printable(key string) string {
	if q := strconv.Quote(key); len(q) != len(key)+2 {
		return q
	}
	return key
}

func (p *keyPrinter) end() error {
	switch {
	case p.csv != nil:
		p.csv.Flush()
		return p.csv.Error()
	case p.e.json() && p.n == 0:
		_, err := fmt.Fprintln(p.e.stdout, "[]")
		return err
	case p.e.json():
		_, err := fmt.Fprintln(p.e.stdout, "\n]")
		return err
	}
	return nil
}

func runBucketObjects(ctx context.Context, e *env, b *bucket.Bucket, f *bucketFlags) error {
	p := &keyPrinter{e: e, versions: f.versions}
	if f.csv {
		if e.json() {
			return usageErrorf("flags --csv and -o json: give one of them")
		}
		p.csv = csv.NewWriter(e.stdout)
		titles := []string{"key", "size", "modified", "etag", "owner", "storage_class"}
		if f.versions {
			titles = append(titles, "version", "latest", "delete_marker", "noncurrent_since")
		}
		if err := p.csv.Write(titles); err != nil {
			return err
		}
	}
	after, version := f.after, ""
	for more := true; more && ctx.Err() == nil; {
		most := int64(bucket.MaxListEntries)
		if f.limit > 0 {
			most = min(most, f.limit-p.n)
		}
		var page []*bucket.Object
		if f.versions {
			l, err := b.Versions(ctx, bucket.VersionsInput{Prefix: f.prefix, AfterKey: after, AfterVersion: version, Max: int(most)})
			if err != nil {
				return err
			}
			page, more, after, version = l.Versions, l.Truncated, l.LastKey, l.LastVersion
		} else {
			l, err := b.List(ctx, bucket.ListInput{Prefix: f.prefix, After: after, Max: int(most)})
			if err != nil {
				return err
			}
			page, more, after = l.Objects, l.Truncated, l.Last
		}
		for _, o := range page {
			if err := p.print(listed(b, o, f.versions)); err != nil {
				return err
			}
		}
		if f.limit > 0 && p.n >= f.limit {
			break
		}
	}
	return errors.Join(ctx.Err(), p.end())
}

// find returns an object or one of its versions.
func find(ctx context.Context, b *bucket.Bucket, key, version string) (*bucket.Object, error) {
	if version == "" {
		return b.Get(ctx, key)
	}
	o, err := b.GetVersion(ctx, key, version)
	if err == nil && o.Marker {
		return nil, fmt.Errorf("version %s of %q is a delete marker: it has no body", version, key)
	}
	return o, err
}

// keyDetails is what `cairn bucket object stat` tells.
type keyDetails struct {
	listedKey
	ContentType string            `json:"content_type,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Meta        map[string]string `json:"metadata,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Checksums   map[string]string `json:"checksums,omitempty"`
	Parts       int               `json:"parts,omitempty"`
	Sealed      bool              `json:"encrypted,omitempty"`
	LockMode    string            `json:"lock_mode,omitempty"`
	LockUntil   string            `json:"locked_until,omitempty"`
	Hold        bool              `json:"legal_hold,omitempty"`
}

func runBucketObjectStat(ctx context.Context, e *env, b *bucket.Bucket, key, version string) error {
	o, err := find(ctx, b, key, version)
	if err != nil {
		return err
	}
	d := keyDetails{listedKey: listed(b, o, b.Versioning() != bucket.VersioningOff), ContentType: o.Headers.ContentType, Meta: o.Headers.Meta, Tags: o.Attrs.Tags, Parts: o.Parts, Sealed: o.Sealed(), Hold: o.Attrs.Lock.Hold}
	for _, h := range [][2]string{{"Cache-Control", o.Headers.CacheControl}, {"Content-Disposition", o.Headers.ContentDisposition},
		{"Content-Encoding", o.Headers.ContentEncoding}, {"Content-Language", o.Headers.ContentLanguage}, {"Expires", o.Headers.Expires}} {
		if h[1] != "" {
			if d.Headers == nil {
				d.Headers = map[string]string{}
			}
			d.Headers[h[0]] = h[1]
		}
	}
	for _, c := range o.Checksums {
		if d.Checksums == nil {
			d.Checksums = map[string]string{}
		}
		d.Checksums[c.Algorithm] = fmt.Sprintf("%x", c.Value)
	}
	if l := o.Attrs.Lock; l.Mode != bucket.Unlocked {
		d.LockMode, d.LockUntil = l.Mode.String(), l.Until.UTC().Format(time.RFC3339)
	}
	if e.json() {
		return e.printJSON(d)
	}
	rows := [][2]string{{"key", printable(d.Key)}, {"size", fmt.Sprintf("%s (%d B)", show.Bytes(d.Size), d.Size)}, {"modified", d.Modified}, {"etag", d.ETag},
		{"owner", d.Owner}, {"storage class", d.Class}, {"version", d.Version}, {"content type", d.ContentType}}
	if d.Parts > 0 {
		rows = append(rows, [2]string{"parts", strconv.Itoa(d.Parts)})
	}
	for _, m := range []struct {
		what string
		of   map[string]string
	}{{"header", d.Headers}, {"metadata", d.Meta}, {"tag", d.Tags}, {"checksum", d.Checksums}} {
		for _, name := range sortedNames(m.of) {
			rows = append(rows, [2]string{m.what, printable(name) + ": " + printable(m.of[name])})
		}
	}
	if d.Sealed {
		rows = append(rows, [2]string{"encrypted", "yes"})
	}
	if d.LockMode != "" {
		rows = append(rows, [2]string{"locked", d.LockMode + " until " + d.LockUntil})
	}
	if d.Hold {
		rows = append(rows, [2]string{"legal hold", "yes"})
	}
	for _, r := range rows {
		if r[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(e.stdout, "%-14s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

func sortedNames(m map[string]string) (names []string) {
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func runBucketObjectGet(ctx context.Context, e *env, b *bucket.Bucket, key, version, file string) (err error) {
	o, err := find(ctx, b, key, version)
	if err != nil {
		return err
	}
	r, err := o.Open(ctx, 0, -1)
	if errors.Is(err, bucket.ErrSealed) {
		return fmt.Errorf("%w; fetch it by S3, whose gateway has the keys", err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	w := e.stdout
	if file != "-" {
		out, err := os.Create(file) // only now: a failed read must not empty it
		if err != nil {
			return fmt.Errorf("object %q: %w", key, err)
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		w = out
	}
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("object %q: %w", key, err)
	}
	if e.json() && file != "-" {
		return e.printJSON(listed(b, o, version != ""))
	}
	return nil
}

func runBucketObjectPut(ctx context.Context, e *env, b *bucket.Bucket, key, file, contentType string) error {
	cfg, err := b.Config(ctx)
	if err != nil {
		return err
	}
	if cfg.Doc("encryption") != nil {
		return fmt.Errorf("bucket %q encrypts what is put into it, which only gateways can: put it by S3", b.Name())
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("object %q: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("object %q: %w", key, err)
	}
	if !info.Mode().IsRegular() || info.Size() > bucket.MaxPutBytes {
		return fmt.Errorf("object %q: %s is not a file of at most %s; put larger ones by S3, in parts", key, file, show.Bytes(bucket.MaxPutBytes))
	}
	o, err := b.Put(ctx, key, bucket.PutInput{Body: f, Size: info.Size(), Headers: bucket.Headers{ContentType: contentType}})
	if err != nil {
		return err
	}
	if e.json() {
		return e.printJSON(listed(b, o, b.Versioning() != bucket.VersioningOff))
	}
	return nil
}

func runBucketObjectRemove(ctx context.Context, e *env, b *bucket.Bucket, key string, f *bucketFlags) error {
	if f.version == "" {
		if _, err := b.Head(ctx, key); err != nil { // S3 calls it done; who types a name wants to know
			return err
		}
	}
	d, err := b.DeleteVersion(ctx, key, bucket.DeleteInput{Version: f.version, Bypass: f.bypass})
	if err != nil {
		return err
	}
	switch {
	case d.Marker && f.version == "":
		return e.done("object '%s' is deleted by marker %s; its versions stay", key, d.Version)
	case f.version != "":
		return e.done("version %s of object '%s' removed", f.version, key)
	}
	return e.done("object '%s' removed", key)
}
