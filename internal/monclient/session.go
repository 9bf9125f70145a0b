// Package monclient is a daemon's or client's session with the monitors: one of
// them at a time, another when it fails. It follows the cluster map and passes
// requests on until one of the monitors answers for good.
//
// A monitor that is connected may still be of no use: frozen, or cut off from its
// peers so that its map grows old. The session pings it, and leaves it when it
// does not know an epoch that somebody else has seen.
//
// The object client and the OSD both stand on it. It knows no conditions of its
// own beyond ErrClosed and GaveUpError: answers of monitors are *wire.Error.
package monclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// How a session deals with monitors.
const (
	backoffMin = 50 * time.Millisecond // after all monitors failed once
	backoffMax = 3 * time.Second
	pingEvery  = 3 * time.Second  // a silent monitor may be frozen: ask
	suspectAge = 10 * time.Second // a session or map younger than this is not suspected
	missesMax  = 3                // times that a monitor may lack an epoch that somebody has seen
)

// ErrClosed is returned by calls on a closed session.
var ErrClosed = errors.New("session with the monitors is closed")

// Options configures Open. Zero values of the optional fields mean the defaults.
type Options struct {
	Mons     []string             // required: messenger addresses of some monitors; the map names the others
	Self     func() wire.Identity // required: who we are; a zero Cluster is filled from the map
	Log      *slog.Logger         // default slog.Default()
	Dial     wire.DialFunc        // see wire.Options
	Patience time.Duration        // for an answer about the session itself and its maps; default 3 s
	Attempt  time.Duration        // until a Call that is not answered goes to another monitor; default Patience
	OnMap    func(*placement.Map) // told of every newer map, in order; may be set later with Session.OnMap

	pingEvery, suspectAge time.Duration // tests
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	for _, d := range []struct {
		d      *time.Duration
		unless time.Duration
	}{{&o.Patience, 3 * time.Second}, {&o.pingEvery, pingEvery}, {&o.suspectAge, suspectAge}} {
		if *d.d <= 0 {
			*d.d = d.unless
		}
	}
	if o.Attempt <= 0 {
		o.Attempt = o.Patience
	}
	return o
}

// Session is a session with the monitors. It is safe for concurrent use.
type Session struct {
	o      Options
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	maps   maps

	kick    chan struct{} // holds one: a newer map is wanted
	suspect chan struct{} // holds one: the monitor's map may be out of date
	news    atomic.Int64  // unix nanoseconds of the newest map

	tellMu sync.Mutex // serialises onMap; guards below
	onMap  func(*placement.Map)
	told   placement.Epoch

	mu     sync.Mutex    // guards below
	addrs  []string      // seeds and the monitors of the map, no address twice
	conn   *wire.Conn    // nil while no monitor is connected
	up     chan struct{} // closed when conn is set; a new one when it is lost
	failed map[string]error
	wanted uint64 // epoch that somebody has seen
}

// Open starts a session; it does not wait for a monitor. WaitMap does.
func Open(o Options) (*Session, error) {
	switch {
	case len(o.Mons) == 0:
		return nil, errors.New("open a session with the monitors: no monitor address given")
	case o.Self == nil:
		return nil, errors.New("open a session with the monitors: Options.Self is missing")
	}
	s := &Session{
		o: o.withDefaults(), kick: make(chan struct{}, 1), suspect: make(chan struct{}, 1), onMap: o.OnMap,
		up: make(chan struct{}), failed: map[string]error{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.maps.init()
	s.setAddrs(nil)
	s.wg.Go(s.follow) // ends with s.ctx
	return s, nil
}

// Close ends the session and waits for its goroutine. Idempotent.
func (s *Session) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// Map returns the newest map, nil before the first.
func (s *Session) Map() *placement.Map { return s.maps.load().m }

// Epoch returns the newest map's epoch, 0 before the first.
func (s *Session) Epoch() uint64 {
	if m := s.Map(); m != nil {
		return uint64(m.Epoch)
	}
	return 0
}

// Changed returns the newest map, nil before the first, and a channel that is closed when a newer one is there.
func (s *Session) Changed() (*placement.Map, <-chan struct{}) {
	v := s.maps.load()
	return v.m, v.changed
}

// OnMap sets who is told of newer maps, in order, on a goroutine of the session or
// of a Refresh. Map returns a map before it is told, so whoever registers something
// and then looks at Map either sees the newer map or is registered when it is told.
// When two maps arrive at once the older may be left out. f must not wait for the session.
func (s *Session) OnMap(f func(*placement.Map)) {
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	s.onMap = f
}

// Broken returns the error of a map that could not be understood, such as one of
// a newer format, if the newest map offered was one.
func (s *Session) Broken() error { return s.maps.err() }

// WaitMap waits for a map of at least the given epoch, 0 for any. It fails at
// once when there is no map yet and the first one offered could not be
// understood; when ctx ends the error has a *GaveUpError.
func (s *Session) WaitMap(ctx context.Context, e placement.Epoch) (*placement.Map, error) {
	if e != 0 { // the first map comes without asking
		s.Want(e)
	}
	for {
		v := s.maps.load()
		if v.m != nil && v.m.Epoch >= e {
			return v.m, nil
		}
		broken := s.maps.broken
		if v.m != nil {
			broken = nil
		}
		select {
		case <-v.changed:
		case <-broken:
			if s.Map() == nil {
				return nil, s.maps.brokenBy()
			}
		case <-s.ctx.Done():
			return nil, fmt.Errorf("wait for cluster map epoch %d: %w", e, ErrClosed)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for cluster map epoch %d, have %d: %w", e, s.Epoch(), &GaveUpError{Cause: ctx.Err(), Trouble: s.Trouble()})
		}
	}
}

func (s *Session) setAddrs(m *placement.Map) {
	known := make(map[string]bool)
	s.addrs = nil
	add := func(addr string) {
		if addr != "" && !known[addr] {
			known[addr] = true
			s.addrs = append(s.addrs, addr)
		}
	}
	for _, a := range s.o.Mons {
		add(a)
	}
	if m != nil {
		for i := range m.Mons {
			add(m.Mons[i].Addr)
		}
	}
	for a := range s.failed {
		if !known[a] {
			delete(s.failed, a)
		}
	}
}

// order returns the addresses to try, in random order so that many clients
// spread, the last one tried at the end.
func (s *Session) order(last string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := append([]string(nil), s.addrs...)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	sort.SliceStable(order, func(i, j int) bool { return order[i] != last && order[j] == last })
	return order
}

// alternatives reports whether there is more than one monitor.
func (s *Session) alternatives() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.addrs) > 1
}

