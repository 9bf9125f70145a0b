package store

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// scratchFS lets Pebble open the index of a store that must not change: what it
// reads comes from the store, what it writes goes to a folder of its own. So the
// journal can be replayed, and a damaged store looked at, while every byte of
// it stays as it was.
//
// Pebble keeps all its files in one folder without subfolders, so a file's name
// is all that counts.
type scratchFS struct {
	vfs.FS        // of the store
	dir    string // the scratch folder

	mu   sync.Mutex // guards below
	gone map[string]bool
}

func newScratchFS(base vfs.FS, dir string) *scratchFS {
	return &scratchFS{FS: base, dir: dir, gone: map[string]bool{}}
}

func (s *scratchFS) own(name string) string { return filepath.Join(s.dir, filepath.Base(name)) }

// where returns the file system and the path a name's content is to be read from.
func (s *scratchFS) where(name string) (vfs.FS, string, error) {
	if _, err := os.Stat(s.own(name)); err == nil {
		return vfs.Default, s.own(name), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone[filepath.Base(name)] {
		return nil, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return s.FS, name, nil
}

func (s *scratchFS) hide(name string, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[filepath.Base(name)] = gone
}

// fetch makes the scratch folder's copy of a file that is about to be changed.
func (s *scratchFS) fetch(name string) error {
	from, path, err := s.where(name)
	if err != nil || path == s.own(name) {
		return err
	}
	in, err := from.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := vfs.Default.Create(s.own(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func (s *scratchFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return vfs.Default.Create(s.own(name), c)
}

func (s *scratchFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	from, path, err := s.where(name)
	if err != nil {
		return nil, err
	}
	return from.Open(path, opts...)
}

func (s *scratchFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := s.fetch(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return vfs.Default.OpenReadWrite(s.own(name), c, opts...)
}

func (s *scratchFS) OpenDir(string) (vfs.File, error) { return vfs.Default.OpenDir(s.dir) }

func (s *scratchFS) Remove(name string) error {
	if _, _, err := s.where(name); err != nil {
		return err
	}
	s.hide(name, true)
	if err := os.Remove(s.own(name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (s *scratchFS) RemoveAll(name string) error {
	if err := s.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (s *scratchFS) Link(from, to string) error {
	if err := s.fetch(from); err != nil {
		return err
	}
	return os.Link(s.own(from), s.own(to))
}

func (s *scratchFS) Rename(from, to string) error {
	if err := s.fetch(from); err != nil {
		return err
	}
	s.hide(from, true)
	return os.Rename(s.own(from), s.own(to))
}

func (s *scratchFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.Remove(from); err != nil {
		return nil, err
	}
	return s.Create(to, c)
}

func (s *scratchFS) MkdirAll(string, os.FileMode) error { return nil }

func (s *scratchFS) Lock(name string) (io.Closer, error) { return vfs.Default.Lock(s.own(name)) }

func (s *scratchFS) List(dir string) ([]string, error) {
	names, err := s.FS.List(dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	names = slices.DeleteFunc(names, func(n string) bool { return s.gone[n] })
	s.mu.Unlock()
	mine, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range mine {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s *scratchFS) Stat(name string) (vfs.FileInfo, error) {
	from, path, err := s.where(name)
	if err != nil {
		return nil, err
	}
	return from.Stat(path)
}

func (s *scratchFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.Default.GetDiskUsage(s.dir)
}

// Unwrap returns nil: nothing may go past the scratch folder.
func (s *scratchFS) Unwrap() vfs.FS { return nil }

// watchLayer is the fileLayer of an inspector that only looks. Nothing it hands
// out can change the store.
type watchLayer struct {
	fileLayer
	index vfs.FS
	dir   string // the scratch folder
}

func (l watchLayer) MkdirAll(string) error { return errOnlyLooking }
func (l watchLayer) SyncDir(string) error  { return errOnlyLooking }

func (l watchLayer) CreateFile(string) (file, error) { return nil, errOnlyLooking }

func (l watchLayer) OpenFile(path string, direct bool) (file, error) {
	f, err := l.open(path, direct)
	if err != nil {
		return nil, err
	}
	if filepath.Base(path) != dataName || l.dir == "" {
		return watchFile{f}, nil
	}
	own, err := os.Create(filepath.Join(l.dir, dataName))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &scratchFile{watchFile: watchFile{f}, own: own, at: map[int64]bool{}}, nil
}

// OpenDevice opens a device to look at it. Whoever uses it has the directory's lock.
func (l watchLayer) OpenDevice(path string, direct bool) (f file, err error) {
	if _, ok := l.fileLayer.(osLayer); ok {
		f, err = lookAtDevice(path)
	} else {
		f, err = l.fileLayer.OpenDevice(path, direct)
	}
	if err != nil || l.dir == "" {
		return watchFile{f}, err
	}
	own, err := os.Create(filepath.Join(l.dir, dataName))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &scratchFile{watchFile: watchFile{f}, own: own, at: map[int64]bool{}}, nil
}

func (l watchLayer) WriteLink(string, string) error { return errOnlyLooking }

func (l watchLayer) open(path string, direct bool) (file, error) {
	if _, ok := l.fileLayer.(osLayer); !ok {
		return l.fileLayer.OpenFile(path, direct)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (l watchLayer) Pebble() vfs.FS { return l.index }

// watchFile refuses to be changed.
type watchFile struct{ file }

var errOnlyLooking = fmt.Errorf("the store was opened only to look at it: %w", fs.ErrPermission)

func (watchFile) WriteAt([]byte, int64) (int, error) { return 0, errOnlyLooking }
func (watchFile) WriteSync([]byte, int64) error      { return errOnlyLooking }
func (watchFile) Sync() error                        { return errOnlyLooking }
func (watchFile) Allocate(int64) error               { return errOnlyLooking }
func (watchFile) Reserve(_, _ int64) error           { return errOnlyLooking }
func (watchFile) Discard(_, _ int64) error           { return errOnlyLooking }

// scratchFile is the data file of a store that must not change. The blocks of a
// journal larger than memory should be go to a file in the scratch folder.
type scratchFile struct {
	watchFile
	own *os.File

	mu  sync.Mutex     // guards below
	at  map[int64]bool // blocks that are in own
	end int64
}

func (f *scratchFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.own.WriteAt(p, off)
	f.mu.Lock()
	defer f.mu.Unlock()
	for b := off; b < off+int64(n); b += blockBytes {
		f.at[b/blockBytes] = true
	}
	f.end = max(f.end, off+int64(n))
	return n, err
}

func (f *scratchFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := 0; n < len(p); {
		mine, m := f.at[(off+int64(n))/blockBytes], blockBytes
		for n+m < len(p) && f.at[(off+int64(n+m))/blockBytes] == mine {
			m += blockBytes
		}
		part := p[n:min(n+m, len(p))]
		read := f.watchFile.ReadAt
		if mine {
			read = f.own.ReadAt
		}
		got, err := read(part, off+int64(n))
		if n += got; got < len(part) {
			return n, err
		}
	}
	return len(p), nil
}

func (f *scratchFile) Size() (int64, error) {
	n, err := f.watchFile.Size()
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(n, f.end), err
}

func (f *scratchFile) Sync() error { return nil }

func (f *scratchFile) Close() error {
	err := f.watchFile.Close()
	if cerr := f.own.Close(); err == nil {
		err = cerr
	}
	return err
}
