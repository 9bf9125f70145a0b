package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// presigned is what is signed into an address.
type presigned struct {
	endpoint, region, access, secret string
	method, bucket, key              string
	version                          string
	expires                          time.Duration
	now                              time.Time
}

// maxPresign is the longest that Signature Version 4 allows.
const maxPresign = 7 * 24 * time.Hour

// url makes the address.
func (p *presigned) url() (string, error) {
	base, err := url.Parse(p.endpoint)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || strings.Trim(base.Path, "/") != "" {
		return "", fmt.Errorf("endpoint %q: want http://HOST:PORT or https://HOST:PORT", p.endpoint)
	}
	encode := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	path := "/" + p.key
	if p.bucket != "" { // else it is in the host's name
		path = "/" + p.bucket + path
	}
	path = strings.ReplaceAll(encode(path), "%2F", "/")
	stamp := p.now.UTC().Format("20060102T150405Z")
	scope := stamp[:8] + "/" + p.region + "/s3/aws4_request"
	query := [][2]string{
		{"X-Amz-Algorithm", "AWS4-HMAC-SHA256"}, {"X-Amz-Credential", p.access + "/" + scope}, {"X-Amz-Date", stamp},
		{"X-Amz-Expires", strconv.Itoa(int(p.expires / time.Second))}, {"X-Amz-SignedHeaders", "host"},
	}
	if p.version != "" {
		query = append(query, [2]string{"versionId", p.version})
	}
	slices.SortFunc(query, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	var pairs []string
	for _, q := range query {
		pairs = append(pairs, encode(q[0])+"="+encode(q[1]))
	}
	canonical := p.method + "\n" + path + "\n" + strings.Join(pairs, "&") + "\nhost:" + base.Host + "\n\nhost\nUNSIGNED-PAYLOAD"
	sum := sha256.Sum256([]byte(canonical))
	mac := func(key []byte, data string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(data))
		return h.Sum(nil)
	}
	k := []byte("AWS4" + p.secret)
	for _, part := range []string{stamp[:8], p.region, "s3", "aws4_request"} {
		k = mac(k, part)
	}
	signature := hex.EncodeToString(mac(k, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
	return base.Scheme + "://" + base.Host + path + "?" + strings.Join(pairs, "&") + "&X-Amz-Signature=" + signature, nil
}

func newPresignCommand(e *env) *cobra.Command {
	f := &s3Flags{}
	var method, version string
	var expires time.Duration
	cmd := e.leaf("presign BUCKET/KEY", "Print an address by which anybody may fetch, or put, an object for a while", args("BUCKET/KEY"),
		func(ctx context.Context, a []string) error {
			name, key, _ := strings.Cut(a[0], "/")
			switch {
			case name == "" || key == "":
				return usageErrorf("%q: want BUCKET/KEY", a[0])
			case !slices.Contains([]string{http.MethodGet, http.MethodPut, http.MethodHead, http.MethodDelete}, method):
				return usageErrorf("flag --method %q: want GET, PUT, HEAD or DELETE", method)
			case expires < time.Second || expires > maxPresign:
				return usageErrorf("flag --expires %s: want 1s to 168h", expires)
			}
			server, _, err := f.server(ctx, e)
			if err != nil {
				return err
			}
			p := presigned{endpoint: server.Endpoints[0], region: f.region, access: server.AccessKey, secret: server.SecretKey,
				method: method, bucket: name, key: key, version: version, expires: expires, now: time.Now()}
			u, err := p.url()
			if err != nil {
				return err
			}
			if e.json() {
				return e.printJSON(map[string]string{"url": u, "method": method, "expires": p.now.Add(expires).UTC().Format(time.RFC3339)})
			}
			_, err = fmt.Fprintln(e.stdout, u)
			return err
		})
	f.register(cmd)
	cmd.Flags().StringVar(&method, "method", http.MethodGet, "what may be done: GET, PUT, HEAD or DELETE")
	cmd.Flags().StringVar(&version, "version", "", "of this version")
	cmd.Flags().DurationVar(&expires, "expires", time.Hour, "for how long, at most 168h")
	return cmd
}
