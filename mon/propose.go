package mon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// errNotLeading says that a change was not made, because this monitor does not
// lead (any more).
var errNotLeading = errors.New("this monitor does not lead")

// errUnknownOutcome says that a change may or may not have been made.
var errUnknownOutcome = fmt.Errorf("unknown outcome: %w", api.ErrNoQuorum)

// conditionError is an error whose text is complete and whose condition is one
// of package api's.
type conditionError struct {
	text string
	cond error
}

func (e *conditionError) Error() string { return e.text }
func (e *conditionError) Unwrap() error { return e.cond }

func condition(cond error, format string, args ...any) error {
	return &conditionError{text: fmt.Sprintf(format, args...), cond: cond}
}

// resultError turns a refusal into an error, and success into nil.
func resultError(r fsm.Result) error {
	switch r.Code {
	case wirepb.Code_OK:
		return nil
	case wirepb.Code_NOT_FOUND:
		return condition(api.ErrNotFound, "%s", r.Text)
	case wirepb.Code_EXISTS:
		return condition(api.ErrExists, "%s", r.Text)
	case wirepb.Code_TRY_LATER:
		return condition(api.ErrTryLater, "%s", r.Text)
	case wirepb.Code_CONFLICT, wirepb.Code_NOT_PERMITTED:
		return condition(api.ErrConflict, "%s", r.Text)
	default:
		return condition(api.ErrInvalid, "%s", r.Text)
	}
}

// proposeHere proposes a change at this monitor, which has to lead.
func (m *Monitor) proposeHere(r *raft.Raft, b fsm.Body) (fsm.Result, error) {
	enc, err := fsm.Encode(fsm.Command{At: time.Now().UnixNano(), Body: b})
	if err != nil {
		return fsm.Result{}, condition(api.ErrInvalid, "%v", err)
	}
	return m.apply(r, enc)
}

// apply puts a command into the log and waits for its outcome. Any number of
// goroutines may call it: Raft writes what is waiting in one go.
func (m *Monitor) apply(r *raft.Raft, enc []byte) (fsm.Result, error) {
	f := r.Apply(enc, m.o.ProposeTimeout)
	switch err := m.await(f); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fsm.Result{}, fmt.Errorf("%w: %w", errNotLeading, err)
	default: // it may be in the log, and committed by the next leader
		return fsm.Result{}, condition(errUnknownOutcome, "the lead was lost while the change was being made (%v): it may or may not have been made; look before you try again", err)
	}
	switch r := f.Response().(type) {
	case fsm.Result:
		return r, nil
	case error:
		return fsm.Result{}, condition(api.ErrNoQuorum, "%v", r)
	default:
		return fsm.Result{}, condition(api.ErrNoQuorum, "the change has no outcome (%T)", r)
	}
}

// await waits for a future of Raft, or for the end of Raft: it drops what it had
// handed to the state machine when it is shut down, and such a future never ends.
// Then, and only then, the goroutine made here stays behind.
func (m *Monitor) await(f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-m.down:
		return raft.ErrRaftShutdown
	}
}

// decide makes a change that has arrived at the leader, including the two that
// change Raft's own membership.
func (m *Monitor) decide(ctx context.Context, r *raft.Raft, c fsm.Command, enc []byte) (fsm.Result, error) {
	switch b := c.Body.(type) {
	case *fsm.MonJoin:
		return m.admit(r, b, enc)
	case *fsm.MonLeave:
		return m.dismiss(ctx, r, b, enc)
	}
	return m.apply(r, enc)
}

// submit makes a change at the leader, wherever it is, and waits until it is
// visible here.
func (m *Monitor) submit(ctx context.Context, b fsm.Body) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.ProposeTimeout)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	c := fsm.Command{At: time.Now().UnixNano(), By: api.Actor(ctx), Body: b}
	enc, err := fsm.Encode(c)
	if err != nil {
		return fsm.Result{}, condition(api.ErrInvalid, "%v", err)
	}
	for {
		res, err := m.submitOnce(ctx, c, enc)
		if err == nil {
			return m.settle(ctx, res)
		}
		again := errors.Is(err, errNotLeading) || errors.Is(err, errUnknownOutcome) && repeatable(b)
		if !again || errors.Is(err, errUnknownOutcome) && ctx.Err() != nil {
			return fsm.Result{}, err
		}
		if !m.pause(ctx, 200*time.Millisecond) {
			return fsm.Result{}, condition(api.ErrNoQuorum, "no monitor leads (%v): check that most of the monitors run and reach each other", err)
		}
	}
}

// repeatable reports whether making a change twice is like making it once, to
// the one who asks for it.
func repeatable(b fsm.Body) bool {
	switch b.(type) {
	case *fsm.PoolSet, *fsm.OSDReweight, *fsm.OSDDown, *fsm.FlagSet, *fsm.ConfigSet, *fsm.MonJoin, *fsm.OSDDrain, *fsm.CrushOSD:
		return true
	}
	return false
}

