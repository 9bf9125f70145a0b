// Package bench measures a cluster of real processes on this machine: one monitor
// and three OSDs, each on a CRUSH host of its own, and a pool of three copies, or more
// OSDs and a pool with chunks. It
// runs a table of rows several times and prints medians: rate, latency, and the time
// on the CPU of the client and all daemons for each operation. With the directory of
// a running Ceph cluster every row alternates between the two, so that ratios come
// from one run. docs/performance.md has what it printed.
//
// It measures and compares; it judges nothing. Whether the bytes are right is for
// the tests and for package torture, whose Cluster it uses.
package bench
