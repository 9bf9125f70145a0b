package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Sessions edit an object apart from everybody else: nobody sees what they write until they are finalized, and then all of
// it at once, as one new object. A session is an upload whose parts have offsets; it is not listed, and it ends by itself
// when nobody uses it. The object that it began with must be there unchanged when it is finalized.

// Limits of sessions.
const (
	MaxSessionEdits = 1000
	MinSessionIdle  = time.Second
	MaxSessionIdle  = 24 * time.Hour

	editsAttr  = "edits"  // of a session's object: sessionState
	activeAttr = "active" // of a session's object: when it was used last, unix ns
	// smallEdit is the size up to which the result of a session is simply written.
	smallEdit = 8 << 20
)

// sessionState is how far a session is: how many edits it has, and how large the body is with them.
type sessionState struct {
	edits int
	size  int64
}

func (s sessionState) encode() []byte { return fmt.Appendf(nil, "%d %d", s.edits, s.size) }

func parseState(b []byte) (s sessionState, err error) {
	if _, err := fmt.Sscanf(string(b), "%d %d", &s.edits, &s.size); err != nil || s.edits < 0 || s.size < 0 {
		return s, fmt.Errorf("%w: state %q of a session", ErrCorrupt, b)
	}
	return s, nil
}

func stampOf(t time.Time) []byte { return strconv.AppendInt(nil, t.UnixNano(), 10) }

// SessionInput is a new session.
type SessionInput struct {
	Base    *Object // what it edits, as Get returned it; nil: there is none
	Headers Headers // of the object to be
	Attrs   Attrs
	Owner   string
	Idle    time.Duration // it ends when it was not used for so long
}

// StartSession begins a session on a key and returns its id.
func (b *Bucket) StartSession(ctx context.Context, key string, in SessionInput) (string, error) {
	if in.Idle < MinSessionIdle || in.Idle > MaxSessionIdle {
		return "", keyErr("start a session on", b, key, fmt.Errorf("%w: an idle life of %s, want %s to %s", ErrInvalidName, in.Idle, MinSessionIdle, MaxSessionIdle))
	}
	up := UploadInput{Headers: in.Headers, Attrs: in.Attrs, Owner: in.Owner, session: &bucketpb.Upload{Idle: int64(in.Idle)}}
	if in.Base != nil {
		if in.Base.Sealed() {
			return "", keyErr("start a session on", b, key, ErrSealed)
		}
		up.session.Base, up.session.Revision, up.size = in.Base.entry.Id, in.Base.entry.Revision, in.Base.Size
	}
	return b.CreateUpload(ctx, key, up)
}

// edit is what a session writes at once.
type edit struct {
	off  int64  // negative: at the end
	want *int64 // where the end must be for that
	at   int64  // out: where it was written
	size int64  // out: of the body, then
}

// record makes an edit part of its session, after all that are by now.
func (e *edit) record(ctx context.Context, b *Bucket, object string, part *bucketpb.Part) error {
	for {
		res, err := b.svc.meta.Do(ctx, object, new(client.Op).GetAttr(editsAttr))
		if err != nil {
			return err
		}
		raw := res.Items[0].Data
		st, err := parseState(raw)
		if err != nil {
			return err
		}
		if e.at = e.off; e.off < 0 {
			e.at = st.size
		}
		switch {
		case e.want != nil && *e.want != st.size:
			return fmt.Errorf("%w: the body ends at %d", ErrPrecondition, st.size)
		case e.at > st.size:
			return fmt.Errorf("%w: offset %d is behind the end at %d", ErrRange, e.at, st.size)
		case st.edits >= MaxSessionEdits:
			return fmt.Errorf("%w: the session has %d edits", ErrTooLarge, st.edits)
		case e.at+int64(part.Size) > MaxObjectBytes:
			return fmt.Errorf("%w: %d bytes, at most %d in an object", ErrTooLarge, e.at+int64(part.Size), int64(MaxObjectBytes))
		}
		part.Number, part.Offset = uint32(st.edits+1), uint64(e.at)
		e.size = max(st.size, e.at+int64(part.Size))
		op := new(client.Op).CmpAttr(stateAttr, []byte(stateOpen)).CmpAttr(editsAttr, raw).
			OmapSet(partKey(part.Number), encode(part)).
			SetAttr(editsAttr, sessionState{edits: st.edits + 1, size: e.size}.encode()).SetAttr(activeAttr, stampOf(b.svc.o.Now()))
		_, err = b.svc.meta.Do(ctx, object, op)
		if i, conflict, _ := failed(err); conflict && i == 1 {
			continue // another edit was faster
		}
		return err
	}
}

