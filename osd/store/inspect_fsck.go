package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/placement"
)

// FsckOptions configures Fsck. The zero value checks all but the data's checksums, and changes nothing.
type FsckOptions struct {
	Deep   bool // read all data and verify its checksums
	Repair bool // repair what local data allows
	// Distrust says which attributes of an object make the others of a PG compare all of its objects
	// before our copy counts again. An object whose entry is dropped would otherwise be "not found" here
	// while others have it. A nil value removes the attribute. Required with Repair.
	Distrust func(r Reader, pg placement.PGID) (k Key, attrs []KV)
	// More looks at what the store does not know of itself, and says what it found. It is called
	// once, when the store itself has been gone through.
	More func(in *Inspector, found func(Finding)) error
	// Progress is called now and then.
	Progress func(FsckProgress)
	// MaxFindings are listed, further ones counted; default 10,000.
	MaxFindings int

	Inspect InspectOptions

	window int // objects looked at together; default 512 Ki, 24 MiB
}

// FsckProgress is how far a check is.
type FsckProgress struct {
	Step  string // "objects", "blocks", "keys", "data"
	Done  int64  // index entries, or bytes of data
	Total int64  // 0: not known
}

// FsckReport is what Fsck found.
type FsckReport struct {
	Findings   []Finding    `json:"findings"`
	Unlisted   int64        `json:"unlisted"` // findings beyond the limit
	Objects    int64        `json:"objects"`
	Keys       int64        `json:"keys"` // attributes and omap
	Blocks     int64        `json:"blocks"`
	Bytes      int64        `json:"bytes_verified"`
	Journal    JournalState `json:"journal"`
	Changed    bool         `json:"changed"`              // the store was changed
	Refused    string       `json:"refused,omitempty"`    // why nothing was repaired
	Distrusted []string     `json:"distrusted,omitempty"` // PGs whose copy here the others must compare
}

// Damage counts the findings that are damage, and those of them that were repaired.
func (r *FsckReport) Damage() (all, repaired int64) {
	all = r.Unlisted
	for i := range r.Findings {
		if r.Findings[i].Damage() {
			all++
			if r.Findings[i].Repaired != "" {
				repaired++
			}
		}
	}
	return all, repaired
}

// Fsck checks the store in dir, which no OSD may have open: the superblock's copies, the
// journal, every entry of the index, that every block belongs to one object and lies
// within the data file, and with Deep all checksums. Its memory does not grow with the
// number of objects, but for one bit for each block of the data file.
//
// It first only looks. With Repair, and if there is something that it can repair and
// nothing that makes repairing unsafe, it then opens the store for writing. All
// repairs go through the journal, so that a crash leaves them done or undone.
func Fsck(ctx context.Context, dir string, o FsckOptions) (FsckReport, error) {
	if o.MaxFindings <= 0 {
		o.MaxFindings = 10000
	}
	if o.window <= 0 {
		o.window = 1 << 19
	}
	c, err := fsckOnce(ctx, dir, o, false)
	if err != nil || !o.Repair {
		return c.report(), err
	}
	rep := c.report()
	repairable := false
	for i := range rep.Findings {
		switch rep.Findings[i].Cure {
		case CureReplace:
			rep.Refused = "nothing was repaired: acknowledged writes may be missing from what can be read (" + string(rep.Findings[i].Kind) +
				"), and a repair would make the rest seem whole"
			return rep, nil
		case CureRepair:
			repairable = true
		}
	}
	if !repairable {
		return rep, nil
	}
	if o.Distrust == nil {
		return rep, invalid("repair without a way to say that a PG's copy is not to be trusted")
	}
	deep := o.Deep
	o.Deep = false
	c, err = fsckOnce(ctx, dir, o, true)
	fixed := c.report()
	fixed.Changed = true
	if deep { // what only reading the data shows was found by looking
		fixed.Bytes = rep.Bytes
		for _, f := range rep.Findings {
			if f.Kind == FoundBlock && !slices.Contains(fixed.Findings, f) {
				fixed.Findings = append(fixed.Findings, f)
			}
		}
	}
	return fixed, err
}

