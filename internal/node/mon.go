package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/admin"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

// MonOptions configures StartMon.
type MonOptions struct {
	mon.Options
	AdminListen string      // host:port of the REST server; default 127.0.0.1:0
	AdminToken  string      // bearer token REST requests must carry; default none
	AdminTLS    *tls.Config // of the REST server; default plain HTTP
	S3Pool      string      // pool of the S3 namespace, for `bucket` commands; default DefaultS3Pool
	// Config is put into the central configuration once a monitor leads; other values stay.
	Config map[string]string
}

// DefaultS3Pool is the pool that S3 gateways keep buckets in unless told otherwise.
const DefaultS3Pool = "s3"

// Mon is a running monitor with its REST server.
type Mon struct {
	*mon.Monitor
	Admin     *admin.Server
	AdminAddr string

	o      MonOptions
	log    *slog.Logger
	peers  *wire.Peers
	cancel context.CancelFunc // ends configure
	wg     sync.WaitGroup

	mu      sync.Mutex // guards below
	client  *client.Client
	buckets *bucket.Service
}

// StartMon opens the monitor's directory and starts it and its REST server.
func StartMon(o MonOptions) (*Mon, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.AdminListen == "" {
		o.AdminListen = "127.0.0.1:0"
	}
	if o.S3Pool == "" {
		o.S3Pool = DefaultS3Pool
	}
	ln, err := net.Listen("tcp", o.AdminListen)
	if err != nil {
		return nil, fmt.Errorf("monitor %s: REST server: %w", o.Name, err)
	}
	if o.AdminAddr == "" {
		o.AdminAddr = ln.Addr().String()
	}
	if o.AdminTLS != nil {
		ln = tls.NewListener(ln, o.AdminTLS)
	}
	n := &Mon{o: o, log: o.Log, AdminAddr: o.AdminAddr}
	if n.Monitor, err = mon.New(o.Options); err != nil {
		ln.Close()
		return nil, err
	}
	n.peers = wire.NewPeers(wire.Options{Self: wire.Identity{Entity: "mon." + o.Name}, Log: o.Log})
	n.Admin, err = admin.New(admin.Options{
		Backend: n.Monitor, Buckets: buckets{n}, Keys: n.keyStore, PGQuery: n.pgQuery, OSDCall: n.osdCall, Log: o.Log, Token: o.AdminToken,
	})
	if err == nil {
		err = n.Monitor.Start()
	}
	if err != nil {
		ln.Close()
		return nil, errors.Join(err, n.peers.Close(), n.Monitor.Close())
	}
	n.wg.Go(func() { // ends with Admin.Close
		if err := n.Admin.Serve(ln); err != nil {
			o.Log.Error("REST server stopped", "mon", o.Name, "err", err)
		}
	})
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	n.wg.Go(func() { n.configure(ctx) }) // ends with its work or cancel
	return n, nil
}

// configure sets the central configuration that the options ask for.
func (n *Mon) configure(ctx context.Context) {
	for _, key := range slices.Sorted(maps.Keys(n.o.Config)) {
		for ctx.Err() == nil {
			err := n.ConfigSet(ctx, key, n.o.Config[key])
			if err == nil {
				break
			}
			if errors.Is(err, api.ErrInvalid) {
				n.log.Error("configuration not set", "mon", n.o.Name, "key", key, "err", err)
				break
			}
			n.log.Debug("configuration not set yet", "mon", n.o.Name, "key", key, "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// Close stops the REST server and the monitor.
func (n *Mon) Close() error {
	n.cancel()
	err := n.Admin.Close()
	n.wg.Wait()
	n.mu.Lock()
	c, b := n.client, n.buckets
	n.client, n.buckets = nil, nil
	n.mu.Unlock()
	if b != nil {
		err = errors.Join(err, b.Close(), c.Close())
	}
	return errors.Join(err, n.peers.Close(), n.Monitor.Close())
}

// pgQuery asks a PG's primary how it is.
func (n *Mon) pgQuery(ctx context.Context, id placement.PGID) (json.RawMessage, error) {
	m := n.Map()
	rec := m.PG(id)
	if rec == nil {
		return nil, fmt.Errorf("PG %s: %w in map epoch %d", id, api.ErrNotFound, m.Epoch)
	}
	o := m.OSD(rec.Primary)
	if o == nil || !o.Up {
		return nil, fmt.Errorf("PG %s has no primary: it waits for one of its in-sync members %v to come back: %w", id, rec.InSync, api.ErrConflict)
	}
	return n.osdCall(ctx, o.ID, &wirepb.Header{Body: &wirepb.Header_PgQueryState{
		PgQueryState: &wirepb.PGQueryState{Pool: uint32(id.Pool), Shard: id.Shard}}})
}

// osdCall asks an OSD for something that it answers with JSON.
func (n *Mon) osdCall(ctx context.Context, to placement.OSDID, h *wirepb.Header) (json.RawMessage, error) {
	o := n.Map().OSD(to)
	if o == nil || !o.Up {
		return nil, fmt.Errorf("%s is down: %w", to, api.ErrTryLater)
	}
	patience := 5 * time.Second
	if h.GetChunkCare().GetWhat() == chunkcare.AskVerifyChunk {
		patience = 30 * time.Second // other OSDs read shards
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := n.peers.Call(ctx, o.Addr, &wire.Message{Header: h})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	return r.Header.GetPgQueryStateReply().GetJson(), nil
}

// service connects to the cluster when the first request about buckets comes.
func (n *Mon) service(ctx context.Context) (*bucket.Service, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.buckets != nil {
		return n.buckets, nil
	}
	c, err := client.Connect(ctx, client.Options{Mons: []string{n.Self().Addr}, Entity: "client.admin." + n.o.Name, Log: n.log, Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	p, err := c.Pool(ctx, n.o.S3Pool)
	if err != nil {
		c.Close()
		return nil, err
	}
	s, err := bucket.NewService(bucket.Options{Meta: p, Data: p, Log: n.log})
	if err != nil {
		c.Close()
		return nil, err
	}
	n.client, n.buckets = c, s
	return s, nil
}
