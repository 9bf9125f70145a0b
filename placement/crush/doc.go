// Package crush decides which devices hold a piece of data.
//
// A [Map] describes a cluster as a forest of weighted buckets (hosts, racks, ...)
// over devices, together with rules that say how to walk it. [Map.Do] evaluates a
// rule for an input x and returns an ordered list of devices. The answer depends
// on nothing but the map, x and the reweights, so every client and every daemon
// computes it alone.
//
// Three ideas carry the package:
//
//   - The result is bit-exact with Ceph's crushtool for all bucket algorithms,
//     all tunables, firstn and indep, and device-class shadow trees. The vectors
//     in testdata were made by crushtool and prove it. A change that breaks one
//     of them moves data and is never acceptable.
//   - The text language is Ceph's crushmap language: [Parse] reads it and
//     [Map.String] writes it in crushtool's style. Parse(m.String()) gives m back.
//   - A Map is made by Parse, Decode or NewDefault and changed by its builder
//     methods; all of them leave it finalized, with the lookups, shadow trees and
//     bucket tables the mapper needs. A finalized map is only read, so
//     any number of goroutines may use it. To change a published map, Clone it.
//
// The package is pure: no clock, no I/O, no goroutine, no randomness, no log.
// It refuses maps with cycles, with more than the stated limits, with a hash
// other than rjenkins1, and with choose_args blocks (per-pool weight sets).
package crush
