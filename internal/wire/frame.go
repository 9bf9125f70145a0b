package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// The prefix of every frame, little-endian (docs/formats/wire.md):
//
//	 0  2  magic CA 17
//	 2  1  layout version, 1
//	 3  1  low 4 bits: kind; high 4 bits: flags
//	 4  4  header length
//	 8  4  payload length
//	12  4  crc32c of the header
//	16  4  crc32c of the payload (0 if flagged as absent)
//	20  4  crc32c of the 20 bytes before
const (
	prefixLen     = 24
	magic0        = 0xCA
	magic1        = 0x17
	layoutVersion = 1
)

// kind says what a frame's header is.
type kind byte

const (
	kindMessage kind = iota // wirepb.Header
	kindHello               // wirepb.Hello
	kindWelcome             // wirepb.Welcome
	kindConfirm             // wirepb.Confirm
	kindPing                // wirepb.Header with a tag only
	kindPong                // the ping's header
	kindEnd
)

func (k kind) String() string {
	names := [...]string{"message", "hello", "welcome", "confirm", "ping", "pong"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

const flagNoPayloadCheck = 0x10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// prefix is the decoded fixed part of a frame.
type prefix struct {
	kind       kind
	unchecked  bool // the payload has no checksum
	header     uint32
	payload    uint32
	headerSum  uint32
	payloadSum uint32
}

func (p *prefix) put(b []byte) {
	_ = b[prefixLen-1]
	b[0], b[1], b[2], b[3] = magic0, magic1, layoutVersion, byte(p.kind)
	if p.unchecked {
		b[3] |= flagNoPayloadCheck
	}
	binary.LittleEndian.PutUint32(b[4:], p.header)
	binary.LittleEndian.PutUint32(b[8:], p.payload)
	binary.LittleEndian.PutUint32(b[12:], p.headerSum)
	binary.LittleEndian.PutUint32(b[16:], p.payloadSum)
	binary.LittleEndian.PutUint32(b[20:], checksum(b[:20]))
}

// parsePrefix decodes and checks the first prefixLen bytes of b. The limits
// depend on the connection's state and are the caller's to check.
func parsePrefix(b []byte) (prefix, error) {
	if len(b) < prefixLen {
		return prefix{}, fmt.Errorf("%w: prefix of %d bytes, want %d", ErrBadFrame, len(b), prefixLen)
	}
	b = b[:prefixLen]
	if b[0] != magic0 || b[1] != magic1 {
		return prefix{}, fmt.Errorf("%w: starts with % x, not a cairn frame%s", ErrBadFrame, b[:4], foreign(b))
	}
	// Another layout may keep its checksum elsewhere, so this comes first.
	if b[2] != layoutVersion {
		return prefix{}, fmt.Errorf("%w: frame layout version %d, this side understands %d", ErrBadFrame, b[2], layoutVersion)
	}
	if got, want := checksum(b[:20]), binary.LittleEndian.Uint32(b[20:]); got != want {
		return prefix{}, fmt.Errorf("%w: prefix checksum %08x, frame says %08x", ErrBadFrame, got, want)
	}
	p := prefix{
		kind:       kind(b[3] & 0x0f),
		unchecked:  b[3]&flagNoPayloadCheck != 0,
		header:     binary.LittleEndian.Uint32(b[4:]),
		payload:    binary.LittleEndian.Uint32(b[8:]),
		headerSum:  binary.LittleEndian.Uint32(b[12:]),
		payloadSum: binary.LittleEndian.Uint32(b[16:]),
	}
	if p.kind >= kindEnd {
		return prefix{}, fmt.Errorf("%w: unknown %v", ErrBadFrame, p.kind)
	}
	if unknown := b[3] &^ (0x0f | flagNoPayloadCheck); unknown != 0 {
		return prefix{}, fmt.Errorf("%w: unknown flags %#02x", ErrBadFrame, unknown)
	}
	return p, nil
}

// foreign recognises who else may have connected here, to save somebody an evening.
func foreign(b []byte) string {
	switch {
	case b[0] == 0x16 && b[1] == 0x03:
		return " (looks like TLS; this port is not TLS)"
	case bytes.HasPrefix(b, []byte("GET ")), bytes.HasPrefix(b, []byte("POST")), bytes.HasPrefix(b, []byte("PUT ")), bytes.HasPrefix(b, []byte("HEAD")):
		return " (looks like HTTP; this port is for cairn daemons and clients)"
	case bytes.HasPrefix(b, []byte("SSH-")):
		return " (looks like SSH)"
	}
	return ""
}

// frameReader reads frames one after the other.
type frameReader struct {
	in         *input
	headerMax  uint32
	payloadMax uint32
	peeked     int // bytes of in that the last header still occupies
}

// whole reports whether the next frame can be read without waiting for the peer.
// It says so of some that turn out to be damaged, too.
func (r *frameReader) whole() bool {
	n := r.in.buffered()
	if n < prefixLen {
		return false
	}
	b, _ := r.in.peek(prefixLen) // cannot fail: they are buffered
	return uint64(n) >= prefixLen+uint64(binary.LittleEndian.Uint32(b[4:]))+uint64(binary.LittleEndian.Uint32(b[8:]))
}

// next reads a frame's prefix and header. The header's bytes are valid until
// the next call of payload or next. io.EOF means that the stream ended between
// two frames.
func (r *frameReader) next() (prefix, []byte, error) {
	b, err := r.in.peek(prefixLen)
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			return prefix{}, nil, fmt.Errorf("%w: stream ended after %d of %d bytes of a prefix", ErrBadFrame, len(b), prefixLen)
		}
		return prefix{}, nil, err
	}
	p, err := parsePrefix(b)
	if err != nil {
		return prefix{}, nil, err
	}
	if p.header > r.headerMax {
		return p, nil, fmt.Errorf("%w: %v header of %d bytes, limit %d", ErrBadFrame, p.kind, p.header, r.headerMax)
	}
	if p.payload > r.payloadMax {
		return p, nil, fmt.Errorf("%w: %v payload of %d bytes, limit %d", ErrBadFrame, p.kind, p.payload, r.payloadMax)
	}
	var header []byte
	if whole := prefixLen + int(p.header); whole <= readBufferSize {
		b, err = r.in.peek(whole)
		if err != nil {
			return p, nil, truncated(err, "header", max(0, len(b)-prefixLen), int(p.header))
		}
		header, r.peeked = b[prefixLen:], whole
	} else {
		r.in.discard(prefixLen)
		if header, err = r.readSteps(int(p.header), readBufferSize, "header"); err != nil {
			return p, nil, err
		}
	}
	if got := checksum(header); got != p.headerSum {
		return p, nil, fmt.Errorf("%w: %v header checksum %08x, frame says %08x", ErrBadFrame, p.kind, got, p.headerSum)
	}
	return p, header, nil
}

