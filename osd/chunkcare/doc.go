// Package chunkcare is the background work on chunks (docs/chunks.md): it runs beside an OSD, for the PGs that the OSD
// leads and the shards that it holds.
//
//   - Outbox: references that objects dropped are taken out of the chunks' entries.
//   - GC: entries without references are condemned, and deleted two GC intervals later with their shards.
//   - Audit: both sides of every reference are compared. What only one side knows of is healed or reported.
//   - Repair: shards that are missing, damaged or in the wrong place are made anew from the others.
//
// It is a client of the cluster like any other: every change of an entry or an object is an operation with conditions
// on it, so that it does not matter who else works on the same chunk, nor where a crash ends it. All that it knows
// itself can be found again. What it needs of the world it declares as interfaces; it has no goroutines of its own
// besides those of Run and, if Options.Parallel is above 1, helpers within one step.
package chunkcare
