package crush

import (
	"math"
	"sort"
)

// shadowTrees makes the nodes of all buckets and, for each class, those of the
// hierarchy narrowed to the devices of that class. Ids that the map lacks are
// allocated in crushtool's order (roots by ascending id, classes, children first),
// because straw2 hashes the ids: another order would be another placement.
func (f *finalizer) shadowTrees(classes []string) error {
	m := f.m
	if len(classes) > MaxClasses {
		return invalidf("%d device classes, at most %d are allowed", len(classes), MaxClasses)
	}
	if n := len(m.Buckets) * (1 + len(classes)); n > MaxBucketID {
		return invalidf("%d buckets with the shadows for %d device classes, at most %d are allowed", n, len(classes), MaxBucketID)
	}
	classNo := make(map[string]int, len(classes))
	for i, c := range classes {
		classNo[c] = i
	}
	used := make(map[int]bool, len(m.Buckets))
	for i := range m.Buckets {
		used[m.Buckets[i].ID] = true
	}
	ids := make([][]int, len(m.Buckets)) // of shadows, by position in Map.Buckets and class
	for i := range m.Buckets {
		b := &m.Buckets[i]
		ids[i] = make([]int, len(classes))
		for _, s := range b.Shadows {
			if err := validName(s.Class); err != nil {
				return err
			}
			if s.ID > -1 || s.ID < -MaxBucketID {
				return invalidf("the %s shadow of bucket %s has id %d, allowed are -1 to %d", s.Class, b.Name, s.ID, -MaxBucketID)
			}
			if used[s.ID] {
				return invalidf("the %s shadow of bucket %s has id %d, which is used elsewhere", s.Class, b.Name, s.ID)
			}
			if ids[i][classNo[s.Class]] != 0 {
				return invalidf("bucket %s has two shadows for class %s", b.Name, s.Class)
			}
			used[s.ID] = true
			ids[i][classNo[s.Class]] = s.ID
		}
	}

	g := &shadower{f: f, used: used, class: classes, ids: ids, next: -1, nodes: make(map[int]*node, len(m.Buckets)*(1+len(classes)))}
	for i := range m.Buckets {
		g.addNode(&m.Buckets[i], m.Buckets[i].ID, m.Buckets[i].Items)
	}
	roots := append([]int(nil), f.idx.roots...)
	sort.Ints(roots)
	for _, root := range roots {
		for class := range classes {
			if _, _, err := g.narrow(root, class); err != nil {
				return err
			}
		}
	}

	f.shadowIDs = make([][]ClassID, len(m.Buckets))
	order := orderClasses(m, classes)
	for i := range m.Buckets {
		for _, class := range order {
			f.shadowIDs[i] = append(f.shadowIDs[i], ClassID{Class: class, ID: ids[i][classNo[class]]})
		}
	}
	low := -1
	for id := range g.nodes {
		low = min(low, id)
	}
	if len(g.nodes) > 0 {
		f.idx.nodes = make([]*node, -low)
	}
	for id, n := range g.nodes {
		f.idx.nodes[-1-id] = n
	}
	return nil
}

// orderClasses gives the order in which shadow ids are listed. It depends only on
// the devices and the names, so that text and encoding are canonical.
func orderClasses(m *Map, classes []string) []string {
	rank := make(map[string]int, len(classes))
	for i := range m.Devices {
		c := m.Devices[i].Class
		if _, ok := rank[c]; !ok {
			rank[c] = len(rank) - math.MaxInt32
		}
	}
	out := append([]string(nil), classes...)
	sort.Slice(out, func(i, j int) bool {
		if ri, rj := rank[out[i]], rank[out[j]]; ri != rj {
			return ri < rj
		}
		return out[i] < out[j]
	})
	return out
}

type shadower struct {
	f     *finalizer
	used  map[int]bool
	class []string
	ids   [][]int // by position in Map.Buckets and class; 0: none yet
	next  int     // where to look for a free id
	nodes map[int]*node
	total int // items of all shadows so far
}

// narrow makes the shadow of a bucket after those of the buckets in it, and
// returns its id and weight.
func (g *shadower) narrow(id, class int) (int, Weight, error) {
	m := g.f.m
	pos := sort.Search(len(m.Buckets), func(i int) bool { return m.Buckets[i].ID <= id })
	b := &m.Buckets[pos]
	sid := g.ids[pos][class]
	if sid != 0 {
		if n, done := g.nodes[sid]; done { // a second parent led here
			return sid, n.sum, nil
		}
	}
	var items []Item
	var sum uint64
	for _, it := range b.Items {
		if it.ID >= 0 {
			if g.f.class[it.ID] != g.class[class] {
				continue
			}
		} else {
			cid, w, err := g.narrow(it.ID, class)
			if err != nil {
				return 0, 0, err
			}
			it = Item{ID: cid, Weight: w}
		}
		items = append(items, it)
		sum += uint64(it.Weight)
	}
	if sum > math.MaxUint32 {
		return 0, 0, invalidf("the weights of class %s below bucket %s add up to more than 65535", g.class[class], b.Name)
	}
	if g.total += 1 + len(items); g.total > MaxShadowItems {
		return 0, 0, invalidf("the buckets of all device classes together have more than %d items: use fewer classes", MaxShadowItems)
	}
	if sid == 0 {
		for g.used[g.next] {
			g.next--
		}
		if sid = g.next; sid < -MaxBucketID {
			return 0, 0, invalidf("no bucket ids are left for class %s: %d are allowed", g.class[class], MaxBucketID)
		}
		g.used[sid] = true
		g.ids[pos][class] = sid
	}
	g.addNode(b, sid, items)
	g.f.idx.shadows[sid] = shadowOf{orig: b.ID, class: g.class[class]}
	return sid, Weight(sum), nil
}

func (g *shadower) addNode(b *Bucket, id int, items []Item) {
	g.nodes[id] = newNode(id, b.Type, b.Alg, items, g.f.m.Tunables.StrawCalcVersion)
}
