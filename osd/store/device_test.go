package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

func deviceOptions(l *faultLayer) CreateOptions {
	return CreateOptions{JournalBytes: 256 << 10, Device: crashDevice, Log: quiet(), layer: l, tinyJournal: true}
}

// newDeviceFault makes a store on a device of a fault layer, with one object.
func newDeviceFault(t *testing.T) *faultLayer {
	t.Helper()
	l := newFaultLayer(1)
	l.onDevice = true
	createFault(t, l)
	d := openFault(t, l)
	apply(t, d, writeOp("a", 0, []byte("aaaa")))
	if d.Device() != crashDevice {
		t.Errorf("device %q, want %q", d.Device(), crashDevice)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func wantRefused(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: not refused", what)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v; want an error with %q", what, err, w)
		}
	}
}

// TestPowerCutWhileCreatingOnDevice cuts the power at every step of Create. What
// is left is a store, or may be made again, or, when the very first sectors
// are torn, is refused until a person says that it may go.
func TestPowerCutWhileCreatingOnDevice(t *testing.T) {
	seed := seedOf(t)
	outcomes := map[string]int{}
	const firstStep = 20 // writing the first superblock, again and again
	for try := 1; ; try++ {
		cut := max(1, try-firstStep)
		l := newFaultLayer(seed + uint64(try))
		l.addDevice(crashDevice, 8<<20)
		l.cutAt = cut
		o := deviceOptions(l)
		err := Create(crashDir, o)
		if l.cut == nil {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		l = l.restart()
		o.layer, o.Identity = l, Identity{}
		names, _ := l.List(crashDir)
		outcome := "complete"
		if len(names) == 0 || unfinished(l, crashDir, crashDevice) == nil {
			outcome = "made again"
			err := Create(crashDir, o)
			for _, word := range []string{"cairn", "data"} { // of the first superblock, torn
				if err != nil && cut == 1 && strings.Contains(err.Error(), "--wipe-device "+word+"`") {
					outcome, o.Wipe = "wiped", word
					err = Create(crashDir, o)
				}
			}
			if err != nil {
				t.Fatalf("cut at %d, %v left: create again: %v", cut, names, err)
			}
		}
		outcomes[outcome]++
		for range 2 {
			d, err := Open(crashDir, faultOptions(l))
			if err != nil {
				t.Fatalf("cut at %d, %s: %v", cut, outcome, err)
			}
			if d.super.making {
				t.Errorf("cut at %d: still said to be made", cut)
			}
			apply(t, d, writeOp("a", 0, []byte("aaaa")))
			wantRead(t, d, "a", 'a', 4)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Log(outcomes)
	if outcomes["made again"] < 5 || outcomes["complete"] == 0 || outcomes["wiped"] == 0 {
		t.Errorf("outcomes %v: the test does not reach every state", outcomes)
	}
}

func TestDeviceSizeAndName(t *testing.T) {
	l := newDeviceFault(t)
	dev := l.files[crashDevice]
	whole := dev.data

	dev.data = whole[:len(whole)-1<<20]
	_, err := Open(crashDir, faultOptions(l))
	wantRefused(t, "smaller device", err, crashDevice, "bytes", "made for")

	grown := append(whole, make([]byte, 4<<20)...)
	dev.data = grown
	d := openFault(t, l)
	if got, want := d.Usage().Capacity, int64(len(dev.data)); got < want || got > want+1<<20 {
		t.Errorf("capacity of a grown device: %d, want %d and what the index takes", got, want)
	}
	wantRead(t, d, "a", 'a', 4)
	d.Close()
	dev.data = grown[:len(whole)]
	_, err = Open(crashDir, faultOptions(l))
	wantRefused(t, "device cut back after it had grown", err, "made for")
	dev.data = grown

	// The device has another name now.
	l.files["/dev/other"] = dev
	delete(l.files, crashDevice)
	dev.name = "/dev/other"
	_, err = Open(crashDir, faultOptions(l))
	wantRefused(t, "device gone", err, crashDevice, "--device")
	o := faultOptions(l)
	for i := range 2 {
		o.Device = []string{"/dev/other", ""}[i] // the second time the link says it
		d, err := Open(crashDir, o)
		if err != nil {
			t.Fatal(err)
		}
		wantRead(t, d, "a", 'a', 4)
		_, err = l.OpenDevice("/dev/other", true)
		wantRefused(t, "a device in use", err, "busy")
		d.Close()
	}

	// The link was lost with an old copy of the directory: the name is enough.
	delete(l.links, crashDir+"/"+linkName)
	_, err = Open(crashDir, faultOptions(l))
	wantRefused(t, "no link", err, "no store here")
	o.Device = "/dev/other"
	if d, err = Open(crashDir, o); err != nil {
		t.Fatal(err)
	}
	wantRead(t, d, "a", 'a', 4)
	d.Close()
}

func TestDeviceOfAnotherStore(t *testing.T) {
	l := newDeviceFault(t)
	l.addDevice("/dev/second", 8<<20)
	o := deviceOptions(l)
	o.Device = "/dev/second"
	if err := Create("/osd2", o); err != nil {
		t.Fatal(err)
	}
	// Whether that one is finished or not, it must not be taken for the first one's device, nor
	// the first one's directory for what an interrupted Create left there.
	fo := faultOptions(l)
	fo.Device = "/dev/second"
	for _, making := range []bool{false, true} {
		sb, err := readSuperblock(l.files["/dev/second"], superOnDevice)
		if err != nil {
			t.Fatal(err)
		}
		sb.making = making
		if err := writeSuperblock(l.files["/dev/second"], superOnDevice, sb); err != nil {
			t.Fatal(err)
		}
		link := l.links[crashDir+"/"+linkName]
		for range 2 {
			_, err = Open(crashDir, fo)
			wantRefused(t, "another store's device", err, "/dev/second")
			if err := unfinished(l, crashDir, "/dev/second"); err == nil {
				t.Error("a whole store is taken for one that was never finished")
			}
			if err := Create(crashDir, o); err == nil {
				t.Error("a store was made over another")
			}
			delete(l.links, crashDir+"/"+linkName) // the second time without
		}
		l.links[crashDir+"/"+linkName] = link
	}
	d := openFault(t, l)
	wantRead(t, d, "a", 'a', 4)
}

func TestCreateOnDeviceRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *faultLayer, o *CreateOptions)
		want   []string
	}{
		{"unknown content", func(l *faultLayer, o *CreateOptions) { l.files[crashDevice].data[70000] = 1 }, []string{"byte 70000", "--wipe-device data"}},
		{"content at the end", func(l *faultLayer, o *CreateOptions) { l.files[crashDevice].data[8<<20-1] = 1 }, []string{"byte 8388607", "--wipe-device data"}},
		{"a file system", func(l *faultLayer, o *CreateOptions) { copy(l.files[crashDevice].data, "XFSB") }, []string{"XFS", "--wipe-device xfs"}},
		{"another may be wiped", func(l *faultLayer, o *CreateOptions) { copy(l.files[crashDevice].data, "XFSB"); o.Wipe = "ext4" }, []string{"XFS", `"ext4"`}},
		{"too small", func(l *faultLayer, o *CreateOptions) { l.addDevice(crashDevice, 2<<20) }, []string{"2097152 bytes", "smaller journal"}},
		{"too large a capacity", func(l *faultLayer, o *CreateOptions) { o.Capacity = 1 << 30 }, []string{"8388608", "leave the capacity out"}},
		{"no such device", func(l *faultLayer, o *CreateOptions) { o.Device = "/dev/none" }, []string{"/dev/none", "lsblk"}},
		{"no such file, no size", func(l *faultLayer, o *CreateOptions) { o.Device = "/x/none" }, []string{"/x/none", "capacity"}},
		{"no such file, too small", func(l *faultLayer, o *CreateOptions) { o.Device = "/x/none"; o.Capacity = 400 << 10 }, []string{"file of"}},
		{"wipe without a device", func(l *faultLayer, o *CreateOptions) { o.Device = ""; o.Wipe = "xfs" }, []string{"no device"}},
	} {
		l := newFaultLayer(1)
		l.addDevice(crashDevice, 8<<20)
		o := deviceOptions(l)
		c.change(l, &o)
		before := bytes.Clone(l.files[crashDevice].data)
		wantRefused(t, c.name, Create(crashDir, o), c.want...)
		if !bytes.Equal(before, l.files[crashDevice].data) {
			t.Errorf("%s: the device was changed", c.name)
		}
		if l.locks[crashDevice] {
			t.Errorf("%s: the device is still open", c.name)
		}
	}
}

