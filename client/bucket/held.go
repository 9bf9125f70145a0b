package bucket

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// What snapshots have. Nothing is copied when one is taken: it only gets a number, which every partition's range learns. An entry
// says which number was the newest when it was put (Born), and is in the later ones. Who removes an entry that is in one moves it to kindHeld
// instead, with its body; its name says which number was the newest then (died), so that it is in the snapshots from born+1 to died.
//
// A body has one record, but for two cases: one whose attributes are changed is held as it was, and one that is held may also be
// kept for undelete. Then both are marked shared, and who removes one looks for another before he gives the body up.

func heldKey(kind byte, key string, died, seq uint64) string {
	return string(kind) + key + "\x00" + fmt.Sprintf("%016x", died) + inverse(seq)
}

// diedOf returns when what lies under the omap key of a held entry was removed.
func diedOf(omap string) (uint64, error) {
	if len(omap) < 34 || omap[len(omap)-33] != 0 {
		return 0, fmt.Errorf("%w: the record %q of a snapshot", ErrCorrupt, omap)
	}
	died, err := strconv.ParseUint(omap[len(omap)-32:len(omap)-16], 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the record %q of a snapshot", ErrCorrupt, omap)
	}
	return died, nil
}

// sharing is s with the mark that another record may have its body.
func (s *stored) sharing() *stored {
	c := *s
	c.entry = cloneEntry(s.entry)
	c.entry.Shared = true
	return &c
}

// hold moves an entry, read whole, to where only snapshots have it.
func (x *step) hold(s *stored) {
	e, died := s.entry, x.p.Snapshot
	raw := encode(e)
	x.sum.held(e, 1)
	x.op.OmapSet(heldKey(kindHeld, x.key, died, e.Seq), raw)
	x.kept += int64(len(x.key) + 33 + len(raw))
	if hasBody(e) {
		x.op.OmapSet(heldKey(kindHeldBody, x.key, died, e.Seq), s.body)
		x.kept += int64(len(s.body))
	}
}

// preserve is for an entry that takes another one's place and has its body: if a snapshot has the old one, that is held as it was.
func (x *step) preserve(old *stored, e *bucketpb.Entry) error {
	e.Shared, e.Borrowed = old.entry.Shared, old.entry.Borrowed
	e.Born = old.entry.Born
	if e.Born >= x.p.Snapshot {
		return nil
	}
	if hasBody(old.entry) && old.body == nil {
		return errRaced
	}
	x.hold(old.sharing())
	e.Shared, e.Born = true, x.p.Snapshot
	return nil
}

// release has the body of an entry removed whose record goes, unless another record has it as well.
func (x *step) release(ctx context.Context, s *stored) error {
	if s.entry.Shared {
		other, err := x.b.sharer(ctx, x.p, x.key, s.entry.Id, s.at)
		if err != nil {
			return err
		}
		if other != nil {
			x.expect(other) // of two who go at the same time one is the last
			return nil
		}
	}
	refs, err := dataRefs(s.entry, s.body)
	x.box.Data = append(x.box.Data, refs...)
	return err
}

// sharer finds another record of a key that has a body; nil: there is none.
func (b *Bucket) sharer(ctx context.Context, p *partition, key string, body []byte, except string) (*stored, error) {
	is := func(kv client.KV) (bool, error) {
		e, err := entryAt(kv)
		return kv.Key != except && string(e.GetId()) == string(body), err
	}
	for _, kind := range []byte{kindEntry, kindVersion, kindHeld, kindKept} {
		at, end := omapKey(kind, key+"\x00"), omapKey(kind, key+"\x01")
		if kind == kindEntry {
			at, end = omapKey(kind, key), omapKey(kind, key+"\x00")
		}
		for {
			res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapList(at, end, 256))
			if err != nil {
				return nil, guardErr(err)
			}
			for _, kv := range res.Items[1].KVs {
				found, err := is(kv)
				if err != nil || found {
					return &stored{at: kv.Key, raw: kv.Value}, err
				}
				at = kv.Key + "\x00"
			}
			if !res.Items[1].More {
				break
			}
		}
	}
	return nil, nil
}

// entryAt decodes a record that has an entry.
func entryAt(kv client.KV) (*bucketpb.Entry, error) {
	if kv.Key[0] == kindKept {
		k := new(bucketpb.Kept)
		err := decode(kv.Value, k)
		return k.Entry, err
	}
	e := new(bucketpb.Entry)
	return e, decode(kv.Value, e)
}
