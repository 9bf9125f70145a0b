package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

func cloneOp(from, to string) Op { return Op{Kind: OpClone, Key: testKey(from), To: testKey(to)} }

// A clone costs as much as its layout, not as its bytes, and no block is written or freed before its last user is gone.
func TestCloneSharesBlocks(t *testing.T) {
	d, l := newFault(t)
	const size = 2 << 20
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), size)))
	before, pos := d.Usage().Data, d.applied.pos
	for i := range 5 {
		apply(t, d, cloneOp("a", fmt.Sprint(i)))
	}
	if n := d.Usage().Data - before; n != 0 {
		t.Errorf("clones took %d bytes of data", n)
	}
	if n := d.applied.pos - pos; n > 5*16<<10 {
		t.Errorf("five clones took %d bytes of the journal", n)
	}
	sound(t, d)
	d = openFault(t, l.restart()) // from the journal
	sound(t, d)
	apply(t, d, writeOp("a", 4096, bytes.Repeat([]byte("b"), 8192)))
	apply(t, d, writeOp("0", 100, []byte("x")))
	if n := d.Usage().Data - before; n != 3*blockBytes {
		t.Errorf("changes of 3 shared blocks took %d bytes", n)
	}
	for i := 1; i < 5; i++ {
		wantRead(t, d, fmt.Sprint(i), 'a', size)
	}
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")}, Op{Kind: OpRemove, Key: testKey("0")}, Op{Kind: OpRemove, Key: testKey("1")})
	d.keeper.await(d)
	if n := d.Usage().Data; n != before {
		t.Errorf("after removing three of six: %d bytes of data, want %d", n, before)
	}
	sound(t, d)
	wantRead(t, d, "2", 'a', size)
	apply(t, d, Op{Kind: OpRemove, Key: testKey("2")}, Op{Kind: OpRemove, Key: testKey("3")})
	// The last one writes in place again.
	apply(t, d, writeOp("4", 4096, bytes.Repeat([]byte("a"), 4096)))
	if n := d.Usage().Data; n != before {
		t.Errorf("a change of what nobody else uses took %d bytes", n-before)
	}
	rows := 0
	if _, _, err := d.eachKey([]byte{keyShare}, []byte{keyShare + 1}, -1, func([]byte) { rows++ }); err != nil || rows > 0 {
		t.Errorf("%d counts of users left, %v", rows, err)
	}
	apply(t, d, Op{Kind: OpRemove, Key: testKey("4")})
	sound(t, d)
}

// Damage is shared by clones when it is on the medium; a partial write makes its own copy no better.
func TestCloneOfDamage(t *testing.T) {
	d, l := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 8192)), writeOp("s", 0, bytes.Repeat([]byte("s"), 100)))
	d.keeper.await(d)
	seg, err := d.getSegment(appendSegKey(nil, d.planner.cache[testKey("a")].oid, 0))
	if err != nil {
		t.Fatal(err)
	}
	l.flip(dataName, int64(seg.phys[0]*blockBytes+7))
	if err := d.db.Set(appendInlineKey(nil, d.planner.cache[testKey("s")].oid), []byte("damaged"), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	apply(t, d, cloneOp("a", "b"), cloneOp("s", "r"))
	apply(t, d, writeOp("b", 0, []byte("x")), writeOp("r", 0, []byte("x")))
	for _, n := range []string{"a", "b", "r", "s"} {
		if _, err := d.Read(testKey(n), 0, 10); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read of %s: %v, want ErrCorrupt", n, err)
		}
	}
	apply(t, d, writeOp("b", 0, bytes.Repeat([]byte("b"), 8192)), writeOp("r", 0, bytes.Repeat([]byte("r"), 100)))
	wantRead(t, d, "b", 'b', 8192)
	wantRead(t, d, "r", 'r', 100)
	if _, err := d.Read(testKey("a"), 0, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("read of a after b was written: %v, want ErrCorrupt", err)
	}
}

