package storetest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest/shrink"
)

var stepsFlag = flag.String("storetest.steps", "", "of the script that -storetest.seed makes only these steps, as a failure prints them")

// Event is something that happens to a store between two batches and that nobody may notice.
type Event string

// The events of a script. An engine that does not know one does nothing.
const (
	Reopen     Event = "reopen"     // close it and open it, with other options if the engine likes
	Crash      Event = "crash"      // lose the process, and what was not synced
	Checkpoint Event = "checkpoint" // all in its place
	Relief     Event = "relief"     // empty memory
)

// Step is one thing that a script does: it submits a batch, or an event happens.
type Step struct {
	Number int // in the whole script; stays when others are left out
	Batch  *store.Batch
	ops    []int // numbers of the batch's operations
	Event  Event
	Wait   bool   // for all batches so far, then look at something
	All    bool   // then compare everything
	look   uint64 // seed of what to look at
}

// Script makes n steps from a seed. Events come once in so many steps; 0: never.
func Script(seed uint64, n, events int) []Step {
	w := NewWorkload(seed)
	steps := make([]Step, n)
	for i := range steps {
		s := &steps[i]
		s.Number, s.look = i, w.rng.Uint64()
		if events > 0 && w.rng.IntN(events) == 0 {
			s.Event = []Event{Reopen, Crash, Checkpoint, Checkpoint, Relief, Relief}[w.rng.IntN(6)]
		} else {
			s.Batch = w.Batch()
			for j := range s.Batch.Ops {
				s.ops = append(s.ops, j)
			}
		}
		s.Wait = w.rng.IntN(2) == 0
		s.All = s.Wait && w.rng.IntN(8) == 0 || i == n-1
	}
	return steps
}

// Variant is one way to run a script: an engine with its options. Open makes an empty
// store; Happen carries out an event and returns the store to go on with.
type Variant struct {
	Name   string
	Open   func() (store.Store, error)
	Happen func(store.Store, Event) (store.Store, error)
}

// run carries out a script and returns the first thing that is not as the model has it.
func (v *Variant) run(steps []Step) (err error) {
	s, err := v.Open()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	type answer struct {
		step int
		err  error
	}
	m := newModel()
	answers := make(chan answer, len(steps))
	good := map[int]bool{} // what each batch under way must answer
	wait := func() error {
		for len(good) > 0 {
			a := <-answers
			switch ok := good[a.step]; {
			case !ok && !errors.Is(a.err, store.ErrNotFound):
				err = errors.Join(err, fmt.Errorf("step %d renames what does not exist: got %v, want ErrNotFound", a.step, a.err))
			case ok && a.err != nil:
				err = errors.Join(err, fmt.Errorf("step %d: %w", a.step, a.err))
			}
			delete(good, a.step)
		}
		return err
	}
	for i := range steps {
		st := &steps[i]
		if st.Batch != nil {
			good[st.Number] = m.apply(st.Batch)
			s.Submit(st.Batch, func(err error) { answers <- answer{st.Number, err} })
		}
		if !st.Wait && !st.All && st.Event == "" {
			continue
		}
		if err := wait(); err != nil {
			return err
		}
		if st.Event != "" && v.Happen != nil {
			next, err := v.Happen(s, st.Event)
			if err != nil {
				return fmt.Errorf("step %d, %s: %w", st.Number, st.Event, err)
			}
			s = next
		}
		w := NewWorkload(st.look)
		if err := w.probe(s, m); err != nil {
			return fmt.Errorf("after step %d: %w", st.Number, err)
		}
		if st.All {
			if err := compare(s, m); err != nil {
				return fmt.Errorf("after step %d: %w", st.Number, err)
			}
		}
	}
	if err := wait(); err != nil {
		return err
	}
	return compare(s, m)
}

// Play runs a script made from the test's seed on every variant: all must do what the
// model does, and so the same. A script that fails is made as short as possible and printed
// with the command that replays it.
func Play(t *testing.T, n, events int, variants func(rng *rand.Rand) []Variant) {
	t.Helper()
	seed := Seed(t)
	steps, err := only(Script(seed, n, events), *stepsFlag)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variants(rand.New(rand.NewPCG(seed, 99))) {
		err := v.run(steps)
		if err == nil {
			continue
		}
		first := err
		short, err := Shrink(steps, v.run, shrinkRuns)
		if err == nil { // it did not fail again: chance of the scheduler is part of it
			short, err = steps, first
		}
		t.Fatalf("%s: %v\nthe shortest script found that fails, %d of %d steps:\n%s"+
			"replay: go test -run '^%s$' -storetest.seed=%d -storetest.steps=%s",
			v.Name, err, len(short), len(steps), Show(short), strings.ReplaceAll(t.Name(), "/", "$/^"), seed, numbers(short))
	}
}

const shrinkRuns = 300 // how often a script is run to make it shorter

