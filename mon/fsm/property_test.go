package fsm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

var update = flag.Bool("update", false, "rewrite golden files")

// walk draws commands that make sense often enough to get somewhere.
type walk struct {
	t     *rapid.T
	s     *State
	index placement.Epoch
	now   int64
	inc   map[placement.OSDID]uint64
	log   [][]byte
	led   map[string]string // PG and term -> primary and incarnation
}

const walkOSDs = 6

func (w *walk) draw() Body {
	t, m := w.t, w.s.Map()
	osd := func() int { return rapid.IntRange(0, walkOSDs).Draw(t, "osd") }
	pool := func() string { return rapid.SampledFrom([]string{"p", "q"}).Draw(t, "pool") }
	switch rapid.IntRange(0, 19).Draw(t, "what") {
	case 0:
		return &OSDRegister{Store: storeOf(osd()), Class: "ssd", Capacity: 1 << 40,
			Location: []LocationPart{{"host", fmt.Sprintf("h%d", rapid.IntRange(0, 4).Draw(t, "host"))}}}
	case 1, 2, 3:
		id := osd()
		b := bootOf(id, w.inc[placement.OSDID(id)]+uint64(rapid.IntRange(0, 2).Draw(t, "newer")))
		if o := m.OSD(b.ID); o != nil {
			b.Store = UUID(o.Store)
		}
		if rapid.IntRange(0, 9).Draw(t, "moves") == 0 {
			b.Location = []LocationPart{{"host", fmt.Sprintf("h%d", rapid.IntRange(0, 6).Draw(t, "host"))}}
		}
		w.inc[b.ID] = max(w.inc[b.ID], b.Incarnation)
		return b
	case 4, 5:
		var d OSDDown
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			d.OSDs = append(d.OSDs, Down{ID: placement.OSDID(osd()), Incarnation: uint64(rapid.IntRange(0, 3).Draw(t, "inc")), Reason: DownSilent})
		}
		return &d
	case 6:
		return &OSDReweight{ID: placement.OSDID(osd()), Weight: rapid.SampledFrom([]uint32{0, 0x8000, placement.WeightOne}).Draw(t, "weight")}
	case 7:
		return &OSDAutoOut{OSDs: []placement.OSDID{placement.OSDID(osd())}}
	case 8:
		c := &PoolCreate{Name: pool(), Size: uint32(rapid.IntRange(1, 4).Draw(t, "size")), PGNum: uint32(rapid.IntRange(1, 4).Draw(t, "pgs"))}
		if rapid.IntRange(0, 2).Draw(t, "with chunks") == 0 {
			c.Chunks = rapid.SampledFrom([]string{"replica:1", "replica:2", "2:1:xor", "2:2:rs"}).Draw(t, "chunks")
			c.ChunkSize = rapid.SampledFrom([]uint32{0, 64 << 10}).Draw(t, "chunk size")
		}
		return c
	case 9:
		return &PoolSet{Name: pool(), Key: rapid.SampledFrom([]string{"size", "min_size"}).Draw(t, "key"), Value: fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "value"))}
	case 14:
		if rapid.Bool().Draw(t, "chunks") {
			kv := rapid.SampledFrom([][2]string{{"chunks", "none"}, {"chunks", "replica:2"}, {"chunks", "2:1:xor"}, {"chunks", "2:2:rs"},
				{"dedup", "off"}, {"cut", "content"}, {"chunk_size", "8K"}, {"chunk_size", "4M"}, {"compression", "zstd"}}).Draw(t, "setting")
			return &PoolSet{Name: pool(), Key: kv[0], Value: kv[1]}
		}
		return &PoolSet{Name: pool(), Key: "pg_num", Value: fmt.Sprint(rapid.IntRange(1, 12).Draw(t, "pg_num"))}
	case 15:
		p := m.PoolByName(pool())
		if p == nil {
			return &PoolSplit{Pool: 99}
		}
		return &PoolSplit{Pool: p.ID, From: p.PGNum, To: p.PGNum + uint32(rapid.IntRange(0, 9).Draw(t, "more"))}
	case 10:
		if rapid.IntRange(0, 5).Draw(t, "really") == 0 {
			return &PoolRemove{Name: pool()}
		}
		return &ConfigSet{Key: "osd_flap_limit", Value: "0"}
	case 11:
		return &OSDDrain{OSDs: []placement.OSDID{placement.OSDID(osd())}, On: rapid.Bool().Draw(t, "on")}
	case 12:
		return &OSDRemove{ID: placement.OSDID(osd())}
	case 13:
		if rapid.Bool().Draw(t, "move") {
			return &CrushMove{Name: fmt.Sprintf("osd.%d", osd()), Location: []LocationPart{{"host", fmt.Sprintf("h%d", rapid.IntRange(0, 6).Draw(t, "host"))}}}
		}
		weight := uint32(rapid.IntRange(0, 1<<17).Draw(t, "weight"))
		return &CrushOSD{ID: placement.OSDID(osd()), Weight: &weight, Class: rapid.SampledFrom([]string{"", "ssd", "hdd"}).Draw(t, "class")}
	default:
		return w.drawChange(m)
	}
}

