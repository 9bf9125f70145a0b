// Package admintest is a monitor in memory for tests of the REST interface and
// of the commands that use it: an admin.Backend whose cluster the test arranges.
// It applies changes to its map, but it moves no data and elects no leader.
package admintest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// Now is the time in the sample cluster.
var Now = time.Unix(1795342500, 0).UTC()

// GiB and KiB help to write sizes.
const (
	KiB = 1 << 10
	GiB = 1 << 30
)

const sampleCrush = `tunable choose_local_tries 0
tunable choose_local_fallback_tries 0
tunable choose_total_tries 50
tunable chooseleaf_descend_once 1
tunable chooseleaf_vary_r 1
tunable chooseleaf_stable 1
tunable straw_calc_version 1
tunable allowed_bucket_algs 54
device 0 osd.0 class hdd
device 1 osd.1 class hdd
device 2 osd.2 class hdd
type 0 osd
type 1 host
type 11 root
host host0 {
	id -3
	alg straw2
	hash 0
	item osd.0 weight 0.01949
}
host host1 {
	id -5
	alg straw2
	hash 0
	item osd.1 weight 0.01949
}
host host2 {
	id -7
	alg straw2
	hash 0
	item osd.2 weight 0.01949
}
root default {
	id -1
	alg straw2
	hash 0
	item host0 weight 0.01949
	item host1 weight 0.01949
	item host2 weight 0.01949
}
rule replicated_rule {
	id 0
	type replicated
	min_size 1
	max_size 10
	step take default
	step chooseleaf firstn 0 type host
	step emit
}
`

// Backend is the monitor. Change its fields only between requests, or under Edit.
type Backend struct {
	mu    sync.Mutex // guards below
	m     *placement.Map
	q     api.Quorum
	r     map[placement.OSDID]api.OSDStatus
	s     []api.ServiceStatus
	users map[string]*wirepb.User
	fail  error // returned by every change, if not nil
	audit []api.AuditEntry
}

// State is what Edit gives to change.
type State struct {
	Map      *placement.Map // a copy, its epoch already raised
	Quorum   *api.Quorum
	Reports  map[placement.OSDID]api.OSDStatus
	Services *[]api.ServiceStatus
	Fail     *error // what every change returns
}

// New returns a healthy cluster: monitors a, b and c led by a, three OSDs of 20 GiB on
// three hosts, pool rbd with 8 PGs and pool s3.data with 4, each PG with 10
// objects of 1 MiB in all, and one S3 gateway.
func New() *Backend {
	c, err := crush.Parse(sampleCrush)
	if err != nil {
		panic("admintest: sample CRUSH map: " + err.Error()) // a constant of this file
	}
	m := &placement.Map{
		Epoch: 26, Created: Now.Add(-time.Hour).UnixNano(), Modified: Now.Add(-75 * time.Second).UnixNano(), Crush: c,
		Cluster:  placement.UUID{0x6b, 0x2d, 0x69, 0x96, 0x7f, 0x98, 0x45, 0x77, 0x98, 0x9a, 0x90, 0x28, 0xa8, 0xec, 0x59, 0xde},
		NextPool: 3, NextOSD: 3,
		Pools: []placement.Pool{
			{ID: 1, Name: "rbd", Size: 3, MinSize: 2, PGNum: 8, Application: "rbd", Created: 17, PGNumTarget: 8, FirstPGNum: 8},
			{ID: 2, Name: "s3.data", Size: 3, MinSize: 2, PGNum: 4, Application: "s3", Created: 20, PGNumTarget: 4, FirstPGNum: 4},
		},
	}
	b := &Backend{m: m, users: map[string]*wirepb.User{}, r: map[placement.OSDID]api.OSDStatus{}}
	b.q = api.Quorum{Self: "a", Leader: "a", LeaderAdmin: "127.0.0.1:7480", Term: 3, LeaderSince: Now.Add(-92 * time.Second)}
	for i, name := range []string{"a", "b", "c"} {
		mon := placement.Mon{Name: name, Addr: fmt.Sprintf("127.0.0.1:%d", 3300+i), RaftAddr: fmt.Sprintf("127.0.0.1:%d", 3310+i),
			AdminAddr: fmt.Sprintf("127.0.0.1:%d", 7480+i)}
		m.Mons = append(m.Mons, mon)
		b.q.Members = append(b.q.Members, api.QuorumMember{Name: name, Addr: mon.Addr, RaftAddr: mon.RaftAddr, AdminAddr: mon.AdminAddr, InQuorum: true})
	}
	for i := range 3 {
		m.OSDs = append(m.OSDs, placement.OSD{ID: placement.OSDID(i), Store: placement.UUID{15: byte(i + 1)}, Incarnation: 1,
			Addr: fmt.Sprintf("127.0.0.1:%d", 6800+i), Class: "hdd", Up: true, Weight: placement.WeightOne, UpFrom: 6, Capacity: 20 * GiB})
	}
	for i := range m.Pools {
		m.PGs = append(m.PGs, records(m, &m.Pools[i]))
	}
	b.s = []api.ServiceStatus{{Kind: "s3", Name: "gw1", Addr: "127.0.0.1:8080", At: Now}}
	b.Report(Now.Add(-time.Second))
	return b
}

