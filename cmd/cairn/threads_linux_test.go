package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

// Every thread of a daemon is SCHED_BATCH, unless it was given another policy, and keeps the niceness it has.
func TestBatchThreads(t *testing.T) {
	before, err := unix.SchedGetAttr(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := uint32(unix.SCHED_BATCH)
	if before.Policy != unix.SCHED_NORMAL {
		want = before.Policy // somebody has chosen one for us
	}
	if err := batchThreads(); err != nil {
		t.Fatal(err)
	}
	err = eachThread("look", func(tid string) error {
		n, err := strconv.Atoi(tid)
		if err != nil {
			return err
		}
		a, err := unix.SchedGetAttr(n, 0)
		if err != nil {
			return err
		}
		if a.Policy != want || a.Nice != before.Nice {
			t.Errorf("thread %d has policy %d and niceness %d, want %d and %d", n, a.Policy, a.Nice, want, before.Nice)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
