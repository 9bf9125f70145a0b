package placement

import "slices"

// standIns replaces the slow OSDs of a target, each by the first member of the row behind the target that is well, and
// leaves every copy in a failure domain of its own. One for which there is no such member stays. The target is not
// changed, and returned if there is nothing to replace.
//
// Only what a pool with chunks keeps in copies moves so: it is little beside the chunks, and every write of a chunk waits
// for it, whoever holds the shards. The row stays as it is, for chunks must not move because of load.
func (t *Table) standIns(pt *poolTable, id PGID, target []OSDID) []OSDID {
	if !slices.ContainsFunc(target, t.isSlow) {
		return target
	}
	r := t.reach(pt)
	row := t.Group(id).Members
	out := slices.Clone(target)
	for i, slow := range out {
		if !t.isSlow(slow) {
			continue
		}
		apart := func(id OSDID) bool {
			for k, m := range out {
				if k != i && (m == id || r.domainOf(m) == r.domainOf(id)) {
					return false
				}
			}
			return true
		}
		for _, m := range row[min(len(target), len(row)):] {
			if o := t.m.OSD(m); o != nil && !o.Slow && o.Full < BackfillFull && apart(m) {
				out[i] = m
				break
			}
		}
	}
	return out
}

func (t *Table) isSlow(id OSDID) bool {
	_, is := slices.BinarySearch(t.slow, id)
	return is
}

// slowOSDs lists the OSDs for which others stand in, sorted.
func slowOSDs(m *Map) (slow []OSDID) {
	for i := range m.OSDs {
		if m.OSDs[i].Slow {
			slow = append(slow, m.OSDs[i].ID)
		}
	}
	if len(slow) > 0 && !m.ConfigSwitch(KeySlowMoveCopies) {
		return nil
	}
	return slow
}