func records(m *placement.Map, p *placement.Pool) placement.PoolPGs {
	pp := placement.PoolPGs{Pool: p.ID, Records: make([]placement.PGRecord, p.PGNum)}
	for shard := range pp.Records {
		target := m.Target(placement.PGID{Pool: p.ID, Shard: uint32(shard)})
		r := &pp.Records[shard]
		*r = placement.PGRecord{Term: 1, Version: m.Epoch, Primary: placement.NoOSD, InSync: target, Created: true}
		for _, id := range target {
			if m.IsUp(id) {
				r.Primary = id
				break
			}
		}
	}
	return pp
}

// Report makes every OSD that is up report, at time at, that its PGs are well.
func (b *Backend) Report(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report(at)
}

func (b *Backend) report(at time.Time) {
	for i := range b.m.OSDs {
		o := &b.m.OSDs[i]
		if !o.Up {
			continue
		}
		r := &wirepb.OSDReport{Id: int32(o.ID), Incarnation: o.Incarnation, Capacity: o.Capacity, Used: 297480 * KiB,
			Available: o.Capacity - 297480*KiB, DataBytes: 384 * KiB, MetaBytes: 297096 * KiB,
			StoredBytes: 200 * KiB, AllocatedBytes: 330000 * KiB, DiscardedBytes: 1 << 20}
		for p := range b.m.PGs {
			pool := b.m.Pool(b.m.PGs[p].Pool)
			for shard := range b.m.PGs[p].Records {
				rec := &b.m.PGs[p].Records[shard]
				if rec.Has(o.ID) {
					r.PgCount++
				}
				if rec.Primary != o.ID {
					continue
				}
				s := &wirepb.PGStat{Pool: uint32(pool.ID), Shard: uint32(shard), Term: uint32(rec.Term), State: "active+clean",
					Objects: 10, Bytes: 1 << 20, LogEntries: 25, HeadSeq: 25}
				for _, id := range rec.InSync {
					s.Acting = append(s.Acting, int32(id))
					s.Up = append(s.Up, int32(id))
				}
				r.Pgs = append(r.Pgs, s)
			}
		}
		b.r[o.ID] = api.OSDStatus{Report: r, At: at}
	}
}

// Edit changes the cluster; the map gets a new epoch.
func (b *Backend) Edit(f func(*State)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.clone()
	r := map[placement.OSDID]api.OSDStatus{}
	for id, st := range b.r {
		r[id] = api.OSDStatus{Report: proto.CloneOf(st.Report), At: st.At, Rates: st.Rates}
	}
	f(&State{Map: m, Quorum: &b.q, Reports: r, Services: &b.s, Fail: &b.fail})
	b.m, b.r = m, r
}

