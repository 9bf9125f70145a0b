package fsm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// Limits of the state. They bound the map every client holds in memory.
const (
	MaxMons        = 9
	MaxOSDs        = 10000
	MaxPools       = 1024
	MaxPGs         = 32768 // of all pools together
	MaxSize        = 10    // copies of a pool
	MaxUsers       = 10000
	MaxKeysPerUser = 8
	MaxServices    = 1024
	MaxNameBytes   = 64
	MaxAddrBytes   = 255
	MaxTextBytes   = 255 // display names, applications, configuration values
)

// State is what the monitors agree on. It is not safe for concurrent use; the
// maps it returns are.
type State struct {
	m     *placement.Map   // never changed, only replaced
	table *placement.Table // remembers the targets of m, or of an earlier map
	index placement.Epoch
	users map[string]*User // by userKey; values are never changed, only replaced
	identity
	keys   map[string]string // of access keys, ids and addresses: where what they belong to is kept
	ids    map[string]string
	emails map[string]string
	facts  map[placement.OSDID]Facts
	audit  []AuditEntry // oldest first, at most MaxAudit

	removed []RemovedOSD // oldest first, at most maxRemoved; never changed, only replaced
}

// User is somebody who may use the gateways. It is not part of the published
// map, because its keys are secrets. One without an Account is an account, and may
// do everything in it.
type User struct {
	Name        string      `json:"name"`
	DisplayName string      `json:"display_name,omitempty"`
	Keys        []AccessKey `json:"keys,omitempty"`
	Suspended   bool        `json:"suspended,omitempty"`
	Email       string      `json:"email,omitempty"`
	// Admin: as an account, may look after the identities of all others.
	Admin  bool     `json:"admin,omitempty"`
	Groups []string `json:"groups,omitempty"` // ids
	Entity
}

// AccessKey is one pair of credentials of a user. One with a name is a service
// account: it may do what its user may and its policy, if it has one, allows too.
type AccessKey struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Inactive  bool   `json:"inactive,omitempty"`
	Created   int64  `json:"created,omitempty"` // unix nanoseconds
	Service   string `json:"service,omitempty"`
	Policy    string `json:"policy,omitempty"`
	Expires   int64  `json:"expires,omitempty"` // unix nanoseconds, 0: never
}

// Facts is what the monitors remember of an OSD beyond its entry in the map.
type Facts struct {
	Failures []int64 `json:"failures,omitempty"` // when it was marked down for not answering, unix ns; recent ones only

	// What a person has set in the CRUSH map, so that boots leave it alone.
	OwnClass  bool `json:"own_class,omitempty"`
	OwnWeight bool `json:"own_weight,omitempty"`
	OwnPlace  bool `json:"own_place,omitempty"`
}

// Result is the outcome of a command.
type Result struct {
	Code    wirepb.Code     `json:"code"`
	Text    string          `json:"text,omitempty"` // why it was refused
	Index   placement.Epoch `json:"index"`          // log index of the command
	Epoch   placement.Epoch `json:"epoch"`          // of the map after the command; a change is visible in it
	Changed bool            `json:"changed"`        // the map changed, so Epoch is the command's own

	OSD  placement.OSDID  `json:"osd,omitempty"`  // osd-register: the id
	Pool placement.PoolID `json:"pool,omitempty"` // pool-create: the id
}

// refusal is the error of a body that refuses; Apply turns it into a Result.
type refusal struct {
	code wirepb.Code
	text string
}

func (r *refusal) Error() string { return r.text }

func refuse(code wirepb.Code, format string, args ...any) error {
	return &refusal{code: code, text: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return refuse(wirepb.Code_INVALID, format, args...)
}

// New returns the state before the first command: a map of epoch 0 without a
// cluster.
func New() *State {
	return fromMap(&placement.Map{Crush: crush.NewDefault(), NextPool: 1})
}

func fromMap(m *placement.Map) *State {
	return &State{
		m:     m,
		table: placement.NewTable(m),
		users: make(map[string]*User),
		keys:  make(map[string]string),
		facts: make(map[placement.OSDID]Facts),
	}
}

// Map returns the current map. Nobody may change it.
func (s *State) Map() *placement.Map { return s.m }

// Index returns the log index of the last command applied.
func (s *State) Index() placement.Epoch { return s.index }

// User returns a user who is an account by name, or nil. Nobody may change it.
func (s *State) User(name string) *User { return s.users[userKey("", name)] }

// UserByKey returns the user with that access key, or nil. Nobody may change it.
func (s *State) UserByKey(accessKey string) *User { return s.users[s.keys[accessKey]] }

// Users returns all users, by name and those of accounts behind them. Nobody may change them.
func (s *State) Users() []*User {
	keys := make([]string, 0, len(s.users))
	for k := range s.users {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]*User, len(keys))
	for i, k := range keys {
		out[i] = s.users[k]
	}
	return out
}

// Config returns a copy of the central configuration.
func (s *State) Config() map[string]string {
	out := make(map[string]string, len(s.m.Config))
	for _, v := range s.m.Config {
		out[v.Key] = v.Value
	}
	return out
}

// Facts returns what is remembered of an OSD.
func (s *State) Facts(id placement.OSDID) Facts { return s.facts[id] }

