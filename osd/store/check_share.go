package store

import (
	"fmt"
	"maps"
	"slices"
)

// shareCount holds claims of blocks against what the index says of their users.
type shareCount struct {
	rows map[uint64]*shares // claims beyond the first; txn not 0: the index has fewer
	get  func(row uint64) (*shares, error)
	row  uint64 // the last one asked for
	last *shares
	have bool
}

// add notes a claim of a block that is claimed already, and reports whether the index knows of it.
func (c *shareCount) add(block uint64) bool {
	row := block / shareBlocks
	if c.rows == nil {
		c.rows = map[uint64]*shares{}
	}
	s := c.rows[row]
	if s == nil {
		s = &shares{}
		c.rows[row] = s
	}
	s.extra[block%shareBlocks]++
	if !c.have || c.row != row {
		c.last, _ = c.get(row) // what cannot be read counts as any number, and is found elsewhere
		c.row, c.have = row, true
	}
	return c.last.of(block) >= s.of(block)
}

// settle notes that a block's count in the index is to be set right, and whether a claim that was
// added is good.
func (c *shareCount) settle(block uint64, good bool) {
	s := c.rows[block/shareBlocks]
	s.txn = 1
	if e := &s.extra[block%shareBlocks]; !good && *e > 0 {
		*e--
	}
}

// excess is how many users too many an entry of the index counts.
func (c *shareCount) excess(row uint64, s *shares) (n uint64) {
	for i, e := range s.extra {
		if real := c.rows[row].of(uint64(i)); e > real {
			n += uint64(e - real)
		}
	}
	return n
}

// counted is the rows in which blocks are claimed more than once, sorted.
func (c *shareCount) counted() []uint64 { return slices.Sorted(maps.Keys(c.rows)) }

// shares verifies the counts of users of shared blocks, after segments.
func (c *checker) shares() error {
	return c.each(keyShare, keyShare, func(key, v []byte) {
		row, ok := parseShareKey(key)
		s, err := decodeShares(v)
		if !ok || err != nil {
			c.problem(Key{}, 0, fmt.Errorf("index entry %x of shared blocks cannot be read: %w", key, ErrCorrupt))
			return
		}
		if n := c.claims.excess(row, s); n > 0 {
			c.problem(Key{}, 0, fmt.Errorf("blocks %d to %d count %d users more than they have: %w", row*shareBlocks, (row+1)*shareBlocks-1, n, ErrCorrupt))
		}
	})
}
