package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

func readerOf(r io.Reader) *frameReader {
	return &frameReader{in: newInput(r), headerMax: MaxHeader, payloadMax: MaxPayload}
}

func readMessage(r *frameReader) (prefix, *Message, error) {
	p, header, err := r.next()
	if err != nil {
		return p, nil, err
	}
	m, err := r.message(p, header)
	return p, m, err
}

// The bytes on the wire are a contract: changing them needs a new layout version.
func TestFrameGolden(t *testing.T) {
	m := numbered(5)
	m.Payload = []byte("cairn")
	got := hex.EncodeToString(frameBytes(t, kindMessage, m, stamp{tag: 7, epoch: 300}))
	want := "ca170100" + "0a000000" + "05000000" + "b3ac555d" + "b6e7ed6e" + "02b0692a" + // prefix
		"82010208050807" + "18ac02" + // header: body, tag, epoch
		"636169726e"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	sizes := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(copyMax-2, copyMax+2), rapid.IntRange(60_000, 70_000))
	rapid.Check(t, func(t *rapid.T) {
		h := &wirepb.Header{
			Tag:   rapid.Uint64().Draw(t, "header tag"),
			Reply: rapid.Bool().Draw(t, "header reply"),
			Epoch: rapid.SampledFrom([]uint64{0, 0, 9}).Draw(t, "header epoch"),
			Error: strings.Repeat("e", sizes.Draw(t, "error length")),
		}
		s := stamp{tag: rapid.Uint64().Draw(t, "tag"), reply: rapid.Bool().Draw(t, "reply"), epoch: rapid.Uint64Range(0, 3).Draw(t, "epoch")}
		payload := bytes.Repeat([]byte{0xA5}, sizes.Draw(t, "payload length"))
		unchecked := rapid.Bool().Draw(t, "unchecked")
		before := h.String()

		f, err := encode(kindMessage, &Message{Header: h, Payload: payload}, s, unchecked)
		if err != nil {
			t.Fatal(err)
		}
		if h.String() != before {
			t.Fatal("encode changed the header")
		}
		whole := append(append([]byte(nil), f.head...), f.payload...)
		if len(whole) != f.size {
			t.Fatalf("frame of %d bytes says %d", len(whole), f.size)
		}
		f.release()

		stream := iotest.HalfReader(bytes.NewReader(append(whole, whole...)))
		r := readerOf(stream)
		for range 2 {
			_, m, err := readMessage(r)
			if err != nil {
				t.Fatal(err)
			}
			epoch := h.Epoch
			if epoch == 0 {
				epoch = s.epoch
			}
			if g := m.Header; g.Tag != s.tag || g.Reply != s.reply || g.Epoch != epoch || g.Error != h.Error {
				t.Fatalf("got header tag %d reply %v epoch %d, want %d %v %d", g.Tag, g.Reply, g.Epoch, s.tag, s.reply, epoch)
			}
			if !bytes.Equal(m.Payload, payload) {
				t.Fatalf("payload of %d bytes differs", len(payload))
			}
			m.Release()
			m.Release() // does nothing
		}
		if _, _, err := readMessage(r); err != io.EOF {
			t.Fatalf("after the last frame: %v, want EOF", err)
		}
	})
}

func TestBadFrames(t *testing.T) {
	m := numbered(5)
	m.Payload = bytes.Repeat([]byte("p"), 100)
	good := frameBytes(t, kindMessage, m, stamp{tag: 1})
	edit := func(f func(p *prefix)) []byte {
		b := bytes.Clone(good)
		p, err := parsePrefix(b)
		if err != nil {
			t.Fatal(err)
		}
		f(&p)
		p.put(b)
		return b
	}
	set := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	resum := func(b []byte) []byte { // prefix bytes changed on purpose, checksum right
		p := prefix{}
		c := bytes.Clone(b)
		p.put(c)
		sum := checksum(b[:20])
		b[20], b[21], b[22], b[23] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		return b
	}
	notProto := edit(func(p *prefix) { p.headerSum = checksum(bytes.Repeat([]byte{0xff}, int(p.header))) })
	copy(notProto[prefixLen:], bytes.Repeat([]byte{0xff}, len(good)-prefixLen-100))

	for _, tc := range []struct {
		name string
		in   []byte
		want string
	}{
		{"magic", set(0, 0), "not a cairn frame"},
		{"http", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "looks like HTTP"},
		{"tls", append([]byte{0x16, 3, 1}, make([]byte, 40)...), "looks like TLS"},
		{"ssh", []byte("SSH-2.0-OpenSSH_9.9 Debian-1\r\n"), "looks like SSH"},
		{"layout version", set(2, 9), "frame layout version 9, this side understands 1"},
		{"prefix checksum", set(4, good[4]+1), "prefix checksum"},
		{"kind", resum(set(3, 0x0f)), "unknown kind 15"},
		{"flags", resum(set(3, 0x80)), "unknown flags 0x80"},
		{"header too long", edit(func(p *prefix) { p.header = MaxHeader + 1 }), "header of 1048577 bytes, limit 1048576"},
		{"payload too long", edit(func(p *prefix) { p.payload = MaxPayload + 1 }), "payload of 83886081 bytes, limit 83886080"},
		{"lengths at the top", edit(func(p *prefix) { p.header, p.payload = 1<<32-1, 1<<32-1 }), "limit"},
		{"header checksum", set(prefixLen, good[prefixLen]^1), "header checksum"},
		{"payload checksum", set(len(good)-1, 'q'), "payload checksum"},
		{"header not protobuf", notProto, "header does not decode"},
		{"header missing", edit(func(p *prefix) { p.header = 5000 }), "of 5000 bytes of a header"},
		{"long header missing", edit(func(p *prefix) { p.header = MaxHeader }), "of 1048576 bytes of a header"},
		{"payload missing", edit(func(p *prefix) { p.payload = 5000 }), "stream ended after 100 of 5000 bytes of a payload"},
		{"long payload missing", edit(func(p *prefix) { p.payload = MaxPayload }), "stream ended after 100 of 83886080 bytes of a payload"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := readMessage(readerOf(bytes.NewReader(tc.in)))
			if !errors.Is(err, ErrBadFrame) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a bad frame with %q", err, tc.want)
			}
		})
	}
}

