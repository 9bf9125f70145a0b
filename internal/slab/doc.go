// Package slab holds the bytes of objects on their way through a daemon:
// from the socket to the disk and to other sockets, or from the disk to a
// socket, in one piece of memory that is never copied.
//
// Three ideas. A Buf is memory that direct I/O accepts, counted by those who use
// it and reused when the last one has released it. Whoever keeps a Buf, or a
// slice of it, beyond a call says so with Retain; a Release too many stops the
// process, and one that was forgotten costs nothing but the reuse, since the
// memory is the garbage collector's. And a Buf remembers the checksums of its
// blocks of 4 KiB, once somebody has computed them: what was verified on arrival
// is what the store keeps and what the next frame carries, and the bytes are not
// read again for it.
//
// The package refuses to guess: sums are given only for parts of the memory that
// begin and end where blocks do.
package slab
