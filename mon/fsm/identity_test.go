package fsm

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

func idOf(kind string, n int) string { return fmt.Sprintf("%s%016d", kind, n) }

func ptr[T any](v T) *T { return &v }

// identities makes something of everything of an account.
func identities() []Body {
	corp := Entity{Account: "corp"}
	with := func(kind string, n int, path string) Entity {
		e := corp
		e.ID, e.Path = idOf(kind, n), path
		return e
	}
	alice := Holder{Kind: HolderUser, Account: "corp", Name: "Alice"}
	role := Holder{Kind: HolderRole, Account: "corp", Name: "backup"}
	const arn = "arn:aws:iam::corp:policy/team/readers"
	return []Body{
		&UserCreate{User: User{Name: "corp", Email: "root@corp.example", Keys: []AccessKey{{AccessKey: "CORPROOT", SecretKey: "not-a-real-secret"}}, Entity: Entity{ID: idOf("AIDA", 1)}, Admin: true}},
		&UserCreate{User: User{Name: "Alice", Entity: with("AIDA", 2, "/team/")}},
		&KeyCreate{Account: "corp", User: "alice", Key: AccessKey{AccessKey: "ALICE1", SecretKey: "not-a-real-secret"}},
		&KeyCreate{Account: "corp", User: "alice", Key: AccessKey{AccessKey: "ALICE2", SecretKey: "not-a-real-secret", Service: "cron", Policy: allowAll, Expires: 1 << 60}},
		&KeySet{Account: "corp", User: "Alice", AccessKey: "ALICE1", Inactive: ptr(true)},
		&GroupCreate{Group: Group{Name: "devs", Entity: with("AGPA", 1, "")}},
		&GroupMember{Account: "corp", Group: "devs", User: "Alice"},
		&GroupSet{Account: "corp", Name: "devs", NewName: ptr("Engineers")},
		&PolicyCreate{Policy: Policy{Account: "corp", Name: "readers", ID: idOf("ANPA", 1), Path: "/team/"}, Text: allowAll},
		&PolicyVersionSet{ARN: arn, Text: allowAll, Default: true},
		&PolicyAttach{Holder: Holder{Kind: HolderGroup, Account: "corp", Name: "engineers"}, ARN: arn},
		&PolicyAttach{Holder: alice, ARN: "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"},
		&PolicyInline{Holder: alice, Name: "own", Text: allowAll},
		&BoundarySet{Holder: alice, ARN: arn},
		&RoleCreate{Role: Role{Name: "backup", Trust: allowAll, Entity: with("AROA", 1, "")}},
		&RoleSet{Account: "corp", Name: "backup", Description: ptr("nightly"), MaxSeconds: ptr(int64(7200))},
		&TagsSet{Holder: role, Set: []Tag{{Key: "team", Value: "storage"}}},
		&SessionsRevoke{Holder: role, Before: 5},
		&ProviderCreate{Provider: Provider{Account: "corp", URL: "https://login.example/realm", ClientIDs: []string{"app"}, Thumbprints: []string{strings.Repeat("a", 40)}}},
		&ProviderSet{Account: "corp", Host: "login.example/realm", AddClientID: "other"},
		&UserSet{Account: "corp", Name: "alice", NewName: ptr("Alicia"), Email: ptr("alicia@corp.example")},
		&TokenKeyAdd{Key: TokenKey{ID: 1, Key: make([]byte, 32)}},
	}
}

