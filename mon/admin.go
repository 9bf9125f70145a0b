package mon

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/mon/iam"
	"github.com/cairnstore/cairn/placement"
)

// The methods of this file are what the REST front end asks of its monitor
// (gateways/admin.Backend). Changes may be made at any monitor. They return when
// they are committed and visible in this monitor's Map. Errors wrap the
// conditions of package api.

// Quorum describes the monitors as seen from here.
func (m *Monitor) Quorum() api.Quorum {
	m.mu.Lock()
	r, leading := m.raft, m.watch != nil
	q := api.Quorum{Self: m.o.Name, Leader: m.leader, LeaderSince: m.leaderSince}
	m.mu.Unlock()
	voters := make(map[string]bool)
	if r != nil {
		q.Term = r.CurrentTerm()
		for _, s := range r.GetConfiguration().Configuration().Servers {
			voters[string(s.ID)] = s.Suffrage == raft.Voter
		}
	}
	for _, o := range m.monitors() {
		in := voters[o.Name] && q.Leader != "" && (!leading || m.answers(o.Name))
		q.Members = append(q.Members, api.QuorumMember{
			Name: o.Name, Addr: o.Addr, RaftAddr: o.RaftAddr, AdminAddr: o.AdminAddr, InQuorum: in,
		})
		if o.Name == q.Leader {
			q.LeaderAdmin = o.AdminAddr
		}
	}
	return q
}

// Reports returns the newest report of each OSD; empty unless this monitor leads.
func (m *Monitor) Reports() map[placement.OSDID]api.OSDStatus {
	if w := m.leading(); w != nil {
		return w.reports()
	}
	return map[placement.OSDID]api.OSDStatus{}
}

// Services returns the gateways heard of lately; empty unless this monitor leads.
func (m *Monitor) Services() []api.ServiceStatus {
	if w := m.leading(); w != nil {
		return w.list()
	}
	return nil
}

// PoolCreate makes a pool.
func (m *Monitor) PoolCreate(ctx context.Context, p api.PoolSpec) (placement.PoolID, error) {
	c := &fsm.PoolCreate{
		Name: p.Name, Size: p.Size, MinSize: p.MinSize, PGNum: p.PGNum, Rule: p.Rule, Application: p.Application, Autoscale: p.Autoscale,
		Chunks: p.Chunks, Dedup: p.Dedup, Cut: p.Cut, ChunkSize: p.ChunkSize, Compression: p.Compression,
	}
	c.FillSizes()
	if c.Autoscale == "" && c.PGNum != 0 {
		c.Autoscale = "off" // who names a number gets that number
	}
	res, err := m.submit(ctx, c)
	return res.Pool, err
}

// PoolSet changes a property of a pool, one of api.PoolSettingKeys.
func (m *Monitor) PoolSet(ctx context.Context, name, key, value string) error {
	_, err := m.submit(ctx, &fsm.PoolSet{Name: name, Key: key, Value: value})
	return err
}

// PoolRemove removes a pool and everything in it.
func (m *Monitor) PoolRemove(ctx context.Context, name string) error {
	_, err := m.submit(ctx, &fsm.PoolRemove{Name: name})
	return err
}

// OSDReweight sets an OSD's reweight: 0 is out, placement.WeightOne in.
func (m *Monitor) OSDReweight(ctx context.Context, id placement.OSDID, weight uint32) error {
	_, err := m.submit(ctx, &fsm.OSDReweight{ID: id, Weight: weight})
	return err
}

// OSDDown marks an OSD down. One that runs comes up again by itself.
func (m *Monitor) OSDDown(ctx context.Context, id placement.OSDID) error {
	_, err := m.submit(ctx, &fsm.OSDDown{OSDs: []fsm.Down{{ID: id, Reason: fsm.DownAdmin}}})
	return err
}

// FlagSet sets or clears cluster flags.
func (m *Monitor) FlagSet(ctx context.Context, f placement.Flags, on bool) error {
	_, err := m.submit(ctx, &fsm.FlagSet{Flags: f, On: on})
	return err
}

// ConfigSet sets a value of the central configuration; an empty one removes it.
func (m *Monitor) ConfigSet(ctx context.Context, key, value string) error {
	_, err := m.submit(ctx, &fsm.ConfigSet{Key: key, Value: value})
	return err
}

// Config returns the central configuration.
func (m *Monitor) Config() map[string]string {
	var out map[string]string
	m.machine.read(func(s *fsm.State) { out = s.Config() })
	return out
}

// OSDDrain begins or ends to empty OSDs.
func (m *Monitor) OSDDrain(ctx context.Context, ids []placement.OSDID, on bool) error {
	_, err := m.submit(ctx, &fsm.OSDDrain{OSDs: ids, On: on})
	return err
}

// OSDRemove takes an OSD that is down and empty out of the cluster.
func (m *Monitor) OSDRemove(ctx context.Context, id placement.OSDID) error {
	_, err := m.submit(ctx, &fsm.OSDRemove{ID: id})
	return err
}