// SessionWrite writes size bytes of body at an offset of a session's body, or at its end if that is negative, which must be
// at *end if that is given. It returns where they are, and how large the body is with them.
func (b *Bucket) SessionWrite(ctx context.Context, key, sessionID string, off int64, end *int64, body io.Reader, size int64) (at, total int64, err error) {
	if _, err := b.Session(ctx, key, sessionID); err != nil {
		return 0, 0, err
	}
	e := &edit{off: off, want: end}
	if _, err := b.uploadPart(ctx, key, sessionID, 1, PartInput{Body: body, Size: size, edit: e}); err != nil {
		return 0, 0, keyErr("write in a session on", b, key, err)
	}
	return e.at, e.size, nil
}

// sessionPiece is a run of a session's body: of an edit, or of what the session began with.
type sessionPiece struct {
	part *bucketpb.Part // nil: the base
	off  int64          // in that
	n    int64
}

// overlay puts n bytes of part in place of what is at an offset of the pieces, which may be their end.
func overlay(pieces []sessionPiece, at, n int64, part *bucketpb.Part) []sessionPiece {
	var out []sessionPiece
	if n == 0 {
		return pieces
	}
	pos, put := int64(0), false
	for _, p := range pieces {
		end := pos + p.n
		if pos < at {
			out = append(out, sessionPiece{p.part, p.off, min(p.n, at-pos)})
		}
		if !put && end >= at+n {
			out, put = append(out, sessionPiece{part, 0, n}), true
		}
		if end > at+n {
			skip := max(0, at+n-pos)
			out = append(out, sessionPiece{p.part, p.off + skip, p.n - skip})
		}
		pos = end
	}
	if !put {
		out = append(out, sessionPiece{part, 0, n})
	}
	return out
}

// Session is a session as of one moment.
type Session struct {
	ID      string
	Owner   string
	Size    int64 // of the body with all edits
	Edits   int
	Started time.Time
	Idle    time.Duration

	b      *Bucket
	u      *upload
	base   *Object
	pieces []sessionPiece
}

// Session returns a session, which counts as using it. One that was not used for too long is ended: ErrNoSuchUpload.
func (b *Bucket) Session(ctx context.Context, key, sessionID string) (*Session, error) {
	s, err := b.session(ctx, key, sessionID)
	return s, keyErr("find session on", b, key, err)
}

func (b *Bucket) session(ctx context.Context, key, sessionID string) (*Session, error) {
	u, err := b.openUploads(ctx, key, sessionID, true)
	if err != nil {
		return nil, err
	}
	now := b.svc.o.Now()
	res, err := b.svc.meta.Do(ctx, uploadObject(u.id), new(client.Op).GetAttr(activeAttr).GetAttr(editsAttr))
	if errors.Is(err, client.ErrNotFound) {
		return nil, ErrNoSuchUpload
	}
	if err != nil {
		return nil, err
	}
	if idled(res.Items[0].Data, u.Upload, now) {
		if err := b.Abort(ctx, key, sessionID); err != nil && !errors.Is(err, ErrNoSuchUpload) {
			return nil, err
		}
		return nil, ErrNoSuchUpload
	}
	st, err := parseState(res.Items[1].Data)
	if err != nil {
		return nil, err
	}
	_, err = b.svc.meta.Do(ctx, uploadObject(u.id), new(client.Op).CmpAttr(stateAttr, []byte(stateOpen)).SetAttr(activeAttr, stampOf(now)))
	if errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrNotFound) {
		return nil, ErrNoSuchUpload
	}
	if err != nil {
		return nil, err
	}
	return &Session{
		ID: sessionID, Owner: u.Owner, Size: st.size, Edits: st.edits, Started: time.Unix(0, u.Started), Idle: time.Duration(u.Idle), b: b, u: u,
	}, nil
}

