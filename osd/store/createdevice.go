package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// createOnDevice makes a store whose journal and data are on a device. The first
// thing written is a superblock that says the store is being made, the last one
// that says it is not any more: what an interrupted call leaves on a device is
// known to hold nothing, and another call begins anew. The link in the directory
// comes right before that last step, so who finds it finds all but that.
func createOnDevice(dir string, o *CreateOptions) error {
	l := o.layer
	device, err := filepath.Abs(o.Device)
	if err != nil {
		return err
	}
	o.Device = device // the link must do from anywhere
	if err := l.MkdirAll(dir); err != nil {
		return err
	}
	names, err := l.List(dir)
	if err != nil {
		return err
	}
	again := false
	if err := checkEmpty(names); err != nil {
		if slices.Contains(names, linkName) || unfinished(l, dir, o.Device) != nil {
			return err
		}
		again = true
	}
	lock, err := l.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	f, err := openNewDevice(o)
	if err != nil {
		return fmt.Errorf("device %s: %w", o.Device, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("device %s: %w", o.Device, err)
	}
	if o.Capacity > size {
		return invalid("capacity of %d bytes: device %s has %d; leave the capacity out to use all of it", o.Capacity, o.Device, size)
	}
	if room := minDevice(o.JournalBytes); size < room {
		return fmt.Errorf("device %s has %d bytes, a journal of %d needs at least %d: choose a smaller journal or a larger device: %w", o.Device, size, o.JournalBytes, room, ErrNoSpace)
	}
	if err := claimDevice(f, o); err != nil {
		return fmt.Errorf("device %s: %w", o.Device, err)
	}
	sb := &superblock{
		generation: 1, id: o.Identity, clean: true, making: true, onDevice: true, created: time.Now().UnixNano(),
		journal: o.JournalBytes, capacity: o.Capacity, device: size, checkpoint: checkpoint{seq: 1},
	}
	if err := writeSuperblock(f, superOnDevice, sb); err != nil {
		return fmt.Errorf("device %s: %w", o.Device, err)
	}
	if again {
		if err := l.Pebble().RemoveAll(filepath.Join(dir, indexName)); err != nil {
			return fmt.Errorf("index of an interrupted create: %w", err)
		}
	}
	if err := createIndex(dir, o); err != nil {
		return err
	}
	if err := fillDevice(f, o); err != nil {
		return fmt.Errorf("device %s: %w", o.Device, err)
	}
	if err := l.SyncDir(dir); err != nil {
		return err
	}
	if err := l.WriteLink(o.Device, filepath.Join(dir, linkName)); err != nil {
		return err
	}
	if err := l.SyncDir(dir); err != nil {
		return err
	}
	sb.making, sb.generation = false, 2
	if err := writeSuperblock(f, superOnDevice, sb); err != nil {
		return fmt.Errorf("device %s: %w", o.Device, err)
	}
	return nil
}

// openNewDevice opens the device; a file that does not exist is made.
func openNewDevice(o *CreateOptions) (file, error) {
	f, err := o.layer.OpenDevice(o.Device, true)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if strings.HasPrefix(filepath.Clean(o.Device), "/dev/") {
		return nil, fmt.Errorf("%w: check its name (lsblk shows what there is)", err)
	}
	if o.Capacity == 0 {
		return nil, fmt.Errorf("%w: a file is made if it is said how large it is to be (the capacity); or make it yourself, with fallocate -l", err)
	}
	size := o.Capacity &^ int64(blockMask)
	o.Capacity = 0 // the file's size is what counts
	if size < minDevice(o.JournalBytes) {
		return nil, invalid("file of %d bytes: the journal takes %d, the least is %d", size, o.JournalBytes, minDevice(o.JournalBytes))
	}
	_, free, err := o.layer.Space(filepath.Dir(o.Device))
	if err != nil {
		return nil, err
	}
	if free < size+16<<20 && !o.tinyJournal {
		return nil, fmt.Errorf("%d bytes wanted, %d free: choose a smaller capacity: %w", size, free, ErrNoSpace)
	}
	f, err = o.layer.CreateFile(o.Device)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Allocate(size), f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := o.layer.SyncDir(filepath.Dir(o.Device)); err != nil {
		return nil, err
	}
	return o.layer.OpenDevice(o.Device, true)
}

// claimDevice makes sure that nothing is on the device that anybody may want.
func claimDevice(f file, o *CreateOptions) error {
	was, err := identify(f)
	if err != nil {
		return err
	}
	switch {
	case was.word == "":
		return nil
	case was.super != nil && was.super.making: // nothing was ever stored there
	case o.Wipe == "":
		return fmt.Errorf("it holds %s: choose another device; if nothing on it is needed any more, `--wipe-device %s` destroys it", was.text, was.word)
	case o.Wipe != was.word:
		return fmt.Errorf("it holds %s, and --wipe-device says %q: choose another device; if nothing on it is needed any more, `--wipe-device %s` destroys it",
			was.text, o.Wipe, was.word)
	default:
		o.Log.Warn("store: what the device holds is destroyed", "device", o.Device, "holds", was.text)
	}
	return wipe(f)
}

// fillDevice prepares journal and data area.
func fillDevice(f file, o *CreateOptions) error {
	if err := zeroFill(newSection(f, deviceJournal, o.JournalBytes, o.JournalBytes), o.JournalBytes); err != nil {
		return err
	}
	return f.WriteSync(encodeDataHeader(o.Identity.Store), deviceData(o.JournalBytes))
}
