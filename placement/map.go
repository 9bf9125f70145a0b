package placement

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/placement/crush"
)

// Epoch is the version of the cluster map. Every committed change of the map
// raises it by at least one; zero means "no map yet".
type Epoch uint64

// Term is the configuration number of one PG. Only the monitors advance it,
// whenever the PG gets a new primary or its primary restarts, so a term has
// exactly one primary in exactly one incarnation.
type Term uint32

// OSDID names an OSD. The monitors hand ids out, one per store UUID, for ever.
type OSDID int32

// NoOSD is the absence of an OSD, for example of a primary.
const NoOSD OSDID = -1

// String returns the familiar form "osd.3".
func (id OSDID) String() string {
	if id < 0 {
		return "none"
	}
	return "osd." + strconv.Itoa(int(id))
}

// PoolID names a pool; ids start at 1 and are never used again.
type PoolID uint32

// PGID names a placement group, a shard of a pool.
type PGID struct {
	Pool  PoolID
	Shard uint32
}

// String returns Ceph's form, "pool.shard" with the shard in hexadecimal.
func (id PGID) String() string { return fmt.Sprintf("%d.%x", id.Pool, id.Shard) }

// ParsePGID reads what PGID.String prints.
func ParsePGID(s string) (PGID, error) {
	pool, shard, ok := strings.Cut(s, ".")
	p, err1 := strconv.ParseUint(pool, 10, 32)
	n, err2 := strconv.ParseUint(shard, 16, 32)
	if !ok || err1 != nil || err2 != nil || p == 0 {
		return PGID{}, fmt.Errorf("PG id %q: want POOL.SHARD such as 1.2f (pool id decimal, shard hexadecimal); see `cairn pg ls`", s)
	}
	return PGID{Pool: PoolID(p), Shard: uint32(n)}, nil
}

// Less orders PG ids by pool, then shard.
func (id PGID) Less(o PGID) bool {
	return id.Pool < o.Pool || id.Pool == o.Pool && id.Shard < o.Shard
}

// UUID is a 16-byte identity: of a cluster, or of an OSD's store.
type UUID [16]byte

// String prints the 8-4-4-4-12 form.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// IsZero reports whether u was never set.
func (u UUID) IsZero() bool { return u == UUID{} }

// WeightOne is the reweight of an OSD that is fully in; zero is out. Weights are 16.16 fixed point.
const WeightOne uint32 = 0x10000

// Map is one epoch of the cluster map: everything a client or a daemon needs
// to find out, without asking anybody, where a name lives. A published Map is
// never changed; make a Clone, change that, publish it as the next epoch.
//
// All slices are sorted (Mons by Name, OSDs and Pools by ID, Services by Kind
// then Name, Config by Key), so that equal maps have equal encodings.
type Map struct {
	Epoch    Epoch
	Cluster  UUID
	Created  int64 // unix nanoseconds
	Modified int64 // unix nanoseconds of the change that made this epoch
	Flags    Flags

	Mons     []Mon
	OSDs     []OSD
	Crush    *crush.Map // never nil in a published map; immutable
	Pools    []Pool
	PGs      []PoolPGs // sorted by Pool, one entry for each pool
	Services []Service
	Config   []Setting // central configuration: what daemons are to use instead of their defaults

	NextPool PoolID // the id the next pool gets
	NextOSD  OSDID  // the id the next unknown store gets
}

// Flags are cluster-wide switches set by the administrator (noout, pause, ...).
type Flags uint32

// The cluster flags, in Ceph's words.
const (
	FlagNoOut       Flags = 1 << iota // down OSDs are not marked out
	FlagPause                         // client reads and writes wait
	FlagNoDown                        // OSDs that do not answer are not marked down
	FlagNoRebalance                   // copies are not moved to other places while all copies are there
	FlagNoRecover                     // missing copies are not made again
	FlagNoBackfill                    // copies are not made by scanning whole PGs
	FlagNoScrub                       // no scrubs begin by themselves
	FlagNoDeepScrub                   // no deep scrubs begin by themselves

	flagsEnd // the bit after the last
)

// AllFlags has every flag this program knows.
const AllFlags = flagsEnd - 1

var flagNames = [...]string{"noout", "pause", "nodown", "norebalance", "norecover", "nobackfill", "noscrub", "nodeep-scrub"}

