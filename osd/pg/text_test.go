package pg

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// TestText plays the scripts in testdata: one for each transition of the protocol's state
// table (docs/protocol.md). They show what each OSD says to whom and what clients see.
// `go test ./osd/pg -run TestText -rewrite` writes the answers anew; read what has changed
// before you believe it.
//
// The stage (OSDs are numbers, sets lists like 0,1,2):
//
//	cluster osds=N [size=3] [min_size=2] [log=64] [page=256] [home=1m] [blank]
//	        a PG on the first OSDs, in sync, created and active; blank: nobody has heard of it
//	target SET, size N, min_size N        the map changes so
//	primary N                             a new term, led by it; none with -
//	set SET                               the monitors' record, without asking anybody
//	pool gone; force N                    N leads with what it has, whatever is missing
//	flags NAME..., full N not|near|backfill|full
//	room N none|some                      the disk has no room for data, which nobody has been told, or has again
//	decay N OBJECT, corrupt N OBJECT DATA the disk's checksums notice, or do not
//	scrub N [deep] [repair]
//	down N, up N                          the map says so; up is a new incarnation
//	crash N [keep=K]                      a process ends; K batches that were under way are on its disk
//	restart N                             it starts again, and the map has it up
//	wipe N                                its disk is empty
//	cut A B, mend A B                     messages from A to B are lost; sever: both ways, and both notice
//	mute A B, unmute A B                  B grants A no lease
//	hold [KIND] [from=N] [to=N]           messages of that kind are held back until deliver; lose drops them
//	freeze N disk|lists|reads|execs, thaw N ...
//	blind N, see N                        it gets no maps
//	pass D                                time passes; the monitors are asleep
//	govern D                              time passes; the monitors accept what they should
//	accept N, refuse N CODE, ignore N     the monitors' answer to its newest proposal, or that there is none
//
// Clients: write N OBJECT DATA [id=K] [age=D] [epoch=E], read N OBJECT, remove N OBJECT, list N, patch N OBJECT OFFSET DATA,
// ref N OBJECT NUMBER FROM TO: a reference of these bytes to a chunk, with a number for a nonce.
// Questions: stat N, query N, objects SET, log N. What goes over the network is shown after
// `trace on`; `trace KIND...` shows only those.
func TestText(t *testing.T) {
	datadriven.Walk(t, "testdata/text", func(t *testing.T, path string) {
		var s *textStage
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "cluster" {
				s = newTextStage(t, d)
			} else {
				if s == nil {
					d.Fatalf(t, "a script begins with cluster")
				}
				s.out.Reset()
				s.began = s.c.now
				s.c.t = t
				s.run(t, d)
			}
			if s.out.Len() == 0 {
				return "ok\n"
			}
			return s.out.String()
		})
	})
}

// textStage is a cast that is told in words what to do, and says what happens.
type textStage struct {
	c      *cast
	out    strings.Builder
	began  clock.Mono // of the command
	quiet  bool
	trace  bool
	kinds  []string // to trace; empty: all
	states map[placement.OSDID]string
	words  map[Handle]string
}

func newTextStage(t *testing.T, d *datadriven.TestData) *textStage {
	t.Helper()
	n := 3
	d.ScanArgs(t, "osds", &n)
	s := &textStage{states: map[placement.OSDID]string{}, words: map[Handle]string{}}
	c := newCast(t, n, func(cfg *Config) {
		d.MaybeScanArgs(t, "log", &cfg.LogMax)
		d.MaybeScanArgs(t, "page", &cfg.ScanLimit)
		home := ""
		if d.MaybeScanArgs(t, "home", &home) {
			v, err := time.ParseDuration(home)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			cfg.HomeAfter = v
		}
	})
	s.c, s.began = c, c.now
	c.onStep, c.onParcel, c.onSettled = s.stepped, s.parcel, s.settled
	d.MaybeScanArgs(t, "size", &c.view.Size)
	d.MaybeScanArgs(t, "min_size", &c.view.MinSize)
	var set []placement.OSDID
	for i := range min(c.view.Size, n) {
		set = append(set, placement.OSDID(i))
	}
	c.view.Target = set
	c.view.Record = placement.PGRecord{Term: 1, Version: 1, Primary: 0, InSync: slices.Clone(set)}
	if d.HasArg("blank") {
		return s
	}
	s.quiet = true
	c.publish()
	c.accept(0)
	c.pass(3 * time.Second)
	c.wantServing(0)
	s.quiet, s.began = false, c.now
	return s
}

