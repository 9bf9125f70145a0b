package pg

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// stock gives the pool objects, and remembers what is in them.
type stock struct {
	f    *family
	want map[string]string
	seq  uint64
}

func stockOf(f *family, n int) *stock {
	s := &stock{f: f, want: map[string]string{}}
	for i := range n {
		s.add(fmt.Sprintf("o%02d", i), "first")
	}
	return s
}

func (s *stock) add(object, data string) {
	s.f.t.Helper()
	s.seq++
	s.f.mustAppend(object, data, s.seq)
	s.want[object] += data
}

// more appends to every third object.
func (s *stock) more(data string) {
	s.f.t.Helper()
	for i := 0; i < len(s.want); i += 3 {
		s.add(fmt.Sprintf("o%02d", i), data)
	}
}

// check reads everything, and repeats requests: each was carried out once.
func (s *stock) check() {
	s.f.t.Helper()
	for i := range len(s.want) {
		name := fmt.Sprintf("o%02d", i)
		s.f.wantRead(name, s.want[name])
	}
}

// A pool grows again and again, under everybody's eyes.
func TestSplit(t *testing.T) { splits(t) }

func splits(t tester) {
	f := newFamily(t, 2, 3)
	s := stockOf(f, 24)
	for _, n := range []uint32{3, 4, 7, 16} {
		f.grow(n)
		f.govern(2 * time.Second)
		s.check()
		s.more(fmt.Sprint(" at ", n))
		s.check()
		f.wantSame(0, 1, 2)
	}
	// What a request was answered is known in the half where its object went.
	for i := range 24 {
		f.mustAppend(fmt.Sprintf("o%02d", i), "first", uint64(i+1))
	}
	s.check()
}

// The primary goes on leading both halves, so nobody has to wait until old leases have run out.
func TestSplitWithoutPause(t *testing.T) { splitWithoutPause(t) }

func splitWithoutPause(t tester) {
	f := newFamily(t, 2, 3)
	s := stockOf(f, 10)
	f.grow(4) // no time passes
	f.wantServing(0, 1, 2, 3)
	s.check()
	// A PG that another OSD may have led since has to wait.
	f.hosts[1].blind = true
	f.grow(6)
	f.down(0)
	f.hosts[1].blind = false
	f.hosts[1].fetch()
	f.settle()
	for shard := range f.pgNum() {
		if g := f.hosts[1].gs[shard]; g.lead == nil || g.lead.serving {
			t.Fatalf("PG %d: osd.1 does not wait for the leases that it granted", shard)
		}
	}
}

// Writes are under way when the PG splits: no member acknowledges them any more. Their clients ask
// again, where the objects are then, and every write is carried out once.
func TestSplitWithWritesUnderWay(t *testing.T) { splitWithWritesUnderWay(t) }

func splitWithWritesUnderWay(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 12)
	f.cut[[2]int{1, 0}] = true // acknowledgements are lost
	f.cut[[2]int{2, 0}] = true
	var hs []Handle
	for i := range 12 {
		_, h := f.append(fmt.Sprintf("o%02d", i), " twice?", uint64(100+i))
		hs = append(hs, h)
	}
	f.grow(4)
	for _, h := range hs {
		f.wantReply(0, h, wirepb.Code_STALE_TERM)
	}
	f.mend(0, 1)
	f.mend(0, 2)
	f.hosts[0].reset(1)
	f.hosts[0].reset(2)
	f.govern(3 * time.Second)
	for i := range 12 {
		name := fmt.Sprintf("o%02d", i)
		f.mustAppend(name, " twice?", uint64(100+i))
		s.want[name] += " twice?"
	}
	s.check()
	f.wantSame(0, 1, 2)
}

// An OSD is away while the pool grows several times and is written to. It splits its old copy
// when it is back, all at once, and gets the rest by the logs of all the PGs.
func TestSplitsWhileAway(t *testing.T) { splitsWhileAway(t) }

