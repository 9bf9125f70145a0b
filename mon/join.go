package mon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

const (
	joinRetry   = 500 * time.Millisecond
	joinTimeout = 10 * time.Second // one attempt
	probeTime   = time.Second      // for asking whether a cluster exists
)

// begin brings a monitor with an empty directory into its cluster.
func (m *Monitor) begin(ctx context.Context) error {
	if len(m.o.Join) > 0 {
		return m.join(ctx, m.o.Join)
	}
	// The cluster may exist already: this is the last of its monitors to start for
	// the first time, or it has lost its disk. Then its vote must not count before
	// it has the log: in the latter case it may have given it away already.
	others := initialAddrs(m.o.Initial, m.o.Name)
	if mp := m.probe(ctx, others); mp != nil {
		if !listed(mp, m.o.Name) {
			return fmt.Errorf("monitor %s: the monitors it should begin a new cluster with are those of cluster %v, which does not know it; to add it, start it with the address of one of them to join", m.o.Name, mp.Cluster)
		}
		m.log.Info("the cluster exists already, joining it", "cluster", mp.Cluster)
		return m.join(ctx, others)
	}
	if err := m.startRaft(); err != nil {
		return err
	}
	servers := make([]raft.Server, 0, len(m.o.Initial))
	for _, mon := range m.o.Initial {
		servers = append(servers, raft.Server{ID: raft.ServerID(mon.Name), Address: raft.ServerAddress(mon.RaftAddr)})
	}
	slices.SortFunc(servers, func(a, b raft.Server) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if servers[0].ID != raft.ServerID(m.o.Name) {
		return nil // the first one tells this one
	}
	r, _, _ := m.leadState()
	if err := r.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return fmt.Errorf("monitor %s: begin a new cluster: %w", m.o.Name, err)
	}
	return nil
}

// probe returns the map of the cluster that any of the addresses belongs to.
func (m *Monitor) probe(ctx context.Context, addrs []string) *placement.Map {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	found := make(chan *placement.Map, len(addrs))
	for _, a := range addrs {
		go func() { // ends with ctx
			mp, err := m.fetchMap(ctx, a)
			if err != nil {
				m.log.Debug("no cluster found", "addr", a, "err", err)
			}
			found <- mp
		}()
	}
	var first *placement.Map
	for range addrs { // all of them, so that no goroutine is left behind
		if mp := <-found; mp != nil && first == nil {
			first = mp
			cancel()
		}
	}
	return first
}

func (m *Monitor) identity() wire.Identity {
	return wire.Identity{Entity: "mon." + m.o.Name, Cluster: m.clusterID()}
}

// fetchMap asks the monitor at addr for its map.
func (m *Monitor) fetchMap(ctx context.Context, addr string) (*placement.Map, error) {
	c, err := wire.Dial(ctx, addr, wire.Options{Self: m.identity(), Log: m.log})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := c.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{}}}})
	if err != nil {
		return nil, err
	}
	mp, err := placement.DecodeMap(reply.Payload)
	if err != nil {
		return nil, fmt.Errorf("map of the monitor at %s: %w", addr, err)
	}
	return mp, nil
}