// clone copies the parts of the map that changes touch.
func (b *Backend) clone() *placement.Map {
	m := *b.m
	m.Epoch++
	m.Modified = Now.UnixNano()
	m.OSDs, m.Pools, m.Mons = slices.Clone(m.OSDs), slices.Clone(m.Pools), slices.Clone(m.Mons)
	m.PGs = slices.Clone(m.PGs)
	for i := range m.PGs {
		m.PGs[i].Records = slices.Clone(m.PGs[i].Records)
		for j := range m.PGs[i].Records {
			r := &m.PGs[i].Records[j]
			r.InSync = slices.Clone(r.InSync)
		}
	}
	return &m
}

// KillOSD marks an OSD down, as the monitors do: every PG it led gets the next
// in-sync member as its primary, in a new term, which reports the loss.
func (b *Backend) KillOSD(id placement.OSDID) {
	b.Edit(func(s *State) {
		for i := range s.Map.OSDs {
			if s.Map.OSDs[i].ID == id {
				s.Map.OSDs[i].Up, s.Map.OSDs[i].DownAt = false, s.Map.Epoch
			}
		}
		for i := range s.Map.PGs {
			for j := range s.Map.PGs[i].Records {
				rec := &s.Map.PGs[i].Records[j]
				if rec.Primary != id {
					continue
				}
				rec.Primary = placement.NoOSD
				rec.Term++
				rec.Version = s.Map.Epoch
				for _, m := range rec.InSync {
					if s.Map.IsUp(m) {
						rec.Primary = m
						break
					}
				}
			}
		}
	})
	b.Report(Now)
	b.Edit(func(s *State) {
		for _, st := range s.Reports {
			for _, pg := range st.Report.Pgs {
				pg.State, pg.Degraded = "active+undersized+degraded", pg.Objects
			}
		}
	})
}

// Map implements admin.Backend.
func (b *Backend) Map() *placement.Map { b.mu.Lock(); defer b.mu.Unlock(); return b.m }

// Quorum implements admin.Backend.
func (b *Backend) Quorum() api.Quorum { b.mu.Lock(); defer b.mu.Unlock(); return b.q }

// Reports implements admin.Backend.
func (b *Backend) Reports() map[placement.OSDID]api.OSDStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.r // replaced by Edit, and tests do not report while they ask
}

// Services implements admin.Backend.
func (b *Backend) Services() []api.ServiceStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.s)
}

// change runs f on the next map unless changes are to fail.
func (b *Backend) change(ctx context.Context, f func(m *placement.Map) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m := b.clone()
	if err := f(m); err != nil {
		return err
	}
	b.m = m
	return nil
}

// PoolCreate implements admin.Backend.
func (b *Backend) PoolCreate(ctx context.Context, s api.PoolSpec) (id placement.PoolID, err error) {
	err = b.change(ctx, func(m *placement.Map) error {
		if m.PoolByName(s.Name) != nil {
			return fmt.Errorf("pool %q: %w", s.Name, api.ErrExists)
		}
		p := placement.Pool{ID: m.NextPool, Name: s.Name, Size: cmp.Or(s.Size, 3), PGNum: cmp.Or(s.PGNum, 8), Application: s.Application, Created: m.Epoch}
		p.PGNumTarget, p.FirstPGNum = p.PGNum, p.PGNum
		size := ""
		if s.ChunkSize > 0 {
			size = placement.FormatChunkSize(s.ChunkSize)
		}
		for _, kv := range [][2]string{{placement.ChunksKey, s.Chunks}, {placement.DedupKey, s.Dedup}, {placement.CutKey, s.Cut},
			{placement.ChunkSizeKey, size}, {placement.CompressionKey, s.Compression}} {
			if kv[1] == "" {
				continue
			}
			if err := setChunks(&p, kv[0], kv[1]); err != nil {
				return err
			}
		}
		p.MinSize = cmp.Or(s.MinSize, p.Size-p.Size/2)
		if p.Size > 3 {
			return fmt.Errorf("pool %q: %w: size %d, but the cluster has only 3 hosts", s.Name, api.ErrInvalid, p.Size)
		}
		if s.Rule != "" {
			r, ok := m.Crush.RuleByName(s.Rule)
			if !ok {
				return fmt.Errorf("pool %q: CRUSH rule %q: %w", s.Name, s.Rule, api.ErrNotFound)
			}
			p.Rule = int32(r.ID)
		}
		id = p.ID
		m.NextPool++
		m.Pools = append(m.Pools, p)
		m.PGs = append(m.PGs, records(m, &p))
		return nil
	})
	return id, err
}

