package mon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// errHalted is wrapped by the answer of a machine that met something it may
// not go past.
var errHalted = errors.New("the monitor has stopped")

// machine makes fsm.State a raft.BatchingFSM. It hands every new map to the
// publisher and lets goroutines wait for what they need to be applied.
type machine struct {
	newMaps func([]*placement.Map) // each map that the applied commands made, in order
	reset   func(*placement.Map)   // the map was replaced by a snapshot's
	fail    func(error)            // the machine halted

	cur atomic.Pointer[placement.Map]

	mu      sync.RWMutex // guards below
	state   *fsm.State
	halted  error
	applied chan struct{} // closed and replaced whenever something was applied
}

func newMachine() *machine {
	f := &machine{state: fsm.New(), applied: make(chan struct{})}
	f.cur.Store(f.state.Map())
	return f
}

// Map returns the newest applied map.
func (f *machine) Map() *placement.Map { return f.cur.Load() }

// Apply implements raft.FSM.
func (f *machine) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. An answer is an fsm.Result or an error.
func (f *machine) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	var made []*placement.Map
	f.mu.Lock()
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		if f.halted != nil {
			answers[i] = f.halted
			continue
		}
		c, err := fsm.Decode(l.Data)
		if err != nil {
			// Going on without this command would make this monitor's maps differ from
			// its peers' under the same epoch, and nobody would notice.
			f.halted = fmt.Errorf("log entry %d: %w: %w", l.Index, errHalted, err)
			answers[i] = f.halted
			continue
		}
		r := f.state.Apply(c, placement.Epoch(l.Index))
		if r.Changed {
			made = append(made, f.state.Map())
		}
		answers[i] = r
	}
	halted := f.halted
	f.cur.Store(f.state.Map())
	close(f.applied)
	f.applied = make(chan struct{})
	f.mu.Unlock()
	if len(made) > 0 {
		f.newMaps(made)
	}
	if halted != nil {
		f.fail(halted)
	}
	return answers
}

// Snapshot implements raft.FSM. A halted machine gives none: the log entries it
// did not apply must stay for the program that understands them.
func (f *machine) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.halted != nil {
		return nil, f.halted
	}
	return machineSnapshot{f.state.Snapshot()}, nil
}

// Restore implements raft.FSM.
func (f *machine) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(r, fsm.MaxSnapshotBytes+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if len(b) > fsm.MaxSnapshotBytes {
		return fmt.Errorf("read snapshot: more than %d bytes", fsm.MaxSnapshotBytes)
	}
	state, err := fsm.Restore(b)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.state, f.halted = state, nil
	f.cur.Store(state.Map())
	close(f.applied)
	f.applied = make(chan struct{})
	f.mu.Unlock()
	f.reset(state.Map())
	return nil
}

// read calls fn with the state, which it must neither change nor keep.
func (f *machine) read(fn func(*fsm.State)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	fn(f.state)
}

// wait waits until ok is true of the applied state.
func (f *machine) wait(ctx context.Context, ok func(*fsm.State) bool) error {
	for {
		f.mu.RLock()
		done, next := ok(f.state), f.applied
		f.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// machineSnapshot implements raft.FSMSnapshot.
type machineSnapshot struct{ s *fsm.Snapshot }

// Persist implements raft.FSMSnapshot.
func (s machineSnapshot) Persist(sink raft.SnapshotSink) error {
	b, err := s.s.Encode()
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot %s: %w", sink.ID(), err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (machineSnapshot) Release() {}
