package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Self returns what this process has used.
func Self() (Usage, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return Usage{}, fmt.Errorf("what this process has used: %w", err)
	}
	u := Usage{User: time.Duration(r.Utime.Nano()), System: time.Duration(r.Stime.Nano()), Peak: r.Maxrss << 10}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil { // where it is missing the times are still worth having
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			u.Resident = pages * int64(os.Getpagesize())
		}
	}
	return u, nil
}

// clockTick is the unit of CPU times in /proc: 100 a second on every Linux that
// Go runs on.
const clockTick = time.Second / 100

// Of returns what another process has used. Its times are in units of 10 ms.
func Of(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("what process %d has used: %w", pid, err)
	}
	// The name, in parentheses, may have spaces; fields 14 and 15 are the times, 24 pages in memory.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 22 {
		return Usage{}, fmt.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(f))
	}
	var n [3]int64
	for i, field := range []int{11, 12, 21} {
		if n[i], err = strconv.ParseInt(f[field], 10, 64); err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return Usage{User: time.Duration(n[0]) * clockTick, System: time.Duration(n[1]) * clockTick, Resident: n[2] * int64(os.Getpagesize())}, nil
}
