package s3

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Temporary credentials are kept nowhere: their token holds all that there is to know,
// sealed under a key that only monitors and gateways have. docs/formats/token.md.

// claims are what a token says.
type claims struct {
	AccessKey string `json:"k"`
	Secret    string `json:"s"`
	Began     int64  `json:"b"` // unix nanoseconds
	Ends      int64  `json:"e"`
	Principal string `json:"p"`           // id of the user or role
	Account   string `json:"a"`           // whose the session's buckets are
	Role      bool   `json:"r,omitempty"` // the session is a role's,
	Name      string `json:"n,omitempty"` // with this name
	Parent    string `json:"u,omitempty"` // of a user: the access key that asked for it
	// Policies of the session: one must allow, too.
	Policies  []string `json:"l,omitempty"`
	Federated string   `json:"f,omitempty"` // ARN of the provider who vouched for it
}

// Limits of tokens.
const (
	sealVersion    = 1
	tokenHeader    = 1 + 4 // version, number of the key
	maxTokenBytes  = 8 << 10
	maxClaimsBytes = 64 << 10
	tokenKeyTTL    = 10 * time.Minute
	tokenKeyRetry  = time.Second // between questions for keys that are not known
)

var errBadToken = errors.New("not a token of this cluster")

// sealer seals and opens tokens.
type sealer struct {
	ask func(ctx context.Context) ([]*wirepb.TokenKey, error)

	mu     sync.Mutex // guards below
	keys   map[uint32]cipher.AEAD
	newest uint32
	asked  time.Time
}

// refresh asks for keys if those known are old, or soon after it last did if one is missing.
func (s *sealer) refresh(ctx context.Context, now time.Time, missing bool) error {
	if s.ask == nil {
		return errBadToken
	}
	s.mu.Lock()
	age := now.Sub(s.asked)
	fresh := s.keys != nil && age >= 0 && age < tokenKeyTTL && (!missing || age < tokenKeyRetry)
	if !fresh {
		s.asked = now // so that others do not ask meanwhile
	}
	s.mu.Unlock()
	if fresh {
		return nil
	}
	list, err := s.ask(ctx)
	if err == nil && len(list) == 0 {
		err = errors.New("the monitors have no keys of tokens")
	}
	keys := map[uint32]cipher.AEAD{}
	newest := uint32(0)
	for _, k := range list {
		block, e := aes.NewCipher(k.Key)
		if e != nil {
			err = e
			break
		}
		aead, e := cipher.NewGCM(block)
		if e != nil {
			err = e
			break
		}
		keys[k.Id], newest = aead, max(newest, k.Id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.asked = time.Time{}
		if s.keys != nil && !missing {
			return nil // those known go on working
		}
		return fmt.Errorf("keys of tokens: %w", err)
	}
	s.keys, s.newest = keys, newest
	return nil
}

func (s *sealer) key(id uint32) cipher.AEAD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[id]
}

// seal makes a token. errTooLarge: the claims are too large for one.
func (s *sealer) seal(ctx context.Context, now time.Time, c *claims) (string, error) {
	if err := s.refresh(ctx, now, false); err != nil {
		return "", err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	id := s.newest
	aead := s.keys[id]
	s.mu.Unlock()
	b := make([]byte, tokenHeader+aead.NonceSize(), tokenHeader+aead.NonceSize()+packed.Len()+aead.Overhead())
	b[0] = sealVersion
	binary.BigEndian.PutUint32(b[1:], id)
	nonce := b[tokenHeader:]
	rand.Read(nonce)
	b = aead.Seal(b, nonce, packed.Bytes(), b[:tokenHeader])
	token := base64.StdEncoding.EncodeToString(b)
	if len(token) > maxTokenBytes || len(text) > maxClaimsBytes {
		return "", errTooLarge
	}
	return token, nil
}

var errTooLarge = errors.New("the session's policies are too large")

// open takes a token apart. An error that is errBadToken: it is none of ours.
func (s *sealer) open(ctx context.Context, now time.Time, token string) (*claims, error) {
	if len(token) > maxTokenBytes {
		return nil, errBadToken
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) < tokenHeader || b[0] != sealVersion {
		return nil, errBadToken
	}
	id := binary.BigEndian.Uint32(b[1:])
	aead := s.key(id)
	if err := s.refresh(ctx, now, aead == nil); err != nil {
		return nil, err
	}
	if aead = s.key(id); aead == nil || len(b) < tokenHeader+aead.NonceSize() {
		return nil, errBadToken
	}
	nonce := b[tokenHeader : tokenHeader+aead.NonceSize()]
	packed, err := aead.Open(nil, nonce, b[tokenHeader+len(nonce):], b[:tokenHeader])
	if err != nil {
		return nil, errBadToken
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxClaimsBytes+1))
	if err != nil || len(text) > maxClaimsBytes {
		return nil, errBadToken
	}
	c := &claims{}
	if err := json.Unmarshal(text, c); err != nil || c.AccessKey == "" || c.Secret == "" || c.Principal == "" || c.Account == "" {
		return nil, errBadToken
	}
	return c, nil
}

