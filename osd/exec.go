package osd

import (
	"math"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
)

// execute evaluates a request as r shows its object. wait says that r does not know the answer.
func execute(g *pg.Group, r store.Reader, x pg.Exec) (ev *pg.ExecutedEvent, wait bool) {
	out := objop.Execute(r, objectKey(g, x), x.Op, x.Payload)
	return &pg.ExecutedEvent{
		Handle: x.Handle, Code: out.Code, Text: out.Text, Reply: out.Reply, Payload: out.Payload, Mem: out.Mem,
		Mutates: out.Mutates, Ops: out.Ops, Drops: out.Drops, Removed: out.Removed,
	}, out.Wait
}

func objectKey(g *pg.Group, x pg.Exec) store.Key {
	return store.Key{PG: g.ID(), Space: store.Objects, Name: x.Name}
}

// exec evaluates a request. Writes read little and are evaluated here, and so are reads of what is in
// memory. What a small read needs besides is brought there while the shard goes on; other reads go to the workers.
func (s *shard) exec(g *pg.Group, x pg.Exec) (pg.Event, bool) {
	st, id := s.d.o.Store, g.ID()
	if x.Op == nil {
		s.offload(func() { s.post(forGroup{id: id, to: g, ev: execList(st, id, x)}) })
		return nil, false
	}
	var mem *slab.Buf // of the request's payload
	if c, ok := s.clients[x.Handle]; ok {
		mem = c.req.Mem
	}
	if objop.IsWrite(x.Op) {
		if full := s.noRoom(g, x); full != nil {
			return full, true
		}
		ev, _ := execute(g, st, x)
		for i := range ev.Ops {
			if _, ok := mem.Holds(ev.Ops[i].Data); ok {
				ev.Ops[i].Mem = mem
			}
		}
		return ev, true
	}
	quick := s.d.quick != nil && objop.IsQuick(x.Op)
	if quick {
		if ev, wait := execute(g, s.d.quick, x); !wait {
			return ev, true
		}
	}
	mem.Retain() // the group may answer before the worker has looked at it
	if !quick || !s.fetch(fetched{g, x, mem}) {
		s.execElsewhere(fetched{g, x, mem})
	}
	return nil, false
}

// fetched is a read whose data may be in memory now.
type fetched struct {
	g   *pg.Group
	x   pg.Exec
	mem *slab.Buf // of the request's payload, whose user this is
}

// fetch has the store bring what a read needs into memory, while nobody waits for it.
func (s *shard) fetch(it fetched) bool {
	f, ok := s.d.quick.(store.Fetcher)
	off, n, one := objop.DataOf(it.x.Op)
	if !ok || !one {
		return false
	}
	if n == 0 {
		n = math.MaxUint64 - off
	}
	return f.Fetch(objectKey(it.g, it.x), off, n, func() func() {
		s.append(mail{other: it})
		return s.d.driveAll
	})
}

// onFetched executes a read again.
func (s *shard) onFetched(it fetched) {
	if s.groups[it.g.ID()] != it.g {
		it.mem.Release()
		return
	}
	ev, wait := execute(it.g, s.d.quick, it.x)
	if wait { // it moved meanwhile, or cannot be read
		s.execElsewhere(it)
		return
	}
	s.step(it.g, ev)
	it.mem.Release()
}

// execElsewhere has a worker execute a read.
func (s *shard) execElsewhere(it fetched) {
	s.offload(func() {
		ev, _ := execute(it.g, s.d.o.Store, it.x)
		s.put(forGroup{id: it.g.ID(), to: it.g, ev: ev})
		it.mem.Release()
		s.drive()
	})
}
