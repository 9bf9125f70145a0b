package bucket

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Headers are what a client says about a body, stored as they came.
type Headers struct {
	ContentType        string
	CacheControl       string
	ContentDisposition string
	ContentEncoding    string
	ContentLanguage    string
	Expires            string
	Meta               map[string]string // user metadata
}

// Checksum is a checksum of a body, or of its parts' checksums.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256
	Value     []byte
	Composite bool
}

// Object describes an object at the moment it was read or written.
type Object struct {
	Key       string
	Size      int64
	Modified  time.Time
	Parts     int // 0: not made of parts
	Headers   Headers
	Checksums []Checksum
	Attrs     Attrs

	Version    string    // NullVersion if it was put while the bucket kept none
	Marker     bool      // a delete marker, which has no body
	Latest     bool      // current; of listings of versions, and of GetVersion
	Noncurrent time.Time // since when another is; zero: not so

	b     *Bucket
	entry *bucketpb.Entry
	body  []byte
	past  bool // as a snapshot has it
}

// ETag returns the entity tag without quotes.
func (o *Object) ETag() string { return etagOf(o.entry) }

// ID names this state of the body: another body under the same key has another id.
func (o *Object) ID() string { return hex.EncodeToString(o.entry.Id) }

func etagOf(e *bucketpb.Entry) string {
	if e.Parts > 0 {
		return fmt.Sprintf("%x-%d", e.Md5, e.Parts)
	}
	return hex.EncodeToString(e.Md5)
}

func (b *Bucket) object(key string, e *bucketpb.Entry, body []byte) *Object {
	parts := 0 // a copy has the etag of its source's parts, but none of them
	if e.Layout == bucketpb.Layout_PARTS {
		parts = int(e.Parts)
	}
	o := &Object{
		Key: key, Size: int64(e.Size), Modified: time.Unix(0, e.Mtime), Parts: parts,
		Headers: headersFrom(e.Headers), Checksums: checksumsFrom(e.Checksums), Attrs: attrsFrom(e.Attrs),
		Version: versionOf(e), Marker: e.Marker, Latest: e.Noncurrent == 0,
		b: b, entry: e, body: body,
	}
	if e.Noncurrent != 0 {
		o.Noncurrent = time.Unix(0, e.Noncurrent)
	}
	return o
}

func headersFrom(h *bucketpb.Headers) Headers {
	if h == nil {
		return Headers{}
	}
	out := Headers{
		ContentType: h.ContentType, CacheControl: h.CacheControl, ContentDisposition: h.ContentDisposition,
		ContentEncoding: h.ContentEncoding, ContentLanguage: h.ContentLanguage, Expires: h.Expires,
	}
	if len(h.Meta) > 0 {
		out.Meta = make(map[string]string, len(h.Meta))
		for _, p := range h.Meta {
			out.Meta[p.Name] = p.Value
		}
	}
	return out
}

func headersTo(h Headers) (*bucketpb.Headers, error) {
	out := &bucketpb.Headers{
		ContentType: h.ContentType, CacheControl: h.CacheControl, ContentDisposition: h.ContentDisposition,
		ContentEncoding: h.ContentEncoding, ContentLanguage: h.ContentLanguage, Expires: h.Expires,
	}
	for _, name := range sortedKeys(h.Meta) {
		out.Meta = append(out.Meta, &bucketpb.Pair{Name: name, Value: h.Meta[name]})
	}
	if n := out.SizeVT(); n > MaxHeaderBytes {
		return nil, fmt.Errorf("%w: headers of %d bytes, at most %d", ErrTooLarge, n, MaxHeaderBytes)
	}
	return out, nil
}

func checksumsFrom(cs []*bucketpb.Checksum) []Checksum {
	var out []Checksum
	for _, c := range cs {
		out = append(out, Checksum{Algorithm: c.Algorithm, Value: c.Value, Composite: c.Composite})
	}
	return out
}

func checksumsTo(cs []Checksum) []*bucketpb.Checksum {
	var out []*bucketpb.Checksum
	for _, c := range cs {
		out = append(out, &bucketpb.Checksum{Algorithm: c.Algorithm, Value: c.Value, Composite: c.Composite})
	}
	return out
}

// Head returns an object without its body: Open works on the result of Get only.
func (b *Bucket) Head(ctx context.Context, key string) (*Object, error) {
	return b.get(ctx, "head", key, false)
}

