package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var uploadFlag = flag.Int("torture.upload", 40, "MiB of the multipart upload that is broken off and resumed")

// amazon returns Amazon's own client.
func amazon(c *Cluster) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + c.S3Addr), UsePathStyle: true,
		Credentials: awscreds.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
	})
}

// resumed uploads in parts, forgets everything half way, finds the upload again as
// a client does that was started anew, and finishes it.
func resumed(ctx context.Context, t *testing.T, c *Cluster, size int) {
	const partSize = 5 << 20
	bucket, key := aws.String("resumed"), aws.String("dir/big file")
	parts := max(2, (size+partSize-1)/partSize)
	part := func(n int) []byte { // the last is short
		if n == parts {
			return value("resumed", uint64(n), partSize/3)
		}
		return value("resumed", uint64(n), partSize)
	}
	first := amazon(c)
	if _, err := first.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	up, err := first.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key, ContentType: aws.String("a/b")})
	if err != nil {
		t.Fatal(err)
	}
	send := func(client *s3.Client, id *string, n int) {
		t.Helper()
		if _, err := client.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: id, PartNumber: aws.Int32(int32(n)), Body: bytes.NewReader(part(n))}); err != nil {
			t.Fatalf("part %d: %v", n, err)
		}
	}
	for n := 1; n <= parts; n += 2 { // whichever were first
		send(first, up.UploadId, n)
	}

	again := amazon(c)
	found, err := again.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket, Prefix: key})
	if err != nil || len(found.Uploads) != 1 {
		t.Fatalf("uploads: %+v, %v", found, err)
	}
	id := found.Uploads[0].UploadId
	have := func() (done []types.CompletedPart) {
		for p := s3.NewListPartsPaginator(again, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: id, MaxParts: aws.Int32(100)}); p.HasMorePages(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range page.Parts {
				done = append(done, types.CompletedPart{ETag: x.ETag, PartNumber: x.PartNumber})
			}
		}
		return done
	}
	before := have()
	if len(before) != (parts+1)/2 {
		t.Fatalf("%d parts are there, %d were sent", len(before), (parts+1)/2)
	}
	for n := 1; n <= parts; n++ {
		if !slices.ContainsFunc(before, func(x types.CompletedPart) bool { return int(aws.ToInt32(x.PartNumber)) == n }) {
			send(again, id, n)
		}
	}
	if _, err := again.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: have()}}); err != nil {
		t.Fatal(err)
	}

	// Read back through a presigned address, by a program that knows nothing of S3.
	link, err := s3.NewPresignClient(again).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key}, s3.WithPresignExpires(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want, total := sha256.New(), int64(0)
	for n := 1; n <= parts; n++ {
		b := part(n)
		want.Write(b)
		total += int64(len(b))
	}
	got := sha256.New()
	n, err := io.Copy(got, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || n != total || !bytes.Equal(got.Sum(nil), want.Sum(nil)) || resp.Header.Get("Content-Type") != "a/b" {
		t.Errorf("read back: status %d, %d of %d bytes, %v", resp.StatusCode, n, total, err)
	}
	for _, remove := range []func() error{
		func() error {
			_, err := again.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
			return err
		},
		func() error { _, err := again.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket}); return err },
	} {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
}

