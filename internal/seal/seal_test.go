package seal

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

func testKey(b byte) (k Key) {
	for i := range k {
		k[i] = b + byte(i)
	}
	return k
}

func salt(b byte) []byte { return bytes.Repeat([]byte{b}, SaltBytes) }

func text(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8)*3 + byte(i>>16) + seed
	}
	return b
}

func sealed(t testing.TB, k Key, p Part, plain []byte) []byte {
	t.Helper()
	h := md5.New()
	s, err := NewSealer(k, p, bytes.NewReader(plain), h)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	if want := md5.Sum(plain); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("the sum is not of the plain bytes")
	}
	if int64(len(out)) != Size(int64(len(plain))) {
		t.Fatalf("%d bytes sealed as %d, Size says %d", len(plain), len(out), Size(int64(len(plain))))
	}
	return out
}

// open reads a range as a gateway does.
func open(k Key, parts []Part, stored []byte, off, n int64) ([]byte, error) {
	at, size := Range(parts, off, n)
	o := NewOpener(k, parts, off, n, iotest.HalfReader(bytes.NewReader(stored[at:min(at+size, int64(len(stored)))])))
	if err := o.Prime(); err != nil {
		return nil, err
	}
	return io.ReadAll(o)
}

var sizes = []int{0, 1, 15, 16, 17, SegmentBytes - 1, SegmentBytes, SegmentBytes + 1, 3*SegmentBytes - 5, 3 * SegmentBytes}

func TestRanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	k := testKey(1)
	for round := range 60 {
		var parts []Part
		var plain, stored []byte
		for i := range 1 + rng.IntN(4) {
			b := text(sizes[rng.IntN(len(sizes))], byte(i))
			p := Part{Number: i + 1, Salt: salt(byte(i)), Size: int64(len(b))}
			parts, plain, stored = append(parts, p), append(plain, b...), append(stored, sealed(t, k, p, b)...)
		}
		for range 20 {
			off := rng.IntN(len(plain) + 1)
			n := rng.IntN(len(plain) - off + 1)
			if rng.IntN(4) == 0 {
				off, n = 0, len(plain)
			}
			got, err := open(k, parts, stored, int64(off), int64(n))
			if err != nil || !bytes.Equal(got, plain[off:off+n]) {
				t.Fatalf("round %d: bytes %d+%d of %d: %d bytes, %v", round, off, n, len(plain), len(got), err)
			}
			var out bytes.Buffer
			at, size := Range(parts, int64(off), int64(n))
			if _, err := NewOpener(k, parts, int64(off), int64(n), bytes.NewReader(stored[at:at+size])).WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), plain[off:off+n]) {
				t.Fatalf("round %d: bytes %d+%d written: %d, %v", round, off, n, out.Len(), err)
			}
		}
	}
}

// What is changed, moved, left out, cut off or taken from elsewhere does not open.
func TestTampered(t *testing.T) {
	k := testKey(1)
	n := 3*SegmentBytes + 100
	p := []Part{{Number: 1, Salt: salt(1), Size: int64(n)}}
	good := sealed(t, k, p[0], text(n, 1))
	swap := func(b []byte) []byte {
		b = bytes.Clone(b)
		a, c := b[:sealedSegment], b[sealedSegment:2*sealedSegment]
		tmp := bytes.Clone(a)
		copy(a, c)
		copy(c, tmp)
		return b
	}
	flip := func(i int) []byte { b := bytes.Clone(good); b[i] ^= 1; return b }
	other := sealed(t, k, Part{Number: 1, Salt: salt(2), Size: int64(n)}, text(n, 1))
	for name, c := range map[string]struct {
		parts []Part
		b     []byte
		key   Key
	}{
		"changed":                {p, flip(5), k},
		"tag changed":            {p, flip(len(good) - 1), k},
		"middle changed":         {p, flip(sealedSegment + 1), k},
		"segments exchanged":     {p, swap(good), k},
		"segment from elsewhere": {p, append(bytes.Clone(other[:sealedSegment]), good[sealedSegment:]...), k},
		"other key":              {p, good, testKey(2)},
		"other salt":             {[]Part{{Number: 1, Salt: salt(3), Size: int64(n)}}, good, k},
		"other part":             {[]Part{{Number: 2, Salt: salt(1), Size: int64(n)}}, good, k},
		"cut in a segment":       {p, good[:len(good)-1], k},
		"cut, size as it was":    {p, good[:3*sealedSegment], k},
		"cut, size to fit":       {[]Part{{Number: 1, Salt: salt(1), Size: 3 * SegmentBytes}}, good[:3*sealedSegment], k},
		"emptied":                {[]Part{{Number: 1, Salt: salt(1)}}, nil, k},
		"short salt":             {[]Part{{Number: 1, Salt: salt(1)[1:], Size: int64(n)}}, good, k},
	} {
		got, err := open(c.key, c.parts, c.b, 0, c.parts[0].Size)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if !bytes.Equal(got, text(n, 1)[:len(got)]) {
			t.Errorf("%s: bytes that did not verify were returned", name)
		}
	}
}

