package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/slab"
)

func TestMain(m *testing.M) {
	slab.Poison()
	goleak.VerifyTestMain(m)
}

// seeded makes a random source whose seed is printed and can be given again in SEED.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("replay with SEED=%d go test -run '^%s$'", seed, t.Name())
	return rand.New(rand.NewPCG(seed, 1))
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Microsecond)
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type fixture struct {
	t     *testing.T
	meta  *clienttest.Pool
	data  *clienttest.Pool
	clock *clock
	svc   *Service
	b     *Bucket
}

// newFixture makes a service with small chunks and a bucket.
func newFixture(t *testing.T, change func(o *Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, meta: clienttest.NewPool("meta"), data: clienttest.NewPool("data"), clock: newClock()}
	f.svc = f.service(change)
	b, err := f.svc.Create(t.Context(), "photos", "ann", "here")
	if err != nil {
		t.Fatal(err)
	}
	f.b = b
	return f
}

// service makes another service on the same pools, as another gateway would.
func (f *fixture) service(change func(o *Options)) *Service {
	f.t.Helper()
	o := Options{Meta: f.meta, Data: f.data, InlineBytes: 100, ChunkBytes: 1000, Now: f.clock.now, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	s, err := NewService(o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() })
	return s
}

func (f *fixture) bucket(s *Service) *Bucket {
	f.t.Helper()
	b, err := s.Bucket(f.t.Context(), "photos")
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func put(b *Bucket, key string, body []byte) (*Object, error) {
	return b.Put(context.Background(), key, PutInput{Body: bytes.NewReader(body), Size: int64(len(body))})
}

func (f *fixture) put(key string, body []byte) *Object {
	f.t.Helper()
	o, err := put(f.b, key, body)
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

func get(b *Bucket, key string) ([]byte, error) {
	o, err := b.Get(context.Background(), key)
	if err != nil {
		return nil, err
	}
	r, err := o.Open(context.Background(), 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (f *fixture) want(key string, body []byte) {
	f.t.Helper()
	got, err := get(f.b, key)
	if err != nil || !bytes.Equal(got, body) {
		f.t.Fatalf("get %q: %d bytes, %v; want %d bytes", key, len(got), err, len(body))
	}
}

// sweep lets the grace period pass and sweeps until nothing is pending.
func (f *fixture) sweep() {
	f.t.Helper()
	for range 4 {
		f.clock.add(2 * time.Hour)
		if _, err := f.svc.Sweep(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// wantData checks that the data pool holds exactly the data objects of the objects there are.
func (f *fixture) wantData(n int) {
	f.t.Helper()
	if names := f.data.Names(); len(names) != n {
		f.t.Fatalf("data pool has %d objects, want %d: %v", len(names), n, names)
	}
}

func body(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8) + seed
	}
	return b
}

func TestPutGet(t *testing.T) {
	f := newFixture(t, nil)
	for _, n := range []int{0, 1, 99, 100, 101, 999, 1000, 1001, 10_000, 12_345} {
		key := fmt.Sprintf("dir/%d", n)
		want := body(n, 1)
		o := f.put(key, want)
		sum := md5.Sum(want)
		if o.ETag() != hex.EncodeToString(sum[:]) || o.Size != int64(n) {
			t.Errorf("put %d bytes: etag %s size %d", n, o.ETag(), o.Size)
		}
		f.want(key, want)
		h, err := f.b.Head(t.Context(), key)
		if err != nil || h.Size != int64(n) || h.ETag() != o.ETag() {
			t.Errorf("head of %d bytes: %+v, %v", n, h, err)
		}
	}
	if _, err := get(f.b, "nothing"); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("get a missing key: %v", err)
	}
}

func TestPutHeaders(t *testing.T) {
	f := newFixture(t, nil)
	in := Headers{ContentType: "text/plain", CacheControl: "no-cache", ContentDisposition: "inline", ContentEncoding: "gzip", ContentLanguage: "de", Expires: "never", Meta: map[string]string{"b": "2", "a": "1"}}
	sum := []Checksum{{Algorithm: "CRC32", Value: []byte{1, 2, 3, 4}}}
	_, err := f.b.Put(t.Context(), "k", PutInput{Body: strings.NewReader("x"), Size: 1, Headers: in, Finish: func() ([]Checksum, error) { return sum, nil }})
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.b.Head(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(o.Headers) != fmt.Sprint(in) || fmt.Sprint(o.Checksums) != fmt.Sprint(sum) {
		t.Errorf("got %+v %+v, want %+v %+v", o.Headers, o.Checksums, in, sum)
	}
	big := Headers{Meta: map[string]string{"x": strings.Repeat("y", MaxHeaderBytes)}}
	if _, err := f.b.Put(t.Context(), "k", PutInput{Body: strings.NewReader("x"), Size: 1, Headers: big}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("huge headers: %v", err)
	}
}

func TestRanges(t *testing.T) {
	f := newFixture(t, nil)
	rng := seeded(t)
	for _, n := range []int{50, 1000, 5500} {
		want := body(n, 3)
		f.put("k", want)
		o, err := f.b.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			off := rng.IntN(n + 1)
			size := rng.IntN(n - off + 1)
			r, err := o.Open(t.Context(), int64(off), int64(size))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || !bytes.Equal(got, want[off:off+size]) {
				t.Fatalf("range %d+%d of %d: %d bytes, %v", off, size, n, len(got), err)
			}
		}
		if _, err := o.Open(t.Context(), int64(n), 1); !errors.Is(err, ErrRange) {
			t.Errorf("range behind the end: %v", err)
		}
	}
}

// A small put of a new key is one operation on the cluster.
func TestSmallPutIsOneOperation(t *testing.T) {
	f := newFixture(t, nil)
	f.put("warm", nil) // the picture of the index is read
	before := f.meta.Calls()
	f.put("new", body(100, 0))
	if n := f.meta.Calls() - before; n != 1 {
		t.Errorf("%d operations, want 1", n)
	}
	f.wantData(0)
}

func TestOverwriteAndDeleteFreeData(t *testing.T) {
	f := newFixture(t, nil)
	f.put("k", body(5000, 1))
	f.wantData(5)
	f.put("k", body(2000, 2))
	f.wantData(7) // the old body stays for those who read it
	f.sweep()
	f.wantData(2)
	f.want("k", body(2000, 2))
	f.put("k", body(10, 3)) // inline
	f.sweep()
	f.wantData(0)
	f.want("k", body(10, 3))
	f.put("k", body(2000, 4))
	if err := f.b.Delete(t.Context(), "k", Cond{}); err != nil {
		t.Fatal(err)
	}
	if err := f.b.Delete(t.Context(), "k", Cond{}); err != nil {
		t.Errorf("delete a missing key: %v", err)
	}
	f.sweep()
	f.wantData(0)
}

// The background removes what an overwrite left without anybody calling Sweep.
func TestBackgroundRemoval(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Grace = -1 })
	removed := make(chan string, 100)
	f.data.After(func(_ context.Context, c clienttest.Call, err error) error {
		if len(c.Ops) == 1 && c.Ops[0].Kind.String() == "REMOVE" {
			removed <- c.Object
		}
		return err
	})
	f.put("k", body(3000, 1))
	f.put("k", body(10, 2))
	for range 3 {
		<-removed
	}
	f.data.After(nil)
	f.wantData(0)
}

func TestReaderOfReplacedBody(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Window = 1 })
	f.put("k", body(5000, 1))
	o, err := f.b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Open(t.Context(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f.put("k", body(4000, 2))
	if _, err := f.svc.Sweep(t.Context()); err != nil { // within the grace period
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body(5000, 1)) {
		t.Errorf("reader within the grace period: %d bytes, %v", len(got), err)
	}
	f.sweep()
	if _, err := o.Open(t.Context(), 0, -1); !errors.Is(err, ErrChanged) {
		t.Errorf("open a body that is gone: %v, want ErrChanged", err)
	}
	f.want("k", body(4000, 2))
}

func TestConditions(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	for _, n := range []int{10, 3000} { // inline and data
		key := fmt.Sprint("k", n)
		cput := func(c Cond) (*Object, error) {
			return f.b.Put(ctx, key, PutInput{Body: bytes.NewReader(body(n, 1)), Size: int64(n), Cond: c})
		}
		if _, err := cput(Cond{Match: "*"}); !errors.Is(err, ErrNoSuchKey) {
			t.Errorf("match any, missing: %v", err)
		}
		o, err := cput(Cond{Absent: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cput(Cond{Absent: true}); !errors.Is(err, ErrPrecondition) {
			t.Errorf("absent, present: %v", err)
		}
		if _, err := cput(Cond{Match: "other"}); !errors.Is(err, ErrPrecondition) {
			t.Errorf("match other: %v", err)
		}
		if _, err := cput(Cond{Match: o.ETag()}); err != nil {
			t.Errorf("match: %v", err)
		}
		if err := f.b.Delete(ctx, key, Cond{Match: "other"}); !errors.Is(err, ErrPrecondition) {
			t.Errorf("delete with match other: %v", err)
		}
		if err := f.b.Delete(ctx, key, Cond{Match: "*"}); err != nil {
			t.Errorf("delete with match any: %v", err)
		}
	}
	f.sweep()
	f.wantData(0)
}

type brokenReader struct {
	r   io.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

// A body that turns out to be wrong at its very end is not stored and not leaked.
func TestBadBodyStoresNothing(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	broken := errors.New("broken")
	for _, n := range []int{10, 3500} {
		b := body(n, 1)
		for name, in := range map[string]PutInput{
			"verification": {Body: &brokenReader{bytes.NewReader(b), broken}, Size: int64(n)},
			"short":        {Body: bytes.NewReader(b[1:]), Size: int64(n)},
			"long":         {Body: bytes.NewReader(append(b, 0)), Size: int64(n)},
			"md5":          {Body: bytes.NewReader(b), Size: int64(n), MD5: make([]byte, 16)},
			"finish":       {Body: bytes.NewReader(b), Size: int64(n), Finish: func() ([]Checksum, error) { return nil, broken }},
		} {
			if _, err := f.b.Put(ctx, "k", in); err == nil {
				t.Errorf("%s, %d bytes: stored", name, n)
			}
			if _, err := f.b.Head(ctx, "k"); !errors.Is(err, ErrNoSuchKey) {
				t.Errorf("%s, %d bytes: head says %v", name, n, err)
			}
		}
	}
	f.sweep()
	f.wantData(0)
}

func TestCopy(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	for _, n := range []int{10, 5000} {
		src := f.put("src", body(n, 1))
		src, err := f.b.Get(ctx, src.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.b.Copy(ctx, src, "dst", CopyInput{Headers: &Headers{ContentType: "x/y"}}); err != nil {
			t.Fatal(err)
		}
		f.want("dst", body(n, 1))
		dst, err := f.b.Get(ctx, "dst")
		if err != nil || dst.Headers.ContentType != "x/y" || dst.ETag() != src.ETag() {
			t.Errorf("copy: %+v, %v", dst, err)
		}
		calls := f.data.Calls()
		touched, err := f.b.Copy(ctx, dst, "dst", CopyInput{Headers: &Headers{ContentType: "z/z"}})
		if err != nil || touched.Headers.ContentType != "z/z" || touched.ETag() != dst.ETag() {
			t.Errorf("copy onto itself: %+v, %v", touched, err)
		}
		if f.data.Calls() != calls {
			t.Error("a copy onto itself moved data")
		}
		f.want("dst", body(n, 1))
	}
	f.sweep()
	f.want("dst", body(5000, 1))
	f.want("src", body(5000, 1))
	f.wantData(10)
}

// Many writers of one key: afterwards one of the bodies is there, whole, and
// nothing of the others.
func TestWritersOfOneKey(t *testing.T) {
	f := newFixture(t, nil)
	other := f.bucket(f.service(nil))
	var all sync.WaitGroup
	for w := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			b := f.b
			if w%2 == 1 {
				b = other
			}
			for i := range 20 {
				n := []int{50, 2500}[i%2]
				if _, err := put(b, "k", body(n, byte(w))); err != nil {
					t.Error(err)
				}
				if i%7 == 3 {
					if err := b.Delete(context.Background(), "k", Cond{}); err != nil {
						t.Error(err)
					}
				}
				got, err := get(b, "k")
				if errors.Is(err, ErrNoSuchKey) {
					continue
				}
				if err != nil || len(got) == 0 || !bytes.Equal(got, body(len(got), got[0])) {
					t.Errorf("read %d bytes, %v: not what one writer wrote", len(got), err)
				}
			}
		}()
	}
	all.Wait()
	f.put("k", body(2500, 9))
	f.sweep()
	f.want("k", body(2500, 9))
	f.wantData(3)
}

// The conditional put of an absent key has one winner.
func TestOneWinner(t *testing.T) {
	f := newFixture(t, nil)
	for _, n := range []int{10, 1500} {
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 8 {
			all.Add(1)
			go func() {
				defer all.Done()
				_, err := f.b.Put(t.Context(), fmt.Sprint("k", n), PutInput{Body: bytes.NewReader(body(n, 1)), Size: int64(n), Cond: Cond{Absent: true}})
				if err == nil {
					mu.Lock()
					won++
					mu.Unlock()
				} else if !errors.Is(err, ErrPrecondition) {
					t.Error(err)
				}
			}()
		}
		all.Wait()
		if won != 1 {
			t.Errorf("%d bytes: %d writers won, want 1", n, won)
		}
	}
	f.sweep()
	f.wantData(2)
}

func TestDeleteMany(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SplitEntries = 50 })
	var keys []string
	for i := range 300 {
		key := fmt.Sprintf("k%03d", i)
		f.put(key, body(10+(i%3)*700, byte(i)))
		keys = append(keys, key)
	}
	keys = append(keys, "missing", "k000", "")
	errs := f.b.DeleteMany(t.Context(), keys)
	for i, err := range errs {
		if (err != nil) != (keys[i] == "") {
			t.Errorf("delete %q: %v", keys[i], err)
		}
	}
	l, err := f.b.List(t.Context(), ListInput{Max: 10})
	if err != nil || len(l.Objects) > 0 {
		t.Errorf("left: %d, %v", len(l.Objects), err)
	}
	f.sweep()
	f.wantData(0)
}

func TestKeysAndNames(t *testing.T) {
	f := newFixture(t, nil)
	odd := []string{"/", "//", "a//b", "..", "../x", ".", "%2F", "a+b c", "ü/ß", "日本", "a\nb", "\x01", strings.Repeat("k", 1024), "\U0010ffff"}
	for _, key := range odd {
		f.put(key, []byte(key))
	}
	l, err := f.b.List(t.Context(), ListInput{Max: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range l.Objects {
		got = append(got, o.Key)
		f.want(o.Key, []byte(o.Key))
	}
	slices.Sort(odd)
	if !slices.Equal(got, odd) {
		t.Errorf("listed %q, want %q", got, odd)
	}
	for _, key := range []string{"", "a\x00b", "\xff", strings.Repeat("k", 1025)} {
		if _, err := put(f.b, key, nil); !errors.Is(err, ErrInvalidName) {
			t.Errorf("put %.10q: %v", key, err)
		}
	}
	for name, ok := range map[string]bool{"abc": true, "a.b-c.9": true, "ab": false, "Abc": false, "a..b": false, "a.-b": false, "-abc": false, "abc-": false, "1.2.3.4": false, "a_b": false, strings.Repeat("a", 64): false, "123": true} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// Data that a newer version stored is refused, not guessed at.
func TestNewerFormatRefused(t *testing.T) {
	f := newFixture(t, nil)
	f.put("k", []byte("x"))
	x, _ := f.b.id()
	if _, err := f.meta.Do(t.Context(), partObject(x, firstPartition), new(client.Op).OmapSet("kk", []byte{FormatSnapshots + 1, 0})); err != nil {
		t.Fatal(err)
	}
	if _, err := f.b.Head(t.Context(), "k"); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("head: %v", err)
	}
	if _, err := f.b.List(t.Context(), ListInput{Max: 1}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("list: %v", err)
	}
}
