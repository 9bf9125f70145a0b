package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestSlackTimers(t *testing.T) {
	err := slackTimers()
	if errors.Is(err, os.ErrPermission) {
		return // as it says
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/timerslack_ns") // of the first thread
	if got := strings.TrimSpace(string(b)); err != nil || got != strconv.Itoa(int(timerSlack)) {
		t.Errorf("got %q, %v, want %d", got, err, timerSlack)
	}
}
