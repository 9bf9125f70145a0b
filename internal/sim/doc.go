// Package sim is the whole cluster in one thread: three monitors over the real
// mon/fsm, OSDs with the real osd/pg, osd/objop and the in-memory store, and
// clients, under one seeded scheduler with a virtual clock, a virtual network
// and virtual disks. A seed is a run: the same seed gives the same run, message
// by message.
//
// Three ideas carry it:
//
//   - Everything that takes time is an event in one queue (world.go). Nothing
//     else happens, so a run can be repeated, and an hour takes a second.
//   - A seed draws which faults there are and how many (fault.go, "swarm"):
//     a run with few kinds of faults reaches what a run with all never would.
//   - Checkers (check_*.go) look after each step, and at the end when the faults
//     are over. Each is an invariant of docs/protocol.md.
//
// It refuses to be clever about what is correct: a checker never asks the code
// under test whether something is all right. That the checkers see anything is
// shown by mutants, rules that are broken on purpose (mutant_test.go).
package sim
