package bucket

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// The newest entry under a key is current: it lies at kindEntry if it is an object,
// at kindMarker if it is a delete marker, never at both. Older ones lie at
// kindVersion, newest first. All of a key lie in one partition, so each change of
// them is one operation, which compares the current entry.

// NullVersion names the version of an object that was put while its bucket kept none.
const NullVersion = "null"

// Versioning says what becomes of a version when another takes its place.
type Versioning = bucketpb.Versioning

// States of versioning. A bucket that ever kept versions is never off again.
const (
	VersioningOff       = bucketpb.Versioning_VERSIONING_OFF
	VersioningEnabled   = bucketpb.Versioning_VERSIONING_ENABLED
	VersioningSuspended = bucketpb.Versioning_VERSIONING_SUSPENDED
)

func isNull(e *bucketpb.Entry) bool { return len(e.Version) == 0 }

func inverse(seq uint64) string { return fmt.Sprintf("%016x", ^seq) }

func versionKey(kind byte, key string, seq uint64) string {
	return string(kind) + key + "\x00" + inverse(seq)
}

// versionOf is the name that clients have for a version.
func versionOf(e *bucketpb.Entry) string {
	if isNull(e) {
		return NullVersion
	}
	return inverse(e.Seq) + hex.EncodeToString(e.Version)
}

// parseVersion returns where a version that is not the null version would lie.
func parseVersion(s string) (seq uint64, ok bool) {
	if len(s) != 32 {
		return 0, false
	}
	inv, err := strconv.ParseUint(s[:16], 16, 64)
	if err != nil || inverse(^inv) != s[:16] {
		return 0, false
	}
	if _, err := hex.DecodeString(s[16:]); err != nil {
		return 0, false
	}
	return ^inv, true
}

func cloneEntry(e *bucketpb.Entry) *bucketpb.Entry { return proto.Clone(e).(*bucketpb.Entry) }

// parseStored makes sense of an entry and, if body is set, of the value of its body key.
func parseStored(at string, raw, value []byte, body bool) (*stored, error) {
	s := &stored{at: at, raw: raw, entry: new(bucketpb.Entry)}
	if err := decode(raw, s.entry); err != nil {
		return nil, err
	}
	if len(s.entry.Id) != len(id{}) {
		return nil, fmt.Errorf("%w: entry without an id", ErrCorrupt)
	}
	if body && hasBody(s.entry) {
		s.body = value
		if s.body == nil {
			s.body = []byte{}
		}
		if s.entry.Layout == bucketpb.Layout_INLINE && int64(len(s.body)) != storedOf(s.entry) {
			return nil, fmt.Errorf("%w: inline body of %d bytes, the entry says %d", ErrCorrupt, len(s.body), storedOf(s.entry))
		}
	}
	return s, nil
}

// tip reads what is newest under a key, an object or a delete marker; nil when there is nothing.
func (b *Bucket) tip(ctx context.Context, p *partition, key string, body bool) (*stored, error) {
	op := p.guard().OmapGet(omapKey(kindEntry, key)).OmapGet(omapKey(kindMarker, key))
	if body {
		op.OmapGet(omapKey(kindBody, key))
	}
	res, err := b.svc.meta.Do(ctx, p.object, op)
	if err != nil {
		return nil, guardErr(err)
	}
	return parseTip(key, res.Items[1:], body)
}

func parseTip(key string, items []client.ResultItem, body bool) (*stored, error) {
	switch {
	case items[0].Found:
		var value []byte
		if body {
			value = items[2].Data
		}
		return parseStored(omapKey(kindEntry, key), items[0].Data, value, body)
	case items[1].Found:
		return parseStored(omapKey(kindMarker, key), items[1].Data, nil, false)
	}
	return nil, nil
}

// version reads a noncurrent version, whole; nil when it is not there.
func (b *Bucket) version(ctx context.Context, p *partition, key string, seq uint64) (*stored, error) {
	at := versionKey(kindVersion, key, seq)
	res, err := b.svc.meta.Do(ctx, p.object, p.guard().OmapGet(at).OmapGet(versionKey(kindVersionBody, key, seq)))
	if err != nil {
		return nil, guardErr(err)
	}
	if !res.Items[1].Found {
		return nil, nil
	}
	return parseStored(at, res.Items[1].Data, res.Items[2].Data, true)
}

