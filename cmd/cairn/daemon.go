package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/node"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/placement"
)

// daemonFlags are common to all daemons.
type daemonFlags struct {
	logLevel string
	memory   string
	limit    int64 // memory, read by apply
	outside  int64 // of it, what will be outside of Go's heap
	debug    string
	policy   string
	profiles *debugServer
}

func (f *daemonFlags) register(cmd *cobra.Command, memory string) {
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&f.policy, "cpu-policy", "batch", "batch: many operations at a time, each the cheaper; normal: answer sooner beside programs that keep the processors busy")
	cmd.Flags().StringVar(&f.debug, "debug-listen", "", "serve Go's profiles (/debug/pprof/), and of an OSD /debug/device, on this loopback address, such as 127.0.0.1:0 (default: nowhere)")
	cmd.Flags().StringVar(&f.memory, "memory", memory, "memory the process aims to stay below, such as 512MiB")
}

// apply sets the runtime up and makes the log.
func (f *daemonFlags) apply(e *env) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usageErrorf("flag --log-level %q: want debug, info, warn or error", f.logLevel)
	}
	limit, err := parseBytes(f.memory)
	if err != nil || limit < 64<<20 {
		return nil, usageErrorf("flag --memory %q: want at least 64MiB, such as 512MiB or 2GiB", f.memory)
	}
	if f.limit = limit; f.outside > limit/2 {
		return nil, usageErrorf("flag --cache: %d MiB are more than half of --memory %s: all else needs the rest", f.outside>>20, f.memory)
	}
	// The runtime does not count the program itself, nor what is mapped beside its heap: with two million
	// objects that were written, then read at random, an OSD had 37 MiB of it.
	debug.SetMemoryLimit(limit - f.outside - min(limit/8, 48<<20))
	debug.SetGCPercent(400) // few, cheap collections; the limit keeps the heap from growing with them
	slab.SetFreeMax(int(limit / 8))
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level}))
	if err := slackTimers(); err != nil {
		log.Debug("the runtime's timers will cost some more CPU", "err", err)
	}
	switch f.policy {
	case "batch":
		if err := batchThreads(); err != nil {
			log.Debug("waking up on a busy processor will cost some more CPU", "err", err)
		}
	case "normal":
	default:
		return nil, usageErrorf("flag --cpu-policy %q: want batch or normal", f.policy)
	}
	if f.debug != "" {
		if f.profiles, err = startDebug(f.debug, log); err != nil {
			return nil, err
		}
	}
	return log, nil
}

// close ends what apply began.
func (f *daemonFlags) close() { f.profiles.close() }

