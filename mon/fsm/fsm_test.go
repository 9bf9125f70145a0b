package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// rig applies commands one after the other, a second apart.
type rig struct {
	t     testing.TB
	s     *State
	now   time.Duration
	index placement.Epoch
	log   [][]byte
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, s: New(), index: 2}
	r.ok(&Bootstrap{Cluster: UUID{1}, Mons: []Mon{{Name: "a", Addr: "m:1", RaftAddr: "m:2"}}})
	return r
}

func (r *rig) apply(b Body) Result {
	r.t.Helper()
	r.index++
	r.now += time.Second
	enc, err := Encode(Command{At: int64(r.now), Body: b})
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := Decode(enc)
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = append(r.log, enc)
	before := r.s.Map()
	sum := before.Checksum()
	res := r.s.Apply(c, r.index)
	if before.Checksum() != sum {
		r.t.Fatalf("%s changed a published map", KindOf(b))
	}
	if after := r.s.Map(); res.Changed != (after != before) || res.Epoch != after.Epoch || res.Changed && res.Epoch != r.index {
		r.t.Fatalf("%s: result %+v, epoch %d -> %d", KindOf(b), res, before.Epoch, after.Epoch)
	}
	return res
}

// ok applies a command that must succeed.
func (r *rig) ok(b Body) Result {
	r.t.Helper()
	res := r.apply(b)
	if res.Code != wirepb.Code_OK {
		r.t.Fatalf("%s: %v: %s", KindOf(b), res.Code, res.Text)
	}
	if err := r.s.Map().Validate(); err != nil {
		r.t.Fatalf("after %s: %v", KindOf(b), err)
	}
	return res
}

// same applies a command that must succeed and change nothing.
func (r *rig) same(b Body) {
	r.t.Helper()
	if res := r.ok(b); res.Changed {
		r.t.Fatalf("%s %+v changed the map", KindOf(b), b)
	}
}

// no applies a command that must be refused with the code and a text that contains part.
func (r *rig) no(code wirepb.Code, part string, b Body) {
	r.t.Helper()
	before := r.s.Map()
	res := r.apply(b)
	if res.Code != code || !strings.Contains(res.Text, part) {
		r.t.Fatalf("%s: %v %q, want %v and a text with %q", KindOf(b), res.Code, res.Text, code, part)
	}
	if r.s.Map() != before {
		r.t.Fatalf("%s was refused but changed the map", KindOf(b))
	}
}

func storeOf(id int) UUID { return UUID{0: 9, 15: byte(id), 14: byte(id >> 8)} }

func (r *rig) register(id int) {
	r.t.Helper()
	res := r.ok(&OSDRegister{Store: storeOf(id), Class: "ssd", Capacity: 1 << 40,
		Location: []LocationPart{{"host", fmt.Sprintf("h%d", id)}}})
	if res.OSD != placement.OSDID(id) {
		r.t.Fatalf("registered %v, want osd.%d", res.OSD, id)
	}
}

func bootOf(id int, inc uint64) *OSDBoot {
	return &OSDBoot{ID: placement.OSDID(id), Store: storeOf(id), Incarnation: inc, Addr: fmt.Sprintf("h%d:7000", id)}
}

func downOf(id int, reason DownReason) *OSDDown {
	return &OSDDown{OSDs: []Down{{ID: placement.OSDID(id), Reason: reason}}}
}

// osds registers and boots n OSDs.
func (r *rig) osds(n int) {
	r.t.Helper()
	for id := range n {
		r.register(id)
		r.ok(bootOf(id, 1))
	}
}

func (r *rig) rec(shard uint32) placement.PGRecord {
	r.t.Helper()
	rec := r.s.Map().PG(placement.PGID{Pool: 1, Shard: shard})
	if rec == nil {
		r.t.Fatalf("no record of shard %d", shard)
	}
	return *rec
}

func (r *rig) change(shard uint32) *PGChange {
	rec := r.rec(shard)
	return &PGChange{PG: PGID{Pool: 1, Shard: shard}, Term: rec.Term, Version: rec.Version,
		From: rec.Primary, Primary: rec.Primary, InSync: rec.InSync, Created: rec.Created}
}

// created makes a pool of one PG with data on n OSDs, and returns its record.
func (r *rig) created(n int, p PoolCreate) placement.PGRecord {
	r.t.Helper()
	r.osds(n)
	p.Name, p.PGNum = "p", 1
	r.ok(&p)
	c := r.change(0)
	c.Created = true
	r.ok(c)
	return r.rec(0)
}

