package admin

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// affectedMax bounds the PGs that an answer names; the rest is counted.
const affectedMax = 100

// check gathers what stands against a plan for OSDs.
type check struct {
	out   api.OSDCheck
	words map[string]int // by what it means for a PG
	order []string
	more  []string // reasons that are not about PGs
}

func newCheck(ids []placement.OSDID) *check {
	return &check{out: api.OSDCheck{OSDs: intsOf(ids), Reasons: []string{}, PGs: []api.AffectedPG{}}, words: map[string]int{}}
}

// pg notes a PG. sum is the word it is counted under, and reason is about this one.
func (c *check) pg(id placement.PGID, pool *placement.Pool, sum, reason string) {
	if c.words[sum] == 0 {
		c.order = append(c.order, sum)
	}
	c.words[sum]++
	c.out.NumPGs++
	if len(c.out.PGs) < affectedMax {
		c.out.PGs = append(c.out.PGs, api.AffectedPG{PGID: id.String(), Pool: pool.Name, Reason: reason})
	}
}

func (c *check) done() api.OSDCheck {
	for _, sum := range c.order {
		c.out.Reasons = append(c.out.Reasons, fmt.Sprintf("%s %s", count(c.words[sum], "pg"), sum))
	}
	c.out.Reasons = append(c.out.Reasons, c.more...)
	c.out.OK = len(c.out.Reasons) == 0
	return c.out
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// eachCreated calls f for every PG that has data.
func (v *View) eachCreated(f func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord)) {
	v.eachPG(func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord) {
		if rec.Created {
			f(id, pool, rec)
		}
	})
}

// OKToStop tells which PGs would stop serving reads or writes, and which chunks could not be read, if these OSDs stopped now.
// A PG that does not serve already, and of which none of them is a member, does not count.
func (v *View) OKToStop(ids []placement.OSDID) api.OSDCheck {
	c := newCheck(ids)
	v.eachCreated(func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord) {
		var hit, left []placement.OSDID
		for _, m := range rec.InSync {
			switch {
			case slices.Contains(ids, m):
				hit = append(hit, m)
			case v.Map.IsUp(m):
				left = append(left, m)
			}
		}
		switch {
		case len(hit) == 0:
		case len(left) == 0:
			c.pg(id, pool, "would become inactive: no other copy is up", "no other in-sync copy is up")
		case len(left) < int(pool.MinSize):
			c.pg(id, pool, "would drop below min_size", fmt.Sprintf("%d in-sync copies %v would be left, below min_size %d", len(left), intsOf(left), pool.MinSize))
		}
	})
	c.more = v.stopsChunks(ids)
	return c.done()
}

// SafeToDestroy tells which PGs and chunks still count, or may have to count, on the copies and shards of these OSDs.
func (v *View) SafeToDestroy(ids []placement.OSDID) api.OSDCheck {
	c := newCheck(ids)
	v.eachCreated(func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord) {
		for _, o := range ids {
			switch {
			case rec.Has(o) || rec.Primary == o:
				c.pg(id, pool, "have it in their in-sync set", fmt.Sprintf("%s is in the in-sync set %v", o, intsOf(rec.InSync)))
			case slices.Contains(v.Target(id), o):
				c.pg(id, pool, "are to be placed on it", fmt.Sprintf("CRUSH places it on %s; drain that", o))
			case rec.Primary == placement.NoOSD:
				c.pg(id, pool, "are down, and may need any copy there is", "it is down, waiting for "+v.waitsFor(rec))
			default:
				continue
			}
			return
		}
	})
	sums := v.chunkSums()
	for _, o := range ids {
		c.more = append(c.more, v.countsOn(o, sums)...)
	}
	return c.done()
}

