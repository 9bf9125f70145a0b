package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// timerSlack is by how much the kernel may delay the timers of a daemon's threads, or a benchmark's.
//
// While there is anything to do the Go runtime has one thread that sleeps for 20 us,
// looks around, and sleeps again. With the kernel's usual slack of 50 us a busy OSD is
// woken thousands of times a second for that alone, a tenth of its time on the CPU.
// No timer of ours is so short that half a millisecond matters.
const timerSlack = 500 * time.Microsecond

// slackTimers sets the slack of all threads there are; later ones inherit it.
// Only a privileged process may do it for other threads than the calling one.
func slackTimers() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("slack of timers: %w", err)
	}
	for _, t := range threads {
		err := os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", []byte(strconv.FormatInt(int64(timerSlack), 10)), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the thread has ended
			return fmt.Errorf("slack of timers: %w", err)
		}
	}
	return nil
}
