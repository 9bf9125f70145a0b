package conformance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/seal"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

var (
	endpoint  = flag.String("endpoint", "", "test this server, http://host:port; default a gateway in this process")
	access    = flag.String("access", "", "access key of the main user at -endpoint")
	secret    = flag.String("secret", "", "and its secret key")
	altAccess = flag.String("alt-access", "", "access key of another user at -endpoint; without it, rows that need one are not run")
	altSecret = flag.String("alt-secret", "", "and its secret key")
	mainID    = flag.String("main-id", "", "canonical id of the main user; default what ListBuckets says")
	altID     = flag.String("alt-id", "", "canonical id of the other user")
	endpoint2 = flag.String("endpoint-v2", "", "where the server of -endpoint takes signatures of version 2; without it, rows that need them are not run")
	region    = flag.String("region", "us-east-1", "region of -endpoint")
	domain    = flag.String("domain", "", "base of the virtual-host addresses of -endpoint; without it, rows that need one are not run")
	gapsFile  = flag.String("gaps", "testdata/gaps.txt", "rows that are known to fail, or none")
	shrink    = flag.Bool("shrink", false, "take the rows that pass off -gaps and the list in docs/s3.md")
	rowsMatch = flag.String("rows", "", "only rows whose names match this expression")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// row is one thing that clients may rely on.
type row struct {
	name string
	run  func(c *C)
}

// group is a chapter of rows.
type group struct {
	name string
	rows []row
}

// needs tells what a row asks for by the helpers it uses: see C.alt and C.domain.
type needs struct{ what string }

// other is the second user.
func (c *C) other() user {
	if c.srv.alt.access == "" {
		panic(needs{"-alt-access"})
	}
	return c.srv.alt
}

// vhost is the address of a bucket as a host.
func (c *C) vhost(b string) string {
	if c.srv.domain == "" {
		panic(needs{"-domain"})
	}
	return b + "." + c.srv.domain
}

// local returns a gateway in this process over a cluster in memory.
func local(t *testing.T) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	pool := clienttest.New(t)
	svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	mainUser, altUser := user{"main", "MAINKEY", "main/secret+1"}, user{"alt", "ALTKEY", "altsecret"}
	o := s3.Options{
		KMS:     kms.NewService(kms.Options{Pool: pool, Roots: []seal.Key{{1, 2, 3}}}),
		Buckets: svc, Log: log, Drain: time.Second, Domains: []string{"s3.test"}, MaxBuckets: 100_000,
		Users: func(_ context.Context, accessKey string) (*wirepb.User, error) {
			for _, u := range []user{mainUser, altUser} {
				if u.access == accessKey {
					return &wirepb.User{Name: u.id, DisplayName: u.id, Keys: []*wirepb.AccessKey{{AccessKey: u.access, SecretKey: u.secret}}}, nil
				}
			}
			return nil, fmt.Errorf("access key %q: %w", accessKey, client.ErrNotFound)
		},
		FindUser: func(_ context.Context, name string) (*wirepb.User, error) {
			for _, u := range []user{mainUser, altUser} {
				if u.id == name {
					return &wirepb.User{Name: u.id, DisplayName: u.id}, nil
				}
			}
			return nil, fmt.Errorf("user %q: %w", name, client.ErrNotFound)
		},
	}
	t.Cleanup(func() { svc.Close() })
	one := serve(t, o)
	o.SigV2, o.SweepPeriod = true, -1
	return &server{url: one, v2: serve(t, o), region: "us-east-1", domain: "s3.test", main: mainUser, alt: altUser}
}

// serve runs a gateway until the end of the test.
func serve(t *testing.T, o s3.Options) (url string) {
	t.Helper()
	srv, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }() // ended by Close
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

func target(t *testing.T) *server {
	t.Helper()
	var s *server
	if *endpoint == "" {
		s = local(t)
	} else {
		s = &server{
			url: strings.TrimRight(*endpoint, "/"), v2: strings.TrimRight(*endpoint2, "/"), region: *region, domain: *domain,
			main: user{*mainID, *access, *secret}, alt: user{*altID, *altAccess, *altSecret},
		}
		if s.main.access == "" || s.main.secret == "" {
			t.Fatal("-endpoint needs -access and -secret")
		}
	}
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 4}
	t.Cleanup(tr.CloseIdleConnections)
	s.client = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.run = strconv.FormatInt(time.Now().UnixNano()%1e12, 36)
	return s
}

// attempt carries out a row and returns what was wrong, or what it lacks.
func attempt(s *server, r row) (wrong, lacks string) {
	c := &C{srv: s, name: r.name}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			wrong = p.text
		case needs:
			lacks = p.what
		default:
			wrong = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
		if *endpoint != "" {
			for _, b := range c.buckets {
				c.empty(b)
			}
		}
	}()
	r.run(c)
	return "", ""
}

// empty removes a bucket of a server that goes on living, as far as it lets itself be removed.
func (c *C) empty(b string) {
	defer func() { _ = recover() }() // what cannot be removed stays
	for range 10 {
		l := c.do("GET", "/"+b+"?versions")
		if l.status != 200 {
			return
		}
		for _, kind := range []string{"Version", "DeleteMarker"} {
			keys, ids := l.all(kind+".Key"), l.all(kind+".VersionId")
			for i, k := range keys {
				c.del(b, k+"?versionId="+url0(ids, i), hdr("X-Amz-Bypass-Governance-Retention", "true"))
			}
		}
		if c.do("DELETE", "/"+b).status != 409 {
			return
		}
	}
}

