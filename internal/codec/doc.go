// Package codec turns values into bytes and back for everything cairn stores or
// publishes in a format of its own: the cluster map and its deltas, and records
// on disk.
//
// Three ideas:
//
//   - An [Encoder] appends. It cannot fail, never looks back and has no state
//     but the bytes, so equal values give equal bytes.
//   - A [Decoder] is sticky: after the first malformed field every read returns
//     the zero value and changes nothing, and [Decoder.Err] or [Decoder.Finish]
//     reports that first fault with its offset. Code that decodes therefore reads
//     like code that encodes, with one check at the end. Loops must be bounded by
//     [Decoder.Count], which compares a count with what is left of the input: a
//     hostile input can make a program allocate a small multiple of the input's
//     own size, and no more.
//   - There is one way to write each value: variable-length integers must be
//     minimal and booleans 0 or 1. Whatever decodes encodes to the same bytes, so
//     checksums of encodings may be compared between machines.
//
// A whole document goes into an envelope ([Encoder.Begin], [Encoder.End], [Open]):
//
//	magic    4 bytes   names the kind of document
//	version  u16       of the body's format; starts at 1
//	length   u32       of the body
//	body
//	crc32c   u32       of everything before it
//
// All fixed-width integers are little endian. The envelope itself never changes,
// so an old program can tell a newer document ([*VersionError]) from a damaged
// one ([ErrCorrupt]).
//
// The package refuses reflection and schemas: each format is written down in the
// few lines that encode it, and in docs/formats.
package codec
