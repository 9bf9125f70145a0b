package pg

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// numberedRef is a reference of bytes from..to to all of a chunk; fingerprint and nonce are made of a number.
func numberedRef(id uint32, from, to uint64) *chunk.Ref {
	r := &chunk.Ref{Range: chunk.Range{From: from, To: to}, Layout: chunk.Layout{
		Gen: 1, Size: uint32(to - from), Stored: uint32(to - from), Holders: []placement.OSDID{0, 1},
		Redundancy: placement.Redundancy{Codec: placement.Replica, K: 1, M: 1},
	}}
	r.Chunk[0] = chunk.BLAKE3
	binary.BigEndian.PutUint32(r.Chunk[1:], id)
	binary.BigEndian.PutUint32(r.Nonce[:], id)
	return r
}

func refRequest(object string, id uint32, from, to uint64) *wirepb.OpRequest {
	return &wirepb.OpRequest{Object: []byte(object), Ops: []*wirepb.ObjOp{{
		Kind: wirepb.OpKind_SET_REF, Offset: from, Length: to - from, Value: numberedRef(id, from, to).Append(nil),
	}}}
}

func (c *cast) setRef(osd int, object string, id uint32, from, to uint64) {
	c.t.Helper()
	c.wantReply(osd, c.op(osd, true, refRequest(object, id, from, to), ""), wirepb.Code_OK)
}

// nonces says where an OSD's disk has what became of references: "refs" of objects, "outbox" records.
func (c *cast) nonces(osd int) (refs, outbox map[uint32]bool) {
	c.t.Helper()
	refs, outbox = map[uint32]bool{}, map[uint32]bool{}
	st := c.a(osd).st
	objs, _, err := st.List(castPG, store.Objects, "", 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range objs {
		k := store.Key{PG: castPG, Name: o.Name}
		if _, _, _, ok := chunk.OutboxOf(o.Name); ok {
			data, err := st.Read(k, 0, 1<<20)
			if err != nil {
				c.t.Fatal(err)
			}
			list, err := chunk.DecodeDropped(data)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, d := range list {
				outbox[binary.BigEndian.Uint32(d.Nonce[:])] = true
			}
			continue
		}
		kvs, _, err := st.OmapList(k, []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd), 1000)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, kv := range kvs {
			r, err := chunk.DecodeRef(kv.Value)
			if err != nil {
				c.t.Fatal(err)
			}
			refs[binary.BigEndian.Uint32(r.Nonce[:])] = true
		}
	}
	return refs, outbox
}

// wantKnown fails unless an OSD has every nonce from 1 on in a reference or in a record of the outbox.
func (c *cast) wantKnown(osd int, n uint32) {
	c.t.Helper()
	refs, outbox := c.nonces(osd)
	for id := uint32(1); id <= n; id++ {
		if !refs[id] && !outbox[id] {
			c.t.Fatalf("osd.%d has neither reference %d nor a record that it was dropped", osd, id)
		}
	}
}

// dropsAreNoted drops references in each way there is.
func dropsAreNoted(t tester) {
	c := active(t, 3)
	c.setRef(0, "a", 1, 0, 8)
	c.setRef(0, "a", 2, 0, 8) // replaces it
	c.mustWrite(0, "a", "new")
	c.setRef(0, "b", 3, 0, 8)
	c.wantReply(0, c.remove(0, "b"), wirepb.Code_OK)
	c.setRef(0, "c", 4, 4, 8)
	c.change(0, "c", "", &wirepb.ObjOp{Kind: wirepb.OpKind_TRUNCATE, Offset: 4})
	c.setRef(0, "d", 5, 0, 8)
	c.change(0, "d", "", &wirepb.ObjOp{Kind: wirepb.OpKind_ZERO, Length: 8})
	c.setRef(0, "e", 6, 0, 8)
	c.patch(0, "e", 1, "part")
	for osd := range 3 {
		c.wantKnown(osd, 6)
		refs, outbox := c.nonces(osd)
		if len(refs) != 1 || !refs[6] || len(outbox) != 5 {
			t.Fatalf("osd.%d has references %v and drops of %v", osd, refs, outbox)
		}
	}
	c.wantEqual(0, 1, 2)
	g := c.a(0).g
	if n := len(g.lead.locks); n > 0 {
		t.Fatalf("%d objects are still locked", n)
	}
}

func TestDropsAreNoted(t *testing.T) { dropsAreNoted(t) }

// logEndsBehindOutbox: a member that got only the first of the two entries leads. The record tells of a reference
// that is still there; the client repeats its write, and there is another record.
func logEndsBehindOutbox(t tester) {
	c := active(t, 3)
	c.setRef(0, "a", 1, 0, 8)
	c.cut[[2]placement.OSDID{0, 2}] = true
	c.a(1).slowDisk = true
	req := &wirepb.OpRequest{Object: []byte("a"), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE_FULL, DataLen: 3}}, Req: &wirepb.ReqID{Client: 1, Seq: 9}}
	c.wantNoReply(0, c.op(0, true, req, "new"))
	c.crash(0, 0)
	c.crash(1, 1) // the first batch of two
	c.a(1).slowDisk = false
	c.down(0)
	c.restart(1)
	c.lead(1)
	c.govern(3 * time.Second)
	c.wantServing(1)
	c.wantKnown(1, 1)
	c.wantKnown(2, 1)
	if refs, outbox := c.nonces(1); !refs[1] || !outbox[1] {
		t.Fatalf("references %v, drops of %v: half of the write was to be there", refs, outbox)
	}
	c.wantReply(1, c.op(1, true, req, "new"), wirepb.Code_OK)
	c.wantRead(1, "a", "new")
	for _, osd := range []int{1, 2} {
		if refs, outbox := c.nonces(osd); refs[1] || !outbox[1] {
			t.Fatalf("references %v, drops of %v", refs, outbox)
		}
	}
	c.wantEqual(1, 2)
}

