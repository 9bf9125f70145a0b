package chunk

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cairnstore/cairn/placement"
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
		{SHA256, ClusterDomain, data, "sha256:44929def4d03769d974b41c774c29acdd99bcbddcc769a6670c98353ee03e201"},
		{SHA256, "tenant", data, "sha256:554ae74a74266a0adde652b67708eebb294ff1eb7fee92dfeb54b9635f4f9771"},
	} {
		if got := Of(c.alg, c.domain, c.data); got.String() != c.want {
			t.Errorf("algorithm %d, domain %q, %d bytes: got %s, want %s", c.alg, c.domain, len(c.data), got, c.want)
		}
	}
}

// TestVerify: a fingerprint is that of its bytes in its domain, or of its bytes alone if it is not shared.
func TestVerify(t *testing.T) {
	data := bytes.Repeat([]byte("cairn"), 1000)
	wrong := bytes.Clone(data)
	wrong[1234] ^= 1
	domain := Domain("tenant", placement.Redundancy{Codec: placement.XOR, K: 2, M: 1})
	own := OwnOf([OwnRandom]byte{1, 2, 3}, data)
	const golden = "own:010203000000000000000000000000000000000000000000e395a732bf3538ab"
	if own.String() != golden {
		t.Errorf("got %s, want %s", own, golden)
	}
	for _, c := range []struct {
		what   string
		f      Fingerprint
		domain string
		data   []byte
		want   error
	}{
		{"shared", Of(BLAKE3, domain, data), domain, data, nil},
		{"shared, SHA-256", Of(SHA256, domain, data), domain, data, nil},
		{"shared, wrong", Of(BLAKE3, domain, data), domain, wrong, ErrOtherBytes},
		{"of another domain", Of(BLAKE3, domain, data), Domain("other", placement.Redundancy{M: 1}), data, ErrOtherBytes},
		{"of an old version", Of(BLAKE3, domain, data), "", wrong, ErrUnverifiable},
		{"own", own, "", data, nil},
		{"own, wrong", own, "", wrong, ErrOtherBytes},
		{"of a new version", Fingerprint{99}, domain, data, ErrUnverifiable},
	} {
		if err := c.f.Verify(c.domain, c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.want)
		}
		if got, err := ParseFingerprint(c.f.String()); c.f[0] != 99 && (got != c.f || err != nil) {
			t.Errorf("%s: %s is read as %s, %v", c.what, c.f, got, err)
		}
	}
	if got := DecodeDomain(EncodeDomain(domain)); got != domain {
		t.Errorf("domain %q is read as %q", domain, got)
	}
	for _, b := range [][]byte{nil, {domainVersion}, {domainVersion + 1, 'x'}} {
		if got := DecodeDomain(b); got != "" {
			t.Errorf("%x is read as domain %q", b, got)
		}
	}
	for _, bad := range []string{"", "own:", "own:00", "blake3", own.String() + "0", "md5:" + own.String()[4:], own.String()[:len(golden)-1] + "x"} {
		if f, err := ParseFingerprint(bad); err == nil {
			t.Errorf("%q was taken for %s", bad, f)
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
