// Package admin is the REST interface of a monitor: what people and tools see
// of the cluster and change in it. It translates only: the monitor behind
// Backend holds the truth, and this package keeps none.
//
// Three ideas: what is shown (status, health, PG states, trees, space) is
// computed by pure functions from one View, which is a map, the OSDs' newest
// reports, the quorum and the time; only the leading monitor has the reports,
// so any other passes a request on to it, one hop at most; and the interface is
// described by an OpenAPI 3.1 document made from the Go types of internal/api.
//
// It does not decide who may use it: it listens where the administrator says,
// asks for a bearer token if one is configured, and refuses browsers coming
// from other sites.
package admin
