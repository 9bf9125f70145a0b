package clienttest

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Call describes an operation to the hooks.
type Call struct {
	Object string
	N      int  // counts the calls of this pool from 1
	Writes bool // it may change the object
	Ops    []*wirepb.ObjOp
}

// Has reports whether one of the call's operations is of kind k.
func (c Call) Has(k wirepb.OpKind) bool {
	for _, op := range c.Ops {
		if op.Kind == k {
			return true
		}
	}
	return false
}

// Pool is an in-memory pool. It implements client.Objects and is safe for
// concurrent use.
type Pool struct {
	name string

	// Of MakeChunks; they do not change after it.
	chunks  *client.Chunks
	holders *Holders
	policy  client.ChunkPolicy
	plane   *client.ChunkPlane

	mu      sync.Mutex // guards below
	objects objects
	version uint64
	calls   int
	before  func(context.Context, Call) error
	after   func(context.Context, Call, error) error
}

var _ client.ChunkObjects = (*Pool)(nil)

// New makes an empty pool named after the test.
func New(t testing.TB) *Pool { return NewPool(t.Name()) }

// NewPool makes an empty pool with a name, which only errors show.
func NewPool(name string) *Pool { return &Pool{name: name, objects: objects{}} }

// Name returns the pool's name.
func (p *Pool) Name() string { return p.name }

// Before sets a hook that runs ahead of every operation, nil for none. It may
// block, or return an error that Do returns instead of carrying out the
// operation: nothing has changed then. A plain condition such as
// client.ErrTimeout is wrapped in a *client.OpError.
func (p *Pool) Before(hook func(context.Context, Call) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = hook
}

// After sets a hook that runs behind every operation, nil for none. It gets
// the operation's error; the error it returns is what Do returns. So a test
// can lose the answer to a write that took effect.
func (p *Pool) After(hook func(context.Context, Call, error) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = hook
}

// Do implements client.Objects.
func (p *Pool) Do(ctx context.Context, object string, op *client.Op) (*client.Result, error) {
	if p.chunks == nil {
		return p.DoRaw(ctx, object, op)
	}
	return p.chunks.Do(ctx, object, op)
}

// DoRaw is Do, but results have references instead of what chunks have.
func (p *Pool) DoRaw(ctx context.Context, object string, op *client.Op) (*client.Result, error) {
	req, payload := op.Request(object)
	p.mu.Lock()
	p.calls++
	call := Call{Object: object, N: p.calls, Writes: op.Writes(), Ops: req.Ops}
	before, after := p.before, p.after
	p.mu.Unlock()

	if before != nil {
		if err := before(ctx, call); err != nil {
			return nil, p.wrap(object, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, p.wrap(object, fmt.Errorf("%w: %w", client.ErrTimeout, err))
	}
	out := p.Execute(req, payload)
	res, err := op.Answer(p.name, object, out.Code, out.Text, out.Reply, out.Payload)
	if after != nil {
		if err = p.wrap(object, after(ctx, call, err)); err != nil {
			return nil, err
		}
	}
	return res, err
}

func (p *Pool) wrap(object string, err error) error {
	switch err.(type) {
	case nil, *client.OpError:
		return err
	}
	return &client.OpError{Pool: p.name, Object: object, Index: -1, Err: err}
}

// Execute carries out a request as it crosses the wire. The hooks are not asked.
// With it a test can make an OSD of a Pool.
func (p *Pool) Execute(req *wirepb.OpRequest, payload []byte) objop.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	object := string(req.GetObject())
	k := store.Key{PG: placement.PGID{Pool: 1}, Name: object}
	out := objop.Execute(p.objects, k, req, payload)
	if out.Mutates {
		if len(out.Drops) > 0 {
			p.version++
			o := p.objects.make(chunk.OutboxName(1, p.version, object))
			o.data = chunk.AppendDropped(nil, out.Drops)
			o.info(p.version, req.Mtime)
		}
		p.version++
		p.objects.apply(out.Ops)
		out.Reply.Version = 0
		if !out.Removed {
			out.Reply.Version = p.version
			p.objects.make(object).info(p.version, req.Mtime)
		}
	}
	return out
}

// Names returns the names of all objects, sorted, without records.
func (p *Pool) Names() []string {
	return p.names(func(name string) bool { return !placement.IsRecord(name) })
}

// Records returns the names of all records of a kind, sorted.
func (p *Pool) Records(kind placement.RecordKind) []string {
	return p.names(func(name string) bool {
		k, ok := placement.RecordOf(name)
		return ok && k == kind
	})
}

func (p *Pool) names(want func(string) bool) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.objects))
	for n := range p.objects {
		if want(n) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}

// Calls returns how many operations the pool was asked for.
func (p *Pool) Calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// Bytes returns the sum of the objects' sizes.
func (p *Pool) Bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n int64
	for _, o := range p.objects {
		n += int64(len(o.data))
	}
	return n
}

// Clone returns an independent copy of the pool without its hooks: the state a
// test can go back to, as after a crash of everything that uses the pool.
func (p *Pool) Clone() *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := NewPool(p.name)
	c.version = p.version
	for n, o := range p.objects {
		c.objects[n] = o.clone()
	}
	if p.holders != nil {
		c.useHolders(p.policy, p.holders.Clone())
	}
	return c
}
