package bench_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bench"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/process"
)

// pool adds listing to a pool in memory; it lists the names that were ever used.
type pool struct {
	*clienttest.Pool
	names []string
}

func (p *pool) List(_ context.Context, from client.Cursor, _ int) ([]string, client.Cursor, error) {
	if len(p.names) == 0 {
		return nil, client.Cursor{End: true}, nil
	}
	half := (len(p.names) + 1) / 2
	if from.After == "" {
		return p.names[:half], client.Cursor{After: "x", End: half == len(p.names)}, nil
	}
	return p.names[half:], client.Cursor{End: true}, nil
}

func (p *pool) exists(t *testing.T, name string) bool {
	_, err := p.Do(context.Background(), name, new(client.Op).Stat().AssertExists())
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func options(kind bench.Kind) bench.Options {
	return bench.Options{Kind: kind, Run: "r", InFlight: 4, Time: time.Minute}
}

func TestWriteThenRead(t *testing.T) {
	ctx := context.Background()
	p := &pool{Pool: clienttest.New(t)}
	o := options(bench.Write)
	o.Size, o.ObjectSize, o.Ops = 4096, 3*4096, 30
	cpu := time.Second
	o.Daemons = func(context.Context) ([]bench.Daemon, error) {
		cpu += 30 * time.Millisecond
		return []bench.Daemon{{Name: "osd.0", Usage: process.Usage{User: cpu, System: time.Second, Resident: 7}}}, nil
	}
	res, err := bench.Run(ctx, p, o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Ops != 30 || res.Objects != 10 || res.Size != 4096 || res.ObjectSize != 3*4096 || res.OpsPerSec <= 0 {
		t.Errorf("write: got %+v", res)
	}
	if l := res.Latency; l.Min > l.P50 || l.P50 > l.P99 || l.P99 > l.Max || l.Max <= 0 {
		t.Errorf("latencies are not in order: %+v", l)
	}
	if d := res.CPU.Daemons; len(d) != 1 || math.Abs(d[0].PerOp-1000) > 1e-6 || d[0].Resident != 7 || res.CPU.Total.User < .03 {
		t.Errorf("30 ms for 30 operations: got %+v", res.CPU)
	}
	o = options(bench.Seq)
	if res, err = bench.Run(ctx, p, o); err != nil || res.Ops != 30 || res.Size != 4096 {
		t.Errorf("seq: got %+v, %v", res, err)
	}
	o.Size = 3 * 4096
	if res, err = bench.Run(ctx, p, o); err != nil || res.Ops != 10 || res.Size != 3*4096 {
		t.Errorf("seq of whole objects: got %+v, %v", res, err)
	}
	for _, kind := range []bench.Kind{bench.RandWrite, bench.Rand} {
		o := options(kind)
		o.Ops, o.Size, o.Seed = 100, 1024, 1
		if res, err := bench.Run(ctx, p, o); err != nil || res.Ops != 100 || res.Objects != 10 {
			t.Errorf("%s: got %+v, %v", kind, res, err)
		}
	}
	o = options(bench.RandWrite)
	o.Size = 3 * 1024
	if _, err := bench.Run(ctx, p, o); err == nil || !strings.Contains(err.Error(), "stamps") {
		t.Errorf("overwriting what stamps are in: got %v", err)
	}
	if _, err := bench.Run(ctx, p, options(bench.Seq)); err != nil {
		t.Errorf("seq after overwriting: %v", err)
	}
	// Another object's bytes, as a store that mixes up blocks would return them.
	if _, err := p.Do(ctx, "bench.r.00000003", new(client.Op).Write(4096, make([]byte, 4096))); err != nil {
		t.Fatal(err)
	}
	if _, err := bench.Run(ctx, p, options(bench.Seq)); err == nil || !strings.Contains(err.Error(), `"bench.r.00000003": bytes at 4096`) {
		t.Errorf("wrong data was read: got %v", err)
	}
	// A short object.
	if _, err := p.Do(ctx, "bench.r.00000003", new(client.Op).Truncate(10)); err != nil {
		t.Fatal(err)
	}
	if _, err := bench.Run(ctx, p, options(bench.Seq)); err == nil || !strings.Contains(err.Error(), "brought") {
		t.Errorf("short object was read: got %v", err)
	}
}

func TestClean(t *testing.T) {
	ctx := context.Background()
	p := &pool{Pool: clienttest.New(t), names: []string{"bench.r.00000000", "other", "bench.r.00000001", "bench.r", "bench.rr.00000000", "bench.r.00000002"}}
	o := options(bench.Write)
	o.Size, o.Ops = 100, 3
	if _, err := bench.Run(ctx, p, o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other", "bench.rr.00000000"} {
		if _, err := p.Do(ctx, name, new(client.Op).Create(true)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := bench.Clean(ctx, p, "r", 2); n != 3 || err != nil {
		t.Errorf("got %d, %v, want 3 removed", n, err)
	}
	for _, name := range p.names {
		if want := name == "other" || name == "bench.rr.00000000"; p.exists(t, name) != want {
			t.Errorf("%s: exists %v, want %v", name, !want, want)
		}
	}
	if _, err := bench.Run(ctx, p, options(bench.Rand)); !errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), "--no-cleanup") {
		t.Errorf("read of a run that is gone: got %v", err)
	}
}

// A run that fails ends with the first error, and what it wrote without a gap counts.
func TestFailedWrite(t *testing.T) {
	ctx := context.Background()
	p := &pool{Pool: clienttest.New(t)}
	full := errors.New("full")
	p.Before(func(_ context.Context, c clienttest.Call) error {
		if strings.HasSuffix(c.Object, "00000005") {
			return full
		}
		return nil
	})
	o := options(bench.Write)
	o.Size, o.Ops, o.InFlight = 64, 1000, 1 // with more, those beside the one that fails are given up
	if _, err := bench.Run(ctx, p, o); !errors.Is(err, full) {
		t.Fatalf("got %v, want the pool's error", err)
	}
	p.Before(nil)
	res, err := bench.Run(ctx, p, options(bench.Seq))
	if err != nil || res.Ops != 5 {
		t.Errorf("read of what was written: got %+v, %v; want 5 objects", res, err)
	}
}

// Interrupting a run is no error: what it did until then is the result.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pool{Pool: clienttest.New(t)}
	var calls atomic.Int64
	p.Before(func(ctx context.Context, _ clienttest.Call) error {
		if calls.Add(1) == 50 {
			cancel()
		}
		return nil
	})
	o := options(bench.Write)
	o.Size = 64
	res, err := bench.Run(ctx, p, o)
	if err != nil || res.Ops < 40 || res.Ops > 60 {
		t.Fatalf("got %+v, %v", res, err)
	}
}

// A daemon that was started anew, is gone or came has no share.
func TestLostDaemons(t *testing.T) {
	p := &pool{Pool: clienttest.New(t)}
	looks := 0
	o := options(bench.Write)
	o.Size, o.Ops = 64, 10
	o.Daemons = func(context.Context) ([]bench.Daemon, error) {
		looks++
		if looks == 1 {
			return []bench.Daemon{{"osd.0", process.Usage{User: 5}}, {"osd.1", process.Usage{User: 5}}, {"mon.a", process.Usage{User: 5}}}, nil
		}
		return []bench.Daemon{{"osd.0", process.Usage{User: 4}}, {"mon.a", process.Usage{User: 9}}, {"osd.2", process.Usage{}}}, nil
	}
	res, err := bench.Run(context.Background(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, s := range res.CPU.Daemons {
		got += s.Name
		if s.Lost {
			got += "!"
		}
		got += " "
	}
	if got != "osd.0! mon.a osd.2! osd.1! " {
		t.Errorf("got %s", got)
	}
}

func TestBadOptions(t *testing.T) {
	for _, change := range []func(*bench.Options){
		func(o *bench.Options) { o.Kind = "fast" },
		func(o *bench.Options) { o.Run = "" },
		func(o *bench.Options) { o.Run = "a.b" },
		func(o *bench.Options) { o.InFlight = 0 },
		func(o *bench.Options) { o.InFlight = 1 << 20 },
		func(o *bench.Options) { o.Time = 0 },
		func(o *bench.Options) { o.Size = -1 },
		func(o *bench.Options) { o.Size, o.ObjectSize = 3, 10 },
		func(o *bench.Options) { o.ObjectSize = 1 << 30 },
	} {
		o := options(bench.Write)
		change(&o)
		if _, err := bench.Run(context.Background(), &pool{Pool: clienttest.New(t)}, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
