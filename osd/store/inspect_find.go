package store

import (
	"encoding/binary"
)

// FindingKind names what Fsck can find. docs/operations/objectstore.md explains each.
type FindingKind string

// What Fsck can find.
const (
	FoundSuperblock  FindingKind = "superblock-copy"       // a copy that cannot be read
	FoundOldCopy     FindingKind = "superblock-old"        // a copy of an earlier generation: no damage
	FoundDataHeader  FindingKind = "data-header"           // block 0 of the data file
	FoundTornTail    FindingKind = "journal-torn"          // the last group, torn by a crash: no damage
	FoundJournal     FindingKind = "journal"               // damage before the journal's end
	FoundIndexOwner  FindingKind = "index-owner"           // the index does not say whose it is
	FoundIndexOld    FindingKind = "index-old"             // an index that lacks what a checkpoint had put there
	FoundIndexGap    FindingKind = "index-unreadable"      // tables that Pebble cannot read
	FoundKey         FindingKind = "key-unknown"           // an index key of no known kind
	FoundHead        FindingKind = "head-unreadable"       // an object's entry that does not decode
	FoundNumber      FindingKind = "number-shared"         // two objects with one number
	FoundGeneration  FindingKind = "generation-unreadable" // of a space
	FoundLeftSpace   FindingKind = "space-left"            // objects of a generation that is neither current nor being purged
	FoundSegment     FindingKind = "segment-unreadable"    // blocks of an object
	FoundOrphanSeg   FindingKind = "segment-orphan"        // of no object
	FoundExcess      FindingKind = "segment-excess"        // blocks behind an object's end
	FoundShared      FindingKind = "block-shared"          // a block that two objects claim and the index does not say so
	FoundUsers       FindingKind = "block-users"           // a count of the users of shared blocks that is wrong
	FoundBeyond      FindingKind = "block-beyond"          // a block behind the end of the data file
	FoundBlock       FindingKind = "block-damaged"         // wrong checksum (of blocks: deep)
	FoundOrphanAttr  FindingKind = "attr-orphan"           // of no object
	FoundOrphanOmap  FindingKind = "omap-orphan"           // of no object
	FoundOrphanBytes FindingKind = "bytes-orphan"          // a small object's bytes, of no object
	FoundHidden      FindingKind = "keys-hidden"           // attributes, omap or bytes that the object's entry denies
	FoundOmapCount   FindingKind = "omap-count"            // more keys than the entry's upper bound
	FoundRecords     FindingKind = "pg-records"            // state or log of a PG (found by whoever knows PGs)
	FoundHalfImport  FindingKind = "import-unfinished"     // found by whoever knows imports
	FoundAbandonedPG FindingKind = "pg-without-state"      // objects of a PG that does not exist here
)

// Cure says what helps against a finding.
type Cure string

// The cures.
const (
	CureNone    Cure = "none"    // it is no damage
	CureRepair  Cure = "repair"  // Fsck with Repair
	CureCluster Cure = "cluster" // other copies, by `cairn pg repair`
	CureReplace Cure = "replace" // nothing local: make the OSD anew from its peers
)

// cures is what helps against each kind.
var cures = map[FindingKind]Cure{
	FoundSuperblock: CureRepair, FoundDataHeader: CureRepair, FoundJournal: CureReplace, FoundIndexOwner: CureRepair,
	FoundIndexGap: CureReplace, FoundIndexOld: CureReplace, FoundKey: CureRepair, FoundHead: CureRepair, FoundNumber: CureRepair,
	FoundGeneration: CureRepair, FoundLeftSpace: CureRepair, FoundSegment: CureRepair, FoundOrphanSeg: CureRepair,
	FoundExcess: CureRepair, FoundShared: CureRepair, FoundUsers: CureRepair, FoundBeyond: CureRepair, FoundBlock: CureCluster,
	FoundOrphanAttr: CureRepair, FoundOrphanOmap: CureRepair, FoundOrphanBytes: CureRepair, FoundHidden: CureRepair, FoundOmapCount: CureRepair,
	FoundRecords: CureCluster,
}

// Finding is one thing that Fsck found.
type Finding struct {
	Kind     FindingKind `json:"kind"`
	Object   string      `json:"object,omitempty"` // PG, space and name
	Text     string      `json:"text"`
	Cure     Cure        `json:"cure"`
	Repaired string      `json:"repaired,omitempty"` // what was done about it
	Key      Key         `json:"-"`
}

// Damage reports whether the finding is more than a note.
func (f *Finding) Damage() bool { return f.Cure != CureNone }

// SpaceName is what a space is called.
func SpaceName(sp Space) string {
	switch sp {
	case Objects:
		return "objects"
	case Meta:
		return "meta"
	case Staging:
		return "staging"
	case Shards:
		return "shards"
	}
	return "unknown"
}

// FullName names an object with its space, for people.
func FullName(k Key) string {
	if k.Space == Objects || k.Space == Shards {
		return k.String()
	}
	return k.PG.String() + "/" + SpaceName(k.Space) + k.String()[len(k.PG.String()):]
}

// objRec is what the check must know of an object while it looks at what belongs to it.
type objRec struct {
	oid     uint64
	omapMax uint32 // at most what it can hold
	size    uint32
	flags   uint8
}

const (
	recAttrs = 1 << iota
	recOmap
	recInline // its bytes are in the index
	recBytes  // and were found there
	recTwice  // another object has the same number
)

// blockSet is a set of blocks of the data file.
type blockSet struct {
	words []uint64
	limit uint64 // others are not kept
	n     uint64
}

// add adds a block; false when it was there already.
func (s *blockSet) add(b uint64) bool {
	if b >= s.limit {
		return true
	}
	w := b / 64
	if w >= uint64(len(s.words)) {
		s.words = append(s.words, make([]uint64, min(w+1+w/4, s.limit/64+1)-uint64(len(s.words)))...)
	}
	if s.words[w]>>(b%64)&1 != 0 {
		return false
	}
	s.words[w] |= 1 << (b % 64)
	s.n++
	return true
}

func (s *blockSet) has(b uint64) bool {
	return b/64 < uint64(len(s.words)) && s.words[b/64]>>(b%64)&1 != 0
}

// runs calls f for every row of blocks in the set.
func (s *blockSet) runs(f func(run) error) error {
	for b, end := uint64(0), uint64(len(s.words))*64; b < end; {
		if s.words[b/64] == 0 {
			b = (b/64 + 1) * 64
			continue
		}
		if !s.has(b) {
			b++
			continue
		}
		r := run{b, 1}
		for r.end() < end && s.has(r.end()) {
			r.count++
		}
		if err := f(r); err != nil {
			return err
		}
		b = r.end()
	}
	return nil
}

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
