package testcluster_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/mon/iam"
	"github.com/cairnstore/cairn/placement"
)

// identities is a gateway over a pool in memory and the monitors' state, without monitors.
type identities struct {
	t   testing.TB
	url string

	mu    sync.Mutex // guards below
	state *fsm.State
	index placement.Epoch
	later time.Duration // the gateway's clock is ahead
	asked int           // calls about users and roles
	down  bool          // the monitors do not answer
}

func (h *identities) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.later)
}

func (h *identities) read(fn func(*fsm.State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn(h.state)
}

func (h *identities) submit(_ context.Context, b fsm.Body) (fsm.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index++
	return h.state.Apply(fsm.Command{At: time.Now().Add(h.later).UnixNano(), Body: b}, h.index), nil
}

func (h *identities) find(get *wirepb.UserGet) (u *wirepb.User, err error) {
	h.read(func(s *fsm.State) {
		h.asked++
		if u = iam.Principal(s, get); u == nil {
			err = fmt.Errorf("%s: %w", iam.NoPrincipal(get), client.ErrNotFound)
		}
		if h.down {
			u, err = nil, client.ErrTimeout
		}
	})
	return u, err
}

// gateway starts one more gateway.
func (h *identities) gateway(pool *clienttest.Pool, change func(o *s3.Options)) string {
	log := slog.New(slog.DiscardHandler)
	svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	o := s3.Options{
		Buckets: svc, Log: log, SweepPeriod: -1, Drain: time.Second, Now: h.now,
		Users: func(_ context.Context, key string) (*wirepb.User, error) {
			return h.find(&wirepb.UserGet{AccessKey: key})
		},
		FindUser: func(_ context.Context, name string) (*wirepb.User, error) {
			return h.find(&wirepb.UserGet{Name: name})
		},
		Principal: func(_ context.Context, get *wirepb.UserGet) (*wirepb.User, error) { return h.find(get) },
		Identity: func(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
			return (&iam.Service{Read: h.read, Submit: h.submit}).Answer(ctx, q)
		},
		TokenKeys: func(context.Context) (out []*wirepb.TokenKey, err error) {
			h.read(func(s *fsm.State) {
				for _, k := range s.TokenKeys() {
					out = append(out, &wirepb.TokenKey{Id: k.ID, Key: k.Key})
				}
			})
			return out, nil
		},
	}
	if change != nil {
		change(&o)
	}
	srv, err := s3.New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }() // ended by Close
	h.t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-done, svc.Close()); err != nil {
			h.t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

// newIdentities starts a gateway with the accounts corp, other and admin.
func newIdentities(t testing.TB, change func(o *s3.Options)) *identities {
	h := &identities{t: t, state: fsm.New(), index: 1}
	must := func(b fsm.Body) {
		t.Helper()
		if r, _ := h.submit(context.Background(), b); r.Code != wirepb.Code_OK {
			t.Fatal(r.Text)
		}
	}
	must(&fsm.Bootstrap{Cluster: fsm.UUID{1}, Mons: []fsm.Mon{{Name: "a", Addr: "m:1", RaftAddr: "m:2"}}})
	for _, name := range []string{"corp", "other", "admin"} {
		must(&fsm.UserCreate{User: fsm.User{Name: name, Admin: name == "admin", Keys: []fsm.AccessKey{{AccessKey: "ROOT" + name, SecretKey: "secret-of-" + name}}, Entity: fsm.Entity{ID: iam.NewID("AIDA")}}})
	}
	must(&fsm.TokenKeyAdd{Key: fsm.TokenKey{ID: 1, Key: []byte(strings.Repeat("k", 32))}})
	h.url = h.gateway(clienttest.New(t), change)
	return h
}

// somebody makes requests with credentials.
type somebody struct {
	t     testing.TB
	h     *identities
	creds aws.Credentials

	payload string // what requests say of their bodies; default their hash
	iam     *awsiam.Client
	sts     *sts.Client
	s3      *awss3.Client
}

func (h *identities) as(access, secret, token string) *somebody {
	c := aws.Credentials{AccessKeyID: access, SecretAccessKey: secret, SessionToken: token}
	provider := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
	return &somebody{
		t: h.t, h: h, creds: c,
		iam: awsiam.New(awsiam.Options{Region: "us-east-1", BaseEndpoint: &h.url, Credentials: provider, RetryMaxAttempts: 1}),
		sts: sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &h.url, Credentials: provider, RetryMaxAttempts: 1}),
		s3:  awss3.New(awss3.Options{Region: "us-east-1", BaseEndpoint: &h.url, Credentials: provider, RetryMaxAttempts: 1, UsePathStyle: true}),
	}
}

