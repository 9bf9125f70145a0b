package store

import (
	"fmt"
	"slices"
)

// inlines verifies the bytes of small objects. The snapshot holds them and their heads as of one moment.
func (c *checker) inlines() error {
	err := c.each(keyInline, keyInline, func(key, v []byte) {
		oid, ok := parseInlineKey(key)
		k, known := c.names[oid]
		size, has := c.inline[oid]
		delete(c.inline, oid)
		switch {
		case !ok:
			c.problem(k, 0, fmt.Errorf("index entry %x cannot be read: %w", key, ErrCorrupt))
		case !known:
			c.problem(k, 0, fmt.Errorf("bytes of object number %d, which does not exist: %w", oid, ErrCorrupt))
		case !has:
			c.problem(k, 0, fmt.Errorf("object %s: bytes in the index that do not belong there: %w", k, ErrCorrupt))
		default:
			if _, err := checkInline(v, size); err != nil {
				c.problem(k, 0, fmt.Errorf("object %s: %w", k, err))
			}
			c.report.Bytes += int64(size)
		}
	})
	if err != nil {
		return err
	}
	var lost []uint64
	for oid := range c.inline {
		lost = append(lost, oid)
	}
	slices.Sort(lost)
	for _, oid := range lost {
		k := c.names[oid]
		c.problem(k, 0, fmt.Errorf("object %s: its bytes are not in the index: %w", k, ErrCorrupt))
	}
	return nil
}
