package admin

import (
	"math"
	"sort"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// parents maps every item of the CRUSH hierarchy to the bucket that holds it.
func (v *View) parents() map[int]int {
	out := map[int]int{}
	for i := range v.Map.Crush.Buckets {
		b := &v.Map.Crush.Buckets[i]
		for _, it := range b.Items {
			out[it.ID] = b.ID
		}
	}
	return out
}

// crushPath names the buckets above an item from the root down, "root=default,host=h1".
func (v *View) crushPath(id int, none string) string {
	parents := v.parents()
	var parts []string
	for range crush.MaxDepth {
		p, ok := parents[id]
		if !ok {
			break
		}
		if b, ok := v.Map.Crush.Bucket(p); ok {
			parts = append([]string{v.Map.Crush.TypeName(b.Type) + "=" + b.Name}, parts...)
		}
		id = p
	}
	if len(parts) == 0 {
		return none
	}
	return strings.Join(parts, ",")
}

// hostOf names the host above a device, or "".
func (v *View) hostOf(id int, parents map[int]int) string {
	for range crush.MaxDepth {
		p, ok := parents[id]
		if !ok {
			return ""
		}
		if b, ok := v.Map.Crush.Bucket(p); ok && v.Map.Crush.TypeName(b.Type) == "host" {
			return b.Name
		}
		id = p
	}
	return ""
}

// devicesBelow lists the devices of a subtree.
func (v *View) devicesBelow(id int) []int {
	if id >= 0 {
		return []int{id}
	}
	var out []int
	if b, ok := v.Map.Crush.Bucket(id); ok {
		for _, it := range b.Items {
			out = append(out, v.devicesBelow(it.ID)...)
		}
	}
	return out
}

// crushWeights maps devices to their weight in the hierarchy.
func (v *View) crushWeights() map[int]float64 {
	out := map[int]float64{}
	for i := range v.Map.Crush.Buckets {
		for _, it := range v.Map.Crush.Buckets[i].Items {
			if it.ID >= 0 {
				out[it.ID] = it.Weight.Float()
			}
		}
	}
	return out
}

// OSDTree returns the hierarchy depth first, roots by id, buckets by name and
// OSDs by class and id, as Ceph lists them.
func (v *View) OSDTree() api.OSDTree {
	c := v.Map.Crush
	parents := v.parents()
	tree := api.OSDTree{Nodes: []api.TreeNode{}, Stray: []api.TreeNode{}}
	var roots []int
	for i := range c.Buckets {
		if _, ok := parents[c.Buckets[i].ID]; !ok {
			roots = append(roots, c.Buckets[i].ID)
		}
	}
	sort.Ints(roots)
	seen := map[int]bool{}
	var walk func(id, depth int, weight float64)
	walk = func(id, depth int, weight float64) {
		if id >= 0 {
			seen[id] = true
			n := v.osdNode(id)
			n.CrushWeight, n.Depth = weight, depth
			tree.Nodes = append(tree.Nodes, n)
			return
		}
		b, ok := c.Bucket(id)
		if !ok {
			return
		}
		items := append([]crush.Item(nil), b.Items...)
		sort.Slice(items, func(i, j int) bool { return v.itemKey(items[i].ID).less(v.itemKey(items[j].ID)) })
		n := api.TreeNode{ID: id, Name: b.Name, Type: c.TypeName(b.Type), TypeID: b.Type, CrushWeight: b.Weight().Float(), Depth: depth}
		for _, it := range items {
			n.Children = append(n.Children, it.ID)
		}
		tree.Nodes = append(tree.Nodes, n)
		for _, it := range items {
			walk(it.ID, depth+1, it.Weight.Float())
		}
	}
	for _, r := range roots {
		b, _ := c.Bucket(r)
		walk(r, 0, b.Weight().Float())
	}
	for i := range v.Map.OSDs {
		if id := int(v.Map.OSDs[i].ID); !seen[id] {
			tree.Stray = append(tree.Stray, v.osdNode(id))
		}
	}
	return tree
}

type itemKey struct {
	device bool
	name   string // of a bucket, or the class of a device
	id     int
}

func (k itemKey) less(o itemKey) bool {
	switch {
	case k.device != o.device:
		return !k.device
	case k.name != o.name:
		return k.name < o.name
	}
	return k.id < o.id
}

func (v *View) itemKey(id int) itemKey {
	if id < 0 {
		return itemKey{name: v.Map.Crush.ItemName(id), id: id}
	}
	return itemKey{device: true, name: v.classOf(id), id: id}
}

func (v *View) classOf(id int) string {
	if d, ok := v.Map.Crush.Device(id); ok && d.Class != "" {
		return d.Class
	}
	if o := v.Map.OSD(placement.OSDID(id)); o != nil {
		return o.Class
	}
	return ""
}

func (v *View) osdNode(id int) api.TreeNode {
	n := api.TreeNode{ID: id, Class: v.classOf(id), Name: placement.OSDID(id).String(), Type: "osd", Status: "DNE", PrimaryAffinity: 1}
	if o := v.Map.OSD(placement.OSDID(id)); o != nil {
		n.Exists, n.Status, n.Reweight = 1, "down", reweight(o.Weight)
		if v.Map.Shunned(o.ID) {
			n.PrimaryAffinity = 0
		}
		if o.Up {
			n.Status = "up"
		}
	}
	return n
}

func reweight(w uint32) float64 { return float64(w) / float64(placement.WeightOne) }

// OSDDF returns the space along the hierarchy. Only OSDs that are in and have
// reported enter the averages.
func (v *View) OSDDF() api.OSDDF {
	tree := v.OSDTree()
	df := api.OSDDF{Nodes: []api.DFNode{}, Stray: []api.DFNode{}}
	leaf := map[int]api.DFNode{}
	sum := &df.Summary
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		n := api.DFNode{}
		if st, _ := v.report(o.ID); st.Report != nil {
			r := st.Report
			n.KB, n.KBUsed, n.KBAvail = r.GetCapacity()>>10, r.GetUsed()>>10, r.GetAvailable()>>10
			n.KBData, n.KBOmap, n.KBMeta = r.GetDataBytes()>>10, r.GetOmapBytes()>>10, r.GetMetaBytes()>>10
			n.KBStored, n.KBAllocated = r.GetStoredBytes()>>10, r.GetAllocatedBytes()>>10
			n.PGs = int(r.GetPgCount())
		}
		n.Utilization = 100 * ratio(n.KBUsed, n.KB)
		leaf[int(o.ID)] = n
		addSpace(&sum.KB, &sum.KBUsed, &sum.KBData, &sum.KBOmap, &sum.KBMeta, &sum.KBAvail, n)
		sum.KBStored += n.KBStored
		sum.KBAllocated += n.KBAllocated
	}
	sum.Utilization = 100 * ratio(sum.KBUsed, sum.KB)
	variance := func(u float64) float64 {
		if sum.Utilization == 0 {
			return 1
		}
		return u / sum.Utilization
	}
	fill := func(t api.TreeNode) api.DFNode {
		n := leaf[t.ID]
		if t.ID < 0 {
			for _, id := range v.devicesBelow(t.ID) {
				addSpace(&n.KB, &n.KBUsed, &n.KBData, &n.KBOmap, &n.KBMeta, &n.KBAvail, leaf[id])
				n.KBStored += leaf[id].KBStored
				n.KBAllocated += leaf[id].KBAllocated
			}
			n.Utilization = 100 * ratio(n.KBUsed, n.KB)
		}
		n.TreeNode, n.Var = t, variance(n.Utilization)
		return n
	}
	for _, t := range tree.Nodes {
		df.Nodes = append(df.Nodes, fill(t))
	}
	for _, t := range tree.Stray {
		df.Stray = append(df.Stray, fill(t))
	}
	count, squares := 0, 0.0
	sum.MinVar = math.Inf(1)
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		n := leaf[int(o.ID)]
		if !o.In() || n.KB == 0 {
			continue
		}
		count++
		squares += (n.Utilization - sum.Utilization) * (n.Utilization - sum.Utilization)
		sum.MinVar, sum.MaxVar = min(sum.MinVar, variance(n.Utilization)), max(sum.MaxVar, variance(n.Utilization))
	}
	if count == 0 {
		sum.MinVar, sum.MaxVar = 1, 1
	} else {
		sum.Dev = math.Sqrt(squares / float64(count))
	}
	return df
}

