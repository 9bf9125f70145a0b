package chunkcare

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// refsPage is how many back-references are read at a time.
const refsPage = 512

// entry is a chunk's entry in the index as it was at a version.
type entry struct {
	pool      placement.PoolID
	pg        placement.PGID
	fp        chunk.Fingerprint
	version   uint64
	raw       []byte // the layout's encoding
	layout    chunk.Layout
	condemned int64  // 0: it is not
	lost      bool   // chunk.LostAttr
	damaged   bool   // of them: its bytes are others
	domain    string // chunk.DomainAttr, "" if it is not known
	moved     []byte // movedAttr, nil if there is none
	leaving   map[placement.OSDID]mark
	refs      []client.KV
	more      bool // there are more references than refs
}

// at is a place in the index.
type at struct {
	pool placement.PoolID
	fp   chunk.Fingerprint
}

func (c *Care) pgOf(pool placement.PoolID, name string) (placement.PGID, error) {
	p := c.o.Cluster.Map().Pool(pool)
	if p == nil {
		return placement.PGID{}, fmt.Errorf("pool %d: %w", pool, client.ErrNotFound)
	}
	return placement.PGOf(p, name), nil
}

// entry reads an entry, nil if there is none.
func (c *Care) entry(ctx context.Context, a at) (*entry, error) {
	name := a.fp.IndexName()
	pg, err := c.pgOf(a.pool, name)
	if err != nil {
		return nil, err
	}
	res, err := c.o.Cluster.Do(ctx, a.pool, name, new(client.Op).GetAttrs().OmapList("", "", refsPage))
	if errors.Is(err, client.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("entry of chunk %s: %w", a.fp, err)
	}
	e := &entry{pool: a.pool, pg: pg, fp: a.fp, version: res.Version, refs: res.Items[1].KVs, more: res.Items[1].More}
	bad := func(format string, args ...any) (*entry, error) {
		return nil, fmt.Errorf("entry of chunk %s: %w: %s", a.fp, client.ErrCorrupt, fmt.Sprintf(format, args...))
	}
	for _, kv := range res.Items[0].KVs {
		switch id, leaving := strings.CutPrefix(kv.Key, leavingAttr); {
		case kv.Key == chunk.LayoutAttr:
			e.raw = bytes.Clone(kv.Value)
			if e.layout, err = chunk.DecodeLayout(e.raw); err != nil {
				return bad("%v", err)
			}
		case kv.Key == chunk.CondemnedAttr:
			if len(kv.Value) != 8 {
				return bad("attribute %s of %d bytes", kv.Key, len(kv.Value))
			}
			e.condemned = int64(binary.LittleEndian.Uint64(kv.Value))
		case kv.Key == chunk.LostAttr:
			e.lost, e.damaged = true, string(kv.Value) == chunk.LostBytes
		case kv.Key == chunk.DomainAttr:
			e.domain = chunk.DecodeDomain(kv.Value)
		case kv.Key == movedAttr:
			e.moved = bytes.Clone(kv.Value)
		case leaving:
			n, err := strconv.ParseInt(id, 10, 32)
			if err != nil || len(kv.Value) != markBytes {
				return bad("attribute %q of %d bytes", kv.Key, len(kv.Value))
			}
			if e.leaving == nil {
				e.leaving = map[placement.OSDID]mark{}
			}
			e.leaving[placement.OSDID(n)] = mark{
				incarnation: binary.LittleEndian.Uint64(kv.Value), at: int64(binary.LittleEndian.Uint64(kv.Value[8:])),
			}
		}
	}
	if e.raw == nil {
		return bad("it has no layout")
	}
	return e, nil
}