// Every single flipped bit and every truncation is noticed.
func TestFrameDamage(t *testing.T) {
	m := numbered(5)
	m.Payload = []byte("some payload")
	good := frameBytes(t, kindMessage, m, stamp{tag: 1})
	for bit := range len(good) * 8 {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, err := readMessage(readerOf(bytes.NewReader(b))); !errors.Is(err, ErrBadFrame) {
			t.Errorf("bit %d flipped: got %v, want a bad frame", bit, err)
		}
	}
	for n := 1; n < len(good); n++ {
		if _, _, err := readMessage(readerOf(bytes.NewReader(good[:n]))); !errors.Is(err, ErrBadFrame) {
			t.Errorf("cut after %d bytes: got %v, want a bad frame", n, err)
		}
	}
}

// A length that lies costs one step of memory, not what it says.
func TestLyingLength(t *testing.T) {
	b := make([]byte, prefixLen)
	p := prefix{kind: kindMessage, payload: MaxPayload, payloadSum: 1}
	p.headerSum = checksum(nil)
	p.put(b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := readMessage(readerOf(bytes.NewReader(b)))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrBadFrame) {
		t.Fatalf("got %v, want a bad frame", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > bufferMax+1<<20 {
		t.Errorf("took %d bytes of memory, want at most %d", took, bufferMax+1<<20)
	}
}

func TestEncodeLimits(t *testing.T) {
	long := &wirepb.Header{Error: strings.Repeat("x", MaxHeader)}
	for name, m := range map[string]*Message{
		"header":  {Header: long},
		"payload": {Payload: make([]byte, MaxPayload+1)},
	} {
		sent := 0
		m.Sent = func() { sent++ }
		if _, err := encode(kindMessage, m, stamp{}, true); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want too large", name, err)
		}
		if sent != 1 {
			t.Errorf("%s: Sent called %d times, want 1", name, sent)
		}
	}
}

func TestBufferClasses(t *testing.T) {
	for n := 1; n <= bufferMax; n += 1 + n/7 {
		class, size := slab.ClassOf(n)
		if class < 0 || class >= slab.Classes || size < n || n > 512 && size > n+n/2 {
			t.Fatalf("%d bytes: class %d of %d bytes", n, class, size)
		}
		if again, same := slab.ClassOf(size); again != class || same != size {
			t.Fatalf("class %d holds %d bytes, which are of class %d", class, size, again)
		}
	}
	if class, size := slab.ClassOf(bufferMax); class != slab.Classes-1 || size != bufferMax {
		t.Fatalf("largest class %d holds %d", class, size)
	}
	b := getBuffer(bufferMax + 1)
	if len(b.b) != bufferMax+1 || b.class != -1 {
		t.Fatalf("got %d bytes of class %d, want unpooled", len(b.b), b.class)
	}
	b.release()
}

func FuzzFrameHeader(f *testing.F) {
	good := make([]byte, prefixLen)
	(&prefix{kind: kindPing, header: 3, payload: 9}).put(good)
	f.Add(good)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n            "))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePrefix(b)
		if err != nil {
			if !errors.Is(err, ErrBadFrame) {
				t.Fatalf("%v is not a bad frame", err)
			}
			return
		}
		again := make([]byte, prefixLen)
		p.put(again)
		if !bytes.Equal(again, b[:prefixLen]) {
			t.Fatalf("% x encodes as % x", b[:prefixLen], again)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	m := numbered(5)
	m.Payload = bytes.Repeat([]byte("p"), 50)
	for _, k := range []kind{kindMessage, kindPing} {
		one, err := encode(k, m, stamp{tag: 3}, k == kindPing)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte(nil), one.head...), true)
		f.Add(append([]byte(nil), one.head...), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		// Mended checksums let the fuzzer reach what lies behind them.
		if mend && len(b) >= prefixLen {
			mendSums(b)
		}
		r := readerOf(bytes.NewReader(b))
		for {
			_, m, err := readMessage(r)
			if err == io.EOF || errors.Is(err, ErrBadFrame) {
				return
			}
			if err != nil {
				t.Fatalf("%v is neither EOF nor a bad frame", err)
			}
			m.Release()
		}
	})
}

// mendSums makes the magic, version and checksums of b's first frame right, as
// far as its lengths allow.
func mendSums(b []byte) {
	b[0], b[1], b[2], b[3] = magic0, magic1, layoutVersion, b[3]&0x10|b[3]%byte(kindEnd)
	le := func(i int) int { return int(b[i]) | int(b[i+1])<<8 | int(b[i+2])<<16 | int(b[i+3])<<24 }
	put := func(i int, v uint32) { b[i], b[i+1], b[i+2], b[i+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24) }
	rest := b[prefixLen:]
	if h := le(4); h <= len(rest) {
		put(12, checksum(rest[:h]))
		if p := le(8); p <= len(rest)-h {
			put(16, checksum(rest[h:h+p]))
		}
	}
	put(20, checksum(b[:20]))
}