// parseBytes reads sizes such as 64MiB, 2G or 1048576.
func parseBytes(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"TIB", 1 << 40}, {"GIB", 1 << 30}, {"MIB", 1 << 20}, {"KIB", 1 << 10}, {"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"B", 1}, {"", 1}}
	up := strings.ToUpper(strings.TrimSpace(s))
	for _, u := range units {
		digits, ok := strings.CutSuffix(up, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.factor {
			return 0, fmt.Errorf("size %q: want a number with an optional unit, such as 64MiB", s)
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("size %q", s)
}

// daemon makes a command that runs until it is interrupted or fails.
func daemon(use, short, long string, f func(ctx context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f(cmd.Context()) },
	}
}

func newMonDaemonCommand(e *env) *cobra.Command {
	var f daemonFlags
	var initial []string
	o := node.MonOptions{}
	config := map[string]string{}
	var certs tlsFlags
	cmd := daemon("mon", "Run a monitor, or ask about the monitors", `Run a monitor until it is interrupted.

A new cluster: start each monitor with the same list, its own entry included:
    cairn mon --name a --data /var/lib/cairn/mon.a --addr 10.0.0.1:7400 \
        --raft-addr 10.0.0.1:7401 --admin-addr 10.0.0.1:7480 \
        --initial a=10.0.0.1:7400/10.0.0.1:7401/10.0.0.1:7480
Another monitor of an existing cluster: --join with any monitor's address.
A monitor that has run before needs neither: --data says everything.`,
		func(ctx context.Context) error {
			log, err := f.apply(e)
			if err != nil {
				return err
			}
			defer f.close()
			if o.Dir == "" || o.Name == "" {
				return usageErrorf("cairn mon: --name and --data are required")
			}
			for _, s := range initial {
				m, err := parseMon(s)
				if err != nil {
					return err
				}
				o.Initial = append(o.Initial, m)
			}
			o.Log, o.AdminListen, o.Config = log, o.AdminAddr, config
			o.AdminToken = e.getenv("CAIRN_ADMIN_TOKEN")
			store, stop, err := certs.open(log)
			if err != nil {
				return err
			}
			defer stop()
			if store != nil {
				o.AdminTLS = store.Config("h2", "http/1.1")
			}
			n, err := node.StartMon(o)
			if err != nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-n.Done():
			}
			err = n.Err()
			if cerr := n.Close(); err == nil {
				err = cerr
			}
			return err
		})
	cmd.Flags().StringVar(&o.Name, "name", "", "name of the monitor, such as a")
	cmd.Flags().StringVar(&o.Dir, "data", "", "directory for its state")
	cmd.Flags().StringVar(&o.Addr, "addr", "127.0.0.1:7400", "messenger address, HOST:PORT")
	cmd.Flags().StringVar(&o.RaftAddr, "raft-addr", "127.0.0.1:7401", "Raft address, HOST:PORT")
	cmd.Flags().StringVar(&o.AdminAddr, "admin-addr", defaultAdmin, "REST address, HOST:PORT")
	certs.register(cmd, "--admin-addr, which then speaks HTTPS only; commands reach it by CAIRN_ADMIN=https://HOST:PORT")
	cmd.Flags().StringSliceVar(&initial, "initial", nil, "the monitors of a new cluster: NAME=ADDR/RAFT/ADMIN[,...]")
	cmd.Flags().StringSliceVar(&o.Join, "join", nil, "messenger addresses of an existing cluster's monitors")
	cmd.Flags().StringToStringVar(&config, "config", nil, "central configuration to set, KEY=VALUE[,...], such as osd_flap_limit=0 (OSDs that keep failing need not wait)")
	f.register(cmd, "512MiB")
	return cmd
}

// parseMon reads NAME=ADDR/RAFT/ADMIN.
func parseMon(s string) (placement.Mon, error) {
	name, rest, ok := strings.Cut(s, "=")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return placement.Mon{}, usageErrorf("flag --initial %q: want NAME=ADDR/RAFT/ADMIN, each HOST:PORT", s)
	}
	return placement.Mon{Name: name, Addr: parts[0], RaftAddr: parts[1], AdminAddr: parts[2]}, nil
}

