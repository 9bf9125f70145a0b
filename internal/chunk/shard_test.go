package chunk

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Names of shards can be read back, and are ordered by fingerprint, generation and number.
func TestShardName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s [2]Shard
		for i := range s {
			s[i] = Shard{Gen: Gen(rapid.Uint64Min(1).Draw(t, "gen")), Index: rapid.Uint8Range(0, MaxShards-1).Draw(t, "index")}
			s[i].Chunk[0] = BLAKE3
			s[i].Chunk[1] = rapid.Uint8Range(0, 1).Draw(t, "fingerprint")
			if got, ok := ParseShardName(s[i].Name()); !ok || got != s[i] {
				t.Fatalf("%v came back as %v, %v", s[i], got, ok)
			}
		}
		a, b := s[0], s[1]
		less := slices.Compare(a.Chunk[:], b.Chunk[:])
		if less == 0 {
			less = slices.Compare([]uint64{uint64(a.Gen), uint64(a.Index)}, []uint64{uint64(b.Gen), uint64(b.Index)})
		}
		if got := slices.Compare([]byte(a.Name()), []byte(b.Name())); got != less {
			t.Fatalf("%v and %v: names compare %d, want %d", a, b, got, less)
		}
	})
	good := (&Shard{Chunk: Fingerprint{BLAKE3}, Gen: 1}).Name()
	for _, bad := range []string{"", good[1:], good + "x", "\x00" + good[1:], good[:len(good)-1] + "\x1a", good[:33] + "\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if s, ok := ParseShardName(bad); ok {
			t.Errorf("%q was taken for %v", bad, s)
		}
	}
}