// FlagByName returns the flag with that name, as FlagNames prints it.
func FlagByName(name string) (Flags, bool) {
	for i, n := range flagNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// FlagNames returns the names of the flags that are set, in the order of their
// bits.
func (f Flags) FlagNames() []string {
	var out []string
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// Mon is a monitor.
type Mon struct {
	Name      string
	Addr      string // messenger address, host:port
	RaftAddr  string // Raft transport address, host:port
	AdminAddr string // REST address, host:port
}

// OSD is what the map knows of one OSD.
type OSD struct {
	ID          OSDID
	Store       UUID   // identity of the disk's content (R7)
	Incarnation uint64 // raised by every start of the daemon
	Addr        string // messenger address, host:port
	Class       string // device class: ssd, hdd, nvme
	Up          bool
	Weight      uint32 // reweight, 16.16; 0 is out, WeightOne fully in
	AutoOut     bool   // the monitors, not a person, marked it out; it comes in again when it boots
	UpFrom      Epoch  // epoch at which it last came up
	DownAt      Epoch  // epoch at which it last went down, 0 if never
	Capacity    int64  // bytes
	Draining    bool   // an administrator empties it: CRUSH does not choose it, it serves until it is empty
	Full        Fullness
	Slow        bool // its device is much slower than others of its class, as the leading monitor judges by the reports
}

// In reports whether CRUSH may choose the OSD.
func (o *OSD) In() bool { return o.Weight > 0 && !o.Draining }

// Shunned reports whether another member should lead a PG rather than this OSD: its
// device is slow, and the configuration does not forbid to care.
func (m *Map) Shunned(id OSDID) bool {
	o := m.OSD(id)
	return o != nil && o.Slow && m.ConfigSwitch(KeySlowAvoidPrimary)
}

// Fullness is how full an OSD is, as the leading monitor judges by its reports.
type Fullness uint8

// The steps, each of which includes those before it.
const (
	NotFull      Fullness = iota
	NearFull              // a warning
	BackfillFull          // no copies move here
	Full                  // no client may write what needs space here
)

// String returns Ceph's word.
func (f Fullness) String() string {
	switch f {
	case NotFull:
		return "ok"
	case NearFull:
		return "nearfull"
	case BackfillFull:
		return "backfillfull"
	case Full:
		return "full"
	}
	return fmt.Sprintf("fullness(%d)", uint8(f))
}

// PoolFlags are properties of a pool.
type PoolFlags uint32

// Flags of a pool. With neither of the first two the monitors choose its number of PGs.
const (
	PoolNoAutoscale   PoolFlags = 1 << iota // an administrator does
	PoolAutoscaleWarn                       // likewise, but the cluster's health says when it should be raised
)

// AutoscaleMode returns Ceph's word for who chooses a pool's number of PGs: on, off or warn.
func (f PoolFlags) AutoscaleMode() string {
	switch {
	case f&PoolAutoscaleWarn != 0:
		return "warn"
	case f&PoolNoAutoscale != 0:
		return "off"
	}
	return "on"
}

// AutoscaleFlags is the inverse of AutoscaleMode.
func AutoscaleFlags(mode string) (f PoolFlags, ok bool) {
	switch mode {
	case "on":
		return 0, true
	case "off":
		return PoolNoAutoscale, true
	case "warn":
		return PoolNoAutoscale | PoolAutoscaleWarn, true
	}
	return 0, false
}

// Pool is the policy of a pool.
type Pool struct {
	ID          PoolID
	Name        string
	Size        uint32 // copies
	MinSize     uint32 // in-sync copies below which nothing commits
	PGNum       uint32
	Rule        int32  // CRUSH rule id
	Application string // what uses it: s3, rbd, nfs or free text
	Flags       PoolFlags
	Created     Epoch
	PGNumTarget uint32 // where the monitors are growing PGNum to; at least PGNum
	FirstPGNum  uint32 // PGNum at creation: shards from here on came about by splitting
	Chunks      ChunkPolicy
}

// PoolPGs holds the PG records of a pool, indexed by shard; its length is the pool's PGNum.
type PoolPGs struct {
	Pool    PoolID
	Records []PGRecord
}

// PGRecord is the part of a PG's state that only the monitors change
// (DESIGN section 4): who leads it and who holds every acknowledged write.
// Compare-and-set works on Version.
type PGRecord struct {
	Term    Term
	Version Epoch   // epoch of the last change of this record
	Primary OSDID   // NoOSD while no in-sync member is up
	InSync  []OSDID // in target order where possible; never empty once Created
	Created bool    // false until the first primary reported the PG active
	Forced  bool    // an administrator made this term's primary lead: its copy is the truth, whatever it lacks
}

// Has reports whether id is in the in-sync set.
func (r *PGRecord) Has(id OSDID) bool {
	for _, m := range r.InSync {
		if m == id {
			return true
		}
	}
	return false
}

// Setting is one entry of the central configuration. docs/operations/cli.md has
// the keys.
type Setting struct {
	Key   string
	Value string
}

// Setting returns the value that the central configuration has for key, and
// whether it has one.
func (m *Map) Setting(key string) (string, bool) {
	for i := range m.Config {
		if m.Config[i].Key == key {
			return m.Config[i].Value, true
		}
	}
	return "", false
}

// Service is a gateway or other registered service.
type Service struct {
	Kind string // s3, ...
	Name string
	Addr string // what its users connect to, host:port
}

// OSD returns the OSD with that id, or nil. The result must not be changed.
func (m *Map) OSD(id OSDID) *OSD {
	lo, hi := 0, len(m.OSDs)
	for lo < hi {
		mid := (lo + hi) / 2
		if m.OSDs[mid].ID < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(m.OSDs) && m.OSDs[lo].ID == id {
		return &m.OSDs[lo]
	}
	return nil
}

// IsUp reports whether the OSD exists and is up.
func (m *Map) IsUp(id OSDID) bool {
	o := m.OSD(id)
	return o != nil && o.Up
}

// Pool returns the pool with that id, or nil. The result must not be changed.
func (m *Map) Pool(id PoolID) *Pool {
	for i := range m.Pools {
		if m.Pools[i].ID == id {
			return &m.Pools[i]
		}
	}
	return nil
}

// PoolByName returns the pool with that name, or nil. The result must not be changed.
func (m *Map) PoolByName(name string) *Pool {
	for i := range m.Pools {
		if m.Pools[i].Name == name {
			return &m.Pools[i]
		}
	}
	return nil
}

// PG returns the record of a PG, or nil. The result must not be changed.
func (m *Map) PG(id PGID) *PGRecord {
	for i := range m.PGs {
		if p := &m.PGs[i]; p.Pool == id.Pool {
			if int(id.Shard) < len(p.Records) {
				return &p.Records[id.Shard]
			}
			return nil
		}
	}
	return nil
}
