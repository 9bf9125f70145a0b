package admin

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

const (
	progressSamples = 60               // observations that a rate is taken over
	progressGap     = time.Second      // between two of them
	causesMax       = 3                // that one message names
	causeAge        = 10 * time.Minute // a change of the map longer ago explains nothing new
)

// tracker follows long work by watching maps and reports go by: what is left of it, since
// when, and how fast it gets less. It is as old as the leader it runs in, so after a change
// of the leader work seems to have begun just then.
type tracker struct {
	mu       sync.Mutex // guards below
	last     *placement.Map
	causes   []cause // newest last
	jobs     []*job  // in order of their beginning
	inactive map[string]time.Time
}

// cause is a change of the map that may be the reason of work.
type cause struct {
	at   time.Time
	text string
}

// job is one long work.
type job struct {
	id, message string
	started     time.Time
	total, left int64
	moving      bool // somebody works on it
	samples     []progressSample
}

type progressSample struct {
	at   time.Time
	left int64
}

// observe takes note of a view, whose PGs are pgs.
func (t *tracker) observe(v *View, pgs []api.PG) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil || v.Map.Epoch > t.last.Epoch {
		t.compare(v)
		t.last = v.Map
	}
	t.noteInactive(v.Now, pgs)
	var degraded, misplaced float64
	moving := false
	for i := range pgs {
		pg := &pgs[i]
		moving = moving || has(pg.State, "recovering") || has(pg.State, "backfilling")
		todo := 1.0
		if pg.ToRecover > 0 {
			todo = float64(pg.ToRecover) / float64(pg.ToRecover+pg.Recovered)
		}
		degraded += float64(pg.Degraded) * todo
		misplaced += float64(pg.Misplaced) * todo
	}
	live := map[string]bool{}
	note := func(id, message string, left, total int64, moving bool) {
		if left > 0 {
			live[id] = true
			t.note(v.Now, id, message, left, total, moving)
		}
	}
	note("recovery", "Recovery"+t.after(v.Now), int64(degraded+0.999), 0, moving)
	note("rebalance", "Rebalancing"+t.after(v.Now), int64(misplaced+0.999), 0, moving)
	for _, d := range v.Drains() {
		note(fmt.Sprintf("drain.%d", d.OSD), fmt.Sprintf("Draining osd.%d", d.OSD), int64(d.PGs)+d.Shards, 0, true)
	}
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		if p.PGNumTarget > p.PGNum {
			note(fmt.Sprintf("split.%d", p.ID), fmt.Sprintf("Splitting pool '%s' from %d to %d PGs", p.Name, p.PGNum, p.PGNumTarget),
				int64(p.PGNumTarget-p.PGNum), 0, true)
		}
	}
	t.jobs = slices.DeleteFunc(t.jobs, func(j *job) bool { return !live[j.id] })
}

// note records what is left of a job. mu is held.
func (t *tracker) note(now time.Time, id, message string, left, total int64, moving bool) {
	i := slices.IndexFunc(t.jobs, func(j *job) bool { return j.id == id })
	if i < 0 {
		i = len(t.jobs)
		t.jobs = append(t.jobs, &job{id: id, message: message, started: now})
	}
	j := t.jobs[i]
	j.left, j.total, j.moving = left, max(j.total, left, total), moving
	if n := len(j.samples); n > 0 && now.Sub(j.samples[n-1].at) < progressGap {
		return
	}
	j.samples = append(j.samples, progressSample{now, left})
	if len(j.samples) > progressSamples {
		j.samples = slices.Delete(j.samples, 0, 1)
	}
}

// noteInactive remembers since when PGs do not serve. mu is held.
func (t *tracker) noteInactive(now time.Time, pgs []api.PG) {
	old := t.inactive
	t.inactive = map[string]time.Time{}
	for i := range pgs {
		if active(pgs[i].State) {
			continue
		}
		since, ok := old[pgs[i].PGID]
		if !ok {
			since = now
		}
		t.inactive[pgs[i].PGID] = since
	}
}

// inactiveFor returns how long a PG has not served, as far as is known.
func (t *tracker) inactiveFor(pgid string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if since, ok := t.inactive[pgid]; ok {
		return now.Sub(since)
	}
	return 0
}

// compare notes what changed between two maps. mu is held.
func (t *tracker) compare(v *View) {
	if t.last == nil {
		return
	}
	add := func(format string, args ...any) {
		t.causes = append(t.causes, cause{v.Now, fmt.Sprintf(format, args...)})
	}
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		was := t.last.OSD(o.ID)
		switch {
		case was == nil:
		case o.Draining && !was.Draining:
			add("%s was set to drain", o.ID)
		case was.In() && !o.In():
			add("%s was marked out", o.ID)
		case !was.In() && o.In() && was.UpFrom == 0:
			add("%s was added", o.ID)
		case !was.In() && o.In():
			add("%s came in", o.ID)
		case was.Up && !o.Up:
			add("%s went down", o.ID)
		case !was.Up && o.Up:
			add("%s came back", o.ID)
		case was.Weight != o.Weight:
			add("%s was reweighted", o.ID)
		}
	}
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		if was := t.last.Pool(p.ID); was != nil && (was.Size != p.Size || was.Rule != p.Rule) {
			add("pool '%s' was changed", p.Name)
		}
	}
	if len(t.causes) > 4*causesMax {
		t.causes = slices.Clone(t.causes[len(t.causes)-4*causesMax:])
	}
}

// after says what work that begins now is probably about. mu is held.
func (t *tracker) after(now time.Time) string {
	var texts []string
	for _, c := range slices.Backward(t.causes) {
		if now.Sub(c.at) <= causeAge && !slices.Contains(texts, c.text) && len(texts) < causesMax {
			texts = append(texts, c.text)
		}
	}
	if len(texts) == 0 {
		return ""
	}
	slices.Reverse(texts)
	return " after " + strings.Join(texts, ", ")
}

// list returns the work under way.
func (t *tracker) list(now time.Time) []api.Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []api.Progress{}
	for _, j := range t.jobs {
		if !j.moving && len(j.samples) > 0 && j.samples[0].left <= j.left {
			continue // it waits for something, such as an OSD to come back; health says so
		}
		p := api.Progress{ID: j.id, Message: j.message, Started: unix(j.started), Elapsed: int64(now.Sub(j.started).Seconds()),
			Done: j.total - j.left, Total: j.total, Progress: ratio(j.total-j.left, j.total), Remaining: -1}
		first := j.samples[0]
		if gone, took := first.left-j.left, now.Sub(first.at); gone > 0 && took > 0 {
			p.Remaining = int64(took.Seconds() * float64(j.left) / float64(gone))
		}
		out = append(out, p)
	}
	return out
}
