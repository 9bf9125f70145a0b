package pg_test

import (
	"fmt"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// monitor is the monitors' state machine, the real one, without Raft: what is
// applied is agreed on.
type monitor struct {
	w     *world
	st    *fsm.State
	index placement.Epoch
	table *placement.Table
	inc   map[placement.OSDID]uint64
}

func newMonitor(w *world) *monitor {
	m := &monitor{w: w, st: fsm.New(), inc: map[placement.OSDID]uint64{}}
	m.must(&fsm.Bootstrap{Cluster: fsm.UUID{1}, Mons: []fsm.Mon{{Name: "a", Addr: "m:1", RaftAddr: "m:2"}}})
	m.must(&fsm.ConfigSet{Key: "osd_flap_limit", Value: "0"})
	return m
}

// apply carries out a command and tells everybody of the new map.
func (m *monitor) apply(b fsm.Body) fsm.Result {
	w := m.w
	m.index++
	before := m.record()
	res := m.st.Apply(fsm.Command{At: int64(w.now), Body: b}, m.index)
	if !res.Changed {
		return res
	}
	if m.table == nil {
		m.table = placement.NewTable(m.st.Map())
	} else {
		m.table = m.table.Next(m.st.Map())
	}
	if rec := m.record(); rec != nil {
		w.note(fmt.Sprintf("map %d: %+v", m.epoch(), *rec))
		if before != nil && before.Version != rec.Version {
			w.logf("mon: %s: %+v", fsm.KindOf(b), *rec)
		}
		w.checkMembers()
	}
	for _, n := range w.nodes {
		n.fetch(w.rand(time.Millisecond, 40*time.Millisecond))
	}
	return res
}

func (m *monitor) must(b fsm.Body) fsm.Result {
	res := m.apply(b)
	if res.Code != wirepb.Code_OK {
		m.w.failf("monitors: %s: %v %s", fsm.KindOf(b), res.Code, res.Text)
	}
	return res
}

func (m *monitor) epoch() placement.Epoch             { return m.st.Map().Epoch }
func (m *monitor) record() *placement.PGRecord        { return m.st.Map().PG(simPG) }
func (m *monitor) up(id placement.OSDID) bool         { return m.st.Map().IsUp(id) }
func (m *monitor) target() []placement.OSDID          { return m.table.Target(simPG) }
func (m *monitor) set(key, value string)              { m.apply(&fsm.PoolSet{Name: "p", Key: key, Value: value}) }
func (m *monitor) weigh(id placement.OSDID, w uint32) { m.apply(&fsm.OSDReweight{ID: id, Weight: w}) }

func (m *monitor) register(id placement.OSDID) {
	m.must(&fsm.OSDRegister{Store: fsm.UUID{0: 9, 15: byte(id)}, Class: "ssd", Capacity: 1 << 40,
		Location: []fsm.LocationPart{{Type: "host", Name: fmt.Sprintf("h%d", id)}}})
}

func (m *monitor) boot(id placement.OSDID) placement.Epoch {
	m.inc[id]++
	m.must(&fsm.OSDBoot{ID: id, Store: fsm.UUID{0: 9, 15: byte(id)}, Incarnation: m.inc[id], Addr: fmt.Sprintf("h%d:1", id)})
	return m.epoch()
}

func (m *monitor) down(id placement.OSDID) {
	m.apply(&fsm.OSDDown{OSDs: []fsm.Down{{ID: id, Reason: fsm.DownAdmin}}})
}

// create makes the pool; now and then some OSDs are down just then.
func (m *monitor) create() {
	w := m.w
	if w.chance(0.3) {
		for _, i := range w.rng.Perm(len(w.nodes))[:1+w.rng.IntN(4)] {
			w.nodes[i].crash()
			w.mon.down(placement.OSDID(i))
			w.after(w.rand(0, 3*time.Second), w.nodes[i].restart)
		}
	}
	m.must(&fsm.PoolCreate{Name: "p", Size: 3, MinSize: 1 + uint32(w.rng.IntN(2)), PGNum: 1})
}

func (m *monitor) view() pg.View {
	mp := m.st.Map()
	v := pg.View{Epoch: mp.Epoch}
	rec, pool := mp.PG(simPG), mp.Pool(simPG.Pool)
	if rec == nil {
		return v
	}
	v.Exists, v.Record, v.Target = true, *rec, m.target()
	v.Size, v.MinSize = int(pool.Size), int(pool.MinSize)
	v.Peers = map[placement.OSDID]pg.Peer{}
	for _, set := range [][]placement.OSDID{rec.InSync, v.Target} {
		for _, id := range set {
			o := mp.OSD(id)
			v.Peers[id] = pg.Peer{Up: o.Up, Incarnation: o.Incarnation}
		}
	}
	return v
}

// change is a primary's proposal.
func (m *monitor) change(c *wirepb.PGChange) wirepb.Code {
	b := &fsm.PGChange{PG: fsm.PGID(simPG), Term: placement.Term(c.Term), Version: placement.Epoch(c.Version),
		From: placement.OSDID(c.From), Primary: placement.OSDID(c.Primary), Created: c.Created}
	for _, id := range c.InSync {
		b.InSync = append(b.InSync, placement.OSDID(id))
	}
	res := m.apply(b)
	if res.Code != wirepb.Code_OK && res.Code != wirepb.Code_CONFLICT {
		m.w.failf("monitors: %+v: %v %s", b, res.Code, res.Text)
	}
	return res.Code
}
