// Package api holds the types that the monitors, the REST front end and its
// clients have in common, so that none of them needs to import another.
package api
