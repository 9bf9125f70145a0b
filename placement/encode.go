package placement

import (
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/placement/crush"
)

// The formats are described in docs/formats/cluster-map.md. A change of either
// raises its version and keeps the decoders of all earlier ones.
var (
	mapFormat   = codec.Format{What: "cluster map", Magic: codec.Magic{'C', 'M', 'A', 'P'}, MaxVersion: 4}
	deltaFormat = codec.Format{What: "cluster map delta", Magic: codec.Magic{'C', 'D', 'L', 'T'}, MaxVersion: 4}
)

// ErrCorrupt is matched by errors about encodings that are damaged, cut off, or
// break the rules of their format.
var ErrCorrupt = codec.ErrCorrupt

// VersionError is the error for an intact encoding that is newer than this program.
type VersionError = codec.VersionError

// EncodeMap returns the encoding of m: the same bytes for equal maps on every
// machine. m must pass Validate, or others may refuse to decode the result.
func EncodeMap(m *Map) []byte {
	b, _ := encodeMap(m)
	return b
}

// Checksum returns the crc32c that ends m's encoding. It stands for the whole map
// in deltas and in comparisons between daemons.
func (m *Map) Checksum() uint32 {
	_, sum := encodeMap(m)
	return sum
}

func encodeMap(m *Map) ([]byte, uint32) {
	size := 256 + 128*(len(m.Mons)+len(m.Services)+len(m.OSDs)) + 64*len(m.Pools)
	for i := range m.PGs {
		size += 16 * len(m.PGs[i].Records)
	}
	var blob []byte
	if m.Crush != nil {
		blob = crush.Encode(m.Crush)
	}
	e := codec.NewEncoder(make([]byte, 0, size+len(blob)))
	mark := e.Begin(mapFormat.Magic, mapFormat.MaxVersion)
	e.Uvarint(uint64(m.Epoch))
	encodeHeader(e, &header{m.Cluster, m.Created, m.Modified, m.Flags, m.NextPool, m.NextOSD})
	encodeList(e, m.Mons, encodeMon)
	encodeList(e, m.OSDs, encodeOSD)
	e.Blob(blob)
	encodeList(e, m.Pools, encodePool)
	encodeList(e, m.PGs, func(e *codec.Encoder, p *PoolPGs) {
		e.Uvarint(uint64(p.Pool))
		encodeList(e, p.Records, encodeRecord)
	})
	encodeList(e, m.Services, encodeService)
	encodeList(e, m.Config, encodeSetting)
	sum := e.End(mark)
	return e.Bytes(), sum
}

// DecodeMap reads what EncodeMap wrote. Errors match ErrCorrupt, or are a
// *VersionError (or match crush.ErrVersion, if only the CRUSH map in it is too new). The result has the shape of a map (sorted, every pool with its
// records); whether it makes sense is for Validate.
func DecodeMap(b []byte) (*Map, error) {
	if len(b) > MaxMapBytes {
		return nil, fmt.Errorf("cluster map: %w: %d bytes, at most %d allowed", ErrCorrupt, len(b), MaxMapBytes)
	}
	env, err := codec.Open(b, mapFormat)
	if err != nil {
		return nil, err
	}
	if len(env.Rest) > 0 {
		return nil, fmt.Errorf("cluster map: %w: %d bytes after its end", ErrCorrupt, len(env.Rest))
	}
	d := newMapDecoder(env.Body, env.Version)
	m := &Map{Epoch: Epoch(d.Uvarint())}
	h := d.header()
	m.Cluster, m.Created, m.Modified, m.Flags, m.NextPool, m.NextOSD = h.cluster, h.created, h.modified, h.flags, h.nextPool, h.nextOSD
	m.Mons = decodeList(d, MaxMons, monBytes, (*mapDecoder).mon)
	m.OSDs = decodeList(d, MaxOSDs, osdBytes, (*mapDecoder).osd)
	m.Crush = d.crush()
	m.Pools = decodeList(d, MaxPools, poolBytes, (*mapDecoder).pool)
	m.PGs = decodeList(d, MaxPools, 2, func(d *mapDecoder) PoolPGs {
		return PoolPGs{Pool: PoolID(d.Uvarint32()), Records: decodeList(d, MaxPGs, recordBytes, (*mapDecoder).record)}
	})
	m.Services = decodeList(d, MaxServices, serviceBytes, (*mapDecoder).service)
	if d.version >= 2 {
		m.Config = decodeList(d, MaxSettings, settingBytes, (*mapDecoder).setting)
	}
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("cluster map: %w", err)
	}
	if err := m.checkShape(); err != nil {
		return nil, fmt.Errorf("cluster map of epoch %d: %w: %w", m.Epoch, ErrCorrupt, err)
	}
	return m, nil
}

// header is the scalar part of a map, which a delta carries whole.
type header struct {
	cluster           UUID
	created, modified int64
	flags             Flags
	nextPool          PoolID
	nextOSD           OSDID
}

