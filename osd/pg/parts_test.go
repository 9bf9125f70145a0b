package pg

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

func at(term, seq int) store.Version {
	return store.Version{Term: placement.Term(term), Seq: uint64(seq)}
}

// entries makes log entries from "term'seq object" pairs.
func entries(vs ...store.Version) []*wirepb.LogEntry {
	var es []*wirepb.LogEntry
	for _, v := range vs {
		es = append(es, &wirepb.LogEntry{Pos: toPos(v), Object: fmt.Appendf(nil, "o%d", v.Seq), Req: &wirepb.ReqID{Client: 1, Seq: v.Seq}})
	}
	return es
}

func logOf(tail store.Version, vs ...store.Version) pgLog {
	l := pgLog{tail: tail}
	for _, e := range entries(vs...) {
		l.append(e)
	}
	return l
}

// The format on disk: docs/formats/pg.md. Change the format's version when this must change.
func TestStateGolden(t *testing.T) {
	s := state{tail: at(1, 2), committed: at(3, 0x0405060708), complete: true, completeTo: at(9, 10), scan: true, horizon: -2, pgNum: 12, splitTo: 16}
	const want = "0203" + "01000000" + "0200000000000000" + "03000000" + "0807060504000000" + "09000000" + "0a00000000000000" + "feffffffffffffff" +
		"0c000000" + "10000000"
	if got := hex.EncodeToString(s.encode()); got != want {
		t.Fatalf("encoded\n%s, want\n%s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := func(name string) store.Version {
			return store.Version{Term: placement.Term(rapid.Uint32().Draw(t, name)), Seq: rapid.Uint64().Draw(t, name)}
		}
		s := state{tail: v("tail"), committed: v("committed"), completeTo: v("to"), horizon: rapid.Int64().Draw(t, "horizon"),
			complete: rapid.Bool().Draw(t, "complete"), scan: rapid.Bool().Draw(t, "scan"), pgNum: rapid.Uint32Range(0, 1<<20).Draw(t, "pg_num")}
		if rapid.Bool().Draw(t, "splits") {
			s.splitTo = s.pgNum + 1
		}
		if got, err := decodeState(s.encode()); err != nil || got != s {
			t.Fatalf("%+v came back as %+v, %v", s, got, err)
		}
	})
}

func TestStateDamaged(t *testing.T) {
	good := state{}.encode()
	newer := slices.Clone(good)
	newer[0] = stateVersion + 1
	for name, b := range map[string][]byte{"empty": {}, "short": good[:len(good)-1], "long": append(slices.Clone(good), 0), "version 0": make([]byte, stateBytes)} {
		if _, err := decodeState(b); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	if _, err := decodeState(newer); err == nil || errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "newer cairn") {
		t.Errorf("newer format: %v, want advice to upgrade", err)
	}
}

func TestLog(t *testing.T) {
	l := logOf(at(1, 10), at(1, 11), at(2, 12), at(2, 13))
	if l.head() != at(2, 13) {
		t.Fatalf("head %s", l.head())
	}
	for v, want := range map[store.Version]bool{
		at(1, 10): true, at(1, 11): true, at(2, 12): true, at(2, 13): true,
		at(2, 10): false, at(2, 11): false, at(1, 12): false, at(2, 14): false, at(1, 9): false, {}: false,
	} {
		if l.has(v) != want {
			t.Errorf("has(%s) = %v", v, !want)
		}
	}
	for seq, want := range map[uint64]int{0: 3, 9: 3, 10: 3, 11: 2, 12: 1, 13: 0, 14: 0, 1 << 63: 0} {
		if got := len(l.after(seq)); got != want {
			t.Errorf("after(%d): %d entries, want %d", seq, got, want)
		}
	}
	if l.byReq(reqKey{1, 12}) == nil {
		t.Fatal("request id not found")
	}
	if gone := l.cut(12); len(gone) != 1 || l.head() != at(2, 12) || l.byReq(reqKey{1, 13}) != nil || l.byReq(reqKey{1, 12}) == nil {
		t.Fatalf("cut: %v, head %s", gone, l.head())
	}
	l.trim(1)
	if l.tail != at(1, 11) || l.head() != at(2, 12) || l.byReq(reqKey{1, 11}) != nil || len(l.after(0)) != 1 {
		t.Fatalf("trim: tail %s, head %s", l.tail, l.head())
	}
	l.trim(1)
	if l.head() != at(2, 12) || l.tail != l.head() || len(l.reqs) != 0 {
		t.Fatalf("empty: tail %s, head %s", l.tail, l.head())
	}
}