// submitOnce tries the leader of this moment. Its error wraps errNotLeading
// when the change has certainly not been made.
func (m *Monitor) submitOnce(ctx context.Context, c fsm.Command, enc []byte) (fsm.Result, error) {
	r, _, _ := m.leadState()
	if r == nil {
		return fsm.Result{}, fmt.Errorf("%w: it has not joined the cluster yet", errNotLeading)
	}
	if r.State() == raft.Leader {
		return m.decide(ctx, r, c, enc)
	}
	addr, err := m.leaderAddr(r)
	if err != nil {
		return fsm.Result{}, err
	}
	m.mu.Lock()
	peers := m.peers
	m.mu.Unlock()
	if peers == nil {
		return fsm.Result{}, fmt.Errorf("%w: it has not found its cluster yet", errNotLeading)
	}
	ctx, cancel := m.whileLed(ctx)
	defer cancel()
	return callPropose(ctx, peers, addr, enc)
}

// lastWords is how long a leader that has been replaced may still answer: it
// fails what it had under way.
const lastWords = time.Second

var errLeaderChanged = errors.New("another monitor leads now")

// whileLed returns a context that ends when the leader is not the same any
// more: a leader whose machine froze would never answer, nor break the
// connection.
func (m *Monitor) whileLed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	_, leader, news := m.leadState()
	m.wg.Go(func() { // ends with ctx, which the caller cancels
		for {
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
			var now string
			if _, now, news = m.leadState(); now == leader {
				continue
			}
			t := time.NewTimer(lastWords)
			defer t.Stop()
			select {
			case <-t.C:
				cancel(errLeaderChanged)
			case <-ctx.Done():
			}
			return
		}
	})
	return ctx, func() { cancel(nil) }
}

// callPropose sends a command to the monitor at addr. Its error wraps
// errNotLeading when the change has certainly not been made.
func callPropose(ctx context.Context, peers *wire.Peers, addr string, enc []byte) (fsm.Result, error) {
	conn, err := peers.Get(ctx, addr)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("%w: %w", errNotLeading, err)
	}
	reply, err := conn.Call(ctx, &wire.Message{Header: &wirepb.Header{
		Body: &wirepb.Header_MonPropose{MonPropose: &wirepb.MonPropose{Command: enc}},
	}})
	var no *wire.Error
	switch {
	case errors.As(err, &no) && no.Code == wirepb.Code_TRY_LATER:
		return fsm.Result{}, fmt.Errorf("%w: monitor at %s: %w", errNotLeading, addr, err)
	case errors.As(err, &no) && (no.Code == wirepb.Code_INVALID || no.Code == wirepb.Code_UNSUPPORTED):
		return fsm.Result{}, condition(api.ErrInvalid, "the leading monitor at %s: %s", addr, no.Text)
	case errors.As(err, &no):
		return fsm.Result{}, condition(errUnknownOutcome, "the leading monitor at %s: %s", addr, no.Text)
	case err != nil:
		return fsm.Result{}, condition(errUnknownOutcome, "asking the leading monitor at %s: %v: the change may or may not have been made; look before you try again", addr, err)
	}
	var res fsm.Result
	p := reply.Header.GetMonProposed()
	if p == nil {
		return res, condition(api.ErrNoQuorum, "the monitor at %s answered with something else", addr)
	}
	if err := json.Unmarshal(p.Result, &res); err != nil {
		return res, condition(api.ErrNoQuorum, "the answer of the monitor at %s: %v", addr, err)
	}
	return res, nil
}

// settle waits until this monitor has applied what res is the outcome of.
func (m *Monitor) settle(ctx context.Context, res fsm.Result) (fsm.Result, error) {
	if err := resultError(res); err != nil {
		return res, err
	}
	if err := m.waitApplied(ctx, func(s *fsm.State) bool { return s.Index() >= res.Index }); err != nil {
		return res, condition(api.ErrTryLater, "the change is made, but this monitor has not caught up with it (%v)", err)
	}
	return res, nil
}

// leaderAddr returns the messenger address of the leader, another monitor.
func (m *Monitor) leaderAddr(r *raft.Raft) (string, error) {
	_, id := r.LeaderWithID()
	switch {
	case id == "":
		return "", fmt.Errorf("%w, and knows of none that does", errNotLeading)
	case string(id) == m.o.Name:
		return "", fmt.Errorf("%w yet", errNotLeading)
	}
	for _, mon := range m.monitors() {
		if mon.Name == string(id) {
			return mon.Addr, nil
		}
	}
	return "", fmt.Errorf("%w, and knows no address of %s, which does", errNotLeading, id)
}

// monitors returns the monitors of the map; without a map those of the last one
// it had, or those the cluster begins with.
func (m *Monitor) monitors() []placement.Mon {
	if mons := m.Map().Mons; len(mons) > 0 {
		return mons
	}
	if len(m.known) > 0 {
		return m.known
	}
	return m.o.Initial
}

// pause waits for news of the leader, or for d. It reports false when ctx ended.
func (m *Monitor) pause(ctx context.Context, d time.Duration) bool {
	_, _, news := m.leadState()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-news:
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
