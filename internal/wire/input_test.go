package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// someReader gives out a stream in pieces of any size, now and then none, and the error with or after the last.
type someReader struct {
	b     []byte
	rnd   *rand.Rand
	err   error
	most  int
	calls int
}

func (s *someReader) Read(p []byte) (int, error) {
	s.calls++
	if len(s.b) == 0 {
		return 0, s.err
	}
	if s.rnd == nil {
		n := copy(p, s.b)
		s.b = s.b[n:]
		return n, nil
	}
	n := copy(p[:min(len(p), s.rnd.IntN(s.most))], s.b)
	if s.b = s.b[n:]; len(s.b) == 0 && s.rnd.IntN(2) == 0 {
		return n, s.err
	}
	return n, nil
}

// TestInput: whatever is peeked at, discarded and read is the stream, and its end comes after all of it.
func TestInput(t *testing.T) {
	end := errors.New("the end")
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		want := make([]byte, rnd.IntN(400<<10))
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		in := newInput(&someReader{b: want, rnd: rnd, err: end, most: 2 + rnd.IntN(100<<10)})
		left := want
		for {
			if n := rnd.IntN(64); rnd.IntN(2) == 0 {
				if rnd.IntN(20) == 0 {
					n = rnd.IntN(readBufferSize + 1)
				}
				b, err := in.peek(n)
				if err == nil && len(b) != n || err != nil && (err != end || len(b) != len(left)) || !bytes.HasPrefix(left, b) {
					t.Fatalf("seed %d: peek of %d with %d left: %d bytes, %v", seed, n, len(left), len(b), err)
				}
				if err != nil {
					break
				}
				n = rnd.IntN(n + 1)
				in.discard(n)
				left = left[n:]
				continue
			}
			in.framed(rnd.IntN(2 * inputLarge))
			p := make([]byte, 1+rnd.IntN(100<<10)>>rnd.IntN(10))
			n, err := in.Read(p)
			if n == 0 && (err != end || len(left) > 0) || n > 0 && err != nil || !bytes.HasPrefix(left, p[:n]) {
				t.Fatalf("seed %d: read of %d with %d left: %d bytes, %v", seed, len(p), len(left), n, err)
			}
			if left = left[n:]; err != nil {
				break
			}
		}
	}
	if _, err := newInput(&someReader{b: nil, rnd: nil, err: nil}).peek(1); err != io.ErrNoProgress {
		t.Fatalf("a stream that gives nothing: %v", err)
	}
}

// TestInputPastBuffer: of large payloads that follow one another hardly anything is copied, and small
// frames still need one read for many.
func TestInputPastBuffer(t *testing.T) {
	s := &someReader{b: make([]byte, 1<<20), err: io.EOF}
	in := newInput(s)
	frame := func(payload int) {
		if _, err := in.peek(100); err != nil {
			t.Fatal(err)
		}
		in.discard(100)
		in.framed(payload)
		for p := make([]byte, payload); len(p) > 0; {
			n, err := in.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
	}
	frame(inputLarge) // what the buffer holds by now
	for range 8 {
		frame(64 << 10)
		if n := in.buffered(); n > inputShort {
			t.Fatalf("%d bytes read ahead among large payloads", n)
		}
	}
	for range inputSmall {
		frame(0)
	}
	s.calls = 0
	for range 500 {
		frame(0)
	}
	if s.calls > 2 {
		t.Fatalf("%d reads for 500 small frames", s.calls)
	}
}
