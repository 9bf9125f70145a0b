// Package testcluster runs a whole cluster in one process: monitors with their
// REST servers, OSDs and an S3 gateway on loopback, all under one directory and
// kept across restarts. `cairn dev` and `cairn demo` are made of it, and so are
// the tests that need a cluster but not processes.
package testcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/node"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Options configures Start. Zero values of the optional fields mean the defaults.
type Options struct {
	Dir  string // required: everything is kept below it
	Mons int    // of a new cluster: 1 or 3; default 1
	OSDs int    // of a new cluster; default 3
	NoS3 bool   // leave the S3 gateway out

	JournalBytes int64 // of each OSD; default 32 MiB
	Capacity     int64 // of each OSD; default: as much as the file system gives
	TuneMon      func(*mon.Options)
	TuneOSD      func(*osd.Options)
	TuneStore    func(i int, o *store.Options) // of the OSD in that directory
	TuneCare     func(*chunkcare.Options)
	TuneS3       func(*node.S3Options)
	Log          *slog.Logger // default slog.Default()
	Progress     func(string) // told, in a few words, what is going on; default nothing
}

// layout is what cluster.json in the directory says: a new start finds the same
// daemons at the same addresses.
type layout struct {
	Version int             `json:"version"` // 1
	Mons    []placement.Mon `json:"mons"`
	OSDs    []string        `json:"osds"` // messenger addresses, by number of the directory
	S3      string          `json:"s3"`
	User    userKeys        `json:"user"`
}

