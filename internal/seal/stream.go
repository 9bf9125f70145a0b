package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Sizes of the format.
const (
	KeyBytes     = 32
	SaltBytes    = 32       // of a stream and of a wrapped key
	SegmentBytes = 64 << 10 // of plain bytes in a segment; the last one has 0 to so many
	Overhead     = 16       // of a sealed segment over a plain one
	TagBytes     = 16       // of Key.Tag

	sealedSegment = SegmentBytes + Overhead
	maxSegments   = 1 << 32
)

// ErrDamaged says that sealed bytes do not open: they were changed, are not where they belong, or the key is another one.
var ErrDamaged = errors.New("sealed data does not verify")

// ErrSize says that a body has not the size that it was announced with.
var ErrSize = errors.New("body does not have the announced size")

// Key is a data key or a key-encryption key. It is never shown: formatting one tells nothing.
type Key [KeyBytes]byte

// String hides the key from logs and errors.
func (Key) String() string { return "key" }

// GoString hides the key as well.
func (Key) GoString() string { return "key" }

// Format hides the key from every verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "key") }

// derive makes a key of n bytes for one use. HKDF fails only for lengths that nobody asks for here.
func derive(secret, salt []byte, use string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret, salt, use, n)
	if err != nil {
		panic("seal: " + err.Error()) // n is a small constant
	}
	return b
}

func newGCM(key []byte) cipher.AEAD {
	c, err := aes.NewCipher(key)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(c); err == nil {
			return a
		}
	}
	panic("seal: " + err.Error()) // keys have 32 bytes
}

// Tag makes a sum of a body into one that tells nothing of the body to whoever has not its key.
func (k Key) Tag(sum []byte) []byte {
	m := hmac.New(sha256.New, derive(k[:], nil, "cairn seal 1 tag", KeyBytes))
	m.Write(sum)
	return m.Sum(nil)[:TagBytes]
}

// Part is a stream of a body.
type Part struct {
	Number int // of the part of an upload; 0 for a body that was put at once
	Salt   []byte
	Size   int64 // plain bytes
}

// segments is how many segments a stream has: an empty one has one, so that a body cannot be emptied unnoticed.
func segments(size int64) int64 { return max(1, (size+SegmentBytes-1)/SegmentBytes) }

// Size is how many bytes a stream of so many plain bytes has sealed.
func Size(plain int64) int64 { return plain + segments(plain)*Overhead }

// stream seals and opens the segments of one stream.
type stream struct {
	aead cipher.AEAD
	size int64
}

func (k Key) stream(p Part) (*stream, error) {
	if len(p.Salt) != SaltBytes || p.Size < 0 || p.Number < 0 || segments(p.Size) > maxSegments {
		return nil, fmt.Errorf("%w: a stream of %d bytes with a salt of %d", ErrDamaged, p.Size, len(p.Salt))
	}
	use := binary.BigEndian.AppendUint32([]byte("cairn seal 1 stream "), uint32(p.Number))
	return &stream{aead: newGCM(derive(k[:], p.Salt, string(use), KeyBytes)), size: p.Size}, nil
}

// nonce is that of a segment: no two segments of a stream share one, and no two streams a key.
func (s *stream) nonce(segment int64) (n [12]byte) {
	binary.BigEndian.PutUint32(n[7:], uint32(segment))
	if s.last(segment) {
		n[11] = 1
	}
	return n
}

func (s *stream) last(segment int64) bool { return segment == segments(s.size)-1 }

// plain is how many plain bytes a segment has.
func (s *stream) plain(segment int64) int {
	return int(min(SegmentBytes, s.size-segment*SegmentBytes))
}

// Sealer seals a body as it is read. It is an io.Reader of the sealed stream, which ends well only if the body
// ends where it should.
type Sealer struct {
	s    *stream
	in   io.Reader
	sum  hash.Hash // of the plain bytes; may be nil
	at   int64     // segment
	buf  []byte
	out  []byte // sealed and not yet read
	done bool
	err  error

	upTo  bool // the body may end before its size
	one   [1]byte
	ahead []byte // of one: what was read to find out whether a segment is the last
	got   int64  // plain bytes sealed
}

// NewSealer seals the size bytes of in. sum, if not nil, sees the plain bytes.
func NewSealer(k Key, p Part, in io.Reader, sum hash.Hash) (*Sealer, error) {
	s, err := k.stream(p)
	if err != nil {
		return nil, err
	}
	return &Sealer{s: s, in: in, sum: sum, buf: make([]byte, min(sealedSegment, p.Size+Overhead))}, nil
}

// NewSealerUpTo is NewSealer for a body that has the size of p at most, and ends where it ends.
func NewSealerUpTo(k Key, p Part, in io.Reader, sum hash.Hash) (*Sealer, error) {
	s, err := NewSealer(k, p, in, sum)
	if err == nil {
		s.upTo = true
	}
	return s, err
}

// Size is how many plain bytes were sealed, once the body was read.
func (s *Sealer) Size() int64 { return s.got }

// Read implements io.Reader.
func (s *Sealer) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(s.out) == 0 {
		if s.err == nil {
			s.err = s.next()
		}
		if s.err != nil {
			return 0, s.err
		}
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *Sealer) next() error {
	if s.done {
		return ended(s.in)
	}
	plain, err := s.take()
	if err != nil {
		return err
	}
	if s.sum != nil {
		s.sum.Write(plain)
	}
	nonce := s.s.nonce(s.at)
	s.out = s.s.aead.Seal(s.buf[:0], nonce[:], plain, nil)
	s.got += int64(len(plain))
	s.done = s.s.last(s.at)
	s.at++
	return nil
}

