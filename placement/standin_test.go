package placement

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestStandIns: in a pool with chunks an OSD of the row stands in for each slow one of a target, if there is one that is
// well and in a failure domain of its own; nobody else moves, rows stay as they are, and so do pools without chunks.
func TestStandIns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tp := drawTopo(t)
		well := tp.makeMap(t, rapid.Uint32Range(1, 4).Draw(t, "size"), 16)
		well.Pools[0].Chunks.Redundancy = Redundancy{ReedSolomon, 2, 1}
		before := NewTable(well)
		m := *well
		m.OSDs = slices.Clone(well.OSDs)
		for i := range m.OSDs {
			m.OSDs[i].Slow = rapid.IntRange(0, 3).Draw(t, "slow") == 0
			m.OSDs[i].Full = Fullness(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "full"))
		}
		table, domain := before.Next(&m), tp.domain()
		for shard := range uint32(16) {
			pg := PGID{1, shard}
			was, now, row := before.Target(pg), table.Target(pg), table.Group(pg)
			if !slices.Equal(row.Members, before.Group(pg).Members) || row.Target != before.Group(pg).Target {
				t.Fatalf("PG %s: the row changed from %v to %v", pg, before.Group(pg), row)
			}
			if got := m.Target(pg); !slices.Equal(got, now) {
				t.Fatalf("PG %s: the map says %v, the table %v", pg, got, now)
			}
			if len(was) != len(now) {
				t.Fatalf("PG %s: target %v became %v", pg, was, now)
			}
			taken := map[int]bool{}
			for i, id := range now {
				o := m.OSD(id)
				if id != was[i] && (!m.OSD(was[i]).Slow || o.Slow || o.Full >= BackfillFull || slices.Contains(was, id) || taken[domain(id)]) {
					t.Fatalf("PG %s: target %v became %v, %s is %+v", pg, was, now, id, o)
				}
				taken[domain(id)] = true
			}
			for i, id := range now {
				for _, other := range row.Members[row.Target:] {
					o := m.OSD(other)
					free := !slices.ContainsFunc(now, func(x OSDID) bool { return x != id && domain(x) == domain(other) })
					if m.OSD(id).Slow && !o.Slow && o.Full < BackfillFull && free && i == len(now)-1 {
						t.Fatalf("PG %s: %s is slow and stays in %v, %s could stand in", pg, id, now, other)
					}
				}
			}
		}
		for what, change := range map[string]func(*Map){
			"nobody is slow": func(c *Map) { c.OSDs = well.OSDs },
			"it is turned off": func(c *Map) {
				c.Config = []Setting{{Key: KeySlowMoveCopies, Value: "off"}}
			},
			"a pool without chunks": func(c *Map) { c.Pools = slices.Clone(c.Pools); c.Pools[0].Chunks = ChunkPolicy{} },
		} {
			c := m
			change(&c)
			table, like := table.Next(&c), c
			like.OSDs = well.OSDs
			for shard := range uint32(16) {
				pg := PGID{1, shard}
				if got, want := table.Target(pg), NewTable(&like).Target(pg); !slices.Equal(got, want) {
					t.Fatalf("PG %s, %s: target %v, want %v", pg, what, got, want)
				}
			}
		}
	})
}
