package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/cairnstore/cairn/placement"
)

// InspectOptions configures Inspect. The zero value of every field means "use the default".
type InspectOptions struct {
	// CacheBytes is the memory of the index's block cache; default 16 MiB.
	CacheBytes int64
	// FilesOnly leaves the index and the replay of the journal out: only superblock and
	// journal are to be looked at.
	FilesOnly bool
	// Log receives what Pebble says; default slog.Default().
	Log *slog.Logger

	repair bool // changes go to the store itself
	layer  fileLayer
}

// Inspector is a store that no OSD has open, opened to be looked at. Unlike Open
// it does not refuse damage that leaves something to see, and it changes not one
// byte of the store: what the journal has and the index lacks is put together in a
// temporary folder.
type Inspector struct {
	d       *Disk
	o       InspectOptions
	scratch string // folder; "": the index is changed in place
	supers  []SuperCopy
	found   []Finding // by opening
	journal JournalState
	counted bool
}

// SuperCopy is one of the superblock's copies.
type SuperCopy struct {
	Copy    int    `json:"copy"`
	Error   string `json:"error,omitempty"`
	Current bool   `json:"current"` // the one that counts
	*SuperInfo
}

// SuperInfo is what a superblock says.
type SuperInfo struct {
	Format      uint32            `json:"format"`
	Oldest      uint32            `json:"oldest_reader"`
	Generation  uint64            `json:"generation"`
	Store       string            `json:"store"`
	Cluster     string            `json:"cluster"`
	OSD         placement.OSDID   `json:"osd"`
	Incarnation uint64            `json:"incarnation"`
	Clean       bool              `json:"closed_in_order"`
	Created     time.Time         `json:"created"`
	Journal     int64             `json:"journal_bytes"`
	Capacity    int64             `json:"capacity_bytes"` // 0: what the file system gives
	OnDevice    bool              `json:"on_device"`      // journal and data are on one
	Device      int64             `json:"device_bytes,omitempty"`
	Holes       bool              `json:"data_file_may_have_holes,omitempty"`
	Checkpoint  CheckpointInSuper `json:"checkpoint"`
}

// CheckpointInSuper is where replay begins.
type CheckpointInSuper struct {
	Position uint64 `json:"position"`
	Sequence uint64 `json:"sequence"`
	Known    uint64 `json:"known_durable"`
	Link     uint32 `json:"link"`
}

// JournalState is what reading the journal from the checkpoint on has shown.
type JournalState struct {
	Bytes    int64  `json:"bytes"`
	Groups   int64  `json:"groups"` // from the checkpoint to the end
	From     uint64 `json:"from_sequence"`
	Next     uint64 `json:"next_sequence"`
	Position uint64 `json:"position"`              // behind the last group
	Torn     bool   `json:"torn_tail"`             // a last group, never acknowledged, was cut off by a crash
	Err      error  `json:"-"`                     // damage: acknowledged writes may be behind it
	Damage   string `json:"damage,omitempty"`      // Err
	Replayed bool   `json:"replayed_into_scratch"` // what is shown of the index includes it
}

// Conditions of stores that an inspector cannot open.
var (
	ErrInUse    = errors.New("in use")
	ErrNotStore = errors.New("no store here")
)

// Inspect opens the store in dir to look at it. It refuses directories that hold no
// store, stores of a newer format and stores in use.
func Inspect(dir string, o InspectOptions) (*Inspector, error) { return inspectWith(dir, o, 0) }