func TestIdentities(t *testing.T) {
	r := newRig(t)
	for _, b := range identities() {
		if res := r.ok(b); res.Changed {
			t.Fatalf("%s made an epoch", KindOf(b))
		}
	}
	u := r.s.UserByKey("ALICE2")
	if u == nil || u.Name != "Alicia" || r.s.UserIn("corp", "ALICIA") != u || r.s.UserByID(idOf("AIDA", 2)) != u || r.s.UserByEmail("ALICIA@corp.example") != u || r.s.UserIn("corp", "alice") != nil {
		t.Fatalf("found %+v", u)
	}
	if g := r.s.GroupsOf(u); len(g) != 1 || g[0].Name != "Engineers" || r.s.Members(g[0])[0] != u {
		t.Fatalf("groups of %s: %+v", u.Name, g)
	}
	if r.s.User("corp/alicia") != nil || r.s.User("alicia") != nil {
		t.Fatal("a user of an account is found as an account")
	}
	if got := r.s.PoliciesIn("aws"); len(got) != len(builtin) || r.s.PolicyByARN(got[0].ARN()) != got[0] {
		t.Fatalf("built in: %v", got)
	}
	const arn = "arn:aws:iam::corp:policy/team/readers"
	if p := r.s.PolicyByARN(arn); p == nil || p.Default != 2 || p.Text() != allowAll || r.s.PolicyByARN("arn:aws:iam::corp:policy/readers") != nil {
		t.Fatalf("policy %+v", p)
	}
	if n := r.s.Attachments("corp"); n[arn] != 2 {
		t.Fatalf("attachments: %v", n)
	}

	// A user, a group and a role of one name are three.
	r.ok(&UserCreate{User: User{Name: "backup", Entity: Entity{Account: "corp", ID: idOf("AIDA", 7)}}})
	if u, o := r.s.UserByID(idOf("AROA", 1)), r.s.RoleByID(idOf("AIDA", 7)); u != nil || o != nil || r.s.UserByID("") != nil {
		t.Fatalf("found by the other's id: %v, %v", u, o)
	}

	own := Entity{Account: "corp", ID: idOf("X", 99)}
	bob := func(e Entity) *UserCreate { return &UserCreate{User: User{Name: "bob", Entity: e}} }
	alicia, group := Holder{Kind: HolderUser, Account: "corp", Name: "alicia"}, Holder{Kind: HolderGroup, Account: "corp", Name: "engineers"}
	for _, c := range []struct {
		code wirepb.Code
		part string
		body Body
	}{
		{wirepb.Code_NOT_FOUND, "account", bob(Entity{Account: "none", ID: idOf("X", 1)})},
		{wirepb.Code_NOT_FOUND, "account", bob(Entity{Account: "corp/alicia", ID: idOf("X", 1)})},
		{wirepb.Code_INVALID, "id", bob(Entity{Account: "corp"})},
		{wirepb.Code_EXISTS, "taken", bob(Entity{Account: "corp", ID: idOf("AROA", 1)})},
		{wirepb.Code_INVALID, "path", bob(Entity{Account: "corp", ID: own.ID, Path: "/x"})},
		{wirepb.Code_INVALID, "no policies yet", bob(Entity{Account: "corp", ID: own.ID, Attached: []string{arn}})},
		{wirepb.Code_INVALID, "twice", bob(Entity{Account: "corp", ID: own.ID, Tags: []Tag{{Key: "a"}, {Key: "A"}}})},
		{wirepb.Code_EXISTS, "exists", &UserCreate{User: User{Name: "ALICIA", Entity: own}}},
		{wirepb.Code_INVALID, "not allowed", &UserCreate{User: User{Name: "a/b", Entity: own}}},
		{wirepb.Code_INVALID, "no groups", &UserCreate{User: User{Name: "bob", Groups: []string{idOf("AGPA", 1)}, Entity: own}}},
		{wirepb.Code_INVALID, "look after", &UserCreate{User: User{Name: "bob", Admin: true, Entity: own}}},
		{wirepb.Code_EXISTS, "address", &UserCreate{User: User{Name: "bob", Email: "Root@corp.example", Entity: own}}},
		{wirepb.Code_INVALID, "built in", &UserCreate{User: User{Name: "aws", Keys: []AccessKey{{AccessKey: "K", SecretKey: "secretsecret"}}}}},
		{wirepb.Code_INVALID, "no id", &UserCreate{User: User{Name: "x", Keys: []AccessKey{{AccessKey: "K", SecretKey: "secretsecret"}}, Entity: Entity{Attached: []string{arn}}}}},
		{wirepb.Code_CONFLICT, "is an account", &UserRemove{Name: "corp"}},
		{wirepb.Code_NOT_FOUND, "does not exist", &UserRemove{Name: "corp/alicia"}},
		{wirepb.Code_CONFLICT, "still has", &UserRemove{Account: "corp", Name: "alicia", Bare: true}},
		{wirepb.Code_NOT_FOUND, "does not exist", &UserRemove{Account: "corp", Name: "alice"}},
		{wirepb.Code_INVALID, "cannot be changed", &UserSet{Name: "corp", NewName: ptr("x")}},
		{wirepb.Code_INVALID, "look after", &UserSet{Account: "corp", Name: "alicia", Admin: ptr(true)}},
		{wirepb.Code_EXISTS, "belongs", &KeyCreate{Account: "corp", User: "alicia", Key: AccessKey{AccessKey: "CORPROOT", SecretKey: "secretsecret"}}},
		{wirepb.Code_EXISTS, "service account", &KeyCreate{Account: "corp", User: "alicia", Key: AccessKey{AccessKey: "NEW", SecretKey: "secretsecret", Service: "CRON"}}},
		{wirepb.Code_INVALID, "give", &KeyCreate{Account: "corp", User: "alicia", Key: AccessKey{AccessKey: "NEW", SecretKey: "secretsecret", Policy: allowAll}}},
		{wirepb.Code_NOT_FOUND, "no access key", &KeyRemove{Account: "corp", User: "alicia", AccessKey: "CORPROOT"}},
		{wirepb.Code_NOT_FOUND, "no access key", &KeySet{User: "corp", AccessKey: "ALICE1", Inactive: ptr(false)}},
		{wirepb.Code_INVALID, "not of a service", &KeySet{Account: "corp", User: "alicia", AccessKey: "ALICE1", Policy: ptr(allowAll)}},
		{wirepb.Code_EXISTS, "exists", &GroupCreate{Group: Group{Name: "ENGINEERS", Entity: own}}},
		{wirepb.Code_CONFLICT, "still has", &GroupRemove{Account: "corp", Name: "engineers", Bare: true}},
		{wirepb.Code_NOT_FOUND, "user", &GroupMember{Account: "corp", Group: "engineers", User: "corp"}},
		{wirepb.Code_NOT_FOUND, "group", &GroupMember{Account: "corp", Group: "none", User: "alicia"}},
		{wirepb.Code_CONFLICT, "attached", &PolicyRemove{ARN: arn}},
		{wirepb.Code_NOT_PERMITTED, "built in", &PolicyRemove{ARN: "arn:aws:iam::aws:policy/AmazonS3FullAccess"}},
		{wirepb.Code_NOT_PERMITTED, "built in", &PolicyVersionSet{ARN: "arn:aws:iam::aws:policy/AmazonS3FullAccess", Text: allowAll}},
		{wirepb.Code_CONFLICT, "in force", &PolicyVersionSet{ARN: arn, Number: 2, Remove: true}},
		{wirepb.Code_NOT_FOUND, "v9", &PolicyVersionSet{ARN: arn, Number: 9, Default: true}},
		{wirepb.Code_INVALID, "JSON", &PolicyVersionSet{ARN: arn, Text: "[]"}},
		{wirepb.Code_NO_SPACE, "bytes", &PolicyVersionSet{ARN: arn, Text: "{" + strings.Repeat(" ", MaxPolicyBytes) + "}"}},
		{wirepb.Code_NOT_FOUND, "not attached", &PolicyAttach{Holder: group, ARN: "arn:aws:iam::aws:policy/AmazonS3FullAccess", Detach: true}},
		{wirepb.Code_NOT_FOUND, "does not exist", &PolicyAttach{Holder: group, ARN: "arn:aws:iam::aws:policy/None"}},
		{wirepb.Code_NOT_FOUND, "does not exist", &PolicyAttach{Holder: Holder{Kind: HolderUser, Name: "ann"}, ARN: arn}}, // of another account
		{wirepb.Code_NOT_FOUND, "no policy", &PolicyInline{Holder: alicia, Name: "none"}},
		{wirepb.Code_NO_SPACE, "own would have", &PolicyInline{Holder: alicia, Name: "big", Text: "{" + strings.Repeat(" ", MaxPolicyBytes-2) + "}"}},
		{wirepb.Code_INVALID, "groups have no", &BoundarySet{Holder: group, ARN: arn}},
		{wirepb.Code_INVALID, "kind", &PolicyInline{Holder: Holder{Kind: "x"}, Name: "a", Text: "{}"}},
		{wirepb.Code_INVALID, "seconds", &RoleSet{Account: "corp", Name: "backup", MaxSeconds: ptr(int64(60))}},
		{wirepb.Code_CONFLICT, "still has", &RoleRemove{Account: "corp", Name: "backup", Bare: true}},
		{wirepb.Code_INVALID, "URL", &ProviderCreate{Provider: Provider{Account: "corp", URL: "ftp://x"}}},
		{wirepb.Code_EXISTS, "exists", &ProviderCreate{Provider: Provider{Account: "corp", URL: "http://login.example/realm/"}}},
		{wirepb.Code_CONFLICT, "newest", &TokenKeyAdd{Key: TokenKey{ID: 2, Key: make([]byte, 32)}}},
		{wirepb.Code_INVALID, "32 bytes", &TokenKeyAdd{Key: TokenKey{ID: 2, Key: make([]byte, 31)}, After: 1}},
	} {
		if c.part == "own would have" {
			r.ok(&PolicyInline{Holder: alicia, Name: "big0", Text: "{" + strings.Repeat(" ", MaxPolicyBytes-2) + "}"})
		}
		if c.body.kind() == "role-remove" {
			r.ok(&PolicyAttach{Holder: Holder{Kind: HolderRole, Account: "corp", Name: "backup"}, ARN: arn})
		}
		r.no(c.code, c.part, c.body)
		if got := r.s.countDocuments(); got != r.s.documents {
			t.Fatalf("after %s: %d bytes of documents, counted %d", KindOf(c.body), got, r.s.documents)
		}
	}
	for i := range MaxTokenKeys + 2 {
		r.ok(&TokenKeyAdd{Key: TokenKey{ID: uint32(i + 2), Key: make([]byte, 32)}, After: uint32(i + 1)})
	}
	if k := r.s.TokenKeys(); len(k) != MaxTokenKeys || k[len(k)-1].ID != MaxTokenKeys+3 {
		t.Fatalf("keys of tokens: %+v", k)
	}
	for range MaxPolicyVersions - 2 {
		r.ok(&PolicyVersionSet{ARN: arn, Text: allowAll})
	}
	r.no(wirepb.Code_NO_SPACE, "versions", &PolicyVersionSet{ARN: arn, Text: allowAll})
	r.ok(&PolicyVersionSet{ARN: arn, Text: allowAll, Oldest: true})
	if p := r.s.PolicyByARN(arn); p.Versions[0].Number != 2 || len(p.Versions) != MaxPolicyVersions {
		t.Fatalf("the version in force went: %+v", p.Versions)
	}
	r.ok(&GroupRemove{Account: "corp", Name: "engineers"})
	if u := r.s.UserIn("corp", "alicia"); len(u.Groups) != 0 {
		t.Fatalf("still in %v", u.Groups)
	}
}

