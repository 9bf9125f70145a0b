package client

import (
	"context"
	"errors"
	"fmt"
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

// How the client deals with monitors.
const (
	monBackoffMin = 50 * time.Millisecond // after all monitors failed once
	monBackoffMax = 3 * time.Second
	monPingEvery  = 3 * time.Second  // a silent monitor may be frozen: ask
	monSuspectAge = 10 * time.Second // a session or map younger than this is not suspected
	monPatience   = 3 * time.Second  // for an answer; at most Options.AttemptTimeout
)

// mons is the client's link to the monitors: one of them at a time.
type mons struct {
	kick    chan struct{} // holds one: a newer map is wanted
	suspect chan struct{} // holds one: the monitor's map may be out of date
	news    atomic.Int64  // unix nanoseconds of the newest map

	mu     sync.Mutex // guards below
	seeds  []string
	addrs  []string      // seeds and the monitors of the map, no address twice
	conn   *wire.Conn    // nil while no monitor is connected
	up     chan struct{} // closed when conn is set; a new one when it is lost
	failed map[string]error
	wanted uint64 // epoch that somebody has seen
}

func (s *mons) init(seeds []string) {
	s.kick = make(chan struct{}, 1)
	s.suspect = make(chan struct{}, 1)
	s.seeds = seeds
	s.up = make(chan struct{})
	s.failed = make(map[string]error)
	s.setAddrs(nil)
}

// learn takes over the monitors that the map names.
func (s *mons) learn(m *placement.Map) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setAddrs(m)
}

func (s *mons) setAddrs(m *placement.Map) {
	known := make(map[string]bool)
	s.addrs = nil
	add := func(addr string) {
		if addr != "" && !known[addr] {
			known[addr] = true
			s.addrs = append(s.addrs, addr)
		}
	}
	for _, a := range s.seeds {
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
func (s *mons) order(last string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := append([]string(nil), s.addrs...)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	sort.SliceStable(order, func(i, j int) bool { return order[i] != last && order[j] == last })
	return order
}

// alternatives reports whether there is more than one monitor.
func (s *mons) alternatives() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.addrs) > 1
}

func (s *mons) connected(addr string, conn *wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.failed)
	s.conn = conn
	close(s.up)
}

func (s *mons) lost(addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[addr] = err
	if s.conn != nil {
		s.conn = nil
		s.up = make(chan struct{})
	}
}

// current returns the connection to a monitor, or what to wait for until there is one.
func (s *mons) current() (*wire.Conn, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn, s.up
}

// troubles says what each monitor's failure was.
func (s *mons) troubles() string {
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

// trouble is a clause for errors: empty while a monitor is connected.
func (s *mons) trouble() string {
	if conn, _ := s.current(); conn != nil {
		return ""
	}
	return "; no monitor is reachable: " + s.troubles()
}

// want asks for a map of at least epoch; 0 asks for the newest. It never blocks.
func (c *Client) want(epoch uint64) {
	if epoch != 0 && epoch <= c.epoch() {
		return
	}
	c.mons.mu.Lock()
	c.mons.wanted = max(c.mons.wanted, epoch)
	c.mons.mu.Unlock()
	signal(c.mons.kick)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is enough
	}
}

