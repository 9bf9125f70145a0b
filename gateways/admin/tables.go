package admin

import (
	"sync"

	"github.com/cairnstore/cairn/placement"
)

// tableCache keeps the placement table of the newest map: it costs a CRUSH
// computation for each PG, and every listing needs them all.
type tableCache struct {
	mu    sync.Mutex // guards below
	m     *placement.Map
	table *placement.Table
}

// of returns the table of m.
func (c *tableCache) of(m *placement.Map) *placement.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.table == nil:
		c.m, c.table = m, placement.NewTable(m)
	case c.m != m:
		c.m, c.table = m, c.table.Next(m)
	}
	return c.table
}