// Get returns an object ready to be opened. A small body has come along already.
func (b *Bucket) Get(ctx context.Context, key string) (*Object, error) {
	return b.get(ctx, "get", key, true)
}

func (b *Bucket) get(ctx context.Context, what, key string, body bool) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, keyErr(what, b, key, err)
	}
	var s *stored
	err := b.onKey(ctx, key, false, func(_ *view, p *partition) (err error) {
		s, err = b.tip(ctx, p, key, body)
		return err
	})
	switch {
	case err != nil:
	case s == nil:
		err = ErrNoSuchKey
	case s.entry.Marker:
		err = &MarkedError{Version: versionOf(s.entry), Modified: time.Unix(0, s.entry.Mtime)}
	}
	if err != nil {
		return nil, keyErr(what, b, key, err)
	}
	return b.object(key, s.entry, s.body), nil
}

// Open reads n bytes of the body from off on; n < 0 reads to the end. It waits
// for the first bytes: ErrChanged says that the object was replaced or deleted,
// and that the caller should Get it again. After that, a body that is replaced
// can be read for the service's grace period; then Read fails with ErrChanged.
func (o *Object) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if o.Sealed() {
		return nil, keyErr("read", o.b, o.Key, ErrSealed)
	}
	return o.open(ctx, off, n, true)
}

func (o *Object) open(ctx context.Context, off, n int64, counted bool) (io.ReadCloser, error) {
	if n < 0 {
		n = o.Stored() - off
	}
	if off < 0 || off > o.Stored() || n > o.Stored()-off {
		return nil, keyErr("read", o.b, o.Key, fmt.Errorf("%w: bytes %d to %d of %d", ErrRange, off, off+n, o.Stored()))
	}
	if o.entry.Layout == bucketpb.Layout_INLINE {
		if int64(len(o.body)) != o.Stored() {
			return nil, keyErr("read", o.b, o.Key, fmt.Errorf("%w: opened without its body", ErrCorrupt))
		}
		return io.NopCloser(bytes.NewReader(o.body[off : off+n])), nil
	}
	extents, err := o.extents()
	if err == nil {
		var r io.ReadCloser
		if r, err = o.b.svc.newBodyReader(ctx, pieces(extents, off, n, int64(o.b.svc.o.ChunkBytes)), counted); err == nil {
			return r, nil
		}
	}
	return nil, keyErr("read", o.b, o.Key, err)
}

func (o *Object) extents() ([]extent, error) {
	e := o.entry
	if e.Layout == bucketpb.Layout_DATA {
		if e.ChunkSize == 0 {
			return nil, fmt.Errorf("%w: entry without a chunk size", ErrCorrupt)
		}
		return []extent{{id: id(e.Id), size: storedOf(e), chunk: e.ChunkSize, domain: string(e.Domain)}}, nil
	}
	m, err := manifestOf(o.body)
	if err != nil {
		return nil, err
	}
	var total int64
	extents := make([]extent, 0, len(m.Parts))
	for _, p := range m.Parts {
		extents = append(extents, extent{id: id(p.Id), size: storedOf(p), chunk: p.ChunkSize, domain: string(p.Domain)})
		total += storedOf(p)
	}
	if total != o.Stored() {
		return nil, fmt.Errorf("%w: parts of %d bytes, the entry says %d", ErrCorrupt, total, o.Stored())
	}
	return extents, nil
}

// Part returns where part number n (from 1) of a multipart object lies in its body.
func (o *Object) Part(n int) (off, size int64, err error) {
	if o.entry.Layout != bucketpb.Layout_PARTS {
		if n != 1 {
			return 0, 0, keyErr("read", o.b, o.Key, ErrInvalidPart)
		}
		return 0, o.Size, nil
	}
	m, err := manifestOf(o.body)
	if err != nil {
		return 0, 0, keyErr("read", o.b, o.Key, err)
	}
	for _, p := range m.Parts {
		if int(p.Number) == n {
			return off, int64(p.Size), nil
		}
		off += int64(p.Size)
	}
	return 0, 0, keyErr("read", o.b, o.Key, ErrInvalidPart)
}

// PartInfo is a part of a multipart object.
type PartInfo struct {
	Number   int
	Size     int64
	Checksum *Checksum // nil: none was asked for
}

