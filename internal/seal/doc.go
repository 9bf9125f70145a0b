// Package seal encrypts bodies so that any range of them can be read without the rest, and wraps the keys that they are
// encrypted with. It is functions of what it is given: keys, salts and bytes come from outside.
//
// A body is one or more streams, one after another: a put is one, and so is each part of an upload. A stream is cut
// into segments of 64 KiB, each sealed by AES-256-GCM under a key that only this stream has, with its number in the
// stream, and whether it is the last, as the nonce. So segments that were changed, exchanged, left out or cut off
// do not open. The construction is STREAM, as age uses it.
//
// The key of a stream comes by HKDF from the body's data key and a salt that is drawn for every attempt to write it:
// two attempts never share a key, so no nonce is ever used twice for different bytes. The data key is random and lies
// in the object's Record, wrapped by a key-encryption key. docs/formats/encryption.md has the bytes.
package seal
