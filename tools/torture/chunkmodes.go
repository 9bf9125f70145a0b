package torture

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// ChunkModeNames are the ways to keep chunks that ChunkModes tries unless told otherwise. 12 OSDs are enough for all.
var ChunkModeNames = []string{"2:1:xor", "3:1:xor", "4:1:xor", "2:2:rs", "3:2:rs", "4:2:rs", "6:2:rs", "9:3:rs"}

// ModesPlan is what ChunkModes does. Zero values of the optional fields mean the defaults.
type ModesPlan struct {
	Modes []string  // default ChunkModeNames
	Seed  uint64    // of data and victims
	MiB   int       // written to each pool in whole chunks, which its space is measured by; default 48
	PGs   uint32    // of each pool; default 16
	Out   io.Writer // progress and table; required
}

// spaceSlack is how far the space of a mode may be from (k+m)/k.
const spaceSlack = 0.03

// readPatience is how long it may take until everything can be read after holders were killed. It is much less than
// it takes until they are marked out, and only far above what it takes on a busy machine.
const readPatience = 2 * time.Minute

// bigObject is the size of the objects that a mode's space is measured by.
const bigObject = 4 << 20

// modeObject is an object whose bytes can be made again.
type modeObject struct {
	name  string
	seed  [32]byte
	size  int
	parts []modePart // overwritten since, in order
}

type modePart struct {
	off, size int
	seed      [32]byte
}