// A request id that was logged again is remembered by its newer entry, whatever happens to the older.
func TestLogSameRequestTwice(t *testing.T) {
	l := logOf(at(1, 0), at(1, 1))
	again := entries(at(1, 2))[0]
	again.Req = &wirepb.ReqID{Client: 1, Seq: 1}
	l.append(again)
	l.trim(1)
	if l.byReq(reqKey{1, 1}) != again {
		t.Fatal("the newer entry is forgotten with the older")
	}
}

func TestTrim(t *testing.T) {
	g := &Group{cfg: Config{LogMax: 16, LogKeep: -1}.withDefaults(), id: castPG, log: logOf(at(1, 0))}
	for i := 1; i <= 40; i++ {
		e := entries(at(1, i))[0]
		e.At = int64(1000 - i) // clocks of primaries differ: the newest time counts, not the last
		g.log.append(e)
	}
	if ops := g.opsTrim(); ops != nil {
		t.Fatalf("%d operations, but nothing is committed", len(ops))
	}
	g.st.committed = at(1, 10)
	ops := g.opsTrim()
	if len(ops) != 2 || g.log.tail != at(1, 10) || g.st.horizon != 999 {
		t.Fatalf("%d operations, tail %s, horizon %d; want 2, 1'10, 999", len(ops), g.log.tail, g.st.horizon)
	}
	if ops[0].Kind != store.OpOmapRmRange || !bytes.Equal(ops[0].Name, logKey(1)) || !bytes.Equal(ops[0].End, logKey(11)) {
		t.Fatalf("removes %x to %x", ops[0].Name, ops[0].End)
	}
	g.st.committed = at(1, 40)
	if g.opsTrim(); len(g.log.entries) != 16 {
		t.Fatalf("%d entries, want 16", len(g.log.entries))
	}
	if ops := g.opsTrim(); ops != nil {
		t.Fatal("a log of its length is trimmed")
	}
}

// The log keeps what is young, as long as there is room for it.
func TestTrimByAge(t *testing.T) {
	g := &Group{cfg: Config{LogMax: 16, LogHard: 100, LogKeep: time.Minute, LogBytes: 1 << 20}.withDefaults(), id: castPG, log: logOf(at(1, 0))}
	seq := 0
	log := func(n int, step time.Duration, size int) {
		t.Helper()
		for range n {
			seq++
			e := entries(at(1, seq))[0]
			e.At, e.Result = int64(time.Duration(seq)*step), make([]byte, size)
			g.log.append(e)
			g.st.committed = at(1, seq)
			g.opsTrim()
		}
		sum := 0
		for _, e := range g.log.entries {
			sum += e.SizeVT()
		}
		if sum != g.log.bytes {
			t.Fatalf("counts %d bytes, has %d", g.log.bytes, sum)
		}
	}
	want := func(lo, hi int) {
		t.Helper()
		if n := len(g.log.entries); n < lo || n > hi {
			t.Fatalf("%d entries of %d, want %d to %d", n, seq, lo, hi)
		}
	}
	log(60, time.Second, 10)
	want(60, 60)
	log(100, time.Second, 10) // a minute's worth
	want(60, 63)
	log(100, time.Millisecond, 10) // a busy time
	want(99, 102)
	log(30, time.Hour, 10)
	want(16, 18)
	log(30, time.Hour, 200_000) // large results
	want(4, 6)
}

