package client_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
)

// BenchmarkDo measures 4 KiB operations with 16 under way against a fake OSD
// in this process; its share of the time is about half.
func BenchmarkDo(b *testing.B) {
	for _, write := range []bool{true, false} {
		b.Run(map[bool]string{true: "write", false: "read"}[write], func(b *testing.B) {
			cl := newCluster(b, 1, 1)
			p := cl.pool(cl.connect())
			data := make([]byte, 4096)
			for i := range 16 {
				if err := p.WriteFull(bg, fmt.Sprint(i), data); err != nil {
					b.Fatal(err)
				}
			}
			b.SetParallelism(8)
			b.ReportAllocs()
			began := cpu()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					op := new(client.Op)
					if write {
						op.WriteFull(data)
					} else {
						op.Read(0, 4096)
					}
					if _, err := p.Do(bg, fmt.Sprint(i%16), op); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