func (s *textStage) say(format string, args ...any) {
	if s.quiet {
		return
	}
	if at := s.c.now.Sub(s.began); at > 0 {
		fmt.Fprintf(&s.out, "%-7v ", at)
	}
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// stepped notes what a group wants done besides messages.
func (s *textStage) stepped(a *actor, fx *Effects) {
	for _, r := range fx.Reply {
		text := r.Code.String()
		if r.Text != "" {
			text += ": " + r.Text
		}
		if r.List != nil {
			var names []string
			for _, o := range r.List.Objects {
				names = append(names, nameText(o))
			}
			text += " " + strings.Join(names, " ")
		}
		if len(r.Payload) > 0 {
			text += fmt.Sprintf(" %q", r.Payload)
		}
		for _, res := range r.Reply.GetResults() {
			for _, ref := range res.Refs {
				text += " " + refText(ref)
			}
		}
		s.say("%s answers %s: %s", a.id, s.word(r.Handle), text)
	}
	if p := fx.Propose; p != nil {
		text := "in-sync " + setText(p.Change.InSync)
		if p.Change.Primary != p.Change.From {
			text += fmt.Sprintf(", primary %s", placement.OSDID(p.Change.Primary))
		}
		if p.Change.Created && !s.c.view.Record.Created {
			text += ", created"
		}
		s.say("%s proposes %s", a.id, text)
	}
	for _, n := range fx.Notices {
		s.say("%s notes: %s", a.id, noticeText(n))
	}
	if fx.Forget {
		s.say("%s forgets the PG", a.id)
	}
}

func noticeText(n Notice) string {
	kinds := map[NoticeKind]string{
		ReadFailed: "cannot be read", Found: "damaged", Repaired: "repaired", Inconsistent: "inconsistent", Unfound: "unfound",
		ScrubStarted: "scrub begins", ScrubEnded: "scrub ends", ScrubStopped: "scrub stops",
	}
	text := kinds[n.Kind]
	if n.Object != "" {
		text += " " + n.Object
	}
	if n.OSD != placement.NoOSD {
		text += " on " + n.OSD.String()
	}
	if n.Text != "" {
		text += ": " + n.Text
	}
	return text
}

// word names a client's request.
func (s *textStage) word(h Handle) string {
	if w := s.words[h]; w != "" {
		return w
	}
	return "the request" // it is being answered before the command knows its handle
}

// settled notes what the groups have become.
func (s *textStage) settled() {
	for _, a := range s.c.all() {
		state := "gone"
		if a.alive {
			state = s.state(a)
		}
		if old := s.states[a.id]; old != state {
			s.states[a.id] = state
			if old != "" || a.alive && a.g.lead != nil {
				s.say("%s: %s", a.id, state)
			}
		}
	}
}

// state says in words what an OSD is to the PG.
func (s *textStage) state(a *actor) string {
	g := a.g
	switch {
	case g.lead != nil:
		text := "primary, " + g.Stat(s.count(a), 0).State
		if !g.lead.serving {
			text += " (" + g.why() + ")"
		}
		return text
	case !g.exists:
		return "without a copy"
	case !g.st.complete:
		return "incomplete copy"
	}
	return "copy"
}

func (s *textStage) count(a *actor) int64 {
	objs, _, err := a.st.List(castPG, store.Objects, "", 1000)
	if err != nil {
		return 0
	}
	return int64(len(objs))
}

func setText[T ~int32](set []T) string {
	var all []string
	for _, id := range set {
		all = append(all, strconv.Itoa(int(id)))
	}
	return "{" + strings.Join(all, ",") + "}"
}

// parcel writes down a message as it arrives, or does not.
func (s *textStage) parcel(p parcel, fate string) {
	kind, text := messageText(p.msg, p.payload)
	if !s.trace || len(s.kinds) > 0 && !slices.Contains(s.kinds, kind) {
		return
	}
	if fate != "" {
		text += " -- " + fate
	}
	s.say("  %d>%d %s", p.from, p.to, strings.TrimSpace(kind+" "+text))
}

func posText(p *wirepb.Position) string { return fromPos(p).String() }

func entriesText(es []*wirepb.LogEntry) string {
	var all []string
	for _, e := range es {
		all = append(all, posText(e.Pos)+":"+nameText(e.Object))
	}
	return strings.Join(all, " ")
}

// messageText describes a message in a line.
func messageText(m *wirepb.PGMsg, payload []byte) (kind, text string) {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+" ", args...) }
	with := func(cond bool, format string, args ...any) {
		if cond {
			add(format, args...)
		}
	}
	switch {
	case m.GetQuery() != nil:
		kind = "query"
		add("stream %d", m.Stream)
	case m.GetInfo() != nil:
		i := m.GetInfo()
		kind = "info"
		with(!i.Exists, "nothing")
		with(i.Exists, "head %s committed %s", posText(i.Head), posText(i.Committed))
		with(i.Exists && fromPos(i.CompleteTo) != fromPos(i.Head), "complete to %s", posText(i.CompleteTo))
		with(i.Backfilling, "to be compared")
		with(len(i.Entries) > 0, "above: %s", entriesText(i.Entries))
	case m.GetActivate() != nil:
		a := m.GetActivate()
		kind = "activate"
		add("keep %s", posText(a.Keep))
		with(len(a.Entries) > 0, "append %s", entriesText(a.Entries))
		with(len(a.Staged) > 0, "staged")
		for _, name := range a.Staged {
			add("%q", nameText(name))
		}
	case m.GetActivated() != nil:
		kind = "activated"
	case m.GetReplicate() != nil:
		r := m.GetReplicate()
		kind = "replicate"
		add("%s:%s", posText(r.Entry.Pos), nameText(r.Entry.Object))
		with(r.Entry.Removed, "removed")
		with(len(payload) > 0, "%s", dataText(r.Entry.Object, payload))
		with(r.NoData, "entry only")
		add("committed %s", posText(r.Committed))
	case m.GetAcked() != nil:
		kind = "acked"
		add("%s", posText(m.GetAcked().Pos))
	case m.GetPush() != nil:
		p := m.GetPush()
		kind = "push"
		add("%s", nameText(p.Object))
		with(p.Remove, "removed")
		with(!p.Remove, "%s at %d %q", posText(p.Version), p.Off, payload)
		with(p.Staged, "staged")
		with(p.Delta, "parts %v", p.Extents)
		with(p.Last, "last")
	case m.GetPushed() != nil:
		kind = "pushed"
		add("%s", nameText(m.GetPushed().Object))
	case m.GetLearn() != nil:
		l := m.GetLearn()
		kind = "learn"
		with(l.Reset_, "anew")
		add("keep %s", posText(l.Keep))
		with(len(l.Entries) > 0, "append %s", entriesText(l.Entries))
	case m.GetLearned() != nil:
		kind = "learned"
	case m.GetScan() != nil:
		kind = "scan"
		add("after %q", m.GetScan().After)
	case m.GetScanned() != nil:
		kind = "scanned"
		for _, o := range m.GetScanned().Objects {
			add("%s@%s", o.Object, posText(o.Version))
		}
		with(m.GetScanned().End, "end")
	case m.GetComplete() != nil:
		kind = "complete"
		add("%s", posText(m.GetComplete().Pos))
	case m.GetCompleted() != nil:
		kind = "completed"
		add("%s", posText(m.GetCompleted().Pos))
	case m.GetFetch() != nil:
		kind = "fetch"
		add("%s", m.GetFetch().Object)
	case m.GetFetched() != nil:
		f := m.GetFetched()
		kind = "fetched"
		with(f.Error != "", "%s", f.Error)
		with(f.Missing, "missing")
		with(f.Error == "" && !f.Missing, "%s at %d %q", posText(f.Version), f.Off, payload)
		with(f.Last, "last")
	case m.GetScrub() != nil:
		kind = "scrub"
		with(len(m.GetScrub().Object) > 0, "%s", m.GetScrub().Object)
		with(len(m.GetScrub().Object) == 0, "after %q", m.GetScrub().After)
		with(m.GetScrub().Deep, "deep")
	case m.GetScrubPage() != nil:
		kind = "scrubpage"
		for _, it := range m.GetScrubPage().Items {
			text := posText(it.Version)
			if it.Error != "" {
				text = "unreadable"
			}
			add("%s@%s", it.Object, text)
		}
	case m.GetReject() != nil:
		kind = "reject"
		add("%s", m.GetReject().Why)
		with(m.GetReject().Term != m.Term, "(term %d)", m.GetReject().Term)
	default:
		kind = strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m.Body), "*wirepb.PGMsg_"))
	}
	return kind, b.String()
}