func setChunks(p *placement.Pool, key, value string) error {
	if err := errors.Join(p.Chunks.Set(key, value), p.Chunks.CheckSize(p.Size)); err != nil {
		return fmt.Errorf("pool %q: %w: %w", p.Name, api.ErrInvalid, err)
	}
	return nil
}

func (b *Backend) pool(ctx context.Context, name string, f func(m *placement.Map, i int) error) error {
	return b.change(ctx, func(m *placement.Map) error {
		i := slices.IndexFunc(m.Pools, func(p placement.Pool) bool { return p.Name == name })
		if i < 0 {
			return fmt.Errorf("pool %q: %w", name, api.ErrNotFound)
		}
		return f(m, i)
	})
}

// PoolSet implements admin.Backend.
func (b *Backend) PoolSet(ctx context.Context, name, key, value string) error {
	return b.pool(ctx, name, func(m *placement.Map, i int) error {
		n, err := strconv.ParseUint(value, 10, 32)
		switch {
		case placement.IsChunkKey(key):
			return setChunks(&m.Pools[i], key, value)
		case key == "application":
			m.Pools[i].Application = value
		case key == "pg_autoscale_mode":
			f, ok := placement.AutoscaleFlags(value)
			if !ok {
				return fmt.Errorf("pool %q: %w: pg_autoscale_mode %q", name, api.ErrInvalid, value)
			}
			m.Pools[i].Flags = f
		case err != nil:
			return fmt.Errorf("pool %q: %w: %s %q is not a number", name, api.ErrInvalid, key, value)
		case key == "size":
			m.Pools[i].Size = uint32(n)
		case key == "min_size":
			m.Pools[i].MinSize = uint32(n)
		case key == "pg_num":
			m.Pools[i].PGNumTarget = max(uint32(n), m.Pools[i].PGNum)
		default:
			m.Pools[i].Rule = int32(n)
		}
		return nil
	})
}

// PoolRemove implements admin.Backend.
func (b *Backend) PoolRemove(ctx context.Context, name string) error {
	return b.pool(ctx, name, func(m *placement.Map, i int) error {
		m.Pools, m.PGs = slices.Delete(m.Pools, i, i+1), slices.Delete(m.PGs, i, i+1)
		return nil
	})
}

func (b *Backend) osd(ctx context.Context, id placement.OSDID, f func(*placement.OSD)) error {
	return b.change(ctx, func(m *placement.Map) error {
		for i := range m.OSDs {
			if m.OSDs[i].ID == id {
				f(&m.OSDs[i])
				return nil
			}
		}
		return fmt.Errorf("%s: %w", id, api.ErrNotFound)
	})
}

// OSDReweight implements admin.Backend.
func (b *Backend) OSDReweight(ctx context.Context, id placement.OSDID, weight uint32) error {
	return b.osd(ctx, id, func(o *placement.OSD) { o.Weight = weight })
}

// OSDDown implements admin.Backend.
func (b *Backend) OSDDown(ctx context.Context, id placement.OSDID) error {
	return b.osd(ctx, id, func(o *placement.OSD) { o.Up = false })
}

// FlagSet implements admin.Backend.
func (b *Backend) FlagSet(ctx context.Context, f placement.Flags, on bool) error {
	return b.change(ctx, func(m *placement.Map) error {
		m.Flags &^= f
		if on {
			m.Flags |= f
		}
		return nil
	})
}

// OSDDrain implements admin.Backend.
func (b *Backend) OSDDrain(ctx context.Context, ids []placement.OSDID, on bool) error {
	return b.audited(ctx, fmt.Sprintf("osd drain %v %v", ids, on), func(m *placement.Map) error {
		for i := range m.OSDs {
			if slices.Contains(ids, m.OSDs[i].ID) {
				m.OSDs[i].Draining = on
			}
		}
		return nil
	})
}

