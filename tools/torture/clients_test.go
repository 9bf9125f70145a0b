package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Program is an S3 client that people use, and how it is told what to do.
type s3Program struct {
	name    string
	debian  string   // package
	program string   // found
	probe   []string // shows that it works
	env     []string
	base    []string // arguments of every call

	makeBucket, removeBucket func(bucket string) []string
	put, get                 func(file, object string) []string // object: bucket/key
	list                     func(prefix string) []string       // recursive
	remove, removeAll        func(object string) []string
	syncUp, syncDown         func(dir, prefix string) []string
}

// programs returns the clients, ready for a cluster. One that is missing fails the test.
func programs(ctx context.Context, t *testing.T, c *Cluster) []*s3Program {
	t.Helper()
	home := t.TempDir()
	all := []*s3Program{awscli(c), s3cmd(c), rclone(c)}
	for _, p := range all {
		p.env = append(p.env, "HOME="+home, "XDG_CONFIG_HOME="+home)
		p.find(ctx, t, c)
	}
	return all
}

// find looks for a program that works: the first of its name on the PATH may be
// a wrapper of some language's version manager that does not.
func (p *s3Program) find(ctx context.Context, t *testing.T, c *Cluster) {
	t.Helper()
	var tried []string
	for _, dir := range append([]string{"/usr/bin"}, filepath.SplitList(os.Getenv("PATH"))...) {
		file, err := exec.LookPath(filepath.Join(dir, p.name))
		if err != nil || slices.Contains(tried, file) {
			continue
		}
		tried = append(tried, file)
		if r, err := c.Command(ctx, p.env, file, p.probe...); err == nil && r.Code == 0 {
			p.program = file
			t.Logf("%s: %s", file, strings.SplitN(r.Both(), "\n", 2)[0])
			return
		}
	}
	t.Fatalf("no working %s (tried %q): install it with `apt-get install %s`, or run `make test-deps`", p.name, tried, p.debian)
}

func awscli(c *Cluster) *s3Program {
	return &s3Program{
		name: "aws", debian: "awscli", probe: []string{"--version"},
		env: []string{"AWS_ACCESS_KEY_ID=" + c.AccessKey, "AWS_SECRET_ACCESS_KEY=" + c.SecretKey, "AWS_DEFAULT_REGION=us-east-1",
			"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER="},
		base:         []string{"--endpoint-url", "http://" + c.S3Addr, "s3"},
		makeBucket:   func(b string) []string { return []string{"mb", "s3://" + b} },
		removeBucket: func(b string) []string { return []string{"rb", "s3://" + b} },
		put:          func(f, o string) []string { return []string{"cp", "--no-progress", f, "s3://" + o} },
		get:          func(f, o string) []string { return []string{"cp", "--no-progress", "s3://" + o, f} },
		list:         func(p string) []string { return []string{"ls", "--recursive", "s3://" + p} },
		remove:       func(o string) []string { return []string{"rm", "s3://" + o} },
		removeAll:    func(o string) []string { return []string{"rm", "--recursive", "s3://" + o} },
		syncUp:       func(d, p string) []string { return []string{"sync", "--no-progress", d, "s3://" + p} },
		syncDown:     func(d, p string) []string { return []string{"sync", "--no-progress", "s3://" + p, d} },
	}
}

func s3cmd(c *Cluster) *s3Program {
	return &s3Program{
		name: "s3cmd", debian: "s3cmd", probe: []string{"--version"},
		base: []string{"--config=/dev/null", "--access_key=" + c.AccessKey, "--secret_key=" + c.SecretKey, "--region=us-east-1", "--no-ssl",
			"--host=" + c.S3Addr, "--host-bucket=" + c.S3Addr, "--multipart-chunk-size-mb=6", "--no-progress", "--force"},
		env:          []string{"LC_ALL=C.UTF-8"},
		makeBucket:   func(b string) []string { return []string{"mb", "s3://" + b} },
		removeBucket: func(b string) []string { return []string{"rb", "s3://" + b} },
		put:          func(f, o string) []string { return []string{"put", f, "s3://" + o} },
		get:          func(f, o string) []string { return []string{"get", "s3://" + o, f} },
		list:         func(p string) []string { return []string{"ls", "--recursive", "s3://" + p} },
		remove:       func(o string) []string { return []string{"del", "s3://" + o} },
		removeAll:    func(o string) []string { return []string{"del", "--recursive", "s3://" + o} },
		syncUp:       func(d, p string) []string { return []string{"sync", d + "/", "s3://" + p} },
		syncDown:     func(d, p string) []string { return []string{"sync", "s3://" + p, d + "/"} },
	}
}

