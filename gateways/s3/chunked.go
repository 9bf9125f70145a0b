package s3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const (
	maxChunkLine    = 1 << 10 // header of a chunk, or one trailer line
	maxTrailers     = 16
	maxChunkBytes   = 5 << 30
	chunkReaderSize = 32 << 10
	minChunkBytes   = 8 << 10 // of every chunk with another one behind it
)

// chunkSigner verifies the chain of signatures of a signed stream: each chunk's
// signature covers the one before.
type chunkSigner struct {
	key   []byte
	stamp string
	scope string
	prev  string
}

func (c *chunkSigner) check(kind, rest, got string) bool {
	want := hex.EncodeToString(hmacSHA256(c.key, kind+"\n"+c.stamp+"\n"+c.scope+"\n"+c.prev+"\n"+rest))
	c.prev = got
	return want == got
}

// chunkReader decodes the aws-chunked encoding. It passes data on before the
// chunk's signature is verified, and fails at the chunk's end if it does not
// hold: whoever reads must not act before the end.
type chunkReader struct {
	br       *bufio.Reader
	signer   *chunkSigner // nil: unsigned
	trailing bool         // trailers follow the last chunk
	trailer  http.Header  // what followed, once the end is reached
	left     int64        // of the current chunk
	size     int64        // of the current chunk
	chunks   int          // that have begun
	inside   bool         // a chunk has begun and its end is not yet read
	sig      string       // of the current chunk
	hash     hash.Hash
	err      error
}

func newChunkReader(r io.Reader, signer *chunkSigner, trailing bool) *chunkReader {
	return &chunkReader{br: bufio.NewReaderSize(r, chunkReaderSize), signer: signer, trailing: trailing, trailer: http.Header{}, hash: sha256.New()}
}

func badChunk(why string) error {
	e := apiErr("IncompleteBody", "The request body terminated unexpectedly")
	e.cause = errors.New(why)
	return e
}

// Read implements io.Reader. After the last chunk and the trailers it returns io.EOF.
func (c *chunkReader) Read(b []byte) (int, error) {
	for c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.br.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	if c.signer != nil {
		c.hash.Write(b[:n])
	}
	if err != nil {
		c.err = early(err)
	}
	return n, c.err
}

// early turns the end of the input into the error that it is here.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next finishes the current chunk and begins another; io.EOF after the last.
func (c *chunkReader) next() error {
	if c.inside {
		if err := c.endChunk(); err != nil {
			return err
		}
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	size, ext, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 63)
	if err != nil || n > maxChunkBytes {
		return badChunk("the size of a chunk is no hexadecimal number, or too large")
	}
	if c.signer != nil {
		var ok bool
		if c.sig, ok = strings.CutPrefix(ext, "chunk-signature="); !ok || len(c.sig) != 2*sha256.Size {
			return badChunk("a chunk has no signature")
		}
		c.hash.Reset()
	}
	if n > 0 && c.chunks > 0 && c.size < minChunkBytes {
		return apiErr("InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes").with("Chunk", itoa(c.chunks+1)).with("BadChunkSize", strconv.FormatInt(c.size, 10))
	}
	c.chunks++
	c.left, c.size, c.inside = int64(n), int64(n), true
	if n > 0 {
		return nil
	}
	if c.signer != nil {
		if err := c.checkChunk(); err != nil {
			return err
		}
	}
	return c.end()
}

func (c *chunkReader) endChunk() error {
	c.inside = false
	var crlf [2]byte
	if _, err := io.ReadFull(c.br, crlf[:]); err != nil {
		return early(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return badChunk("a chunk is longer than its size says")
	}
	if c.signer != nil {
		return c.checkChunk()
	}
	return nil
}

func (c *chunkReader) checkChunk() error {
	if !c.signer.check("AWS4-HMAC-SHA256-PAYLOAD", emptySHA256+"\n"+hex.EncodeToString(c.hash.Sum(nil)), c.sig) {
		return apiErr("SignatureDoesNotMatch", "The signature of a chunk does not match its data.")
	}
	return nil
}

// end reads what follows the last chunk.
func (c *chunkReader) end() error {
	var signed bytes.Buffer
	signature := ""
	for n := 0; ; n++ {
		line, err := c.line()
		if errors.Is(err, io.ErrUnexpectedEOF) && line == "" && n == 0 && !c.trailing {
			break // some clients leave out the last empty line
		}
		if err != nil {
			return err
		}
		if line == "" && c.signer != nil && c.trailing && signature == "" && n < maxTrailers {
			continue // some clients put an empty line ahead of the trailers' signature
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !c.trailing:
			return badChunk("data follows the last chunk")
		case !ok || name == "" || n >= maxTrailers:
			return apiErr("MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		case name == "x-amz-trailer-signature":
			signature = value
		case signature != "":
			return apiErr("MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		default:
			c.trailer.Add(name, value)
			signed.WriteString(name + ":" + value + "\n")
		}
	}
	if c.signer != nil && c.trailing {
		sum := sha256.Sum256(signed.Bytes())
		if !c.signer.check("AWS4-HMAC-SHA256-TRAILER", hex.EncodeToString(sum[:]), signature) {
			return apiErr("SignatureDoesNotMatch", "The signature of the trailers does not match.")
		}
	}
	if _, err := c.br.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return badChunk("data follows the end")
	}
	return io.EOF
}

// line reads up to CR LF (or a bare LF, which some clients send after trailers).
func (c *chunkReader) line() (string, error) {
	b, err := c.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || err == nil && len(b) > maxChunkLine:
		return "", badChunk("a line is too long")
	case err != nil:
		return strings.TrimSpace(string(b)), early(err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
