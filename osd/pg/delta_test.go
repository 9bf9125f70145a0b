package pg

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// change carries out operations on an object; data is the payload of those that have a length.
func (c *cast) change(id int, object, data string, ops ...*wirepb.ObjOp) {
	c.t.Helper()
	off := uint64(0)
	for _, op := range ops {
		op.DataOff = off
		off += op.DataLen
	}
	c.wantReply(id, c.op(id, true, &wirepb.OpRequest{Object: []byte(object), Ops: ops}, data), wirepb.Code_OK)
}

func (c *cast) patch(id int, object string, off uint64, data string) {
	c.t.Helper()
	c.change(id, object, data, &wirepb.ObjOp{Kind: wirepb.OpKind_WRITE, Offset: off, DataLen: uint64(len(data))})
}

func named(kind wirepb.OpKind, name, value string) *wirepb.ObjOp {
	return &wirepb.ObjOp{Kind: kind, Name: []byte(name), Value: []byte(value)}
}

// contents describes all that an OSD's disk holds of the PG.
func (c *cast) contents(id int) string {
	var b strings.Builder
	st := c.a(id).st
	objs, _, err := st.List(castPG, store.Objects, "", 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range objs {
		k := store.Key{PG: castPG, Name: o.Name}
		data, err := st.Read(k, 0, 1<<20)
		attrs, err2 := st.Attrs(k)
		omap, _, err3 := st.OmapList(k, nil, nil, 1000)
		info, err4 := st.Stat(k)
		fmt.Fprintf(&b, "%s %s at %d %q %s %s %v %v %v %v\n", o.Name, o.Version, info.Mtime, data, attrs, omap, err, err2, err3, err4)
	}
	return b.String()
}

func (c *cast) wantEqual(first int, others ...int) {
	c.t.Helper()
	for _, id := range others {
		if got, want := c.contents(id), c.contents(first); got != want {
			c.t.Fatalf("osd.%d holds\n%sosd.%d holds\n%s", id, got, first, want)
		}
	}
}

// pushed counts the objects that a primary has sent in parts, and whole.
func (c *cast) pushed(id int) (deltas, whole int) {
	for _, m := range c.a(id).sent {
		if p := m.GetPush(); p.GetDelta() {
			deltas++
		} else if p.GetLast() {
			whole++
		}
	}
	return deltas, whole
}

// away takes osd.2 out of the set.
func (c *cast) away() {
	c.t.Helper()
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second)
	c.wantSet(0, 1)
}

func (c *cast) back(lead int) {
	c.t.Helper()
	c.restart(2)
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	c.wantEqual(lead, 0, 1, 2)
}

const text40 = "0123456789abcdefghijklmnopqrstuvwxyz----"

