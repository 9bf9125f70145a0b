package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

const (
	partBytesMin = 64 << 10 // no read is cut into smaller parts: the places in so few bytes fit into an answer
	partsBytes   = 64 << 20 // what one Op may read in all
)

// plainRead reports whether an operation reads bytes.
func plainRead(op *wirepb.ObjOp) bool { return op.Kind == wirepb.OpKind_READ && !op.Flag }

// doInParts carries out an Op that only reads and was refused as invalid with first. An object that was written to in many
// small places over its chunks has more of those in a large range than an answer has room for: the range is read in parts, all
// of one version of the object. Whatever is wrong with an Op otherwise is said as before.
func (x *Chunks) doInParts(ctx context.Context, object string, op *Op, first error) (*Result, error) {
	reads := 0
	for _, o := range op.ops {
		if plainRead(o) {
			reads++
		}
	}
	if reads == 0 || op.Writes() || !errors.Is(first, ErrInvalid) {
		return nil, first
	}
	ctx, cancel := context.WithTimeout(ctx, x.plane.patience)
	defer cancel()
	var err error
	for range chunkAttempts {
		var res *Result
		if res, err = x.readInParts(ctx, object, op, first); err == nil {
			return res, nil
		}
		var gone *goneError
		if !errors.Is(err, errOtherVersion) && !errors.As(err, &gone) {
			return nil, err
		}
		x.plane.n.reread.Add(1)
	}
	if !errors.Is(err, errOtherVersion) {
		return nil, err // a chunk is gone
	}
	return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: ErrTimeout, Text: "it has to be read in parts, and changed each time meanwhile; try again when it is written to less"}
}

// errOtherVersion says that an object changed while it was read in parts.
var errOtherVersion = errors.New("the object has changed")

func (x *Chunks) readInParts(ctx context.Context, object string, op *Op, first error) (*Result, error) {
	stat := new(Op).Stat()
	stat.record = op.record
	st, err := x.raw.Do(ctx, object, stat)
	if err != nil {
		return nil, first
	}
	size := st.Items[0].Size
	lens := make([]uint64, len(op.ops))
	var total uint64
	// All else that the Op asks for comes with one byte of each read.
	rest := &Op{mtime: op.mtime, record: op.record}
	for i, o := range op.ops {
		if !plainRead(o) {
			rest.add(o)
			continue
		}
		rest.Read(o.Offset, 1)
		if o.Offset < size {
			lens[i] = size - o.Offset
			if o.Length != 0 {
				lens[i] = min(lens[i], o.Length)
			}
		}
		if total += lens[i]; total > partsBytes {
			return nil, first
		}
	}
	res, err := x.raw.Do(ctx, object, rest)
	if err != nil {
		return nil, err
	}
	if res.Version != st.Version {
		res.Release()
		return nil, errOtherVersion
	}
	mem := slab.New(int(total))
	dst := mem.Bytes()
	for i, o := range op.ops {
		if !plainRead(o) {
			continue
		}
		n := lens[i]
		if err := x.readPart(ctx, object, op.record, res.Version, o.Offset, dst[:n:n]); err != nil {
			mem.Release()
			res.Release()
			return nil, err
		}
		it := &res.Items[i]
		it.Data, it.Refs, it.Local, it.Length = dst[:n:n], nil, nil, n
		dst = dst[n:]
	}
	res.chunks = mem
	return res, nil
}

// readPart reads bytes of one version of an object, in halves if the answer has no room for what it is made of.
func (x *Chunks) readPart(ctx context.Context, object string, record bool, version, off uint64, dst []byte) error {
	if len(dst) == 0 {
		return nil
	}
	op := new(Op).AssertVersion(version).Read(off, uint64(len(dst)))
	op.record = record
	res, err := x.raw.Do(ctx, object, op)
	switch {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound):
		return errOtherVersion
	case errors.Is(err, ErrInvalid) && len(dst) >= 2*partBytesMin:
		half := len(dst) / 2
		if err := x.readPart(ctx, object, record, version, off, dst[:half:half]); err != nil {
			return err
		}
		return x.readPart(ctx, object, record, version, off+uint64(half), dst[half:])
	case err != nil:
		return err
	}
	defer res.Release()
	if res.refers() {
		if err := x.resolve(ctx, object, op, res); err != nil {
			return &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
		}
	}
	if n := copy(dst, res.Items[1].Data); n != len(dst) {
		return fmt.Errorf("%w: object %q of version %d: %d bytes at %d, want %d", ErrInternal, object, version, n, off, len(dst))
	}
	return nil
}
