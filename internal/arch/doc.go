// Package arch keeps the shape of the house: who may import whom, what a pure
// package may do, how long a file may be. It holds nothing but tests, which read
// the sources with go/parser and need neither a network nor a linter.
//
// The import rules stand once, in rules_test.go. The depguard section of
// .golangci.yml is made from them by
//
//	go test ./internal/arch -update
//
// and a test fails when the two differ. docs/ARCHITECTURE.md explains them.
package arch
