// Package osd is the storage daemon: it gives one store (osd/store) a place in
// the cluster and drives the PGs it has a part in (osd/pg).
//
// The package owns the goroutines, clocks and connections that the protocol's
// state machines do not have. Groups are spread over a few shards; a shard has a
// mailbox, and everything that concerns a group (maps, messages, clients' operations,
// the store's answers) goes through it in order. One goroutine at a time works it
// off: who brought the last message, or the shard's own.
// Heartbeats to other OSDs carry the read leases and notice who has died; reports
// tell the monitors how things are. A store that fails stops the daemon: the
// others go on without it, which is what they are for.
package osd
