package sim

import (
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// watch is the leader's judgement of which OSDs are dead, by the same rules as mon/watch.go:
// a refused connection is evidence, silence needs two witnesses unless few OSDs are up. It
// begins empty with every leader.
type watch struct {
	ms      *monitors
	accused map[placement.OSDID]map[placement.OSDID]charge // by target and witness
}

// accusation is an OSD's report that a peer does not answer.
type accusation struct {
	from, target placement.OSDID
	incarnation  uint64
	refused      bool
	silent       time.Duration
}

type charge struct {
	accusation
	at clock.Mono
}

const chargeTTL = 10 * time.Second

func newWatch(ms *monitors) *watch {
	return &watch{ms: ms, accused: map[placement.OSDID]map[placement.OSDID]charge{}}
}

func (h *watch) accuse(a accusation) {
	m := h.ms.st.Map()
	o := m.OSD(a.target)
	if o == nil || !o.Up || !m.IsUp(a.from) || a.incarnation < o.Incarnation {
		return
	}
	if h.accused[a.target] == nil {
		h.accused[a.target] = map[placement.OSDID]charge{}
	}
	h.accused[a.target][a.from] = charge{a, h.ms.w.now}
	h.look()
}

// look proposes to mark down who is dead.
func (h *watch) look() {
	m, now := h.ms.st.Map(), h.ms.w.now
	if m.Flags&placement.FlagNoDown != 0 {
		return
	}
	up := 0
	for i := range m.OSDs {
		if m.OSDs[i].Up {
			up++
		}
	}
	need := 2
	if up < 3 {
		need = 1
	}
	for i := range m.OSDs {
		o := &m.OSDs[i]
		witnesses, reason := 0, fsm.DownReason("")
		for from, c := range h.accused[o.ID] {
			switch {
			case !o.Up, !m.IsUp(from), now.Sub(c.at) > chargeTTL, c.incarnation < o.Incarnation:
				delete(h.accused[o.ID], from)
			case c.refused:
				reason = fsm.DownRefused
			default:
				witnesses++
			}
		}
		if reason == "" && witnesses >= need {
			reason = fsm.DownSilent
		}
		if reason != "" {
			delete(h.accused, o.ID)
			h.ms.propose(&fsm.OSDDown{OSDs: []fsm.Down{{ID: o.ID, Incarnation: o.Incarnation, Reason: reason}}}, func(res fsm.Result) {
				if res.Code != wirepb.Code_OK {
					h.ms.w.logf("mon: %s not marked down: %v", o.ID, res.Code)
				}
			})
		}
	}
}
