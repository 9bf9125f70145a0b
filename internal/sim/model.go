package sim

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// input is what a client asks for.
type input struct {
	pool   string
	object string
	kind   string
	value  string               // what is written
	off    int                  // where, or which of a few other omap keys as well
	expect string               // cas: the omap value it wants to find, "" for none
	record placement.RecordKind // list: these, instead of clients' objects
}

func (in *input) key() string { return in.pool + "/" + in.object }

// output is what it is told.
type output struct {
	unknown bool // nobody knows whether it was carried out
	code    wirepb.Code
	data    string // the object's bytes, where the operation returns them
	kv      string // the omap value, the same; "" for none
}

func (in *input) writes() bool { return in.kind != "read" && in.kind != "list" }

// request builds the operation.
func (in *input) request() (*wirepb.OpRequest, []byte) {
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
	case "patch":
		ops, payload = []*wirepb.ObjOp{data(wirepb.OpKind_WRITE)}, []byte(in.value)
		ops[0].Offset = uint64(in.off)
	case "ref": // the same bytes, as those of a chunk
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_SET_REF, Offset: uint64(in.off), Length: uint64(len(in.value)), Value: in.ref().Append(nil)}}
	case "create":
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_CREATE}}
	case "chop": // or make it longer
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_TRUNCATE, Offset: uint64(in.off)}}
	case "swap": // returns what it replaces
		ops, payload = []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}, get, data(wirepb.OpKind_WRITE_FULL)}, []byte(in.value)
	case "set":
		ops = []*wirepb.ObjOp{
			{Kind: wirepb.OpKind_OMAP_SET, Name: []byte("k"), Value: []byte(in.value)},
			{Kind: wirepb.OpKind_SET_ATTR, Name: []byte("a"), Value: []byte(in.value)},
			{Kind: wirepb.OpKind_OMAP_SET, Name: fmt.Appendf(nil, "x%d", in.off), Value: []byte(in.value)},
		}
	case "unset":
		ops = []*wirepb.ObjOp{
			{Kind: wirepb.OpKind_OMAP_RM, Name: []byte("k")},
			{Kind: wirepb.OpKind_RM_ATTR, Name: []byte("a")},
			{Kind: wirepb.OpKind_OMAP_RM, Name: fmt.Appendf(nil, "x%d", in.off)},
		}
	case "cas":
		ops = []*wirepb.ObjOp{
			{Kind: wirepb.OpKind_CMP_OMAP, Name: []byte("k"), Value: []byte(in.expect), Flag: true},
			{Kind: wirepb.OpKind_OMAP_SET, Name: []byte("k"), Value: []byte(in.value)},
		}
	case "remove":
		ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_REMOVE, Flag: true}}
	}
	return &wirepb.OpRequest{Object: []byte(in.object), Ops: ops, Record: placement.IsRecord(in.object)}, payload
}

// output takes an answer apart.
func (in *input) output(r pg.Reply) output {
	out := output{code: r.Code}
	if r.Code != wirepb.Code_OK || in.kind != "read" && in.kind != "swap" {
		return out
	}
	res := r.Reply.Results
	out.data, out.kv = resolve(res[0], r.Payload), string(res[1].Value)
	if in.kind == "swap" {
		out.data = resolve(res[0], res[0].Value)
	}
	return out
}

// state is an object as the model has it.
type state struct {
	exists   bool
	data, kv string
}

// step is the model: what an operation may answer, and what it leaves behind.
func step(s state, in input, out output) (bool, state) {
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
		return out.unknown || out.code == wirepb.Code_OK, state{true, in.value, s.kv}
	case "append":
		return out.unknown || out.code == wirepb.Code_OK, state{true, s.data + in.value, s.kv}
	case "patch", "ref":
		if in.kind == "ref" && out.code == wirepb.Code_CONFLICT { // somebody gave it up
			return true, s
		}
		old := s.data
		if n := in.off - len(old); n > 0 {
			old += strings.Repeat("\x00", n)
		}
		return out.unknown || out.code == wirepb.Code_OK, state{true, old[:in.off] + in.value + old[min(len(old), in.off+len(in.value)):], s.kv}
	case "chop":
		old := s.data
		if n := in.off - len(old); n > 0 {
			old += strings.Repeat("\x00", n)
		}
		return out.unknown || out.code == wirepb.Code_OK, state{true, old[:in.off], s.kv}
	case "set":
		return out.unknown || out.code == wirepb.Code_OK, state{true, s.data, in.value}
	case "unset": // what does not exist has none
		return out.unknown || out.code == wirepb.Code_OK, state{s.exists, s.data, ""}
	case "swap":
		next := state{true, in.value, s.kv}
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
		return out.unknown || out.code == wirepb.Code_OK, state{true, s.data, in.value}
	case "remove":
		return out.unknown || out.code == wirepb.Code_OK, state{}
	}
	return false, s
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) { return step(s.(state), in.(input), out.(output)) },
}
