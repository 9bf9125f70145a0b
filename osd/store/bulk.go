package store

import "sync"

const (
	bulkWriters = 2       // write at once: the device has something to do while one waits for a sync
	bulkBytes   = 8 << 20 // a round of one takes batches up to so many bytes, or one that is larger
)

// bulk is the batches whose large writes are to be on the disk before the committer takes them. Those that
// came while the writers were busy are written together and synced once: one waits instead of each for itself, and
// the committer finds all of them at the same time. A batch that comes alone is written at once.
type bulk struct {
	mu      sync.Mutex // guards below
	waiting []*item
	writers int
}

// add has a batch written; ready is closed then.
func (q *bulk) add(d *Disk, it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, it)
	q.start(d)
}

// start starts a writer if one more may run. It is called with mu held.
func (q *bulk) start(d *Disk) {
	if q.writers < bulkWriters {
		q.writers++
		go q.run(d) // ends when nothing waits; Close waits for every batch
	}
}

// next takes what is written together, or ends a writer.
func (q *bulk) next(list []*item) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := int64(0)
	for len(q.waiting) > 0 && len(list) < aheadBatches {
		it := q.waiting[0]
		if bytes += it.bytes; bytes > bulkBytes && len(list) > 0 {
			break
		}
		list = append(list, it)
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
	}
	if len(list) == 0 {
		q.waiting = nil
		q.writers--
	}
	return list
}

func (q *bulk) run(d *Disk) {
	var list []*item
	var writes []ioWrite
	for {
		if list = q.next(list[:0]); len(list) == 0 {
			return
		}
		writes = d.writeTogether(list, writes[:0])
		clear(writes)
		d.syncBig(list)
		for _, it := range list {
			close(it.ready)
		}
		d.queue.written(list)
		for i := range list {
			list[i] = nil
			d.workers.Done()
		}
	}
}
