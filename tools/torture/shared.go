package torture

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairnstore/cairn/client"
)

// sharedSet is small objects that several clients read and write at once. Every
// operation is recorded with its beginning and end, and the history of each
// object must be one that a single copy could have had (linearizability). An
// object is given up for a new one after sharedOps operations, which keeps the
// search for an order short.
type sharedSet struct {
	w *Workload

	mu      sync.Mutex // guards below
	objects [sharedObjects]*sharedObject
	old     []*sharedObject
	made    int
	values  int
	checked int // objects whose history was found good
	open    int // objects whose history was too hard to decide
}

const (
	sharedObjects = 4
	sharedOps     = 120
	sharedKeep    = 300
	checkTime     = 20 * time.Second
)

type sharedObject struct {
	name    string
	begun   int
	busy    int
	history []porcupine.Operation
}

// sharedInput is an operation. An object's state is its bytes and its tag, an
// attribute that every write sets to something new; absent when it does not exist.
type sharedInput struct {
	kind     string // read, write, cas, append, remove
	old, new string // tags; the new one is also the bytes that are written
}

func sharedState(data, tag string) string { return data + "|" + tag }

const (
	absent     = "(none)"
	noAnswer   = "(unknown)"
	okAnswer   = "(done)"
	failAnswer = "(refused)"
)

// sharedModel is an object as one copy without failures behaves. An operation of
// unknown outcome has no end in the history: it may take effect late or, after
// everything else, as good as never.
var sharedModel = porcupine.Model{
	Init: func() any { return absent },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(sharedInput), output.(string)
		switch in.kind {
		case "read":
			return out == s, s
		case "write":
			return true, sharedState(in.new, in.new)
		case "remove":
			return true, absent
		}
		data, tag, exists := strings.Cut(s, "|")
		switch {
		case in.kind == "append" && exists:
			return true, sharedState(data+"+"+in.new, in.new)
		case in.kind == "append":
			return true, sharedState("+"+in.new, in.new)
		case exists && tag == in.old: // cas
			return out != failAnswer, sharedState(in.new, in.new)
		}
		return out != okAnswer, s // a cas is refused also when there is no object
	},
	DescribeOperation: func(input, output any) string {
		in := input.(sharedInput)
		return fmt.Sprintf("%s(%s,%s) -> %s", in.kind, in.old, in.new, output)
	},
}

func newSharedSet(w *Workload) *sharedSet { return &sharedSet{w: w} }

func (s *sharedSet) step(ctx context.Context, c *worker) {
	s.mu.Lock()
	i := c.rng.IntN(sharedObjects)
	o := s.objects[i]
	if o == nil || o.begun >= sharedOps {
		if o != nil {
			s.old = append(s.old, o)
		}
		s.made++
		o = &sharedObject{name: fmt.Sprintf("shared-%d", s.made)}
		s.objects[i] = o
	}
	o.begun++
	o.busy++
	s.values++
	fresh := fmt.Sprintf("v%d", s.values)
	// A plausible old value makes half of the compare-and-sets succeed.
	guess := ""
	for k := len(o.history) - 1; k >= 0 && guess == ""; k-- {
		if out := o.history[k].Output.(string); out == okAnswer {
			guess = o.history[k].Input.(sharedInput).new // empty for a removal
		}
	}
	var surplus *sharedObject
	if len(s.old) > sharedKeep && s.old[0].busy == 0 {
		surplus, s.old = s.old[0], s.old[1:]
	}
	s.mu.Unlock()

	in := sharedInput{kind: "read"}
	switch p := c.rng.IntN(20); {
	case p < 6:
		in = sharedInput{kind: "write", new: fresh}
	case p < 10 && guess != "":
		in = sharedInput{kind: "cas", old: guess, new: fresh}
	case p < 12:
		in = sharedInput{kind: "append", new: fresh}
	case p == 12:
		in = sharedInput{kind: "remove"}
	}
	s.carryOut(ctx, c, o, in)
	s.mu.Lock()
	o.busy--
	s.mu.Unlock()
	if surplus != nil {
		s.check(surplus)
	}
}

// carryOut does one operation and records it.
func (s *sharedSet) carryOut(ctx context.Context, c *worker, o *sharedObject, in sharedInput) {
	op := new(client.Op)
	switch in.kind {
	case "read":
		op.Read(0, 0).GetAttr("tag")
	case "write":
		op.WriteFull([]byte(in.new)).SetAttr("tag", []byte(in.new))
	case "append":
		op.Append([]byte("+"+in.new)).SetAttr("tag", []byte(in.new))
	case "remove":
		op.Remove(true)
	case "cas":
		op.CmpAttr("tag", []byte(in.old)).WriteFull([]byte(in.new)).SetAttr("tag", []byte(in.new))
	}
	call := time.Since(s.w.began)
	r, out := c.do(ctx, "shared "+in.kind, o.name, op)
	rec := porcupine.Operation{ClientId: c.id, Input: in, Call: int64(call), Return: int64(time.Since(s.w.began))}
	switch {
	case out == unknown && in.kind == "read":
		return // says nothing
	case out == unknown:
		rec.Output, rec.Return = noAnswer, math.MaxInt64
	case in.kind == "read" && out == done:
		rec.Output = sharedState(string(r.Items[0].Data), string(r.Items[1].Data))
	case in.kind == "read":
		rec.Output = absent
	case out == done:
		rec.Output = okAnswer
	case in.kind == "cas":
		rec.Output = failAnswer
	default:
		c.w.fault(fmt.Errorf("object %s: an unconditional %s was refused", o.name, in.kind))
		return
	}
	s.mu.Lock()
	o.history = append(o.history, rec)
	s.mu.Unlock()
}

// check looks for an order of the operations on one object that explains all
// answers.
func (s *sharedSet) check(o *sharedObject) {
	res := porcupine.CheckOperationsTimeout(sharedModel, o.history, checkTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch res {
	case porcupine.Ok:
		s.checked++
	case porcupine.Unknown:
		s.open++
	case porcupine.Illegal:
		s.w.fault(fmt.Errorf("object %s: no order of its %d operations explains what the clients were told:\n%s", o.name, len(o.history), describe(o.history)))
	}
}

func describe(history []porcupine.Operation) (text string) {
	for _, op := range history {
		end := "      never"
		if op.Return != math.MaxInt64 {
			end = fmt.Sprintf("%11.6f", time.Duration(op.Return).Seconds())
		}
		text += fmt.Sprintf("  %11.6f .. %s  client %2d: %s\n", time.Duration(op.Call).Seconds(), end, op.ClientId, sharedModel.DescribeOperation(op.Input, op.Output))
	}
	return text
}

// verify reads every object once more and checks all histories.
func (s *sharedSet) verify(ctx context.Context, c *worker) {
	all := s.old
	for _, o := range s.objects {
		if o != nil {
			all = append(all, o)
		}
	}
	for _, o := range all {
		s.carryOut(ctx, c, o, sharedInput{kind: "read"})
		s.check(o)
	}
}

// Histories returns how many histories were found linearizable, and how many
// were too hard to decide.
func (w *Workload) Histories() (good, undecided int) {
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	return w.shared.checked, w.shared.open
}
