// Package torture runs a cairn cluster as real processes and treats it badly:
// it kills them with SIGKILL, one or all at once, freezes them, cuts and spoils
// their network, fills, stops and replaces their disks and moves their data about,
// while clients work on it, and checks against models of what the clients were told
// that nothing is lost, wrong, stale or done twice.
//
// Cluster starts the processes of one cluster, as root each on a host of its own
// (package lab), else on loopback, and keeps their addresses and directories across
// restarts. Workload is the clients with their models. Run puts both together with a
// seeded plan of blows. StaleReads, Failovers and ChunkModes are scenarios of their own. The tests
// of this package use them, and so does `make torture MINUTES=N`.
//
// A seed repeats the plan of blows and what the clients want to do, but not how
// the processes happen to be scheduled: a failure may need several runs.
package torture