// mounted does with files in a mounted bucket what people do with files.
func mounted(ctx context.Context, t *testing.T, c *Cluster) {
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil || os.Geteuid() != 0 {
		t.Logf("s3fs is not mounted: that needs root and /dev/fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN): %v", err)
		return
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("s3fs")
	if err != nil {
		t.Fatalf("%v: install it with `apt-get install s3fs`, or run `make test-deps`", err)
	}
	bucket, client := aws.String("mounted"), amazon(c)
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	dir, keys := t.TempDir(), filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(c.AccessKey+":"+c.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, *bucket, dir, "-f", "-o", "url=http://"+c.S3Addr+",use_path_request_style,passwd_file="+keys+",multipart_size=5,singlepart_copy_limit=5,dbglevel=err")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ended by unmounting
	unmount := func() {
		if out, err := exec.Command("fusermount", "-u", "-z", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
			_ = cmd.Process.Kill()
		}
		if err := <-ended; err != nil {
			t.Errorf("s3fs: %v: %s", err, said.String())
		}
	}
	device := func(name string) uint64 {
		var st syscall.Stat_t
		if syscall.Stat(name, &st) != nil {
			return 0
		}
		return uint64(st.Dev)
	}
	outside, tick := device(filepath.Dir(dir)), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for d := device(dir); d == 0 || d == outside; d = device(dir) {
		select {
		case err := <-ended:
			t.Fatalf("s3fs ended: %v: %s", err, said.String())
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			t.Fatalf("s3fs does not mount: %s", said.String())
		case <-tick.C:
		}
	}
	if !t.Run("files", func(t *testing.T) { fileWork(ctx, t, client, dir, *bucket) }) {
		t.Logf("s3fs: %s", said.String())
	}
	unmount()
}

func fileWork(ctx context.Context, t *testing.T, client *s3.Client, dir, bucket string) {
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	same := func(name string, want []byte) {
		t.Helper()
		got, err := os.ReadFile(at(name))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes %.40q, want %d %.40q, %v", name, len(got), got, len(want), want, err)
		}
		o, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &name})
		must(err)
		defer o.Body.Close()
		if got, err = io.ReadAll(o.Body); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("object %s: %d bytes, want %d, %v", name, len(got), len(want), err)
		}
	}
	must(os.MkdirAll(at("dir/sub dir"), 0o755))
	small, large := []byte("hello\n"), value("mounted", 1, 12<<20)
	must(os.WriteFile(at("dir/small"), small, 0o640))
	must(os.WriteFile(at("dir/sub dir/large ü"), large, 0o644)) // in parts
	must(os.WriteFile(at("empty"), nil, 0o644))
	same("dir/small", small)
	same("dir/sub dir/large ü", large)
	same("empty", nil)

	f, err := os.OpenFile(at("dir/small"), os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = f.WriteString("more\n")
	must(err)
	must(f.Close())
	same("dir/small", []byte("hello\nmore\n"))

	f, err = os.OpenFile(at("dir/sub dir/large ü"), os.O_RDWR, 0) // a change in the middle of a large file
	must(err)
	_, err = f.WriteAt([]byte("changed"), 6<<20)
	must(err)
	must(f.Close())
	copy(large[6<<20:], "changed")
	same("dir/sub dir/large ü", large)

	must(os.Rename(at("dir/small"), at("dir/sub dir/moved")))
	same("dir/sub dir/moved", []byte("hello\nmore\n"))
	must(os.Rename(at("dir/sub dir"), at("dir/renamed")))
	same("dir/renamed/large ü", large)
	must(os.Chmod(at("dir/renamed/moved"), 0o600))
	if st, err := os.Stat(at("dir/renamed/moved")); err != nil || st.Mode().Perm() != 0o600 || st.Size() != 11 {
		t.Errorf("%v, %v", st, err)
	}
	must(os.Symlink("renamed/moved", at("dir/link")))
	if to, err := os.Readlink(at("dir/link")); err != nil || to != "renamed/moved" {
		t.Errorf("link to %q, %v", to, err)
	}
	// By an open file: s3fs 1.90 fills what it truncates by name with zeros, over any server.
	f, err = os.OpenFile(at("dir/renamed/moved"), os.O_RDWR, 0)
	must(err)
	must(f.Truncate(5))
	must(f.Close())
	same("dir/renamed/moved", []byte("hello"))

	// What others put shows up, and what is removed is gone.
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("dir/from outside"), Body: bytes.NewReader(small)}); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(at("dir"))
	must(err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"from outside", "link", "renamed"}; fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", names, want)
	}
	must(os.RemoveAll(at("dir")))
	must(os.Remove(at("empty")))
	l, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})
	must(err)
	if len(l.Contents) != 0 {
		t.Errorf("%d objects are left", len(l.Contents))
	}
}
