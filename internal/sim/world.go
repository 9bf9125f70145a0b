package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// Options says which run to make.
type Options struct {
	Seed   uint64
	Mutant pg.Mutant        // a rule of the protocol to break
	Slip   Slip             // a rule of its driver to break
	Chunks bool             // there are chunks, with clients and care of their own, see plane
	Care   chunkcare.Mutant // a rule of that care to break
	Slow   bool             // the monitors call devices slow now and then, so that others stand in for them
	Trace  func(string)     // gets what happens, line by line; nil: nobody wants to know
	tune   func(*world)     // for tests: changes what the seed has drawn
}

// Result is what became of a run.
type Result struct {
	Seed      uint64
	Chunks    bool
	Fails     []string // what is wrong; empty: nothing
	Mark      uint64   // of everything that happened: equal runs have equal marks
	Ops       int      // operations of clients
	Undecided int      // objects whose history was too long to check
	Steps     int      // events of groups
	Virtual   time.Duration
	Faults    map[string]int // injected, by kind
}

// Err returns what is wrong with a run and how to see it again, or nil.
func (r *Result) Err() error {
	if len(r.Fails) == 0 {
		return nil
	}
	test := "TestSimulation"
	if r.Chunks {
		test = "TestChunks"
	}
	return fmt.Errorf("seed %d: %s\nreplay: go test ./internal/sim -run %s -v -sim.seed=%d", r.Seed, strings.Join(r.Fails, "\n"), test, r.Seed)
}

// world is a whole cluster in one thread.
type world struct {
	o      Options
	rng    *rand.Rand
	now    clock.Mono
	queue  queue
	mark   uint64
	fails  []string
	steps  int
	faults bool // there may be some
	quiet  bool // they are long over
	k      knobs
	swarm  swarm
	count  map[string]int // faults injected

	net     *network
	mons    *monitors
	osds    []*osd
	clients []*client

	plane  *plane // nil without chunks
	refs   map[uint32]*simRef
	doubts []uint32 // references of which nobody knows whether they were made

	check   checks
	history history
	values  int
	handles uint64
	giveUps int
	owed    int                        // new OSDs in the place of lost ones
	settled map[placement.PGID]settled // since the faults ended
}

// faultTime is how long a run has faults, quietMax how long it may take after that until
// everything is well.
const (
	faultTime = 30 * time.Second
	quietMax  = 60 * time.Second
)

// Run lets a cluster live through half a minute of faults, and then until it is quiet.
func Run(o Options) Result {
	w := newWorld(o)
	w.after(time.Second, w.disturb)
	w.run(w.now.Add(faultTime))
	w.heal()
	for end := w.now.Add(quietMax); len(w.fails) == 0 && w.now < end && w.busy(); {
		w.run(w.now.Add(time.Second))
	}
	w.checkLiveness()
	if len(w.fails) == 0 {
		w.run(w.now.Add(5 * time.Second))
		w.quiet = true
		w.readAll()
	}
	w.checkEnd()
	w.plane.ended(nil)
	return Result{
		Seed: o.Seed, Chunks: o.Chunks, Fails: w.fails, Mark: w.mark, Ops: w.history.operations(), Undecided: w.check.undecided,
		Steps: w.steps, Virtual: w.now.Sub(0), Faults: w.count,
	}
}

func newWorld(o Options) *world {
	w := &world{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6361_6972_6e)), now: clock.Mono(time.Second), faults: true,
		count: map[string]int{}, history: history{},
	}
	w.check.init()
	w.drawKnobs()
	w.drawRefs()
	w.drawSwarm()
	if o.tune != nil {
		o.tune(w)
	}
	w.net = newNetwork(w)
	w.mons = newMonitors(w)
	for range w.k.osds {
		w.addOSD()
	}
	w.run(w.now.Add(time.Second))
	for range 20 { // a map or a boot may be late even now
		if w.allIn() {
			break
		}
		w.run(w.now.Add(500 * time.Millisecond))
	}
	w.createPools()
	for i := range w.k.clients {
		w.addClient(i)
	}
	if w.k.refs {
		w.addCare()
	}
	if o.Chunks {
		w.addPlane()
	}
	return w
}

// allIn reports whether CRUSH may choose every OSD: none is before it has booted for the first time.
func (w *world) allIn() bool {
	m := w.mons.st.Map()
	for i := range m.OSDs {
		if !m.OSDs[i].In() {
			return false
		}
	}
	return true
}

// after schedules something.
func (w *world) after(d time.Duration, run func()) { w.queue.push(w.now.Add(d), run) }

// rand returns a time between the two.
func (w *world) rand(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// pick returns one of them.
func pick[T any](w *world, of []T) T { return of[w.rng.IntN(len(of))] }

// run carries out events until the time is up, or something has failed.
func (w *world) run(until clock.Mono) {
	for len(w.queue.es) > 0 && w.queue.es[0].at <= until && len(w.fails) == 0 {
		e := w.queue.pop()
		w.now = e.at
		e.run()
	}
	if len(w.fails) == 0 {
		w.now = until
	}
}

func (w *world) logf(format string, args ...any) {
	if w.o.Trace != nil {
		w.o.Trace(fmt.Sprintf("%9.3fs ", w.now.Sub(0).Seconds()) + fmt.Sprintf(format, args...))
	}
}

// failf reports that something is wrong. The run ends with the event it is in.
func (w *world) failf(format string, args ...any) {
	f := fmt.Sprintf("%.3fs: ", w.now.Sub(0).Seconds()) + fmt.Sprintf(format, args...)
	w.logf("FAIL %s", f)
	if len(w.fails) < 5 {
		w.fails = append(w.fails, f)
	}
}

// note makes something part of the run's mark.
func (w *world) note(what uint64, b []byte) {
	const prime = 0x9e3779b97f4a7c15
	h := (w.mark ^ what ^ uint64(w.now)) * prime
	for len(b) >= 8 {
		h = (h<<5 | h>>59) ^ uint64(b[0]) ^ uint64(b[1])<<8 ^ uint64(b[2])<<16 ^ uint64(b[3])<<24 ^
			uint64(b[4])<<32 ^ uint64(b[5])<<40 ^ uint64(b[6])<<48 ^ uint64(b[7])<<56
		h *= prime
		b = b[8:]
	}
	for _, c := range b {
		h = ((h<<5 | h>>59) ^ uint64(c)) * prime
	}
	w.mark = h ^ h>>29
}

// busy reports whether a client still works, or a PG is not whole where it belongs.
func (w *world) busy() bool {
	for _, c := range w.clients {
		if !c.done {
			return true
		}
	}
	return len(w.unclean()) > 0 || !w.allScrubbed() || w.plane.busy()
}

// unclean lists the PGs that are not active+clean, with what they say.
func (w *world) unclean() []string {
	var out []string
	m := w.mons.st.Map()
	for i := range m.PGs {
		for shard := range m.PGs[i].Records {
			id := placement.PGID{Pool: m.PGs[i].Pool, Shard: uint32(shard)}
			rec := &m.PGs[i].Records[shard]
			state := "no primary"
			if rec.Primary != placement.NoOSD {
				if g := w.osds[rec.Primary].group(id); g != nil {
					if s := g.Stat(1, 1); s != nil {
						state = s.State
					}
				}
			}
			if !strings.HasPrefix(state, "active+clean") {
				out = append(out, fmt.Sprintf("PG %s: %s: record %+v, target %v", id, state, *rec, w.mons.newest().table.Target(id)))
			}
		}
	}
	return out
}