// A body whose size is only bounded is sealed as one whose size is known.
func TestUpTo(t *testing.T) {
	k := testKey(1)
	for _, n := range append(sizes, 2*SegmentBytes, 2*SegmentBytes+1) {
		want := sealed(t, k, Part{Salt: salt(1), Size: int64(n)}, text(n, 1))
		for _, most := range []int{n, n + 1, n + SegmentBytes, 4 * SegmentBytes} {
			for _, in := range []io.Reader{bytes.NewReader(text(n, 1)), iotest.DataErrReader(bytes.NewReader(text(n, 1))), iotest.HalfReader(bytes.NewReader(text(n, 1)))} {
				s, err := NewSealerUpTo(k, Part{Salt: salt(1), Size: int64(most)}, in, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(got, want) || s.Size() != int64(n) {
					t.Fatalf("%d bytes, at most %d: %d, size %d, %v", n, most, len(got), s.Size(), err)
				}
			}
		}
		if n > 0 {
			s, _ := NewSealerUpTo(k, Part{Salt: salt(1), Size: int64(n - 1)}, bytes.NewReader(text(n, 1)), nil)
			if _, err := io.ReadAll(s); !errors.Is(err, ErrSize) {
				t.Errorf("%d bytes, at most %d: %v", n, n-1, err)
			}
		}
		s, _ := NewSealerUpTo(k, Part{Salt: salt(1), Size: int64(n + 9)}, io.MultiReader(bytes.NewReader(text(n, 1)), iotest.ErrReader(io.ErrUnexpectedEOF)), nil)
		if _, err := io.ReadAll(s); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of a body that breaks off: %v", n, err)
		}
	}
}

func TestSealerSizes(t *testing.T) {
	for _, c := range []struct {
		size, has int
		want      error
	}{{10, 9, io.ErrUnexpectedEOF}, {10, 11, ErrSize}, {0, 1, ErrSize}, {SegmentBytes + 1, SegmentBytes, io.ErrUnexpectedEOF}} {
		s, err := NewSealer(testKey(1), Part{Salt: salt(1), Size: int64(c.size)}, bytes.NewReader(text(c.has, 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(s); !errors.Is(err, c.want) {
			t.Errorf("%d bytes announced, %d there: %v", c.size, c.has, err)
		}
	}
	bad := errors.New("bad signature")
	s, _ := NewSealer(testKey(1), Part{Salt: salt(1), Size: 3}, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(bad)), nil)
	if _, err := io.ReadAll(s); !errors.Is(err, bad) {
		t.Errorf("the end of the body was not verified: %v", err)
	}
}

// A data key opens with the key and under the name that it was wrapped with, and with nothing of the record changed.
func TestRecord(t *testing.T) {
	full := Record{Kind: Service, KeyID: "key-1", Version: 3, Root: RootName(testKey(9)), Context: `{"a":"b"}`, Bucket: true}
	for _, r := range []Record{{Kind: Customer}, {Kind: Store, KeyID: "sse-s3", Version: 1}, full} {
		r.Wrap(testKey(1), testKey(2), [SaltBytes]byte(salt(7)), "a/b")
		b := r.Encode()
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind != r.Kind || got.KeyID != r.KeyID || got.Version != r.Version || got.Root != r.Root || got.Context != r.Context || got.Bucket != r.Bucket {
			t.Errorf("%+v became %+v", r, got)
		}
		if k, err := got.Unwrap(testKey(1), "a/b"); err != nil || k != testKey(2) {
			t.Errorf("unwrapped: %v", err)
		}
		if _, err := got.Unwrap(testKey(3), "a/b"); !errors.Is(err, ErrKey) {
			t.Errorf("with another key: %v", err)
		}
		if _, err := got.Unwrap(testKey(1), "a/c"); !errors.Is(err, ErrKey) {
			t.Errorf("under another name: %v", err)
		}
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 1
			if x, err := Decode(c); err == nil {
				if _, err := x.Unwrap(testKey(1), "a/b"); err == nil {
					t.Errorf("opens with byte %d changed", i)
				}
			}
		}
	}
	newer := full
	newer.Wrap(testKey(1), testKey(2), [SaltBytes]byte(salt(7)), "x")
	b := newer.Encode()
	b[0] = recordFormat + 1
	if _, err := Decode(b); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a newer record: %v", err)
	}
}