// TestIdentityWalk changes identities at random. Whatever happens, nothing refers to what
// is not there, what is found by its id, key or address is right, and a snapshot has it all.
func TestIdentityWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, index := New(), 3
		apply := func(b Body) {
			index++
			c := Command{At: int64(index), Body: b}
			enc, err := Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			if c, err = Decode(enc); err != nil {
				t.Fatal(err)
			}
			was := s.Snapshot()
			before, _ := was.Encode()
			res := s.Apply(c, s.index+1)
			if again, _ := was.Encode(); !bytes.Equal(before, again) {
				t.Fatalf("%s changed a snapshot", KindOf(b))
			}
			if res.Changed && KindOf(b) != "bootstrap" {
				t.Fatalf("%s made an epoch", KindOf(b))
			}
			checkIdentities(t, s, KindOf(b))
		}
		apply(&Bootstrap{Cluster: UUID{1}, Mons: []Mon{{Name: "a", Addr: "m:1", RaftAddr: "m:2"}}})
		pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
		name := func() string { return pick("name", "a", "a", "A", "b") }
		account := func() string { return pick("account", "x", "x", "x", "x", "y", "", "none") }
		n := 0
		id := func() string {
			n++
			return idOf("ID", n-rapid.IntRange(0, 5).Draw(t, "used")/5)
		}
		arn := func() string {
			return pick("arn", "arn:aws:iam::x:policy/a", "arn:aws:iam::x:policy/a", "arn:aws:iam::y:policy/a", "arn:aws:iam::x:policy/p/a", "arn:aws:iam::aws:policy/AmazonS3FullAccess", "nonsense")
		}
		holder := func() Holder {
			return Holder{Kind: pick("kind", HolderUser, HolderGroup, HolderRole), Account: account(), Name: name()}
		}
		key := func() AccessKey {
			k := AccessKey{AccessKey: fmt.Sprint("K", rapid.IntRange(0, 20).Draw(t, "key")), SecretKey: "secretsecret"}
			if rapid.Bool().Draw(t, "service") {
				k.Service, k.Policy = name(), allowAll
			}
			return k
		}
		for _, a := range []string{"x", "y"} {
			apply(&UserCreate{User: User{Name: a, Keys: []AccessKey{{AccessKey: "ROOT" + a, SecretKey: "secretsecret"}}, Entity: Entity{ID: idOf("ROOT", int(a[0]))}}})
		}
		for range rapid.IntRange(20, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 17).Draw(t, "what") {
			case 0, 1, 2:
				apply(&UserCreate{User: User{Name: name(), Email: pick("email", "", "a@b", "c@d"), Entity: Entity{Account: account(), ID: id()}}})
			case 3:
				apply(&UserRemove{Account: account(), Name: name(), Bare: rapid.Bool().Draw(t, "bare")})
			case 4:
				apply(&UserSet{Account: account(), Name: name(), NewName: ptr(name()), Email: ptr(pick("email", "", "a@b", "c@d"))})
			case 5, 6:
				apply(&KeyCreate{Account: account(), User: name(), Key: key()})
			case 7:
				apply(&KeyRemove{Account: account(), User: name(), AccessKey: key().AccessKey})
			case 8:
				apply(&GroupCreate{Group: Group{Name: name(), Entity: Entity{Account: account(), ID: id()}}})
			case 9:
				apply(&GroupMember{Account: account(), Group: name(), User: name(), Remove: rapid.IntRange(0, 3).Draw(t, "remove") == 0})
			case 10:
				if rapid.Bool().Draw(t, "rename") {
					apply(&GroupSet{Account: account(), Name: name(), NewName: ptr(name())})
				} else {
					apply(&GroupRemove{Account: account(), Name: name(), Bare: rapid.Bool().Draw(t, "bare")})
				}
			case 11:
				apply(&RoleCreate{Role: Role{Name: name(), Trust: allowAll, Entity: Entity{Account: account(), ID: id()}}})
			case 12:
				if rapid.Bool().Draw(t, "set") {
					apply(&RoleSet{Account: account(), Name: name(), Trust: ptr("{}")})
				} else {
					apply(&RoleRemove{Account: account(), Name: name(), Bare: rapid.Bool().Draw(t, "bare")})
				}
			case 13:
				apply(&PolicyCreate{Policy: Policy{Account: account(), Name: name(), ID: id(), Path: pick("path", "", "", "/p/")}, Text: allowAll})
			case 14:
				if rapid.Bool().Draw(t, "remove") {
					apply(&PolicyRemove{ARN: arn(), Bare: rapid.Bool().Draw(t, "bare")})
				} else {
					apply(&PolicyVersionSet{ARN: arn(), Text: pick("text", "", allowAll), Number: rapid.IntRange(0, 4).Draw(t, "version"), Remove: rapid.Bool().Draw(t, "remove version"), Oldest: rapid.Bool().Draw(t, "oldest"), Default: rapid.Bool().Draw(t, "default")})
				}
			case 15:
				apply(&PolicyAttach{Holder: holder(), ARN: arn(), Detach: rapid.IntRange(0, 3).Draw(t, "detach") == 0})
			case 16:
				apply(&PolicyInline{Holder: holder(), Name: name(), Text: pick("text", "", "{}", allowAll)})
			case 17:
				apply(&BoundarySet{Holder: holder(), ARN: pick("boundary", "", arn())})
			}
		}
		r, err := Restore(encoded(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded(t, r), encoded(t, s)) || !reflect.DeepEqual(r.ids, s.ids) || !reflect.DeepEqual(r.keys, s.keys) || !reflect.DeepEqual(r.emails, s.emails) || r.documents != s.documents {
			t.Fatal("a restored state differs")
		}
	})
}