// payload reads the payload of the frame that next returned into buf, which becomes
// a Buf of it, and verifies it. It reports false if there is none. After an error
// nobody uses buf.
func (r *frameReader) payload(p prefix, buf *slab.Buf) (bool, error) {
	r.in.discard(r.peeked)
	r.peeked = 0
	n := int(p.payload)
	r.in.framed(n)
	if n == 0 {
		return false, nil
	}
	if n > slab.MaxPooled {
		b, err := r.readSteps(n, slab.MaxPooled, "payload")
		if err != nil {
			return false, err
		}
		buf.InitWith(b)
	} else {
		buf.Init(n)
	}
	sum, err := r.fill(buf, n <= slab.MaxPooled, !p.unchecked)
	if err == nil && !p.unchecked && sum != p.payloadSum {
		err = fmt.Errorf("%w: payload checksum %08x of %d bytes, frame says %08x", ErrBadFrame, sum, n, p.payloadSum)
	}
	if err != nil {
		buf.Release()
		return false, err
	}
	return true, nil
}

// fill reads the Buf's bytes, if they are not there already, and checksums each block: as it
// comes, since the processor still has it then. It returns the checksum of the whole.
func (r *frameReader) fill(buf *slab.Buf, read, check bool) (uint32, error) {
	b := buf.Bytes()
	var sums []uint32
	if check {
		sums = buf.SumRoom()
	}
	got, done := 0, 0 // bytes that are there; blocks that have their checksum
	if !read {
		got = len(b)
	}
	for {
		for ; done < len(sums); done++ {
			end := min((done+1)*slab.BlockBytes, len(b))
			if end > got {
				break
			}
			sums[done] = checksum(b[done*slab.BlockBytes : end])
		}
		if got == len(b) {
			break
		}
		n, err := r.in.Read(b[got:min(got+fillBytes, len(b))])
		if got += n; err != nil && got < len(b) {
			return 0, truncated(err, "payload", got, len(b))
		}
	}
	if !check {
		return 0, nil
	}
	buf.SetSummed()
	return slab.Join(sums, len(b)), nil
}

// readSteps reads n bytes into memory that grows with what really arrives, so
// that a length alone costs us no more than one step.
func (r *frameReader) readSteps(n, step int, what string) ([]byte, error) {
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(n, 2*cap(b)))
			copy(grown, b)
			b = grown
		}
		got, err := io.ReadFull(r.in, b[len(b):cap(b)])
		b = b[:len(b)+got]
		if err != nil {
			return nil, truncated(err, what, len(b), n)
		}
	}
	return b, nil
}

