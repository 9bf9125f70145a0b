package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Limits of a Joint, well within those of a request.
const (
	jointBytes = 512 << 10 // names, values and what goes with them
	jointOps   = 1024
	opOverhead = 96 // bytes counted for an operation
)

// Joint makes one Op of several that are to take effect on the same object and have nothing to do with each other, so
// that many small changes cost one replicated operation. They take effect together or none does; what it says when
// one's condition does not hold is whose that was, so that the others can be tried without it.
//
// Only conditions on attributes and omap keys, and changes of omap keys are joined; none may touch a key that another
// changes, because conditions see the object as it was before. Two kinds are shared: an equal condition on an attribute,
// and additions to the same counters within equal bounds.
type Joint struct {
	op      *Op
	members []int         // operations of each member
	own     [][]position  // by operation of op: whose it is
	at      map[touch]int // what is touched: the operation of op, -1 if several
	adds    map[touch]int // counters: the operation that adds to them
	bytes   int
	changed map[touch]bool
}

// position is an operation of a member.
type position struct{ member, index int }

// touch is a key of an object.
type touch struct {
	attr bool
	name string
}

// Len is how many Ops have been joined.
func (j *Joint) Len() int { return len(j.members) }

// Op returns what does it all. It must not be joined with more afterwards.
func (j *Joint) Op() *Op { return j.op }

// Add joins an Op, if that can be.
func (j *Joint) Add(o *Op) bool {
	if !j.fits(o) {
		return false
	}
	if j.op == nil {
		*j = Joint{op: new(Op), at: map[touch]int{}, adds: map[touch]int{}, changed: map[touch]bool{}}
	}
	member := len(j.members)
	for i, op := range o.ops {
		t := touched(op)
		j.bytes += weightOf(op)
		if n, ok := j.at[t]; ok && op.Kind == wirepb.OpKind_CMP_ATTR {
			j.own[n] = append(j.own[n], position{member, i})
			continue
		}
		if n, ok := j.adds[t]; ok && op.Kind == wirepb.OpKind_OMAP_ADD {
			sum := j.op.ops[n]
			for k := 0; k+8 <= len(sum.Value); k += 8 {
				binary.LittleEndian.PutUint64(sum.Value[k:], binary.LittleEndian.Uint64(sum.Value[k:])+binary.LittleEndian.Uint64(op.Value[k:]))
			}
			j.own[n] = append(j.own[n], position{member, i})
			continue
		}
		n := len(j.op.ops)
		switch op.Kind {
		case wirepb.OpKind_OMAP_ADD:
			op = &wirepb.ObjOp{Kind: op.Kind, Name: op.Name, Value: bytes.Clone(op.Value), End: op.End, Flag: op.Flag} // a sum of its own
			j.adds[t] = n
		case wirepb.OpKind_CMP_ATTR:
			j.at[t] = n
		default:
			j.changed[t] = true
		}
		j.op.add(op)
		j.own = append(j.own, []position{{member, i}})
	}
	j.members = append(j.members, len(o.ops))
	return true
}

func touched(op *wirepb.ObjOp) touch {
	return touch{attr: op.Kind == wirepb.OpKind_CMP_ATTR, name: string(op.Name)}
}

func weightOf(op *wirepb.ObjOp) int { return len(op.Name) + len(op.Value) + len(op.End) + opOverhead }

// fits says whether an Op can be joined.
func (j *Joint) fits(o *Op) bool {
	if len(o.ops) == 0 || len(o.payload) > 0 || o.record || !o.mtime.IsZero() {
		return false
	}
	size, count := j.bytes, len(o.ops)
	if j.op != nil {
		count += len(j.op.ops)
	}
	writes := false
	for _, op := range o.ops {
		t := touched(op)
		size += weightOf(op)
		switch op.Kind {
		case wirepb.OpKind_CMP_ATTR:
			if n, ok := j.at[t]; ok && (!bytes.Equal(j.op.ops[n].Value, op.Value) || j.op.ops[n].Flag != op.Flag) {
				return false
			}
		case wirepb.OpKind_OMAP_ADD:
			writes = true
			if j.changed[t] {
				return false
			}
			if n, ok := j.adds[t]; ok {
				if sum := j.op.ops[n]; len(sum.Value) != len(op.Value) || !bytes.Equal(sum.End, op.End) || sum.Flag != op.Flag {
					return false
				}
			} else if len(j.adds) > 0 {
				return false // a request adds to one key at most
			}
		case wirepb.OpKind_CMP_OMAP, wirepb.OpKind_OMAP_SET, wirepb.OpKind_OMAP_RM:
			writes = writes || op.Kind != wirepb.OpKind_CMP_OMAP
			if _, ok := j.adds[t]; ok || j.changed[t] {
				return false
			}
		default:
			return false
		}
	}
	return writes && size <= jointBytes && count <= jointOps
}

// Errors says what the failure of the joint Op means for each member: an error is the member's own, nil says that it is
// not known, and that the member may be tried again. all says that the outcome of none is known to be a failure of its
// own: err, which may have taken effect, is everybody's.
func (j *Joint) Errors(err error) (each []error, all bool) {
	each = make([]error, len(j.members))
	var oe *OpError
	if !errors.As(err, &oe) || !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid) {
		return each, true
	}
	if oe.Index < 0 || oe.Index >= len(j.own) {
		return each, errors.Is(err, ErrNotFound)
	}
	owners := j.own[oe.Index]
	if len(owners) > 1 && j.op.ops[oe.Index].Kind != wirepb.OpKind_CMP_ATTR {
		return each, false // together they are too much; one by one some may not be
	}
	for _, p := range owners {
		e := *oe
		e.Index = p.index
		each[p.member] = fmt.Errorf("together with others: %w", &e)
	}
	return each, false
}
