// Package objop evaluates compound object operations: given the state of one
// object and a request, what is the answer and what changes.
//
// It is pure. Execute reads the object through a store.Reader and returns the
// changes as store operations; it never applies them. The same request on the
// same state always gives the same outcome, so the primary of a PG, the
// in-memory pool of client/clienttest and the simulator agree on every detail.
//
// The rules, in one place:
//
//   - All conditions are checked first, in their order; the first that fails
//     fails the whole request. Then the other operations run in their order.
//   - Reads see the object as it was before the request, writes see the effect
//     of the writes before them. Any failure means that nothing changes.
//   - A missing object has version 0, no attributes and no omap. Reading it is
//     NOT_FOUND. Writes that give it something create it; writes that only take
//     something away (ZERO, RM_ATTR, OMAP_RM, OMAP_RM_RANGE, OMAP_CLEAR) leave
//     it missing and are no error.
//   - OMAP_ADD adds to counters that share a key: what is missing is 0. It fails with
//     CONFLICT when a counter that it raises, or with the flag any, would be above its
//     bound. A request has one at most, and no other write of its key.
//   - READ answers in the reply's payload, except in a request that also writes:
//     there it answers in the result's value, because only the OpReply is kept
//     in the PG log for retries.
//
// It knows nothing of versions to come: the PG adds store.OpSetVersion and
// fills OpReply.Version when it has given the change its log position.
package objop