// fsckOnce opens the store and goes through it once.
func fsckOnce(ctx context.Context, dir string, o FsckOptions, repair bool) (*fsck, error) {
	o.Inspect.repair, o.Inspect.FilesOnly = repair, false
	in, err := Inspect(dir, o.Inspect)
	if err != nil {
		return &fsck{}, err
	}
	d := in.d
	c := &fsck{d: d, o: o, ctx: ctx, byNumber: map[uint64][]int{}, doomed: map[spaceKey][]uint32{}, badGen: map[spaceKey]*genGuess{},
		left: map[leftSpace]int64{}, doubles: map[uint64]*double{}, twice: map[uint64]bool{}}
	c.users.get = d.getShares
	c.rep.Journal = in.journal
	c.rep.Findings = slices.Clone(in.found)
	size, err := d.files.dataBytes()
	if err == nil {
		c.inFile = uint64(size / blockBytes)
		c.claims = &blockSet{limit: max(c.inFile, d.maxBlocks())}
		c.claims.add(0)
		if repair {
			c.fix = &fixer{d: d}
			err = c.fix.begin(in, c.rep.Findings)
		}
	}
	if err == nil {
		err = c.run()
	}
	if err == nil && c.fix != nil {
		err = c.fix.end()
	}
	if err == nil && o.More != nil {
		in.counted = false
		err = o.More(in, func(f Finding) { c.found(f) })
	}
	if cerr := in.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		err = fmt.Errorf("check store %s: %w", dir, corrupt(err))
	}
	return c, err
}

// fsck is one way through a store.
type fsck struct {
	d   *Disk
	o   FsckOptions
	ctx context.Context
	fix *fixer // nil: only look
	rep FsckReport

	byNumber map[uint64][]int // findings of objects whose names are not known yet
	doomed   map[spaceKey][]uint32
	badGen   map[spaceKey]*genGuess
	left     map[leftSpace]int64
	gap      bool            // a part of the index cannot be read
	twice    map[uint64]bool // numbers that two objects have
	objs     []objRec        // of the window, sorted
	claims   *blockSet
	inFile   uint64 // blocks of the data file
	doubles  map[uint64]*double
	users    shareCount // of blocks with more than one
	spoil    []spoiled  // blocks to be made unreadable
	steps    int64
}

type leftSpace struct {
	space spaceKey
	gen   uint32
}

// genGuess collects which generation a space whose record is damaged may have.
type genGuess struct {
	finding int
	key     []byte
	seen    map[uint32]bool
}

// double is a block that more than one object claims.
type double struct {
	match int // claims whose checksum the block has
}

// spoiled names the blocks of a segment that must be made unreadable.
type spoiled struct {
	oid    uint64
	idx    uint32
	blocks uint64 // bit i: block i of the segment
	whole  bool   // the segment does not decode
}

func (c *fsck) report() FsckReport { return c.rep }

// found notes a finding; it returns its place, or -1 when there are too many.
func (c *fsck) found(f Finding) int {
	if f.Cure == "" {
		f.Cure = cures[f.Kind]
	}
	if f.Object == "" && f.Key.Name != "" {
		f.Object = FullName(f.Key)
	}
	if len(c.rep.Findings) >= c.o.MaxFindings {
		if f.Damage() {
			c.rep.Unlisted++
		}
		return -1
	}
	c.rep.Findings = append(c.rep.Findings, f)
	return len(c.rep.Findings) - 1
}

// foundOf notes a finding of the object with a number; its name is looked up at the end.
func (c *fsck) foundOf(oid uint64, kind FindingKind, repaired string, format string, args ...any) {
	if i := c.found(Finding{Kind: kind, Text: fmt.Sprintf(format, args...), Repaired: c.did(repaired)}); i >= 0 {
		c.byNumber[oid] = append(c.byNumber[oid], i)
	}
}

// did is what was done about a finding: nothing unless this is a repair.
func (c *fsck) did(what string) string {
	if c.fix == nil {
		return ""
	}
	return what
}

func (c *fsck) step(name string, done, total int64) error {
	if c.steps++; c.steps%4096 == 0 {
		if c.o.Progress != nil && c.steps%(16*4096) == 0 {
			c.o.Progress(FsckProgress{name, done, total})
		}
		return c.ctx.Err()
	}
	return nil
}

func (c *fsck) run() error {
	if err := c.kinds(); err != nil {
		return err
	}
	if err := c.generations(); err != nil {
		return err
	}
	for pass, lo := 0, uint64(0); ; pass++ {
		next, more, err := c.heads(lo, pass == 0)
		if err != nil {
			return err
		}
		for _, f := range []func(lo, hi uint64, last bool) error{c.inlines, c.segments, c.attrs, c.omap} {
			if err := f(lo, next, !more); err != nil {
				return err
			}
		}
		if !more {
			break
		}
		lo = next
	}
	if err := c.endSpaces(); err != nil {
		return err
	}
	if err := c.endDoubles(); err != nil {
		return err
	}
	if err := c.endShares(); err != nil {
		return err
	}
	if err := c.spoilAll(); err != nil {
		return err
	}
	if c.o.Deep {
		if err := c.data(); err != nil {
			return err
		}
	}
	return c.names()
}

