package store

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// CreateOptions configures Create. The zero value makes a store of unknown
// owner that may use all of its file system.
type CreateOptions struct {
	// Identity to be born with. A zero Store UUID is replaced by a random one.
	Identity Identity
	// JournalBytes is the size of the journal ring; default 256 MiB, at least 32 MiB.
	JournalBytes int64
	// Capacity in bytes, journal and index included; default 0: as much as the file system gives.
	// Stores that share a file system should have one.
	Capacity int64
	// Device is the block device, or the file, that journal and data are to be on; only the
	// index is in the directory then. Default: all are files of the directory. A file that does not
	// exist is made, with Capacity bytes.
	Device string
	// Wipe names what the device holds and may be destroyed, in the word of the error that refuses
	// it: a file system's, or a store's UUID. Default: a device that holds anything is refused.
	Wipe string
	// Log; default slog.Default().
	Log *slog.Logger

	layer       fileLayer
	tinyJournal bool // tests: allow less than MinJournalBytes
}

// Sizes of the journal.
const (
	MinJournalBytes     = 32 << 20
	DefaultJournalBytes = 256 << 20
	maxJournalBytes     = 64 << 30
)

// Create makes an empty store in dir, which must be empty or not exist. The
// superblock is written last: what an interrupted Create leaves is never taken
// for a store.
func Create(dir string, o CreateOptions) error {
	if o.JournalBytes == 0 {
		o.JournalBytes = DefaultJournalBytes
	}
	if o.layer == nil {
		o.layer = osLayer{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.JournalBytes < MinJournalBytes && !o.tinyJournal || o.JournalBytes%blockBytes != 0 || o.JournalBytes > maxJournalBytes {
		return fmt.Errorf("create store %s: %w", dir, invalid("journal of %d bytes: want a multiple of %d from %d up", o.JournalBytes, blockBytes, MinJournalBytes))
	}
	if o.Capacity < 0 || o.Capacity > 0 && o.Capacity < o.JournalBytes*5/4 {
		return fmt.Errorf("create store %s: %w", dir, invalid("capacity of %d bytes: the journal alone takes %d", o.Capacity, o.JournalBytes))
	}
	if o.Identity.Store.IsZero() {
		if _, err := rand.Read(o.Identity.Store[:]); err != nil {
			return fmt.Errorf("create store %s: %w", dir, err)
		}
		u := &o.Identity.Store
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	}
	make := create
	if o.Device != "" {
		make = createOnDevice
	} else if o.Wipe != "" {
		return fmt.Errorf("create store %s: %w", dir, invalid("what may be wiped is given, but no device"))
	}
	if err := make(dir, &o); err != nil {
		return fmt.Errorf("create store %s: %w", dir, explain(err))
	}
	o.Log.Info("store: created", "dir", dir, "device", o.Device, "store", o.Identity.Store, "journal", o.JournalBytes, "capacity", o.Capacity)
	return nil
}

func create(dir string, o *CreateOptions) error {
	l := o.layer
	if err := l.MkdirAll(dir); err != nil {
		return err
	}
	names, err := l.List(dir)
	if err != nil {
		return err
	}
	if err := checkEmpty(names); err != nil {
		return err
	}
	lock, err := l.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, free, err := l.Space(dir); err != nil {
		return err
	} else if free < o.JournalBytes+16<<20 && !o.tinyJournal {
		return fmt.Errorf("%d bytes free, the journal takes %d and the index some: free space or choose a smaller journal: %w", free, o.JournalBytes, ErrNoSpace)
	}
	err = makeFile(l, filepath.Join(dir, dataName), func(f file) error {
		return f.WriteSync(encodeDataHeader(o.Identity.Store), 0)
	})
	if err != nil {
		return err
	}
	if err := makeFile(l, filepath.Join(dir, journalName), func(f file) error { return zeroFill(f, o.JournalBytes) }); err != nil {
		return err
	}
	if err := createIndex(dir, o); err != nil {
		return err
	}
	if err := l.SyncDir(dir); err != nil {
		return err
	}
	sb := &superblock{
		generation: 1, id: o.Identity, clean: true, created: time.Now().UnixNano(),
		journal: o.JournalBytes, capacity: o.Capacity, checkpoint: checkpoint{seq: 1},
	}
	err = makeFile(l, filepath.Join(dir, superName), func(f file) error { return writeSuperblock(f, superInFile, sb) })
	if err != nil {
		return err
	}
	return l.SyncDir(dir)
}

// createIndex makes an index that says whose it is.
func createIndex(dir string, o *CreateOptions) error {
	db, err := pebble.Open(filepath.Join(dir, indexName), &pebble.Options{
		FS: o.layer.Pebble(), DisableWAL: true, FormatMajorVersion: indexFormat, Logger: pebbleLog{o.Log}, ErrorIfExists: true,
	})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	err = db.Set(metaStoreKey, o.Identity.Store[:], pebble.NoSync)
	if err == nil {
		err = db.Flush()
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// checkEmpty refuses a directory in which something lives already.
func checkEmpty(names []string) error {
	var found []string
	for _, n := range names {
		switch n {
		case superName, linkName:
			return fmt.Errorf("a store is there already: open it, or remove it first if its data is not needed")
		case "lost+found", lockName:
		default:
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return nil
	}
	ours := true
	for _, n := range found {
		ours = ours && (n == journalName || n == dataName || n == indexName)
	}
	if ours {
		return fmt.Errorf("holds %s but no superblock: left by an interrupted create, or a store whose superblock was lost; remove the files if there is nothing to save, and try again",
			strings.Join(found, ", "))
	}
	return fmt.Errorf("the directory is not empty (%s): choose an empty one", strings.Join(found[:min(len(found), 5)], ", "))
}

func makeFile(l fileLayer, path string, fill func(file) error) error {
	f, err := l.CreateFile(path)
	if err != nil {
		return err
	}
	if err := fill(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}

// zeroFill writes the ring once. Space that was only allocated would cost a
// commit of the file system's own journal at every sync that first touches it.
func zeroFill(f file, n int64) error {
	if err := f.Allocate(n); err != nil {
		return err
	}
	b := alignedBytes(1 << 20)
	for off := int64(0); off < n; off += int64(len(b)) {
		b = b[:min(int64(len(b)), n-off)]
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
	}
	return f.Sync()
}
