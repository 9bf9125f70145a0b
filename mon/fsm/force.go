package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// PGForce makes an OSD lead a PG that nobody serves any more, with whatever copy
// the OSD has: what that copy lacks is lost. It is a person's decision, for the
// case that the in-sync members never return.
type PGForce struct {
	PG         PGID            `json:"pg"`
	Term       placement.Term  `json:"term"`    // of the record that the decision is based on
	Version    placement.Epoch `json:"version"` // of the same
	OSD        placement.OSDID `json:"osd"`
	AcceptLoss bool            `json:"accept_loss"`
	// Stuck: the leading monitor saw that the record's primary, which is up, does not serve.
	Stuck bool `json:"stuck,omitempty"`
}

func (*PGForce) kind() string { return "pg-force" }

func (c *PGForce) apply(t *txn) (Result, error) {
	pg := placement.PGID(c.PG)
	rec := t.m.PG(pg)
	if rec == nil {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "PG %v does not exist; see `cairn pg ls`", pg)
	}
	o := t.m.OSD(c.OSD)
	switch {
	case o == nil:
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "PG %v: %v does not exist; see `cairn osd tree`", pg, c.OSD)
	case rec.Version != c.Version || rec.Term != c.Term:
		return Result{}, refuse(wirepb.Code_CONFLICT, "PG %v changed meanwhile: look at it again with `cairn pg ls`", pg)
	case !rec.Created:
		return Result{}, refuse(wirepb.Code_CONFLICT,
			"PG %v holds no data yet, so there is nothing to force: it gets a primary as soon as min_size OSDs of its target are up", pg)
	case !o.Up:
		return Result{}, refuse(wirepb.Code_CONFLICT, "PG %v: %v is down; start it before it can lead", pg, c.OSD)
	case rec.Primary != placement.NoOSD && !c.Stuck:
		return Result{}, refuse(wirepb.Code_CONFLICT, "PG %v is led by %v, which is up: nothing needs to be forced; `cairn pg query %v` says what it waits for",
			pg, rec.Primary, pg)
	case !c.AcceptLoss:
		return Result{}, refuse(wirepb.Code_NOT_PERMITTED, "%s", ForceText(&t.m, pg, c.OSD))
	}
	for i := range t.m.PGs {
		if t.m.PGs[i].Pool != c.PG.Pool {
			continue
		}
		r := t.record(i, int(c.PG.Shard))
		r.Term++
		r.Primary, r.InSync, r.Forced = c.OSD, []placement.OSDID{c.OSD}, true
		break
	}
	return Result{}, nil
}

// ForceText says what may be lost when an OSD is made to lead a PG, and where it
// still may be. The PG and the OSD exist.
func ForceText(m *placement.Map, pg placement.PGID, id placement.OSDID) string {
	rec := m.PG(pg)
	var b strings.Builder
	fmt.Fprintf(&b, "PG %v: with %v as its primary, whatever that copy lacks is lost for ever. ", pg, id)
	others := slices.DeleteFunc(slices.Clone(rec.InSync), func(o placement.OSDID) bool { return o == id })
	if rec.Has(id) {
		fmt.Fprintf(&b, "%v is in the in-sync set: it has every acknowledged write, unless its disk was damaged", id)
	} else {
		fmt.Fprintf(&b, "%v is not in the in-sync set: any write that was acknowledged since it left, or before it had caught up, may be lost, in any object of the PG", id)
	}
	if len(others) > 0 {
		names := make([]string, len(others))
		for i, o := range others {
			state := "up"
			if !m.IsUp(o) {
				state = "down"
			}
			names[i] = fmt.Sprintf("%v (%s)", o, state)
		}
		fmt.Fprintf(&b, ". %s should have everything: start one of them instead, and nothing is lost. "+
			"If it comes back after this, its copy is replaced; keep its disk away from the cluster if you want to save something from it", strings.Join(names, ", "))
	}
	b.WriteString(". If you accept that, repeat the command with --accept-loss")
	return b.String()
}