// join makes this monitor a member that does not vote yet, and starts Raft.
// Before that its Raft transport answers nobody. It tries until it succeeds or
// is refused for good.
func (m *Monitor) join(ctx context.Context, seeds []string) error {
	for {
		err := m.joinOnce(ctx, seeds)
		if err == nil {
			return m.startRaft()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, api.ErrInvalid) {
			return fmt.Errorf("monitor %s: join the cluster: %w", m.o.Name, err)
		}
		m.log.Warn("not joined yet, trying again", "through", seeds, "err", err)
		select {
		case <-time.After(joinRetry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *Monitor) joinOnce(ctx context.Context, seeds []string) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	mp := m.probe(ctx, seeds)
	if mp == nil {
		return fmt.Errorf("none of the monitors answers with a map")
	}
	if want := m.clusterID(); !want.IsZero() && want != mp.Cluster {
		return condition(api.ErrInvalid, "they are of cluster %v, its directory is of %v", mp.Cluster, want)
	}
	if want := m.o.Cluster; !want.IsZero() && want != mp.Cluster {
		return condition(api.ErrInvalid, "they are of cluster %v, it shall be in %v", mp.Cluster, want)
	}
	if err := m.ask(ctx, mp.Mons, &fsm.MonJoin{Mon: fsm.Mon(m.self)}); err != nil {
		return err
	}
	m.cluster.Store(&mp.Cluster)
	return nil
}

// ask proposes a change to one monitor after the other until the leader has it.
func (m *Monitor) ask(ctx context.Context, mons []placement.Mon, b fsm.Body) error {
	enc, err := fsm.Encode(fsm.Command{At: time.Now().UnixNano(), Body: b})
	if err != nil {
		return condition(api.ErrInvalid, "%v", err)
	}
	peers := wire.NewPeers(wire.Options{Self: m.identity(), Log: m.log})
	defer peers.Close()
	last := errors.New("there is no other monitor")
	for _, mon := range mons {
		if mon.Addr == m.self.Addr {
			continue
		}
		res, err := callPropose(ctx, peers, mon.Addr, enc)
		if err == nil {
			return resultError(res)
		}
		if errors.Is(err, api.ErrInvalid) {
			return err
		}
		last = err
	}
	return last
}

// introduce sees to it that the map has this monitor with the addresses it has
// now, which also makes one that has joined a voter. joined says whether a map
// had it before this start.
func (m *Monitor) introduce(ctx context.Context, joined bool) {
	for {
		// Without a map: wait for the leader to send the log, but not for ever, since
		// with a new Raft address it cannot.
		short, cancel := context.WithTimeout(ctx, joinRetry+2*m.o.HeartbeatTimeout)
		err := m.waitApplied(short, func(s *fsm.State) bool { return !s.Map().Cluster.IsZero() })
		cancel()
		at := slices.IndexFunc(m.Map().Mons, func(o placement.Mon) bool { return o.Name == m.o.Name })
		settled := at >= 0 && m.Map().Mons[at] == m.self && m.votes()
		removed := at < 0 && err == nil && joined
		if settled || removed {
			return
		}
		if err != nil && !joined && ctx.Err() == nil {
			continue
		}
		err = m.introduceOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.log.Warn("the map does not have this monitor's addresses yet, trying again", "err", err)
		}
		select {
		case <-time.After(joinRetry):
		case <-ctx.Done():
			return
		}
	}
}

// votes reports whether this monitor has a vote, as far as it has heard.
func (m *Monitor) votes() bool {
	r, _, _ := m.leadState()
	return slices.ContainsFunc(r.GetConfiguration().Configuration().Servers, func(s raft.Server) bool {
		return s.ID == raft.ServerID(m.o.Name) && s.Suffrage == raft.Voter
	})
}

func (m *Monitor) introduceOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	join := &fsm.MonJoin{Mon: fsm.Mon(m.self), Ready: true}
	if m.leading() != nil {
		_, err := m.submit(ctx, join)
		return err
	}
	// Not through submit: with a new Raft address it hears of no leader.
	if err := m.ask(ctx, m.monitors(), join); err != nil {
		return err
	}
	return m.waitApplied(ctx, func(s *fsm.State) bool { return slices.Contains(s.Map().Mons, m.self) })
}

