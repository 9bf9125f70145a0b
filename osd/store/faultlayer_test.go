package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faultLayer is a fileLayer in memory that loses power: at the cut every
// 512-byte sector written and not yet synced holds the old or the new content,
// as the seed has it. After the cut nothing the store does reaches the medium.
type faultLayer struct {
	mu    sync.Mutex
	rng   *rand.Rand
	files map[string]*memFile
	index *vfs.MemFS
	locks map[string]bool
	links map[string]memLink
	total int64       // bytes of the file system; 0: plenty
	ops   int         // changes so far
	cutAt int         // lose power at this change; 0: never
	cut   *faultLayer // the medium as it is after the cut

	fault func(op, name string, off int64) error // nil: none

	onDevice bool // createFault makes stores on a device
}

const sector = 512

var errPower = errors.New("power is out")

// memFile keeps, for sectors written and not synced, what they held before.
type memFile struct {
	l       *faultLayer
	name    string
	data    []byte
	old     map[int][]byte
	synced  int  // durable size
	durable bool // the directory entry is
	device  bool // a device: it has its size for good

	discards memDiscards
}

// memLink is a symbolic link; was is what it said before, until the directory is synced.
type memLink struct {
	target, was string
	durable     bool
}

// addDevice makes an empty device, whose content survives power cuts as files' does.
func (l *faultLayer) addDevice(name string, size int) *memFile {
	f := &memFile{l: l, name: name, data: make([]byte, size), old: map[int][]byte{}, synced: size, durable: true, device: true}
	l.files[name] = f
	return f
}

// memDevice is a device opened for one process alone.
type memDevice struct{ *memFile }

func (f memDevice) Close() error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	delete(f.l.locks, f.name)
	return nil
}

func (l *faultLayer) OpenDevice(name string, _ bool) (file, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[name]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if l.locks[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EBUSY}
	}
	l.locks[name] = true
	return memDevice{f}, nil
}

func (l *faultLayer) ReadLink(name string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.links[name]; ok {
		return k.target, nil
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrNotExist}
}

func (l *faultLayer) WriteLink(target, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.tick() {
		return errPower
	}
	l.links[name] = memLink{target: target, was: l.links[name].target}
	return nil
}

func newFaultLayer(seed uint64) *faultLayer {
	return &faultLayer{
		rng: rand.New(rand.NewPCG(seed, 2)), files: map[string]*memFile{}, index: vfs.NewCrashableMem(), locks: map[string]bool{},
		links: map[string]memLink{},
	}
}

// tick counts a change of the medium and loses power when it is time. The
// caller holds mu. The change itself may still be in part on the medium.
func (l *faultLayer) tick() bool {
	if l.cut != nil {
		return false
	}
	l.ops++
	if l.ops == l.cutAt {
		l.powerCut()
		return false
	}
	return true
}

func (l *faultLayer) powerCut() {
	n := &faultLayer{rng: l.rng, files: map[string]*memFile{}, locks: map[string]bool{}, links: map[string]memLink{}, total: l.total, onDevice: l.onDevice}
	// All or nothing of what the index has not synced: Pebble counts on directory entries
	// becoming durable in order, as they do on journaling file systems.
	n.index = l.index.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: 100 * l.rng.IntN(2), RNG: rand.New(rand.NewPCG(l.rng.Uint64(), 3)),
	})
	for _, name := range slices.Sorted(maps.Keys(l.links)) {
		k := l.links[name]
		if !k.durable && l.rng.IntN(2) == 0 {
			k.target = k.was
		}
		if k.durable = true; k.target != "" {
			n.links[name] = k
		}
	}
	var names []string
	for name := range l.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := l.files[name]
		if !f.durable && l.rng.IntN(2) == 0 {
			continue
		}
		c := &memFile{l: n, name: name, data: slices.Clone(f.data), old: map[int][]byte{}, durable: true, device: f.device}
		var sectors []int
		for s := range f.old {
			sectors = append(sectors, s)
		}
		slices.Sort(sectors)
		mood := l.rng.IntN(4) // all lost, all kept, mixed
		for _, s := range sectors {
			if mood == 0 || mood > 1 && l.rng.IntN(2) == 0 {
				copy(c.data[s*sector:], f.old[s])
			}
		}
		if f.synced < len(c.data) && l.rng.IntN(2) == 0 {
			c.data = c.data[:f.synced]
		}
		f.discards.afterCut(c)
		c.synced = len(c.data)
		n.files[name] = c
	}
	l.cut = n
}

// restart is the medium after the power came back. Without a cut so far it is cut now.
func (l *faultLayer) restart() *faultLayer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == nil {
		l.powerCut()
	}
	return l.cut
}

func (l *faultLayer) check(op, name string, off int64) error {
	if l.cut != nil {
		return errPower
	}
	if l.fault != nil {
		return l.fault(op, path.Base(name), off)
	}
	return nil
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

func (l *faultLayer) Lock(name string) (io.Closer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks[name] {
		return nil, fmt.Errorf("%s: in use", name)
	}
	l.locks[name] = true
	return closeFunc(func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.locks, name)
		return nil
	}), nil
}

func (l *faultLayer) MkdirAll(string) error { return nil }

