package admin

import (
	"math"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// DF returns the space of the cluster, its device classes and its pools.
func (v *View) DF() api.DF {
	df := api.DF{ByClass: map[string]api.DFStats{}, Pools: []api.DFPool{}}
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		st, _ := v.report(o.ID)
		if st.Report == nil {
			continue
		}
		class := v.classOf(int(o.ID))
		c := df.ByClass[class]
		for _, s := range []*api.DFStats{&df.Stats, &c} {
			s.Total += st.Report.GetCapacity()
			s.Avail += st.Report.GetAvailable()
			s.Used += st.Report.GetUsed()
			s.UsedRaw += st.Report.GetCapacity() - st.Report.GetAvailable()
			s.OSDs++
			s.UsedRatio = ratio(s.UsedRaw, s.Total)
		}
		df.ByClass[class] = c
	}
	sums := map[string]*api.DFPoolStats{}
	pgs := v.PGs()
	for i := range pgs {
		pg := &pgs[i]
		s := sums[pg.Pool]
		if s == nil {
			s = &api.DFPoolStats{}
			sums[pg.Pool] = s
		}
		s.Stored += pg.Bytes
		s.Objects += pg.Objects - pg.Records
		s.Used += pg.Bytes * int64(len(pg.Acting))
	}
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		out := api.DFPool{ID: uint32(p.ID), Name: p.Name, PGs: int(p.PGNum)}
		if s := sums[p.Name]; s != nil {
			out.Stats = *s
		}
		df.Pools = append(df.Pools, out)
	}
	v.addShards(df.Pools)
	for i := range df.Pools {
		p, s := &v.Map.Pools[i], &df.Pools[i].Stats
		raw := v.maxAvail(p)
		s.MaxAvail = int64(float64(raw) / copiesOf(p))
		s.Percent = ratio(s.Used, s.Used+raw)
	}
	return df
}

// maxAvail returns the raw bytes that can still be written to a pool before the
// first of its OSDs is full, if data spreads by weight. Space beyond the full
// ratio does not count, nor do OSDs that have not reported.
func (v *View) maxAvail(p *placement.Pool) int64 {
	weights := v.ruleWeights(int(p.Rule))
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	least := math.Inf(1)
	for id, w := range weights {
		st, _ := v.report(placement.OSDID(id))
		if st.Report == nil {
			continue
		}
		free := float64(st.Report.GetAvailable()) - (1-v.Map.ConfigRatio(placement.KeyFullRatio))*float64(st.Report.GetCapacity())
		least = min(least, max(0, free)*sum/w)
	}
	if math.IsInf(least, 1) || least > math.MaxInt64/2 {
		return 0
	}
	return int64(least)
}

// ruleWeights returns the devices a rule may choose with their effective weight
// (in the hierarchy times reweight), if that is positive.
func (v *View) ruleWeights(rule int) map[int]float64 {
	r, ok := v.Map.Crush.Rule(rule)
	if !ok {
		return nil
	}
	crushWeight := v.crushWeights()
	out := map[int]float64{}
	for _, s := range r.Steps {
		if s.Op != crush.OpTake {
			continue
		}
		for _, id := range v.devicesBelow(s.Item) {
			o := v.Map.OSD(placement.OSDID(id))
			if o == nil || s.Class != "" && v.classOf(id) != s.Class {
				continue
			}
			if w := crushWeight[id] * reweight(o.Weight); w > 0 {
				out[id] = w
			}
		}
	}
	return out
}