// A clone that cannot be counted, as who shares its blocks cannot be read, is refused: its blocks would
// be written and freed under it. The next one is counted when the reading works again.
func TestCloneThatCannotBeCounted(t *testing.T) {
	d, _ := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 100<<10)), cloneOp("a", "b"))
	row := d.planner.cache[testKey("a")].segs[0].phys[0] / shareBlocks
	d.planner.shares[row] = &shares{unread: syscall.EIO}
	d.planner.sharesUnread = true
	if err := Apply(d, &Batch{Ops: []Op{cloneOp("a", "c")}}); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "who shares block") {
		t.Errorf("clone: %v, want EIO and what could not be read", err)
	}
	if _, err := d.Stat(testKey("c")); !errors.Is(err, ErrNotFound) {
		t.Errorf("the refused clone: %v", err)
	}
	apply(t, d, cloneOp("a", "c"))
	sound(t, d)
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")}, Op{Kind: OpRemove, Key: testKey("b")}, writeOp("d", 0, bytes.Repeat([]byte("d"), 100<<10)))
	wantRead(t, d, "c", 'a', 100<<10)
	sound(t, d)
}

// Without its count nobody may free or write a block; the check says so and the repair counts anew.
func TestCloneCountsAreVerified(t *testing.T) {
	made := func(change func(s *shares) []byte) (*Disk, *faultLayer) {
		d, l := newFault(t)
		apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 100<<10)), cloneOp("a", "b"))
		phys := d.planner.cache[testKey("a")].segs[0].phys[0]
		s, err := d.getShares(phys / shareBlocks)
		if err != nil || s == nil {
			t.Fatal(s, err)
		}
		if v := change(s); v != nil {
			err = d.db.Set(appendShareKey(nil, phys/shareBlocks), v, pebble.NoSync)
		} else {
			err = d.db.Delete(appendShareKey(nil, phys/shareBlocks), pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
		clear(d.planner.shares)
		return d, l
	}
	for name, c := range map[string]struct {
		change func(s *shares) []byte
		want   string
		opens  bool
	}{
		"high": {func(s *shares) []byte {
			for i := range s.extra {
				s.extra[i] += 2
			}
			return s.append(nil)
		}, "users more", true},
		"low":        {func(s *shares) []byte { return nil }, "two objects", false},
		"unreadable": {func(s *shares) []byte { return []byte{9, 9} }, "cannot be read", true},
	} {
		d, l := made(c.change)
		all := ""
		if _, err := d.Check(t.Context(), func(p Problem) { all += p.String() + "\n" }); err != nil || !strings.Contains(all, c.want) {
			t.Errorf("%s: check found %s, %v; want %q", name, all, err, c.want)
		}
		if name == "unreadable" { // what cannot be known is not used again
			apply(t, d, Op{Kind: OpRemove, Key: testKey("b")}, writeOp("a", 0, []byte("x")), writeOp("c", 0, make([]byte, 100<<10)))
			if b, err := d.Read(testKey("a"), 4096, 96<<10); err != nil || !bytes.Equal(b, bytes.Repeat([]byte("a"), 96<<10)) {
				t.Errorf("the other user's data: %v", err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(crashDir, faultOptions(l)); (err == nil) != c.opens {
			t.Errorf("%s: open: %v", name, err)
		} else if err == nil {
			d.Close()
		}
		for i := range 2 {
			rep := fsckFault(t, l, FsckOptions{Repair: i == 0})
			if (len(rep.Findings) == 0) != (i == 1) {
				t.Errorf("%s: fsck %d found %v", name, i, rep.Findings)
			}
		}
		d = openFault(t, l)
		sound(t, d)
		if name != "unreadable" {
			wantRead(t, d, "a", 'a', 100<<10)
			wantRead(t, d, "b", 'a', 100<<10)
		}
		d.Close()
	}
}