func TestLoad(t *testing.T) {
	key := store.Key{PG: castPG, Space: store.Meta, Name: metaName}
	open := func(ops ...store.Op) (*Group, error) {
		st := store.NewSim(store.SimOptions{})
		defer st.Close()
		if err := store.Apply(st, &store.Batch{Ops: ops}); err != nil {
			t.Fatal(err)
		}
		return New(Config{Self: 1, Leases: NewLeases(1, time.Second)}, castPG, st)
	}
	set := func(v []byte) store.Op {
		return store.Op{Kind: store.OpSetAttr, Key: key, Name: []byte(stateAttr), Value: v}
	}
	entry := func(v store.Version) store.Op {
		b, _ := entries(v)[0].MarshalVT()
		return store.Op{Kind: store.OpOmapSet, Key: key, Name: logKey(v.Seq), Value: b}
	}
	ops := []store.Op{set(state{tail: at(1, 5), complete: true}.encode())}
	for i := 6; i <= 2500; i++ { // more than a page
		ops = append(ops, entry(at(2, i)))
	}
	g, err := open(ops...)
	if err != nil || g.log.head() != at(2, 2500) || g.log.tail != at(1, 5) || !g.exists {
		t.Fatalf("loaded head %s, tail %s: %v", g.log.head(), g.log.tail, err)
	}
	for name, bad := range map[string][]store.Op{
		"gap":     {ops[0], ops[1], ops[3]},
		"garbage": {ops[0], {Kind: store.OpOmapSet, Key: key, Name: logKey(6), Value: []byte("garbage")}},
		"state":   {set(make([]byte, stateBytes))},
	} {
		g, err := open(bad...)
		if err != nil || g.exists || len(g.log.entries) > 0 || !strings.Contains(g.Damaged(), castPG.String()) {
			t.Errorf("%s: %v, exists %v, damaged %q; want a lost copy, and why, naming the PG", name, err, g.exists, g.Damaged())
		}
	}
	if _, err := open(set([]byte{200, 0})); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("state of a newer format: %v, want an error: it must not count as lost", err)
	}
	if g, err := open(store.Op{Kind: store.OpTouch, Key: store.Key{PG: castPG, Name: "a"}}); err != nil || g.exists {
		t.Fatalf("objects without a state: exists %v, %v", g.exists, err)
	}
}

func TestResultRoundTrip(t *testing.T) {
	reply := &wirepb.OpReply{Version: 7, Results: []*wirepb.ObjResult{{Size: 3}}}
	b := encodeResult(reply, []byte("payload"))
	got, payload, err := decodeResult(b)
	if err != nil || !proto.Equal(got, reply) || string(payload) != "payload" {
		t.Fatalf("%v %q %v", got, payload, err)
	}
	for n := range 4 + reply.SizeVT() {
		if _, _, err := decodeResult(b[:n]); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("%d bytes: %v, want ErrCorrupt", n, err)
		}
	}
	if _, _, err := decodeResult([]byte{0xff, 0xff, 0xff, 0xff, 0}); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("length beyond the end: %v", err)
	}
}

// common: where a peer's log and ours part.
func TestCommon(t *testing.T) {
	ours := logOf(at(1, 10), at(1, 11), at(2, 12), at(2, 13))
	for name, c := range map[string]struct {
		committed store.Version
		peer      []store.Version
		keep      store.Version
		diverged  int
	}{
		"equal":                        {at(1, 11), []store.Version{at(2, 12), at(2, 13)}, at(2, 13), 0},
		"behind":                       {at(1, 11), nil, at(1, 11), 0},
		"watermark behind our tail":    {at(1, 8), []store.Version{at(1, 9), at(1, 10), at(1, 11)}, at(1, 11), 0},
		"all behind our tail":          {at(1, 3), []store.Version{at(1, 4)}, at(1, 4), 0},
		"nothing at all":               {store.Version{}, nil, store.Version{}, 0},
		"ahead":                        {at(2, 13), []store.Version{at(2, 14), at(2, 15)}, at(2, 13), 2},
		"another term":                 {at(1, 11), []store.Version{at(1, 12), at(1, 13)}, at(1, 11), 2},
		"parts half way":               {at(1, 11), []store.Version{at(2, 12), at(1, 13)}, at(2, 12), 1},
		"old tail that crosses ours":   {at(1, 9), []store.Version{at(0, 10), at(0, 11)}, at(0, 10), 1},
		"positions, not numbers count": {at(1, 10), []store.Version{at(3, 11)}, at(1, 10), 1},
	} {
		g := &Group{log: ours}
		keep, diverged := g.common(&wirepb.PGInfo{Committed: toPos(c.committed), Entries: entries(c.peer...)})
		if keep != c.keep || len(diverged) != c.diverged {
			t.Errorf("%s: keep %s and %d diverged, want %s and %d", name, keep, len(diverged), c.keep, c.diverged)
		}
	}
}

