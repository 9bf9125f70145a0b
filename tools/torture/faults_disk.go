package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// diskBlows need OSDs with file systems of their own.
var diskBlows = []blow{
	{"disk full", 5, (*runner).fillDisk},
	{"all disks full", 2, (*runner).fillDisks},
	{"disk slow", 5, (*runner).slowDisk},
	{"disk hangs", 5, (*runner).hangDisk},
	{"disk replaced", 2, (*runner).replaceDisk},
}

// fillDisk leaves an OSD next to no room for a while.
func (r *runner) fillDisk(ctx context.Context) (int, error) {
	return 0, r.fill(ctx, r.osd())
}

func (r *runner) fillDisks(ctx context.Context) (int, error) {
	return 0, r.fill(ctx, r.c.OSDs...)
}

func (r *runner) fill(ctx context.Context, ps ...*Proc) (err error) {
	// The store keeps some 16 MiB for its index. With less it stops, as a device does that fails;
	// with more it refuses what needs room.
	leave := r.rng.Int64N(64 << 20)
	before := r.c.StoppedFull()
	r.c.Full(settle)
	for _, p := range ps {
		r.stats.fault("full disks")
		err = errors.Join(err, p.Disk.Fill(leave))
	}
	r.linger(ctx, 6*time.Second)
	for _, p := range ps {
		err = errors.Join(err, p.Disk.Empty())
	}
	r.c.Full(10 * time.Second) // they may have looked just before
	for range r.c.StoppedFull() - before {
		r.stats.fault("OSDs that stopped for lack of room")
	}
	return err
}

// slowDisk lets an OSD's disk take writes only now and then.
func (r *runner) slowDisk(ctx context.Context) (int, error) {
	d := r.osd().Disk
	r.stats.fault("slow disks")
	pause := time.Duration(20+r.rng.IntN(400)) * time.Millisecond
	end := time.Now().Add(2*time.Second + time.Duration(r.rng.Int64N(int64(5*time.Second))))
	for time.Now().Before(end) && ctx.Err() == nil {
		if err := d.Freeze(); err != nil {
			return 0, err
		}
		r.linger(ctx, 2*pause)
		if err := d.Thaw(); err != nil {
			return 0, err
		}
		r.linger(ctx, pause/5)
	}
	return 0, nil
}

// hangDisk lets an OSD's disk hang: the OSD answers, but nothing that it writes is
// ever done.
func (r *runner) hangDisk(ctx context.Context) (int, error) {
	d := r.osd().Disk
	r.stats.fault("hanging disks")
	if err := d.Freeze(); err != nil {
		return 0, err
	}
	r.linger(ctx, 12*time.Second)
	return 0, d.Thaw()
}

// replaceDisk gives an OSD an empty disk. It comes back as a new OSD; the old one
// is out for ever.
func (r *runner) replaceDisk(ctx context.Context) (int, error) {
	// With another copy missing this would be one loss too many.
	if err := r.c.WaitClean(ctx); err != nil {
		return 0, err
	}
	if r.p.Chunks {
		if err := r.c.wholeChunks(ctx); err != nil {
			return 0, err
		}
	}
	i := r.rng.IntN(len(r.c.OSDs))
	p := r.c.OSDs[i]
	old, err := r.osdID(ctx, i)
	if err != nil {
		return 0, err
	}
	p.Kill()
	r.stats.fault("replaced disks")
	if err := r.c.WipeOSD(i); err != nil {
		return 1, err
	}
	r.linger(ctx, time.Second)
	if err := p.Start(); err != nil {
		return 1, err
	}
	err = r.c.until(ctx, fmt.Sprintf("%s to be another OSD than osd.%d", p.Name, old), func() error {
		id, err := r.c.OSDID(ctx, i)
		if err == nil && id == old {
			err = errors.New("it is not in the map yet")
		}
		return err
	})
	if err != nil {
		return 1, err
	}
	return 1, r.change(ctx, "osd out", func() error { return r.c.API.OSDSet(ctx, old, "out") })
}

// WipeOSD empties the directory of an OSD that does not run.
func (c *Cluster) WipeOSD(i int) error {
	if d := c.OSDs[i].Disk; d != nil {
		return d.Wipe()
	}
	return os.RemoveAll(c.OSDDir(i))
}
