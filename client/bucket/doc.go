// Package bucket is cairn's flat S3 namespace: buckets of objects named by keys,
// listed in order, with conditional puts, ranges, copies and multipart uploads.
// It stands on client.Objects and keeps all its truth there, so any number of
// processes may serve the same buckets.
//
// Three ideas carry it:
//
//   - A bucket's index is an ordered map, cut by key range into partitions. Each
//     partition is one object whose omap holds the entries; it carries its range
//     in an attribute that every operation compares, so a process with an old
//     picture of the index is always found out. Partitions split by themselves
//     and are linked to their right neighbour, as in a B-link tree.
//   - A small body lies in the index itself: putting it is one operation on one
//     object. A larger body is cut into data objects that nobody changes, named
//     by a random id; they are announced by an intent, written, and only then
//     named by the index entry, in the operation that also drops the intent.
//   - Whatever a change makes useless is written into the partition's outbox by
//     the very operation that makes it useless, and removed later (Sweep). A
//     crash at any moment leaves work to do, never lost or leaked data.
//
// The package knows nothing of HTTP, users' keys or access rules; that is
// gateways/s3. docs/formats/bucket.md describes what is stored.
package bucket
