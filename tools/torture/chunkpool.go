package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// chunkPool is the pool with chunks that a run works on.
const chunkPool = "chunked"

// chunkPolicy is how the pool is made: five OSDs have room for its shards even when one is down and another one out.
var chunkPolicy = api.PoolCreate{Name: chunkPool, Size: 3, PGNum: 8, Chunks: "2:1:xor", ChunkSize: 64 << 10, Compression: "s2"}

// ChunkCare is configuration that has chunks condemned, deleted, audited and settled while faults last. The ages are far
// below what would do for a cluster that people use: they must not matter for what is right.
func ChunkCare() []string {
	return []string{"gc_interval=1s", "gc_orphan_age=3s", "chunk_scrub_interval=28s", "settle_interval=4s", "settle_idle=2s"}
}

// addChunks has all of these clients work on the pool with chunks.
func (r *runner) addChunks(ctx context.Context, clients []*client.Client) error {
	var pools []*client.Pool
	for _, cl := range clients {
		p, err := cl.Pool(ctx, chunkPool)
		if err != nil {
			return err
		}
		pools = append(pools, p)
	}
	return r.w.WithChunks(ctx, pools...)
}

// chunkAdminBlows are what administrators do to a pool with chunks.
var chunkAdminBlows = []blow{
	{"chunk policy", 4, (*runner).chunkSettings},
	{"osd emptied", 4, (*runner).emptyOSD},
	{"pool removed", 2, (*runner).passingPool},
}

// emptyOSD marks an OSD out until it holds no shards any more, or for a while. In half of the cases some OSD is killed
// meanwhile.
func (r *runner) emptyOSD(ctx context.Context) (int, error) {
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
	cl, err := r.c.client(ctx)
	if err != nil {
		return killed, err
	}
	pool, err := cl.Pool(ctx, chunkPool)
	if err != nil {
		return killed, err
	}
	short, cancel := context.WithTimeout(ctx, emptyPatience)
	defer cancel()
	empty := r.c.until(short, "an OSD to hold no shards", func() error {
		held, _, err := pool.Shards().List(short, placement.OSDID(id), nil, 1)
		if err == nil && len(held) > 0 {
			err = errors.New("it holds some")
		}
		return err
	})
	if empty == nil {
		r.stats.fault("OSDs that gave all their shards away")
	}
	return killed, r.change(ctx, "osd in", func() error { return r.c.API.OSDSet(ctx, id, "in") })
}

// emptyPatience is how long an OSD stays out for that. It has to do so under the clients' load.
const emptyPatience = 10 * time.Second

