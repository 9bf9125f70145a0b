package pg

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// family is a pool on stage that grows: like cast, but with all its PGs. All
// PGs have the same members to begin with.
type family struct {
	t     tester
	now   clock.Mono
	epoch placement.Epoch
	gone  bool
	first uint32
	recs  []placement.PGRecord // by shard
	want  []placement.OSDID    // every PG's target
	peers map[placement.OSDID]Peer
	least int // min_size
	cfg   Config
	hosts []*host
	mail  []letter
	cut   map[[2]int]bool
	next  Handle
	probe *probe
}

type letter struct {
	parcel
	shard uint32
}

// host is one OSD of a family.
type host struct {
	f         *family
	id        int
	alive     bool
	blind     bool // gets no maps
	slowDisk  bool
	slowLists bool
	slowReads bool
	epoch     placement.Epoch
	seen      uint32 // pg_num of its map
	st        *store.Sim
	leases    *Leases
	gs        map[uint32]*Group
	lines     map[uint32]*store.Line
	reloads   int
	nursery   Nursery
	later     []letter // messages that were sent with newer maps
	replies   map[Handle]Reply
	proposals map[uint32]*Proposal
	lists     []ask
	execs     []ask
	reads     []ask
}

type ask struct {
	shard uint32
	list  List
	exec  Exec
	read  Read
}

// newFamily makes a pool of n PGs on three OSDs, all created, led by osd.0, and further OSDs to spare.
func newFamily(t tester, n uint32, osds int, tune ...func(*Config)) *family {
	t.Helper()
	f := &family{
		t: t, now: clock.Mono(time.Minute), first: n, want: ids(0, 1, 2), peers: map[placement.OSDID]Peer{}, least: 2,
		cfg: Config{AckTimeout: time.Second, RetryAfter: 50 * time.Millisecond, LogMax: 64, LogKeep: -1, ScanLimit: 2}, cut: map[[2]int]bool{},
	}
	if p, ok := t.(*probe); ok {
		f.cfg.Mutant, f.probe = p.mutant, p
	}
	for _, fn := range tune {
		fn(&f.cfg)
	}
	for i := range osds {
		h := &host{f: f, id: i, st: store.NewSim(store.SimOptions{Manual: true, Seed: uint64(i)})}
		f.hosts = append(f.hosts, h)
		f.peers[placement.OSDID(i)] = Peer{Up: true, Incarnation: 1}
		h.boot()
	}
	for range n {
		f.recs = append(f.recs, placement.PGRecord{Term: 1, Version: 1, Primary: 0, InSync: ids(0, 1, 2)})
	}
	f.publish()
	f.govern(3 * time.Second)
	for s := range n {
		f.wantServing(s)
	}
	return f
}

func pgid(shard uint32) placement.PGID { return placement.PGID{Pool: 1, Shard: shard} }

func (f *family) pgNum() uint32 { return uint32(len(f.recs)) }

func (f *family) view(shard uint32) View {
	if f.gone || shard >= f.pgNum() {
		return View{Epoch: f.epoch}
	}
	rec := f.recs[shard]
	rec.InSync = slices.Clone(rec.InSync)
	return View{Epoch: f.epoch, Exists: true, Record: rec, Target: slices.Clone(f.want), Peers: maps.Clone(f.peers),
		Size: 3, MinSize: f.least, PGNum: f.pgNum(), FirstPGNum: f.first}
}

// grow raises pg_num as mon/fsm does.
func (f *family) grow(to uint32) {
	from := f.pgNum()
	for c := from; c < to; c++ {
		p := &f.recs[placement.SplitParent(c, from)]
		kid := *p
		kid.Term, kid.Version, kid.InSync = p.Term+1, f.epoch+1, slices.Clone(p.InSync)
		f.recs = append(f.recs, kid)
	}
	for s := range from {
		if len(placement.SplitChildren(s, from, to)) > 0 {
			f.recs[s].Term++
			f.recs[s].Version = f.epoch + 1
		}
	}
	f.publish()
}

func (f *family) publish() {
	f.epoch++
	for _, h := range f.hosts {
		h.fetch()
	}
	f.settle()
}

