package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// doc puts a statement into a document for the bucket photos. What is missing is
// filled in: members are given as JSON.
func doc(members string) string {
	s := members
	for name, def := range map[string]string{"Effect": `"Allow"`, "Principal": `"*"`, "Action": `"s3:GetObject"`, "Resource": `"arn:aws:s3:::photos/*"`} {
		if !strings.Contains(s, `"`+name+`"`) && !strings.Contains(s, `"Not`+name+`"`) {
			if s != "" {
				s += ","
			}
			s += fmt.Sprintf("%q:%s", name, def)
		}
	}
	return `{"Version":"2012-10-17","Statement":[{` + s + `}]}`
}

func users(name string) bool { return name == "ann" || name == "bob" }

var ofPhotos = Options{Bucket: "photos", Exists: users}

func TestParse(t *testing.T) {
	const (
		badJSON   = "This policy contains invalid Json"
		badFirst  = "Policies must be valid JSON and the first byte must be '{'"
		badAction = "Policy has invalid action"
		badRes    = "Policy has invalid resource"
		badWho    = "Invalid principal in policy"
		noEffect  = "Action does not apply to any resource(s) in statement"
		badKey    = "Policy has an invalid condition key"
		badCombo  = "Conditions do not apply to combination of actions and resources in statement"
		badIP     = "Invalid IP address in Conditions"
	)
	for _, c := range []struct{ doc, want string }{
		{doc(""), ""},
		{"", badFirst}, {"false", badFirst}, {`"Statement": []}`, badFirst}, {`[{}]`, badFirst},
		{"{true}", badJSON}, {"{asdf", badJSON}, {`{"Principal": "*" `, badJSON}, {doc("") + "x", badJSON}, {doc("") + "{}", badJSON},
		{`{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}`, badJSON},
		{doc(`"Effect":"Allow","Effect":"Deny"`), badJSON},
		{doc(`"Condition":` + strings.Repeat(`{"a":`, 10) + "1" + strings.Repeat("}", 10)), badJSON},
		{strings.Repeat("[", 1000), badFirst}, {`{"Statement":` + strings.Repeat("[", 10000), badJSON},
		{"{}", "Missing required field Statement"}, {`{"Statement":[]}`, "Could not parse the policy: Statement is empty!"},
		{`{"Statement":"x"}`, "Could not parse the policy: Statement is empty!"}, {`{"Statement":["x"]}`, badJSON}, {`{"Statement":[null]}`, badJSON},
		{`{"Version":"2012-10-16","Statement":[]}`, "The policy must contain a valid version string"},
		{`{"Version":20121017,"Statement":[]}`, "The policy must contain a valid version string"},
		{`{"version":"2012-10-17","Statement":[]}`, "Unknown field version"},
		{doc(`"Surprise":1`), "Unknown field Surprise"},
		{strings.Replace(doc(""), `"Statement"`, `"Id":7,"Statement"`, 1), badJSON},
		{strings.Replace(doc(""), `"Statement"`, `"Id":"seven","Statement"`, 1), ""},
		{strings.Replace(strings.Replace(doc(""), "[{", "{", 1), "}]", "}", 1), ""},
		{`{"Statement":[{"Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/*"}]}`, "Missing required field Effect"},
		{`{"Statement":[{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/*"}]}`, "Missing required field Principal"},
		{`{"Statement":[{"Effect":"Deny","Principal":"*","Resource":"arn:aws:s3:::photos/*"}]}`, "Missing required field Action"},
		{`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject"}]}`, "Missing required field Resource"},
		{doc(`"Effect":"allow"`), "Invalid effect: allow"}, {doc(`"Effect":7`), "Invalid effect: 7"},
		{doc(`"Sid":7`), badJSON},
		{strings.Replace(doc(`"Sid":"a"`), "}]", `},{"Sid":"a","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::photos"}]`, 1), "Statement IDs (SID) in a single policy must be unique."},
		{doc(`"Action":"s3:GetObject","NotAction":"s3:PutObject"`), "Action and NotAction cannot be in the same statement"},
		{doc(`"Resource":"arn:aws:s3:::photos/*","NotResource":"arn:aws:s3:::photos/a"`), "Resource and NotResource cannot be in the same statement"},
		{doc(`"Effect":"Deny","NotPrincipal":{"AWS":"ann"}`), ""}, {doc(`"NotPrincipal":{"AWS":"ann"}`), "Allow with NotPrincipal is not allowed."},

		{doc(`"Principal":""`), badWho}, {doc(`"Principal":[]`), badWho}, {doc(`"Principal":{"AWS":""}`), badWho}, {doc(`"Principal":{"AWS":[]}`), badWho},
		{doc(`"Principal":{}`), badWho}, {doc(`"Principal":null`), badWho}, {doc(`"Principal":{"AWS":7}`), badWho}, {doc(`"Principal":["*"]`), ""},
		{doc(`"Principal":["*","ann"]`), badWho}, {doc(`"Principal":{"AWS":["*","ann"]}`), ""}, {doc(`"Principal":{"Google":"*"}`), badWho},
		{doc(`"Principal":"ann"`), ""}, {doc(`"Principal":{"AWS":["ann","bob"]}`), ""}, {doc(`"Principal":{"AWS":"eve"}`), badWho}, {doc(`"Principal":{"AWS":"an*"}`), badWho},
		{doc(`"Principal":{"AWS":"123456789012"}`), ""}, {doc(`"Principal":{"CanonicalUser":"ann"}`), ""}, {doc(`"Principal":{"CanonicalUser":"eve"}`), badWho}, {doc(`"Principal":{"CanonicalUser":"*"}`), badWho},
		{doc(`"Principal":{"AWS":"arn:aws:iam:::user/ann"}`), ""}, {doc(`"Principal":{"AWS":"arn:aws:iam::ann:user/some/path/ann"}`), ""},
		{doc(`"Principal":{"AWS":"arn:aws:iam:::user/eve"}`), badWho}, {doc(`"Principal":{"AWS":"arn:aws:iam:::user/"}`), badWho}, {doc(`"Principal":{"AWS":"arn:aws:iam:::user/*"}`), badWho},
		{doc(`"Principal":{"AWS":"arn:aws:iam::s3tenant1:root"}`), ""}, {doc(`"Principal":{"AWS":"arn:aws:iam:::root"}`), badWho},
		{doc(`"Principal":{"AWS":"arn:aws:s3::a:root"}`), badWho}, {doc(`"Principal":{"AWS":"arn:aws:iam::a"}`), badWho}, {doc(`"Principal":{"AWS":"arn:aws:iam::a:group/x"}`), badWho},
		{doc(`"Principal":{"AWS":"arn:aws:sts::a:assumed-role/x/y"}`), ""}, {doc(`"Principal":{"Service":"logging.s3.amazonaws.com"}`), ""}, {doc(`"Principal":{"Service":"*"}`), badWho},
		{doc(`"Principal":{"Federated":"accounts.google.com"}`), ""},

		{doc(`"Action":""`), badAction}, {doc(`"Action":[]`), badAction}, {doc(`"Action":7`), badAction}, {doc(`"Action":"s3"`), badAction}, {doc(`"Action":"s3:"`), badAction},
		{doc(`"Action":"s4:GetObject"`), badAction}, {doc(`"Action":"s3::GetObject"`), badAction}, {doc(`"Action":"s3:Get(Object)"`), badAction}, {doc(`"Action":"s3:????"`), badAction},
		{doc(`"Action":"s3:*Obj??ect*"`), badAction}, {doc(`"Action":"*GetObject"`), badAction}, {doc(`"Action":"s3:Abort?"`), badAction}, {doc(`"Action":"ec2:*"`), badAction}, {doc(`"Action":"s?:GetObject"`), badAction},
		{doc(`"Action":"*"`), ""}, {doc(`"Action":"S3:gETobject"`), ""}, {doc(`"Action":["s3:Get*","s3:PutObject"]`), ""}, {doc(`"NotAction":"s3:PutObject"`), ""}, {doc(`"Action":"s3:PutObjec?"`), ""},

		{doc(`"Resource":""`), badRes}, {doc(`"Resource":[]`), badRes}, {doc(`"Resource":7`), badRes}, {doc(`"Resource":"*"`), badRes}, {doc(`"Resource":"photos/*"`), badRes},
		{doc(`"Resource":"arn:aws:iam:::photos/*"`), badRes}, {doc(`"Resource":"arn:aws:s3:::/photos/*"`), badRes}, {doc(`"Resource":"arn:aws:s3:::xphotos/*"`), badRes},
		{doc(`"Resource":"arn:aws:s3:::photosx/*"`), badRes}, {doc(`"Resource":["arn:aws:s3:::photos/*","arn:aws:s3:::other/*"]`), badRes}, {doc(`"Resource":"arn:aws:s3::123456789012:photos/*"`), badRes},
		{doc(`"Resource":"arn:aws:s3::*:photos/*"`), ""}, {doc(`"Resource":"arn:aws:s3:::*"`), ""}, {doc(`"Resource":"arn:aws:s3:::*/*"`), ""}, {doc(`"Resource":"arn:aws:s3:::pho*"`), ""}, {doc(`"Resource":"arn:aws:s3:::ph?tos/a"`), ""},
		{doc(`"Resource":"arn:aws:s3:::photos/${aws:username}/*"`), ""}, {doc(`"Resource":"arn:aws:s3:::photos/${aws:username"`), badRes}, {doc(`"Resource":"arn:aws:s3:::photos/${}"`), badRes},
		{doc(`"Resource":"arn:aws:s3:::photos/${aws:username, 'nobody'}/*"`), ""}, {doc(`"Resource":"arn:aws:s3:::photos/${aws:username, nobody}/*"`), badRes}, {doc(`"Resource":"arn:aws:s3:::photos/a:b"`), ""},

		{doc(`"Resource":"arn:aws:s3:::photos"`), noEffect}, {doc(`"Action":"s3:ListBucket"`), noEffect}, {doc(`"Action":"s3:GetBucket*"`), noEffect},
		{doc(`"Action":["s3:GetObject","s3:ListBucket"]`), noEffect}, {doc(`"Action":"s3:ListAllMyBuckets","Resource":"arn:aws:s3:::*"`), noEffect},
		{doc(`"Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::photos","arn:aws:s3:::photos/*"]`), ""},
		{doc(`"Action":"s3:ListBucket","Resource":["arn:aws:s3:::photos","arn:aws:s3:::photos/*"]`), ""}, {doc(`"Action":"s3:*","Resource":"arn:aws:s3:::photos"`), ""},
		{doc(`"Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::photos*"`), ""},

		{doc(`"Condition":{"NotARealOperator":{"aws:SourceIp":"1.2.3.4"}}`), "Invalid Condition type : NotARealOperator"},
		{doc(`"Condition":{"stringequals":{"aws:UserAgent":"x"}}`), "Invalid Condition type : stringequals"},
		{doc(`"Condition":{"NullIfExists":{"aws:UserAgent":"true"}}`), "Invalid Condition type : NullIfExists"},
		{doc(`"Condition":{"ForSomeValues:StringEquals":{"aws:UserAgent":"x"}}`), "Invalid Condition type : ForSomeValues:StringEquals"},
		{doc(`"Condition":{"ForAllValues:Null":{"aws:UserAgent":"true"}}`), "Invalid Condition type : ForAllValues:Null"},
		{doc(`"Condition":{"ForAllValues:StringLikeIfExists":{"aws:UserAgent":"x"}}`), ""},
		{doc(`"Condition":[]`), badJSON}, {doc(`"Condition":{"StringEquals":"x"}`), badJSON}, {doc(`"Condition":{"StringEquals":{"aws:UserAgent":{}}}`), badJSON},
		{doc(`"Condition":{"StringEquals":{"aws:UserAgent":[null]}}`), badJSON}, {doc(`"Condition":{}`), ""},
		{doc(`"Condition":{"StringEquals":{"s3:FakeKey":"x"}}`), badKey}, {doc(`"Condition":{"StringEquals":{"x":"x"}}`), badKey}, {doc(`"Condition":{"StringEquals":{"s3:ExistingObjectTag/":"x"}}`), badKey},
		{doc(`"Condition":{"StringEquals":{"AWS:username":"x","s3:existingobjecttag/Dept":"x"}}`), ""},
		{doc(`"Condition":{"StringEquals":{"s3:prefix":"x"}}`), badCombo}, {doc(`"Condition":{"StringEquals":{"s3:x-amz-acl":"x"}}`), badCombo}, {doc(`"Condition":{"StringEquals":{"s3:VersionId":"x"}}`), badCombo},
		{doc(`"Action":["s3:GetObject","s3:PutObject"],"Condition":{"StringEquals":{"s3:x-amz-acl":"x"}}`), badCombo},
		{doc(`"Action":"s3:PutObject*","Condition":{"StringEquals":{"s3:x-amz-acl":"x"}}`), ""}, {doc(`"Action":"s3:PutObject","Condition":{"StringEquals":{"s3:RequestObjectTag/a":"x"}}`), ""},
		{doc(`"Action":"s3:GetObject","Condition":{"StringEquals":{"s3:RequestObjectTag/a":"x"}}`), badCombo},
		{doc(`"Condition":{"IpAddress":{"aws:SourceIp":"not-an-ip"}}`), badIP}, {doc(`"Condition":{"NotIpAddress":{"aws:SourceIp":["1.2.3.4","300.1.1.1/40"]}}`), badIP},
		{doc(`"Condition":{"Null":{"aws:SourceIp":"true"}}`), badIP}, {doc(`"Condition":{"IpAddress":{"aws:VpcSourceIp":"x"}}`), badIP}, {doc(`"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32","::1"]}}`), ""},
		{doc(`"Condition":{"Bool":{"aws:SecureTransport":true}}`), ""}, {doc(`"Condition":{"Bool":{"aws:SecureTransport":"maybe"}}`), "Invalid value in Conditions : maybe"},
		{doc(`"Condition":{"NumericLessThan":{"s3:signatureAge":600000}}`), ""}, {doc(`"Condition":{"NumericLessThan":{"s3:signatureAge":"soon"}}`), "Invalid value in Conditions : soon"},
		{doc(`"Condition":{"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}`), ""}, {doc(`"Condition":{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`), "Invalid value in Conditions : tomorrow"},
		{doc(`"Condition":{"BinaryEquals":{"aws:UserAgent":"!"}}`), "Invalid value in Conditions : !"},
		{doc(`"Sid":"` + strings.Repeat("x", MaxBucketBytes) + `"`), "Policy exceeds the maximum allowed document size."},
	} {
		_, err := Parse([]byte(c.doc), ofPhotos)
		var m *MalformedError
		got := ""
		if errors.As(err, &m) {
			got = m.Message
		} else if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%.300s\n\tgot %q, want %q", c.doc, got, c.want)
		}
	}
}