func TestWipe(t *testing.T) {
	l := newFaultLayer(1)
	dev := l.addDevice(crashDevice, 8<<20)
	for i := range dev.data {
		dev.data[i] = byte(i)
	}
	copy(dev.data[1024+56:], "\x53\xef")
	o := deviceOptions(l)
	o.Wipe = "ext4"
	if err := Create(crashDir, o); err != nil {
		t.Fatal(err)
	}
	d := openFault(t, l)
	store := d.Identity().Store
	d.Close()
	// A store is named by its UUID: nobody destroys one by a flag that was left in a unit file.
	l.index = newFaultLayer(2).index
	delete(l.links, crashDir+"/"+linkName)
	wantRefused(t, "another store", Create(crashDir, o), store.String(), "ext4")
	o.Wipe = store.String()
	if err := Create(crashDir, o); err != nil {
		t.Fatal(err)
	}
	d = openFault(t, l)
	if d.Identity().Store == store {
		t.Error("the wiped store is still there")
	}
}

// image is a small device with bytes at some places.
func image(size int64, puts ...any) (head, tail []byte) {
	b := make([]byte, size)
	for i := 0; i < len(puts); i += 2 {
		copy(b[puts[i].(int):], puts[i+1].(string))
	}
	return b[:min(size, deviceHead)], b[size-min(size, deviceTail):]
}

