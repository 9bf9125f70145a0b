package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// docCORS is the name of a bucket's rules for requests from other origins.
const docCORS = "cors"

const maxCORSRules = 100

var corsMethods = []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodHead}

type xmlCORS struct {
	XMLName xml.Name      `xml:"CORSConfiguration"`
	Xmlns   string        `xml:"xmlns,attr,omitempty"`
	Rules   []xmlCORSRule `xml:"CORSRule"`
}

type xmlCORSRule struct {
	ID      string   `xml:",omitempty"`
	Methods []string `xml:"AllowedMethod"`
	Origins []string `xml:"AllowedOrigin"`
	Headers []string `xml:"AllowedHeader,omitempty"`
	Expose  []string `xml:"ExposeHeader,omitempty"`
	MaxAge  *int     `xml:"MaxAgeSeconds,omitempty"`
}

func (x *xmlCORS) check() *apiError {
	if len(x.Rules) == 0 {
		return malformedXML()
	}
	if len(x.Rules) > maxCORSRules {
		return apiErr("InvalidRequest", "The number of CORS rules should not exceed allowed limit of %d rules.", maxCORSRules)
	}
	for _, r := range x.Rules {
		if len(r.Methods) == 0 || len(r.Origins) == 0 || len(r.ID) > 255 || r.MaxAge != nil && *r.MaxAge < 0 {
			return malformedXML()
		}
		for _, m := range r.Methods {
			if !slices.Contains(corsMethods, m) {
				return apiErr("InvalidRequest", "Found unsupported HTTP method in CORS config. Unsupported method is %s", m)
			}
		}
		for _, o := range r.Origins {
			if strings.Count(o, "*") > 1 {
				return apiErr("InvalidRequest", `AllowedOrigin "%s" can not have more than one wildcard.`, o)
			}
		}
		for _, h := range r.Headers {
			if strings.Count(h, "*") > 1 {
				return apiErr("InvalidRequest", `AllowedHeader "%s" can not have more than one wildcard.`, h)
			}
		}
		for _, h := range r.Expose {
			if strings.Contains(h, "*") {
				return apiErr("InvalidRequest", `ExposeHeader "%s" contains wildcard. We currently do not support wildcard for ExposeHeader.`, h)
			}
		}
	}
	return nil
}

// fits reports whether s is what a pattern with at most one star says.
func fits(pattern, s string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// rule returns the first rule that lets a page from origin use method, with these headers.
func (x *xmlCORS) rule(origin, method string, headers []string) *xmlCORSRule {
	for i := range x.Rules {
		r := &x.Rules[i]
		if !slices.Contains(r.Methods, method) || !slices.ContainsFunc(r.Origins, func(o string) bool { return fits(o, origin) }) {
			continue
		}
		allowed := func(h string) bool {
			return slices.ContainsFunc(r.Headers, func(p string) bool { return fits(strings.ToLower(p), h) })
		}
		if !slices.ContainsFunc(headers, func(h string) bool { return !allowed(h) }) {
			return r
		}
	}
	return nil
}

// answer sets the headers with which a browser lets the page see the answer.
func (r *xmlCORSRule) answer(h http.Header, origin string) {
	h.Add("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
	if slices.Contains(r.Origins, "*") {
		origin = "*"
	} else {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", strings.Join(r.Methods, ", "))
	if len(r.Expose) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(r.Expose, ", "))
	}
	if r.MaxAge != nil {
		h.Set("Access-Control-Max-Age", strconv.Itoa(*r.MaxAge))
	}
}

// corsRules are those of the bucket that the request names; nil if it has none.
func (q *request) corsRules() (*xmlCORS, error) {
	b, err := q.s.o.Buckets.Bucket(q.ctx(), q.bucket)
	if err != nil {
		return nil, err
	}
	cfg, err := b.Config(q.ctx())
	if err != nil {
		return nil, err
	}
	return parsed[xmlCORS](cfg, docCORS)
}

// fromElsewhere lets the page that made the request see the answer, whatever it will be, if the bucket's
// rules allow that. Who may do what is another matter.
func (q *request) fromElsewhere() {
	origin := q.r.Header.Get("Origin")
	if origin == "" || q.bucket == "" {
		return
	}
	x, err := q.corsRules()
	if err != nil || x == nil {
		return // the request itself will meet the error
	}
	method := q.r.Header.Get("Access-Control-Request-Method") // of a preflight; who sends it here wants the answer to that
	if method == "" {
		method = q.r.Method
	}
	if r := x.rule(origin, method, nil); r != nil {
		r.answer(q.w.Header(), origin)
	}
}

// preflight answers a browser that asks whether a page may make a request. Nobody signs that.
func (q *request) preflight() error {
	q.op = "PreflightRequest"
	origin, method := q.r.Header.Get("Origin"), q.r.Header.Get("Access-Control-Request-Method")
	switch {
	case origin == "":
		return apiErr("BadRequest", "Insufficient information. Origin request header needed.")
	case method == "":
		return apiErr("BadRequest", "Invalid Access-Control-Request-Method: null")
	case q.bucket == "":
		return apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", q.r.Method)
	}
	x, err := q.corsRules()
	if err != nil {
		return err
	}
	forbidden := func(text string) error {
		return apiErr("AccessForbidden", "%s", text).with("Method", method).with("ResourceType", "BUCKET")
	}
	if x == nil {
		return forbidden("CORSResponse: CORS is not enabled for this bucket.")
	}
	var headers []string
	asked := q.r.Header.Get("Access-Control-Request-Headers")
	for h := range strings.SplitSeq(asked, ",") {
		if h = strings.ToLower(strings.TrimSpace(h)); h != "" {
			headers = append(headers, h)
		}
	}
	r := x.rule(origin, method, headers)
	if r == nil {
		return forbidden("CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.")
	}
	h := q.w.Header()
	r.answer(h, origin)
	if asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) getBucketCORS() error {
	x := new(xmlCORS)
	found, err := q.config(docCORS, x)
	if err != nil {
		return err
	}
	if !found {
		return apiErr("NoSuchCORSConfiguration", "The CORS configuration does not exist").with("BucketName", q.bucket)
	}
	x.Xmlns = xmlNS
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) putBucketCORS() error {
	var in xmlCORS
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if e := in.check(); e != nil {
		return e
	}
	return q.configure(docCORS, xmlCORS{Rules: in.Rules}, http.StatusOK)
}

func (q *request) deleteBucketCORS() error { return q.unconfigure(docCORS) }
