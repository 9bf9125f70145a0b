package main

import (
	"testing"

	"github.com/cairnstore/cairn/internal/api"
)

func TestPerfWords(t *testing.T) {
	for _, tt := range []struct {
		o             osdPerf
		word, journal string
	}{
		{osdPerf{}, "ok", "-"},
		{osdPerf{Slow: true, Device: api.Device{Latency: []api.DeviceLatency{{Op: "read", P50: 1}, {Op: "journal", P50: 1500, P99: 80000}}}}, "slow", "1.50/80.00"},
		{osdPerf{Slow: true, Device: api.Device{ReadErrors: 1, WriteErrors: 2, ChecksumErrors: 4, Retries: 8}}, "slow, 7 errors", "-"},
	} {
		if w, j := tt.o.word(), tt.o.latency("journal"); w != tt.word || j != tt.journal {
			t.Errorf("%+v: %q, %q; want %q, %q", tt.o, w, j, tt.word, tt.journal)
		}
	}
}