func (h *identities) root(account string) *somebody {
	return h.as("ROOT"+account, "secret-of-"+account, "")
}

func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// want wants an error with a code, "" for none.
func (h *identities) want(code string, err error) {
	h.t.Helper()
	if got := codeOf(err); got != code {
		h.t.Fatalf("got %q (%v), want %q", got, err, code)
	}
}

var bg = context.Background()

// user makes a user of corp with a key, and with a policy if that is not empty.
func (h *identities) user(name, policy string) *somebody {
	h.t.Helper()
	r := h.root("corp")
	_, err := r.iam.CreateUser(bg, &awsiam.CreateUserInput{UserName: &name})
	h.want("", err)
	k, err := r.iam.CreateAccessKey(bg, &awsiam.CreateAccessKeyInput{UserName: &name})
	h.want("", err)
	if policy != "" {
		_, err = r.iam.PutUserPolicy(bg, &awsiam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("own"), PolicyDocument: &policy})
		h.want("", err)
	}
	return h.as(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, "")
}

func (h *identities) withCredentials(c *ststypes.Credentials) *somebody {
	return h.as(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}

// do sends a request for S3 that was signed some time after now, and returns the error's code.
func (p *somebody) do(method, path, body string, after time.Duration) string {
	p.t.Helper()
	r, err := http.NewRequest(method, p.h.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	digest := hex.EncodeToString(sum[:])
	if p.payload != "" {
		digest = p.payload
	}
	r.Header.Set("X-Amz-Content-Sha256", digest)
	if p.creds.AccessKeyID != "" {
		if err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(bg, p.creds, r, digest, "s3", "us-east-1", time.Now().Add(after)); err != nil {
			p.t.Fatal(err)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode < 300 {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

func statements(list ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(list, ",") + `]}`
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":%q}`, action, resource)
}

func deny(action, resource string) string {
	return fmt.Sprintf(`{"Effect":"Deny","Action":%q,"Resource":%q}`, action, resource)
}

func trusting(principal string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":%s,"Action":"sts:AssumeRole"}]}`, principal)
}

func aws1(arn string) string { return fmt.Sprintf(`{"AWS":%q}`, arn) }

func TestIAM(t *testing.T) {
	h := newIdentities(t, nil)
	root := h.root("corp")
	me, err := root.iam.GetUser(bg, &awsiam.GetUserInput{})
	h.want("", err)
	if *me.User.Arn != "arn:aws:iam::corp:root" {
		t.Fatalf("the account is %s", *me.User.Arn)
	}
	made, err := root.iam.CreateUser(bg, &awsiam.CreateUserInput{UserName: aws.String("Alice"), Path: aws.String("/team/"), Tags: []iamtypes.Tag{{Key: aws.String("dept"), Value: aws.String("x")}}})
	h.want("", err)
	if u := made.User; *u.Arn != "arn:aws:iam::corp:user/team/Alice" || *u.Path != "/team/" || u.CreateDate == nil || len(u.Tags) != 1 {
		t.Fatalf("made %+v", u)
	}
	_, err = root.iam.CreateUser(bg, &awsiam.CreateUserInput{UserName: aws.String("ALICE")})
	h.want("EntityAlreadyExists", err)
	_, err = root.iam.GetUser(bg, &awsiam.GetUserInput{UserName: aws.String("bob")})
	h.want("NoSuchEntity", err)
	for _, n := range []string{"u3", "u1", "u2"} {
		_, err = root.iam.CreateUser(bg, &awsiam.CreateUserInput{UserName: &n})
		h.want("", err)
	}
	var names []string
	for p := awsiam.NewListUsersPaginator(root.iam, &awsiam.ListUsersInput{MaxItems: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(bg)
		h.want("", err)
		for _, u := range page.Users {
			names = append(names, *u.UserName)
		}
	}
	if got := strings.Join(names, " "); got != "Alice u1 u2 u3" {
		t.Fatalf("listed %s", got)
	}

	// A key, which can be turned off; the gateway that did it knows at once.
	k, err := root.iam.CreateAccessKey(bg, &awsiam.CreateAccessKeyInput{UserName: aws.String("alice")})
	h.want("", err)
	alice := h.as(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, "")
	h.want("", errOf(root.s3.CreateBucket(bg, &awss3.CreateBucketInput{Bucket: aws.String("photos")})))
	list := func(p *somebody) error {
		return errOf(p.s3.ListObjectsV2(bg, &awss3.ListObjectsV2Input{Bucket: aws.String("photos")}))
	}
	h.want("AccessDenied", list(alice))
	h.want("", errOf(root.iam.AttachUserPolicy(bg, &awsiam.AttachUserPolicyInput{UserName: aws.String("alice"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")})))
	h.want("", list(alice))
	h.want("AccessDenied", errOf(alice.s3.DeleteBucket(bg, &awss3.DeleteBucketInput{Bucket: aws.String("photos")})))
	for status, want := range map[iamtypes.StatusType]string{iamtypes.StatusTypeInactive: "InvalidAccessKeyId", iamtypes.StatusTypeActive: ""} {
		h.want("", errOf(root.iam.UpdateAccessKey(bg, &awsiam.UpdateAccessKeyInput{UserName: aws.String("alice"), AccessKeyId: k.AccessKey.AccessKeyId, Status: status})))
		h.want(want, list(alice))
		h.want("", errOf(root.iam.UpdateAccessKey(bg, &awsiam.UpdateAccessKeyInput{UserName: aws.String("alice"), AccessKeyId: k.AccessKey.AccessKeyId, Status: iamtypes.StatusTypeActive})))
	}
	keys, err := root.iam.ListAccessKeys(bg, &awsiam.ListAccessKeysInput{UserName: aws.String("alice")})
	h.want("", err)
	if len(keys.AccessKeyMetadata) != 1 || keys.AccessKeyMetadata[0].Status != iamtypes.StatusTypeActive || *keys.AccessKeyMetadata[0].UserName != "Alice" {
		t.Fatalf("keys %+v", keys.AccessKeyMetadata)
	}

	// Policies of her own, and of a group.
	doc := statements(deny("s3:ListBucket", "arn:aws:s3:::photos"))
	h.want("", errOf(root.iam.PutUserPolicy(bg, &awsiam.PutUserPolicyInput{UserName: aws.String("alice"), PolicyName: aws.String("no"), PolicyDocument: &doc})))
	got, err := root.iam.GetUserPolicy(bg, &awsiam.GetUserPolicyInput{UserName: aws.String("alice"), PolicyName: aws.String("no")})
	h.want("", err)
	if !strings.Contains(*got.PolicyDocument, "%22Deny%22") {
		t.Fatalf("document %s", *got.PolicyDocument)
	}
	h.want("AccessDenied", list(alice))
	h.want("", errOf(root.iam.DeleteUserPolicy(bg, &awsiam.DeleteUserPolicyInput{UserName: aws.String("alice"), PolicyName: aws.String("no")})))
	h.want("NoSuchEntity", errOf(root.iam.DeleteUserPolicy(bg, &awsiam.DeleteUserPolicyInput{UserName: aws.String("alice"), PolicyName: aws.String("no")})))
	h.want("", errOf(root.iam.DetachUserPolicy(bg, &awsiam.DetachUserPolicyInput{UserName: aws.String("alice"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")})))
	h.want("AccessDenied", list(alice))
	h.want("", errOf(root.iam.CreateGroup(bg, &awsiam.CreateGroupInput{GroupName: aws.String("devs")})))
	h.want("", errOf(root.iam.AddUserToGroup(bg, &awsiam.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: aws.String("alice")})))
	doc = statements(allow("s3:List*", "*"))
	policy, err := root.iam.CreatePolicy(bg, &awsiam.CreatePolicyInput{PolicyName: aws.String("listers"), PolicyDocument: &doc})
	h.want("", err)
	h.want("", errOf(root.iam.AttachGroupPolicy(bg, &awsiam.AttachGroupPolicyInput{GroupName: aws.String("devs"), PolicyArn: policy.Policy.Arn})))
	h.want("", list(alice))
	h.want("DeleteConflict", errOf(root.iam.DeletePolicy(bg, &awsiam.DeletePolicyInput{PolicyArn: policy.Policy.Arn})))
	h.want("DeleteConflict", errOf(root.iam.DeleteUser(bg, &awsiam.DeleteUserInput{UserName: aws.String("alice")})))
	group, err := root.iam.GetGroup(bg, &awsiam.GetGroupInput{GroupName: aws.String("devs")})
	h.want("", err)
	if len(group.Users) != 1 || *group.Users[0].UserName != "Alice" {
		t.Fatalf("group %+v", group)
	}

	// What is wrong is said in AWS's words.
	for _, c := range []struct{ doc, code string }{
		{`{"Version":"2010-10-17","Statement":[` + allow("s3:*", "*") + `]}`, "MalformedPolicyDocument"}, {`{"Version":"2012-10-17"}`, "MalformedPolicyDocument"},
		{`{`, "MalformedPolicyDocument"}, {trusting(`"*"`), "MalformedPolicyDocument"}, {statements(allow("s3:*", "*"+strings.Repeat(" ", 7000))), "MalformedPolicyDocument"},
		{statements(allow("s3:*", "*")) + strings.Repeat(" ", 7000), "LimitExceeded"},
	} {
		h.want(c.code, errOf(root.iam.PutUserPolicy(bg, &awsiam.PutUserPolicyInput{UserName: aws.String("alice"), PolicyName: aws.String("p"), PolicyDocument: &c.doc})))
	}
	doc = trusting(aws1("arn:aws:iam::corp:user/nobody"))
	h.want("MalformedPolicyDocument", errOf(root.iam.CreateRole(bg, &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: &doc})))
	h.want("ValidationError", errOf(root.iam.ListUsers(bg, &awsiam.ListUsersInput{MaxItems: aws.Int32(5000)})))
	wrong := h.as("ROOTcorp", "wrong-secret", "")
	h.want("SignatureDoesNotMatch", errOf(wrong.iam.ListUsers(bg, &awsiam.ListUsersInput{})))
	h.want("InvalidClientTokenId", errOf(h.as("NOSUCHKEY", "wrong-secret", "").iam.ListUsers(bg, &awsiam.ListUsersInput{})))
	h.want("InvalidAction", errOf(root.iam.ListServerCertificates(bg, &awsiam.ListServerCertificatesInput{})))
	resp, err := http.Post(h.url, "application/x-www-form-urlencoded", strings.NewReader("Action=ListUsers"))
	if err != nil || resp.StatusCode != 403 {
		t.Fatalf("without a signature: %v, %v", resp, err)
	}
	resp.Body.Close()
}

func errOf[T any](_ T, err error) error { return err }

// role makes a role of an account.
func (h *identities) role(account, name, trust, policy string) string {
	h.t.Helper()
	r := h.root(account)
	made, err := r.iam.CreateRole(bg, &awsiam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	h.want("", err)
	if policy != "" {
		h.want("", errOf(r.iam.PutRolePolicy(bg, &awsiam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: &policy})))
	}
	return *made.Role.Arn
}

// assume takes on a role; somebody nil with a code.
func (p *somebody) assume(role, policy string, seconds int32) (*somebody, string) {
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
	if policy != "" {
		in.Policy = &policy
	}
	if seconds != 0 {
		in.DurationSeconds = &seconds
	}
	out, err := p.sts.AssumeRole(bg, in)
	if err != nil {
		return nil, codeOf(err)
	}
	return p.h.withCredentials(out.Credentials), ""
}

func (p *somebody) mustAssume(role, policy string) *somebody {
	p.h.t.Helper()
	s, code := p.assume(role, policy, 0)
	if code != "" {
		p.h.t.Fatalf("assume %s: %s", role, code)
	}
	return s
}

func TestSTS(t *testing.T) {
	h := newIdentities(t, nil)
	root := h.root("corp")
	h.want("", errOf(root.s3.CreateBucket(bg, &awss3.CreateBucketInput{Bucket: aws.String("photos")})))
	if code := root.do("PUT", "/photos/k", "v", 0); code != "" {
		t.Fatal(code)
	}
	bob := h.user("bob", "")
	reader := h.role("corp", "reader", trusting(aws1("arn:aws:iam::corp:user/bob")), statements(allow("s3:*", "*")))

	me, err := bob.sts.GetCallerIdentity(bg, &sts.GetCallerIdentityInput{})
	h.want("", err)
	if *me.Arn != "arn:aws:iam::corp:user/bob" || *me.Account != "corp" {
		t.Fatalf("caller %+v", me)
	}
	s := bob.mustAssume(reader, "")
	me, err = s.sts.GetCallerIdentity(bg, &sts.GetCallerIdentityInput{})
	h.want("", err)
	if *me.Arn != "arn:aws:sts::corp:assumed-role/reader/session" {
		t.Fatalf("caller %+v", me)
	}
	get := func(p *somebody, after time.Duration) string { return p.do("GET", "/photos/k", "", after) }
	for _, c := range []struct {
		what string
		who  *somebody
		code string
	}{
		{"the session", s, ""}, {"bob himself", bob, "AccessDenied"},
		{"without its token", h.as(s.creds.AccessKeyID, s.creds.SecretAccessKey, ""), "InvalidAccessKeyId"},
		{"with another secret", h.as(s.creds.AccessKeyID, "wrong-secret", s.creds.SessionToken), "SignatureDoesNotMatch"},
		{"with another's token", h.as(bob.creds.AccessKeyID, bob.creds.SecretAccessKey, s.creds.SessionToken), "InvalidToken"},
		{"with half a token", h.as(s.creds.AccessKeyID, s.creds.SecretAccessKey, s.creds.SessionToken[:60]), "InvalidToken"},
		{"with nonsense", h.as(s.creds.AccessKeyID, s.creds.SecretAccessKey, "nonsense"), "InvalidToken"},
		{"confined", bob.mustAssume(reader, statements(allow("s3:ListBucket", "*"))), "AccessDenied"},
		{"confined widely", bob.mustAssume(reader, statements(allow("*", "*"))), ""},
		{"confined by a denial", bob.mustAssume(reader, statements(allow("*", "*"), deny("s3:GetObject", "*"))), "AccessDenied"},
	} {
		if got := get(c.who, 0); got != c.code {
			t.Errorf("%s: %q, want %q", c.what, got, c.code)
		}
	}
	presigned, err := awss3.NewPresignClient(s.s3).PresignGetObject(bg, &awss3.GetObjectInput{Bucket: aws.String("photos"), Key: aws.String("k")})
	h.want("", err)
	for address, want := range map[string]int{presigned.URL: 200, strings.Replace(presigned.URL, "X-Amz-Security-Token=", "X-Amz-Security-Token=A", 1): 400} {
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("presigned: %d, want %d", resp.StatusCode, want)
		}
	}

	// Durations and names.
	for seconds, want := range map[int32]string{899: "ValidationError", 900: "", 3600: "", 3601: "ValidationError"} {
		if _, code := bob.assume(reader, "", seconds); code != want {
			t.Errorf("%d seconds: %q, want %q", seconds, code, want)
		}
	}
	h.want("ValidationError", errOf(bob.sts.AssumeRole(bg, &sts.AssumeRoleInput{RoleArn: &reader, RoleSessionName: aws.String("a b")})))
	h.want("MalformedPolicyDocument", errOf(bob.sts.AssumeRole(bg, &sts.AssumeRoleInput{RoleArn: &reader, RoleSessionName: aws.String("ab"), Policy: aws.String("{}")})))
	h.want("AccessDenied", errOf(bob.sts.AssumeRole(bg, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::corp:role/none"), RoleSessionName: aws.String("ab")})))
	byARN, err := bob.sts.AssumeRole(bg, &sts.AssumeRoleInput{RoleArn: &reader, RoleSessionName: aws.String("ab"), PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")}}})
	h.want("", err)
	confined := h.withCredentials(byARN.Credentials)
	if a, b := get(confined, 0), confined.do("PUT", "/photos/k", "v", 0); a != "" || b != "AccessDenied" {
		t.Errorf("confined by ARN: %q, %q", a, b)
	}

	// A session ends to the second, whatever the gateway remembers, and with what it came from.
	short, _ := bob.assume(reader, "", 900)
	h.setLater(899 * time.Second)
	if code := get(short, 890*time.Second); code != "" {
		t.Errorf("before its end: %s", code)
	}
	h.setLater(901 * time.Second)
	if code := get(short, 890*time.Second); code != "ExpiredToken" {
		t.Errorf("after its end: %q", code)
	}
	h.setLater(0)
	tok, err := bob.sts.GetSessionToken(bg, &sts.GetSessionTokenInput{})
	h.want("", err)
	bobs := h.withCredentials(tok.Credentials)
	if code := get(bobs, 0); code != "AccessDenied" {
		t.Errorf("bob's session: %q", code)
	}
	h.want("", errOf(root.iam.AttachUserPolicy(bg, &awsiam.AttachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})))
	if code := get(bobs, 0); code != "" {
		t.Errorf("bob's session, who may everything: %q", code)
	}
	h.want("AccessDenied", errOf(bobs.iam.ListUsers(bg, &awsiam.ListUsersInput{})))
	h.want("", errOf(bob.iam.ListUsers(bg, &awsiam.ListUsersInput{})))
	h.want("AccessDenied", errOf(bobs.sts.GetSessionToken(bg, &sts.GetSessionTokenInput{})))
	set := func(status iamtypes.StatusType) {
		h.want("", errOf(root.iam.UpdateAccessKey(bg, &awsiam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &bob.creds.AccessKeyID, Status: status})))
	}
	set(iamtypes.StatusTypeInactive)
	if code := get(bobs, 0); code != "InvalidToken" {
		t.Errorf("bob's session when the key that asked for it is off: %q", code)
	}
	set(iamtypes.StatusTypeActive)
	if a, b := get(bobs, 0), get(s, 0); a != "" || b != "" {
		t.Errorf("sessions: %q, %q", a, b)
	}
	h.submit(bg, &fsm.SessionsRevoke{Holder: fsm.Holder{Kind: fsm.HolderRole, Account: "corp", Name: "reader"}, Before: time.Now().UnixNano()})
	h.submit(bg, &fsm.SessionsRevoke{Holder: fsm.Holder{Kind: fsm.HolderUser, Account: "corp", Name: "bob"}, Before: time.Now().UnixNano()})
	h.setLater(11 * time.Second) // the gateway did not do it, so it may remember
	if a, b := get(bobs, 0), get(s, 0); a != "InvalidToken" || b != "InvalidToken" {
		t.Errorf("revoked sessions: %q, %q", a, b)
	}
	s = bob.mustAssume(reader, "")
	if code := get(s, 0); code != "" {
		t.Errorf("a session that began after: %q", code)
	}
	// A role, or a user, of the same name made later is another one.
	h.want("", errOf(root.iam.DeleteRolePolicy(bg, &awsiam.DeleteRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("own")})))
	h.want("", errOf(root.iam.DeleteRole(bg, &awsiam.DeleteRoleInput{RoleName: aws.String("reader")})))
	h.role("corp", "reader", trusting(aws1("arn:aws:iam::corp:user/bob")), statements(allow("s3:*", "*")))
	if code := get(s, 0); code != "InvalidToken" {
		t.Errorf("a session of the role that is no more: %q", code)
	}
	h.submit(bg, &fsm.UserRemove{Account: "corp", Name: "bob"})
	h.setLater(22 * time.Second)
	if a, b := get(bobs, 0), get(bob, 0); a != "InvalidToken" || b != "InvalidAccessKeyId" {
		t.Errorf("after bob: %q, %q", a, b)
	}
}

func (h *identities) setLater(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.later = d
}
