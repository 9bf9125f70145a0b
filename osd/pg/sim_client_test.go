package pg_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// simInput is what a client asks for.
type simInput struct {
	object string
	kind   string
	value  string // what is written
	expect string // cas: the omap value it wants to find, "" for none
}

// simOutput is what it is told.
type simOutput struct {
	unknown bool // nobody knows whether it was carried out
	code    wirepb.Code
	data    string // the object's bytes, where the operation returns them
	kv      string // the omap value, the same; "" for none
}

func (in *simInput) writes() bool { return in.kind != "read" && in.kind != "list" }

// request builds the operation.
func (in *simInput) request() (*wirepb.OpRequest, []byte) {
	data := func(kind wirepb.OpKind) *wirepb.ObjOp {
		return &wirepb.ObjOp{Kind: kind, DataLen: uint64(len(in.value))}
	}
	get := &wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_GET, Name: []byte("k")}
	var ops []*wirepb.ObjOp
	var payload []byte
	switch in.kind {
	case "read":
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}, get}
	case "write":
		ops, payload = []*wirepb.ObjOp{data(wirepb.OpKind_WRITE_FULL)}, []byte(in.value)
	case "append":
		ops, payload = []*wirepb.ObjOp{data(wirepb.OpKind_APPEND)}, []byte(in.value)
	case "swap": // returns what it replaces
		ops, payload = []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}, get, data(wirepb.OpKind_WRITE_FULL)}, []byte(in.value)
	case "set":
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_OMAP_SET, Name: []byte("k"), Value: []byte(in.value)}}
	case "cas":
		ops = []*wirepb.ObjOp{
			{Kind: wirepb.OpKind_CMP_OMAP, Name: []byte("k"), Value: []byte(in.expect), Flag: true},
			{Kind: wirepb.OpKind_OMAP_SET, Name: []byte("k"), Value: []byte(in.value)},
		}
	case "remove":
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_REMOVE, Flag: true}}
	}
	return &wirepb.OpRequest{Pool: 1, Object: []byte(in.object), Ops: ops}, payload
}

// output takes an answer apart.
func (in *simInput) output(r pg.Reply) simOutput {
	out := simOutput{code: r.Code}
	if r.Code != wirepb.Code_OK || in.kind != "read" && in.kind != "swap" {
		return out
	}
	res := r.Reply.Results
	out.data, out.kv = string(r.Payload), string(res[1].Value)
	if in.kind == "swap" {
		out.data = string(res[0].Value)
	}
	return out
}

// simState is an object as the model has it.
type simState struct {
	exists   bool
	data, kv string
}

// simStep is the model: what an operation may answer, and what it leaves behind.
func simStep(s simState, in simInput, out simOutput) (bool, simState) {
	saw := out.data == s.data && out.kv == s.kv
	missing := !s.exists
	switch in.kind {
	case "exists": // one name of a listing
		return (out.data == "yes") == s.exists, s
	case "read":
		if out.code == wirepb.Code_NOT_FOUND {
			return missing, s
		}
		return s.exists && saw, s
	case "write":
		return out.unknown || out.code == wirepb.Code_OK, simState{true, in.value, s.kv}
	case "append":
		return out.unknown || out.code == wirepb.Code_OK, simState{true, s.data + in.value, s.kv}
	case "set":
		return out.unknown || out.code == wirepb.Code_OK, simState{true, s.data, in.value}
	case "swap":
		next := simState{true, in.value, s.kv}
		switch {
		case missing:
			return out.unknown || out.code == wirepb.Code_NOT_FOUND, s
		case out.unknown:
			return true, next
		}
		return out.code == wirepb.Code_OK && saw, next
	case "cas":
		if s.kv != in.expect {
			return out.unknown || out.code == wirepb.Code_CONFLICT, s
		}
		return out.unknown || out.code == wirepb.Code_OK, simState{true, s.data, in.value}
	case "remove":
		return out.unknown || out.code == wirepb.Code_OK, simState{}
	}
	return false, s
}

var simModel = porcupine.Model{
	Init: func() any { return simState{} },
	Step: func(state, input, output any) (bool, any) {
		return simStep(state.(simState), input.(simInput), output.(simOutput))
	},
}

// history is what clients saw, by object.
type history map[string][]porcupine.Operation

func (w *world) record(client int, in simInput, call clock.Mono, out simOutput) {
	op := porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(w.now)}
	if out.unknown {
		w.unknowns++
		op.ClientId, op.Return = 1000+w.unknowns, 1<<62 // it may take effect at any time
	}
	w.history[in.object] = append(w.history[in.object], op)
	w.logf("client %d: %+v = %+v (called %.3f)", client, in, out, call.Sub(0).Seconds())
}

// checkHistory decides whether what clients saw could have happened one after the other.
// Where that takes too long to decide, it says nothing.
func (w *world) checkHistory() {
	for i := range w.objects {
		o := fmt.Sprintf("o%d", i)
		h := w.history[o]
		// Operations that may or may not have happened make the search long. Most of them left no
		// trace: if the history makes sense without those, it makes sense.
		if porcupine.CheckOperationsTimeout(simModel, evident(h), time.Second) == porcupine.Ok {
			continue
		}
		switch porcupine.CheckOperationsTimeout(simModel, h, 2*time.Second) {
		case porcupine.Illegal:
			w.failf("what clients saw of %s (%d operations) is not linearizable", o, len(h))
		case porcupine.Unknown:
			w.undecided++
		}
	}
}