func (f *family) setUp(id int, up bool) {
	p := f.peers[placement.OSDID(id)]
	p.Up = up
	if up {
		p.Incarnation++
	}
	f.peers[placement.OSDID(id)] = p
}

// down marks an OSD down; others lead what it led.
func (f *family) down(id int) {
	f.setUp(id, false)
	for s := range f.recs {
		r := &f.recs[s]
		if r.Primary == placement.OSDID(id) {
			for _, m := range r.InSync {
				if f.peers[m].Up {
					r.Primary, r.Term, r.Version = m, r.Term+1, f.epoch+1
					break
				}
			}
		}
	}
	f.publish()
}

// govern lets time pass and accepts what is proposed.
func (f *family) govern(d time.Duration) {
	for until := f.now.Add(d); f.now < until; {
		f.pass(50 * time.Millisecond)
		for _, h := range f.hosts {
			for _, shard := range slices.Sorted(maps.Keys(h.proposals)) {
				p := h.proposals[shard]
				delete(h.proposals, shard)
				if !h.alive || h.gs[shard] == nil {
					continue
				}
				code := wirepb.Code_OK
				if !f.apply(shard, p.Change) {
					code = wirepb.Code_CONFLICT
				}
				h.step(shard, ProposedEvent{Token: p.Token, Code: code, Epoch: f.epoch})
				f.settle()
			}
		}
	}
}

func (f *family) apply(shard uint32, ch *wirepb.PGChange) bool {
	r := &f.recs[shard]
	if ch.Version != uint64(r.Version) || ch.Term != uint32(r.Term) || ch.From != int32(r.Primary) ||
		!f.peers[placement.OSDID(ch.Primary)].Up || len(ch.InSync) < f.least {
		return false
	}
	r.InSync = nil
	for _, m := range ch.InSync {
		r.InSync = append(r.InSync, placement.OSDID(m))
	}
	if r.Primary != placement.OSDID(ch.Primary) {
		r.Term++
		r.Primary = placement.OSDID(ch.Primary)
	}
	r.Created = r.Created || ch.Created
	r.Version = f.epoch + 1
	f.publish()
	return true
}

// ---- OSDs ----

func (h *host) boot() {
	h.alive, h.epoch, h.seen = true, 0, 0
	h.leases = NewLeases(h.f.now, time.Second)
	h.gs, h.later, h.replies = map[uint32]*Group{}, nil, map[Handle]Reply{}
	h.lines = map[uint32]*store.Line{}
	h.proposals, h.lists, h.execs, h.reads, h.nursery = map[uint32]*Proposal{}, nil, nil, nil, Nursery{}
	pgs, err := h.st.PGs()
	if err != nil {
		h.f.t.Fatal(err)
	}
	for _, id := range pgs {
		h.load(id.Shard)
	}
}

func (h *host) load(shard uint32) {
	cfg := h.f.cfg
	cfg.Self, cfg.Leases = placement.OSDID(h.id), h.leases
	g, err := New(cfg, pgid(shard), h.st)
	if err != nil {
		h.f.t.Fatalf("load PG %d on osd.%d: %v", shard, h.id, err)
	}
	if h.nursery.Holds(pgid(shard)) {
		g.Hold()
	}
	h.gs[shard], h.lines[shard] = g, &store.Line{}
}

