package fsm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Bootstrap is the first command of a cluster.
type Bootstrap struct {
	Cluster UUID  `json:"cluster"`
	Mons    []Mon `json:"mons"`
}

// MonJoin adds a monitor to the map, or changes its addresses.
type MonJoin struct {
	Mon   Mon  `json:"mon"`
	Ready bool `json:"ready"` // it has caught up and may vote
}

// MonLeave removes a monitor from the map.
type MonLeave struct {
	Name string `json:"name"`
}

// FlagSet sets or clears cluster flags.
type FlagSet struct {
	Flags placement.Flags `json:"flags"`
	On    bool            `json:"on"`
}

// ConfigSet sets a value of the central configuration; an empty one removes it.
type ConfigSet struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ServiceSet registers a gateway, or changes its address.
type ServiceSet struct {
	Service Service `json:"service"`
}

// ServiceRemove takes gateways out of the map. Those that are not there are
// left alone.
type ServiceRemove struct {
	Services []Service `json:"services"` // Addr is not looked at
}

func (*Bootstrap) kind() string     { return "bootstrap" }
func (*MonJoin) kind() string       { return "mon-join" }
func (*MonLeave) kind() string      { return "mon-leave" }
func (*FlagSet) kind() string       { return "flag-set" }
func (*ConfigSet) kind() string     { return "config-set" }
func (*ServiceSet) kind() string    { return "service-set" }
func (*ServiceRemove) kind() string { return "service-remove" }

func (c *Bootstrap) apply(t *txn) (Result, error) {
	if !t.m.Cluster.IsZero() {
		return Result{}, refuse(wirepb.Code_EXISTS, "the cluster %v exists already", t.m.Cluster)
	}
	if placement.UUID(c.Cluster).IsZero() {
		return Result{}, invalid("bootstrap: the cluster UUID is missing")
	}
	if len(c.Mons) == 0 || len(c.Mons) > MaxMons {
		return Result{}, invalid("bootstrap: %d monitors; want 1 to %d", len(c.Mons), MaxMons)
	}
	mons := make([]placement.Mon, len(c.Mons))
	for i, m := range c.Mons {
		mons[i] = placement.Mon(m)
	}
	slices.SortFunc(mons, func(a, b placement.Mon) int { return cmp.Compare(a.Name, b.Name) })
	for i := range mons {
		if err := CheckMon(mons[i]); err != nil {
			return Result{}, err
		}
		if i > 0 && mons[i].Name == mons[i-1].Name {
			return Result{}, invalid("bootstrap: monitor %q is named twice", mons[i].Name)
		}
	}
	t.m.Cluster, t.m.Created, t.m.Mons = placement.UUID(c.Cluster), t.at, mons
	t.m.NextPool, t.m.NextOSD = 1, 0
	t.changed = true
	return Result{}, nil
}

// CheckMon returns an error that says what is wrong with a monitor's entry.
func CheckMon(m placement.Mon) error {
	if err := checkName("monitor", m.Name); err != nil {
		return err
	}
	for _, a := range []struct{ what, addr string }{{"address", m.Addr}, {"Raft address", m.RaftAddr}} {
		if a.addr == "" || len(a.addr) > MaxAddrBytes {
			return invalid("monitor %q: %s %q; want host:port", m.Name, a.what, a.addr)
		}
	}
	return checkText("REST address of monitor "+m.Name, m.AdminAddr, MaxAddrBytes)
}

func (c *MonJoin) apply(t *txn) (Result, error) {
	mon := placement.Mon(c.Mon)
	if err := CheckMon(mon); err != nil {
		return Result{}, err
	}
	i, found := slices.BinarySearchFunc(t.m.Mons, mon, func(a, b placement.Mon) int { return cmp.Compare(a.Name, b.Name) })
	switch {
	case found && t.m.Mons[i] == mon:
		return Result{}, nil
	case found:
		t.m.Mons = slices.Clone(t.m.Mons)
		t.m.Mons[i] = mon
	case len(t.m.Mons) >= MaxMons:
		return Result{}, refuse(wirepb.Code_NO_SPACE, "monitor %q: the cluster has %d monitors, the most it can have", mon.Name, MaxMons)
	default:
		t.m.Mons = slices.Insert(slices.Clone(t.m.Mons), i, mon)
	}
	t.changed = true
	return Result{}, nil
}

