package wire

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

var (
	// ErrConnClosed is wrapped by every error of a connection that has ended,
	// whoever ended it. The request may or may not have reached the peer.
	ErrConnClosed = errors.New("connection closed")
	// ErrQueueFull is wrapped by Send when the connection's send queue is at
	// its limit: the peer reads too slowly.
	ErrQueueFull = errors.New("send queue full")
	// ErrAbandoned is wrapped by Asker.Call when Abandon has ended it.
	ErrAbandoned = errors.New("nobody waits for the answer any more")
	// ErrBadFrame is wrapped when the peer sent bytes that are not a valid
	// frame. The connection is closed.
	ErrBadFrame = errors.New("bad frame")
	// ErrTooLarge is wrapped when a message is over MaxHeader or MaxPayload. Nothing was sent.
	ErrTooLarge = errors.New("message too large")
	// ErrBackoff is wrapped by Peers while it waits before dialling an address
	// again; the last dial's error is wrapped too.
	ErrBackoff = errors.New("waiting before dialling again")
)

var errClosedHere = errors.New("closed by this side")

// Error is a failure the peer reported: a reply with a code other than OK, or a
// refused handshake.
type Error struct {
	Code  wirepb.Code
	Text  string
	Epoch uint64 // the peer's map epoch, 0 if it has none
}

// Error returns the code and the text.
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Text
}

// CodeOf returns OK for nil, the code of an *Error inside err, and INTERNAL for any other error.
func CodeOf(err error) wirepb.Code {
	if err == nil {
		return wirepb.Code_OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return wirepb.Code_INTERNAL
}

// IsRefused reports whether a dial failed because nobody listens at the
// address: the machine is there, the process is not.
func IsRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// closedError is what every use of an ended connection returns.
type closedError struct {
	peer  string
	cause error
}

func (e *closedError) Error() string {
	return fmt.Sprintf("connection to %s closed: %v", e.peer, e.cause)
}
func (e *closedError) Is(target error) bool { return target == ErrConnClosed }
func (e *closedError) Unwrap() error        { return e.cause }

// readError turns the end of a stream into words.
func readError(err error) error {
	if err == io.EOF {
		return errPeerClosed
	}
	return err
}

var errPeerClosed = errors.New("closed by the peer")