// OSDRemove implements admin.Backend.
func (b *Backend) OSDRemove(ctx context.Context, id placement.OSDID) error {
	return b.audited(ctx, "osd rm "+id.String(), func(m *placement.Map) error {
		if o := m.OSD(id); o.Up || o.In() {
			return fmt.Errorf("%s is up or in: %w", id, api.ErrConflict)
		}
		m.OSDs = slices.DeleteFunc(m.OSDs, func(o placement.OSD) bool { return o.ID == id })
		return nil
	})
}

// CrushOSD implements admin.Backend.
func (b *Backend) CrushOSD(ctx context.Context, id placement.OSDID, class string, weight *uint32) error {
	return b.osd(ctx, id, func(o *placement.OSD) {
		if class != "" {
			o.Class = class
		}
	})
}

// CrushMove implements admin.Backend.
func (b *Backend) CrushMove(ctx context.Context, name string, location []string) error {
	return b.audited(ctx, fmt.Sprintf("osd crush move %s %v", name, location), func(m *placement.Map) error {
		if _, ok := m.Crush.ItemID(name); !ok {
			return fmt.Errorf("move %q: %w", name, api.ErrNotFound)
		}
		return nil
	})
}

// ConfigSet implements admin.Backend.
func (b *Backend) ConfigSet(ctx context.Context, key, value string) error {
	return b.audited(ctx, "config set "+key+" "+value, func(m *placement.Map) error {
		m.Config = slices.DeleteFunc(m.Config, func(s placement.Setting) bool { return s.Key == key })
		if value == "" {
			return nil
		}
		if err := placement.CheckSetting(key, value); err != nil {
			return fmt.Errorf("%w: %w", api.ErrInvalid, err)
		}
		if err := m.CheckRatios(key, value); err != nil {
			return fmt.Errorf("%w: %w", api.ErrInvalid, err)
		}
		m.Config = append(m.Config, placement.Setting{Key: key, Value: value})
		return nil
	})
}

// PGForce implements admin.Backend.
func (b *Backend) PGForce(ctx context.Context, f api.Forced) error {
	return b.audited(ctx, fmt.Sprintf("pg force-primary %s osd.%d", f.PGID, f.OSD), func(m *placement.Map) error {
		id, err := placement.ParsePGID(f.PGID)
		if err != nil {
			return err
		}
		rec := m.PG(id)
		switch {
		case rec.Primary != placement.NoOSD && !f.Stuck:
			return fmt.Errorf("PG %s has a primary: %w", id, api.ErrConflict)
		case !f.AcceptLoss:
			return fmt.Errorf("PG %s: what osd.%d lacks is lost: %w", id, f.OSD, api.ErrConflict)
		}
		*rec = placement.PGRecord{Term: rec.Term + 1, Version: m.Epoch, Primary: placement.OSDID(f.OSD), InSync: []placement.OSDID{placement.OSDID(f.OSD)}, Created: true, Forced: true}
		return nil
	})
}

// audited is change, and keeps who asked for it.
func (b *Backend) audited(ctx context.Context, command string, f func(m *placement.Map) error) error {
	err := b.change(ctx, f)
	e := api.AuditEntry{Index: 1, Time: Now.Format(time.RFC3339), By: api.Actor(ctx), Command: command, Outcome: "done"}
	if err != nil {
		e.Outcome, e.Reason = "conflict", err.Error()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.audit = append(b.audit, e)
	return err
}

// Audit implements admin.Backend.
func (b *Backend) Audit() []api.AuditEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.audit)
}

// UserCreate implements admin.Backend.
func (b *Backend) UserCreate(ctx context.Context, u *wirepb.User) (*wirepb.User, error) {
	err := b.change(ctx, func(*placement.Map) error {
		if b.users[u.Name] != nil {
			return fmt.Errorf("user %q: %w", u.Name, api.ErrExists)
		}
		u = proto.CloneOf(u)
		if len(u.Keys) == 0 {
			u.Keys = []*wirepb.AccessKey{{AccessKey: "ACCESS" + u.Name, SecretKey: "secret-of-" + u.Name}}
		}
		b.users[u.Name] = u
		return nil
	})
	return u, err
}