func (c *MonLeave) apply(t *txn) (Result, error) {
	i := slices.IndexFunc(t.m.Mons, func(m placement.Mon) bool { return m.Name == c.Name })
	if i < 0 {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "monitor %q does not exist; see `cairn mon dump`", c.Name)
	}
	if len(t.m.Mons) == 1 {
		return Result{}, refuse(wirepb.Code_CONFLICT, "monitor %q is the last one", c.Name)
	}
	t.m.Mons = slices.Delete(slices.Clone(t.m.Mons), i, i+1)
	t.changed = true
	return Result{}, nil
}

func (c *FlagSet) apply(t *txn) (Result, error) {
	if c.Flags == 0 || c.Flags&^placement.AllFlags != 0 {
		return Result{}, invalid("cluster flags %#x: want %s", uint32(c.Flags), strings.Join(placement.AllFlags.FlagNames(), ", "))
	}
	flags := t.m.Flags &^ c.Flags
	if c.On {
		flags |= c.Flags
	}
	if flags != t.m.Flags {
		t.m.Flags, t.changed = flags, true
	}
	return Result{}, nil
}

func (c *ConfigSet) apply(t *txn) (Result, error) {
	check := c.Value
	if check == "" { // to be removed
		for _, k := range placement.KnownSettings() {
			if k.Key == c.Key {
				check = k.Default
			}
		}
	}
	if err := placement.CheckSetting(c.Key, check); err != nil {
		return Result{}, invalid("%v", err)
	}
	if err := t.m.CheckRatios(c.Key, check); err != nil {
		return Result{}, invalid("%v", err)
	}
	i, found := slices.BinarySearchFunc(t.m.Config, c.Key, func(s placement.Setting, key string) int { return cmp.Compare(s.Key, key) })
	switch {
	case !found && c.Value == "", found && t.m.Config[i].Value == c.Value:
		return Result{}, nil
	case !found:
		t.m.Config = slices.Insert(slices.Clone(t.m.Config), i, placement.Setting{Key: c.Key, Value: c.Value})
	case c.Value == "":
		t.m.Config = slices.Delete(slices.Clone(t.m.Config), i, i+1)
	default:
		t.m.Config = slices.Clone(t.m.Config)
		t.m.Config[i].Value = c.Value
	}
	t.changed = true
	return Result{}, nil
}

func serviceOrder(a, b placement.Service) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

func (c *ServiceSet) apply(t *txn) (Result, error) {
	s := placement.Service(c.Service)
	if err := checkName("service kind", s.Kind); err != nil {
		return Result{}, err
	}
	if err := checkName("service", s.Name); err != nil {
		return Result{}, err
	}
	if err := checkText("address of service "+s.Name, s.Addr, MaxAddrBytes); err != nil {
		return Result{}, err
	}
	i, found := slices.BinarySearchFunc(t.m.Services, s, serviceOrder)
	switch {
	case found && t.m.Services[i] == s:
		return Result{}, nil
	case found:
		t.m.Services = slices.Clone(t.m.Services)
		t.m.Services[i] = s
	case len(t.m.Services) >= MaxServices:
		return Result{}, refuse(wirepb.Code_NO_SPACE, "service %s.%s: the cluster has %d services, the most it can have", s.Kind, s.Name, MaxServices)
	default:
		t.m.Services = slices.Insert(slices.Clone(t.m.Services), i, s)
	}
	t.changed = true
	return Result{}, nil
}

func (c *ServiceRemove) apply(t *txn) (Result, error) {
	left := slices.DeleteFunc(slices.Clone(t.m.Services), func(s placement.Service) bool {
		return slices.ContainsFunc(c.Services, func(gone Service) bool { return s.Kind == gone.Kind && s.Name == gone.Name })
	})
	if len(left) != len(t.m.Services) {
		t.m.Services, t.changed = left, true
	}
	return Result{}, nil
}
