package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// A multipart upload has an object of its own: attributes upload and state, and
// in its omap an Attempt for each body that was begun and a Part for each that
// arrived. The index knows it under its key, so that completing it is one
// operation on the index: the entry appears, the upload disappears, and an outbox
// record asks for what was uploaded but not used to be removed.

// stateOpen is the state attribute of an upload that takes parts. A closed one
// holds the time, so that late writers have left before their data is removed.
const stateOpen = "open"

// UploadInput is a new multipart upload.
type UploadInput struct {
	Headers    Headers
	Attrs      Attrs // of the object to be
	Owner      string
	Algorithm  string
	FullObject bool

	session *bucketpb.Upload // what a session says beside
	size    int64            // of the body that it edits
}

// CreateUpload begins a multipart upload and returns its id.
func (b *Bucket) CreateUpload(ctx context.Context, key string, in UploadInput) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", keyErr("create upload", b, key, err)
	}
	headers, err := headersTo(in.Headers)
	if err != nil {
		return "", keyErr("create upload", b, key, err)
	}
	attrs, err := attrsTo(in.Attrs)
	if err != nil {
		return "", keyErr("create upload", b, key, err)
	}
	now := b.svc.o.Now()
	x := newUploadID(now)
	record := &bucketpb.Upload{
		Id: x[:], Key: key, Started: now.UnixNano(), Headers: headers,
		Algorithm: in.Algorithm, FullObject: in.FullObject, Owner: in.Owner, Attrs: attrs,
	}
	made := new(client.Op).Create(true)
	if s := in.session; s != nil {
		record.Idle, record.Base, record.Revision = s.Idle, s.Base, s.Revision
		made.SetAttr(editsAttr, sessionState{size: in.size}.encode()).SetAttr(activeAttr, stampOf(now))
	}
	raw := encode(record)
	// The index first: after a crash the upload is listed and can be aborted.
	err = b.onKey(ctx, key, true, func(v *view, p *partition) error {
		op := p.guard().OmapSet(uploadKey(key, x), raw)
		if p.counts(key) {
			(&tally{cUploads: 1}).into(op, p)
		}
		_, err := b.svc.meta.Do(ctx, p.object, op)
		if err == nil {
			b.grown(v, p, int64(len(key)+len(raw)))
		}
		return guardErr(err)
	})
	if err == nil {
		_, err = b.svc.meta.Do(ctx, uploadObject(x), made.SetAttr(uploadAttr, raw).SetAttr(stateAttr, []byte(stateOpen)))
	}
	if err != nil {
		return "", keyErr("create upload", b, key, err)
	}
	return x.String(), nil
}

// upload is an upload as read from its object.
type upload struct {
	id  id
	raw []byte
	*bucketpb.Upload
}

// Upload returns an upload under way.
func (b *Bucket) Upload(ctx context.Context, key, uploadID string) (Upload, error) {
	u, err := b.openUpload(ctx, key, uploadID)
	if err != nil {
		return Upload{}, keyErr("find upload of", b, key, err)
	}
	return uploadFrom(u.Upload), nil
}

func (b *Bucket) openUpload(ctx context.Context, key, uploadID string) (*upload, error) {
	return b.openUploads(ctx, key, uploadID, false)
}

