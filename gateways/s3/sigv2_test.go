package s3

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSigV2 holds signatures against the examples in Amazon's documentation of Version 2.
func TestSigV2(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for _, c := range []struct{ request, sig string }{
		{"GET /photos/puppy.jpg HTTP/1.1\nDate: Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU="},
		{"PUT /photos/puppy.jpg HTTP/1.1\nContent-Type: image/jpeg\nDate: Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg="},
		{"GET /?prefix=photos&max-keys=50&marker=puppy HTTP/1.1\nUser-Agent: Mozilla/5.0\nDate: Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U="},
		{"GET /?acl HTTP/1.1\nDate: Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM="},
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(c.request, "\n", "\r\n") + "\r\nHost: johnsmith.s3.amazonaws.com\r\nAuthorization: AWS AKIAIOSFODNN7EXAMPLE:" + c.sig + "\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		s, toSign, e := parseV2(r, r.URL.Query(), "johnsmith", true, time.Date(2007, 3, 27, 19, 40, 0, 0, time.UTC))
		if e != nil && e.Code == "RequestTimeTooSkewed" {
			s, toSign, e = parseV2(r, r.URL.Query(), "johnsmith", true, time.Date(2007, 3, 27, 21, 10, 0, 0, time.UTC))
		}
		if e != nil {
			t.Fatal(e)
		}
		if got := hmacSHA1(secret, toSign); got != c.sig || s.value != c.sig || s.accessKey != "AKIAIOSFODNN7EXAMPLE" {
			t.Errorf("%s: signature %s, want %s; signed %q", c.request, got, c.sig, toSign)
		}
	}
}

// FuzzSigV2: whatever a request claims, the answer is a claim or an error of the client's.
func FuzzSigV2(f *testing.F) {
	f.Add("AWS a:b", "Tue, 27 Mar 2007 19:36:42 +0000", "", "/a/b?acl&uploadId=x")
	f.Add("", "", "", "/a?Signature=a&Expires=1&AWSAccessKeyId=b")
	f.Fuzz(func(t *testing.T, auth, date, amzDate, uri string) {
		r, err := http.NewRequest("GET", "http://h", nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := r.URL.Parse(uri)
		if err != nil {
			return
		}
		r.URL, r.RequestURI = u, uri
		r.Header = http.Header{"Authorization": {auth}, "Date": {date}, "X-Amz-Date": {amzDate}}
		if !claimsV2(r, u.Query()) {
			return
		}
		s, _, e := parseV2(r, u.Query(), "b", false, time.Unix(1_800_000_000, 0))
		if e != nil && e.Status >= 500 || e == nil && (s.accessKey == "" || s.value == "") {
			t.Fatalf("%+v, %v", s, e)
		}
	})
}
