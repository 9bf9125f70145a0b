// Package scrub describes the copies of objects that a store holds, so that the
// members of a PG can compare theirs without sending them: names, versions, sizes and
// counts, and for a deep scrub digests of all bytes, attributes and omap pairs.
//
// Everything is read through the store's checksums, so a copy is described either
// right or as unreadable. It decides nothing: which copy is right is osd/pg's business.
package scrub

import (
	"encoding/binary"
	"errors"
	"hash"

	"github.com/minio/highwayhash"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// key is the published key of all digests, of every version of cairn. A digest tells copies
// apart that should be equal; it keeps nobody from making two that are not.
var key = []byte("cairn scrub digest, version 1\x00\x00\x00")

// Sizes of the pieces in which an object is read.
const (
	pieceBytes = 1 << 20
	piecePairs = 1000
)

// Pace is asked after every piece that was read, with its size. It may wait, so that clients'
// work goes first; an error ends the work and is returned.
type Pace func(bytes int) error

// Object describes one copy, also one that is missing or cannot be read. The error is not
// about the copy: the store is closed, or pace ended the work.
func Object(r store.Reader, k store.Key, deep bool, pace Pace) (*wirepb.ScrubItem, error) {
	it := &wirepb.ScrubItem{Object: []byte(k.Name)}
	info, err := r.Stat(k)
	if errors.Is(err, store.ErrNotFound) {
		it.Missing = true
		return it, nil
	}
	if err == nil {
		it.Version = &wirepb.Position{Term: uint32(info.Version.Term), Seq: info.Version.Seq}
		it.Size, it.Mtime = info.Size, info.Mtime
		err = describe(r, k, info, it, deep, pace)
	}
	var stop *stopped
	switch {
	case errors.As(err, &stop):
		return nil, stop.err
	case errors.Is(err, store.ErrClosed):
		return nil, err
	case errors.Is(err, store.ErrNotFound):
		return &wirepb.ScrubItem{Object: []byte(k.Name), Missing: true}, nil // removed meanwhile
	case err != nil:
		it.Error = err.Error()
	}
	return it, nil
}

// stopped is an error of pace, in contrast to one of the copy.
type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }

func describe(r store.Reader, k store.Key, info store.Info, it *wirepb.ScrubItem, deep bool, pace Pace) error {
	attrs, err := r.Attrs(k)
	if err != nil {
		return err
	}
	it.Attrs = uint64(len(attrs))
	sum := digest()
	for _, kv := range attrs {
		sum.pair(kv)
	}
	it.AttrsDigest = sum.end()
	if err := paced(pace, int(sum.bytes)); err != nil {
		return err
	}
	sum = digest()
	for start := []byte(nil); info.OmapKeys > 0; {
		kvs, more, err := r.OmapList(k, start, nil, piecePairs)
		if err != nil {
			return err
		}
		before := sum.bytes
		for _, kv := range kvs {
			sum.pair(kv)
		}
		it.Omap += uint64(len(kvs))
		if err := paced(pace, int(sum.bytes-before)); err != nil {
			return err
		}
		if !more || len(kvs) == 0 {
			break
		}
		start = append(append([]byte(nil), kvs[len(kvs)-1].Key...), 0)
	}
	it.OmapDigest = sum.end()
	if !deep {
		return nil
	}
	sum = digest()
	for off := uint64(0); off < info.Size; {
		b, err := r.Read(k, off, min(pieceBytes, info.Size-off))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			break // it became shorter meanwhile: another digest, so it is looked at again
		}
		sum.h.Write(b)
		off += uint64(len(b))
		if err := paced(pace, len(b)); err != nil {
			return err
		}
	}
	it.Deep, it.DataDigest = true, sum.end()
	return nil
}

func paced(pace Pace, n int) error {
	if pace == nil {
		return nil
	}
	if err := pace(n); err != nil {
		return &stopped{err}
	}
	return nil
}

// Page describes up to limit objects of a PG with names after `after`, at least one and fewer than limit
// when their data come to maxBytes, and says whether more follow.
func Page(r store.Reader, id placement.PGID, after string, limit int, maxBytes uint64, deep bool, pace Pace) (items []*wirepb.ScrubItem, more bool, err error) {
	objs, more, err := r.List(id, store.Objects, after, limit)
	if err != nil {
		return nil, false, err
	}
	var bytes uint64
	for i, o := range objs {
		if deep && i > 0 && bytes+o.Size > maxBytes {
			return items, true, nil
		}
		bytes += o.Size
		it, err := Object(r, store.Key{PG: id, Space: store.Objects, Name: o.Name}, deep, pace)
		if err != nil {
			return nil, false, err
		}
		items = append(items, it) // also if it has gone meanwhile: a page must end somewhere
	}
	return items, more, nil
}

// sums is a digest that is being made.
type sums struct {
	h     hash.Hash
	bytes uint64
}

func digest() *sums {
	h, err := highwayhash.New128(key)
	if err != nil {
		panic("scrub: " + err.Error()) // the key has the right length, see TestKey
	}
	return &sums{h: h}
}

// pair adds a pair so that no two lists of pairs give the same bytes.
func (s *sums) pair(kv store.KV) {
	var n [16]byte
	binary.LittleEndian.PutUint64(n[:8], uint64(len(kv.Key)))
	binary.LittleEndian.PutUint64(n[8:], uint64(len(kv.Value)))
	for _, b := range [][]byte{n[:], kv.Key, kv.Value} {
		s.h.Write(b)
		s.bytes += uint64(len(b))
	}
}

func (s *sums) end() []byte { return s.h.Sum(nil) }
