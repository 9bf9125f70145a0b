package codec

import (
	"encoding/binary"
	"fmt"
)

const (
	headerSize  = 4 + 2 + 4
	trailerSize = 4

	// EnvelopeSize is how many bytes an envelope adds to its body.
	EnvelopeSize = headerSize + trailerSize
)

// Magic names a kind of document; four printable ASCII characters by custom.
type Magic [4]byte

// Format describes a kind of document to Open.
type Format struct {
	What       string // for messages, such as "cluster map"
	Magic      Magic
	MaxVersion uint16 // the newest version this program understands
}

// VersionError says that a document is intact but of a format newer than this
// program understands.
type VersionError struct {
	What string // the kind of document, such as "cluster map"
	Got  uint16
	Max  uint16
}

// Error says what to upgrade.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has format version %d, but this cairn understands versions up to %d: upgrade the cairn binary on this machine to the release that wrote it, or newer",
		e.What, e.Got, e.Max)
}

// Envelope is a document that Open found intact.
type Envelope struct {
	Version  uint16
	Body     []byte // part of the input, not a copy
	Checksum uint32 // as stored behind the body
	Rest     []byte // what follows the envelope
}

// Open checks the envelope at the start of b: magic, length, checksum and
// version, in this order. Errors match ErrCorrupt, or are a *VersionError when
// the envelope is intact and only too new.
func Open(b []byte, f Format) (Envelope, error) {
	if len(b) < EnvelopeSize {
		return Envelope{}, fmt.Errorf("%s: %w: %d bytes, an envelope has at least %d", f.What, ErrCorrupt, len(b), EnvelopeSize)
	}
	if got := Magic(b[:4]); got != f.Magic {
		return Envelope{}, fmt.Errorf("%s: %w: starts with %q, want %q", f.What, ErrCorrupt, got[:], f.Magic[:])
	}
	version := binary.LittleEndian.Uint16(b[4:])
	length := uint64(binary.LittleEndian.Uint32(b[6:]))
	if have := uint64(len(b) - EnvelopeSize); length > have {
		return Envelope{}, fmt.Errorf("%s: %w: cut off, body has %d bytes of %d", f.What, ErrCorrupt, have, length)
	}
	end := headerSize + int(length)
	want, got := binary.LittleEndian.Uint32(b[end:]), Checksum(b[:end])
	if want != got {
		return Envelope{}, fmt.Errorf("%s: %w: checksum is %08x, stored %08x", f.What, ErrCorrupt, got, want)
	}
	if version == 0 {
		return Envelope{}, fmt.Errorf("%s: %w: format version 0", f.What, ErrCorrupt)
	}
	if version > f.MaxVersion {
		return Envelope{}, &VersionError{What: f.What, Got: version, Max: f.MaxVersion}
	}
	return Envelope{
		Version:  version,
		Body:     b[headerSize:end:end],
		Checksum: want,
		Rest:     b[end+trailerSize:],
	}, nil
}
