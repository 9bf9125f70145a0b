package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/gateways/s3"
)

// accessLogFlag is the file of a gateway's access log.
type accessLogFlag string

// protocolFlags are flags of gateways that concern the protocol and its logs.
func protocolFlags(cmd *cobra.Command, o *s3.Options, file *accessLogFlag) {
	sigV2Flag(cmd, o)
	cmd.Flags().StringSliceVar(&o.WebsiteDomains, "website-domain", nil, "base domains of websites, BUCKET.DOMAIN (s3-website.DOMAIN of each --domain is one)")
	cmd.Flags().StringVar((*string)(file), "access-log", "", "file to which a line is appended for each request, in the format of Amazon's server access logs; opened anew on SIGHUP")
	cmd.Flags().DurationVar(&o.LogFlush, "log-delivery", 5*time.Minute, "how often access logs that buckets ask for are delivered; what is not delivered is lost if the gateway dies")
	cmd.Flags().DurationVar(&o.SlowRequest, "slow-request", 10*time.Second, "explain requests in the log that take longer than this, not counting what their clients take; -1s: none")
}

func sigV2Flag(cmd *cobra.Command, o *s3.Options) {
	cmd.Flags().BoolVar(&o.SigV2, "sigv2", false, "also take requests signed with the older, weaker Signature Version 2")
}

// open opens the file, if there is one, and opens it anew on SIGHUP until close is called.
func (f accessLogFlag) open(o *s3.Options, log *slog.Logger) (close func(), err error) {
	if f == "" {
		return func() {}, nil
	}
	l, err := s3.OpenLogFile(string(f))
	if err != nil {
		return nil, err
	}
	o.AccessLog = l
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ended by the function that is returned
		defer func() { done <- struct{}{} }()
		for {
			select {
			case <-stop:
				return
			case <-hup:
				if err := l.Reopen(); err != nil {
					log.Warn("the access log is not opened anew; the old file is written on", "err", err)
				}
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		stop <- struct{}{}
		<-done
		if err := l.Close(); err != nil {
			log.Warn("close the access log", "err", err)
		}
	}, nil
}
