// Package core decides, for the object client, whom to ask, when to ask again, when
// to fetch a map and when to give up. It is PURE: a state machine without clock,
// I/O, goroutines or chance, as osd/pg is for a PG. Package client drives it with
// connections and timers; a simulation drives it with virtual ones.
//
// A Core holds the operations of one client: those under way, within limits, and
// those that wait for room. The driver reports what happened as an Event, and
// does what the Effects of each Step say.
//
// # Driving it
//
//	c := core.New(core.Config{Client: id})
//	do(c.Step(now, core.MapEvent{Map: m}))              // the first map, and every newer one
//	do(c.Step(now, core.SubmitEvent{Op: core.Op{ID: 1, Pool: p, Object: "o", Write: true, Deadline: now.Add(time.Minute)}}))
//
// do carries out the effects, in this order:
//
//   - Drop: nobody waits for that attempt any more. A driver that can may take back
//     what was not sent yet; an answer that comes all the same may still be reported
//     and is ignored.
//   - Send: send the request to Send.OSD, for PG Send.PG, with epoch Send.Epoch, the
//     request id {Config.Client, Op.ID} and AgeMs = Send.Age. Then report exactly one
//     of AnswerEvent (code, epoch and text of the answer; Reply is the driver's own
//     and comes back in Done) or LostEvent (no answer will come: the connection broke,
//     or none could be made, and then Sent is false). Reporting nothing is what a lost
//     message looks like: the attempt's time will run out.
//   - Done: the operation has its result (Err nil: the answer in Answer, with any code
//     that retrying does not change) or its final Error. Error.Unknown says that a
//     write may have taken effect.
//   - Newest, WantEpoch: fetch a map, the newest a monitor has or one that is at least
//     that new, and report it as a MapEvent.
//   - Suspect: the monitor that maps come from may be out of date; ask another.
//   - Wake: call Step with a TickEvent then, unless another Step comes sooner; its
//     Wake replaces this one.
//
// An attempt counts as sent as soon as Step has returned it, so that a write is
// never taken for surely not done by mistake. A driver that has to connect first, and wants the
// better errors, reports DialEvent before and after.
//
// Slices in Effects are valid until the next Step. Times are the driver's own
// monotonic clock and are compared with nobody else's.
package core
