// Package wirepb holds the protobuf messages of cairn's messenger, generated
// from wire.proto. Fields are only added there, never renumbered or removed.
package wirepb

//go:generate ./generate.sh
