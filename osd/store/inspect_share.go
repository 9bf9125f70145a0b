package store

import "fmt"

// endShares holds what the index says of the users of shared blocks against who claims them.
// A count that is too low would free blocks in use, one that is too high never would.
func (c *fsck) endShares() error {
	rows := c.users.counted()
	fix := func(row uint64) error {
		k := appendShareKey(nil, row)
		real := c.users.rows[row]
		if real == nil {
			return c.fix.delete(k)
		}
		if v := real.append(nil); v != nil {
			return c.fix.set(k, v)
		}
		return c.fix.delete(k)
	}
	if c.fix != nil { // counts that are too low: who claims the blocks has been found already
		for _, row := range rows {
			if c.users.rows[row].txn == 0 {
				continue
			}
			if err := fix(row); err != nil {
				return err
			}
		}
	}
	if c.gap { // who claims the rest is not known
		return nil
	}
	return c.walk([]byte{keyShare}, []byte{keyShare + 1}, func(k, v []byte) error {
		row, ok := parseShareKey(k)
		s, err := decodeShares(v)
		switch {
		case !ok:
			c.found(Finding{Kind: FoundKey, Text: fmt.Sprintf("index: entry %x cannot be read", k), Repaired: c.did("dropped")})
			if c.fix != nil {
				return c.fix.delete(k)
			}
			return nil
		case err != nil:
			c.found(Finding{Kind: FoundUsers, Text: fmt.Sprintf("index: the users of blocks %d to %d cannot be read (%x)", row*shareBlocks, (row+1)*shareBlocks-1, k), Repaired: c.did("counted anew")})
		default:
			n := c.users.excess(row, s)
			if n == 0 {
				return nil
			}
			c.found(Finding{Kind: FoundUsers, Text: fmt.Sprintf("blocks %d to %d count %d users more than they have", row*shareBlocks, (row+1)*shareBlocks-1, n), Repaired: c.did("counted anew")})
		}
		if c.fix != nil {
			return fix(row)
		}
		return nil
	})
}
