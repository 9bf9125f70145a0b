package bucket

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/cairnstore/cairn/client"
)

// TestPutUpTo: a body whose size is not known before it ends is stored like any other.
func TestPutUpTo(t *testing.T) {
	plain := newFixture(t, nil)
	whole, _ := chunkedFixture(t, chunkPolicy(t, "chunks=2:1:xor", "chunk_size=64KiB"), nil)
	cut, _ := chunkedFixture(t, chunkPolicy(t, "chunks=2:1:xor", "chunk_size=64KiB", "cut=content"), nil)
	rng := seeded(t)
	for name, f := range map[string]*fixture{"plain": plain, "fixed": whole, "content": cut} {
		for _, n := range []int{0, 1, 99, 100, 101, 1000, 4000, client.MinChunkBytes - 1, client.MinChunkBytes, client.MinChunkBytes + 1, 5*client.MinChunkBytes + 7} {
			for _, most := range []int{n, n + 1, MaxPutBytes} {
				b := randomBody(rng, n)
				o, err := f.b.Put(t.Context(), "k", PutInput{Body: iotest.DataErrReader(bytes.NewReader(b)), Size: int64(most), UpTo: true, MD5: sumMD5(b)})
				if err != nil {
					t.Fatalf("%s, %d of at most %d bytes: %v", name, n, most, err)
				}
				if o.Size != int64(n) {
					t.Fatalf("%s, %d of at most %d bytes: stored %d", name, n, most, o.Size)
				}
				f.want("k", b)
				sealed := sealedAs(b, "salt")
				sealed.Stored, sealed.Size = int64(len(stuffed(make([]byte, min(most, 1<<22))))), func() int64 { return int64(n) }
				o, err = f.b.Put(t.Context(), "s", PutInput{Body: bytes.NewReader(stuffed(b)), Size: int64(min(most, 1<<22)), UpTo: true, MD5: sumMD5(b), Sealed: sealed})
				if err != nil || o.Size != int64(n) {
					t.Fatalf("%s, sealed, %d of at most %d bytes: %+v, %v", name, n, most, o, err)
				}
				f.wantSealed(f.b, "s", b, stuffed(b), "salt")
			}
		}
		for _, n := range []int{10, 3500, 200_000} {
			broken := errors.New("broken")
			for what, r := range map[string]io.Reader{
				"too long": bytes.NewReader(make([]byte, n+1)),
				"broken":   &brokenReader{bytes.NewReader(make([]byte, n-1)), broken},
				"cut off":  &brokenReader{bytes.NewReader(make([]byte, n-1)), io.ErrUnexpectedEOF},
			} {
				if _, err := f.b.Put(t.Context(), "bad", PutInput{Body: r, Size: int64(n), UpTo: true}); err == nil {
					t.Errorf("%s, %s at %d bytes: stored", name, what, n)
				}
				if _, err := f.b.Head(t.Context(), "bad"); !errors.Is(err, ErrNoSuchKey) {
					t.Errorf("%s, %s at %d bytes: head says %v", name, what, n, err)
				}
			}
		}
	}
}

func sumMD5(b []byte) []byte {
	h := newMD5()
	h.Write(b)
	return h.Sum(nil)
}
