// Package fsm is the state that the monitors agree on: the cluster map, the
// users, the central configuration and what is remembered of OSDs that flap.
//
// Three ideas carry the package:
//
//   - Every change is a [Command]. The monitors put commands into one order
//     (with Raft) and apply them; the same commands in the same order give the
//     same state, byte for byte. So the package has no clock, no randomness
//     and no I/O: a command brings its time and its identities along.
//   - [State.Apply] either changes everything a command asks for or nothing. A
//     refusal is a [Result] with a code and a text, not an error. A command
//     that changes nothing does not raise the epoch. The maps that [State.Map]
//     returns are never changed afterwards.
//   - The rules for PG records (pg.go) are the monitors' half of the
//     replication protocol: a new term whenever a PG gets a new primary or its
//     primary restarts, and never, whatever happens, an in-sync set that
//     shrinks unless the PG's own primary asked for it.
//
// A command of an unknown kind, or of a newer version, is not guessed at:
// [Decode] fails with [ErrUnknownCommand], and a monitor that meets one in its
// log must stop, because going on without it would make its state another one
// than its peers'.
//
// docs/formats/mon.md describes the encodings.
package fsm
