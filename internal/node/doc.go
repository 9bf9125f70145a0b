// Package node assembles daemons from their parts: a monitor with its REST
// server, an OSD with its store and its session with the monitors, a gateway
// with its client. The commands of cmd/cairn and the embedded clusters of
// internal/testcluster start them the same way. It is the only package besides
// those that knows several daemons; it has no logic of its own.
package node
