package testcluster_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"crypto"
	"crypto/sha256"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/mon/fsm"
)

// serviceAccount makes a service account of a user of corp, or of corp itself.
func (h *identities) serviceAccount(user, name, policy string) *somebody {
	h.t.Helper()
	account := "corp"
	if user == "corp" {
		account = ""
	}
	k := fsm.AccessKey{AccessKey: "SVC" + user + name, SecretKey: "secret-of-" + name, Service: name, Policy: policy}
	if r, _ := h.submit(bg, &fsm.KeyCreate{Account: account, User: user, Key: k}); r.Text != "" {
		h.t.Fatal(r.Text)
	}
	return h.as(k.AccessKey, k.SecretKey, "")
}

func (h *identities) put(b fsm.Body) {
	h.t.Helper()
	if r, _ := h.submit(bg, b); r.Text != "" {
		h.t.Fatal(r.Text)
	}
}

// TestWhoMayWhat decides what somebody may do with a bucket of corp, and what of IAM.
func TestWhoMayWhat(t *testing.T) {
	h := newIdentities(t, func(o *s3.Options) { o.UserTTL = time.Nanosecond })
	corp, other := h.root("corp"), h.root("other")
	for _, c := range []struct {
		who    *somebody
		bucket string
	}{{corp, "photos"}, {corp, "open"}, {other, "theirs"}} {
		if code := c.who.do("PUT", "/"+c.bucket, "", 0); code != "" {
			t.Fatal(code)
		}
		if code := c.who.do("PUT", "/"+c.bucket+"/k", "v", 0); code != "" {
			t.Fatal(code)
		}
	}
	const object = "arn:aws:s3:::photos/*"
	full, readAll := statements(allow("*", "*")), statements(allow("s3:GetObject", "*"))
	ann, bob, cat, dan := h.user("ann", full), h.user("bob", ""), h.user("cat", readAll), h.user("dan", full)
	grant := func(bucket string, who *somebody, principals ...string) {
		t.Helper()
		var list []string
		for _, p := range principals {
			list = append(list, fmt.Sprintf(`{"Effect":"Allow","Principal":%s,"Action":["s3:GetObject"],"Resource":"arn:aws:s3:::%s/*"}`, p, bucket))
		}
		if code := who.do("PUT", "/"+bucket+"?policy", statements(list...), 0); code != "" {
			t.Fatalf("policy of %s: %s", bucket, code)
		}
	}
	grant("open", corp, aws1("arn:aws:iam::corp:root"), aws1("arn:aws:iam::corp:user/dan"))
	grant("theirs", other, aws1("arn:aws:iam::corp:user/cat"), aws1("arn:aws:iam::corp:user/bob"))

	// A boundary, and groups.
	h.put(&fsm.PolicyCreate{Policy: fsm.Policy{Account: "corp", Name: "only-photos", ID: "ANPA0000000000000001"}, Text: statements(allow("s3:*", object))})
	h.put(&fsm.BoundarySet{Holder: fsm.Holder{Kind: fsm.HolderUser, Account: "corp", Name: "dan"}, ARN: "arn:aws:iam::corp:policy/only-photos"})
	eve := h.user("eve", statements(deny("s3:PutObject", "*")))
	h.put(&fsm.GroupCreate{Group: fsm.Group{Name: "g", Entity: fsm.Entity{Account: "corp", ID: "AGPA0000000000000001"}}})
	h.put(&fsm.GroupMember{Account: "corp", Group: "g", User: "eve"})
	h.put(&fsm.PolicyAttach{Holder: fsm.Holder{Kind: fsm.HolderGroup, Account: "corp", Name: "g"}, ARN: "arn:aws:iam::aws:policy/AmazonS3FullAccess"})

	// Roles. What a role may is not what who takes it on may.
	toAnn := h.role("corp", "to-ann", trusting(aws1("arn:aws:iam::corp:user/ann")), readAll)
	toCorp := h.role("corp", "to-corp", trusting(aws1("arn:aws:iam::corp:root")), full)
	toBob := h.role("corp", "to-bob", trusting(aws1("arn:aws:iam::corp:user/bob")), full)
	theirs := h.role("other", "theirs", trusting(`{"AWS":["arn:aws:iam::corp:user/bob","arn:aws:iam::corp:user/ann","arn:aws:iam::corp:root"]}`), full)
	bounded := h.role("corp", "bounded", trusting(aws1("arn:aws:iam::corp:user/ann")), full)
	h.put(&fsm.BoundarySet{Holder: fsm.Holder{Kind: fsm.HolderRole, Account: "corp", Name: "bounded"}, ARN: "arn:aws:iam::corp:policy/only-photos"})

	session, err := ann.sts.GetSessionToken(bg, &sts.GetSessionTokenInput{})
	h.want("", err)
	cron, rootCron := h.serviceAccount("ann", "cron", readAll), h.serviceAccount("corp", "nightly", readAll)
	free, ofBob := h.serviceAccount("ann", "free", ""), h.serviceAccount("bob", "greedy", full)
	ofCron, err := cron.sts.GetSessionToken(bg, &sts.GetSessionTokenInput{})
	h.want("", err)

	const no, ok = "AccessDenied", ""
	for _, c := range []struct {
		what                         string
		who                          *somebody
		get, put, open, theirs, list string // of photos, of photos, of open, of other's; and ListUsers
	}{
		{"the account", corp, ok, ok, ok, no, ok},
		{"another account", other, no, no, no, ok, ok}, // its own users
		{"a user who may everything", ann, ok, ok, ok, no, ok},
		{"one who may nothing", bob, no, no, no, no, no},
		{"one who may read", cat, ok, no, ok, ok, no}, // the only one whom both sides allow other's
		{"one within a boundary", dan, ok, ok, no, no, no},
		{"one with a group and a denial", eve, ok, no, ok, no, no},
		{"a session", h.withCredentials(session.Credentials), ok, ok, ok, no, no},
		{"a service account that may read", cron, ok, no, ok, no, no},
		{"one of the account", rootCron, ok, no, ok, no, no},
		{"one that is not confined", free, ok, ok, ok, no, no},
		{"one whose policy allows more than its user may", ofBob, no, no, no, no, no},
		{"a session of a service account", h.withCredentials(ofCron.Credentials), ok, no, ok, no, no},
		{"a role that may read", ann.mustAssume(toAnn, ""), ok, no, ok, no, no},
		{"a role confined to less", ann.mustAssume(toAnn, full), ok, no, ok, no, no},
		{"a role confined to nothing of it", ann.mustAssume(toAnn, statements(allow("s3:PutObject", "*"))), no, no, no, no, no},
		{"a role that may all", bob.mustAssume(toBob, ""), ok, ok, ok, no, ok},
		{"a role within a boundary", ann.mustAssume(bounded, ""), ok, ok, no, no, no},
		{"a role of another account", ann.mustAssume(theirs, ""), no, no, no, ok, ok},
	} {
		for _, r := range []struct{ op, got, want string }{
			{"get", c.who.do("GET", "/photos/k", "", 0), c.get}, {"put", c.who.do("PUT", "/photos/k", "v", 0), c.put},
			{"get of open", c.who.do("GET", "/open/k", "", 0), c.open}, {"get of theirs", c.who.do("GET", "/theirs/k", "", 0), c.theirs},
			{"ListUsers", codeOf(errOf(c.who.iam.ListUsers(bg, &awsiam.ListUsersInput{}))), c.list},
		} {
			if r.got != r.want {
				t.Errorf("%s: %s: %q, want %q", c.what, r.op, r.got, r.want)
			}
		}
	}

	// Who may take on what.
	for _, c := range []struct {
		what string
		who  *somebody
		role string
		code string
	}{
		{"named, of the account", bob, toBob, ok}, {"not named", cat, toBob, no}, {"not named, may everything", ann, toBob, no},
		{"the account is named, who may everything", ann, toCorp, ok}, {"the account is named, who may nothing", bob, toCorp, no},
		{"the account is named, beyond a boundary", dan, toCorp, no}, {"the account itself", corp, toCorp, ok},
		{"named by another account, own allows it", ann, theirs, ok}, {"named by another account, own does not allow it", bob, theirs, no},
		{"a service account confined to reading", cron, toAnn, no}, {"one that is not", free, toAnn, ok},
		{"a role takes on a role", bob.mustAssume(toBob, ""), toCorp, ok}, {"a role confined to S3 does", bob.mustAssume(toBob, statements(allow("s3:*", "*"))), toCorp, no},
		{"of another account, not named", other, toBob, no}, {"a role that is not there", ann, "arn:aws:iam::corp:role/none", no},
		{"a role under another path", bob, "arn:aws:iam::corp:role/x/to-bob", no},
	} {
		if _, code := c.who.assume(c.role, "", 0); code != c.code {
			t.Errorf("%s: AssumeRole: %q, want %q", c.what, code, c.code)
		}
	}

	// A denial of the own side counts, also for who is named.
	doc := statements(deny("sts:AssumeRole", "*"))
	h.want("", errOf(corp.iam.PutUserPolicy(bg, &awsiam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("no"), PolicyDocument: &doc})))
	if _, code := bob.assume(toBob, "", 0); code != no {
		t.Errorf("denied by his own policy: %q", code)
	}
	// All of a suspended account stay out.
	in := bob.creds
	h.put(&fsm.UserSet{Name: "corp", Suspended: aws.Bool(true)})
	for what, p := range map[string]*somebody{"user": h.as(in.AccessKeyID, in.SecretAccessKey, ""), "account": corp, "service account": rootCron, "session": h.withCredentials(session.Credentials)} {
		if code := p.do("GET", "/photos/k", "", 0); code != no {
			t.Errorf("%s of a suspended account: %q", what, code)
		}
	}
	if _, code := other.assume(toCorp, "", 0); code != no {
		t.Errorf("a role of a suspended account: %q", code)
	}
}

