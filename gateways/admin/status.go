package admin

import (
	"sort"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// Status returns the overview.
func (v *View) Status() api.Status {
	pgs := v.PGs()
	mons := v.Mons()
	st := api.Status{
		FSID:          v.Map.Cluster.String(),
		Health:        v.health(pgs),
		ElectionEpoch: mons.ElectionEpoch,
		Quorum:        []int{},
		QuorumNames:   []string{},
		MonMap:        api.MonSummary{Epoch: mons.Epoch, NumMons: mons.NumMons, OutOfQuorum: []string{}},
		OSDMap:        v.osdStat(pgs),
		PGMap:         v.PGSummary(pgs),
		Services:      v.services(),
		Progress:      append([]api.Progress{}, v.Progress...),
		Now:           unix(v.Now),
	}
	if mons.LeaderSince > 0 {
		st.QuorumAge = max(0, st.Now-mons.LeaderSince)
	}
	for _, m := range mons.Mons {
		if m.InQuorum {
			st.Quorum = append(st.Quorum, m.Rank)
			st.QuorumNames = append(st.QuorumNames, m.Name)
		} else {
			st.MonMap.OutOfQuorum = append(st.MonMap.OutOfQuorum, m.Name)
		}
	}
	return st
}

// Mons returns the state of the monitors, ranked by name.
func (v *View) Mons() api.MonStat {
	q := &v.Quorum
	s := api.MonStat{
		Epoch: uint64(v.Map.Epoch), Leader: q.Leader, ElectionEpoch: q.Term, Answered: q.Self,
		Quorum: []api.MonRank{}, Mons: []api.MonState{},
	}
	if q.Leader != "" {
		s.LeaderSince = unix(q.LeaderSince)
	}
	byName := map[string]api.MonState{}
	for _, m := range v.Map.Mons {
		byName[m.Name] = api.MonState{Name: m.Name, Addr: m.Addr, RaftAddr: m.RaftAddr, AdminAddr: m.AdminAddr}
	}
	for _, m := range q.Members {
		// Without a leader there is no quorum to be in, whoever votes.
		byName[m.Name] = api.MonState{Name: m.Name, Addr: m.Addr, RaftAddr: m.RaftAddr, AdminAddr: m.AdminAddr,
			InQuorum: m.InQuorum && q.Leader != ""}
	}
	for _, m := range byName {
		s.Mons = append(s.Mons, m)
	}
	sort.Slice(s.Mons, func(i, j int) bool { return s.Mons[i].Name < s.Mons[j].Name })
	for i := range s.Mons {
		s.Mons[i].Rank = i
		if s.Mons[i].InQuorum {
			s.Quorum = append(s.Quorum, api.MonRank{Rank: i, Name: s.Mons[i].Name})
		}
	}
	s.NumMons = len(s.Mons)
	return s
}

func (v *View) services() []api.Service {
	out := []api.Service{}
	for _, s := range v.Services {
		out = append(out, api.Service{Kind: s.Kind, Name: s.Name, Addr: s.Addr, LastSeen: unix(s.At)})
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Kind < out[j].Kind || out[i].Kind == out[j].Kind && out[i].Name < out[j].Name
	})
	return out
}

// OSDStat counts the OSDs.
func (v *View) OSDStat() api.OSDStat { return v.osdStat(v.PGs()) }

func (v *View) osdStat(pgs []api.PG) api.OSDStat {
	s := api.OSDStat{
		Epoch: uint64(v.Map.Epoch), OSDs: len(v.Map.OSDs), UpSince: unix(v.UpSince), InSince: unix(v.InSince),
		Remapped: remapped(pgs), Flags: flagNames(v.Map.Flags), Now: unix(v.Now),
	}
	for i := range v.Map.OSDs {
		if v.Map.OSDs[i].Up {
			s.Up++
		}
		if v.Map.OSDs[i].In() {
			s.In++
		}
	}
	return s
}

// flagNames returns the flags that are set.
func flagNames(f placement.Flags) []string {
	if f&placement.AllFlags == 0 {
		return []string{} // not null in JSON
	}
	return f.FlagNames()
}