// take reads the plain bytes of the next segment.
func (s *Sealer) take() ([]byte, error) {
	n := s.s.plain(s.at)
	have := copy(s.buf, s.ahead)
	m, err := fill(s.in, s.buf[have:n])
	have += m
	switch {
	case err != nil:
		return nil, err
	case have < n && !s.upTo:
		return nil, io.ErrUnexpectedEOF
	case have < n:
		s.s.size = s.at*SegmentBytes + int64(have)
	case s.upTo && !s.s.last(s.at):
		// Whether this is the last one is known when there is a byte behind it, or none.
		if m, err = fill(s.in, s.one[:]); err != nil {
			return nil, err
		}
		if s.ahead = s.one[:m]; m == 0 {
			s.s.size = (s.at + 1) * SegmentBytes
		}
	}
	return s.buf[:have], nil
}

// fill reads until buf is full or the body ends. Only io.EOF itself is an end: a body that broke off has another error.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for idle := 0; n < len(buf); idle++ {
		m, err := r.Read(buf[n:])
		n += m
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped one is not the end
			return n, nil
		case err != nil:
			return n, err
		case m > 0:
			idle = 0
		case idle == 100:
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// ended reads the end of a body, where whoever verifies it says so.
func ended(r io.Reader) error {
	var one [1]byte
	for range 100 {
		n, err := r.Read(one[:])
		if n > 0 {
			return fmt.Errorf("%w: it goes on", ErrSize)
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// run is what a range needs of one stream: some segments.
type run struct {
	part     int
	from, to int64 // segments
	off      int64 // of the stream's first plain byte in the body
}

// runs lists what n plain bytes from off on lie in, and where that lies in the sealed body. A range that reaches an
// empty stream takes it in, so that reading a body whole verifies all of it.
func runs(parts []Part, off, n int64) (out []run, sealedOff, sealedSize int64) {
	plain, sealed := int64(0), int64(0)
	for i, p := range parts {
		r := run{part: i, off: plain}
		switch {
		case p.Size == 0 && off <= plain && plain <= off+n:
			r.to = 1
		case n > 0 && off < plain+p.Size && plain < off+n:
			r.from = (max(off, plain) - plain) / SegmentBytes
			r.to = segments(min(off+n, plain+p.Size) - plain)
		}
		if r.to > 0 {
			if len(out) == 0 {
				sealedOff = sealed + r.from*sealedSegment
			}
			sealedSize = min(r.to*sealedSegment, Size(p.Size)) + sealed - sealedOff
			out = append(out, r)
		}
		plain += p.Size
		sealed += Size(p.Size)
	}
	return out, sealedOff, sealedSize
}

// Range says where in a sealed body the segments lie that n plain bytes from off on are in.
func Range(parts []Part, off, n int64) (sealedOff, sealedSize int64) {
	_, sealedOff, sealedSize = runs(parts, off, n)
	return sealedOff, sealedSize
}

// Opener opens a range of a sealed body as it is read.
type Opener struct {
	key   Key
	parts []Part
	runs  []run
	s     *stream // of the first run
	in    io.Reader
	off   int64 // plain bytes wanted
	end   int64
	buf   []byte
	out   []byte
	err   error
}

// NewOpener returns n plain bytes from off on of a body; in has the sealed bytes that Range names. Nothing that did
// not verify is ever returned.
func NewOpener(k Key, parts []Part, off, n int64, in io.Reader) *Opener {
	o := &Opener{key: k, parts: parts, in: in, off: off, end: off + n}
	o.runs, _, _ = runs(parts, off, n)
	return o
}

// Prime opens the first segment, so that a wrong key or damage there is found before anything is answered.
func (o *Opener) Prime() error {
	if o.err == nil && len(o.out) == 0 {
		o.err = o.next()
	}
	if errors.Is(o.err, io.EOF) {
		return nil
	}
	return o.err
}

// next opens the next segment.
func (o *Opener) next() (err error) {
	for len(o.out) == 0 {
		if len(o.runs) == 0 {
			return io.EOF
		}
		r := &o.runs[0]
		if o.s == nil {
			if o.s, err = o.key.stream(o.parts[r.part]); err != nil {
				return err
			}
		}
		n := o.s.plain(r.from)
		if cap(o.buf) < n+Overhead {
			o.buf = make([]byte, n+Overhead)
		}
		sealed := o.buf[:n+Overhead]
		if _, err := io.ReadFull(o.in, sealed); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: it ends early", ErrDamaged)
			}
			return err
		}
		nonce := o.s.nonce(r.from)
		plain, err := o.s.aead.Open(sealed[:0], nonce[:], sealed, nil)
		if err != nil {
			return fmt.Errorf("%w: segment %d of stream %d", ErrDamaged, r.from, r.part)
		}
		at := r.off + r.from*SegmentBytes
		o.out = plain[max(0, o.off-at):min(int64(len(plain)), o.end-at)]
		if r.from++; r.from == r.to {
			o.runs, o.s = o.runs[1:], nil
		}
	}
	return nil
}

// Read implements io.Reader.
func (o *Opener) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(o.out) == 0 {
		if o.err == nil {
			o.err = o.next()
		}
		if o.err != nil {
			return 0, o.err
		}
	}
	n := copy(b, o.out)
	o.out = o.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: a segment at a time, without a copy.
func (o *Opener) WriteTo(w io.Writer) (total int64, err error) {
	for {
		for len(o.out) > 0 {
			n, err := w.Write(o.out)
			total += int64(n)
			o.out = o.out[n:]
			if err != nil {
				return total, err
			}
		}
		if o.err == nil {
			o.err = o.next()
		}
		if errors.Is(o.err, io.EOF) {
			return total, nil
		}
		if o.err != nil {
			return total, o.err
		}
	}
}