func splitsWhileAway(t tester) {
	f := newFamily(t, 2, 3)
	s := stockOf(f, 24)
	f.crash(2, 0)
	f.down(2)
	f.govern(time.Second)
	for _, n := range []uint32{3, 4, 8} {
		f.grow(n)
		f.govern(2 * time.Second)
		s.more(" without osd.2")
	}
	f.restart(2)
	f.govern(3 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
	for shard := range f.pgNum() {
		if p := f.hosts[0].gs[shard].lead.peers[2]; p == nil || p.backfill != nil {
			t.Fatalf("PG %d was compared in full, though the log reaches back", shard)
		}
	}
}

// A process dies at every point of a split and begins anew; the pool has grown further by then, or not.
func TestSplitCrashes(t *testing.T) { splitCrashes(t) }

func splitCrashes(t tester) {
	for _, later := range []bool{false, true} {
		for _, who := range []int{0, 2} {
			for batches := range 12 {
				splitCrash(t, who, batches, later)
			}
		}
	}
}

func splitCrash(t tester, who, batches int, later bool) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 30)
	f.hosts[who].slowDisk = true
	f.grow(2)
	for range batches {
		f.hosts[who].st.Complete(1)
		f.settle()
	}
	f.crash(who, batches%2)
	f.down(who)
	f.govern(3 * time.Second)
	if later {
		f.grow(8)
		f.govern(2 * time.Second)
	}
	s.more(" meanwhile")
	f.restart(who)
	f.govern(5 * time.Second)
	s.check()
	f.wantSame((who+1)%3, 0, 1, 2)
}

// A member takes longer than anybody waits for. It is dropped, and comes back by the log.
func TestSlowSplit(t *testing.T) { slowSplit(t) }

func slowSplit(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 20)
	f.hosts[2].slowDisk = true
	f.grow(4)
	f.govern(3 * time.Second)
	for shard := range f.pgNum() {
		if f.recs[shard].Has(2) {
			t.Fatalf("PG %d still waits for osd.2", shard)
		}
	}
	s.more(" without it")
	s.check()
	f.hosts[2].slowDisk = false
	f.govern(4 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
	for shard := range f.pgNum() {
		if p := f.hosts[0].gs[shard].lead.peers[2]; p.backfill != nil {
			t.Fatalf("PG %d was compared in full, though the log reaches back", shard)
		}
	}
}

// While a member splits, both halves go on without it, and give the same positions to different writes.
// Had it taken one of them before it was done, it would be in the wrong half's log.
func TestSplitBeforeFollowing(t *testing.T) { splitBeforeFollowing(t) }

func splitBeforeFollowing(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 8)
	f.hosts[2].slowLists = true
	f.grow(2)
	f.govern(2 * time.Second)
	for shard := range uint32(2) {
		for i := range 8 {
			if name := fmt.Sprintf("o%02d", i); f.shardOf(name) == shard {
				s.add(name, " meanwhile")
				break
			}
		}
	}
	f.hosts[2].slowLists = false
	f.settle()
	f.govern(3 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
}

// The primary's own split takes long; its requests wait, and it does not lead by halves.
func TestSlowSplitOfPrimary(t *testing.T) { slowSplitOfPrimary(t) }

func slowSplitOfPrimary(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 20)
	f.hosts[0].slowLists = true
	f.grow(2)
	f.govern(500 * time.Millisecond)
	name := "o00"
	for i := 0; f.shardOf(name) != 0; i++ {
		name = fmt.Sprintf("o%02d", i)
	}
	_, h := f.append(name, " later", 500)
	f.govern(time.Second)
	if r, ok := f.hosts[0].replies[h]; ok {
		t.Fatalf("answered %+v in the middle of the split", r)
	}
	if g := f.hosts[0].gs[0]; !g.Splitting() || g.Stat(1, 1).State != "peering" || g.Stat(1, 1).Waiting == "" {
		t.Fatalf("state %+v", g.Stat(1, 1))
	}
	if st := f.hosts[0].gs[1].Stat(0, 0); st.State != "peering" || !strings.Contains(st.Waiting, "split off") {
		t.Fatalf("the child, which its parent has not split off: %+v", st)
	}
	f.hosts[0].slowLists = false
	f.settle()
	f.govern(time.Second)
	f.wantReply(0, h, wirepb.Code_OK)
	s.want[name] += " later"
	s.check()
	f.wantSame(0, 1, 2)
}