// TestNobodyClimbs tries to get more than one has.
func TestNobodyClimbs(t *testing.T) {
	h := newIdentities(t, nil)
	corp, admin := h.root("corp"), h.root("admin")
	boss := h.user("boss", statements(allow("*", "*")))
	self := h.user("self", statements(`{"Effect":"Allow","Action":["iam:CreateAccessKey","iam:ListAccessKeys"],"Resource":"arn:aws:iam::corp:user/${aws:username}"}`))
	post := func(p *somebody, form string) string { return p.post(form) }
	everything := url.QueryEscape(statements(allow("*", "*")))
	for _, c := range []struct {
		what string
		who  *somebody
		form string
		code string
	}{
		{"a key of one's own", self, "Action=CreateAccessKey", ""}, {"a key of somebody else", self, "Action=CreateAccessKey&UserName=boss", "AccessDenied"},
		{"a policy of one's own", self, "Action=PutUserPolicy&UserName=self&PolicyName=p&PolicyDocument=" + everything, "AccessDenied"},
		{"a key of the account, by its name", boss, "Action=CreateAccessKey&UserName=corp", "NoSuchEntity"},
		{"a policy of the account", boss, "Action=PutUserPolicy&UserName=corp&PolicyName=p&PolicyDocument=" + everything, "NoSuchEntity"},
		{"what only gateways say", boss, "Action=CreateAccessKey&UserName=corp&Root=true", "ValidationError"},
		{"what only administrators say", boss, "Action=DeleteUser&UserName=self&Force=true", "ValidationError"},
		{"a key of one's choice", boss, "Action=CreateAccessKey&AccessKey=x&SecretKey=secretsecret", "ValidationError"},
		{"a verb that is only the monitors'", boss, "Action=CreateAccount&UserName=mine", "InvalidAction"},
		{"parameters twice", boss, "Action=CreateAccessKey&UserName=self&UserName=corp", "ValidationError"},
		{"another account's user", corp, "Action=CreateAccessKey&UserName=other", "NoSuchEntity"},
		{"another account's user, by path", corp, "Action=GetUser&UserName=" + url.QueryEscape("../other"), "NoSuchEntity"},
		{"the administrator's policies", corp, "Action=PutUserPolicy&UserName=admin&PolicyName=p&PolicyDocument=" + everything, "NoSuchEntity"},
		{"an administrator looks after another account", admin, "Action=PutUserPolicy&UserName=other&PolicyName=p&PolicyDocument=" + everything, ""},
		{"but not after users of it", admin, "Action=GetUser&UserName=boss", "NoSuchEntity"},
		{"an account looks at its own policies", h.root("other"), "Action=GetUserPolicy&UserName=other&PolicyName=p", ""},
		{"a policy of AWS", corp, "Action=DeletePolicy&PolicyArn=arn:aws:iam::aws:policy/AmazonS3FullAccess", "AccessDenied"},
		{"GetCallerIdentity is for everybody", self, "Action=GetCallerIdentity", ""},
		{"an administrator's role is the cluster's", admin, "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=" + url.QueryEscape(trusting(`{"AWS":"arn:aws:iam:::user/other"}`)), ""},
	} {
		if got := post(c.who, c.form); got != c.code {
			t.Errorf("%s: %s: %q, want %q", c.what, c.form, got, c.code)
		}
	}
	// A role of the cluster's own works in the account of who takes it on.
	if got := post(admin, "Action=PutRolePolicy&RoleName=r&PolicyName=p&PolicyDocument="+everything); got != "" {
		t.Fatal(got)
	}
	other := h.root("other").mustAssume("arn:aws:iam:::role/r", "")
	if code := other.do("PUT", "/made", "", 0); code != "" {
		t.Errorf("a bucket by the cluster's role: %s", code)
	}
	b, err := h.root("other").s3.ListBuckets(bg, &awss3.ListBucketsInput{})
	h.want("", err)
	if len(b.Buckets) != 1 || *b.Owner.ID != "other" {
		t.Errorf("buckets of other: %+v", b)
	}
	if _, code := corp.assume("arn:aws:iam:::role/r", "", 0); code != "AccessDenied" {
		t.Errorf("somebody else takes it on: %q", code)
	}
	if code := other.do("PUT", "/made/k", "v", 0); code != "" {
		t.Errorf("a put by the cluster's role: %s", code)
	}
	// What is asked for is in the body, so that is signed.
	if got := corp.unsigned("Action=ListUsers"); got != "SignatureDoesNotMatch" {
		t.Errorf("a form that is not signed: %q", got)
	}
	// Who may rename some users cannot give them the names and paths of others.
	mover := h.user("mover", statements(allow("iam:UpdateUser", "arn:aws:iam::corp:user/dev/*")))
	for _, form := range []string{"CreateUser&UserName=junior&Path=/dev/", "CreateGroup&GroupName=juniors&Path=/dev/"} {
		if got := post(corp, "Action="+form); got != "" {
			t.Fatal(got)
		}
	}
	for form, want := range map[string]string{
		"NewPath=/admin/": "AccessDenied", "NewPath=/": "AccessDenied", "NewPath=/dev/ops/": "",
	} {
		if got := post(mover, "Action=UpdateUser&UserName=junior&"+form); got != want {
			t.Errorf("UpdateUser %s: %q, want %q", form, got, want)
		}
	}
	// Who may make users within a boundary only cannot make others, nor take it off.
	h.put(&fsm.PolicyCreate{Policy: fsm.Policy{Account: "corp", Name: "b", ID: "ANPA0000000000000001"}, Text: statements(allow("s3:*", "*"))})
	hire := h.user("hire", statements(`{"Effect":"Allow","Action":["iam:CreateUser","iam:PutUserPolicy"],"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::corp:policy/b"}}}`))
	for form, want := range map[string]string{
		"Action=CreateUser&UserName=new": "AccessDenied", "Action=CreateUser&UserName=new&PermissionsBoundary=arn:aws:iam::corp:policy/b": "",
		"Action=PutUserPolicy&UserName=new&PolicyName=p&PolicyDocument=" + everything: "", "Action=PutUserPolicy&UserName=self&PolicyName=p&PolicyDocument=" + everything: "AccessDenied",
		"Action=DeleteUserPermissionsBoundary&UserName=new": "AccessDenied",
	} {
		if form[:20] == "Action=PutUserPolicy" && strings.Contains(form, "=new") {
			continue // below, when there is one
		}
		if got := post(hire, form); got != want {
			t.Errorf("%s: %q, want %q", form, got, want)
		}
	}
	if got := post(hire, "Action=PutUserPolicy&UserName=new&PolicyName=p&PolicyDocument="+everything); got != "" {
		t.Errorf("a policy for who is within the boundary: %q", got)
	}
}

