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
	"github.com/cairnstore/cairn/osd/scrub"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

var castPG = placement.PGID{Pool: 1, Shard: 0}

// cast is a PG on stage: a few groups with their stores, joined by a network
// that delivers at once, and nobody who acts unasked. The test is the monitors
// and says when something is lost, held back or cut. What is by chance in the
// simulation is a script here.
type cast struct {
	t    tester
	now  clock.Mono
	view View // the newest map's
	cfg  Config
	mail []parcel
	acts map[placement.OSDID]*actor
	cut  map[[2]placement.OSDID]bool // messages are lost
	mute map[[2]placement.OSDID]bool // the second does not grant the first a lease
	keep func(parcel) bool           // messages to hold back, in held
	held []parcel
	next Handle

	probe *probe // not nil: this run should fail

	// For those who watch; nil: nobody does.
	onStep    func(*actor, *Effects)
	onParcel  func(p parcel, fate string) // "" when it arrives
	onSettled func()
}

// tester is what a script needs of a testing.T.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// probe is the tester of a script that is played with a mutant.
type probe struct {
	mutant    Mutant
	impatient bool // the driver's: no lease is waited for after a restart
	lateEpoch bool // the driver's: the leases hear of a map after the groups
	said      string
}

func (p *probe) Helper()                   {}
func (p *probe) Fatal(args ...any)         { p.Fatalf("%s", fmt.Sprint(args...)) }
func (p *probe) Fatalf(f string, a ...any) { p.said = fmt.Sprintf(f, a...); panic(p) }

// play runs a script and returns what it complained about.
func (p *probe) play(script func(tester)) (said string) {
	defer func() {
		if r := recover(); r != nil && r != any(p) {
			p.said = fmt.Sprintf("panic: %v", r)
		}
		said = p.said
	}()
	script(p)
	return ""
}

type parcel struct {
	from, to placement.OSDID
	msg      *wirepb.PGMsg
	payload  []byte
	epoch    placement.Epoch
}

// actor is one OSD.
type actor struct {
	c         *cast
	id        placement.OSDID
	alive     bool
	g         *Group
	st        *store.Sim
	line      *store.Line
	leases    *Leases
	reloads   int
	failed    error // it should stop
	replies   map[Handle]Reply
	proposals []Proposal
	sent      []*wirepb.PGMsg
	blind     bool // gets no maps
	slowDisk  bool // batches wait for flush
	slowLists bool // listings wait for list
	slowReads bool // pieces wait for read
	slowExecs bool // operations wait for exec
	slowLooks bool // descriptions wait for look
	lists     []List
	reads     []Read
	execs     []Exec
	looks     []Look
	notices   []Notice
}

// newCast makes OSDs that know no map yet; tune may change the configuration.
func newCast(t tester, n int, tune ...func(*Config)) *cast {
	c := &cast{
		t: t, now: clock.Mono(time.Minute),
		cfg:  Config{AckTimeout: time.Second, RetryAfter: 50 * time.Millisecond, LogMax: 64, LogKeep: -1},
		acts: map[placement.OSDID]*actor{}, cut: map[[2]placement.OSDID]bool{}, mute: map[[2]placement.OSDID]bool{},
	}
	if p, ok := t.(*probe); ok {
		c.cfg.Mutant, c.probe = p.mutant, p
	}
	for _, f := range tune {
		f(&c.cfg)
	}
	c.view = View{Exists: true, Size: 3, MinSize: 2, Peers: map[placement.OSDID]Peer{}}
	for i := range n {
		id := placement.OSDID(i)
		a := &actor{c: c, id: id, st: store.NewSim(store.SimOptions{Manual: true, Seed: uint64(i)})}
		c.acts[id] = a
		c.view.Peers[id] = Peer{Up: true, Incarnation: 1}
		a.boot()
	}
	return c
}

// active makes a created PG of three members led by 0, with OSDs to spare.
func active(t tester, n int, tune ...func(*Config)) *cast {
	t.Helper()
	return newCast(t, n, tune...).created()
}