// The primary's disk hangs in the middle of a split. Nobody else could tell.
func TestSplitDiskHangs(t *testing.T) { splitDiskHangs(t) }

func splitDiskHangs(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 20)
	f.hosts[0].slowDisk = true
	f.grow(2)
	f.govern(8 * time.Second)
	if f.primary(0) == 0 || f.primary(1) == 0 {
		t.Fatalf("osd.0 keeps the PGs: %s; %s", f.query(0), f.query(1))
	}
	s.check()
	f.hosts[0].slowDisk = false
	f.govern(4 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
}

// A copy that a learner has not completed is split like any other, and completed in both halves.
func TestSplitIncompleteCopy(t *testing.T) { splitIncompleteCopy(t) }

func splitIncompleteCopy(t tester) {
	for _, tail := range []int{64, 4} { // by the log; by backfill
		f := newFamily(t, 1, 4, func(c *Config) { c.LogMax = tail })
		s := stockOf(f, 24)
		f.want = ids(0, 1, 3)
		f.hosts[0].slowReads = true
		f.publish()
		f.govern(300 * time.Millisecond)
		f.hosts[0].reads = f.hosts[0].reads[:0] // the pushes never go on
		if g := f.hosts[3].gs[0]; g.st.complete || !g.exists {
			t.Fatalf("osd.3 does not learn: %s", f.query(0))
		}
		f.crash(3, 0)
		f.grow(4)
		f.hosts[0].slowReads = false
		f.restart(3)
		s.more(" meanwhile")
		f.govern(8 * time.Second)
		s.check()
		f.wantSame(0, 1, 3)
		if got := f.objects(2); got != "" {
			t.Fatalf("osd.2, which is not wanted, keeps\n%s", got)
		}
	}
}

// Copies that were staged for an activation are of no use after a split, and do no harm.
func TestSplitWithStagedObjects(t *testing.T) { splitWithStagedObjects(t) }

func splitWithStagedObjects(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 12)
	f.cut[[2]int{0, 1}] = true
	for i := range 6 { // writes that osd.2 alone has
		f.append(fmt.Sprintf("o%02d", i), " lost", uint64(200+i))
	}
	delete(f.cut, [2]int{0, 1})
	f.crash(0, 0)
	f.hosts[1].slowReads = true
	f.down(0) // osd.1 leads, and stages the objects of osd.2's tail there
	for range 4 {
		h := f.hosts[1]
		if len(h.reads) > 0 {
			a := h.reads[0]
			h.reads = h.reads[1:]
			p, err := ReadPiece(h.st, store.Key{PG: pgid(a.shard), Name: a.read.Object}, a.read, PieceSize{Bytes: 4, Pairs: 100})
			h.step(a.shard, ReadEvent{Token: a.read.Token, Piece: p, Err: err})
			f.settle()
		}
	}
	if objs, _, _ := f.hosts[2].st.List(pgid(0), store.Staging, "", 10); len(objs) == 0 {
		t.Fatal("nothing is staged at osd.2")
	}
	f.hosts[1].reads, f.hosts[1].slowReads = nil, false
	f.grow(4)
	f.govern(4 * time.Second)
	s.check()
	f.restart(0)
	f.govern(4 * time.Second)
	s.check()
	f.wantSame(1, 0, 2)
	for shard := range f.pgNum() {
		if objs, _, _ := f.hosts[2].st.List(pgid(shard), store.Staging, "", 10); len(objs) != 0 {
			t.Fatalf("%v is left in the staging space of PG %d", objs, shard)
		}
	}
}

// A copy that is neither wanted nor erased yet is split too, and its halves are erased when their time comes.
func TestSplitStray(t *testing.T) { splitStray(t) }

