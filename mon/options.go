package mon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// Options configures New. The zero value of every optional field means "use
// the default".
type Options struct {
	Name string // of this monitor, "a"; required
	Dir  string // where it keeps its state; required, made if missing

	// The addresses other machines reach this monitor at. An empty address, or port
	// 0, means that of the listener.
	Addr      string // messenger
	RaftAddr  string // Raft transport
	AdminAddr string // REST; only published, may stay empty

	// Listeners, if the caller has opened them already. The monitor closes them.
	Listener     net.Listener // default: listen on Addr
	RaftListener net.Listener // default: listen on RaftAddr

	// How a monitor with an empty directory begins: exactly one of the two. A
	// directory that has been used needs neither, and both are ignored then.
	Initial []placement.Mon // the monitors of a new cluster, the same list on each; with this one in it
	Join    []string        // messenger addresses of monitors of an existing cluster

	// Cluster, if it is set, must be the cluster of the directory; a new cluster gets it. Default: random.
	Cluster placement.UUID

	Log *slog.Logger // default slog.Default()

	HeartbeatTimeout time.Duration // followers call an election after one to two of these without a leader; default 500 ms
	LeaseTimeout     time.Duration // a leader without a majority steps down after this; default 400 ms
	CommitTimeout    time.Duration // followers learn of a commit after at most about this; default 40 ms
	ProposeTimeout   time.Duration // how long a change waits for a leader; default 10 s
	SnapshotEvery    uint64        // log entries between snapshots; default 4096

	TickEvery      time.Duration // the leader looks at the OSDs this often; default 500 ms
	SilenceMax     time.Duration // an OSD silent to its peers for longer is down; default 3 s
	ReportTimeout  time.Duration // an OSD that has not reported for longer is down; default 20 s
	OutAfter       time.Duration // a down OSD is marked out after this; default 600 s, negative: never
	SlowAfter      time.Duration // an OSD whose device has been slower than others for so long is slow in the map, sooner if it is so half of the time; default 20 s
	SlowClear      time.Duration // and one that has been well for so long is not any more; default 60 s
	GrowAfter      time.Duration // a pool that has had too few PGs for so long gets more; default 60 s
	ServiceTimeout time.Duration // a gateway without beacons leaves the map after this; default 60 s
	HistoryMax     int           // deltas kept for subscribers; default 500
}

func (o Options) withDefaults() (Options, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	def(&o.HeartbeatTimeout, 500*time.Millisecond)
	def(&o.LeaseTimeout, min(400*time.Millisecond, o.HeartbeatTimeout))
	def(&o.CommitTimeout, 40*time.Millisecond)
	def(&o.ProposeTimeout, 10*time.Second)
	def(&o.SnapshotEvery, 4096)
	def(&o.TickEvery, 500*time.Millisecond)
	def(&o.SilenceMax, 3*time.Second)
	def(&o.ReportTimeout, 20*time.Second)
	def(&o.OutAfter, 600*time.Second)
	def(&o.SlowAfter, slowAfter)
	def(&o.SlowClear, slowClear)
	def(&o.GrowAfter, 60*time.Second)
	def(&o.ServiceTimeout, 60*time.Second)
	def(&o.HistoryMax, 500)
	if o.Dir == "" {
		return o, errors.New("monitor: no directory given")
	}
	// The addresses may come from the listeners later; the name must be good now.
	if err := fsm.CheckMon(placement.Mon{Name: o.Name, Addr: "x", RaftAddr: "x", AdminAddr: o.AdminAddr}); err != nil {
		return o, err
	}
	if len(o.Initial) > 0 && len(o.Join) > 0 {
		return o, fmt.Errorf("monitor %s: both Initial and Join are given; a monitor either makes a new cluster or joins one", o.Name)
	}
	if len(o.Initial) > fsm.MaxMons {
		return o, fmt.Errorf("monitor %s: %d initial monitors, at most %d are allowed", o.Name, len(o.Initial), fsm.MaxMons)
	}
	for i, m := range o.Initial {
		if err := fsm.CheckMon(m); err != nil {
			return o, fmt.Errorf("initial monitors: %w", err)
		}
		if slices.ContainsFunc(o.Initial[:i], func(p placement.Mon) bool { return p.Name == m.Name || p.RaftAddr == m.RaftAddr }) {
			return o, fmt.Errorf("initial monitors: %s, or its Raft address %s, is there twice", m.Name, m.RaftAddr)
		}
	}
	if len(o.Initial) > 0 && !slices.ContainsFunc(o.Initial, func(m placement.Mon) bool { return m.Name == o.Name }) {
		return o, fmt.Errorf("monitor %s is not among the initial monitors; every one of them needs the same, whole list", o.Name)
	}
	return o, nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
