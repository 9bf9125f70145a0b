package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// The export stream is described in docs/formats/export.md.

const (
	streamMagic   = "CAIRNPGX"
	streamVersion = 1 // what this code writes
	streamOldest  = 1 // the oldest reader that understands what this code writes
	recordHeader  = 9 // kind, length, checksum
	maxRecord     = 4 << 20
	maxInfo       = 256
	pieceBytes    = 1 << 20 // data in one record
)

// The kinds of records.
const (
	recInfo    = 1 // whose PG this is; the first
	recObject  = 2 // an object begins
	recData    = 3
	recAttr    = 4
	recOmap    = 5 // some pairs
	recEnd     = 6 // of the object: what it had
	recLeftOut = 7 // an object that could not be read
	recTotal   = 8 // of the stream: the last
)

// Conditions that callers test with errors.Is.
var (
	ErrDamaged   = errors.New("the export is damaged or incomplete")
	ErrNewFormat = errors.New("the export was made by a newer cairn")
	ErrForeign   = errors.New("the export is of another cluster")
	ErrExists    = errors.New("the PG exists on this store")
	ErrNotFound  = store.ErrNotFound
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Info says what an export is of.
type Info struct {
	Cluster placement.UUID
	Store   placement.UUID
	OSD     placement.OSDID
	PG      placement.PGID
	Made    int64 // unix nanoseconds
	// Uncertain: the journal of the store it was taken from was damaged, so what objects hold and
	// what their versions say may be of different times.
	Uncertain bool
}

// Object is what an export says of an object before what it holds.
type Object struct {
	Space   store.Space
	Name    string
	Size    uint64
	Version store.Version
	Mtime   int64
}

// Totals is what an export has in all.
type Totals struct {
	Objects  uint64 `json:"objects"`
	LeftOut  uint64 `json:"left_out"`
	Bytes    uint64 `json:"bytes"` // of data, without holes
	Attrs    uint64 `json:"attrs"`
	OmapKeys uint64 `json:"omap_keys"`
}

// writer makes a stream.
type writer struct {
	w     io.Writer
	n     uint64 // records written
	buf   []byte
	total Totals
	obj   Totals // of the object under way
}

func newWriter(w io.Writer, info Info) (*writer, error) {
	s := &writer{w: w}
	head := binary.LittleEndian.AppendUint32([]byte(streamMagic), streamVersion)
	head = binary.LittleEndian.AppendUint32(head, streamOldest)
	if _, err := w.Write(head); err != nil {
		return nil, err
	}
	b := append(s.begin(), info.Cluster[:]...)
	b = append(b, info.Store[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(info.OSD))
	b = binary.LittleEndian.AppendUint32(b, uint32(info.PG.Pool))
	b = binary.LittleEndian.AppendUint32(b, info.PG.Shard)
	b = binary.LittleEndian.AppendUint64(b, uint64(info.Made))
	var flags byte
	if info.Uncertain {
		flags |= 1
	}
	return s, s.put(recInfo, append(b, flags))
}

// begin returns a buffer with room for a record's header.
func (s *writer) begin() []byte {
	if cap(s.buf) > 0 {
		return s.buf[:recordHeader]
	}
	return make([]byte, recordHeader, 4096)
}

// sum is the checksum of a record in its place: records that are missing, repeated or in
// another order do not fit.
func sum(n uint64, kind byte, payload []byte) uint32 {
	var h [13]byte
	binary.LittleEndian.PutUint64(h[:], n)
	h[8] = kind
	binary.LittleEndian.PutUint32(h[9:], uint32(len(payload)))
	return crc32.Update(crc32.Checksum(h[:], castagnoli), castagnoli, payload)
}

// put writes a record that began with begin.
func (s *writer) put(kind byte, b []byte) error {
	payload := b[recordHeader:]
	if len(payload) > maxRecord {
		return fmt.Errorf("a record of %d bytes: the limit is %d", len(payload), maxRecord)
	}
	b[0] = kind
	binary.LittleEndian.PutUint32(b[1:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[5:], sum(s.n, kind, payload))
	s.n++
	s.buf = b
	_, err := s.w.Write(b)
	return err
}

func appendBytes(b, p []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(p))), p...) }

func (s *writer) object(o Object) error {
	s.obj = Totals{}
	b := append(s.begin(), byte(o.Space))
	b = appendBytes(b, []byte(o.Name))
	b = binary.AppendUvarint(b, o.Size)
	b = binary.AppendUvarint(b, uint64(o.Version.Term))
	b = binary.AppendUvarint(b, o.Version.Seq)
	return s.put(recObject, binary.AppendVarint(b, o.Mtime))
}

func (s *writer) data(off uint64, p []byte) error {
	s.obj.Bytes += uint64(len(p))
	return s.put(recData, append(binary.AppendUvarint(s.begin(), off), p...))
}