type userKeys struct {
	Name      string `json:"name"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

const layoutVersion = 1

// Cluster is a running embedded cluster.
type Cluster struct {
	AccessKey, SecretKey string // of the S3 user "demo"

	o      Options
	layout layout

	mu   sync.Mutex // guards below
	mons []*node.Mon
	osds []*node.OSD
	s3   *node.S3
}

// Start makes the cluster in an empty directory, or starts the one that is
// there, and waits until it serves.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Mons == 0 {
		o.Mons = 1
	}
	if o.OSDs == 0 {
		o.OSDs = 3
	}
	if o.JournalBytes == 0 {
		o.JournalBytes = 32 << 20
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Dir == "" || o.Mons != 1 && o.Mons != 3 || o.OSDs < 1 || o.OSDs > 64 {
		return nil, fmt.Errorf("embedded cluster: want a directory, 1 or 3 monitors (not %d) and 1 to 64 OSDs (not %d)", o.Mons, o.OSDs)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("embedded cluster: %w", err)
	}
	c := &Cluster{o: o}
	if err := c.plan(); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// plan reads the layout or makes one with addresses that are free now.
func (c *Cluster) plan() error {
	file := filepath.Join(c.o.Dir, "cluster.json")
	b, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(b, &c.layout); err != nil {
			return fmt.Errorf("embedded cluster: %s is damaged: %w", file, err)
		}
		if c.layout.Version > layoutVersion {
			return fmt.Errorf("embedded cluster: %s has format %d, this version reads up to %d: start a newer cairn", file, c.layout.Version, layoutVersion)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("embedded cluster: %w", err)
	}
	if entries, err := os.ReadDir(c.o.Dir); err != nil || len(entries) > 0 {
		return fmt.Errorf("embedded cluster: directory %s is not empty and has no cluster.json; name an empty one (%w)", c.o.Dir, err)
	}
	addrs, err := freeAddrs(3*c.o.Mons + c.o.OSDs + 1)
	if err != nil {
		return err
	}
	take := func() string { a := addrs[0]; addrs = addrs[1:]; return a }
	c.layout = layout{Version: layoutVersion}
	for i := range c.o.Mons {
		c.layout.Mons = append(c.layout.Mons, placement.Mon{Name: string(rune('a' + i)), Addr: take(), RaftAddr: take(), AdminAddr: take()})
	}
	for range c.o.OSDs {
		c.layout.OSDs = append(c.layout.OSDs, take())
	}
	c.layout.S3 = take()
	return c.save()
}

func (c *Cluster) save() error {
	b, err := json.MarshalIndent(&c.layout, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.o.Dir, "cluster.json.new")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("embedded cluster: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(c.o.Dir, "cluster.json")); err != nil {
		return fmt.Errorf("embedded cluster: %w", err)
	}
	return nil
}

// freeAddrs finds loopback addresses that nobody listens on, outside of the range
// from which kernels take ports for outgoing connections: while a daemon is away,
// such a connection, even one to that very port, could take it for good.
func freeAddrs(n int) ([]string, error) {
	const first, last = 10000, 32000
	var addrs []string
	var lns []net.Listener
	defer func() {
		for _, ln := range lns {
			ln.Close()
		}
	}()
	var err error
	for range 100 * n {
		ln, lerr := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first)))
		if lerr != nil {
			err = lerr // taken: another one
			continue
		}
		lns = append(lns, ln)
		if addrs = append(addrs, ln.Addr().String()); len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("embedded cluster: find %d free ports between %d and %d: %w", n, first, last, err)
}

func (c *Cluster) start(ctx context.Context) error {
	c.mons = make([]*node.Mon, len(c.layout.Mons))
	c.osds = make([]*node.OSD, len(c.layout.OSDs))
	c.o.Progress(fmt.Sprintf("starting %d monitor(s)", len(c.mons)))
	for i := range c.mons {
		if err := c.StartMon(i); err != nil {
			return err
		}
	}
	if _, err := c.mons[0].WaitLeader(ctx); err != nil {
		return fmt.Errorf("embedded cluster: no leading monitor: %w", err)
	}
	c.o.Progress(fmt.Sprintf("starting %d OSDs", len(c.osds)))
	for i := range c.osds { // one after the other, so that osd.0 is on host0 and so on
		if err := c.StartOSD(ctx, i); err != nil {
			return err
		}
	}
	if c.o.NoS3 {
		return nil
	}
	c.o.Progress("starting the S3 gateway")
	return c.startS3(ctx)
}

func (c *Cluster) startS3(ctx context.Context) error {
	m := c.mons[0]
	if m.Map().PoolByName(node.DefaultS3Pool) == nil {
		size := uint32(min(3, len(c.osds)))
		if _, err := m.PoolCreate(ctx, api.PoolSpec{Name: node.DefaultS3Pool, Size: size, Application: "s3"}); err != nil {
			return fmt.Errorf("embedded cluster: pool for S3: %w", err)
		}
	}
	if c.layout.User.Name == "" {
		u, err := m.UserCreate(ctx, &wirepb.User{Name: "demo", DisplayName: "Demo user"})
		if err != nil {
			if u, err = m.UserGet(ctx, "demo"); err != nil {
				return fmt.Errorf("embedded cluster: S3 user: %w", err)
			}
		}
		c.layout.User = userKeys{Name: u.Name, AccessKey: u.Keys[0].AccessKey, SecretKey: u.Keys[0].SecretKey}
		if err := c.save(); err != nil {
			return err
		}
	}
	c.AccessKey, c.SecretKey = c.layout.User.AccessKey, c.layout.User.SecretKey
	root, err := c.rootKey()
	if err != nil {
		return err
	}
	so := node.S3Options{Mons: c.MonAddrs(), Listen: []string{c.layout.S3}, Log: c.o.Log, RootKeys: root}
	if c.o.TuneS3 != nil {
		c.o.TuneS3(&so)
	}
	g, err := node.StartS3(ctx, so)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.s3 = g
	c.mu.Unlock()
	return nil
}

// StartMon starts a monitor that is not running.
func (c *Cluster) StartMon(i int) error {
	l := c.layout.Mons[i]
	mo := mon.Options{
		Name: l.Name, Dir: filepath.Join(c.o.Dir, "mon."+l.Name), Addr: l.Addr, RaftAddr: l.RaftAddr, AdminAddr: l.AdminAddr,
		Initial: slices.Clone(c.layout.Mons), Log: c.o.Log,
	}
	if c.o.TuneMon != nil {
		c.o.TuneMon(&mo)
	}
	m, err := node.StartMon(node.MonOptions{Options: mo, AdminListen: l.AdminAddr})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.mons[i] = m
	c.mu.Unlock()
	return nil
}

// StartOSD starts an OSD that is not running.
func (c *Cluster) StartOSD(ctx context.Context, i int) error {
	var tuneStore func(*store.Options)
	if f := c.o.TuneStore; f != nil {
		tuneStore = func(o *store.Options) { f(i, o) }
	}
	n, err := node.StartOSD(ctx, node.OSDOptions{
		Dir: filepath.Join(c.o.Dir, fmt.Sprintf("osd%d", i)), Mons: c.MonAddrs(), Listen: c.layout.OSDs[i],
		Location: []osd.LocationPart{{Type: "host", Name: fmt.Sprintf("host%d", i)}, {Type: "root", Name: "default"}},
		Log:      c.o.Log, JournalBytes: c.o.JournalBytes, Capacity: c.o.Capacity, Tune: c.o.TuneOSD, TuneStore: tuneStore, TuneCare: c.o.TuneCare,
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.osds[i] = n
	c.mu.Unlock()
	return nil
}

// AddOSD adds an OSD on a host of its own, starts it and returns its number.
func (c *Cluster) AddOSD(ctx context.Context) (int, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	i := len(c.layout.OSDs)
	c.layout.OSDs = append(c.layout.OSDs, addrs[0])
	c.osds = append(c.osds, nil)
	c.mu.Unlock()
	if err := c.save(); err != nil {
		return 0, err
	}
	return i, c.StartOSD(ctx, i)
}

// OSD returns a running OSD by the number of its directory, nil if it is not running.
func (c *Cluster) OSD(i int) *node.OSD {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.osds[i]
}

// Mon returns a running monitor, nil if it is not running.
func (c *Cluster) Mon(i int) *node.Mon {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mons[i]
}

// KillOSD stops an OSD as a crash would.
func (c *Cluster) KillOSD(i int) error {
	c.mu.Lock()
	n := c.osds[i]
	c.osds[i] = nil
	c.mu.Unlock()
	if n == nil {
		return nil
	}
	return n.Kill()
}

// StopMon stops a monitor.
func (c *Cluster) StopMon(i int) error {
	c.mu.Lock()
	m := c.mons[i]
	c.mons[i] = nil
	c.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.Close()
}

// OSDs returns how many OSDs the cluster has.
func (c *Cluster) OSDs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.layout.OSDs)
}

// MonAddrs returns the monitors' messenger addresses.
func (c *Cluster) MonAddrs() []string {
	var a []string
	for _, m := range c.layout.Mons {
		a = append(a, m.Addr)
	}
	return a
}

// AdminAddrs returns the monitors' REST addresses.
func (c *Cluster) AdminAddrs() []string {
	var a []string
	for _, m := range c.layout.Mons {
		a = append(a, m.AdminAddr)
	}
	return a
}

// S3Addr returns the address of the S3 gateway.
func (c *Cluster) S3Addr() string { return c.layout.S3 }

// WaitMap polls the newest map of a running monitor until ok says yes.
func (c *Cluster) WaitMap(ctx context.Context, ok func(*placement.Map) bool) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		for i := range c.layout.Mons {
			if m := c.Mon(i); m != nil && ok(m.Map()) {
				return nil
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitClean waits until every PG of every pool is active+clean.
func (c *Cluster) WaitClean(ctx context.Context) error {
	return c.WaitMap(ctx, func(m *placement.Map) bool {
		table := placement.NewTable(m)
		for i := range m.PGs {
			pool := m.Pool(m.PGs[i].Pool)
			for n := range m.PGs[i].Records {
				rec := &m.PGs[i].Records[n]
				target := table.Target(placement.PGID{Pool: pool.ID, Shard: uint32(n)})
				if !rec.Created || !m.IsUp(rec.Primary) || len(rec.InSync) != len(target) || len(target) < int(pool.Size) {
					return false
				}
				for _, id := range target {
					if !rec.Has(id) || !m.IsUp(id) {
						return false
					}
				}
			}
		}
		return true
	})
}

// Close stops everything in good order: gateway, OSDs, monitors.
func (c *Cluster) Close() error {
	c.mu.Lock()
	s3, osds, mons := c.s3, c.osds, c.mons
	c.s3, c.osds, c.mons = nil, make([]*node.OSD, len(osds)), make([]*node.Mon, len(mons))
	c.mu.Unlock()
	var errs []error
	if s3 != nil {
		errs = append(errs, s3.Close())
	}
	done := make(chan error, len(osds))
	for _, n := range osds {
		go func() { // waited for below
			if n == nil {
				done <- nil
				return
			}
			done <- n.Close()
		}()
	}
	for range osds {
		errs = append(errs, <-done)
	}
	for _, m := range mons {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