func TestBootstrap(t *testing.T) {
	r := &rig{t: t, s: New()}
	r.no(wirepb.Code_TRY_LATER, "not bootstrapped", &FlagSet{Flags: placement.FlagPause, On: true})
	mon := Mon{Name: "a", Addr: "x:1", RaftAddr: "x:2"}
	r.no(wirepb.Code_INVALID, "UUID", &Bootstrap{Mons: []Mon{mon}})
	r.no(wirepb.Code_INVALID, "0 monitors", &Bootstrap{Cluster: UUID{1}})
	r.no(wirepb.Code_INVALID, "twice", &Bootstrap{Cluster: UUID{1}, Mons: []Mon{mon, mon}})
	r.ok(&Bootstrap{Cluster: UUID{1}, Mons: []Mon{{Name: "b", Addr: "y:1", RaftAddr: "y:2"}, mon}})
	if m := r.s.Map(); m.Mons[0].Name != "a" || m.Created != int64(r.now) || m.Epoch != r.index {
		t.Fatalf("map: %+v", m)
	}
	r.no(wirepb.Code_EXISTS, "exists already", &Bootstrap{Cluster: UUID{2}, Mons: []Mon{mon}})
}

func TestMons(t *testing.T) {
	r := newRig(t)
	b := Mon{Name: "b", Addr: "b:1", RaftAddr: "b:2"}
	r.ok(&MonJoin{Mon: b})
	r.same(&MonJoin{Mon: b})
	b.AdminAddr = "b:3"
	r.ok(&MonJoin{Mon: b})
	r.no(wirepb.Code_INVALID, "name", &MonJoin{Mon: Mon{Name: "b b"}})
	r.no(wirepb.Code_INVALID, "host:port", &MonJoin{Mon: Mon{Name: "c"}})
	r.no(wirepb.Code_NOT_FOUND, "does not exist", &MonLeave{Name: "x"})
	r.ok(&MonLeave{Name: "a"})
	r.no(wirepb.Code_CONFLICT, "last", &MonLeave{Name: "b"})
	for i := 1; i < MaxMons; i++ {
		r.ok(&MonJoin{Mon: Mon{Name: fmt.Sprint("m", i), Addr: "b:1", RaftAddr: "b:2"}})
	}
	r.no(wirepb.Code_NO_SPACE, "most", &MonJoin{Mon: Mon{Name: "z", Addr: "b:1", RaftAddr: "b:2"}})
}

func TestRegister(t *testing.T) {
	r := newRig(t)
	r.register(0)
	r.register(1)
	r.same(&OSDRegister{Store: storeOf(0), Class: "hdd", Capacity: 1}) // the same id for ever
	o := r.s.Map().OSD(0)
	if o.Up || o.In() || !o.AutoOut {
		t.Fatalf("a registered OSD that has never run: %+v", o)
	}
	r.no(wirepb.Code_INVALID, "UUID", &OSDRegister{Class: "ssd", Capacity: 1})
	r.no(wirepb.Code_INVALID, "capacity", &OSDRegister{Store: storeOf(7), Class: "ssd"})
	r.no(wirepb.Code_INVALID, "class", &OSDRegister{Store: storeOf(7), Capacity: 1})
	loc := func(parts ...LocationPart) *OSDRegister {
		return &OSDRegister{Store: storeOf(7), Class: "ssd", Capacity: 1, Location: parts}
	}
	r.no(wirepb.Code_INVALID, "no host", loc(LocationPart{"rack", "r1"}))
	r.no(wirepb.Code_INVALID, "no bucket type", loc(LocationPart{"planet", "mars"}))
	r.no(wirepb.Code_INVALID, "twice", loc(LocationPart{"host", "x"}, LocationPart{"host", "y"}))
	r.no(wirepb.Code_INVALID, "not allowed", loc(LocationPart{"host", "x y"}))
	r.ok(loc(LocationPart{"host", "h2"}, LocationPart{"rack", "r1"}))
	if m := r.s.Map(); m.OSDs[2].ID != 2 || m.Crush.ItemName(parentOf(t, m, 2)) != "h2" {
		t.Fatal("osd.2 is not in h2")
	}
}

func parentOf(t *testing.T, m *placement.Map, id int) int {
	t.Helper()
	p, ok := m.Crush.Parent(id)
	if !ok {
		t.Fatalf("osd.%d has no parent", id)
	}
	return p
}