// idled reports whether a session was not used for longer than it lives.
func idled(active []byte, u *bucketpb.Upload, now time.Time) bool {
	at, err := strconv.ParseInt(string(active), 10, 64)
	if err != nil {
		at = u.Started
	}
	return now.Sub(time.Unix(0, at)) > time.Duration(u.Idle)
}

// load reads what a session began with and its edits. ErrChanged says that the former is another one by now.
func (s *Session) load(ctx context.Context) error {
	key := s.u.Key
	base, err := s.b.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNoSuchKey) && len(s.u.Base) == 0:
	case errors.Is(err, ErrNoSuchKey), err == nil && (string(base.entry.Id) != string(s.u.Base) || base.entry.Revision != s.u.Revision):
		return fmt.Errorf("%w: it is not what the session began with", ErrChanged)
	case err != nil:
		return err
	default:
		s.base = base
		s.pieces = []sessionPiece{{nil, 0, base.Size}}
	}
	var size int64
	if s.base != nil {
		size = s.base.Size
	}
	n := 0
	err = s.b.svc.eachPart(ctx, s.u.id, 0, MaxListEntries, func(p *bucketpb.Part) bool {
		s.pieces = overlay(s.pieces, int64(p.Offset), int64(p.Size), p)
		size = max(size, int64(p.Offset+p.Size))
		n++
		return true
	})
	s.Size, s.Edits = size, n
	return err
}

// Open reads n bytes of a session's body from off on; n < 0 reads to the end.
func (s *Session) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := s.load(ctx); err != nil {
		return nil, keyErr("read session on", s.b, s.u.Key, err)
	}
	if n < 0 {
		n = s.Size - off
	}
	if off < 0 || off > s.Size || n > s.Size-off {
		return nil, keyErr("read session on", s.b, s.u.Key, fmt.Errorf("%w: bytes %d to %d of %d", ErrRange, off, off+n, s.Size))
	}
	return s.reader(ctx, off, n, true), nil
}

// piecesReader reads pieces one after another.
type piecesReader struct {
	s       *Session
	ctx     context.Context
	off, n  int64
	counted bool
	rest    []sessionPiece
	cur     io.ReadCloser
}

func (s *Session) reader(ctx context.Context, off, n int64, counted bool) *piecesReader {
	return &piecesReader{s: s, ctx: ctx, off: off, n: n, counted: counted, rest: s.pieces}
}