// CrushOSD changes an OSD's class and weight in the CRUSH map; "" and nil leave them.
func (m *Monitor) CrushOSD(ctx context.Context, id placement.OSDID, class string, weight *uint32) error {
	_, err := m.submit(ctx, &fsm.CrushOSD{ID: id, Class: class, Weight: weight})
	return err
}

// CrushMove puts an OSD or a bucket elsewhere in the CRUSH map; the parts of the
// location are TYPE=NAME.
func (m *Monitor) CrushMove(ctx context.Context, name string, location []string) error {
	c := &fsm.CrushMove{Name: name}
	for _, p := range location {
		typ, at, _ := strings.Cut(p, "=")
		c.Location = append(c.Location, fsm.LocationPart{Type: typ, Name: at})
	}
	_, err := m.submit(ctx, c)
	return err
}

// PGForce makes an OSD lead a PG that nobody serves.
func (m *Monitor) PGForce(ctx context.Context, f api.Forced) error {
	id, err := placement.ParsePGID(f.PGID)
	if err != nil {
		return condition(api.ErrInvalid, "%v", err)
	}
	_, err = m.submit(ctx, &fsm.PGForce{
		PG: fsm.PGID(id), Term: placement.Term(f.Term), Version: placement.Epoch(f.Version),
		OSD: placement.OSDID(f.OSD), AcceptLoss: f.AcceptLoss, Stuck: f.Stuck,
	})
	return err
}

// Audit returns what administrators did, oldest first.
func (m *Monitor) Audit() []api.AuditEntry {
	var list []fsm.AuditEntry
	m.machine.read(func(s *fsm.State) { list = s.Audit() })
	out := make([]api.AuditEntry, len(list))
	for i, e := range list {
		out[i] = api.AuditEntry{
			Index: uint64(e.Index), Time: time.Unix(0, e.At).UTC().Format(time.RFC3339Nano), By: e.By, Command: e.Command,
			Outcome: "done", Reason: e.Text,
		}
		if e.Code != wirepb.Code_OK {
			out[i].Outcome = strings.ToLower(e.Code.String())
		}
	}
	return out
}

// MonRemove takes a monitor out of the cluster; if it runs, it ends with ErrRemoved.
func (m *Monitor) MonRemove(ctx context.Context, name string) error {
	_, err := m.submit(ctx, &fsm.MonLeave{Name: name})
	return err
}

// UserCreate makes a user, and keys when u has none. It returns the whole user.
func (m *Monitor) UserCreate(ctx context.Context, u *wirepb.User) (*wirepb.User, error) {
	if u == nil {
		return nil, condition(api.ErrInvalid, "no user is given")
	}
	n := fsm.User{Name: u.GetName(), DisplayName: u.GetDisplayName(), Suspended: u.GetSuspended(), Email: u.GetEmail(), Admin: u.GetAdmin()}
	n.ID = iam.NewID("AIDA")
	for _, k := range u.GetKeys() {
		n.Keys = append(n.Keys, fsm.AccessKey{AccessKey: k.GetAccessKey(), SecretKey: k.GetSecretKey()})
	}
	if len(n.Keys) == 0 {
		n.Keys = []fsm.AccessKey{iam.NewKey()}
	}
	if _, err := m.submit(ctx, &fsm.UserCreate{User: n}); err != nil {
		return nil, err
	}
	return iam.UserMessage(&n), nil
}

// UserGet returns a user with its keys.
func (m *Monitor) UserGet(_ context.Context, name string) (*wirepb.User, error) {
	var u *wirepb.User
	m.machine.read(func(s *fsm.State) {
		if !strings.Contains(name, "/") {
			u = iam.UserMessage(s.User(name))
		}
	})
	if u == nil {
		return nil, condition(api.ErrNotFound, "user %q does not exist; see `cairn user ls`", name)
	}
	return u, nil
}

// UserList returns all users who are accounts, by name.
func (m *Monitor) UserList(context.Context) ([]*wirepb.User, error) {
	var out []*wirepb.User
	m.machine.read(func(s *fsm.State) {
		for _, u := range s.Users() {
			if u.Account == "" {
				out = append(out, iam.UserMessage(u))
			}
		}
	})
	return out, nil
}

// UserRemove removes a user and its keys.
func (m *Monitor) UserRemove(ctx context.Context, name string) error {
	_, err := m.submit(ctx, &fsm.UserRemove{Name: name})
	return err
}

// Leader returns the name of the leading monitor, "" if there is none known.
func (m *Monitor) Leader() string {
	_, name, _ := m.leadState()
	return name
}

// WaitLeader waits until this monitor knows a leader and returns its name.
func (m *Monitor) WaitLeader(ctx context.Context) (string, error) {
	for {
		_, name, news := m.leadState()
		// A leader that has not begun its work yet would pass requests on to itself.
		if name != "" && (name != m.o.Name || m.leading() != nil) && slices.ContainsFunc(m.monitors(), func(o placement.Mon) bool { return o.Name == name }) {
			return name, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-m.ctx.Done():
			return "", context.Cause(m.ctx)
		}
	}
}