func rclone(c *Cluster) *s3Program {
	const remote = "cluster:"
	return &s3Program{
		name: "rclone", debian: "rclone", probe: []string{"version"},
		env: []string{"RCLONE_CONFIG=/dev/null", "RCLONE_CONFIG_CLUSTER_TYPE=s3", "RCLONE_CONFIG_CLUSTER_PROVIDER=Other",
			"RCLONE_CONFIG_CLUSTER_ACCESS_KEY_ID=" + c.AccessKey, "RCLONE_CONFIG_CLUSTER_SECRET_ACCESS_KEY=" + c.SecretKey,
			"RCLONE_CONFIG_CLUSTER_ENDPOINT=http://" + c.S3Addr, "RCLONE_CONFIG_CLUSTER_REGION=us-east-1"},
		base:         []string{"--s3-upload-cutoff=7M", "--s3-chunk-size=5M", "--retries=1", "--low-level-retries=1"},
		makeBucket:   func(b string) []string { return []string{"mkdir", remote + b} },
		removeBucket: func(b string) []string { return []string{"rmdir", remote + b} },
		put:          func(f, o string) []string { return []string{"copyto", f, remote + o} },
		get:          func(f, o string) []string { return []string{"copyto", remote + o, f} },
		list:         func(p string) []string { return []string{"lsf", "--recursive", "--files-only", remote + p} },
		remove:       func(o string) []string { return []string{"deletefile", remote + o} },
		removeAll:    func(o string) []string { return []string{"delete", remote + o} },
		syncUp:       func(d, p string) []string { return []string{"sync", d, remote + p} },
		syncDown:     func(d, p string) []string { return []string{"sync", remote + p, d} },
	}
}

// session is one client at work on one cluster.
type session struct {
	t     *testing.T
	ctx   context.Context
	c     *Cluster
	p     *s3Program
	files []file // that go one by one; trees have all
}

// do runs the program and fails the test if it does not succeed.
func (s *session) do(args []string) string {
	s.t.Helper()
	r := s.try(args)
	if r.Code != 0 {
		s.t.Fatalf("%s %s: exit code %d:\n%s", s.p.name, strings.Join(args, " "), r.Code, r.Both())
	}
	return r.Stdout
}

