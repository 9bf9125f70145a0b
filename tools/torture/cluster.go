package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/tools/torture/lab"
)

// Options configures Start. Zero values of the optional fields mean the defaults.
type Options struct {
	Binary  string // required: the cairn program, see Build
	Dir     string // required: data and logs of all processes go below it
	Mons    int    // 1 or 3; default 1
	OSDs    int    // default 3, each on a CRUSH host of its own
	Journal string // of each OSD; default 32MiB
	// Capacity of each OSD; default 4GiB. What is allocated ahead grows with it.
	Capacity string
	OSDArgs  []string // more flags for every OSD
	Gateway  bool     // start an S3 gateway, with a pool and a user
	Gateways int      // how many; default 1 with Gateway
	// FlapLimit is how often an OSD may fail before it has to wait; default 0: it never
	// waits, so that it can be killed again and again.
	FlapLimit int
	// Hosts gives every daemon a host of its own (package lab), and so a network
	// with faults. Where that cannot be, Start fails with lab.ErrUnsupported.
	Hosts bool
	// Config is more central configuration, KEY=VALUE each.
	Config []string
	// DiskBytes is the size of each OSD's own file system, with Hosts; 0: none. Then
	// Capacity is that of the file system, unless it is set.
	DiskBytes int64
	Stdlog    *slog.Logger
}

// Cluster is a cluster of real processes, on loopback or each on a host of its
// own. Addresses and directories stay the same when processes are killed and
// started again.
type Cluster struct {
	Mons, OSDs []*Proc
	S3         *Proc    // nil without a gateway
	S3Addr     string   // of the gateway
	S3s        []*Proc  // all gateways; S3 is the first
	S3Addrs    []string // of S3s
	AccessKey  string   // of the S3 user
	SecretKey  string
	API        *api.Client
	Addrs      []string // messenger addresses of the monitors
	AdminAddrs []string
	OSDAddrs   []string
	Lab        *lab.Lab // nil on loopback

	o    Options
	l    *launcher  // of commands; without hosts of everything
	home *lab.Host  // where the harness and its commands are; nil on loopback
	mu   sync.Mutex // guards below
	bad  []string   // surprises: processes that ended by themselves
	c    *client.Client

	sick      chan struct{} // closed with the first surprise
	fullUntil time.Time     // until then OSDs may stop for lack of room, and are started again
	stopped   int           // how many did
	closing   chan struct{} // closed by Close
	wg        sync.WaitGroup
}

// Names of what Start makes for the gateway.
const (
	s3Pool = "s3"
	s3User = "torture"
)

// DiskBytes is a good size for Options.DiskBytes: much larger than what the
// clients of a run keep.
const DiskBytes = 1 << 30

// poll is how often a wait looks again.
const poll = 25 * time.Millisecond

// Build compiles the cairn program into a directory and returns its name.
func Build(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "cairn")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/cairnstore/cairn/cmd/cairn")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the cairn program: %w: %s", err, out)
	}
	return bin, nil
}

// Start starts a new cluster and waits until it serves.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Mons == 0 {
		o.Mons = 1
	}
	if o.OSDs == 0 {
		o.OSDs = 3
	}
	if o.Journal == "" {
		o.Journal = "32MiB"
	}
	if o.Capacity == "" {
		o.Capacity = "4GiB"
		if o.Hosts && o.DiskBytes > 0 {
			o.Capacity = "0"
		}
	}
	if o.Gateway && o.Gateways == 0 {
		o.Gateways = 1
	}
	if o.Stdlog == nil {
		o.Stdlog = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Binary == "" || o.Dir == "" || o.Mons != 1 && o.Mons != 3 || o.OSDs < 1 || o.OSDs > 16 {
		return nil, fmt.Errorf("cluster of processes: want a program, a directory, 1 or 3 monitors (not %d) and 1 to 16 OSDs (not %d)", o.Mons, o.OSDs)
	}
	c := &Cluster{o: o, sick: make(chan struct{}), closing: make(chan struct{})}
	if o.Hosts {
		var err error
		if c.Lab, err = lab.New(rand.Uint64()); err != nil {
			return nil, err
		}
		if c.home, err = c.Lab.Host("harness"); err != nil {
			return nil, errors.Join(err, c.Lab.Close())
		}
		c.l = &launcher{host: c.home}
	} else {
		c.l = newLauncher()
	}
	if err := c.plan(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.boot(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, c.Tails(30)), c.Close())
	}
	return c, nil
}

