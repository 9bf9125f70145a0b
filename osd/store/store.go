// Package store is an OSD's local engine: it keeps the objects of many PGs on
// one device and changes them in atomic, durable batches.
//
// Three ideas: a Batch holds everything one step of the OSD changes (object
// data, attributes, omap, PG log) and becomes durable with a single sync of the
// journal; batches apply in the order of Submit; every read verifies checksums
// and answers ErrCorrupt rather than wrong bytes. There are two engines with
// one suite (storetest): Disk, the real one, and Sim, the in-memory reference
// whose faults the simulator controls.
//
// The package knows nothing of replication: terms and positions are stored as
// it is told. It never guesses: a device that holds something else is refused.
package store

import (
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// Limits of one store. They bound what a hostile or broken peer can make it hold.
const (
	MaxObjectName  = 1024                                    // object name, as clients may choose it
	MaxNameBytes   = MaxObjectName + placement.MaxRecordLead // any name: a record's is longer than that of the object it belongs to
	MaxObjectBytes = 64 << 20                                // object data
	MaxKeyBytes    = 2048                                    // attribute name or omap key
	MaxValueBytes  = 1 << 20                                 // attribute or omap value
	MaxBatchBytes  = 80 << 20                                // all data in one batch
)

// Conditions that callers test with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrNoSpace  = errors.New("no space left on the device")
	ErrCorrupt  = errors.New("checksum mismatch")
	ErrClosed   = errors.New("store is closed")
	ErrInvalid  = errors.New("invalid argument")
)

// Space separates what clients see of a PG from what the OSD keeps about it.
type Space uint8

// The spaces of a PG, and one of a pool.
const (
	Objects Space = iota // client objects
	Meta                 // PG metadata and log
	Staging              // object copies received but not yet moved in place
	Shards               // shards of a pool's chunks, which belong to no PG: see ShardKey
)

const lastSpace = Shards

// Key names a stored object. Names are ordered as byte strings within (PG, Space).
type Key struct {
	PG    placement.PGID
	Space Space
	Name  string
}

// String returns "pg/name" for messages.
func (k Key) String() string {
	if k.Space == Shards {
		return fmt.Sprintf("pool %d/shards/%x", k.PG.Pool, k.Name)
	}
	return fmt.Sprintf("%s/%q", k.PG, k.Name)
}

// Version is the PG log position of the last change of an object.
type Version struct {
	Term placement.Term
	Seq  uint64
}

// Less orders versions by term, then sequence.
func (v Version) Less(o Version) bool { return v.Term < o.Term || v.Term == o.Term && v.Seq < o.Seq }

// IsZero reports whether v was never set.
func (v Version) IsZero() bool { return v == Version{} }

// String returns Ceph's form, term'seq.
func (v Version) String() string { return fmt.Sprintf("%d'%d", v.Term, v.Seq) }

// OpKind is what an Op does.
type OpKind uint8

// The operations of a Batch. Every operation except OpRemove, OpRename, OpClone and
// OpRemoveSpace creates the object when it does not exist. Removing what does
// not exist is no error.
const (
	OpTouch       OpKind = iota + 1 // create
	OpWrite                         // Data at Off; extends the object, a gap reads as zeros
	OpZero                          // Len zeros at Off, deallocating; never extends
	OpTruncate                      // size becomes Off, longer or shorter
	OpRemove                        // object with attributes and omap
	OpSetAttr                       // Name = Value
	OpRmAttr                        // Name
	OpOmapSet                       // Name = Value
	OpOmapRm                        // Name
	OpOmapRmRange                   // keys from Name inclusive to End exclusive; empty End: no bound
	OpOmapClear                     // all keys
	OpSetVersion                    // Version, Mtime
	OpRename                        // Key becomes To, replacing what To held; a missing Key is ErrNotFound
	OpRemoveSpace                   // every object of (Key.PG, Key.Space)
	OpClone                         // To becomes a copy of Key with all it has, replacing what To held; a missing Key is ErrNotFound
)

// Op is one change.
type Op struct {
	Kind OpKind
	Key  Key
	To   Key    // OpRename, OpClone
	Off  uint64 // bytes
	Len  uint64 // bytes
	Data []byte // OpWrite; the store does not keep or change it after done is called
	// Mem may say which counted memory Data lies in, whose checksums were computed from what arrived: the store
	// keeps them and does not compute its own. Whoever submits the batch sees to it that the memory has a user
	// until done is called.
	Mem     *slab.Buf
	Name    []byte // attribute name or omap key
	Value   []byte
	End     []byte
	Version Version
	Mtime   int64 // unix nanoseconds
}

// Batch is a list of changes that take effect together or not at all.
type Batch struct {
	Ops  []Op
	Line *Line // what it builds on; nil: nothing

	// Reserve lets it use half of the space kept back for the day the store is full: it carries
	// what others have decided and cannot well be refused. Whoever decides must look at Usage.
	Reserve bool

	// Loose lets batches that come later overtake it while large data of it is being written: nothing
	// that others do depends on their order.
	Loose bool
}