// Apply applies one command with the log index it has. A refused command
// changes nothing but the index.
func (s *State) Apply(c Command, index placement.Epoch) Result {
	r := s.apply(c, index)
	s.note(c, r)
	return r
}

func (s *State) apply(c Command, index placement.Epoch) Result {
	t := &txn{s: s, at: c.At, index: index, m: *s.m}
	var (
		r   Result
		err error
	)
	if _, first := c.Body.(*Bootstrap); !first && s.m.Cluster.IsZero() {
		err = refuse(wirepb.Code_TRY_LATER, "the cluster is not bootstrapped yet; wait until the first monitors have found each other")
	} else {
		r, err = c.Body.apply(t)
	}
	s.index = index
	if err != nil {
		var no *refusal
		if !errors.As(err, &no) {
			no = &refusal{code: wirepb.Code_INVALID, text: err.Error()}
		}
		return Result{Code: no.code, Text: no.text, Index: index, Epoch: s.m.Epoch}
	}
	t.commit()
	r.Code, r.Index, r.Epoch, r.Changed = wirepb.Code_OK, index, s.m.Epoch, t.changed
	return r
}

// txn is a command at work: a copy of the map whose parts are copied when
// they are first changed. Nothing of it is visible before commit.
type txn struct {
	s     *State
	at    int64
	index placement.Epoch
	m     placement.Map
	table *placement.Table // the targets of m; nil as long as nothing they depend on changed

	changed     bool
	osdsCopied  bool
	crushCopied bool
	pgsCopied   bool
	recsCopied  map[int]bool // by index into m.PGs

	users map[string]*User // nil: unchanged, and so below
	identity
	facts   map[placement.OSDID]Facts
	removed []RemovedOSD
}

// commit makes the txn the state.
func (t *txn) commit() {
	s := t.s
	if t.changed {
		t.m.Epoch = t.index
		// The proposers' clocks differ a little; the map's time never steps back.
		t.m.Modified = max(t.at, s.m.Modified)
		m := t.m
		s.m = &m
		if t.table != nil {
			s.table = t.table
		}
	}
	t.commitIdentity()
	if t.facts != nil {
		s.facts = t.facts
	}
	if t.removed != nil {
		s.removed = t.removed
	}
}

func (t *txn) commitIdentity() {
	s := t.s
	s.documents += t.documents
	if t.tokenKeys != nil {
		s.tokenKeys = t.tokenKeys
	}
	if t.users == nil && t.groups == nil && t.roles == nil && t.policies == nil && t.providers == nil {
		return
	}
	if t.users != nil {
		s.users = t.users
	}
	if t.groups != nil {
		s.groups = t.groups
	}
	if t.roles != nil {
		s.roles = t.roles
	}
	if t.policies != nil {
		s.policies = t.policies
	}
	if t.providers != nil {
		s.providers = t.providers
	}
	s.reindex()
}

func keyIndex(users map[string]*User) map[string]string {
	keys := make(map[string]string, len(users))
	for name, u := range users {
		for _, k := range u.Keys {
			keys[k.AccessKey] = name
		}
	}
	return keys
}

// osd returns the OSD's entry to be changed, or nil.
func (t *txn) osd(id placement.OSDID) *placement.OSD {
	if t.m.OSD(id) == nil {
		return nil
	}
	if !t.osdsCopied {
		t.m.OSDs, t.osdsCopied = slices.Clone(t.m.OSDs), true
	}
	t.changed = true
	return t.m.OSD(id)
}

// record returns the record with index shard of t.m.PGs[i], to be changed, and
// stamps it with the version of this command.
func (t *txn) record(i, shard int) *placement.PGRecord {
	if !t.pgsCopied {
		t.m.PGs, t.pgsCopied = slices.Clone(t.m.PGs), true
		t.recsCopied = make(map[int]bool)
	}
	if !t.recsCopied[i] {
		t.m.PGs[i].Records = slices.Clone(t.m.PGs[i].Records)
		t.recsCopied[i] = true
	}
	t.changed = true
	r := &t.m.PGs[i].Records[shard]
	r.Version = t.index
	return r
}

// pool returns the pool's entry to be changed, or nil.
func (t *txn) pool(id placement.PoolID) *placement.Pool {
	t.m.Pools = slices.Clone(t.m.Pools)
	t.changed = true
	return t.m.Pool(id)
}

// setFacts replaces what is remembered of an OSD.
func (t *txn) setFacts(id placement.OSDID, f Facts) {
	if t.facts == nil {
		t.facts = maps.Clone(t.s.facts)
	}
	if len(f.Failures) == 0 && !f.OwnClass && !f.OwnWeight && !f.OwnPlace {
		delete(t.facts, id)
		return
	}
	t.facts[id] = f
}

// checkName refuses names that could not be written into addresses, paths and
// commands without quoting.
func checkName(what, name string) error {
	if name == "" || len(name) > MaxNameBytes {
		return invalid("%s name %q: want 1 to %d letters, digits, '-', '_' or '.'", what, name, MaxNameBytes)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
		if !ok {
			return invalid("%s name %q: character %q is not allowed; use letters, digits, '-', '_' and '.'", what, name, c)
		}
	}
	return nil
}

func checkText(what, s string, most int) error {
	if len(s) > most {
		return invalid("%s: %d bytes, at most %d are allowed", what, len(s), most)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return invalid("%s: control characters are not allowed", what)
		}
	}
	return nil
}