// follow keeps a session with one of the monitors, for ever. It is the client's
// only permanent goroutine and ends with c.ctx.
func (c *Client) follow() {
	backoff := monBackoffMin
	last := ""
	for {
		for _, addr := range c.mons.order(last) {
			last = addr
			began := time.Now()
			lived, err := c.session(addr)
			if c.ctx.Err() != nil {
				return
			}
			if lived {
				if time.Since(began) > monBackoffMax {
					backoff = monBackoffMin // not for one that takes us and drops us again
				}
				c.log.Info("monitor lost, trying another", "addr", addr, "err", err)
				break // in a new order, this one last
			}
			c.log.Debug("monitor not usable", "addr", addr, "err", err)
		}
		if !sleep(c.ctx, jitter(backoff)) {
			return
		}
		backoff = min(2*backoff, monBackoffMax)
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
func (c *Client) session(addr string) (lived bool, err error) {
	patience := min(monPatience, c.o.AttemptTimeout)
	var self wire.Identity
	self.Entity = c.o.Entity
	if m := c.Map(); m != nil {
		self.Cluster = m.Cluster
	}
	ctx, cancel := context.WithTimeout(c.ctx, 2*patience)
	conn, err := wire.Dial(ctx, addr, wire.Options{
		Self: self, Handler: monHandler{c}, Log: c.log, Epoch: c.epoch, DialTimeout: patience, HandshakeTimeout: patience,
	})
	cancel()
	if err != nil {
		c.mons.lost(addr, err)
		return false, err
	}
	defer conn.Close()
	if err = c.ask(conn, &wirepb.Header{Body: &wirepb.Header_MonSubscribe{MonSubscribe: &wirepb.MonSubscribe{Have: c.epoch()}}}); err != nil {
		c.mons.lost(addr, err)
		return false, err
	}
	c.mons.connected(addr, conn)
	err = c.attend(conn)
	c.mons.lost(addr, err)
	return true, err
}

// attend serves a session until it fails or is not to be trusted any more.
func (c *Client) attend(conn *wire.Conn) error {
	began := time.Now()
	ping := time.NewTicker(monPingEvery)
	defer ping.Stop()
	misses := 0
	var again <-chan time.Time
	for {
		select {
		case <-again:
			again = nil
			signal(c.mons.kick)
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-conn.Done():
			return conn.Err()
		case <-ping.C:
			if err := c.ping(conn); err != nil {
				return err
			}
		case <-c.mons.suspect:
			// OSDs do not answer and no map says why. Perhaps this monitor is cut off from the others.
			if now := time.Now(); now.Sub(began) > monSuspectAge && now.UnixNano()-c.mons.news.Load() > int64(monSuspectAge) && c.mons.alternatives() {
				return errors.New("its map may be out of date")
			}
		case <-c.mons.kick:
			c.mons.mu.Lock()
			wanted := c.mons.wanted
			c.mons.mu.Unlock()
			have := c.epoch()
			if wanted != 0 && wanted <= have {
				wanted = 0
			}
			err := c.ask(conn, &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{Have: have, Want: wanted}}})
			if errors.Is(err, context.DeadlineExceeded) && wanted != 0 {
				if c.epoch() >= wanted {
					err = nil
				} else if err = c.ping(conn); err == nil { // it waits for that epoch, as we do
					err = &wire.Error{Code: wirepb.Code_TRY_LATER}
				}
			}
			switch {
			case err == nil && c.epoch() >= wanted:
				misses = 0
			case err == nil || wire.CodeOf(err) == wirepb.Code_TRY_LATER:
				// The monitor does not have that epoch yet. It will push it, or it is cut off.
				if misses++; misses > 3 {
					return fmt.Errorf("it has no map of epoch %d", wanted)
				}
				again = time.After(jitter(time.Duration(misses) * 200 * time.Millisecond))
			default:
				return err
			}
		}
	}
}

func (c *Client) ping(conn *wire.Conn) error {
	ctx, cancel := context.WithTimeout(c.ctx, min(monPatience, c.o.AttemptTimeout))
	defer cancel()
	_, err := conn.Ping(ctx)
	return err
}

// ask sends a request for maps and installs the answer, fetching a full map
// when deltas do not fit.
func (c *Client) ask(conn *wire.Conn, h *wirepb.Header) error {
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(c.ctx, min(monPatience, c.o.AttemptTimeout))
		m, err := conn.Call(ctx, &wire.Message{Header: h})
		cancel()
		if err != nil {
			return err
		}
		if err = c.update(m); !errors.Is(err, errGap) || try > 0 {
			return err
		}
		h = &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{}}} // have nothing: a full one
	}
}

// monHandler gets the maps that a monitor publishes. It runs on the
// connection's reader, which does nothing else worth waiting for.
type monHandler struct{ c *Client }

// Handle implements wire.Handler.
func (h monHandler) Handle(conn *wire.Conn, m *wire.Message) {
	if m.Header.GetTag() != 0 {
		_ = conn.ReplyError(m, wirepb.Code_UNSUPPORTED, "a client serves no requests")
		return
	}
	if _, ok := m.Header.Body.(*wirepb.Header_MapUpdate); !ok {
		return
	}
	if err := h.c.update(m); errors.Is(err, errGap) {
		h.c.want(m.Header.GetMapUpdate().GetTo())
	} else if err != nil {
		h.c.log.Error("cluster map not usable", "monitor", conn.RemoteAddr(), "err", err)
	}
}

