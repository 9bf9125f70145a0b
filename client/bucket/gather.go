package bucket

import (
	"context"
	"sync"

	"github.com/cairnstore/cairn/client"
)

// A partition of an index is one object, and changes of an object follow each other. So while one change of a partition
// is under way this process gathers the others, and then sends them as one operation (client.Joint): many small puts
// at a time cost little more than one. Nobody waits for company: a change that finds nothing under way goes at once.

// gatherer has a lane for each partition that is being changed.
type gatherer struct {
	mu    sync.Mutex // guards below
	lanes map[string]*lane
}

// lane is the changes of one partition. It exists while one is under way.
type lane struct{ waiting []*submission }

// submission is one change that waits for its turn or its outcome.
type submission struct {
	op   *client.Op
	wake chan bool // true: err says how it ended; false: it leads the next turn
	err  error
}

// jointTries is how often what others' conditions have failed is tried together again.
const jointTries = 3

// gather carries out a change of a partition, perhaps together with others.
func (s *Service) gather(ctx context.Context, object string, op *client.Op) error {
	g := &s.gatherer
	sub := &submission{op: op, wake: make(chan bool, 1)}
	g.mu.Lock()
	l := g.lanes[object]
	if l != nil {
		l.waiting = append(l.waiting, sub)
		g.mu.Unlock()
		if ended, err := g.wait(ctx, l, sub); ended {
			return err
		}
		g.mu.Lock()
	} else {
		l = &lane{}
		if g.lanes == nil {
			g.lanes = map[string]*lane{}
		}
		g.lanes[object] = l
	}
	turn, joint := l.take(sub)
	g.mu.Unlock()
	defer g.pass(object, l)
	if len(turn) == 1 {
		_, err := s.meta.Do(ctx, object, op)
		return err
	}
	s.together(ctx, object, turn, joint)
	for _, other := range turn[1:] {
		other.wake <- true
	}
	return sub.err
}

// wait waits for the outcome; ended false says that it is the caller's turn instead.
func (g *gatherer) wait(ctx context.Context, l *lane, sub *submission) (ended bool, err error) {
	select {
	case ended = <-sub.wake:
		return ended, sub.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	for i, w := range l.waiting {
		if w == sub {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			g.mu.Unlock()
			return true, ctx.Err()
		}
	}
	g.mu.Unlock()
	// It is being carried out: what it comes to is soon known. Or it leads, with a context that has ended.
	ended = <-sub.wake
	return ended, sub.err
}

// take takes those that wait and can go together with sub.
func (l *lane) take(sub *submission) ([]*submission, *client.Joint) {
	turn := []*submission{sub}
	if len(l.waiting) == 0 {
		return turn, nil
	}
	joint := new(client.Joint)
	if !joint.Add(sub.op) {
		return turn, nil
	}
	left := l.waiting[:0]
	for _, w := range l.waiting {
		if joint.Add(w.op) {
			turn = append(turn, w)
		} else {
			left = append(left, w)
		}
	}
	clear(l.waiting[len(left):])
	l.waiting = left
	return turn, joint
}

// pass ends a turn.
func (g *gatherer) pass(object string, l *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(l.waiting) == 0 {
		delete(g.lanes, object)
		return
	}
	next := l.waiting[0]
	l.waiting = append(l.waiting[:0], l.waiting[1:]...)
	next.wake <- false
}

// together carries out changes as one operation and says of each how it ended.
func (s *Service) together(ctx context.Context, object string, turn []*submission, joint *client.Joint) {
	ctx, cancel := detached(ctx) // the others go on when one's caller goes away
	defer cancel()
	for try := 0; try < jointTries; try++ {
		_, err := s.meta.Do(ctx, object, joint.Op())
		if err == nil {
			return
		}
		each, all := joint.Errors(err)
		left := turn[:0:0]
		for i, sub := range turn {
			if sub.err = each[i]; all {
				sub.err = err
			} else if sub.err == nil {
				left = append(left, sub)
			}
		}
		if all || len(left) == 0 {
			return
		}
		if len(left) == len(turn) {
			break // nobody's alone
		}
		turn, joint = left, new(client.Joint)
		for _, sub := range turn {
			if !joint.Add(sub.op) {
				break
			}
		}
		if joint.Len() < len(turn) {
			break
		}
	}
	var wg sync.WaitGroup
	for _, sub := range turn {
		wg.Go(func() { // ends with its operation, which ctx bounds
			_, sub.err = s.meta.Do(ctx, object, sub.op)
		})
	}
	wg.Wait()
}
