package osd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Monitors is the session with the monitors (internal/monclient).
type Monitors interface {
	// Map returns the newest map, nil before the first.
	Map() *placement.Map
	// Want says that a map of at least this epoch exists and is needed soon.
	Want(placement.Epoch)
	// WaitMap waits for a map of at least this epoch.
	WaitMap(ctx context.Context, e placement.Epoch) (*placement.Map, error)
	// OnMap sets who is told of every newer map, in order.
	OnMap(func(*placement.Map))
	// Call asks a monitor, trying others while ctx lasts when one does not answer.
	Call(ctx context.Context, m *wire.Message) (*wire.Message, error)
}

// Options configures Start. Zero values of the optional fields mean the defaults.
type Options struct {
	Store     store.Store    // required; Close does not close it
	Monitors  Monitors       // required; Close does not close it
	Listen    string         // host:port to listen on; default 127.0.0.1:0
	Advertise string         // host:port told to others; default: the listener's address
	TCPOnly   bool           // also on one machine, where others use a Unix socket by default
	Class     string         // device class; default hdd
	Location  []LocationPart // CRUSH location; must have a host
	Log       *slog.Logger   // default slog.Default()
	Clock     clock.Source   // default the system's

	HeartbeatEvery time.Duration // default 400 ms
	Lease          time.Duration // read lease; default 3 heartbeats
	SilentAfter    time.Duration // a peer that does not answer for this long is reported; default 2.5 s
	ReportEvery    time.Duration // default 1 s while something changes, five times that otherwise
	DeviceWindow   time.Duration // what is reported of the device's latencies is about the last so long; default 10 s
	ScrubEvery     time.Duration // how often it is looked whether a PG is due to be scrubbed; default 10 s
	Shards         int           // goroutines that drive PGs; default 2
	PG             pg.Config     // Self, Leases and Throttle are filled in
	Recovery       pg.Limits     // of what PGs do besides serving clients
	FullRatio      float64       // fraction of the capacity from which clients' writes are refused; default what the map says
}

// LocationPart is one step of a CRUSH location, such as {host, node1}.
type LocationPart struct{ Type, Name string }

// OSD is a running storage daemon.
type OSD struct {
	o        Options
	log      *slog.Logger
	clk      clock.Source
	id       placement.OSDID
	cluster  placement.UUID
	addr     string
	leases   *pg.Leases
	throttle *pg.Throttle
	server   *wire.Server
	peers    *wire.Peers
	// beatPeers has the connections for heartbeats: an answer must not wait until what came before
	// it on a connection has been worked off.
	beatPeers *wire.Peers
	beaters   sync.Map // connections that bring others' heartbeats: *wire.Conn -> struct{}
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	shards    []*shard
	quick     store.QuickReader // nil: the store has none
	answered  chan struct{}     // capacity 1: the store has answered batches
	reads     chan func()       // executed reads and recovery reads; bounded
	booted    atomic.Bool       // groups exist, requests are taken
	epoch     atomic.Uint64     // map the OSD acts on
	handles   atomic.Uint64
	fence     fence
	stats     counters
	holds     shards
	care      atomic.Pointer[Care]
	busy      busy
	loads     loads
	nursery   nursery
	beats     *heartbeats
	scrubs    *scrubber
	commitUs  atomic.Int64

	room                  room
	pending, pendingBytes atomic.Int64 // batches that the store has not answered yet, and their data
	ratios                atomic.Pointer[ratios]

	mu          sync.Mutex // guards below
	incarnation uint64
	cur         *placement.Map
	table       *placement.Table
	booting     bool
	leaving     bool // Close has begun: being down is as it should be
	failed      error
	closed      bool
	done        chan struct{}
}

type counters struct {
	readOps, writeOps, readBytes, writeBytes atomic.Uint64
	recoveredObjects, recoveredBytes         atomic.Uint64
	readErrors, scrubFound, repaired         atomic.Uint64
}