// PartList returns the parts of an object that was read with its body; none if it was not made of parts.
func (o *Object) PartList() ([]PartInfo, error) {
	if o.entry.Layout != bucketpb.Layout_PARTS {
		return nil, nil
	}
	m, err := manifestOf(o.body)
	if err != nil {
		return nil, keyErr("read", o.b, o.Key, err)
	}
	var out []PartInfo
	for _, p := range m.Parts {
		info := PartInfo{Number: int(p.Number), Size: int64(p.Size)}
		if len(p.Checksum) > 0 && len(o.Checksums) > 0 {
			info.Checksum = &Checksum{Algorithm: o.Checksums[0].Algorithm, Value: p.Checksum}
		}
		out = append(out, info)
	}
	return out, nil
}

// Cond are the conditions of a change. The zero value has none.
type Cond struct {
	Absent bool   // there must be no object
	Match  string // an object with this etag must be there; "*": any
	Not    string // an object that is there must have another etag
	// Size and Modified are of the object that must be there; Modified counts in whole seconds.
	Size     *int64
	Modified time.Time
	// Is, if set, must be what is there, unchanged since it was read or listed; for deletions of versions
	// it may be a delete marker.
	Is *Object
}

// there reports whether the condition wants something to be there.
func (c Cond) there() bool {
	return c.Match != "" || c.Size != nil || !c.Modified.IsZero()
}

func (c Cond) check(old *stored) error {
	switch {
	case c.Is != nil && (old == nil || old.entry.Revision != c.Is.entry.Revision):
		return fmt.Errorf("%w: it was changed or deleted", ErrPrecondition)
	case c.Absent && old != nil:
		return fmt.Errorf("%w: the object exists", ErrPrecondition)
	case old == nil && c.there():
		return ErrNoSuchKey
	case old == nil:
		return nil
	case c.Match != "" && c.Match != "*" && c.Match != etagOf(old.entry):
		return fmt.Errorf("%w: the object has etag %s", ErrPrecondition, etagOf(old.entry))
	case c.Not != "" && c.Not == etagOf(old.entry):
		return fmt.Errorf("%w: the object has that etag", ErrPrecondition)
	case c.Size != nil && *c.Size != int64(old.entry.Size):
		return fmt.Errorf("%w: the object has %d bytes", ErrPrecondition, old.entry.Size)
	case !c.Modified.IsZero() && !c.Modified.Truncate(time.Second).Equal(time.Unix(0, old.entry.Mtime).Truncate(time.Second)):
		return fmt.Errorf("%w: the object is of %s", ErrPrecondition, time.Unix(0, old.entry.Mtime).UTC().Format(time.RFC3339))
	}
	return nil
}

// PutInput is a new object.
type PutInput struct {
	Body    io.Reader // read to its end; an error at any point means that nothing is stored
	Size    int64
	UpTo    bool // Size is only the most that the body may have: where it ends, it ends
	Headers Headers
	Attrs   Attrs
	Cond    Cond
	MD5     []byte  // when set, the body must have it
	Sealed  *Sealed // nil: the body is stored as it is
	// Finish is called when the body has been read, before the object becomes
	// visible: it may still refuse, and it returns the checksums to store.
	Finish func() ([]Checksum, error)

	as      *Object // the copy of a sealed body as it is stored
	session []byte  // that the body is of
}

// Put stores an object. It becomes visible when Put returns without an error, at
// once and whole.
func (b *Bucket) Put(ctx context.Context, key string, in PutInput) (*Object, error) {
	o, err := b.put(ctx, key, in)
	return o, keyErr("put", b, key, err)
}

func (b *Bucket) put(ctx context.Context, key string, in PutInput) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if in.Size < 0 || in.Size > MaxPutBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d in one put", ErrTooLarge, in.Size, int64(MaxPutBytes))
	}
	headers, err := headersTo(in.Headers)
	if err != nil {
		return nil, err
	}
	attrs, err := attrsTo(in.Attrs)
	if err != nil {
		return nil, err
	}
	if in.UpTo {
		if err := b.measure(&in); err != nil {
			return nil, err
		}
	}
	x := newID()
	e := &bucketpb.Entry{Id: x[:], Size: uint64(in.Size), Headers: headers, Attrs: attrs, Revision: newRevision(), Session: in.session}
	if err := in.sealing(e); err != nil {
		return nil, err
	}
	// Guess that the key is new: then a small put is a single operation. A wrong
	// guess changes nothing and costs a read.
	c := &change{key: key, cond: in.Cond, known: !in.Cond.there() && in.Cond.Not == "" && in.Cond.Is == nil}
	if storedOf(e) <= int64(b.svc.o.InlineBytes) {
		return b.putInline(ctx, in, e, c)
	}
	return b.putData(ctx, in, e, c)
}