// plan names all processes and chooses their addresses.
func (c *Cluster) plan() error {
	if err := os.MkdirAll(filepath.Join(c.o.Dir, "logs"), 0o755); err != nil {
		return fmt.Errorf("cluster of processes: %w", err)
	}
	take, err := c.addresses()
	if err != nil {
		return err
	}
	type mon struct {
		name, addr, raft, admin string
		host                    *lab.Host
	}
	var mons []mon
	var initial []string
	for i := range c.o.Mons {
		name := string(rune('a' + i))
		h, err := c.newHost("mon." + name)
		if err != nil {
			return err
		}
		m := mon{name, take(h, 7400), take(h, 7401), take(h, 7480), h}
		mons = append(mons, m)
		initial = append(initial, fmt.Sprintf("%s=%s/%s/%s", m.name, m.addr, m.raft, m.admin))
		c.Addrs, c.AdminAddrs = append(c.Addrs, m.addr), append(c.AdminAddrs, m.admin)
	}
	for _, m := range mons {
		c.Mons = append(c.Mons, c.ProcOn(m.host, "mon."+m.name, "mon", "--name", m.name, "--data", filepath.Join(c.o.Dir, "mon."+m.name),
			"--addr", m.addr, "--raft-addr", m.raft, "--admin-addr", m.admin, "--initial", strings.Join(initial, ","), "--config", strings.Join(append([]string{"osd_flap_limit=" + strconv.Itoa(c.o.FlapLimit)}, c.o.Config...), ",")))
	}
	for i := range c.o.OSDs {
		name := "osd" + strconv.Itoa(i)
		h, err := c.newHost(name)
		if err != nil {
			return err
		}
		c.OSDAddrs = append(c.OSDAddrs, take(h, 7410))
		c.OSDs = append(c.OSDs, c.ProcOn(h, name, append([]string{"osd", "--data", c.OSDDir(i), "--host", "host" + strconv.Itoa(i),
			"--mons", strings.Join(c.Addrs, ","), "--listen", c.OSDAddrs[i], "--journal", c.o.Journal, "--capacity", c.o.Capacity}, c.o.OSDArgs...)...))
		if h != nil && c.o.DiskBytes > 0 {
			if c.OSDs[i].Disk, err = h.Mount(filepath.Dir(c.OSDDir(i)), filepath.Join(c.o.Dir, name+".img"), c.o.DiskBytes); err != nil {
				return err
			}
		}
	}
	h, err := c.newHost("s3")
	if err != nil {
		return err
	}
	c.S3Addr = take(h, 7490)
	for i := range c.o.Gateways {
		name, addr := "s3", c.S3Addr
		if i > 0 {
			name += "-" + strconv.Itoa(i)
			if h, err = c.newHost(name); err != nil {
				return err
			}
			addr = take(h, 7490)
		}
		c.S3s = append(c.S3s, c.ProcOn(h, name, "gateway", "s3", "--name", name, "--mons", strings.Join(c.Addrs, ","), "--listen", addr, "--pool", s3Pool))
		c.S3, c.S3Addrs = c.S3s[0], append(c.S3Addrs, addr)
	}
	c.API, err = c.newAPI(c.AdminAddrs, 10*time.Second)
	return err
}

// newAPI makes a client of the REST interface of some monitors.
func (c *Cluster) newAPI(addrs []string, patience time.Duration) (*api.Client, error) {
	o := api.ClientOptions{Addrs: addrs, Timeout: patience}
	if c.home != nil {
		o.HTTP = &http.Client{Transport: &http.Transport{DialContext: c.home.Dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}}
	}
	return api.NewClient(o)
}

