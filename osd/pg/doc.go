// Package pg is the replication protocol of one placement group on one OSD, as
// a pure state machine: no clock, no I/O, no goroutine, no randomness, no log.
//
// A Group is told events (a map, a message, a client's operation, the store's
// answers, the passing of time) and returns Effects for its driver to carry
// out. The rules R1 to R7 that it keeps are written down in docs/protocol.md;
// comments name them where the code depends on them. Three ideas carry the rest:
//
//   - The in-sync set is part of the monitors' map. A write commits when every
//     member of it (and of a proposed one) has it on disk; the set changes by
//     compare-and-set only. Hence any member can lead, and its log is the truth.
//   - The log names objects, not bytes. Who lacks entries gets the objects they
//     name, whole; who has entries too many drops them and gets the objects again.
//   - The primary talks to each peer in a numbered stream. Whatever goes wrong
//     between the two (a lost connection, a gap, a restart) has one answer: a new
//     stream that starts with a query.
package pg