// openUploads opens an upload, or a session.
func (b *Bucket) openUploads(ctx context.Context, key, uploadID string, session bool) (*upload, error) {
	x, ok := parseID(uploadID)
	if !ok {
		return nil, ErrNoSuchUpload
	}
	res, err := b.svc.meta.Do(ctx, uploadObject(x), new(client.Op).CmpAttr(stateAttr, []byte(stateOpen)).GetAttr(uploadAttr))
	if errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrConflict) || err == nil && !res.Items[1].Found {
		return nil, ErrNoSuchUpload
	}
	if err != nil {
		return nil, err
	}
	u := &upload{id: x, raw: res.Items[1].Data, Upload: new(bucketpb.Upload)}
	if err := decode(u.raw, u.Upload); err != nil {
		return nil, err
	}
	if u.Key != key || (u.Idle > 0) != session {
		return nil, ErrNoSuchUpload
	}
	// The upload's object does not say which bucket it is of; the index does.
	err = b.onKey(ctx, key, false, func(_ *view, p *partition) error {
		_, err := b.svc.meta.Do(ctx, p.object, p.guard().CmpOmap(uploadKey(key, x), u.raw).AssertExists())
		if i, conflict, _ := failed(err); conflict && i == 1 {
			return ErrNoSuchUpload
		}
		return guardErr(err)
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// PartInput is a part's body.
type PartInput struct {
	Body   io.Reader
	Size   int64
	MD5    []byte
	Finish func() ([]Checksum, error) // as in PutInput; the first checksum is kept
	Sealed *Sealed                    // as in PutInput

	edit *edit // of a session, and where
}

// Part is an uploaded part.
type Part struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time
	Checksum *Checksum
}

// UploadPart stores a part, in place of an earlier one of that number. What the
// earlier one took is freed when the upload ends.
func (b *Bucket) UploadPart(ctx context.Context, key, uploadID string, number int, in PartInput) (*Part, error) {
	p, err := b.uploadPart(ctx, key, uploadID, number, in)
	return p, keyErr(fmt.Sprintf("upload part %d of", number), b, key, err)
}

func (b *Bucket) uploadPart(ctx context.Context, key, uploadID string, number int, in PartInput) (*Part, error) {
	return b.putPart(ctx, key, uploadID, number, in, func(x id, how writing, alive func(context.Context) error) ([]byte, error) {
		h := in.Sealed.hash()
		if err := b.svc.writeData(ctx, x, how, in.Body, in.Sealed.stored(in.Size), h, alive); err != nil {
			return nil, err
		}
		sum := in.Sealed.shown(h.Sum(nil))
		if in.MD5 != nil && !bytes.Equal(in.MD5, sum) {
			return nil, fmt.Errorf("%w: its MD5 is %x, not %x", ErrDigest, sum, in.MD5)
		}
		return in.Sealed.tag(sum), nil
	})
}

// writePart brings the body of a part into data objects of x and returns its etag.
type writePart func(x id, how writing, alive func(context.Context) error) (etag []byte, err error)

// putPart announces the body of a part, has it written, and records the part.
func (b *Bucket) putPart(ctx context.Context, key, uploadID string, number int, in PartInput, write writePart) (*Part, error) {
	size, sealed, finish := in.Size, in.Sealed, in.Finish
	switch {
	case number < 1 || number > MaxParts:
		return nil, fmt.Errorf("%w: part number %d, want 1 to %d", ErrInvalidName, number, MaxParts)
	case size < 0 || size > MaxPartBytes:
		return nil, fmt.Errorf("%w: %d bytes, at most %d in a part", ErrTooLarge, size, int64(MaxPartBytes))
	}
	u, err := b.openUploads(ctx, key, uploadID, in.edit != nil)
	if err != nil {
		return nil, err
	}
	s, x := b.svc, newID()
	object := uploadObject(u.id)
	how := b.writing(sealed.stored(size))
	part := &bucketpb.Part{Number: uint32(number), Id: x[:], Size: uint64(size), ChunkSize: how.object, Domain: how.domain()}
	if sealed != nil {
		part.Stored, part.Salt = uint64(sealed.Stored), sealed.Salt
	}
	refs := []*bucketpb.DataRef{{Id: x[:], Count: chunks(storedOf(part), part.ChunkSize)}}
	open := func() *client.Op { return new(client.Op).CmpAttr(stateAttr, []byte(stateOpen)) }
	ended := func(err error) error {
		if errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrNotFound) {
			return ErrNoSuchUpload
		}
		return err
	}
	if _, err := s.meta.Do(ctx, object, open().OmapSet(attemptKey(x), encode(&bucketpb.Attempt{Count: refs[0].Count, Number: part.Number}))); err != nil {
		return nil, ended(err)
	}
	committing := false
	err = func() error {
		alive := func(ctx context.Context) error {
			_, err := s.meta.Do(ctx, object, open().AssertExists())
			return ended(err)
		}
		if part.Md5, err = write(x, how, alive); err != nil {
			return err
		}
		if finish != nil {
			sums, err := finish()
			if err != nil {
				return err
			}
			if len(sums) > 0 {
				part.Checksum = checksumsTo(sums[:1])[0]
			}
		}
		part.Mtime = s.o.Now().UnixNano()
		committing = true
		if in.edit != nil {
			err := in.edit.record(ctx, b, object, part)
			committing = !errors.Is(err, ErrRange) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrPrecondition) // then it surely was not
			return ended(err)
		}
		_, err := s.meta.Do(ctx, object, open().OmapSet(partKey(part.Number), encode(part)))
		return ended(err)
	}()
	if err != nil {
		// When it is unknown whether the part was recorded, its data must stay; the end of the upload
		// removes what was not used.
		if !committing || errors.Is(err, ErrNoSuchUpload) {
			undo, cancel := detached(ctx)
			defer cancel()
			if s.removeData(undo, refs) == nil {
				_, _ = s.meta.Do(undo, object, open().OmapRm(attemptKey(x))) // a leftover record is harmless
			}
		}
		return nil, err
	}
	return partFrom(part), nil
}