func (c *cast) created() *cast {
	c.t.Helper()
	c.view.Target = ids(0, 1, 2)
	c.view.Record = placement.PGRecord{Term: 1, Version: 1, Primary: 0, InSync: ids(0, 1, 2)}
	c.publish()
	c.accept(0)
	c.pass(3 * time.Second)
	c.wantServing(0)
	return c
}

func ids(n ...int) []placement.OSDID {
	var out []placement.OSDID
	for _, i := range n {
		out = append(out, placement.OSDID(i))
	}
	return out
}

func (c *cast) a(id int) *actor { return c.acts[placement.OSDID(id)] }

func (c *cast) all() []*actor {
	var out []*actor
	for _, id := range slices.Sorted(maps.Keys(c.acts)) {
		out = append(out, c.acts[id])
	}
	return out
}

// ---- monitors ----

func (c *cast) snapshot() View {
	v := c.view
	v.Peers = maps.Clone(c.view.Peers)
	v.Target = slices.Clone(c.view.Target)
	v.Record.InSync = slices.Clone(c.view.Record.InSync)
	return v
}

// publish gives everybody the map as the test has changed it, and lets things happen.
func (c *cast) publish() {
	c.view.Epoch++
	for _, a := range c.all() {
		a.fetch()
	}
	c.settle()
}

// record changes the record as the monitors would, in a new version.
func (c *cast) record(f func(*placement.PGRecord)) {
	f(&c.view.Record)
	c.view.Record.Version = c.view.Epoch + 1
	c.publish()
}

// lead makes an OSD the primary of a new term.
func (c *cast) lead(id int) {
	c.record(func(r *placement.PGRecord) { r.Term++; r.Primary = placement.OSDID(id) })
}

// down marks an OSD down; its process may live on.
func (c *cast) down(id int) {
	p := c.view.Peers[placement.OSDID(id)]
	p.Up = false
	c.view.Peers[placement.OSDID(id)] = p
	c.publish()
}

// up marks it up in a new incarnation.
func (c *cast) up(id int) {
	p := c.view.Peers[placement.OSDID(id)]
	c.view.Peers[placement.OSDID(id)] = Peer{Up: true, Incarnation: p.Incarnation + 1}
	c.publish()
}

// proposed returns the newest proposal of an OSD.
func (c *cast) proposed(id int) *Proposal {
	a := c.a(id)
	if len(a.proposals) == 0 {
		return nil
	}
	return &a.proposals[len(a.proposals)-1]
}

// wantProposal fails unless the OSD's newest proposal is for this in-sync set.
func (c *cast) wantProposal(id int, set ...int) *Proposal {
	c.t.Helper()
	p := c.proposed(id)
	if p == nil {
		c.t.Fatalf("osd.%d proposed nothing, want in-sync set %v; %s", id, set, c.query(id))
	}
	var got []int
	for _, m := range p.Change.InSync {
		got = append(got, int(m))
	}
	if !slices.Equal(got, set) {
		c.t.Fatalf("osd.%d proposed in-sync set %v, want %v; %s", id, got, set, c.query(id))
	}
	return p
}

