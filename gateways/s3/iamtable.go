package s3

import "strings"

// What an action of IAM is done to, and so which resource it needs permission for.
const (
	onAccount  = iota // all of an account
	onUser            // the user in UserName
	onGroup           // the group in GroupName
	onRole            // the role in RoleName
	onPolicy          // the policy in PolicyArn
	onProvider        // the provider in OpenIDConnectProviderArn
)

// identityAction is one verb of AWS's IAM.
type identityAction struct {
	on      int
	params  []string // those it has; lists without .member.N
	reply   func(x *xmlOut, c *identityRequest)
	write   bool   // it changes something
	makes   string // kind of what it makes, under Path
	self    bool   // without UserName it is about who asks
	kind    uint8  // of the document it brings
	docName string
}

const (
	noDocument = iota
	identityDocument
	trustDocument
)

var identityActions = func() map[string]identityAction {
	page := []string{"Marker", "MaxItems"}
	with := func(names ...string) []string { return append(names, page...) }
	all := map[string]identityAction{
		"CreateUser": {on: onUser, params: []string{"UserName", "Path", "PermissionsBoundary", "Tags"}, write: true, makes: "user", reply: replyUser},
		"GetUser":    {on: onUser, params: []string{"UserName"}, self: true, reply: replyUser},
		"ListUsers":  {params: with("PathPrefix"), reply: listOf("Users", writeUser)},
		"UpdateUser": {on: onUser, params: []string{"UserName", "NewUserName", "NewPath"}, write: true},
		"DeleteUser": {on: onUser, params: []string{"UserName"}, write: true},

		"CreateAccessKey": {on: onUser, params: []string{"UserName"}, write: true, self: true, reply: replyKey},
		"ListAccessKeys":  {on: onUser, params: with("UserName"), self: true, reply: listOf("AccessKeyMetadata", writeKeyMetadata)},
		"UpdateAccessKey": {on: onUser, params: []string{"UserName", "AccessKeyId", "Status"}, write: true, self: true},
		"DeleteAccessKey": {on: onUser, params: []string{"UserName", "AccessKeyId"}, write: true, self: true},

		"CreateGroup":         {on: onGroup, params: []string{"GroupName", "Path"}, write: true, makes: "group", reply: replyGroup},
		"GetGroup":            {on: onGroup, params: with("GroupName"), reply: replyMembers},
		"ListGroups":          {params: with("PathPrefix"), reply: listOf("Groups", writeGroup)},
		"UpdateGroup":         {on: onGroup, params: []string{"GroupName", "NewGroupName", "NewPath"}, write: true},
		"DeleteGroup":         {on: onGroup, params: []string{"GroupName"}, write: true},
		"AddUserToGroup":      {on: onGroup, params: []string{"GroupName", "UserName"}, write: true},
		"RemoveUserFromGroup": {on: onGroup, params: []string{"GroupName", "UserName"}, write: true},
		"ListGroupsForUser":   {on: onUser, params: with("UserName"), reply: listOf("Groups", writeGroup)},

		"CreateRole":             {on: onRole, params: []string{"RoleName", "Path", "AssumeRolePolicyDocument", "Description", "MaxSessionDuration", "PermissionsBoundary", "Tags"}, write: true, makes: "role", reply: replyRole, kind: trustDocument, docName: "AssumeRolePolicyDocument"},
		"GetRole":                {on: onRole, params: []string{"RoleName"}, reply: replyRole},
		"ListRoles":              {params: with("PathPrefix"), reply: listOf("Roles", writeRole)},
		"UpdateRole":             {on: onRole, params: []string{"RoleName", "Description", "MaxSessionDuration"}, write: true},
		"UpdateRoleDescription":  {on: onRole, params: []string{"RoleName", "Description"}, write: true, reply: replyRole},
		"UpdateAssumeRolePolicy": {on: onRole, params: []string{"RoleName", "PolicyDocument"}, write: true, kind: trustDocument, docName: "PolicyDocument"},
		"DeleteRole":             {on: onRole, params: []string{"RoleName"}, write: true},

		"CreatePolicy":            {on: onPolicy, params: []string{"PolicyName", "Path", "PolicyDocument", "Description", "Tags"}, write: true, makes: "policy", reply: replyPolicy, kind: identityDocument, docName: "PolicyDocument"},
		"GetPolicy":               {on: onPolicy, params: []string{"PolicyArn"}, reply: replyPolicy},
		"ListPolicies":            {params: with("PathPrefix", "Scope", "OnlyAttached", "PolicyUsageFilter"), reply: listOf("Policies", writePolicy)},
		"DeletePolicy":            {on: onPolicy, params: []string{"PolicyArn"}, write: true},
		"CreatePolicyVersion":     {on: onPolicy, params: []string{"PolicyArn", "PolicyDocument", "SetAsDefault"}, write: true, reply: replyVersion, kind: identityDocument, docName: "PolicyDocument"},
		"GetPolicyVersion":        {on: onPolicy, params: []string{"PolicyArn", "VersionId"}, reply: replyVersion},
		"ListPolicyVersions":      {on: onPolicy, params: with("PolicyArn"), reply: listOf("Versions", writeVersion)},
		"SetDefaultPolicyVersion": {on: onPolicy, params: []string{"PolicyArn", "VersionId"}, write: true},
		"DeletePolicyVersion":     {on: onPolicy, params: []string{"PolicyArn", "VersionId"}, write: true},
		"ListEntitiesForPolicy":   {on: onPolicy, params: with("PolicyArn"), reply: replyEntities},
		"TagPolicy":               {on: onPolicy, params: []string{"PolicyArn", "Tags"}, write: true},
		"UntagPolicy":             {on: onPolicy, params: []string{"PolicyArn", "TagKeys"}, write: true},
		"ListPolicyTags":          {on: onPolicy, params: with("PolicyArn"), reply: listOf("Tags", writeTag)},

		"CreateOpenIDConnectProvider":             {on: onProvider, params: []string{"Url", "ClientIDList", "ThumbprintList", "Tags"}, write: true, makes: "oidc-provider", reply: replyProviderARN},
		"GetOpenIDConnectProvider":                {on: onProvider, params: []string{"OpenIDConnectProviderArn"}, reply: replyProvider},
		"ListOpenIDConnectProviders":              {reply: replyProviders},
		"DeleteOpenIDConnectProvider":             {on: onProvider, params: []string{"OpenIDConnectProviderArn"}, write: true},
		"AddClientIDToOpenIDConnectProvider":      {on: onProvider, params: []string{"OpenIDConnectProviderArn", "ClientID"}, write: true},
		"RemoveClientIDFromOpenIDConnectProvider": {on: onProvider, params: []string{"OpenIDConnectProviderArn", "ClientID"}, write: true},
		"UpdateOpenIDConnectProviderThumbprint":   {on: onProvider, params: []string{"OpenIDConnectProviderArn", "ThumbprintList"}, write: true},

		"GetAccountSummary": {reply: replySummary},
	}
	for _, h := range []struct {
		word, name string
		on         int
	}{{"User", "UserName", onUser}, {"Group", "GroupName", onGroup}, {"Role", "RoleName", onRole}} {
		all["Put"+h.word+"Policy"] = identityAction{on: h.on, params: []string{h.name, "PolicyName", "PolicyDocument"}, write: true, kind: identityDocument, docName: "PolicyDocument"}
		all["Get"+h.word+"Policy"] = identityAction{on: h.on, params: []string{h.name, "PolicyName"}, reply: replyDocument(h.name)}
		all["List"+h.word+"Policies"] = identityAction{on: h.on, params: with(h.name), reply: listOf("PolicyNames", writeName)}
		all["Delete"+h.word+"Policy"] = identityAction{on: h.on, params: []string{h.name, "PolicyName"}, write: true}
		all["Attach"+h.word+"Policy"] = identityAction{on: h.on, params: []string{h.name, "PolicyArn"}, write: true}
		all["Detach"+h.word+"Policy"] = identityAction{on: h.on, params: []string{h.name, "PolicyArn"}, write: true}
		all["ListAttached"+h.word+"Policies"] = identityAction{on: h.on, params: with(h.name, "PathPrefix"), reply: listOf("AttachedPolicies", writeAttached)}
		if h.on == onGroup {
			continue
		}
		all["Put"+h.word+"PermissionsBoundary"] = identityAction{on: h.on, params: []string{h.name, "PermissionsBoundary"}, write: true}
		all["Delete"+h.word+"PermissionsBoundary"] = identityAction{on: h.on, params: []string{h.name}, write: true}
		all["Tag"+h.word] = identityAction{on: h.on, params: []string{h.name, "Tags"}, write: true}
		all["Untag"+h.word] = identityAction{on: h.on, params: []string{h.name, "TagKeys"}, write: true}
		all["List"+h.word+"Tags"] = identityAction{on: h.on, params: with(h.name), reply: listOf("Tags", writeTag)}
	}
	return all
}()

// has reports whether an action has a parameter, which may be a member of a list.
func (a *identityAction) has(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	for _, p := range a.params {
		if p == base {
			return true
		}
	}
	return false
}