// unsigned is post with a signature that says nothing of the body.
func (p *somebody) unsigned(form string) string {
	p.t.Helper()
	p.payload = "UNSIGNED-PAYLOAD"
	defer func() { p.payload = "" }()
	return p.do("POST", "/", form, 0)
}

// TestClusterRoleOfSuspendedAccount: a role of the cluster's own that an account took on ends with the account.
func TestClusterRoleOfSuspendedAccount(t *testing.T) {
	h := newIdentities(t, func(o *s3.Options) { o.UserTTL = time.Nanosecond })
	admin, other := h.root("admin"), h.root("other")
	for _, form := range []string{
		"CreateRole&RoleName=r&AssumeRolePolicyDocument=" + url.QueryEscape(trusting(`{"AWS":"arn:aws:iam:::user/other"}`)),
		"PutRolePolicy&RoleName=r&PolicyName=p&PolicyDocument=" + url.QueryEscape(statements(allow("*", "*"))),
	} {
		if got := admin.post("Action=" + form); got != "" {
			t.Fatal(got)
		}
	}
	role := other.mustAssume("arn:aws:iam:::role/r", "")
	if code := role.do("PUT", "/made", "", 0); code != "" {
		t.Fatal(code)
	}
	yes := true
	h.put(&fsm.UserSet{Name: "other", Suspended: &yes})
	if code := role.do("PUT", "/made/k", "v", 0); code != "AccessDenied" {
		t.Errorf("the account is suspended: %q", code)
	}
}

