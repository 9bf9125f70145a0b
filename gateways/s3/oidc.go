package s3

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Limits of what identity providers may cost a gateway.
const (
	maxWebToken      = 20_000
	maxProviderBytes = 1 << 20
	providerTimeout  = 5 * time.Second
	providerTTL      = time.Hour
	providerRetry    = 10 * time.Second // between questions to one address
	maxKnownIssuers  = 1000
)

// oidcVerifier verifies tokens of identity providers. It asks a provider for its keys no
// more often than every ten seconds, however many bad tokens come.
type oidcVerifier struct {
	issuers []string
	client  *http.Client
	now     func() time.Time
	ttl     time.Duration

	mu    sync.Mutex // guards below
	known map[string]*issuer
	// By ARN.
	accounts map[string]registration
}

type issuer struct {
	mu       sync.Mutex // guards below; one question at a time
	provider *oidc.Provider
	err      error
	asked    time.Time
}

func newOIDC(o Options) *oidcVerifier {
	v := &oidcVerifier{issuers: o.Issuers, now: o.Now, ttl: o.UserTTL, known: map[string]*issuer{}, accounts: map[string]registration{}}
	v.client = &http.Client{
		Timeout:   providerTimeout,
		Transport: &sparing{v: v, asked: map[string]answered{}, next: &http.Transport{DialContext: v.dial, DisableKeepAlives: true, TLSHandshakeTimeout: providerTimeout}},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("identity providers must answer themselves, not redirect")
		},
	}
	return v
}

type trustedKey struct{}

// dial connects to a provider. One that the gateway's operator has not named must be in public: its address
// comes from whoever owns an account, and must not lead into the gateway's own network.
func (v *oidcVerifier) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: providerTimeout}
	if ctx.Value(trustedKey{}) == nil {
		d.Control = func(_, addr string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(addr)
			if err != nil {
				return err
			}
			if ip := a.Addr().Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || shared.Contains(ip) {
				return fmt.Errorf("the address %v is not public; the gateway's operator can allow the provider", ip)
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, addr)
}

// shared are addresses behind a carrier's translation (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// sparing bounds what is read, and asks for the same thing only now and then.
type sparing struct {
	v    *oidcVerifier
	next http.RoundTripper

	mu    sync.Mutex // guards below
	asked map[string]answered
}

type answered struct{ at time.Time }

// RoundTrip implements http.RoundTripper.
func (s *sparing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && r.Context().Value(trustedKey{}) == nil {
		return nil, errors.New("the identity provider has no https address; the gateway's operator can allow it")
	}
	now, key := s.v.now(), r.URL.String()
	s.mu.Lock()
	last, ok := s.asked[key]
	if len(s.asked) > maxKnownIssuers {
		clear(s.asked)
	}
	if soon := ok && now.Sub(last.at) < providerRetry && !now.Before(last.at); soon {
		s.mu.Unlock()
		return nil, fmt.Errorf("%s was asked a moment ago; try again in %v", key, providerRetry)
	}
	s.asked[key] = answered{now}
	s.mu.Unlock()
	resp, err := s.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxProviderBytes), resp.Body}
	return resp, nil
}

// provider returns an identity provider whose configuration has been read.
func (v *oidcVerifier) provider(ctx context.Context, url string) (*oidc.Provider, error) {
	v.mu.Lock()
	i := v.known[url]
	if i == nil {
		if len(v.known) >= maxKnownIssuers {
			clear(v.known)
		}
		i = &issuer{}
		v.known[url] = i
	}
	v.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	now := v.now()
	if age := now.Sub(i.asked); !i.asked.IsZero() && age >= 0 && (i.err == nil && age < providerTTL || age < providerRetry) {
		return i.provider, i.err
	}
	// The provider keeps this context to fetch keys with, so it must not end with the request.
	ctx = context.WithoutCancel(ctx)
	if slices.Contains(v.issuers, strings.TrimSuffix(url, "/")) {
		ctx = context.WithValue(ctx, trustedKey{}, true)
	}
	ctx = oidc.ClientContext(ctx, &http.Client{Timeout: v.client.Timeout, CheckRedirect: v.client.CheckRedirect, Transport: &inContext{v.client.Transport, ctx}})
	p, err := oidc.NewProvider(ctx, url)
	i.asked, i.err = now, err
	if err == nil {
		i.provider = p
	}
	return i.provider, i.err
}

// inContext makes requests, whose contexts the library chooses, carry what is known of their provider.
type inContext struct {
	next http.RoundTripper
	ctx  context.Context
}

// RoundTrip implements http.RoundTripper.
func (t *inContext) RoundTrip(r *http.Request) (*http.Response, error) {
	if v := t.ctx.Value(trustedKey{}); v != nil {
		r = r.WithContext(context.WithValue(r.Context(), trustedKey{}, v))
	}
	return t.next.RoundTrip(r)
}