// TestDeltas: a member that was away gets what changed within objects, whatever that was, and the whole
// object where the log does not say.
func TestDeltas(t *testing.T) {
	many := func(c *cast) {
		for i := range describeNames + 1 {
			c.change(0, "a", "", named(wirepb.OpKind_OMAP_SET, fmt.Sprint("m", i), "v"))
		}
	}
	for _, tc := range []struct {
		name  string
		do    func(c *cast)
		whole bool
	}{
		{"a part", func(c *cast) { c.patch(0, "a", 5, "XX") }, false},
		{"several parts", func(c *cast) { c.patch(0, "a", 5, "XX"); c.patch(0, "a", 20, "YY"); c.patch(0, "a", 6, "ZZ") }, false},
		{"zeros", func(c *cast) {
			c.change(0, "a", "", &wirepb.ObjOp{Kind: wirepb.OpKind_ZERO, Offset: 3, Length: 9})
		}, false},
		{"longer", func(c *cast) { c.patch(0, "a", 60, "end") }, false},
		{"appended", func(c *cast) {
			c.change(0, "a", "end", &wirepb.ObjOp{Kind: wirepb.OpKind_APPEND, DataLen: 3})
		}, false},
		{"shorter", func(c *cast) { c.change(0, "a", "", &wirepb.ObjOp{Kind: wirepb.OpKind_TRUNCATE, Offset: 7}) }, false},
		{"shorter, then longer", func(c *cast) {
			c.change(0, "a", "", &wirepb.ObjOp{Kind: wirepb.OpKind_TRUNCATE, Offset: 7})
			c.change(0, "a", "", &wirepb.ObjOp{Kind: wirepb.OpKind_TRUNCATE, Offset: 50})
			c.patch(0, "a", 20, "new")
		}, false},
		{"keys", func(c *cast) {
			c.change(0, "a", "", named(wirepb.OpKind_OMAP_SET, "k1", "new"), named(wirepb.OpKind_OMAP_SET, "k9", ""), named(wirepb.OpKind_OMAP_RM, "k2", ""))
			c.change(0, "a", "", named(wirepb.OpKind_OMAP_SET, "k4", "there for a while"))
			c.change(0, "a", "", named(wirepb.OpKind_OMAP_RM, "k4", ""))
		}, false},
		{"attributes", func(c *cast) {
			c.change(0, "a", "", named(wirepb.OpKind_SET_ATTR, "a1", "new"), named(wirepb.OpKind_RM_ATTR, "a2", ""), named(wirepb.OpKind_SET_ATTR, "a3", ""))
		}, false},
		{"nothing but the version", func(c *cast) { c.change(0, "a", "", &wirepb.ObjOp{Kind: wirepb.OpKind_CREATE}) }, false},
		{"many keys one by one", many, false},
		{"references", func(c *cast) {
			c.setRef(0, "a", 1, 4, 12)
			c.patch(0, "a", 6, "XX")
			c.setRef(0, "a", 2, 8, 20) // cuts the first
		}, false},
		{"written anew", func(c *cast) { c.mustWrite(0, "a", "new") }, true},
		{"created", func(c *cast) { c.patch(0, "new", 3, "XX"); c.patch(0, "new", 4, "YY") }, true},
		{"removed and created anew", func(c *cast) {
			c.patch(0, "a", 5, "XX")
			c.remove(0, "a")
			c.patch(0, "a", 2, "YY")
			c.patch(0, "a", 3, "ZZ")
		}, true},
		{"removed and created in one request", func(c *cast) {
			c.change(0, "a", "YY", &wirepb.ObjOp{Kind: wirepb.OpKind_REMOVE}, &wirepb.ObjOp{Kind: wirepb.OpKind_WRITE, Offset: 1, DataLen: 2})
		}, true},
		{"removed", func(c *cast) { c.remove(0, "a") }, true},
		{"keys in a range", func(c *cast) { c.change(0, "a", "", named(wirepb.OpKind_OMAP_RM_RANGE, "k1", "")) }, true},
		{"all keys", func(c *cast) { c.change(0, "a", "", &wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_CLEAR}) }, true},
		{"too many keys at once", func(c *cast) {
			var ops []*wirepb.ObjOp
			for i := range describeNames + 1 {
				ops = append(ops, named(wirepb.OpKind_OMAP_SET, fmt.Sprint("m", i), "v"))
			}
			c.change(0, "a", "", ops...)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := active(t, 3)
			c.mustWrite(0, "a", text40)
			c.change(0, "a", "", named(wirepb.OpKind_OMAP_SET, "k1", "v1"), named(wirepb.OpKind_OMAP_SET, "k2", "v2"),
				named(wirepb.OpKind_SET_ATTR, "a1", "v1"), named(wirepb.OpKind_SET_ATTR, "a2", "v2"))
			c.mustWrite(0, "other", "x")
			c.away()
			tc.do(c)
			c.back(0)
			deltas, whole := c.pushed(0)
			if want := map[bool]string{false: "1 0", true: "0 1"}[tc.whole]; fmt.Sprint(deltas, whole) != want {
				t.Fatalf("sent in parts and whole: %d %d, want %s", deltas, whole, want)
			}
		})
	}
}

// What an entry in the middle has touched counts as well, also when it was logged while the learner was
// being taught.
func TestDeltaOfSeveralWrites(t *testing.T) { deltaOfSeveralWrites(t) }

func deltaOfSeveralWrites(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", text40)
	c.away()
	c.patch(0, "a", 5, "XX")
	c.patch(0, "a", 20, "YY")
	c.a(0).slowReads = true
	c.restart(2)
	c.pass(500 * time.Millisecond)
	c.patch(0, "a", 30, "ZZ") // the push begins anew behind it
	c.a(0).slowReads = false
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	c.wantEqual(0, 1, 2)
	if deltas, whole := c.pushed(0); deltas != 1 || whole != 0 {
		t.Fatalf("sent in parts and whole: %d %d", deltas, whole)
	}
}

// The log is trimmed while a learner is being taught: what it has forgotten nobody can tell, so objects
// whose turn comes later go whole.
func TestDeltaAfterTrim(t *testing.T) { deltaAfterTrim(t) }

