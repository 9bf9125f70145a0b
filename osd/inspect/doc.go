// Package inspect works on the stores of OSDs that do not run: it checks and repairs them,
// shows what they hold, and takes PGs out of them and puts them into others.
//
// Two ideas: looking never changes a byte of a store, and works on stores that an
// OSD would refuse to start with; and what is put into a store from outside claims
// nothing. An imported copy of a PG is not complete, whatever it was where it was taken
// from, so it never leads and never answers for what was written since: the others
// compare every object of it before it counts, or an administrator makes it the truth by
// force, knowing what that means. See docs/operations/objectstore.md.
//
// It knows stores and PGs; it speaks to no cluster.
package inspect