// fetch is the driver's way with a new map.
func (h *host) fetch() {
	f := h.f
	if !h.alive || h.blind || h.epoch == f.epoch {
		return
	}
	first := h.seen == 0
	n := f.pgNum()
	if first {
		for _, s := range slices.Sorted(maps.Keys(h.gs)) {
			h.nursery.Resume(h.gs[s], f.first, n)
		}
		for s, g := range h.gs {
			if h.nursery.Holds(placement.PGID{Pool: 1, Shard: s}) {
				g.Hold()
			}
		}
	} else {
		h.nursery.Follow(mapOf(h.seen), mapOf(n))
	}
	h.epoch, h.seen = f.epoch, n
	h.leases.SetEpoch(f.epoch)
	for s := range n {
		if h.gs[s] == nil {
			h.load(s)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(h.gs)) {
		h.step(s, MapEvent{View: f.view(s)})
	}
	for s := range n {
		h.release(s)
	}
	h.again()
}

// release lets go of the PGs that a parent has split off, or will not.
func (h *host) release(parent uint32) {
	g := h.gs[parent]
	if g != nil && g.Splitting() {
		return
	}
	for _, kid := range h.nursery.Held(pgid(parent)) {
		h.nursery.Release(kid)
		var led placement.Term
		if g != nil {
			led = g.LedFor(kid.Shard)
		}
		if k := h.gs[kid.Shard]; k != nil {
			fx, err := k.Release(h.f.now, h.st, led)
			if err != nil {
				h.f.t.Fatal(err)
			}
			h.carryOut(kid.Shard, k, fx)
		}
		h.release(kid.Shard)
	}
}

func (h *host) again() {
	waiting := h.later
	h.later = nil
	h.f.mail = append(waiting, h.f.mail...)
}

func (h *host) step(shard uint32, ev Event) {
	if g := h.gs[shard]; g != nil {
		h.carryOut(shard, g, g.Step(h.f.now, ev))
	}
}

func (h *host) carryOut(shard uint32, g *Group, fx Effects) {
	f := h.f
	for _, p := range fx.Persist {
		h.st.Submit(&store.Batch{Ops: p.Ops, Line: h.lines[shard], Reserve: p.Reserve}, func(err error) {
			if err != nil && !errors.Is(err, store.ErrNoSpace) {
				f.t.Fatalf("osd.%d PG %d: %v", h.id, shard, err)
			}
			if h.gs[shard] != g {
				return // of a group that was made anew since
			}
			h.step(shard, PersistedEvent{ID: p.ID, Err: err})
			if !h.nursery.Empty() {
				h.release(shard)
			}
		})
	}
	for _, out := range fx.Send {
		f.mail = append(f.mail, letter{parcel{placement.OSDID(h.id), out.To, proto.Clone(out.Msg).(*wirepb.PGMsg), slices.Concat(out.Payload...), h.epoch}, shard})
	}
	for _, r := range fx.Reply {
		h.replies[r.Handle] = r
	}
	for _, x := range fx.Exec {
		h.execs = append(h.execs, ask{shard: shard, exec: x})
	}
	for _, l := range fx.List {
		h.lists = append(h.lists, ask{shard: shard, list: l})
	}
	for _, r := range fx.Read {
		h.reads = append(h.reads, ask{shard: shard, read: r})
	}
	if fx.Propose != nil {
		h.proposals[shard] = &Proposal{fx.Propose.Token, proto.Clone(fx.Propose.Change).(*wirepb.PGChange)}
	}
	switch {
	case fx.Failed != nil:
		f.t.Fatalf("osd.%d PG %d: %v", h.id, shard, fx.Failed)
	case fx.Reload:
		h.reloads++
		h.load(shard)
		h.step(shard, MapEvent{View: f.view(shard)})
	case fx.Forget:
		delete(h.gs, shard)
	}
}

// work does what the groups have asked for.
func (h *host) work() (moved bool) {
	execs, reads := h.execs, h.reads
	if h.execs = nil; h.slowReads {
		reads = nil
	} else {
		h.reads = nil
	}
	for _, a := range execs {
		x, id := a.exec, pgid(a.shard)
		if x.Op == nil {
			after, limit := ListFrom(x.List)
			objs, more, _ := h.st.List(id, store.Objects, after, limit)
			l := ListReply(x.List, objs, more)
			h.step(a.shard, ExecutedEvent{Handle: x.Handle, List: l})
			continue
		}
		out := objop.Execute(h.st, store.Key{PG: id, Name: string(x.Op.Object)}, x.Op, x.Payload)
		h.step(a.shard, ExecutedEvent{Handle: x.Handle, Code: out.Code, Text: out.Text, Reply: out.Reply, Payload: out.Payload,
			Mutates: out.Mutates, Ops: out.Ops, Drops: out.Drops, Removed: out.Removed})
	}
	for _, a := range reads {
		p, err := ReadPiece(h.st, store.Key{PG: pgid(a.shard), Name: a.read.Object}, a.read, PieceSize{Bytes: 4, Pairs: 100})
		h.step(a.shard, ReadEvent{Token: a.read.Token, Piece: p, Err: err})
	}
	moved = len(execs)+len(reads) > 0
	if !h.slowLists {
		lists := h.lists
		h.lists = nil
		for _, a := range lists {
			objs, more, err := h.st.List(a.list.In(pgid(a.shard)), a.list.Space, a.list.After, a.list.Limit)
			h.step(a.shard, ListedEvent{Token: a.list.Token, Objects: objs, More: more, Err: err})
		}
		moved = moved || len(lists) > 0
	}
	return moved
}

func (f *family) settle() {
	for range 200000 {
		moved := false
		if len(f.mail) > 0 {
			l := f.mail[0]
			f.mail = f.mail[1:]
			f.deliver(l)
			moved = true
		}
		for _, h := range f.hosts {
			if h.alive {
				moved = !h.slowDisk && h.st.Flush() > 0 || moved
				moved = h.work() || moved
			}
		}
		if !moved {
			return
		}
	}
	f.t.Fatal("the groups never come to rest")
}

func (f *family) deliver(l letter) {
	to := f.hosts[l.to]
	if !to.alive || f.cut[[2]int{int(l.from), int(l.to)}] {
		return
	}
	if l.epoch > to.epoch {
		to.fetch()
	}
	if l.epoch > to.epoch {
		to.later = append(to.later, l)
		return
	}
	to.step(l.shard, MsgEvent{From: l.from, Msg: l.msg, Payload: l.payload})
}

func (f *family) pass(d time.Duration) {
	for until := f.now.Add(d); f.now < until; {
		f.now = f.now.Add(50 * time.Millisecond)
		for _, a := range f.hosts {
			for _, b := range f.hosts {
				pair := [2]int{a.id, b.id}
				if a != b && a.alive && b.alive && b.epoch > 0 && !f.cut[pair] {
					length, epoch := b.leases.Grant(f.now, placement.OSDID(a.id))
					a.leases.Received(f.now, placement.OSDID(b.id), length, epoch)
				}
			}
		}
		for _, h := range f.hosts {
			for _, s := range slices.Sorted(maps.Keys(h.gs)) {
				if h.alive && h.epoch > 0 {
					h.step(s, TickEvent{})
				}
			}
		}
		f.settle()
	}
}

func (f *family) crash(id, keep int) {
	h := f.hosts[id]
	h.alive = false
	h.st = h.st.Crash(keep)
	f.mail = slices.DeleteFunc(f.mail, func(l letter) bool { return int(l.from) == id || int(l.to) == id })
	for _, o := range f.hosts {
		if o != h && o.alive {
			o.reset(id)
		}
	}
	f.settle()
}

func (h *host) reset(peer int) {
	for _, s := range slices.Sorted(maps.Keys(h.gs)) {
		h.step(s, ResetEvent{Peer: placement.OSDID(peer)})
	}
}

func (f *family) restart(id int) {
	h := f.hosts[id]
	h.slowDisk, h.slowLists, h.slowReads, h.blind = false, false, false, false
	h.boot()
	f.setUp(id, true)
	f.publish()
}

func (f *family) sever(a, b int) {
	f.cut[[2]int{a, b}], f.cut[[2]int{b, a}] = true, true
	f.hosts[a].reset(b)
	f.hosts[b].reset(a)
	f.settle()
}

func (f *family) mend(a, b int) {
	delete(f.cut, [2]int{a, b})
	delete(f.cut, [2]int{b, a})
}

// ---- clients ----

func (f *family) shardOf(object string) uint32 {
	return placement.StableMod(placement.NameHash(object), f.pgNum())
}

// send sends an operation to a PG at an OSD.
func (f *family) send(id int, shard uint32, write bool, req *wirepb.OpRequest, payload string) Handle {
	f.next++
	req.Pool = 1
	f.hosts[id].step(shard, OpEvent{Handle: f.next, Op: req, Payload: []byte(payload), Write: write, Wall: int64(f.now)})
	f.settle()
	return f.next
}

func (f *family) primary(shard uint32) int { return int(f.recs[shard].Primary) }

// append appends to an object under a request id.
func (f *family) append(object, data string, seq uint64) (int, Handle) {
	s := f.shardOf(object)
	req := &wirepb.OpRequest{Object: []byte(object), Req: &wirepb.ReqID{Client: 1, Seq: seq},
		Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_APPEND, DataLen: uint64(len(data))}}}
	return f.primary(s), f.send(f.primary(s), s, true, req, data)
}