// walk calls f for the entries from lo to hi. What Pebble cannot read it passes over,
// notes it, and goes on behind it.
func (c *fsck) walk(lo, hi []byte, f func(k, v []byte) error) error {
	last := cloneBytes(lo)
	for {
		it, err := c.d.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			v, verr := it.ValueAndErr()
			if verr != nil {
				break
			}
			last = append(append(last[:0], it.Key()...), 0)
			if err := f(it.Key(), v); err != nil {
				it.Close()
				return err
			}
		}
		err = it.Error()
		if cerr := it.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			return nil
		}
		if !pebble.IsCorruptionError(err) {
			return err
		}
		next := c.readableFrom(last, hi)
		c.gap = true
		to := "the end of its kind"
		if next != nil {
			to = fmt.Sprintf("%x", next)
		}
		c.found(Finding{Kind: FoundIndexGap, Text: fmt.Sprintf("index %s: the entries from %x to %s cannot be read: %v", c.d.path(indexName), last, to, err)})
		if next == nil {
			return nil
		}
		lo, last = next, cloneBytes(next)
	}
}

// readableFrom finds the first entry behind damage, about, or nil: steps of growing
// width over the number in the key, or the beginning of the name, then halving.
func (c *fsck) readableFrom(from, hi []byte) []byte {
	at := 1 // of the number
	if from[0] == keyHead {
		at = 14
	}
	key := make([]byte, at+8)
	copy(key, from)
	base := be64(key[at:])
	try := func(add uint64) (k []byte, ok bool) {
		k = cloneBytes(key)
		if base+add < base {
			return nil, false
		}
		for i := range 8 {
			k[at+i] = byte((base + add) >> (56 - 8*i))
		}
		if slices.Compare(k, hi) >= 0 {
			return nil, false
		}
		it, err := c.d.db.NewIter(&pebble.IterOptions{LowerBound: k, UpperBound: hi})
		if err != nil {
			return nil, false
		}
		ok = it.First()
		if ok {
			_, err = it.ValueAndErr()
			ok = err == nil
		}
		return k, it.Close() == nil && ok
	}
	bad, good := uint64(0), uint64(0)
	for add := uint64(1); add != 0; add <<= 1 {
		if _, ok := try(add); ok {
			good = add
			break
		}
		bad = add
	}
	if good == 0 {
		return nil
	}
	for good-bad > 1 {
		if mid := bad + (good-bad)/2; func() bool { _, ok := try(mid); return ok }() {
			good = mid
		} else {
			bad = mid
		}
	}
	k, _ := try(good)
	return k
}

// kinds looks for entries of no known kind.
func (c *fsck) kinds() error {
	known := []byte{keyAttr, keyDoomed, keyGen, keyHead, keyInline, keyMeta, keyOmap, keyShare, keySeg} // sorted
	odd := func(k, _ []byte) error {
		if len(k) > 0 && k[0] == keyMeta && (string(k) == string(metaStoreKey) || string(k) == string(metaFlushKey)) {
			return nil
		}
		c.found(Finding{Kind: FoundKey, Text: fmt.Sprintf("index: entry %x is of no known kind", k), Repaired: c.did("dropped")})
		if c.fix != nil {
			return c.fix.delete(k)
		}
		return nil
	}
	from := []byte{0}
	for _, k := range append(known, 0xff) {
		if k == keyMeta {
			if err := c.walk([]byte{k}, []byte{k + 1}, odd); err != nil {
				return err
			}
		}
		if len(from) > 0 && from[0] < k {
			if err := c.walk(from, []byte{k}, odd); err != nil {
				return err
			}
		}
		from = []byte{k + 1}
	}
	return nil
}