func truncated(err error, what string, got, want int) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: stream ended after %d of %d bytes of a %s", ErrBadFrame, got, want, what)
	}
	return err
}

// message reads the rest of a frame whose header is a wirepb.Header.
func (r *frameReader) message(p prefix, header []byte) (*Message, error) {
	all := roomFor(header)
	m := &all.m
	m.Header = &all.h
	if err := m.Header.UnmarshalVT(header); err != nil {
		return nil, fmt.Errorf("%w: %v header does not decode: %w", ErrBadFrame, p.kind, err)
	}
	some, err := r.payload(p, &all.buf)
	if err != nil {
		return nil, err
	}
	if some {
		m.Mem, m.Payload = &all.buf, all.buf.Bytes()
	}
	return m, nil
}

// frame is an encoded message on its way out.
type frame struct {
	buf     *buffer // memory of head
	head    []byte  // prefix, header and a small payload
	payload []byte  // a large payload, not ours
	size    int     // bytes of all, for the limits
	reply   bool    // answers a request of the peer: frees its place when written

	mem  *slab.Buf // memory of payload, which we use; nil: somebody else sees to it
	sent func()    // Message.Sent
}

// release gives the frame's memory back. It calls Message.Sent, so no lock may
// be held.
func (f *frame) release() {
	f.buf.release()
	f.mem.Release()
	if f.sent != nil {
		f.sent()
	}
	*f = frame{}
}

// overridesMax is the room that the fields the messenger sets need at most.
const overridesMax = 11 + 2 + 11

// stamp holds the header fields that the messenger sets itself. They are
// appended to the encoded header: of a scalar field that occurs twice the last
// one counts, and the sender's Header is never written to.
type stamp struct {
	tag   uint64
	reply bool
	epoch uint64
}

func (s stamp) append(b []byte, h *wirepb.Header) []byte {
	if h.GetTag() != s.tag {
		b = append(b, 1<<3)
		b = binary.AppendUvarint(b, s.tag)
	}
	if h.GetReply() != s.reply {
		b = append(b, 2<<3, 0)
		if s.reply {
			b[len(b)-1] = 1
		}
	}
	if h.GetEpoch() == 0 && s.epoch != 0 {
		b = append(b, 3<<3)
		b = binary.AppendUvarint(b, s.epoch)
	}
	return b
}

// encode makes a frame of m, which may be nil. Of a frame that cannot be made
// the payload counts as sent.
func encode(k kind, m *Message, s stamp, unchecked bool) (frame, error) {
	f, err := encodeFrame(k, m, s, unchecked)
	if err != nil {
		m.unsent()
	} else if m != nil {
		f.sent = m.Sent
	}
	return f, err
}

func encodeFrame(k kind, m *Message, s stamp, unchecked bool) (frame, error) {
	var h *wirepb.Header
	var data []byte
	var mem *slab.Buf
	if m != nil {
		h, data, mem = m.Header, m.Payload, m.Mem
	}
	size := 0
	if h != nil {
		size = h.SizeVT()
	}
	if size+overridesMax > MaxHeader {
		return frame{}, fmt.Errorf("%w: header of %d bytes, limit %d", ErrTooLarge, size, MaxHeader-overridesMax)
	}
	if len(data) > MaxPayload {
		return frame{}, fmt.Errorf("%w: payload of %d bytes, limit %d", ErrTooLarge, len(data), MaxPayload)
	}
	room := prefixLen + size + overridesMax
	if len(data) < copyMax {
		room += len(data)
	}
	buf := getBuffer(room)
	b := buf.b[:prefixLen+size]
	if h != nil {
		if _, err := h.MarshalToSizedBufferVT(b[prefixLen:]); err != nil {
			buf.release()
			return frame{}, fmt.Errorf("encode header: %w", err)
		}
	}
	b = s.append(b, h)
	p := prefix{kind: k, unchecked: unchecked, header: uint32(len(b) - prefixLen), payload: uint32(len(data))}
	p.headerSum = checksum(b[prefixLen:])
	if !unchecked && len(data) > 0 {
		p.payloadSum = payloadSum(mem, data)
	}
	p.put(b)
	f := frame{buf: buf, head: b, size: len(b) + len(data), reply: s.reply}
	if len(data) < copyMax {
		f.head = append(b, data...)
	} else {
		f.payload = data
		if _, ok := mem.Holds(data); ok {
			mem.Retain()
			f.mem = mem
		}
	}
	return f, nil
}

// payloadSum is the checksum of data, from those of its blocks if its memory has them.
func payloadSum(mem *slab.Buf, data []byte) uint32 {
	if sums := mem.SumsOf(data); sums != nil {
		return slab.Join(sums, len(data))
	}
	return slab.ChecksumCold(data)
}