// post sends a form to IAM and STS, signed, and returns the error's code.
func (p *somebody) post(form string) string {
	p.t.Helper()
	return p.do("POST", "/", form, 0)
}

// TestForgetsInTime counts what a busy user costs the monitors, and when changes made elsewhere are seen.
func TestForgetsInTime(t *testing.T) {
	h := newIdentities(t, nil)
	corp := h.root("corp")
	h.want("", errOf(corp.s3.CreateBucket(bg, &awss3.CreateBucketInput{Bucket: aws.String("photos")})))
	bob := h.user("bob", statements(allow("s3:*", "*")))
	get := func() string { return bob.do("GET", "/photos/none", "", 0) }
	if code := get(); code != "NoSuchKey" {
		t.Fatal(code)
	}
	asked := h.asked
	for range 20 {
		get()
	}
	if h.asked != asked {
		t.Errorf("20 requests asked the monitors %d times", h.asked-asked)
	}
	h.put(&fsm.PolicyInline{Holder: fsm.Holder{Kind: fsm.HolderUser, Account: "corp", Name: "bob"}, Name: "own"})
	h.setLater(10*time.Second + time.Millisecond)
	if code := get(); code != "AccessDenied" {
		t.Errorf("after ten seconds a policy that was taken off elsewhere still counts: %q", code)
	}
}