func (s *Session) connected(conn *wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.failed)
	s.conn = conn
	close(s.up)
}

func (s *Session) lost(addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[addr] = err
	if s.conn != nil {
		s.conn = nil
		s.up = make(chan struct{})
	}
}

// current returns the connection to a monitor, or what to wait for until there is one.
func (s *Session) current() (*wire.Conn, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn, s.up
}

// Troubles says what each monitor's failure was.
func (s *Session) Troubles() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, a := range s.addrs {
		if err := s.failed[a]; err != nil {
			all = append(all, fmt.Sprintf("%s: %v", a, err))
		} else {
			all = append(all, a+": no answer yet")
		}
	}
	return strings.Join(all, "; ")
}

// Trouble is a clause for errors: empty while a monitor is connected.
func (s *Session) Trouble() string {
	if conn, _ := s.current(); conn != nil {
		return ""
	}
	return "; no monitor is reachable: " + s.Troubles()
}

// Want says that somebody has seen this epoch; 0 asks for the newest. It never blocks.
func (s *Session) Want(e placement.Epoch) {
	if e != 0 && uint64(e) <= s.Epoch() {
		return
	}
	s.mu.Lock()
	s.wanted = max(s.wanted, uint64(e))
	s.mu.Unlock()
	signal(s.kick)
}

// Suspect says that daemons do not answer and no map says why: the monitor's map
// may be out of date. The session is given up for another monitor if it and its
// newest map are old. It never blocks.
func (s *Session) Suspect() { signal(s.suspect) }

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is enough
	}
}