func TestIdentify(t *testing.T) {
	const size = 16<<20 + 96<<10
	sb := &superblock{generation: 3, id: Identity{Store: goldenUUID, Cluster: placement.UUID{7}, OSD: 3}, onDevice: true, journal: 1 << 20, device: 8 << 20}
	ours := string(sb.encode())
	torn := "CAIRNOSD" + strings.Repeat("\x00", 5000)
	future := sb.encode()
	binary.LittleEndian.PutUint32(future[12:], superVersion+1)
	binary.LittleEndian.PutUint32(future[blockBytes-4:], checksum(future[:blockBytes-4]))
	for _, c := range []struct {
		word string
		puts []any
	}{
		{"", nil},
		{"", []any{4 << 20, "deep inside nobody looks"}},
		{"gpt", []any{510, "\x55\xaa", 512, "EFI PART"}},
		{"gpt", []any{4096, "EFI PART"}},
		{"gpt", []any{size - 512, "EFI PART"}},
		{"gpt", []any{size - 4096, "EFI PART"}},
		{"mbr", []any{510, "\x55\xaa"}},
		{"fat", []any{82, "FAT32   ", 510, "\x55\xaa"}},
		{"fat", []any{54, "FAT16   ", 510, "\x55\xaa"}},
		{"ntfs", []any{3, "NTFS    ", 510, "\x55\xaa"}},
		{"ext4", []any{1024 + 56, "\x53\xef"}},
		{"xfs", []any{0, "XFSB"}},
		{"btrfs", []any{65536 + 64, "_BHRfS_M"}},
		{"lvm", []any{512, "LABELONE"}},
		{"luks", []any{0, "LUKS\xba\xbe\x00\x02"}},
		{"luks", []any{16 << 10, "SKUL\xba\xbe"}},
		{"swap", []any{4086, "SWAPSPACE2"}},
		{"zfs", []any{128<<10 + 3*1024, "\x0c\xb1\xba\x00\x00\x00\x00\x00"}},
		{"zfs", []any{256<<10 + 128<<10, "\x00\x00\x00\x00\x00\xba\xb1\x0c"}},
		{"mdraid", []any{4096, "\xfc\x4e\x2b\xa9"}},
		{"mdraid", []any{0, "\xfc\x4e\x2b\xa9"}},
		{"mdraid", []any{size&^(64<<10-1) - 64<<10, "\xfc\x4e\x2b\xa9"}},
		{"mdraid", []any{(size/512 - 16) &^ 7 * 512, "\xfc\x4e\x2b\xa9"}},
		{"ceph", []any{0, "bluestore block device\n0123"}},
		{"data", []any{100, "x"}},
		{"data", []any{size - 100, "x"}},
		{goldenUUID.String(), []any{0, ours}},
		{goldenUUID.String(), []any{1 << 20, ours}},
		{goldenUUID.String(), []any{510, "\x55\xaa", 512, "EFI PART", 1 << 20, ours}}, // a partition table written over a store
		{"cairn", []any{0, torn}},
		{"cairn", []any{0, ours, 1 << 20, string(future)}},
	} {
		head, tail := image(size, c.puts...)
		got := identifyBytes(head, tail, size)
		if got.word != c.word || (got.text == "") != (c.word == "") {
			t.Errorf("%.60q: identified as %q, %q; want %q", fmt.Sprint(c.puts...), got.word, got.text, c.word)
		}
		if got.super != nil && !strings.Contains(got.text, "osd.3") {
			t.Errorf("a store is described as %q", got.text)
		}
	}
	for n := range int64(3) { // the smallest devices
		head, tail := image(n * blockBytes)
		if got := identifyBytes(head, tail, n*blockBytes); got.word != "" {
			t.Errorf("%d blocks of zeros: %q", n, got.text)
		}
	}
}

