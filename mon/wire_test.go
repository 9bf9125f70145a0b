package mon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

func wantCode(t *testing.T, err error, code wirepb.Code, part string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Text, part) {
		t.Fatalf("got %v, want %v with %q", err, code, part)
	}
}

func (cl *client) ack(h *wirepb.Header) {
	cl.t.Helper()
	if _, err := cl.call(h); err != nil {
		cl.t.Fatalf("%T: %v", h.Body, err)
	}
}

func (cl *client) getMap(have, want placement.Epoch) (*wirepb.MapUpdate, []byte, error) {
	reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{Have: uint64(have), Want: uint64(want)}}})
	if err != nil {
		return nil, nil, err
	}
	return reply.Header.GetMapUpdate(), reply.Payload, nil
}

func TestOSDsOverTheWire(t *testing.T) {
	c := startCluster(t, 3, nil)
	f, lead := c.follower(), c.leader()
	cl := dial(t, f.mon.Addr, "osd.0")
	cl.subscribe(0)
	osds := cl.osds(3)
	again := cl.register(1)
	if again.id != osds[0].id {
		t.Fatalf("a store got a second id: %v and %v", osds[0].id, again.id)
	}
	m := cl.waitMap("three OSDs", func(m *placement.Map) bool { return len(m.OSDs) == 3 && m.IsUp(2) })
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}

	// Refused boots.
	replaced := *osds[1]
	replaced.store = placement.UUID{1, 2, 3}
	_, err := cl.boot(&replaced)
	wantCode(t, err, wirepb.Code_NOT_PERMITTED, "is a new OSD")
	older := *osds[1]
	older.inc = 0
	_, err = cl.bootAgain(&older)
	wantCode(t, err, wirepb.Code_INVALID, "incarnation")
	_, err = cl.bootAgain(&testOSD{id: 7, inc: 1})
	wantCode(t, err, wirepb.Code_NOT_FOUND, "not registered")
	_, err = cl.call(&wirepb.Header{Body: &wirepb.Header_OsdBoot{OsdBoot: &wirepb.OSDBoot{Store: []byte("short")}}})
	wantCode(t, err, wirepb.Code_INVALID, "5 bytes")
	e1, err := cl.bootAgain(osds[1])
	if err != nil || e1 > f.Map().Epoch {
		t.Fatalf("a repeated boot: epoch %d, %v", e1, err)
	}

	// Down by refusal, by a clean stop, and up again.
	cl.ack(&wirepb.Header{Body: &wirepb.Header_OsdFailure{OsdFailure: &wirepb.OSDFailure{Reporter: 0, Target: 1, TargetIncarnation: osds[1].inc, Refused: true}}})
	cl.waitMap("osd.1 down", func(m *placement.Map) bool { return !m.IsUp(1) })
	cl.ack(&wirepb.Header{Body: &wirepb.Header_OsdStopping{OsdStopping: &wirepb.OSDStopping{Id: 2, Incarnation: osds[2].inc}}})
	if f.Map().IsUp(2) {
		t.Fatal("osd.2 is still up after its stop was acknowledged")
	}
	e, err := cl.boot(osds[1])
	if err != nil || f.Map().Epoch < e || !f.Map().IsUp(1) {
		t.Fatalf("boot: epoch %d, %v; map epoch %d", e, err, f.Map().Epoch)
	}

	// Reports pass through to the leader, one-way too.
	err = cl.Send(&wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdReport{OsdReport: &wirepb.OSDReport{Id: 1, Incarnation: osds[1].inc, Objects: 42}}}})
	if err != nil {
		t.Fatal(err)
	}
	c.poll("the report at the leader", func() bool { s, ok := lead.Reports()[1]; return ok && s.Report.Objects == 42 })
	if n := len(f.Reports()); n != 0 {
		t.Fatalf("a follower has %d reports", n)
	}

	// What nobody should send.
	_, err = cl.call(&wirepb.Header{Body: &wirepb.Header_Heartbeat{Heartbeat: &wirepb.Heartbeat{}}})
	wantCode(t, err, wirepb.Code_UNSUPPORTED, "does not know")
	_, err = cl.call(&wirepb.Header{Body: &wirepb.Header_MonPropose{MonPropose: &wirepb.MonPropose{}}})
	wantCode(t, err, wirepb.Code_NOT_PERMITTED, "not a monitor")
	mon := dial(t, f.mon.Addr, "mon.x")
	_, err = mon.call(&wirepb.Header{Body: &wirepb.Header_OsdStopping{OsdStopping: &wirepb.OSDStopping{}}})
	wantCode(t, err, wirepb.Code_TRY_LATER, "does not lead") // one hop and no more
	mon = dial(t, lead.mon.Addr, "mon.x")
	_, err = mon.call(&wirepb.Header{Body: &wirepb.Header_MonPropose{MonPropose: &wirepb.MonPropose{Command: []byte(`{"v":99,"k":"x","b":{}}`)}}})
	wantCode(t, err, wirepb.Code_UNSUPPORTED, "newer version")
	_, err = mon.call(&wirepb.Header{Body: &wirepb.Header_MonPropose{MonPropose: &wirepb.MonPropose{Command: []byte(`?`)}}})
	wantCode(t, err, wirepb.Code_INVALID, "not a monitor command")
}

