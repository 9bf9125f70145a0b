package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// found is what a device holds, as far as its first and last bytes tell.
type found struct {
	word  string // short, what a person must name to have it destroyed; "": nothing
	text  string // for messages
	super *superblock
}

// signature is how others mark what is theirs: bytes at an offset from the start of
// a device, or, when negative, from its end.
type signature struct {
	word, text string
	at         int64
	magic      string
}

// signatures of what is commonly found on disks. The first that matches is named.
var signatures = []signature{
	{"gpt", "a partition table (GPT)", 512, "EFI PART"},
	{"gpt", "a partition table (GPT)", 4096, "EFI PART"},
	{"luks", "an encrypted volume (LUKS)", 0, "LUKS\xba\xbe"},
	{"luks", "an encrypted volume (LUKS)", 16 << 10, "SKUL\xba\xbe"},
	{"ceph", "a Ceph OSD (BlueStore)", 0, "bluestore block device\n"},
	{"lvm", "an LVM2 physical volume", 0, "LABELONE"},
	{"lvm", "an LVM2 physical volume", 512, "LABELONE"},
	{"lvm", "an LVM2 physical volume", 1024, "LABELONE"},
	{"lvm", "an LVM2 physical volume", 1536, "LABELONE"},
	{"mdraid", "a member of a RAID (md)", 0, "\xfc\x4e\x2b\xa9"},
	{"mdraid", "a member of a RAID (md)", 4096, "\xfc\x4e\x2b\xa9"},
	{"xfs", "an XFS file system", 0, "XFSB"},
	{"ext4", "an ext2, ext3 or ext4 file system", 1024 + 56, "\x53\xef"},
	{"btrfs", "a btrfs file system", 64<<10 + 64, "_BHRfS_M"},
	{"f2fs", "an F2FS file system", 1024, "\x10\x20\xf5\xf2"},
	{"bcache", "a bcache device", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"iso9660", "an ISO 9660 file system", 32<<10 + 1, "CD001"},
	{"squashfs", "a squashfs file system", 0, "hsqs"},
	{"ntfs", "an NTFS file system", 3, "NTFS    "},
	{"exfat", "an exFAT file system", 3, "EXFAT   "},
	{"fat", "a FAT file system", 54, "FAT1"},
	{"fat", "a FAT file system", 82, "FAT32"},
	{"swap", "swap space", 4096 - 10, "SWAPSPACE2"},
	{"swap", "swap space", 4096 - 10, "SWAP-SPACE"},
	{"swap", "swap space", 8192 - 10, "SWAPSPACE2"},
	{"swap", "swap space", 16<<10 - 10, "SWAPSPACE2"},
	{"swap", "swap space", 64<<10 - 10, "SWAPSPACE2"},
	{"drbd", "a DRBD device", -4096 + 60, "\x83\x74\x02\x67"},
	// Behind those that also end their first sector with these two bytes.
	{"mbr", "a partition table or boot sector (MBR)", 510, "\x55\xaa"},
	// At the end only: what is left when the start was cleared is still found by others.
	{"gpt", "a partition table (the GPT's copy at the end)", -512, "EFI PART"},
	{"gpt", "a partition table (the GPT's copy at the end)", -4096, "EFI PART"},
}

// zfsUberblock is the magic number of ZFS, in either byte order.
const zfsUberblock = 0x00bab10c

// identify reads a device's first and last bytes and says what it holds.
func identify(f file) (found, error) {
	size, err := f.Size()
	if err != nil {
		return found{}, err
	}
	size &^= blockMask
	head, tail := alignedBytes(int(min(size, deviceHead))), alignedBytes(int(min(size, deviceTail)))
	for _, p := range []struct {
		b   []byte
		off int64
	}{{head, 0}, {tail, size - int64(len(tail))}} {
		if n, err := f.ReadAt(p.b, p.off); n < len(p.b) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return found{}, fmt.Errorf("read %d bytes at %d: %w", len(p.b), p.off, err)
		}
	}
	return identifyBytes(head, tail, size), nil
}

// identifyBytes is identify for the first and the last bytes of a device.
func identifyBytes(head, tail []byte, size int64) found {
	if s, ok := identifyOurs(head); ok {
		return s
	}
	for _, s := range signatures {
		b, at := head, s.at
		if at < 0 {
			b, at = tail, int64(len(tail))+at
		}
		if at >= 0 && at+int64(len(s.magic)) <= int64(len(b)) && string(b[at:at+int64(len(s.magic))]) == s.magic {
			return found{word: s.word, text: s.text}
		}
	}
	for at := 128 << 10; at+8 <= min(len(head), 512<<10); at += 1024 {
		if v := head[at : at+8]; binary.LittleEndian.Uint64(v) == zfsUberblock || binary.BigEndian.Uint64(v) == zfsUberblock {
			return found{word: "zfs", text: "a member of a ZFS pool"}
		}
	}
	// md's older superblocks are at the end, where depends on the size.
	start := size - int64(len(tail))
	for _, at := range []int64{size&^(64<<10-1) - 64<<10, (size/512 - 16) &^ 7 * 512} {
		if i := at - start; i >= 0 && i+4 <= int64(len(tail)) && string(tail[i:i+4]) == "\xfc\x4e\x2b\xa9" {
			return found{word: "mdraid", text: "a member of a RAID (md)"}
		}
	}
	for _, b := range [][]byte{head, tail} {
		if i := bytes.IndexFunc(b, func(r rune) bool { return r != 0 }); i >= 0 {
			where := int64(i)
			if &b[0] == &tail[0] && &b[0] != &head[0] {
				where += start
			}
			return found{word: "data", text: fmt.Sprintf("data of an unknown kind (byte %d is not zero)", where)}
		}
	}
	return found{}
}

// identifyOurs looks for a cairn superblock, whole or damaged.
func identifyOurs(head []byte) (found, bool) {
	ours, unknown := false, false
	var best *superblock
	for _, at := range superOnDevice {
		if at+blockBytes > int64(len(head)) {
			continue
		}
		s, err := decodeSuperblock(head[at : at+blockBytes])
		switch {
		case err == nil && (best == nil || s.generation > best.generation):
			best = s
		case err != nil && !errors.Is(err, errNotSuper):
			ours = true
			unknown = unknown || errors.Is(err, errNewFormat) || errors.Is(err, errOldFormat)
		}
	}
	switch {
	case best != nil && !unknown:
		id := best.id
		text := fmt.Sprintf("the cairn store %s", id.Store)
		if id.OSD >= 0 {
			text += fmt.Sprintf(" of %s", id.OSD)
		}
		if !id.Cluster.IsZero() {
			text += fmt.Sprintf(" of cluster %s", id.Cluster)
		}
		return found{word: id.Store.String(), text: text, super: best}, true
	case unknown:
		return found{word: "cairn", text: "a cairn store of another format"}, true
	case ours:
		return found{word: "cairn", text: "a cairn store whose superblock is damaged"}, true
	}
	return found{}, false
}

// wipe clears everything by which a device could be taken for something else.
func wipe(f file) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	size &^= blockMask
	b := alignedBytes(int(min(size, max(deviceHead, deviceTail))))
	head, tail := b[:min(size, deviceHead)], b[:min(size, deviceTail)]
	if _, err := f.WriteAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	return f.Sync()
}