func (w *walk) drawChange(m *placement.Map) Body {
	if len(m.PGs) == 0 {
		return &FlagSet{Flags: placement.FlagNoOut}
	}
	recs := &m.PGs[rapid.IntRange(0, len(m.PGs)-1).Draw(w.t, "pool")]
	shard := rapid.IntRange(0, len(recs.Records)-1).Draw(w.t, "shard")
	r := recs.Records[shard]
	c := &PGChange{PG: PGID{Pool: recs.Pool, Shard: uint32(shard)}, Term: r.Term, Version: r.Version, From: r.Primary,
		Primary: r.Primary, InSync: slices.Clone(r.InSync), Created: rapid.IntRange(0, 3).Draw(w.t, "created") > 0}
	switch rapid.IntRange(0, 5).Draw(w.t, "change") {
	case 0, 1:
		if n := len(c.InSync); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(w.t, "drop")
			c.InSync = slices.Delete(c.InSync, i, i+1)
		}
	case 2, 3:
		c.InSync = append(c.InSync, placement.OSDID(rapid.IntRange(0, walkOSDs).Draw(w.t, "add")))
	case 4:
		if len(c.InSync) > 0 {
			c.Primary = rapid.SampledFrom(c.InSync).Draw(w.t, "primary")
		}
	case 5:
		if rapid.IntRange(0, 3).Draw(w.t, "force") == 0 {
			return &PGForce{PG: c.PG, Term: c.Term, Version: c.Version, OSD: placement.OSDID(rapid.IntRange(0, walkOSDs).Draw(w.t, "forced")),
				AcceptLoss: rapid.Bool().Draw(w.t, "accept"), Stuck: rapid.Bool().Draw(w.t, "stuck")}
		}
		c.Version -= placement.Epoch(rapid.IntRange(0, 1).Draw(w.t, "old"))
	}
	return c
}

func (w *walk) step(b Body) {
	t := w.t
	w.index++
	w.now += int64(rapid.IntRange(0, 100).Draw(t, "seconds")) * int64(time.Second)
	enc, err := Encode(Command{At: w.now, Body: b})
	if err != nil {
		t.Fatal(err)
	}
	w.log = append(w.log, enc)
	before := w.s.Map()
	res := w.s.Apply(Command{At: w.now, Body: b}, w.index)
	after := w.s.Map()
	if res.Code != wirepb.Code_OK && after != before {
		t.Fatalf("%s was refused but changed the map", KindOf(b))
	}
	if after == before {
		return
	}
	if err := after.Validate(); err != nil {
		t.Fatal(err)
	}
	_, change := b.(*PGChange)
	force, _ := b.(*PGForce)
	for _, pgs := range after.PGs {
		for shard := range pgs.Records {
			pg := placement.PGID{Pool: pgs.Pool, Shard: uint32(shard)}
			if force != nil && pg == placement.PGID(force.PG) {
				w.checkForced(before, after, force)
				continue
			}
			w.check(before, after, pg, change, KindOf(b))
		}
	}
}

