package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// monitors are three monitors over one log of real commands. Raft itself is taken for
// granted: a command is committed when the leader reaches a second monitor. What the rest of
// the cluster can notice of it is there: leaders come and go, a quorum is lost, answers do
// not say whether something was done, monitors are behind.
type monitors struct {
	w        *world
	st       *fsm.State
	log      [][]byte     // committed commands
	pubs     []*published // maps, oldest first
	all      [3]*monitor
	sessions []*session
	watch    *watch

	leader  *monitor // nil: none at the moment
	term    int      // raised when a leader is lost
	sick    clock.Mono
	elect   clock.Mono // not before this
	orphans []fsm.Body // proposed to a leader that was lost; the next one has them in its log
	admin   []fsm.Body // what administrators want, in order
}

// published is a map with its table, which everybody would compute alike.
type published struct {
	m     *placement.Map
	table *placement.Table
}

// monitor is one of them.
type monitor struct {
	process
	name string
	have *published // newest map it has
	lag  time.Duration
}

func newMonitors(w *world) *monitors {
	ms := &monitors{w: w, st: fsm.New()}
	var mons []fsm.Mon
	for i := range ms.all {
		name := string(rune('a' + i))
		ms.all[i] = &monitor{process: process{w: w, at: monBase + endpoint(i), alive: true}, name: name}
		mons = append(mons, fsm.Mon{Name: name, Addr: name + ":1", RaftAddr: name + ":2"})
	}
	w.mons = ms
	ms.lead(ms.all[0])
	ms.must(&fsm.Bootstrap{Cluster: fsm.UUID{1}, Mons: mons})
	ms.must(&fsm.ConfigSet{Key: "osd_flap_limit", Value: "0"})
	ms.tick()
	return ms
}

// newest returns the newest map there is, whoever has it.
func (ms *monitors) newest() *published { return ms.pubs[len(ms.pubs)-1] }

func (ms *monitors) record(id placement.PGID) *placement.PGRecord { return ms.st.Map().PG(id) }

// commit appends a command to the log and carries it out.
func (ms *monitors) commit(b fsm.Body) fsm.Result {
	w := ms.w
	raw, err := fsm.Encode(fsm.Command{At: int64(w.now), Body: b})
	if err != nil {
		w.failf("monitors: %v", err)
		return fsm.Result{Code: wirepb.Code_INVALID}
	}
	c, err := fsm.Decode(raw)
	if err != nil {
		w.failf("monitors: %v", err)
		return fsm.Result{Code: wirepb.Code_INVALID}
	}
	ms.log = append(ms.log, raw)
	old := ms.st.Map()
	res := ms.st.Apply(c, placement.Epoch(len(ms.log)))
	w.note(uint64(len(ms.log)), raw)
	if !res.Changed {
		return res
	}
	p := &published{m: ms.st.Map()}
	if len(ms.pubs) == 0 {
		p.table = placement.NewTable(p.m)
	} else {
		p.table = ms.newest().table.Next(p.m)
	}
	ms.pubs = append(ms.pubs, p)
	w.mapChanged(fsm.KindOf(b), old, p.m)
	for _, m := range ms.all {
		if m == ms.leader || ms.leader == nil {
			m.apply(p)
		} else if !w.net.lost(ms.leader.at, m.at) {
			life := m.life
			w.after(w.net.delay()+w.rand(0, m.lag), func() { m.do(life, func() { m.apply(p) }) })
		}
	}
	return res
}

// must is commit for what cannot be refused.
func (ms *monitors) must(b fsm.Body) fsm.Result {
	res := ms.commit(b)
	if res.Code != wirepb.Code_OK {
		ms.w.failf("monitors: %s: %v %s", fsm.KindOf(b), res.Code, res.Text)
	}
	return res
}

// apply brings a monitor to a map and tells those who follow it.
func (m *monitor) apply(p *published) {
	if m.have != nil && p.m.Epoch <= m.have.m.Epoch {
		return
	}
	m.have = p
	ms := m.w.mons
	ms.sessions = slices.DeleteFunc(ms.sessions, func(s *session) bool { return s.ended() })
	for _, s := range ms.sessions {
		if s.mon == m {
			s.push(m, p)
		}
	}
}

// relay takes a request to the leader, and its answer back.
func (m *monitor) relay(run func(*monitors, func(fsm.Result)), reply func(fsm.Result)) {
	ms, leader, self := m.w.mons, m.w.mons.leader, m.ref()
	switch {
	case leader == nil:
		reply(fsm.Result{Code: wirepb.Code_TRY_LATER, Text: "no monitor leads"})
	case leader == m:
		run(ms, reply)
	default:
		m.w.net.post(m.at, leader.ref(), func() {
			back := func(res fsm.Result) { m.w.net.post(leader.at, self, func() { reply(res) }) }
			if ms.leader != leader {
				back(fsm.Result{Code: wirepb.Code_TRY_LATER, Text: "does not lead any more"})
				return
			}
			run(ms, back)
		})
	}
}

