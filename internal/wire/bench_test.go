package wire

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// acker answers every request with a small reply, as an OSD answers a write.
type acker struct{}

var ackHeader = &wirepb.Header{Body: &wirepb.Header_Ack{Ack: &wirepb.Ack{}}}

func (acker) Handle(c *Conn, m *Message) {
	_ = c.Reply(m, &Message{Header: ackHeader})
	m.Release()
}
func (acker) Closed(*Conn, error) {}

func opHeader() *wirepb.Header {
	return &wirepb.Header{Body: &wirepb.Header_Op{Op: &wirepb.OpRequest{
		Pool: 1, Shard: 7, Object: []byte("rbd_data.1234.00000000000000ff"),
		Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE, Offset: 4096, DataLen: 4096}},
	}}}
}

// cpuTime is what this process has used, system time included: on a machine
// that others use too it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPingPong: payload there, small answer back. depth is how many
// requests are under way at once. Both ends are in this process.
func BenchmarkPingPong(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 4 << 20} {
		for _, depth := range []int{1, 16} {
			for _, check := range []bool{true, false} {
				b.Run(fmt.Sprintf("size=%d/depth=%d/check=%v", size, depth, check), func(b *testing.B) {
					s := serve(b, Options{Handler: acker{}})
					c := dialTo(b, s, Options{NoPayloadCheck: !check})
					m := &Message{Header: opHeader(), Payload: make([]byte, size)}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					var left atomic.Int64
					left.Store(int64(b.N))
					b.ResetTimer()
					cpu := cpuTime(b)
					var wg sync.WaitGroup
					for range depth {
						wg.Go(func() {
							for left.Add(-1) >= 0 {
								if _, err := c.Call(context.Background(), m); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
				})
			}
		}
	}
}