func (o Options) withDefaults() (Options, error) {
	if o.Store == nil || o.Monitors == nil {
		return o, errors.New("start OSD: Store and Monitors are required")
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Class == "" {
		o.Class = "hdd"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = clock.NewSystem()
	}
	if o.HeartbeatEvery <= 0 {
		o.HeartbeatEvery = 400 * time.Millisecond
	}
	if o.Lease <= 0 {
		o.Lease = 3 * o.HeartbeatEvery
	}
	if o.SilentAfter <= 0 {
		o.SilentAfter = 2500 * time.Millisecond
	}
	if o.ReportEvery <= 0 {
		o.ReportEvery = time.Second
	}
	if o.DeviceWindow <= 0 {
		o.DeviceWindow = deviceWindow
	}
	if o.ScrubEvery <= 0 {
		o.ScrubEvery = 10 * time.Second
	}
	if o.Shards <= 0 {
		o.Shards = 2
	}
	hasHost := false
	for _, p := range o.Location {
		hasHost = hasHost || p.Type == "host"
	}
	if !hasHost {
		return o, errors.New("start OSD: the CRUSH location must name a host, such as host=node1")
	}
	return o, nil
}

// readWorkers bounds how many reads of the store are under way at once.
const readWorkers = 8

// Start gives the store its place in the cluster: it registers it if it is new,
// announces the daemon to the monitors and returns once it is up in the map. It
// waits for the monitors as long as ctx lasts.
func Start(ctx context.Context, o Options) (*OSD, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &OSD{o: o, log: o.Log, clk: o.Clock, done: make(chan struct{}), reads: make(chan func(), 1024), answered: make(chan struct{}, 1)}
	if q, ok := o.Store.(store.QuickStore); ok {
		d.quick = q.Quick()
	}
	if err := d.register(ctx); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("start %s: listen on %s: %w", d.id, o.Listen, err)
	}
	d.addr = o.Advertise
	if d.addr == "" {
		d.addr = ln.Addr().String()
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.leases = pg.NewLeases(d.clk.Mono(), o.Lease)
	d.throttle = pg.NewThrottle(o.Recovery)
	wo := wire.Options{
		Self:    wire.Identity{Entity: d.id.String(), Cluster: d.cluster, Incarnation: d.incarnation},
		Handler: handler{d}, Log: o.Log, Epoch: d.epoch.Load,
	}
	po := wo
	po.Unreachable = d.unreachable
	if !o.TCPOnly {
		wo.LocalAddr = d.addr
	}
	d.peers, d.beatPeers = wire.NewPeers(po), wire.NewPeers(wo)
	d.beats = newHeartbeats(d)
	d.scrubs = newScrubber(d)
	for i := 0; i < o.Shards; i++ {
		d.shards = append(d.shards, newShard(d))
	}
	for i := 0; i < readWorkers; i++ {
		d.wg.Add(1)
		go func() { // until Close ends ctx
			defer d.wg.Done()
			for {
				select {
				case run := <-d.reads:
					run()
				case <-d.ctx.Done():
					return
				}
			}
		}()
	}
	d.startShards()
	d.server = wire.Serve(ln, wo)
	if err := d.loadAndBoot(ctx); err != nil {
		d.stop(nil)
		return nil, err
	}
	d.wg.Add(1)
	go d.reportLoop() // until Close ends ctx
	d.wg.Add(2)
	go d.scrubs.run()  // until Close ends ctx
	go d.scrubs.read() // until Close ends ctx
	d.log.Info("osd up", "osd", d.id, "addr", d.addr, "epoch", d.epoch.Load(), "pgs", d.groupCount())
	return d, nil
}

// unreachable tells the groups that messages to whoever lives at addr were lost.
func (d *OSD) unreachable(addr string, _ error) {
	d.mu.Lock()
	m := d.cur
	d.mu.Unlock()
	if m == nil || d.ctx.Err() != nil {
		return
	}
	for i := range m.OSDs {
		if o := &m.OSDs[i]; o.Addr == addr && o.Up {
			for _, s := range d.shards {
				s.say(peerReset{o.ID})
			}
		}
	}
}

// register asks the monitors for the store's OSD id, once in the store's life,
// and begins a new incarnation.
func (d *OSD) register(ctx context.Context) error {
	id := d.o.Store.Identity()
	if id.Cluster.IsZero() {
		r, err := d.o.Monitors.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdRegister{OsdRegister: &wirepb.OSDRegister{
			Store: id.Store[:], Class: d.o.Class, Location: d.location(), Capacity: d.o.Store.Usage().Capacity,
		}}}})
		if err != nil {
			return fmt.Errorf("register store %s with the monitors: %w", id.Store, err)
		}
		reg := r.Header.GetOsdRegistered()
		if reg == nil || len(reg.Cluster) != len(id.Cluster) {
			return fmt.Errorf("register store %s: the monitor's answer has no cluster id", id.Store)
		}
		id.OSD = placement.OSDID(reg.Id)
		copy(id.Cluster[:], reg.Cluster)
	}
	// The clock makes incarnations grow even if the superblock is an old copy.
	id.Incarnation = max(id.Incarnation+1, uint64(d.clk.Wall().UnixNano()))
	if err := d.o.Store.SetIdentity(id); err != nil {
		return fmt.Errorf("write the identity of %s into its store: %w", id.OSD, err)
	}
	d.id, d.cluster, d.incarnation = id.OSD, id.Cluster, id.Incarnation
	return nil
}

