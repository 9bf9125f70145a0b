package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/placement"
)

// SimOptions configures NewSim. The zero value is a store of 1 TiB that
// completes batches by itself.
type SimOptions struct {
	// Capacity in bytes; default 1 TiB. One part in 64 is kept back as the reserve.
	Capacity int64
	// Identity at birth. A zero Store UUID is replaced by one derived from Seed.
	Identity Identity
	// Seed makes the store UUID when Identity has none, so that equal runs have equal ids.
	Seed uint64
	// Manual hands the order of events to a simulator: batches stay pending, neither
	// durable nor visible, until Complete or Flush, which call done on the
	// caller's goroutine. The store then has no goroutine of its own.
	Manual bool
	// MaxPending is how many batches may wait; Submit beyond it blocks, or in manual mode,
	// where nobody could unblock it, fails the batch with ErrInvalid. Default 4096.
	MaxPending int
	// OnRead, when set, is asked before every read of an object; an error is the answer of the read.
	OnRead func(k Key) error
	// OnBatch, when set, is asked when a batch is about to be applied; an error fails this batch only.
	OnBatch func(b *Batch) error
}

// Sim is the in-memory Store: the reference the real engine is compared with,
// and the disk of the cluster simulator. Equal calls give equal results. What
// a crash loses, which reads fail and which bytes rot is decided by its owner.
type Sim struct {
	opts SimOptions

	mu      sync.Mutex // guards below
	room    *sync.Cond // signalled when pending shrinks
	work    *sync.Cond // wakes the completing goroutine; nil in manual mode
	state   *simState
	id      Identity
	pending []simPending
	running bool  // a batch is being completed: done may be executing
	failed  error // the journal broke: every later batch gets this
	closed  bool
	stopped chan struct{} // closed when the completing goroutine has ended
}

type simPending struct {
	b    *Batch
	done func(error)
}

var _ Store = (*Sim)(nil)

// NewSim makes an empty in-memory store.
func NewSim(o SimOptions) *Sim {
	if o.Capacity <= 0 {
		o.Capacity = 1 << 40
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 4096
	}
	if o.Identity.Store.IsZero() {
		o.Identity.Store = simUUID(o.Seed)
	}
	return newSim(o, newSimState(), o.Identity)
}

func newSim(o SimOptions, st *simState, id Identity) *Sim {
	s := &Sim{opts: o, state: st, id: id, stopped: make(chan struct{})}
	s.room = sync.NewCond(&s.mu)
	if o.Manual {
		close(s.stopped)
		return s
	}
	s.work = sync.NewCond(&s.mu)
	go s.run() // ends when Close or Crash sets closed
	return s
}

// simUUID spreads a seed over a version 8 UUID (splitmix64).
func simUUID(seed uint64) (u placement.UUID) {
	for i := range u {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		u[i] = byte(z ^ z>>31)
	}
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return u
}

func (s *Sim) run() {
	defer close(s.stopped)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.pending) == 0 && !s.closed {
			s.work.Wait()
		}
		if len(s.pending) == 0 {
			return
		}
		s.completeOne()
	}
}

// completeOne applies the oldest pending batch and calls its done without the lock.
func (s *Sim) completeOne() {
	p := s.pending[0]
	s.pending[0] = simPending{}
	s.pending = s.pending[1:]
	s.room.Broadcast()
	err := s.apply(p.b)
	s.running = true
	s.mu.Unlock()
	p.done(err)
	s.mu.Lock()
	s.running = false
	s.room.Broadcast()
}

func (s *Sim) apply(b *Batch) error {
	err := b.lineErr()
	if err == nil {
		err = s.applyOne(b)
	}
	if err != nil {
		b.endLine(err)
	}
	return err
}

func (s *Sim) applyOne(b *Batch) error {
	if s.failed != nil {
		return s.failed
	}
	if s.opts.OnBatch != nil {
		if err := s.opts.OnBatch(b); err != nil {
			return err
		}
	}
	if err := s.state.check(b, s.opts.Capacity); err != nil {
		return err
	}
	s.state.apply(b)
	return nil
}

// Submit implements Store.
func (s *Sim) Submit(b *Batch, done func(error)) {
	s.mu.Lock()
	for !s.opts.Manual && len(s.pending) >= s.opts.MaxPending && !s.closed {
		s.room.Wait()
	}
	var refuse error
	switch {
	case s.closed:
		refuse = ErrClosed
	case len(s.pending) >= s.opts.MaxPending:
		refuse = invalid("more than %d batches pending in a manual store: complete some", s.opts.MaxPending)
	}
	if refuse != nil {
		s.mu.Unlock()
		if s.opts.Manual {
			done(refuse)
			return
		}
		go done(refuse) // never inside Submit: the caller may hold what done needs
		return
	}
	s.pending = append(s.pending, simPending{b, done})
	if s.work != nil {
		s.work.Signal()
	}
	s.mu.Unlock()
}