// addresses returns a function that hands out addresses for daemons: on a host of
// their own with the usual port, else on loopback.
func (c *Cluster) addresses() (take func(h *lab.Host, port int) string, err error) {
	if c.Lab != nil {
		return func(h *lab.Host, port int) string { return net.JoinHostPort(h.Addr, strconv.Itoa(port)) }, nil
	}
	addrs, err := FreeAddrs(3*c.o.Mons + c.o.OSDs + max(1, c.o.Gateways))
	return func(*lab.Host, int) string { a := addrs[0]; addrs = addrs[1:]; return a }, err
}

// newHost makes a host; nil on loopback.
func (c *Cluster) newHost(name string) (*lab.Host, error) {
	if c.Lab == nil {
		return nil, nil
	}
	return c.Lab.Host(name)
}

// Proc describes one more process of the program, next to the harness; it is not
// started.
func (c *Cluster) Proc(name string, args ...string) *Proc { return c.ProcOn(c.home, name, args...) }

// ProcOn describes one more process of the program on a host.
func (c *Cluster) ProcOn(h *lab.Host, name string, args ...string) *Proc {
	l := c.l
	if h != nil {
		l = &launcher{host: h}
	}
	return &Proc{
		Name: name, Args: args, Log: filepath.Join(c.o.Dir, "logs", name+".log"), Host: h,
		binary: c.o.Binary, env: c.env(), l: l, died: c.died,
	}
}

func (c *Cluster) env() []string {
	return []string{"CAIRN_ADMIN=" + strings.Join(c.AdminAddrs, ",")}
}

// OSDDir returns the data directory of an OSD. If it is on a disk of its own, only
// its host sees what is there.
func (c *Cluster) OSDDir(i int) string {
	dir := filepath.Join(c.o.Dir, "osd"+strconv.Itoa(i))
	if c.o.Hosts && c.o.DiskBytes > 0 {
		return filepath.Join(dir, "store")
	}
	return dir
}

func (c *Cluster) died(p *Proc, how string) {
	tail := p.Tail(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.fullUntil) && strings.Contains(tail, noRoom) {
		c.stopped++
		c.wg.Go(func() { // until Close; a supervisor tries again after a while
			select {
			case <-c.closing:
			case <-time.After(time.Second):
				if err := p.revive(); err != nil {
					c.died(p, err.Error())
				}
			}
		})
		return
	}
	if len(c.bad) == 0 {
		close(c.sick)
	}
	c.bad = append(c.bad, fmt.Sprintf("%s ended by itself %s:\n%s", p.Name, how, p.Tail(10)))
}

// noRoom is part of what an OSD says that stops because nothing can be written: in the store's
// words or, if the index has met it, in the kernel's.
const noRoom = "no space left on "

// Full says that disks have no room from now on for d: OSDs may stop for that, and are
// started again as a supervisor would.
func (c *Cluster) Full(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fullUntil = time.Now().Add(d)
}

// StoppedFull returns how many OSDs stopped since their disks had no room.
func (c *Cluster) StoppedFull() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// FreeAddrs returns loopback addresses that nobody listens on. They are not in
// the range from which the kernel takes ports for outgoing connections: there a
// connection, even one to that very port, could take the port of a process that
// is just being started again.
func FreeAddrs(n int) ([]string, error) {
	const first, last = 10000, 32000
	var addrs []string
	var open []net.Listener
	defer func() {
		for _, ln := range open {
			ln.Close()
		}
	}()
	for range 100 * n {
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first+rand.IntN(last-first)))
		if err != nil {
			continue // taken
		}
		open = append(open, ln)
		if addrs = append(addrs, ln.Addr().String()); len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("found no %d free ports between %d and %d on 127.0.0.1", n, first, last)
}

