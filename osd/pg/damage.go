package pg

import (
	"errors"

	"github.com/cairnstore/cairn/osd/store"
)

// loadOrLose reads the PG from the store. If what the store holds about it (state or log) is damaged, the
// copy counts as lost: nothing can be said of it, so it neither leads nor answers as a member. The others
// drop it, and it learns anew, by comparing all objects; those it still has right need not be copied. Until
// then everything stays on the disk as it is.
func (g *Group) loadOrLose(r store.Reader) error {
	err := g.load(r)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case errors.Is(err, store.ErrCorrupt):
		g.exists, g.damaged = false, err.Error()
		g.st = state{complete: true, scan: true}
		g.log = pgLog{}
		g.scrubs = noScrubs()
		return nil
	}
	return err
}

// Damaged returns what is wrong with the records of our copy, or "". Such a copy counts as lost.
func (g *Group) Damaged() string { return g.damaged }

// opsForget drops damaged records, before new ones take their place.
func (g *Group) opsForget() []store.Op {
	if g.damaged == "" {
		return nil
	}
	g.damaged = ""
	return []store.Op{{Kind: store.OpOmapClear, Key: g.metaKey()}}
}
