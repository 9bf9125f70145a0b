package fsm

import (
	"slices"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// LocationPart says in which bucket of which CRUSH type an OSD lies, such as
// host=h1.
type LocationPart struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// OSDRegister gives a store its OSD id, for ever. A store that has one gets the
// same again.
type OSDRegister struct {
	Store    UUID           `json:"store"`
	Class    string         `json:"class"`
	Location []LocationPart `json:"location,omitempty"` // empty: the host named after the OSD
	Capacity int64          `json:"capacity"`           // bytes
}

// OSDBoot marks an OSD up.
type OSDBoot struct {
	ID          placement.OSDID `json:"id"`
	Store       UUID            `json:"store"`
	Incarnation uint64          `json:"incarnation"`
	Addr        string          `json:"addr"`
	Class       string          `json:"class,omitempty"`    // empty: as registered
	Location    []LocationPart  `json:"location,omitempty"` // empty: where it is
	Capacity    int64           `json:"capacity,omitempty"` // zero: as registered
}

// DownReason is why an OSD is marked down.
type DownReason string

// The reasons. Only the first two count as flapping.
const (
	DownRefused  DownReason = "refused"  // its address refused a connection
	DownSilent   DownReason = "silent"   // it does not answer its peers, or does not report
	DownStopping DownReason = "stopping" // it said so
	DownAdmin    DownReason = "admin"    // an administrator said so
)

// Down names an OSD to be marked down.
type Down struct {
	ID          placement.OSDID `json:"id"`
	Incarnation uint64          `json:"incarnation"` // the one that was seen dead; zero: whichever
	Reason      DownReason      `json:"reason"`
}

// OSDDown marks OSDs down. One that is down already, or that has restarted
// since, is left alone.
type OSDDown struct {
	OSDs []Down `json:"osds"`
}

// OSDReweight sets the reweight of an OSD: zero is out, placement.WeightOne in.
type OSDReweight struct {
	ID     placement.OSDID `json:"id"`
	Weight uint32          `json:"weight"`
}

// OSDAutoOut marks OSDs out that have been down for long. One that is up again
// or out already is left alone.
type OSDAutoOut struct {
	OSDs []placement.OSDID `json:"osds"`
}

func (*OSDRegister) kind() string { return "osd-register" }
func (*OSDBoot) kind() string     { return "osd-boot" }
func (*OSDDown) kind() string     { return "osd-down" }
func (*OSDReweight) kind() string { return "osd-reweight" }
func (*OSDAutoOut) kind() string  { return "osd-auto-out" }

func (c *OSDRegister) apply(t *txn) (Result, error) {
	store := placement.UUID(c.Store)
	if store.IsZero() {
		return Result{}, invalid("register an OSD: the store UUID is missing; make the store first")
	}
	for i := range t.m.OSDs {
		if t.m.OSDs[i].Store == store {
			return Result{OSD: t.m.OSDs[i].ID}, nil
		}
	}
	if id, gone := t.s.wasRemoved(store); gone {
		return Result{}, removedStore(store, id)
	}
	if len(t.m.OSDs) >= MaxOSDs {
		return Result{}, refuse(wirepb.Code_NO_SPACE, "register an OSD: the cluster has %d OSDs, the most it can have", MaxOSDs)
	}
	if c.Capacity <= 0 {
		return Result{}, invalid("register an OSD: capacity %d; want the device's size in bytes", c.Capacity)
	}
	if err := checkClass(c.Class); err != nil {
		return Result{}, err
	}
	id := t.m.NextOSD
	loc := c.Location
	if len(loc) == 0 {
		loc = []LocationPart{{Type: "host", Name: "host-" + strconv.Itoa(int(id))}}
	}
	if err := t.placeDevice(id, c.Class, crushWeight(c.Capacity), loc); err != nil {
		return Result{}, err
	}
	t.m.NextOSD++
	// Out until it first boots: data must not be aimed at a daemon that has never run.
	t.m.OSDs = append(slices.Clone(t.m.OSDs), placement.OSD{
		ID: id, Store: store, Class: c.Class, Capacity: c.Capacity, AutoOut: true,
	})
	t.osdsCopied, t.changed = true, true
	t.replace(placement.NoOSD)
	return Result{OSD: id}, nil
}

func (c *OSDBoot) apply(t *txn) (Result, error) {
	cur := t.m.OSD(c.ID)
	if id, gone := t.s.wasRemoved(placement.UUID(c.Store)); gone {
		return Result{}, removedStore(placement.UUID(c.Store), id)
	}
	if cur == nil {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "%v is not registered; register its store first", c.ID)
	}
	if cur.Store != placement.UUID(c.Store) {
		return Result{}, refuse(wirepb.Code_NOT_PERMITTED,
			"%v is store %v, not %v: an empty or replaced disk is a new OSD and needs a new id; register it without one",
			c.ID, cur.Store, placement.UUID(c.Store))
	}
	if c.Incarnation == 0 || c.Addr == "" || len(c.Addr) > MaxAddrBytes {
		return Result{}, invalid("boot of %v: incarnation %d, address %q: both are needed", c.ID, c.Incarnation, c.Addr)
	}
	if c.Incarnation < cur.Incarnation {
		return Result{}, refuse(wirepb.Code_NOT_PERMITTED,
			"%v: incarnation %d is older than %d, which booted before; is the daemon running twice, or its store restored from a copy?",
			c.ID, c.Incarnation, cur.Incarnation)
	}
	if c.Class != "" && c.Class != cur.Class {
		if err := checkClass(c.Class); err != nil {
			return Result{}, err
		}
	}
	again := cur.Up && cur.Incarnation == c.Incarnation && cur.Addr == c.Addr
	if !again {
		if err := t.checkFlapping(cur); err != nil {
			return Result{}, err
		}
	}
	moved, err := t.follow(c, cur)
	if err != nil {
		return Result{}, err
	}
	if again {
		if moved {
			t.replace(placement.NoOSD)
		}
		return Result{}, nil
	}
	t.leave(c.Addr, c.ID)
	o := t.osd(c.ID)
	o.Up, o.Addr, o.Incarnation, o.UpFrom = true, c.Addr, c.Incarnation, t.index
	if o.AutoOut {
		o.AutoOut, o.Weight = false, placement.WeightOne
	}
	t.replace(c.ID)
	return Result{}, nil
}