func (s *session) try(args []string) Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	r, err := s.c.Command(ctx, s.p.env, s.p.program, append(slices.Clone(s.p.base), args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// file is one of the files that go through a client.
type file struct {
	key  string
	size int
}

// files are small ones with names that are hard to get right, and sizes around
// what clients cut uploads at.
var files = []file{
	{"empty", 0},
	{"one", 1},
	{"a/b/c/d/e/deep.txt", 100},
	{"with space/and another one.txt", 4096},
	{"ünïcödé/日本語/файл.bin", 5000},
	{"plus+and&amp;=#?.txt", 300},
	{"percent%41%2F.txt", 300},
	{"quote'd \"name\" (1).txt", 300},
	{"tilde~bang!star*.txt", 300},
	{"64k+1.bin", 64<<10 + 1},
	{"1m.bin", 1 << 20},
	{"below-the-cut.bin", 5 << 20},
	{"parts.bin", 20<<20 + 3},
}

// hard are those that also go one by one, because the names in a program's arguments
// go another way than those it finds in a directory.
var hard = []file{files[0], files[3], files[4], files[5], files[6], files[9]}

// writeTree writes files below a directory.
func writeTree(t *testing.T, dir string, files []file) {
	t.Helper()
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.key))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, value(f.key, 1, f.size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func sum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d bytes %x", n, h.Sum(nil))
}

// tree returns the digests of all files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rel, rerr := filepath.Rel(dir, name)
			all[filepath.ToSlash(rel)], err = sum(t, name), rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTree(t *testing.T, what, got, want string) {
	t.Helper()
	g, w := tree(t, got), tree(t, want)
	for name, s := range w {
		if g[name] != s {
			t.Errorf("%s: %q is %q, want %q", what, name, g[name], s)
		}
		delete(g, name)
	}
	for name := range g {
		t.Errorf("%s: %q came from nowhere", what, name)
	}
}

// TestRealClients: the S3 clients that people have work unchanged against a
// gateway, monitors and OSDs that are processes of their own.
func TestRealClients(t *testing.T) {
	ctx := deadline(t, time.Hour)
	if testing.Short() { // needs nothing but Go
		c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3, Gateway: true})
		viaLibrary(ctx, t, c)
		return
	}
	for _, mons := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d monitors", mons), func(t *testing.T) {
			o := Options{Mons: mons, OSDs: 3, Gateway: true}
			if *uploadFlag > 1024 { // each OSD has all of it
				o.Capacity = fmt.Sprintf("%dMiB", 4096+2**uploadFlag)
			}
			c := startCluster(ctx, t, o)
			viaLibrary(ctx, t, c)
			size, singly := 200<<20, hard
			if mons == 3 { // the gateway does the same work for any number of monitors
				size, singly = 40<<20, files[2:6]
			}
			src := t.TempDir()
			writeTree(t, src, files)
			big := filepath.Join(t.TempDir(), "big.bin")
			if err := os.WriteFile(big, value("big", 1, size), 0o644); err != nil {
				t.Fatal(err)
			}
			all := programs(ctx, t, c)
			t.Run("clients", func(t *testing.T) { // returns when all of them have ended
				if mons == 3 {
					// A start of awscli takes a second of a core, and it has done everything with one monitor.
					all = slices.DeleteFunc(all, func(p *s3Program) bool { return p.name == "aws" })
					t.Run("s3fs", func(t *testing.T) {
						t.Parallel()
						mounted(ctx, t, c)
					})
					t.Run("upload", func(t *testing.T) {
						t.Parallel()
						resumed(ctx, t, c, *uploadFlag<<20)
					})
				}
				for _, p := range all {
					t.Run(p.name, func(t *testing.T) {
						t.Parallel()
						s := &session{t, ctx, c, p, singly}
						began := time.Now()
						s.singly(src)
						s.whole()
						small := time.Since(began)
						began = time.Now()
						s.large(big)
						t.Logf("%s: files and trees in %s, %d MB up and down in %s", p.name, small.Round(time.Millisecond), size>>20, time.Since(began).Round(time.Millisecond))
					})
				}
			})
			if err := c.WaitClean(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// singly puts, lists, gets, compares and deletes file by file.
func (s *session) singly(src string) {
	t := s.t
	bucket := s.p.name + "-files"
	s.do(s.p.makeBucket(bucket))
	out := t.TempDir()
	for i, f := range s.files {
		key := bucket + "/dir/" + f.key
		s.do(s.p.put(filepath.Join(src, filepath.FromSlash(f.key)), key))
		got := filepath.Join(out, fmt.Sprint(i))
		s.do(s.p.get(got, key))
		if g, w := sum(t, got), sum(t, filepath.Join(src, filepath.FromSlash(f.key))); g != w {
			t.Errorf("%s: %q came back as %s, stored %s", s.p.name, f.key, g, w)
		}
	}
	listing := s.do(s.p.list(bucket + "/"))
	for _, f := range s.files {
		if !strings.Contains(listing, f.key) {
			t.Errorf("%s: %q is not in the listing:\n%s", s.p.name, f.key, listing)
		}
	}
	// Overwriting changes, deleting removes, and only what was named.
	s.do(s.p.put(filepath.Join(src, filepath.FromSlash(s.files[3].key)), bucket+"/dir/"+s.files[1].key))
	s.do(s.p.get(filepath.Join(out, "again"), bucket+"/dir/"+s.files[1].key))
	if g, w := sum(t, filepath.Join(out, "again")), sum(t, filepath.Join(src, filepath.FromSlash(s.files[3].key))); g != w {
		t.Errorf("%s: overwritten object came back as %s, stored %s", s.p.name, g, w)
	}
	s.do(s.p.remove(bucket + "/dir/" + s.files[1].key))
	// Not all of them call it an error when there is nothing to fetch.
	r := s.try(s.p.get(filepath.Join(out, "gone"), bucket+"/dir/"+s.files[1].key))
	if _, err := os.Stat(filepath.Join(out, "gone")); err == nil {
		t.Errorf("%s: a deleted object was fetched: %s", s.p.name, r.Both())
	}
	if r := s.try(s.p.removeBucket(bucket)); r.Code == 0 {
		t.Errorf("%s: a bucket with objects was removed", s.p.name)
	}
	s.do(s.p.removeAll(bucket + "/"))
	if listing := s.do(s.p.list(bucket + "/")); strings.TrimSpace(listing) != "" {
		t.Errorf("%s: still listed after everything was deleted:\n%s", s.p.name, listing)
	}
	s.do(s.p.removeBucket(bucket))
}

// whole synchronises a directory both ways, then changes and does it again.
func (s *session) whole() {
	t := s.t
	bucket := s.p.name + "-tree"
	s.do(s.p.makeBucket(bucket))
	local, back := t.TempDir(), t.TempDir()
	writeTree(t, local, files)
	prefix := bucket + "/tree/"
	s.do(s.p.syncUp(local, prefix))
	s.do(s.p.syncDown(back, prefix))
	sameTree(t, s.p.name+" sync", back, local)
	// Only what is new must move, and it must.
	changed := filepath.Join(local, "with space", "new file.txt")
	if err := os.WriteFile(changed, []byte("new\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.do(s.p.syncUp(local, prefix))
	s.do(s.p.syncDown(back, prefix))
	sameTree(t, s.p.name+" second sync", back, local)
	s.do(s.p.removeAll(prefix))
	s.do(s.p.removeBucket(bucket))
}

// large moves a file that clients cut into many parts.
func (s *session) large(big string) {
	bucket := s.p.name + "-large"
	s.do(s.p.makeBucket(bucket))
	s.do(s.p.put(big, bucket+"/big.bin"))
	got := filepath.Join(s.t.TempDir(), "big.bin")
	s.do(s.p.get(got, bucket+"/big.bin"))
	if g, w := sum(s.t, got), sum(s.t, big); g != w {
		s.t.Errorf("%s: large file came back as %s, stored %s", s.p.name, g, w)
	}
	s.do(s.p.remove(bucket + "/big.bin"))
	s.do(s.p.removeBucket(bucket))
}

// viaLibrary stores and reads through a library, which needs no program.
func viaLibrary(ctx context.Context, t *testing.T, c *Cluster) {
	t.Helper()
	mc, err := minio.New(c.S3Addr, &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := mc.MakeBucket(ctx, "library", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, f := range files[:11] {
		data := value(f.key, 1, f.size)
		if _, err := mc.PutObject(ctx, "library", f.key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
			t.Fatalf("put %q: %v", f.key, err)
		}
		o, err := mc.GetObject(ctx, "library", f.key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatalf("get %q: %v", f.key, err)
		}
		got, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("get %q: %d bytes, %v; want the %d stored", f.key, len(got), err, len(data))
		}
		o.Close()
	}
	n := 0
	for o := range mc.ListObjects(ctx, "library", minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		n++
	}
	if n != 11 {
		t.Errorf("%d objects are listed, want 11", n)
	}
}
