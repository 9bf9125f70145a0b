package bucket

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// View is a bucket as it was when a snapshot was taken. It is read only.
type View struct {
	b *Bucket
	Snapshot
}

// At returns the bucket as a snapshot has it.
func (b *Bucket) At(ctx context.Context, name string) (*View, error) {
	var v *View
	err := b.withRoot(ctx, func(x id) error {
		l, err := b.snapshotList(ctx, x)
		if err != nil {
			return err
		}
		s := l.byName(name)
		if s == nil || s.State != bucketpb.SnapshotState_TAKEN {
			return ErrNoSuchSnapshot
		}
		v = &View{b, snapshotFrom(s.Snapshot)}
		return nil
	})
	return v, snapErr("find", b.name, name, err)
}

// has reports whether the snapshot has an entry that lies at an omap key.
func (v *View) has(kind byte, omap string, e *bucketpb.Entry) (bool, error) {
	if e.Born >= v.number {
		return false, nil
	}
	if kind != kindHeld {
		return true, nil
	}
	died, err := diedOf(omap)
	return died >= v.number, err
}

// bodyKey is where the value of the body key of an entry is, which lies at an omap key.
func bodyKey(omap string) string {
	switch omap[0] {
	case kindEntry:
		return string(kindBody) + omap[1:]
	case kindVersion:
		return string(kindVersionBody) + omap[1:]
	}
	return string(kindHeldBody) + omap[1:]
}

// Get returns an object as the snapshot has it, ready to be opened.
func (v *View) Get(ctx context.Context, key string) (*Object, error) {
	o, err := v.get(ctx, key)
	return o, keyErr("get from snapshot "+v.Name, v.b, key, err)
}

func (v *View) get(ctx context.Context, key string) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	var best *stored
	err := v.b.onKey(ctx, key, false, func(_ *view, p *partition) error {
		var err error
		if best, err = v.read(ctx, p, key); err != nil {
			return err
		}
		if best == nil || !hasBody(best.entry) {
			return nil
		}
		res, err := v.b.svc.meta.Do(ctx, p.object, p.guard().CmpOmap(best.at, best.raw).OmapGet(bodyKey(best.at)))
		if i, conflict, _ := failed(err); conflict && i == 1 {
			return errRaced
		}
		if err != nil {
			return guardErr(err)
		}
		best, err = parseStored(best.at, best.raw, res.Items[2].Data, true)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case best == nil:
		return nil, ErrNoSuchKey
	case best.entry.Marker:
		return nil, ErrNoSuchKey
	}
	return v.object(key, best), nil
}

// snapKinds are the kinds of records that may have what a snapshot has of a key.
var snapKinds = []byte{kindEntry, kindMarker, kindVersion, kindHeld}

// pick is the newest of some records of one key that the snapshot has; best is what was picked so far.
func (v *View) pick(best *stored, omap string, value []byte) (*stored, error) {
	e := new(bucketpb.Entry)
	if err := decode(value, e); err != nil {
		return nil, err
	}
	has, err := v.has(omap[0], omap, e)
	if has && (best == nil || e.Seq > best.entry.Seq) {
		best = &stored{at: omap, raw: value, entry: e}
	}
	return best, err
}

// read picks what the snapshot has of a key.
func (v *View) read(ctx context.Context, p *partition, key string) (best *stored, err error) {
	end := func(kind byte) string { return omapKey(kind, key+"\x01") }
	op := p.guard()
	for _, kind := range snapKinds {
		op.OmapList(omapKey(kind, key), end(kind), 32)
	}
	res, err := v.b.svc.meta.Do(ctx, p.object, op)
	if err != nil {
		return nil, guardErr(err)
	}
	more := false
	for _, it := range res.Items[1:] {
		more = more || it.More
		for _, kv := range it.KVs {
			if best, err = v.pick(best, kv.Key, kv.Value); err != nil {
				return nil, err
			}
		}
	}
	if !more {
		return best, nil
	}
	// Many records: several reads, of one version of the partition.
	best = nil
	var version uint64
	for _, kind := range snapKinds {
		at := omapKey(kind, key)
		for more := true; more; {
			op := p.guard().Stat().OmapList(at, end(kind), MaxListEntries)
			if version > 0 {
				op.AssertVersion(version)
			}
			res, err := v.b.svc.meta.Do(ctx, p.object, op)
			if _, conflict, _ := failed(err); conflict {
				return nil, errStale
			}
			if err != nil {
				return nil, guardErr(err)
			}
			version = res.Items[1].Version
			for _, kv := range res.Items[2].KVs {
				if best, err = v.pick(best, kv.Key, kv.Value); err != nil {
					return nil, err
				}
				at = kv.Key + "\x00"
			}
			more = res.Items[2].More
		}
	}
	return best, nil
}

