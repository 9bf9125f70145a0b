package bucket

import (
	"context"
	"fmt"
	"hash"
	"io"

	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Sealed bodies. Who keeps bodies encrypted seals them before they come here, and opens them behind OpenStored: this
// package has no keys. It keeps the size that is shown beside what is stored, and what the streams are that a body was
// sealed as, so that copies by reference and uploads in parts can be opened, too.

// Sealed says that the body of a put or of a part is stored sealed.
type Sealed struct {
	Stored int64  // bytes that the Body has; the Size beside it is what is shown
	Salt   []byte // of the stream that it is
	// Sum returns the MD5 of what was sealed, once the body was read: a Content-MD5 is held against it.
	Sum func() []byte
	// Tag makes the etag of that; nil: it is the etag.
	Tag func(sum []byte) []byte
	// Size returns how much was sealed, once the body was read. Needed for bodies whose size is not known
	// ahead: then Stored, too, is only the most that there may be.
	Size func() int64
}

const (
	// sealedFormat is the format of entries of sealed bodies.
	sealedFormat = Format + 1
	maxSalt      = 64
)

func (s *Sealed) stored(size int64) int64 {
	if s == nil {
		return size
	}
	return s.Stored
}

// shown is the MD5 of what is shown, where sum is that of what was read.
func (s *Sealed) shown(sum []byte) []byte {
	if s == nil {
		return sum
	}
	return s.Sum()
}

func (s *Sealed) tag(sum []byte) []byte {
	if s == nil || s.Tag == nil {
		return sum
	}
	return s.Tag(sum)
}

// hash is what sees the bytes that are stored: their MD5 says nothing if they are sealed.
func (s *Sealed) hash() hash.Hash {
	if s == nil {
		return newMD5()
	}
	return unhashed{}
}

type unhashed struct{}

func (unhashed) Write(b []byte) (int, error) { return len(b), nil }
func (unhashed) Sum(b []byte) []byte         { return b }
func (unhashed) Reset()                      {}
func (unhashed) Size() int                   { return 0 }
func (unhashed) BlockSize() int              { return 1 }

func (in *PutInput) hash() hash.Hash {
	if in.as != nil {
		return unhashed{}
	}
	return in.Sealed.hash()
}

// sealing says in an entry how its body is sealed.
func (in *PutInput) sealing(e *bucketpb.Entry) error {
	switch {
	case in.as != nil:
		streams, err := in.as.Streams()
		if err != nil {
			return err
		}
		e.Stored, e.Parts = uint64(in.as.Stored()), in.as.entry.Parts
		for _, s := range streams {
			e.Streams = append(e.Streams, &bucketpb.Stream{Number: uint32(s.Number), Salt: s.Salt, Size: uint64(s.Size)})
		}
		if n := e.SizeVT(); n > maxSealedEntry {
			return fmt.Errorf("%w: the index entry of a copy of %d sealed parts has %d bytes, at most %d", ErrTooLarge, len(e.Streams), n, maxSealedEntry)
		}
	case in.Sealed != nil:
		if in.Sealed.Stored <= in.Size || len(in.Sealed.Salt) == 0 || len(in.Sealed.Salt) > maxSalt || in.Sealed.Sum == nil {
			return fmt.Errorf("%w: %d bytes sealed as %d", ErrBodySize, in.Size, in.Sealed.Stored)
		}
		e.Stored = uint64(in.Sealed.Stored)
		e.Streams = []*bucketpb.Stream{{Salt: in.Sealed.Salt, Size: uint64(in.Size)}}
	}
	return nil
}

// maxSealedEntry bounds an entry with many streams: 1,024 parts of 5 MiB, the most that one copy has, need 32 KiB.
const maxSealedEntry = 256 << 10

// storedOf is how many bytes are stored of a body.
func storedOf(e interface {
	GetSize() uint64
	GetStored() uint64
}) int64 {
	if n := e.GetStored(); n > 0 {
		return int64(n)
	}
	return int64(e.GetSize())
}

// Stored is how many bytes are stored of the body: more than Size if it is sealed.
func (o *Object) Stored() int64 { return storedOf(o.entry) }

// Sealed reports whether the body is kept sealed. Then only OpenStored reads it.
func (o *Object) Sealed() bool { return o.entry.Stored > 0 }

// Stream is a run of a sealed body that was sealed by itself.
type Stream struct {
	Number int // of the part that it was put as; 0: the body was put at once
	Salt   []byte
	Size   int64 // before it was sealed
}

// Streams returns what a sealed body is made of, in order. The object must come from Get or GetVersion.
func (o *Object) Streams() ([]Stream, error) {
	var out []Stream
	total := uint64(0)
	add := func(number uint32, salt []byte, size uint64) {
		out = append(out, Stream{Number: int(number), Salt: salt, Size: int64(size)})
		total += size
	}
	switch {
	case !o.Sealed():
		return nil, nil
	case o.entry.Layout == bucketpb.Layout_PARTS:
		m, err := manifestOf(o.body)
		if err != nil {
			return nil, keyErr("read", o.b, o.Key, err)
		}
		for _, p := range m.Parts {
			add(p.Number, p.Salt, p.Size)
		}
	default:
		for _, s := range o.entry.Streams {
			add(s.Number, s.Salt, s.Size)
		}
	}
	if total != o.entry.Size {
		return nil, keyErr("read", o.b, o.Key, fmt.Errorf("%w: streams of %d bytes, the entry says %d", ErrCorrupt, total, o.entry.Size))
	}
	return out, nil
}

// OpenStored is Open for a body as it is stored; off and n are of that.
func (o *Object) OpenStored(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return o.open(ctx, off, n, true)
}

// RecodePart makes a part of what wrap returns of n stored bytes of src from off on; in says what that is, without a Body.
func (b *Bucket) RecodePart(ctx context.Context, key, uploadID string, number int, src *Object, off, n int64, wrap func(io.Reader) io.Reader, in PartInput) (*Part, error) {
	p, err := b.recodePart(ctx, key, uploadID, number, src, off, n, wrap, in)
	return p, keyErr(fmt.Sprintf("copy part %d of", number), b, key, err)
}

func (b *Bucket) recodePart(ctx context.Context, key, uploadID string, number int, src *Object, off, n int64, wrap func(io.Reader) io.Reader, in PartInput) (*Part, error) {
	if err := b.svc.copies.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.svc.copies.Release(1)
	r, err := src.open(ctx, off, n, false)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	in.Body = wrap(r)
	return b.uploadPart(ctx, key, uploadID, number, in)
}
