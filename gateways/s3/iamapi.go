package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// IAM and STS are spoken at the same port as S3, by posting a form to /. A request is
// signed for the service iam or sts. What it asks for is in Action.

const (
	maxIdentityBody = 256 << 10
	iamNamespace    = "https://iam.amazonaws.com/doc/2010-05-08/"
	stsNamespace    = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// identityRequest is a request of IAM or STS.
type identityRequest struct {
	q      *request
	action string
	params map[string]string
	sts    bool
	reply  *wirepb.IdentityReply

	account string            // whose entities it is about
	extra   map[string]string // parameters that the gateway adds
	target  *wirepb.IdentityItem
}

var identityStatuses = map[string]int{
	"AccessDenied": http.StatusForbidden, "DeleteConflict": http.StatusConflict, "EntityAlreadyExists": http.StatusConflict, "ExpiredToken": http.StatusForbidden,
	"ExpiredTokenException": http.StatusBadRequest, "IDPCommunicationError": http.StatusBadRequest, "IDPRejectedClaim": http.StatusForbidden,
	"IncompleteSignature": http.StatusBadRequest, "InvalidAction": http.StatusBadRequest, "InvalidClientTokenId": http.StatusForbidden,
	"InvalidIdentityToken": http.StatusBadRequest, "InvalidInput": http.StatusBadRequest, "LimitExceeded": http.StatusConflict,
	"MalformedPolicyDocument": http.StatusBadRequest, "MissingAuthenticationToken": http.StatusForbidden, "NoSuchEntity": http.StatusNotFound,
	"PackedPolicyTooLarge": http.StatusBadRequest, "RequestEntityTooLarge": http.StatusRequestEntityTooLarge, "ServiceFailure": http.StatusInternalServerError,
	"ServiceUnavailable": http.StatusServiceUnavailable, "SignatureDoesNotMatch": http.StatusForbidden, "UnmodifiableEntity": http.StatusBadRequest,
	"ValidationError": http.StatusBadRequest, "SlowDown": http.StatusServiceUnavailable,
}

func identityErr(code, format string, args ...any) *apiError {
	status, ok := identityStatuses[code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return &apiError{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

// sameAs are what S3's codes are called by IAM.
var sameAs = map[string]string{
	"InvalidAccessKeyId": "InvalidClientTokenId", "InvalidToken": "InvalidClientTokenId", "RequestTimeTooSkewed": "SignatureDoesNotMatch",
	"AuthorizationHeaderMalformed": "IncompleteSignature", "AuthorizationQueryParametersError": "IncompleteSignature", "InvalidArgument": "IncompleteSignature",
	"InvalidRequest": "IncompleteSignature", "XAmzContentSHA256Mismatch": "SignatureDoesNotMatch", "InternalError": "ServiceFailure",
}

// failIdentity answers with an error as IAM and STS do.
func (q *request) failIdentity(e *apiError) {
	code, status := e.Code, e.Status
	if other := sameAs[code]; other != "" {
		code = other
	}
	if s, ok := identityStatuses[code]; ok {
		status = s
	}
	kind, ns := "Sender", iamNamespace
	if status >= 500 {
		kind = "Receiver"
	}
	if q.iam.sts {
		ns = stsNamespace
	}
	x := &xmlOut{}
	x.b.WriteString(`<ErrorResponse xmlns="` + ns + `">`)
	x.in("Error", func() { x.el("Type", kind); x.el("Code", code); x.el("Message", e.Message) })
	x.el("RequestId", q.id)
	x.b.WriteString("</ErrorResponse>")
	q.writeIdentity(status, x)
}

func (q *request) writeIdentity(status int, x *xmlOut) {
	h := q.w.Header()
	h.Set("Content-Type", "text/xml")
	h.Set("x-amzn-RequestId", q.id)
	h.Set("Content-Length", strconv.Itoa(x.b.Len()))
	q.w.WriteHeader(status)
	if _, err := q.w.Write(x.b.Bytes()); err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err) // the client has gone
	}
}

// isIdentity reports whether a request is one of IAM or STS.
func (q *request) isIdentity() bool {
	return q.s.o.Identity != nil && q.bucket == "" && q.key == "" && (q.r.Method == http.MethodPost || q.r.Method == http.MethodGet && q.query.Has("Action"))
}

func (q *request) serveIdentity() error {
	c := &identityRequest{q: q, params: map[string]string{}, extra: map[string]string{}}
	q.iam = c
	body, err := io.ReadAll(io.LimitReader(q.raw, maxIdentityBody+1))
	if err != nil {
		return err
	}
	if len(body) > maxIdentityBody {
		return identityErr("RequestEntityTooLarge", "The request has more than %d bytes.", maxIdentityBody)
	}
	form := q.query
	if q.r.Method == http.MethodPost {
		if form, err = url.ParseQuery(string(body)); err != nil {
			return identityErr("ValidationError", "The body is no form.")
		}
	}
	c.action = form.Get("Action")
	if verb := stsActions[c.action]; verb != nil {
		c.sts = true
		q.op = c.action
	} else if _, ok := identityActions[c.action]; ok {
		q.op = c.action
	} else {
		q.op = "UnknownIdentity"
	}
	for name, values := range form {
		if name != "Action" && name != "Version" && !strings.HasPrefix(strings.ToLower(name), "x-amz-") {
			c.params[name] = values[0]
			if len(values) > 1 {
				return identityErr("ValidationError", "Parameter %s is given more than once.", name)
			}
		}
	}
	if e := c.authenticate(body); e != nil {
		return e
	}
	if verb := stsActions[c.action]; verb != nil {
		return c.serveSTS(verb)
	}
	a, ok := identityActions[c.action]
	if !ok {
		return identityErr("InvalidAction", "The action %s is not valid for this endpoint.", strconv.Quote(c.action))
	}
	if q.who.anonymous() {
		return identityErr("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	for name := range c.params {
		if !a.has(name) { // also keeps out what only the gateway may say
			return identityErr("ValidationError", "The parameter %s of %s is not supported.", strconv.Quote(name), c.action)
		}
	}
	if err := c.authorise(&a); err != nil {
		return err
	}
	if a.kind != noDocument {
		if err := c.checkDocument(a.kind, c.params[a.docName]); err != nil {
			return err
		}
	}
	params := maps.Clone(c.params)
	maps.Copy(params, c.extra)
	reply, err := c.call(c.account, c.action, params)
	if a.write {
		q.s.users.forget() // whether or not it is known to have worked
		q.s.people.forget()
	}
	if err != nil {
		return err
	}
	c.reply = reply
	x := &xmlOut{}
	x.b.WriteString("<" + c.action + `Response xmlns="` + iamNamespace + `">`)
	if a.reply != nil {
		x.in(c.action+"Result", func() { a.reply(x, c) })
	}
	c.finish(x)
	return nil
}

// finish sends an answer whose first element is open.
func (c *identityRequest) finish(x *xmlOut) {
	x.in("ResponseMetadata", func() { x.el("RequestId", c.q.id) })
	x.b.WriteString("</" + c.action + "Response>")
	c.q.writeIdentity(http.StatusOK, x)
}

// authenticate finds out who asks. The body is part of what is signed.
func (c *identityRequest) authenticate(body []byte) *apiError {
	q := c.q
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	r := *q.r
	r.Header = q.r.Header.Clone()
	said := r.Header.Get("X-Amz-Content-Sha256")
	if said == "" {
		r.Header.Set("X-Amz-Content-Sha256", digest)
	}
	sig, e := parseSignature(&r, q.query)
	if e != nil {
		return e
	}
	if sig == nil {
		return q.anonymous()
	}
	if said == "" {
		r.Header.Del("X-Amz-Content-Sha256") // it is not among the signed ones
		sig.payload = digest
	} else if said == unsignedBody && q.r.Method == http.MethodPost {
		// What is asked for is in the body: a signature of anything else says nothing.
		return apiErr("XAmzContentSHA256Mismatch", "The body of a request of IAM or STS must be signed: UNSIGNED-PAYLOAD is not taken.")
	} else if said != unsignedBody && said != digest {
		return apiErr("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	claim := *sig
	switch claim.scope.service {
	case "iam", "sts", "s3": // clients of Ceph sign for s3
		claim.scope.service, claim.scope.region = "s3", q.s.o.Region
	}
	if e := claim.checkClaim(&r, q.s.o.Now(), q.s.o.Region); e != nil {
		return e
	}
	user, secret, e := q.known(sig.accessKey)
	if e != nil {
		return e
	}
	if e := sig.verify(&r, q.s.users.signingKey(secret, sig)); e != nil {
		return identityErr("SignatureDoesNotMatch", "%s", e.Message)
	}
	q.sig = sig
	return q.become(user)
}

// call passes a call on to the monitors.
func (c *identityRequest) call(account, action string, params map[string]string) (*wirepb.IdentityReply, error) {
	m := &wirepb.IdentityCall{Account: account, Action: action, By: c.q.who.arn()}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		m.Params = append(m.Params, &wirepb.IdentityTag{Key: k, Value: params[k]})
	}
	r, err := c.q.s.o.Identity(c.q.ctx(), m)
	if err != nil {
		e := identityErr("ServiceUnavailable", "The monitors do not answer. Look what was done before you try again.")
		e.cause = err
		return nil, e
	}
	code := ""
	switch r.Code {
	case wirepb.Code_OK:
		return r, nil
	case wirepb.Code_NOT_FOUND:
		code = "NoSuchEntity"
	case wirepb.Code_EXISTS:
		code = "EntityAlreadyExists"
	case wirepb.Code_CONFLICT:
		code = "DeleteConflict"
	case wirepb.Code_NO_SPACE:
		code = "LimitExceeded"
	case wirepb.Code_INVALID:
		code = "ValidationError"
	case wirepb.Code_NOT_PERMITTED:
		code = "AccessDenied"
	case wirepb.Code_UNSUPPORTED:
		code = "InvalidAction"
	default:
		code = "ServiceUnavailable"
	}
	return nil, identityErr(code, "%s", r.Text)
}

// find looks something up that a request is about; nil if it is not there.
func (c *identityRequest) find(account, action string, params ...string) (*wirepb.IdentityItem, error) {
	m := map[string]string{}
	for i := 0; i < len(params); i += 2 {
		m[params[i]] = params[i+1]
	}
	r, err := c.call(account, action, m)
	var e *apiError
	if errors.As(err, &e) && e.Code == "NoSuchEntity" {
		return nil, nil
	}
	if err != nil || len(r.Items) == 0 {
		return nil, err
	}
	return r.Items[0], nil
}

// Parameters that the gateway adds: Root is about the account itself, Within never is.
const (
	paramRoot   = "Root"
	paramWithin = "Within"
)

// authorise finds out what the request is about and decides whether who asks may do it.
func (c *identityRequest) authorise(a *identityAction) error {
	w := c.q.who
	c.account = w.Account
	if w.Admin && w.Root && strings.Contains(c.action, "Role") {
		c.account = "" // an administrator's roles are the cluster's own
	}
	resource, err := c.about(a)
	if err != nil {
		return err
	}
	r := &policy.Request{Principal: w.principal(), Action: "iam:" + c.action, Resource: resource, Keys: c.keys()}
	if w.NoIAM || w.decide(r) != policy.Allow {
		return c.accessDenied(r)
	}
	if r.Resource = c.renamed(); r.Resource != "" && w.decide(r) != policy.Allow {
		return c.accessDenied(r)
	}
	return nil
}

// renamed is the ARN that a user or group is to have, "" if it keeps its own. Policies go by names and paths, so who gives
// one away must be allowed to on both sides.
func (c *identityRequest) renamed() string {
	kind, name := "user", c.params["NewUserName"]
	if c.action == "UpdateGroup" {
		kind, name = "group", c.params["NewGroupName"]
	}
	path := c.params["NewPath"]
	if c.action != "UpdateUser" && c.action != "UpdateGroup" || name == "" && path == "" || c.target == nil {
		return "" // c.target is nil for the account itself, which may all
	}
	if name == "" {
		name = c.target.Name
	}
	if path == "" {
		path = c.target.Path
	}
	return arnOf(c.account, kind, path, name)
}

func (c *identityRequest) accessDenied(r *policy.Request) *apiError {
	w := c.q.who
	who := w.arn()
	if w.Temporary && len(w.ARNs) > 0 {
		who = w.ARNs[0]
	}
	return identityErr("AccessDenied", "User: %s is not authorized to perform: %s on resource: %s", who, r.Action, r.Resource)
}

// about resolves what a request is about and returns its ARN.
func (c *identityRequest) about(a *identityAction) (string, error) {
	w := c.q.who
	path := c.params["Path"]
	if path == "" {
		path = "/"
	}
	made := func(param string) (string, error) {
		return arnOf(c.account, a.makes, path, c.params[param]), nil
	}
	switch a.on {
	case onUser:
		if a.makes != "" {
			return made("UserName")
		}
		return c.aboutUser(a)
	case onGroup:
		if a.makes != "" {
			return made("GroupName")
		}
		return c.aboutNamed("GetGroup", "group", "GroupName")
	case onRole:
		if a.makes != "" {
			return made("RoleName")
		}
		return c.aboutNamed("GetRole", "role", "RoleName")
	case onPolicy:
		if a.makes != "" {
			return made("PolicyName")
		}
		return c.params["PolicyArn"], nil
	case onProvider:
		if a.makes != "" {
			_, host, _ := strings.Cut(c.params["Url"], "://")
			return arnOf(c.account, a.makes, "/", host), nil
		}
		return c.params["OpenIDConnectProviderArn"], nil
	}
	return arnOf(w.Account, "user", "/", "*"), nil
}

func (c *identityRequest) aboutNamed(get, kind, param string) (string, error) {
	name := c.params[param]
	if name == "" {
		return "", identityErr("ValidationError", "The parameter %s is missing.", param)
	}
	arn := arnOf(c.account, kind, "/", name)
	if c.q.who.Root {
		return arn, nil // whatever its path is
	}
	i, err := c.find(c.account, get, param, name)
	if err != nil || i == nil {
		return arn, err
	}
	c.target = i
	return i.Arn, nil
}

// aboutUser resolves the user that a request is about. Nobody but the account itself reaches the account.
func (c *identityRequest) aboutUser(a *identityAction) (string, error) {
	w := c.q.who
	name := c.params["UserName"]
	root := func(account string) (string, error) {
		c.account, c.extra[paramRoot], c.extra["UserName"] = account, "true", account
		return "arn:aws:iam::" + account + ":root", nil
	}
	switch {
	case name == "" && !a.self:
		return "", identityErr("ValidationError", "The parameter UserName is missing.")
	case name == "" && w.Root:
		return root(w.Account)
	case name == "" && w.name == "":
		return "", identityErr("ValidationError", "Must specify userName when calling with non-User credentials")
	case name == "":
		name = w.name
	}
	c.extra["UserName"], c.extra[paramWithin] = name, "true"
	if w.Root && !w.Admin && name != w.Account {
		return arnOf(c.account, "user", "/", name), nil
	}
	i, err := c.find(c.account, "GetUser", "UserName", name, paramWithin, "true")
	switch {
	case err != nil:
		return "", err
	case i != nil:
		c.target = i
		return i.Arn, nil
	case w.Root && (name == w.Account || w.Admin):
		if other, err := c.find(name, "GetUser", "UserName", name, paramRoot, "true"); err != nil || other == nil {
			return arnOf(c.account, "user", "/", name), err
		}
		delete(c.extra, paramWithin)
		return root(name)
	}
	return arnOf(c.account, "user", "/", name), nil
}

// keys tells policies about the request.
func (c *identityRequest) keys() policy.Keys {
	base := c.q.conditionKeys(nil, "", "")
	one := func(v string) []string {
		if v == "" {
			return nil
		}
		return []string{v}
	}
	return func(name string) []string {
		switch name {
		case "iam:policyarn":
			return one(c.params["PolicyArn"])
		case "iam:permissionsboundary":
			if v, ok := c.params["PermissionsBoundary"]; ok || c.target == nil {
				return one(v)
			}
			return one(c.target.Boundary)
		case "aws:tagkeys":
			var keys []string
			for _, k := range c.requestTags() {
				keys = append(keys, k.Key)
			}
			return keys
		case "sts:externalid":
			return one(c.params["ExternalId"])
		case "sts:rolesessionname":
			return one(c.params["RoleSessionName"])
		case "sts:sourceidentity":
			return one(c.params["SourceIdentity"])
		}
		for prefix, tags := range map[string][]*wirepb.IdentityTag{"aws:requesttag/": c.requestTags(), "aws:resourcetag/": c.target.GetTags(), "iam:resourcetag/": c.target.GetTags()} {
			if key, ok := strings.CutPrefix(name, prefix); ok {
				for _, t := range tags {
					if strings.EqualFold(t.Key, key) {
						return []string{t.Value}
					}
				}
				return nil
			}
		}
		return base(name)
	}
}

func (c *identityRequest) requestTags() []*wirepb.IdentityTag {
	var out []*wirepb.IdentityTag
	for i := 1; ; i++ {
		k, ok := c.params[fmt.Sprintf("Tags.member.%d.Key", i)]
		if !ok {
			k, ok = c.params[fmt.Sprintf("TagKeys.member.%d", i)]
		}
		if !ok {
			return out
		}
		out = append(out, &wirepb.IdentityTag{Key: k, Value: c.params[fmt.Sprintf("Tags.member.%d.Value", i)]})
	}
}

// checkDocument refuses documents that could not be used.
func (c *identityRequest) checkDocument(kind uint8, text string) error {
	o := policy.Options{Kind: policy.OfIdentity}
	var lookup error
	if kind == trustDocument {
		o.Kind = policy.OfRole
		o.Exists, o.UserIn = c.q.principalExists(&lookup)
	}
	_, err := policy.Parse([]byte(text), o)
	if lookup != nil {
		return lookup
	}
	var m *policy.MalformedError
	if errors.As(err, &m) {
		return identityErr("MalformedPolicyDocument", "%s", m.Message)
	}
	return err
}
