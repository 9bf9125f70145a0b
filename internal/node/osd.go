package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/monclient"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// OSDOptions configures StartOSD. Zero values of the optional fields mean the defaults.
type OSDOptions struct {
	Dir          string   // data directory; a new store is made in it when it is empty or missing
	Device       string   // block device or file for journal and data; default: files of the directory
	WipeDevice   string   // what a device may hold and lose when a store is made on it
	Discard      bool     // tell the device what was freed
	Mons         []string // required: messenger addresses of some monitors
	Listen       string   // default 127.0.0.1:0
	Advertise    string
	TCPOnly      bool // no Unix sockets
	Class        string
	Location     []osd.LocationPart // must have a host
	Log          *slog.Logger
	JournalBytes int64 // of a new store; default store.DefaultJournalBytes
	Capacity     int64 // of a new store; default: the file system's
	Memory       int64 // what the process aims to stay below; the store's sizes follow from it
	BlockCache   int64 // memory for data read lately, beside that
	CacheBytes   int64
	DirtyBytes   int64
	Yield        func()               // see store.Options
	Tune         func(*osd.Options)   // changes what is not listed here; tests
	TuneStore    func(*store.Options) // likewise
	TuneCare     func(*chunkcare.Options)
}

// OSD is a running OSD with what it stands on.
type OSD struct {
	*osd.OSD
	Store   *store.Disk
	session *monclient.Session
	mons    *monitors
	care    *care
}

// monitors is a session that remembers why monitors let a caller wait.
type monitors struct {
	*monclient.Session
	last atomic.Pointer[string]
}

// tellAfter is how long a call may be put off before it is told why.
const tellAfter = 2 * time.Second

// Call implements osd.Monitors.
func (m *monitors) Call(ctx context.Context, req *wire.Message) (*wire.Message, error) {
	for {
		actx, cancel := context.WithTimeout(ctx, tellAfter)
		r, err := m.Session.Call(actx, req)
		again := actx.Err() != nil && ctx.Err() == nil
		cancel()
		var gaveUp *monclient.GaveUpError
		if !again || !errors.As(err, &gaveUp) {
			return r, err
		}
		why := strings.TrimPrefix(gaveUp.Trouble, "; ")
		if gaveUp.Last != nil {
			why = strings.TrimSpace(gaveUp.Last.Error() + " " + why)
		}
		m.last.Store(&why)
	}
}

// StartOSD opens or makes the store and starts the daemon on it.
func StartOSD(ctx context.Context, o OSDOptions) (*OSD, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := makeStore(o); err != nil {
		return nil, err
	}
	so := store.Options{Device: o.Device, Discard: o.Discard, CacheBytes: o.CacheBytes, DirtyBytes: o.DirtyBytes, Yield: o.Yield, Log: o.Log}
	// An entry of the index stands for much more data: most small objects that are read again have theirs in
	// memory, if not themselves.
	so.IndexCacheBytes = o.BlockCache / 4
	so.BlockCacheBytes = o.BlockCache - so.IndexCacheBytes
	if o.Memory > 0 {
		so.Fit(o.Memory)
	}
	if o.TuneStore != nil {
		o.TuneStore(&so)
	}
	st, err := store.Open(o.Dir, so)
	if err != nil {
		return nil, err
	}
	n := &OSD{Store: st}
	n.session, err = monclient.Open(monclient.Options{Mons: o.Mons, Log: o.Log, Self: func() wire.Identity {
		id := st.Identity()
		if id.Cluster.IsZero() {
			return wire.Identity{Entity: "osd"}
		}
		return wire.Identity{Entity: id.OSD.String(), Cluster: id.Cluster, Incarnation: id.Incarnation}
	}})
	if err != nil {
		st.Close()
		return nil, err
	}
	n.mons = &monitors{Session: n.session}
	oo := osd.Options{
		Store: st, Monitors: n.mons, Listen: o.Listen, Advertise: o.Advertise, TCPOnly: o.TCPOnly, Class: o.Class,
		Location: o.Location, Log: o.Log,
	}
	if o.Tune != nil {
		o.Tune(&oo)
	}
	stop := n.complain(o.Log)
	n.OSD, err = osd.Start(ctx, oo)
	stop()
	if err != nil {
		n.session.Close()
		st.Close()
		return nil, err
	}
	n.care = startCare(n.OSD, o.Mons, o.Log, o.TuneCare)
	return n, nil
}

// complain says now and then what a start waits for, until stop is called.
func (n *OSD) complain(log *slog.Logger) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // until stop
		t := time.NewTicker(5 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				why := strings.TrimPrefix(n.session.Trouble(), "; ")
				if last := n.mons.last.Load(); why == "" && last != nil {
					why = *last
				}
				log.Warn("OSD still waits for the monitors", "osd", n.Store.Identity().OSD, "why", why)
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// makeStore makes a store in a directory that has none. A directory with
// anything else in it is refused by store.Create and left alone.
func makeStore(o OSDOptions) error {
	if fi, err := os.Stat(o.Dir); err == nil && !fi.IsDir() {
		return fmt.Errorf("OSD data directory %s is not a directory: name a directory, and the device or file with --device", o.Dir)
	}
	if vacant, err := store.Vacant(o.Dir, o.Device); err != nil {
		return fmt.Errorf("OSD data directory: %w", err)
	} else if !vacant {
		return nil // store.Open tells whether it is ours
	}
	if err := os.MkdirAll(filepath.Dir(o.Dir), 0o755); err != nil {
		return fmt.Errorf("OSD data directory: %w", err)
	}
	return store.Create(o.Dir, store.CreateOptions{
		JournalBytes: o.JournalBytes, Capacity: o.Capacity, Log: o.Log, Identity: store.Identity{OSD: placement.NoOSD},
		Device: o.Device, Wipe: o.WipeDevice,
	})
}

// Close stops the OSD in good order.
func (n *OSD) Close() error {
	n.care.close()
	err := n.OSD.Close()
	return errors.Join(err, n.release())
}

// Kill stops the OSD without a word to the monitors or its peers.
func (n *OSD) Kill() error {
	n.care.close()
	err := n.OSD.Kill()
	return errors.Join(err, n.release())
}

func (n *OSD) release() error {
	return errors.Join(n.session.Close(), n.Store.Close())
}
