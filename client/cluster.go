package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/monclient"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/placement"
)

// monPatience is how long the session with the monitors waits for an answer; at
// most Options.AttemptTimeout.
const monPatience = 3 * time.Second

// ErrClosed is the condition of everything asked of a Client after Close.
var ErrClosed = errors.New("client is closed")

// Options configures Connect. The zero value of every optional field means
// "use the default".
type Options struct {
	Mons   []string     // required: messenger addresses (host:port) of some monitors; the map names the others
	Entity string       // who we are, for logs and audit, such as "client.s3.1"; default "client"
	Log    *slog.Logger // default slog.Default()
	// Dial makes connections to daemons; default net.Dialer's DialContext.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Timeout        time.Duration // of every operation, unless its context ends earlier; default 60 s
	AttemptTimeout time.Duration // until an OSD or monitor that does not answer is asked again; default 5 s

	MaxInFlightBytes int64 // data of operations under way, others wait, and the same again of chunks; default 256 MiB
	MaxInFlightOps   int64 // operations under way, others wait; default 4096
}

func (o Options) withDefaults() Options {
	if o.Entity == "" {
		o.Entity = "client"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Timeout <= 0 {
		o.Timeout = 60 * time.Second
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = 5 * time.Second
	}
	if o.MaxInFlightBytes <= 0 {
		o.MaxInFlightBytes = 256 << 20
	}
	if o.MaxInFlightOps <= 0 {
		o.MaxInFlightOps = 4096
	}
	return o
}

// Client follows the cluster map and talks to the cluster's daemons. It is safe
// for concurrent use and shared by the whole process.
type Client struct {
	o       Options
	log     *slog.Logger
	id      uint64 // names this instance in request ids, for ever
	seq     atomic.Uint64
	ctx     context.Context // ends at Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	session *monclient.Session
	clock   clock.System
	rearm   chan struct{} // holds one: wakeAt is earlier than keepTime knows

	osds *wire.Peers // made with the first map: connections are refused by another cluster's OSDs

	plane   *ChunkPlane
	chunkMu sync.Mutex // guards below
	chunks  map[placement.PoolID]*Chunks

	mu      sync.Mutex // guards below; never held while something is waited for
	core    *core.Core
	calls   map[uint64]*call    // by operation id
	seen    *placement.Map      // the last one of the session that core was given
	wakeAt  clock.Mono          // when core wants to be woken, as far as keepTime knows or is told; 0 never
	probing map[*wire.Conn]bool // connections that are asked for a sign of life
}

// Connect fetches the cluster map from one of the monitors and follows it until
// Close. It fails when ctx ends or after Options.Timeout, with what each monitor said.
func Connect(ctx context.Context, o Options) (*Client, error) {
	o = o.withDefaults()
	if len(o.Mons) == 0 {
		return nil, errors.New("connect to the cluster: no monitor address given")
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("connect to the cluster: random client id: %w", err)
	}
	c := &Client{
		o:       o,
		log:     o.Log,
		id:      binary.LittleEndian.Uint64(id[:]) | 1, // never 0
		clock:   clock.NewSystem(),
		rearm:   make(chan struct{}, 1),
		calls:   make(map[uint64]*call),
		probing: make(map[*wire.Conn]bool),
	}
	c.plane = NewChunkPlane(o.MaxInFlightBytes, o.Timeout, o.Log)
	c.core = core.New(core.Config{Client: c.id, AttemptTimeout: o.AttemptTimeout, MaxOps: o.MaxInFlightOps, MaxBytes: o.MaxInFlightBytes})
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var err error
	c.session, err = monclient.Open(monclient.Options{
		Mons:     o.Mons,
		Self:     func() wire.Identity { return wire.Identity{Entity: o.Entity} },
		Log:      o.Log,
		Dial:     o.Dial,
		Patience: min(monPatience, o.AttemptTimeout),
		Attempt:  o.AttemptTimeout,
		OnMap:    c.onMap,
	})
	if err != nil {
		c.cancel()
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}

	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	first, err := c.session.WaitMap(ctx, 0)
	if err != nil {
		var gave *monclient.GaveUpError
		if errors.As(err, &gave) {
			err = fmt.Errorf("%w: no cluster map from any monitor: %s", timeout(gave.Cause), c.session.Troubles())
		}
		c.cancel()
		c.session.Close()
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	c.osds = wire.NewPeers(wire.Options{
		Self:             wire.Identity{Entity: o.Entity, Cluster: first.Cluster},
		Log:              o.Log,
		Epoch:            c.session.Epoch,
		Dial:             o.Dial,
		DialTimeout:      o.AttemptTimeout,
		HandshakeTimeout: o.AttemptTimeout,
	})
	c.wg.Go(c.keepTime) // ends with c.ctx
	return c, nil
}

// Close ends everything the client does; operations under way fail with
// ErrClosed. It is idempotent and waits for the client's goroutines.
func (c *Client) Close() error {
	c.mu.Lock()
	c.step(core.CloseEvent{})
	c.mu.Unlock()
	c.cancel()
	err := errors.Join(c.session.Close(), c.osds.Close())
	c.wg.Wait()
	return err
}

// Map returns the newest cluster map known. It must not be changed.
func (c *Client) Map() *placement.Map { return c.session.Map() }

// WaitMap waits until the map has at least the given epoch, and returns it.
func (c *Client) WaitMap(ctx context.Context, epoch placement.Epoch) (*placement.Map, error) {
	m, err := c.session.WaitMap(ctx, epoch)
	if err != nil {
		return nil, fmt.Errorf("wait for cluster map epoch %d, have %d: %w", epoch, c.session.Epoch(), monError(err))
	}
	return m, nil
}

// Refresh asks a monitor for its newest map and waits for the answer.
func (c *Client) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	if err := c.session.Refresh(ctx); err != nil {
		return fmt.Errorf("fetch the cluster map: %w", monError(err))
	}
	return nil
}

// Pool returns the pool with that name. It asks the monitors before it says
// ErrNotFound, because the pool may be newer than our map.
func (c *Client) Pool(ctx context.Context, name string) (*Pool, error) {
	if p := c.Map().PoolByName(name); p != nil {
		return c.poolOf(p.ID, name), nil
	}
	if err := c.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("pool %q: %w", name, err)
	}
	if p := c.Map().PoolByName(name); p != nil {
		return c.poolOf(p.ID, name), nil
	}
	return nil, fmt.Errorf("pool %q: %w in the cluster map of epoch %d; see `cairn pool ls`", name, ErrNotFound, c.Map().Epoch)
}

