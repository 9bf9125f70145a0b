package pg

import (
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// defect breaks one rule of the protocol on purpose. Nothing but this package's
// tests can set one: they demand that the simulation, or a script, notices each.
// A checker that finds nothing proves something only if it would have.
type defect uint8

const (
	none           defect = iota
	serveEarly            // a new primary does not wait until its own grants have run out
	readUnleased          // reads are answered without leases
	shrinkEarly           // a member counts as dropped as soon as that is proposed
	serveTail             // reads are answered before the log's tail is committed again
	acceptOldTerm         // followers take writes of an older term's primary
	countLearner          // a learner's acknowledgement stands in for a member's
	ackEarly              // a member acknowledges before its disk has the write
	commitEarly           // the primary does not wait for its own disk
	dropUnion             // only members count, not who may have become one
	keepTail              // objects of dropped entries are not copied again
	completeEarly         // a learner is complete before it has everything
	forgetRequests        // request ids are not remembered
	forgetHorizon         // nor whether they may have been forgotten
	anyEpoch              // leases count whatever map their grantor has
	unlockedPush          // objects are copied while they change
	forgetDirty           // writes during a listing are not noted
	forgetScan            // an interrupted learner does not remember that it dropped entries
	anyListing            // a listing of an earlier stream answers a scan
	anyInfo               // an answer that waited for the disk answers a later query
	unfitLead             // a primary without a copy leads
	holdRefused           // a proposal that was refused is sent again, unchanged
	copyCommitted         // a push waits for the commit of the object's last write
	waitForDead           // nobody is taught before all members are back
)

// is reports whether the group has the defect.
func (c *Config) is(d defect) bool { return c.defect == d }

// onOldTerm is acceptOldTerm: a write of an earlier term's primary is taken as if there were no newer one.
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