// issuer is an identity provider.
type issuer struct {
	url   string
	key   *rsa.PrivateKey
	asked atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	var err error
	if i.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i.url = "http://" + ln.Addr().String() + "/realm"
	mux := http.NewServeMux()
	mux.HandleFunc("/realm/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys", "authorization_endpoint": i.url, "token_endpoint": i.url, "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/realm/keys", func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		e := base64.RawURLEncoding
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig",
			"n": e.EncodeToString(i.key.N.Bytes()), "e": e.EncodeToString(big.NewInt(int64(i.key.E)).Bytes())}}})
	})
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }() // ended by Close
	t.Cleanup(func() { srv.Close(); <-done })
	return i
}

// token is signed by the provider, with the claims changed.
func (i *issuer) token(t *testing.T, change map[string]any) string {
	claims := map[string]any{"iss": i.url, "aud": "storage", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	head := map[string]any{"alg": "RS256", "kid": "1"}
	for k, v := range change {
		if h, ok := strings.CutPrefix(k, "head:"); ok {
			head[h] = v
		} else {
			claims[k] = v
		}
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(head) + "." + part(claims)
	if head["alg"] == "none" {
		return text + "."
	}
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestWebIdentity(t *testing.T) {
	idp, evil := newIssuer(t), newIssuer(t)
	h := newIdentities(t, func(o *s3.Options) { o.Issuers = []string{idp.url} })
	corp := h.root("corp")
	h.want("", errOf(corp.s3.CreateBucket(bg, &awss3.CreateBucketInput{Bucket: aws.String("photos")})))
	host := strings.TrimPrefix(idp.url, "http://")
	provider, err := corp.iam.CreateOpenIDConnectProvider(bg, &awsiam.CreateOpenIDConnectProviderInput{Url: &idp.url, ClientIDList: []string{"storage"}})
	h.want("", err)
	_, err = corp.iam.CreateOpenIDConnectProvider(bg, &awsiam.CreateOpenIDConnectProviderInput{Url: &evil.url, ClientIDList: []string{"storage"}})
	h.want("", err)
	trust := func(condition string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity"%s}]}`, *provider.OpenIDConnectProviderArn, condition)
	}
	role := h.role("corp", "web", trust(""), statements(allow("s3:*", "*")))
	onlyAnn := h.role("corp", "only-ann", trust(`,"Condition":{"StringEquals":{"`+host+`:sub":"ann"}}`), "")
	plain := h.role("corp", "plain", trusting(`"*"`), "")
	assume := func(role, token string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		return sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &h.url, RetryMaxAttempts: 1}).AssumeRoleWithWebIdentity(bg, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("me"), WebIdentityToken: &token})
	}
	out, err := assume(role, idp.token(t, nil))
	h.want("", err)
	if *out.SubjectFromWebIdentityToken != "ann" || *out.Audience != "storage" || *out.AssumedRoleUser.Arn != "arn:aws:sts::corp:assumed-role/web/me" {
		t.Fatalf("answer %+v", out)
	}
	if code := h.withCredentials(out.Credentials).do("PUT", "/photos/k", "v", 0); code != "" {
		t.Errorf("put: %s", code)
	}
	for _, c := range []struct {
		what, role string
		token      string
		code       string
	}{
		{"who fits the condition", onlyAnn, idp.token(t, nil), ""}, {"who does not", onlyAnn, idp.token(t, map[string]any{"sub": "bob"}), "AccessDenied"},
		{"who has a claim that nearly is one", onlyAnn, idp.token(t, map[string]any{"sub": "bob", "SUB": "ann", "Sub": "ann", "sUb": "ann", "suB": "ann"}), "AccessDenied"},
		{"a role for others", plain, idp.token(t, nil), "AccessDenied"}, {"no role", "arn:aws:iam::corp:role/none", idp.token(t, nil), "AccessDenied"},
		{"of another account", "arn:aws:iam::other:role/none", idp.token(t, nil), "AccessDenied"},
		{"for somebody else", role, idp.token(t, map[string]any{"aud": "mail"}), "InvalidIdentityToken"},
		{"for somebody else, with a claim that nearly is one", role, idp.token(t, map[string]any{"aud": "mail", "auD": "storage"}), "InvalidIdentityToken"}, {"old", role, idp.token(t, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), "ExpiredTokenException"},
		{"not signed", role, idp.token(t, map[string]any{"head:alg": "none"}), "InvalidIdentityToken"}, {"signed by another", role, evil.token(t, map[string]any{"iss": idp.url}), "InvalidIdentityToken"},
		{"of a provider that is not ours", role, idp.token(t, map[string]any{"iss": "https://elsewhere.example"}), "InvalidIdentityToken"},
		{"of one in the gateway's own network, which nobody has allowed", role, evil.token(t, nil), "IDPCommunicationError"},
		{"nonsense", role, "a.b.c.d", "InvalidIdentityToken"}, {"nonsense in three parts", role, "YQ.YQ.YQ", "InvalidIdentityToken"},
	} {
		if _, err := assume(c.role, c.token); codeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", c.what, err, c.code)
		}
	}
	if evil.asked.Load() != 0 {
		t.Error("a provider in the gateway's own network was asked")
	}
	before := idp.asked.Load()
	for i := range 20 {
		h.want("InvalidIdentityToken", errOf(assume(role, idp.token(t, map[string]any{"head:kid": fmt.Sprint("other", i)}))))
	}
	if n := idp.asked.Load() - before; n > 2 {
		t.Errorf("20 tokens with unknown keys asked the provider %d times", n)
	}
}

// TestHostileTokens sends tokens that are nearly one: they are refused, whatever they are.
func TestHostileTokens(t *testing.T) {
	h := newIdentities(t, nil)
	bob := h.user("bob", statements(allow("*", "*")))
	out, err := bob.sts.GetSessionToken(bg, &sts.GetSessionTokenInput{})
	h.want("", err)
	c := out.Credentials
	raw, err := base64.StdEncoding.DecodeString(*c.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	send := func(b []byte) string {
		return h.as(*c.AccessKeyId, *c.SecretAccessKey, base64.StdEncoding.EncodeToString(b)).do("GET", "/none/k", "", 0)
	}
	if got := send(raw); got != "NoSuchBucket" {
		t.Fatalf("the token itself: %q", got)
	}
	for at := range raw {
		b := append([]byte(nil), raw...)
		b[at] ^= byte(1 << (at % 8))
		if got := send(b); got != "InvalidToken" {
			t.Errorf("byte %d changed: %q", at, got)
		}
		if got := send(raw[:at]); at > 0 && got != "InvalidToken" {
			t.Errorf("the first %d bytes: %q", at, got)
		}
	}
}