func TestParseOtherKinds(t *testing.T) {
	identity := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:*","iam:GetUser","sts:AssumeRole"],"Resource":"*"}}`
	role := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Federated":"idp"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"idp:aud":"me"}}}}`
	for _, c := range []struct {
		name, doc string
		kind      Kind
		ok        bool
	}{
		{"identity", identity, OfIdentity, true},
		{"identity as bucket's", identity, OfBucket, false},
		{"identity as role's", identity, OfRole, false},
		{"role", role, OfRole, true},
		{"role as identity's", role, OfIdentity, false},
		{"bucket's as identity's", doc(""), OfIdentity, false},
		{"unknown action of S3", strings.Replace(identity, "s3:*", "s3:Fly", 1), OfIdentity, false},
		{"resource that is no ARN", strings.Replace(identity, `"*"`, `"photos"`, 1), OfIdentity, false},
	} {
		if _, err := Parse([]byte(c.doc), Options{Kind: c.kind, Bucket: "photos"}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"a", "a", true}, {"a", "A", false},
		{"*", "", true}, {"*", "anything/at all", true}, {"**", "", true}, {"?", "", false}, {"?", "é", true}, {"?", "ab", false}, {"??", "é", false},
		{"a*", "a", true}, {"a*", "b", false}, {"*a", "ba", true}, {"*a", "ab", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "a-b-c", true}, {"a*b*c", "acb", false},
		{"*a*", "bab", true}, {"*ab*ab*", "abab", true}, {"*ab*ab*", "abxb", false}, {"*ab*ba", "aba", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"*?", "", false}, {"*?", "é", true}, {"?*", "a", true}, {"*?b*", "xxb", true}, {"*?b*", "b", false}, {"*a?c*x", "aacabcx", true}, {"x*??", "xé", false}, {"x*??", "xéé", true},
		{"*.jpg", "a.jpg", true}, {"*.jpg", "a.jpg.exe", false}, {"a${*}b", "a*b", true}, {"a${*}b", "axb", false}, {"${?}", "?", true}, {"${$}{x}", "${x}", true},
		{"u/${k:one}/*", "u/1/x", true}, {"u/${k:one}/*", "u/2/x", false}, {"${k:none}", "", false}, {"${k:two}", "1", false}, {"${k:none, 'd'}", "d", true}, {"${k:one, 'd'}", "d", false}, {"${K:ONE}", "1", true},
		{"${k:star}", "*", true}, {"${k:star}", "abc", false}, {"${k:empty}x", "x", true}, {"$x{", "$x{", true},
	} {
		p, ok := compile(c.pattern, true, true)
		if !ok {
			t.Errorf("%q does not compile", c.pattern)
			continue
		}
		keys := func(k string) []string {
			return map[string][]string{"k:one": {"1"}, "k:two": {"1", "2"}, "k:star": {"*"}, "k:empty": {""}}[k]
		}
		if got := p.match(c.text, keys); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

func TestConditions(t *testing.T) {
	keys := func(k string) []string {
		return map[string][]string{
			"k:a": {"Alpha"}, "k:n": {"42"}, "k:d": {"2024-02-29T12:00:00Z"}, "k:epoch": {"1709208000"}, "k:yes": {"true"}, "k:bin": {"aGk="}, "k:ip4": {"10.1.2.3"},
			"k:ip6": {"2001:db8::1"}, "k:mapped": {"::ffff:10.1.2.3"}, "k:arn": {"arn:aws:iam::ann:user/a:b"}, "k:tags": {"red", "blue"}, "k:user": {"Alp"}, "k:many": {"x", "y"},
		}[k]
	}
	for _, c := range []struct {
		op, key, values string
		want            bool
	}{
		{"StringEquals", "k:a", "Alpha", true}, {"StringEquals", "k:a", "alpha", false}, {"StringEquals", "k:a", "Alp*", false}, {"StringEquals", "k:a", "x|Alpha", true}, {"StringEquals", "k:a", "${k:user}ha", true},
		{"StringEquals", "k:none", "Alpha", false}, {"StringEqualsIfExists", "k:none", "Alpha", true}, {"StringEqualsIfExists", "k:a", "x", false},
		{"StringNotEquals", "k:a", "Alpha", false}, {"StringNotEquals", "k:a", "x|Alpha", false}, {"StringNotEquals", "k:a", "x", true}, {"StringNotEquals", "k:none", "x", true}, {"StringNotEqualsIfExists", "k:none", "x", true},
		{"StringEqualsIgnoreCase", "k:a", "aLPHA", true}, {"StringEqualsIgnoreCase", "k:a", "aLPH", false}, {"StringNotEqualsIgnoreCase", "k:a", "aLPHA", false}, {"StringEqualsIgnoreCase", "k:a", "${k:user}HA", true},
		{"StringLike", "k:a", "A*a", true}, {"StringLike", "k:a", "?lpha", true}, {"StringLike", "k:a", "b*", false}, {"StringNotLike", "k:a", "A*", false}, {"StringNotLike", "k:a", "b*", true},
		{"NumericEquals", "k:n", "42.0", true}, {"NumericEquals", "k:a", "42", false}, {"NumericNotEquals", "k:n", "42", false}, {"NumericNotEquals", "k:a", "42", true}, {"NumericLessThan", "k:n", "42", false}, {"NumericLessThan", "k:n", "43", true},
		{"NumericLessThanEquals", "k:n", "42", true}, {"NumericGreaterThan", "k:n", "41.5", true}, {"NumericGreaterThan", "k:n", "42", false}, {"NumericGreaterThanEquals", "k:n", "42", true}, {"NumericGreaterThanEquals", "k:none", "1", false},
		{"DateEquals", "k:d", "2024-02-29T13:00:00+01:00", true}, {"DateEquals", "k:d", "1709208000", true}, {"DateEquals", "k:epoch", "2024-02-29T12:00Z", true}, {"DateNotEquals", "k:d", "2024-02-29", true}, {"DateLessThan", "k:d", "2024-03-01", true},
		{"DateLessThan", "k:d", "2024-02", false}, {"DateLessThanEquals", "k:d", "2024-02-29T12:00:00Z", true}, {"DateGreaterThan", "k:d", "2023", true}, {"DateGreaterThan", "k:d", "2024-02-29T12:00:00Z", false}, {"DateGreaterThanEquals", "k:d", "2024-02-29T12:00:00Z", true},
		{"Bool", "k:yes", "TRUE", true}, {"Bool", "k:yes", "false", false}, {"Bool", "k:a", "false", false}, {"Bool", "k:none", "false", false}, {"BoolIfExists", "k:none", "false", true},
		{"BinaryEquals", "k:bin", "aGk=", true}, {"BinaryEquals", "k:bin", "aGo=", false}, {"BinaryEquals", "k:a", "aGk=", false},
		{"IpAddress", "k:ip4", "10.0.0.0/8", true}, {"IpAddress", "k:ip4", "10.1.2.3", true}, {"IpAddress", "k:ip4", "10.1.2.4|11.0.0.0/8", false}, {"IpAddress", "k:mapped", "10.1.0.0/16", true}, {"IpAddress", "k:ip6", "2001:db8::/32", true}, {"IpAddress", "k:ip6", "0.0.0.0/0", false},
		{"NotIpAddress", "k:ip4", "10.0.0.0/8", false}, {"NotIpAddress", "k:ip4", "11.0.0.0/8", true}, {"NotIpAddress", "k:a", "11.0.0.0/8", true}, {"IpAddress", "k:a", "0.0.0.0/0", false}, {"IpAddress", "k:ip4", "10.9.9.9/8", true},
		{"ArnEquals", "k:arn", "arn:aws:iam::ann:user/*", true}, {"ArnLike", "k:arn", "arn:aws:iam::*:user/a:b", true}, {"ArnLike", "k:arn", "arn:aws:*:user/a:b", false}, {"ArnLike", "k:arn", "*", false}, {"ArnLike", "k:arn", "arn:aws:iam::an?:user/a*", true},
		{"ArnLike", "k:arn", "arn:aws:iam::${k:none, 'ann'}:user/a:b", true}, {"ArnNotEquals", "k:arn", "arn:aws:iam::ann:user/*", false}, {"ArnNotLike", "k:arn", "arn:aws:iam::bob:*", true}, {"ArnLike", "k:a", "Alpha", false},
		{"Null", "k:none", "true", true}, {"Null", "k:none", "false", false}, {"Null", "k:a", "true", false}, {"Null", "k:a", "false", true},
		{"StringEquals", "k:tags", "blue", true}, {"StringNotEquals", "k:tags", "blue", false}, {"StringNotEquals", "k:tags", "green", true},
		{"ForAllValues:StringEquals", "k:tags", "red|blue|green", true}, {"ForAllValues:StringEquals", "k:tags", "red", false}, {"ForAllValues:StringEquals", "k:none", "red", true}, {"ForAllValues:StringNotEquals", "k:tags", "green", true}, {"ForAllValues:StringNotEquals", "k:tags", "red", false},
		{"ForAnyValue:StringEquals", "k:tags", "blue|green", true}, {"ForAnyValue:StringEquals", "k:tags", "green", false}, {"ForAnyValue:StringEquals", "k:none", "red", false}, {"ForAnyValue:StringLikeIfExists", "k:none", "red", true}, {"ForAnyValue:StringNotEquals", "k:tags", "red", true}, {"ForAnyValue:StringNotEquals", "k:none", "red", false},
		{"ForAnyValue:StringNotLike", "k:tags", "*", false}, {"StringEquals", "k:a", "", false},
		{"StringLike", "k:a", "${k:many}*", false}, {"StringNotLike", "k:a", "${k:none}*", true},
	} {
		op, ok := parseOperator(c.op)
		if !ok {
			t.Fatalf("operator %s", c.op)
		}
		op.key = c.key
		for _, s := range strings.Split(c.values, "|") {
			v, ok := op.parse(s, true)
			if !ok {
				t.Fatalf("%s: value %q", c.op, s)
			}
			op.values = append(op.values, v)
		}
		if got := op.holds(keys); got != c.want {
			t.Errorf("%s %s %q: %v, want %v", c.op, c.key, c.values, got, c.want)
		}
	}
	if op, _ := parseOperator("StringEquals"); op.holds(keys) {
		t.Error("a condition without values holds")
	}
}

func mustParse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text), ofPhotos)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func TestDecide(t *testing.T) {
	ann := Principal{ID: "ann", Account: "ann", ARNs: []string{"arn:aws:iam:::user/ann"}}
	bob := Principal{ID: "bob", Account: "bob", ARNs: []string{"arn:aws:iam:::user/bob"}}
	anon := Principal{Anonymous: true}
	logs := Principal{Service: "logging.s3.amazonaws.com"}
	const obj = "arn:aws:s3:::photos/a/b.jpg"
	keys := func(k string) []string {
		return map[string][]string{"aws:username": {"a"}, "aws:referer": {"http://example.com/x"}}[k]
	}
	for _, c := range []struct {
		doc    string
		who    Principal
		action string
		res    string
		want   Decision
	}{
		{doc(""), anon, "s3:GetObject", obj, Allow},
		{doc(""), anon, "s3:getobject", obj, Allow},
		{doc(""), anon, "s3:PutObject", obj, Silent},
		{doc(""), anon, "s3:GetObject", "arn:aws:s3:::photos", Silent},
		{doc(""), anon, "s3:GetObject", "arn:aws:s3:::Photos/x", Silent},
		{doc(""), logs, "s3:GetObject", obj, Silent},
		{doc(`"Principal":{"AWS":"*"}`), anon, "s3:GetObject", obj, Allow},
		{doc(`"Principal":{"AWS":"bob"}`), bob, "s3:GetObject", obj, Allow},
		{doc(`"Principal":{"AWS":"bob"}`), ann, "s3:GetObject", obj, Silent},
		{doc(`"Principal":{"AWS":"bob"}`), anon, "s3:GetObject", obj, Silent},
		{doc(`"Principal":{"AWS":"arn:aws:iam:::user/bob"}`), bob, "s3:GetObject", obj, Allow},
		{doc(`"Principal":{"AWS":"arn:aws:iam::bob:root"}`), bob, "s3:GetObject", obj, Allow},
		{doc(`"Principal":{"AWS":"arn:aws:iam::bob:root"}`), ann, "s3:GetObject", obj, Silent},
		{doc(`"Principal":{"CanonicalUser":"bob"}`), bob, "s3:GetObject", obj, Allow},
		{doc(`"Principal":{"Service":"logging.s3.amazonaws.com"}`), logs, "s3:GetObject", obj, Allow},
		{doc(`"Principal":{"Service":"logging.s3.amazonaws.com"}`), bob, "s3:GetObject", obj, Silent},
		{doc(`"Effect":"Deny","NotPrincipal":{"AWS":"bob"}`), bob, "s3:GetObject", obj, Silent},
		{doc(`"Effect":"Deny","NotPrincipal":{"AWS":"bob"}`), ann, "s3:GetObject", obj, Deny},
		{doc(`"Effect":"Deny","NotPrincipal":{"AWS":"bob"}`), anon, "s3:GetObject", obj, Deny},
		{doc(`"Action":"s3:Get*"`), anon, "s3:GetObjectAcl", obj, Allow},
		{doc(`"Action":"*"`), anon, "s3:PutObjectAcl", obj, Allow},
		{doc(`"NotAction":"s3:Put*"`), anon, "s3:PutObjectAcl", obj, Silent},
		{doc(`"NotAction":"s3:Put*"`), anon, "s3:GetObject", obj, Allow},
		{doc(`"NotResource":"arn:aws:s3:::photos/a/*"`), anon, "s3:GetObject", obj, Silent},
		{doc(`"NotResource":"arn:aws:s3:::photos/b/*"`), anon, "s3:GetObject", obj, Allow},
		{doc(`"Resource":"arn:aws:s3:::photos/${aws:username}/*"`), ann, "s3:GetObject", obj, Allow},
		{doc(`"Resource":"arn:aws:s3:::photos/${aws:userid}/*"`), ann, "s3:GetObject", obj, Silent},
		{strings.Replace(doc(`"Resource":"arn:aws:s3:::photos/${aws:username}/*"`), "2012-10-17", "2008-10-17", 1), ann, "s3:GetObject", obj, Silent},
		{doc(`"Resource":["arn:aws:s3:::photos/x","arn:aws:s3:::photos/*.jpg"]`), ann, "s3:GetObject", obj, Allow},
		{doc(`"Condition":{"StringLike":{"aws:Referer":"http://example.com/*"}}`), anon, "s3:GetObject", obj, Allow},
		{doc(`"Condition":{"StringLike":{"aws:Referer":"http://other/*"}}`), anon, "s3:GetObject", obj, Silent},
		{doc(`"Condition":{"StringLike":{"aws:Referer":"http://example.com/*"},"StringEquals":{"aws:username":"b"}}`), anon, "s3:GetObject", obj, Silent},
		{doc(`"Condition":{"StringEquals":{"aws:username":["b","a"],"aws:Referer":"http://example.com/x"}}`), anon, "s3:GetObject", obj, Allow},
		{`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::photos/*"},
			{"Effect":"Deny","Principal":{"AWS":"bob"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/a/*"}]}`, bob, "s3:GetObject", obj, Deny},
		{`{"Version":"2012-10-17","Statement":[
			{"Effect":"Deny","Principal":{"AWS":"bob"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/a/*"},
			{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::photos/*"}]}`, ann, "s3:GetObject", obj, Allow},
	} {
		p := mustParse(t, c.doc)
		if got := p.Decide(&Request{Principal: c.who, Action: c.action, Resource: c.res, Keys: keys}); got != c.want {
			t.Errorf("%s\n\t%+v %s %s: %v, want %v", c.doc, c.who, c.action, c.res, got, c.want)
		}
	}
	var none *Policy
	if none.Decide(&Request{}) != Silent || none.IsPublic() || none.Uses("") {
		t.Error("a missing policy speaks")
	}
	id, err := Parse([]byte(`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::photos","arn:aws:s3:::photos/*"]}}`), Options{Kind: OfIdentity})
	if err != nil {
		t.Fatal(err)
	}
	if got := id.Decide(&Request{Principal: bob, Action: "s3:GetObject", Resource: obj}); got != Allow {
		t.Errorf("policy of an identity: %v", got)
	}
	if Silent.And(Allow) != Allow || Allow.And(Deny) != Deny || Silent.And(Silent) != Silent {
		t.Error("decisions combine wrongly")
	}
}

