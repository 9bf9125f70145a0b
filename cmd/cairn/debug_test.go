package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func TestDebugListen(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	for _, addr := range []string{"0.0.0.0:0", ":0", "localhost:0", "192.0.2.1:0", "127.0.0.1", ""} {
		if d, err := startDebug(addr, log); err == nil {
			d.close()
			t.Errorf("%q was taken", addr)
		}
	}
	d, err := startDebug("127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	_, url, _ := strings.Cut(out.String(), "url=")
	r, err := http.Get(strings.TrimSpace(url) + "goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(b), "goroutine profile:") {
		t.Errorf("got %q, %v", b, err)
	}
	var times float64
	d.device(func(x float64) error { times = x; return nil })
	device := strings.TrimSuffix(strings.TrimSpace(url), "pprof/") + "device"
	for slow, want := range map[string]int{"10": http.StatusOK, "fast": http.StatusBadRequest} {
		r, err := http.PostForm(device, map[string][]string{"slow": {slow}})
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("slow=%s: got %s, want %d", slow, r.Status, want)
		}
	}
	if times != 10 {
		t.Errorf("the device is %g times as slow, want 10", times)
	}
}
