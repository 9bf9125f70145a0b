package monclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// GaveUpError ends a Call or WaitMap whose time was up: what the monitors said last, if anything.
type GaveUpError struct {
	Cause   error  // why it ended
	Last    error  // the last answer, nil if there was none
	Trouble string // Session.Trouble at that time
}

func (e *GaveUpError) Error() string {
	if e.Last != nil {
		return fmt.Sprintf("%v: the monitors' last answer: %v%s", e.Cause, e.Last, e.Trouble)
	}
	return e.Cause.Error() + e.Trouble
}

// Unwrap returns cause and last answer.
func (e *GaveUpError) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Last}
}

// Call asks the monitors, one after the other, until one answers for good: with
// success or with an error (*wire.Error) that another would give too. It lasts
// as long as ctx; then the error is a *GaveUpError.
func (s *Session) Call(ctx context.Context, req *wire.Message) (*wire.Message, error) {
	var last error
	wait := 20 * time.Millisecond
	for {
		conn, up := s.current()
		if conn == nil {
			select {
			case <-up:
				continue
			case <-s.ctx.Done():
				return nil, ErrClosed
			case <-ctx.Done():
				return nil, &GaveUpError{ctx.Err(), last, s.Trouble()}
			}
		}
		actx, cancel := context.WithTimeout(ctx, s.o.Attempt)
		m, err := conn.Call(actx, &wire.Message{Header: &wirepb.Header{Body: req.Header.Body}, Payload: req.Payload})
		silent := actx.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return m, nil
		}
		var we *wire.Error
		if errors.As(err, &we) {
			switch we.Code {
			case wirepb.Code_TRY_LATER, wirepb.Code_STALE_MAP, wirepb.Code_TIMED_OUT:
			default:
				return nil, err
			}
		} else if errors.Is(err, wire.ErrTooLarge) {
			return nil, err
		}
		if last == nil || ctx.Err() == nil {
			last = err // what a monitor said tells more than that the time is up
		}
		if s.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if silent {
			conn.Close() // the session ends and another monitor is tried
		}
		if !sleep(ctx, jitter(wait)) {
			return nil, &GaveUpError{ctx.Err(), last, s.Trouble()}
		}
		wait = min(2*wait, time.Second)
	}
}

// Refresh fetches the newest map of a monitor and installs it. It fails like Call.
func (s *Session) Refresh(ctx context.Context) error {
	have := s.Epoch()
	for range 2 {
		m, err := s.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{Have: have}}}})
		if err != nil {
			return err
		}
		if err = s.update(m); !errors.Is(err, errGap) {
			return err
		}
		have = 0
	}
	return errGap
}
