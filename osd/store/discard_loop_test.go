package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/osd/store"
)

// TestDiscardOnBlockDevice: the file under a loop device shrinks, where one can be made.
func TestDiscardOnBlockDevice(t *testing.T) {
	if !loopDevices() {
		return
	}
	device := loopDevice(t, 256<<20, 4096)
	image, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	room := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(strings.TrimSpace(string(image)), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	dir := createIn(t, store.CreateOptions{Device: device})
	d, err := store.Open(dir, store.Options{Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		k := store.Key{Name: fmt.Sprint(i)}
		if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpWrite, Key: k, Data: bytes.Repeat([]byte{'a'}, 4<<20)}}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 { // the last of them, behind which the data area is not known any more when it is opened anew
		if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpRemove, Key: store.Key{Name: fmt.Sprint(8 + i)}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	dry, err := store.Trim(context.Background(), dir, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := room()
	rep, err := store.Trim(context.Background(), dir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if after := room(); rep.Discarded < 32<<20 || rep.Discarded != dry.Free || before-after < 30<<20 {
		t.Errorf("dry run %+v, trim %+v: the file under the device had %d bytes, now %d", dry, rep, before, after)
	}
	if d, err = store.Open(dir, store.Options{Discard: true, Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpRemove, Key: store.Key{Name: "1"}}}}); err != nil {
		t.Fatal(err)
	}
	before = room()
	d.Checkpoint()
	if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpTouch, Key: store.Key{Name: "1"}}}}); err != nil {
		t.Fatal(err)
	}
	d.DiscardsDone()
	if after := room(); before-after < 2<<20 || d.DeviceStats().DiscardedBytes < 3<<20 {
		t.Errorf("in the background: %d bytes discarded, the file under the device had %d, now %d", d.DeviceStats().DiscardedBytes, before, after)
	}
	got, err := d.Read(store.Key{Name: "2"}, 0, 4<<20)
	if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{'a'}, 4<<20)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
