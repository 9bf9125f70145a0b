// Package storetest is the conformance suite of store.Store: every engine and
// every wrapper runs it. Run is the suite; Workload, Random and Model are its
// parts, for crash tests that need them one by one.
package storetest
