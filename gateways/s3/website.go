package s3

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
)

// docWebsite is the name of a bucket's website configuration.
const docWebsite = "website"

const (
	maxWebsiteXML   = 128 << 10
	maxRoutingRules = 50
	maxRedirect     = 2 << 10
)

type xmlWebsite struct {
	XMLName     xml.Name     `xml:"WebsiteConfiguration"`
	Xmlns       string       `xml:"xmlns,attr,omitempty"`
	RedirectAll *xmlSiteHost `xml:"RedirectAllRequestsTo"`
	Index       *xmlIndex    `xml:"IndexDocument"`
	Error       *xmlErrorDoc `xml:"ErrorDocument"`
	Rules       *xmlRouting  `xml:"RoutingRules"`
}

type xmlSiteHost struct {
	HostName string
	Protocol string `xml:",omitempty"`
}

type xmlIndex struct{ Suffix string }

type xmlErrorDoc struct{ Key string }

type xmlRouting struct {
	Rules []xmlRoutingRule `xml:"RoutingRule"`
}

type xmlRoutingRule struct {
	Condition *xmlRoutingCondition
	Redirect  *xmlSiteRedirect
}

type xmlRoutingCondition struct {
	Prefix *string `xml:"KeyPrefixEquals"`
	Code   *string `xml:"HttpErrorCodeReturnedEquals"`
}

type xmlSiteRedirect struct {
	Protocol      *string
	HostName      *string
	ReplacePrefix *string `xml:"ReplaceKeyPrefixWith"`
	ReplaceKey    *string `xml:"ReplaceKeyWith"`
	Code          *string `xml:"HttpRedirectCode"`
}

func checkProtocol(p string) *apiError {
	if p != "" && p != "http" && p != "https" {
		return apiErr("InvalidRequest", "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.")
	}
	return nil
}

// check says what is wrong with a configuration.
func (x *xmlWebsite) check() *apiError {
	if r := x.RedirectAll; r != nil {
		if r.HostName == "" || x.Index != nil || x.Error != nil || x.Rules != nil {
			return malformedXML()
		}
		return checkProtocol(r.Protocol)
	}
	suffix := ""
	if x.Index != nil {
		suffix = x.Index.Suffix
	}
	if suffix == "" || strings.Contains(suffix, "/") {
		return apiErr("InvalidArgument", "The IndexDocument Suffix is not well formed").with("ArgumentName", "IndexDocument").with("ArgumentValue", suffix)
	}
	if x.Error != nil && x.Error.Key == "" {
		return apiErr("InvalidArgument", "The ErrorDocument Key is not well formed").with("ArgumentName", "ErrorDocument").with("ArgumentValue", "")
	}
	if x.Rules == nil {
		return nil
	}
	if n := len(x.Rules.Rules); n == 0 {
		return malformedXML()
	} else if n > maxRoutingRules {
		return apiErr("InvalidRequest", "%d routing rules provided, the number of routing rules in a website configuration is limited to %d.", n, maxRoutingRules)
	}
	for _, r := range x.Rules.Rules {
		if e := r.check(); e != nil {
			return e
		}
	}
	return nil
}

func (r *xmlRoutingRule) check() *apiError {
	if c := r.Condition; c != nil {
		if c.Prefix == nil && c.Code == nil {
			return malformedXML()
		}
		if c.Code != nil {
			n, err := strconv.Atoi(*c.Code)
			if err != nil {
				return malformedXML()
			}
			if n < 400 || n > 417 && n < 500 || n > 505 {
				return apiErr("InvalidRequest", "The provided HTTP error code (%d) is not valid. Valid codes are 4XX or 5XX.", n)
			}
		}
	}
	to := r.Redirect
	switch {
	case to == nil || *to == xmlSiteRedirect{}:
		return malformedXML()
	case to.ReplaceKey != nil && to.ReplacePrefix != nil:
		return apiErr("InvalidRequest", "You can only define ReplaceKeyPrefix or ReplaceKey but not both.")
	}
	if to.Protocol != nil {
		if e := checkProtocol(*to.Protocol); e != nil {
			return e
		}
	}
	if to.Code != nil {
		n, err := strconv.Atoi(*to.Code)
		if err != nil {
			return malformedXML()
		}
		if n < 301 || n == 306 || n > 308 {
			return apiErr("InvalidRequest", "The provided HTTP redirect code (%d) is not valid. Valid codes are 3XX except 300.", n)
		}
	}
	return nil
}

// redirectOf is where the headers of a put say that a website sends those who ask for the object.
func redirectOf(h http.Header) (string, *apiError) {
	to := h.Get("X-Amz-Website-Redirect-Location")
	if to == "" {
		return "", nil
	}
	if !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "http://") && !strings.HasPrefix(to, "https://") || len(to) > maxRedirect {
		return "", apiErr("InvalidRedirectLocation", "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.")
	}
	return to, nil
}