func TestFollows(t *testing.T) {
	long := entries(at(1, 11))
	long[0].Object = make([]byte, store.MaxNameBytes+1)
	for name, c := range map[string]struct {
		es   []*wirepb.LogEntry
		want bool
	}{
		"none": {nil, true}, "next": {entries(at(1, 11)), true}, "newer term": {entries(at(2, 11), at(2, 12)), true},
		"gap": {entries(at(1, 12)), false}, "again": {entries(at(1, 10)), false}, "older term": {entries(at(0, 11)), false},
		"term falls": {entries(at(2, 11), at(1, 12)), false}, "no position": {[]*wirepb.LogEntry{{Object: []byte("a")}}, false}, "name": {long, false},
	} {
		if got := follows(at(1, 10), c.es); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMutationsRoundTrip(t *testing.T) {
	key := store.Key{PG: castPG, Name: "a"}
	ops := []store.Op{
		{Kind: store.OpTouch, Key: key}, {Kind: store.OpTruncate, Key: key, Off: 7}, {Kind: store.OpZero, Key: key, Off: 1, Len: 2},
		{Kind: store.OpWrite, Key: key, Off: 3, Data: []byte("first")}, {Kind: store.OpWrite, Key: key, Off: 30, Data: []byte("second")},
		{Kind: store.OpSetAttr, Key: key, Name: []byte("n"), Value: []byte("v")}, {Kind: store.OpRmAttr, Key: key, Name: []byte("n")},
		{Kind: store.OpOmapSet, Key: key, Name: []byte("k"), Value: []byte("v")}, {Kind: store.OpOmapRm, Key: key, Name: []byte("k")},
		{Kind: store.OpOmapRmRange, Key: key, Name: []byte("k"), End: []byte("l")}, {Kind: store.OpOmapClear, Key: key},
		{Kind: store.OpSetVersion, Key: key, Version: at(3, 9), Mtime: -5}, {Kind: store.OpRemove, Key: key},
	}
	ms, payload := mutationsOf(ops)
	got, err := opsFromMutations(key, ms, slices.Concat(payload...))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ops, got); d != "" {
		t.Fatal(d)
	}
	for name, m := range map[string]*wirepb.Mutation{
		"rename": {Kind: uint32(store.OpRename)}, "remove space": {Kind: uint32(store.OpRemoveSpace)}, "unknown": {Kind: 200}, "wraps to a kind": {Kind: 256 + uint32(store.OpTouch)},
		"beyond": {Kind: uint32(store.OpWrite), DataOff: 3, DataLen: 3}, "overflow": {Kind: uint32(store.OpWrite), DataOff: 1, DataLen: 1<<64 - 1},
	} {
		if _, err := opsFromMutations(key, []*wirepb.Mutation{m}, []byte("data!")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestLocks plays with one object's lock against a model: what runs, runs together with what it may.
func TestLocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		locks := lockTable{}
		type holder struct {
			kind lockKind
			n    int
		}
		var held []holder
		var settled bool
		waiting, next := 0, 0
		ran := map[int]bool{}
		check := func() {
			var writers, others, copiers, menders int
			for _, h := range held {
				switch h.kind {
				case writing:
					writers++
				case copying:
					copiers++
				case mending:
					menders++
				default:
					others++
				}
			}
			if writers > 1 || writers == 1 && others > 0 || writers == 1 && copiers+menders > 0 && !settled ||
				menders > 1 || menders == 1 && copiers > 0 {
				t.Fatalf("held together: %v, settled %v", held, settled)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				kind, n := lockKind(rapid.IntRange(0, 3).Draw(t, "kind")), next
				next++
				waiting++
				locks.acquire("a", kind, func() {
					waiting--
					ran[n] = true
					if kind == writing {
						settled = false
					}
					held = append(held, holder{kind, n})
				})
			case 2:
				if slices.ContainsFunc(held, func(h holder) bool { return h.kind == writing }) {
					settled = true
					locks.settle("a")
				}
			case 3:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "who")
					h := held[i]
					held = slices.Delete(held, i, i+1)
					locks.release("a", h.kind)
				}
			}
			check()
		}
		for len(held) > 0 { // nobody is forgotten
			h := held[0]
			held = held[1:]
			locks.release("a", h.kind)
			check()
		}
		if waiting != 0 || len(ran) != next || len(locks) != 0 {
			t.Fatalf("%d wait for ever, %d of %d ran, %d locks left", waiting, len(ran), next, len(locks))
		}
	})
}

