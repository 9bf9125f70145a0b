package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Clone returns a copy of m to be changed and published as a later epoch.
// Changing the copy never changes m, with two exceptions that must be treated as
// immutable in every map: the CRUSH map (to change it, put a Clone of it in its
// place) and the InSync slice of a record (to change it, put a new slice in its
// place, never append to it or write its elements).
func (m *Map) Clone() *Map {
	c := *m
	c.Mons = slices.Clone(m.Mons)
	c.OSDs = slices.Clone(m.OSDs)
	c.Pools = slices.Clone(m.Pools)
	c.Services = slices.Clone(m.Services)
	c.Config = slices.Clone(m.Config)
	c.PGs = slices.Clone(m.PGs)
	for i := range c.PGs {
		c.PGs[i].Records = slices.Clone(c.PGs[i].Records)
	}
	return &c
}

// Validate reports the first thing that is wrong with a map that is to be
// published: its shape (order, uniqueness, limits, a record for every PG) or a
// reference to an OSD, pool or rule that does not exist.
func (m *Map) Validate() error {
	if err := m.validate(); err != nil {
		return fmt.Errorf("cluster map of epoch %d: %w", m.Epoch, err)
	}
	return nil
}

func (m *Map) validate() error {
	if m.Epoch == 0 {
		return errors.New("a published map has an epoch of at least 1")
	}
	if m.Crush == nil {
		return errors.New("it has no CRUSH map")
	}
	for _, check := range []func() error{m.checkShape, m.checkMons, m.checkOSDs, m.checkPools, m.checkRecords, m.checkServices, m.checkConfig} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkShape checks what lookups and deltas rely on.
func (m *Map) checkShape() error {
	if err := sorted("monitor", MaxMons, m.Mons, monKey, cmp.Compare); err != nil {
		return err
	}
	if err := sorted("OSD", MaxOSDs, m.OSDs, osdKey, cmp.Compare); err != nil {
		return err
	}
	if n := len(m.OSDs); n > 0 && (m.OSDs[0].ID < 0 || m.OSDs[n-1].ID > MaxOSDID) {
		return fmt.Errorf("OSD ids from %d to %d, allowed are 0 to %d", m.OSDs[0].ID, m.OSDs[n-1].ID, MaxOSDID)
	}
	if err := sorted("pool", MaxPools, m.Pools, poolKey, cmp.Compare); err != nil {
		return err
	}
	if err := sorted("service", MaxServices, m.Services, serviceKey, ServiceID.compare); err != nil {
		return err
	}
	if err := sorted("setting", MaxSettings, m.Config, settingKey, cmp.Compare); err != nil {
		return err
	}
	if len(m.PGs) != len(m.Pools) {
		return fmt.Errorf("%d pools, but PG records of %d", len(m.Pools), len(m.PGs))
	}
	pgs := 0
	for i := range m.Pools {
		p, recs := &m.Pools[i], &m.PGs[i]
		if recs.Pool != p.ID {
			return fmt.Errorf("PG records of pool %d where those of pool %d belong", recs.Pool, p.ID)
		}
		if p.PGNum == 0 || p.PGNum > MaxPGs || len(recs.Records) != int(p.PGNum) {
			return fmt.Errorf("pool %d (%q) has %d PGs and %d PG records: want equal numbers from 1 to %d", p.ID, p.Name, p.PGNum, len(recs.Records), MaxPGs)
		}
		pgs += len(recs.Records)
	}
	if pgs > MaxPGs {
		return fmt.Errorf("%d PGs in all pools, at most %d are allowed: delete pools or create new ones with fewer PGs", pgs, MaxPGs)
	}
	return nil
}

// sorted checks that a list is strictly ascending by its key, and its length.
func sorted[T, K any](what string, limit int, list []T, key func(*T) K, compare func(a, b K) int) error {
	if len(list) > limit {
		return fmt.Errorf("%d %ss, at most %d are allowed", len(list), what, limit)
	}
	for i := 1; i < len(list); i++ {
		a, b := key(&list[i-1]), key(&list[i])
		switch c := compare(a, b); {
		case c == 0:
			return fmt.Errorf("%s %v is there twice", what, b)
		case c > 0:
			return fmt.Errorf("%s %v comes after %v: the list must be sorted", what, b, a)
		}
	}
	return nil
}

func monKey(m *Mon) string            { return m.Name }
func osdKey(o *OSD) OSDID             { return o.ID }
func poolKey(p *Pool) PoolID          { return p.ID }
func serviceKey(s *Service) ServiceID { return ServiceID{s.Kind, s.Name} }
func settingKey(s *Setting) string    { return s.Key }

// ServiceID is what a service is known by.
type ServiceID struct{ Kind, Name string }

func (a ServiceID) compare(b ServiceID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// text checks a string's length; least is 1 for what must not be empty.
func text(what, s string, least, limit int) error {
	if len(s) < least {
		return fmt.Errorf("%s is empty", what)
	}
	if len(s) > limit {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", what, len(s), limit)
	}
	return nil
}

func (m *Map) checkMons() error {
	for i := range m.Mons {
		n := &m.Mons[i]
		if err := text("the name of a monitor", n.Name, 1, MaxNameBytes); err != nil {
			return err
		}
		for _, a := range []string{n.Addr, n.RaftAddr, n.AdminAddr} {
			if err := text("an address of monitor "+n.Name, a, 0, MaxAddrBytes); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Map) checkOSDs() error {
	stores := make(map[UUID]OSDID, len(m.OSDs))
	for i := range m.OSDs {
		o := &m.OSDs[i]
		if err := errors.Join(
			text(fmt.Sprintf("the address of %s", o.ID), o.Addr, 0, MaxAddrBytes),
			text(fmt.Sprintf("the class of %s", o.ID), o.Class, 0, MaxNameBytes),
		); err != nil {
			return err
		}
		switch {
		case o.ID >= m.NextOSD:
			return fmt.Errorf("%s exists, but the next id is %d", o.ID, m.NextOSD)
		case o.Weight > WeightOne:
			return fmt.Errorf("%s has reweight %#x, at most %#x is allowed", o.ID, o.Weight, WeightOne)
		case o.UpFrom > m.Epoch || o.DownAt > m.Epoch:
			return fmt.Errorf("%s came up at epoch %d and went down at %d, in the future", o.ID, o.UpFrom, o.DownAt)
		case o.Capacity < 0:
			return fmt.Errorf("%s has a capacity of %d bytes", o.ID, o.Capacity)
		case o.Full > Full:
			return fmt.Errorf("%s has %s, at most %d is known", o.ID, o.Full, Full)
		}
		if o.Store.IsZero() {
			continue
		}
		if other, ok := stores[o.Store]; ok {
			return fmt.Errorf("%s and %s have the same store %s", other, o.ID, o.Store)
		}
		stores[o.Store] = o.ID
	}
	return nil
}

func (m *Map) checkPools() error {
	names := make(map[string]PoolID, len(m.Pools))
	for i := range m.Pools {
		p := &m.Pools[i]
		if err := errors.Join(
			text(fmt.Sprintf("the name of pool %d", p.ID), p.Name, 1, MaxNameBytes),
			text(fmt.Sprintf("the application of pool %d", p.ID), p.Application, 0, MaxNameBytes),
		); err != nil {
			return err
		}
		if other, ok := names[p.Name]; ok {
			return fmt.Errorf("pools %d and %d have the same name %q", other, p.ID, p.Name)
		}
		names[p.Name] = p.ID
		_, rule := m.Crush.Rule(int(p.Rule))
		switch {
		case p.ID == 0 || p.ID >= m.NextPool:
			return fmt.Errorf("pool %q has id %d, but ids start at 1 and the next is %d", p.Name, p.ID, m.NextPool)
		case p.Size == 0 || p.Size > MaxPoolSize:
			return fmt.Errorf("pool %q has %d copies, allowed are 1 to %d", p.Name, p.Size, MaxPoolSize)
		case p.MinSize == 0 || p.MinSize > p.Size:
			return fmt.Errorf("pool %q has min_size %d, allowed are 1 to its size %d", p.Name, p.MinSize, p.Size)
		case !rule:
			return fmt.Errorf("pool %q uses CRUSH rule %d, which does not exist", p.Name, p.Rule)
		case p.PGNumTarget < p.PGNum || p.PGNumTarget > MaxPGs:
			return fmt.Errorf("pool %q has %d PGs and is to have %d, allowed are %d to %d", p.Name, p.PGNum, p.PGNumTarget, p.PGNum, MaxPGs)
		case p.FirstPGNum == 0 || p.FirstPGNum > p.PGNum:
			return fmt.Errorf("pool %q has %d PGs and began with %d, allowed are 1 to %d", p.Name, p.PGNum, p.FirstPGNum, p.PGNum)
		case p.Created > m.Epoch:
			return fmt.Errorf("pool %q was created at epoch %d, in the future", p.Name, p.Created)
		}
		if err := p.Chunks.CheckSize(p.Size); err != nil {
			return fmt.Errorf("pool %q: %w", p.Name, err)
		}
	}
	return nil
}

func (m *Map) checkRecords() error {
	for i := range m.PGs {
		for s := range m.PGs[i].Records {
			r := &m.PGs[i].Records[s]
			if err := m.checkRecord(r); err != nil {
				return fmt.Errorf("PG %s: %w", PGID{m.PGs[i].Pool, uint32(s)}, err)
			}
		}
	}
	return nil
}

func (m *Map) checkRecord(r *PGRecord) error {
	if len(r.InSync) > MaxInSync {
		return fmt.Errorf("%d in-sync members, at most %d are allowed", len(r.InSync), MaxInSync)
	}
	for i, id := range r.InSync {
		if contains(r.InSync[:i], id) {
			return fmt.Errorf("%s is in the in-sync set twice", id)
		}
		if m.OSD(id) == nil {
			return fmt.Errorf("in-sync member %s does not exist", id)
		}
	}
	switch {
	case r.Created && len(r.InSync) == 0:
		return errors.New("it was created, but its in-sync set is empty")
	case r.Forced && !r.Created:
		return errors.New("its primary was forced before it was created")
	case r.Version > m.Epoch:
		return fmt.Errorf("its record is of epoch %d, in the future", r.Version)
	case r.Primary == NoOSD:
		return nil
	case m.OSD(r.Primary) == nil:
		return fmt.Errorf("its primary osd.%d does not exist", r.Primary)
	case len(r.InSync) > 0 && !r.Has(r.Primary):
		return fmt.Errorf("its primary %s is not in its in-sync set %v", r.Primary, r.InSync)
	}
	return nil
}

func (m *Map) checkServices() error {
	for i := range m.Services {
		s := &m.Services[i]
		if err := errors.Join(
			text("the kind of a service", s.Kind, 1, MaxNameBytes),
			text("the name of a "+s.Kind+" service", s.Name, 1, MaxNameBytes),
			text("the address of a "+s.Kind+" service", s.Addr, 0, MaxAddrBytes),
		); err != nil {
			return err
		}
	}
	return nil
}

func (m *Map) checkConfig() error {
	for i := range m.Config {
		s := &m.Config[i]
		if err := errors.Join(
			text("the key of a setting", s.Key, 1, MaxNameBytes),
			text("the value of setting "+s.Key, s.Value, 0, MaxValue),
		); err != nil {
			return err
		}
	}
	return nil
}
