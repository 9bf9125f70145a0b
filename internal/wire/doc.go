// Package wire is cairn's messenger: framed messages over TCP between daemons
// and clients.
//
// A message is a protobuf header (wirepb.Header, one body per kind of message)
// and an optional raw payload that is never copied into the header. A request
// carries a tag and is answered once (Call, Reply); a one-way message has none
// (Send). Any number of requests may be under way on a connection and answers
// come in any order; messages given to Send arrive in the order of the calls.
//
// Three ideas carry the package:
//
//   - Nothing here blocks the caller on a slow peer. Send fails when the
//     connection's queue is full, Call waits under its context, Reply always
//     queues; a peer that stops reading for Options.StallTimeout is cut off.
//   - A peer cannot make us allocate or remember more than stated: lengths are
//     checked before memory is taken, and the reader stops reading while too
//     many of the peer's requests are unanswered.
//   - Writing is done inline by the caller when the connection is quiet (lowest
//     latency) and many frames per system call when it is busy (lowest cost): by
//     one of those who make small calls, since they wait for an answer anyway, or
//     by the connection's writer goroutine.
//
// The messenger does not retry and does not resend: a connection that breaks
// fails its calls with ErrConnClosed, and whoever called decides. The format on
// the wire is described in docs/formats/wire.md.
package wire