func (f *family) wantReply(id int, h Handle, code wirepb.Code) Reply {
	f.t.Helper()
	r, ok := f.hosts[id].replies[h]
	if !ok {
		f.t.Fatalf("request %d was not answered, want %v", h, code)
	}
	if r.Code != code {
		f.t.Fatalf("request %d was answered %v %q, want %v", h, r.Code, r.Text, code)
	}
	return r
}

// mustAppend appends and wants it acknowledged.
func (f *family) mustAppend(object, data string, seq uint64) {
	f.t.Helper()
	id, h := f.append(object, data, seq)
	f.wantReply(id, h, wirepb.Code_OK)
}

func (f *family) wantRead(object, want string) {
	f.t.Helper()
	s := f.shardOf(object)
	h := f.send(f.primary(s), s, false, &wirepb.OpRequest{Object: []byte(object), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}}}, "")
	r, ok := f.hosts[f.primary(s)].replies[h]
	if !ok || r.Code != wirepb.Code_OK || string(r.Payload) != want {
		f.t.Fatalf("%s in PG %d reads %v %q %q, answered %v; want %q; %s", object, s, r.Code, r.Text, r.Payload, ok, want, f.query(s))
	}
}

func (f *family) query(shard uint32) string {
	g := f.hosts[f.primary(shard)].gs[shard]
	if g == nil {
		return "no group"
	}
	return fmt.Sprintf("%+v", g.Query(1))
}

