package chunk

import (
	"bytes"
	"testing"
)

// TestOf has fingerprints that must never change: they name what is stored.
func TestOf(t *testing.T) {
	data := bytes.Repeat([]byte("cairn"), 1000)
	for _, c := range []struct {
		alg    byte
		domain string
		data   []byte
		want   string
	}{
		{BLAKE3, ClusterDomain, nil, "blake3:fdf67dd079b226ca778a94b90dc454c971e786453918eb0b574fb19c49134a58"},
		{BLAKE3, ClusterDomain, data, "blake3:bb12204e230f261d1b1668d530f20b4c31dbba2e15b9c90e699154b4accb6558"},
		{BLAKE3, "tenant", data, "blake3:b28b059365cd4d18fff7feb85997e0fd7d3db89f66604dffedbd8952befdf285"},
		{BLAKE3, OwnDomain([32]byte{1, 2, 3}), data, "blake3:b1b23b3f79dd8b783c8b84d6055478ea2cc0456525a7ea6142a93a5ffb3ff7b3"},
		{SHA256, ClusterDomain, data, "sha256:44929def4d03769d974b41c774c29acdd99bcbddcc769a6670c98353ee03e201"},
		{SHA256, "tenant", data, "sha256:554ae74a74266a0adde652b67708eebb294ff1eb7fee92dfeb54b9635f4f9771"},
	} {
		if got := Of(c.alg, c.domain, c.data); got.String() != c.want {
			t.Errorf("algorithm %d, domain %q, %d bytes: got %s, want %s", c.alg, c.domain, len(c.data), got, c.want)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	data := make([]byte, 1<<20)
	for _, alg := range []byte{BLAKE3, SHA256} {
		b.Run(Fingerprint{alg}.String()[:6], func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				Of(alg, "tenant", data)
			}
		})
	}
}