func TestSilentOSDGoesDownAndOut(t *testing.T) {
	c := startCluster(t, 1, func(o *Options) {
		o.ReportTimeout, o.OutAfter = 300*time.Millisecond, 300*time.Millisecond
	})
	cl := dial(t, c.mons["a"].mon.Addr, "osd.0")
	cl.subscribe(0)
	o := cl.osds(1)[0]
	cl.waitMap("osd.0 up", func(m *placement.Map) bool { return m.IsUp(0) })
	cl.waitMap("osd.0 down and out", func(m *placement.Map) bool { return !m.OSD(0).Up && !m.OSD(0).In() && m.OSD(0).AutoOut })
	if _, err := cl.boot(o); err != nil {
		t.Fatal(err)
	}
	cl.waitMap("osd.0 in again", func(m *placement.Map) bool { return m.OSD(0).In() })
}

func TestGetMap(t *testing.T) {
	c := startCluster(t, 1, func(o *Options) { o.HistoryMax = 4 })
	a := c.mons["a"]
	cl := dial(t, a.mon.Addr, "client.x")
	flip := func() placement.Epoch {
		t.Helper()
		on := a.Map().Flags == 0
		if err := a.FlagSet(c.ctx(), placement.FlagNoOut, on); err != nil {
			t.Fatal(err)
		}
		return a.Map().Epoch
	}
	e0 := a.Map().Epoch
	e1 := flip()
	u, _, err := cl.getMap(e0, 0)
	if err != nil || u.Full || placement.Epoch(u.From) != e0 || placement.Epoch(u.To) != e1 {
		t.Fatalf("a delta: %+v, %v", u, err)
	}
	u, payload, err := cl.getMap(e1, 0)
	if err != nil || u.From != u.To || len(payload) != 0 {
		t.Fatalf("nothing new: %+v with %d bytes, %v", u, len(payload), err)
	}
	u, _, err = cl.getMap(e1+100, 0)
	if err != nil || u.From != u.To || u.Full {
		t.Fatalf("ahead of the monitor: %+v, %v", u, err)
	}
	for range 6 {
		flip()
	}
	u, payload, err = cl.getMap(e0, 0)
	if err != nil || !u.Full {
		t.Fatalf("further behind than the history: %+v, %v", u, err)
	}
	if m, err := placement.DecodeMap(payload); err != nil || m.Epoch != a.Map().Epoch {
		t.Fatalf("whole map: %v, %v", m, err)
	}
	// An epoch that is still to come.
	got := make(chan error, 1)
	want := a.Map().Epoch + 1
	go func() {
		u, _, err := cl.getMap(0, want)
		if err == nil && placement.Epoch(u.To) < want {
			err = errors.New("answered too early")
		}
		got <- err
	}()
	flip()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

// A subscriber that does not read for a while gets everything it missed.
func TestSlowSubscriber(t *testing.T) {
	c := startCluster(t, 1, nil)
	a := c.mons["a"]
	block := make(chan struct{})
	slow := &slowHandler{client: &client{t: t, changed: make(chan struct{})}, block: block}
	conn, err := wire.Dial(c.ctx(), a.mon.Addr, wire.Options{Self: wire.Identity{Entity: "client.slow"}, Handler: slow, Log: testLog(t, "slow")})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	slow.Conn = conn
	slow.subscribe(0)
	fast := dial(t, a.mon.Addr, "client.fast")
	fast.subscribe(0)
	for i := range 40 {
		if err := a.FlagSet(c.ctx(), placement.FlagPause, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	last := a.Map().Epoch
	fast.waitMap("the last epoch", func(m *placement.Map) bool { return m.Epoch == last })
	close(block)
	slow.waitMap("the last epoch", func(m *placement.Map) bool { return m.Epoch == last })
}

type slowHandler struct {
	*client
	block chan struct{}
}

func (h *slowHandler) Handle(c *wire.Conn, m *wire.Message) {
	<-h.block
	h.client.Handle(c, m)
}

func TestUsersAndServices(t *testing.T) {
	c := startCluster(t, 3, func(o *Options) { o.ServiceTimeout = 400 * time.Millisecond })
	f, lead := c.follower(), c.leader()
	u, err := f.UserCreate(c.ctx(), &wirepb.User{Name: "ann", DisplayName: "Ann"})
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Keys) != 1 || len(u.Keys[0].AccessKey) != 20 || len(u.Keys[0].SecretKey) != 40 {
		t.Fatalf("keys: %+v", u.Keys)
	}
	_, err = lead.UserCreate(c.ctx(), &wirepb.User{Name: "ann"})
	wantErr(t, err, api.ErrExists)
	_, err = lead.UserCreate(c.ctx(), nil)
	wantErr(t, err, api.ErrInvalid)
	// Everywhere at once, even where the change has not arrived.
	for _, n := range c.mons {
		cl := dial(t, n.mon.Addr, "client.gw")
		reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: &wirepb.UserGet{AccessKey: u.Keys[0].AccessKey}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := reply.Header.GetUser(); got.GetName() != "ann" || got.GetKeys()[0].GetSecretKey() != u.Keys[0].SecretKey {
			t.Fatalf("user: %+v", got)
		}
		_, err = cl.call(&wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: &wirepb.UserGet{AccessKey: "nobody"}}})
		wantCode(t, err, wirepb.Code_NOT_FOUND, "nobody")
		reply, err = cl.call(&wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: &wirepb.UserGet{Name: "ann"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := reply.Header.GetUser(); got.GetDisplayName() != "Ann" || len(got.GetKeys()) != 0 {
			t.Fatalf("user by name: %+v", got)
		}
		_, err = cl.call(&wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: &wirepb.UserGet{Name: "nobody"}}})
		wantCode(t, err, wirepb.Code_NOT_FOUND, "named \"nobody\"")
	}
	// Identities: a follower passes calls on to the leader, which has what it has just changed.
	cl := dial(t, f.mon.Addr, "client.s3.2")
	call := func(action string, params ...string) *wirepb.IdentityReply {
		t.Helper()
		q := &wirepb.IdentityCall{Account: "ann", Action: action, By: "arn:aws:iam::ann:root"}
		for i := 0; i < len(params); i += 2 {
			q.Params = append(q.Params, &wirepb.IdentityTag{Key: params[i], Value: params[i+1]})
		}
		reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_IdentityCall{IdentityCall: q}})
		if err != nil {
			t.Fatal(err)
		}
		return reply.Header.GetIdentityReply()
	}
	bob := call("CreateUser", "UserName", "bob").GetItems()
	key := call("CreateAccessKey", "UserName", "bob").GetItems()
	if len(bob) != 1 || len(key) != 1 || key[0].GetSecret() == "" {
		t.Fatalf("made %v, %v", bob, key)
	}
	call("AttachUserPolicy", "UserName", "bob", "PolicyArn", "arn:aws:iam::aws:policy/AmazonS3FullAccess")
	if no := call("CreateUser", "UserName", "bob"); no.GetCode() != wirepb.Code_EXISTS || no.GetText() == "" {
		t.Fatalf("made twice: %v", no)
	}
	for what, get := range map[string]*wirepb.UserGet{"key": {AccessKey: key[0].GetName()}, "id": {Id: bob[0].GetId(), IdKey: key[0].GetName()}} {
		reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: get}})
		if err != nil {
			t.Fatal(err)
		}
		if got := reply.Header.GetUser(); got.GetName() != "bob" || got.GetAccount() != "ann" || len(got.GetKeys()) != 1 || len(got.GetPolicies()) != 1 {
			t.Fatalf("by %s: %+v", what, got)
		}
	}
	var sealing [2][]byte
	for i := range sealing { // made when they are first asked for, and then the same for all
		reply, err := dial(t, []string{f.mon.Addr, lead.mon.Addr}[i], "client.s3.3").call(&wirepb.Header{Body: &wirepb.Header_TokenKeysGet{TokenKeysGet: &wirepb.TokenKeysGet{}}})
		if err != nil {
			t.Fatal(err)
		}
		keys := reply.Header.GetTokenKeys().GetKeys()
		if len(keys) != 1 || len(keys[0].GetKey()) != 32 {
			t.Fatalf("keys of tokens: %v", keys)
		}
		sealing[i] = keys[0].GetKey()
	}
	if !bytes.Equal(sealing[0], sealing[1]) {
		t.Fatal("two monitors have different keys of tokens")
	}
	call("DeleteUser", "UserName", "bob", "Force", "true")
	if a := f.Audit(); len(a) == 0 || a[len(a)-1].By != "arn:aws:iam::ann:root" || a[len(a)-1].Command != "user rm ann/bob" {
		t.Fatalf("audit: %+v", a)
	}

	if l, err := f.UserList(c.ctx()); err != nil || len(l) != 1 {
		t.Fatalf("users: %v, %v", l, err)
	}
	if got, err := f.UserGet(c.ctx(), "ann"); err != nil || got.DisplayName != "Ann" {
		t.Fatalf("%v, %v", got, err)
	}
	if err := f.UserRemove(c.ctx(), "ann"); err != nil {
		t.Fatal(err)
	}
	_, err = f.UserGet(c.ctx(), "ann")
	wantErr(t, err, api.ErrNotFound)
	wantErr(t, f.UserRemove(c.ctx(), "ann"), api.ErrNotFound)

	gw := dial(t, f.mon.Addr, "client.s3.1")
	beacon := &wirepb.ServiceBeacon{Kind: "s3", Name: "1", Addr: "h:80"}
	gw.ack(&wirepb.Header{Body: &wirepb.Header_ServiceBeacon{ServiceBeacon: beacon}})
	if s := f.Map().Services; len(s) != 1 || s[0].Addr != "h:80" {
		t.Fatalf("services in the map: %+v", s)
	}
	if s := lead.Services(); len(s) != 1 || s[0].Name != "1" {
		t.Fatalf("services: %+v", s)
	}
	c.poll("the service to be gone", func() bool { return len(f.Map().Services) == 0 })
	_, err = gw.call(&wirepb.Header{Body: &wirepb.Header_ServiceBeacon{ServiceBeacon: &wirepb.ServiceBeacon{Kind: "s3", Name: "a b"}}})
	wantCode(t, err, wirepb.Code_INVALID, "not allowed")
	_, err = gw.call(&wirepb.Header{Body: &wirepb.Header_ServiceBeacon{ServiceBeacon: &wirepb.ServiceBeacon{Kind: strings.Repeat("x", 1000)}}})
	wantCode(t, err, wirepb.Code_INVALID, "too long")
}