// numbers reads a list like 0,1,2.
func numbers(t *testing.T, d *datadriven.TestData, i int) []int {
	t.Helper()
	var all []int
	if i >= len(d.CmdArgs) {
		d.Fatalf(t, "%s needs more", d.Cmd)
	}
	for _, f := range strings.Split(d.CmdArgs[i].Key, ",") {
		n, err := strconv.Atoi(f)
		if err != nil {
			d.Fatalf(t, "%q is no number", f)
		}
		all = append(all, n)
	}
	return all
}

func (s *textStage) run(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	c := s.c
	osd := func(i int) int { t.Helper(); return numbers(t, d, i)[0] }
	pair := func() [2]placement.OSDID {
		t.Helper()
		return [2]placement.OSDID{placement.OSDID(osd(0)), placement.OSDID(osd(1))}
	}
	word := func(i int) string {
		t.Helper()
		if i >= len(d.CmdArgs) {
			d.Fatalf(t, "%s needs more", d.Cmd)
		}
		return d.CmdArgs[i].Key
	}
	span := func(i int) time.Duration {
		t.Helper()
		v, err := time.ParseDuration(word(i))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return v
	}
	switch d.Cmd {
	case "start":
		c.publish()
	case "target":
		c.view.Target = ids(numbers(t, d, 0)...)
		c.publish()
	case "size":
		c.view.Size = osd(0)
		c.publish()
	case "min_size":
		c.view.MinSize = osd(0)
		c.publish()
	case "set":
		c.record(func(r *placement.PGRecord) { r.InSync = ids(numbers(t, d, 0)...) })
	case "primary":
		id := placement.NoOSD
		if word(0) != "-" {
			id = placement.OSDID(osd(0))
		}
		c.lead(int(id))
	case "force":
		c.force(osd(0))
	case "flags":
		named := map[string]placement.Flags{
			"norecover": placement.FlagNoRecover, "nobackfill": placement.FlagNoBackfill, "norebalance": placement.FlagNoRebalance, "none": 0,
		}
		var all placement.Flags
		for i := range d.CmdArgs {
			f, ok := named[word(i)]
			if !ok {
				d.Fatalf(t, "%s: no such flag", word(i))
			}
			all |= f
		}
		c.flags(all)
	case "full":
		levels := map[string]placement.Fullness{"not": placement.NotFull, "near": placement.NearFull, "backfill": placement.BackfillFull, "full": placement.Full}
		level, ok := levels[word(1)]
		if !ok {
			d.Fatalf(t, "%s: no such fullness", word(1))
		}
		p := c.view.Peers[placement.OSDID(osd(0))]
		p.Full = level
		c.view.Peers[placement.OSDID(osd(0))] = p
		c.publish()
	case "room":
		var hook func(*store.Batch) error
		if word(1) == "none" {
			hook = noData
		}
		c.a(osd(0)).st.SetHooks(nil, hook)
	case "decay":
		c.decay(osd(0), word(1))
	case "corrupt":
		c.corrupt(osd(0), word(1), word(2))
	case "scrub":
		c.a(osd(0)).step(ScrubEvent{Start: true, Deep: d.HasArg("deep"), Repair: d.HasArg("repair"), Wall: int64(c.now)})
		c.settle()
	case "pool":
		c.view.Exists = false
		c.publish()
	case "down":
		c.down(osd(0))
	case "up":
		c.up(osd(0))
	case "crash":
		keep := 0
		d.MaybeScanArgs(t, "keep", &keep)
		c.crash(osd(0), keep)
	case "restart":
		c.restart(osd(0))
	case "wipe":
		c.a(osd(0)).st = store.NewSim(store.SimOptions{Manual: true, Seed: 99})
	case "cut":
		c.cut[pair()] = true
	case "mend":
		c.mend(osd(0), osd(1))
	case "sever":
		c.sever(osd(0), osd(1))
	case "mute":
		c.mute[pair()] = true
	case "unmute":
		delete(c.mute, pair())
	case "hold":
		kind, from, to := "", -1, -1
		if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
			kind = d.CmdArgs[0].Key
		}
		d.MaybeScanArgs(t, "from", &from)
		d.MaybeScanArgs(t, "to", &to)
		c.keep = func(p parcel) bool {
			k, _ := messageText(p.msg, nil)
			return (kind == "" || k == kind) && (from < 0 || int(p.from) == from) && (to < 0 || int(p.to) == to)
		}
	case "deliver":
		c.unhold()
	case "lose":
		c.held, c.keep = nil, nil
	case "freeze", "thaw":
		a := c.a(osd(0))
		flag, ok := map[string]*bool{"disk": &a.slowDisk, "lists": &a.slowLists, "reads": &a.slowReads, "execs": &a.slowExecs}[word(1)]
		if !ok {
			d.Fatalf(t, "%s: no such part", word(1))
		}
		*flag = d.Cmd == "freeze"
		c.settle()
	case "blind":
		c.a(osd(0)).blind = true
	case "see":
		c.a(osd(0)).blind = false
		c.a(osd(0)).fetch()
		c.settle()
	case "pass":
		c.pass(span(0))
	case "govern":
		s.govern(span(0))
	case "accept":
		c.accept(osd(0))
	case "refuse", "ignore":
		id := osd(0)
		p := c.proposed(id)
		if p == nil {
			d.Fatalf(t, "osd.%d has proposed nothing", id)
		}
		c.a(id).proposals = nil
		code := wirepb.Code_TIMED_OUT
		if d.Cmd == "refuse" {
			code = wirepb.Code(wirepb.Code_value[word(1)])
		}
		c.answer(id, p, code)
	case "write", "read", "remove", "list", "patch", "ref":
		s.request(t, d, osd(0))
	case "stat":
		st := c.a(osd(0)).g.Stat(s.count(c.a(osd(0))), 0)
		if st == nil {
			s.say("osd.%d does not lead", osd(0))
			return
		}
		s.say("%s; acting %s, up %s; %d objects, %d degraded, %d misplaced", st.State, setText(st.Acting), setText(st.Up), st.Objects, st.Degraded, st.Misplaced)
		if st.Waiting != "" {
			s.say("%s", st.Waiting)
		}
	case "query":
		s.query(osd(0))
	case "objects":
		for _, id := range numbers(t, d, 0) {
			s.say("osd.%d: %s", id, s.disk(id))
		}
	case "log":
		g := c.a(osd(0)).g
		s.say("tail %s head %s committed %s: %s", g.log.tail, g.log.head(), g.st.committed, entriesText(g.log.entries))
	case "trace":
		s.trace, s.kinds = word(0) != "off", nil
		for _, a := range d.CmdArgs {
			if a.Key != "on" && a.Key != "off" {
				s.kinds = append(s.kinds, a.Key)
			}
		}
	default:
		d.Fatalf(t, "no such command")
	}
}

