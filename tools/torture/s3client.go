package torture

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// s3Client sends signed requests to several gateways of a cluster. It never tries
// again by itself: what an answer says, or that none came, is for the caller.
type s3Client struct {
	addrs  []string
	creds  aws.Credentials
	signer *v4.Signer
	http   *http.Client
}

func newS3Client(addrs []string, access, secret string) *s3Client {
	return &s3Client{
		addrs: addrs, creds: aws.Credentials{AccessKeyID: access, SecretAccessKey: secret},
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		http:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
}

// s3Request is one attempt.
type s3Request struct {
	gateway   int
	method    string
	path      string // of characters that need no escape
	query     string
	header    map[string]string
	body      []byte
	lastsUpTo time.Duration // 0: as long as ctx
}

// s3Answer is what came back. Err: the connection was lost, so nobody knows.
type s3Answer struct {
	status int
	header http.Header
	body   []byte
	code   string // of an error
	err    error
}

// do sends it to the next gateway if one takes no connections: that is no attempt.
func (c *s3Client) do(ctx context.Context, q s3Request) s3Answer {
	a := c.once(ctx, q)
	for range len(c.addrs) - 1 {
		var op *net.OpError
		if !errors.As(a.err, &op) || op.Op != "dial" || ctx.Err() != nil {
			break
		}
		q.gateway++
		a = c.once(ctx, q)
	}
	return a
}

func (c *s3Client) once(ctx context.Context, q s3Request) s3Answer {
	if q.lastsUpTo > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.lastsUpTo)
		defer cancel()
	}
	u := url.URL{Scheme: "http", Host: c.addrs[q.gateway%len(c.addrs)], Path: q.path, RawQuery: q.query}
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), bytes.NewReader(q.body))
	if err != nil {
		return s3Answer{err: err}
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	const payload = "UNSIGNED-PAYLOAD"
	r.Header.Set("X-Amz-Content-Sha256", payload)
	if err := c.signer.SignHTTP(ctx, c.creds, r, payload, "s3", "us-east-1", time.Now()); err != nil {
		return s3Answer{err: err}
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return s3Answer{err: err}
	}
	defer resp.Body.Close()
	a := s3Answer{status: resp.StatusCode, header: resp.Header}
	if a.body, a.err = io.ReadAll(resp.Body); a.err != nil {
		return a
	}
	if a.status >= 300 || bytes.Contains(a.body[:min(len(a.body), 200)], []byte("<Error>")) { // completion may fail behind status 200
		var e struct{ Code string }
		if q.method != http.MethodHead && xml.Unmarshal(a.body, &e) == nil {
			a.code = e.Code
		}
		if a.status < 300 {
			a.status = http.StatusInternalServerError
		}
	}
	return a
}

// outcome says what is known of a change that was answered so.
func (a s3Answer) outcome() outcome {
	switch {
	case a.err != nil, a.status >= 500, a.status == http.StatusConflict:
		return unknown
	case a.status < 300:
		return done
	}
	return refused
}

// unmet reports whether it is the answer to a condition that does not hold; these clients
// give reason for no other refusal.
func (a s3Answer) unmet() bool {
	return a.status == http.StatusPreconditionFailed || a.status == http.StatusNotFound && a.code == "NoSuchKey"
}

func (a s3Answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, a.code)
}

func (a s3Answer) etag() string { return strings.Trim(a.header.Get("Etag"), `"`) }

// surely repeats a request that may be repeated until it is answered with something that is
// known, at one gateway after the other.
func (c *s3Client) surely(ctx context.Context, q s3Request) (s3Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, opPatience)
	defer cancel()
	for {
		q.lastsUpTo = 20 * time.Second
		a := c.do(ctx, q)
		if a.outcome() != unknown {
			return a, nil
		}
		q.gateway++
		if err := wait(ctx, poll); err != nil {
			return a, errors.Join(fmt.Errorf("%s %s?%s is not answered: %s", q.method, q.path, q.query, a), err)
		}
	}
}

// s3Entry is a line of a listing.
type s3Entry struct {
	Key  string
	ETag string
	Size int64
}

type s3Page struct {
	Contents              []s3Entry
	IsTruncated           bool
	NextContinuationToken string
}

// page asks for a page of a listing.
func (c *s3Client) page(ctx context.Context, gateway int, bucket, prefix, token string, keys int) (s3Page, s3Answer) {
	v := url.Values{"list-type": {"2"}, "prefix": {prefix}, "max-keys": {fmt.Sprint(keys)}}
	if token != "" {
		v.Set("continuation-token", token)
	}
	a := c.do(ctx, s3Request{gateway: gateway, method: http.MethodGet, path: "/" + bucket, query: strings.ReplaceAll(v.Encode(), "+", "%20"), lastsUpTo: 20 * time.Second})
	var p s3Page
	if a.outcome() == done {
		if err := xml.Unmarshal(a.body, &p); err != nil {
			a.err = err
		}
		for i := range p.Contents {
			p.Contents[i].ETag = strings.Trim(p.Contents[i].ETag, `"`)
		}
	}
	return p, a
}