func splitStray(t tester) {
	f := newFamily(t, 1, 4)
	s := stockOf(f, 16)
	f.crash(2, 0)
	f.down(2)
	f.want = ids(0, 1, 3)
	f.publish()
	f.govern(2 * time.Second)
	f.hosts[3].blind = true
	f.sever(3, 0) // osd.3 cannot be taught further: sets of two, so strays are kept
	f.sever(3, 1)
	f.govern(2 * time.Second)
	f.grow(4)
	f.govern(time.Second)
	f.restart(2)
	f.govern(time.Second)
	if got := f.objects(2); got == "" {
		t.Fatal("osd.2 erased a copy that may be needed")
	}
	f.hosts[3].blind = false
	f.mend(3, 0)
	f.mend(3, 1)
	f.publish()
	f.govern(4 * time.Second)
	s.check()
	f.wantSame(0, 1, 3)
	if pgs, err := f.hosts[2].st.PGs(); err != nil || len(pgs) != 0 {
		t.Fatalf("osd.2 still has %v, %v", pgs, err)
	}
}

// The copy is being erased when the PG splits, and the OSD dies before that is on disk: what it had is
// there again, unsplit.
func TestSplitOfErasedCopy(t *testing.T) { splitOfErasedCopy(t) }

func splitOfErasedCopy(t tester) {
	f := newFamily(t, 1, 4)
	s := stockOf(f, 16)
	f.hosts[2].slowDisk = true
	f.want = ids(0, 1, 3)
	f.publish()
	f.govern(2 * time.Second)
	if f.hosts[2].gs[0].Exists() {
		t.Fatalf("osd.2 is not wanted and keeps its copy: %s", f.query(0))
	}
	f.want = ids(0, 1, 2) // wanted again, as a learner of what is split meanwhile
	f.grow(2)
	f.pass(200 * time.Millisecond)
	s.more(" later")
	f.crash(2, 0)
	f.grow(4)
	f.restart(2)
	f.govern(5 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
}

// The OSD has a copy of the child already, from somewhere else. It counts, and not what the parent's
// old copy has for it.
func TestSplitMeetsChild(t *testing.T) { splitMeetsChild(t) }

func splitMeetsChild(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 16)
	f.crash(2, 0)
	f.down(2)
	f.grow(2)
	f.govern(2 * time.Second)
	s.more(" later")
	mine := ""
	for i := range 16 {
		if name := fmt.Sprintf("o%02d", i); f.shardOf(name) == 1 {
			mine = name
			break
		}
	}
	meta := store.Key{PG: pgid(1), Space: store.Meta, Name: metaName}
	state := state{pgNum: 2, scan: true}
	err := store.Apply(flushing{f.hosts[2].st}, &store.Batch{Ops: []store.Op{
		{Kind: store.OpSetAttr, Key: meta, Name: []byte(stateAttr), Value: state.encode()},
		{Kind: store.OpWrite, Key: store.Key{PG: pgid(1), Name: mine}, Data: []byte("the child's own")},
		{Kind: store.OpWrite, Key: store.Key{PG: pgid(1), Name: "stranger"}, Data: []byte("the child's own")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := f.hosts[2]
	f.sever(2, 0)
	f.sever(2, 1)
	f.restart(2)
	if got, err := h.st.Read(store.Key{PG: pgid(1), Name: mine}, 0, 100); err != nil || string(got) != "the child's own" {
		t.Fatalf("%s is %q, %v: the parent's old copy took its place", mine, got, err)
	}
	f.mend(2, 0)
	f.mend(2, 1)
	f.govern(4 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
}

// flushing is a store that carries out what it is given.
type flushing struct{ *store.Sim }

func (s flushing) Submit(b *store.Batch, done func(error)) {
	s.Sim.Submit(b, done)
	s.Flush()
}

// The primary hears of the new map last. Until then nothing is committed in the old PG, and
// nothing is read that somebody else may have changed.
func TestSplitPrimaryHearsLate(t *testing.T) { splitPrimaryHearsLate(t) }

func splitPrimaryHearsLate(t tester) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 12)
	f.hosts[0].blind = true
	f.grow(4)
	h := f.send(0, 0, true, &wirepb.OpRequest{Object: []byte("o00"), Req: &wirepb.ReqID{Client: 1, Seq: 900},
		Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_APPEND, DataLen: 1}}}, "!")
	f.pass(2 * time.Second)
	if r, ok := f.hosts[0].replies[h]; ok {
		t.Fatalf("a write in the old PG was answered %+v", r)
	}
	read := f.send(0, 0, false, &wirepb.OpRequest{Object: []byte("o01"), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}}}, "")
	f.pass(2 * time.Second)
	if r, ok := f.hosts[0].replies[read]; ok {
		t.Fatalf("a read in the old PG was answered %+v", r)
	}
	f.hosts[0].blind = false
	f.hosts[0].fetch()
	f.settle()
	f.govern(3 * time.Second)
	f.mustAppend("o00", "!", 900)
	s.want["o00"] += "!"
	s.check()
	f.wantSame(0, 1, 2)
}

