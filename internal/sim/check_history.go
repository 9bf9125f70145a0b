package sim

import (
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairnstore/cairn/internal/clock"
)

// Invariant: operations on one object are linearizable, so acknowledged writes are there and
// none was done twice. Reads after the end of all faults belong to the history.

// history is what clients saw, by object.
type history map[string][]porcupine.Operation

func (h history) operations() (n int) {
	for _, ops := range h {
		n += len(ops)
	}
	return n
}

func (w *world) record(client int, in input, call clock.Mono, out output) {
	op := porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(w.now)}
	if out.unknown {
		w.check.unknowns++
		op.ClientId, op.Return = 1000+w.check.unknowns, 1<<62 // it may take effect at any time
	}
	w.history[in.key()] = append(w.history[in.key()], op)
	w.logf("client %d: %+v = %+v (called %.3f)", client, in, out, call.Sub(0).Seconds())
}

// checkHistory decides whether what clients saw could have happened one after the other.
// Where that takes too long to decide, it says nothing.
func (w *world) checkHistory() {
	for _, o := range append(w.objectNames(), w.plane.names()...) {
		h := w.history[o.key()]
		// Operations that may or may not have happened make the search long. Most of them left no
		// trace: if the history makes sense without those, it makes sense.
		if porcupine.CheckOperationsTimeout(model, evident(h), time.Second) == porcupine.Ok {
			continue
		}
		switch porcupine.CheckOperationsTimeout(model, h, 2*time.Second) {
		case porcupine.Illegal:
			w.failf("what clients saw of %s (%d operations) is not linearizable", o.key(), len(h))
		case porcupine.Unknown:
			w.check.undecided++
		}
	}
}

// evident returns the operations without those of unknown outcome whose value nobody has seen.
func evident(h []porcupine.Operation) []porcupine.Operation {
	seen := map[string]bool{}
	for _, op := range h {
		out := op.Output.(output)
		for _, v := range strings.SplitAfter(out.data+out.kv, ";") {
			seen[strings.TrimLeft(v, "\x00")] = true
		}
	}
	var kept []porcupine.Operation
	for _, op := range h {
		in := op.Input.(input)
		if !op.Output.(output).unknown || in.value == "" || seen[in.value] {
			kept = append(kept, op)
		}
	}
	return kept
}
