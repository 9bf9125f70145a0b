// Package bench puts load on a pool through the object client (Run), or on a server of Amazon's S3 protocol, ours or
// another (RunS3), and measures it:
// how many operations, how long each took, and what they cost the client's process
// and the daemons in time on the CPU.
//
// A run has a name. Its objects are called bench.NAME.00000000 and so on, and one
// more, bench.NAME, says how many there are and how large, so that a later Run can
// read or overwrite them and Clean can find them; in a bucket they are bench.NAME/00000000 and bench.NAME. Each operation's bytes begin with
// a stamp of the object and offset they belong to, which reads check.
package bench