// checkForced compares a PG's record before and after it got a primary by force.
func (w *walk) checkForced(before, after *placement.Map, c *PGForce) {
	pg := placement.PGID(c.PG)
	old, now := before.PG(pg), after.PG(pg)
	want := placement.PGRecord{Term: old.Term + 1, Version: after.Epoch, Primary: c.OSD, InSync: []placement.OSDID{c.OSD}, Created: true, Forced: true}
	switch {
	case !c.AcceptLoss, !before.IsUp(c.OSD), !old.Created, old.Primary != placement.NoOSD && !c.Stuck:
		w.t.Fatalf("%v was forced by %+v, from %+v", pg, c, old)
	case fmt.Sprintf("%+v", *now) != fmt.Sprintf("%+v", want):
		w.t.Fatalf("%v forced: %+v, want %+v", pg, now, want)
	}
}

// check compares a PG's record before and after a command with the rules.
func (w *walk) check(before, after *placement.Map, pg placement.PGID, change bool, kind string) {
	t, now, old := w.t, after.PG(pg), before.PG(pg)
	up := 0
	for _, id := range now.InSync {
		if after.IsUp(id) {
			up++
		}
	}
	switch {
	case now.Primary != placement.NoOSD && (!now.Has(now.Primary) || !after.IsUp(now.Primary)):
		t.Fatalf("%s: %v: primary is not an up member: %+v", kind, pg, now)
	case now.Created && len(now.InSync) == 0:
		t.Fatalf("%s: %v: empty in-sync set", kind, pg)
	case now.Created && now.Primary == placement.NoOSD && up > 0:
		t.Fatalf("%s: %v: nobody leads, but %d members are up: %+v", kind, pg, up, now)
	}
	if now.Primary != placement.NoOSD {
		key := fmt.Sprint(pg, " term ", now.Term)
		who := fmt.Sprint(now.Primary, " incarnation ", after.OSD(now.Primary).Incarnation)
		if had, ok := w.led[key]; ok && had != who {
			t.Fatalf("%s: %s had primary %s, now %s", kind, key, had, who)
		}
		w.led[key] = who
	}
	if pool := before.Pool(pg.Pool); old == nil && pool != nil { // split off: like its parent, in a new term of both
		parent := placement.PGID{Pool: pg.Pool, Shard: placement.SplitParent(pg.Shard, pool.PGNum)}
		was, is := before.PG(parent), after.PG(parent)
		if now.Term != was.Term+1 || is.Term != now.Term || is.Version != now.Version || now.Version != after.Epoch ||
			now.Primary != was.Primary || !slices.Equal(now.InSync, was.InSync) || !now.Created {
			t.Fatalf("%s: %v: %+v was split off %v, %+v, which is %+v now", kind, pg, now, parent, was, is)
		}
		return
	}
	if old == nil {
		if now.Term != 1 || now.Version != after.Epoch {
			t.Fatalf("%s: %v: new record %+v", kind, pg, now)
		}
		return
	}
	same := slices.Equal(old.InSync, now.InSync) && old.Primary == now.Primary && old.Term == now.Term && old.Created == now.Created
	switch {
	case now.Term < old.Term, old.Created && !now.Created:
		t.Fatalf("%s: %v went back: %+v -> %+v", kind, pg, old, now)
	case !same && old.Version == now.Version, same && !change && old.Version != now.Version, // a PG's change may change nothing else
		old.Version != now.Version && now.Version != after.Epoch:
		t.Fatalf("%s: %v: version: %+v -> %+v at epoch %d", kind, pg, old, now, after.Epoch)
	case old.Created && !change && !slices.Equal(old.InSync, now.InSync):
		t.Fatalf("%s: %v: the monitors changed an in-sync set: %+v -> %+v", kind, pg, old, now)
	case now.Forced && !old.Forced, now.Forced && len(now.InSync) > 1:
		t.Fatalf("%s: %v: forced, but not by an administrator, or with others: %+v -> %+v", kind, pg, old, now)
	case old.Primary != now.Primary && old.Term == now.Term:
		t.Fatalf("%s: %v: another primary in the same term: %+v -> %+v", kind, pg, old, now)
	}
	minSize := int(after.Pool(pg.Pool).MinSize)
	if change && len(now.InSync) < minSize {
		for _, id := range old.InSync {
			if !now.Has(id) {
				t.Fatalf("%v shrank below min_size %d: %+v -> %+v", pg, minSize, old, now)
			}
		}
	}
}

func TestRandomWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{t: t, s: New(), index: 2, inc: make(map[placement.OSDID]uint64), led: make(map[string]string)}
		w.step(&Bootstrap{Cluster: UUID{1}, Mons: []Mon{{Name: "a", Addr: "m:1", RaftAddr: "m:2"}}})
		for id := range 4 { // so that the walk begins somewhere interesting
			w.step(&OSDRegister{Store: storeOf(id), Class: "ssd", Capacity: 1 << 40, Location: []LocationPart{{"host", fmt.Sprintf("h%d", id)}}})
			w.step(bootOf(id, 1))
			w.inc[placement.OSDID(id)] = 1
		}
		w.step(&PoolCreate{Name: "p", PGNum: 3})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.step(w.draw())
		}
		w.replay()
	})
}

// replay applies the same commands again, with a detour through a snapshot.
func (w *walk) replay() {
	t := w.t
	cut := rapid.IntRange(0, len(w.log)).Draw(t, "snapshot at")
	s := New()
	for i, enc := range w.log {
		if i == cut {
			var err error
			if s, err = Restore(encoded(t, s)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Decode(enc)
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(c, placement.Epoch(3+i))
	}
	if !bytes.Equal(encoded(t, s), encoded(t, w.s)) {
		t.Fatal("the same commands gave another state")
	}
}

func encoded(t interface{ Fatal(...any) }, s *State) []byte {
	b, err := s.Snapshot().Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden is a state with something of everything.
func golden(t *testing.T) *rig {
	r := newRig(t)
	r.osds(4)
	r.ok(&PoolCreate{Name: "data", PGNum: 8, Application: "s3"})
	c := r.change(2)
	c.Created = true
	r.ok(c)
	r.ok(downOf(1, DownSilent))
	r.ok(&OSDAutoOut{OSDs: []placement.OSDID{1}})
	r.ok(&FlagSet{Flags: placement.FlagNoOut, On: true})
	r.ok(&ServiceSet{Service: Service{Kind: "s3", Name: "gw1", Addr: "g:8080"}})
	r.ok(&ConfigSet{Key: "osd_flap_limit", Value: "3"})
	created := r.change(3)
	created.Created = true
	r.ok(created)
	rec := r.rec(3)
	r.by("10.1.2.3", &PGForce{PG: PGID{Pool: 1, Shard: 3}, Term: rec.Term, Version: rec.Version, OSD: rec.Primary, Stuck: true, AcceptLoss: true})
	r.ok(&OSDDrain{OSDs: []placement.OSDID{2}, On: true})
	r.ok(&OSDFull{OSDs: []FullOSD{{ID: 2, Full: placement.NearFull}}})
	r.ok(&OSDSlow{OSDs: []SlowOSD{{ID: 2, Slow: true}}})
	half := uint32(0x8000)
	r.by("10.1.2.3", &CrushOSD{ID: 2, Class: "hdd", Weight: &half})
	r.ok(&CrushMove{Name: "h2", Location: []LocationPart{{"rack", "r1"}}})
	r.register(4)
	r.ok(&OSDRemove{ID: 4})
	r.ok(&MonJoin{Mon: Mon{Name: "b", Addr: "n:1", RaftAddr: "n:2", AdminAddr: "n:3"}, Ready: true})
	r.ok(&UserCreate{User: User{Name: "ann", DisplayName: "Ann", Keys: []AccessKey{{AccessKey: "AKIDEXAMPLE", SecretKey: "not-a-real-secret"}}, Suspended: true}})
	r.ok(&PoolSet{Name: "data", Key: "pg_num", Value: "16"})
	c = r.change(0)
	c.Created = true
	r.ok(c)
	r.ok(&PoolSplit{Pool: 1, From: 8, To: 9})
	r.ok(&PoolCreate{Name: "packed", Size: 2, PGNum: 1, Chunks: "replica:2", Dedup: "cluster", Cut: "content", ChunkSize: 64 << 10, Compression: "zstd"})
	r.ok(&PoolSet{Name: "packed", Key: "dedup", Value: "off"})
	for _, b := range identities() {
		r.ok(b)
	}
	return r
}

// The files in testdata were written by version 1. They must be readable for
// ever, and written the same as long as the version is 1.
func TestGolden(t *testing.T) {
	r := golden(t)
	compare := func(name string, got []byte) {
		t.Helper()
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s has changed (%d bytes, want %d): that needs a new version; -update rewrites it", name, len(got), len(want))
		}
	}
	compare("commands.jsonl", append(bytes.Join(r.log, []byte("\n")), '\n'))
	snap := encoded(t, r.s)
	compare("state.snap", snap)
	s, err := Restore(snap)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded(t, s), snap) {
		t.Fatal("a restored state has another encoding")
	}
	if u := s.UserByKey("AKIDEXAMPLE"); u == nil || !u.Suspended {
		t.Fatalf("user after restore: %+v", u)
	}
}

func TestRestoreRefuses(t *testing.T) {
	snap := encoded(t, golden(t).s)
	for i := range snap {
		bad := slices.Clone(snap)
		bad[i] ^= 0x10
		if _, err := Restore(bad); err == nil {
			t.Fatalf("byte %d changed: restored", i)
		}
	}
	for i := range snap {
		if _, err := Restore(snap[:i]); !errors.Is(err, ErrCorruptSnapshot) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
	}
	newer := slices.Clone(snap)
	newer[len(snapshotMagic)]++
	if _, err := Restore(newer); !errors.Is(err, ErrNewerSnapshot) {
		t.Fatalf("newer version: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for in, want := range map[string]error{
		``:                                       ErrMalformed,
		`[]`:                                     ErrMalformed,
		`{}`:                                     ErrMalformed,
		`{"v":1,"k":"flag-set","t":1,"b":null}x`: ErrMalformed,
		`{"v":1,"k":"flag-set","t":1}`:           ErrMalformed,
		`{"v":1,"k":"flag-set","t":1,"b":[]}`:    ErrMalformed,
		`{"v":1,"k":"flag-set","b":{"new":1}}`:   ErrMalformed,
		`{"v":6,"k":"flag-set","t":1,"b":{}}`:    ErrUnknownCommand,
		`{"v":1,"k":"time-travel","t":1,"b":{}}`: ErrUnknownCommand,
		`{"v":1,"k":"osd-boot","b":{"store":"x"}}`:                                                    ErrMalformed,
		`{"v":1,"k":"user-remove","t":1,"b":{"name":"` + strings.Repeat("x", MaxCommandBytes) + `"}}`: ErrMalformed,
	} {
		if _, err := Decode([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.60s: got %v, want %v", in, err, want)
		}
	}
	if _, err := Encode(Command{Body: &UserRemove{Name: strings.Repeat("x", MaxCommandBytes)}}); err == nil {
		t.Error("encoded a command over the limit")
	}
}

// Whatever a log entry holds, it is refused or applied, and leaves a valid map.
func FuzzApply(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "commands.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		f.Add(line)
	}
	snap, err := os.ReadFile(filepath.Join("testdata", "state.snap"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, enc []byte) {
		c, err := Decode(enc)
		if err != nil {
			return
		}
		s, err := Restore(snap)
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(c, s.Index()+1)
		if err := s.Map().Validate(); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(encoded(t, s)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	if b, err := os.ReadFile(filepath.Join("testdata", "state.snap")); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Restore(b); err == nil {
			encoded(t, s)
		}
	})
}

// TestEarlierVersions applies the commands and restores the snapshot that earlier versions of
// both formats wrote. They give the same state.
func TestEarlierVersions(t *testing.T) {
	for _, v := range []string{"v1", "v2", "v3", "v4"} {
		t.Run(v, func(t *testing.T) { testVersion(t, v) })
	}
}

func testVersion(t *testing.T, version string) {
	snap, err := os.ReadFile(filepath.Join("testdata", "state-"+version+".snap"))
	if err != nil {
		t.Fatal(err)
	}
	restored, err := Restore(snap)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := restored.Map().Setting("osd_flap_limit"); v != "3" || restored.Config()["osd_flap_limit"] != "3" {
		t.Fatalf("osd_flap_limit is %q, want 3", v)
	}
	if err := restored.Map().Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("testdata", "commands-"+version+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	for i, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		c, err := Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if res := s.Apply(c, placement.Epoch(3+i)); res.Code != wirepb.Code_OK {
			t.Fatalf("line %d: %+v", i+1, res)
		}
	}
	if !bytes.Equal(encoded(t, s), encoded(t, restored)) {
		t.Fatal("commands and snapshot give different states")
	}
}
