package pg

import (
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Config configures a Group. Zero values of the optional fields mean the defaults.
type Config struct {
	Self   placement.OSDID // required
	Leases *Leases         // required

	Throttle *Throttle // shared by all groups of an OSD; default one of the group's own

	LogMax      int           // log entries kept in any case, and with them request ids; default 2000
	LogKeep     time.Duration // entries are kept for this long, as far as the limits below allow; default 2 min, negative: their age does not matter
	LogHard     int           // entries kept at most; default two and a half times LogMax
	LogBytes    int           // bytes of entries kept at most; default 1 MiB
	InFlightMax int           // writes under way in the group; default 256
	QueueMax    int           // client operations that wait for the group; default 4096
	PushMax     int           // objects pushed to one peer at a time; default 4
	AckTimeout  time.Duration // silence after which a member is dropped; default 3 s
	RetryAfter  time.Duration // pause before a broken stream or a proposal is tried again; default 100 ms
	ScanLimit   int           // objects compared at a time by backfill; default 256
	HomeAfter   time.Duration // a PG stays with its primary this long before it goes back to its first target; default 1 min

	ScrubObjects int // objects compared at a time by scrubs; default 64

	// ScrubPatience is how long the description of a page may take; default 10 min, since a slow disk with
	// much else to do must not keep scrubs from ever ending. A message of a scrub that was lost is found out
	// when the next write of the PG leaves a gap behind it, or then.
	ScrubPatience time.Duration

	Mutant Mutant // a rule that is broken on purpose; New refuses it outside of tests
}

func (c Config) withDefaults() Config {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&c.LogMax, 2000)
	set(&c.LogHard, 5*c.LogMax/2)
	set(&c.LogBytes, 1<<20)
	if c.LogKeep == 0 {
		c.LogKeep = 2 * time.Minute
	}
	set(&c.InFlightMax, 256)
	set(&c.QueueMax, 4096)
	set(&c.PushMax, 4)
	set(&c.ScanLimit, 256)
	set(&c.ScrubObjects, 64)
	if c.ScrubPatience <= 0 {
		c.ScrubPatience = 10 * time.Minute
	}
	if c.AckTimeout <= 0 {
		c.AckTimeout = 3 * time.Second
	}
	if c.HomeAfter <= 0 {
		c.HomeAfter = time.Minute
	}
	if c.Throttle == nil {
		c.Throttle = NewThrottle(Limits{})
	}
	if c.RetryAfter <= 0 {
		c.RetryAfter = 100 * time.Millisecond
	}
	return c
}

// Event is something a Group is told. The types below are all there are.
type Event interface{ event() }

// View is the part of a cluster map that concerns one PG.
type View struct {
	Epoch   placement.Epoch
	Exists  bool // false: the pool is gone
	Record  placement.PGRecord
	Target  []placement.OSDID // CRUSH's answer, up or not
	Peers   map[placement.OSDID]Peer
	Size    int
	MinSize int
	Flags   placement.Flags

	PGNum      uint32 // of the pool; 0: not known, nothing splits
	FirstPGNum uint32 // of the pool when it was made
}

// Peer is what the map says of an OSD that matters to the PG.
type Peer struct {
	Up          bool
	Incarnation uint64
	Full        placement.Fullness
	Shunned     bool // another should lead, its device is slow
}

func (v *View) up(id placement.OSDID) bool { return v.Peers[id].Up }

// Handle names a client's request between the driver and the group.
type Handle uint64

