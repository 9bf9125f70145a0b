package torture

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/tools/torture/lab"
)

// netBlows need hosts with a network between them.
var netBlows = []blow{
	{"osd cut off", 5, (*runner).cutOSD},
	{"primary cut off", 5, (*runner).cutPrimary},
	{"osd one-way", 6, (*runner).oneWayOSD},
	{"two osds apart", 4, (*runner).twoApart},
	{"osd, no mons", 3, (*runner).cutFromMons},
	{"leader cut off", 5, (*runner).cutLeader},
	{"leader one-way", 4, (*runner).oneWayLeader},
	{"split", 4, (*runner).split},
	{"loss", 6, (*runner).loss},
	{"osd power cut", 5, (*runner).powerCut},
}

// cutMax is how long links stay cut at most: longer than any failover takes.
const cutMax = 9 * time.Second

// direction says which packets of a host are stopped.
type direction int

const (
	both direction = iota
	in
	out
)

func (d direction) String() string { return [...]string{"both ways", "inwards", "outwards"}[d] }

// hosts returns where processes run.
func hosts(ps []*Proc) (hs []*lab.Host) {
	for _, p := range ps {
		hs = append(hs, p.Host)
	}
	return hs
}

// sever stops packets between a host and others.
func (r *runner) sever(h *lab.Host, others []*lab.Host, d direction) {
	for _, o := range others {
		if o == h {
			continue
		}
		if d != in {
			r.c.Lab.Link(h, o, lab.Link{Cut: true})
		}
		if d != out {
			r.c.Lab.Link(o, h, lab.Link{Cut: true})
		}
	}
	if d == both {
		r.stats.fault("partitions")
	} else {
		r.stats.fault("one-way partitions")
	}
}

// daemons are the hosts of monitors and OSDs, all the clients' as well. The
// harness sees everything at any time.
func (r *runner) daemons() []*lab.Host { return hosts(slices.Concat(r.c.Mons, r.c.OSDs)) }
func (r *runner) all() []*lab.Host     { return slices.Concat(r.daemons(), r.clients) }

// heal waits a while and lets everybody reach everybody again.
func (r *runner) heal(ctx context.Context) {
	r.linger(ctx, cutMax)
	r.c.Lab.Heal()
}

func (r *runner) cutOSD(ctx context.Context) (int, error) {
	p := r.osd()
	r.sever(p.Host, r.all(), both)
	r.heal(ctx)
	return 0, nil
}

// cutPrimary cuts the primary of a PG off from its peers and the monitors but not
// from the clients: it must not go on answering them.
func (r *runner) cutPrimary(ctx context.Context) (int, error) {
	p, err := r.primary(ctx, r.w.cells[0][0].name)
	if err != nil {
		return 0, err
	}
	r.sever(p.Host, r.daemons(), both)
	r.heal(ctx)
	return 0, nil
}

func (r *runner) oneWayOSD(ctx context.Context) (int, error) {
	p, d, others := r.osd(), in+direction(r.rng.IntN(2)), r.daemons()
	if r.rng.IntN(2) == 0 {
		others = r.all()
	}
	r.sever(p.Host, others, d)
	r.heal(ctx)
	return 0, nil
}

// twoApart: two OSDs that everybody reaches but each other.
func (r *runner) twoApart(ctx context.Context) (int, error) {
	order := r.rng.Perm(len(r.c.OSDs))
	a, b := r.c.OSDs[order[0]], r.c.OSDs[order[1%len(order)]]
	r.sever(a.Host, []*lab.Host{b.Host}, direction(r.rng.IntN(3)))
	r.heal(ctx)
	return 0, nil
}

func (r *runner) cutFromMons(ctx context.Context) (int, error) {
	r.sever(r.osd().Host, hosts(r.c.Mons), direction(r.rng.IntN(3)))
	r.heal(ctx)
	return 0, nil
}

func (r *runner) cutLeader(ctx context.Context) (int, error) { return 0, r.leaderAway(ctx, both) }

func (r *runner) oneWayLeader(ctx context.Context) (int, error) {
	return 0, r.leaderAway(ctx, in+direction(r.rng.IntN(2)))
}

// leaderAway cuts the leading monitor off from the others, or from everybody.
func (r *runner) leaderAway(ctx context.Context, d direction) error {
	i, err := r.c.WaitLeader(ctx)
	if err != nil {
		return err
	}
	others := hosts(r.c.Mons)
	if r.rng.IntN(2) == 0 {
		others = r.all()
	}
	r.sever(r.c.Mons[i].Host, others, d)
	r.heal(ctx)
	return nil
}

// split cuts the network in two, clients included.
func (r *runner) split(ctx context.Context) (int, error) {
	var left, right []*lab.Host
	for _, h := range r.all() {
		if r.rng.IntN(2) == 0 {
			left = append(left, h)
		} else {
			right = append(right, h)
		}
	}
	for _, a := range left {
		for _, b := range right {
			r.c.Lab.Link(a, b, lab.Link{Cut: true})
			r.c.Lab.Link(b, a, lab.Link{Cut: true})
		}
	}
	r.stats.fault("partitions")
	r.heal(ctx)
	return 0, nil
}

// loss makes all links lossy and slow for a while. Half of the time an OSD is
// killed meanwhile.
func (r *runner) loss(ctx context.Context) (killed int, err error) {
	k := lab.Link{
		Loss:   0.01 + 0.19*r.rng.Float64(),
		Delay:  time.Duration(r.rng.Int64N(int64(10 * time.Millisecond))),
		Jitter: time.Duration(r.rng.Int64N(int64(20 * time.Millisecond))),
	}
	if r.rng.IntN(3) == 0 {
		k.Delay, k.Jitter = 0, 0
	}
	for _, a := range r.all() {
		for _, b := range r.all() {
			if a != b {
				r.c.Lab.Link(a, b, k)
			}
		}
	}
	r.stats.fault("periods of loss")
	r.linger(ctx, 4*time.Second)
	if r.rng.IntN(2) == 0 {
		killed, err = r.hitOSD(ctx)
	}
	r.linger(ctx, 4*time.Second)
	r.c.Lab.Heal()
	return killed, err
}

// powerCut takes an OSD away with its machine: nobody is told, not even by the
// kernel that would refuse connections.
func (r *runner) powerCut(ctx context.Context) (int, error) {
	p := r.osd()
	r.sever(p.Host, r.all(), both)
	p.Kill()
	r.linger(ctx, cutMax)
	r.c.Lab.Heal()
	return 1, p.Start()
}

// primary returns the OSD that leads the PG of an object.
func (r *runner) primary(ctx context.Context, object string) (*Proc, error) {
	var found *Proc
	err := r.c.until(ctx, "a primary", func() error {
		loc, err := r.c.API.Locate(ctx, torturePool, object)
		if err != nil {
			return err
		}
		for i, p := range r.c.OSDs {
			if id, err := r.c.OSDID(ctx, i); err == nil && id == loc.ActingPrimary {
				found = p
				return nil
			}
		}
		return fmt.Errorf("PG %s of %s has primary %d, none of our OSDs", loc.PGID, object, loc.ActingPrimary)
	})
	return found, err
}

// resume lets frozen processes go on and takes all faults away, however a blow ended.
func (r *runner) resume() {
	if r.c.Lab != nil {
		r.c.Lab.Heal()
	}
	for _, p := range r.c.procs() {
		_ = p.Signal(syscall.SIGCONT) // one that does not run needs none
		if p.Disk != nil {
			_ = p.Disk.Thaw()
			_ = p.Disk.Empty()
		}
	}
}
