// Package client is cairn's object client, what librados is to Ceph: it follows
// the cluster map, computes which OSD serves an object, sends it compound
// operations and retries them with a deadline until they have one clear result.
//
// A Client holds a map and connections and is shared by the whole process; a
// Pool is its view of one pool. Images, trees and buckets stand on it
// (client/image, client/tree, client/bucket). The package keeps no truth of its
// own: whatever it caches can be thrown away at any time.
package client