// FuzzIdentify: whatever is on a device, looking at it does no harm.
func FuzzIdentify(f *testing.F) {
	f.Add([]byte("CAIRNOSD"), []byte("EFI PART"))
	f.Add(bytes.Repeat([]byte("LABELONE"), 1024), []byte{})
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		got := identifyBytes(head, tail, int64(len(head)))
		zero := len(bytes.Trim(head, "\x00")) == 0 && len(bytes.Trim(tail, "\x00")) == 0
		if zero != (got.word == "") {
			t.Errorf("identified as %q", got.text)
		}
	})
}

// TestFileDevice uses the real file layer: exclusive use, sizes, room.
func TestFileDevice(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "image")
	l := osLayer{}
	if _, err := l.OpenDevice(name, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := l.OpenDevice(dir, true); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := l.OpenDevice("/dev/null", true); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("a character device: %v", err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 3<<20 + 5000
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	f, err := l.OpenDevice(name, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.Size(); err != nil || n != size&^blockMask {
		t.Errorf("size %d, %v", n, err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Sys().(*syscall.Stat_t).Blocks * 512; got < size&^blockMask && fallocates(t, dir) {
		t.Errorf("%d bytes of %d are allocated", got, size)
	}
	if _, err := l.OpenDevice(name, true); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("opened twice: %v", err)
	}
	link := filepath.Join(dir, "link")
	for _, target := range []string{"a", "b"} {
		if err := l.WriteLink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, err := l.ReadLink(link); err != nil || got != target {
			t.Errorf("link: %q, %v", got, err)
		}
	}
}

// fallocates reports whether the file system can reserve room at all.
func fallocates(t *testing.T, dir string) bool {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return syscall.Fallocate(int(f.Fd()), 0, 0, 1<<20) == nil
}

// TestSection holds a part of a file against a slice.
func TestSection(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 1))
	l := newFaultLayer(1)
	dev := l.addDevice("d", 64*blockBytes)
	s := newSection(dev, 8*blockBytes, blockBytes, 16*blockBytes)
	model := make([]byte, 16*blockBytes)
	for range 2000 {
		at, n := int64(rng.IntN(20)), 1+rng.IntN(6)
		b := alignedBytes(n * blockBytes)
		switch rng.IntN(4) {
		case 0, 1:
			b[0] = byte(rng.Uint32())
			_, err := s.WriteAt(b, at*blockBytes)
			if fits := at+int64(n) <= 16; fits != (err == nil) {
				t.Fatalf("write of %d at %d: %v", n, at, err)
			} else if fits {
				copy(model[at*blockBytes:], b)
			}
		case 2:
			const size = 16 * blockBytes
			got, err := s.ReadAt(b, at*blockBytes)
			want := max(0, min(int64(len(b)), int64(size)-at*blockBytes))
			if int64(got) != want || (err == nil) != (want == int64(len(b))) {
				t.Fatalf("read of %d at %d of %d: %d, %v", len(b), at*blockBytes, size, got, err)
			}
			if got > 0 && !bytes.Equal(b[:got], model[at*blockBytes:][:got]) {
				t.Fatal("read something else")
			}
		case 3:
			err := s.Allocate(at * blockBytes)
			if (err == nil) != (at <= 16) || err != nil && !errors.Is(err, ErrNoSpace) {
				t.Fatalf("allocate %d: %v", at, err)
			}
		}
	}
	if len(bytes.Trim(dev.data[:8*blockBytes], "\x00"))+len(bytes.Trim(dev.data[24*blockBytes:], "\x00")) > 0 {
		t.Error("something was written outside of the section")
	}
}
