package monclient

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// view is a published map and the news of the next one.
type view struct {
	m       *placement.Map // nil before the first
	changed chan struct{}  // closed when a newer map is published
}

// maps holds the newest map. Its epoch only grows.
type maps struct {
	now    atomic.Pointer[view]
	broken chan struct{} // closed when a map could not be understood and there is none yet

	mu    sync.Mutex // serialises updates; guards below
	why   error      // of the last map that could not be understood, nil after a good one
	broke error      // of the first one, while there was no map: why broken is closed
}

func (s *maps) init() {
	s.now.Store(&view{changed: make(chan struct{})})
	s.broken = make(chan struct{})
}

func (s *maps) load() *view { return s.now.Load() }

// err returns why the newest map offered to us could not be used, if so.
func (s *maps) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// brokenBy returns why broken is closed.
func (s *maps) brokenBy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broke
}

// errGap says that deltas do not start where our map ends: a full map is needed.
var errGap = errors.New("map deltas do not fit the map we have")

// install takes in a MapUpdate. It reports whether the map changed. errGap asks
// the caller to fetch a full map; any other error means that the monitor's maps
// cannot be understood.
func (s *maps) install(up *wirepb.MapUpdate, payload []byte) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cur := s.load()
	m, err := next(cur.m, up, payload)
	if err != nil {
		if errors.Is(err, errGap) {
			return false, err
		}
		s.why = err
		if cur.m == nil && s.broke == nil {
			s.broke = err
			close(s.broken)
		}
		return false, err
	}
	s.why = nil
	if m == nil {
		return false, nil
	}
	s.now.Store(&view{m: m, changed: make(chan struct{})})
	close(cur.changed)
	return true, nil
}

// next returns the map after an update, nil when it brings nothing newer.
func next(cur *placement.Map, up *wirepb.MapUpdate, payload []byte) (*placement.Map, error) {
	var have placement.Epoch
	if cur != nil {
		have = cur.Epoch
	}
	if uint64(have) >= up.To || up.From == up.To && !up.Full {
		return nil, nil
	}
	if up.Full {
		m, err := placement.DecodeMap(payload)
		if err != nil {
			return nil, fmt.Errorf("cluster map of epoch %d: %w", up.To, err)
		}
		if uint64(m.Epoch) != up.To {
			return nil, fmt.Errorf("cluster map of epoch %d announced as epoch %d", m.Epoch, up.To)
		}
		if cur != nil && m.Cluster != cur.Cluster {
			return nil, fmt.Errorf("cluster map of epoch %d is of cluster %s, not of %s: does a monitor address belong to another cluster?", up.To, m.Cluster, cur.Cluster)
		}
		return m, nil
	}
	if up.From > uint64(have) {
		return nil, errGap
	}
	m := cur
	if m == nil {
		m = &placement.Map{}
	}
	for len(payload) > 0 {
		if len(payload) < 4 {
			return nil, fmt.Errorf("%w: the update to epoch %d ends inside of a length", errGap, up.To)
		}
		n := binary.LittleEndian.Uint32(payload)
		if payload = payload[4:]; uint64(n) > uint64(len(payload)) {
			return nil, fmt.Errorf("%w: the update to epoch %d announces a delta of %d bytes, %d are left", errGap, up.To, n, len(payload))
		}
		d, err := placement.DecodeDelta(payload[:n])
		var newer *placement.VersionError
		switch {
		case errors.As(err, &newer):
			return nil, fmt.Errorf("map delta to epoch %d: %w", up.To, err)
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errGap, err)
		}
		payload = payload[n:]
		if d.To <= m.Epoch {
			continue // an update can overlap what a fetch has brought meanwhile
		}
		if m, err = m.Apply(d); err != nil {
			return nil, fmt.Errorf("%w: %w", errGap, err)
		}
	}
	if uint64(m.Epoch) != up.To {
		return nil, fmt.Errorf("%w: the update to epoch %d ends at epoch %d", errGap, up.To, m.Epoch)
	}
	return m, nil
}