func TestBootRules(t *testing.T) {
	r := newRig(t)
	r.register(0)
	r.no(wirepb.Code_NOT_FOUND, "not registered", bootOf(5, 1))
	wrong := bootOf(0, 1)
	wrong.Store = storeOf(3)
	r.no(wirepb.Code_NOT_PERMITTED, "is a new OSD", wrong)
	r.no(wirepb.Code_INVALID, "incarnation 0", bootOf(0, 0))
	res := r.ok(bootOf(0, 5))
	o := r.s.Map().OSD(0)
	if !o.Up || o.Weight != placement.WeightOne || o.AutoOut || o.UpFrom != res.Epoch || o.Incarnation != 5 {
		t.Fatalf("booted: %+v", o)
	}
	r.same(bootOf(0, 5)) // a repeated message
	r.no(wirepb.Code_NOT_PERMITTED, "older", bootOf(0, 4))
	r.ok(downOf(0, DownSilent))
	if o := r.s.Map().OSD(0); o.Up || o.DownAt != r.index {
		t.Fatalf("down: %+v", o)
	}
	r.ok(bootOf(0, 5)) // it was not dead after all
	r.ok(bootOf(0, 6))

	// A person's word holds, the monitors' own does not.
	r.ok(&OSDReweight{ID: 0})
	r.ok(bootOf(0, 7))
	if r.s.Map().OSD(0).In() {
		t.Fatal("a boot brought in what a person marked out")
	}
	r.ok(&OSDReweight{ID: 0, Weight: placement.WeightOne})
	r.ok(downOf(0, DownSilent))
	r.ok(&OSDAutoOut{OSDs: []placement.OSDID{0, 9}})
	r.same(&OSDAutoOut{OSDs: []placement.OSDID{0}})
	r.ok(bootOf(0, 8))
	if o := r.s.Map().OSD(0); o.Weight != placement.WeightOne || o.AutoOut {
		t.Fatalf("booted after an automatic out: %+v", o)
	}
}

func TestBootFollowsTheMachine(t *testing.T) {
	r := newRig(t)
	r.register(0)
	r.register(1)
	b := bootOf(0, 1)
	b.Location = []LocationPart{{"host", "h0"}, {"rack", "elsewhere"}} // h0 exists: racks are a person's business
	b.Class, b.Capacity = "nvme", 2<<40
	r.ok(b)
	m := r.s.Map()
	if o := m.OSD(0); o.Class != "nvme" || o.Capacity != 2<<40 {
		t.Fatalf("%+v", o)
	}
	if _, ok := m.Crush.BucketByName("elsewhere"); ok {
		t.Fatal("a boot moved a host")
	}
	if h, _ := m.Crush.BucketByName("h0"); h.Weight().Float() != 2 {
		t.Fatalf("weight of h0: %v", h.Weight())
	}
	if d, _ := m.Crush.Device(0); d.Class != "nvme" {
		t.Fatalf("class %q", d.Class)
	}
	b = bootOf(0, 2)
	b.Location = []LocationPart{{"host", "h1"}}
	r.ok(b)
	if got := r.s.Map().Crush.ItemName(parentOf(t, r.s.Map(), 0)); got != "h1" {
		t.Fatalf("osd.0 is in %s, want h1", got)
	}
	b.Location = []LocationPart{{"rack", "r"}}
	r.no(wirepb.Code_INVALID, "no host", b)
}

func TestDownGuards(t *testing.T) {
	r := newRig(t)
	r.osds(1)
	r.ok(bootOf(0, 3))
	r.same(&OSDDown{OSDs: []Down{{ID: 0, Incarnation: 2, Reason: DownRefused}}}) // it has restarted since
	r.no(wirepb.Code_NOT_FOUND, "osd.4", downOf(4, DownAdmin))
	r.ok(&OSDDown{OSDs: []Down{{ID: 0, Incarnation: 3, Reason: DownStopping}, {ID: 4}}})
	r.same(downOf(0, DownAdmin))
}

// TestFlappingButNeeded: an OSD that PGs stand still without may boot however often it went down.
func TestFlappingButNeeded(t *testing.T) {
	r := newRig(t)
	r.created(3, PoolCreate{Name: "p", Size: 3, MinSize: 2, PGNum: 4})
	inc := uint64(1)
	for range 5 {
		r.ok(downOf(0, DownSilent))
		inc++
		r.ok(bootOf(0, inc))
	}
	r.ok(downOf(0, DownSilent))
	inc++
	r.no(wirepb.Code_TRY_LATER, "marked down 6 times", bootOf(0, inc)) // osd.1 and osd.2 do without it
	r.ok(downOf(1, DownSilent))
	r.ok(bootOf(0, inc)) // osd.2 alone may not
}