func (f *family) wantServing(shards ...uint32) {
	f.t.Helper()
	for _, s := range shards {
		if g := f.hosts[f.primary(s)].gs[s]; g == nil || g.lead == nil || !g.lead.serving {
			f.t.Fatalf("PG %d is not served: %s", s, f.query(s))
		}
	}
}

// objects describes what an OSD's disk holds of all PGs.
func (f *family) objects(id int) string {
	var b strings.Builder
	st := f.hosts[id].st
	for s := range f.pgNum() {
		objs, _, err := st.List(pgid(s), store.Objects, "", 1000)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, o := range objs {
			data, err := st.Read(store.Key{PG: pgid(s), Name: o.Name}, 0, 1<<20)
			if err != nil {
				f.t.Fatal(err)
			}
			if f.shardOf(o.Name) != s {
				f.t.Fatalf("osd.%d has %s in PG %d, where it does not belong", id, o.Name, s)
			}
			fmt.Fprintf(&b, "%d/%s %s %q\n", s, o.Name, o.Version, data)
		}
	}
	return b.String()
}

// wantSame fails unless the OSDs hold the same, are members of every PG, and every PG is active+clean.
func (f *family) wantSame(first int, others ...int) {
	f.t.Helper()
	for _, id := range others {
		if got, want := f.objects(id), f.objects(first); got != want {
			f.t.Fatalf("osd.%d holds\n%sosd.%d holds\n%s", id, got, first, want)
		}
	}
	for s := range f.pgNum() {
		for _, id := range append(others, first) {
			if !f.recs[s].Has(placement.OSDID(id)) {
				f.t.Fatalf("PG %d has members %v, want osd.%d too; %s", s, f.recs[s].InSync, id, f.query(s))
			}
		}
		g := f.hosts[f.primary(s)].gs[s]
		if st := g.Stat(1, 1); st == nil || st.State != "active+clean" {
			f.t.Fatalf("PG %d: %s", s, f.query(s))
		}
	}
}