func TestAdminErrors(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	for _, n := range []*node{f, c.leader()} {
		wantErr(t, n.PoolRemove(c.ctx(), "x"), api.ErrNotFound)
		wantErr(t, n.PoolSet(c.ctx(), "x", "size", "1"), api.ErrNotFound)
		wantErr(t, n.OSDDown(c.ctx(), 3), api.ErrNotFound)
		wantErr(t, n.OSDReweight(c.ctx(), 3, 0), api.ErrNotFound)
		wantErr(t, n.FlagSet(c.ctx(), 0, true), api.ErrInvalid)
		wantErr(t, n.ConfigSet(c.ctx(), "x", "y"), api.ErrInvalid)
		wantErr(t, n.MonRemove(c.ctx(), "x"), api.ErrNotFound)
		_, err := n.PoolCreate(c.ctx(), api.PoolSpec{Name: "p"})
		wantErr(t, err, api.ErrConflict)
		_, err = n.PoolCreate(c.ctx(), api.PoolSpec{Name: strings.Repeat("x", 2<<20)})
		wantErr(t, err, api.ErrInvalid)
	}
	if err := f.ConfigSet(c.ctx(), "osd_flap_limit", "3"); err != nil || f.Config()["osd_flap_limit"] != "3" {
		t.Fatalf("%v, %v", err, f.Config())
	}
	q := f.Quorum()
	if q.Leader != c.leader().mon.Name || q.Term == 0 || len(q.Members) != 3 || q.LeaderSince.IsZero() {
		t.Fatalf("quorum: %+v", q)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	c.stop(c.leader().mon.Name)
	wantErr(t, f.FlagSet(canceled, placement.FlagPause, true), api.ErrNoQuorum)
}

// The log is cut by snapshots; a monitor that restarts, or comes late, gets one.
func TestSnapshots(t *testing.T) {
	c := startCluster(t, 3, func(o *Options) { o.SnapshotEvery = 8 })
	f := c.follower()
	c.stop(f.mon.Name)
	delete(c.mons, f.mon.Name)
	lead := c.leader()
	cl := dial(t, lead.mon.Addr, "osd.0")
	cl.osds(3)
	if _, err := lead.PoolCreate(c.ctx(), api.PoolSpec{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	if _, err := lead.UserCreate(c.ctx(), &wirepb.User{Name: "ann"}); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := lead.FlagSet(c.ctx(), placement.FlagNoOut, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.mons {
		if err := n.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	c.mons[f.mon.Name] = f
	f = c.restart(f.mon.Name)
	if err := f.WaitEpoch(c.ctx(), lead.Map().Epoch); err != nil {
		t.Fatal(err)
	}
	if f.Map().Epoch == lead.Map().Epoch && f.Map().Checksum() != lead.Map().Checksum() {
		t.Fatal("another map after a snapshot")
	}
	if _, err := f.UserGet(c.ctx(), "ann"); err != nil {
		t.Fatal(err)
	}
	name := c.leader().mon.Name
	c.stop(name)
	n := c.restart(name)
	if n.Map().PoolByName("p") == nil {
		t.Fatal("the snapshot was not restored at the start")
	}
	if err := n.FlagSet(c.ctx(), placement.FlagPause, true); err != nil {
		t.Fatal(err)
	}
}

// A command of a newer version in the log stops the monitor, and the log keeps
// it for the program that understands it.
func TestUnknownCommandStops(t *testing.T) {
	c := startCluster(t, 1, nil)
	a := c.mons["a"]
	if err := a.raft.Apply([]byte(`{"v":2,"k":"from-the-future","t":1,"b":{}}`), time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Done():
	case <-time.After(patience):
		t.Fatal("the monitor goes on")
	}
	wantErr(t, a.Err(), fsm.ErrUnknownCommand)
	wantText(t, a.Err(), "upgrade this monitor", "from-the-future")
	if _, err := a.machine.Snapshot(); !errors.Is(err, errHalted) {
		t.Fatalf("snapshot of a halted monitor: %v", err)
	}
	// It does not get past it by being restarted, either.
	o := c.options("a", a.dir)
	o.Addr, o.RaftAddr = a.mon.Addr, a.mon.RaftAddr
	n := c.start(o)
	select {
	case <-n.Done():
		wantErr(t, n.Err(), fsm.ErrUnknownCommand)
	case <-time.After(patience):
		t.Fatal("the restarted monitor goes on")
	}
}

// Two clusters whose monitors get each other's addresses stay apart.
func TestForeignMonitor(t *testing.T) {
	c1, c2 := startCluster(t, 1, nil), startCluster(t, 1, nil)
	a1, a2 := c1.mons["a"], c2.mons["a"]
	_, err := a1.stream.Dial(a1.trans.LocalAddr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := a1.stream.Dial(a2.trans.LocalAddr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("a monitor of another cluster is not cut off: %v", err)
	}
	o := c2.options("b", t.TempDir())
	o.Addr, o.RaftAddr, o.Join, o.Cluster = "127.0.0.1:0", "127.0.0.1:0", []string{a1.mon.Addr}, a2.Map().Cluster
	b := c2.start(o)
	select {
	case <-b.Done():
		wantErr(t, b.Err(), api.ErrInvalid)
		wantText(t, b.Err(), "it shall be in")
	case <-time.After(patience):
		t.Fatal("it joins the wrong cluster")
	}
}

func TestJoinRefused(t *testing.T) {
	c := startCluster(t, 1, nil)
	o := c.options("a", t.TempDir()) // the leader's name
	o.Addr, o.RaftAddr, o.Join = "127.0.0.1:0", "127.0.0.1:0", []string{c.mons["a"].mon.Addr}
	n := c.start(o)
	select {
	case <-n.Done():
		wantErr(t, n.Err(), api.ErrInvalid)
		wantText(t, n.Err(), "choose another name")
	case <-time.After(patience):
		t.Fatal("it joins under the leader's name")
	}
}

// A monitor without a cluster says so.
func TestLobby(t *testing.T) {
	c := &cluster{t: t, mons: make(map[string]*node), tune: func(o *Options) { o.ProposeTimeout = 300 * time.Millisecond }}
	o := c.options("a", t.TempDir())
	o.Addr, o.RaftAddr = "127.0.0.1:0", "127.0.0.1:0"
	o.Initial = []placement.Mon{{Name: "a", Addr: o.Addr, RaftAddr: o.RaftAddr}, {Name: "b", Addr: "127.0.0.1:1", RaftAddr: "127.0.0.1:2"}}
	n := c.start(o)
	cl := dial(t, n.mon.Addr, "client.x")
	_, _, err := cl.getMap(0, 0)
	wantCode(t, err, wirepb.Code_TRY_LATER, "does not belong to a cluster yet")
	if n.Map() == nil || n.Map().Epoch != 0 {
		t.Fatalf("map: %+v", n.Map())
	}
	wantErr(t, n.FlagSet(c.ctx(), placement.FlagPause, true), api.ErrNoQuorum)
	if q := n.Quorum(); q.Leader != "" || len(q.Members) != 2 {
		t.Fatalf("quorum: %+v", q)
	}
}

func TestIdentityIsWritten(t *testing.T) {
	c := startCluster(t, 1, nil)
	path := filepath.Join(c.mons["a"].dir, identityFile)
	c.poll("the identity on disk", func() bool {
		b, err := os.ReadFile(path)
		var id identity
		return err == nil && json.Unmarshal(b, &id) == nil && id.Joined && len(id.Mons) == 1 && id.Format == dirFormat
	})
}