// token is the session token of a request, "" if it has none. That of a form has become a header.
func (q *request) token() string {
	for _, v := range []string{q.r.Header.Get("X-Amz-Security-Token"), q.query.Get("X-Amz-Security-Token"), q.query.Get("x-amz-security-token")} {
		if v != "" {
			return v
		}
	}
	return ""
}

func invalidToken(token string) *apiError {
	return apiErr("InvalidToken", "The provided token is malformed or otherwise invalid.").with("Token-0", token)
}

// knownSession is known for temporary credentials. Whatever the caches still say, a
// session ends when its token says so.
func (q *request) knownSession(accessKey, token string) (*wirepb.User, string, *apiError) {
	now := q.s.o.Now()
	c, err := q.s.tokens.open(q.ctx(), now, token)
	switch {
	case errors.Is(err, errBadToken):
		return nil, "", invalidToken(token)
	case err != nil:
		e := apiErr("ServiceUnavailable", "The gateway cannot look up tokens now. Try again.")
		e.cause = err
		return nil, "", e
	case c.AccessKey != accessKey:
		return nil, "", invalidToken(token)
	case now.UnixNano() >= c.Ends:
		return nil, "", apiErr("ExpiredToken", "The provided token has expired.").with("Token-0", token)
	}
	u, err := q.s.people.principalOf(q.ctx(), &wirepb.UserGet{Id: c.Principal, IdKey: c.Parent})
	switch {
	case errors.Is(err, client.ErrNotFound):
		return nil, "", invalidToken(token) // the user or role is no more
	case err != nil:
		e := apiErr("ServiceUnavailable", "The gateway cannot look up users now. Try again.")
		e.cause = err
		return nil, "", e
	case u.Role != c.Role || c.Began <= u.Revoked:
		return nil, "", invalidToken(token)
	}
	if c.Role && u.Account == "" { // a role of the cluster's own works for the account of who took it on: is that still let in?
		switch owner, err := q.s.people.find(q.ctx(), c.Account, now); {
		case errors.Is(err, client.ErrNotFound):
			return nil, "", invalidToken(token)
		case err != nil:
			e := apiErr("ServiceUnavailable", "The gateway cannot look up users now. Try again.")
			e.cause = err
			return nil, "", e
		case owner.Suspended:
			return nil, "", apiErr("AccessDenied", "The user is suspended.")
		}
	}
	var key *wirepb.AccessKey
	if !c.Role {
		i := slices.IndexFunc(u.Keys, func(k *wirepb.AccessKey) bool { return k.AccessKey == c.Parent && !k.Inactive && !over(k, now) })
		if i < 0 {
			return nil, "", invalidToken(token) // the key that asked for it is off
		}
		key = u.Keys[i]
	}
	q.identity = q.s.sessionIdentity(u, key, c)
	q.session = c
	return u, c.Secret, nil
}

// sessionIdentity is what a session may do: what its user or role may, within the session's policies.
func (s *Server) sessionIdentity(u *wirepb.User, key *wirepb.AccessKey, c *claims) Identity {
	id := identify(u, key)
	id.Temporary, id.Admin, id.Account, id.Federated = true, false, c.Account, c.Federated
	for _, text := range c.Policies {
		id.Session = append(id.Session, readPolicy(text))
	}
	if !c.Role {
		id.NoIAM = true // as at AWS
		return id
	}
	// Its own name comes first; policies may name the session or the role.
	id.UserID = u.Id + ":" + c.Name
	id.ARNs = append([]string{sessionARN(u.Account, u.Name, c.Name)}, id.ARNs...)
	return id
}

func sessionARN(account, role, name string) string {
	return "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + name
}