func newOSDDaemonCommand(e *env) *cobra.Command {
	var f daemonFlags
	var host, journal, capacity, cache, discard string
	var location []string
	o := node.OSDOptions{}
	cmd := daemon("osd", "Run an OSD, or ask about and change OSDs", `Run an OSD until it is interrupted.

An empty or missing data directory becomes a new store, which the monitors give
an OSD id of its own. A directory that has been used keeps its id for ever.
    cairn osd --data /var/lib/cairn/osd0 --mons 10.0.0.1:7400,10.0.0.2:7400 --listen 10.0.0.5:7410
With --device journal and data are on a block device, or in one large file, and
only the index is in the directory. The directory remembers the device; it need
be named again only when it has another name.
    cairn osd --data /var/lib/cairn/osd1 --device /dev/disk/by-id/nvme-X --mons 10.0.0.1:7400`,
		func(ctx context.Context) error {
			var err error
			if cache == "" {
				if m, err := parseBytes(f.memory); err == nil {
					f.outside = min(m/4, 256<<20)
				}
			} else if f.outside, err = parseBytes(cache); err != nil {
				return usageErrorf("flag --cache: %v", err)
			}
			log, err := f.apply(e)
			if err != nil {
				return err
			}
			defer f.close()
			o.Memory, o.BlockCache = f.limit, f.outside
			if f.policy == "batch" {
				o.Yield = yieldProcessor
			}
			if o.Dir == "" || len(o.Mons) == 0 {
				return usageErrorf("cairn osd: --data and --mons are required")
			}
			if o.JournalBytes, err = parseBytes(journal); err != nil {
				return usageErrorf("flag --journal: %v", err)
			}
			if o.Capacity, err = parseBytes(capacity); err != nil {
				return usageErrorf("flag --capacity: %v", err)
			}
			if o.Discard = discard == "on"; !o.Discard && discard != "off" {
				return usageErrorf("flag --discard %q: want on or off", discard)
			}
			if host == "" {
				if host, err = os.Hostname(); err != nil {
					return fmt.Errorf("name of this machine: %w; give --host", err)
				}
			}
			if o.Location, err = parseLocation(host, location); err != nil {
				return err
			}
			o.Log = log
			n, err := node.StartOSD(ctx, o)
			if err != nil {
				return err
			}
			f.profiles.device(n.Store.Slow)
			select {
			case <-ctx.Done():
			case <-n.Done():
			}
			return n.Close()
		})
	cmd.Flags().StringVar(&o.Dir, "data", "", "data directory")
	cmd.Flags().StringVar(&o.Device, "device", "", "block device, or file, for journal and data (default: files in the data directory)")
	cmd.Flags().StringVar(&o.WipeDevice, "wipe-device", "", "destroy what the device of a new store holds: the word of the error that refuses it, such as ext4, or a store's UUID")
	cmd.Flags().StringVar(&discard, "discard", "off", "on: tell the block device what was freed; without --device, give that room back to the file system, which others may then take. Not for a --device that is a file: it keeps its room")
	cmd.Flags().StringSliceVar(&o.Mons, "mons", nil, "messenger addresses of monitors, HOST:PORT[,...]")
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:0", "messenger address, HOST:PORT")
	cmd.Flags().StringVar(&o.Advertise, "advertise", "", "address told to others, if it is not that of --listen")
	cmd.Flags().BoolVar(&o.TCPOnly, "tcp-only", false, "use TCP for clients and OSDs on the same machine, too, which reach each other by Unix sockets otherwise")
	cmd.Flags().StringVar(&o.Class, "class", "hdd", "device class: hdd, ssd or nvme")
	cmd.Flags().StringVar(&host, "host", "", "CRUSH host (default: this machine's name)")
	cmd.Flags().StringSliceVar(&location, "location", nil, "further CRUSH location, TYPE=NAME[,...] such as rack=r1 (default root=default)")
	cmd.Flags().StringVar(&cache, "cache", "", "of --memory, how much keeps data that was read lately (default: a quarter, at most 256MiB)")
	cmd.Flags().StringVar(&journal, "journal", "256MiB", "journal of a new store")
	cmd.Flags().StringVar(&capacity, "capacity", "0", "capacity of a new store, and size of a --device file that is to be made (default: the file system's, or the device's)")
	f.register(cmd, "512MiB")
	return cmd
}

func parseLocation(host string, parts []string) ([]osd.LocationPart, error) {
	loc := []osd.LocationPart{{Type: "host", Name: host}}
	root := false
	for _, p := range parts {
		t, name, ok := strings.Cut(p, "=")
		if !ok || t == "" || name == "" || t == "host" {
			return nil, usageErrorf("flag --location %q: want TYPE=NAME such as rack=r1; the host has its own flag", p)
		}
		root = root || t == "root"
		loc = append(loc, osd.LocationPart{Type: t, Name: name})
	}
	if !root {
		loc = append(loc, osd.LocationPart{Type: "root", Name: "default"})
	}
	return loc, nil
}

// lifecycleDay is a flag that lets lifecycle rules be tried out.
func lifecycleDay(cmd *cobra.Command, o *s3.Options) {
	cmd.Flags().DurationVar(&o.LifecycleDay, "lifecycle-day", 24*time.Hour, "what lifecycle rules take a day for; shorter only to try them, such as 10s: they then remove in seconds what they remove in days")
}