func deltaAfterTrim(t tester) {
	c := active(t, 3, smallLog, func(cfg *Config) { cfg.PushMax = 1 })
	c.mustWrite(0, "a", text40)
	c.mustWrite(0, "b", text40)
	c.mustWrite(0, "z", text40)
	c.away()
	c.patch(0, "b", 5, "XX")
	c.patch(0, "a", 5, "XX")
	c.a(0).slowReads = true
	c.restart(2)
	c.pass(500 * time.Millisecond)
	if p := c.peer(0, 2); p.phase != learning || p.whole {
		t.Fatalf("osd.2 is not taught by the log: %s", c.query(0))
	}
	for i := range 100 {
		c.patch(0, "z", uint64(i)%30, "Z")
	}
	c.patch(0, "a", 20, "YY")
	c.a(0).slowReads = false
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	c.wantEqual(0, 1, 2)
	// Of b it was known what had changed, but by now the learner cannot tell whether that is true.
	if deltas, whole := c.pushed(0); deltas != 1 || whole != 2 {
		t.Fatalf("sent in parts and whole: %d %d", deltas, whole)
	}
}

// A learner that was interrupted half-way goes on with another primary: what it has got of some objects
// meanwhile is newer than where it was complete, and harmless.
func TestDeltaInterrupted(t *testing.T) {
	c := active(t, 3, func(cfg *Config) { cfg.PushMax = 1 })
	for _, o := range []string{"a", "b", "c"} {
		c.mustWrite(0, o, text40)
		c.change(0, o, "", named(wirepb.OpKind_OMAP_SET, "k", "old"))
	}
	c.away()
	for i, o := range []string{"a", "b", "c"} {
		c.patch(0, o, 3, "XX")
		c.patch(0, o, 38, fmt.Sprint("longer", i))
	}
	// It gets a, and part of the way to b.
	n := 0
	c.keep = func(p parcel) bool {
		if p.to == 2 && p.msg.GetPush() != nil {
			n++
		}
		return p.to == 2 && n > 1
	}
	c.restart(2)
	c.pass(300 * time.Millisecond)
	if n < 2 || c.a(2).g.st.complete {
		t.Fatalf("osd.2 is not half-way, %d pushes: %s", n, c.query(0))
	}
	c.crash(2, 0)
	c.held, c.keep = nil, nil
	c.down(2)
	c.patch(0, "a", 10, "after")
	c.change(0, "a", "", named(wirepb.OpKind_OMAP_RM, "k", ""))
	c.change(0, "b", "", &wirepb.ObjOp{Kind: wirepb.OpKind_TRUNCATE, Offset: 30})
	c.lead(1)
	c.govern(3 * time.Second)
	c.wantServing(1)
	c.patch(1, "b", 40, "behind")
	c.back(1)
	if deltas, whole := c.pushed(1); deltas != 3 || whole != 0 {
		t.Fatalf("sent in parts and whole: %d %d", deltas, whole)
	}
}

// What a deposed primary wrote, and nobody else has, is not repaired by parts: what it had changed nobody can tell, so all
// objects go whole.
func TestDeltaOfDivergedObject(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", text40)
	c.mustWrite(0, "b", text40)
	c.cut[[2]placement.OSDID{0, 1}] = true
	c.op(0, true, &wirepb.OpRequest{Object: []byte("a"), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE, Offset: 30, DataLen: 4}}}, "lost")
	c.crash(0, 0)
	c.crash(2, 0)
	c.down(2)
	c.view.MinSize = 1
	c.down(0)
	c.lead(1)
	delete(c.cut, [2]placement.OSDID{0, 1})
	c.govern(3 * time.Second)
	c.wantServing(1)
	c.patch(1, "a", 3, "XX")
	c.patch(1, "b", 3, "XX")
	c.restart(2)
	c.govern(2 * time.Second)
	c.wantEqual(1, 2)
	if deltas, whole := c.pushed(1); deltas != 0 || whole != 2 {
		t.Fatalf("sent in parts and whole: %d %d", deltas, whole)
	}
}

// A learner whose log does not say that parts are enough refuses them, and gets the object whole.
func TestDeltaRefused(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", text40)
	c.away()
	c.patch(0, "a", 3, "XX")
	c.onParcel = func(p parcel, _ string) {
		if m := p.msg.GetPush(); m.GetDelta() {
			m.Base.Seq++
		}
	}
	c.back(0)
	if deltas, whole := c.pushed(0); deltas != 1 || whole != 1 {
		t.Fatalf("sent in parts and whole: %d %d", deltas, whole)
	}
}