// Attributes of an entry by which moves of shards and the removal of what was moved keep out of each other's way.
const (
	// movedAttr changes whenever holders do, and whenever an OSD is about to drop a shard that the entry does not list
	// there: it is the version of the entry that who did it had read. Whoever finds it as it was has missed nothing.
	movedAttr = "moved"
	// leavingAttr and an OSD's id: that OSD drops such a shard. Until it has, nobody may enter it as a holder: the shard
	// that was stored for that would be dropped. The OSD itself drops such shards and ends the mark, or a repair that took from it
	// a shard that is not of the chunk.
	leavingAttr = "leaving."
)

// mark is the value of a leaving attribute: the OSD's incarnation, when, and the entry's version, which makes it unique.
type mark struct {
	incarnation uint64
	at          int64
}

const markBytes = 3 * 8

func (m mark) bytes(version uint64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, m.incarnation)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.at))
	return binary.LittleEndian.AppendUint64(b, version)
}

// markOf is a mark for an OSD.
func (c *Care) markOf(e *entry, id placement.OSDID) []byte {
	k := mark{at: c.o.Clock.Wall().UnixNano()}
	if o := c.o.Cluster.Map().OSD(id); o != nil {
		k.incarnation = o.Incarnation
	}
	return k.bytes(e.version)
}

// othersMark reports whether somebody else has begun, not long ago, to drop a shard of the entry from this OSD: a repair that
// found it to be of something else.
func (c *Care) othersMark(e *entry) bool {
	m := c.o.Cluster.Map()
	k, ok := e.leaving[c.o.Self]
	o := m.OSD(c.o.Self)
	if !ok || o == nil || o.Incarnation != k.incarnation || k.at < c.o.Clock.Wall().Add(-c.o.Settings(m).OrphanAge).UnixNano() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marks[e.at()] == nil
}

func leavingName(id placement.OSDID) string { return leavingAttr + strconv.Itoa(int(id)) }

