package placement

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with testdata/name, or rewrites the file under -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s differs: data placed or stored by earlier versions would be lost. Got:\n%q\nwant:\n%q", path, got, want)
	}
}

// undump reads what hex.Dump wrote.
func undump(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "|")
		if len(line) < 10 {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(line[10:], " ", ""))
		if err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		out = append(out, b...)
	}
	return out
}

// TestVersion1 reads the map and the delta that version 1 of the formats wrote.
func TestVersion1(t *testing.T) {
	want := goldenMap(t)
	want.Flags, want.Config = FlagNoOut, nil
	want.OSDs[1].Draining, want.OSDs[1].Full, want.OSDs[1].Slow = false, NotFull, false
	want.PGs[0].Records[2].Forced = false
	for i := range want.Pools {
		p := &want.Pools[i]
		p.PGNumTarget, p.FirstPGNum, p.Chunks = p.PGNum, p.PGNum, ChunkPolicy{}
	}
	m, err := DecodeMap(undump(t, "map-v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, m, sameMap); diff != "" {
		t.Fatal(diff)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	d, err := DecodeDelta(undump(t, "delta-v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if p := d.Pools[0]; p.PGNumTarget != p.PGNum || p.FirstPGNum != p.PGNum || d.To != 302 {
		t.Fatalf("delta to %d with pool %+v", d.To, p)
	}
	// Its checksum is that of the result in version 1: the whole map must be fetched.
	if _, err := m.Apply(d); !errors.Is(err, ErrDeltaMismatch) {
		t.Fatalf("apply: %v", err)
	}
	// Bits that version 1 did not know are damage in a document that claims to be one.
	for name, at := range map[string]string{"OSD": "ssd", "record": "\x07\xab\x02\x00\x01"} {
		b := undump(t, "map-v1.hex")
		i := bytes.Index(b, []byte(at))
		if i < 0 {
			t.Fatalf("%s not found", name)
		}
		i += len(at)
		if name == "record" {
			i--
		}
		b[i] |= 4
		if _, err := DecodeMap(resealedAs(1, b[10:len(b)-4])); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with an unknown bit: %v", name, err)
		}
	}
}

// TestVersion2 reads the map and the delta that version 2 of the formats wrote.
func TestVersion2(t *testing.T) {
	want := goldenMap(t)
	want.OSDs[1].Slow, want.Pools[1].Chunks = false, ChunkPolicy{}
	m, err := DecodeMap(undump(t, "map-v2.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, m, sameMap); diff != "" {
		t.Fatal(diff)
	}
	d, err := DecodeDelta(undump(t, "delta-v2.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(d); !errors.Is(err, ErrDeltaMismatch) { // the sum of the result in version 2
		t.Fatalf("apply: %v", err)
	}
	b := undump(t, "map-v2.hex")
	i := bytes.Index(b, []byte("ssd")) + 3
	b[i] |= osdSlow
	if _, err := DecodeMap(resealedAs(2, b[10:len(b)-4])); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a bit that version 2 did not know: %v", err)
	}
}

// TestVersion3 reads the map and the delta that version 3 of the formats wrote.
func TestVersion3(t *testing.T) {
	want := goldenMap(t)
	want.Pools[1].Chunks = ChunkPolicy{}
	m, err := DecodeMap(undump(t, "map-v3.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, m, sameMap); diff != "" {
		t.Fatal(diff)
	}
	d, err := DecodeDelta(undump(t, "delta-v3.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if p := d.Pools[0]; !p.Chunks.IsZero() || p.Name != "new" || d.To != 302 {
		t.Fatalf("delta to %d with pool %+v", d.To, p)
	}
	if _, err := m.Apply(d); !errors.Is(err, ErrDeltaMismatch) { // the sum of the result in version 3
		t.Fatalf("apply: %v", err)
	}
}

// TestUnknownChunks: what a version does not know is damage in a document of that version.
func TestUnknownChunks(t *testing.T) {
	b := EncodeMap(goldenMap(t))
	i := bytes.Index(b, []byte{byte(XOR), 4, 1, byte(DedupCluster), byte(CutContent)})
	if i < 0 {
		t.Fatal("the policy is not in the map")
	}
	for _, at := range []int{0, 3, 4, 8} {
		bad := bytes.Clone(b)
		bad[i+at] = 7
		if _, err := DecodeMap(resealed(mapFormat, bad[10:len(bad)-4])); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("byte %d of the policy: %v", at, err)
		}
	}
}

func TestFlagNames(t *testing.T) {
	names := AllFlags.FlagNames()
	if want := "noout pause nodown norebalance norecover nobackfill noscrub nodeep-scrub"; strings.Join(names, " ") != want {
		t.Fatalf("flags are %v, want %s", names, want)
	}
	var all Flags
	for _, n := range names {
		f, ok := FlagByName(n)
		if !ok || all&f != 0 {
			t.Fatalf("flag %s: %#x, %v", n, f, ok)
		}
		all |= f
	}
	if _, ok := FlagByName("nonsense"); ok || all != AllFlags {
		t.Fatalf("all flags are %#x, want %#x", all, AllFlags)
	}
}

// TestDrainingIsOut: CRUSH treats an OSD that is being emptied as one that is out.
func TestDrainingIsOut(t *testing.T) {
	drains, out := uniform(1, 5, 2, byHost).makeMap(t, 3, 64), uniform(1, 5, 2, byHost).makeMap(t, 3, 64)
	drains.OSDs[3].Draining, out.OSDs[3].Weight = true, 0
	table := NewTable(uniform(1, 5, 2, byHost).makeMap(t, 3, 64)).Next(drains)
	for shard := range uint32(64) {
		id := PGID{1, shard}
		want := out.Group(id)
		if diff := cmp.Diff(want, drains.Group(id)); diff != "" {
			t.Fatalf("%v: %s", id, diff)
		}
		if diff := cmp.Diff(want, table.Group(id)); diff != "" {
			t.Fatalf("%v in the next table: %s", id, diff)
		}
	}
}
