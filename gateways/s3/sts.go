package s3

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// stsActions are the verbs of AWS's STS.
var stsActions = map[string]func(c *identityRequest) error{
	"AssumeRole":                (*identityRequest).assumeRole,
	"AssumeRoleWithWebIdentity": (*identityRequest).assumeWithWebIdentity,
	"GetSessionToken":           (*identityRequest).getSessionToken,
	"GetCallerIdentity":         (*identityRequest).getCallerIdentity,
}

// stsParams are the parameters that each has.
var stsParams = map[string]identityAction{
	"AssumeRole":                {params: []string{"RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "PolicyArns", "ExternalId", "SourceIdentity"}},
	"AssumeRoleWithWebIdentity": {params: []string{"RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "PolicyArns", "WebIdentityToken", "ProviderId"}},
	"GetSessionToken":           {params: []string{"DurationSeconds"}},
	"GetCallerIdentity":         {},
}

// How long sessions last, in seconds.
const (
	minSession     = 900
	defaultSession = 3600
	chainedSession = 3600   // the most, of a role that another role's session takes on
	userSession    = 129600 // the most, by GetSessionToken
	userDefault    = 43200
	rootSession    = 3600 // both, of accounts
)

const maxSessionPolicy = 2048

func (c *identityRequest) serveSTS(verb func(c *identityRequest) error) error {
	a := stsParams[c.action]
	for name := range c.params {
		if !a.has(name) {
			return identityErr("ValidationError", "The parameter %s of %s is not supported.", strconv.Quote(name), c.action)
		}
	}
	if c.q.who.anonymous() && c.action != "AssumeRoleWithWebIdentity" {
		return identityErr("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	return verb(c)
}

// answer writes the answer of a verb of STS.
func (c *identityRequest) answer(fn func(x *xmlOut)) error {
	x := &xmlOut{}
	x.b.WriteString("<" + c.action + `Response xmlns="` + stsNamespace + `">`)
	x.in(c.action+"Result", func() { fn(x) })
	c.finish(x)
	return nil
}

func (c *identityRequest) getCallerIdentity() error {
	w := c.q.who
	arn := w.arn()
	switch {
	case w.Root:
		arn = "arn:aws:iam::" + w.Account + ":root"
	case w.Temporary && len(w.ARNs) > 0:
		arn = w.ARNs[0]
	}
	return c.answer(func(x *xmlOut) {
		x.el("Arn", arn)
		x.el("UserId", w.userID())
		x.el("Account", w.Account)
	})
}

// duration reads DurationSeconds.
func (c *identityRequest) duration(def, most int64) (time.Duration, error) {
	v := c.params["DurationSeconds"]
	if v == "" {
		return time.Duration(min(def, most)) * time.Second, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < minSession || n > most {
		return 0, identityErr("ValidationError", "The requested DurationSeconds %s must be between %d and %d.", strconv.Quote(v), minSession, most)
	}
	return time.Duration(n) * time.Second, nil
}

// begin makes temporary credentials.
func (c *identityRequest) begin(cl *claims, lasts time.Duration) (string, error) {
	q := c.q
	now := q.s.o.Now()
	secret, id := make([]byte, 30), make([]byte, 10)
	rand.Read(secret)
	rand.Read(id)
	cl.AccessKey = "ASIA" + base32.StdEncoding.EncodeToString(id)
	cl.Secret = base64.RawURLEncoding.EncodeToString(secret)
	cl.Began, cl.Ends = now.UnixNano(), now.Add(lasts).UnixNano()
	token, err := q.s.tokens.seal(q.ctx(), now, cl)
	if errors.Is(err, errTooLarge) {
		return "", identityErr("PackedPolicyTooLarge", "The policies of the session are too large.")
	}
	if err != nil {
		e := identityErr("ServiceUnavailable", "The gateway cannot make tokens now. Try again.")
		e.cause = err
		return "", e
	}
	return token, nil
}

func (x *xmlOut) credentials(cl *claims, token string) {
	x.in("Credentials", func() {
		x.el("AccessKeyId", cl.AccessKey)
		x.el("SecretAccessKey", cl.Secret)
		x.el("SessionToken", token)
		x.date("Expiration", cl.Ends)
	})
}

// getSessionToken gives a user temporary credentials for what the key that asks may do.
func (c *identityRequest) getSessionToken() error {
	w := c.q.who
	if w.Temporary {
		return identityErr("AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	most, def := int64(userSession), int64(userDefault)
	if w.Root {
		most, def = rootSession, rootSession
	}
	lasts, err := c.duration(def, most)
	if err != nil {
		return err
	}
	// Everybody may; but a denial, or a boundary, counts.
	r := &policy.Request{Principal: w.principal(), Action: "sts:GetSessionToken", Resource: "*", Keys: c.keys()}
	if w.decide(r) == policy.Deny {
		return c.accessDenied(r)
	}
	id := c.q.user.GetId()
	if id == "" {
		id = c.q.user.GetName()
	}
	cl := &claims{Principal: id, Account: w.Account, Parent: c.q.sig.accessKey}
	token, err := c.begin(cl, lasts)
	if err != nil {
		return err
	}
	return c.answer(func(x *xmlOut) { x.credentials(cl, token) })
}

// role finds the role that is to be taken on. Who may not is not told whether it is there.
func (c *identityRequest) role() (u *wirepb.User, arn string, err error) {
	arn = c.params["RoleArn"]
	switch name := c.params["RoleSessionName"]; {
	case arn == "" || len(arn) > 2048:
		return nil, "", identityErr("ValidationError", "The parameter RoleArn is missing or too long.")
	case len(name) < 2 || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_+=,.@-", r)
	}):
		return nil, "", identityErr("ValidationError", "The parameter RoleSessionName must have 2 to 64 letters, digits or characters of _+=,.@-")
	}
	// Remembered for a while, also that there is none: who asks may be nobody.
	u, err = c.q.s.people.cached(c.q.ctx(), "\x00role\x00"+arn, c.q.s.o.Now(), func(ctx context.Context) (*wirepb.User, error) {
		return c.q.s.o.Principal(ctx, &wirepb.UserGet{Role: arn})
	})
	if errors.Is(err, client.ErrNotFound) {
		return nil, arn, nil
	}
	if err != nil {
		e := identityErr("ServiceUnavailable", "The gateway cannot look up roles now. Try again.")
		e.cause = err
		return nil, arn, e
	}
	if u.Suspended {
		return nil, arn, nil
	}
	return u, arn, nil
}

// trust reads who may take a role on. What cannot be read trusts nobody.
func trust(u *wirepb.User) *policy.Policy {
	p, err := policy.Parse([]byte(u.Trust), policy.Options{Kind: policy.OfRole})
	if err != nil {
		return nil
	}
	return p
}

// assumeRole gives temporary credentials for what a role may do. The role must trust who
// asks, and who asks must be allowed to by its own account: only the role's own account may
// leave that to the role, by naming the user or role itself.
func (c *identityRequest) assumeRole() error {
	w := c.q.who
	role, arn, err := c.role()
	if err != nil {
		return err
	}
	r := policy.Request{Principal: w.principal(), Action: "sts:AssumeRole", Resource: arn, Keys: c.keys()}
	if role == nil {
		return c.accessDenied(&r)
	}
	direct := r
	direct.Direct = !w.Root
	t, mine := trust(role), w.decide(&r)
	theirs := t.Decide(&r)
	may := theirs == policy.Allow && mine == policy.Allow ||
		role.Account == w.Account && t.Decide(&direct) == policy.Allow && mine != policy.Deny && w.within(&r)
	if !may || theirs == policy.Deny || mine == policy.Deny {
		return c.accessDenied(&r)
	}
	most := role.MaxSeconds
	if c.q.session != nil && c.q.session.Role {
		most = min(most, chainedSession)
	}
	// A role of the cluster's own works on what belongs to the account of who takes it on.
	account := role.Account
	if account == "" {
		account = w.Account
	}
	return c.assume(role, account, most, &claims{}, nil)
}

// assume answers with credentials of a role.
func (c *identityRequest) assume(role *wirepb.User, account string, most int64, cl *claims, more func(x *xmlOut)) error {
	lasts, err := c.duration(defaultSession, most)
	if err != nil {
		return err
	}
	cl.Principal, cl.Account, cl.Role, cl.Name = role.Id, account, true, c.params["RoleSessionName"]
	if cl.Policies, err = c.sessionPolicies(role); err != nil {
		return err
	}
	token, err := c.begin(cl, lasts)
	if err != nil {
		return err
	}
	packed := (len(token)*100 + maxTokenBytes - 1) / maxTokenBytes
	return c.answer(func(x *xmlOut) {
		x.credentials(cl, token)
		x.in("AssumedRoleUser", func() {
			x.el("Arn", sessionARN(role.Account, role.Name, cl.Name))
			x.el("AssumedRoleId", role.Id+":"+cl.Name)
		})
		if len(cl.Policies) > 0 {
			x.el("PackedPolicySize", strconv.Itoa(packed))
		}
		if v := c.params["SourceIdentity"]; v != "" {
			x.el("SourceIdentity", v)
		}
		if more != nil {
			more(x)
		}
	})
}

// sessionPolicies are the texts of the policies that a session is to be confined to.
func (c *identityRequest) sessionPolicies(role *wirepb.User) ([]string, error) {
	var out []string
	if text := c.params["Policy"]; text != "" {
		if len(text) > maxSessionPolicy {
			return nil, identityErr("ValidationError", "The session policy has more than %d characters.", maxSessionPolicy)
		}
		if err := c.checkDocument(identityDocument, text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	n := 0
	for i := 1; ; i++ {
		arn, ok := c.params[fmt.Sprintf("PolicyArns.member.%d.arn", i)]
		if !ok {
			break
		}
		if n++; n > 10 {
			return nil, identityErr("ValidationError", "At most 10 policies can be given by ARN.")
		}
		p, err := c.find(role.Account, "GetPolicy", "PolicyArn", arn)
		if err != nil {
			return nil, err
		}
		if p == nil {
			return nil, identityErr("ValidationError", "The policy %s does not exist.", strconv.Quote(arn))
		}
		out = append(out, p.Text)
	}
	return out, nil
}