func TestLocksInOrder(t *testing.T) {
	locks := lockTable{}
	var order []string
	run := func(name string) func() { return func() { order = append(order, name) } }
	locks.acquire("a", writing, run("w1"))
	locks.acquire("a", reading, run("r1"))
	locks.acquire("a", writing, run("w2"))
	locks.acquire("a", reading, run("r2"))
	locks.acquire("a", copying, run("c1")) // overtakes as soon as the write is on disk
	locks.acquire("b", writing, run("other"))
	locks.settle("a")
	locks.acquire("a", copying, run("c2"))
	locks.release("a", writing)
	if got, want := strings.Join(order, " "), "w1 other c1 c2 r1"; got != want {
		t.Fatalf("order %s, want %s", got, want)
	}
	locks.release("a", reading)
	locks.release("a", copying)
	if len(order) != 5 {
		t.Fatalf("a writer runs while an object is copied: %v", order)
	}
	locks.release("a", copying)
	locks.release("a", writing)
	if got, want := strings.Join(order[5:], " "), "w2 r2"; got != want {
		t.Fatalf("then %s, want %s", got, want)
	}
	locks.release("never taken", writing)
}

// A reader waits for a repair of what it reads. The repair must not wait behind a writer that waits for the reader.
func TestRepairOvertakes(t *testing.T) {
	locks := lockTable{}
	var order []string
	run := func(name string) func() { return func() { order = append(order, name) } }
	locks.acquire("a", reading, run("r"))
	locks.acquire("a", copying, run("c"))
	locks.acquire("a", writing, run("w"))
	locks.acquire("a", mending, run("m"))
	locks.release("a", copying)
	if got, want := strings.Join(order, " "), "r c m"; got != want {
		t.Fatalf("order %s, want %s", got, want)
	}
	locks.acquire("a", copying, run("c2"))
	locks.release("a", reading)
	locks.release("a", mending)
	locks.release("a", copying)
	if got, want := strings.Join(order, " "), "r c m c2 w"; got != want {
		t.Fatalf("order %s, want %s", got, want)
	}
}

func TestLeases(t *testing.T) {
	const second = clock.Mono(time.Second)
	l := NewLeases(100*second, time.Second)
	if got := l.QuietAfter(l.Granted(), 7); got != 101*second {
		t.Fatalf("after the start quiet until %d, want one lease", got)
	}
	l.SetEpoch(7)
	l.SetEpoch(5)
	if d, e := l.Grant(105*second, 1); d != time.Second || e != 7 {
		t.Fatalf("granted %v at epoch %d", d, e)
	}
	l.Grant(104*second, 1) // a slower goroutine
	l.Grant(103*second, 2)
	if got := l.QuietAfter(l.Granted(), 7); got != 106*second {
		t.Fatalf("quiet until %d, want until the last grant has run out", got/second)
	}
	granted := l.Granted()
	l.Acts(1, 6) // it may still lead what it has led
	if got := l.QuietAfter(granted, 7); got != 106*second {
		t.Fatalf("quiet until %d, want until the last grant has run out", got/second)
	}
	l.Acts(1, 7)
	l.Acts(1, 5) // late
	l.Grant(110*second, 2)
	if got := l.QuietAfter(granted, 7); got != 104*second {
		t.Fatalf("quiet until %d, want until the grant to osd.2 has run out", got/second)
	}
	l.Received(200*second, 3, time.Second, 7)
	for _, c := range []struct {
		now  clock.Mono
		from placement.OSDID
		at   placement.Epoch
		want bool
	}{
		{200 * second, 3, 7, true}, {200 * second, 3, 8, true},
		{200 * second, 3, 6, false}, // its grantor has a newer map than we have
		{200*second + second*9/10 - 1, 3, 7, true},
		{200*second + second*9/10, 3, 7, false}, // a tenth is given away for drift
		{200 * second, 4, 7, false},
	} {
		if got := l.Holds(c.now, c.from, c.at); got != c.want {
			t.Errorf("at %d, from %s, with map %d: %v", c.now, c.from, c.at, got)
		}
	}
	l.Received(199*second, 3, time.Second, 6) // a late, older answer takes nothing back
	if !l.Holds(200*second, 3, 7) || l.Holds(200*second, 3, 6) {
		t.Error("an older answer changed the lease")
	}
	l.Received(199*second, 3, time.Second, 9) // older, but its grantor had a newer map
	if l.Holds(200*second, 3, 8) || !l.Holds(200*second, 3, 9) {
		t.Error("the grantor's newer map was not noticed")
	}
	l.Received(201*second, 3, time.Second, 8)
	if l.Holds(201*second, 3, 8) {
		t.Error("the grantor's epoch stepped back")
	}
}