func TestKeysAreNotShown(t *testing.T) {
	k := testKey(65)
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %x %s %d %q %#v %+v", k, k, k, k, k, k, k), fmt.Sprintf("%+v", struct{ K Key }{k})} {
		if strings.Contains(s, "ABC") || strings.Contains(s, "41") || strings.Contains(s, "65") {
			t.Errorf("a key is shown: %s", s)
		}
	}
}

// The bytes of the format are what they were.
func TestGolden(t *testing.T) {
	var out strings.Builder
	line := func(what string, b []byte) { fmt.Fprintf(&out, "%s %s\n", what, hex.EncodeToString(b)) }
	k := testKey(1)
	line("empty", sealed(t, k, Part{Salt: salt(1)}, nil))
	line("short", sealed(t, k, Part{Salt: salt(1), Size: 5}, []byte("hello")))
	line("part7", sealed(t, k, Part{Number: 7, Salt: salt(1), Size: 5}, []byte("hello")))
	long := sealed(t, k, Part{Salt: salt(2), Size: SegmentBytes + 1}, text(SegmentBytes+1, 3))
	line("long-first-tag", long[SegmentBytes:sealedSegment])
	line("long-last", long[sealedSegment:])
	line("tag", k.Tag([]byte("0123456789abcdef")))
	r := Record{Kind: Service, KeyID: "key-1", Version: 3, Root: RootName(testKey(9)), Context: `{"a":"b"}`, Bucket: true}
	r.Wrap(testKey(1), testKey(2), [SaltBytes]byte(salt(7)), "a/b")
	line("record", r.Encode())
	m := DeriveMaster(testKey(9), salt(4), "key-1", 3)
	line("master", m[:])
	if *update {
		if err := os.WriteFile("testdata/golden.txt", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the format changed:\n%swant\n%s", out.String(), want)
	}
}

func FuzzDecode(f *testing.F) {
	r := Record{Kind: Service, KeyID: "key-1", Version: 3, Context: `{"a":"b"}`}
	r.Wrap(testKey(1), testKey(2), [SaltBytes]byte(salt(7)), "a/b")
	f.Add(r.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Decode(b); err == nil {
			if got := r.Encode(); !bytes.Equal(got, b) {
				t.Errorf("%x became %x", b, got)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	plain := text(4<<20, 1)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		s, _ := NewSealer(testKey(1), Part{Salt: salt(1), Size: int64(len(plain))}, bytes.NewReader(plain), nil)
		if _, err := io.Copy(io.Discard, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	p := []Part{{Salt: salt(1), Size: 4 << 20}}
	stored := sealed(b, testKey(1), p[0], text(4<<20, 1))
	b.SetBytes(4 << 20)
	for b.Loop() {
		if _, err := NewOpener(testKey(1), p, 0, 4<<20, bytes.NewReader(stored)).WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