// Line is a sequence of batches each of which builds on those before it, as the
// writes of a PG do. When one of them fails, for want of space for example, all
// behind it fail with the same error: were a smaller one to succeed, the PG's log
// would have a hole. The zero value is a line to start with; a Line belongs to
// one store as long as that is open.
type Line struct{ err error } // set and read where batches are applied, one after the other

// lineErr returns the reason why a batch may not be applied.
func (b *Batch) lineErr() error {
	if b == nil || b.Line == nil {
		return nil
	}
	return b.Line.err
}

// endLine ends the batch's line, because it failed.
func (b *Batch) endLine(err error) {
	if b != nil && b.Line != nil && b.Line.err == nil {
		b.Line.err = fmt.Errorf("an earlier batch failed: %w", err)
	}
}

// Info is what Stat knows of an object.
type Info struct {
	Size     uint64
	Version  Version
	Mtime    int64  // unix nanoseconds
	OmapKeys uint64 // may be an upper bound
}

// KV is a key with its value.
type KV struct{ Key, Value []byte }

// Usage is the fill state of a store, in bytes.
type Usage struct {
	Capacity  int64
	Used      int64 // Data + Omap + Meta, as allocated
	Available int64
	Data      int64
	Omap      int64
	Meta      int64 // journal, index, superblock
	Objects   int64 // in space Objects
	Stored    int64 // the sizes of these
	Shards    int64 // objects in space Shards
	InShards  int64 // the sizes of these
	Allocated int64 // what the store has taken of device and file system, used or not: data, index, journal
}

// Identity is what the superblock says the store is.
type Identity struct {
	Store       placement.UUID // made once, when the store was made
	Cluster     placement.UUID // zero until the OSD has joined a cluster
	OSD         placement.OSDID
	Incarnation uint64 // of the last start
}

// Reader is the reading half of a store. A read sees every batch whose done
// was called, and never a part of a batch. Slices returned are the caller's.
type Reader interface {
	// Stat returns ErrNotFound when the object does not exist.
	Stat(k Key) (Info, error)
	// Read returns up to n bytes at off; fewer at the object's end, none beyond it.
	// ErrNotFound, ErrCorrupt (wrapped, naming the object).
	Read(k Key, off, n uint64) ([]byte, error)
	// Attrs returns all attributes, sorted by name.
	Attrs(k Key) ([]KV, error)
	// Attr returns one attribute; ErrNotFound when it or the object is missing.
	Attr(k Key, name []byte) ([]byte, error)
	// OmapGet returns the pairs of those keys that exist, in the order asked.
	OmapGet(k Key, keys [][]byte) ([]KV, error)
	// OmapList returns up to limit pairs from start (inclusive) to end (exclusive, empty: no
	// bound), in order, and whether more follow. It may return fewer than limit to bound memory.
	OmapList(k Key, start, end []byte, limit int) (kvs []KV, more bool, err error)
	// List returns up to limit objects of a PG's space with names after `after`, in order.
	List(pg placement.PGID, sp Space, after string, limit int) (objs []ListEntry, more bool, err error)
	// PGs returns every PG that has at least one object in any space but Shards, sorted.
	PGs() ([]placement.PGID, error)
}

// ListEntry is an object in a listing.
type ListEntry struct {
	Name    string
	Version Version
	Size    uint64
	Mtime   int64 // unix nanoseconds
}

// Store is a local engine. Its methods are safe for concurrent use.
type Store interface {
	Reader
	// Submit queues a batch. done is called exactly once: with nil when the batch is durable
	// and visible, or with the reason why none of it took effect (ErrNoSpace, ErrInvalid, an I/O error).
	// After an I/O error of the journal every later Submit fails with it: the OSD must stop.
	// done is called in Submit order, on a goroutine of the store, and must not block. Submit
	// itself blocks while the bounded queue is full.
	Submit(b *Batch, done func(error))
	// Usage is cheap enough to call every second.
	Usage() Usage
	// PGUsage counts objects (space Objects) and their bytes in one PG; cheap.
	PGUsage(pg placement.PGID) (objects, bytes int64)
	// PGRecords counts the records among the objects of one PG (placement.IsRecord); cheap.
	PGRecords(pg placement.PGID) int64
	// PoolShards counts the shards of each pool that has some here, by pool; cheap.
	PoolShards() []PoolShards
	// Identity returns the superblock's identity; SetIdentity makes a new one durable.
	// The Store UUID itself cannot be changed.
	Identity() Identity
	SetIdentity(Identity) error
	// Close waits for queued batches and releases the device. Idempotent.
	Close() error
}

// Apply submits b and waits until it is durable.
func Apply(s Store, b *Batch) error {
	ch := make(chan error, 1)
	s.Submit(b, func(err error) { ch <- err })
	return <-ch
}