func (c *Cluster) boot(ctx context.Context) error {
	for _, m := range c.Mons {
		if err := m.Start(); err != nil {
			return err
		}
	}
	if _, err := c.WaitLeader(ctx); err != nil {
		return err
	}
	for _, p := range c.OSDs {
		if err := p.Start(); err != nil {
			return err
		}
	}
	if err := c.WaitOSDs(ctx, len(c.OSDs)); err != nil {
		return err
	}
	if len(c.S3s) == 0 {
		return nil
	}
	if _, err := c.API.PoolCreate(ctx, api.PoolCreate{Name: s3Pool, Size: uint32(min(3, len(c.OSDs))), Application: "s3"}); err != nil {
		return err
	}
	u, err := c.API.UserCreate(ctx, api.UserCreate{Name: s3User})
	if err != nil {
		return err
	}
	c.AccessKey, c.SecretKey = u.Keys[0].AccessKey, u.Keys[0].SecretKey
	for i, p := range c.S3s {
		if err := p.Start(); err != nil {
			return err
		}
		if err := c.WaitPort(ctx, p, c.S3Addrs[i]); err != nil {
			return err
		}
	}
	return nil
}

// until calls ok again and again until it returns nil, and says at the deadline
// what it returned last. It gives up early when a process ended by itself.
func (c *Cluster) until(ctx context.Context, what string, ok func() error) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if bad := c.Surprises(); len(bad) > 0 {
			return fmt.Errorf("wait for %s: %s", what, strings.Join(bad, "\n"))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last seen: %w", what, ctx.Err(), err)
		}
	}
}

// Surprises returns what was heard of processes that ended by themselves.
func (c *Cluster) Surprises() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bad)
}