func (s *writer) attr(kv store.KV) error {
	s.obj.Attrs++
	return s.put(recAttr, append(appendBytes(s.begin(), kv.Key), kv.Value...))
}

// omap writes pairs, in as few records as hold them.
func (s *writer) omap(kvs []store.KV) error {
	for len(kvs) > 0 {
		b := s.begin()
		for len(kvs) > 0 && (len(b) == recordHeader || len(b)+len(kvs[0].Key)+len(kvs[0].Value) < 1<<20) {
			b = appendBytes(appendBytes(b, kvs[0].Key), kvs[0].Value)
			kvs = kvs[1:]
			s.obj.OmapKeys++
		}
		if err := s.put(recOmap, b); err != nil {
			return err
		}
	}
	return nil
}

func (s *writer) end() error {
	s.total.Objects++
	s.total.Bytes += s.obj.Bytes
	s.total.Attrs += s.obj.Attrs
	s.total.OmapKeys += s.obj.OmapKeys
	b := binary.AppendUvarint(s.begin(), s.obj.Bytes)
	b = binary.AppendUvarint(b, s.obj.Attrs)
	return s.put(recEnd, binary.AppendUvarint(b, s.obj.OmapKeys))
}

func (s *writer) leftOut(sp store.Space, name, why string) error {
	s.total.LeftOut++
	b := append(s.begin(), byte(sp))
	b = appendBytes(b, []byte(name))
	return s.put(recLeftOut, append(b, why[:min(len(why), 1024)]...))
}

func (s *writer) close() error {
	b := s.begin()
	for _, n := range []uint64{s.total.Objects, s.total.LeftOut, s.total.Bytes, s.total.Attrs, s.total.OmapKeys} {
		b = binary.AppendUvarint(b, n)
	}
	return s.put(recTotal, b)
}

// Sink takes what a stream holds, in order. Slices are valid during the call only.
type Sink interface {
	Info(Info) error
	Begin(Object) error
	Data(off uint64, p []byte) error
	Attr(kv store.KV) error
	Omap(kvs []store.KV) error
	End() error
	LeftOut(sp store.Space, name, why string) error
}

// Read decodes a stream and checks all of it: checksums, order, limits, and that what was
// announced is there. Nothing that it hands out is certain before it has returned nil. Its
// memory is bounded whatever the stream says.
func Read(r io.Reader, to Sink) (Totals, error) {
	d := &reader{r: r, to: to}
	err := d.run()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends after %d records, before its end was announced", ErrDamaged, d.n)
	}
	return d.total, err
}

type reader struct {
	r     io.Reader
	to    Sink
	n     uint64
	buf   bytes.Buffer
	open  bool // within an object
	last  Object
	any   bool // an object or one left out has come
	obj   Totals
	off   uint64 // data of the object has come up to here
	key   []byte // the last attribute or omap key of the object
	omaps bool   // omap keys have come: no attribute may follow
	total Totals
}

func damaged(n uint64, format string, args ...any) error {
	return fmt.Errorf("%w: record %d: %s", ErrDamaged, n, fmt.Sprintf(format, args...))
}

func (d *reader) bad(format string, args ...any) error { return damaged(d.n, format, args...) }

func (d *reader) run() error {
	var head [16]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		return err
	}
	if string(head[:8]) != streamMagic {
		return fmt.Errorf("%w: it does not begin as an export of a PG does", ErrDamaged)
	}
	if oldest := binary.LittleEndian.Uint32(head[12:]); oldest > streamVersion {
		return fmt.Errorf("%w: format %d, this one reads up to %d: install a newer cairn",
			ErrNewFormat, binary.LittleEndian.Uint32(head[8:]), streamVersion)
	}
	for {
		kind, p, err := d.next()
		if err != nil {
			return err
		}
		if (d.n == 0) != (kind == recInfo) {
			return d.bad("kind %d in this place", kind)
		}
		if kind == recTotal {
			return d.finish(p)
		}
		if err := d.record(kind, p); err != nil {
			return err
		}
		d.n++
	}
}