func encodeHeader(e *codec.Encoder, h *header) {
	e.Raw(h.cluster[:])
	e.Varint(h.created)
	e.Varint(h.modified)
	e.Uvarint(uint64(h.flags))
	e.Uvarint(uint64(h.nextPool))
	e.Varint(int64(h.nextOSD))
}

func encodeList[T any](e *codec.Encoder, list []T, item func(*codec.Encoder, *T)) {
	e.Uvarint(uint64(len(list)))
	for i := range list {
		item(e, &list[i])
	}
}

func encodeMon(e *codec.Encoder, m *Mon) {
	e.String(m.Name)
	e.String(m.Addr)
	e.String(m.RaftAddr)
	e.String(m.AdminAddr)
}

const (
	osdUp       = 1 << iota // bits of an OSD's state byte
	osdAutoOut              //
	osdDraining             // since version 2
	osdBitsV1   = osdUp | osdAutoOut

	osdFullShift = 3 // two bits of fullness, since version 2
	osdFullMask  = 3
	osdBitsV2    = osdBitsV1 | osdDraining | osdFullMask<<osdFullShift

	osdSlow = 1 << 5 // since version 3
	osdBits = osdBitsV2 | osdSlow
)

const (
	recordCreated = 1 << iota // bits of a record's state byte
	recordForced              // since version 2
)

func encodeOSD(e *codec.Encoder, o *OSD) {
	e.Varint(int64(o.ID))
	e.Raw(o.Store[:])
	e.Uvarint(o.Incarnation)
	e.String(o.Addr)
	e.String(o.Class)
	state := uint8(0)
	if o.Up {
		state |= osdUp
	}
	if o.AutoOut {
		state |= osdAutoOut
	}
	if o.Draining {
		state |= osdDraining
	}
	if o.Slow {
		state |= osdSlow
	}
	e.U8(state | uint8(o.Full&osdFullMask)<<osdFullShift)
	e.Uvarint(uint64(o.Weight))
	e.Uvarint(uint64(o.UpFrom))
	e.Uvarint(uint64(o.DownAt))
	e.Varint(o.Capacity)
}

func encodePool(e *codec.Encoder, p *Pool) {
	e.Uvarint(uint64(p.ID))
	e.String(p.Name)
	e.Uvarint(uint64(p.Size))
	e.Uvarint(uint64(p.MinSize))
	e.Uvarint(uint64(p.PGNum))
	e.Varint(int64(p.Rule))
	e.String(p.Application)
	e.Uvarint(uint64(p.Flags))
	e.Uvarint(uint64(p.Created))
	e.Uvarint(uint64(p.PGNumTarget))
	e.Uvarint(uint64(p.FirstPGNum))
	encodeChunks(e, &p.Chunks)
}

// encodeChunks writes a chunk policy; since version 4.
func encodeChunks(e *codec.Encoder, c *ChunkPolicy) {
	e.U8(uint8(c.Redundancy.Codec))
	e.U8(c.Redundancy.K)
	e.U8(c.Redundancy.M)
	e.U8(uint8(c.Dedup))
	e.U8(uint8(c.Cut))
	e.Uvarint(uint64(c.ChunkSize))
	e.U8(uint8(c.Packing))
}

func encodeRecord(e *codec.Encoder, r *PGRecord) {
	e.Uvarint(uint64(r.Term))
	e.Uvarint(uint64(r.Version))
	e.Varint(int64(r.Primary))
	state := uint8(0)
	if r.Created {
		state |= recordCreated
	}
	if r.Forced {
		state |= recordForced
	}
	e.U8(state)
	e.Uvarint(uint64(len(r.InSync)))
	for _, id := range r.InSync {
		e.Varint(int64(id))
	}
}

func encodeService(e *codec.Encoder, s *Service) {
	e.String(s.Kind)
	e.String(s.Name)
	e.String(s.Addr)
}

func encodeSetting(e *codec.Encoder, s *Setting) {
	e.String(s.Key)
	e.String(s.Value)
}

// The least bytes each kind of item takes, in any version, for Count.
const (
	monBytes     = 4
	osdBytes     = 1 + 16 + 8
	poolBytes    = 9
	recordBytes  = 5
	serviceBytes = 3
	settingBytes = 2
)

// mapDecoder adds the types of a map to a Decoder.
type mapDecoder struct {
	*codec.Decoder
	version uint16  // of the document
	slab    []OSDID // where in-sync sets go, so that each PG does not allocate
}

func newMapDecoder(b []byte, version uint16) *mapDecoder {
	return &mapDecoder{Decoder: codec.NewDecoder(b), version: version}
}

func decodeList[T any](d *mapDecoder, limit, itemBytes int, item func(*mapDecoder) T) []T {
	n := d.Count(limit, itemBytes)
	if n == 0 {
		return nil
	}
	list := make([]T, 0, n)
	for range n {
		list = append(list, item(d))
		if d.Err() != nil {
			return nil
		}
	}
	return list
}

func (d *mapDecoder) uuid() (u UUID) {
	copy(u[:], d.Raw(len(u)))
	return u
}