func (d *OSD) location() []*wirepb.LocationPart {
	var l []*wirepb.LocationPart
	for _, p := range d.o.Location {
		l = append(l, &wirepb.LocationPart{Type: p.Type, Name: p.Name})
	}
	return l
}

// boot announces the current incarnation and returns the epoch in which it is up.
func (d *OSD) boot(ctx context.Context) (placement.Epoch, error) {
	d.mu.Lock()
	inc := d.incarnation
	d.mu.Unlock()
	id := d.o.Store.Identity()
	m := &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdBoot{OsdBoot: &wirepb.OSDBoot{
		Id: int32(d.id), Store: id.Store[:], Incarnation: inc, Addr: d.addr, Class: d.o.Class,
		Location: d.location(), Capacity: d.o.Store.Usage().Capacity,
	}}}}
	r, err := d.o.Monitors.Call(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("boot %s: %w", d.id, err)
	}
	return placement.Epoch(r.Header.Epoch), nil
}

// loadAndBoot reads the PGs, boots, and begins to act on the map that has us up.
// An older map is never acted on: it could name us the primary of a term that is over.
func (d *OSD) loadAndBoot(ctx context.Context) error {
	ids, err := d.o.Store.PGs()
	if err != nil {
		return fmt.Errorf("start %s: list PGs: %w", d.id, err)
	}
	for _, id := range ids {
		if err := d.shardOf(id).load(id); err != nil {
			return fmt.Errorf("start %s: %w", d.id, err)
		}
	}
	epoch, err := d.boot(ctx)
	if err != nil {
		return err
	}
	m, err := d.o.Monitors.WaitMap(ctx, epoch)
	if err != nil {
		return fmt.Errorf("start %s: wait for map epoch %d: %w", d.id, epoch, err)
	}
	d.resumeSplits(m)
	for _, s := range d.shards {
		d.wg.Add(1)
		go s.run() // until Close ends ctx
	}
	d.wg.Add(1)
	go d.finish() // until Close ends ctx
	d.onMap(m)
	d.o.Monitors.OnMap(d.onMap)
	if newest := d.o.Monitors.Map(); newest != nil {
		d.onMap(newest)
	}
	d.booted.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checkUp() // a map that has us down again may have come before
	return nil
}

// onMap begins to act on a newer map.
func (d *OSD) onMap(m *placement.Map) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.cur != nil && m.Epoch <= d.cur.Epoch {
		return
	}
	if d.cur != nil {
		d.nursery.follow(d.cur, m)
	}
	d.cur = m
	if d.table == nil {
		d.table = placement.NewTable(m)
	} else {
		d.table = d.table.Next(m)
	}
	table := d.table
	d.throttle.SetLimits(limits(d.o.Recovery, m))
	d.ratios.Store(d.o.ratios(m))
	d.room.slack.Store(0)
	d.leases.SetEpoch(m.Epoch) // before the groups hear of it, see Leases
	d.epoch.Store(uint64(m.Epoch))
	for _, s := range d.shards {
		s.say(mapped{m, table})
	}
	d.loads.forget(m)
	d.beats.follow(m) // with mu held: maps in order, and nothing begins once stop has
	d.checkUp()
}