// UserGet implements admin.Backend.
func (b *Backend) UserGet(_ context.Context, name string) (*wirepb.User, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.users[name]; u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("user %q: %w", name, api.ErrNotFound)
}

// UserList implements admin.Backend.
func (b *Backend) UserList(context.Context) ([]*wirepb.User, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*wirepb.User
	for _, u := range b.users {
		out = append(out, u)
	}
	return out, nil
}

// UserRemove implements admin.Backend.
func (b *Backend) UserRemove(ctx context.Context, name string) error {
	return b.change(ctx, func(*placement.Map) error {
		if b.users[name] == nil {
			return fmt.Errorf("user %q: %w", name, api.ErrNotFound)
		}
		delete(b.users, name)
		return nil
	})
}

// Identity implements admin.Backend: it repeats the call as an answer, and refuses what is not there.
func (b *Backend) Identity(_ context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
	if q.GetAccount() == "nobody" {
		return &wirepb.IdentityReply{Code: wirepb.Code_NOT_FOUND, Text: "account \"nobody\" does not exist"}, nil
	}
	item := &wirepb.IdentityItem{Kind: "call", Account: q.GetAccount(), Name: q.GetAction(), Created: 1e9, Tags: q.GetParams()}
	return &wirepb.IdentityReply{Items: []*wirepb.IdentityItem{item}}, nil
}

// Buckets is an S3 namespace in memory.
type Buckets struct {
	mu sync.Mutex // guards below
	b  map[string]api.Bucket

	deleted map[string][]api.DeletedObject // by bucket, see Delete
}

// Put adds or replaces a bucket.
func (b *Buckets) Put(v api.Bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.b == nil {
		b.b = map[string]api.Bucket{}
	}
	b.b[v.Name] = v
}

// List implements admin.Buckets.
func (b *Buckets) List(context.Context) ([]api.Bucket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []api.Bucket
	for _, v := range b.b {
		out = append(out, v)
	}
	return out, nil
}

// Stat implements admin.Buckets.
func (b *Buckets) Stat(_ context.Context, name string) (api.Bucket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.b[name]
	if !ok {
		return v, fmt.Errorf("bucket %q: %w", name, api.ErrNotFound)
	}
	return v, nil
}

// Create implements admin.Buckets.
func (b *Buckets) Create(ctx context.Context, owner, name string) error {
	if _, err := b.Stat(ctx, name); err == nil {
		return fmt.Errorf("bucket %q: %w", name, api.ErrExists)
	}
	b.Put(api.Bucket{Name: name, Owner: owner, Created: Now.Unix()})
	return nil
}

// Set implements admin.Buckets. It takes any value.
func (b *Buckets) Set(ctx context.Context, name, key, value string) error {
	v, err := b.Stat(ctx, name)
	if err != nil {
		return err
	}
	v.Settings = maps.Clone(v.Settings)
	if v.Settings == nil {
		v.Settings = map[string]string{}
	}
	v.Settings[key] = value
	b.Put(v)
	return nil
}

// Usage implements admin.Buckets: chunks have all there is, each once.
func (b *Buckets) Usage(ctx context.Context, name, key string) (api.BucketUsage, error) {
	v, err := b.Stat(ctx, name)
	u := api.BucketUsage{Bucket: name, Key: key, Objects: v.Objects, Bytes: v.Bytes, Chunked: v.Bytes, UniqueBytes: v.Bytes, Stored: v.Bytes, Physical: v.Bytes, DedupRatio: 1, Ratio: 1}
	return u, err
}

// UserUsage implements admin.Buckets.
func (b *Buckets) UserUsage(_ context.Context, user string) (api.BucketUsage, error) {
	return api.BucketUsage{User: user, DedupRatio: 1, Ratio: 1}, nil
}

// Remove implements admin.Buckets.
func (b *Buckets) Remove(ctx context.Context, name string) error {
	v, err := b.Stat(ctx, name)
	if err != nil {
		return err
	}
	if v.Objects > 0 {
		return fmt.Errorf("bucket %q holds %d objects: %w", name, v.Objects, api.ErrConflict)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.b, name)
	return nil
}
