//go:build !linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const rawTime = 3 * time.Second

// rawWrite is known on Linux only, as OSDs are.
func rawWrite(context.Context, string, time.Duration) (float64, error) {
	return 0, fmt.Errorf("rate of the disk: %w", errors.ErrUnsupported)
}

// freeBytes is known on Linux only, too.
func freeBytes(dir string) (int64, error) {
	return 0, fmt.Errorf("space of %s: %w", dir, errors.ErrUnsupported)
}
