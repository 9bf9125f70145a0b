package pg

import "github.com/cairnstore/cairn/placement"

// ViewOf cuts out of a map what concerns one PG. The table must be the map's.
func ViewOf(m *placement.Map, t *placement.Table, id placement.PGID) View {
	v := View{Epoch: m.Epoch}
	rec, pool := m.PG(id), m.Pool(id.Pool)
	if rec == nil || pool == nil {
		return v
	}
	v.Exists, v.Record, v.Target = true, *rec, t.Target(id)
	v.Size, v.MinSize, v.Flags = int(pool.Size), int(pool.MinSize), m.Flags
	v.PGNum, v.FirstPGNum = pool.PGNum, pool.FirstPGNum
	v.Peers = map[placement.OSDID]Peer{}
	for _, set := range [][]placement.OSDID{rec.InSync, v.Target} {
		for _, member := range set {
			if o := m.OSD(member); o != nil {
				v.Peers[member] = Peer{Up: o.Up, Incarnation: o.Incarnation, Full: o.Full, Shunned: m.Shunned(member)}
			}
		}
	}
	return v
}