func (d *mapDecoder) header() header {
	return header{
		cluster:  d.uuid(),
		created:  d.Varint(),
		modified: d.Varint(),
		flags:    Flags(d.Uvarint32()),
		nextPool: PoolID(d.Uvarint32()),
		nextOSD:  OSDID(d.Varint32()),
	}
}

func (d *mapDecoder) mon() Mon {
	return Mon{
		Name:      d.String(MaxNameBytes),
		Addr:      d.String(MaxAddrBytes),
		RaftAddr:  d.String(MaxAddrBytes),
		AdminAddr: d.String(MaxAddrBytes),
	}
}

func (d *mapDecoder) osd() OSD {
	o := OSD{
		ID:          OSDID(d.Varint32()),
		Store:       d.uuid(),
		Incarnation: d.Uvarint(),
		Addr:        d.String(MaxAddrBytes),
		Class:       d.String(MaxNameBytes),
	}
	state, known := d.U8(), uint8(osdBits)
	switch {
	case d.version < 2:
		known = osdBitsV1
	case d.version < 3:
		known = osdBitsV2
	}
	if state&^known != 0 {
		d.Failf("%s has state bits %#x, known are %#x", o.ID, state, known)
	}
	o.Up, o.AutoOut, o.Draining, o.Slow = state&osdUp != 0, state&osdAutoOut != 0, state&osdDraining != 0, state&osdSlow != 0
	o.Full = Fullness(state >> osdFullShift & osdFullMask)
	o.Weight = d.Uvarint32()
	o.UpFrom = Epoch(d.Uvarint())
	o.DownAt = Epoch(d.Uvarint())
	o.Capacity = d.Varint()
	return o
}

// crush reads a CRUSH map, which is nil when its encoding is empty.
func (d *mapDecoder) crush() *crush.Map {
	at := d.Offset()
	blob := d.Blob(maxCrushSize)
	if len(blob) == 0 {
		return nil
	}
	m, err := crush.Decode(blob)
	switch {
	case errors.Is(err, crush.ErrVersion): // newer, not damaged
		d.Fail(err)
		return nil
	case err != nil:
		d.Fail(fmt.Errorf("%w at byte %d: CRUSH map: %w", ErrCorrupt, at, err))
		return nil
	}
	return m
}

func (d *mapDecoder) pool() Pool {
	p := Pool{
		ID:          PoolID(d.Uvarint32()),
		Name:        d.String(MaxNameBytes),
		Size:        d.Uvarint32(),
		MinSize:     d.Uvarint32(),
		PGNum:       d.Uvarint32(),
		Rule:        d.Varint32(),
		Application: d.String(MaxNameBytes),
		Flags:       PoolFlags(d.Uvarint32()),
		Created:     Epoch(d.Uvarint()),
	}
	if d.version < 2 { // pools did not grow
		p.PGNumTarget, p.FirstPGNum = p.PGNum, p.PGNum
		return p
	}
	p.PGNumTarget, p.FirstPGNum = d.Uvarint32(), d.Uvarint32()
	if d.version >= 4 {
		p.Chunks = d.chunks()
		if err := p.Chunks.known(); err != nil {
			d.Failf("pool %q: %v", p.Name, err)
		}
	}
	return p
}

func (d *mapDecoder) chunks() ChunkPolicy {
	return ChunkPolicy{
		Redundancy: Redundancy{Codec: Codec(d.U8()), K: d.U8(), M: d.U8()},
		Dedup:      Dedup(d.U8()),
		Cut:        Cut(d.U8()),
		ChunkSize:  d.Uvarint32(),
		Packing:    Packing(d.U8()),
	}
}

func (d *mapDecoder) record() PGRecord {
	r := PGRecord{
		Term:    Term(d.Uvarint32()),
		Version: Epoch(d.Uvarint()),
		Primary: OSDID(d.Varint32()),
	}
	state, known := d.U8(), uint8(recordCreated|recordForced)
	if d.version < 2 {
		known = recordCreated
	}
	if state&^known != 0 {
		d.Failf("a PG record has state bits %#x, known are %#x", state, known)
	}
	r.Created, r.Forced = state&recordCreated != 0, state&recordForced != 0
	r.InSync = d.inSync()
	return r
}

// slabSize is how many OSD ids one allocation holds. A slab lives as long as any
// record in it, so it is kept small.
const slabSize = 512

func (d *mapDecoder) inSync() []OSDID {
	n := d.Count(MaxInSync, 1)
	if n == 0 {
		return nil
	}
	if cap(d.slab)-len(d.slab) < n {
		d.slab = make([]OSDID, 0, max(n, min(slabSize, d.Left())))
	}
	from := len(d.slab)
	for range n {
		d.slab = append(d.slab, OSDID(d.Varint32()))
	}
	return d.slab[from:len(d.slab):len(d.slab)]
}

func (d *mapDecoder) service() Service {
	return Service{Kind: d.String(MaxNameBytes), Name: d.String(MaxNameBytes), Addr: d.String(MaxAddrBytes)}
}

func (d *mapDecoder) setting() Setting {
	return Setting{Key: d.String(MaxNameBytes), Value: d.String(MaxValue)}
}