func (q *request) getBucketWebsite() error {
	x := new(xmlWebsite)
	found, err := q.config(docWebsite, x)
	if err != nil {
		return err
	}
	if !found {
		return noWebsite().with("BucketName", q.bucket)
	}
	x.Xmlns = xmlNS
	q.writeXML(http.StatusOK, x)
	return nil
}

func noWebsite() *apiError {
	return apiErr("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration")
}

func (q *request) putBucketWebsite() error {
	var in xmlWebsite
	if e := q.needXML(&in, maxWebsiteXML); e != nil {
		return e
	}
	if e := in.check(); e != nil {
		return e
	}
	in.XMLName, in.Xmlns = xml.Name{Local: "WebsiteConfiguration"}, ""
	return q.configure(docWebsite, in, http.StatusOK)
}

func (q *request) deleteBucketWebsite() error { return q.unconfigure(docWebsite) }

// matches reports whether a rule is for a key, before the object is read (status 0) or after that failed.
func (r *xmlRoutingRule) matches(key string, status int) bool {
	c := r.Condition
	if c == nil {
		return status == 0
	}
	if (c.Code == nil) != (status == 0) || c.Code != nil && *c.Code != strconv.Itoa(status) {
		return false
	}
	return c.Prefix == nil || strings.HasPrefix(key, *c.Prefix)
}

// location is where a rule sends whoever asks for a key, and with what status.
func (r *xmlRoutingRule) location(scheme, host, key, query string) (string, int) {
	to := r.Redirect
	if to.Protocol != nil && *to.Protocol != "" {
		scheme = *to.Protocol
	}
	if to.HostName != nil && *to.HostName != "" {
		host = *to.HostName
	}
	switch {
	case to.ReplaceKey != nil:
		key = *to.ReplaceKey
	case to.ReplacePrefix != nil:
		prefix := ""
		if r.Condition != nil && r.Condition.Prefix != nil {
			prefix = *r.Condition.Prefix
		}
		key = *to.ReplacePrefix + strings.TrimPrefix(key, prefix)
	}
	status := http.StatusMovedPermanently
	if to.Code != nil {
		status, _ = strconv.Atoi(*to.Code) // it was checked when it was put
	}
	return siteURL(scheme, host, key, query), status
}

func siteURL(scheme, host, key, query string) string {
	u := scheme + "://" + host + "/" + uriEncode(key, true)
	if query != "" {
		u += "?" + query
	}
	return u
}

// siteOf finds the bucket whose website a host is; ok says that the host is that of websites, even if it names none.
func (s *Server) siteOf(host string) (bucket string, ok bool) {
	for _, d := range s.sites {
		if host == d {
			return "", true
		}
		if b, found := strings.CutSuffix(host, "."+d); found {
			return b, true
		}
	}
	return "", false
}

// siteDomains are the domains below which buckets are websites: those that the gateway was
// given, and what Amazon calls them below the others.
func (o *Options) siteDomains() []string {
	out := append([]string(nil), o.WebsiteDomains...)
	for _, d := range o.Domains {
		out = append(out, "s3-website."+d, "s3-website-"+o.Region+"."+d)
	}
	return out
}

// website answers a request to a bucket's website: by anybody, to read.
func (q *request) website() error {
	q.op = "GetWebsite"
	query, key := q.r.URL.RawQuery, q.key
	q.query = nil // no parameter means anything here
	switch q.r.Method {
	case http.MethodOptions:
		return q.preflight()
	case http.MethodGet, http.MethodHead:
	default:
		e := apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.")
		e.Header = http.Header{"Allow": {"GET, HEAD, OPTIONS"}}
		return e
	}
	if q.bucket == "" {
		return apiErr("InvalidRequest", "Request does not contain a bucket name.")
	}
	q.fromElsewhere()
	h := q.r.Header.Clone()
	h.Del("Authorization")
	h.Del("X-Amz-Content-Sha256")
	h.Del("X-Amz-Expected-Bucket-Owner")
	q.withHeader(h)
	if e := q.anonymous(); e != nil {
		return e
	}
	b, err := q.s.o.Buckets.Bucket(q.ctx(), q.bucket)
	if err != nil {
		return err
	}
	cfg, err := b.Config(q.ctx())
	if err != nil {
		return err
	}
	x, err := parsed[xmlWebsite](cfg, docWebsite)
	if err != nil {
		return err
	}
	if x == nil {
		return noWebsite().with("BucketName", q.bucket)
	}
	if q.t, err = q.terms(b); err != nil {
		return err
	}
	q.b = b
	if r := x.RedirectAll; r != nil {
		scheme := r.Protocol
		if scheme == "" {
			scheme = q.scheme()
		}
		q.redirect(siteURL(scheme, r.HostName, key, query), http.StatusMovedPermanently)
		return nil
	}
	if q.byRule(x, key, query, 0) {
		return nil
	}
	err = q.page(x, key)
	if err == nil || q.w.wrote {
		return err
	}
	e := toAPI(err)
	if e.Status < http.StatusBadRequest {
		return err
	}
	if e.Code == "NoSuchKey" || e.Code == "AccessDenied" {
		if folder := key + "/"; key != "" && !strings.HasSuffix(key, "/") && q.isPage(folder+x.Index.Suffix) {
			q.redirect("/"+uriEncode(folder, true), http.StatusFound)
			return nil
		}
	}
	if q.byRule(x, key, query, e.Status) {
		return nil
	}
	q.key = key
	if x.Error != nil && e.Status < http.StatusInternalServerError {
		return q.errorPage(x.Error.Key, e)
	}
	return err
}