// Read implements io.Reader.
func (r *piecesReader) Read(b []byte) (int, error) {
	for {
		if r.cur == nil {
			for len(r.rest) > 0 && r.off >= r.rest[0].n {
				r.off -= r.rest[0].n
				r.rest = r.rest[1:]
			}
			if r.n == 0 || len(r.rest) == 0 {
				return 0, io.EOF
			}
			p := r.rest[0]
			p.off, p.n = p.off+r.off, min(p.n-r.off, r.n)
			var err error
			if r.cur, err = r.s.open(r.ctx, p, r.counted); err != nil {
				return 0, err
			}
			r.off, r.n, r.rest = 0, r.n-p.n, r.rest[1:]
		}
		n, err := r.cur.Read(b)
		if errors.Is(err, io.EOF) {
			err = r.cur.Close()
			r.cur = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close implements io.Closer.
func (r *piecesReader) Close() error {
	if r.cur == nil {
		return nil
	}
	return r.cur.Close()
}

func (s *Session) open(ctx context.Context, p sessionPiece, counted bool) (io.ReadCloser, error) {
	if p.part == nil {
		return s.base.open(ctx, p.off, p.n, counted)
	}
	x := []extent{{id: id(p.part.Id), size: int64(p.part.Size), chunk: p.part.ChunkSize}}
	return s.b.svc.newBodyReader(ctx, pieces(x, p.off, p.n, int64(s.b.svc.o.ChunkBytes)), counted)
}

// Finalize makes the body of a session the object's, and ends the session. If the object was changed since the session
// began that is ErrChanged, and the session stays.
func (b *Bucket) Finalize(ctx context.Context, key, sessionID string) (*Object, error) {
	o, err := b.finalize(ctx, key, sessionID)
	return o, keyErr("finalize session on", b, key, err)
}

func (b *Bucket) finalize(ctx context.Context, key, sessionID string) (*Object, error) {
	s, err := b.session(ctx, key, sessionID)
	if errors.Is(err, ErrNoSuchUpload) {
		// Asked again after it took effect it answers the same.
		if o, e := b.Head(ctx, key); e == nil && o.entry.Session != nil && fmt.Sprintf("%x", o.entry.Session) == sessionID {
			return o, nil
		}
	}
	if err == nil {
		err = s.load(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := b.svc.copies.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.svc.copies.Release(1)
	cond := Cond{Is: s.base, Absent: s.base == nil}
	in := PutInput{Size: s.Size, Headers: headersFrom(s.u.Headers), Attrs: attrsFrom(s.u.Attrs), Cond: cond, session: s.u.id[:]}
	o, err := b.finalizeByReference(ctx, s, in)
	if errors.Is(err, errReadIt) {
		if s.Size > MaxPutBytes {
			return nil, fmt.Errorf("%w: %d bytes, at most %d where chunks cannot be shared", ErrTooLarge, s.Size, int64(MaxPutBytes))
		}
		r := s.reader(ctx, 0, s.Size, false)
		defer r.Close()
		in.Body = r
		o, err = b.put(ctx, key, in)
	}
	if errors.Is(err, ErrPrecondition) {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return nil, err
	}
	// The session is over; if this is lost, the sweep ends it when it was idle for long enough.
	undo, cancel := detached(ctx)
	defer cancel()
	if err := b.Abort(undo, key, sessionID); err != nil && !errors.Is(err, ErrNoSuchUpload) {
		b.svc.log.Debug("end a session", "bucket", b.name, "err", err)
	}
	return o, nil
}

// cutExtents returns n bytes of extents from off on.
func cutExtents(all []extent, off, n int64) (out []extent) {
	for _, x := range all {
		if off < x.size && n > 0 {
			y := x
			y.off, y.size = x.off+off, min(x.size-off, n)
			out = append(out, y)
			n -= y.size
		}
		off = max(0, off-x.size)
	}
	return out
}

// finalizeByReference has the new body refer to the chunks of what it is made of. errReadIt says that this is not possible.
func (b *Bucket) finalizeByReference(ctx context.Context, s *Session, in PutInput) (*Object, error) {
	how := b.writing(in.Size)
	if in.Size <= smallEdit || how.opts == nil || len(how.domain()) == 0 || s.base == nil || s.base.entry.Layout == bucketpb.Layout_INLINE {
		return nil, errReadIt
	}
	base, err := s.base.extents()
	if err != nil {
		return nil, err
	}
	var from []extent
	tag := md5.New()
	fmt.Fprintf(tag, "session %x of %x", s.u.id, s.u.Base)
	for _, p := range s.pieces {
		if p.part == nil {
			from = append(from, cutExtents(base, p.off, p.n)...)
			continue
		}
		from = append(from, extent{id: id(p.part.Id), off: p.off, size: p.n, chunk: p.part.ChunkSize, domain: string(p.part.Domain)})
	}
	for _, x := range from {
		if x.domain != string(how.domain()) && x.domain != "" {
			return nil, errReadIt
		}
	}
	headers, err := headersTo(in.Headers)
	if err != nil {
		return nil, err
	}
	attrs, err := attrsTo(in.Attrs)
	if err != nil {
		return nil, err
	}
	x := newID()
	e := &bucketpb.Entry{Id: x[:], Size: uint64(in.Size), Parts: 1, Headers: headers, Attrs: attrs, Revision: newRevision(), Session: in.session}
	return b.putBody(ctx, e, &change{key: s.u.Key, cond: in.Cond}, how, func(it *intent) error {
		rc := &refCopy{s: b.svc, x: x, how: how, from: from, size: in.Size}
		if err := rc.run(ctx, it.renew); err != nil {
			return err
		}
		return b.complete(in, e, tag.Sum(nil))
	})
}

// Cancel ends a session without a trace.
func (b *Bucket) Cancel(ctx context.Context, key, sessionID string) error {
	if _, err := b.openUploads(ctx, key, sessionID, true); err != nil {
		return keyErr("cancel session on", b, key, err)
	}
	return b.Abort(ctx, key, sessionID)
}

// sweepSessions ends sessions that nobody used for longer than they live.
func (b *Bucket) sweepSessions(ctx context.Context) error {
	now := b.svc.o.Now()
	return b.scan(ctx, kindUpload, "", keyEnd, MaxListEntries, func(rec string, value []byte) (string, bool, error) {
		key, x, err := splitKey(string(kindUpload) + rec)
		if err != nil {
			return "", false, err
		}
		u := new(bucketpb.Upload)
		if err := decode(value, u); err != nil {
			return "", false, err
		}
		if u.Idle == 0 || now.Sub(time.Unix(0, u.Started)) <= time.Duration(u.Idle) {
			return "", false, nil
		}
		res, err := b.svc.meta.Do(ctx, uploadObject(x), new(client.Op).GetAttr(activeAttr))
		var active []byte
		switch {
		case errors.Is(err, client.ErrNotFound): // it was begun by somebody who went away
		case err != nil:
			return "", false, err
		default:
			active = res.Items[0].Data
		}
		if !idled(active, u, now) {
			return "", false, nil
		}
		if err := b.Abort(ctx, key, x.String()); err != nil && !errors.Is(err, ErrNoSuchUpload) {
			return "", false, err
		}
		return "", false, nil
	})
}

// Splice stores, in place of src, what src is with block written at an offset, which may be its end. src nil says that there
// is no object; then the block is all of it. ErrChanged says that there is another one by now.
func (b *Bucket) Splice(ctx context.Context, key string, src *Object, off int64, block []byte, headers Headers, attrs Attrs) (*Object, error) {
	o, err := b.splice(ctx, key, src, off, block, headers, attrs)
	if errors.Is(err, ErrPrecondition) {
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return o, keyErr("write into", b, key, err)
}

func (b *Bucket) splice(ctx context.Context, key string, src *Object, off int64, block []byte, headers Headers, attrs Attrs) (*Object, error) {
	size := int64(0)
	if src != nil {
		if src.Sealed() {
			return nil, ErrSealed
		}
		size = src.Size
	}
	if off < 0 || off > size {
		return nil, fmt.Errorf("%w: offset %d is behind the end at %d", ErrRange, off, size)
	}
	total := max(size, off+int64(len(block)))
	if total > smallEdit && b.svc.chunks != nil && src != nil {
		return b.spliceLarge(ctx, key, src, off, block, headers, attrs)
	}
	if err := b.svc.copies.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.svc.copies.Release(1)
	s := &Session{b: b, base: src}
	if src != nil {
		s.pieces = []sessionPiece{{nil, 0, size}}
	}
	end := min(size, off+int64(len(block)))
	before, behind := s.reader(ctx, 0, off, false), s.reader(ctx, end, size-end, false)
	defer before.Close()
	defer behind.Close()
	return b.put(ctx, key, PutInput{
		Body: io.MultiReader(before, bytes.NewReader(block), behind), Size: total, Headers: headers, Attrs: attrs, Cond: Cond{Is: src, Absent: src == nil},
	})
}

// spliceLarge is a session of one edit, so that chunks are shared.
func (b *Bucket) spliceLarge(ctx context.Context, key string, src *Object, off int64, block []byte, headers Headers, attrs Attrs) (*Object, error) {
	id, err := b.StartSession(ctx, key, SessionInput{Base: src, Headers: headers, Attrs: attrs, Idle: MaxSessionIdle})
	if err != nil {
		return nil, err
	}
	e := &edit{off: off}
	_, err = b.uploadPart(ctx, key, id, 1, PartInput{Body: bytes.NewReader(block), Size: int64(len(block)), edit: e})
	var o *Object
	if err == nil {
		o, err = b.finalize(ctx, key, id)
	}
	if err != nil {
		undo, cancel := detached(ctx)
		defer cancel()
		if e := b.Abort(undo, key, id); e != nil && !errors.Is(e, ErrNoSuchUpload) {
			b.svc.log.Debug("end a session", "bucket", b.name, "err", e)
		}
	}
	return o, err
}