// passingPool makes a pool with chunks, writes to it and removes it. In the end no store may have shards of it.
func (r *runner) passingPool(ctx context.Context) (int, error) {
	r.passing++
	p := chunkPolicy
	p.Name, p.PGNum = fmt.Sprintf("passing-%d", r.passing), 4
	err := r.change(ctx, "pool create", func() error {
		_, err := r.c.API.PoolCreate(ctx, p)
		var refused *api.Problem
		if errors.As(err, &refused) && refused.Code == api.CodeExists {
			return nil // an earlier attempt, of which nobody heard
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	cl, err := r.c.client(ctx)
	if err != nil {
		return 0, err
	}
	var pool *client.Pool
	err = r.c.until(ctx, "the client to know of pool "+p.Name, func() (err error) {
		pool, err = cl.Pool(ctx, p.Name)
		return err
	})
	if err != nil {
		return 0, err
	}
	wctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for i := 0; wctx.Err() == nil && i < 20; i++ {
		err := pool.WriteFull(wctx, fmt.Sprint("object", i), bodyOf(bodySource(r.rng.IntN(bodies))))
		if err != nil && !errors.Is(err, client.ErrTimeout) && !errors.Is(err, client.ErrNoSpace) {
			return 0, err
		}
	}
	killed, err := r.moving(ctx)
	if err != nil {
		return killed, err
	}
	return killed, r.change(ctx, "pool rm", func() error {
		err := r.c.API.PoolRemove(ctx, p.Name, p.Name)
		var refused *api.Problem
		if errors.As(err, &refused) && refused.Code == api.CodeNotFound {
			return nil
		}
		return err
	})
}

// chunkSettings has chunks made in another way from now on.
func (r *runner) chunkSettings(ctx context.Context) (int, error) {
	choices := []struct {
		key    string
		values []string
	}{
		{"chunks", []string{"2:1:xor", "3:1:xor", "replica:2", "2:2:rs"}},
		{"compression", []string{"none", "s2", "zstd", "lz4"}},
		{"cut", []string{"fixed", "content"}},
		{"dedup", []string{"tenant", "cluster", "off"}},
	}
	set := func(key, value string) error {
		return r.change(ctx, "pool set "+key, func() error {
			_, err := r.c.API.PoolSet(ctx, chunkPool, key, value)
			return err
		})
	}
	x := choices[r.rng.IntN(len(choices))]
	if err := set(x.key, x.values[r.rng.IntN(len(x.values))]); err != nil {
		return 0, err
	}
	killed, err := r.moving(ctx)
	if err != nil || x.key != "dedup" && r.rng.IntN(2) == 0 {
		return killed, err
	}
	return killed, set(x.key, x.values[0])
}

// wholeChunks waits until every chunk that there is has been seen with all its shards on OSDs that are up: whoever loses a
// disk before loses one too many. New chunks have them all before anybody knows of them.
func (c *Cluster) wholeChunks(ctx context.Context) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	pool, err := cl.Pool(ctx, chunkPool)
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var entries map[string]*entryOf
	err = c.until(ctx, "the index of chunks to be listed", func() (err error) {
		entries, err = readIndex(ctx, pool)
		return err
	})
	if err != nil {
		return err
	}
	whole := map[string]bool{}
	return c.until(ctx, "all chunks to have all their shards", func() error {
		for name := range entries {
			if whole[name] {
				continue
			}
			e, err := readEntry(ctx, pool, name)
			if err != nil {
				return err
			}
			if e == nil {
				delete(entries, name) // deleted meanwhile
				continue
			}
			for i, h := range e.layout.Holders {
				if !cl.Map().IsUp(h) || !cl.Map().OSD(h).In() {
					return fmt.Errorf("chunk %s: %s, which has shard %d, is not up and in", e.fp, h, i)
				}
				if _, err := pool.Shards().Stat(ctx, h, e.shard(i), false); err != nil {
					return fmt.Errorf("chunk %s: shard %d on %s: %w", e.fp, i, h, err)
				}
			}
			whole[name] = true
		}
		return nil
	})
}

// careCount adds up what the OSDs say that their care for chunks did, over their restarts. What they do between their last
// report and their end is missing.
type careCount struct {
	mu   sync.Mutex                    // guards below
	last map[string]map[string]float64 // by metric and OSD
	sum  map[string]float64
}

// careMetrics are what is counted, and what it is for people.
var careMetrics = []struct{ name, what string }{
	{"cairn_gc_references_dropped_total", "references dropped"},
	{"cairn_gc_chunks_deleted_total", "chunks deleted"},
	{"cairn_gc_orphans_total", "orphaned shards dropped"},
	{"cairn_gc_leaked_total", "references removed that clients had left behind"},
	{"cairn_chunk_shards_repaired_total", "shards repaired"},
	{"cairn_chunk_shards_moved_total", "shards moved"},
}

func (k *careCount) saw(metric, osd string, v float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last[metric] == nil {
		k.last[metric] = map[string]float64{}
	}
	before := k.last[metric][osd]
	if v < before {
		before = 0 // it has begun anew
	}
	k.sum[metric] += v - before
	k.last[metric][osd] = v
}

func (k *careCount) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var parts []string
	for _, m := range careMetrics {
		parts = append(parts, fmt.Sprintf("%d %s", int64(k.sum[m.name]), m.what))
	}
	return strings.Join(parts, ", ")
}

// watchCare counts until the function it returns is called.
func (r *runner) watchCare(ctx context.Context) (stop func()) {
	r.care = &careCount{last: map[string]map[string]float64{}, sum: map[string]float64{}}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // until stop
		defer close(done)
		for wait(ctx, time.Second) == nil {
			_ = r.c.careMetrics(ctx, r.care.saw) // the next one counts it
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// careMetrics reads the counters of the OSDs' care from the leading monitor.
func (c *Cluster) careMetrics(ctx context.Context, saw func(metric, osd string, v float64)) error {
	i, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.AdminAddrs[i]+"/metrics", nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DisableKeepAlives: true}
	if c.home != nil {
		t.DialContext = c.home.Dial
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	s := bufio.NewScanner(io.LimitReader(res.Body, 8<<20))
	for s.Scan() {
		name, rest, ok := strings.Cut(s.Text(), `{osd="`)
		if !ok {
			continue
		}
		osd, value, ok := strings.Cut(rest, `"} `)
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		for _, m := range careMetrics {
			if m.name == name {
				saw(name, osd, v)
			}
		}
	}
	return s.Err()
}

// gc runs `cairn gc` and returns what all OSDs found and did. It is an error if something was not done.
func (c *Cluster) gc(ctx context.Context, args ...string) (api.ChunkWork, api.ChunkStat, error) {
	var work api.ChunkWork
	var stat api.ChunkStat
	args = append([]string{"gc"}, args...)
	res, err := c.Cairn(ctx, append(args, "-o", "json")...)
	if err != nil {
		return work, stat, err
	}
	var out struct {
		Runs     []api.ChunkCareRun `json:"runs"`
		Problems []api.ChunkProblem `json:"problems"`
		Waiting  []string           `json:"waiting"`
	}
	if err := json.Unmarshal([]byte(res.Stdout), &out); err != nil || res.Code != 0 {
		return work, stat, fmt.Errorf("cairn %s: exit code %d, %w: %s", strings.Join(args, " "), res.Code, err, res.Both())
	}
	for _, r := range out.Runs {
		work.Add(r.Work)
		stat.Add(r.Chunks)
		if len(r.Errors) > 0 {
			err = errors.Join(err, fmt.Errorf("osd.%d: %s", r.OSD, strings.Join(r.Errors, "; ")))
		}
	}
	if len(out.Problems)+len(out.Waiting) > 0 || len(out.Runs) != len(c.OSDs) {
		err = errors.Join(err, fmt.Errorf("%d of %d OSDs were done; problems %+v; waiting %q", len(out.Runs), len(c.OSDs), out.Problems, out.Waiting))
	}
	if err != nil {
		err = fmt.Errorf("cairn %s: %w", strings.Join(args, " "), err)
	}
	return work, stat, err
}

// finishChunks waits until nothing of the chunks is under way any more and demands that both sides of all references
// and all shards agree: by a census of its own, by `cairn gc audit` and by `cairn gc repair`.
func (r *runner) finishChunks(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	if err := r.change(ctx, "config set", func() error { return r.c.API.ConfigSet(ctx, placement.KeySettleInterval, "0s") }); err != nil {
		return err
	}
	n, err := r.c.quietChunks(ctx)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, r.c.Diagnose(context.WithoutCancel(ctx)))
	}
	quiet := time.Since(began)
	work, stat, err := r.c.gc(ctx, "audit", "--min-age", "0s")
	if err == nil && work.Leaked+work.Dangling+work.Orphans > 0 {
		err = fmt.Errorf("`cairn gc audit` found %d leaked and %d dangling references and %d shards that no chunk has, after nothing of that kind was left", work.Leaked, work.Dangling, work.Orphans)
	}
	if err == nil && (stat.Chunks != int64(n.chunks) || stat.References != int64(n.refs) || stat.Condemned > 0) {
		err = fmt.Errorf("`cairn gc audit` says that there are %d chunks, %d of them condemned, with %d references; there are %d with %d", stat.Chunks, stat.Condemned, stat.References, n.chunks, n.refs)
	}
	if err != nil {
		return err
	}
	work, stat, err = r.c.gc(ctx, "repair")
	if err == nil && (work.Repaired > 0 || stat.Degraded+stat.Missing+stat.Damaged > 0) {
		err = fmt.Errorf("`cairn gc repair` made %d shards again, %d chunks lack some, %d cannot be read, %d are damaged, after all shards were there",
			work.Repaired, stat.Degraded, stat.Missing, stat.Damaged)
	}
	if err == nil && stat.Physical != n.bytes {
		err = fmt.Errorf("by the index all shards have %d bytes, the OSDs hold %d", stat.Physical, n.bytes)
	}
	if err != nil {
		return err
	}
	if err := r.c.careMetrics(ctx, r.care.saw); err != nil {
		return err
	}
	r.p.Logf("chunks were quiet after %s: %s; 0 leaked, 0 dangling", quiet.Round(10*time.Millisecond), n)
	return nil
}