// apply is the monitors' compare-and-set, as in mon/fsm; it reports whether the change was accepted.
func (c *cast) apply(ch *wirepb.PGChange) bool {
	rec := &c.view.Record
	if ch.Version != uint64(rec.Version) || ch.Term != uint32(rec.Term) || ch.From != int32(rec.Primary) {
		return false
	}
	kept := 0
	for _, m := range ch.InSync {
		if id := placement.OSDID(m); !rec.Has(id) && !c.view.Peers[id].Up {
			return false
		} else if rec.Has(id) {
			kept++
		}
	}
	if !c.view.Peers[placement.OSDID(ch.Primary)].Up || len(ch.InSync) < c.view.MinSize && kept < len(rec.InSync) {
		return false
	}
	c.record(func(r *placement.PGRecord) {
		if kept < len(ch.InSync) {
			r.Forced = false
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
	})
	return true
}

// accept lets the newest proposal of an OSD succeed.
func (c *cast) accept(id int) {
	c.t.Helper()
	p := c.proposed(id)
	if p == nil {
		c.t.Fatalf("osd.%d proposed nothing; %s", id, c.query(id))
	}
	c.a(id).proposals = nil
	if !c.apply(p.Change) {
		c.t.Fatalf("osd.%d's proposal %v does not fit %+v", id, p.Change, c.view.Record)
	}
	c.answer(id, p, wirepb.Code_OK)
}

// answer tells an OSD the outcome of a proposal without any change.
func (c *cast) answer(id int, p *Proposal, code wirepb.Code) {
	c.a(id).step(ProposedEvent{Token: p.Token, Code: code, Epoch: c.view.Epoch})
	c.settle()
}

// govern accepts whatever is proposed while time passes.
func (c *cast) govern(d time.Duration) {
	for until := c.now.Add(d); c.now < until; {
		c.pass(50 * time.Millisecond)
		for _, a := range c.all() {
			if n := len(a.proposals); n > 0 && a.alive {
				p := a.proposals[n-1]
				a.proposals = nil
				code := wirepb.Code_OK
				if !c.apply(p.Change) {
					code = wirepb.Code_CONFLICT
				}
				c.answer(int(a.id), &p, code)
			}
		}
	}
}

// ---- OSDs ----

func (a *actor) boot() {
	a.alive = true
	a.leases = NewLeases(a.c.now, time.Second)
	if p := a.c.probe; p != nil && p.impatient {
		a.leases.quiet = 0
	}
	cfg := a.c.cfg
	cfg.Self, cfg.Leases = a.id, a.leases
	g, err := New(cfg, castPG, a.st)
	if err != nil {
		a.c.t.Fatalf("load on %s: %v", a.id, err)
	}
	a.g, a.line, a.replies = g, &store.Line{}, map[Handle]Reply{}
	a.proposals, a.lists, a.reads, a.execs, a.looks, a.sent = nil, nil, nil, nil, nil, nil
}

// crash ends a process; the first keep of the batches under way survive.
func (c *cast) crash(id, keep int) {
	a := c.a(id)
	a.alive = false
	a.st = a.st.Crash(keep)
	c.mail = slices.DeleteFunc(c.mail, func(p parcel) bool { return p.from == a.id || p.to == a.id })
	for _, o := range c.all() {
		if o != a && o.alive && o.g.view.Epoch > 0 {
			o.step(ResetEvent{Peer: a.id})
		}
	}
	c.settle()
}

// restart boots a process anew, in a map that has it up.
func (c *cast) restart(id int) {
	a := c.a(id)
	a.boot()
	a.slowDisk, a.slowLists, a.slowReads, a.slowExecs, a.slowLooks = false, false, false, false, false
	c.up(id)
}

func (a *actor) fetch() {
	if a.alive && !a.blind {
		v := a.c.snapshot()
		if p := a.c.probe; p == nil || !p.lateEpoch {
			a.leases.SetEpoch(v.Epoch)
		}
		a.step(MapEvent{View: v})
	}
}

func (a *actor) step(ev Event) {
	c := a.c
	g := a.g
	fx := g.Step(c.now, ev)
	if c.onStep != nil {
		c.onStep(a, &fx)
	}
	for _, p := range fx.Persist {
		a.st.Submit(&store.Batch{Ops: p.Ops, Line: a.line, Reserve: p.Reserve}, func(err error) {
			if a.g == g {
				a.step(PersistedEvent{ID: p.ID, Err: err})
			}
		})
	}
	for _, out := range fx.Send {
		a.sent = append(a.sent, out.Msg)
		b, err := out.Msg.MarshalVT()
		if err != nil {
			c.t.Fatal(err)
		}
		m := &wirepb.PGMsg{}
		if err := m.UnmarshalVT(b); err != nil {
			c.t.Fatal(err)
		}
		c.mail = append(c.mail, parcel{a.id, out.To, m, slices.Concat(out.Payload...), a.g.view.Epoch})
	}
	for _, r := range fx.Reply {
		if old, ok := a.replies[r.Handle]; ok {
			c.t.Fatalf("%s answers request %d twice: %+v, then %+v", a.id, r.Handle, old, r)
		}
		a.replies[r.Handle] = r
	}
	a.execs, a.reads, a.lists = append(a.execs, fx.Exec...), append(a.reads, fx.Read...), append(a.lists, fx.List...)
	a.looks, a.notices = append(a.looks, fx.Look...), append(a.notices, fx.Notices...)
	switch {
	case fx.Failed != nil:
		a.failed = fx.Failed
	case fx.Reload:
		leases := a.leases
		a.boot()
		a.leases, a.reloads = leases, a.reloads+1
		a.g.cfg.Leases = leases
		a.step(MapEvent{View: c.snapshot()})
	}
	if fx.Propose != nil {
		a.proposals = append(a.proposals, Proposal{fx.Propose.Token, proto.Clone(fx.Propose.Change).(*wirepb.PGChange)})
	}
}

func (a *actor) exec() {
	xs := a.execs
	a.execs = nil
	for _, x := range xs {
		if x.Op == nil {
			after, limit := ListFrom(x.List)
			objs, more, err := a.st.List(castPG, store.Objects, after, limit)
			l := ListReply(x.List, objs, more)
			if err != nil {
				a.c.t.Fatal(err)
			}
			a.step(ExecutedEvent{Handle: x.Handle, List: l})
			continue
		}
		out := objop.Execute(a.st, store.Key{PG: castPG, Name: string(x.Op.Object)}, x.Op, x.Payload)
		a.step(ExecutedEvent{Handle: x.Handle, Code: out.Code, Text: out.Text, Reply: out.Reply, Payload: out.Payload,
			Mutates: out.Mutates, Ops: out.Ops, Drops: out.Drops, Removed: out.Removed})
	}
}

func (a *actor) read() {
	rs := a.reads
	a.reads = nil
	for _, r := range rs {
		a.step(pieceOf(a.st, r))
	}
}

// pieceOf reads a piece of four bytes, so that pushes take several messages.
func pieceOf(st *store.Sim, r Read) ReadEvent {
	k := store.Key{PG: castPG, Name: r.Object}
	if r.Parts != nil {
		p, err := ReadPiece(st, k, r, PieceSize{})
		return ReadEvent{Token: r.Token, Piece: p, Err: err}
	}
	info, err := st.Stat(k)
	if errors.Is(err, store.ErrNotFound) {
		return ReadEvent{Token: r.Token, Piece: Piece{Missing: true, Last: true}}
	}
	p := Piece{Info: info, Off: r.At.Off}
	if err == nil && r.At.Off == 0 {
		if p.Attrs, err = st.Attrs(k); err == nil {
			p.Omap, _, err = st.OmapList(k, nil, nil, 100)
		}
	}
	if err == nil {
		p.Data, err = st.Read(k, r.At.Off, 4)
	}
	end := p.Off + uint64(len(p.Data))
	p.Next, p.Last = Cursor{Off: end}, end >= info.Size
	return ReadEvent{Token: r.Token, Piece: p, Err: err}
}

func (a *actor) look() {
	ls := a.looks
	a.looks = nil
	for _, l := range ls {
		ev := LookedEvent{Token: l.Token}
		if l.Object != "" {
			it, err := scrub.Object(a.st, store.Key{PG: castPG, Name: l.Object}, l.Deep, nil)
			ev.Items, ev.Err = []*wirepb.ScrubItem{it}, err
		} else {
			ev.Items, ev.More, ev.Err = scrub.Page(a.st, castPG, l.After, l.Limit, l.MaxBytes, l.Deep, nil)
		}
		a.step(ev)
	}
}

func (a *actor) list() {
	ls := a.lists
	a.lists = nil
	for _, l := range ls {
		objs, more, err := a.st.List(l.In(castPG), l.Space, l.After, l.Limit)
		a.step(ListedEvent{Token: l.Token, Objects: objs, More: more, Err: err})
	}
}

// settle delivers and completes whatever is not held back, until nothing moves.
func (c *cast) settle() {
	for range 100000 {
		moved := false
		if len(c.mail) > 0 {
			p := c.mail[0]
			c.mail = c.mail[1:]
			c.deliver(p)
			moved = true
		}
		for _, a := range c.all() {
			if !a.alive {
				continue
			}
			if !a.slowDisk && a.st.Flush() > 0 {
				moved = true
			}
			if !a.slowExecs && len(a.execs) > 0 {
				a.exec()
				moved = true
			}
			if !a.slowReads && len(a.reads) > 0 {
				a.read()
				moved = true
			}
			if !a.slowLooks && len(a.looks) > 0 {
				a.look()
				moved = true
			}
			if !a.slowLists && len(a.lists) > 0 {
				a.list()
				moved = true
			}
		}
		if !moved {
			if c.onSettled != nil {
				c.onSettled()
			}
			return
		}
	}
	c.t.Fatal("the groups never come to rest")
}

func (c *cast) deliver(p parcel) {
	saw := func(fate string) {
		if c.onParcel != nil {
			c.onParcel(p, fate)
		}
	}
	if c.keep != nil && c.keep(p) {
		saw("held back")
		c.held = append(c.held, p)
		return
	}
	to := c.acts[p.to]
	if to == nil || !to.alive || c.cut[[2]placement.OSDID{p.from, p.to}] {
		saw("lost")
		return
	}
	if p.epoch > to.g.view.Epoch {
		if to.blind {
			saw("waits for its map")
			return
		}
		to.fetch()
	}
	saw("")
	to.step(MsgEvent{From: p.from, Msg: p.msg, Payload: p.payload})
}

// unhold delivers what was held back.
func (c *cast) unhold() {
	c.keep = nil
	c.mail = append(c.held, c.mail...)
	c.held = nil
	c.settle()
}

// pass lets time pass: leases are renewed, ticks come.
func (c *cast) pass(d time.Duration) {
	for until := c.now.Add(d); c.now < until; {
		c.now = c.now.Add(50 * time.Millisecond)
		for _, a := range c.all() {
			for _, b := range c.all() {
				pair := [2]placement.OSDID{a.id, b.id}
				if a != b && a.alive && b.alive && !c.mute[pair] && !c.cut[pair] && b.g.view.Epoch > 0 {
					b.leases.Acts(a.id, a.g.view.Epoch)
					length, epoch := b.leases.Grant(c.now, a.id)
					a.leases.Received(c.now, b.id, length, epoch)
				}
			}
		}
		for _, a := range c.all() {
			if a.alive && a.g.view.Epoch > 0 {
				a.step(TickEvent{})
			}
		}
		c.settle()
	}
}

// sever cuts two OSDs from each other; both notice.
func (c *cast) sever(x, y int) {
	a, b := c.a(x), c.a(y)
	c.cut[[2]placement.OSDID{a.id, b.id}], c.cut[[2]placement.OSDID{b.id, a.id}] = true, true
	a.step(ResetEvent{Peer: b.id})
	b.step(ResetEvent{Peer: a.id})
	c.settle()
}

func (c *cast) mend(x, y int) {
	a, b := c.a(x).id, c.a(y).id
	delete(c.cut, [2]placement.OSDID{a, b})
	delete(c.cut, [2]placement.OSDID{b, a})
}

// ---- clients ----

func (c *cast) op(id int, write bool, req *wirepb.OpRequest, payload string) Handle {
	c.next++
	req.Pool = 1
	c.a(id).step(OpEvent{Handle: c.next, Op: req, Payload: []byte(payload), Write: write, Wall: int64(c.now)})
	c.settle()
	return c.next
}

// write replaces an object's bytes, under request id seq of client 1 if seq is not 0.
func (c *cast) write(id int, object, data string, seq uint64) Handle {
	req := &wirepb.OpRequest{Object: []byte(object), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE_FULL, DataLen: uint64(len(data))}}}
	if seq != 0 {
		req.Req = &wirepb.ReqID{Client: 1, Seq: seq}
	}
	return c.op(id, true, req, data)
}

