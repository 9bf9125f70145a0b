package core

import (
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/placement"
)

// target is whom an operation goes to, by one map. Targets are compared: another
// term or incarnation of the same OSD is another target, and so is another PG,
// where the object went when its PG was split.
type target struct {
	pg          placement.PGID
	osd         placement.OSDID
	term        placement.Term
	incarnation uint64
	addr        string
}

// obstacle is why an operation cannot be sent now.
type obstacle uint8

const (
	nothing   obstacle = iota
	poolGone           // the pool was removed
	paused             // the cluster's pause flag is set
	noPrimary          // the PG has no primary that is up
)

// route finds the target of an operation in a map.
func route(m *placement.Map, op *Op) (target, obstacle) {
	p := m.Pool(op.Pool)
	if p == nil {
		return target{osd: placement.NoOSD}, poolGone
	}
	t := target{osd: placement.NoOSD}
	if op.OnePG {
		t.pg = placement.PGID{Pool: op.Pool, Shard: op.Shard}
	} else {
		t.pg = placement.PGOf(p, op.Object)
	}
	if m.Flags&placement.FlagPause != 0 {
		return t, paused
	}
	rec := m.PG(t.pg)
	if rec == nil || rec.Primary == placement.NoOSD {
		return t, noPrimary
	}
	o := m.OSD(rec.Primary)
	if o == nil || !o.Up || o.Addr == "" {
		return t, noPrimary
	}
	t.osd, t.term, t.incarnation, t.addr = o.ID, rec.Term, o.Incarnation, o.Addr
	return t, nothing
}

// version returns the epoch of the last change of a PG's record: when it moves
// on, something happened that an operation may have waited for.
func version(m *placement.Map, pg placement.PGID) placement.Epoch {
	if rec := m.PG(pg); rec != nil {
		return rec.Version
	}
	return 0
}

// explain says in words what an operation that met an obstacle waits for.
func explain(m *placement.Map, t target, o obstacle) string {
	switch o {
	case paused:
		return "the cluster is paused: client reads and writes wait until the pause flag is cleared"
	case noPrimary:
		rec := m.PG(t.pg)
		if rec == nil {
			return fmt.Sprintf("pg %s: no record in the cluster map of epoch %d", t.pg, m.Epoch)
		}
		var down []string
		for _, id := range rec.InSync {
			if !m.IsUp(id) {
				down = append(down, fmt.Sprint(int32(id)))
			}
		}
		switch {
		case len(rec.InSync) == 0:
			return fmt.Sprintf("pg %s: no primary yet: no OSD has created it; are enough OSDs up?", t.pg)
		case len(down) == 1:
			return fmt.Sprintf("pg %s: no primary: in-sync osd %s is down", t.pg, down[0])
		case len(down) > 1:
			return fmt.Sprintf("pg %s: no primary: in-sync osds %s are down", t.pg, strings.Join(down, ","))
		}
		return fmt.Sprintf("pg %s: no primary yet", t.pg)
	}
	return ""
}
