package sim

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// chunkScan is what disks say of chunks, at one moment, without asking anybody: the index and the objects by those who lead
// and serve their PGs, shards by all disks that are not lost.
type chunkScan struct {
	pl      *plane
	partial bool // some PG is not served just now
	served  map[placement.PGID]bool
	entries map[chunk.Fingerprint]*chunkEntry
	order   []chunk.Fingerprint // of entries
	refs    []objectRef
	records map[placement.RecordKind]int
	shards  []heldShard
	at      map[store.Key]map[placement.OSDID]*heldShard
}

type chunkEntry struct {
	layout    chunk.Layout
	condemned bool
	lost      bool
	refs      []chunk.BackRef
}

type objectRef struct {
	object string
	chunk.Ref
}

// heldShard is a shard on a disk.
type heldShard struct {
	chunk.Shard
	at   placement.OSDID
	data []byte // nil: it is rotten
}

func (pl *plane) scan() *chunkScan {
	s := &chunkScan{
		pl: pl, served: map[placement.PGID]bool{}, entries: map[chunk.Fingerprint]*chunkEntry{}, records: map[placement.RecordKind]int{},
		at: map[store.Key]map[placement.OSDID]*heldShard{},
	}
	w, pool := pl.w, pl.pool()
	for id, rec := range w.records() {
		if id.Pool != pool {
			continue
		}
		if rec.Primary == placement.NoOSD {
			s.partial = true
			continue
		}
		n := w.osds[rec.Primary]
		g := n.group(id)
		if g == nil {
			s.partial = true
			continue
		}
		if _, ok := g.Serving(); !ok {
			s.partial = true
			continue
		}
		s.served[id] = true
		s.readPG(n, id)
	}
	for _, n := range w.osds {
		if !n.gone {
			s.readShards(n)
		}
	}
	return s
}

// readPG takes in what a disk has of a PG.
func (s *chunkScan) readPG(n *osd, id placement.PGID) {
	w, st := s.pl.w, n.disk.st
	st.SetHooks(nil, nil) // what the disk has, not what it can read just now
	defer n.hook()
	bad := func(err error) { w.failf("%s: PG %s: %v", n.id, id, err) }
	objs, _, err := st.List(id, store.Objects, "", 10000)
	if err != nil {
		bad(err)
		return
	}
	for _, o := range objs {
		k := store.Key{PG: id, Name: o.Name}
		if kind, ok := placement.RecordOf(o.Name); ok {
			s.records[kind]++
			if fp, ok := chunk.FingerprintOf(o.Name); ok {
				e, err := readEntry(st, k)
				if err != nil {
					bad(fmt.Errorf("entry of chunk %s: %w", fp, err))
					return
				}
				s.entries[fp] = e
				s.order = append(s.order, fp)
			}
			continue
		}
		kvs, _, err := st.OmapList(k, []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd), 10000)
		if err != nil {
			bad(err)
			return
		}
		for _, kv := range kvs {
			r, err := chunk.DecodeRef(kv.Value)
			if err != nil {
				bad(fmt.Errorf("object %s: %w", o.Name, err))
				return
			}
			s.refs = append(s.refs, objectRef{o.Name, r})
		}
	}
}