func inspectWith(dir string, o InspectOptions, dirtyBytes int64) (*Inspector, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.layer == nil {
		o.layer = osLayer{}
	}
	in := &Inspector{o: o}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 16 << 20
	}
	do := Options{CacheBytes: o.CacheBytes, DirtyBytes: dirtyBytes, IdleCheckpoint: -1, Log: o.Log, layer: o.layer}
	if !o.repair {
		w := watchLayer{fileLayer: o.layer}
		if !o.FilesOnly {
			dir, err := os.MkdirTemp("", "cairn-inspect-*")
			if err != nil {
				return nil, fmt.Errorf("make a temporary folder for the index: %w", err)
			}
			in.scratch, w.dir, w.index = dir, dir, newScratchFS(o.layer.Pebble(), dir)
		}
		do.layer = w
	}
	in.d = newDisk(dir, do)
	in.d.forgive = in.forgive
	if err := in.open(); err != nil {
		_ = in.closeFiles()
		return nil, fmt.Errorf("inspect store %s: %w", dir, explain(err))
	}
	return in, nil
}

// forgive notes damage that opening can go on without.
func (in *Inspector) forgive(kind FindingKind, err error) bool {
	in.found = append(in.found, Finding{Kind: kind, Text: err.Error(), Cure: cures[kind]})
	return true
}

func (in *Inspector) open() error {
	d := in.d
	if err := d.openSuper(); err != nil {
		return err
	}
	in.readCopies()
	if err := d.openFiles(); err != nil {
		return err
	}
	in.journal = JournalState{Bytes: d.journalBytes, From: d.super.checkpoint.seq}
	d.journal.onTorn = func() { in.journal.Torn = true }
	if in.o.FilesOnly {
		in.endJournal(d.journal.replay(d.super.checkpoint, d.super.clean, d.log, func(uint64, *redo) error {
			in.journal.Groups++
			return nil
		}))
		return nil
	}
	if err := d.openIndex(); err != nil {
		return fmt.Errorf("index %s: %w", d.path(indexName), err)
	}
	in.journal.Replayed = true
	in.endJournal(d.replay())
	in.journal.Groups = int64(d.journal.seq - d.super.checkpoint.seq)
	in.spaces()
	d.measure()
	return nil
}

func (in *Inspector) endJournal(err error) {
	j := in.d.journal
	in.journal.Next, in.journal.Position, in.journal.Err = j.seq, j.pos, err
	if err != nil {
		in.journal.Damage = err.Error()
		in.forgive(FoundJournal, err)
	}
	if in.journal.Torn {
		in.found = append(in.found, Finding{Kind: FoundTornTail, Cure: CureNone,
			Text: fmt.Sprintf("journal: group %d was torn by a crash; it was never acknowledged, and the next start cuts it off", j.seq)})
	}
}

// readCopies looks at every copy of the superblock.
func (in *Inspector) readCopies() {
	d := in.d
	for i, at := range d.files.supers {
		c := SuperCopy{Copy: i}
		b := alignedBytes(blockBytes)
		n, err := d.files.super.ReadAt(b, at)
		var sb *superblock
		if n == blockBytes {
			sb, err = decodeSuperblock(b)
		}
		if err != nil {
			c.Error = err.Error()
			in.forgive(FoundSuperblock, fmt.Errorf("superblock copy %d of %s: %w", i, d.path(superName), err))
		} else {
			c.SuperInfo = sb.info(b)
			c.Current = sb.generation == d.super.generation
			if !c.Current {
				in.found = append(in.found, Finding{Kind: FoundOldCopy, Cure: CureNone, Text: fmt.Sprintf(
					"superblock copy %d is of generation %d, the other of %d: a crash came between the two writes, and the next start writes both",
					i, sb.generation, d.super.generation)})
			}
		}
		in.supers = append(in.supers, c)
	}
}

// spaces learns the generations, as scanSpaces does, and goes on at damage: Fsck finds that.
func (in *Inspector) spaces() {
	d := in.d
	_, _, _ = d.eachPair([]byte{keyDoomed}, []byte{keyGen + 1}, -1, func(k, v []byte) {
		s, rest, ok := parseSpace(k[1:])
		switch {
		case !ok:
		case k[0] == keyGen && len(rest) == 0 && len(v) == 4:
			d.gens[s] = be32(v)
			d.planner.gens[s] = d.gens[s]
		}
	})
}