// govern is cast.govern, and says what the monitors do.
func (s *textStage) govern(d time.Duration) {
	c := s.c
	for until := c.now.Add(d); c.now < until; {
		c.pass(50 * time.Millisecond)
		for _, a := range c.all() {
			n := len(a.proposals)
			if n == 0 || !a.alive {
				continue
			}
			p := a.proposals[n-1]
			a.proposals = nil
			quiet, old := s.quiet, c.view.Record
			code := wirepb.Code_OK
			s.quiet = quiet
			// The record before its consequences, which apply lets happen.
			if rec, ok := s.fits(p.Change); ok {
				s.say("monitors: term %d, primary %s, in-sync %s", rec.Term, rec.Primary, setText(rec.InSync))
			}
			if !c.apply(p.Change) {
				code = wirepb.Code_CONFLICT
				s.say("monitors: refused, the record is term %d, primary %s, in-sync %s", old.Term, old.Primary, setText(old.InSync))
			}
			c.answer(int(a.id), &p, code)
		}
	}
}

// fits returns the record that a change would make.
func (s *textStage) fits(ch *wirepb.PGChange) (placement.PGRecord, bool) {
	rec := s.c.view.Record
	if ch.Version != uint64(rec.Version) || ch.Term != uint32(rec.Term) || ch.From != int32(rec.Primary) {
		return rec, false
	}
	rec.InSync = nil
	for _, m := range ch.InSync {
		rec.InSync = append(rec.InSync, placement.OSDID(m))
	}
	if rec.Primary != placement.OSDID(ch.Primary) {
		rec.Term++
		rec.Primary = placement.OSDID(ch.Primary)
	}
	return rec, true
}