func readEntry(st *store.Sim, k store.Key) (*chunkEntry, error) {
	raw, err := st.Attr(k, []byte(chunk.LayoutAttr))
	if err != nil {
		return nil, err
	}
	e := &chunkEntry{}
	if e.layout, err = chunk.DecodeLayout(raw); err != nil {
		return nil, err
	}
	for name, is := range map[string]*bool{chunk.CondemnedAttr: &e.condemned, chunk.LostAttr: &e.lost} {
		_, err := st.Attr(k, []byte(name))
		if *is = err == nil; !*is && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	kvs, _, err := st.OmapList(k, nil, nil, 10000)
	for _, kv := range kvs {
		b, err := chunk.ParseBackRef(string(kv.Key), kv.Value)
		if err != nil {
			return nil, err
		}
		e.refs = append(e.refs, b)
	}
	return e, err
}

// readShards takes in the shards on a disk.
func (s *chunkScan) readShards(n *osd) {
	w, st := s.pl.w, n.disk.st
	st.SetHooks(nil, nil)
	defer n.hook()
	space := store.ShardKey(s.pl.pool(), "")
	objs, _, err := st.List(space.PG, space.Space, "", 10000)
	if err != nil {
		w.failf("shards of %s: %v", n.id, err)
	}
	for _, o := range objs {
		name, ok := chunk.ParseShardName(o.Name)
		if !ok {
			w.failf("%s: %q lies among shards", n.id, o.Name)
			return
		}
		k := store.ShardKey(s.pl.pool(), o.Name)
		h := &heldShard{Shard: name, at: n.id}
		if h.data, err = st.Read(k, 0, o.Size); err != nil && !errors.Is(err, store.ErrCorrupt) {
			w.failf("shards of %s: %v", n.id, err)
		}
		if s.at[k] == nil {
			s.at[k] = map[placement.OSDID]*heldShard{}
		}
		s.at[k][n.id] = h
		s.shards = append(s.shards, *h)
	}
}

// pieces returns the good shards of a chunk that are where its entry has them, and how many there are.
func (s *chunkScan) pieces(fp chunk.Fingerprint) (good [][]byte, n int) {
	l := &s.entries[fp].layout
	good = make([][]byte, len(l.Holders))
	for i, h := range l.Holders {
		if x := s.at[shardAt(s.pl.pool(), fp, l.Gen, i)][h]; x != nil && x.data != nil {
			good[i] = x.data
			n++
		}
	}
	return good, n
}

// broken names a chunk that lacks shards, "" if none does.
func (s *chunkScan) broken() string {
	for _, fp := range s.order {
		if _, n := s.pieces(fp); n < len(s.entries[fp].layout.Holders) {
			return fmt.Sprintf("chunk %s has %d good shards: %+v", fp, n, s.entries[fp].layout)
		}
	}
	return ""
}

// Invariant: a holder that an entry lists has the shard, unless its disk is lost: durable first, then counted; and nobody
// takes away what is listed. A shard may be damaged. And what a reader has seen stays for a GC interval.

// committed looks at a chunk of whose entry a primary has committed a change.
func (pl *plane) committed(n *osd, id placement.PGID, e *wirepb.LogEntry) {
	if pl == nil {
		return
	}
	kind, record := placement.RecordOf(string(e.Object))
	entry := placement.Locator(string(e.Object)) // if it is a void record
	fp, ok := chunk.FingerprintOf(entry)
	if !record || !ok || kind != placement.ChunkEntry && kind != placement.VoidChunk {
		return
	}
	if kind == placement.ChunkEntry && e.Removed {
		if seen := pl.seen[fp]; seen != 0 && pl.w.now.Sub(seen) < careSettings.GCInterval {
			pl.w.failf("chunk %s is deleted %v after a reader began to look at an object that refers to it", fp, pl.w.now.Sub(seen))
		}
		pl.doom(fp, false)
		return
	}
	st := n.disk.st
	st.SetHooks(nil, nil)
	x, err := readEntry(st, store.Key{PG: id, Name: entry})
	n.hook()
	if err != nil {
		return // it has been removed since, or never was
	}
	if kind == placement.VoidChunk {
		pl.doom(fp, x.condemned)
		return
	}
	if !x.condemned {
		pl.doom(fp, false)
	}
	for i, h := range x.layout.Holders {
		if !pl.holds(h, shardAt(id.Pool, fp, x.layout.Gen, i)) {
			pl.w.failf("%s is entered as the holder of shard %d of chunk %s (generation %x), which it does not have", h, i, fp, uint64(x.layout.Gen))
		}
	}
}

// holds reports whether an OSD has a shard, in whatever state, or has lost its disk.
func (pl *plane) holds(h placement.OSDID, k store.Key) bool {
	if h == placement.NoOSD || pl.w.osds[h].gone {
		return true
	}
	n := pl.w.osds[h]
	n.disk.st.SetHooks(nil, nil)
	defer n.hook()
	return !isMissing(n.disk.st, k)
}

// missing names a shard that a holder lacks, or a chunk that is condemned though somebody refers to it, "" if there is none.
func (s *chunkScan) missing() string {
	for _, fp := range s.order {
		if e := s.entries[fp]; e.condemned && len(e.refs) > 0 {
			return fmt.Sprintf("chunk %s is condemned, and has %d references", fp, len(e.refs))
		}
		l := &s.entries[fp].layout
		for i, h := range l.Holders {
			if !s.pl.holds(h, shardAt(s.pl.pool(), fp, l.Gen, i)) {
				return fmt.Sprintf("%s does not have shard %d of chunk %s, as its entry says: %+v", h, i, fp, *l)
			}
		}
	}
	return ""
}

// knows reports whether an entry lists a reference.
func (e *chunkEntry) knows(r *objectRef) bool {
	for i := range e.refs {
		if e.refs[i].Nonce == r.Nonce && e.refs[i].Object == r.object {
			return true
		}
	}
	return false
}

// Invariant, at every moment: the chunk of every reference is in the index, which knows of the reference, and as long as no
// more shards were lost than that survives, those that are left make the bytes that the fingerprint stands for.

// watch looks at it now and then.
func (pl *plane) watch() {
	w := pl.w
	s := pl.scan()
	for i := range s.refs {
		if why := s.unsound(&s.refs[i]); why != "" {
			w.failf("object %s refers to chunk %s (nonce %s), %s", s.refs[i].object, s.refs[i].Chunk, s.refs[i].Nonce, why)
			return
		}
	}
	if why := s.missing(); why != "" {
		w.failf("%s", why)
	}
	w.after(w.rand(200*time.Millisecond, time.Second), pl.watch)
}

// unsound says what is wrong with a reference, "" if nothing is or nobody can tell.
func (s *chunkScan) unsound(r *objectRef) string {
	w := s.pl.w
	pool := w.mons.st.Map().Pool(s.pl.pool())
	if !s.served[placement.PGOf(pool, r.Chunk.IndexName())] {
		return ""
	}
	e := s.entries[r.Chunk]
	switch {
	case e == nil:
		return "which the index does not have"
	case !e.knows(r):
		return "which does not know of that"
	}
	pieces, n := s.pieces(r.Chunk)
	if n < int(e.layout.Redundancy.K) {
		return fmt.Sprintf("of which %d good shards are left: %+v", n, e.layout)
	}
	coder, err := ec.New(e.layout.Redundancy)
	if err != nil {
		return err.Error()
	}
	data, err := coder.Join(nil, pieces, int(e.layout.Stored))
	if want := s.pl.contents[r.Chunk]; err != nil || !bytes.Equal(data, want) {
		return fmt.Sprintf("whose shards make %q (%v), not %q", data, err, want)
	}
	return ""
}

// Invariant, when all is quiet: nothing is left over. left says what is, "" if nothing.
func (s *chunkScan) left() string {
	if s.partial {
		return "a PG is not served"
	}
	for _, kind := range []placement.RecordKind{placement.Outbox, placement.Condemned} {
		if n := s.records[kind]; n > 0 {
			return fmt.Sprintf("%d records of kind %c are left", n, kind)
		}
	}
	has := map[chunk.Nonce]string{}
	for i := range s.refs {
		if why := s.unsound(&s.refs[i]); why != "" {
			return fmt.Sprintf("object %s refers to chunk %s, %s", s.refs[i].object, s.refs[i].Chunk, why)
		}
		has[s.refs[i].Nonce] = s.refs[i].object
	}
	listed := map[store.Key]placement.OSDID{}
	for _, fp := range s.order {
		e := s.entries[fp]
		if e.condemned || len(e.refs) == 0 {
			return fmt.Sprintf("the entry of chunk %s is left, with %d references, condemned: %v", fp, len(e.refs), e.condemned)
		}
		if e.lost {
			return fmt.Sprintf("chunk %s is called lost: %+v", fp, e.layout)
		}
		for _, b := range e.refs {
			if has[b.Nonce] != b.Object {
				return fmt.Sprintf("chunk %s has a reference of %s that it does not have (nonce %s)", fp, b.Object, b.Nonce)
			}
		}
		for i, h := range e.layout.Holders {
			listed[shardAt(s.pl.pool(), fp, e.layout.Gen, i)] = h
		}
	}
	for i := range s.shards {
		h := &s.shards[i]
		if at, ok := listed[store.ShardKey(s.pl.pool(), h.Name())]; !ok || at != h.at {
			return fmt.Sprintf("%s holds %s, which no entry lists there", h.at, &h.Shard)
		}
	}
	return s.broken()
}

// busy reports whether a client still works, or something is left to be done.
func (pl *plane) busy() bool { return pl != nil && len(pl.unfinished()) > 0 }

func (pl *plane) unfinished() (what []string) {
	if pl == nil {
		return nil
	}
	for _, c := range pl.clients {
		if !c.done {
			what = append(what, fmt.Sprintf("client %d with chunks is not done", c.id))
		}
	}
	if left := pl.scan().left(); left != "" {
		what = append(what, left)
	}
	return what
}

// readAll reads every object with chunks at last.
func (pl *plane) readAll() {
	if pl == nil {
		return
	}
	w := pl.w
	for i, in := range pl.names() {
		c, over, ok := pl.clients[i%len(pl.clients)], false, false
		pl.spawn(&c.process, func(f *fiber) {
			ok = c.read(f, in)
			over = true
		})
		for end := w.now.Add(20 * time.Second); !over && w.now < end && len(w.fails) == 0; {
			w.run(w.now.Add(100 * time.Millisecond))
		}
		if !ok && len(w.fails) == 0 {
			w.failf("%s cannot be read when all is quiet", in.key())
		}
	}
}

func (w *world) checkChunks() {
	if w.plane == nil {
		return
	}
	if left := w.plane.scan().left(); left != "" {
		w.failf("%s, when all is quiet", left)
	}
}