func newGatewayCommand(e *env) *cobra.Command {
	var f daemonFlags
	o := node.S3Options{Gateway: s3.Options{}}
	var certs tlsFlags
	var http2 string
	var accessLog accessLogFlag
	cmd := daemon("s3", "Run an S3 gateway", `Run an S3 gateway until it is interrupted. Any number may serve the same
buckets. The pool must exist:
    cairn pool create s3 --application s3
    cairn user create alice
    cairn gateway s3 --mons 10.0.0.1:7400 --listen 10.0.0.9:7470
With TLS, and plain HTTP for this machine only:
    cairn gateway s3 --mons 10.0.0.1:7400 --listen 127.0.0.1:7470 --tls-listen 10.0.0.9:443 \
        --tls-cert s3.pem --tls-key s3.key --domain s3.example.com`,
		func(ctx context.Context) error {
			log, err := f.apply(e)
			if err != nil {
				return err
			}
			defer f.close()
			if len(o.Mons) == 0 {
				return usageErrorf("cairn gateway s3: --mons is required")
			}
			o.Log = log
			store, stop, err := certs.open(log)
			if err != nil {
				return err
			}
			defer stop()
			if store != nil {
				o.Gateway.TLS = store.Config()
			} else if len(o.TLSListen) > 0 {
				return usageErrorf("cairn gateway s3: %v", errNoCert)
			}
			if len(o.Listen) == 1 && o.Listen[0] == "none" && len(o.TLSListen) > 0 {
				o.Listen = nil
			}
			o.Gateway.HTTP2 = s3.HTTP2(http2)
			closeLog, err := accessLog.open(&o.Gateway, log)
			if err != nil {
				return err
			}
			defer closeLog()
			g, err := node.StartS3(ctx, o)
			if err != nil {
				return err
			}
			log.Info("S3 gateway serves", "addr", g.Addr, "listeners", g.Addrs, "metrics", g.MetricsAddr)
			var failed error
			select {
			case <-ctx.Done():
			case failed = <-g.Failed():
			}
			if err := g.Close(); failed == nil {
				failed = err
			}
			return failed
		})
	cmd.Flags().StringSliceVar(&o.Mons, "mons", nil, "messenger addresses of monitors, HOST:PORT[,...]")
	cmd.Flags().StringVar(&o.Name, "name", "s3", "name of this gateway")
	cmd.Flags().StringSliceVar(&o.Listen, "listen", []string{"127.0.0.1:7470"}, "HOST:PORT[,...] to serve S3 on, without TLS; none: only with TLS")
	cmd.Flags().StringSliceVar(&o.TLSListen, "tls-listen", nil, "HOST:PORT[,...] to serve S3 on with TLS")
	cmd.Flags().StringVar(&o.Metrics, "metrics-listen", "", "HOST:PORT to serve Prometheus metrics on, at /metrics, for whoever asks (default: nowhere)")
	certs.register(cmd, "--tls-listen")
	cmd.Flags().StringVar(&http2, "http2", string(s3.HTTP2TLS), "where to speak HTTP/2 as well: tls, off, or all (without TLS, too)")
	cmd.Flags().StringVar(&o.Advertise, "advertise", "", "address shown to people, if it is not that of --listen")
	cmd.Flags().StringSliceVar(&o.Gateway.Issuers, "oidc-issuer", nil, "identity provider that may be asked wherever it is, also without https; others only at public addresses")
	cmd.Flags().StringVar(&o.Pool, "pool", node.DefaultS3Pool, "pool for buckets and objects")
	cmd.Flags().StringVar(&o.Gateway.Region, "region", "us-east-1", "region that clients sign for")
	protocolFlags(cmd, &o.Gateway, &accessLog)
	cmd.Flags().StringSliceVar(&o.Gateway.Domains, "domain", nil, "base domains of BUCKET.DOMAIN addresses")
	lifecycleDay(cmd, &o.Gateway)
	cmd.Flags().StringVar(&o.RootKeys, "kms-root-key", "", "file (mode 0600) with the root key of server-side encryption; without it only clients' own keys encrypt")
	cmd.Flags().StringVar(&o.Gateway.PlainSSEC, "sse-c-plain-http", s3.PlainSSECLoopback, "from where clients' own encryption keys are taken over plain HTTP: loopback, always or never")
	cmd.Flags().DurationVar(&o.Gateway.Drain, "drain", 15*time.Second, "when told to stop, wait this long for requests under way")
	cmd.Flags().DurationVar(&o.Gateway.Notice, "drain-notice", 0, "before that, go on for this long with a failing health check, until load balancers have noticed")
	f.register(cmd, "512MiB")
	return group("gateway", "Run gateways", cmd)
}
