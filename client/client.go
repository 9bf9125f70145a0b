package client

import (
	"context"
	"errors"
	"fmt"
)

// Conditions of the cluster that callers test with errors.Is. They are the
// fixed codes of the wire (wirepb.Code).
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrConflict     = errors.New("condition not met")
	ErrInvalid      = errors.New("invalid request")
	ErrNoSpace      = errors.New("no space left in the cluster")
	ErrCorrupt      = errors.New("data is corrupt")
	ErrNotPermitted = errors.New("not permitted")
	ErrTimeout      = errors.New("gave up at the deadline")
	ErrUnsupported  = errors.New("not supported by the cluster")
)

// OpError is the error of an Op: which object, which of the Op's operations
// failed, and the condition.
type OpError struct {
	Pool, Object string
	Index        int // of the failed operation, -1 when the whole Op failed
	Err          error
	Text         string // the server's words, may be empty
}

func (e *OpError) Error() string {
	s := fmt.Sprintf("object %q in pool %q: %v", e.Object, e.Pool, e.Err)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Unwrap returns the condition for errors.Is.
func (e *OpError) Unwrap() error { return e.Err }

// Objects is what uses of the object client (buckets, images, trees) need of a
// pool. *Pool implements it; clienttest.New makes an in-memory one for tests.
type Objects interface {
	// Do carries out op on one object, exactly once however often it had to be retried.
	Do(ctx context.Context, object string, op *Op) (*Result, error)
}
