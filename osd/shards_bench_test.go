package osd

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// BenchmarkShard: new shards, and new objects of the same size with one copy, 8 under way; one OSD with a store on disk,
// its client and the socket between them in this process. Then the shards are read again. disk/data says how
// much more than the shards' bytes the store has used.
//
//	go test ./osd -run '^$' -bench BenchmarkShard -benchtime 500x
func BenchmarkShard(b *testing.B) {
	for _, size := range []int{128 << 10, 1 << 20} {
		for _, what := range []string{"object", "put", "get"} {
			b.Run(fmt.Sprintf("%s/%dKiB", what, size>>10), func(b *testing.B) { benchShard(b, what, size) })
		}
	}
}

func benchShard(b *testing.B, what string, size int) {
	dir := b.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	if err := store.Create(dir, store.CreateOptions{Capacity: 4 << 30, Log: quiet}); err != nil {
		b.Fatal(err)
	}
	st, err := store.Open(dir, store.Options{BlockCacheBytes: 8 << 20, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	o := options(st, newStage(b))
	d, err := Start(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Kill()
	c, err := wire.Dial(context.Background(), d.Addr(), wire.Options{Self: wire.Identity{Entity: "client.1", Cluster: testCluster}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	data := shardBytes(size)
	const names = 512 // as many as fit
	call := func(h *wirepb.Header, payload []byte) error {
		r, err := c.Call(context.Background(), &wire.Message{Header: h, Payload: payload})
		r.Release()
		return err
	}
	put := func(seq uint64) error {
		id := shardN(int(seq%names), 0)
		id.Gen = 1 + seq/names
		return call(&wirepb.Header{Body: &wirepb.Header_ShardPut{ShardPut: &wirepb.ShardPut{Id: id}}}, data)
	}
	run := func(seq uint64) error {
		switch what {
		case "put":
			return put(seq)
		case "get":
			return call(&wirepb.Header{Body: &wirepb.Header_ShardGet{ShardGet: &wirepb.ShardGet{Id: shardN(int(seq%names), 0)}}}, nil)
		}
		return call(&wirepb.Header{Body: &wirepb.Header_Op{Op: &wirepb.OpRequest{
			Pool: 1, Object: binary.BigEndian.AppendUint64([]byte("o"), seq), Req: &wirepb.ReqID{Client: 1, Seq: seq + 1},
			Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE, DataLen: uint64(size)}},
		}}}, data)
	}
	if what == "get" {
		for i := range names {
			id := shardN(i, 0)
			if err := call(&wirepb.Header{Body: &wirepb.Header_ShardPut{ShardPut: &wirepb.ShardPut{Id: id}}}, data); err != nil {
				b.Fatal(err)
			}
		}
	}
	for run(1<<40) != nil {
		<-time.After(time.Millisecond) // until the PG takes writes
	}
	before := st.Usage()
	var u0, u1 syscall.Rusage
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &u0)
	var left, seq atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := run(uint64(seq.Add(1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &u1)
	b.ReportMetric(float64(u1.Utime.Nano()-u0.Utime.Nano())/1e3/float64(b.N), "user-us/op")
	b.ReportMetric(float64(u1.Stime.Nano()-u0.Stime.Nano())/1e3/float64(b.N), "sys-us/op")
	if what != "get" {
		if err := d.Kill(); err != nil {
			b.Fatal(err)
		}
		if err := st.Close(); err != nil { // with a checkpoint: all is where it stays
			b.Fatal(err)
		}
		if st, err = store.Open(dir, store.Options{Log: quiet}); err != nil {
			b.Fatal(err)
		}
		defer st.Close()
		after := st.Usage()
		b.ReportMetric(float64(after.Used-before.Used)/float64(b.N*size), "disk/data")
	}
}
