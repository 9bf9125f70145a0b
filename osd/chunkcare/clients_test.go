package chunkcare

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/placement"
)

// ---- clients ----

func content(n int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%07d.", n)), slotBytes/8)
}

// put makes a slot of an object the bytes of a chunk.
func (a *actor) put(object string, slot, n int) {
	w := a.w
	data := content(n)
	for tries := 0; tries < 20 && !a.dead; tries++ {
		ref, err := a.makeChunk(object, data)
		if err != nil {
			return
		}
		off := uint64(slot * slotBytes)
		if w.breaks == dropFirst {
			a.dropOld(object, slot)
		}
		_, err = a.ask(object, new(client.Op).SetRef(off, slotBytes, ref), func() { w.wrote(object, int(off), data) })
		switch {
		case errors.Is(err, client.ErrTimeout), a.dead:
			return // nobody knows: the audit finds out
		case err == nil:
			return
		}
		if a.abandon(object, &ref) != nil { // it was refused: the reference is not needed
			return
		}
	}
}

// makeChunk has data stored as a chunk that knows that an object is going to refer to it, or finds it stored.
func (a *actor) makeChunk(object string, data []byte) (ref chunk.Ref, err error) {
	w := a.w
	fp := chunk.Of(chunk.BLAKE3, worldDomain, data)
	entry := fp.IndexName()
	shards := worldShards{w, a.self}
	for tries := 0; tries < 20 && !a.dead; tries++ {
		ref = chunk.Ref{Range: chunk.Range{To: uint64(len(data))}, Chunk: fp, Nonce: w.nonce()}
		back := chunk.BackRef{Nonce: ref.Nonce, Pool: worldPool, Object: object, At: w.now.UnixNano()}
		res, err := a.ask(entry, new(client.Op).AssertExists().GetAttr(chunk.LayoutAttr).OmapSet(back.Key(), back.Value()).RmAttr(chunk.CondemnedAttr), nil)
		switch {
		case err == nil:
			if ref.Layout, err = chunk.DecodeLayout(res.Items[1].Data); err != nil {
				w.fail("layout of %s: %v", fp, err)
			}
			return ref, err
		case !errors.Is(err, client.ErrNotFound):
			return ref, err
		}
		l, ok := a.store(shards, fp, data, &back)
		if l.Gen == 0 {
			return ref, client.ErrTryLater
		}
		if ok {
			ref.Layout = l
			return ref, nil
		}
	}
	return ref, client.ErrTryLater
}

// abandon takes back a reference that no object has.
func (a *actor) abandon(object string, r *chunk.Ref) error {
	back := chunk.BackRef{Nonce: r.Nonce, Pool: worldPool, Object: object}
	_, err := a.ask(r.Chunk.IndexName(), new(client.Op).AssertExists().OmapRm(back.Key()), nil)
	return err
}

func (a *actor) self(context.Context) *actor { return a }

// store stores a chunk. ok is false if that is to be tried again; no generation: it is not.
func (a *actor) store(shards worldShards, fp chunk.Fingerprint, data []byte, back *chunk.BackRef) (l chunk.Layout, ok bool) {
	w := a.w
	l = chunk.Layout{
		Gen: chunk.Gen(w.rng.Uint64() | 1), Size: uint32(len(data)), Stored: uint32(len(data)),
		Redundancy: placement.Redundancy{Codec: placement.Replica, K: 1, M: 1},
	}
	if fp[5]&1 == 0 {
		l.Redundancy = placement.Redundancy{Codec: placement.XOR, K: 2, M: 1}
	}
	if a.step() != nil {
		return chunk.Layout{}, false
	}
	l.Holders = w.place(w.pgOf(fp.IndexName()), l.Redundancy.Shards(), nil)
	if len(l.Holders) < l.Redundancy.Shards() {
		return chunk.Layout{}, false
	}
	coder, err := ec.New(l.Redundancy)
	if err != nil {
		panic(err)
	}
	pieces := coder.Encode(data, nil)
	putAll := func() bool {
		for i, h := range l.Holders {
			if err := shards.Put(context.Background(), h, ShardID{worldPool, fp, l.Gen, i}, bytes.Clone(pieces[i])); err != nil {
				return false
			}
		}
		return true
	}
	if w.breaks != earlyAck && !putAll() {
		return chunk.Layout{}, false // what was stored is an orphan
	}
	op := new(client.Op).AssertAbsent().AssertNoRecord(chunk.VoidChunkName(l.Gen, fp)).SetAttr(chunk.LayoutAttr, l.Append(nil)).
		SetAttr(chunk.DomainAttr, chunk.EncodeDomain(worldDomain)).OmapSet(back.Key(), back.Value())
	_, err = a.ask(fp.IndexName(), op, nil)
	switch {
	case err == nil:
		return l, w.breaks != earlyAck || putAll()
	case errors.Is(err, client.ErrExists):
		for i, h := range l.Holders {
			_ = shards.Drop(context.Background(), h, []ShardID{{worldPool, fp, l.Gen, i}})
		}
		return l, false
	case errors.Is(err, client.ErrConflict):
		return l, false
	}
	return chunk.Layout{}, false
}

// dropOld is what a client must not do: it takes references out of entries that the object still has.
func (a *actor) dropOld(object string, slot int) {
	refs, err := worldCluster{a.w, a.self}.Refs(context.Background(), worldPool, object)
	if err != nil {
		return
	}
	for _, r := range refs {
		if r.Range.From/slotBytes == uint64(slot) {
			back := chunk.BackRef{Nonce: r.Nonce, Pool: worldPool, Object: object}
			_, _ = a.ask(r.Chunk.IndexName(), new(client.Op).AssertExists().OmapRm(back.Key()), nil)
		}
	}
}

