package store

import "sync"

// dataSync makes what was written to the data file durable for many at once: those who come while a
// sync is under way share the next one. Everybody who syncs that file must come here: the kernel tells an error of
// what was written earlier to one of them only, and to the others success.
type dataSync struct {
	mu      sync.Mutex // guards below
	cond    *sync.Cond // done has risen
	running bool
	begun   uint64 // syncs
	done    uint64 // syncs, whatever came of them
	err     error  // of the first that failed: from then on nothing is known to be durable
}

func (s *dataSync) init() { s.cond = sync.NewCond(&s.mu) }

// wait returns when all that was written to f before the call is durable.
func (s *dataSync) wait(f file) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mine := s.begun + 1; s.done < mine && s.err == nil; {
		if s.running {
			s.cond.Wait()
			continue
		}
		s.running = true
		s.begun++
		s.mu.Unlock()
		err := f.Sync()
		s.mu.Lock()
		s.running = false
		s.done++
		if s.err == nil {
			s.err = err
		}
		s.cond.Broadcast()
	}
	return s.err
}