// admit is the leader's side of joining, which has two steps. First the newcomer
// becomes a member without a vote and receives the log. When it has caught up it
// asks again, Ready, and gets its vote and its entry in the map. A monitor that
// comes back under its name with an empty disk loses the vote it had.
func (m *Monitor) admit(r *raft.Raft, b *fsm.MonJoin, enc []byte) (fsm.Result, error) {
	if err := fsm.CheckMon(placement.Mon(b.Mon)); err != nil {
		return fsm.Result{Code: wirepb.Code_INVALID, Text: err.Error()}, nil
	}
	f := r.GetConfiguration()
	if err := f.Error(); err != nil {
		return fsm.Result{}, fmt.Errorf("%w: %w", errNotLeading, err)
	}
	servers := f.Configuration().Servers
	id, addr := raft.ServerID(b.Mon.Name), raft.ServerAddress(b.Mon.RaftAddr)
	at := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == id })
	if other := slices.IndexFunc(servers, func(s raft.Server) bool { return s.Address == addr && s.ID != id }); other >= 0 {
		return refused(wirepb.Code_INVALID, "monitor %s: the Raft address %s is that of monitor %s", id, addr, servers[other].ID), nil
	}
	if at < 0 && len(servers) >= fsm.MaxMons {
		return refused(wirepb.Code_NO_SPACE, "monitor %s: the cluster has %d monitors, the most it can have; remove one first", id, fsm.MaxMons), nil
	}
	var err error
	if b.Ready {
		if at < 0 || servers[at].Suffrage != raft.Voter || servers[at].Address != addr {
			err = m.await(r.AddVoter(id, addr, 0, m.o.ProposeTimeout))
		}
		if err == nil {
			return m.apply(r, enc)
		}
	} else {
		if at >= 0 && servers[at].Suffrage == raft.Voter {
			if id == raft.ServerID(m.o.Name) {
				return refused(wirepb.Code_INVALID, "monitor %s leads the cluster, and another one asks to join under its name; choose another name", id), nil
			}
			if m.answers(string(id)) && servers[at].Address != addr {
				return refused(wirepb.Code_TRY_LATER, "monitor %s is alive at %s; stop it first, or choose another name", id, servers[at].Address), nil
			}
			err = m.await(r.RemoveServer(id, 0, m.o.ProposeTimeout))
		}
		if err == nil {
			err = m.await(r.AddNonvoter(id, addr, 0, m.o.ProposeTimeout))
		}
		if err == nil {
			m.mu.Lock()
			delete(m.failing, string(id))
			m.mu.Unlock()
			m.log.Info("monitor joins", "name", id, "raft", addr)
			return fsm.Result{Epoch: m.Map().Epoch}, nil
		}
	}
	return fsm.Result{}, membershipError(err)
}

func refused(code wirepb.Code, format string, args ...any) fsm.Result {
	return fsm.Result{Code: code, Text: fmt.Sprintf(format, args...)}
}

// membershipError tells a change of the membership that was not begun from one
// whose outcome is unknown. All of them may be repeated.
func membershipError(err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrLeadershipLost) {
		return fmt.Errorf("%w: %w", errNotLeading, err)
	}
	return condition(api.ErrNoQuorum, "change the monitors' membership: %v; try again", err)
}

// dismiss is the leader's side of removing a monitor.
func (m *Monitor) dismiss(ctx context.Context, r *raft.Raft, b *fsm.MonLeave, enc []byte) (fsm.Result, error) {
	f := r.GetConfiguration()
	if err := f.Error(); err != nil {
		return fsm.Result{}, fmt.Errorf("%w: %w", errNotLeading, err)
	}
	id := raft.ServerID(b.Name)
	member := slices.ContainsFunc(f.Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
	if id == raft.ServerID(m.o.Name) && len(m.Map().Mons) > 1 {
		// A leader that removes itself leaves the others to find out by timeout.
		if err := m.await(r.LeadershipTransfer()); err != nil {
			return refused(wirepb.Code_TRY_LATER, "monitor %s leads, and could not hand the lead over: %v", id, err), nil
		}
		return fsm.Result{}, fmt.Errorf("%w: it handed the lead over, because it is to be removed", errNotLeading)
	}
	// The map first: so the removed monitor still hears that it is one.
	res, err := m.apply(r, enc)
	if err != nil {
		return res, err
	}
	if res.Code != wirepb.Code_OK && !(res.Code == wirepb.Code_NOT_FOUND && member) {
		return res, nil
	}
	if !member {
		return res, nil
	}
	if err := m.await(r.RemoveServer(id, 0, m.o.ProposeTimeout)); err != nil {
		return fsm.Result{}, membershipError(err)
	}
	m.log.Info("monitor removed", "name", id)
	res.Code, res.Text = wirepb.Code_OK, ""
	return res, nil
}
