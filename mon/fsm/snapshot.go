package fsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"

	"github.com/cairnstore/cairn/placement"
)

// SnapshotVersion is the version of the snapshot encoding.
const SnapshotVersion = 3

// MaxSnapshotBytes bounds a snapshot that Restore reads.
const MaxSnapshotBytes = 256 << 20

// ErrNewerSnapshot is wrapped by Restore's error about a snapshot of a newer version.
var ErrNewerSnapshot = errors.New("snapshot is from a newer version")

// ErrCorruptSnapshot is wrapped by Restore's error about bytes that are no whole snapshot.
var ErrCorruptSnapshot = errors.New("snapshot is damaged")

const snapshotMagic = "CRNMONST"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// side is the part of a snapshot that is not the map.
type side struct {
	Index  placement.Epoch   `json:"index"`
	Users  []*User           `json:"users,omitempty"`
	Config map[string]string `json:"config,omitempty"` // version 1 only: now in the map
	Facts  []osdFacts        `json:"facts,omitempty"`
	Audit  []AuditEntry      `json:"audit,omitempty"`

	Removed []RemovedOSD `json:"removed,omitempty"`

	// Since version 3.
	Groups    []*Group    `json:"groups,omitempty"`
	Roles     []*Role     `json:"roles,omitempty"`
	Policies  []*Policy   `json:"policies,omitempty"`
	Providers []*Provider `json:"providers,omitempty"`
	TokenKeys []TokenKey  `json:"token_keys,omitempty"`
}

type osdFacts struct {
	OSD placement.OSDID `json:"osd"`
	Facts
}

// Snapshot is a State frozen at one index. Encoding it needs no lock.
type Snapshot struct {
	m    *placement.Map
	side side
}

// Snapshot freezes the state.
func (s *State) Snapshot() *Snapshot {
	sd := side{Index: s.index, Users: s.Users(), Audit: s.audit, Removed: s.removed,
		Groups: of(s.groups, "*"), Roles: of(s.roles, "*"), Policies: of(s.policies, "*"), Providers: of(s.providers, "*"), TokenKeys: s.tokenKeys}
	for id, f := range s.facts {
		sd.Facts = append(sd.Facts, osdFacts{OSD: id, Facts: f})
	}
	sort.Slice(sd.Facts, func(i, j int) bool { return sd.Facts[i].OSD < sd.Facts[j].OSD })
	return &Snapshot{m: s.m, side: sd}
}

// Encode returns the snapshot's bytes: equal states have equal bytes.
func (s *Snapshot) Encode() ([]byte, error) {
	sd, err := json.Marshal(s.side)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	m := placement.EncodeMap(s.m)
	b := make([]byte, 0, len(snapshotMagic)+16+len(sd)+len(m))
	b = append(b, snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, SnapshotVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(sd)))
	b = append(b, sd...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m)))
	b = append(b, m...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// Restore returns the state that a snapshot holds.
func Restore(b []byte) (*State, error) {
	if len(b) < len(snapshotMagic)+8 || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("restore snapshot of %d bytes: %w: it does not begin with %s", len(b), ErrCorruptSnapshot, snapshotMagic)
	}
	if v := binary.LittleEndian.Uint32(b[len(snapshotMagic):]); v > SnapshotVersion {
		return nil, fmt.Errorf("restore snapshot: %w: version %d, this program knows versions up to %d: upgrade this monitor", ErrNewerSnapshot, v, SnapshotVersion)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("restore snapshot of %d bytes: %w: checksum %08x, want %08x", len(b), ErrCorruptSnapshot, got, sum)
	}
	rest := body[len(snapshotMagic)+4:]
	sdBytes, rest, ok := cutSized(rest)
	if !ok {
		return nil, fmt.Errorf("restore snapshot of %d bytes: %w: the first part is cut off", len(b), ErrCorruptSnapshot)
	}
	mBytes, rest, ok := cutSized(rest)
	if !ok || len(rest) != 0 {
		return nil, fmt.Errorf("restore snapshot of %d bytes: %w: the map has another length than stated", len(b), ErrCorruptSnapshot)
	}
	var sd side
	d := json.NewDecoder(bytes.NewReader(sdBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&sd); err != nil {
		return nil, fmt.Errorf("restore snapshot: %w: %w", ErrCorruptSnapshot, err)
	}
	m, err := placement.DecodeMap(mBytes)
	if err != nil {
		return nil, fmt.Errorf("restore snapshot: %w", err)
	}
	for k, v := range sd.Config {
		m.Config = append(m.Config, placement.Setting{Key: k, Value: v})
	}
	slices.SortFunc(m.Config, func(a, b placement.Setting) int { return cmp.Compare(a.Key, b.Key) })
	s := fromMap(m)
	s.index = sd.Index
	for _, u := range sd.Users {
		s.users[userKey(u.Account, u.Name)] = u
	}
	s.restoreIdentity(&sd)
	for _, f := range sd.Facts {
		s.facts[f.OSD] = f.Facts
	}
	s.audit = sd.Audit[max(0, len(sd.Audit)-MaxAudit):]
	s.removed = sd.Removed[max(0, len(sd.Removed)-maxRemoved):]
	return s, nil
}

func (s *State) restoreIdentity(sd *side) {
	s.groups, s.roles = map[string]*Group{}, map[string]*Role{}
	s.policies, s.providers = map[string]*Policy{}, map[string]*Provider{}
	for _, g := range sd.Groups {
		s.groups[entityKey(g.Account, g.Name)] = g
	}
	for _, r := range sd.Roles {
		s.roles[entityKey(r.Account, r.Name)] = r
	}
	for _, p := range sd.Policies {
		s.policies[entityKey(p.Account, p.Name)] = p
	}
	for _, p := range sd.Providers {
		s.providers[p.Account+"/"+p.Host()] = p
	}
	s.tokenKeys = sd.TokenKeys[max(0, len(sd.TokenKeys)-MaxTokenKeys):]
	s.documents = s.countDocuments()
	s.reindex()
}

// cutSized splits off a part that its length precedes.
func cutSized(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
