package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var testFormat = Format{What: "test record", Magic: Magic{'T', 'E', 'S', 'T'}, MaxVersion: 3}

// TestGolden pins the bytes: formats on disk are made of them.
func TestGolden(t *testing.T) {
	e := NewEncoder(nil)
	m := e.Begin(testFormat.Magic, 2)
	e.U8(0xab)
	e.U16(0x1234)
	e.U32(0x12345678)
	e.U64(0x123456789abcdef0)
	e.Uvarint(300)
	e.Varint(-2)
	e.Bool(true)
	e.String("cairn")
	e.Blob([]byte{1, 2})
	e.Raw([]byte{9})
	sum := e.End(m)

	const want = "54455354" + "0200" + "1d000000" +
		"ab" + "3412" + "78563412" + "f0debc9a78563412" + "ac02" + "03" + "01" + "05636169726e" + "020102" + "09"
	if got := hex.EncodeToString(e.Bytes()[:e.Len()-4]); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if want := Checksum(e.Bytes()[:e.Len()-4]); sum != want {
		t.Fatalf("End returned %08x, want %08x", sum, want)
	}
	if got := Checksum([]byte("123456789")); got != 0xe3069283 {
		t.Fatalf("crc32c check value: got %08x, want e3069283", got)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u8 := rapid.Uint8().Draw(t, "u8")
		u16 := rapid.Uint16().Draw(t, "u16")
		u32 := rapid.Uint32().Draw(t, "u32")
		u64 := rapid.Uint64().Draw(t, "u64")
		i64 := rapid.Int64().Draw(t, "i64")
		i32 := rapid.Int32().Draw(t, "i32")
		b := rapid.Bool().Draw(t, "bool")
		s := rapid.StringN(0, 40, 80).Draw(t, "s")
		blob := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "blob")

		e := NewEncoder([]byte("prefix"))
		m := e.Begin(testFormat.Magic, 1)
		e.U8(u8)
		e.U16(u16)
		e.U32(u32)
		e.U64(u64)
		e.Uvarint(u64)
		e.Uvarint(uint64(u32))
		e.Varint(i64)
		e.Varint(int64(i32))
		e.Bool(b)
		e.String(s)
		e.Blob(blob)
		e.Raw(blob)
		e.End(m)
		e.Raw([]byte("rest"))

		env, err := Open(e.Bytes()[len("prefix"):], testFormat)
		if err != nil {
			t.Fatal(err)
		}
		if string(env.Rest) != "rest" || env.Version != 1 {
			t.Fatalf("rest %q version %d", env.Rest, env.Version)
		}
		d := NewDecoder(env.Body)
		if v := d.U8(); v != u8 {
			t.Fatalf("U8 %d, want %d", v, u8)
		}
		if v := d.U16(); v != u16 {
			t.Fatalf("U16 %d, want %d", v, u16)
		}
		if v := d.U32(); v != u32 {
			t.Fatalf("U32 %d, want %d", v, u32)
		}
		if v := d.U64(); v != u64 {
			t.Fatalf("U64 %d, want %d", v, u64)
		}
		if v := d.Uvarint(); v != u64 {
			t.Fatalf("Uvarint %d, want %d", v, u64)
		}
		if v := d.Uvarint32(); v != u32 {
			t.Fatalf("Uvarint32 %d, want %d", v, u32)
		}
		if v := d.Varint(); v != i64 {
			t.Fatalf("Varint %d, want %d", v, i64)
		}
		if v := d.Varint32(); v != i32 {
			t.Fatalf("Varint32 %d, want %d", v, i32)
		}
		if v := d.Bool(); v != b {
			t.Fatalf("Bool %v, want %v", v, b)
		}
		if v := d.String(80); v != s {
			t.Fatalf("String %q, want %q", v, s)
		}
		if v := d.Blob(80); !bytes.Equal(v, blob) {
			t.Fatalf("Blob %x, want %x", v, blob)
		}
		if v := d.Raw(len(blob)); !bytes.Equal(v, blob) {
			t.Fatalf("Raw %x, want %x", v, blob)
		}
		if err := d.Finish(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFaults: each malformed field is refused, and the first fault sticks.
func TestFaults(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		read func(d *Decoder)
		want string
	}{
		{"short u32", []byte{1, 2}, func(d *Decoder) { d.U32() }, "want 4 bytes, only 2 left"},
		{"empty uvarint", nil, func(d *Decoder) { d.Uvarint() }, "cut off"},
		{"cut uvarint", []byte{0x80}, func(d *Decoder) { d.Uvarint() }, "cut off"},
		{"long uvarint", bytes.Repeat([]byte{0xff}, 11), func(d *Decoder) { d.Uvarint() }, "passes 64 bits"},
		{"padded uvarint", []byte{0x81, 0x00}, func(d *Decoder) { d.Uvarint() }, "not minimal"},
		{"wide uvarint32", uvarint(1 << 32), func(d *Decoder) { d.Uvarint32() }, "passes 32 bits"},
		{"wide varint32", uvarint(1 << 33), func(d *Decoder) { d.Varint32() }, "passes 32 bits"},
		{"bool 2", []byte{2}, func(d *Decoder) { d.Bool() }, "want 0 or 1"},
		{"string over limit", []byte{3, 'a', 'b', 'c'}, func(d *Decoder) { d.String(2) }, "at most 2"},
		{"string cut off", []byte{3, 'a'}, func(d *Decoder) { _ = d.String(9) }, "only 1 left"},
		{"huge blob", uvarint(math.MaxUint64), func(d *Decoder) { d.Blob(math.MaxInt) }, "at most"},
		{"count over limit", []byte{5, 0, 0, 0, 0, 0}, func(d *Decoder) { d.Count(4, 1) }, "at most 4"},
		{"count over input", []byte{5, 0, 0, 0, 0, 0}, func(d *Decoder) { d.Count(100, 2) }, "only 5 bytes left"},
		{"negative raw", []byte{5}, func(d *Decoder) { d.Raw(-1) }, "want -1 bytes"},
		{"left over", []byte{5}, func(d *Decoder) {}, "1 bytes left over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder(tt.in)
			tt.read(d)
			err := d.Finish()
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want ErrCorrupt with %q", err, tt.want)
			}
			if d.U8() != 0 || d.Uvarint() != 0 || d.Raw(0) != nil || d.Left() != 0 || d.Count(9, 1) != 0 {
				t.Fatal("a read after the fault returned something")
			}
			d.Failf("another")
			if d.Err() != err {
				t.Fatalf("fault changed to %v", d.Err())
			}
		})
	}
}

