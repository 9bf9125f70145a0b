package osd

import "sync"

// fenceMax bounds the clients that a fence remembers, give or take a factor of two.
const fenceMax = 32768

// fence turns away writes that a client sent on a connection which it has given up since.
//
// When the network hangs, a client gives a connection up and sends the same request on the next
// one. What it had sent before may still arrive, much later: the kernel goes on sending for a closed
// connection. By then the request may have been carried out, and so many others after it that the
// PG's log no longer has its id. Nothing in a first attempt shows that it is old; that its client
// was heard on a later connection does. A client has one connection to an OSD at a time, and
// makes the next when it has given up the last.
//
// Clients are forgotten when many others have come since.
type fence struct {
	mu        sync.Mutex        // guards below
	cur, prev map[uint64]uint64 // client id -> number of its newest connection
}

// admit reports whether a client's write that came on the connection with this number may be
// carried out.
func (f *fence) admit(client, conn uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest, ok := f.cur[client]
	if !ok {
		newest = f.prev[client]
		if len(f.cur) >= fenceMax || f.cur == nil {
			f.cur, f.prev = map[uint64]uint64{}, f.cur
		}
	}
	if !ok || conn > newest {
		f.cur[client] = max(conn, newest)
	}
	return conn >= newest
}
