package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// CompareCopies stops all OSDs, checks their stores with all that is in them, and compares, store by store, all copies of all
// objects: names, versions, bytes, attributes and omaps. It trusts nothing that OSDs say.
// Nobody may be writing. It returns how many objects were compared, and starts
// the OSDs again.
func (c *Cluster) CompareCopies(ctx context.Context) (objects int, err error) {
	cl, err := c.client(ctx)
	if err != nil {
		return 0, err
	}
	if err := c.WaitClean(ctx); err != nil {
		return 0, err
	}
	m := cl.Map()
	stores := map[placement.OSDID]*store.Disk{}
	defer func() {
		for _, s := range stores {
			err = errors.Join(err, s.Close())
		}
		for _, p := range c.OSDs {
			err = errors.Join(err, p.Start())
		}
	}()
	ids := make([]placement.OSDID, len(c.OSDs))
	for i := range c.OSDs {
		id, err := c.OSDID(ctx, i)
		if err != nil {
			return 0, err
		}
		ids[i] = placement.OSDID(id)
	}
	for _, p := range c.OSDs {
		p.Kill()
	}
	for i, p := range c.OSDs {
		dir := c.OSDDir(i)
		if p.Disk != nil {
			dir = p.Disk.Path(dir)
		}
		res, err := c.Cairn(ctx, "objectstore", "fsck", "--deep", "--data", dir)
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("exit code %d: %s", res.Code, res.Both())
		}
		if err != nil {
			return 0, fmt.Errorf("check the store of %s: %w", p.Name, err)
		}
		s, err := store.Open(dir, store.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			return 0, err
		}
		stores[ids[i]] = s
		for _, held := range s.PoolShards() {
			if m.Pool(held.Pool) == nil {
				return 0, fmt.Errorf("%s holds %d shards of pool %d, which was removed", p.Name, held.Shards, held.Pool)
			}
		}
	}
	var errs []error
	for _, p := range m.Pools {
		for shard := range p.PGNum {
			pg := placement.PGID{Pool: p.ID, Shard: shard}
			n, err := comparePG(pg, m.PG(pg), stores)
			objects += n
			if err != nil && len(errs) < faultsMax {
				errs = append(errs, err)
			}
		}
	}
	return objects, errors.Join(errs...)
}

// comparePG compares the copies of a PG with the first one.
func comparePG(pg placement.PGID, r *placement.PGRecord, stores map[placement.OSDID]*store.Disk) (objects int, err error) {
	if r == nil || len(r.InSync) == 0 {
		return 0, fmt.Errorf("PG %s has no in-sync set", pg)
	}
	first := r.InSync[0]
	list, err := listing(stores[first], pg)
	if err != nil {
		return 0, err
	}
	for _, id := range r.InSync[1:] {
		other, err := listing(stores[id], pg)
		if err != nil {
			return 0, err
		}
		if !slices.Equal(list, other) {
			return 0, fmt.Errorf("PG %s: osd.%d has %d objects, osd.%d has %d: they differ%s", pg, first, len(list), id, len(other), difference(list, other))
		}
		for _, e := range list {
			k := store.Key{PG: pg, Space: store.Objects, Name: e.Name}
			a, aerr := content(stores[first], k, e.Size)
			b, berr := content(stores[id], k, e.Size)
			if aerr != nil || berr != nil || !bytes.Equal(a, b) {
				return 0, fmt.Errorf("PG %s: object %q: the copies of osd.%d and osd.%d differ (%w)", pg, e.Name, first, id, errors.Join(aerr, berr))
			}
		}
	}
	return len(list), nil
}

// difference names the first object that is not in both.
func difference(a, b []store.ListEntry) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return fmt.Sprintf(": only the second has %q", b[i].Name)
		case i >= len(b):
			return fmt.Sprintf(": only the first has %q", a[i].Name)
		case a[i] != b[i]:
			return fmt.Sprintf(": %+v and %+v", a[i], b[i])
		}
	}
	return ""
}

func listing(s *store.Disk, pg placement.PGID) (all []store.ListEntry, err error) {
	if s == nil {
		return nil, fmt.Errorf("PG %s: a member is none of our OSDs", pg)
	}
	after := ""
	for {
		some, more, err := s.List(pg, store.Objects, after, 1000)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if !more || len(some) == 0 {
			return all, nil
		}
		after = some[len(some)-1].Name
	}
}

// content returns everything of an object as bytes that are equal if it is.
func content(s *store.Disk, k store.Key, size uint64) ([]byte, error) {
	var b bytes.Buffer
	data, err := s.Read(k, 0, size)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "%d bytes %s\n", len(data), data)
	attrs, err := s.Attrs(k)
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		fmt.Fprintf(&b, "attribute %q %q\n", a.Key, a.Value)
	}
	for start := []byte(nil); ; {
		kvs, more, err := s.OmapList(k, start, nil, 1000)
		if err != nil {
			return nil, err
		}
		for _, kv := range kvs {
			fmt.Fprintf(&b, "omap %q %q\n", kv.Key, kv.Value)
		}
		if !more || len(kvs) == 0 {
			return b.Bytes(), nil
		}
		start = append(slices.Clone(kvs[len(kvs)-1].Key), 0)
	}
}

// scrubPatience is when DeepScrub asks again: a primary that hands over, as it does to an OSD that has returned, forgets that
// it was asked.
const scrubPatience = 2 * time.Second

// DeepScrub has every PG scrubbed with all its data, and waits until that is done. The
// error names PGs in which something was wrong.
func (c *Cluster) DeepScrub(ctx context.Context) (pgs int, err error) {
	began := time.Now().Unix()
	all, err := c.API.PGs(ctx, api.PGFilter{})
	if err != nil {
		return 0, err
	}
	ask := func(pg string) error {
		return c.until(ctx, "PG "+pg+" to take a deep scrub", func() error {
			_, err := c.API.PGScrub(ctx, pg, api.DeepScrub)
			return err
		})
	}
	for _, pg := range all {
		if err := ask(pg.PGID); err != nil {
			return 0, err
		}
	}
	asked := time.Now()
	err = c.until(ctx, "all deep scrubs to end", func() error {
		all, err = c.API.PGs(ctx, api.PGFilter{})
		if err != nil {
			return err
		}
		if time.Since(asked) > scrubPatience {
			asked = time.Now()
			for _, pg := range all {
				if pg.LastDeepScrub < began {
					if err := ask(pg.PGID); err != nil {
						return err
					}
				}
			}
		}
		for _, pg := range all {
			if pg.LastDeepScrub < began {
				return fmt.Errorf("PG %s is %s, deep scrubbed last at %d, wanted after %d", pg.PGID, pg.State, pg.LastDeepScrub, began)
			}
			// Its primary may have changed meanwhile, since a device is slow on a busy machine: that is over soon.
			if pg.ScrubErrors == 0 && !clean(pg.State) {
				return fmt.Errorf("PG %s is %s after its deep scrub, waits for %q", pg.PGID, pg.State, pg.Waiting)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, pg := range all {
		if pg.ScrubErrors != 0 {
			errs = append(errs, fmt.Errorf("PG %s is %s with %d damaged copies after a deep scrub", pg.PGID, pg.State, pg.ScrubErrors))
		}
	}
	return len(all), errors.Join(errs...)
}