// More than a message should carry goes whole.
func TestDeltaTooLarge(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	k := store.Key{PG: castPG, Name: "a"}
	if err := store.Apply(st, &store.Batch{Ops: []store.Op{
		{Kind: store.OpWrite, Key: k, Data: bytes.Repeat([]byte("x"), 1000)}, {Kind: store.OpOmapSet, Key: k, Name: []byte("k"), Value: make([]byte, 500)},
	}}); err != nil {
		t.Fatal(err)
	}
	for max, want := range map[uint64]bool{1501: false, 1500: true, 400: true} {
		p, err := ReadPiece(st, k, Read{Parts: &Parts{Extents: []Extent{{0, 2000}}, Keys: [][]byte{[]byte("k")}, MaxBytes: max}}, PieceSize{})
		if err != nil || p.TooMuch != want || p.TooMuch && p.Bytes() != 0 {
			t.Errorf("at most %d bytes: %v %v, %d bytes", max, p.TooMuch, err, p.Bytes())
		}
	}
}

// TestMergeExtents compares merge with marks on a line.
func TestMergeExtents(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		const size = 40
		var in []Extent
		var want [size]bool
		for range rng.IntN(8) {
			x := Extent{uint64(rng.IntN(size)), uint64(rng.IntN(10))}
			if rng.IntN(10) == 0 {
				x.Len = math.MaxUint64 - uint64(rng.IntN(20))
			}
			in = append(in, x)
			for i := x.Off; i < x.end(size); i++ {
				want[i] = true
			}
		}
		var got [size]bool
		out := merge(slices.Clone(in))
		last := int64(-1)
		for _, x := range out {
			if int64(x.Off) <= last {
				t.Fatalf("seed %d: %v becomes %v", seed, in, out)
			}
			for i := x.Off; i < x.end(size); i++ {
				got[i] = true
			}
			last = int64(x.end(size))
		}
		if got != want {
			t.Fatalf("seed %d: %v becomes %v", seed, in, out)
		}
	}
}

// TestLogIndexes: the log's lists by object and its entries by request are what its entries say, however entries
// come and go, and whether somebody has asked before or not for long.
func TestLogIndexes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	l := pgLog{}
	made, dropped := 0, 0 // how often an index came and went
	asks := true
	for i := range 20000 {
		had := l.names != nil
		switch n := len(l.entries); {
		case rng.IntN(20) == 0 && n > 0:
			l.trim(1 + rng.IntN(n))
		case rng.IntN(20) == 0:
			l.cut(l.tail.Seq + uint64(rng.IntN(n+1)))
		default:
			seq := l.head().Seq + 1
			l.append(&wirepb.LogEntry{Pos: &wirepb.Position{Term: 1, Seq: seq}, Object: []byte{'a' + byte(rng.IntN(3))}, Req: &wirepb.ReqID{Client: 1, Seq: seq}})
		}
		if had && l.names == nil {
			dropped++
		}
		if i%2500 == 0 {
			asks = !asks
		}
		if !asks {
			continue
		}
		if l.names == nil {
			made++
		}
		want := map[string][]*wirepb.LogEntry{}
		for _, e := range l.entries {
			want[string(e.Object)] = append(want[string(e.Object)], e)
			if got := l.byReq(keyOf(e.Req)); got != e {
				t.Fatalf("seed %d: request %d has %v, want %v", seed, e.Req.Seq, got, e)
			}
		}
		if l.byReq(reqKey{1, l.head().Seq + 1}) != nil || l.byReq(reqKey{1, l.tail.Seq}) != nil || len(l.reqs) != len(l.entries) {
			t.Fatalf("seed %d: requests that the log does not have", seed)
		}
		for _, name := range []string{"a", "b", "c"} {
			if !slices.Equal(l.byName(name), want[name]) {
				t.Fatalf("seed %d: %s has %v, want %v", seed, name, l.byName(name), want[name])
			}
		}
		if len(want) != len(l.names) {
			t.Fatalf("seed %d: %d objects, want %d", seed, len(l.names), len(want))
		}
	}
	if made < 2 || dropped < 2 {
		t.Fatalf("seed %d: the indexes were made %d times and dropped %d times", seed, made, dropped)
	}
}
