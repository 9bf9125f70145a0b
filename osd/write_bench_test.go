package osd

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// prompt is a store that has everything durable at once and keeps no objects, so that a benchmark sees
// only what is around it.
type prompt struct {
	*store.Sim
	mu    sync.Mutex // guards below
	work  []func(error)
	spare []func(error)
	more  *sync.Cond
	ended bool
}

func newPrompt(seed uint64) *prompt {
	p := &prompt{Sim: store.NewSim(store.SimOptions{Seed: seed, Manual: true})}
	p.more = sync.NewCond(&p.mu)
	go func() { // until Close
		p.mu.Lock()
		defer p.mu.Unlock()
		for !p.ended {
			if len(p.work) == 0 {
				p.more.Wait()
				continue
			}
			group := p.work
			p.work, p.spare = p.spare[:0], nil
			p.mu.Unlock()
			for _, done := range group {
				done(nil)
			}
			clear(group)
			p.mu.Lock()
			p.spare = group
		}
	}()
	return p
}

func (p *prompt) Submit(_ *store.Batch, done func(error)) {
	p.mu.Lock()
	p.work = append(p.work, done)
	p.more.Signal()
	p.mu.Unlock()
}

func (p *prompt) Stat(store.Key) (store.Info, error) { return store.Info{}, store.ErrNotFound }
func (p *prompt) Usage() store.Usage                 { return store.Usage{Capacity: 1 << 40, Available: 1 << 40} }
func (p *prompt) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.more.Signal()
	return nil
}

// troupe is the monitors of a cluster of several OSDs with one pool.
type troupe struct {
	mu    sync.Mutex // guards below
	m     *placement.Map
	onMap map[placement.OSDID]func(*placement.Map)
	news  chan struct{}
}

const (
	benchOSDs = 3
	benchPGs  = 24
)

func newTroupe(b *testing.B) *troupe {
	cm := crush.NewDefault()
	m := &placement.Map{
		Epoch: 1, Cluster: testCluster, Crush: cm, NextOSD: benchOSDs, NextPool: 2,
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: benchOSDs, MinSize: 2, PGNum: benchPGs, PGNumTarget: benchPGs, FirstPGNum: benchPGs}},
	}
	var set []placement.OSDID
	for i := range benchOSDs {
		id := placement.OSDID(i)
		if err := cm.AddDevice(i, "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": string(rune('a' + i))}); err != nil {
			b.Fatal(err)
		}
		m.OSDs = append(m.OSDs, placement.OSD{ID: id, Class: "ssd", Weight: placement.WeightOne, Capacity: 1 << 40})
		set = append(set, id)
	}
	pgs := placement.PoolPGs{Pool: 1}
	for i := range benchPGs {
		pgs.Records = append(pgs.Records, placement.PGRecord{Term: 1, Version: 1, Primary: placement.OSDID(i % benchOSDs), InSync: set})
	}
	m.PGs = []placement.PoolPGs{pgs}
	return &troupe{m: m, onMap: map[placement.OSDID]func(*placement.Map){}, news: make(chan struct{})}
}

func (s *troupe) edit(f func(*placement.Map)) *placement.Map {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.m.Clone()
	m.Epoch++
	f(m)
	s.m = m
	close(s.news)
	s.news = make(chan struct{})
	for _, tell := range s.onMap {
		go tell(m) // OnMap drops what is older than what it has
	}
	return m
}

// troupeOf is an OSD's session with them.
type troupeOf struct {
	*troupe
	id placement.OSDID
}

func (s troupeOf) Map() *placement.Map  { s.mu.Lock(); defer s.mu.Unlock(); return s.m }
func (s troupeOf) Want(placement.Epoch) {}
func (s troupeOf) OnMap(f func(*placement.Map)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onMap[s.id] = f
}

func (s troupeOf) WaitMap(ctx context.Context, e placement.Epoch) (*placement.Map, error) {
	for {
		s.mu.Lock()
		m, news := s.m, s.news
		s.mu.Unlock()
		if m.Epoch >= e {
			return m, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s troupeOf) Call(_ context.Context, req *wire.Message) (*wire.Message, error) {
	m := s.Map()
	h := &wirepb.Header{}
	switch {
	case req.Header.GetOsdRegister() != nil:
		h.Body = &wirepb.Header_OsdRegistered{OsdRegistered: &wirepb.OSDRegistered{Id: int32(s.id), Cluster: testCluster[:]}}
	case req.Header.GetOsdBoot() != nil:
		boot := req.Header.GetOsdBoot()
		m = s.edit(func(m *placement.Map) {
			o := &m.OSDs[s.id]
			o.Up, o.Addr, o.Incarnation, o.UpFrom = true, boot.Addr, boot.Incarnation, m.Epoch
		})
	case req.Header.GetPgChange() != nil:
		c := req.Header.GetPgChange()
		m = s.edit(func(m *placement.Map) {
			r := &m.PGs[0].Records[c.Shard]
			r.Version, r.Created = m.Epoch, r.Created || c.Created
		})
	}
	h.Epoch = uint64(m.Epoch)
	return &wire.Message{Header: h}, nil
}

// BenchmarkWrite: 4 KiB to new objects, three copies, 16 under way; three OSDs, their client and the sockets between
// them in this process, and stores that do nothing.
func BenchmarkWrite(b *testing.B) {
	s := newTroupe(b)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	var osds []*OSD
	for i := range benchOSDs {
		st := newPrompt(uint64(i + 1))
		defer st.Close()
		d, err := Start(context.Background(), Options{Store: st, Monitors: troupeOf{s, placement.OSDID(i)}, Location: []LocationPart{{"host", string(rune('a' + i))}}, Log: quiet})
		if err != nil {
			b.Fatal(err)
		}
		defer d.Kill()
		osds = append(osds, d)
	}
	conns := make([]*wire.Conn, benchOSDs)
	for i, d := range osds {
		c, err := wire.Dial(context.Background(), d.Addr(), wire.Options{Self: wire.Identity{Entity: "client.1", Cluster: testCluster}})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	pool := s.m.Pool(1)
	write := func(seq uint64, data []byte) error {
		name := append([]byte("rbd_data.1234.0000"), binary.BigEndian.AppendUint64(nil, seq)...)
		id := placement.PGOf(pool, string(name))
		m := &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Op{Op: &wirepb.OpRequest{
			Pool: 1, Shard: id.Shard, Object: name, Req: &wirepb.ReqID{Client: 1, Seq: seq}, Mtime: 1e18,
			Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE, DataLen: uint64(len(data))}},
		}}}, Payload: data}
		r, err := conns[id.Shard%benchOSDs].Call(context.Background(), m)
		r.Release()
		return err
	}
	var seq atomic.Uint64
	data := make([]byte, 4096)
	for i := range benchPGs * 4 { // every PG works
		for write(seq.Add(1), data) != nil {
			if i > 1<<20 {
				b.Fatal("no PG takes a write")
			}
			<-time.After(time.Millisecond)
		}
	}
	var u0, u1 syscall.Rusage
	b.ReportAllocs()
	b.ResetTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &u0)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := write(seq.Add(1), data); err != nil {
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
}