// OKToDrain tells what would keep these OSDs from becoming empty: PGs for which CRUSH finds
// no other place, and OSDs that would become too full.
func (v *View) OKToDrain(ids []placement.OSDID) api.OSDCheck {
	c := newCheck(ids)
	m := v.Map.Clone()
	for i := range m.OSDs {
		if slices.Contains(ids, m.OSDs[i].ID) {
			m.OSDs[i].Draining = true
		}
	}
	table, stats := placement.NewTable(m), v.stats()
	gain := map[placement.OSDID]int64{}
	type shortage struct{ places, pgs int }
	short := map[string]*shortage{}
	for i := range m.PGs {
		pool := m.Pool(m.PGs[i].Pool)
		for shard := range m.PGs[i].Records {
			id := placement.PGID{Pool: pool.ID, Shard: uint32(shard)}
			was, will := v.Target(id), table.Target(id)
			if len(will) < int(pool.Size) && slices.ContainsFunc(ids, func(o placement.OSDID) bool { return slices.Contains(was, o) || m.PGs[i].Records[shard].Has(o) }) {
				name := fmt.Sprint(pool.Rule)
				if r, ok := m.Crush.Rule(int(pool.Rule)); ok {
					name = r.Name
				}
				key := fmt.Sprintf("pool '%s': CRUSH rule %s finds only %%d of %d places without them; add OSDs on other %ss",
					pool.Name, name, pool.Size, m.Crush.TypeName(m.Crush.RuleDomain(int(pool.Rule))))
				if short[key] == nil {
					short[key] = &shortage{places: len(will)}
				}
				short[key].places = min(short[key].places, len(will))
				short[key].pgs++
				c.out.NumPGs++
				if len(c.out.PGs) < affectedMax {
					c.out.PGs = append(c.out.PGs, api.AffectedPG{PGID: id.String(), Pool: pool.Name,
						Reason: fmt.Sprintf("CRUSH finds %v, %d of %d places", intsOf(will), len(will), pool.Size)})
				}
			}
			for _, o := range will {
				if !slices.Contains(was, o) && !m.PGs[i].Records[shard].Has(o) {
					if e, ok := stats[id]; ok {
						gain[o] += e.stat.GetBytes()
					}
				}
			}
		}
	}
	for key, s := range short {
		c.out.Reasons = append(c.out.Reasons, fmt.Sprintf(key, s.places)+fmt.Sprintf(" (%s)", count(s.pgs, "pg")))
	}
	sort.Strings(c.out.Reasons)
	c.more = v.drainsChunks(table)
	limit := m.ConfigRatio(placement.KeyBackfillFullRatio)
	for i := range m.OSDs {
		o := &m.OSDs[i]
		st, _ := v.report(o.ID)
		if st.Report == nil || gain[o.ID] == 0 || st.Report.GetCapacity() <= 0 {
			continue
		}
		used := st.Report.GetCapacity() - st.Report.GetAvailable() + gain[o.ID]
		if share := float64(used) / float64(st.Report.GetCapacity()); share >= limit {
			c.out.Reasons = append(c.out.Reasons, fmt.Sprintf("%s would become %.0f %% full, and takes no more from %.0f %% on (backfillfull_ratio); add OSDs", o.ID, 100*share, 100*limit))
		}
	}
	return c.done()
}

// Drains tells how far the OSDs are that are being emptied.
func (v *View) Drains() []api.DrainState {
	out := []api.DrainState{}
	at := map[placement.OSDID]int{}
	for i := range v.Map.OSDs {
		if o := &v.Map.OSDs[i]; o.Draining {
			at[o.ID] = len(out)
			out = append(out, api.DrainState{OSD: int(o.ID), Up: o.Up})
		}
	}
	if len(out) == 0 {
		return out
	}
	stats := v.stats()
	v.eachCreated(func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord) {
		for _, m := range rec.InSync {
			i, ok := at[m]
			if !ok {
				continue
			}
			d := &out[i]
			d.PGs++
			if e, ok := stats[id]; ok {
				d.Objects += e.stat.GetObjects()
				d.Bytes += e.stat.GetBytes()
			}
			if len(v.Target(id)) < int(pool.Size) {
				d.Blocked++
			}
		}
	})
	sums := v.chunkSums()
	for i := range out {
		id := placement.OSDID(out[i].OSD)
		waits := v.countsOn(id, sums)
		for _, p := range v.chunked() {
			if h := v.holds(id, p.ID); len(waits) > 0 {
				out[i].Shards += h.shards
				out[i].Bytes += h.bytes
			}
		}
		out[i].Empty = out[i].PGs == 0 && len(waits) == 0
		if out[i].Empty {
			out[i].Progress = 100
		}
	}
	return out
}

// refusalOf turns a check into one sentence.
func refusalOf(c api.OSDCheck) string {
	var pgs []string
	for _, p := range c.PGs[:min(len(c.PGs), 5)] {
		pgs = append(pgs, p.PGID)
	}
	s := strings.Join(c.Reasons, "; ")
	if len(pgs) > 0 {
		s += ": " + strings.Join(pgs, ", ")
		if c.NumPGs > len(pgs) {
			s += ", ..."
		}
	}
	return s
}
