package fsm

// builtinAccount owns the policies that every account can attach.
const builtinAccount = "aws"

// builtin are these policies, by ARN, under the names that AWS's clients know.
var builtin = func() map[string]*Policy {
	out := map[string]*Policy{}
	for _, p := range []struct{ name, about, text string }{
		{"AdministratorAccess", "Everything.",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`},
		{"AmazonS3FullAccess", "Everything with buckets and objects.",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","s3-object-lambda:*"],"Resource":"*"}]}`},
		{"AmazonS3ReadOnlyAccess", "Reading and listing of buckets and objects.",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]}`},
		{"IAMFullAccess", "Everything with users, groups, roles and policies.",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}`},
		{"IAMReadOnlyAccess", "Reading and listing of users, groups, roles and policies.",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:Get*","iam:List*"],"Resource":"*"}]}`},
		{"ReadOnlyAccess", "Reading and listing of everything.",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","iam:Get*","iam:List*"],"Resource":"*"}]}`},
	} {
		v := &Policy{
			Account: builtinAccount, Name: p.name, ID: "ANPA" + p.name, Description: p.about,
			Versions: []PolicyVersion{{Number: 1, Text: p.text}}, Default: 1, Last: 1,
		}
		out[v.ARN()] = v
	}
	return out
}()