// leavers returns the OSDs that drop shards of a chunk now. Of a mark that an OSD left behind when it crashed, long ago,
// nothing is to be feared.
func (c *Care) leavers(e *entry) (ids []placement.OSDID) {
	m := c.o.Cluster.Map()
	old := c.o.Clock.Wall().Add(-c.o.Settings(m).OrphanAge).UnixNano()
	for id, k := range e.leaving {
		if o := m.OSD(id); o != nil && o.Incarnation != k.incarnation && k.at < old {
			continue
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// unmoved adds the conditions that the holders of a chunk are what they were, and that nobody has begun to drop a shard since.
func (e *entry) unmoved(op *client.Op) *client.Op {
	op.AssertExists().CmpAttr(chunk.LayoutAttr, e.raw)
	if e.moved == nil {
		op.CmpAttrAbsent(movedAttr)
	} else {
		op.CmpAttr(movedAttr, e.moved)
	}
	return op.SetAttr(movedAttr, binary.LittleEndian.AppendUint64(nil, e.version))
}

// closely is how closely an entry is looked at, if others are so: one that is damaged, or has lost shards that may only be
// unreadable, is always read, until it is seen not to be.
func (e *entry) closely(how level) level {
	if e.lost {
		return deep
	}
	return how
}

func (e *entry) at() at { return at{e.pool, e.fp} }

func (e *entry) shard(i int) ShardID {
	return ShardID{Pool: e.pool, Chunk: e.fp, Gen: e.layout.Gen, Index: i}
}

// unref removes a back-reference from an entry, and condemns the entry if that was the last.
func (c *Care) unref(ctx context.Context, a at, key string) error {
	if done, err := c.unrefLast(ctx, a, key); done || err != nil {
		return err
	}
	res, err := c.o.Cluster.Do(ctx, a.pool, a.fp.IndexName(), new(client.Op).AssertExists().GetAttr(chunk.CondemnedAttr).OmapList("", "", 2).OmapRm(key))
	switch {
	case errors.Is(err, client.ErrNotFound):
		return nil // somebody did all of this before
	case err != nil:
		return fmt.Errorf("remove a reference of chunk %s: %w", a.fp, err)
	}
	for _, kv := range res.Items[2].KVs { // as it was before
		if kv.Key != key {
			return nil
		}
	}
	if res.Items[1].Found {
		return nil
	}
	return c.condemn(ctx, a, res.Version)
}

// unrefLast is unref for an entry with no other reference, as most have: both changes in one. It did nothing if not done.
func (c *Care) unrefLast(ctx context.Context, a at, key string) (done bool, err error) {
	res, err := c.o.Cluster.Do(ctx, a.pool, a.fp.IndexName(), new(client.Op).GetAttr(chunk.CondemnedAttr).OmapList("", "", 2))
	switch {
	case errors.Is(err, client.ErrNotFound):
		return true, nil // somebody did all of this before
	case err != nil:
		return false, fmt.Errorf("references of chunk %s: %w", a.fp, err)
	}
	if kvs := res.Items[1].KVs; res.Items[0].Found || len(kvs) != 1 || kvs[0].Key != key {
		return false, nil
	}
	return c.condemning(ctx, a, res.Version, func(op *client.Op) *client.Op { return op.OmapRm(key) })
}

// condemn notes that nobody refers to a chunk any more, if its entry still has that version. The record by which GC
// finds it comes first: one too many does no harm.
func (c *Care) condemn(ctx context.Context, a at, version uint64) error {
	_, err := c.condemning(ctx, a, version, func(op *client.Op) *client.Op { return op })
	return err
}

// condemning is condemn with something more, which is done if the entry still has that version.
func (c *Care) condemning(ctx context.Context, a at, version uint64, more func(*client.Op) *client.Op) (done bool, err error) {
	now := c.o.Clock.Wall().UnixNano()
	record := condemnedName(now, a.fp)
	if _, err := c.o.Cluster.Do(ctx, a.pool, record, new(client.Op).Create(false)); err != nil {
		return false, fmt.Errorf("condemn chunk %s: %w", a.fp, err)
	}
	op := new(client.Op).AssertVersion(version)
	if c.o.Mutant == CondemnBlind {
		op = new(client.Op).AssertExists()
	}
	_, err = c.o.Cluster.Do(ctx, a.pool, a.fp.IndexName(), more(op).SetAttr(chunk.CondemnedAttr, binary.LittleEndian.AppendUint64(nil, uint64(now))))
	switch {
	case gone(err):
		return false, nil // it changed meanwhile; the record has it looked at again
	case err != nil:
		return false, fmt.Errorf("condemn chunk %s: %w", a.fp, err)
	}
	c.count(func(w *Work) { w.Condemned++ })
	return true, nil
}

// condemnedName is the name of the record that says that a chunk was condemned: sorted by when.
func condemnedName(at int64, fp chunk.Fingerprint) string {
	return placement.RecordName(placement.Condemned, binary.BigEndian.AppendUint64(nil, uint64(at)), fp.IndexName())
}

func parseCondemned(name string) (at int64, fp chunk.Fingerprint, ok bool) {
	if k, rec := placement.RecordOf(name); !rec || k != placement.Condemned || len(name) < 10 {
		return 0, fp, false
	}
	fp, ok = chunk.FingerprintOf(name[10:])
	return int64(binary.BigEndian.Uint64([]byte(name[2:10]))), fp, ok
}

// forget removes a record.
func (c *Care) forget(ctx context.Context, pool placement.PoolID, name string) error {
	_, err := c.o.Cluster.Do(ctx, pool, name, new(client.Op).Remove(true))
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("remove a record: %w", err)
	}
	return nil
}

// pages calls f for pages of the names of one PG. Work done by f may change the listing: it goes on behind the last name.
func (c *Care) pages(ctx context.Context, id placement.PGID, kind placement.RecordKind, f func(names []string) (goOn bool, err error)) error {
	for after := ""; ; {
		names, more, err := c.o.Cluster.List(ctx, id, kind, after, c.o.Page)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		if goOn, err := f(names); err != nil || !goOn || !more {
			return err
		}
		after = names[len(names)-1]
	}
}