// leave marks down whoever was up at an address where another OSD has booted now: its
// disk was replaced, or its place taken. Nobody would notice that it is gone as long
// as somebody answers there.
func (t *txn) leave(addr string, now placement.OSDID) {
	for i := range t.m.OSDs {
		if other := t.m.OSDs[i]; other.ID != now && other.Up && other.Addr == addr {
			o := t.osd(other.ID)
			o.Up, o.DownAt = false, t.index
		}
	}
}

// follow takes over what a boot says about class, place and size. It reports
// whether anything changed.
func (t *txn) follow(c *OSDBoot, cur *placement.OSD) (bool, error) {
	class, capacity := cur.Class, cur.Capacity
	own := t.factsOf(c.ID)
	if c.Class != "" && !own.OwnClass {
		class = c.Class
	}
	if c.Capacity > 0 {
		capacity = c.Capacity
	}
	resized := capacity != cur.Capacity
	loc := c.Location
	if own.OwnPlace {
		loc = nil
	}
	if class == cur.Class && !resized && t.liesAt(c.ID, loc) {
		return false, nil
	}
	weight := t.deviceWeight(c.ID)
	if resized && !own.OwnWeight {
		weight = crushWeight(capacity)
	}
	if err := t.placeDevice(c.ID, class, weight, loc); err != nil {
		return false, err
	}
	o := t.osd(c.ID)
	o.Class, o.Capacity = class, capacity
	return true, nil
}

func (c *OSDDown) apply(t *txn) (Result, error) {
	if len(c.OSDs) > MaxOSDs {
		return Result{}, invalid("mark OSDs down: %d at once, at most %d are allowed", len(c.OSDs), MaxOSDs)
	}
	found := false
	for _, d := range c.OSDs {
		judged := d.Reason == DownRefused || d.Reason == DownSilent
		cur := t.m.OSD(d.ID)
		if cur == nil && len(c.OSDs) == 1 {
			return Result{}, refuse(wirepb.Code_NOT_FOUND, "%v does not exist; see `cairn osd tree`", d.ID)
		}
		if cur == nil || !cur.Up || d.Incarnation != 0 && d.Incarnation != cur.Incarnation {
			continue
		}
		if judged && t.m.Flags&placement.FlagNoDown != 0 {
			continue // the flag was set while this was on its way
		}
		o := t.osd(d.ID)
		o.Up, o.DownAt = false, t.index
		if judged {
			t.noteFailure(d.ID)
		}
		found = true
	}
	if found {
		t.replace(placement.NoOSD)
	}
	return Result{}, nil
}