// generations checks which generation every space has, and which are being purged.
func (c *fsck) generations() error {
	return c.walk([]byte{keyDoomed}, []byte{keyGen + 1}, func(k, v []byte) error {
		s, rest, ok := parseSpace(k[1:])
		switch {
		case k[0] != keyDoomed && k[0] != keyGen:
			return nil // kinds has seen it
		case ok && k[0] == keyDoomed && len(rest) == 4 && s.sp <= lastSpace:
			c.doomed[s] = append(c.doomed[s], be32(rest))
			return nil
		case ok && k[0] == keyGen && len(rest) == 0 && s.sp <= lastSpace:
			if len(v) != 4 {
				i := c.found(Finding{Kind: FoundGeneration, Text: fmt.Sprintf("index: the generation of space %s of PG %s cannot be read", SpaceName(s.sp), s.pg)})
				c.badGen[s] = &genGuess{finding: i, key: cloneBytes(k), seen: map[uint32]bool{}}
			}
			return nil
		}
		c.found(Finding{Kind: FoundKey, Text: fmt.Sprintf("index: entry %x cannot be read", k), Repaired: c.did("dropped")})
		if c.fix != nil {
			return c.fix.delete(k)
		}
		return nil
	})
}

// heads reads the objects' entries and keeps those whose numbers are in the window that
// begins at lo. It returns where the window ends, exclusive, and whether objects follow.
func (c *fsck) heads(lo uint64, first bool) (end uint64, more bool, err error) {
	if c.objs == nil && lo == 0 {
		c.objs = make([]objRec, 0, 2*c.o.window) // memory that is not touched costs nothing
	}
	c.objs = c.objs[:0]
	bound := ^uint64(0) // the window's last number, as far as we know
	cut := func() {
		slices.SortFunc(c.objs, func(a, b objRec) int { return compareUint(a.oid, b.oid) })
		n := min(c.o.window, len(c.objs))
		for n > 0 && n < len(c.objs) && c.objs[n].oid == c.objs[n-1].oid {
			n++ // two with one number stay together
		}
		if n < len(c.objs) {
			bound, more = c.objs[n-1].oid, true
			c.objs = c.objs[:n]
		}
	}
	n := int64(0)
	err = c.walk([]byte{keyHead}, []byte{keyHead + 1}, func(k, v []byte) error {
		n++
		if err := c.step("objects", n, 0); err != nil {
			return err
		}
		s, gen, name, ok := parseHeadKey(k)
		h, derr := decodeHead(v)
		key := Key{s.pg, s.sp, string(name)}
		if !ok || derr != nil || checkKey(&key) != nil {
			if first {
				return c.badHead(k, key, ok, gen)
			}
			return nil
		}
		if first {
			c.seenHead(s, gen)
		}
		if h.oid < lo {
			return nil
		}
		if h.oid > bound {
			more = true
			return nil
		}
		r := objRec{oid: h.oid, size: uint32(h.size), omapMax: uint32(min(h.omapMax, 1<<32-1))}
		if h.hasAttrs {
			r.flags |= recAttrs
		}
		if h.hasOmap {
			r.flags |= recOmap
		}
		if h.inline {
			r.flags |= recInline
		}
		if c.objs = append(c.objs, r); len(c.objs) >= 2*c.o.window {
			cut()
		}
		return nil
	})
	cut()
	for i := 1; i < len(c.objs); i++ {
		if a, b := &c.objs[i-1], &c.objs[i]; a.oid == b.oid {
			if a.flags&recTwice == 0 {
				c.twice[a.oid] = true
			}
			a.flags |= recTwice
			b.flags |= recTwice
		}
	}
	if !more {
		return ^uint64(0), false, err
	}
	return bound + 1, true, err
}

func compareUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// badHead deals with an object's entry that cannot be read. Dropping it alone would make
// the object "not found" here while others have it, so first the PG's copy stops
// counting as complete.
func (c *fsck) badHead(k []byte, key Key, named bool, gen uint32) error {
	f := Finding{Kind: FoundHead, Text: fmt.Sprintf("index: entry %x of an object cannot be read", k), Repaired: c.did("dropped; the PG's copy is to be compared with the others")}
	if named {
		if key.Space == Shards {
			f.Repaired = c.did("dropped; the cluster makes the shard anew from the others of its chunk")
		}
		f.Key = key
		f.Text = fmt.Sprintf("object %s: its index entry cannot be read", FullName(key))
	}
	c.found(f)
	if c.fix == nil {
		return nil
	}
	if named && key.Space == Objects && gen == c.d.gens[key.space()] {
		if err := c.distrust(key.PG); err != nil {
			return err
		}
	}
	return c.fix.delete(k)
}