func TestLogEndsBehindOutbox(t *testing.T) { logEndsBehindOutbox(t) }

// A learner gets records like other objects, by the log and while it learns.
func TestOutboxOfLearner(t *testing.T) {
	c := active(t, 3)
	c.setRef(0, "a", 1, 0, 8)
	c.setRef(0, "b", 2, 0, 8)
	c.away()
	c.mustWrite(0, "a", "new")
	c.a(0).slowReads = true
	c.restart(2)
	c.mustWrite(0, "b", "new") // while it is being taught
	c.a(0).slowReads = false
	c.settle()
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	c.wantEqual(0, 1, 2)
	c.wantKnown(2, 2)
	if _, outbox := c.nonces(2); !outbox[1] || !outbox[2] {
		t.Fatalf("drops of %v", outbox)
	}
}

// A repeat of the write gets its answer and makes no second record.
func TestOutboxOnce(t *testing.T) {
	c := active(t, 3)
	c.setRef(0, "a", 1, 0, 8)
	req := &wirepb.OpRequest{Object: []byte("a"), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_REMOVE}}, Req: &wirepb.ReqID{Client: 1, Seq: 9}}
	c.wantReply(0, c.op(0, true, req, ""), wirepb.Code_OK)
	head := c.a(0).g.log.head()
	c.wantReply(0, c.op(0, true, req, ""), wirepb.Code_OK)
	if got := c.a(0).g.log.head(); got != head {
		t.Fatalf("the repeat was logged: %s after %s", got, head)
	}
}

// A name that somebody has guessed and uses makes the write wait, instead of being overwritten.
func TestOutboxNameTaken(t *testing.T) {
	c := active(t, 3)
	c.setRef(0, "a", 1, 0, 8)
	g := c.a(0).g
	next := chunk.OutboxName(g.lead.term, g.log.head().Seq+1, "a")
	c.a(0).slowExecs = true
	guess := c.op(0, false, &wirepb.OpRequest{Object: []byte(next), Record: true, Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_STAT}}}, "")
	h := c.remove(0, "a")
	xs := c.a(0).execs
	c.a(0).execs = xs[1:]
	c.a(0).exec()
	c.settle()
	c.wantReply(0, h, wirepb.Code_TRY_LATER)
	c.a(0).execs = xs[:1]
	c.a(0).slowExecs = false
	c.settle()
	c.pass(100 * time.Millisecond)
	c.wantReply(0, guess, wirepb.Code_NOT_FOUND)
	c.wantReply(0, c.remove(0, "a"), wirepb.Code_OK)
	c.wantKnown(0, 1)
	if n := len(g.lead.locks); n > 0 {
		t.Fatalf("%d objects are still locked", n)
	}
}

// TestListRecords: clients' listings have no records, those of a kind nothing else.
func TestListRecords(t *testing.T) {
	names := []string{"\x00", "a", "b", "\x01c", "\xff"}
	for i := range uint64(5) {
		names = append(names, chunk.OutboxName(1, i, "a"), chunk.VoidRefName(chunk.Nonce{byte(i)}, strings.Repeat("\xff", store.MaxObjectName)))
	}
	st := store.NewSim(store.SimOptions{})
	var ops []store.Op
	for _, n := range names {
		ops = append(ops, store.Op{Kind: store.OpTouch, Key: store.Key{PG: castPG, Name: n}})
	}
	if err := store.Apply(st, &store.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	for record, want := range map[placement.RecordKind]int{0: 4, placement.Outbox: 5, placement.VoidRef: 5, placement.ChunkEntry: 0, 0xff: 0} {
		for limit := uint32(1); limit < 7; limit++ {
			got := map[string]bool{}
			l := &wirepb.PGList{Limit: limit, Record: uint32(record)}
			for more := true; more; {
				after, n := ListFrom(l)
				objs, m, err := st.List(castPG, store.Objects, after, n)
				if err != nil {
					t.Fatal(err)
				}
				reply := ListReply(l, objs, m)
				for _, o := range reply.Objects {
					got[string(o)], l.After = true, o
					if k, ok := placement.RecordOf(string(o)); ok != (record != 0) || k != record {
						t.Fatalf("a listing of %q has %q", record, o)
					}
				}
				more = reply.More
			}
			if len(got) != want {
				t.Fatalf("a listing of %q by %d has %d names, want %d", record, limit, len(got), want)
			}
		}
	}
}

// ---- for scripts in words ----

// nameText is a name as scripts show it.
func nameText(name []byte) string {
	if term, seq, object, ok := chunk.OutboxOf(string(name)); ok {
		return fmt.Sprintf("outbox(%d'%d,%s)", term, seq, object)
	}
	return string(name)
}

// dataText is what lies in an object of that name.
func dataText(name, data []byte) string {
	if _, _, _, ok := chunk.OutboxOf(string(name)); !ok {
		return fmt.Sprintf("%q", data)
	}
	list, err := chunk.DecodeDropped(data)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, d := range list {
		all = append(all, fmt.Sprint("#", binary.BigEndian.Uint32(d.Nonce[:])))
	}
	return "drops " + strings.Join(all, ",")
}

func refText(b []byte) string {
	r, err := chunk.DecodeRef(b)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("#%d(%d-%d", binary.BigEndian.Uint32(r.Nonce[:]), r.Range.From, r.Range.To)
	for _, x := range r.Covered {
		text += fmt.Sprintf(" without %d-%d", x.From, x.To)
	}
	return text + ")"
}
