// Package pack compresses the bytes of chunks if that pays, and gives them back.
//
// Packed bytes say nothing of themselves: how they were packed and how many bytes they were is in the chunk's layout.
// Their formats are those of s2 blocks, zstd frames and LZ4 blocks.
package pack

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// ErrCorrupt is what Unpack returns for bytes that Pack never made.
var ErrCorrupt = errors.New("packed bytes are damaged")

// What packing has to save to be kept: a part of the bytes, for which unpacking is worth its time and the loss of
// partial reads, and at least a block, since stores give out room in blocks.
const (
	partSaved  = 8
	bytesSaved = 4 << 10
)

// Most is how many bytes may be left of n for packing to be kept; 0: it is not worth trying.
func Most(n int) int { return max(0, n-max(n/partSaved, bytesSaved)) }

// Of the bytes, samples are looked at first: many chunks are compressed already, and to find that out should not cost
// what compression costs.
const (
	samples     = 8
	sampleBytes = 1 << 10
	sampleLeast = 0.1 // of compress.Estimate; 512 random bytes have up to 0.09, more of them less
)

// Compressible guesses whether bytes can be packed from a small part of them. Bytes that repeat only what is far away
// are taken for incompressible.
func Compressible(b []byte) bool {
	if len(b) <= samples*sampleBytes {
		return compress.Estimate(b) >= sampleLeast
	}
	// One estimate of all samples together would find as many values of bytes in a mixed chunk as in a random one.
	step := (len(b) - sampleBytes) / (samples - 1)
	good := 0
	for i := range samples {
		if compress.Estimate(b[i*step:i*step+sampleBytes]) >= sampleLeast {
			good++
		}
	}
	return good*partSaved >= samples
}

// Pack compresses src, in the capacity of dst where that suffices. If packing does not pay it returns src itself and
// PackNone.
func Pack(p placement.Packing, src, dst []byte) (stored []byte, used placement.Packing) {
	most := Most(len(src))
	if p == placement.PackNone || most == 0 || len(src) > chunk.MaxBytes || !Compressible(src) {
		return src, placement.PackNone
	}
	switch p {
	case placement.PackS2:
		stored = s2.Encode(dst[:cap(dst)], src)
	case placement.PackZstd:
		stored = encoder().EncodeAll(src, dst[:0])
	case placement.PackLZ4:
		if cap(dst) < most {
			dst = make([]byte, most)
		}
		c := lz4s.Get().(*lz4.Compressor)
		n, err := c.CompressBlock(src, dst[:most])
		lz4s.Put(c)
		if err != nil || n == 0 { // it does not fit
			return src, placement.PackNone
		}
		stored = dst[:n]
	default:
		return src, placement.PackNone
	}
	if len(stored) == 0 || len(stored) > most {
		return src, placement.PackNone
	}
	return stored, p
}

// Unpack returns the size bytes that were packed, in the capacity of dst where that suffices. Of what was not packed it
// returns stored itself. Whatever stored is, no more memory is used than for size bytes, and what is not exactly size
// bytes long is an error that matches ErrCorrupt.
func Unpack(p placement.Packing, stored []byte, size int, dst []byte) ([]byte, error) {
	if size <= 0 || size > chunk.MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, chunks have 1 to %d", ErrCorrupt, size, chunk.MaxBytes)
	}
	if p == placement.PackNone {
		if len(stored) != size {
			return nil, fmt.Errorf("%w: %d bytes stored of %d, not packed", ErrCorrupt, len(stored), size)
		}
		return stored, nil
	}
	if cap(dst) < size {
		dst = make([]byte, size)
	}
	dst = dst[:size:size]
	n := 0
	switch p {
	case placement.PackS2:
		var err error
		if n, err = s2.DecodedLen(stored); err == nil && n == size {
			_, err = s2.Decode(dst, stored)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	case placement.PackZstd:
		got, err := decoder().DecodeAll(stored, dst[:0])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		n = len(got)
	case placement.PackLZ4:
		var err error
		if n, err = lz4.UncompressBlock(stored, dst); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	default:
		return nil, fmt.Errorf("packing %d is not known; is this program older than the one that wrote the chunk?", p)
	}
	if n != size {
		return nil, fmt.Errorf("%w: they are %d bytes of %d", ErrCorrupt, n, size)
	}
	return dst, nil
}

// lz4s has the hash tables of compressors, which are large.
var lz4s = sync.Pool{New: func() any { return new(lz4.Compressor) }}

// encoder returns the one encoder of zstd, made when it is needed: it keeps memory for each processor.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // all options are constants
	}
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	// The cap is what keeps a few hostile bytes from becoming gigabytes.
	d, err := zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(chunk.MaxBytes), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err) // all options are constants
	}
	return d
})
