package sim

import "github.com/cairnstore/cairn/internal/clock"

// event is something that happens at a time. Those of equal times happen in the order in
// which they were scheduled.
type event struct {
	at    clock.Mono
	order uint64
	run   func()
}

// queue holds the events to come: a binary heap, by hand because it is most of what the
// scheduler does.
type queue struct {
	es    []event
	order uint64
}

func (q *queue) less(i, j int) bool {
	a, b := &q.es[i], &q.es[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (q *queue) push(at clock.Mono, run func()) {
	q.order++
	q.es = append(q.es, event{at, q.order, run})
	for i := len(q.es) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.less(i, up) {
			return
		}
		q.es[i], q.es[up] = q.es[up], q.es[i]
		i = up
	}
}

func (q *queue) pop() event {
	first, last := q.es[0], len(q.es)-1
	q.es[0] = q.es[last]
	q.es[last] = event{}
	q.es = q.es[:last]
	for i := 0; ; {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < last && q.less(c, least) {
				least = c
			}
		}
		if least == i {
			return first
		}
		q.es[i], q.es[least] = q.es[least], q.es[i]
		i = least
	}
}
