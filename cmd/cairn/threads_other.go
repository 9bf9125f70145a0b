//go:build !linux

package main

// slackTimers is of use on Linux only.
func slackTimers() error { return nil }

// batchThreads is of use on Linux only.
func batchThreads() error { return nil }

// yieldProcessor is of use on Linux only.
func yieldProcessor() {}