func (w *world) nonce() (n chunk.Nonce) {
	binary.LittleEndian.PutUint64(n[:], w.rng.Uint64())
	binary.LittleEndian.PutUint64(n[8:], w.rng.Uint64())
	return n
}

// wrote enters what an object now holds.
func (w *world) wrote(object string, off int, data []byte) {
	b := w.model[object]
	if need := off + len(data); len(b) < need {
		b = append(b, make([]byte, need-len(b))...)
	}
	copy(b[off:], data)
	w.model[object] = b
}

// overwrite writes bytes of the object's own, somewhere or over a whole slot.
func (a *actor) overwrite(object string) {
	w := a.w
	off, n := w.rng.IntN(slots*slotBytes), 1+w.rng.IntN(slotBytes)
	if w.rng.IntN(2) == 0 {
		off, n = w.rng.IntN(slots)*slotBytes, slotBytes
	}
	data := bytes.Repeat([]byte{byte('a' + w.rng.IntN(26))}, n)
	_, _ = a.ask(object, new(client.Op).Write(uint64(off), data), func() { w.wrote(object, off, data) })
}

func (a *actor) truncate(object string) {
	w, size := a.w, a.w.rng.IntN(slots*slotBytes)
	_, _ = a.ask(object, new(client.Op).AssertExists().Truncate(uint64(size)), func() {
		b := w.model[object]
		if len(b) < size {
			b = append(b, make([]byte, size-len(b))...)
		}
		w.model[object] = b[:size:size]
	})
}

func (a *actor) remove(object string) {
	_, _ = a.ask(object, new(client.Op).Remove(true), func() { delete(a.w.model, object) })
}

// get reads an object and holds it against the model. What a reader has seen of an object stays readable for two GC
// intervals, or the object has changed meanwhile.
func (a *actor) get(object string) {
	w := a.w
	for range 4 {
		if a.step() != nil {
			return
		}
		want, exists := w.model[object]
		want = bytes.Clone(want)
		res, err := w.exec(object, new(client.Op).Read(0, 0), nil)
		if !exists {
			if !errors.Is(err, client.ErrNotFound) {
				w.fail("object %s was removed, reading it says %v", object, err)
			}
			return
		}
		if err != nil {
			w.fail("read %s: %v", object, err)
			return
		}
		began := w.now
		if !w.calm && w.rng.IntN(3) == 0 {
			a.until = w.now.Add(time.Duration(w.rng.IntN(45)) * time.Second) // a slow reader
		}
		it := res.Items[0]
		got := make([]byte, it.Length)
		if len(it.Refs) == 0 {
			copy(got, it.Data)
		} else {
			rest := it.Data
			for _, l := range it.Local {
				rest = rest[copy(got[l.From:l.To], rest):]
			}
		}
		whole := true
		for i := range it.Refs {
			r := &it.Refs[i]
			data, lost := a.fetch(r)
			switch {
			case a.dead:
				return
			case data == nil && !lost: // could not find out
				return
			case data == nil:
				if w.now.Sub(began) < worldSettings.GCInterval {
					w.fail("chunk %s went away within %v of object %s being read, deleted %v ago", r.Chunk, w.now.Sub(began), object, w.now.Sub(w.deletedAt[r.Chunk]))
					return
				}
				whole = false
			default:
				r.Bare(r.Range, func(x chunk.Range) {
					copy(got[x.From:x.To], data[uint64(r.ChunkOff)+x.From-r.Range.From:])
				})
			}
			if !whole {
				break
			}
		}
		if whole {
			if !bytes.Equal(got, want) {
				w.fail("object %s reads as %q, want %q", object, got, want)
			}
			return
		}
	}
}

// fetch reads a chunk. lost says that it is not there, as opposed to that it could not be read now.
func (a *actor) fetch(r *chunk.Ref) (data []byte, lost bool) {
	w := a.w
	shards := worldShards{w, a.self}
	l := r.Layout
	for range 8 {
		have, pieces := 0, make([][]byte, len(l.Holders))
		for i, h := range l.Holders {
			if have == int(l.Redundancy.K) {
				break
			}
			if b, err := shards.Get(context.Background(), h, ShardID{worldPool, r.Chunk, l.Gen, i}); err == nil {
				pieces[i], have = b, have+1
			}
		}
		if a.dead {
			return nil, false
		}
		if have >= int(l.Redundancy.K) {
			coder, err := ec.New(l.Redundancy)
			if err != nil {
				panic(err)
			}
			if data, err = coder.Join(nil, pieces, int(l.Stored)); err != nil {
				w.fail("chunk %s: %v", r.Chunk, err)
			}
			return data, false
		}
		res, err := a.ask(r.Chunk.IndexName(), new(client.Op).GetAttr(chunk.LayoutAttr), nil)
		if errors.Is(err, client.ErrNotFound) {
			return nil, true
		}
		if err != nil {
			return nil, false
		}
		if l, err = chunk.DecodeLayout(res.Items[0].Data); err != nil {
			w.fail("layout of %s: %v", r.Chunk, err)
			return nil, false
		}
	}
	return nil, false
}

func (w *world) objectName() string { return "o" + strings.Repeat("x", w.rng.IntN(worldNames)) }
