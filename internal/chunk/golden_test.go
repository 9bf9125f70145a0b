package chunk

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

var updateFlag = flag.Bool("update", false, "write testdata/formats.txt anew")

// TestGolden holds the encodings against testdata/formats.txt: what one version writes the next one must read.
func TestGolden(t *testing.T) {
	l := Layout{
		Gen: 0x0102030405060708, Size: 1 << 20, Stored: 700_000, Packing: placement.PackZstd,
		Redundancy: placement.Redundancy{Codec: placement.ReedSolomon, K: 4, M: 2},
		Holders:    []placement.OSDID{3, 1, 200, 4, placement.NoOSD, 9},
	}
	f := Fingerprint{BLAKE3, 0xaa, 0xbb}
	n := Nonce{1, 2, 3, 15: 16}
	r := Ref{Range: Range{1 << 20, 2 << 20}, Chunk: f, Nonce: n, Layout: l, Covered: []Range{{1<<20 + 4096, 1<<20 + 8192}, {2<<20 - 1, 2 << 20}}, Split: true}
	back := BackRef{Nonce: n, Pool: 7, Object: "obj", At: 1_700_000_000_000_000_000}
	var b strings.Builder
	for _, x := range []struct {
		what string
		v    []byte
	}{
		{"layout", l.Append(nil)}, {"reference", r.Append(nil)}, {"reference key", []byte(r.Key())},
		{"back-reference key", []byte(back.Key())}, {"back-reference value", back.Value()},
		{"dropped", AppendDropped(nil, []Dropped{{f, n}})},
		{"settle", (&Settle{placement.ChunkPolicy{Redundancy: l.Redundancy, Dedup: placement.DedupCluster, Cut: placement.CutContent, Packing: placement.PackS2, ChunkSize: 1 << 20}, "acme"}).Append(nil)},
		{"domain", EncodeDomain(Domain("acme", l.Redundancy))},
		{"entry name", []byte(f.IndexName())}, {"outbox name", []byte(OutboxName(3, 260, "obj"))},
		{"void reference name", []byte(VoidRefName(n, "obj"))}, {"void chunk name", []byte(VoidChunkName(l.Gen, f))},
	} {
		fmt.Fprintf(&b, "%s: %s\n", x.what, hex.EncodeToString(x.v))
	}
	const file = "testdata/formats.txt"
	if *updateFlag {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || b.String() != string(want) {
		t.Fatalf("%s (%v) has\n%swant\n%s(-update writes it anew: a format that changes gets a new version, see docs/formats/chunks.md)", file, err, want, b.String())
	}
	newer := r.Append(nil)
	newer[0]++
	if _, err := DecodeRef(newer); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("a newer reference: %v", err)
	}
}
