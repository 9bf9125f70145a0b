package store

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

// TestRecordsAfterOpen: how many records and shards there are is counted anew when a store is opened.
func TestRecordsAfterOpen(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 1 << 30, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	id := placement.PGID{Pool: 3, Shard: 5}
	for round := range 3 {
		d, err := Open(dir, Options{Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if objects, _ := d.PGUsage(id); d.PGRecords(id) != int64(round) || objects != int64(2*round) {
			t.Errorf("start %d: %d records of %d objects", round, d.PGRecords(id), objects)
		}
		if s := d.PoolShards(); round > 0 && (len(s) != 1 || s[0] != PoolShards{3, int64(round), 5 * int64(round)}) {
			t.Errorf("start %d: shards %v", round, s)
		}
		name := string(rune('a' + round))
		if err := Apply(d, &Batch{Ops: []Op{
			{Kind: OpTouch, Key: Key{PG: id, Name: name}},
			{Kind: OpTouch, Key: Key{PG: id, Name: placement.RecordName(placement.VoidRef, make([]byte, 16), name)}},
			{Kind: OpWrite, Key: ShardKey(3, name), Data: []byte("shard")},
		}}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormat2: a store from before there were shards is opened, and says from then on that its reader must know them.
func TestFormat2(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 1 << 30, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, superName)
	versions := func() (out []uint32) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for copyOf := range superCopies {
			c := b[copyOf*blockBytes:]
			out = append(out, binary.LittleEndian.Uint32(c[8:]), binary.LittleEndian.Uint32(c[12:]))
		}
		return out
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for copyOf := range superCopies {
		c := b[copyOf*blockBytes:][:blockBytes]
		binary.LittleEndian.PutUint32(c[8:], 2)
		binary.LittleEndian.PutUint32(c[12:], 2)
		binary.LittleEndian.PutUint32(c[blockBytes-4:], checksum(c[:blockBytes-4]))
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := versions(); !slices.Equal(got, []uint32{3, 3, 3, 3}) { // before anything can be stored
		t.Errorf("versions and oldest readers %v of an opened store", got)
	}
}
