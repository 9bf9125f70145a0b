//go:build !linux

package process

import (
	"errors"
	"fmt"
	"runtime"
)

// Self returns what this process has used; known on Linux only.
func Self() (Usage, error) {
	return Usage{}, fmt.Errorf("what this process has used, on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Of returns what another process has used; known on Linux only.
func Of(int) (Usage, error) { return Self() }