// next reads a record. A length that lies costs no more memory than there are bytes.
func (d *reader) next() (kind byte, payload []byte, err error) {
	var h [recordHeader]byte
	if _, err := io.ReadFull(d.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(h[1:])
	if n > maxRecord {
		return 0, nil, d.bad("%d bytes: the limit is %d", n, maxRecord)
	}
	d.buf.Reset()
	if got, err := io.CopyN(&d.buf, d.r, int64(n)); got < int64(n) {
		return 0, nil, err
	}
	if binary.LittleEndian.Uint32(h[5:]) != sum(d.n, h[0], d.buf.Bytes()) {
		return 0, nil, d.bad("wrong checksum")
	}
	return h[0], d.buf.Bytes(), nil
}

func (d *reader) record(kind byte, p []byte) error {
	f := codec.NewDecoder(p)
	switch kind {
	case recInfo:
		return d.info(p)
	case recObject, recLeftOut:
		if d.open {
			return d.bad("an object begins within another")
		}
		o := Object{Space: store.Space(f.U8()), Name: string(blob(f))}
		if f.Err() != nil || o.Space > store.Meta || o.Name == "" || len(o.Name) > store.MaxNameBytes {
			return d.bad("an object's space or name cannot be read")
		}
		if d.any && (o.Space < d.last.Space || o.Space == d.last.Space && o.Name <= d.last.Name) {
			return d.bad("object %q does not follow %q", o.Name, d.last.Name)
		}
		d.last, d.any = o, true
		if kind == recLeftOut {
			d.total.LeftOut++
			return d.to.LeftOut(o.Space, o.Name, string(rest(f)))
		}
		o.Size = f.Uvarint()
		term := f.Uvarint()
		o.Version = store.Version{Term: placement.Term(term), Seq: f.Uvarint()}
		o.Mtime = f.Varint()
		if f.Finish() != nil || term > 1<<32-1 || o.Size > store.MaxObjectBytes {
			return d.bad("the beginning of object %q cannot be read", o.Name)
		}
		d.open, d.last, d.obj, d.off, d.key, d.omaps = true, o, Totals{}, 0, nil, false
		return d.to.Begin(o)
	}
	if !d.open {
		return d.bad("kind %d outside of an object", kind)
	}
	switch kind {
	case recData:
		off := f.Uvarint()
		data := rest(f)
		n := uint64(len(data))
		if f.Err() != nil || n == 0 || n > pieceBytes || off < d.off || off > d.last.Size || n > d.last.Size-off {
			return d.bad("data of object %q does not fit", d.last.Name)
		}
		d.off = off + n
		d.obj.Bytes += n
		return d.to.Data(off, data)
	case recAttr:
		key, value := blob(f), rest(f)
		if f.Err() != nil || d.omaps || len(value) > store.MaxValueBytes || !d.follows(key, d.obj.Attrs == 0) {
			return d.bad("an attribute of object %q does not fit", d.last.Name)
		}
		d.obj.Attrs++
		return d.to.Attr(store.KV{Key: key, Value: value})
	case recOmap:
		var kvs []store.KV
		for f.Left() > 0 {
			kv := store.KV{Key: blob(f), Value: blob(f)}
			if f.Err() != nil || len(kv.Value) > store.MaxValueBytes || !d.follows(kv.Key, !d.omaps) {
				return d.bad("an omap key of object %q does not fit", d.last.Name)
			}
			d.omaps = true
			kvs = append(kvs, kv)
		}
		if len(kvs) == 0 {
			return d.bad("omap of object %q without keys", d.last.Name)
		}
		d.obj.OmapKeys += uint64(len(kvs))
		return d.to.Omap(kvs)
	case recEnd:
		if want := (Totals{Bytes: f.Uvarint(), Attrs: f.Uvarint(), OmapKeys: f.Uvarint()}); f.Finish() != nil || want != d.obj {
			return d.bad("object %q has not what its end says", d.last.Name)
		}
		d.open = false
		d.total.Objects++
		d.total.Bytes += d.obj.Bytes
		d.total.Attrs += d.obj.Attrs
		d.total.OmapKeys += d.obj.OmapKeys
		return d.to.End()
	}
	return d.bad("kind %d is unknown", kind)
}

// follows reports whether a key may come behind the last, and notes it.
func (d *reader) follows(key []byte, first bool) bool {
	if len(key) > store.MaxKeyBytes || !first && bytes.Compare(key, d.key) <= 0 {
		return false
	}
	d.key = append(d.key[:0], key...)
	return true
}

func (d *reader) info(p []byte) error {
	f := codec.NewDecoder(p)
	var i Info
	copy(i.Cluster[:], f.Raw(16))
	copy(i.Store[:], f.Raw(16))
	i.OSD = placement.OSDID(int32(f.U32()))
	i.PG = placement.PGID{Pool: placement.PoolID(f.U32()), Shard: f.U32()}
	i.Made = int64(f.U64())
	i.Uncertain = f.U8()&1 != 0
	if f.Err() != nil || len(p) > maxInfo {
		return d.bad("whose PG it is cannot be read")
	}
	return d.to.Info(i)
}

func (d *reader) finish(p []byte) error {
	f := codec.NewDecoder(p)
	want := Totals{Objects: f.Uvarint(), LeftOut: f.Uvarint(), Bytes: f.Uvarint(), Attrs: f.Uvarint(), OmapKeys: f.Uvarint()}
	if f.Finish() != nil || d.open || want != d.total {
		return d.bad("its end announces other objects than there are")
	}
	if n, err := io.ReadFull(d.r, make([]byte, 1)); n > 0 {
		return d.bad("bytes follow its end")
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// blob reads a part with its length before it.
func blob(f *codec.Decoder) []byte { return f.Blob(math.MaxInt) }

// rest reads what is left of a record.
func rest(f *codec.Decoder) []byte { return f.Raw(f.Left()) }