// follow keeps a session with one of the monitors, for ever. It is the only
// permanent goroutine and ends with s.ctx.
func (s *Session) follow() {
	backoff := backoffMin
	last := ""
	for {
		for _, addr := range s.order(last) {
			last = addr
			began := time.Now()
			lived, err := s.session(addr)
			if s.ctx.Err() != nil {
				return
			}
			if lived {
				if time.Since(began) > backoffMax {
					backoff = backoffMin // not for one that takes us and drops us again
				}
				s.o.Log.Info("monitor lost, trying another", "addr", addr, "err", err)
				break // in a new order, this one last
			}
			s.o.Log.Debug("monitor not usable", "addr", addr, "err", err)
		}
		if !sleep(s.ctx, jitter(backoff)) {
			return
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// jitter returns between half of d and d, so that many clients do not act at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep reports whether ctx still lives after d.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// session subscribes at one monitor and stays until it fails. lived reports
// whether it was of use.
func (s *Session) session(addr string) (lived bool, err error) {
	self := s.o.Self()
	if m := s.Map(); m != nil && self.Cluster.IsZero() {
		self.Cluster = m.Cluster
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*s.o.Patience)
	conn, err := wire.Dial(ctx, addr, wire.Options{
		Self: self, Handler: handler{s}, Log: s.o.Log, Epoch: s.Epoch, Dial: s.o.Dial, DialTimeout: s.o.Patience, HandshakeTimeout: s.o.Patience,
	})
	cancel()
	if err != nil {
		s.lost(addr, err)
		return false, err
	}
	defer conn.Close()
	if err = s.ask(conn, &wirepb.Header{Body: &wirepb.Header_MonSubscribe{MonSubscribe: &wirepb.MonSubscribe{Have: s.Epoch()}}}); err != nil {
		s.lost(addr, err)
		return false, err
	}
	s.connected(conn)
	err = s.attend(conn)
	s.lost(addr, err)
	return true, err
}

// attend serves a session until it fails or is not to be trusted any more.
func (s *Session) attend(conn *wire.Conn) error {
	began := time.Now()
	ping := time.NewTicker(s.o.pingEvery)
	defer ping.Stop()
	misses := 0
	var again <-chan time.Time
	for {
		select {
		case <-again:
			again = nil
			signal(s.kick)
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-conn.Done():
			return conn.Err()
		case <-ping.C:
			if err := s.ping(conn); err != nil {
				return err
			}
		case <-s.suspect:
			// Perhaps this monitor is cut off from the others. With no other to ask, leaving it gains nothing.
			if now := time.Now(); now.Sub(began) > s.o.suspectAge && now.UnixNano()-s.news.Load() > int64(s.o.suspectAge) && s.alternatives() {
				return errors.New("its map may be out of date")
			}
		case <-s.kick:
			wanted, err := s.catchUp(conn)
			switch {
			case err == nil && s.Epoch() >= wanted:
				misses = 0
			case err == nil || wire.CodeOf(err) == wirepb.Code_TRY_LATER:
				// The monitor does not have that epoch yet. It will push it, or it is cut off.
				if misses++; misses > missesMax {
					return fmt.Errorf("it has no map of epoch %d", wanted)
				}
				again = time.After(jitter(time.Duration(misses) * 200 * time.Millisecond))
			default:
				return err
			}
		}
	}
}

// catchUp asks for the epoch that is wanted, which it returns, or for the newest when that is 0.
func (s *Session) catchUp(conn *wire.Conn) (wanted uint64, err error) {
	s.mu.Lock()
	wanted = s.wanted
	s.mu.Unlock()
	have := s.Epoch()
	if wanted <= have {
		wanted = 0
	}
	err = s.ask(conn, &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{Have: have, Want: wanted}}})
	if errors.Is(err, context.DeadlineExceeded) && wanted != 0 {
		if s.Epoch() >= wanted {
			return wanted, nil // it was pushed meanwhile
		}
		if err = s.ping(conn); err == nil { // it waits for that epoch, as we do
			err = &wire.Error{Code: wirepb.Code_TRY_LATER}
		}
	}
	return wanted, err
}

func (s *Session) ping(conn *wire.Conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Patience)
	defer cancel()
	_, err := conn.Ping(ctx)
	return err
}

// ask sends a request for maps and installs the answer, fetching a full map
// when deltas do not fit.
func (s *Session) ask(conn *wire.Conn, h *wirepb.Header) error {
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(s.ctx, s.o.Patience)
		m, err := conn.Call(ctx, &wire.Message{Header: h})
		cancel()
		if err != nil {
			return err
		}
		if err = s.update(m); !errors.Is(err, errGap) || try > 0 {
			return err
		}
		h = &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{}}} // have nothing: a full one
	}
}

// update installs what a monitor sent and tells whoever listens.
func (s *Session) update(m *wire.Message) error {
	up, ok := m.Header.Body.(*wirepb.Header_MapUpdate)
	if !ok || up.MapUpdate == nil {
		return fmt.Errorf("monitor answered with %T, want a map update", m.Header.Body)
	}
	changed, err := s.maps.install(up.MapUpdate, m.Payload)
	if changed {
		now := s.Map()
		s.mu.Lock()
		s.setAddrs(now)
		s.mu.Unlock()
		s.news.Store(time.Now().UnixNano())
		s.o.Log.Debug("cluster map", "epoch", now.Epoch)
		s.tell()
	}
	return err
}

func (s *Session) tell() {
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	m := s.Map()
	if m.Epoch <= s.told {
		return
	}
	s.told = m.Epoch
	if s.onMap != nil {
		s.onMap(m)
	}
}

// handler gets the maps that a monitor publishes. It runs on the connection's
// reader, which does nothing else worth waiting for.
type handler struct{ s *Session }

// Handle implements wire.Handler.
func (h handler) Handle(conn *wire.Conn, m *wire.Message) {
	if m.Header.GetTag() != 0 {
		_ = conn.ReplyError(m, wirepb.Code_UNSUPPORTED, "no requests are served on a session with a monitor")
		return
	}
	if _, ok := m.Header.Body.(*wirepb.Header_MapUpdate); !ok {
		return
	}
	if err := h.s.update(m); errors.Is(err, errGap) {
		h.s.Want(placement.Epoch(m.Header.GetMapUpdate().GetTo()))
	} else if err != nil {
		h.s.o.Log.Error("cluster map not usable", "monitor", conn.RemoteAddr(), "err", err)
	}
}

// Closed implements wire.Handler.
func (handler) Closed(*wire.Conn, error) {}