// Pending is the number of batches submitted and not completed.
func (s *Sim) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// Complete makes the n oldest pending batches durable and visible, calling each
// done on this goroutine, and returns how many there were. Batches that a done
// submits wait for the next call. Only for manual stores.
func (s *Sim) Complete(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.pending))
	for i := range n {
		if len(s.pending) == 0 { // a done crashed the store
			return i
		}
		s.completeOne()
	}
	return n
}

// Flush completes every batch that is pending now.
func (s *Sim) Flush() int { return s.Complete(s.Pending()) }

// Crash ends the store as a power cut does and returns it as it is after the
// restart: what was completed is there, and so are the keep oldest pending
// batches, as if the journal had them on the medium just before the cut; all
// else is lost. No done of a pending batch is ever called. The old store
// answers ErrClosed.
func (s *Sim) Crash(keep int) *Sim {
	s.mu.Lock()
	for _, p := range s.pending[:max(0, min(keep, len(s.pending)))] {
		_ = s.apply(p.b) // one that fails leaves nothing, as if it had been completed
	}
	s.pending = nil
	s.closed = true
	st, id, o := s.state, s.id, s.opts
	s.state = newSimState() // the old handle must not see what the new one does
	s.wake()
	s.mu.Unlock()
	return newSim(o, st, id)
}

func (s *Sim) wake() {
	s.room.Broadcast()
	if s.work != nil {
		s.work.Broadcast()
	}
}

// FailJournal makes the journal fail: every pending and later batch ends with
// err, as after an I/O error of the real journal. Reads go on. Crash repairs it, and so does nil.
func (s *Sim) FailJournal(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.failed = nil
		return
	}
	s.failed = fmt.Errorf("journal: %w", err)
}

// Rot damages the stored block that holds byte off of an object. Reads of the
// block answer ErrCorrupt until all of it is written anew.
func (s *Sim) Rot(k Key, off uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.state.objs[k]
	if o == nil {
		return fmt.Errorf("object %s: %w", k, ErrNotFound)
	}
	if i := off / blockBytes; i >= uint64(len(o.pages)) || o.pages[i] == nil {
		return invalid("object %s: no block is stored at %d", k, off)
	}
	o.pages[off/blockBytes].bad = true
	return nil
}

// Unrot takes back what Rot did to an object.
func (s *Sim) Unrot(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.state.objs[k]; o != nil {
		for _, p := range o.pages {
			if p != nil {
				p.bad = false
			}
		}
	}
}

// SetCapacity changes the size of the device, down to less than it holds if need be.
func (s *Sim) SetCapacity(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Capacity = n
}

// SetHooks replaces OnRead and OnBatch; nil removes.
func (s *Sim) SetHooks(onRead func(Key) error, onBatch func(*Batch) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.OnRead, s.opts.OnBatch = onRead, onBatch
}

// object finds an object for reading; the caller holds the lock.
func (s *Sim) object(k Key) (*simObject, error) {
	if s.closed {
		return nil, ErrClosed
	}
	if err := checkKey(&k); err != nil {
		return nil, err
	}
	if s.opts.OnRead != nil {
		if err := s.opts.OnRead(k); err != nil {
			return nil, fmt.Errorf("object %s: %w", k, err)
		}
	}
	o := s.state.objs[k]
	if o == nil {
		return nil, fmt.Errorf("object %s: %w", k, ErrNotFound)
	}
	return o, nil
}

// Stat implements Reader.
func (s *Sim) Stat(k Key) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.object(k)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: o.size, Version: o.version, Mtime: o.mtime, OmapKeys: uint64(len(o.omap))}, nil
}

// Read implements Reader.
func (s *Sim) Read(k Key, off, n uint64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.object(k)
	if err != nil {
		return nil, err
	}
	if off >= o.size {
		return nil, nil
	}
	n = min(n, o.size-off)
	if bad, is := o.firstBad(off, n); is {
		return nil, fmt.Errorf("object %s: block at offset %d: %w", k, bad, ErrCorrupt)
	}
	b := make([]byte, n)
	o.read(b, off)
	return b, nil
}

// Attrs implements Reader.
func (s *Sim) Attrs(k Key) ([]KV, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.object(k)
	if err != nil {
		return nil, err
	}
	return cloneKVs(o.attrs), nil
}