func partFrom(p *bucketpb.Part) *Part {
	out := &Part{Number: int(p.Number), Size: int64(p.Size), ETag: hex.EncodeToString(p.Md5), Modified: time.Unix(0, p.Mtime)}
	if c := p.Checksum; c != nil {
		out.Checksum = &Checksum{Algorithm: c.Algorithm, Value: c.Value, Composite: c.Composite}
	}
	return out
}

// PartsPage is a page of an upload's parts.
type PartsPage struct {
	Upload    Upload
	Parts     []*Part
	Truncated bool
	Last      int // number of the last part returned
}

// Parts lists parts with a number above after.
func (b *Bucket) Parts(ctx context.Context, key, uploadID string, after, limit int) (*PartsPage, error) {
	u, err := b.openUpload(ctx, key, uploadID)
	if err != nil {
		return nil, keyErr("list parts of", b, key, err)
	}
	limit = min(max(limit, 0), MaxListEntries)
	out := &PartsPage{Upload: uploadFrom(u.Upload)}
	if limit == 0 {
		return out, nil
	}
	err = b.svc.eachPart(ctx, u.id, max(after, 0), limit+1, func(p *bucketpb.Part) bool {
		if len(out.Parts) == limit {
			out.Truncated = true
			return false
		}
		out.Parts = append(out.Parts, partFrom(p))
		out.Last = int(p.Number)
		return true
	})
	return out, keyErr("list parts of", b, key, err)
}

// eachPart calls f with the parts above number after until it says false.
func (s *Service) eachPart(ctx context.Context, u id, after, batch int, f func(p *bucketpb.Part) bool) error {
	from := partKey(uint32(min(after, MaxParts) + 1))
	for {
		res, err := s.meta.Do(ctx, uploadObject(u), new(client.Op).OmapList(from, prefixEnd(string(kindPart)), batch))
		if errors.Is(err, client.ErrNotFound) {
			return ErrNoSuchUpload
		}
		if err != nil {
			return err
		}
		for _, kv := range res.Items[0].KVs {
			p := new(bucketpb.Part)
			if err := decode(kv.Value, p); err != nil {
				return err
			}
			if _, err := idOf(p.Id); err != nil {
				return err
			}
			if !f(p) {
				return nil
			}
			from = kv.Key + "\x00"
		}
		if !res.Items[0].More {
			return nil
		}
	}
}

// CompletePart names a part that the object is made of.
type CompletePart struct {
	Number   int
	ETag     string // without quotes
	Checksum []byte // when set, the part must have it
}

// CompleteInput says what an upload becomes.
type CompleteInput struct {
	Parts []CompletePart
	Cond  Cond
	// Checksum combines the parts' checksums, in order; nil: none is stored. It may refuse.
	Checksum func(u Upload, parts []*Part) ([]Checksum, error)
	Size     int64 // when positive, the object must have this size
}

// Complete makes an object of an upload's parts. Asked again after it took
// effect it answers the same.
func (b *Bucket) Complete(ctx context.Context, key, uploadID string, in CompleteInput) (*Object, error) {
	o, err := b.completeUpload(ctx, key, uploadID, in)
	if errors.Is(err, ErrNoSuchUpload) {
		if done, e := b.Head(ctx, key); e == nil && done.ID() == uploadID && done.Parts > 0 {
			return done, nil
		}
	}
	return o, keyErr("complete upload of", b, key, err)
}