// find reads a version by its name, and what is current; v is nil when there is no such version.
func (b *Bucket) find(ctx context.Context, p *partition, key, version string) (v, tip *stored, err error) {
	seq, ok := parseVersion(version)
	if !ok && version != NullVersion {
		return nil, nil, ErrNoSuchVersion
	}
	op := p.guard().OmapGet(omapKey(kindEntry, key)).OmapGet(omapKey(kindMarker, key)).OmapGet(omapKey(kindBody, key))
	at := versionKey(kindVersion, key, seq)
	if ok {
		op.OmapGet(at).OmapGet(versionKey(kindVersionBody, key, seq))
	}
	res, err := b.svc.meta.Do(ctx, p.object, op)
	if err != nil {
		return nil, nil, guardErr(err)
	}
	tip, err = parseTip(key, res.Items[1:], true)
	switch {
	case err != nil || tip == nil:
		return nil, nil, err
	case versionOf(tip.entry) == version:
		return tip, tip, nil
	case ok && res.Items[4].Found:
		v, err = parseStored(at, res.Items[4].Data, res.Items[5].Data, true)
	case !ok && tip.entry.NullBelow:
		if v, err = b.version(ctx, p, key, tip.entry.NullSeq); err == nil && v == nil {
			err = errRaced // it went between the two reads
		}
	}
	if err == nil && v != nil && versionOf(v.entry) != version {
		v = nil
	}
	return v, tip, err
}

// GetVersion returns a version of an object, ready to be opened, or a delete marker.
func (b *Bucket) GetVersion(ctx context.Context, key, version string) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, keyErr("get", b, key, err)
	}
	var v, tip *stored
	err := b.onKey(ctx, key, false, func(_ *view, p *partition) (err error) {
		v, tip, err = b.find(ctx, p, key, version)
		return err
	})
	if err == nil && v == nil {
		err = ErrNoSuchVersion
	}
	if err != nil {
		return nil, keyErr("get version "+version+" of", b, key, err)
	}
	o := b.object(key, v.entry, v.body)
	o.Latest = v == tip
	return o, nil
}

// DeleteInput says what a deletion is of.
type DeleteInput struct {
	Version string // "": what is current, or if the bucket keeps versions nothing: a delete marker is put
	Cond    Cond
	Bypass  bool // versions locked in governance mode may be deleted
}

// Deleted is what a deletion did.
type Deleted struct {
	Version string // that was removed, or of the marker that was put; "" in a bucket that never kept versions
	Marker  bool   // it is a delete marker
}

// DeleteVersion deletes an object, or one version of it. What is not there is no
// error unless the conditions ask for it: then it is ErrNoSuchKey. Conditions may be
// held against a delete marker, which has no bytes and no etag.
func (b *Bucket) DeleteVersion(ctx context.Context, key string, in DeleteInput) (Deleted, error) {
	if err := CheckKey(key); err != nil {
		return Deleted{}, keyErr("delete", b, key, err)
	}
	if in.Version != "" {
		d, err := b.deleteVersion(ctx, key, in)
		return d, keyErr("delete version "+in.Version+" of", b, key, err)
	}
	c := &change{key: key, cond: in.Cond}
	err := b.commit(ctx, c)
	if errors.Is(err, errNothing) {
		err = nil
	}
	if err != nil || c.placed == nil {
		return Deleted{}, keyErr("delete", b, key, err)
	}
	return Deleted{Version: versionOf(c.placed), Marker: true}, nil
}

func (b *Bucket) deleteVersion(ctx context.Context, key string, in DeleteInput) (d Deleted, err error) {
	err = b.onKey(ctx, key, true, func(v *view, p *partition) error {
		d = Deleted{Version: in.Version}
		s, tip, err := b.find(ctx, p, key, in.Version)
		if err != nil {
			return err
		}
		if s == nil {
			if in.Cond != (Cond{}) {
				return in.Cond.check(nil)
			}
			return nil
		}
		if err := in.Cond.check(s); err != nil {
			return err
		}
		d.Marker = s.entry.Marker
		x, err := b.step(p, key)
		if err != nil {
			return err
		}
		x.expect(s)
		if s != tip && isNull(s.entry) {
			x.expect(tip) // it says where the null version is
		}
		if err := x.discard(ctx, s, in.Bypass); err != nil {
			return err
		}
		switch {
		case s == tip:
			if err := x.promote(ctx, p, tip); err != nil {
				return err
			}
		default:
			x.drop(s)
			if isNull(s.entry) {
				e := cloneEntry(tip.entry)
				e.NullBelow, e.NullSeq, e.Revision = false, 0, newRevision()
				x.op.OmapSet(tip.at, encode(e))
			}
		}
		if err := x.announce(ctx, Removed, s.entry); err != nil {
			return err
		}
		return x.do(ctx, v, p, nil)
	})
	return d, err
}