// count fills the counters that PGs and PGUsage answer from. Entries that cannot
// be read are left out: Fsck names them.
func (in *Inspector) count() error {
	if in.counted {
		return nil
	}
	d := in.d
	d.view.Lock()
	defer d.view.Unlock()
	err := in.walk([]byte{keyHead}, []byte{keyHead + 1}, nil, func(k, v []byte) error {
		s, gen, name, ok := parseHeadKey(k)
		h, err := decodeHead(v)
		if ok && err == nil && gen == d.gens[s] {
			st := d.stats[s]
			count(&st, name, 1, int64(h.size))
			d.stats[s] = st
		}
		return nil
	})
	in.counted = err == nil
	return err
}

// walk goes over index entries, past what cannot be read. It tells gaps what that is.
func (in *Inspector) walk(lo, hi []byte, gaps func(error), f func(k, v []byte) error) error {
	c := &fsck{d: in.d, o: FsckOptions{MaxFindings: 1 << 20}}
	err := c.walk(lo, hi, f)
	for i := range c.rep.Findings {
		if gaps != nil {
			gaps(errors.New(c.rep.Findings[i].Text))
		}
	}
	return err
}

var errEnough = errors.New("enough")

// ListReadable is List for a damaged index: it passes over entries that cannot be read, and
// tells gaps about them.
func (in *Inspector) ListReadable(pg placement.PGID, sp Space, after string, limit int, gaps func(error)) (objs []ListEntry, more bool, err error) {
	if limit, err = checkLimit(limit); err != nil {
		return nil, false, err
	}
	s := spaceKey{pg, sp}
	prefix := appendHeadPrefix(nil, s, in.d.gens[s])
	lo := append(cloneBytes(prefix), after...)
	if after != "" {
		lo = append(lo, 0)
	}
	err = in.walk(lo, keyAfter(prefix), gaps, func(k, v []byte) error {
		name := string(k[len(prefix):])
		h, err := decodeHead(v)
		switch {
		case err != nil:
			gaps(fmt.Errorf("object %s: its index entry cannot be read: %w", FullName(Key{pg, sp, name}), ErrCorrupt))
		case len(objs) == limit:
			more = true
			return errEnough
		default:
			objs = append(objs, ListEntry{Name: name, Version: h.version, Size: h.size, Mtime: h.mtime})
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return objs, more, err
}

// Reader reads the store's objects.
func (in *Inspector) Reader() Reader { return in.d }

// PGs returns every PG that has at least one readable object in any space.
func (in *Inspector) PGs() ([]placement.PGID, error) {
	if err := in.count(); err != nil {
		return nil, err
	}
	return in.d.PGs()
}

// PoolShards counts the readable shards of chunks of each pool.
func (in *Inspector) PoolShards() ([]PoolShards, error) {
	if err := in.count(); err != nil {
		return nil, err
	}
	return in.d.PoolShards(), nil
}

// SpaceUsage counts the objects of one space of a PG and their bytes.
func (in *Inspector) SpaceUsage(pg placement.PGID, sp Space) (objects, bytes int64, err error) {
	if err := in.count(); err != nil {
		return 0, 0, err
	}
	s := in.d.stats[spaceKey{pg, sp}]
	return s.objects, s.bytes, nil
}

// Supers returns the superblock's copies.
func (in *Inspector) Supers() []SuperCopy { return slices.Clone(in.supers) }

// Journal returns how far the journal could be read.
func (in *Inspector) Journal() JournalState { return in.journal }

// Identity returns the superblock's identity.
func (in *Inspector) Identity() Identity { return in.d.Identity() }

// Layout is where a store's bytes are.
type Layout struct {
	Capacity   int64 `json:"capacity_bytes"`
	Superblock int64 `json:"superblock_bytes"`
	Journal    int64 `json:"journal_bytes"`
	Index      int64 `json:"index_bytes"`
	Omap       int64 `json:"omap_bytes"` // of Index, about
	DataFile   int64 `json:"data_file_bytes"`
	DataUsed   int64 `json:"data_used_bytes"` // blocks that belong to objects
	// Allocated is what the file system has given the data file, or the file that is its device, with the
	// journal; 0 where nobody knows, as of a block device. A file that was copied with holes has less than its size.
	Allocated int64 `json:"allocated_bytes"`
	Free      int64 `json:"file_system_free_bytes"`
}

// Layout sums up where the store's bytes are. It reads all of the index that maps blocks.
func (in *Inspector) Layout() (Layout, error) {
	d := in.d
	size, err := d.files.dataBytes()
	if err != nil {
		return Layout{}, err
	}
	l := Layout{Capacity: d.capacity.Load(), Superblock: superCopies * blockBytes, Journal: d.journalBytes,
		Index: d.indexBytes.Load(), Omap: d.omapBytes.Load(), DataFile: size, Free: d.freeBytes.Load()}
	if d.files.device != nil {
		l.Allocated = allocated(d.files.name)
	} else {
		l.Allocated = allocated(d.path(dataName))
	}
	used, err := in.usedBlocks(size)
	l.DataUsed = int64(used.n) * blockBytes
	return l, err
}

// usedBlocks reads from the index which blocks of a data area of a size hold something.
func (in *Inspector) usedBlocks(size int64) (*blockSet, error) {
	used := &blockSet{limit: max(uint64(size/blockBytes), in.d.maxBlocks())}
	_, _, err := in.d.eachPair([]byte{keySeg}, []byte{keySeg + 1}, -1, func(_, v []byte) {
		if s, err := decodeSegment(v); err == nil {
			s.runs(func(_ int, r run) {
				for b := r.start; b < r.end(); b++ {
					used.add(b)
				}
			})
		}
	})
	return used, err
}

// Close releases the store.
func (in *Inspector) Close() error { return in.closeFiles() }

func (in *Inspector) closeFiles() error {
	in.d.life.Lock()
	var err error
	if !in.d.closed {
		in.d.closed = true
		err = in.d.closeFiles()
	}
	in.d.life.Unlock()
	if in.scratch != "" {
		if rerr := os.RemoveAll(in.scratch); err == nil {
			err = rerr
		}
	}
	return err
}

// ObjectDump is what the index says of one object, for people.
type ObjectDump struct {
	Number   uint64       `json:"number"`
	Size     uint64       `json:"size"`
	Version  string       `json:"version"`
	Mtime    int64        `json:"mtime"`         // unix nanoseconds
	OmapKeys uint64       `json:"omap_keys_max"` // an upper bound
	Attrs    bool         `json:"has_attrs"`
	Omap     bool         `json:"has_omap"`
	Segments []SegmentRun `json:"runs,omitempty"`
	Inline   bool         `json:"in_index"` // its bytes are in the index
	Damage   string       `json:"damage,omitempty"`
	Entry    []byte       `json:"index_entry"` // as stored
}

// Damaged reports whether some of the object's data cannot be read.
func (o *ObjectDump) Damaged() bool {
	for i := range o.Segments {
		if len(o.Segments[i].Bad) > 0 {
			return true
		}
	}
	return o.Damage != ""
}

// SegmentRun is a row of blocks that is contiguous in object and data file.
type SegmentRun struct {
	Offset uint64   `json:"offset"` // in the object, bytes
	At     uint64   `json:"at"`     // in the data file, bytes
	Bytes  uint64   `json:"bytes"`
	Sums   []uint32 `json:"crc32c"`
	Bad    []uint64 `json:"damaged,omitempty"` // offsets in the object of blocks whose checksum is wrong
}

// Dump returns what the index says of an object, with the state of each of its blocks.
func (in *Inspector) Dump(k Key) (ObjectDump, error) {
	d := in.d
	if err := checkKey(&k); err != nil {
		return ObjectDump{}, err
	}
	v, ok, err := d.get(appendHeadKey(nil, &k, d.gens[k.space()]))
	if err != nil {
		return ObjectDump{}, fmt.Errorf("object %s: %w", k, err)
	}
	if !ok {
		return ObjectDump{}, fmt.Errorf("object %s: %w", k, ErrNotFound)
	}
	o := ObjectDump{Entry: v}
	h, err := decodeHead(v)
	if err != nil {
		return o, fmt.Errorf("object %s: %w", k, err)
	}
	o.Number, o.Attrs, o.Omap = h.oid, h.hasAttrs, h.hasOmap
	o.Size, o.Version, o.Mtime, o.OmapKeys = h.size, h.version.String(), h.mtime, h.omapMax
	if o.Inline = h.inline; h.inline {
		if _, err := d.readInline(&h, 0, h.size, nil); err != nil {
			o.Damage = err.Error()
		}
	}
	buf := alignedBytes(blockBytes)
	err = d.eachSegment(h.oid, func(idx uint32, s *segment) {
		s.runs(func(first int, r run) {
			out := SegmentRun{Offset: uint64(idx)*segBytes + uint64(first)*blockBytes, At: r.start * blockBytes, Bytes: r.count * blockBytes}
			for i := range int(r.count) {
				out.Sums = append(out.Sums, s.sum[first+i])
				if d.readBlock(r.start+uint64(i), s.sum[first+i], buf) != nil {
					out.Bad = append(out.Bad, out.Offset+uint64(i)*blockBytes)
				}
			}
			o.Segments = append(o.Segments, out)
		})
	})
	if errors.Is(err, ErrCorrupt) {
		o.Damage, err = err.Error(), nil
	}
	return o, err
}

// JournalGroup is one group of the journal, for people.
type JournalGroup struct {
	Sequence uint64 `json:"sequence"`
	Offset   uint64 `json:"offset"` // in the journal file
	Bytes    int    `json:"bytes"`
	Sets     int    `json:"index_sets"`
	Deletes  int    `json:"index_deletes"`
	Blocks   int    `json:"blocks"` // block contents
	Freed    uint64 `json:"freed"`  // blocks
}

// Groups calls f for every group of the journal from the checkpoint on.
func (in *Inspector) Groups(f func(JournalGroup) error) error {
	d := in.d
	j := *d.journal
	j.onTorn, j.buf = nil, nil
	return j.replay(d.super.checkpoint, d.super.clean, d.log, func(seq uint64, r *redo) error {
		g := JournalGroup{Sequence: seq, Offset: j.at % j.size, Bytes: j.bytes, Blocks: len(r.blocks)}
		for _, fr := range r.frees {
			g.Freed += fr.count
		}
		if err := applyKV(r.kv, kvCounter{&g}); err != nil {
			return err
		}
		return f(g)
	})
}

// kvCounter counts index changes.
type kvCounter struct{ g *JournalGroup }

func (c kvCounter) set(_, _ []byte) error         { c.g.Sets++; return nil }
func (c kvCounter) delete([]byte) error           { c.g.Deletes++; return nil }
func (c kvCounter) deleteRange(_, _ []byte) error { c.g.Deletes++; return nil }

func (s *superblock) info(raw []byte) *SuperInfo {
	return &SuperInfo{
		Format: binary.LittleEndian.Uint32(raw[8:]), Oldest: binary.LittleEndian.Uint32(raw[12:]), Generation: s.generation,
		Store: s.id.Store.String(), Cluster: s.id.Cluster.String(), OSD: s.id.OSD, Incarnation: s.id.Incarnation, Clean: s.clean,
		Created: time.Unix(0, s.created).UTC(), Journal: s.journal, Capacity: s.capacity, OnDevice: s.onDevice, Device: s.device, Holes: s.holes,
		Checkpoint: CheckpointInSuper{Position: s.checkpoint.pos, Sequence: s.checkpoint.seq, Known: s.checkpoint.known, Link: s.checkpoint.link},
	}
}
