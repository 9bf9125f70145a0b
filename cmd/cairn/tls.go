package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/internal/tlscert"
)

// tlsFlags are those of a daemon that shows certificates.
type tlsFlags struct {
	certs, keys []string
	least       string
}

func (f *tlsFlags) register(cmd *cobra.Command, what string) {
	cmd.Flags().StringSliceVar(&f.certs, "tls-cert", nil, "files with certificates for "+what+", in PEM form with those of their issuers; read again when they change, and on SIGHUP. With several, clients get the one for the name they ask for")
	cmd.Flags().StringSliceVar(&f.keys, "tls-key", nil, "files with the keys of --tls-cert, in the same order")
	cmd.Flags().StringVar(&f.least, "tls-min-version", "1.2", "oldest version of TLS to speak: 1.2 or 1.3")
}

// open reads the certificates. nil: there are none. stop ends what SIGHUP does.
func (f *tlsFlags) open(log *slog.Logger) (s *tlscert.Store, stop func(), err error) {
	stop = func() {}
	if len(f.certs)+len(f.keys) == 0 {
		return nil, stop, nil
	}
	files, err := tlscert.Pair(f.certs, f.keys)
	if err != nil {
		return nil, stop, usageErrorf("flags --tls-cert and --tls-key: %v", err)
	}
	if s, err = tlscert.Open(tlscert.Options{Files: files, MinVersion: f.least, Log: log}); err != nil {
		return nil, stop, err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-hup:
				if err := s.Reload(); err != nil {
					log.Warn("certificates are not taken over: the old ones stay in use", "err", err)
				}
			}
		}
	}()
	return s, func() { signal.Stop(hup); close(done); <-ended }, nil
}

// trust makes a client's configuration that trusts the certificates in a file, "" for those that the system trusts.
func trust(e *env, file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	pem, err := e.readFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates to trust: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates to trust: %s has none in PEM form", file)
	}
	return c, nil
}

// adminHTTP is what speaks to monitors whose certificates only the file in CAIRN_ADMIN_CA vouches for; nil: there is none.
func (e *env) adminHTTP() (*http.Client, error) {
	file := e.getenv("CAIRN_ADMIN_CA")
	if file == "" {
		return nil, nil
	}
	c, err := trust(e, file)
	if err != nil {
		return nil, fmt.Errorf("CAIRN_ADMIN_CA: %w", err)
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: c, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 3 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

var errNoCert = errors.New("--tls-listen needs --tls-cert and --tls-key")
