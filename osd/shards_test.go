package osd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// shardN is the name of a shard; n orders fingerprints.
func shardN(n int, index uint32) *wirepb.ShardID {
	f := make([]byte, len(chunk.Fingerprint{}))
	f[0], f[1], f[2] = chunk.BLAKE3, byte(n>>8), byte(n)
	return &wirepb.ShardID{Pool: 1, Fingerprint: f, Gen: 7, Index: index}
}

// ask sends a request and returns its answer.
func ask(t *testing.T, c *wire.Conn, h *wirepb.Header, payload []byte) (*wire.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.Call(ctx, &wire.Message{Header: h, Payload: payload})
}

func putShard(t *testing.T, c *wire.Conn, id *wirepb.ShardID, data []byte) error {
	t.Helper()
	_, err := ask(t, c, &wirepb.Header{Body: &wirepb.Header_ShardPut{ShardPut: &wirepb.ShardPut{Id: id}}}, data)
	return err
}

func getShard(t *testing.T, c *wire.Conn, g *wirepb.ShardGet) ([]byte, *wirepb.ShardGot, error) {
	t.Helper()
	r, err := ask(t, c, &wirepb.Header{Body: &wirepb.Header_ShardGet{ShardGet: g}}, nil)
	if err != nil {
		return nil, nil, err
	}
	return r.Payload, r.Header.GetShardGot(), nil
}

func dropShards(t *testing.T, c *wire.Conn, ids ...*wirepb.ShardID) error {
	t.Helper()
	_, err := ask(t, c, &wirepb.Header{Body: &wirepb.Header_ShardDrop{ShardDrop: &wirepb.ShardDrop{Ids: ids}}}, nil)
	return err
}