// The events.
type (
	// MapEvent: the OSD acts on a newer map.
	MapEvent struct{ View View }
	// MsgEvent: a peer's message. The driver delivers it only when the OSD's map is at least
	// as new as the sender's was (R5). The group uses Payload during the Step only; what is to be
	// kept of it is in the Persist effects of that Step.
	MsgEvent struct {
		From    placement.OSDID
		Msg     *wirepb.PGMsg
		Payload []byte
	}
	// ResetEvent: the connection from or to a peer broke, or a send failed; messages may be lost.
	ResetEvent struct{ Peer placement.OSDID }
	// OpEvent: a client's operation (already validated), or a listing when Op is nil. The group uses
	// Payload, and the Ops that an ExecutedEvent made of it, until the Step that answers the
	// Handle; its effects are the last that have to do with it.
	OpEvent struct {
		Handle  Handle
		Op      *wirepb.OpRequest
		List    *wirepb.PGList
		Payload []byte
		Write   bool
		Wall    int64 // unix nanoseconds now, for the age of request ids
		// Epoch of the map its client acted on when it sent this attempt. A write of an earlier map than the
		// one that began the primary's term is not executed. Zero: not known, as in tests.
		Epoch placement.Epoch
		Grows bool // a write that may need more space ...
		Full  bool // ... of which our own store has not enough
	}
	// ExecutedEvent answers an Exec effect.
	ExecutedEvent struct {
		Handle  Handle
		Code    wirepb.Code
		Text    string
		Reply   *wirepb.OpReply
		List    *wirepb.PGListReply
		Payload []byte
		Mem     *slab.Buf       // memory of Payload, or nil; the Reply has it
		Mutates bool            // it succeeded as a write: it needs a log entry even if Ops is empty
		Ops     []store.Op      // what it changes
		Drops   []chunk.Dropped // references to chunks that vanish with it
		Removed bool            // the object does not exist afterwards
	}
	// PersistedEvent answers a Persist effect; in order.
	PersistedEvent struct {
		ID  uint64
		Err error
	}
	// ReadEvent answers a Read effect.
	ReadEvent struct {
		Token uint64
		Piece Piece
		Err   error
	}
	// ListedEvent answers a List effect.
	ListedEvent struct {
		Token   uint64
		Objects []store.ListEntry
		More    bool
		Err     error
	}
	// ProposedEvent answers a Propose effect: the code of the monitors' reply, and the epoch that holds the change.
	ProposedEvent struct {
		Token uint64
		Code  wirepb.Code
		Epoch placement.Epoch
	}
	// LookedEvent answers a Look effect.
	LookedEvent struct {
		Token uint64
		Items []*wirepb.ScrubItem // by name
		More  bool
		Err   error
	}
	// ScrubEvent asks a primary to scrub the PG, or only tells it the time so that it can note since when
	// the PG is there.
	ScrubEvent struct {
		Start  bool
		Deep   bool
		Repair bool  // an administrator decides: where nothing tells which copy is right, the primary's is
		Wall   int64 // unix nanoseconds now
	}
	// TickEvent: time passed, or a lease was renewed.
	TickEvent struct{}
)

func (MapEvent) event()       {}
func (MsgEvent) event()       {}
func (ResetEvent) event()     {}
func (OpEvent) event()        {}
func (ExecutedEvent) event()  {}
func (PersistedEvent) event() {}
func (ReadEvent) event()      {}
func (ListedEvent) event()    {}
func (LookedEvent) event()    {}
func (ScrubEvent) event()     {}
func (ProposedEvent) event()  {}
func (TickEvent) event()      {}

// Effects is what the driver must do after a Step, in any order except that
// Persist batches reach the store in order.
type Effects struct {
	Persist []Persist
	Send    []Out
	Reply   []Reply
	Exec    []Exec
	Read    []Read
	List    []List
	Look    []Look
	Notices []Notice
	Propose *Proposal
	Wake    clock.Mono // when to send a TickEvent at the latest; zero: no need
	Forget  bool       // the group is gone: drop it
	// Reload: the store had no space for a batch, and none of what followed took effect. Drop the group and
	// make it anew from the store. Whatever was asked for this one is void.
	Reload bool
	// Failed: the group leads, and its store failed: stop the OSD.
	Failed error
}

// Persist is a batch for the store. It is answered by a PersistedEvent once it is durable or has failed.
// Once one has failed, none that follow may take effect (store.Line).
type Persist struct {
	ID  uint64
	Ops []store.Op
	// Reserve: it may use the space that the store keeps back. Everything may but the objects that a
	// learner is taught: nobody waits for them.
	Reserve bool
}

