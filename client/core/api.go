package core

import (
	"fmt"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Config configures New. The zero value of every field but Client means "use the default".
type Config struct {
	Client         uint64        // of the request ids; also spreads the retries of different clients
	AttemptTimeout time.Duration // until an OSD that does not answer is asked again; default 5 s
	MaxOps         int64         // operations under way, others wait; default 4096
	MaxBytes       int64         // of operations under way, others wait; default 256 MiB
	MaxWaiting     int           // operations that wait, others are refused; default 65536
}

func (c Config) withDefaults() Config {
	if c.AttemptTimeout <= 0 {
		c.AttemptTimeout = 5 * time.Second
	}
	if c.MaxOps <= 0 {
		c.MaxOps = 4096
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 256 << 20
	}
	if c.MaxWaiting <= 0 {
		c.MaxWaiting = 65536
	}
	return c
}

// Op is an operation as far as its way to the PG's primary is concerned.
type Op struct {
	ID       uint64 // names it in events and effects, and is the sequence number of its request id; never used twice
	Pool     placement.PoolID
	Object   string     // whose PG is asked, by each map anew
	OnePG    bool       // Shard is asked instead: a listing
	Shard    uint32     // with OnePG
	Write    bool       // may change something
	Bytes    int64      // of request and answer, as far as known
	Deadline clock.Mono // when to give up; zero never
}

// Event is something that happened: one of the types below. SubmitEvent and AnswerEvent, of which every operation has
// one, may come as pointers, too; Step does not keep them.
type Event interface{ event() }

// SubmitEvent brings a new operation.
type SubmitEvent struct{ Op Op }

// MapEvent brings a cluster map. One that is not newer than the last is ignored.
type MapEvent struct{ Map *placement.Map }

// AnswerEvent is an OSD's answer to an attempt.
type AnswerEvent struct {
	ID, Attempt uint64
	Code        wirepb.Code
	Epoch       placement.Epoch // of the OSD's map, 0 if it did not say
	Text        string
	Body        bool // it has a body: NOT_FOUND without one speaks of the pool, not of the object
	Reply       any  // the driver's own; comes back in Done
}

// LostEvent says that an attempt will not be answered.
type LostEvent struct {
	ID, Attempt uint64
	Sent        bool  // it may have been sent, and so be carried out
	TooLarge    bool  // it was refused by our own side as too large
	Err         error // why
}

// DialEvent says that the attempt was not sent yet, because a connection has to
// be made first; and with Connected, that it is being sent now.
type DialEvent struct {
	ID, Attempt uint64
	Connected   bool
}

// CancelEvent says that nobody waits for the operation any more.
type CancelEvent struct{ ID uint64 }

// CloseEvent ends everything; later operations are refused.
type CloseEvent struct{}

// TickEvent says that time has passed.
type TickEvent struct{}

func (SubmitEvent) event() {}
func (MapEvent) event()    {}
func (AnswerEvent) event() {}
func (LostEvent) event()   {}
func (DialEvent) event()   {}
func (CancelEvent) event() {}
func (CloseEvent) event()  {}
func (TickEvent) event()   {}

// Effects is what the driver must do after a Step; see the package's description.
type Effects struct {
	Drop      []Drop
	Send      []Send
	Done      []Done
	Newest    bool            // fetch the newest map
	WantEpoch placement.Epoch // fetch a map at least this new, 0: none is wanted
	Suspect   bool            // the monitor that the map came from may be out of date
	Wake      clock.Mono      // when to Step with a TickEvent at the latest, 0: never
}

// Send is an attempt to be made: the operation goes to an OSD.
type Send struct {
	ID, Attempt uint64
	PG          placement.PGID
	OSD         placement.OSDID
	Incarnation uint64
	Addr        string
	Epoch       placement.Epoch // of the map this was decided by
	PGNum       uint32          // of the pool in that map
	Age         time.Duration   // since the first attempt was sent, 0 for the first
}

// Drop is an attempt nobody waits for any more.
type Drop struct {
	ID, Attempt uint64
	Silent      bool // its time was up: its connection may be dead
}

// Done is the end of an operation.
type Done struct {
	ID       uint64
	Err      *Error      // nil: Answer is the result
	Answer   AnswerEvent // of the attempt that succeeded, or that was refused for good
	PG       placement.PGID
	OSD      placement.OSDID // who answered, NoOSD if nobody
	Attempts int
}

// Reason is why an operation has no result.
type Reason uint8

// The reasons.
const (
	Deadline  Reason = iota + 1 // its time was up
	Cancelled                   // the caller went away
	Closed                      // the client was closed
	Busy                        // too many operations wait already
	PoolGone                    // the pool was removed
	TooLarge                    // the request does not fit into a message
	Forgotten                   // the PG no longer knows whether a write was carried out
	Refused                     // a retry of a write that was not answered before was refused; Done.Answer has the code
)

var reasons = [...]string{"", "gave up at the deadline", "cancelled", "client is closed", "too many operations wait", "pool removed", "too large", "outcome forgotten", "outcome unknown"}

func (r Reason) String() string {
	if int(r) < len(reasons) && r > 0 {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error is the final error of an operation.
type Error struct {
	Reason  Reason
	Text    string // the PG, its primary, and what was waited for
	Unknown bool   // it is a write, and an attempt may have been carried out or yet be
}

func (e *Error) Error() string {
	s := e.Reason.String()
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s + e.Outcome()
}

// Outcome is a clause for errors: empty unless nobody knows whether the write took effect.
func (e *Error) Outcome() string {
	if !e.Unknown {
		return ""
	}
	return "; the write may or may not have taken effect"
}