// promote removes the current entry and makes the newest of the others current.
func (x *step) promote(ctx context.Context, p *partition, tip *stored) error {
	first := versionKey(kindVersion, x.key, ^uint64(0))
	res, err := x.b.svc.meta.Do(ctx, p.object, p.guard().OmapList(first, first[:len(first)-16]+"g", 1))
	if err != nil {
		return guardErr(err)
	}
	if len(res.Items[1].KVs) == 0 {
		x.clear(tip, nil, nil)
		return nil
	}
	kv := res.Items[1].KVs[0]
	next, err := parseStored(kv.Key, kv.Value, nil, false)
	if err != nil {
		return err
	}
	if hasBody(next.entry) {
		if next, err = x.b.version(ctx, p, x.key, next.entry.Seq); err != nil {
			return err
		}
		if next == nil {
			return errRaced
		}
	}
	x.expect(next) // it may have been deleted since, or its attributes changed
	e := cloneEntry(next.entry)
	e.Noncurrent, e.Revision = 0, newRevision()
	if !isNull(e) {
		e.NullBelow, e.NullSeq = tip.entry.NullBelow, tip.entry.NullSeq
	}
	x.drop(next)
	x.clear(tip, e, next.body)
	x.put(e, next.body)
	return nil
}

// Update changes what is said of a version ("" for the current one) beside its
// body, in place; edit may be called more than once.
func (b *Bucket) Update(ctx context.Context, key, version string, edit func(o *Object, a *Attrs) error) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, keyErr("change", b, key, err)
	}
	var o *Object
	err := b.onKey(ctx, key, true, func(v *view, p *partition) error {
		var s, tip *stored
		var err error
		if version == "" {
			tip, err = b.tip(ctx, p, key, true)
			s = tip
		} else {
			s, tip, err = b.find(ctx, p, key, version)
		}
		switch {
		case err != nil:
			return err
		case s == nil && version != "":
			return ErrNoSuchVersion
		case s == nil:
			return ErrNoSuchKey
		case s.entry.Marker && version == "":
			return &MarkedError{Version: versionOf(s.entry), Modified: time.Unix(0, s.entry.Mtime)}
		case s.entry.Marker:
			return ErrMarker
		}
		o = b.object(key, s.entry, s.body)
		o.Latest = s == tip
		a := o.Attrs
		if err := edit(o, &a); err != nil {
			return err
		}
		e := cloneEntry(s.entry)
		if e.Attrs, err = attrsTo(a); err != nil {
			return err
		}
		e.Revision = newRevision()
		x, err := b.step(p, key)
		if err != nil {
			return err
		}
		x.expect(s)
		if err := x.preserve(s, e); err != nil {
			return err
		}
		x.op.OmapSet(s.at, encode(e))
		o.entry, o.Attrs = e, a
		if err := x.announce(ctx, Described, e); err != nil {
			return err
		}
		return x.do(ctx, v, p, nil)
	})
	if err != nil {
		return nil, keyErr("change", b, key, err)
	}
	return o, nil
}

// VersionsInput selects what Versions returns.
type VersionsInput struct {
	Prefix, Delimiter string
	AfterKey          string
	AfterVersion      string // with AfterKey: also versions of that key older than this one
	Max               int
}

// VersionsPage is a page of the versions and delete markers of a bucket, by key, newest first.
type VersionsPage struct {
	Versions             []*Object // without bodies
	Prefixes             []string
	Truncated            bool
	LastKey, LastVersion string
}

