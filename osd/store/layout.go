package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/placement"
)

// A store's journal and data are either files of its directory, or sections of
// one device (a block device or one large file). The index is in the directory
// in both cases: Pebble needs a file system, and one of our own under it would be
// one more thing that can lose everything.

// linkName is the symbolic link in the directory that names the device.
const linkName = "block"

// Where things are on a device. The copies of the superblock lie apart, so
// that whoever writes over the device's first sectors by mistake leaves one.
const (
	deviceJournal = 2 << 20
	deviceAlign   = 1 << 20 // the data area begins at a multiple of it
	deviceHead    = 2 << 20 // looked at and cleared before a store is made
	deviceTail    = 1 << 20
)

// The offsets of the superblock's copies, in a file of its own and on a device.
var (
	superInFile   = [superCopies]int64{0, blockBytes}
	superOnDevice = [superCopies]int64{0, 1 << 20}
)

// deviceData is where the data area of a device begins.
func deviceData(journal int64) int64 {
	return (deviceJournal + journal + deviceAlign - 1) &^ (deviceAlign - 1)
}

// minDevice is the smallest device that takes a journal and something to store.
func minDevice(journal int64) int64 { return deviceData(journal) + journal/4 }

// section is a part of a device, used as a file.
type section struct {
	f     file
	base  int64
	limit int64        // bytes it may have
	size  atomic.Int64 // bytes in use
}

func newSection(f file, base, size, limit int64) *section {
	s := &section{f: f, base: base, limit: limit}
	s.size.Store(min(size, limit))
	return s
}

func (s *section) inside(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > s.limit {
		return fmt.Errorf("%d bytes at %d of an area of %d bytes: %w", len(p), off, s.limit, io.ErrShortWrite)
	}
	return nil
}

