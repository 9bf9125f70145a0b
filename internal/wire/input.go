package wire

import "io"

const (
	inputLarge = 32 << 10 // payloads of this size should not come through the buffer
	inputShort = 4 << 10  // what is read into the buffer at a time where they are common
	inputSmall = 16       // so many frames without one, and they are not common any more
	inputRest  = 8 << 10  // what lacks of a payload comes through the buffer when it is less
)

// input is the stream of a connection, read ahead into a buffer, so that many small frames need one
// read. Large payloads are read to where they belong: while the peer sends such, little is read
// ahead, as whatever of a payload is in the buffer has to be copied out of it.
type input struct {
	r       io.Reader
	buf     []byte
	at, end int   // what is buffered
	small   int   // frames since the last large payload, up to inputSmall
	err     error // ended the stream; told when what came before it is used up
}

func newInput(r io.Reader) *input {
	return &input{r: r, buf: make([]byte, readBufferSize), small: inputSmall}
}

// framed notes the size of the payload of the frame whose header has been read.
func (in *input) framed(payload int) {
	switch {
	case payload >= inputLarge:
		in.small = 0
	case in.small < inputSmall:
		in.small++
	}
}

func (in *input) buffered() int { return in.end - in.at }

// peek returns the next n bytes, at most readBufferSize, without using them up; fewer only with an
// error. They are valid until the next call of peek or read.
func (in *input) peek(n int) ([]byte, error) {
	for in.end-in.at < n {
		if in.err != nil {
			return in.buf[in.at:in.end], in.err
		}
		in.more(n)
	}
	return in.buf[in.at : in.at+n], nil
}

// more reads into the buffer, for somebody who needs n bytes of it.
func (in *input) more(n int) {
	if in.at == in.end || in.at+n > len(in.buf) {
		in.end = copy(in.buf, in.buf[in.at:in.end])
		in.at = 0
	}
	to := len(in.buf)
	if in.small < inputSmall {
		to = min(to, max(in.at+n, in.end+inputShort))
	}
	var got int
	got, in.err = in.readSome(in.buf[in.end:to])
	in.end += got
}

// readSome reads at least one byte or returns an error.
func (in *input) readSome(p []byte) (n int, err error) {
	for range 100 {
		if n, err = in.r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// discard uses up n bytes that are buffered.
func (in *input) discard(n int) { in.at += n }

// Read uses up what it returns, at least one byte unless p is empty or the stream has ended.
func (in *input) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if in.at == in.end {
		if in.err != nil {
			return 0, in.err
		}
		if len(p) >= inputRest {
			n, in.err = in.readSome(p)
			if n > 0 {
				return n, nil
			}
			return 0, in.err
		}
		if in.more(1); in.at == in.end {
			return 0, in.err
		}
	}
	n = copy(p, in.buf[in.at:in.end])
	in.at += n
	return n, nil
}
