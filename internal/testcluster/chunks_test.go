package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/placement"
)

// chunkObject is what an object of TestChunks has.
type chunkObject struct {
	name string
	data []byte
}

func checkObject(t *testing.T, ctx context.Context, p *client.Pool, o *chunkObject, rng *rand.Rand) {
	t.Helper()
	got, err := p.Read(ctx, o.name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, o.data) {
		t.Fatalf("%s of pool %s has wrong bytes", o.name, p.Name())
	}
	off := rng.IntN(len(o.data))
	n := 1 + rng.IntN(min(len(o.data)-off, 200<<10))
	res, err := p.Do(ctx, o.name, new(client.Op).Read(uint64(off), uint64(n)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(res.Items[0].Data, o.data[off:off+n]) {
		t.Fatalf("%s of pool %s: %d bytes at %d are wrong", o.name, p.Name(), n, off)
	}
	res.Release()
}

// TestChunks writes and overwrites objects in pools with chunks of several kinds, stops as many OSDs as each
// stands, and reads all of it; while an OSD is down objects are written whose chunks find too few holders.
func TestChunks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c, cl, first := startPool(t, ctx, testcluster.Options{OSDs: 6}, api.PoolSpec{Size: 3, MinSize: 1, Chunks: "4:2:rs", PGNum: 8})
	pools := []*client.Pool{first}
	for _, spec := range []api.PoolSpec{
		{Chunks: "replica:2", Size: 2, MinSize: 1, Compression: "zstd"}, {Chunks: "4:1:xor", Size: 2, MinSize: 1, Dedup: "cluster", Cut: "content"},
		{Chunks: "2:2:rs", Size: 3, MinSize: 1, ChunkSize: 128 << 10, Compression: "s2"},
	} {
		spec.Name, spec.PGNum = strings.ReplaceAll(spec.Chunks, ":", "-"), 4
		if _, err := c.Mon(0).PoolCreate(ctx, spec); err != nil {
			t.Fatal(err)
		}
		p, err := cl.Pool(ctx, spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		pools = append(pools, p)
	}
	if err := c.WaitClean(ctx); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32() >> (i >> 14 & 3 * 8)) // parts of it can be packed
		}
		return b
	}
	objects := map[*client.Pool][]*chunkObject{}
	write := func(p *client.Pool, name string, size int) {
		t.Helper()
		o := &chunkObject{name, bytesOf(size)}
		if err := p.WriteFull(ctx, o.name, o.data); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			off, b := rng.IntN(size), bytesOf(1+rng.IntN(size/3))
			if err := p.Write(ctx, o.name, uint64(off), b); err != nil {
				t.Fatal(err)
			}
			if end := off + len(b); end > len(o.data) {
				o.data = append(o.data, make([]byte, end-len(o.data))...)
			}
			copy(o.data[off:], b)
		}
		objects[p] = append(objects[p], o)
	}
	check := func(lost int) {
		t.Helper()
		for _, p := range pools {
			if int(cl.Map().Pool(p.ID()).Chunks.Redundancy.M) < lost {
				continue
			}
			for _, o := range objects[p] {
				checkObject(t, ctx, p, o, rng)
			}
		}
	}
	for _, p := range pools {
		for i, size := range []int{4<<20 + 5, 300 << 10, 64 << 10, 9000} {
			write(p, fmt.Sprint("object", i), size)
		}
	}
	st := cl.ChunkStats()
	if st.Written < 40 || st.Local > 0 {
		t.Errorf("%+v", st)
	}
	check(0)
	if st := cl.ChunkStats(); st.BadShards > 0 {
		t.Errorf("%+v", st)
	}
	down := func(i int) {
		t.Helper()
		id := c.OSD(i).ID()
		if err := c.KillOSD(i); err != nil {
			t.Fatal(err)
		}
		check(0) // at once: nobody knows yet
		if err := c.WaitMap(ctx, func(m *placement.Map) bool { return !m.IsUp(id) }); err != nil {
			t.Fatal(err)
		}
	}
	down(2)
	check(1)
	for _, p := range pools {
		write(p, "degraded", 3<<20)
	}
	check(1)
	if st := cl.ChunkStats(); st.Local == 0 || st.Rebuilt == 0 {
		t.Errorf("with an OSD less than 4:2 has shards: %+v", st)
	}
	if err := c.KillOSD(4); err != nil {
		t.Fatal(err)
	}
	check(2)
	for _, i := range []int{2, 4} {
		if err := c.StartOSD(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WaitClean(ctx); err != nil {
		t.Fatal(err)
	}
	check(0)
}