func (s *section) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.limit {
		return 0, io.EOF
	}
	if left := s.limit - off; int64(len(p)) > left {
		n, err := s.f.ReadAt(p[:left], s.base+off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return s.f.ReadAt(p, s.base+off)
}

func (s *section) WriteAt(p []byte, off int64) (int, error) {
	if err := s.inside(p, off); err != nil {
		return 0, err
	}
	return s.f.WriteAt(p, s.base+off)
}

func (s *section) WriteSync(p []byte, off int64) error {
	if err := s.inside(p, off); err != nil {
		return err
	}
	return s.f.WriteSync(p, s.base+off)
}

// WriteMany implements manyWriter.
func (s *section) WriteMany(ws []ioWrite) error {
	moved := make([]ioWrite, len(ws))
	for i, w := range ws {
		if err := s.inside(w.p, w.off); err != nil {
			return err
		}
		moved[i] = ioWrite{w.p, s.base + w.off}
	}
	return writeMany(s.f, moved)
}

func (s *section) Sync() error          { return s.f.Sync() }
func (s *section) Size() (int64, error) { return s.size.Load(), nil }
func (s *section) Direct() bool         { return s.f.Direct() }
func (s *section) Close() error         { return nil } // the device is closed once, by its owner

// Allocate makes more of the section usable. The room is there: it only counts
// how far the data reach, so that memory need not know of what was never used.
func (s *section) Allocate(size int64) error {
	if size > s.limit {
		return fmt.Errorf("%d bytes in an area of %d: %w", size, s.limit, ErrNoSpace)
	}
	if size > s.size.Load() {
		s.size.Store(size)
	}
	return nil
}

// Reserve implements file: a device is never asked, its room is its own.
func (s *section) Reserve(_, _ int64) error { return nil }

// Discard implements file.
func (s *section) Discard(off, n int64) error {
	if off < 0 || n < 0 || off+n > s.limit {
		return fmt.Errorf("discard %d bytes at %d of an area of %d bytes: %w", n, off, s.limit, ErrInvalid)
	}
	return s.f.Discard(s.base+off, n)
}

// storeFiles are the open files of a store, however they are laid out.
type storeFiles struct {
	device  file   // nil: files of the directory
	name    string // of the device
	linked  string // what the link in the directory says
	bytes   int64  // of the device
	super   file
	supers  [superCopies]int64 // offsets in super
	journal file
	data    file
}

// openSuper opens what the superblock is in: a file of the directory, or the
// device that the directory's link or the caller names.
func openSuper(l fileLayer, dir, device string, direct bool) (*storeFiles, error) {
	names, err := l.List(dir)
	if err != nil {
		return nil, err
	}
	switch linked := slices.Contains(names, linkName); {
	case linked && slices.Contains(names, superName):
		return nil, fmt.Errorf("both a superblock and a link %q to a device are there: the files of two stores are mixed up; remove what does not belong", linkName)
	case linked:
		return openDeviceSuper(l, dir, device, direct)
	case device != "" && slices.Contains(names, indexName) && !slices.Contains(names, superName):
		// A directory whose link was lost, or an interrupted Create; the superblock knows.
		return openDeviceSuper(l, dir, device, direct)
	case !slices.Contains(names, superName):
		return nil, notAStore(names)
	case device != "":
		return nil, fmt.Errorf("this store keeps its data in the directory, not on %s: leave the device out; "+
			"to move to a device, make a new OSD there and drain this one", device)
	}
	f, err := l.OpenFile(filepath.Join(dir, superName), false)
	if err != nil {
		return nil, err
	}
	return &storeFiles{super: f, supers: superInFile}, nil
}

func openDeviceSuper(l fileLayer, dir, device string, direct bool) (*storeFiles, error) {
	linked, err := l.ReadLink(filepath.Join(dir, linkName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if device == "" {
		device = linked
	}
	f, err := l.OpenDevice(device, direct)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("device %s, which %s names: %w: attach it; if it has another name now, give that with --device", device, filepath.Join(dir, linkName), err)
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", device, err)
	}
	s := &storeFiles{device: f, name: device, linked: linked, super: f, supers: superOnDevice}
	if s.bytes, err = f.Size(); err != nil {
		f.Close()
		return nil, fmt.Errorf("device %s: %w", device, err)
	}
	return s, nil
}

// check compares the superblock with what it was found on.
func (s *storeFiles) check(sb *superblock) error {
	switch {
	case (s.device != nil) != sb.onDevice:
		return fmt.Errorf("the superblock is of a store that is laid out otherwise (on a device: %v): the files of two stores are mixed up: %w", sb.onDevice, ErrCorrupt)
	case sb.making && s.linked == "": // the link is made when only the superblock's flag is missing
		return fmt.Errorf("%s holds a store that was never finished: making it was interrupted and nothing is in it; make it again", s.name)
	case s.device != nil && s.bytes < sb.device:
		return fmt.Errorf("device %s has %d bytes, but the store on it was made for %d: it was cut, or copied to a smaller one; "+
			"give it its size back, or make this OSD anew from its peers: %w", s.name, s.bytes, sb.device, ErrCorrupt)
	}
	return nil
}

// open opens journal and data.
func (s *storeFiles) open(l fileLayer, dir string, sb *superblock, direct bool) (err error) {
	if s.device != nil {
		s.journal = newSection(s.device, deviceJournal, sb.journal, sb.journal)
		base := deviceData(sb.journal)
		s.data = newSection(s.device, base, blockBytes, (s.bytes-base)&^int64(blockMask))
		return nil
	}
	if s.data, err = l.OpenFile(filepath.Join(dir, dataName), direct); err != nil {
		return err
	}
	s.journal, err = l.OpenFile(filepath.Join(dir, journalName), direct)
	return err
}

// dataBytes is how far blocks of the data area can be.
func (s *storeFiles) dataBytes() (int64, error) {
	if d, ok := s.data.(*section); ok {
		return d.limit, nil
	}
	return s.data.Size()
}

// close closes what is open.
func (s *storeFiles) close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, f := range []file{s.journal, s.data, s.super} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// path names a part of the store for messages.
func (d *Disk) path(name string) string {
	if d.files != nil && d.files.device != nil {
		switch name {
		case superName, journalName, dataName:
			return d.files.name + " (" + name + ")"
		}
	}
	return filepath.Join(d.dir, name)
}

// Device returns the device or file that holds journal and data; "" when they
// are files of the directory.
func (d *Disk) Device() string {
	if d.files.device == nil {
		return ""
	}
	return d.files.name
}

// Vacant reports whether Create can make a store in dir, with that device or none:
// nothing is there, or what an interrupted Create on the device left.
func Vacant(dir, device string) (bool, error) {
	l := osLayer{}
	names, err := l.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && (checkEmpty(names) == nil || unfinished(l, dir, device) == nil), err
}

// errFinished is why Create may not take over a directory.
var errFinished = errors.New("not what an interrupted Create left")

// unfinished returns nil when dir holds no more than what an interrupted Create
// on a device leaves, and the device says that it was interrupted.
func unfinished(l fileLayer, dir, device string) error {
	names, err := l.List(dir)
	if err != nil {
		return err
	}
	if device == "" || len(others(names)) > 0 {
		return errFinished
	}
	for _, n := range []string{superName, journalName, dataName, linkName} {
		if slices.Contains(names, n) {
			return errFinished
		}
	}
	f, err := l.OpenDevice(device, false)
	if err != nil {
		return err
	}
	defer f.Close()
	sb, err := readSuperblock(f, superOnDevice)
	if err != nil || !sb.making || slices.Contains(names, indexName) && othersIndex(l, filepath.Join(dir, indexName), sb.id.Store) {
		return errFinished
	}
	return nil
}

// othersIndex reports whether an index says that it belongs to another store. One
// that cannot be read says nothing: it was never finished.
func othersIndex(l fileLayer, path string, store placement.UUID) bool {
	db, err := pebble.Open(path, &pebble.Options{FS: l.Pebble(), ReadOnly: true, Logger: pebbleLog{slog.New(slog.DiscardHandler)}, ErrorIfNotExists: true})
	if err != nil {
		return false
	}
	defer db.Close()
	v, c, err := db.Get(metaStoreKey)
	if err != nil {
		return false
	}
	defer c.Close()
	return len(v) == len(store) && placement.UUID(v) != store
}

// others lists what is not a part of a store.
func others(names []string) (out []string) {
	for _, n := range names {
		switch strings.TrimSuffix(n, linkTemp) {
		case superName, lockName, journalName, dataName, indexName, linkName, "lost+found":
		default:
			out = append(out, n)
		}
	}
	return out
}

const linkTemp = ".new" // the link while it is being replaced
