// Package process tells what a process has used of its machine: time on the CPU,
// in user code and in the kernel, and memory. Daemons answer with it when they are
// asked (wirepb.PerfGet); benchmarks compare such answers before and after.
package process

import (
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Usage is what a process has used since its start.
type Usage struct {
	User, System   time.Duration // on the CPU
	Resident, Peak int64         // bytes in memory, now and at most; 0 where the system does not say
}

// CPU is the time on the CPU, in user code and in the kernel.
func (u Usage) CPU() time.Duration { return u.User + u.System }

// Perf makes a daemon's answer of what its process has used.
func (u Usage) Perf() *wirepb.Perf {
	return &wirepb.Perf{UserNs: int64(u.User), SystemNs: int64(u.System), ResidentBytes: u.Resident, PeakBytes: u.Peak}
}

// FromPerf is the reverse of Usage.Perf.
func FromPerf(p *wirepb.Perf) Usage {
	return Usage{
		User: time.Duration(p.GetUserNs()), System: time.Duration(p.GetSystemNs()),
		Resident: p.GetResidentBytes(), Peak: p.GetPeakBytes(),
	}
}