// WaitPort waits until a process takes connections at an address.
func (c *Cluster) WaitPort(ctx context.Context, p *Proc, addr string) error {
	dial := new(net.Dialer).DialContext
	if c.home != nil {
		dial = c.home.Dial
	}
	return c.until(ctx, p.Name+" to listen on "+addr, func() error {
		conn, err := dial(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// Leader returns the number of the leading monitor, as the monitors say now.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	st, err := c.API.Mons(ctx)
	if err != nil {
		return 0, err
	}
	for i, m := range c.Mons {
		if m.Name == "mon."+st.Leader && m.Running() {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no running monitor leads (leader %q, said by %s)", st.Leader, st.Answered)
}

// WaitLeader waits until a running monitor leads.
func (c *Cluster) WaitLeader(ctx context.Context) (leader int, err error) {
	err = c.until(ctx, "a leading monitor", func() error {
		leader, err = c.Leader(ctx)
		return err
	})
	return leader, err
}

// WaitOSDs waits until the map has n OSDs up.
func (c *Cluster) WaitOSDs(ctx context.Context, n int) error {
	return c.until(ctx, fmt.Sprintf("%d OSDs to be up", n), func() error {
		st, err := c.API.OSDStat(ctx)
		if err == nil && st.Up != n {
			err = fmt.Errorf("%d of %d OSDs up in epoch %d", st.Up, st.OSDs, st.Epoch)
		}
		return err
	})
}

// OSDID returns the id that the cluster gave to an OSD.
func (c *Cluster) OSDID(ctx context.Context, i int) (int, error) {
	all, err := c.API.OSDs(ctx)
	if err != nil {
		return 0, err
	}
	for _, o := range slices.Backward(all) { // the last one is that of its present disk
		if o.Addr == c.OSDAddrs[i] {
			return o.ID, nil
		}
	}
	return 0, fmt.Errorf("no OSD with address %s in the map", c.OSDAddrs[i])
}

// Revive starts an OSD again and waits until the map has its new life. Waiting
// for the cluster to be clean right after a start would not do: the monitors may
// not have noticed that it was away.
func (c *Cluster) Revive(ctx context.Context, i int) error {
	life := func() (incarnation uint64, up bool, err error) {
		all, err := c.API.OSDs(ctx)
		for _, o := range slices.Backward(all) {
			if o.Addr == c.OSDAddrs[i] {
				return o.Incarnation, o.Up, nil
			}
		}
		return 0, false, errors.Join(err, fmt.Errorf("no OSD with address %s in the map", c.OSDAddrs[i]))
	}
	var before uint64
	err := c.until(ctx, "the state of "+c.OSDs[i].Name, func() (err error) {
		before, _, err = life()
		return err
	})
	if err != nil {
		return err
	}
	if err := c.OSDs[i].Start(); err != nil {
		return err
	}
	return c.until(ctx, c.OSDs[i].Name+" to be up again", func() error {
		now, up, err := life()
		if err == nil && (!up || now == before) {
			err = fmt.Errorf("up %v, incarnation %d, before its start %d", up, now, before)
		}
		return err
	})
}

// Connect makes an object client of the cluster. The caller closes it.
func (c *Cluster) Connect(ctx context.Context, entity string) (*client.Client, error) {
	return c.ConnectFrom(ctx, c.home, entity)
}

// ConnectFrom makes an object client on a host; nil: here.
func (c *Cluster) ConnectFrom(ctx context.Context, h *lab.Host, entity string) (*client.Client, error) {
	o := client.Options{Mons: c.Addrs, Entity: entity, Log: c.o.Stdlog, Timeout: 2 * opPatience}
	if h != nil {
		o.Dial = h.Dial
	}
	return client.Connect(ctx, o)
}

// opPatience is how long an operation may take before that counts as a failure
// of the cluster. It only has to be far above what a busy machine makes of it.
const opPatience = 2 * time.Minute

// client is the harness's own client.
func (c *Cluster) client(ctx context.Context) (*client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c == nil {
		cl, err := c.Connect(ctx, "client.harness")
		if err != nil {
			return nil, err
		}
		c.c = cl
	}
	return c.c, nil
}

// WaitServing waits until every PG of some pools has carried out a write and a read
// that began after the call, and returns how long that took.
func (c *Cluster) WaitServing(ctx context.Context, pools ...string) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() { // until WaitServing returns
		select {
		case <-c.sick:
			cancel(errors.New(strings.Join(c.Surprises(), "\n")))
		case <-done:
		}
	}()
	began := time.Now()
	cl, err := c.client(ctx)
	if err != nil {
		return 0, err
	}
	type probe struct {
		pool *client.Pool
		name string
	}
	var todo []probe
	for _, pool := range pools {
		p, err := cl.Pool(ctx, pool)
		if err != nil {
			return 0, err
		}
		for _, name := range probes(cl.Map().PoolByName(pool)) {
			todo = append(todo, probe{p, name})
		}
	}
	errs := make(chan error, len(todo))
	for _, x := range todo {
		go func() { // until the client's own deadline
			want := []byte(strconv.FormatInt(time.Now().UnixNano(), 10))
			err := x.pool.WriteFull(ctx, x.name, want)
			for errors.Is(err, client.ErrNoSpace) && wait(ctx, poll) == nil { // it takes a moment until all know that a disk has room again
				err = x.pool.WriteFull(ctx, x.name, want)
			}
			if err != nil {
				errs <- err
				return
			}
			got, err := x.pool.Read(ctx, x.name, 0, 0)
			if err == nil && string(got) != string(want) {
				err = fmt.Errorf("probe %s: read %q after %q was written", x.name, got, want)
			}
			errs <- err
		}()
	}
	var all []error
	for range todo {
		all = append(all, <-errs)
	}
	err = errors.Join(all...)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return time.Since(began), err
}

// probes returns an object name for every PG of a pool.
func probes(p *placement.Pool) []string {
	names := make([]string, p.PGNum)
	for i, left := 0, len(names); left > 0; i++ {
		name := "probe-" + strconv.Itoa(i)
		if at := &names[placement.PGOf(p, name).Shard]; *at == "" {
			*at = name
			left--
		}
	}
	return names
}

// WaitClean waits until every PG of every pool is active+clean: by the map, with
// all copies in sync on OSDs that are up, and by what the primaries report.
func (c *Cluster) WaitClean(ctx context.Context) error {
	return c.until(ctx, "all PGs to be active+clean", func() error {
		pgs, err := c.API.PGs(ctx, api.PGFilter{})
		if err != nil {
			return err
		}
		pools, err := c.API.Pools(ctx)
		if err != nil {
			return err
		}
		size := map[string]int{}
		total := 0
		for _, p := range pools {
			size[p.Name] = int(p.Size)
			total += int(p.PGNum)
			if p.PGNum != p.PGNumTarget {
				return fmt.Errorf("pool %s has %d PGs of %d that it is getting", p.Name, p.PGNum, p.PGNumTarget)
			}
		}
		if len(pgs) != total {
			return fmt.Errorf("%d PGs are known of %d", len(pgs), total)
		}
		for _, pg := range pgs {
			if !clean(pg.State) || len(pg.Acting) != size[pg.Pool] || len(pg.Up) != size[pg.Pool] || pg.Degraded != 0 {
				return fmt.Errorf("PG %s is %s, acting %v, up %v, %d degraded, waits for %q", pg.PGID, pg.State, pg.Acting, pg.Up, pg.Degraded, pg.Waiting)
			}
		}
		return nil
	})
}

// clean reports whether a PG is active+clean. It may be scrubbing.
func clean(state string) bool {
	parts := strings.Split(state, "+")
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "scrubbing" || s == "deep" })
	return slices.Equal(parts, []string{"active", "clean"})
}

// Cairn runs the program as a command against the cluster.
func (c *Cluster) Cairn(ctx context.Context, args ...string) (Result, error) {
	return c.l.run(ctx, c.o.Dir, c.env(), c.o.Binary, args...)
}

// Command runs another program, with more environment.
func (c *Cluster) Command(ctx context.Context, env []string, name string, args ...string) (Result, error) {
	return c.l.run(ctx, c.o.Dir, env, name, args...)
}

// procs returns all processes of the cluster.
func (c *Cluster) procs() []*Proc {
	return slices.Concat(c.Mons, c.OSDs, c.S3s)
}

// Tails returns the last lines of all logs.
func (c *Cluster) Tails(lines int) string {
	var b strings.Builder
	for _, p := range c.procs() {
		fmt.Fprintf(&b, "==== %s (pid %d), last lines of %s\n%s\n", p.Name, p.Pid(), p.Log, p.Tail(lines))
	}
	return b.String()
}

// Diagnose tells what the cluster says about itself, for the message of a failed
// wait: its health, and the inner state of some PGs that are not well.
func (c *Cluster) Diagnose(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var b strings.Builder
	if r, err := c.Cairn(ctx, "health", "detail"); err != nil {
		fmt.Fprintln(&b, err)
	} else {
		b.WriteString(r.Both())
	}
	pgs, err := c.API.PGs(ctx, api.PGFilter{})
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	shown := 0
	for _, pg := range pgs {
		query, err := c.API.PGQuery(ctx, pg.PGID)
		if err != nil {
			query = fmt.Appendf(nil, "no answer: %v", err)
		} else if pg.State == "active+clean" && !bytes.Contains(query, []byte(`"state":"peering"`)) {
			continue
		}
		if shown++; shown > 4 {
			continue
		}
		fmt.Fprintf(&b, "PG %s is %s, acting %v, up %v, waits for %q: %s\n", pg.PGID, pg.State, pg.Acting, pg.Up, pg.Waiting, query)
	}
	fmt.Fprintf(&b, "%d of %d PGs are not well\n", shown, len(pgs))
	return b.String()
}

// Check returns an error if a process ended by itself or left a panic in its log.
func (c *Cluster) Check() error {
	var errs []error
	for _, s := range c.Surprises() {
		errs = append(errs, errors.New(s))
	}
	for _, p := range c.procs() {
		if s := p.Crash(); s != "" {
			errs = append(errs, fmt.Errorf("%s crashed:\n%s", p.Name, s))
		}
		if s := p.Damage(); s != "" {
			errs = append(errs, fmt.Errorf("%s found damage that nobody did: %s", p.Name, s))
		}
	}
	return errors.Join(errs...)
}

// Close kills all processes.
func (c *Cluster) Close() error {
	c.mu.Lock()
	cl := c.c
	c.c = nil
	c.mu.Unlock()
	close(c.closing)
	c.wg.Wait()
	var err error
	if cl != nil {
		err = cl.Close()
	}
	for _, p := range c.procs() {
		if p.Disk != nil {
			err = errors.Join(err, p.Disk.Thaw()) // what waits for a frozen disk cannot be killed
		}
		p.Kill()
	}
	if c.API != nil {
		c.API.Close()
	}
	c.l.close()
	if c.Lab != nil {
		err = errors.Join(err, c.Lab.Close())
	}
	return err
}