// Closed implements wire.Handler.
func (monHandler) Closed(*wire.Conn, error) {}

// monCall asks the monitors, one after the other, until one answers for good:
// with success or an error that another would give too.
func (c *Client) monCall(ctx context.Context, h *wirepb.Header) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	var last error
	gaveUp := func(cause error) error {
		if last != nil {
			return fmt.Errorf("%w: the monitors' last answer: %w%s", timeout(cause), last, c.mons.trouble())
		}
		return fmt.Errorf("%w%s", timeout(cause), c.mons.trouble())
	}
	wait := 20 * time.Millisecond
	for {
		conn, up := c.mons.current()
		if conn == nil {
			select {
			case <-up:
				continue
			case <-c.ctx.Done():
				return nil, ErrClosed
			case <-ctx.Done():
				return nil, gaveUp(ctx.Err())
			}
		}
		actx, cancel := context.WithTimeout(ctx, c.o.AttemptTimeout)
		m, err := conn.Call(actx, &wire.Message{Header: h})
		silent := actx.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return m, nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // what a monitor said tells more than that the time is up
		}
		var we *wire.Error
		if errors.As(err, &we) {
			switch we.Code {
			case wirepb.Code_TRY_LATER, wirepb.Code_STALE_MAP, wirepb.Code_TIMED_OUT:
			default:
				return nil, fmt.Errorf("%w: %s", ErrorOf(we.Code), we.Text)
			}
		} else if errors.Is(err, wire.ErrTooLarge) {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if silent {
			conn.Close() // the session ends and another monitor is tried
		}
		if !sleep(ctx, jitter(wait)) {
			return nil, gaveUp(ctx.Err())
		}
		wait = min(2*wait, time.Second)
	}
}

// fetch gets a map of at least epoch want, 0 for the newest, and installs it.
func (c *Client) fetch(ctx context.Context, want uint64) error {
	have := c.epoch()
	for range 2 {
		m, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{Have: have, Want: want}}})
		if err != nil {
			return err
		}
		if err = c.update(m); !errors.Is(err, errGap) {
			return err
		}
		have = 0
	}
	return errGap
}

// AccessKey is a pair of keys of a User.
type AccessKey struct{ AccessKey, SecretKey string }

// User is an account of the cluster, as the gateways know it.
type User struct {
	Name        string
	DisplayName string
	Keys        []AccessKey
	Suspended   bool
}

// User returns the user that has the given access key, ErrNotFound if none has.
func (c *Client) User(ctx context.Context, accessKey string) (*User, error) {
	m, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: &wirepb.UserGet{AccessKey: accessKey}}})
	if err != nil {
		return nil, fmt.Errorf("user of access key %q: %w", accessKey, err)
	}
	u := m.Header.GetUser()
	if u == nil {
		return nil, fmt.Errorf("user of access key %q: %w: monitor answered with %T", accessKey, ErrInternal, m.Header.Body)
	}
	user := &User{Name: u.Name, DisplayName: u.DisplayName, Suspended: u.Suspended}
	for _, k := range u.Keys {
		user.Keys = append(user.Keys, AccessKey{AccessKey: k.GetAccessKey(), SecretKey: k.GetSecretKey()})
	}
	return user, nil
}

// ServiceBeacon tells the cluster that a service runs, or stops.
type ServiceBeacon struct {
	Kind    string // s3, ...
	Name    string
	Addr    string // what its users connect to, host:port
	Leaving bool
}

// Beacon sends a service beacon to the monitors. A service does so every few seconds.
func (c *Client) Beacon(ctx context.Context, b ServiceBeacon) error {
	_, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_ServiceBeacon{ServiceBeacon: &wirepb.ServiceBeacon{
		Kind: b.Kind, Name: b.Name, Addr: b.Addr, Leaving: b.Leaving,
	}}})
	if err != nil {
		return fmt.Errorf("beacon of %s.%s: %w", b.Kind, b.Name, err)
	}
	return nil
}
