package client

import (
	"fmt"

	"github.com/cairnstore/cairn/placement"
)

// CheckPolicy says why chunks cannot be made in the pool by a policy other than its own, or nil: by the newest map
// known. Errors match ErrInvalid, or ErrConflict if it is for want of OSDs.
func (p *Pool) CheckPolicy(pol ChunkPolicy) error {
	if pol.IsZero() {
		return nil
	}
	m := p.c.Map()
	pool := m.Pool(p.id)
	if pool == nil {
		return fmt.Errorf("pool %q: %w: it was removed", p.name, ErrNotFound)
	}
	if err := pol.CheckSize(pool.Size); err != nil {
		return fmt.Errorf("pool %q: %w: %w", p.name, ErrInvalid, err)
	}
	need := pol.Redundancy.Shards()
	if have, typ := placement.NewTable(m).Domains(p.id); have < need {
		return fmt.Errorf("pool %q: %w: chunks %s need %d failure domains, one for each shard, but its CRUSH rule spreads over %ss and finds %d with OSDs that are in",
			p.name, ErrConflict, pol.Redundancy, need, typ, have)
	}
	return nil
}