func addSpace(kb, used, data, omap, meta, avail *int64, n api.DFNode) {
	*kb += n.KB
	*used += n.KBUsed
	*data += n.KBData
	*omap += n.KBOmap
	*meta += n.KBMeta
	*avail += n.KBAvail
}

// OSDs lists what is known of each OSD.
func (v *View) OSDs() []api.OSDInfo {
	weights, parents := v.crushWeights(), v.parents()
	out := []api.OSDInfo{}
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		n := api.OSDInfo{
			ID: int(o.ID), UUID: o.Store.String(), Class: v.classOf(int(o.ID)), Host: v.hostOf(int(o.ID), parents),
			Addr: o.Addr, Up: o.Up, In: o.In(), AutoOut: o.AutoOut, Draining: o.Draining, Full: o.Full.String(), Slow: o.Slow, Reweight: reweight(o.Weight),
			CrushWeight: weights[int(o.ID)], UpFrom: uint64(o.UpFrom), DownAt: uint64(o.DownAt), Incarnation: o.Incarnation, Device: deviceOf(nil),
		}
		if st, _ := v.report(o.ID); st.Report != nil {
			r := st.Report
			n.KB, n.KBUsed, n.KBAvail = r.GetCapacity()>>10, r.GetUsed()>>10, r.GetAvailable()>>10
			n.KBStored, n.KBAllocated = r.GetStoredBytes()>>10, r.GetAllocatedBytes()>>10
			n.PGs, n.CommitLatency, n.Reported = int(r.GetPgCount()), r.GetCommitLatencyUs(), unix(st.At)
			n.Device = deviceOf(r)
		}
		out = append(out, n)
	}
	return out
}
