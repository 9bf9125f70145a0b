// Package bucketpb holds the protobuf messages that client/bucket stores,
// generated from bucket.proto. Fields are only added there, never renumbered or
// removed; docs/formats/bucket.md says where each message lives.
package bucketpb

//go:generate ./generate.sh
