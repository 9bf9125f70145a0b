package crush

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The encoding of a map: magic, version (16 bits), payload length (32 bits),
// payload, crc32c of all before it; fixed integers are little-endian. The payload
// is a sequence of varints (zigzag where a value can be negative) and of strings
// with a varint length, in the order that appendPayload writes them.
const (
	encMagic   = "CRNCRUSH"
	encVersion = 1
	encHeader  = len(encMagic) + 2 + 4
)

// ErrCorrupt is wrapped by Decode's errors about bytes that are no encoded map.
var ErrCorrupt = errors.New("corrupt crush map encoding")

// ErrVersion is wrapped by Decode's error about an encoding newer than this program.
var ErrVersion = errors.New("unknown crush map encoding version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// IsEncoded reports whether data begins like an encoded map, as opposed to a text.
func IsEncoded(data []byte) bool {
	return len(data) >= len(encMagic) && string(data[:len(encMagic)]) == encMagic
}

// Encode returns the binary form of the map, which is canonical: equal maps have
// equal encodings.
func Encode(m *Map) []byte {
	out := make([]byte, encHeader, encHeader+64*(len(m.Devices)+len(m.Buckets)+len(m.Rules)+4))
	copy(out, encMagic)
	binary.LittleEndian.PutUint16(out[len(encMagic):], encVersion)
	out = appendPayload(out, m)
	binary.LittleEndian.PutUint32(out[len(encMagic)+2:], uint32(len(out)-encHeader))
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

func appendPayload(b []byte, m *Map) []byte {
	num := func(n int) { b = binary.AppendUvarint(b, uint64(n)) }
	signed := func(n int) { b = binary.AppendVarint(b, int64(n)) }
	str := func(s string) { num(len(s)); b = append(b, s...) }

	t := m.Tunables
	for _, n := range []int{
		t.ChooseLocalTries, t.ChooseLocalFallbackTries, t.ChooseTotalTries, bit(t.ChooseleafDescendOnce),
		t.ChooseleafVaryR, bit(t.ChooseleafStable), t.StrawCalcVersion, int(t.AllowedBucketAlgs),
	} {
		num(n)
	}
	num(len(m.Devices))
	for _, d := range m.Devices {
		num(d.ID)
		str(d.Name)
		str(d.Class)
	}
	num(len(m.Types))
	for _, t := range m.Types {
		num(t.ID)
		str(t.Name)
	}
	num(len(m.Buckets))
	for i := range m.Buckets {
		k := &m.Buckets[i]
		num(-k.ID)
		str(k.Name)
		num(k.Type)
		num(int(k.Alg))
		num(len(k.Items))
		for _, it := range k.Items {
			signed(it.ID)
			num(int(it.Weight))
		}
		num(len(k.Shadows))
		for _, s := range k.Shadows {
			str(s.Class)
			num(-s.ID)
		}
	}
	num(len(m.Rules))
	for i := range m.Rules {
		r := &m.Rules[i]
		num(r.ID)
		str(r.Name)
		num(int(r.Type))
		num(r.MinSize)
		num(r.MaxSize)
		num(len(r.Steps))
		for _, s := range r.Steps {
			num(int(s.Op))
			signed(s.Item)
			str(s.Class)
			signed(s.Num)
			num(s.Type)
		}
	}
	return b
}

// Decode reads what Encode wrote, checks it and returns the finalized map.
func Decode(data []byte) (*Map, error) {
	if !IsEncoded(data) || len(data) < encHeader {
		return nil, fmt.Errorf("%w: it does not begin with %s", ErrCorrupt, encMagic)
	}
	version := binary.LittleEndian.Uint16(data[len(encMagic):])
	if version == 0 {
		return nil, fmt.Errorf("%w: version 0", ErrCorrupt)
	}
	if version > encVersion {
		return nil, fmt.Errorf("%w: the map has version %d, this program knows up to %d: use a newer program", ErrVersion, version, encVersion)
	}
	size := binary.LittleEndian.Uint32(data[len(encMagic)+2:])
	if size > MaxTextBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrCorrupt, size, MaxTextBytes)
	}
	if len(data) != encHeader+int(size)+4 {
		return nil, fmt.Errorf("%w: %d bytes, its header says %d", ErrCorrupt, len(data), encHeader+int(size)+4)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("%w: checksum is %08x, computed %08x", ErrCorrupt, sum, got)
	}
	r := &reader{b: body[encHeader:]}
	m := r.payload()
	if r.bad {
		return nil, fmt.Errorf("%w: cut short or out of range %d bytes before its end", ErrCorrupt, len(r.b))
	}
	if len(r.b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes behind its end", ErrCorrupt, len(r.b))
	}
	if err := m.Finalize(); err != nil {
		return nil, fmt.Errorf("decode crush map: %w", err)
	}
	return m, nil
}

