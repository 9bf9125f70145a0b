package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Lab is hosts and the network between them.
type Lab struct {
	f    fabric
	seed uint64

	mu    sync.Mutex // guards below
	hosts []*Host
}

// Host is one machine of a Lab.
type Host struct {
	Name string
	Addr string // its IPv4 address

	l     *Lab
	p     *port
	netns int // descriptor of its network namespace
	jobs  chan func()
	done  chan struct{}
	disks []*Disk
}

// New makes an empty lab. The seed decides which packets are lost; as the packets
// are never the same twice, so is what they lose.
func New(seed uint64) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: hosts in namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN)", ErrUnsupported)
	}
	l := &Lab{seed: seed}
	l.f.later.init(&l.f)
	probe, err := l.Host("probe")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnsupported, err), l.Close())
	}
	l.mu.Lock()
	l.hosts = nil // its address is given again
	l.mu.Unlock()
	if err := probe.close(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Host adds a host, reachable by all others.
func (l *Lab) Host(name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.hosts) + 1
	if at >= hostsMax {
		return nil, fmt.Errorf("host %s: a lab has %d hosts at most", name, hostsMax-1)
	}
	h := &Host{
		Name: name, Addr: net.IPv4(network[0], network[1], network[2], byte(at)).String(),
		l: l, netns: -1, jobs: make(chan func()), done: make(chan struct{}),
	}
	h.p = &port{f: &l.f, at: at, rng: rand.New(rand.NewPCG(l.seed, uint64(at))), done: make(chan struct{})}
	ready := make(chan error)
	go h.live(ready) // until close
	if err := <-ready; err != nil {
		<-h.done
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	go h.p.pump() // until close
	l.f.ports[at].Store(h.p)
	l.hosts = append(l.hosts, h)
	return h, nil
}

// live is the life of a host: one thread that has its namespaces, and so have the
// processes that it starts. It is never unlocked, so it ends with this goroutine.
func (h *Host) live(ready chan<- error) {
	defer close(h.done)
	runtime.LockOSThread()
	if err := h.setUp(); err != nil {
		ready <- err
		return
	}
	ready <- nil
	for job := range h.jobs {
		job()
	}
}

func (h *Host) setUp() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if h.netns, err = unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if h.p.tun, err = openTun(device); err == nil {
		err = configure(h.Addr)
		if err != nil {
			h.p.tun.Close()
		}
	}
	if err != nil {
		unix.Close(h.netns)
	}
	return err
}

const device = "lab0"

// openTun makes a tun device in the namespace of this thread.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		// The kernel hands over up to 64 KiB at once, without checksums.
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make a tun device: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// configure gives the namespace of this thread its address.
func configure(addr string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(s)
	for _, x := range []struct {
		dev, what string
		req       uint
		set       func(*unix.Ifreq) error
	}{
		{"lo", "up", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		{device, "address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(addr).To4()) }},
		{device, "netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{device, "queue", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(5000); return nil }},
		{device, "up", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		ifr, err := unix.NewIfreq(x.dev)
		if err == nil {
			err = x.set(ifr)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, x.req, ifr)
		}
		if err != nil {
			return fmt.Errorf("set %s of %s: %w", x.what, x.dev, err)
		}
	}
	return nil
}

// Run calls f on the host: with its network and its file systems. Processes that f
// starts are the host's. One f at a time; it must not start goroutines.
func (h *Host) Run(f func()) {
	done := make(chan struct{})
	h.jobs <- func() { defer close(done); f() }
	<-done
}

// Dial connects to an address, "IP:port", from this host. It is net.Dialer's
// DialContext but for names, which a host does not know.
func (h *Host) Dial(ctx context.Context, netw, addr string) (net.Conn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	type result struct {
		c   net.Conn
		err error
	}
	got := make(chan result, 1)
	go func() { // until connected or given up; its thread ends with it, since it has another network
		runtime.LockOSThread()
		if err := unix.Setns(h.netns, unix.CLONE_NEWNET); err != nil {
			got <- result{nil, fmt.Errorf("dial from %s: %w", h.Name, err)}
			return
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, netw, addr)
		got <- result{c, err}
	}()
	r := <-got
	return r.c, r.err
}

// Link sets how packets fare from one host to another.
func (l *Lab) Link(from, to *Host, k Link) {
	at := &l.f.links[from.p.at*hostsMax+to.p.at]
	if k == (Link{}) {
		at.Store(nil)
		return
	}
	at.Store(&k)
}

// Heal removes the faults of all links.
func (l *Lab) Heal() {
	for i := range l.f.links {
		l.f.links[i].Store(nil)
	}
}

// Stats returns what the network did so far.
func (l *Lab) Stats() Stats {
	f := &l.f
	return Stats{
		Packets: f.packets.Load(), Bytes: f.bytes.Load(), Cut: f.cut.Load(), Lost: f.lost.Load(),
		Delayed: f.delayed.Load(), Overrun: f.overrun.Load(), Refused: f.refused.Load(),
	}
}

// Close ends all hosts. Their processes must have ended.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.close())
	}
	l.hosts = nil
	l.f.later.close()
	return errors.Join(errs...)
}

func (h *Host) close() error {
	var errs []error
	for _, d := range h.disks {
		errs = append(errs, d.close())
	}
	h.l.f.ports[h.p.at].Store(nil)
	close(h.jobs)
	<-h.done
	errs = append(errs, h.p.tun.Close(), unix.Close(h.netns))
	<-h.p.done
	return errors.Join(errs...)
}
