package torture

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/internal/api"
)

// adminBlows are what administrators do: copies move while clients work. In half of
// them an OSD is killed meanwhile.
var adminBlows = []blow{
	{"osd out and in", 4, (*runner).outAndIn},
	{"weights", 4, (*runner).weights},
	{"pool size", 2, (*runner).poolSize},
	{"more PGs", 3, (*runner).growPool},
}

// moving waits while copies move, and may kill an OSD.
func (r *runner) moving(ctx context.Context) (killed int, err error) {
	r.stats.fault("changes of an administrator")
	r.linger(ctx, 3*time.Second)
	if r.rng.IntN(2) == 0 {
		killed, err = r.hitOSD(ctx)
		r.linger(ctx, 3*time.Second)
	}
	return killed, err
}

func (r *runner) outAndIn(ctx context.Context) (int, error) {
	id, err := r.osdID(ctx, r.rng.IntN(len(r.c.OSDs)))
	if err != nil {
		return 0, err
	}
	if err := r.change(ctx, "osd out", func() error { return r.c.API.OSDSet(ctx, id, "out") }); err != nil {
		return 0, err
	}
	killed, err := r.moving(ctx)
	if err != nil {
		return killed, err
	}
	return killed, r.change(ctx, "osd in", func() error { return r.c.API.OSDSet(ctx, id, "in") })
}

func (r *runner) weights(ctx context.Context) (int, error) {
	id, err := r.osdID(ctx, r.rng.IntN(len(r.c.OSDs)))
	if err != nil {
		return 0, err
	}
	weight := 0.2 + 0.8*r.rng.Float64()
	if err := r.change(ctx, "osd reweight", func() error { return r.c.API.OSDReweight(ctx, id, weight) }); err != nil {
		return 0, err
	}
	killed, err := r.moving(ctx)
	if err != nil || r.rng.IntN(2) == 0 {
		return killed, err // the next one changes it again
	}
	return killed, r.change(ctx, "osd reweight", func() error { return r.c.API.OSDReweight(ctx, id, 1) })
}

// pool chooses one of the pools.
func (r *runner) pool() string {
	if r.p.Chunks && r.rng.IntN(2) == 0 {
		return chunkPool
	}
	return torturePool
}

func (r *runner) poolSize(ctx context.Context) (int, error) {
	pool := r.pool()
	set := func(size int) error {
		return r.change(ctx, "pool set size", func() error {
			_, err := r.c.API.PoolSet(ctx, pool, "size", strconv.Itoa(size))
			return err
		})
	}
	sizes := []int{2, 4}
	if pool == chunkPool {
		sizes = []int{4, 5} // of chunks with two parity shards three copies are the least
	}
	if err := set(sizes[r.rng.IntN(2)]); err != nil {
		return 0, err
	}
	killed, err := r.moving(ctx)
	if err != nil {
		return killed, err
	}
	return killed, set(3)
}

// change makes a change of the map. Repeating it is harmless, so it is repeated until
// a leader has answered.
func (r *runner) change(ctx context.Context, what string, f func() error) error {
	return r.c.until(ctx, what, f)
}

// osdID returns the id of an OSD, however long the monitors are still at choosing a leader
// after the blow before.
func (r *runner) osdID(ctx context.Context, i int) (id int, err error) {
	err = r.change(ctx, fmt.Sprintf("the id of osd%d", i), func() (err error) {
		id, err = r.c.OSDID(ctx, i)
		return err
	})
	return id, err
}

// growPool gives the pool more PGs: those that there are divide while clients work.
func (r *runner) growPool(ctx context.Context) (int, error) {
	var p api.Pool
	pool, most := r.pool(), pgNumMax
	if pool == chunkPool {
		most /= 4
	}
	err := r.change(ctx, "pool set pg_num", func() (err error) {
		if p, err = r.c.API.Pool(ctx, pool); err != nil || int(p.PGNumTarget) >= most {
			return err
		}
		to := min(most, int(p.PGNumTarget)+1+r.rng.IntN(16))
		_, err = r.c.API.PoolSet(ctx, pool, "pg_num", strconv.Itoa(to))
		return err
	})
	if err != nil {
		return 0, err
	}
	return r.moving(ctx)
}

// pgNumMax keeps the number of PGs to what the OSDs of a run can be asked for.
const pgNumMax = 128
