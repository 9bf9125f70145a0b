package mon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// ErrRemoved is wrapped by the end of a monitor that was taken out of the cluster.
var ErrRemoved = errors.New("this monitor was removed from the cluster")

var errClosed = errors.New("the monitor is closed")

const (
	snapshotsKept  = 2
	snapshotPeriod = 60 * time.Second
	applyBatch     = 64   // log entries per append and per disk write
	tasksMax       = 1024 // requests being worked on
)

// Monitor is one monitor. Make it with New.
type Monitor struct {
	o    Options
	log  *slog.Logger
	self placement.Mon

	dir     *dir // its identity is changed by the run goroutine only
	machine *machine
	pub     *publisher

	ln     net.Listener // messenger's, until the server takes it
	stream *raftStream
	trans  *raft.NetworkTransport
	snaps  raft.SnapshotStore
	notify chan bool

	cluster atomic.Pointer[placement.UUID] // nil: not known yet
	known   []placement.Mon                // from the directory, as of New

	ctx    context.Context // ends when the monitor closes or fails
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // every goroutine that ctx ends
	tasks  chan struct{}  // one for each request being worked on
	ready  chan struct{}  // closed when the messenger answers
	down   chan struct{}  // closed when Raft has shut down
	done   chan struct{}  // closed when everything has ended
	kick   chan struct{}  // wakes the leader's loop

	mu          sync.Mutex   // guards below
	raft        *raft.Raft   // nil until this monitor may take part
	lobby       *wire.Server // until server is there
	server      *wire.Server
	peers       *wire.Peers
	watch       *watch // nil unless this monitor leads
	leader      string // name, "" if there is none
	leaderSince time.Time
	leaderNews  chan struct{}        // closed and replaced whenever leader or raft changes
	failing     map[string]time.Time // peers that do not answer this leader's heartbeats: the last failure
	err         error                // why it ended
	started     bool
	closing     bool
}

// New opens the monitor's directory and listeners. Nothing runs before Start;
// Close is needed in any case.
func New(o Options) (*Monitor, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Monitor{
		o: o, log: o.Log.With("mon", o.Name), machine: newMachine(),
		notify: make(chan bool, 16),
		tasks:  make(chan struct{}, tasksMax),
		ready:  make(chan struct{}), down: make(chan struct{}), done: make(chan struct{}), kick: make(chan struct{}, 1),
		leaderNews: make(chan struct{}), failing: make(map[string]time.Time),
	}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	m.pub = newPublisher(m.log, o.HistoryMax, m.machine.Map())
	m.machine.newMaps, m.machine.reset, m.machine.fail = m.pub.add, m.pub.reset, m.fail
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.release())
	}
	return m, nil
}

// open gets hold of everything outside the process.
func (m *Monitor) open() error {
	o := &m.o
	var err error
	if m.dir, err = openDir(o.Dir, o.Name, o.Cluster); err != nil {
		return err
	}
	u, err := m.dir.id.cluster()
	if err != nil {
		return fmt.Errorf("monitor directory %s: %w", o.Dir, err)
	}
	if !u.IsZero() {
		m.cluster.Store(&u)
	}
	m.known = m.dir.id.Mons
	var raftLn net.Listener
	if m.ln, err = listen(o.Listener, o.Addr); err != nil {
		return fmt.Errorf("monitor %s: messenger: %w", o.Name, err)
	}
	if raftLn, err = listen(o.RaftListener, o.RaftAddr); err != nil {
		return fmt.Errorf("monitor %s: Raft transport: %w", o.Name, err)
	}
	m.self = placement.Mon{
		Name: o.Name, Addr: advertised(o.Addr, m.ln), RaftAddr: advertised(o.RaftAddr, raftLn), AdminAddr: o.AdminAddr,
	}
	if err := m.checkInitial(); err != nil {
		return err
	}
	m.stream = newRaftStream(raftLn, m.self.RaftAddr, m.clusterID, m.log)
	if m.snaps, err = raft.NewFileSnapshotStoreWithLogger(o.Dir, snapshotsKept, newRaftLog(m.log)); err != nil {
		return dirError(o.Dir, "open the snapshots", err)
	}
	return nil
}