func TestIsPublic(t *testing.T) {
	for _, c := range []struct {
		doc  string
		want bool
	}{
		{doc(""), true}, {doc(`"Principal":{"AWS":"*"}`), true}, {doc(`"Effect":"Deny"`), false}, {doc(`"Principal":{"AWS":"bob"}`), false},
		{doc(`"Principal":{"AWS":"arn:aws:iam::s3tenant1:root"}`), false}, {doc(`"Principal":{"AWS":["bob","*"]}`), true}, {doc(`"Effect":"Deny","NotPrincipal":{"AWS":"bob"}`), false},
		{doc(`"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/32"}}`), false}, {doc(`"Condition":{"IpAddress":{"aws:SourceIp":"0.0.0.0/1"}}`), true}, {doc(`"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","::/0"]}}`), true},
		{doc(`"Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), true}, {doc(`"Condition":{"StringLike":{"aws:Referer":"http://x/*"}}`), true}, {doc(`"Condition":{"StringEquals":{"aws:SourceAccount":"1"}}`), false},
		{doc(`"Condition":{"StringLike":{"aws:SourceAccount":"*"}}`), true}, {doc(`"Condition":{"StringEqualsIfExists":{"aws:SourceAccount":"1"}}`), true}, {doc(`"Condition":{"StringEquals":{"aws:username":"${aws:username}"}}`), true},
		{doc(`"Condition":{"Bool":{"aws:SecureTransport":true}}`), true}, {doc(`"Condition":{"Null":{"aws:userid":"false"}}`), true},
	} {
		if got := mustParse(t, c.doc).IsPublic(); got != c.want {
			t.Errorf("%s: %v, want %v", c.doc, got, c.want)
		}
	}
}

func TestUses(t *testing.T) {
	const tag = "s3:existingobjecttag/"
	for text, want := range map[string]bool{
		doc(""): false,
		doc(`"Condition":{"StringEquals":{"s3:ExistingObjectTag/a":"x"}}`):              true,
		doc(`"Condition":{"StringEquals":{"aws:Referer":"x"}}`):                         false,
		doc(`"Condition":{"StringEquals":{"aws:Referer":"${s3:ExistingObjectTag/a}"}}`): true,
		doc(`"Resource":"arn:aws:s3:::photos/${s3:ExistingObjectTag/a}"`):               true,
	} {
		if got := mustParse(t, text).Uses(tag); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// Documents made to be slow are read and decided in a bounded number of steps: with
// backtracking over each star this would not end.
func TestHostile(t *testing.T) {
	key := strings.Repeat("a", 1024)
	referer := strings.Repeat("a", 60<<10)
	keys := func(k string) []string { return []string{referer} }
	fill := func(unit string) string { return strings.Repeat(unit, (MaxBucketBytes-600)/len(unit)) }
	list := func(unit string) string { return strings.TrimSuffix(fill(unit+","), ",") }
	for name, text := range map[string]string{
		"stars":             doc(`"Resource":"arn:aws:s3:::photos/` + fill("*") + `b"`),
		"stars and letters": doc(`"Resource":"arn:aws:s3:::photos/` + fill("*a") + `b"`),
		"stars and marks":   doc(`"Resource":"arn:aws:s3:::photos/` + fill("*?") + `b"`),
		"short patterns":    doc(`"Resource":[` + list(`"arn:aws:s3:::photos/*a*?a*?b"`) + `]`),
		"long pattern":      doc(`"Resource":"arn:aws:s3:::photos/*` + strings.Repeat("a?", 400) + `b*"`),
		"variables":         doc(`"Resource":"arn:aws:s3:::photos/` + fill("${aws:Referer}") + `"`),
		"likes":             doc(`"Condition":{"StringLike":{"aws:Referer":[` + list(`"*a*a?a*b"`) + `]}}`),
		"like variables":    doc(`"Condition":{"StringLike":{"aws:Referer":"` + fill("*${aws:Referer}") + `"}}`),
		"folds":             doc(`"Condition":{"StringEqualsIgnoreCase":{"aws:Referer":["` + fill("${aws:Referer}") + `"]}}`),
		"actions":           doc(`"Action":[` + list(`"s3:Get*"`) + `]`),
		"principals":        doc(`"Principal":{"AWS":[` + list(`"ann"`) + `]}`),
		"arns":              doc(`"Condition":{"ArnLike":{"aws:SourceArn":[` + list(`"arn:*:*:*:*:*a"`) + `]}}`),
	} {
		p, err := Parse([]byte(text), ofPhotos)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for range 3 {
			got := p.Decide(&Request{Principal: Principal{ID: "ann", Account: "ann"}, Action: "s3:GetObject", Resource: "arn:aws:s3:::photos/" + key, Keys: keys})
			if want := map[string]Decision{"actions": Allow, "principals": Allow}[name]; got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		p.IsPublic()
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", doc(""), doc(`"Condition":{"ForAllValues:StringLike":{"aws:Referer":["a*","${aws:username, 'x'}"]},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`),
		doc(`"NotAction":"s3:Put*","NotResource":"arn:aws:s3:::photos/?*"`), `{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`, `{"Statement":[[[[`} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(1))
		f.Add(s, uint8(2))
	}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		p, err := Parse([]byte(text), Options{Kind: Kind(kind % 3), Bucket: "photos"})
		if err != nil {
			var m *MalformedError
			if !errors.As(err, &m) || m.Message == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		r := Request{Principal: Principal{ID: "ann", Account: "ann"}, Action: "s3:GetObject", Resource: "arn:aws:s3:::photos/key", Keys: func(string) []string { return []string{"10.0.0.1"} }}
		if p.Decide(&r) != p.Decide(&r) {
			t.Fatal("the same question has two answers")
		}
		p.IsPublic()
		p.Uses("s3:")
	})
}

func BenchmarkDecide(b *testing.B) {
	p, err := Parse([]byte(doc(`"Condition":{"StringLike":{"aws:Referer":"http://example.com/*"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), ofPhotos)
	if err != nil {
		b.Fatal(err)
	}
	r := Request{Principal: Principal{ID: "bob", Account: "bob"}, Action: "s3:GetObject", Resource: "arn:aws:s3:::photos/some/key", Keys: func(k string) []string {
		if k == "aws:sourceip" {
			return []string{"10.1.2.3"}
		}
		return []string{"http://example.com/page"}
	}}
	for b.Loop() {
		if p.Decide(&r) != Allow {
			b.Fatal("not allowed")
		}
	}
}