func checkIdentities(t *rapid.T, s *State, after string) {
	if got := s.countDocuments(); got != s.documents {
		t.Fatalf("after %s: %d bytes of documents, counted %d", after, got, s.documents)
	}
	check := func(kind, name, owner string, e *Entity) {
		if e.Account != "" && s.users[e.Account] == nil {
			t.Fatalf("after %s: %s %s belongs to account %q, which is not there", after, kind, name, e.Account)
		}
		for _, arn := range append(slices.Clone(e.Attached), e.Boundary) {
			if arn == "" {
				continue
			}
			if p := s.PolicyByARN(arn); p == nil || p.Account != owner && p.Account != builtinAccount {
				t.Fatalf("after %s: %s %s of %q has policy %s: %+v", after, kind, name, owner, arn, p)
			}
		}
	}
	for k, u := range s.users {
		owner := u.Account
		if owner == "" {
			owner = u.Name
		}
		check("user", u.Name, owner, &u.Entity)
		if k != userKey(u.Account, u.Name) || u.ID != "" && s.UserByID(u.ID) != u || u.Email != "" && s.UserByEmail(u.Email) != u {
			t.Fatalf("after %s: user %+v under %q", after, u, k)
		}
		for _, key := range u.Keys {
			if s.UserByKey(key.AccessKey) != u {
				t.Fatalf("after %s: key %s of %s is found elsewhere", after, key.AccessKey, u.Name)
			}
		}
		if len(s.GroupsOf(u)) != len(u.Groups) {
			t.Fatalf("after %s: user %s is in groups that are not there: %v", after, u.Name, u.Groups)
		}
		for _, g := range s.GroupsOf(u) {
			if g.Account != u.Account {
				t.Fatalf("after %s: user %s of %q is in group %s of %q", after, u.Name, u.Account, g.Name, g.Account)
			}
		}
	}
	for _, g := range s.groups {
		check("group", g.Name, g.Account, &g.Entity)
	}
	for _, r := range s.roles {
		check("role", r.Name, r.Account, &r.Entity)
		if s.RoleByID(r.ID) != r {
			t.Fatalf("after %s: role %s is not found by id", after, r.Name)
		}
	}
	for _, p := range s.policies {
		if p.Text() == "" || s.PolicyByARN(p.ARN()) != p || s.users[p.Account] == nil {
			t.Fatalf("after %s: policy %+v", after, p)
		}
	}
}