// Out is a message to a peer. Payload is sent in pieces without joining them. The driver must have
// taken them, or become a user of Mem, before it carries out the Replies.
type Out struct {
	To      placement.OSDID
	Msg     *wirepb.PGMsg
	Payload [][]byte
	Mem     *slab.Buf // memory that Payload lies in, as far as it is known
}

// Reply is the answer to a client's request.
type Reply struct {
	Handle  Handle
	Code    wirepb.Code
	Text    string
	Reply   *wirepb.OpReply
	List    *wirepb.PGListReply
	Payload []byte
	Mem     *slab.Buf // memory of Payload, whose user the driver is; nil: the garbage collector's
}

// Exec asks the driver to evaluate a request against the store (osd/objop) and to answer with an ExecutedEvent.
type Exec struct {
	Handle  Handle
	Name    string // the object's
	Op      *wirepb.OpRequest
	List    *wirepb.PGList
	Payload []byte
}

// Cursor says which piece of an object a Read wants: attributes from number
// Attrs on, then bytes from Off, then, with Omap set, pairs after OmapAfter.
type Cursor struct {
	Attrs     int // attributes sent so far
	Off       uint64
	Omap      bool
	OmapAfter []byte
}

// Piece is a part of an object's whole state.
type Piece struct {
	Missing bool // the object does not exist
	Info    store.Info
	Attrs   []store.KV
	Omap    []store.KV
	Off     uint64
	Data    []byte
	Next    Cursor
	Last    bool

	// Of a Read with Parts: where Data comes from, and what does not exist. TooMuch: it is more
	// than was asked for; the other fields are empty.
	Extents         []Extent
	RmAttrs, RmKeys [][]byte
	TooMuch         bool
}

// Bytes is how much of the object it carries: data and pairs of the omap.
func (p *Piece) Bytes() int {
	n := len(p.Data)
	for _, kv := range p.Omap {
		n += len(kv.Key) + len(kv.Value)
	}
	return n
}

// Read asks for a piece of an object, to be answered with a ReadEvent.
type Read struct {
	Token  uint64
	Object string
	At     Cursor
	Parts  *Parts // not nil: only these, all of them in one piece
}

// List asks for a page of the PG's objects, to be answered with a ListedEvent.
type List struct {
	Token uint64
	Of    placement.PGID // another PG, if it is set
	Space store.Space
	After string
	Limit int
}

// In returns the PG whose objects are to be listed for a group of PG own.
func (l *List) In(own placement.PGID) placement.PGID {
	if l.Of != (placement.PGID{}) {
		return l.Of
	}
	return own
}

// Proposal asks the driver to propose a change of the PG's record to the monitors.
type Proposal struct {
	Token  uint64
	Change *wirepb.PGChange
}

// Look asks for a description of copies that the store holds: of one object, which somebody waits for, or
// of a page of objects for a scrub, which nobody waits for. It is answered with a LookedEvent.
type Look struct {
	Token    uint64
	Object   string // not empty: of this one, even if it is missing
	After    string // else of those with names behind After
	Limit    int    // at most so many
	MaxBytes uint64 // and no more when their data comes to this
	Deep     bool   // read everything and give digests
}

// NoticeKind says what a Notice is about.
type NoticeKind uint8

// The kinds of notices.
const (
	ReadFailed   NoticeKind = iota // a copy cannot be read
	Found                          // a scrub found a damaged copy
	Repaired                       // a copy was replaced by a good one
	Inconsistent                   // copies differ, and it is not known which is right
	Unfound                        // no good copy is left
	ScrubStarted
	ScrubEnded
	ScrubStopped // before its end
)

// Notice is something that an administrator wants to know. The driver logs and counts it.
type Notice struct {
	Kind   NoticeKind
	Object string
	OSD    placement.OSDID // whose copy; NoOSD: of none in particular
	Text   string
}
