package bucket

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

var errNothing = errors.New("nothing to do")

// Delete is DeleteVersion of what is current.
func (b *Bucket) Delete(ctx context.Context, key string, cond Cond) error {
	_, err := b.DeleteVersion(ctx, key, DeleteInput{Cond: cond})
	return err
}

// deleteBatch bounds the keys removed by one operation.
const deleteBatch = 128

// keepBatch bounds those of them that are kept, with their bodies.
const keepBatch = 16

// DeleteMany removes objects; missing ones are no error. It returns one error for
// each key, nil where the object is gone. Keys that lie together are removed by
// one operation. It is for buckets that keep no versions: in others each is a
// DeleteVersion of its own.
func (b *Bucket) DeleteMany(ctx context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	order := make([]int, 0, len(keys))
	for i, key := range keys {
		if err := CheckKey(key); err != nil {
			errs[i] = keyErr("delete", b, key, err)
			continue
		}
		order = append(order, i)
	}
	slices.SortFunc(order, func(i, j int) int { return compareStrings(keys[i], keys[j]) })
	order = slices.CompactFunc(order, func(i, j int) bool { return keys[i] == keys[j] })
	for len(order) > 0 {
		batch := order[:min(deleteBatch, len(order))]
		n, err := b.deleteTogether(ctx, keys, batch)
		if err != nil {
			// Somebody is changing these entries or the index; one by one they all get through.
			n = len(batch)
			b.deleteEach(ctx, keys, batch, errs)
		}
		order = order[n:]
	}
	for i, key := range keys { // doubles share the fate of the first
		if errs[i] == nil && ctx.Err() != nil {
			errs[i] = keyErr("delete", b, key, ctx.Err())
		}
	}
	return errs
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (b *Bucket) deleteEach(ctx context.Context, keys []string, batch []int, errs []error) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, i := range batch {
		slots <- struct{}{}
		all.Add(1)
		go func() { // waited for below
			defer all.Done()
			errs[i] = b.Delete(ctx, keys[i], Cond{})
			<-slots
		}()
	}
	all.Wait()
}

// deleteTogether removes, in one operation, those of the batch that lie in the
// same partition as its first key; it returns how many those were.
func (b *Bucket) deleteTogether(ctx context.Context, keys []string, batch []int) (n int, err error) {
	if b.rec.Load().Versioning != VersioningOff {
		return 0, errors.New("versions are kept")
	}
	if recorderOf(ctx) != nil {
		return 0, errors.New("each is told of")
	}
	err = b.onKey(ctx, keys[batch[0]], true, func(v *view, p *partition) error {
		window, err := b.window()
		if err != nil {
			return err
		}
		most := len(batch)
		if window > 0 {
			most = min(most, keepBatch)
		}
		if p.Snapshot > 0 {
			return errors.New("a snapshot may have them") // each as it was: alone
		}
		read := p.guard()
		for n = 0; n < most && keys[batch[n]] < p.end(); n++ {
			read.OmapGet(omapKey(kindEntry, keys[batch[n]]))
		}
		for i := 0; i < n && window > 0; i++ {
			read.OmapGet(omapKey(kindBody, keys[batch[i]]))
		}
		res, err := b.svc.meta.Do(ctx, p.object, read)
		if err != nil {
			return guardErr(err)
		}
		op, writes := p.guard(), new(bucketpb.Outbox)
		found := 0
		entries := make([]*bucketpb.Entry, n)
		for i, item := range res.Items[1 : 1+n] {
			if !item.Found {
				continue
			}
			e := new(bucketpb.Entry)
			if err := decode(item.Data, e); err != nil {
				return err
			}
			if e.Layout == bucketpb.Layout_PARTS || e.Seq > 0 {
				return errors.New("a multipart object, or a version") // needs its manifest or its others: alone
			}
			if err := locked(e, b.svc.o.Now(), false); err != nil {
				return err
			}
			refs, err := dataRefs(e, nil)
			if err != nil {
				return err
			}
			if window == 0 {
				writes.Data = append(writes.Data, refs...)
			}
			entries[i] = e
			op.CmpOmap(omapKey(kindEntry, keys[batch[i]]), item.Data)
			found++
		}
		if found == 0 {
			return nil
		}
		var weight int64
		var sum tally
		for i, item := range res.Items[1 : 1+n] {
			if !item.Found {
				continue
			}
			var one tally
			one.entry(entries[i], true, -1)
			if window > 0 {
				weight += b.keep(op, keys[batch[i]], &stored{entry: entries[i], body: res.Items[1+n+i].Data}, b.svc.o.Now(), window, &one)
			}
			if p.counts(keys[batch[i]]) {
				sum.add(&one, 1)
			}
			op.OmapRm(omapKey(kindEntry, keys[batch[i]])).OmapRm(omapKey(kindBody, keys[batch[i]]))
		}
		if len(writes.Data) > 0 {
			op.OmapSet(outboxKey(b.svc.o.Now().Add(b.svc.o.Grace), newID()), encode(writes))
		}
		sum.into(op, p)
		if _, err := b.svc.meta.Do(ctx, p.object, op); err != nil {
			return guardErr(err)
		}
		if len(writes.Data) > 0 {
			b.svc.soon(p.object)
		}
		if window > 0 {
			b.expireSoon(p.n, window)
			b.grown(v, p, weight)
		}
		return nil
	})
	return n, err
}

// touch replaces the headers and the time of an object whose body is still that of src.
func (b *Bucket) touch(ctx context.Context, src *Object, headers Headers, in CopyInput) (*Object, error) {
	h, err := headersTo(headers)
	if err != nil {
		return nil, err
	}
	attrs, err := attrsTo(in.Attrs)
	if err != nil {
		return nil, err
	}
	var e *bucketpb.Entry
	c := &change{key: src.Key, cond: in.Cond, same: true}
	c.entry = func(old *stored) (*bucketpb.Entry, error) {
		if old == nil || string(old.entry.Id) != string(src.entry.Id) {
			return nil, ErrChanged
		}
		o := old.entry
		e = &bucketpb.Entry{
			Id: o.Id, Size: o.Size, Md5: o.Md5, Parts: o.Parts, Layout: o.Layout, ChunkSize: o.ChunkSize, Domain: o.Domain, Stored: o.Stored, Streams: o.Streams,
			Checksums: o.Checksums, Headers: h, Attrs: attrs, Mtime: b.svc.o.Now().UnixNano(), Revision: newRevision(),
		}
		return e, nil
	}
	if err := b.commit(ctx, c); err != nil {
		return nil, err
	}
	return b.object(src.Key, e, src.body), nil
}

// soon has the outbox of a partition looked at when what was just put there is due.
func (s *Service) soon(object string) {
	s.jobs.add("outbox of "+object, s.o.Grace+10*time.Millisecond, func(ctx context.Context) error {
		_, err := s.sweepOutbox(ctx, object)
		return err
	})
}
