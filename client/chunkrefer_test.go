package client_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// TestPutChunkAndRefer has two objects refer to parts of one chunk, whether chunks are shared or not, and gives
// references up that an Op does not set.
func TestPutChunkAndRefer(t *testing.T) {
	for _, dedup := range []placement.Dedup{placement.DedupTenant, placement.DedupOff} {
		t.Run(dedup.String(), func(t *testing.T) {
			bg := context.Background()
			p := clienttest.New(t)
			h := p.MakeChunks(chunkPolicy(t, "replica:2", func(c *client.ChunkPolicy) { c.Dedup = dedup }), 3)
			x := p.Chunks()
			data := randomBytes(1, 300_000)
			ref, err := x.PutChunk(bg, "a", data, client.ChunkOptions{})
			if err != nil {
				t.Fatal(err)
			}
			more, err := x.Refer(bg, "b", []chunk.Ref{ref})
			if err != nil {
				t.Fatal(err)
			}
			more[0].ChunkOff = 100_000
			if err := x.SetRefs(bg, "a", new(client.Op).SetRef(0, 100_000, ref), []chunk.Ref{ref}); err != nil {
				t.Fatal(err)
			}
			if err := x.SetRefs(bg, "b", new(client.Op).SetRef(0, 200_000, more[0]), more); err != nil {
				t.Fatal(err)
			}
			checkRead(t, p, "a", data[:100_000])
			checkRead(t, p, "b", data[100_000:])
			refs, size, err := x.Refs(bg, "b")
			if err != nil || len(refs) != 1 || size != 200_000 || refs[0].Nonce != more[0].Nonce {
				t.Fatalf("%+v, %d bytes, %v", refs, size, err)
			}
			info := func(want int) {
				t.Helper()
				i, err := x.Info(bg, ref.Chunk, 100)
				if err != nil || len(i.Refs) != want || int(i.Layout.Size) != len(data) || i.More {
					t.Fatalf("%+v, %v; want %d references", i, err, want)
				}
			}
			info(2)
			if h.Count() != 2 {
				t.Errorf("%d shards", h.Count())
			}

			more, err = x.Refer(bg, "c", []chunk.Ref{ref})
			if err != nil {
				t.Fatal(err)
			}
			info(3)
			if err := x.SetRefs(bg, "c", new(client.Op).AssertExists().SetRef(0, 300_000, more[0]), more); !errors.Is(err, client.ErrNotFound) {
				t.Fatalf("an Op whose condition does not hold: %v", err)
			}
			info(2)

			gone := ref
			gone.Chunk[5]++
			if _, err := x.Refer(bg, "c", []chunk.Ref{ref, gone}); !errors.Is(err, client.ErrNotFound) {
				t.Fatalf("refer to a chunk that is gone: %v", err)
			}
			info(2)
			if _, err := x.PutChunk(bg, "c", nil, client.ChunkOptions{}); !errors.Is(err, client.ErrInvalid) {
				t.Fatalf("a chunk of nothing: %v", err)
			}
		})
	}
}
