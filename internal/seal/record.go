package seal

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
)

// Kind says whose the key-encryption key is.
type Kind byte

// Kinds of keys.
const (
	Customer Kind = 1 // the client brings it with every request and nobody keeps it
	Store    Kind = 2 // the key service's, for the whole store
	Service  Kind = 3 // the key service's, which the client names
)

func (k Kind) known() bool { return k >= Customer && k <= Service }

// Record says how an object's body is encrypted. It lies beside the object.
type Record struct {
	Kind    Kind
	KeyID   string // of the key service's key
	Version uint32 // of it
	Root    [RootBytes]byte
	Context string // what the client bound the data key to; canonical JSON
	Bucket  bool   // the client asked for a bucket key, and is told so
	salt    []byte
	wrapped []byte
}

// Limits of a record.
const (
	RootBytes       = 8 // of the name of a root key
	MaxKeyID        = 256
	MaxContextBytes = 8 << 10

	recordFormat = 1
	wrappedBytes = KeyBytes + Overhead
	flagBucket   = 1
)

// ErrNewerFormat says that a record was written by a newer version.
var ErrNewerFormat = fmt.Errorf("encryption record of a newer version of cairn")

// ErrKey says that a record does not open with the key: it is another one, or the record belongs elsewhere or was changed.
var ErrKey = fmt.Errorf("the key does not open the encryption record")

// bound is what a wrapped key is bound to: all that the record says, and the name of the object.
func (r *Record) bound(name string) []byte {
	e := codec.NewEncoder(r.head())
	e.String(name)
	return e.Bytes()
}

func (r *Record) head() []byte {
	e := codec.NewEncoder(nil)
	flags := uint8(0)
	if r.Bucket {
		flags |= flagBucket
	}
	e.U8(recordFormat)
	e.U8(uint8(r.Kind))
	e.U8(flags)
	e.String(r.KeyID)
	e.U32(r.Version)
	e.Raw(r.Root[:])
	e.String(r.Context)
	return e.Bytes()
}

// Wrap puts a data key into the record of the object with a name. The salt must be random and new: the key that wraps
// comes from it and the key-encryption key, and is used for this alone.
func (r *Record) Wrap(kek, data Key, salt [SaltBytes]byte, name string) {
	r.salt = salt[:]
	var nonce [12]byte
	r.wrapped = newGCM(derive(kek[:], r.salt, "cairn seal 1 wrap", KeyBytes)).Seal(nil, nonce[:], data[:], r.bound(name))
}

// Unwrap returns the data key of the object with a name, or ErrKey.
func (r *Record) Unwrap(kek Key, name string) (data Key, err error) {
	var nonce [12]byte
	b, err := newGCM(derive(kek[:], r.salt, "cairn seal 1 wrap", KeyBytes)).Open(nil, nonce[:], r.wrapped, r.bound(name))
	if err != nil || len(b) != KeyBytes {
		return data, ErrKey
	}
	return Key(b), nil
}

// Encode returns the record as it is stored.
func (r *Record) Encode() []byte {
	e := codec.NewEncoder(r.head())
	e.Raw(r.salt)
	e.Raw(r.wrapped)
	return e.Bytes()
}

// Decode reads a record.
func Decode(b []byte) (*Record, error) {
	d := codec.NewDecoder(b)
	if v := d.U8(); v > recordFormat {
		return nil, fmt.Errorf("%w: format %d, this version knows %d", ErrNewerFormat, v, recordFormat)
	} else if v == 0 {
		return nil, fmt.Errorf("%w: an encryption record of format 0", ErrDamaged)
	}
	r := &Record{Kind: Kind(d.U8())}
	flags := d.U8()
	r.Bucket = flags&flagBucket != 0
	r.KeyID = d.String(MaxKeyID)
	r.Version = d.U32()
	copy(r.Root[:], d.Raw(RootBytes))
	r.Context = d.String(MaxContextBytes)
	r.salt, r.wrapped = d.Raw(SaltBytes), d.Raw(wrappedBytes)
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("%w: encryption record: %w", ErrDamaged, err)
	}
	if !r.Kind.known() || flags&^flagBucket != 0 {
		return nil, fmt.Errorf("%w: encryption record of kind %d, flags %d", ErrDamaged, r.Kind, flags)
	}
	return r, nil
}

// DeriveMaster makes the material of a master key's version. Without the root key a key's record tells nothing of it.
func DeriveMaster(root Key, salt []byte, id string, version uint32) Key {
	e := codec.NewEncoder([]byte("cairn kms 1 master "))
	e.U32(version)
	e.String(id)
	return Key(derive(root[:], salt, string(e.Bytes()), KeyBytes))
}

// RootName is what records call a root key: it tells root keys apart, and nothing about them.
func RootName(root Key) (name [RootBytes]byte) {
	copy(name[:], derive(root[:], nil, "cairn kms 1 root name", RootBytes))
	return name
}
