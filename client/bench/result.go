package bench

import (
	"time"

	"github.com/cairnstore/cairn/internal/process"
)

// Result is what a Run measured.
type Result struct {
	Kind       Kind    `json:"kind"`
	Run        string  `json:"run"`
	Size       int     `json:"size"`
	ObjectSize int     `json:"object_size"`
	Objects    int64   `json:"objects"` // that the run has now
	InFlight   int     `json:"in_flight"`
	Seconds    float64 `json:"seconds"`
	Ops        int64   `json:"ops"`
	OpsPerSec  float64 `json:"ops_per_s"`
	MiBPerSec  float64 `json:"mib_per_s"`
	Latency    Latency `json:"latency_ms"`
	Pause      float64 `json:"longest_pause_ms"` // in which no operation ended
	CPU        CPU     `json:"cpu"`
}

// Latency is how long operations took, in milliseconds.
type Latency struct {
	Min  float64 `json:"min"`
	Avg  float64 `json:"avg"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

// CPU is what a run cost in time on the CPU.
type CPU struct {
	Client  Share   `json:"client"`
	Daemons []Share `json:"daemons"`
	Total   Share   `json:"total"`
}

// Share is one process' part of that, or the sum.
type Share struct {
	Name     string  `json:"name"`
	User     float64 `json:"user_s"`
	System   float64 `json:"system_s"`
	PerOp    float64 `json:"us_per_op"`
	PerGiB   float64 `json:"s_per_gib"`
	Resident int64   `json:"resident_bytes"` // at the end
	Lost     bool    `json:"lost,omitempty"` // it was started anew meanwhile, or does not answer: its share is unknown
}

func (r *run) result(h *histogram, took time.Duration, self process.Usage, before, after []Daemon) *Result {
	bytes := float64(h.n) * float64(r.o.Size)
	return &Result{
		Kind: r.o.Kind, Run: r.o.Run, Size: r.o.Size, ObjectSize: r.o.ObjectSize, InFlight: r.o.InFlight,
		Seconds: took.Seconds(), Ops: int64(h.n), OpsPerSec: float64(h.n) / took.Seconds(), MiBPerSec: bytes / (1 << 20) / took.Seconds(),
		Latency: latencyOf(h), Pause: ms(r.pauses.longest()), CPU: costOf(int64(h.n), bytes, self, before, after),
	}
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func latencyOf(h *histogram) Latency {
	return Latency{
		Min: ms(h.min), Avg: ms(h.mean()), P50: ms(h.quantile(.5)), P90: ms(h.quantile(.9)),
		P99: ms(h.quantile(.99)), P999: ms(h.quantile(.999)), Max: ms(h.max),
	}
}

// costOf shares what was used out among operations and bytes. before and after are two looks at the daemons.
func costOf(ops int64, bytes float64, self process.Usage, before, after []Daemon) CPU {
	share := func(name string, u process.Usage) Share {
		s := Share{Name: name, User: u.User.Seconds(), System: u.System.Seconds(), Resident: u.Resident}
		if ops > 0 {
			s.PerOp = float64(u.CPU()) / 1e3 / float64(ops)
		}
		if bytes > 0 {
			s.PerGiB = u.CPU().Seconds() / (bytes / (1 << 30))
		}
		return s
	}
	total := self
	total.Resident = 0
	c := CPU{Client: share("client", self), Daemons: []Share{}}
	was := map[string]process.Usage{}
	for _, d := range before {
		was[d.Name] = d.Usage
	}
	for _, d := range after {
		b, ok := was[d.Name]
		delete(was, d.Name)
		if u := diff(b, d.Usage); ok && u.User >= 0 && u.System >= 0 {
			c.Daemons = append(c.Daemons, share(d.Name, u))
			total.User, total.System = total.User+u.User, total.System+u.System
		} else {
			c.Daemons = append(c.Daemons, Share{Name: d.Name, Resident: u.Resident, Lost: true})
		}
	}
	for _, d := range before {
		if _, gone := was[d.Name]; gone {
			c.Daemons = append(c.Daemons, Share{Name: d.Name, Lost: true})
		}
	}
	c.Total = share("total", total)
	return c
}

// diff is what was used between two looks; memory is that of the second.
func diff(a, b process.Usage) process.Usage {
	b.User, b.System = b.User-a.User, b.System-a.System
	return b
}