func (c *cast) read(id int, object string) Handle {
	return c.op(id, false, &wirepb.OpRequest{Object: []byte(object), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}}}, "")
}

func (c *cast) remove(id int, object string) Handle {
	return c.op(id, true, &wirepb.OpRequest{Object: []byte(object), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_REMOVE, Flag: true}}}, "")
}

// wantReply fails unless the request was answered with the code; it returns the answer.
func (c *cast) wantReply(id int, h Handle, code wirepb.Code) Reply {
	c.t.Helper()
	r, ok := c.a(id).replies[h]
	if !ok {
		c.t.Fatalf("request %d was not answered, want %v; %s", h, code, c.query(id))
	}
	if r.Code != code {
		c.t.Fatalf("request %d was answered %v %q, want %v", h, r.Code, r.Text, code)
	}
	return r
}

func (c *cast) wantNoReply(id int, h Handle) {
	c.t.Helper()
	if r, ok := c.a(id).replies[h]; ok {
		c.t.Fatalf("request %d was answered %+v, want no answer yet; %s", h, r, c.query(id))
	}
}

// mustWrite writes and wants it acknowledged.
func (c *cast) mustWrite(id int, object, data string) {
	c.t.Helper()
	c.wantReply(id, c.write(id, object, data, 0), wirepb.Code_OK)
}