func listShards(t *testing.T, c *wire.Conn, l *wirepb.ShardList) *wirepb.ShardListed {
	t.Helper()
	r, err := ask(t, c, &wirepb.Header{Body: &wirepb.Header_ShardList{ShardList: l}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.GetShardListed()
}

func wantCode(t *testing.T, what string, err error, code wirepb.Code, words ...string) {
	t.Helper()
	if wire.CodeOf(err) != code {
		t.Fatalf("%s: %v, want %s", what, err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

func shardBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func onDisk(t *testing.T, dir string) *store.Disk {
	t.Helper()
	st, err := store.Open(dir, store.Options{BlockCacheBytes: 8 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// Shards are kept over a restart, read in parts, listed in order, and dropped; putting one again does no harm.
func TestShardLife(t *testing.T) {
	dir := t.TempDir()
	if err := store.Create(dir, store.CreateOptions{JournalBytes: 32 << 20, Capacity: 1 << 30, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	st := onDisk(t, dir)
	s := newStage(t)
	d := start(t, options(st, s))
	c := dialOSD(t, d)
	sizes := []int{1, 100, 2048, 2049, 4096, 5000, 65536, 131072, 1<<20 + 17}
	for i, n := range sizes {
		for range 2 { // the answer may be lost, and the client asks again
			if err := putShard(t, c, shardN(i, 2), shardBytes(n)); err != nil {
				t.Fatalf("put %d bytes: %v", n, err)
			}
		}
	}
	check := func() {
		t.Helper()
		for i, n := range sizes {
			want := shardBytes(n)
			id := shardN(i, 2)
			for _, r := range [][2]int{{0, 0}, {0, n}, {n / 2, 0}, {n / 3, n / 2}, {n - 1, 1}, {n, 0}, {0, 4096}, {n / 2, 1 << 30}} {
				got, info, err := getShard(t, c, &wirepb.ShardGet{Id: id, Offset: uint64(r[0]), Length: uint64(r[1])})
				if err != nil {
					t.Fatalf("%d bytes, read %v: %v", n, r, err)
				}
				end := n
				if r[1] > 0 {
					end = min(n, r[0]+r[1])
				}
				if !bytes.Equal(got, want[r[0]:end]) || info.Size != uint64(n) || info.Stored == 0 {
					t.Fatalf("%d bytes, read %v: got %d bytes, %v", n, r, len(got), info)
				}
			}
			for _, g := range []*wirepb.ShardGet{{Id: id, Stat: true}, {Id: id, Verify: true}} {
				if got, info, err := getShard(t, c, g); err != nil || len(got) > 0 || info.Size != uint64(n) {
					t.Fatalf("%d bytes, %v: %d bytes, %v, %v", n, g, len(got), info, err)
				}
			}
		}
		if _, _, err := getShard(t, c, &wirepb.ShardGet{Id: shardN(0, 2), Offset: 2}); wire.CodeOf(err) != wirepb.Code_INVALID {
			t.Fatalf("read behind the end: %v", err)
		}
		var all []*wirepb.ShardID
		var after *wirepb.ShardID
		for pages := 0; ; pages++ {
			l := listShards(t, c, &wirepb.ShardList{Pool: 1, After: after, Limit: 4})
			for i, id := range l.Ids {
				if l.Sizes[i] != uint64(sizes[len(all)]) || l.Stored[i] == 0 {
					t.Fatalf("shard %v listed with %d bytes, stored %d", id, l.Sizes[i], l.Stored[i])
				}
				all = append(all, id)
			}
			if !l.More {
				if pages != 2 {
					t.Fatalf("%d pages", pages+1)
				}
				break
			}
			after = all[len(all)-1]
		}
		if len(all) != len(sizes) || !slices.IsSortedFunc(all, func(a, b *wirepb.ShardID) int { return bytes.Compare(a.Fingerprint, b.Fingerprint) }) {
			t.Fatalf("listed %v", all)
		}
		if p := all[3]; p.Pool != 1 || p.Gen != 7 || p.Index != 2 || !bytes.Equal(p.Fingerprint, shardN(3, 0).Fingerprint) {
			t.Fatalf("listed %v", p)
		}
	}
	check()
	if ids, err := st.PGs(); err != nil || slices.ContainsFunc(ids, func(id placement.PGID) bool { return id != placement.PGID{Pool: 1} }) {
		t.Fatalf("PGs %v, %v", ids, err)
	}
	_ = d.Kill()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = onDisk(t, dir)
	d = start(t, options(st, s))
	c = dialOSD(t, d)
	check()
	wantCode(t, "other bytes", putShard(t, c, shardN(4, 2), bytes.Repeat([]byte{1}, 4096)), wirepb.Code_CONFLICT, "shard 2", "other bytes")
	wantCode(t, "fewer bytes", putShard(t, c, shardN(4, 2), []byte{1}), wirepb.Code_CONFLICT)
	check()
	if err := dropShards(t, c, shardN(4, 2), shardN(5, 2), shardN(4711, 0)); err != nil {
		t.Fatal(err)
	}
	_, _, err := getShard(t, c, &wirepb.ShardGet{Id: shardN(4, 2)})
	wantCode(t, "dropped", err, wirepb.Code_NOT_FOUND, "osd.0", "shard 2", "pool 1")
	if u := st.Usage(); u.Shards != int64(len(sizes)-2) || u.Objects != 0 {
		t.Fatalf("usage %+v", u)
	}
}

// A shard is acknowledged only when the store has it durably.
func TestShardAckedWhenDurable(t *testing.T) {
	sim := store.NewSim(store.SimOptions{})
	defer sim.Close()
	st := &holding{Store: sim, held: make(chan func(), 8)}
	d := start(t, options(st, newStage(t)))
	c := dialOSD(t, d)
	st.hold(true)
	answered := make(chan error, 1)
	go func() { answered <- putShard(t, c, shardN(1, 0), shardBytes(5000)) }()
	finish := <-st.held
	// What was asked later is answered: had the put been answered, that would be here.
	if _, err := ask(t, c, &wirepb.Header{Body: &wirepb.Header_ShardList{ShardList: &wirepb.ShardList{Pool: 1}}}, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the store has it: %v", err)
	default:
	}
	st.hold(false)
	finish()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

// holding is a store that gives batches on only when it is told to.
type holding struct {
	store.Store
	mu   sync.Mutex // guards below
	on   bool
	held chan func()
	err  error
}

func (h *holding) hold(on bool) { h.mu.Lock(); h.on = on; h.mu.Unlock() }

func (h *holding) Submit(b *store.Batch, done func(error)) {
	h.mu.Lock()
	on, err := h.on, h.err
	h.mu.Unlock()
	switch {
	case err != nil && b.Ops[0].Key.Space == store.Shards:
		go done(err)
	case on && b.Ops[0].Key.Space == store.Shards:
		h.held <- func() { h.Store.Submit(b, done) }
	default:
		h.Store.Submit(b, done)
	}
}

// A store that cannot be written ends the daemon, as it does for objects; one that has no room does not.
func TestShardPutFails(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		code wirepb.Code
		dead bool
	}{
		"no space":    {fmt.Errorf("batch: %w", store.ErrNoSpace), wirepb.Code_NO_SPACE, false},
		"broken disk": {errors.New("input/output error"), wirepb.Code_IO_ERROR, true},
	} {
		t.Run(name, func(t *testing.T) {
			sim := store.NewSim(store.SimOptions{})
			defer sim.Close()
			st := &holding{Store: sim, err: tt.err}
			d := start(t, options(st, newStage(t)))
			c := dialOSD(t, d)
			err := putShard(t, c, shardN(1, 0), shardBytes(5000))
			if err == nil {
				t.Fatal("acknowledged")
			}
			if !tt.dead {
				wantCode(t, "put", err, tt.code, "osd.0")
				if d.Err() != nil {
					t.Fatal(d.Err())
				}
				return
			}
			select {
			case <-d.Done():
			case <-time.After(20 * time.Second):
				t.Fatal("the daemon goes on")
			}
			if !errors.Is(d.Err(), tt.err) {
				t.Fatal(d.Err())
			}
		})
	}
}

// A full OSD takes no shards, says who is full and how much, and drops them.
func TestShardFull(t *testing.T) {
	st := store.NewSim(store.SimOptions{Capacity: 64 << 20})
	defer st.Close()
	o := options(st, newStage(t))
	o.FullRatio = 0.5
	d := start(t, o)
	c := dialOSD(t, d)
	var err error
	n := 0
	for ; n < 64 && err == nil; n++ {
		err = putShard(t, c, shardN(n, 0), shardBytes(1<<20))
	}
	wantCode(t, fmt.Sprintf("shard %d", n), err, wirepb.Code_NO_SPACE, "osd.0 is full", "50.0 %")
	if n < 25 || n > 40 {
		t.Errorf("refused at %d of 64 MiB", n)
	}
	if got, _, err := getShard(t, c, &wirepb.ShardGet{Id: shardN(0, 0)}); err != nil || len(got) != 1<<20 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i := range n {
		if err := dropShards(t, c, shardN(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := putShard(t, c, shardN(n, 0), shardBytes(1<<20)); err != nil {
		t.Fatal(err)
	}
}

// What makes no sense is refused, and nothing is stored.
func TestShardHostile(t *testing.T) {
	defer func(w time.Duration) { shardMapWait = w }(shardMapWait)
	shardMapWait = 10 * time.Millisecond
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	d := start(t, options(st, newStage(t)))
	c := dialOSD(t, d)
	bad := func(edit func(id *wirepb.ShardID)) *wirepb.ShardID {
		id := shardN(1, 0)
		edit(id)
		return id
	}
	for name, id := range map[string]*wirepb.ShardID{
		"none":              nil,
		"empty":             {},
		"no fingerprint":    bad(func(id *wirepb.ShardID) { id.Fingerprint = nil }),
		"short fingerprint": bad(func(id *wirepb.ShardID) { id.Fingerprint = id.Fingerprint[:32] }),
		"long fingerprint":  bad(func(id *wirepb.ShardID) { id.Fingerprint = make([]byte, 1<<16); id.Fingerprint[0] = 1 }),
		"no algorithm":      bad(func(id *wirepb.ShardID) { id.Fingerprint[0] = 0 }),
		"generation 0":      bad(func(id *wirepb.ShardID) { id.Gen = 0 }),
		"huge index":        bad(func(id *wirepb.ShardID) { id.Index = 1 << 31 }),
		"index 256":         bad(func(id *wirepb.ShardID) { id.Index = 256 }),
		"no pool":           bad(func(id *wirepb.ShardID) { id.Pool = 0 }),
	} {
		wantCode(t, name+": put", putShard(t, c, id, []byte("x")), wirepb.Code_INVALID)
		_, _, err := getShard(t, c, &wirepb.ShardGet{Id: id})
		wantCode(t, name+": get", err, wirepb.Code_INVALID)
		if id != nil {
			wantCode(t, name+": drop", dropShards(t, c, id), wirepb.Code_INVALID)
		}
	}
	wantCode(t, "no bytes", putShard(t, c, shardN(1, 0), nil), wirepb.Code_INVALID)
	wantCode(t, "too many bytes", putShard(t, c, shardN(1, 0), make([]byte, shardBytesMax+1)), wirepb.Code_INVALID)
	other := shardN(1, 0)
	other.Pool = 99
	wantCode(t, "unknown pool", putShard(t, c, other, []byte("x")), wirepb.Code_NOT_FOUND, "pool 99")
	_, err := ask(t, c, &wirepb.Header{Epoch: 1000, Body: &wirepb.Header_ShardPut{ShardPut: &wirepb.ShardPut{Id: other}}}, []byte("x"))
	wantCode(t, "pool of a later map", err, wirepb.Code_TRY_LATER)
	wantCode(t, "drop too many", dropShards(t, c, slices.Repeat([]*wirepb.ShardID{shardN(1, 0)}, shardDropMax+1)...), wirepb.Code_INVALID)
	_, err = ask(t, c, &wirepb.Header{Body: &wirepb.Header_ShardList{ShardList: &wirepb.ShardList{Pool: 1, After: &wirepb.ShardID{Fingerprint: []byte("x")}}}}, nil)
	wantCode(t, "list after nonsense", err, wirepb.Code_INVALID)
	for _, off := range []uint64{1, 1 << 63, 1<<64 - 1} {
		if err := putShard(t, c, shardN(2, 0), []byte("x")); err != nil {
			t.Fatal(err)
		}
		_, _, err = getShard(t, c, &wirepb.ShardGet{Id: shardN(2, 0), Offset: off, Length: 1<<64 - 1})
		if code := wire.CodeOf(err); off > 1 && code != wirepb.Code_INVALID || off == 1 && code != wirepb.Code_OK {
			t.Fatalf("read at %d: %v", off, err)
		}
	}
	if u := st.Usage(); u.Shards != 1 || u.InShards != 1 {
		t.Fatalf("usage %+v", u)
	}
}

// The shards of a pool go with it, those of others stay.
func TestShardsOfRemovedPool(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	o := options(st, s)
	o.ReportEvery = 5 * time.Millisecond
	d := start(t, o)
	c := dialOSD(t, d)
	early := make(chan error, 1)
	go func() { // a client has the next map, which has the pool, before the OSD
		id := shardN(2, 0)
		id.Pool = 2
		_, err := ask(t, c, &wirepb.Header{Epoch: uint64(s.Map().Epoch + 1), Body: &wirepb.Header_ShardPut{ShardPut: &wirepb.ShardPut{Id: id}}}, []byte("x"))
		early <- err
	}()
	s.edit(func(m *placement.Map) {
		m.NextPool = 3
		m.Pools = append(m.Pools, placement.Pool{ID: 2, Name: "q", Size: 1, MinSize: 1, PGNum: 1, PGNumTarget: 1, FirstPGNum: 1})
		// The put that came too early waits, or comes now.
		m.PGs = append(m.PGs, placement.PoolPGs{Pool: 2, Records: []placement.PGRecord{{Term: 1, Version: 1, Primary: placement.NoOSD, InSync: []placement.OSDID{0}}}})
	})
	if err := <-early; err != nil {
		t.Fatal(err)
	}
	for _, pool := range []uint32{1, 2} {
		id := shardN(1, 0)
		id.Pool = pool
		if err := putShard(t, c, id, shardBytes(5000)); err != nil {
			t.Fatal(err)
		}
	}
	if n := st.PoolShards(); len(n) != 2 || n[1] != (store.PoolShards{Pool: 2, Shards: 2, Bytes: 5001}) {
		t.Fatal(n)
	}
	s.edit(func(m *placement.Map) { m.Pools, m.PGs = m.Pools[:1], m.PGs[:1] })
	eventually(t, "the removed pool's shards are gone", func() bool { return len(st.PoolShards()) == 1 })
	if n := st.PoolShards(); n[0].Pool != 1 {
		t.Fatal(n)
	}
}

// A damaged block is never given out; the shard can be put again.
func TestShardDamaged(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	d := start(t, options(st, newStage(t)))
	c := dialOSD(t, d)
	id := shardN(1, 3)
	if err := putShard(t, c, id, shardBytes(100<<10)); err != nil {
		t.Fatal(err)
	}
	if err := st.Rot(shardKey(id), 5000); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*wirepb.ShardGet{{Id: id}, {Id: id, Verify: true}} {
		_, _, err := getShard(t, c, g)
		wantCode(t, "damaged", err, wirepb.Code_CORRUPT, "shard 3", "osd.0")
	}
	if err := putShard(t, c, id, shardBytes(100<<10)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := getShard(t, c, &wirepb.ShardGet{Id: id}); err != nil || !bytes.Equal(got, shardBytes(100<<10)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// The same on a disk: verifying looks there, whatever is in memory, and no part of a damaged block is given out.
func TestShardDamagedOnDisk(t *testing.T) {
	dir := t.TempDir()
	if err := store.Create(dir, store.CreateOptions{JournalBytes: 32 << 20, Capacity: 1 << 30, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	st := onDisk(t, dir)
	d := start(t, options(st, s))
	c := dialOSD(t, d)
	ids := []*wirepb.ShardID{shardN(1, 3), shardN(2, 3)}
	rng := rand.New(rand.NewPCG(1, 2))
	datas := [][]byte{make([]byte, 128<<10), make([]byte, 60<<10)}
	for _, b := range datas {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	for i, id := range ids {
		if err := putShard(t, c, id, datas[i]); err != nil {
			t.Fatal(err)
		}
	}
	_ = d.Kill()
	if err := st.Close(); err != nil { // all is in the data file then
		t.Fatal(err)
	}
	c = dialOSD(t, start(t, options(onDisk(t, dir), s)))
	for i, id := range ids {
		damage(t, c, dir, id, datas[i])
	}
}

// damage damages a shard that is in the data file, and looks what comes of it.
func damage(t *testing.T, c *wire.Conn, dir string, id *wirepb.ShardID, data []byte) {
	t.Helper()
	const block = 7
	for range 2 { // from the disk, then from memory
		got, _, err := getShard(t, c, &wirepb.ShardGet{Id: id, Offset: block * 4096, Length: 100})
		if err != nil || !bytes.Equal(got, data[block*4096:][:100]) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "data"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(all, data[block*4096:][:4096])
	if at < 0 {
		t.Fatal("the block is not in the data file")
	}
	if _, err := f.WriteAt([]byte{all[at+5] ^ 1}, int64(at+5)); err != nil {
		t.Fatal(err)
	}
	_, _, err = getShard(t, c, &wirepb.ShardGet{Id: id, Verify: true})
	wantCode(t, "verify", err, wirepb.Code_CORRUPT, "shard 3")
	for _, g := range []*wirepb.ShardGet{{Id: id}, {Id: id, Offset: 1000, Length: 100 << 10}} {
		// What is in memory was read and verified before: it may be given out.
		if got, _, err := getShard(t, c, g); err == nil && !bytes.Equal(got, data[g.Offset:][:len(got)]) {
			t.Fatalf("%v: wrong bytes", g)
		} else if len(data) > 64<<10 {
			wantCode(t, fmt.Sprint(g), err, wirepb.Code_CORRUPT, "shard 3")
		}
	}
	if got, _, err := getShard(t, c, &wirepb.ShardGet{Id: id, Length: block * 4096}); err != nil || !bytes.Equal(got, data[:block*4096]) {
		t.Fatalf("the blocks before: %d bytes, %v", len(got), err)
	}
	if err := putShard(t, c, id, data); err != nil {
		t.Fatal(err)
	}
	if _, _, err := getShard(t, c, &wirepb.ShardGet{Id: id, Verify: true}); err != nil {
		t.Fatalf("put again: %v", err)
	}
	if got, _, err := getShard(t, c, &wirepb.ShardGet{Id: id}); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("put again: %d bytes, %v", len(got), err)
	}
}

// pumped is a store whose batches become durable one after the other, until it is lazy.
type pumped struct {
	*store.Sim
	lazy atomic.Bool
	mu   sync.Mutex // for whoever completes a batch
}

func (p *pumped) Submit(b *store.Batch, done func(error)) {
	p.Sim.Submit(b, done)
	if !p.lazy.Load() {
		go func() { // ends with the batch
			p.mu.Lock()
			defer p.mu.Unlock()
			p.Complete(1)
		}()
	}
}

// After a crash of the store a shard is there if it was acknowledged, and whole or not at all if it was not.
func TestShardCrash(t *testing.T) {
	for _, keep := range []int{0, 100} { // batches that the store had begun to write
		t.Run(fmt.Sprint("keep", keep), func(t *testing.T) {
			sim := &pumped{Sim: store.NewSim(store.SimOptions{Manual: true})}
			defer sim.Close()
			s := newStage(t)
			d := start(t, options(sim, s))
			c := dialOSD(t, d)
			acked, late := shardN(1, 0), shardN(2, 0)
			if err := putShard(t, c, acked, shardBytes(70000)); err != nil {
				t.Fatal(err)
			}
			sim.lazy.Store(true)
			answer := make(chan error, 1)
			go func() { answer <- putShard(t, c, late, shardBytes(70000)) }()
			eventually(t, "the shard is on its way", func() bool { return sim.Pending() > 0 })
			_ = d.Kill()
			if err := <-answer; err == nil {
				t.Fatal("acknowledged before it was durable")
			}
			after := &pumped{Sim: sim.Crash(keep)}
			defer after.Close()
			c = dialOSD(t, start(t, options(after, s)))
			got, _, err := getShard(t, c, &wirepb.ShardGet{Id: acked})
			if err != nil || !bytes.Equal(got, shardBytes(70000)) {
				t.Fatalf("an acknowledged shard: %d bytes, %v", len(got), err)
			}
			got, _, err = getShard(t, c, &wirepb.ShardGet{Id: late})
			if keep > 0 && (err != nil || !bytes.Equal(got, shardBytes(70000))) {
				t.Fatalf("a shard that the store had begun to write: %d bytes, %v", len(got), err)
			}
			if keep == 0 {
				wantCode(t, "a shard that was lost", err, wirepb.Code_NOT_FOUND)
			}
		})
	}
}
