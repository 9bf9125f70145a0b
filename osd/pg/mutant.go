package pg

import (
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Mutant breaks one rule of the protocol on purpose. New refuses to make one outside
// of tests. They demand that the simulation (internal/sim), or a script, notices each:
// a checker that finds nothing proves something only if it would have.
type Mutant uint8

// The mutants. A new one also gets its name in mutantNames, and a row in the table of
// internal/sim or in that of this package's scripts.
const (
	NoMutant       Mutant = iota
	ServeEarly            // a new primary does not wait until its own grants have run out
	ReadUnleased          // reads are answered without leases
	ShrinkEarly           // a member counts as dropped as soon as that is proposed
	ServeTail             // reads are answered before the log's tail is committed again
	AcceptOldTerm         // followers take writes of an older term's primary
	CountLearner          // a learner's acknowledgement stands in for a member's
	AckEarly              // a member acknowledges before its disk has the write
	CommitEarly           // the primary does not wait for its own disk
	DropUnion             // only members count, not who may have become one
	KeepTail              // objects of dropped entries are not copied again
	CompleteEarly         // a learner is complete before it has everything
	ForgetRequests        // request ids are not remembered
	ForgetHorizon         // nor whether they may have been forgotten
	AnyEpoch              // leases count whatever map their grantor has
	UnlockedPush          // objects are copied while they change
	ForgetDirty           // writes during a listing are not noted
	ForgetScan            // an interrupted learner does not remember that it dropped entries
	AnyListing            // a listing of an earlier stream answers a scan
	AnyInfo               // an answer that waited for the disk answers a later query
	UnfitLead             // a primary without a copy leads
	HoldRefused           // a proposal that was refused is sent again, unchanged
	CopyCommitted         // a push waits for the commit of the object's last write
	WaitForDead           // nobody is taught before all members are back
	NoReadRepair          // a copy that cannot be read is not replaced
	PullAnything          // a copy is replaced by whatever version a peer has
	UnlockedRepair        // objects are repaired while they change
	TrustPages            // what differs in a scrub's pages is not looked at again
	PrimaryIsRight        // the primary's copy is right, whatever the others hold
	LookEarly             // a member describes its copy before its disk has all that it received
	ShrinkToTarget        // a move drops good copies though there are too few
	AnyAge                // writes are executed whatever map their client had
	AnyWord               // a new primary believes whoever has led at any time
	WordUnserved          // who has led without serving says that it served
	GrowEarly             // members are added before own grants have run out
	AwaitRoom             // a member that has no space for what it must have is waited for
	FillDisks             // writes are executed though a member has no space for them
	KeepCursor            // a learner that drops entries keeps how far its backfill has come
	SkipLeft              // a resumed backfill copies nothing left of where it goes on
	AnyActs               // a new primary waits for the leases of nobody who acts on some map

	ChildWithoutLog // a PG that is split off does not get its parent's log
	LeadUnsplit     // a primary leads before its copy is divided
	FollowUnsplit   // a member answers before its copy is divided
	ForgetSplit     // a crash makes the PG forget what its split led to
	AnyObject       // objects that belong to another PG are served
	KeepForcedLog   // a primary that was forced goes on with the log of its incomplete copy
	ForgetTouched   // what changed within an object is what its newest entry says
	DeltaAfterTrim  // what changed within an object is what is left of the log
	SurelyNot       // a write that was logged when its primary was deposed is refused like one that never was
	ForgetOutbox    // references that a write makes vanish are not noted
	OutboxAfter     // they are noted by an entry behind that of the write
)

var mutantNames = [...]string{
	NoMutant:       "none",
	ServeEarly:     "serve early",
	ReadUnleased:   "read unleased",
	ShrinkEarly:    "shrink early",
	ServeTail:      "serve the tail",
	AcceptOldTerm:  "accept an old term",
	CountLearner:   "count a learner",
	AckEarly:       "ack early",
	CommitEarly:    "commit early",
	DropUnion:      "drop the union",
	KeepTail:       "keep the tail",
	CompleteEarly:  "complete early",
	ForgetRequests: "forget requests",
	ForgetHorizon:  "forget the horizon",
	AnyEpoch:       "any epoch",
	UnlockedPush:   "unlocked push",
	ForgetDirty:    "forget dirty",
	ForgetScan:     "forget scan",
	AnyListing:     "any listing",
	AnyInfo:        "any info",
	UnfitLead:      "unfit lead",
	HoldRefused:    "hold a refused proposal",
	CopyCommitted:  "copy committed only",
	WaitForDead:    "wait for the dead",
	NoReadRepair:   "no read repair",
	PullAnything:   "pull anything",
	UnlockedRepair: "unlocked repair",
	TrustPages:     "trust pages",
	PrimaryIsRight: "the primary is right",
	LookEarly:      "look early",
	ShrinkToTarget: "shrink to the target",
	AnyAge:         "any age",
	AnyWord:        "any word",
	WordUnserved:   "word of the unserved",
	GrowEarly:      "grow early",
	AwaitRoom:      "await room",
	FillDisks:      "fill disks",
	KeepCursor:     "keep the cursor",
	SkipLeft:       "skip what is left",
	AnyActs:        "any acts",

	ChildWithoutLog: "child without a log",
	LeadUnsplit:     "lead unsplit",
	FollowUnsplit:   "follow unsplit",
	ForgetSplit:     "forget the split",
	AnyObject:       "any object",
	KeepForcedLog:   "keep a forced log",
	ForgetTouched:   "forget touched",
	DeltaAfterTrim:  "delta after trim",
	SurelyNot:       "surely not",
	ForgetOutbox:    "forget the outbox",
	OutboxAfter:     "outbox after",
}

func (m Mutant) String() string { return mutantNames[m] }

// Mutants returns all of them.
func Mutants() []Mutant {
	var all []Mutant
	for m := range mutantNames {
		if Mutant(m) != NoMutant {
			all = append(all, Mutant(m))
		}
	}
	return all
}

// is reports whether the group is the mutant.
func (c *Config) is(m Mutant) bool { return c.Mutant == m }

// refuseMutants keeps broken rules out of clusters that somebody relies on.
func (c *Config) refuseMutants() {
	if c.Mutant != NoMutant && !testing.Testing() {
		panic("pg: " + c.Mutant.String() + ": a mutant outside of a test")
	}
}

// onOldTerm is AcceptOldTerm: a write of an earlier term's primary is taken as if there were no newer one.
func (g *Group) onOldTerm(ev MsgEvent) {
	r, m := ev.Msg.GetReplicate(), ev.Msg
	if m.Stream != g.fol.stream || m.N != g.fol.nIn+1 || !g.fol.live || fromPos(r.Prev) != g.log.head() {
		return
	}
	ops, err := opsFromMutations(g.objKey(string(r.Entry.Object)), r.Mutations, ev.Payload)
	if err != nil {
		return
	}
	g.fol.nIn++
	g.log.append(r.Entry)
	g.persist(append(ops, g.opEntry(r.Entry)), func() {
		g.fol.nOut++
		g.fx.Send = append(g.fx.Send, Out{To: ev.From, Msg: g.msg(placement.Term(m.Term), m.Stream, g.fol.nOut,
			&wirepb.PGMsg_Acked{Acked: &wirepb.PGAcked{Pos: r.Entry.Pos}})})
	})
}