// A client with an older map asks the old PG for what has left it: it must not be told "not found".
func TestMisdirected(t *testing.T) { misdirected(t) }

func misdirected(t tester) {
	f := newFamily(t, 1, 3)
	stockOf(f, 12)
	f.grow(2)
	f.govern(2 * time.Second)
	seen := 0
	for i := range 12 {
		name := fmt.Sprintf("o%02d", i)
		code := wirepb.Code_OK
		if f.shardOf(name) != 0 {
			code = wirepb.Code_STALE_MAP
			seen++
		}
		f.wantReply(0, f.send(0, 0, false, &wirepb.OpRequest{Object: []byte(name), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}}}, ""), code)
	}
	if seen == 0 || seen == 12 {
		t.Fatalf("%d of 12 objects moved", seen)
	}
	list := func(n uint32) Handle {
		f.next++
		f.hosts[0].step(0, OpEvent{Handle: f.next, List: &wirepb.PGList{Pool: 1, PgNum: n}})
		f.settle()
		return f.next
	}
	f.wantReply(0, list(1), wirepb.Code_STALE_MAP)
	if r := f.wantReply(0, list(2), wirepb.Code_OK); len(r.List.Objects) != 12-seen {
		t.Fatalf("PG 0 lists %d objects, want %d", len(r.List.Objects), 12-seen)
	}
}

// The pool is removed in the middle of a split: nothing stays behind.
func TestPoolRemovedWhileSplitting(t *testing.T) { poolRemovedWhileSplitting(t) }

func poolRemovedWhileSplitting(t tester) {
	for batches := range 8 {
		for _, dies := range []bool{false, true} {
			f := newFamily(t, 1, 3)
			stockOf(f, 12)
			f.hosts[2].slowDisk = true
			f.grow(3)
			for range batches {
				f.hosts[2].st.Complete(1)
				f.settle()
			}
			if dies {
				f.crash(2, 0)
			}
			f.gone = true
			f.publish()
			if dies {
				f.restart(2)
			}
			f.hosts[2].slowDisk = false
			f.settle()
			for _, h := range f.hosts {
				if pgs, err := h.st.PGs(); err != nil || len(pgs) != 0 {
					t.Fatalf("after %d batches: osd.%d keeps %v, %v", batches, h.id, pgs, err)
				}
			}
		}
	}
}

// A copy that was written before pools could grow counts as divided for the pool's first number of PGs.
func TestSplitOldFormat(t *testing.T) { splitOldFormat(t) }

