package torture

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/cairnstore/cairn/client"
)

// counter is the model of an object on which several clients count together: an
// omap key has the count, each increment is a compare-and-set of it that leaves
// a receipt under a key of its own. So every increment is there once or not at
// all, and which is known unless its outcome is not.
type counter struct {
	name string

	mu      sync.Mutex // guards below
	seen    uint64     // no later read may return less
	serial  uint64
	acked   map[string]uint64
	maybe   map[string]uint64
	refused map[string]bool
}

const countKey = "count"

func newCounter(name string) *counter {
	return &counter{name: name, acked: map[string]uint64{}, maybe: map[string]uint64{}, refused: map[string]bool{}}
}

func (n *counter) step(ctx context.Context, c *worker) {
	old, exists, ok := n.read(ctx, c)
	if !ok {
		return
	}
	n.mu.Lock()
	n.serial++
	receipt := fmt.Sprintf("receipt %08d", n.serial)
	n.mu.Unlock()
	next := strconv.FormatUint(old+1, 10)
	op := new(client.Op)
	if exists {
		op.CmpOmap(countKey, []byte(strconv.FormatUint(old, 10)))
	} else {
		op.CmpOmapAbsent(countKey)
	}
	op.OmapSet(countKey, []byte(next)).OmapSet(receipt, []byte(next))
	_, out := c.do(ctx, "compare-and-set", n.name, op)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch out {
	case done:
		n.acked[receipt] = old + 1
		n.seen = max(n.seen, old+1)
	case refused:
		n.refused[receipt] = true
	case unknown:
		n.maybe[receipt] = old + 1
	}
}

func (n *counter) read(ctx context.Context, c *worker) (count uint64, exists, ok bool) {
	n.mu.Lock()
	floor := n.seen
	n.mu.Unlock()
	r, out := c.do(ctx, "read count", n.name, new(client.Op).OmapGet(countKey))
	if out == unknown {
		return 0, false, false
	}
	if out == done && r.Items[0].Found {
		v, err := strconv.ParseUint(string(r.Items[0].Data), 10, 64)
		if err != nil {
			c.w.fault(fmt.Errorf("object %s: count is %q", n.name, r.Items[0].Data))
			return 0, false, false
		}
		count, exists = v, true
	}
	if count < floor {
		c.w.fault(fmt.Errorf("object %s: count is %d, it was %d before the read began", n.name, count, floor))
		return 0, false, false
	}
	n.mu.Lock()
	n.seen = max(n.seen, count)
	n.mu.Unlock()
	return count, exists, true
}

func (n *counter) verify(ctx context.Context, c *worker) {
	count, _, ok := n.read(ctx, c)
	if !ok {
		return
	}
	if count == 0 {
		if len(n.acked) > 0 {
			c.w.fault(fmt.Errorf("object %s: is not there, with %d acknowledged increments", n.name, len(n.acked)))
		}
		return
	}
	got := map[string]uint64{}
	for after, more := "receipt ", true; more; {
		r, out := c.do(ctx, "list receipts", n.name, new(client.Op).OmapListAfter(after, "receipt~", 500))
		if out != done {
			c.w.fault(fmt.Errorf("object %s: its receipts cannot be listed", n.name))
			return
		}
		for _, kv := range r.Items[0].KVs {
			v, err := strconv.ParseUint(string(kv.Value), 10, 64)
			if err != nil {
				c.w.fault(fmt.Errorf("object %s: %s is %q", n.name, kv.Key, kv.Value))
				return
			}
			got[kv.Key], after = v, kv.Key
		}
		more = r.Items[0].More
	}
	if err := n.compare(count, got); err != nil {
		c.w.fault(fmt.Errorf("object %s: %w", n.name, err))
	}
}

// compare checks count and receipts against what the clients were told.
func (n *counter) compare(count uint64, got map[string]uint64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if uint64(len(got)) != count {
		return fmt.Errorf("count is %d with %d receipts", count, len(got))
	}
	owner := map[uint64]string{}
	for _, r := range slices.Sorted(maps.Keys(got)) {
		v := got[r]
		if v < 1 || v > count || owner[v] != "" {
			return fmt.Errorf("%s and %q both made the count %d (of %d)", r, owner[v], v, count)
		}
		owner[v] = r
		want, acked := n.acked[r]
		if !acked {
			want = n.maybe[r]
		}
		switch {
		case n.refused[r]:
			return fmt.Errorf("%s is there, but the client was told that its condition failed", r)
		case want != v:
			return fmt.Errorf("%s says %d, it was to make the count %d", r, v, want)
		}
	}
	for r, v := range n.acked {
		if _, ok := got[r]; !ok {
			return fmt.Errorf("acknowledged increment %s to %d is lost (count %d)", r, v, count)
		}
	}
	return nil
}