// propose puts a change into the leader's log. What the answer is depends on what becomes of the leader.
func (ms *monitors) propose(b fsm.Body, reply func(fsm.Result)) {
	w, leader, term, life := ms.w, ms.leader, ms.term, ms.leader.life
	var try func()
	try = func() {
		switch {
		case ms.term != term:
			if w.chance(0.5) {
				ms.orphans = append(ms.orphans, b)
			}
			leader.do(life, func() { reply(fsm.Result{Code: wirepb.Code_TRY_LATER, Text: "outcome unknown"}) })
		case w.lastWords(b):
			// lost with its sender
		case !ms.quorum(leader):
			w.after(w.rand(20*time.Millisecond, 200*time.Millisecond), try)
		default:
			res := ms.commit(b)
			leader.do(life, func() { reply(res) })
		}
	}
	w.after(w.rand(time.Millisecond, 20*time.Millisecond), try)
}

// quorum reports whether a monitor works and reaches enough others.
func (ms *monitors) quorum(m *monitor) bool {
	if !m.alive || m.frozen {
		return false
	}
	n := 0
	for _, o := range ms.all {
		if o == m || o.alive && !o.frozen && !ms.w.net.isCut(m.at, o.at) && !ms.w.net.isCut(o.at, m.at) {
			n++
		}
	}
	return n > len(ms.all)/2
}

func (ms *monitors) lead(m *monitor) {
	ms.leader, ms.sick = m, 0
	ms.watch = newWatch(ms)
	if len(ms.pubs) > 0 {
		m.apply(ms.newest())
	}
	for _, b := range ms.orphans {
		if !ms.w.lastWords(b) {
			ms.commit(b)
		}
	}
	ms.orphans = nil
}

// lose ends the leader's lead.
func (ms *monitors) lose() {
	w := ms.w
	w.logf("mon.%s does not lead any more", ms.leader.name)
	ms.leader = nil
	ms.term++
	ms.elect = w.now.Add(w.rand(100*time.Millisecond, 2*time.Second))
}

const (
	monTick   = 200 * time.Millisecond
	leadLease = 600 * time.Millisecond // how long a leader that reaches nobody leads
)

// tick does what monitors do by themselves: elections, catching up, judging OSDs.
func (ms *monitors) tick() {
	w := ms.w
	w.after(monTick, ms.tick)
	if ms.leader == nil {
		if w.now < ms.elect {
			return
		}
		var fit []*monitor
		for _, m := range ms.all {
			if ms.quorum(m) {
				fit = append(fit, m)
			}
		}
		if len(fit) == 0 {
			return
		}
		m := pick(w, fit)
		w.logf("mon.%s leads", m.name)
		ms.lead(m)
	}
	if !ms.quorum(ms.leader) {
		if ms.sick == 0 {
			ms.sick = w.now
		}
		if w.now.Sub(ms.sick) > leadLease {
			ms.lose()
		}
		return
	}
	ms.sick = 0
	for _, m := range ms.all {
		if m != ms.leader && m.alive && !m.frozen && m.lag == 0 && !w.net.lost(ms.leader.at, m.at) {
			m.apply(ms.newest())
		}
	}
	ms.watch.look()
	ms.obey()
}

// obey carries out what administrators want, while there is somebody to do it.
func (ms *monitors) obey() {
	for len(ms.admin) > 0 && ms.leader != nil && ms.quorum(ms.leader) {
		b := ms.admin[0]
		ms.admin = ms.admin[1:]
		res := ms.commit(b)
		ms.w.logf("admin: %s %+v: %v %s", fsm.KindOf(b), b, res.Code, res.Text)
	}
}

// want is what an administrator asks for: it is done as soon as possible, or refused.
func (ms *monitors) want(b fsm.Body) {
	ms.admin = append(ms.admin, b)
	ms.obey()
}

func (ms *monitors) set(pool, key string, value any) {
	ms.want(&fsm.PoolSet{Name: pool, Key: key, Value: fmt.Sprint(value)})
}

func (ms *monitors) weigh(id placement.OSDID, weight uint32) {
	ms.want(&fsm.OSDReweight{ID: id, Weight: weight})
}

func (ms *monitors) down(id placement.OSDID) {
	ms.want(&fsm.OSDDown{OSDs: []fsm.Down{{ID: id, Reason: fsm.DownAdmin}}})
}