func TestFlapping(t *testing.T) {
	r := newRig(t)
	r.osds(1)
	inc := uint64(1)
	flap := func(reason DownReason) { r.ok(downOf(0, reason)) }
	for range 5 {
		flap(DownSilent)
		inc++
		r.ok(bootOf(0, inc))
	}
	flap(DownAdmin) // not its fault
	inc++
	r.ok(bootOf(0, inc))
	flap(DownRefused)
	inc++
	r.no(wirepb.Code_TRY_LATER, "marked down 6 times", bootOf(0, inc))
	r.now += 10 * time.Second
	r.ok(bootOf(0, inc))
	flap(DownRefused)
	r.now += 15 * time.Second
	r.no(wirepb.Code_TRY_LATER, "marked down 7 times", bootOf(0, inc)) // the wait grows
	r.ok(&ConfigSet{Key: "osd_flap_limit", Value: "0"})
	r.ok(bootOf(0, inc))
	r.ok(&ConfigSet{Key: "osd_flap_limit"})
	flap(DownRefused)
	r.no(wirepb.Code_TRY_LATER, "8 times", bootOf(0, inc))
	r.now += 11 * time.Minute // forgotten
	r.ok(bootOf(0, inc))
	for range 40 {
		flap(DownSilent)
		r.now += 6 * time.Minute
		r.ok(bootOf(0, inc))
	}
	if n := len(r.s.Facts(0).Failures); n > flapKeep {
		t.Fatalf("%d failures remembered", n)
	}
}

func TestPools(t *testing.T) {
	r := newRig(t)
	r.no(wirepb.Code_CONFLICT, "0 of 3 copies", &PoolCreate{Name: "p"})
	r.osds(3)
	r.no(wirepb.Code_CONFLICT, "3 of 4 copies", &PoolCreate{Name: "p", Size: 4})
	r.no(wirepb.Code_INVALID, "name", &PoolCreate{Name: "a/b"})
	r.no(wirepb.Code_INVALID, "size 11", &PoolCreate{Name: "p", Size: 11})
	r.no(wirepb.Code_INVALID, "min_size 4", &PoolCreate{Name: "p", MinSize: 4})
	r.no(wirepb.Code_NOT_FOUND, "rule", &PoolCreate{Name: "p", Rule: "nope"})
	r.no(wirepb.Code_NO_SPACE, "32768", &PoolCreate{Name: "p", PGNum: MaxPGs + 1})
	if res := r.ok(&PoolCreate{Name: "p", Application: "s3"}); res.Pool != 1 {
		t.Fatalf("pool id %d", res.Pool)
	}
	p := r.s.Map().PoolByName("p")
	if p.Size != 3 || p.MinSize != 2 || p.PGNum != placement.ChoosePGNum(3, 1) || p.Created != r.index {
		t.Fatalf("%+v", p)
	}
	r.no(wirepb.Code_EXISTS, "exists already", &PoolCreate{Name: "p"})
	r.no(wirepb.Code_NO_SPACE, "32768", &PoolCreate{Name: "q", PGNum: MaxPGs})
	r.no(wirepb.Code_NOT_FOUND, "pool ls", &PoolSet{Name: "q"})
	r.no(wirepb.Code_INVALID, "cannot be set", &PoolSet{Name: "p", Key: "pgp_num", Value: "4"})
	r.no(wirepb.Code_INVALID, "not a number", &PoolSet{Name: "p", Key: "size", Value: "-1"})
	r.no(wirepb.Code_INVALID, "min_size 2", &PoolSet{Name: "p", Key: "size", Value: "1"})
	r.no(wirepb.Code_CONFLICT, "3 of 4 copies", &PoolSet{Name: "p", Key: "size", Value: "4"})
	r.no(wirepb.Code_NOT_FOUND, "rule", &PoolSet{Name: "p", Key: "crush_rule", Value: "nope"})
	r.same(&PoolSet{Name: "p", Key: "size", Value: "3"})
	r.ok(&PoolSet{Name: "p", Key: "min_size", Value: "1"})
	r.ok(&PoolSet{Name: "p", Key: "application", Value: "rbd"})
	r.ok(&PoolSet{Name: "p", Key: "size", Value: "2"})
	if rec := r.rec(0); len(rec.InSync) != 2 || rec.Term != 2 {
		t.Fatalf("a PG without data does not follow the size: %+v", rec)
	}
	r.ok(&PoolRemove{Name: "p"})
	r.no(wirepb.Code_NOT_FOUND, "does not exist", &PoolRemove{Name: "p"})
	if res := r.ok(&PoolCreate{Name: "p"}); res.Pool != 2 {
		t.Fatalf("pool id %d was used before", res.Pool)
	}
	if m := r.s.Map(); len(m.PGs) != 1 || m.PGs[0].Pool != 2 {
		t.Fatalf("records: %+v", m.PGs)
	}
}