func (c *OSDReweight) apply(t *txn) (Result, error) {
	cur := t.m.OSD(c.ID)
	if cur == nil {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "%v does not exist; see `cairn osd tree`", c.ID)
	}
	if c.Weight > placement.WeightOne {
		return Result{}, invalid("reweight of %v: %d is above %d, which is 1.0", c.ID, c.Weight, placement.WeightOne)
	}
	if cur.Weight == c.Weight && !cur.AutoOut {
		return Result{}, nil
	}
	o := t.osd(c.ID)
	// Whatever a person decides, a later boot does not undo.
	o.Weight, o.AutoOut = c.Weight, false
	t.replace(placement.NoOSD)
	return Result{}, nil
}

func (c *OSDAutoOut) apply(t *txn) (Result, error) {
	if t.m.Flags&placement.FlagNoOut != 0 {
		return Result{}, nil
	}
	found := false
	for _, id := range c.OSDs {
		cur := t.m.OSD(id)
		if cur == nil || cur.Up || cur.Weight == 0 {
			continue
		}
		o := t.osd(id)
		o.Weight, o.AutoOut = 0, true
		found = true
	}
	if found {
		t.replace(placement.NoOSD)
	}
	return Result{}, nil
}

// Flap damping: an OSD that was marked down more than osd_flap_limit times within
// flapWindow waits before it may boot again, the longer the more often. Each
// coming and going of an OSD costs its PGs a peering.
const (
	flapWindow  = 10 * time.Minute
	flapWait    = 10 * time.Second // doubled for each failure above the limit
	flapWaitMax = 5 * time.Minute
	flapKeep    = 16 // failures remembered
)

func (t *txn) factsOf(id placement.OSDID) Facts {
	if t.facts != nil {
		return t.facts[id]
	}
	return t.s.facts[id]
}

// noteFailure remembers that an OSD was marked down now.
func (t *txn) noteFailure(id placement.OSDID) {
	var kept []int64
	for _, at := range t.factsOf(id).Failures {
		if at > t.at-int64(flapWindow) {
			kept = append(kept, at)
		}
	}
	kept = append(kept, t.at)
	f := t.factsOf(id)
	if len(kept) > flapKeep {
		kept = kept[len(kept)-flapKeep:]
	}
	f.Failures = kept
	t.setFacts(id, f)
}

// checkFlapping refuses the boot of an OSD that has to wait.
func (t *txn) checkFlapping(o *placement.OSD) error {
	limit := t.m.ConfigNumber(placement.KeyFlapLimit)
	if limit == 0 {
		return nil
	}
	var n int
	var last int64
	for _, at := range t.factsOf(o.ID).Failures {
		if at > t.at-int64(flapWindow) {
			n++
			last = max(last, at)
		}
	}
	if n <= limit || t.waitedFor(o.ID) {
		return nil
	}
	wait := flapWaitMax
	if over := n - limit - 1; over < 5 {
		wait = min(flapWait<<over, flapWaitMax)
	}
	if left := time.Duration(last + int64(wait) - t.at); left > 0 {
		return refuse(wirepb.Code_TRY_LATER,
			"%v was marked down %d times within %v; it may come up in %v: look at its log and its network",
			o.ID, n, flapWindow, left.Round(time.Second))
	}
	return nil
}

// waitedFor reports whether a PG stands still without the OSD: it may not drop it
// from its in-sync set, because then too few would be left. Keeping such an OSD
// out in order to have peace would take away what the peace is for.
func (t *txn) waitedFor(id placement.OSDID) bool {
	for i := range t.m.PGs {
		p := &t.m.PGs[i]
		pool := t.m.Pool(p.Pool)
		for n := range p.Records {
			rec := &p.Records[n]
			if !rec.Created || !rec.Has(id) {
				continue
			}
			up := 0
			for _, m := range rec.InSync {
				if m != id && t.m.IsUp(m) {
					up++
				}
			}
			if up == 0 || up < int(pool.MinSize) {
				return true
			}
		}
	}
	return false
}

func checkClass(class string) error {
	if class == "" {
		return invalid("device class: want ssd, hdd, nvme or a word of your own")
	}
	return checkName("device class", class)
}
