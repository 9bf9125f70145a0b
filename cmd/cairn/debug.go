package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"
)

// debugServer serves Go's profiles of this process.
type debugServer struct {
	srv  *http.Server
	mux  *http.ServeMux
	done chan struct{}
}

// startDebug listens on an address of this machine only: profiles name what the
// process does, and taking them costs time on the CPU.
func startDebug(addr string, log *slog.Logger) (*debugServer, error) {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, usageErrorf("flag --debug-listen %q: want an address of this machine alone, such as 127.0.0.1:0", addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve profiles on %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	d := &debugServer{mux: mux, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, done: make(chan struct{})}
	go func() { // until close
		defer close(d.done)
		if err := d.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("profiles are not served any more", "err", err)
		}
	}()
	log.Info("profiles are served", "url", "http://"+ln.Addr().String()+"/debug/pprof/")
	return d, nil
}

// device lets whoever debugs slow an OSD's device down: POST slow=10 to it, and slow=1 when it is to be well again.
func (d *debugServer) device(slow func(times float64) error) {
	if d == nil {
		return
	}
	d.mux.HandleFunc("POST /debug/device", func(w http.ResponseWriter, r *http.Request) {
		times, err := strconv.ParseFloat(r.FormValue("slow"), 64)
		if err == nil {
			err = slow(times)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
}

func (d *debugServer) close() {
	if d == nil {
		return
	}
	_ = d.srv.Close() // a profile that is being taken is not worth waiting for
	<-d.done
}