// evident returns the operations without those of unknown outcome whose value nobody has seen.
func evident(h []porcupine.Operation) []porcupine.Operation {
	seen := map[string]bool{}
	for _, op := range h {
		out := op.Output.(simOutput)
		for _, v := range strings.SplitAfter(out.data+out.kv, ";") {
			seen[v] = true
		}
	}
	var kept []porcupine.Operation
	for _, op := range h {
		in := op.Input.(simInput)
		if !op.Output.(simOutput).unknown || in.value == "" || seen[in.value] {
			kept = append(kept, op)
		}
	}
	return kept
}

type simClient struct {
	w      *world
	id     int
	seq    uint64
	left   int
	reader bool // only reads, and so has little reason to look for another primary
	done   bool
	at     placement.OSDID   // who leads the PG, for all it knows
	sure   bool              // it answered the last time
	kv     map[string]string // omap values last seen, for cas
}

func (c *simClient) draw() simInput {
	w := c.w
	in := simInput{object: fmt.Sprintf("o%d", w.rng.IntN(w.objects))}
	switch k := w.rng.IntN(20); {
	case k < 7, c.reader:
		in.kind = "read"
	case k < 10:
		in.kind = "write"
	case k < 14:
		in.kind = "append"
	case k < 15:
		in.kind = "swap"
	case k < 16:
		in.kind = "set"
	case k < 17:
		in.kind, in.expect = "cas", c.kv[in.object]
	case k < 18:
		in.kind = "list"
	default:
		in.kind = "remove"
	}
	if in.writes() && in.kind != "remove" {
		w.values++
		in.value = fmt.Sprintf("%d;", w.values)
	}
	return in
}

func (c *simClient) next() {
	if c.left == 0 {
		c.done = true
		return
	}
	c.left--
	c.seq++
	c.attempt(&attempt{seq: c.seq, in: c.draw(), call: c.w.now})
}

// attempt is one request on its way through all its repetitions.
type attempt struct {
	seq  uint64
	in   simInput
	call clock.Mono
}

// attempt sends the request to whom the monitors' newest map names, again and again.
func (c *simClient) attempt(a *attempt) {
	w := c.w
	live := func() bool { return c.seq == a.seq && !c.done }
	again := func(d time.Duration) {
		w.after(d, func() {
			switch {
			case !live():
			case w.faults && w.giveUps < 20 && a.in.writes() && w.chance(w.quitters):
				w.giveUps++ // it dies; nobody will ever ask again
				c.finish(a, simOutput{unknown: true}, nil)
			default:
				c.attempt(a)
			}
		})
	}
	// Whoever answered last is asked again, though the monitors may know of another by now.
	if !c.sure {
		c.at = w.mon.record().Primary
	}
	to := c.at
	if w.chance(0.05) {
		to = placement.OSDID(w.rng.IntN(len(w.nodes)))
	}
	c.sure = false
	if to == placement.NoOSD || !w.nodes[to].alive || w.nodes[to].view.Epoch == 0 {
		again(w.rand(20*time.Millisecond, 200*time.Millisecond))
		return
	}
	n, life := w.nodes[to], w.nodes[to].life
	w.handles++
	h := pg.Handle(w.handles)
	answered := false
	w.after(w.rand(0, 10*time.Millisecond), func() {
		if !n.alive || n.life != life {
			return
		}
		n.replies[h] = func(r pg.Reply) {
			lost := w.faults && w.chance(0.05)
			w.after(w.rand(0, 10*time.Millisecond), func() {
				if lost || answered || !live() {
					return
				}
				answered, c.sure = true, to == c.at && r.Code != wirepb.Code_WRONG_PRIMARY
				switch r.Code {
				case wirepb.Code_OK, wirepb.Code_NOT_FOUND, wirepb.Code_CONFLICT:
					c.finish(a, a.in.output(r), r.List)
				case wirepb.Code_TIMED_OUT:
					c.finish(a, simOutput{unknown: true}, nil)
				case wirepb.Code_WRONG_PRIMARY, wirepb.Code_TRY_LATER:
					again(w.rand(5*time.Millisecond, 60*time.Millisecond))
				default:
					w.failf("%+v was answered %v %s", a.in, r.Code, r.Text)
				}
			})
		}
		n.step(c.event(a, n, h))
	})
	w.after(w.rand(300*time.Millisecond, 1200*time.Millisecond), func() {
		if !answered && live() {
			answered = true
			again(0)
		}
	})
}

func (c *simClient) event(a *attempt, n *node, h pg.Handle) pg.OpEvent {
	if a.in.kind == "list" {
		return pg.OpEvent{Handle: h, List: &wirepb.PGList{Pool: 1}}
	}
	req, payload := a.in.request()
	req.Req = &wirepb.ReqID{Client: uint64(c.id) + 1, Seq: a.seq}
	req.AgeMs = uint64(c.w.now.Sub(a.call).Milliseconds())
	return pg.OpEvent{Handle: h, Wall: n.wall(), Op: proto.Clone(req).(*wirepb.OpRequest), Payload: payload, Write: a.in.writes()}
}

func (c *simClient) finish(a *attempt, out simOutput, list *wirepb.PGListReply) {
	w := c.w
	if a.in.kind == "list" {
		var names []string
		for _, o := range list.GetObjects() {
			names = append(names, string(o))
		}
		w.logf("client %d: list = %s (called %.3f)", c.id, strings.Join(names, " "), a.call.Sub(0).Seconds())
		for i := range w.objects {
			in := simInput{object: fmt.Sprintf("o%d", i), kind: "exists"}
			res := simOutput{data: "no"}
			if slices.Contains(names, in.object) {
				res.data = "yes"
			}
			w.record(c.id, in, a.call, res)
		}
	} else {
		w.record(c.id, a.in, a.call, out)
	}
	if a.in.kind == "read" && out.code == wirepb.Code_OK {
		c.kv[a.in.object] = out.kv
	}
	c.seq++ // late answers of other attempts no longer match
	w.after(w.rand(0, w.think), c.next)
}