func TestFlagsServicesConfig(t *testing.T) {
	r := newRig(t)
	r.ok(&FlagSet{Flags: placement.FlagNoOut | placement.FlagPause, On: true})
	r.same(&FlagSet{Flags: placement.FlagNoOut, On: true})
	r.ok(&FlagSet{Flags: placement.FlagPause})
	r.no(wirepb.Code_INVALID, "noout", &FlagSet{Flags: 1 << 20})
	r.osds(1)
	r.ok(&FlagSet{Flags: placement.FlagNoDown, On: true})
	r.same(downOf(0, DownSilent))
	r.same(downOf(0, DownRefused))
	r.ok(downOf(0, DownAdmin))
	r.ok(bootOf(0, 2))
	r.ok(downOf(0, DownStopping))
	r.ok(bootOf(0, 3))
	r.ok(&FlagSet{Flags: placement.FlagNoDown})
	r.ok(downOf(0, DownSilent))
	r.same(&OSDAutoOut{OSDs: []placement.OSDID{0}}) // noout
	for _, n := range []string{"b", "a", "c"} {
		r.ok(&ServiceSet{Service: Service{Kind: "s3", Name: n, Addr: "x:1"}})
	}
	r.same(&ServiceSet{Service: Service{Kind: "s3", Name: "b", Addr: "x:1"}})
	r.ok(&ServiceSet{Service: Service{Kind: "s3", Name: "b", Addr: "x:2"}})
	r.no(wirepb.Code_INVALID, "kind", &ServiceSet{Service: Service{Name: "b"}})
	r.ok(&ServiceRemove{Services: []Service{{Kind: "s3", Name: "a"}, {Kind: "s3", Name: "z"}}})
	r.same(&ServiceRemove{Services: []Service{{Kind: "s3", Name: "a"}}})
	if n := len(r.s.Map().Services); n != 2 {
		t.Fatalf("%d services", n)
	}
	r.no(wirepb.Code_INVALID, "the keys are", &ConfigSet{Key: "x"})
	r.no(wirepb.Code_INVALID, "not a number", &ConfigSet{Key: "osd_flap_limit", Value: "many"})
	r.ok(&ConfigSet{Key: "osd_flap_limit", Value: "7"})
	r.same(&ConfigSet{Key: "osd_flap_limit", Value: "7"})
	if r.s.Config()["osd_flap_limit"] != "7" {
		t.Fatal("configuration not kept")
	}
	r.ok(&ConfigSet{Key: "osd_flap_limit"})
	r.same(&ConfigSet{Key: "osd_flap_limit"})
	if _, ok := r.s.Map().Setting("osd_flap_limit"); ok {
		t.Fatal("a setting that was removed is still there")
	}
}

func TestUsers(t *testing.T) {
	r := newRig(t)
	u := User{Name: "ann", DisplayName: "Ann", Keys: []AccessKey{{AccessKey: "AK1", SecretKey: "secretsecret"}}}
	r.same(&UserCreate{User: u})
	if got := r.s.UserByKey("AK1"); got == nil || got.Name != "ann" {
		t.Fatalf("by key: %+v", got)
	}
	r.no(wirepb.Code_EXISTS, "ann", &UserCreate{User: u})
	u.Name = "bob"
	r.no(wirepb.Code_EXISTS, "belongs to user \"ann\"", &UserCreate{User: u})
	u.Keys = nil
	r.no(wirepb.Code_INVALID, "0 access keys", &UserCreate{User: u})
	u.Keys = []AccessKey{{AccessKey: "AK2", SecretKey: "short"}}
	r.no(wirepb.Code_INVALID, "secret", &UserCreate{User: u})
	u.Keys = []AccessKey{{AccessKey: "AK2", SecretKey: "secretsecret"}, {AccessKey: "AK2", SecretKey: "secretsecret"}}
	r.no(wirepb.Code_INVALID, "twice", &UserCreate{User: u})
	r.no(wirepb.Code_NOT_FOUND, "bob", &UserRemove{Name: "bob"})
	r.same(&UserRemove{Name: "ann"})
	if r.s.UserByKey("AK1") != nil || len(r.s.Users()) != 0 {
		t.Fatal("the user is still there")
	}
}
