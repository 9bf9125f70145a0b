// Package placement is the part of cairn that every client and daemon shares:
// the cluster map, its encoding and its deltas, and the pure functions that
// lead from a name to a PG and from a PG to OSDs. It has no clock, no I/O, no
// goroutine and no randomness: the same map gives the same answer everywhere.
//
// Three ideas: a Map is immutable once published and carries an epoch; a name
// falls into one of a pool's PGs by hash with stable modulo, so that a pool
// grows by splitting; and CRUSH (package crush) names a PG's target OSDs,
// while the PG's record in the map says which OSDs hold its acknowledged
// writes now.
package placement