// checkInitial compares this monitor's entry among the initial ones with its
// listeners. A port left open there is filled in.
func (m *Monitor) checkInitial() error {
	o := &m.o
	o.Initial = slices.Clone(o.Initial)
	for i := range o.Initial {
		e := &o.Initial[i]
		if e.Name != o.Name {
			continue
		}
		e.Addr, e.RaftAddr = orListener(e.Addr, m.self.Addr), orListener(e.RaftAddr, m.self.RaftAddr)
		if e.Addr != m.self.Addr || e.RaftAddr != m.self.RaftAddr {
			return fmt.Errorf("monitor %s: the initial monitors have it at %s (Raft %s), but it is at %s (Raft %s): make them equal", o.Name, e.Addr, e.RaftAddr, m.self.Addr, m.self.RaftAddr)
		}
		e.AdminAddr = m.self.AdminAddr
	}
	return nil
}

func orListener(addr, listener string) string {
	if strings.HasSuffix(addr, ":0") {
		return listener
	}
	return addr
}

// listen returns ln, or a new listener at addr.
func listen(ln net.Listener, addr string) (net.Listener, error) {
	if ln != nil {
		return ln, nil
	}
	if addr == "" {
		return nil, errors.New("neither an address nor a listener is given")
	}
	return net.Listen("tcp", addr)
}

// advertised returns the address that others use: addr, or the listener's if
// addr leaves the port open.
func advertised(addr string, ln net.Listener) string {
	if addr == "" || strings.HasSuffix(addr, ":0") {
		return ln.Addr().String()
	}
	return addr
}

func (m *Monitor) clusterID() placement.UUID {
	if u := m.cluster.Load(); u != nil {
		return *u
	}
	return placement.UUID{}
}

// Start lets the monitor take part. It returns when it does, or tries to: Ready
// tells when it answers.
func (m *Monitor) Start() error {
	m.mu.Lock()
	if m.started || m.closing {
		m.mu.Unlock()
		return fmt.Errorf("monitor %s: started twice, or after Close", m.o.Name)
	}
	m.started = true
	m.mu.Unlock()
	used, err := raft.HasExistingState(m.dir.store, m.dir.store, m.snaps)
	if err != nil {
		return dirError(m.o.Dir, "read the log", err)
	}
	if !used && len(m.o.Initial) == 0 && len(m.o.Join) == 0 {
		return fmt.Errorf("monitor %s: its directory %s is empty: say whether it makes a new cluster (with which monitors) or joins one (through which monitor)", m.o.Name, m.o.Dir)
	}
	m.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: m.stream, MaxPool: raftPoolMax, Timeout: raftIOTimeout, Logger: newRaftLog(m.log),
	})
	m.openLobby()
	m.wg.Go(func() { m.pub.run(m.ctx) })
	if used {
		if err := m.startRaft(); err != nil {
			return err
		}
	}
	m.wg.Go(func() { m.fail(m.run(m.ctx, used)) })
	return nil
}

// startRaft joins Raft with what the directory holds.
func (m *Monitor) startRaft() error {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(m.o.Name)
	c.Logger = newRaftLog(m.log)
	c.HeartbeatTimeout, c.ElectionTimeout = m.o.HeartbeatTimeout, m.o.HeartbeatTimeout
	c.LeaderLeaseTimeout, c.CommitTimeout = m.o.LeaseTimeout, m.o.CommitTimeout
	c.MaxAppendEntries = applyBatch // BatchApplyCh stays off: what waits in its buffer at shutdown is never answered
	c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = m.o.SnapshotEvery, snapshotPeriod, m.o.SnapshotEvery
	c.NotifyCh = m.notify
	c.NoLegacyTelemetry = true
	r, err := raft.NewRaft(c, m.machine, m.dir.store, m.dir.store, m.snaps, m.trans)
	if err != nil {
		return fmt.Errorf("monitor directory %s: start Raft: %w", m.o.Dir, err)
	}
	m.mu.Lock()
	m.raft = r
	m.mu.Unlock()
	m.leaderChanged()
	return nil
}