func splitOldFormat(t tester) {
	f := newFamily(t, 2, 3)
	s := stockOf(f, 16)
	f.crash(2, 0)
	f.down(2)
	h := f.hosts[2]
	for shard := range f.pgNum() {
		meta := store.Key{PG: pgid(shard), Space: store.Meta, Name: metaName}
		b, err := h.st.Attr(meta, []byte(stateAttr))
		if err != nil {
			t.Fatal(err)
		}
		b = b[:stateBytes1]
		b[0] = 1
		if err := store.Apply(flushing{h.st}, &store.Batch{Ops: []store.Op{{Kind: store.OpSetAttr, Key: meta, Name: []byte(stateAttr), Value: b}}}); err != nil {
			t.Fatal(err)
		}
	}
	f.grow(8)
	f.govern(2 * time.Second)
	s.more(" new")
	f.restart(2)
	f.govern(3 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
}

// A listing that the split needs fails: it is tried again.
func TestSplitListingFails(t *testing.T) {
	f := newFamily(t, 1, 3)
	s := stockOf(f, 12)
	h := f.hosts[2]
	h.slowLists = true
	f.grow(2)
	for range 2 {
		lists := h.lists
		h.lists = nil
		for _, a := range lists {
			h.step(a.shard, ListedEvent{Token: a.list.Token, Err: store.ErrCorrupt})
		}
		f.govern(1200 * time.Millisecond)
	}
	h.slowLists = false
	f.settle()
	f.govern(4 * time.Second)
	s.check()
	f.wantSame(0, 1, 2)
}

// A member's disk has no room for a step of its split: the group starts over from what is on the disk,
// and goes on where it was when there is room.
func TestSplitWithoutSpace(t *testing.T) {
	for fine := range 8 {
		f := newFamily(t, 1, 3)
		s := stockOf(f, 20)
		h := f.hosts[2]
		left, refused := fine, 3
		h.st.SetHooks(nil, func(b *store.Batch) error {
			if left--; left >= 0 || refused == 0 {
				return nil
			}
			refused--
			return store.ErrNoSpace
		})
		f.grow(4)
		f.govern(4 * time.Second)
		s.more(" then")
		f.govern(2 * time.Second)
		s.check()
		f.wantSame(0, 1, 2)
		if h.reloads == 0 {
			t.Fatalf("after %d batches: nothing was refused", fine)
		}
	}
}

// mapOf is a map of pool 1 with so many PGs.
func mapOf(pgs uint32) *placement.Map {
	return &placement.Map{Pools: []placement.Pool{{ID: 1, PGNum: pgs}}}
}

func TestNursery(t *testing.T) {
	id := func(s uint32) placement.PGID { return placement.PGID{Pool: 1, Shard: s} }
	g := func(shard, pgNum, splitTo uint32) *Group {
		return &Group{id: id(shard), exists: true, st: state{pgNum: pgNum, splitTo: splitTo}}
	}
	var n Nursery
	n.Follow(mapOf(2), mapOf(4))
	if n.Empty() || !n.Holds(id(2)) || !n.Holds(id(3)) || n.Holds(id(1)) || len(n.Held(id(1))) != 1 || n.Held(id(1))[0] != id(3) {
		t.Fatalf("after growing: %v", n.parents)
	}
	n.Follow(mapOf(4), mapOf(8)) // 6 and 7 wait for 2 and 3, which are not there themselves
	if n.parents[id(6)] != id(2) || len(n.Held(id(2))) != 0 {
		t.Fatalf("after growing again: %v", n.parents)
	}
	n.Release(id(2))
	if n.Holds(id(2)) || len(n.Held(id(2))) != 1 {
		t.Fatalf("after a release: %v", n.parents)
	}
	n.Follow(mapOf(8), &placement.Map{})
	if !n.Empty() {
		t.Fatalf("after the pool was removed: %v", n.parents)
	}

	n = Nursery{}
	n.Resume(g(1, 2, 0), 2, 8)
	if len(n.Held(id(1))) != 3 { // 3, 5, 7 at once
		t.Fatalf("a copy of 2 PGs in a pool of 8: %v", n.parents)
	}
	n = Nursery{}
	n.Resume(g(1, 2, 4), 2, 8)
	if len(n.Held(id(1))) != 2 || n.parents[id(7)] != id(3) { // 3 first; 5 by the next split; 7 from 3
		t.Fatalf("a copy on its way from 2 to 4 in a pool of 8: %v", n.parents)
	}
	n = Nursery{}
	n.Resume(g(1, 0, 0), 2, 4)
	n.Resume(&Group{id: id(0), st: state{pgNum: 2}}, 2, 4)
	if len(n.parents) != 1 || !n.Holds(id(3)) {
		t.Fatalf("an old copy, and one that is gone: %v", n.parents)
	}
}

func TestStateFormat1(t *testing.T) {
	want := state{tail: at(1, 2), committed: at(3, 4), complete: true, horizon: 5}
	b := want.encode()[:stateBytes1]
	b[0] = 1
	if got, err := decodeState(b); err != nil || got != want {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	b = want.encode()
	binary.LittleEndian.PutUint32(b[46:], 8)
	binary.LittleEndian.PutUint32(b[50:], 4)
	if _, err := decodeState(b); err == nil {
		t.Fatal("a split to fewer PGs was taken")
	}
}