// checkUp boots again if the map has us down though we live. It is called with mu held.
func (d *OSD) checkUp() {
	if d.cur.IsUp(d.id) || d.booting || d.leaving || d.closed || !d.booted.Load() {
		return
	}
	d.booting = true
	d.wg.Add(1)
	go d.reboot(d.cur.Epoch) // until it is up again or Close ends ctx
}

// reboot announces a new incarnation after the monitors marked us down though we live.
func (d *OSD) reboot(seen placement.Epoch) {
	defer d.wg.Done()
	d.log.Warn("marked down though alive, booting again", "osd", d.id, "epoch", seen)
	for d.ctx.Err() == nil {
		id := d.o.Store.Identity()
		id.Incarnation++
		if err := d.o.Store.SetIdentity(id); err != nil {
			d.fail(fmt.Errorf("write the identity of %s: %w", d.id, err))
			return
		}
		d.mu.Lock()
		d.incarnation = id.Incarnation
		d.mu.Unlock()
		ctx, cancel := context.WithTimeout(d.ctx, 30*time.Second)
		var m *placement.Map
		epoch, err := d.boot(ctx)
		if err == nil {
			m, err = d.o.Monitors.WaitMap(ctx, epoch)
		}
		cancel()
		if err == nil {
			d.onMap(m) // the session may tell us of it later; another boot would end the terms just begun
		}
		d.mu.Lock()
		up := d.cur != nil && d.cur.IsUp(d.id)
		if err == nil && up {
			d.booting = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		if wire.CodeOf(err) == wirepb.Code_NOT_PERMITTED || wire.CodeOf(err) == wirepb.Code_CONFLICT {
			d.fail(fmt.Errorf("the monitors refuse %s: %w", d.id, err))
			return
		}
		select {
		case <-time.After(time.Second):
		case <-d.ctx.Done():
		}
	}
}

// fail stops the daemon because of an error that it cannot go on with.
func (d *OSD) fail(err error) {
	d.mu.Lock()
	first := d.failed == nil && !d.closed
	if first {
		d.failed = err
	}
	d.mu.Unlock()
	if first {
		d.log.Error("osd stops", "osd", d.id, "err", err)
		go d.stop(err) // waits for the goroutine that calls fail
	}
}

// ID returns the OSD's id.
func (d *OSD) ID() placement.OSDID { return d.id }

// Recovered returns how many bytes of objects it has read for peers that lacked them, since its start.
func (d *OSD) Recovered() uint64 { return d.stats.recoveredBytes.Load() }

// Addr returns the address others reach it at.
func (d *OSD) Addr() string { return d.addr }

// Done is closed when the daemon has stopped, by Close, Kill or a failure.
func (d *OSD) Done() <-chan struct{} { return d.done }

// Err returns the failure that stopped the daemon, nil if none did.
func (d *OSD) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Close tells the monitors that the OSD goes away and stops it. Idempotent.
func (d *OSD) Close() error {
	d.mu.Lock()
	inc, stopping := d.incarnation, d.closed || d.leaving
	d.leaving = true
	d.mu.Unlock()
	if !stopping && d.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(d.ctx, 2*time.Second)
		_, err := d.o.Monitors.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdStopping{
			OsdStopping: &wirepb.OSDStopping{Id: int32(d.id), Incarnation: inc}}}})
		cancel()
		if err != nil {
			d.log.Warn("monitors not told of the stop; they will notice", "osd", d.id, "err", err)
		}
	}
	return d.Kill()
}

// Kill stops the daemon without a word to anybody, as a crash would.
func (d *OSD) Kill() error {
	d.stop(nil)
	<-d.done
	return d.Err()
}

func (d *OSD) stop(error) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	if d.server != nil {
		d.server.Close()
	}
	d.peers.Close()
	d.beatPeers.Close()
	for _, s := range d.shards {
		s.wake()
	}
	d.wg.Wait()
	close(d.done)
}