// run is the monitor's life after Start. It returns why it ended.
func (m *Monitor) run(ctx context.Context, used bool) error {
	if !used {
		if err := m.begin(ctx); err != nil {
			return err
		}
	}
	m.mu.Lock()
	r := m.raft
	m.mu.Unlock()
	seen := make(chan raft.Observation, 64)
	observer := raft.NewObserver(seen, false, isNews)
	r.RegisterObserver(observer)
	defer r.DeregisterObserver(observer)
	m.leaderChanged()

	var lead *leadership
	defer func() { lead.stop() }()
	var hello sync.WaitGroup // the goroutine of introduce; ctx ends it
	defer hello.Wait()
	if used && m.cluster.Load() != nil {
		m.serve()
	}
	joined := m.dir.id.Joined
	hello.Go(func() { m.introduce(ctx, joined) })
	for {
		m.machine.mu.RLock()
		applied := m.machine.applied
		m.machine.mu.RUnlock()
		if u := m.Map().Cluster; !u.IsZero() {
			if err := m.belong(u); err != nil {
				return err
			}
			if m.dir.id.Joined && !listed(m.Map(), m.o.Name) {
				return fmt.Errorf("monitor %s: %w: its directory %s is of no more use", m.o.Name, ErrRemoved, m.o.Dir)
			}
		}
		select {
		case up := <-m.notify:
			lead.stop()
			lead = nil
			if up {
				lead = m.takeLead(r)
			}
			m.leaderChanged()
		case ob := <-seen:
			m.observe(ob)
		case <-applied:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// belong takes note of the cluster, and begins to serve when it is news.
func (m *Monitor) belong(u placement.UUID) error {
	if want := m.o.Cluster; !want.IsZero() && want != u {
		return fmt.Errorf("monitor %s: it is in cluster %v, not %v as configured", m.o.Name, u, want)
	}
	if err := m.dir.remember(m.Map()); err != nil {
		return err
	}
	m.cluster.Store(&u)
	m.serve()
	return nil
}

func listed(mp *placement.Map, name string) bool {
	for i := range mp.Mons {
		if mp.Mons[i].Name == name {
			return true
		}
	}
	return false
}

// serve opens the messenger, once. It waits for the cluster to be known, so
// that strangers are turned away in the handshake. Only run calls it.
func (m *Monitor) serve() {
	if closed(m.ready) {
		return
	}
	m.closeLobby()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return
	}
	self := m.identity()
	self.Incarnation = uint64(time.Now().UnixNano())
	epoch := func() uint64 { return uint64(m.Map().Epoch) }
	m.peers = wire.NewPeers(wire.Options{Self: self, Log: m.log, Epoch: epoch})
	m.server = wire.Serve(m.ln, wire.Options{Self: self, Log: m.log, Epoch: epoch, Handler: (*handler)(m), QueueBytes: 64 << 20})
	close(m.ready)
	m.log.Info("monitor serves", "cluster", m.clusterID(), "addr", m.self.Addr, "raft", m.self.RaftAddr)
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// isNews filters Raft's observations.
func isNews(o *raft.Observation) bool {
	switch o.Data.(type) {
	case raft.LeaderObservation, raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
		return true
	}
	return false
}

func (m *Monitor) observe(o raft.Observation) {
	switch d := o.Data.(type) {
	case raft.LeaderObservation:
		m.leaderChanged()
	case raft.FailedHeartbeatObservation:
		m.mu.Lock()
		_, known := m.failing[string(d.PeerID)]
		m.failing[string(d.PeerID)] = time.Now()
		m.mu.Unlock()
		if !known {
			m.log.Warn("monitor does not answer", "peer", d.PeerID)
		}
	case raft.ResumedHeartbeatObservation:
		m.mu.Lock()
		delete(m.failing, string(d.PeerID))
		m.mu.Unlock()
		m.log.Info("monitor answers again", "peer", d.PeerID)
	}
}

// failingFor is how long a failed heartbeat counts. While a peer is away one
// fails at least this often; when it is removed and added again nobody says so.
const failingFor = 2 * raftIOTimeout

// answers reports whether a monitor answers this leader's heartbeats.
func (m *Monitor) answers(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, fails := m.failing[name]
	return !fails || time.Since(at) > failingFor
}

// leaderChanged looks up who leads and wakes those who wait for one.
func (m *Monitor) leaderChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := ""
	if m.raft != nil {
		_, id := m.raft.LeaderWithID()
		name = string(id)
	}
	if name != m.leader {
		m.leader, m.leaderSince = name, time.Now()
		m.log.Info("leading monitor", "leader", name)
	}
	close(m.leaderNews)
	m.leaderNews = make(chan struct{})
}

// leadState returns Raft and who leads, and a channel that closes on news.
func (m *Monitor) leadState() (r *raft.Raft, leader string, news <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.raft, m.leader, m.leaderNews
}

// leading returns the leader's watch, or nil.
func (m *Monitor) leading() *watch {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watch
}

// leadership is one time of leading.
type leadership struct {
	m      *Monitor
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// takeLead starts the leader's work.
func (m *Monitor) takeLead(r *raft.Raft) *leadership {
	ctx, cancel := context.WithCancel(m.ctx)
	l := &leadership{m: m, cancel: cancel}
	w := newWatch(&m.o, time.Now())
	m.mu.Lock()
	m.watch = w
	clear(m.failing)
	m.mu.Unlock()
	l.wg.Go(func() { m.lead(ctx, r, w) }) // stop ends it
	return l
}

// stop ends the leader's work; nil does nothing.
func (l *leadership) stop() {
	if l == nil {
		return
	}
	l.cancel()
	l.m.mu.Lock()
	l.m.watch = nil
	l.m.mu.Unlock()
	l.wg.Wait()
}

// lead looks after the cluster while this monitor leads.
func (m *Monitor) lead(ctx context.Context, r *raft.Raft, w *watch) {
	// Before the barrier the map may lack what the last leader committed.
	if err := m.await(r.Barrier(m.o.ProposeTimeout)); err != nil {
		m.log.Debug("barrier of a new leader", "err", err) // no leader any more
		return
	}
	if m.Map().Cluster.IsZero() {
		u := m.o.Cluster
		if u.IsZero() {
			u = newUUID()
		}
		mons := m.o.Initial
		if len(mons) == 0 { // a leader that has joined has a cluster
			mons = []placement.Mon{m.self}
		}
		if _, err := m.proposeHere(r, &fsm.Bootstrap{Cluster: fsm.UUID(u), Mons: fsm.Mons(mons)}); err != nil {
			m.log.Warn("bootstrap", "err", err)
		}
	}
	tick := time.NewTicker(m.o.TickEvery)
	defer tick.Stop()
	for {
		m.look(r, w)
		select {
		case <-tick.C:
		case <-m.kick:
		case <-ctx.Done():
			return
		}
	}
}

// look proposes what follows from what the OSDs and their peers reported.
func (m *Monitor) look(r *raft.Raft, w *watch) {
	v := w.look(time.Now(), m.Map())
	if len(v.down) > 0 {
		m.log.Info("OSDs are down", "osds", v.down)
		m.proposeLogged(r, &fsm.OSDDown{OSDs: v.down})
	}
	if len(v.out) > 0 {
		m.log.Info("OSDs are marked out, they were down for long", "osds", v.out, "after", m.o.OutAfter)
		m.proposeLogged(r, &fsm.OSDAutoOut{OSDs: v.out})
	}
	if len(v.full) > 0 {
		m.log.Info("OSDs are more or less full than before", "osds", v.full)
		m.proposeLogged(r, &fsm.OSDFull{OSDs: v.full})
	}
	if len(v.slow) > 0 {
		m.log.Warn("OSDs have slow devices, or have not any more", "osds", v.slow)
		m.proposeLogged(r, &fsm.OSDSlow{OSDs: v.slow})
	}
	if v.bad != placement.NoOSD {
		m.log.Warn("an OSD is marked out, its device fails", "osd", v.bad, "errors", v.errs)
		m.proposeLogged(r, &fsm.OSDReweight{ID: v.bad})
	}
	for _, b := range w.grow(time.Now(), m.Map()) {
		m.log.Info("a pool grows", "change", fsm.KindOf(b), "what", b)
		m.proposeLogged(r, b)
	}
	if len(v.gone) > 0 {
		m.log.Info("services are gone", "services", v.gone)
		gone := make([]fsm.Service, len(v.gone))
		for i, s := range v.gone {
			gone[i] = fsm.Service(s)
		}
		m.proposeLogged(r, &fsm.ServiceRemove{Services: gone})
	}
}

func (m *Monitor) proposeLogged(r *raft.Raft, b fsm.Body) {
	res, err := m.proposeHere(r, b)
	if err == nil {
		err = resultError(res)
	}
	if err != nil {
		m.log.Warn("change not made, will be tried again", "change", fsm.KindOf(b), "err", err)
	}
}

// wakeLeader makes the leader look now.
func (m *Monitor) wakeLeader() {
	select {
	case m.kick <- struct{}{}:
	default: // it is going to
	}
}

func newUUID() (u placement.UUID) {
	rand.Read(u[:]) // never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Map returns the newest map this monitor has applied; never nil. It must not
// be changed. Its epoch is 0 until the monitor has one.
func (m *Monitor) Map() *placement.Map { return m.machine.Map() }

// Self returns the monitor's own entry, with the addresses it listens at.
func (m *Monitor) Self() placement.Mon { return m.self }

// Ready is closed when the monitor belongs to a cluster and its messenger answers.
func (m *Monitor) Ready() <-chan struct{} { return m.ready }

// Done is closed when the monitor has ended, by Close or by itself; Err says why.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// Err returns why the monitor ended by itself, nil if it has not.
func (m *Monitor) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// WaitEpoch waits until this monitor has applied a map of at least epoch e.
func (m *Monitor) WaitEpoch(ctx context.Context, e placement.Epoch) error {
	return m.waitApplied(ctx, func(s *fsm.State) bool { return s.Map().Epoch >= e })
}

func (m *Monitor) waitApplied(ctx context.Context, ok func(*fsm.State) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.ctx, func() { cancel(errClosed) })()
	return m.machine.wait(ctx, ok)
}

// fail ends the monitor because of err. It does not wait.
func (m *Monitor) fail(err error) {
	m.mu.Lock()
	first := !m.closing && m.err == nil
	if first {
		m.err = err
	}
	m.mu.Unlock()
	if first {
		m.log.Error("monitor stops", "err", err)
		go m.Close() // Close cannot wait for itself here; Done tells when it has ended
	}
}

// Close stops the monitor and waits until everything has ended. A leader hands
// the lead over first.
func (m *Monitor) Close() error {
	m.mu.Lock()
	first := !m.closing
	m.closing = true
	r, leading := m.raft, m.watch != nil
	failed := m.err != nil
	m.mu.Unlock()
	if !first {
		<-m.done
		return nil
	}
	if r != nil && leading && !failed && len(r.GetConfiguration().Configuration().Servers) > 1 {
		if err := m.await(r.LeadershipTransfer()); err != nil {
			m.log.Debug("hand over the lead", "err", err) // the others will find out by themselves
		}
	}
	m.cancel(errClosed)
	err := m.release()
	close(m.done)
	return err
}

// release closes whatever is open, in an order in which nothing waits for
// something that has gone.
func (m *Monitor) release() error {
	m.cancel(errClosed)
	m.mu.Lock()
	m.closing = true // no server is opened after this
	server, peers, r := m.server, m.peers, m.raft
	m.mu.Unlock()
	var errs []error
	m.closeLobby()
	if server != nil {
		errs = append(errs, server.Close())
	} else if m.ln != nil {
		errs = append(errs, m.ln.Close())
	}
	if r != nil {
		errs = append(errs, r.Shutdown().Error())
	}
	close(m.down)
	if peers != nil {
		errs = append(errs, peers.Close())
	}
	m.wg.Wait()
	if m.raft != nil && r == nil { // it was started while we closed
		errs = append(errs, m.raft.Shutdown().Error())
	}
	switch {
	case m.trans != nil:
		errs = append(errs, m.trans.Close())
	case m.stream != nil:
		errs = append(errs, m.stream.Close())
	}
	if m.dir != nil && m.dir.store != nil {
		errs = append(errs, m.dir.close())
	}
	return errors.Join(errs...)
}
