package objop_test

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random test; 0: a new one")

// FuzzExecute gives any bytes that decode as a request to Validate and Execute:
// no panic, and what checkOutcome holds.
func FuzzExecute(f *testing.F) {
	for _, ops := range [][]o{
		{{k: assertVersion, ver: 7}, {k: writeFull, data: "abc"}, {k: appendOp, data: "d"}},
		{{k: omapList, name: "k", end: "l", limit: 3, flag: true}, {k: getAttrs}, {k: omapGet, name: "k1"}},
		{setOp(someRef(1, 1, 4, 0, 3)), {k: write, off: 2, data: "x"}, {k: read}, {k: truncate, off: 3}, setOp(someRef(2, 0, 9, 0, 9))},
		{{k: remove, flag: true}, {k: create, flag: true}, {k: omapRmRange, name: "a"}, {k: zero, n: 3}},
		{{k: omapAdd, name: "q", val: counters(1, -2), end: counters(5, 5), flag: true}, {k: omapSet, name: "k1", val: "x"}},
	} {
		req, payload := request(ops)
		b, err := req.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, payload, true)
		f.Add(b, payload, false)
	}
	f.Fuzz(func(t *testing.T, b, payload []byte, there bool) {
		req := &wirepb.OpRequest{}
		if req.UnmarshalVT(b) != nil {
			return
		}
		obj := newFake()
		if there {
			ref := someRef(9, 1, 4, 2, 7)
			obj = object("hello", m{"a": "1"}, m{"k1": "v1", "k2": "v2", ref.Key(): string(ref.Append(nil))})
		}
		err := objop.Validate(req, len(payload))
		out := objop.Execute(obj, key, req, payload)
		if err != nil && out.Code == ok {
			t.Fatalf("Validate says %v, Execute accepts", err)
		}
		if out.Code == ok {
			// Growing the fake to 64 MiB at each step would only slow the search down.
			for _, op := range out.Ops {
				if op.Off > 1<<20 {
					return
				}
			}
		}
		checkOutcome(t, req, obj, out)
	})
}

// TestModel compares Execute with a plain model of the writes that applies each
// at once: tracking size and existence across writes must come to the same.
func TestModel(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: go test ./osd/objop -run TestModel -seed %d", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	kinds := []wirepb.OpKind{create, write, writeFull, appendOp, truncate, zero, remove, setAttr, rmAttr, omapSet, omapRm, omapRmRange, omapClear}
	names := []string{"a", "b", "c"}
	for range 2000 {
		start := newFake()
		if rng.IntN(3) > 0 {
			start = object("hello", m{"a": "1"}, m{"a": "1", "c": "2"})
		}
		ops := make([]o, 1+rng.IntN(6))
		model, failed := start.clone(), 0
		for i := range ops {
			op := o{k: kinds[rng.IntN(len(kinds))], off: rng.Uint64N(9), flag: rng.IntN(2) == 0}
			switch op.k {
			case write, writeFull, appendOp:
				op.data = strings.Repeat("x", rng.IntN(5))
			case zero:
				op.n = rng.Uint64N(9)
			case setAttr, omapSet:
				op.name, op.val = names[rng.IntN(3)], "new"
			case rmAttr, omapRm:
				op.name = names[rng.IntN(3)]
			case omapRmRange:
				op.name, op.end = names[rng.IntN(3)], names[rng.IntN(3)]
			}
			ops[i] = op
			if failed == 0 && !model.step(op) {
				failed = i + 1
			}
		}
		out := run(start, ops...)
		if int(out.Reply.Failed) != failed {
			t.Fatalf("%+v on %s: failed %d (%s), want %d", ops, start, out.Reply.Failed, out.Text, failed)
		}
		if failed > 0 {
			continue
		}
		got := start.clone()
		got.apply(out.Ops, 8)
		if got.exists {
			got.version = 8
		}
		if model.exists {
			model.version = 8
		}
		if got.String() != model.String() {
			t.Fatalf("%+v on %s: got %s, want %s", ops, start, got, model)
		}
	}
}

// step carries out one write in the plainest way; false: it fails.
func (f *fake) step(op o) bool {
	switch op.k {
	case create:
		if f.exists && op.flag {
			return false
		}
		f.exists = true
	case write, appendOp, writeFull:
		f.exists = true
		off := op.off
		switch op.k {
		case appendOp:
			off = uint64(len(f.data))
		case writeFull:
			off, f.data = 0, nil
		}
		for i := range op.data {
			at := off + uint64(i)
			for uint64(len(f.data)) <= at {
				f.data = append(f.data, 0)
			}
			f.data[at] = op.data[i]
		}
	case truncate:
		f.exists = true
		for uint64(len(f.data)) < op.off {
			f.data = append(f.data, 0)
		}
		f.data = f.data[:op.off]
	case zero:
		for at := op.off; at < op.off+op.n && at < uint64(len(f.data)); at++ {
			f.data[at] = 0
		}
	case remove:
		if !f.exists && !op.flag {
			return false
		}
		*f = *newFake()
	case setAttr:
		f.exists, f.attrs[op.name] = true, []byte(op.val)
	case rmAttr:
		delete(f.attrs, op.name)
	case omapSet:
		f.exists, f.omap[op.name] = true, []byte(op.val)
	case omapRm:
		delete(f.omap, op.name)
	case omapRmRange:
		for k := range f.omap {
			if k >= op.name && k < op.end {
				delete(f.omap, k)
			}
		}
	case omapClear:
		clear(f.omap)
	}
	return true
}