// uvarint returns the encoding of one Uvarint.
func uvarint(v uint64) []byte {
	var e Encoder
	e.Uvarint(v)
	return e.Bytes()
}

func TestOpenRefuses(t *testing.T) {
	seal := func(version uint16) []byte {
		var e Encoder
		m := e.Begin(testFormat.Magic, version)
		e.String("body")
		e.End(m)
		return e.Bytes()
	}
	good := seal(3)
	if _, err := Open(good, testFormat); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := Open(good[:n], testFormat); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: got %v, want ErrCorrupt", n, err)
		}
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := Open(bad, testFormat); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d flipped: got %v, want ErrCorrupt", i, err)
		}
	}
	if _, err := Open(seal(0), testFormat); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("version 0: got %v", err)
	}
	_, err := Open(seal(4), testFormat)
	var ve *VersionError
	if !errors.As(err, &ve) || *ve != (VersionError{"test record", 4, 3}) {
		t.Fatalf("version 4: got %v", err)
	}
	if errors.Is(err, ErrCorrupt) {
		t.Fatal("a newer version must not look like damage")
	}
}

func TestNestedEnvelopes(t *testing.T) {
	var e Encoder
	outer := e.Begin(testFormat.Magic, 1)
	inner := e.Begin(testFormat.Magic, 2)
	e.U8(7)
	e.End(inner)
	e.End(outer)
	o, err := Open(e.Bytes(), testFormat)
	if err != nil {
		t.Fatal(err)
	}
	i, err := Open(o.Body, testFormat)
	if err != nil || i.Version != 2 || !bytes.Equal(i.Body, []byte{7}) {
		t.Fatalf("inner: %+v, %v", i, err)
	}
}

// FuzzDecoder drives a Decoder with a program taken from the input: nothing may
// panic, and nothing may be read past the end.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, program, data []byte) {
		d := NewDecoder(data)
		for _, op := range program {
			before := d.Offset()
			switch op % 11 {
			case 0:
				d.U8()
			case 1:
				d.U16()
			case 2:
				d.U32()
			case 3:
				d.U64()
			case 4:
				d.Uvarint()
			case 5:
				d.Varint32()
			case 6:
				d.Bool()
			case 7:
				if n := len(d.String(int(op))); n > int(op) {
					t.Fatalf("string of %d bytes, limit %d", n, op)
				}
			case 8:
				d.Raw(int(op))
			case 9:
				if n := d.Count(1<<20, 3); n*3 > len(data) {
					t.Fatalf("count %d for %d bytes", n, len(data))
				}
			case 10:
				d.Uvarint32()
			}
			if d.Offset() < before || d.Offset() > len(data) {
				t.Fatalf("offset %d after %d of %d", d.Offset(), before, len(data))
			}
		}
		_, _ = Open(data, testFormat)
	})
}
