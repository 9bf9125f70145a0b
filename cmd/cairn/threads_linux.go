package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much the kernel may delay the timers of a daemon's threads, or a benchmark's.
//
// While there is anything to do the Go runtime has one thread that sleeps for 20 us,
// looks around, and sleeps again. With the kernel's usual slack of 50 us a busy OSD is
// woken thousands of times a second for that alone, a tenth of its time on the CPU.
// No timer of ours is so short that two milliseconds matter. What that thread does, to let other goroutines run in the
// place of one that waits in the kernel, comes later then; mostly another place is free.
const timerSlack = 2 * time.Millisecond

// slackTimers sets the slack of all threads there are; later ones inherit it.
// Only a privileged process may do it for other threads than the calling one.
func slackTimers() error {
	return eachThread("slack of timers", func(tid string) error {
		return os.WriteFile("/proc/"+tid+"/timerslack_ns", []byte(strconv.FormatInt(int64(timerSlack), 10)), 0)
	})
}

// batchThreads makes all threads there are SCHED_BATCH (sched(7)); later ones inherit it. On a busy processor
// such a thread waits for its turn when it is woken, instead of taking the place of the one that runs: a daemon then
// finds more messages at a time, and what costs something for each wake, write to a socket or to the journal is
// shared by more operations. On a processor with nothing else to do nothing changes.
func batchThreads() error {
	return eachThread("scheduling policy", func(tid string) error {
		n, err := strconv.Atoi(tid)
		if err != nil {
			return err
		}
		a, err := unix.SchedGetAttr(n, 0)
		if err != nil {
			return err
		}
		if a.Policy != unix.SCHED_NORMAL { // somebody has chosen another one for us
			return nil
		}
		a.Policy = unix.SCHED_BATCH
		return unix.SchedSetAttr(n, a, 0)
	})
}

// yieldProcessor lets the processor go to whatever waits for it, on a busy one: clients and other OSDs that are about
// to send something. Where nothing waits it comes back at once.
func yieldProcessor() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// eachThread calls f with the number of every thread there is.
func eachThread(what string, f func(tid string) error) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, t := range threads {
		err := f(t.Name())
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // the thread has ended
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}