// disk describes what an OSD's disk holds of the PG.
func (s *textStage) disk(id int) string {
	st := s.c.a(id).st
	objs, _, err := st.List(castPG, store.Objects, "", 1000)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, o := range objs {
		data, err := st.Read(store.Key{PG: castPG, Name: o.Name}, 0, 1<<20)
		if err != nil {
			all = append(all, o.Name+" "+o.Version.String()+" cannot be read")
			continue
		}
		text := fmt.Sprintf("%s %s %s", nameText([]byte(o.Name)), o.Version, dataText([]byte(o.Name), data))
		kvs, _, err := st.OmapList(store.Key{PG: castPG, Name: o.Name}, []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd), 1000)
		for _, kv := range kvs {
			text += " " + refText(kv.Value)
		}
		if err != nil {
			text += " " + err.Error()
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (s *textStage) request(t *testing.T, d *datadriven.TestData, id int) {
	t.Helper()
	c := s.c
	ev := OpEvent{Handle: c.next + 1, Wall: int64(c.now)}
	name, data := "", ""
	if d.Cmd != "list" {
		name = d.CmdArgs[1].Key
	}
	req := &wirepb.OpRequest{Pool: 1, Object: []byte(name)}
	s.words[ev.Handle] = fmt.Sprintf("#%d", ev.Handle)
	switch d.Cmd {
	case "write":
		data = d.CmdArgs[2].Key
		req.Ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE_FULL, DataLen: uint64(len(data))}}
	case "patch":
		data = d.CmdArgs[3].Key
		req.Ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE, Offset: uint64(numbers(t, d, 2)[0]), DataLen: uint64(len(data))}}
	case "ref":
		req.Ops = refRequest(name, uint32(numbers(t, d, 2)[0]), uint64(numbers(t, d, 3)[0]), uint64(numbers(t, d, 4)[0])).Ops
	case "read":
		req.Ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}}
	case "remove":
		req.Ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_REMOVE, Flag: true}}
	}
	var seq uint64
	if d.MaybeScanArgs(t, "id", &seq) {
		req.Req = &wirepb.ReqID{Client: 1, Seq: seq}
	}
	age := ""
	if d.MaybeScanArgs(t, "age", &age) {
		v, err := time.ParseDuration(age)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		req.AgeMs = uint64(v.Milliseconds())
	}
	d.MaybeScanArgs(t, "epoch", &ev.Epoch)
	ev.Op, ev.Payload, ev.Write, ev.Grows = req, []byte(data), d.Cmd != "read", d.Cmd == "write"
	if d.Cmd == "list" {
		ev.Op, ev.List, ev.Write = nil, &wirepb.PGList{Pool: 1}, false
	}
	c.next++
	c.a(id).step(ev)
	c.settle()
	if _, ok := c.a(id).replies[ev.Handle]; !ok {
		s.say("#%d waits", ev.Handle)
	}
}

func (s *textStage) query(id int) {
	q := s.c.a(id).g.Query(s.count(s.c.a(id)))
	s.say("%s, term %d, primary %s, in-sync %s, target %s", q.State, q.Term, q.Primary, setText(q.InSync), setText(q.Target))
	s.say("log %s to %s, committed %s, complete %v, %d in flight, %d waiting", q.Tail, q.Head, q.Committed, q.Complete, q.InFlight, q.Waiting)
	if q.WaitsFor != "" {
		s.say("waits for: %s", q.WaitsFor)
	}
	for _, p := range q.Peers {
		s.say("%s %s, acked %d, missing %d", p.OSD, p.Phase, p.Acked, p.Missing)
	}
}
