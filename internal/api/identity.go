package api

import (
	"context"
	"net/http"
	"net/url"
)

// IdentityCall asks for something about the users, keys, groups, policies and roles of an account, in the
// words of AWS's IAM.
type IdentityCall struct {
	Params map[string]string `json:"params,omitempty" doc:"Parameters of the action, as AWS names them: UserName, PolicyDocument, Tags.member.1.Key ..."`
}

// IdentityReply answers it.
type IdentityReply struct {
	Items     []Identity `json:"items"`
	Truncated bool       `json:"truncated,omitempty" doc:"There is more: ask again with Marker"`
	Marker    string     `json:"marker,omitempty"`
}

// Identity is an account, user, group, role, policy, version, provider, key, tag or document; each has some of the fields.
type Identity struct {
	Kind     string            `json:"kind" doc:"account, user, group, role, policy, version, provider, key, document, tag or count"`
	Account  string            `json:"account,omitempty"`
	Name     string            `json:"name,omitempty"`
	ID       string            `json:"id,omitempty"`
	Path     string            `json:"path,omitempty" doc:"Of keys and documents: the user they are of"`
	ARN      string            `json:"arn,omitempty"`
	Created  string            `json:"created,omitempty" format:"date-time"`
	Updated  string            `json:"updated,omitempty" format:"date-time"`
	About    string            `json:"about,omitempty" doc:"Description, or the display name"`
	Email    string            `json:"email,omitempty"`
	Off      bool              `json:"off,omitempty" doc:"A user is suspended, a key inactive"`
	Admin    bool              `json:"admin,omitempty" doc:"The account may look after the identities of all others"`
	InForce  bool              `json:"in_force,omitempty" doc:"Of versions"`
	Version  string            `json:"version,omitempty"`
	Number   int64             `json:"number,omitempty" doc:"Of policies: to how many they are attached; of roles: the longest session in seconds; of counts: the count"`
	Text     string            `json:"text,omitempty" doc:"A document: a policy, whom a role trusts, what a service account is confined to"`
	Secret   string            `json:"secret,omitempty" doc:"Of a key that was just made"`
	Service  string            `json:"service,omitempty" doc:"The service account that a key is"`
	Boundary string            `json:"boundary,omitempty" doc:"ARN of the policy beyond which it may do nothing"`
	Expires  string            `json:"expires,omitempty" format:"date-time"`
	Revoked  string            `json:"revoked,omitempty" format:"date-time" doc:"Sessions that began before are over"`
	List     []string          `json:"list,omitempty" doc:"Groups of a user, clients of a provider"`
	More     []string          `json:"more,omitempty" doc:"Thumbprints of a provider"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// Identity makes a call about the identities of an account; "-" stands for roles of the cluster's own.
func (c *Client) Identity(ctx context.Context, account, action string, params map[string]string) (IdentityReply, error) {
	var out IdentityReply
	err := c.call(ctx, http.MethodPost, Prefix+"/accounts"+seg(account)+"/iam"+seg(action), nil, IdentityCall{Params: params}, &out)
	return out, err
}

// Accounts lists the accounts: users who own users, groups, policies and roles, or may.
func (c *Client) Accounts(ctx context.Context) ([]Identity, error) {
	return get[[]Identity](ctx, c, "/accounts", url.Values{})
}