func (b *Bucket) completeUpload(ctx context.Context, key, uploadID string, in CompleteInput) (*Object, error) {
	if len(in.Parts) == 0 || len(in.Parts) > MaxParts {
		return nil, fmt.Errorf("%w: %d parts, want 1 to %d", ErrInvalidPart, len(in.Parts), MaxParts)
	}
	u, err := b.openUpload(ctx, key, uploadID)
	if err != nil {
		return nil, err
	}
	have := map[int]*bucketpb.Part{}
	if err := b.svc.eachPart(ctx, u.id, 0, MaxListEntries, func(p *bucketpb.Part) bool {
		have[int(p.Number)] = p
		return true
	}); err != nil {
		return nil, err
	}
	e := &bucketpb.Entry{
		Id: u.id[:], Parts: uint32(len(in.Parts)), Layout: bucketpb.Layout_PARTS,
		Headers: u.Headers, Attrs: u.Attrs, Revision: newRevision(),
	}
	manifest, box := new(bucketpb.Manifest), &bucketpb.Outbox{Upload: u.id[:]}
	var parts []*Part
	sum := md5.New()
	for i, want := range in.Parts {
		if i > 0 && want.Number <= in.Parts[i-1].Number {
			return nil, fmt.Errorf("%w: part %d follows part %d", ErrInvalidPartOrder, want.Number, in.Parts[i-1].Number)
		}
	}
	for i, want := range in.Parts {
		p := have[want.Number]
		switch {
		case p == nil || hex.EncodeToString(p.Md5) != want.ETag:
			return nil, &PartError{Number: want.Number, Err: ErrInvalidPart}
		case want.Checksum != nil && (p.Checksum == nil || !bytes.Equal(want.Checksum, p.Checksum.Value)):
			return nil, &PartError{Number: want.Number, Err: fmt.Errorf("%w: it has another checksum", ErrInvalidPart)}
		case i < len(in.Parts)-1 && p.Size < MinPartBytes:
			return nil, &PartError{Number: want.Number, Size: int64(p.Size), MinSize: MinPartBytes, Err: ErrPartTooSmall}
		}
		ref := &bucketpb.PartRef{Number: p.Number, Id: p.Id, Size: p.Size, ChunkSize: p.ChunkSize, Domain: p.Domain, Stored: p.Stored, Salt: p.Salt}
		if p.Checksum != nil {
			ref.Checksum = p.Checksum.Value
		}
		manifest.Parts = append(manifest.Parts, ref)
		box.Keep = append(box.Keep, p.Id)
		parts = append(parts, partFrom(p))
		sum.Write(p.Md5)
		e.Size += p.Size
		e.Stored += uint64(storedOf(p))
	}
	if e.Stored == e.Size {
		e.Stored = 0 // none is sealed: what is has more bytes then
	}
	switch {
	case e.Size > MaxObjectBytes:
		return nil, fmt.Errorf("%w: %d bytes, at most %d in an object", ErrTooLarge, e.Size, int64(MaxObjectBytes))
	case in.Size > 0 && uint64(in.Size) != e.Size:
		return nil, fmt.Errorf("%w: they have %d bytes, not %d", ErrObjectSize, e.Size, in.Size)
	}
	if in.Checksum != nil {
		sums, err := in.Checksum(uploadFrom(u.Upload), parts)
		if err != nil {
			return nil, err
		}
		e.Checksums = checksumsTo(sums)
	}
	e.Md5 = sum.Sum(nil)
	return b.commitUpload(ctx, key, u, e, manifest, box, in.Cond)
}

func (b *Bucket) commitUpload(ctx context.Context, key string, u *upload, e *bucketpb.Entry, manifest *bucketpb.Manifest, box *bucketpb.Outbox, cond Cond) (*Object, error) {
	body := encode(manifest)
	c := &change{
		key: key, cond: cond, body: body, lost: ErrNoSuchUpload,
		need: func(op *client.Op) { op.CmpOmap(uploadKey(key, u.id), u.raw) },
	}
	var object string
	c.entry = func(*stored) (*bucketpb.Entry, error) {
		e.Mtime = b.svc.o.Now().UnixNano()
		return e, nil
	}
	c.writes = func(op *client.Op) {
		op.OmapRm(uploadKey(key, u.id)).OmapSet(outboxKey(b.svc.o.Now(), newID()), encode(box))
	}
	c.sum[cUploads]--
	c.committed = func(p *partition) { object = p.object }
	if err := b.commit(ctx, c); err != nil {
		return nil, err
	}
	b.svc.now(object)
	return b.object(key, e, body), nil
}

// Abort ends an upload without making an object of it.
func (b *Bucket) Abort(ctx context.Context, key, uploadID string) error {
	x, ok := parseID(uploadID)
	if !ok || CheckKey(key) != nil {
		return keyErr("abort upload of", b, key, ErrNoSuchUpload)
	}
	err := b.onKey(ctx, key, true, func(_ *view, p *partition) error {
		res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapGet(uploadKey(key, x)))
		if err != nil {
			return guardErr(err)
		}
		if !res.Items[1].Found {
			return ErrNoSuchUpload
		}
		op := p.guard().CmpOmap(uploadKey(key, x), res.Items[1].Data).
			OmapRm(uploadKey(key, x)).
			OmapSet(outboxKey(b.svc.o.Now(), newID()), encode(&bucketpb.Outbox{Upload: x[:]}))
		if p.counts(key) {
			(&tally{cUploads: -1}).into(op, p)
		}
		_, err = b.svc.meta.Do(ctx, p.object, op)
		if i, conflict, _ := failed(err); conflict && i == 1 {
			return ErrNoSuchUpload
		}
		if err == nil {
			b.svc.now(p.object)
		}
		return guardErr(err)
	})
	return keyErr("abort upload of", b, key, err)
}