// Versions lists all versions and delete markers of a bucket.
func (b *Bucket) Versions(ctx context.Context, in VersionsInput) (*VersionsPage, error) {
	in.Max = min(max(in.Max, 0), MaxListEntries)
	out := &VersionsPage{}
	if in.Max == 0 {
		return out, nil
	}
	roll := roller{prefix: in.Prefix, delimiter: in.Delimiter, after: in.AfterKey}
	from, end := roll.bounds("")
	if in.AfterKey != "" {
		start, err := b.behind(ctx, in.AfterKey, in.AfterVersion)
		if err != nil {
			return nil, fmt.Errorf("list versions of bucket %q: %w", b.name, err)
		}
		from = max(from, start)
	}
	batch := listBatch(ListInput{Delimiter: in.Delimiter, Max: in.Max})
	kinds := []byte{kindEntry, kindMarker, kindVersion}
	err := b.scanKinds(ctx, kinds, from, end, batch, func(kind byte, record string, value []byte) (string, bool, error) {
		key := keyOf(record)
		common, next := roll.common(key)
		if next != "" && common == "" {
			return next, false, nil
		}
		if len(out.Versions)+len(out.Prefixes) == in.Max {
			out.Truncated = true
			return "", true, nil
		}
		if common != "" {
			out.Prefixes = append(out.Prefixes, common)
			out.LastKey, out.LastVersion = common, ""
			return next, false, nil
		}
		e := new(bucketpb.Entry)
		if err := decode(value, e); err != nil {
			return "", false, keyErr("list versions", b, key, err)
		}
		o := b.object(key, e, nil)
		o.Latest = kind != kindVersion
		out.Versions = append(out.Versions, o)
		out.LastKey, out.LastVersion = key, o.Version
		return "", false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of bucket %q: %w", b.name, err)
	}
	return out, nil
}

// behind is where a list goes on after a version of a key: "" for behind all of them.
func (b *Bucket) behind(ctx context.Context, key, version string) (string, error) {
	if version == "" || CheckKey(key) != nil {
		return key + "\x01", nil
	}
	seq, ok := parseVersion(version)
	if !ok && version != NullVersion {
		return "", fmt.Errorf("%w: version %q", ErrInvalidName, version)
	}
	if !ok {
		var v, tip *stored
		if err := b.onKey(ctx, key, false, func(_ *view, p *partition) (err error) {
			v, tip, err = b.find(ctx, p, key, version)
			return err
		}); err != nil {
			return "", err
		}
		switch {
		case v == nil: // gone since it was listed: older versions of the key follow, or none
			return key + "\x01", nil
		case v == tip:
			return key + "\x00", nil
		}
		seq = v.entry.Seq
	}
	return key + "\x00" + inverse(seq) + "\x00", nil
}

// SetVersioning turns the keeping of versions on or suspends it. It is in force at
// once here, at other gateways within ten seconds.
func (s *Service) SetVersioning(ctx context.Context, name string, to Versioning) error {
	return s.alter(ctx, name, "set the versioning of", func(r *bucketpb.Bucket) error {
		switch {
		case to == VersioningOff && r.Versioning != VersioningOff:
			return fmt.Errorf("%w: a bucket that kept versions can only suspend that", client.ErrConflict)
		case to != VersioningEnabled && r.ObjectLock:
			return fmt.Errorf("%w: a bucket whose versions can be locked keeps them", client.ErrConflict)
		}
		r.Versioning = to
		return nil
	})
}

// EnableObjectLock lets versions of a bucket be locked from now on, for good. It must keep versions.
func (s *Service) EnableObjectLock(ctx context.Context, name string) error {
	return s.alter(ctx, name, "enable object lock for", func(r *bucketpb.Bucket) error {
		if r.Versioning != VersioningEnabled {
			return fmt.Errorf("%w: only versions can be locked, and the bucket does not keep them", client.ErrConflict)
		}
		r.ObjectLock = true
		return nil
	})
}

// alter changes a bucket's record.
func (s *Service) alter(ctx context.Context, name, what string, f func(r *bucketpb.Bucket) error) error {
	for range maxTries {
		s.uncache(name)
		r, err := s.lookup(ctx, name)
		if err != nil {
			return err
		}
		if r.State != bucketpb.BucketState_ACTIVE {
			return nameErr(what, name, ErrBusy)
		}
		next := cloneRecord(r.Bucket)
		if err := f(next); err != nil {
			return nameErr(what, name, err)
		}
		_, changed, err := s.swap(ctx, name, r, next)
		if err != nil {
			return nameErr(what, name, err)
		}
		if !changed {
			s.uncache(name)
			return nil
		}
	}
	return nameErr(what, name, ErrBusy)
}

// IsVersion reports whether s may name a version.
func IsVersion(s string) bool {
	_, ok := parseVersion(s)
	return ok || s == NullVersion
}
