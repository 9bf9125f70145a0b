// Package clock gives time its type. State machines get the time as an argument
// of type Mono; only drivers ask a Source for it, so that a simulator can be one.
package clock

import "time"

// Mono is a reading of a monotonic clock in nanoseconds from an arbitrary
// start. Readings of two processes cannot be compared. Zero means "never" in
// fields that hold a deadline.
type Mono int64

// Add returns m shifted by d.
func (m Mono) Add(d time.Duration) Mono { return m + Mono(d) }

// Sub returns the time from o to m.
func (m Mono) Sub(o Mono) time.Duration { return time.Duration(m - o) }

// Source tells the time.
type Source interface {
	Mono() Mono
	Wall() time.Time
}

// System is the machine's clock. Make it with NewSystem.
type System struct{ start time.Time }

// NewSystem returns a clock whose Mono starts at one second, so that no reading is the zero "never".
func NewSystem() System { return System{start: time.Now().Add(-time.Second)} }

// Mono returns the time since the clock was made, plus one second.
func (s System) Mono() Mono { return Mono(time.Since(s.start)) }

// Wall returns the calendar time.
func (s System) Wall() time.Time { return time.Now() }
