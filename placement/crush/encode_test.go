package crush

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenMap has at least one of everything that is encoded.
func goldenMap(t testing.TB) *Map {
	t.Helper()
	text := strings.NewReplacer(
		"take default", "take default class ssd",
		"type replicated", "type erasure min_size 2 max_size 9",
		"step take", "step set_choose_tries 100 step take",
		"firstn 0", "indep -1",
	).Replace(smallMap)
	m, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestEncodeGolden: the encoding of version 1 never changes; stored maps depend on it.
func TestEncodeGolden(t *testing.T) {
	const path = "testdata/golden-v1.crush"
	m := goldenMap(t)
	got := Encode(m)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the encoding has changed:\ngot  %x\nwant %x", got, want)
	}
	back, err := Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.String(), back.String()); diff != "" || !back.Equal(m) {
		t.Errorf("decoded to another map (-want +got):\n%s", diff)
	}
	a, err1 := m.Do(0, 5, 3, nil)
	b, err2 := back.Do(0, 5, 3, nil)
	if err1 != nil || err2 != nil || !cmp.Equal(a, b) {
		t.Errorf("mappings %v and %v differ; %v, %v", a, b, err1, err2)
	}
}

// reseal repairs length and checksum after a change of the payload.
func reseal(b []byte) []byte {
	b = append([]byte(nil), b...)
	body := b[:len(b)-4]
	binary.LittleEndian.PutUint32(body[len(encMagic)+2:], uint32(len(body)-encHeader))
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

func TestDecodeRefuses(t *testing.T) {
	good := Encode(goldenMap(t))
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		if _, err := Decode(bad); err == nil {
			t.Errorf("a flipped bit in byte %d was not noticed", i)
		}
		if _, err := Decode(good[:i]); err == nil {
			t.Errorf("a cut after %d bytes was not noticed", i)
		}
	}
	if _, err := Decode(append(good, 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte behind the end: %v", err)
	}
	for cut := encHeader; cut < len(good)-4; cut++ {
		short := append(append([]byte(nil), good[:cut]...), 0, 0, 0, 0)
		if _, err := Decode(reseal(short)); err == nil {
			t.Errorf("a payload of %d bytes was not noticed", cut-encHeader)
		}
	}
	long := append(append([]byte(nil), good[:len(good)-4]...), 0, 0, 0, 0, 0)
	if _, err := Decode(reseal(long)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte behind the payload: %v", err)
	}

	newer := append([]byte(nil), good...)
	newer[len(encMagic)] = 2
	if _, err := Decode(newer); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2, this program knows up to 1") {
		t.Errorf("a newer version: %v", err)
	}
	zero := append([]byte(nil), good...)
	zero[len(encMagic)] = 0
	if _, err := Decode(zero); !errors.Is(err, ErrCorrupt) {
		t.Errorf("version 0: %v", err)
	}
	huge := append([]byte(nil), good...)
	binary.LittleEndian.PutUint32(huge[len(encMagic)+2:], 1<<31)
	if _, err := Decode(huge); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a huge length: %v", err)
	}

	// What is well formed but breaks a rule of maps is refused like a bad text.
	m := goldenMap(t)
	m.Buckets[1].Items[0].ID = -1
	if _, err := Decode(Encode(m)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a cycle: %v", err)
	}
}

func TestEncodeAllVectors(t *testing.T) {
	for _, name := range []string{"mixed-60", "seed-slides", "equal-1000", "algs-48", "class-straw2", "any-reweight"} {
		m := readMap(t, "testdata/"+name+".txt")
		back, err := Decode(Encode(m))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !back.Equal(m) || back.String() != m.String() {
			t.Errorf("%s: decoded to another map", name)
		}
	}
}