func (l *faultLayer) List(dir string) (names []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.files {
		if strings.HasPrefix(name, dir+"/") {
			names = append(names, path.Base(name))
		}
	}
	for name := range l.links {
		if strings.HasPrefix(name, dir+"/") {
			names = append(names, path.Base(name))
		}
	}
	if idx, err := l.index.List(dir); err == nil {
		for _, name := range idx {
			if !slices.Contains(names, path.Base(name)) {
				names = append(names, path.Base(name))
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

func (l *faultLayer) SyncDir(string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.tick() {
		return errPower
	}
	for _, f := range l.files {
		f.durable = true
	}
	for name, k := range l.links {
		k.durable = true
		l.links[name] = k
	}
	return nil
}

func (l *faultLayer) CreateFile(name string) (file, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.tick() {
		return nil, errPower
	}
	if l.files[name] != nil {
		return nil, fs.ErrExist
	}
	f := &memFile{l: l, name: name, old: map[int][]byte{}}
	l.files[name] = f
	return f, nil
}

func (l *faultLayer) OpenFile(name string, _ bool) (file, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.files[name]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (l *faultLayer) Space(string) (total, free int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.space()
}

func (l *faultLayer) space() (total, free int64, err error) {
	if l.total == 0 {
		return 1 << 40, 1 << 40, nil
	}
	free = l.total
	for _, f := range l.files {
		if !f.device {
			free -= int64(len(f.data) - len(f.discards.holes)*blockBytes)
		}
	}
	return l.total, free, nil
}

// Pebble counts the index's changes too, so that power can fail at each.
func (l *faultLayer) Pebble() vfs.FS {
	return errorfs.Wrap(l.index, errorfs.InjectorFunc(func(op errorfs.Op) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			l.tick() // the index itself goes on in memory that nobody will see again
		}
		if kind := indexOps[op.Kind]; kind != "" && l.fault != nil {
			return l.fault(kind, path.Base(op.Path), op.Offset)
		}
		return nil
	}))
}

// indexOps are the operations of the index that faults are asked about.
var indexOps = map[errorfs.OpKind]string{
	errorfs.OpFileRead: "index read", errorfs.OpFileReadAt: "index read",
	errorfs.OpCreate: "index write", errorfs.OpFileWrite: "index write", errorfs.OpFileWriteAt: "index write",
	errorfs.OpFileSync: "index sync", errorfs.OpFileSyncData: "index sync", errorfs.OpFileSyncTo: "index sync",
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.aligned(p, off); err != nil {
		return 0, err
	}
	if err := f.l.check("read", f.name, off); err != nil {
		return 0, err
	}
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// aligned is as strict as O_DIRECT.
func (f *memFile) aligned(p []byte, off int64) error {
	if !isAligned(p) || len(p)%blockBytes != 0 || off%blockBytes != 0 {
		return fmt.Errorf("%s: %d bytes at %d: not aligned: %w", f.name, len(p), off, syscall.EINVAL)
	}
	if f.device && int(off)+len(p) > len(f.data) {
		return fmt.Errorf("%s: %d bytes at %d: beyond the end of the device: %w", f.name, len(p), off, syscall.ENOSPC)
	}
	return nil
}

func (f *memFile) put(p []byte, off int64) {
	if need := int(off) + len(p); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	for s := int(off) / sector; s < (int(off)+len(p))/sector; s++ {
		if _, ok := f.old[s]; !ok {
			f.old[s] = slices.Clone(f.data[s*sector : (s+1)*sector])
		}
	}
	copy(f.data[off:], p)
	f.discards.written(int(off), len(p))
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.aligned(p, off); err != nil {
		return 0, err
	}
	if err := f.l.check("write", f.name, off); err != nil {
		return 0, err
	}
	if _, free, _ := f.l.space(); f.discards.inHoles(int(off), len(p)) > free {
		return 0, syscall.ENOSPC
	}
	f.put(p, off)
	if !f.l.tick() {
		return 0, errPower
	}
	return len(p), nil
}

func (f *memFile) WriteSync(p []byte, off int64) error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.aligned(p, off); err != nil {
		return err
	}
	if err := f.l.check("writesync", f.name, off); err != nil {
		return err
	}
	f.put(p, off)
	if !f.l.tick() {
		return errPower
	}
	for s := int(off) / sector; s < (int(off)+len(p))/sector; s++ {
		delete(f.old, s)
	}
	f.synced = max(f.synced, int(off)+len(p))
	return nil
}

func (f *memFile) Sync() error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.l.check("sync", f.name, 0); err != nil {
		return err
	}
	if !f.l.tick() {
		return errPower
	}
	f.old = map[int][]byte{}
	f.synced = len(f.data)
	clear(f.discards.filled)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *memFile) Allocate(size int64) error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if err := f.l.check("allocate", f.name, size); err != nil {
		return err
	}
	grow := int(size) - len(f.data)
	if grow <= 0 {
		return nil
	}
	if _, free, _ := f.l.space(); int64(grow) > free {
		return syscall.ENOSPC
	}
	f.data = append(f.data, make([]byte, grow)...)
	if !f.l.tick() {
		return errPower
	}
	return nil
}

func (f *memFile) Direct() bool { return true }
func (f *memFile) Close() error { return nil }
