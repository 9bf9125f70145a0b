package chunk

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDropped(t *testing.T) {
	list := []Dropped{{Chunk: Fingerprint{BLAKE3, 1}, Nonce: Nonce{2}}, {Chunk: Fingerprint{SHA256, 3}, Nonce: Nonce{4}}}
	b := AppendDropped(nil, list)
	got, err := DecodeDropped(b)
	if err != nil || !cmp.Equal(got, list) {
		t.Fatalf("%v, %s", err, cmp.Diff(list, got))
	}
	for cut := range b {
		if _, err := DecodeDropped(b[:cut]); err == nil {
			t.Fatalf("%d of %d bytes were taken for a list", cut, len(b))
		}
	}
}
