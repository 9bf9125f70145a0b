// Package mon is the monitor: a member of the small Raft group that owns the
// cluster map.
//
// Four ideas carry the package:
//
//   - What the monitors agree on is package mon/fsm; this package puts its
//     commands into one order with Raft, keeps them on disk, and hands the
//     resulting maps out. The epoch of a map is the Raft index that made it.
//   - Any monitor answers questions from the state it has applied. Changes go
//     to the leading monitor; the others pass them on over the messenger, one
//     hop and no more, and answer TRY_LATER when nobody leads.
//   - Maps travel as deltas by subscription. Every monitor keeps the last few
//     hundred; who is further behind, or reads too slowly, gets a whole map.
//   - Only the leader watches the OSDs. What they report is soft state: a new
//     leader starts with none, and gives every OSD the full time again before
//     it calls it silent.
//
// The package refuses to guess: a directory of another cluster, of another
// monitor or of a newer version, and a command of a newer version in the log,
// stop the monitor with an error that says what to do.
package mon