func randomBytes(seed [32]byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

func (o *modeObject) bytes() []byte {
	b := randomBytes(o.seed, o.size)
	for _, p := range o.parts {
		copy(b[p.off:], randomBytes(p.seed, p.size))
	}
	return b
}

// chunkMode is one mode with its pool and what was found out.
type chunkMode struct {
	name    string
	k, m    int
	pool    string
	id      placement.PoolID
	objects []*modeObject
	bytes   int // of all

	space    float64 // bytes used for a byte written
	chunks   int
	worst    int // chunks that lost m shards
	read     time.Duration
	repaired time.Duration
	again    int64 // shards made again, in all pools of the round
	wrong    []string
}

func (d *chunkMode) want() float64 { return float64(d.k+d.m) / float64(d.k) }

func (d *chunkMode) fail(format string, args ...any) {
	d.wrong = append(d.wrong, fmt.Sprintf(format, args...))
}

// modesRun is one run of ChunkModes.
type modesRun struct {
	c     *Cluster
	p     ModesPlan
	rng   *rand.Rand
	modes []*chunkMode
	cl    *client.Client
	began time.Time
}

func (r *modesRun) logf(format string, args ...any) {
	fmt.Fprintf(r.p.Out, "[%6.1fs] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// ChunkModes makes a pool for each mode, with all settings at their defaults, and writes to it; measures its space; kills, for
// all modes with the same m at once, m holders of chunks; reads everything, and writes a little, while they are gone; takes their disks away for
// good, and waits until every chunk has all its shards again; looks at every byte, and compares both sides of all references.
// It prints a table. The error says what is not as it should be.
func ChunkModes(ctx context.Context, c *Cluster, p ModesPlan) error {
	if len(p.Modes) == 0 {
		p.Modes = ChunkModeNames
	}
	if p.MiB == 0 {
		p.MiB = 48
	}
	if p.PGs == 0 {
		p.PGs = 16
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], p.Seed)
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	r := &modesRun{c: c, p: p, rng: rand.New(rand.NewChaCha8(seed)), cl: cl, began: time.Now()}
	if err := r.create(ctx); err != nil {
		return err
	}
	for _, d := range r.modes {
		if err := r.fill(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	if err := r.readAll(ctx, r.modes); err != nil {
		return fmt.Errorf("before anything was killed: %w", err)
	}
	all := r.modes
	for m := 1; m <= placement.MaxParityShards; m++ {
		var of []*chunkMode
		for _, d := range r.modes {
			if d.m == m {
				of = append(of, d)
			}
		}
		if len(of) == 0 {
			continue
		}
		if err := r.round(ctx, of, m); err != nil {
			return fmt.Errorf("%d OSDs killed: %w", m, err)
		}
		for _, d := range of { // it does not stand the next round
			if err := r.c.API.PoolRemove(ctx, d.pool, d.pool); err != nil {
				return err
			}
		}
		r.modes = slices.DeleteFunc(slices.Clone(r.modes), func(d *chunkMode) bool { return d.m == m })
	}
	r.modes = all
	return r.table()
}

func (r *modesRun) create(ctx context.Context) error {
	for i, name := range r.p.Modes {
		d := &chunkMode{name: name, pool: fmt.Sprintf("mode%d", i)}
		pool, err := r.c.API.PoolCreate(ctx, api.PoolCreate{Name: d.pool, Chunks: name, PGNum: r.p.PGs})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p, err := r.cl.Pool(ctx, d.pool)
		if err != nil {
			return err
		}
		red := r.cl.Map().Pool(p.ID()).Chunks.Redundancy
		d.id, d.k, d.m = p.ID(), int(red.K), int(red.M)
		r.modes = append(r.modes, d)
		r.logf("pool %s: %s, size %d, min_size %d", d.pool, name, pool.Size, pool.MinSize)
	}
	return r.c.WaitClean(ctx)
}

func (r *modesRun) newSeed() (s [32]byte) {
	for i := range 4 {
		binary.LittleEndian.PutUint64(s[8*i:], r.rng.Uint64())
	}
	return s
}

// fill writes a mode's objects: first large ones, by which its space is measured, then some of all sizes.
func (r *modesRun) fill(ctx context.Context, d *chunkMode) error {
	before, err := r.used(ctx, nil)
	if err != nil {
		return err
	}
	pool, err := r.cl.Pool(ctx, d.pool)
	if err != nil {
		return err
	}
	write := func(name string, size int) (*modeObject, error) { return r.write(ctx, d, pool, name, size) }
	for i := range max(1, r.p.MiB<<20/bigObject) {
		if _, err := write(fmt.Sprintf("big%d", i), bigObject); err != nil {
			return err
		}
	}
	written := d.bytes
	after, err := r.used(ctx, d)
	if err != nil {
		return err
	}
	d.space = float64(after-before) / float64(written)
	if off := d.space/d.want() - 1; off > spaceSlack || off < -spaceSlack {
		d.fail("%.3f bytes are used for a byte, want %.3f within %.0f %%", d.space, d.want(), 100*spaceSlack)
	}
	for _, size := range []int{1, 9000, 64 << 10, 300 << 10, 1<<20 + 5, 4<<20 + 5} {
		o, err := write(fmt.Sprintf("object%d", size), size)
		if err != nil {
			return err
		}
		for range 2 {
			if size < 64<<10 {
				break
			}
			p := modePart{off: r.rng.IntN(size), seed: r.newSeed()}
			p.size = 1 + r.rng.IntN(min(size-p.off, 200<<10))
			o.parts = append(o.parts, p)
			if err := pool.Write(ctx, o.name, uint64(p.off), randomBytes(p.seed, p.size)); err != nil {
				return err
			}
		}
	}
	all, err := r.layouts(ctx, d)
	d.chunks = len(all)
	r.logf("%s: %d objects of %.0f MiB in %d chunks; of %d MiB in whole chunks %.3f bytes are used for each", d.name, len(d.objects), float64(d.bytes)/(1<<20), d.chunks, written>>20, d.space)
	return err
}

func (r *modesRun) write(ctx context.Context, d *chunkMode, pool *client.Pool, name string, size int) (*modeObject, error) {
	o := &modeObject{name: name, seed: r.newSeed(), size: size}
	d.objects, d.bytes = append(d.objects, o), d.bytes+size
	return o, pool.WriteFull(ctx, name, o.bytes())
}

// writeMore writes to all pools while m OSDs are down. Chunks that find too few holders are not made: the object keeps the bytes.
func (r *modesRun) writeMore(ctx context.Context, m int) error {
	for _, d := range r.modes {
		pool, err := r.cl.Pool(ctx, d.pool)
		if err != nil {
			return err
		}
		if _, err := r.write(ctx, d, pool, fmt.Sprintf("while %d are down", m), 300<<10); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		all, err := r.layouts(ctx, d)
		if err != nil {
			return err
		}
		d.chunks = len(all)
	}
	return nil
}

// used returns the bytes that all OSDs have allocated, when they have reported everything that was written to a mode's pool.
func (r *modesRun) used(ctx context.Context, d *chunkMode) (used int64, err error) {
	shards := int64(0)
	if d != nil {
		all, err := r.layouts(ctx, d)
		if err != nil {
			return 0, err
		}
		for _, l := range all {
			shards += int64(l.ShardSize()) * int64(len(l.Holders))
		}
	}
	last, since, began, cleaned := int64(-1), time.Now(), time.Now(), false
	err = r.c.until(ctx, "reports of what is used", func() error {
		df, err := r.c.API.DF(ctx)
		if err != nil {
			return err
		}
		for _, p := range df.Pools {
			if d != nil && p.Name == d.pool && p.Stats.ShardBytes != shards {
				if !cleaned && time.Since(began) > 5*time.Second { // a holder that answered too late has a shard of no use, until its OSD finds it
					cleaned = true
					if out, err := r.c.Cairn(ctx, "gc", "audit", "--min-age", "0s"); err != nil || out.Code != 0 {
						return fmt.Errorf("cairn gc audit: exit code %d, %w: %s", out.Code, err, out.Both())
					}
				}
				return fmt.Errorf("pool %s: shards of %d bytes are reported, %d were stored", d.pool, p.Stats.ShardBytes, shards)
			}
		}
		if df.Stats.Used != last {
			last, since = df.Stats.Used, time.Now()
		}
		if time.Since(since) < 2*time.Second { // OSDs report every second, and write small things home later
			return errors.New("the figure still changes")
		}
		used = last
		return nil
	})
	return used, err
}

// layouts reads the layouts of all chunks of a mode's pool.
func (r *modesRun) layouts(ctx context.Context, d *chunkMode) (all []chunk.Layout, err error) {
	pool, err := r.cl.Pool(ctx, d.pool)
	if err != nil {
		return nil, err
	}
	var names []string
	var at client.Cursor
	for {
		page, next, err := pool.ListRecords(ctx, placement.ChunkEntry, at, 1000)
		if err != nil {
			return nil, err
		}
		names = append(names, page...)
		if next == (client.Cursor{}) || len(page) == 0 {
			break
		}
		at = next
	}
	for _, n := range names {
		res, err := pool.DoRaw(ctx, n, new(client.Op).AsRecord().GetAttr(chunk.LayoutAttr))
		if err != nil {
			return nil, err
		}
		l, err := chunk.DecodeLayout(res.Items[0].Data)
		res.Release()
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// readAll reads every object of some modes with a client that has seen nothing before, whole and a part of it.
func (r *modesRun) readAll(ctx context.Context, of []*chunkMode) error {
	cl, err := r.c.Connect(ctx, "client.reader")
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, d := range of {
		pool, err := cl.Pool(ctx, d.pool)
		if err != nil {
			return err
		}
		var g errgroup.Group
		g.SetLimit(8)
		for _, o := range d.objects {
			off := r.rng.IntN(o.size)
			n := 1 + r.rng.IntN(o.size-off)
			g.Go(func() error {
				want := o.bytes()
				got, err := pool.Read(ctx, o.name, 0, 0)
				if err != nil {
					return fmt.Errorf("%s: read %s: %w", d.name, o.name, err)
				}
				if !bytes.Equal(got, want) {
					return fmt.Errorf("%s: %s has wrong bytes", d.name, o.name)
				}
				if got, err = pool.Read(ctx, o.name, uint64(off), uint64(n)); err != nil {
					return fmt.Errorf("%s: read %d bytes at %d of %s: %w", d.name, n, off, o.name, err)
				}
				if !bytes.Equal(got, want[off:off+n]) {
					return fmt.Errorf("%s: %s: %d bytes at %d are wrong", d.name, o.name, n, off)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// victims chooses m OSDs, by chance, so that each of the modes has chunks which have shards on all of them.
func (r *modesRun) victims(ctx context.Context, of []*chunkMode, m int) (victims []int, ids []placement.OSDID, err error) {
	osds := make([]placement.OSDID, len(r.c.OSDs))
	for i := range osds {
		id, err := r.c.OSDID(ctx, i)
		if err != nil {
			return nil, nil, err
		}
		osds[i] = placement.OSDID(id)
	}
	lists := make([][]chunk.Layout, len(of))
	for i, d := range of {
		if lists[i], err = r.layouts(ctx, d); err != nil {
			return nil, nil, err
		}
	}
	for range 10000 {
		victims = r.rng.Perm(len(osds))[:m]
		ids = ids[:0]
		for _, v := range victims {
			ids = append(ids, osds[v])
		}
		fewest := -1
		for i, d := range of {
			d.worst = 0
			for _, l := range lists[i] {
				if !slices.ContainsFunc(ids, func(id placement.OSDID) bool { return !slices.Contains(l.Holders, id) }) {
					d.worst++
				}
			}
			if fewest < 0 || d.worst < fewest {
				fewest = d.worst
			}
		}
		if fewest > 0 {
			return victims, ids, nil
		}
	}
	return nil, nil, fmt.Errorf("no %d OSDs were found on which every pool has shards of one chunk", m)
}

// round kills m OSDs and replaces them.
func (r *modesRun) round(ctx context.Context, of []*chunkMode, m int) error {
	victims, ids, err := r.victims(ctx, of, m)
	if err != nil {
		return err
	}
	var killed sync.WaitGroup
	for _, v := range victims {
		killed.Go(r.c.OSDs[v].Kill)
	}
	killed.Wait()
	began := time.Now()
	r.logf("%v were killed", ids)
	rctx, cancel := context.WithTimeout(ctx, readPatience)
	err = r.readAll(rctx, r.modes)
	if err == nil { // nobody had heard of it when this began; now all have
		if err = r.c.WaitOSDs(rctx, len(r.c.OSDs)-m); err == nil {
			err = r.readAll(rctx, r.modes)
		}
	}
	if err == nil { // nor do writes wait
		err = r.writeMore(rctx, m)
	}
	cancel()
	if err != nil {
		return err
	}
	for _, d := range of {
		d.read = time.Since(began)
	}
	r.logf("everything in %d pools was read, twice, and one more object written to each", len(r.modes))

	// Their disks are lost, too.
	began = time.Now()
	for i, v := range victims {
		if err := r.c.WipeOSD(v); err != nil {
			return err
		}
		if err := r.c.API.OSDSet(ctx, int(ids[i]), "out"); err != nil {
			return err
		}
	}
	r.logf("they are marked out")
	replaced := false
	replace := func() error {
		replaced = true
		for _, v := range victims {
			if err := r.c.OSDs[v].Start(); err != nil {
				return err
			}
		}
		if err := r.c.WaitOSDs(ctx, len(r.c.OSDs)); err != nil {
			return err
		}
		r.logf("OSDs with empty disks took their place")
		return nil
	}
	if slices.ContainsFunc(of, func(d *chunkMode) bool { return d.k+d.m > len(r.c.OSDs)-m }) {
		if err := replace(); err != nil { // the others are too few
			return err
		}
	}
	again, err := r.repaired(ctx, of)
	if err != nil {
		return err
	}
	for _, d := range of {
		d.repaired, d.again = time.Since(began), again
	}
	r.logf("all chunks have all their shards, of which %d were made again", again)
	if !replaced {
		if err := replace(); err != nil {
			return err
		}
	}
	if _, err := r.repaired(ctx, r.modes); err != nil {
		return err
	}
	for _, id := range ids {
		err := r.c.until(ctx, id.String()+" to be removed", func() error { return r.c.API.OSDRemove(ctx, int(id)) })
		if err != nil {
			return err
		}
	}
	if err := r.look(ctx, of); err != nil {
		return err
	}
	return r.readAll(ctx, r.modes)
}

// repaired waits until all PGs are clean and every chunk of some modes has all its shards, on OSDs that are up and in. It
// returns how many shards OSDs that run now have made again.
func (r *modesRun) repaired(ctx context.Context, of []*chunkMode) (again int64, err error) {
	for _, d := range of {
		err := r.c.until(ctx, "all chunks of "+d.name+" to have all their shards", func() error {
			all, err := r.layouts(ctx, d)
			if err != nil {
				return err
			}
			m := r.cl.Map()
			for _, l := range all {
				for _, id := range l.Holders {
					if o := m.OSD(id); o == nil || !o.Up || !o.In() {
						return fmt.Errorf("a chunk has the holders %v, and %v is not up and in", l.Holders, id)
					}
				}
			}
			if len(all) != d.chunks {
				return fmt.Errorf("%d chunks are indexed of %d", len(all), d.chunks)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if err := r.c.WaitClean(ctx); err != nil {
		return 0, err
	}
	care, err := r.c.API.ChunkCare(ctx)
	return care.Work.Repaired, err
}

// careRun is what `cairn gc` prints of audits and repairs.
type careRun struct {
	Runs     []api.ChunkCareRun `json:"runs"`
	Problems []api.ChunkProblem `json:"problems"`
	Waiting  []string           `json:"waiting"`
}

// look has every byte read and everything compared, and notes what is wrong.
func (r *modesRun) look(ctx context.Context, of []*chunkMode) error {
	wrong := func(format string, args ...any) {
		for _, d := range of {
			d.fail(format, args...)
		}
	}
	pgs, err := r.c.DeepScrub(ctx)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		wrong("%v", err)
	}
	for _, args := range [][]string{{"gc", "repair"}, {"gc", "audit", "--min-age", "0s"}} {
		gctx, cancel := context.WithTimeout(ctx, readPatience)
		out, err := r.c.Cairn(gctx, append(args, "-o", "json")...)
		cancel()
		if err != nil {
			return err
		}
		var run careRun
		if err := json.Unmarshal([]byte(out.Stdout), &run); err != nil || out.Code != 0 {
			return fmt.Errorf("cairn %s: exit code %d, %w: %s", strings.Join(args, " "), out.Code, err, out.Both())
		}
		var w api.ChunkWork
		var s api.ChunkStat
		skipped := 0
		var errs []string
		for _, o := range run.Runs {
			w.Add(o.Work)
			s.Add(o.Chunks)
			skipped += o.Skipped
			errs = append(errs, o.Errors...)
		}
		if len(run.Runs) != len(r.c.OSDs) || skipped > 0 || len(errs) > 0 || len(run.Waiting) > 0 {
			wrong("%s: %d OSDs, %d PGs skipped, %v, %v", args[1], len(run.Runs), skipped, errs, run.Waiting)
		}
		if args[1] == "repair" {
			if w.Repaired != 0 || s.Degraded+s.Missing+s.Damaged+s.Dangling != 0 {
				wrong("when all shards were read %d were made again, and these are left: %+v", w.Repaired, s)
			}
			r.logf("deep scrub of %d PGs; all shards of %d chunks read: %d made again, %d chunks degraded, %d damaged, %d missing", pgs, s.Chunks, w.Repaired, s.Degraded, s.Damaged, s.Missing)
			continue
		}
		if w.Leaked != 0 || w.Dangling != 0 {
			wrong("audit: %d leaked, %d dangling: %+v", w.Leaked, w.Dangling, run.Problems)
		}
		r.logf("audit: %d leaked, %d dangling, %d orphaned shards dropped", w.Leaked, w.Dangling, w.Orphans)
	}
	return nil
}

// table prints what was found out.
func (r *modesRun) table() error {
	w := r.p.Out
	fmt.Fprintf(w, "\n%-8s %8s %7s %7s %7s %6s %10s %12s %12s  %s\n", "mode", "written", "chunks", "space", "(k+m)/k", "off", "lost m of", "all read", "repaired", "")
	var bad []error
	for _, d := range r.modes {
		verdict := "ok"
		if len(d.wrong) > 0 {
			verdict = strings.Join(d.wrong, "; ")
			bad = append(bad, fmt.Errorf("%s: %s", d.name, verdict))
		}
		fmt.Fprintf(w, "%-8s %4d MiB %7d %7.3f %7.3f %+5.1f%% %6d chk %12s %12s  %s\n", d.name, d.bytes>>20, d.chunks, d.space, d.want(), 100*(d.space/d.want()-1),
			d.worst, "in "+d.read.Round(100*time.Millisecond).String(), "in "+d.repaired.Round(100*time.Millisecond).String(), verdict)
	}
	return errors.Join(bad...)
}