func url0(ids []string, i int) string {
	if i < len(ids) {
		return ids[i]
	}
	return "null"
}

// groups are all rows.
func groups() []group {
	return []group{
		{"buckets", bucketRows}, {"objects", objectRows}, {"listing", listRows}, {"multipart", multipartRows}, {"copy", copyRows},
		{"versioning", versioningRows}, {"object lock", lockRows}, {"tagging", taggingRows}, {"cors", corsRows}, {"lifecycle", lifecycleRows},
		{"configuration", configRows}, {"websites", websiteRows}, {"addresses", misaddressed}, {"acl", aclRows}, {"policy", policyRows}, {"authentication", authRows}, {"signature version 2", sigV2Rows}, {"forms", postRows},
		{"checksums", checksumRows()}, {"encryption", append(encryptionRows(), sseRows...)}, {"s3x", append(s3xEncrypted(), s3xRows...)},
	}
}

const (
	docsFile = "../../../docs/s3.md"
	docsFrom = "<!-- gaps: written by go test ./gateways/s3/conformance -shrink -->\n"
	docsTo   = "<!-- end of gaps -->\n"
)

func TestConformance(t *testing.T) {
	gaps := readGaps(t)
	only, err := regexp.Compile(*rowsMatch)
	if err != nil {
		t.Fatal(err)
	}
	s := target(t)
	if s.main.id == "" {
		s.main.id = (&C{srv: s}).do("GET", "/").is(200).first("Owner.ID")
	}
	seen := map[string]bool{}
	var left []string
	var table strings.Builder
	fmt.Fprintf(&table, "%-28s %6s %6s %6s %6s\n", "group", "passed", "gaps", "failed", "notrun")
	for _, g := range groups() {
		var n [4]int
		for _, r := range g.rows {
			if seen[r.name] {
				t.Errorf("two rows are called %s", r.name)
			}
			seen[r.name] = true
			if !only.MatchString(r.name) {
				if gaps[r.name] {
					left = append(left, r.name)
				}
				continue
			}
			t.Run(r.name, func(t *testing.T) {
				wrong, lacks := attempt(s, r)
				switch {
				case lacks != "":
					n[3]++
					t.Logf("not run: needs %s", lacks)
				case wrong == "" && gaps[r.name] && !*shrink:
					n[2]++
					t.Errorf("passes, but is in %s: run go test ./gateways/s3/conformance -shrink", *gapsFile)
				case wrong != "" && gaps[r.name]:
					n[1]++
					left = append(left, r.name)
					t.Logf("known gap: %s", wrong)
				case wrong != "":
					n[2]++
					t.Error(wrong)
				default:
					n[0]++
				}
			})
		}
		fmt.Fprintf(&table, "%-28s %6d %6d %6d %6d\n", g.name, n[0], n[1], n[2], n[3])
	}
	t.Log("\n" + table.String())
	for name := range gaps {
		if !seen[name] && !*shrink {
			t.Errorf("%s names %s, and there is no such row", *gapsFile, name)
		}
	}
	if *shrink {
		writeGaps(t, left)
	}
}

func readGaps(t *testing.T) map[string]bool {
	gaps := map[string]bool{}
	if *gapsFile == "none" {
		return gaps
	}
	b, err := os.ReadFile(*gapsFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			gaps[line] = true
		}
	}
	return gaps
}

func writeGaps(t *testing.T, left []string) {
	slices.Sort(left)
	text := "# Rows that the gateway does not pass yet. It may only shrink: go test ./gateways/s3/conformance -shrink\n" + strings.Join(left, "\n") + "\n"
	if err := os.WriteFile(*gapsFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b, from, to := docs(t)
	out := slices.Concat(b[:from], []byte(summary(left)), b[to:])
	if err := os.WriteFile(docsFile, out, 0o644); err != nil {
		t.Fatal(err)
	}
}

// docs finds the list in docs/s3.md.
func docs(t *testing.T) (b []byte, from, to int) {
	b, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	from, to = bytes.Index(b, []byte(docsFrom)), bytes.Index(b, []byte(docsTo))
	if from < 0 || to < from {
		t.Fatalf("%s has no list between %q and %q", docsFile, docsFrom, docsTo)
	}
	return b, from + len(docsFrom), to
}

// summary is the list as docs/s3.md shows it: a line for each operation.
func summary(gaps []string) string {
	var out strings.Builder
	out.WriteString("\n| operation | what does not work yet |\n|---|---|\n")
	last := ""
	for _, g := range gaps {
		op, what, _ := strings.Cut(g, "/")
		switch {
		case op != last && last == "":
			fmt.Fprintf(&out, "| %s | %s", op, what)
		case op != last:
			fmt.Fprintf(&out, " |\n| %s | %s", op, what)
		default:
			fmt.Fprintf(&out, ", %s", what)
		}
		last = op
	}
	if last == "" {
		return "\nThere are none.\n\n"
	}
	out.WriteString(" |\n\n")
	return out.String()
}

// TestGapsInDocs: what docs/s3.md says does not work is what the list says.
func TestGapsInDocs(t *testing.T) {
	if *gapsFile == "none" || *shrink {
		return
	}
	var gaps []string
	for name := range readGaps(t) {
		gaps = append(gaps, name)
	}
	slices.Sort(gaps)
	b, from, to := docs(t)
	if got, want := string(b[from:to]), summary(gaps); got != want {
		t.Errorf("the list in %s differs from %s: run go test ./gateways/s3/conformance -shrink", docsFile, *gapsFile)
	}
}
