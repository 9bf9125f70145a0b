package torture

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/client"
)

// appendLog is the model of records that one client appends to an object, which
// an operation applied twice, lost or out of order would show. When the object
// has grown enough, the next one follows.
type appendLog struct {
	prefix string
	full   []*appendObject // all but the newest, at most appendKeep
	cur    *appendObject
	count  int
}

type appendObject struct {
	name  string
	next  uint64
	maybe map[uint64]bool // records of unknown outcome
}

const (
	appendRecords = 300
	appendKeep    = 200
)

func (l *appendLog) step(ctx context.Context, c *worker) {
	if l.cur == nil || l.cur.next >= appendRecords {
		if l.cur != nil {
			l.cur.verify(ctx, c)
			l.full = append(l.full, l.cur)
			if len(l.full) > appendKeep {
				l.full = l.full[1:]
			}
		}
		l.count++
		l.cur = &appendObject{name: fmt.Sprintf("%s-%d", l.prefix, l.count), maybe: map[uint64]bool{}}
	}
	if c.rng.IntN(20) == 0 {
		l.cur.verify(ctx, c)
		return
	}
	l.cur.append(ctx, c)
}

func (o *appendObject) append(ctx context.Context, c *worker) {
	n := o.next
	o.next++
	_, out := c.do(ctx, "append", o.name, new(client.Op).Append(record(o.name, n, c.rng.IntN(200))))
	switch out {
	case unknown:
		o.maybe[n] = true
	case refused:
		c.w.fault(fmt.Errorf("object %s: an append was refused", o.name))
	}
}

func (l *appendLog) verify(ctx context.Context, c *worker) {
	for _, o := range l.full {
		o.verify(ctx, c)
	}
	if l.cur != nil {
		l.cur.verify(ctx, c)
	}
}

func (o *appendObject) verify(ctx context.Context, c *worker) {
	r, out := c.do(ctx, "read log", o.name, new(client.Op).Read(0, 0))
	var data []byte
	switch out {
	case unknown:
		return
	case done:
		data = r.Items[0].Data
	}
	got, err := parseRecords(o.name, data)
	if err == nil {
		err = o.compare(got)
	}
	if err != nil {
		c.w.fault(err)
	}
}

// compare checks the records that were read.
func (o *appendObject) compare(got []uint64) error {
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			return fmt.Errorf("object %s: record %d stands behind record %d: applied twice, or too late", o.name, got[i], got[i-1])
		}
	}
	if len(got) > 0 && got[len(got)-1] >= o.next {
		return fmt.Errorf("object %s: has record %d, though only %d were appended", o.name, got[len(got)-1], o.next)
	}
	for n := range o.next {
		if _, ok := slices.BinarySearch(got, n); !ok && !o.maybe[n] {
			return fmt.Errorf("object %s: acknowledged record %d is lost (%d records are there, %d were appended, %d of unknown outcome)", o.name, n, len(got), o.next, len(o.maybe))
		}
	}
	return nil
}