// registered finds a provider that an account trusts, nil if it does not, and remembers that for a while.
func (v *oidcVerifier) registered(c *identityRequest, account, host string) (*wirepb.IdentityItem, error) {
	arn := arnOf(account, "oidc-provider", "/", host)
	now := v.now()
	v.mu.Lock()
	r, ok := v.accounts[arn]
	v.mu.Unlock()
	if ok && now.Before(r.until) {
		return r.item, nil
	}
	item, err := c.find(account, "GetOpenIDConnectProvider", "OpenIDConnectProviderArn", arn)
	if err != nil {
		return nil, err
	}
	r = registration{item, now.Add(v.ttl)}
	if item == nil {
		r.until = now.Add(min(unknownTTL, v.ttl))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.accounts) >= maxKnownIssuers {
		clear(v.accounts)
	}
	v.accounts[arn] = r
	return item, nil
}

// registration is what was found out about a provider of an account.
type registration struct {
	item  *wirepb.IdentityItem
	until time.Time
}

// issuerOf says who a token claims to be from. Nothing of it is believed yet.
func issuerOf(token string) (string, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", false
	}
	var c struct {
		Iss string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &c); err != nil || c.Iss == "" {
		return "", false
	}
	return c.Iss, true
}

// assumeWithWebIdentity gives credentials of a role to whom an identity provider of the role's account
// vouches for, if the role trusts that.
func (c *identityRequest) assumeWithWebIdentity() error {
	q := c.q
	token := c.params["WebIdentityToken"]
	if len(token) < 4 || len(token) > maxWebToken {
		return identityErr("ValidationError", "The parameter WebIdentityToken must have 4 to %d characters.", maxWebToken)
	}
	role, arn, err := c.role()
	if err != nil {
		return err
	}
	denied := identityErr("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	if role == nil || role.Account == "" {
		return denied
	}
	iss, ok := issuerOf(token)
	if !ok {
		return identityErr("InvalidIdentityToken", "The web identity token is no JSON web token.")
	}
	_, host, ok := strings.Cut(iss, "://")
	if !ok {
		return identityErr("InvalidIdentityToken", "The issuer of the web identity token is no address.")
	}
	provider, err := q.s.oidc.registered(c, role.Account, strings.TrimSuffix(host, "/"))
	if err != nil {
		return err
	}
	if provider == nil || strings.TrimSuffix(iss, "/") != provider.Name {
		return identityErr("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", iss)
	}
	id, all, err := c.verifyWebToken(iss, token, provider)
	if err != nil {
		return err
	}
	keys := c.keys()
	r := &policy.Request{
		Principal: policy.Principal{Anonymous: true, Federated: provider.Arn}, Action: "sts:AssumeRoleWithWebIdentity", Resource: arn,
		Keys: func(name string) []string {
			if claim, ok := strings.CutPrefix(name, strings.ToLower(provider.Name[strings.Index(provider.Name, "://")+3:])+":"); ok {
				return all[claim]
			}
			if name == "aws:federatedprovider" {
				return []string{provider.Arn}
			}
			return keys(name)
		},
	}
	if trust(role).Decide(r) != policy.Allow {
		return denied
	}
	q.s.log.Debug("web identity", "request", q.id, "role", arn, "subject", id.Subject)
	return c.assume(role, role.Account, role.MaxSeconds, &claims{Federated: provider.Arn}, func(x *xmlOut) {
		x.el("SubjectFromWebIdentityToken", id.Subject)
		x.el("Audience", strings.Join(id.Audience, ","))
		x.el("Provider", provider.Arn)
	})
}

// verifyWebToken returns a token that its provider has signed for one of the provider's clients, and its claims by their names in
// lower case.
func (c *identityRequest) verifyWebToken(iss, token string, provider *wirepb.IdentityItem) (*oidc.IDToken, map[string][]string, error) {
	q := c.q
	p, err := q.s.oidc.provider(q.ctx(), iss)
	if err != nil {
		e := identityErr("IDPCommunicationError", "The identity provider %s does not answer as it should: %v", iss, err)
		e.cause = err
		return nil, nil, e
	}
	// Not VerifierContext: keys are fetched with the provider's own client, which is confined.
	v := p.Verifier(&oidc.Config{SkipClientIDCheck: true, Now: q.s.o.Now})
	id, err := v.Verify(q.ctx(), token)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return nil, nil, identityErr("ExpiredTokenException", "Token expired: %v", expired.Expiry)
	case err != nil:
		return nil, nil, identityErr("InvalidIdentityToken", "The web identity token cannot be verified: %v", err)
	}
	var raw map[string]any
	if err := id.Claims(&raw); err != nil {
		return nil, nil, identityErr("InvalidIdentityToken", "The claims of the web identity token cannot be read.")
	}
	all := map[string][]string{}
	for name, v := range raw {
		if lower := strings.ToLower(name); lower != name && raw[lower] != nil {
			continue // "SUB" is not "sub" where there is one
		}
		switch v := v.(type) {
		case string:
			all[strings.ToLower(name)] = []string{v}
		case []any:
			for _, e := range v {
				if s, ok := e.(string); ok {
					all[strings.ToLower(name)] = append(all[strings.ToLower(name)], s)
				}
			}
		}
	}
	// Whom the token is for: azp is who it was given to, if several may use it.
	users := append(slices.Clone(all["aud"]), all["azp"]...)
	if !slices.ContainsFunc(users, func(a string) bool { return slices.Contains(provider.List, a) }) {
		return nil, nil, identityErr("InvalidIdentityToken", "Incorrect token audience")
	}
	return id, all, nil
}