// Attr implements Reader.
func (s *Sim) Attr(k Key, name []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.object(k)
	if err != nil {
		return nil, err
	}
	if i, ok := findKV(o.attrs, name); ok {
		return cloneBytes(o.attrs[i].Value), nil
	}
	return nil, fmt.Errorf("object %s: attribute %q: %w", k, name, ErrNotFound)
}

// OmapGet implements Reader.
func (s *Sim) OmapGet(k Key, keys [][]byte) ([]KV, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.object(k)
	if err != nil {
		return nil, err
	}
	var out []KV
	for _, key := range keys {
		if i, ok := findKV(o.omap, key); ok {
			out = append(out, KV{cloneBytes(key), cloneBytes(o.omap[i].Value)})
		}
	}
	return out, nil
}

// OmapList implements Reader.
func (s *Sim) OmapList(k Key, start, end []byte, limit int) ([]KV, bool, error) {
	limit, err := checkLimit(limit)
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.object(k)
	if err != nil {
		return nil, false, err
	}
	from, to := rangeKVs(o.omap, start, end)
	size, i := 0, from
	for ; i < to && i-from < limit && size < maxListBytes; i++ {
		size += len(o.omap[i].Key) + len(o.omap[i].Value)
	}
	return cloneKVs(o.omap[from:i]), i < to, nil
}

// List implements Reader.
func (s *Sim) List(pg placement.PGID, sp Space, after string, limit int) ([]ListEntry, bool, error) {
	limit, err := checkLimit(limit)
	if err != nil {
		return nil, false, err
	}
	if sp > lastSpace {
		return nil, false, invalid("list space %d of PG %s: no such space", sp, pg)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, ErrClosed
	}
	space := s.state.spaces[simSpaceKey{pg, sp}]
	if space == nil {
		return nil, false, nil
	}
	i, found := slices.BinarySearch(space.names, after)
	if found {
		i++
	}
	var out []ListEntry
	for ; i < len(space.names) && len(out) < limit; i++ {
		o := s.state.objs[Key{pg, sp, space.names[i]}]
		out = append(out, ListEntry{Name: space.names[i], Version: o.version, Size: o.size, Mtime: o.mtime})
	}
	return out, i < len(space.names), nil
}

// PGs implements Reader.
func (s *Sim) PGs() ([]placement.PGID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	var out []placement.PGID
	for k, sp := range s.state.spaces {
		if len(sp.names) > 0 && k.sp != Shards {
			out = append(out, k.pg)
		}
	}
	slices.SortFunc(out, comparePG)
	return slices.Compact(out), nil
}

func comparePG(a, b placement.PGID) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// Usage implements Store.
func (s *Sim) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.state.usage
	u.Capacity = s.opts.Capacity
	u.Used = u.Data + u.Omap + u.Meta
	u.Allocated = u.Used
	for k, sp := range s.state.spaces {
		switch k.sp {
		case Objects:
			u.Stored += sp.bytes
		case Shards:
			u.Shards += int64(len(sp.names))
			u.InShards += sp.bytes
		}
	}
	u.Available = max(0, u.Capacity-simReserve(u.Capacity)-u.Used)
	return u
}

// PGUsage implements Store.
func (s *Sim) PGUsage(pg placement.PGID) (objects, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.state.spaces[simSpaceKey{pg, Objects}]; sp != nil {
		return int64(len(sp.names)), sp.bytes
	}
	return 0, 0
}

// Identity implements Store.
func (s *Sim) Identity() Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// SetIdentity implements Store.
func (s *Sim) SetIdentity(id Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.failed != nil {
		return s.failed
	}
	if err := checkIdentity(s.id, id); err != nil {
		return err
	}
	s.id = id
	return nil
}

// checkIdentity refuses to change what a store is.
func checkIdentity(old, id Identity) error {
	if id.Store != old.Store {
		return invalid("set identity: the store UUID is %s for ever, not %s", old.Store, id.Store)
	}
	return nil
}

// Close implements Store. In manual mode pending batches are completed first.
func (s *Sim) Close() error {
	s.mu.Lock()
	if s.opts.Manual {
		for len(s.pending) > 0 && !s.closed {
			s.completeOne()
		}
	}
	s.closed = true
	s.wake()
	s.mu.Unlock()
	<-s.stopped
	return nil
}

// Reopen closes the store and opens it again, as a clean restart of the OSD does.
func (s *Sim) Reopen() (*Sim, error) {
	if err := s.Close(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return nil, errors.New("reopen: this handle was reopened before")
	}
	st := s.state
	s.state = newSimState()
	return newSim(s.opts, st, s.id), nil
}