// reader takes values off an encoded payload; after the first bad one all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad = true }

// num reads a number up to limit.
func (r *reader) num(limit int) int {
	n, k := binary.Uvarint(r.b)
	if r.bad || k <= 0 || n > uint64(limit) {
		r.fail()
		return 0
	}
	r.b = r.b[k:]
	return int(n)
}

func (r *reader) signed(low, high int) int {
	n, k := binary.Varint(r.b)
	if r.bad || k <= 0 || n < int64(low) || n > int64(high) {
		r.fail()
		return 0
	}
	r.b = r.b[k:]
	return int(n)
}

// count reads the number of entries to come, each of which has at least size bytes.
func (r *reader) count(size int) int { return r.num(len(r.b) / size) }

func (r *reader) str() string {
	n := r.num(MaxNameBytes)
	if r.bad || n > len(r.b) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) payload() *Map {
	m := &Map{}
	t := &m.Tunables
	t.ChooseLocalTries = r.num(MaxTries)
	t.ChooseLocalFallbackTries = r.num(MaxTries)
	t.ChooseTotalTries = r.num(MaxTries)
	t.ChooseleafDescendOnce = r.num(1) != 0
	t.ChooseleafVaryR = r.num(maxVaryR)
	t.ChooseleafStable = r.num(1) != 0
	t.StrawCalcVersion = r.num(maxStrawCalc)
	t.AllowedBucketAlgs = uint32(r.num(1<<32 - 1))
	for n := r.count(3); n > 0 && !r.bad; n-- {
		m.Devices = append(m.Devices, Device{ID: r.num(MaxDeviceID), Name: r.str(), Class: r.str()})
	}
	for n := r.count(2); n > 0 && !r.bad; n-- {
		m.Types = append(m.Types, Type{ID: r.num(MaxTypeID), Name: r.str()})
	}
	for n := r.count(6); n > 0 && !r.bad; n-- {
		m.Buckets = append(m.Buckets, r.bucket())
	}
	for n := r.count(6); n > 0 && !r.bad; n-- {
		m.Rules = append(m.Rules, r.rule())
	}
	return m
}

func (r *reader) bucket() Bucket {
	b := Bucket{ID: -r.num(MaxBucketID), Name: r.str(), Type: r.num(MaxTypeID), Alg: Alg(r.num(int(Straw2)))}
	for n := r.count(2); n > 0 && !r.bad; n-- {
		b.Items = append(b.Items, Item{ID: r.signed(-MaxBucketID, MaxDeviceID), Weight: Weight(r.num(int(MaxBucketWeight)))})
	}
	for n := r.count(2); n > 0 && !r.bad; n-- {
		b.Shadows = append(b.Shadows, ClassID{Class: r.str(), ID: -r.num(MaxBucketID)})
	}
	return b
}

func (r *reader) rule() Rule {
	out := Rule{ID: r.num(MaxRules - 1), Name: r.str(), Type: RuleType(r.num(255)), MinSize: r.num(MaxRuleSize), MaxSize: r.num(MaxRuleSize)}
	for n := r.count(5); n > 0 && !r.bad; n-- {
		out.Steps = append(out.Steps, Step{
			Op: Op(r.num(255)), Item: r.signed(-MaxBucketID, MaxDeviceID), Class: r.str(),
			Num: r.signed(-MaxTries, MaxTries), Type: r.num(MaxTypeID),
		})
	}
	return out
}