// Shrink leaves out steps, then operations of the steps that are left, as long as the
// rest fails, by halves, quarters and so on down to single ones (delta debugging). It runs
// the script runs times at most and returns the shortest that failed, with its error.
func Shrink(steps []Step, run func([]Step) error, runs int) ([]Step, error) {
	err := run(steps)
	if err == nil {
		return steps, nil
	}
	fails := func(try []Step) bool {
		if runs--; runs < 0 {
			return false
		}
		e := run(try)
		if e != nil {
			err = e
		}
		return e != nil
	}
	steps = shrink.List(steps, runs, fails)
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].Batch == nil || len(steps[i].Batch.Ops) < 2 {
			continue
		}
		whole := steps[i]
		kept := shrink.List(whole.ops, runs, func(ops []int) bool {
			try := slices.Clone(steps)
			try[i] = whole.only(ops)
			return fails(try)
		})
		steps = slices.Clone(steps)
		steps[i] = whole.only(kept)
	}
	return steps, err
}

// only is the step with some of its operations.
func (s Step) only(ops []int) Step {
	b := &store.Batch{}
	for i, n := range s.ops {
		if slices.Contains(ops, n) {
			b.Ops = append(b.Ops, s.Batch.Ops[i])
		}
	}
	s.Batch, s.ops = b, slices.Clone(ops)
	return s
}

// numbers names steps and operations as only reads them: "3;5:0,2".
func numbers(steps []Step) string {
	var parts []string
	for _, s := range steps {
		p := strconv.Itoa(s.Number)
		if s.Batch != nil {
			var ops []string
			for _, n := range s.ops {
				ops = append(ops, strconv.Itoa(n))
			}
			p += ":" + strings.Join(ops, ",")
		}
		parts = append(parts, p)
	}
	return "'" + strings.Join(parts, ";") + "'"
}

// only picks the steps that numbers named; all when it named none.
func only(steps []Step, named string) ([]Step, error) {
	if named == "" {
		return steps, nil
	}
	var out []Step
	for _, p := range strings.Split(named, ";") {
		at, list, _ := strings.Cut(p, ":")
		i, err := strconv.Atoi(at)
		if err != nil || i < 0 || i >= len(steps) {
			return nil, fmt.Errorf("-storetest.steps: there is no step %q", at)
		}
		s := steps[i]
		if s.Batch != nil {
			var ops []int
			for _, o := range strings.Split(list, ",") {
				if o == "" {
					continue
				}
				n, err := strconv.Atoi(o)
				if err != nil || n < 0 || n >= len(s.Batch.Ops) {
					return nil, fmt.Errorf("-storetest.steps: step %d has no operation %q", i, o)
				}
				ops = append(ops, n)
			}
			s = s.only(ops)
		}
		out = append(out, s)
	}
	return out, nil
}

// Show prints steps for a person.
func Show(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%4d ", s.Number)
		if s.Event != "" {
			fmt.Fprintf(&b, "%s", s.Event)
		}
		if s.Batch != nil {
			for i := range s.Batch.Ops {
				if i > 0 {
					b.WriteString("; ")
				}
				b.WriteString(ShowOp(&s.Batch.Ops[i]))
			}
		}
		switch {
		case s.All:
			b.WriteString(" | compare")
		case s.Wait:
			b.WriteString(" | read")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// ShowOp prints an operation in a few words.
func ShowOp(op *store.Op) string {
	at := fmt.Sprintf("%s/%d", op.Key, op.Key.Space)
	switch op.Kind {
	case store.OpTouch:
		return "touch " + at
	case store.OpWrite:
		return fmt.Sprintf("write %s [%d,+%d)", at, op.Off, len(op.Data))
	case store.OpZero:
		return fmt.Sprintf("zero %s [%d,+%d)", at, op.Off, op.Len)
	case store.OpTruncate:
		return fmt.Sprintf("truncate %s to %d", at, op.Off)
	case store.OpRemove:
		return "remove " + at
	case store.OpSetAttr:
		return fmt.Sprintf("set %s attribute %q to %d bytes", at, op.Name, len(op.Value))
	case store.OpRmAttr:
		return fmt.Sprintf("remove %s attribute %q", at, op.Name)
	case store.OpOmapSet:
		return fmt.Sprintf("set %s key %q to %d bytes", at, op.Name, len(op.Value))
	case store.OpOmapRm:
		return fmt.Sprintf("remove %s key %q", at, op.Name)
	case store.OpOmapRmRange:
		return fmt.Sprintf("remove %s keys %q to %q", at, op.Name, op.End)
	case store.OpOmapClear:
		return fmt.Sprintf("clear keys of %s", at)
	case store.OpSetVersion:
		return fmt.Sprintf("version of %s is %s", at, op.Version)
	case store.OpClone:
		return fmt.Sprintf("clone %s to %s/%d", at, op.To, op.To.Space)
	case store.OpRename:
		return fmt.Sprintf("rename %s to %s/%d", at, op.To, op.To.Space)
	case store.OpRemoveSpace:
		return fmt.Sprintf("remove space %d of %s", op.Key.Space, op.Key.PG)
	}
	return fmt.Sprintf("operation %d on %s to %s/%d [%d,+%d)", op.Kind, at, op.To, op.To.Space, op.Off, op.Len)
}