func (c *cast) wantRead(id int, object, want string) {
	c.t.Helper()
	if r := c.wantReply(id, c.read(id, object), wirepb.Code_OK); string(r.Payload) != want {
		c.t.Fatalf("%s reads %q, want %q", object, r.Payload, want)
	}
}

func (c *cast) wantServing(id int) {
	c.t.Helper()
	if g := c.a(id).g; g.lead == nil || !g.lead.serving {
		c.t.Fatalf("osd.%d does not serve: %s", id, c.query(id))
	}
}

func (c *cast) query(id int) string { return fmt.Sprintf("%+v", c.a(id).g.Query(1)) }

// objects describes what an OSD's disk holds of the PG.
func (c *cast) objects(id int) string {
	var b strings.Builder
	objs, _, err := c.a(id).st.List(castPG, store.Objects, "", 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range objs {
		data, err := c.a(id).st.Read(store.Key{PG: castPG, Name: o.Name}, 0, 1<<20)
		if err != nil {
			c.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s %q\n", o.Name, o.Version, data)
	}
	return b.String()
}

// wantSame fails unless the OSDs' disks hold the same objects.
func (c *cast) wantSame(first int, others ...int) {
	c.t.Helper()
	for _, id := range others {
		if got, want := c.objects(id), c.objects(first); got != want {
			c.t.Fatalf("osd.%d holds\n%sosd.%d holds\n%s", id, got, first, want)
		}
	}
}

// wantSet fails unless the in-sync set has these members, in any order.
func (c *cast) wantSet(set ...int) {
	c.t.Helper()
	got, want := slices.Sorted(slices.Values(c.view.Record.InSync)), slices.Sorted(slices.Values(ids(set...)))
	if !slices.Equal(got, want) {
		c.t.Fatalf("in-sync set %v, want %v; %s", got, want, c.query(int(c.view.Record.Primary)))
	}
}

func (c *cast) peer(lead, id int) *peer { return c.a(lead).g.lead.peers[placement.OSDID(id)] }