// page answers with an object, or with the index of a folder.
func (q *request) page(x *xmlWebsite, key string) (err error) {
	if q.key = key; key == "" || strings.HasSuffix(key, "/") {
		q.key += x.Index.Suffix
	}
	if e := q.checkKey(); e != nil {
		return e
	}
	if err := q.reads(); err != nil {
		return err
	}
	if q.r.Method == http.MethodHead {
		return q.headObject()
	}
	return q.getObject()
}

// reads begins to decide whether the key may be read.
func (q *request) reads() (err error) {
	if q.check, err = q.ask(q.t, "s3:GetObject", q.key, ""); err != nil {
		return err
	}
	q.w.check = q.check
	return nil
}

// isPage reports whether there is an object that may be read.
func (q *request) isPage(key string) bool {
	q.key = key
	if q.checkKey() != nil || q.reads() != nil {
		return false
	}
	_, err := q.fetch(q.byHead)
	return err == nil
}

// errorPage answers with an object that stands for an error; if it cannot be read, with the error itself.
func (q *request) errorPage(key string, e *apiError) error {
	asked := q.key
	h := q.r.Header.Clone()
	for _, name := range []string{"Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		h.Del(name)
	}
	q.withHeader(h)
	q.key = key
	q.w.as = e.Status
	q.w.Header().Set("x-amz-error-code", e.Code)
	q.w.Header().Set("x-amz-error-message", e.Message)
	err := q.reads()
	if err == nil {
		if q.r.Method == http.MethodHead {
			err = q.headObject()
		} else {
			err = q.getObject()
		}
	}
	if err == nil || q.w.wrote {
		return err
	}
	q.key, q.w.as = asked, 0
	e.Extra = append(e.Extra, extra{errorDocFailed, toAPI(err).Code})
	return e
}

// errorDocFailed marks that a site's own page for errors could not be had.
const errorDocFailed = "\x00error document"

// withHeader gives the request other headers.
func (q *request) withHeader(h http.Header) {
	r := *q.r
	r.Header = h
	q.r = &r
}

func (q *request) scheme() string {
	if q.r.TLS != nil {
		return "https"
	}
	return "http"
}

// byRule sends the client on if a rule says so.
func (q *request) byRule(x *xmlWebsite, key, query string, status int) bool {
	if x.Rules == nil {
		return false
	}
	for _, r := range x.Rules.Rules {
		if r.matches(key, status) {
			to, code := r.location(q.scheme(), q.r.Host, key, query)
			q.redirect(to, code)
			return true
		}
	}
	return false
}

// redirect sends the client elsewhere.
func (q *request) redirect(to string, status int) {
	h := q.w.Header()
	h.Set("Location", to)
	h.Set("Content-Length", "0")
	q.w.check = nil // nothing of an object is shown
	q.w.WriteHeader(status)
}

// failHTML answers a request to a website with an error, which a person is to read.
func (q *request) failHTML(e *apiError) {
	h := q.w.Header()
	h.Set("x-amz-error-code", e.Code)
	h.Set("x-amz-error-message", e.Message)
	if q.r.Method == http.MethodHead {
		q.w.WriteHeader(e.Status)
		return
	}
	var b bytes.Buffer
	item := func(name, value string) {
		b.WriteString("<li>" + name + ": ")
		_ = xml.EscapeText(&b, []byte(value)) // a buffer takes everything
		b.WriteString("</li>\n")
	}
	title := strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	b.WriteString("<html>\n<head><title>" + title + "</title></head>\n<body>\n<h1>" + title + "</h1>\n<ul>\n")
	item("Code", e.Code)
	item("Message", e.Message)
	failed := ""
	for _, v := range e.Extra {
		if v.name == errorDocFailed {
			failed = v.value
			continue
		}
		item(v.name, v.value)
	}
	item("RequestId", q.id)
	item("HostId", q.s.o.HostID)
	b.WriteString("</ul>\n")
	if failed != "" {
		b.WriteString("<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n")
		item("Code", failed)
		b.WriteString("</ul>\n")
	}
	b.WriteString("<hr/>\n</body>\n</html>\n")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	q.w.WriteHeader(e.Status)
	if _, err := q.w.Write(b.Bytes()); err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err)
	}
}