// distrust makes the others compare all objects of a PG before our copy counts again.
func (c *fsck) distrust(pg placement.PGID) error {
	if slices.Contains(c.rep.Distrusted, pg.String()) {
		return nil
	}
	c.rep.Distrusted = append(c.rep.Distrusted, pg.String())
	k, attrs := c.o.Distrust(c.d, pg)
	if len(attrs) == 0 {
		return nil
	}
	h, found, err := c.d.getHead(appendHeadKey(nil, &k, c.d.gens[k.space()]))
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if !found || !h.hasAttrs {
		return nil // then there is no state, and the PG does not exist here
	}
	for _, a := range attrs {
		key := appendKV(nil, keyAttr, h.oid, a.Key)
		if a.Value == nil {
			err = c.fix.delete(key)
		} else {
			err = c.fix.set(key, a.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// seenHead counts a readable object and checks its generation.
func (c *fsck) seenHead(s spaceKey, gen uint32) {
	if g := c.badGen[s]; g != nil {
		g.seen[gen] = true
		return
	}
	switch {
	case gen == c.d.gens[s]:
		c.rep.Objects++
	case slices.Contains(c.doomed[s], gen):
	default:
		c.left[leftSpace{s, gen}]++
	}
}

// endSpaces deals with generations that are damaged or that nobody knows.
func (c *fsck) endSpaces() error {
	for _, l := range sortedLeft(c.left) {
		c.found(Finding{Kind: FoundLeftSpace, Text: fmt.Sprintf("space %s of PG %s: %d objects of generation %d, which is neither current (%d) nor being removed",
			SpaceName(l.space.sp), l.space.pg, c.left[l], l.gen, c.d.gens[l.space]), Repaired: c.did("will be removed when the store is opened")})
		if c.fix != nil {
			if err := c.fix.set(appendDoomedKey(nil, l.space, l.gen), nil); err != nil {
				return err
			}
		}
	}
	for s, g := range c.badGen {
		var is []uint32
		top := uint32(0)
		for gen := range g.seen {
			if !slices.Contains(c.doomed[s], gen) {
				is = append(is, gen)
			}
		}
		for _, gen := range c.doomed[s] {
			top = max(top, gen+1)
		}
		if len(is) == 0 {
			is = []uint32{top}
		}
		if len(is) > 1 || c.gap {
			if g.finding >= 0 {
				c.rep.Findings[g.finding].Cure = CureReplace
			}
			continue
		}
		if c.fix != nil {
			if g.finding >= 0 {
				c.rep.Findings[g.finding].Repaired = fmt.Sprintf("set to %d, the only one that its objects allow", is[0])
			}
			if err := c.fix.set(g.key, []byte{byte(is[0] >> 24), byte(is[0] >> 16), byte(is[0] >> 8), byte(is[0])}); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedLeft(m map[leftSpace]int64) []leftSpace {
	var out []leftSpace
	for l := range m {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b leftSpace) int {
		return slices.Compare(appendHeadPrefix(nil, a.space, a.gen), appendHeadPrefix(nil, b.space, b.gen))
	})
	return out
}

// names looks up whose findings those are that know a number only, and deals with
// objects that share one.
func (c *fsck) names() error {
	for oid := range c.twice {
		c.byNumber[oid] = append(c.byNumber[oid], -1)
	}
	if len(c.byNumber) == 0 {
		return nil
	}
	seen := map[uint64]Key{}
	return c.walk([]byte{keyHead}, []byte{keyHead + 1}, func(k, v []byte) error {
		s, gen, name, ok := parseHeadKey(k)
		h, err := decodeHead(v)
		if !ok || err != nil {
			return nil
		}
		which, wanted := c.byNumber[h.oid]
		if !wanted {
			return nil
		}
		key := Key{s.pg, s.sp, string(name)}
		for _, i := range which {
			if i >= 0 && c.rep.Findings[i].Object == "" {
				f := &c.rep.Findings[i]
				f.Key, f.Object = key, FullName(key)
				f.Text = "object " + f.Object + ": " + f.Text
			}
		}
		if !c.twice[h.oid] {
			return nil
		}
		other, second := seen[h.oid]
		seen[h.oid] = key
		if second {
			c.found(Finding{Kind: FoundNumber, Key: key, Text: fmt.Sprintf("objects %s and %s have the same number %d: nobody can tell whose data and keys those are",
				FullName(other), FullName(key), h.oid), Repaired: c.did("both dropped; the PGs' copies are to be compared with the others")})
		}
		if c.fix == nil {
			return nil
		}
		if s.sp == Objects && gen == c.d.gens[s] {
			if err := c.distrust(s.pg); err != nil {
				return err
			}
		}
		return c.fix.delete(k)
	})
}
