package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of the client.
const (
	DefaultTimeout   = 30 * time.Second
	maxResponseBytes = 256 << 20 // a map with all PG records is the largest answer
	maxAddrs         = 16
	dialTimeout      = 3 * time.Second
)

// ClientOptions configures NewClient.
type ClientOptions struct {
	Addrs   []string      // REST addresses of monitors, host:port or http(s)://host:port; required
	Timeout time.Duration // of one call, all attempts together; default DefaultTimeout
	Token   string        // sent as bearer token if not empty
	// HTTP is used instead of a client of our own, which refuses redirects and ignores proxies.
	HTTP *http.Client
}

// Client speaks to the monitors' REST interface. It tries the addresses in
// order, and remembers the one that answered. A change is sent to another
// address only when the first one certainly did nothing.
type Client struct {
	bases   []*url.URL
	timeout time.Duration
	token   string
	http    *http.Client
}

// NewClient checks the options; it does not connect.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{
			Transport: &http.Transport{
				DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
				MaxIdleConnsPerHost:   2,
				IdleConnTimeout:       30 * time.Second,
				TLSHandshakeTimeout:   dialTimeout,
				ExpectContinueTimeout: time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	c := &Client{timeout: o.Timeout, token: o.Token, http: o.HTTP}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("%w: timeout %s is negative", ErrInvalid, o.Timeout)
	}
	if len(o.Addrs) == 0 || len(o.Addrs) > maxAddrs {
		return nil, fmt.Errorf("%w: %d monitor addresses, want 1 to %d", ErrInvalid, len(o.Addrs), maxAddrs)
	}
	for _, a := range o.Addrs {
		u, err := parseAddr(a)
		if err != nil {
			return nil, err
		}
		c.bases = append(c.bases, u)
	}
	return c, nil
}

// parseAddr accepts host:port and http(s)://host:port.
func parseAddr(a string) (*url.URL, error) {
	s := a
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%w: monitor address %q: want HOST:PORT of a monitor's REST interface, such as 127.0.0.1:7480", ErrInvalid, a)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Close releases idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Attempt is one address that did not answer, and why.
type Attempt struct {
	Addr string
	Err  error
}

// UnreachableError tells which monitors were tried and what to check.
type UnreachableError struct{ Tried []Attempt }

// Error names every address with its reason.
func (e *UnreachableError) Error() string {
	var b strings.Builder
	b.WriteString("no monitor answered: ")
	for i, t := range e.Tried {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", t.Addr, plain(t.Err))
	}
	b.WriteString("; check that the monitors run and listen there, and give their REST addresses with --admin or CAIRN_ADMIN")
	return b.String()
}

// Unwrap gives the reasons to errors.Is.
func (e *UnreachableError) Unwrap() []error {
	var errs []error
	for _, t := range e.Tried {
		errs = append(errs, t.Err)
	}
	return errs
}

// plain strips what net/http says about the request: the reader knows it.
func plain(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Op == "dial" {
		err = oe.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	s := err.Error()
	return strings.TrimPrefix(s, "connect: ")
}

// call sends one request. in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: encode the request: %w", method, path, err)
		}
	}
	var tried []Attempt
	var refused error // the newest answer of a monitor that could not do it
	for i, base := range c.bases {
		err := c.try(ctx, i, base, method, path, query, body, out)
		var p *Problem
		switch {
		case err == nil:
			return nil
		case errors.As(err, &p):
			// Another monitor may see the leader. A change goes on to it only if nothing was done.
			if p.Code != CodeNoLeader && !(p.Code == CodeNoQuorum && method == http.MethodGet) {
				return err
			}
			refused = err
		case mayHaveHappened(method, err):
			return fmt.Errorf("monitor %s: %s %s: the answer was lost (%s): the change may or may not have been made; check before repeating it: %w",
				base.Host, method, path, plain(err), outcome(err))
		default:
			tried = append(tried, Attempt{Addr: base.Host, Err: err})
		}
		if ctx.Err() != nil {
			break
		}
	}
	if refused != nil {
		return refused
	}
	return &UnreachableError{Tried: tried}
}

// outcome is the condition of a lost answer.
func outcome(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	return ErrTimeout
}

// mayHaveHappened reports whether the server may have acted on the request that failed with err.
func mayHaveHappened(method string, err error) bool {
	if method == http.MethodGet {
		return false
	}
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Op == "dial" {
		return false
	}
	var de *notSentError
	return !errors.As(err, &de)
}

// notSentError wraps an error that arose before anything was sent.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

func (c *Client) try(ctx context.Context, i int, base *url.URL, method, path string, query url.Values, body []byte, out any) error {
	target := base.String() + path // not JoinPath: a name may be ".." and is escaped already
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	// Share the remaining time: a monitor that hangs must leave some for the others.
	if left := len(c.bases) - i; left > 1 {
		if dl, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Until(dl)/time.Duration(left))
			defer cancel()
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return &notSentError{err}
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes+1))
	if err != nil {
		return err
	}
	if len(data) > maxResponseBytes {
		return fmt.Errorf("the answer to %s %s is longer than %d bytes", method, path, maxResponseBytes)
	}
	if resp.StatusCode/100 != 2 {
		return problemOf(base.Host, method, path, resp, data)
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok && json.Valid(data) {
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &Problem{Status: resp.StatusCode, Code: CodeInternal,
			Detail: fmt.Sprintf("%s %s at %s: the answer is not what this cairn expects: %v", method, path, base.Host, err),
			Next:   "check that the address is a cairn monitor's REST interface and that its version fits"}
	}
	return nil
}

// problemOf reads the error a server answered with.
func problemOf(host, method, path string, resp *http.Response, data []byte) error {
	p := &Problem{}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(data, p) == nil {
		p.Status = resp.StatusCode
		if p.Code == "" {
			p.Code = codeOf(resp.StatusCode)
		}
		return p
	}
	return &Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode), Code: CodeInternal,
		Detail: fmt.Sprintf("%s %s at %s was answered with %s, and not by a cairn monitor", method, path, host, resp.Status),
		Next:   "check the address given with --admin or CAIRN_ADMIN"}
}

// codeOf guesses the code of a problem that has none, such as a fault found by validation.
func codeOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusConflict:
		return CodeConflict
	case http.StatusUnauthorized, http.StatusForbidden:
		return CodeNotPermitted
	case http.StatusServiceUnavailable:
		return CodeTryLater
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return CodeTimeout
	case http.StatusNotImplemented:
		return CodeUnsupported
	}
	if status/100 == 4 {
		return CodeInvalid
	}
	return CodeInternal
}
