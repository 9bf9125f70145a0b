package client_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// TestShardsApart lets the primary name two OSDs of one host, because there is no other: a chunk whose shards lie there
// would not survive the loss of what it is said to survive, so the bytes stay in the object.
func TestShardsApart(t *testing.T) {
	cl := newCluster(t, 1, 2)
	cl.change(func(m *placement.Map) {
		for id := range 2 {
			if err := m.Crush.AddDevice(id, "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": "h"}); err != nil {
				t.Fatal(err)
			}
		}
		rule, err := m.Crush.AddSimpleRule("apart", crush.DefaultRoot, "", "host", crush.FirstN)
		if err != nil {
			t.Fatal(err)
		}
		m.Pools[0].Rule = int32(rule)
	})
	puts := make(chan *wirepb.ShardPut, 10)
	for _, o := range cl.osds {
		o.on(func(c *wire.Conn, m *wire.Message) bool {
			switch {
			case m.Header.GetChunkPlace() != nil:
				c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_ChunkPlaced{ChunkPlaced: &wirepb.ChunkPlaced{Osds: []int32{0, 1}}}}})
				return true
			case m.Header.GetShardPut() != nil:
				puts <- m.Header.GetShardPut()
				c.Reply(m, nil)
				return true
			}
			return false
		})
	}
	p := cl.pool(cl.connect())
	pol := chunkPolicy(t, "replica:2")
	data := randomBytes(2, 300<<10)
	if _, err := p.DoChunked(context.Background(), "o", new(client.Op).WriteFull(data), client.ChunkOptions{Policy: &pol}); err != nil {
		t.Fatal(err)
	}
	if n := len(puts); n > 0 {
		t.Fatalf("%d shards of a chunk lie on one host", n)
	}
	got, err := p.Read(context.Background(), "o", 0, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestReadRefsByDo reads references where other reads get the bytes of chunks: they are what was asked for.
func TestReadRefsByDo(t *testing.T) {
	p := clienttest.New(t)
	p.MakeChunks(chunkPolicy(t, "replica:2"), 3)
	data := randomBytes(3, 300<<10)
	mustWrite(t, p, "o", data)
	res, err := p.Do(context.Background(), "o", new(client.Op).ReadRefs(0, 10).Read(5, 9))
	if err != nil {
		t.Fatal(err)
	}
	if refs := res.Items[0].Refs; len(refs) == 0 || refs[0].Range.From != 0 || refs[0].Nonce == (chunk.Nonce{}) {
		t.Errorf("references %v", refs)
	}
	if got := res.Items[1].Data; !bytes.Equal(got, data[5:14]) || len(res.Items[1].Refs) > 0 {
		t.Errorf("read %q beside them", got)
	}
}

type rawObjects struct{ p *clienttest.Pool }

func (r rawObjects) Do(ctx context.Context, object string, op *client.Op) (*client.Result, error) {
	return r.p.DoRaw(ctx, object, op)
}

// TestReadBesideLost has somebody wait for a chunk whose holder is down, with as much memory as there is for all: others
// can read meanwhile.
func TestReadBesideLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 128 << 10
		p := clienttest.New(t)
		pol := chunkPolicy(t, "replica:1")
		h := p.MakeChunks(pol, 2)
		h.SetDown(1, true)
		mustWrite(t, p, "lost", randomBytes(1, size))
		h.SetDown(0, true)
		h.SetDown(1, false)
		mustWrite(t, p, "well", randomBytes(2, size))
		x := client.NewChunks("p", 1, rawObjects{p}, h, func() client.ChunkPolicy { return pol }, client.NewChunkPlane(size, time.Minute, nil))
		ctx, cancel := context.WithCancel(context.Background())
		waits := make(chan error, 1)
		go func() {
			_, err := x.Do(ctx, "lost", new(client.Op).Read(0, 0))
			waits <- err
		}()
		synctest.Wait()
		began := time.Now()
		checkRead(t, x, "well", randomBytes(2, size))
		if took := time.Since(began); took > 0 {
			t.Errorf("a read waited %v for one that cannot be done", took)
		}
		cancel()
		if err := <-waits; err == nil {
			t.Error("a chunk whose only holder is down was read")
		}
	})
}