func (c *Client) poolOf(id placement.PoolID, name string) *Pool {
	p := &Pool{c: c, id: id, name: name}
	p.chunks = c.chunkPool(p)
	return p
}

// Location says where an object lives, by the map of an epoch.
type Location struct {
	Epoch   placement.Epoch
	PG      placement.PGID
	Primary placement.OSDID   // NoOSD while no in-sync member is up
	Addr    string            // of the primary
	InSync  []placement.OSDID // every OSD that holds the PG's acknowledged writes
}

// Locate computes where an object of a pool lives, whether it exists or not.
func (c *Client) Locate(pool, object string) (Location, error) {
	m := c.Map()
	p := m.PoolByName(pool)
	if p == nil {
		return Location{}, fmt.Errorf("pool %q: %w in the cluster map of epoch %d", pool, ErrNotFound, m.Epoch)
	}
	l := Location{Epoch: m.Epoch, PG: placement.PGOf(p, object), Primary: placement.NoOSD}
	if r := m.PG(l.PG); r != nil {
		l.Primary = r.Primary
		l.InSync = append(l.InSync, r.InSync...)
	}
	if o := m.OSD(l.Primary); o != nil {
		l.Addr = o.Addr
	}
	return l, nil
}

// timeoutError is ErrTimeout with the context's own error, so that callers can
// tell a deadline from a cancellation.
type timeoutError struct{ cause error }

func timeout(cause error) error { return &timeoutError{cause: cause} }

func (e *timeoutError) Error() string {
	if errors.Is(e.cause, context.Canceled) {
		return "gave up: the request was cancelled"
	}
	return ErrTimeout.Error()
}

func (e *timeoutError) Is(target error) bool { return target == ErrTimeout }
func (e *timeoutError) Unwrap() error        { return e.cause }

// unknownError is ErrTimeout, since nobody can tell whether a write has taken effect, for
// another reason than the time: a retry of it was refused.
type unknownError struct{ cause error }

func (e *unknownError) Error() string        { return "outcome unknown: " + e.cause.Error() }
func (e *unknownError) Is(target error) bool { return target == ErrTimeout }
func (e *unknownError) Unwrap() error        { return e.cause }