func (v *View) object(key string, s *stored) *Object {
	o := v.b.object(key, s.entry, s.body)
	o.past = true
	return o
}

// List is List of the bucket as the snapshot has it.
func (v *View) List(ctx context.Context, in ListInput) (*Listing, error) {
	in.Max = min(max(in.Max, 0), MaxListEntries)
	out := &Listing{}
	if in.Max == 0 {
		return out, nil
	}
	roll := roller{prefix: in.Prefix, delimiter: in.Delimiter, after: in.After}
	from, end := roll.bounds("")
	if in.After != "" {
		from = max(from, in.After+"\x01") // behind all records of that key
	}
	var best *stored // of the key that is being looked at
	var key, seen string
	// settle takes in the key that was looked at, and says where to go on behind its common prefix.
	settle := func() (next string, full bool) {
		s := best
		best = nil
		if s == nil || s.entry.Marker {
			return "", false
		}
		common, next := roll.common(key)
		switch {
		case next != "" && common == "", common != "" && common == seen:
			return next, false
		case len(out.Objects)+len(out.Prefixes) == in.Max:
			out.Truncated = true
			return "", true
		case common != "":
			out.Prefixes = append(out.Prefixes, common)
			out.Last, seen = common, common
			return next, false
		}
		out.Objects = append(out.Objects, v.object(key, s))
		out.Last = key
		return "", false
	}
	err := v.scan(ctx, from, end, listBatch(in), func(k string, s *stored) (string, bool) {
		key, best = k, s
		return settle()
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshot %q of bucket %q: %w", v.Name, v.b.name, err)
	}
	return out, nil
}

// scan calls f with each key from one on that the snapshot has something of, with the newest of that, until f says stop, or another place to
// go on at. All records of a key are read by one operation: between two, one could move to where was looked already.
func (v *View) scan(ctx context.Context, from, end string, batch int, f func(key string, s *stored) (next string, stop bool)) error {
	for from < end {
		var all []scanned
		var upTo string
		var alone *stored
		batch := min(batch, 128) // of each kind: they share an answer
		err := v.b.onKey(ctx, keyOf(from), false, func(_ *view, p *partition) error {
			upTo, alone = min(p.end(), end), nil
			op := p.guard()
			for _, kind := range snapKinds {
				op.OmapList(omapKey(kind, from), omapKey(kind, upTo), batch)
			}
			res, err := v.b.svc.meta.Do(ctx, p.object, op)
			if errors.Is(err, client.ErrInvalid) && batch > 1 { // it would be too large an answer
				batch = max(batch/4, 1)
				return errRaced
			}
			if err != nil {
				return guardErr(err)
			}
			var more bool
			if all, more, err = merge(snapKinds, res.Items[1:]); err != nil || !more {
				return err
			}
			last := keyOf(all[len(all)-1].key) // not all of it may be here
			upTo = last
			for len(all) > 0 && keyOf(all[len(all)-1].key) == last {
				all = all[:len(all)-1]
			}
			if len(all) == 0 {
				upTo = last + "\x01"
				alone, err = v.read(ctx, p, last)
			}
			return err
		})
		if err != nil {
			return err
		}
		step := func(key string, s *stored) (stop bool) {
			next, stop := "", false
			if s != nil {
				next, stop = f(key, s)
			}
			from = max(from, next, key+"\x01")
			return stop
		}
		if alone != nil && step(keyOf(alone.at[1:]), alone) {
			return nil
		}
		for i := 0; i < len(all); {
			key := keyOf(all[i].key)
			var best *stored
			for ; i < len(all) && keyOf(all[i].key) == key; i++ {
				if best, err = v.pick(best, string(all[i].kind)+all[i].key, all[i].value); err != nil {
					return keyErr("list", v.b, key, err)
				}
			}
			if key < from {
				continue // within what was jumped over
			}
			if step(key, best) {
				return nil
			}
		}
		from = max(from, upTo)
	}
	return nil
}

// Bucket returns the bucket that it is a view of.
func (v *View) Bucket() *Bucket { return v.b }