// measure reads as much of a body of unknown size as it takes to know how to write it.
func (b *Bucket) measure(in *PutInput) error {
	ahead := make([]byte, min(in.Sealed.stored(in.Size), int64(max(b.svc.o.InlineBytes, client.MinChunkBytes))))
	n, err := fillUpTo(in.Body, ahead, io.Discard)
	if err != nil {
		return err
	}
	if n < len(ahead) {
		in.ended(int64(n))
		in.UpTo = false
	}
	in.Body = io.MultiReader(bytes.NewReader(ahead[:n]), in.Body)
	return nil
}

// ended says how many bytes a body had whose size was not known.
func (in *PutInput) ended(n int64) {
	if in.Sealed == nil {
		in.Size = n
		return
	}
	sealed := *in.Sealed
	in.Size, sealed.Stored = sealed.Size(), n
	in.Sealed = &sealed
}

// countedReader counts what is read.
type countedReader struct {
	io.Reader
	n int64
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// complete fills in what is known only when the body has been read.
func (b *Bucket) complete(in PutInput, e *bucketpb.Entry, sum []byte) error {
	sum = in.Sealed.shown(sum)
	if in.MD5 != nil && !bytes.Equal(in.MD5, sum) {
		return fmt.Errorf("%w: its MD5 is %x, not %x", ErrDigest, sum, in.MD5)
	}
	e.Md5 = in.Sealed.tag(sum)
	if in.as != nil {
		e.Md5 = in.as.entry.Md5
	}
	if in.Finish != nil {
		sums, err := in.Finish()
		if err != nil {
			return err
		}
		e.Checksums = checksumsTo(sums)
	}
	e.Mtime = b.svc.o.Now().UnixNano()
	return nil
}

func (b *Bucket) putInline(ctx context.Context, in PutInput, e *bucketpb.Entry, c *change) (*Object, error) {
	body := make([]byte, storedOf(e))
	h := in.hash()
	if err := fill(in.Body, body, h); err != nil {
		return nil, err
	}
	if err := finish(in.Body); err != nil {
		return nil, err
	}
	if err := b.complete(in, e, h.Sum(nil)); err != nil {
		return nil, err
	}
	e.Layout = bucketpb.Layout_INLINE
	c.body = body
	c.entry = func(*stored) (*bucketpb.Entry, error) { return e, nil }
	if err := b.commit(ctx, c); err != nil {
		return nil, err
	}
	return b.object(c.key, e, body), nil
}

var errAbandoned = errors.New("the put took too long between signs of life and was taken for abandoned")

func (b *Bucket) putData(ctx context.Context, in PutInput, e *bucketpb.Entry, c *change) (*Object, error) {
	how := b.writing(storedOf(e))
	how.upTo = in.UpTo
	return b.putBody(ctx, e, c, how, func(it *intent) error {
		h, r := in.hash(), in.Body
		body := &countedReader{Reader: r}
		if in.UpTo {
			r = body
		}
		if err := b.svc.writeData(ctx, it.id, how, r, storedOf(e), h, it.renew); err != nil {
			return err
		}
		if in.UpTo {
			in.ended(body.n)
			e.Size = uint64(in.Size)
			if err := in.sealing(e); err != nil {
				return err
			}
		}
		return b.complete(in, e, h.Sum(nil))
	})
}

// putBody announces data objects, has them written and the entry filled in, and then makes it visible.
func (b *Bucket) putBody(ctx context.Context, e *bucketpb.Entry, c *change, how writing, write func(it *intent) error) (*Object, error) {
	if c.cond != (Cond{}) { // spare a body that is not wanted
		err := b.onKey(ctx, c.key, false, func(_ *view, p *partition) error {
			old, err := b.read(ctx, p, c.key, false)
			if err != nil {
				return err
			}
			return c.cond.check(old)
		})
		if err != nil {
			return nil, err
		}
	}
	if err := b.mayFit(ctx, c.key, int64(e.Size)); err != nil {
		return nil, err
	}
	e.Layout, e.ChunkSize, e.Domain = bucketpb.Layout_DATA, how.object, how.domain()
	it := &intent{b: b, key: c.key, id: id(e.Id), count: chunks(storedOf(e), e.ChunkSize)}
	if err := it.announce(ctx); err != nil {
		return nil, err
	}
	err := func() error {
		if err := write(it); err != nil {
			return err
		}
		c.need = func(op *client.Op) { op.CmpOmap(it.omap(), it.raw) }
		c.lost = errAbandoned
		c.entry = func(*stored) (*bucketpb.Entry, error) { return e, nil }
		c.writes = func(op *client.Op) { op.OmapRm(it.omap()) }
		return b.commit(ctx, c)
	}()
	if err != nil {
		// The commit may have taken effect even so, if its answer was lost: abandon only turns an
		// intent that is still there into work for the sweep.
		undo, cancel := detached(ctx)
		defer cancel()
		if e := it.abandon(undo); e != nil {
			b.svc.log.Debug("clean up after a put", "bucket", b.name, "err", e)
		}
		return nil, err
	}
	return b.object(c.key, e, nil), nil
}

// intent announces data objects that no entry names yet.
type intent struct {
	b     *Bucket
	key   string
	id    id
	count uint32
	raw   []byte
}

func (it *intent) omap() string { return intentKey(it.key, it.id) }

func (it *intent) encode() []byte {
	return encode(&bucketpb.Intent{Id: it.id[:], Count: it.count, Renewed: it.b.svc.o.Now().UnixNano()})
}

func (it *intent) announce(ctx context.Context) error {
	it.raw = it.encode()
	return it.b.onKey(ctx, it.key, true, func(_ *view, p *partition) error {
		return guardErr(it.b.svc.gather(ctx, p.object, p.guard().OmapSet(it.omap(), it.raw)))
	})
}

// renew is the sign of life that keeps Sweep away.
func (it *intent) renew(ctx context.Context) error {
	raw := it.encode()
	err := it.b.onKey(ctx, it.key, true, func(_ *view, p *partition) error {
		_, err := it.b.svc.meta.Do(ctx, p.object, p.guard().CmpOmap(it.omap(), it.raw).OmapSet(it.omap(), raw))
		if i, conflict, _ := failed(err); conflict && i == 1 {
			return errAbandoned
		}
		return guardErr(err)
	})
	if err == nil {
		it.raw = raw
	}
	return err
}

// abandon turns the intent into an outbox record, if it is still there.
func (it *intent) abandon(ctx context.Context) error {
	_, err := it.b.dropIntent(ctx, it.key, it.id, func(*bucketpb.Intent) bool { return true })
	return err
}

// dropIntent turns an intent that stale approves of into an outbox record.
func (b *Bucket) dropIntent(ctx context.Context, key string, x id, stale func(*bucketpb.Intent) bool) (dropped bool, err error) {
	err = b.onKey(ctx, key, true, func(_ *view, p *partition) error {
		dropped = false
		res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapGet(intentKey(key, x)))
		if err != nil {
			return guardErr(err)
		}
		if !res.Items[1].Found {
			return nil
		}
		raw, in := res.Items[1].Data, new(bucketpb.Intent)
		if err := decode(raw, in); err != nil {
			return err
		}
		if !stale(in) {
			return nil
		}
		due := b.svc.o.Now().Add(b.svc.o.Grace)
		box := &bucketpb.Outbox{Data: []*bucketpb.DataRef{{Id: in.Id, Count: in.Count}}}
		_, err = b.svc.meta.Do(ctx, p.object, p.guard().CmpOmap(intentKey(key, x), raw).
			OmapRm(intentKey(key, x)).OmapSet(outboxKey(due, newID()), encode(box)))
		if i, conflict, _ := failed(err); conflict && i == 1 {
			return errRaced
		}
		if err == nil {
			dropped = true
			b.svc.soon(p.object)
		}
		return guardErr(err)
	})
	return dropped, err
}

// Past reports whether it is as a snapshot has it.
func (o *Object) Past() bool { return o.past }

// Bucket returns the name of the object's bucket.
func (o *Object) Bucket() string { return o.b.name }
