package sim

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

func shardKey(id chunkcare.ShardID) store.Key {
	s := chunk.Shard{Chunk: id.Chunk, Gen: id.Gen, Index: uint8(id.Index)}
	return store.ShardKey(id.Pool, s.Name())
}

// shardAnswer is what an OSD says of shards.
type shardAnswer struct {
	err  error
	data []byte
	held []chunkcare.Held
	more bool
}

// errSilent is what nobody knows the outcome of.
var errSilent = fmt.Errorf("%w: no answer", objects.ErrTimeout)

// callOSD asks one OSD, once. The request may arrive when nobody waits for the answer any more.
func (g *agent) callOSD(f *fiber, to placement.OSDID, ask func(n *osd, answer func(shardAnswer))) shardAnswer {
	var got shardAnswer
	if err := f.await(func(wake func()) { g.callThen(to, ask, func(a shardAnswer) { got = a; wake() }) }); err != nil {
		return shardAnswer{err: err}
	}
	return got
}

// callThen is callOSD for who does not wait.
func (g *agent) callThen(to placement.OSDID, ask func(n *osd, answer func(shardAnswer)), then func(shardAnswer)) {
	w := g.w
	over := false
	end := func(a shardAnswer) {
		if !over {
			over = true
			then(a)
		}
	}
	if m := g.mapNow(); m == nil || !m.IsUp(to) {
		g.p.later(0, func() { end(shardAnswer{err: errGone}) })
		return
	}
	n := w.osds[to]
	if !n.alive {
		g.p.later(w.rand(0, 50*time.Millisecond), func() { end(shardAnswer{err: errGone}) })
		return
	}
	request := func() {
		ask(n, func(a shardAnswer) { w.net.post(n.at, g.self, func() { end(a) }) })
	}
	there := n.ref()
	if w.faults && w.chance(0.02) { // it stays in a connection that is given up
		w.after(w.rand(0, 4*time.Second), func() { g.send(there, request) })
	} else {
		g.send(there, request)
	}
	g.p.later(w.rand(400*time.Millisecond, 1500*time.Millisecond), func() { end(shardAnswer{err: errSilent}) })
}

// What follows is what osd/shards.go does for the daemon.

// ready reports whether the OSD takes requests for shards, and refuses this one if not.
func (n *osd) ready(answer func(shardAnswer)) bool {
	if !n.booted || n.m == nil {
		answer(shardAnswer{err: objects.ErrTryLater})
		return false
	}
	return true
}

// shardErr is what the store says, in the words of clients.
func shardErr(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return objects.ErrNotFound
	case errors.Is(err, store.ErrCorrupt):
		return objects.ErrCorrupt
	}
	return objects.ErrIO
}

// putShard stores a shard, unless it is there.
func (n *osd) putShard(id chunkcare.ShardID, data []byte, answer func(shardAnswer)) {
	switch {
	case !n.ready(answer):
		return
	case n.fullness() >= placement.Full:
		answer(shardAnswer{err: objects.ErrNoSpace})
		return
	}
	k := shardKey(id)
	n.read(func() func() {
		info, err := n.disk.st.Stat(k)
		var have []byte
		if err == nil {
			have, err = n.disk.st.Read(k, 0, info.Size)
		}
		return func() {
			switch {
			case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCorrupt): // a damaged one is written anew
				n.writeShards(&store.Batch{Ops: []store.Op{
					{Kind: store.OpWrite, Key: k, Data: data}, {Kind: store.OpSetVersion, Key: k, Mtime: n.wall()},
				}}, answer)
			case err != nil:
				answer(shardAnswer{err: objects.ErrIO})
			case !bytes.Equal(have, data):
				n.w.failf("%s: %s was stored with other bytes", n.id, id)
			default:
				answer(shardAnswer{})
			}
		}
	})
}

// writeShards has the store do something, and answers when that is durable.
func (n *osd) writeShards(b *store.Batch, answer func(shardAnswer)) {
	w, life, st := n.w, n.life, n.disk.st
	st.Submit(b, func(err error) {
		n.disk.saved = append(n.disk.saved, func() {
			switch {
			case err == nil:
				answer(shardAnswer{})
			case errors.Is(err, store.ErrNoSpace):
				answer(shardAnswer{err: objects.ErrNoSpace})
			default:
				if !errors.Is(err, errDisk) {
					w.failf("%s: shards: %v", n.id, err)
				}
				n.fail()
				answer(shardAnswer{err: objects.ErrIO})
			}
		})
		n.do(life, n.nextSaved)
	})
	n.finish(w.rand(0, w.k.disk), func() { st.Complete(1) })
	if w.o.Slip == AckShardEarly {
		answer(shardAnswer{})
	}
}

// getShard reads a shard, or with whole false only says that it is there.
func (n *osd) getShard(id chunkcare.ShardID, whole bool, answer func(shardAnswer)) {
	if !n.ready(answer) {
		return
	}
	k := shardKey(id)
	n.read(func() func() {
		var a shardAnswer
		info, err := n.disk.st.Stat(k)
		if err == nil && whole {
			a.data, err = n.disk.st.Read(k, 0, info.Size)
		}
		a.err = shardErr(err)
		a.held = []chunkcare.Held{{ID: id, Size: int64(info.Size), Stored: info.Mtime}}
		return func() { answer(a) }
	})
}

// dropShards removes shards.
func (n *osd) dropShards(ids []chunkcare.ShardID, answer func(shardAnswer)) {
	if !n.ready(answer) {
		return
	}
	b := &store.Batch{}
	for _, id := range ids {
		b.Ops = append(b.Ops, store.Op{Kind: store.OpRemove, Key: shardKey(id)})
	}
	n.writeShards(b, answer)
}

// listShards lists shards of a pool.
func (n *osd) listShards(pool placement.PoolID, after *chunkcare.ShardID, limit int, answer func(shardAnswer)) {
	if !n.ready(answer) {
		return
	}
	from := ""
	if after != nil {
		from = shardKey(*after).Name
	}
	n.read(func() func() {
		k := store.ShardKey(pool, "")
		objs, more, err := n.disk.st.List(k.PG, k.Space, from, limit)
		a := shardAnswer{err: shardErr(err), more: more}
		for _, o := range objs {
			s, ok := chunk.ParseShardName(o.Name)
			if !ok {
				n.w.failf("%s: %q lies among shards", n.id, o.Name)
				break
			}
			id := chunkcare.ShardID{Pool: pool, Chunk: s.Chunk, Gen: s.Gen, Index: int(s.Index)}
			a.held = append(a.held, chunkcare.Held{ID: id, Size: int64(o.Size), Stored: o.Mtime})
		}
		return func() { answer(a) }
	})
}
