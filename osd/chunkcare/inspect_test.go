package chunkcare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/report"
	"github.com/cairnstore/cairn/placement"
)

// chunkOf returns the entry of the only chunk.
func (w *repairWorld) chunkOf(t *testing.T) *entry {
	t.Helper()
	fp, _ := chunk.FingerprintOf(w.Records(placement.ChunkEntry)[0])
	e, err := w.care.entry(context.Background(), at{1, fp})
	if err != nil || e == nil {
		t.Fatal(e, err)
	}
	return e
}

// spoil gives a shard other bytes, which its holder finds nothing wrong with.
func (w *repairWorld) spoil(t *testing.T, e *entry, i int) {
	t.Helper()
	at, id := e.layout.Holders[i], e.shard(i)
	b, err := w.Get(context.Background(), at, id)
	if err == nil {
		b[len(b)/2] ^= 8
		err = w.Drop(context.Background(), at, []ShardID{id})
	}
	if err == nil {
		err = w.Put(context.Background(), at, id, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOddShard: of one shard that is not of the chunk, though it can be read, others and the fingerprint tell which it is. It is made
// again on another OSD, or where it was if there is no other: nobody has it for a moment then.
func TestOddShard(t *testing.T) {
	for _, c := range []struct {
		redundancy string
		osds       int
	}{{"replica:2", 5}, {"replica:2", 2}, {"2:1:xor", 5}, {"2:1:xor", 3}, {"4:2:rs", 9}} {
		for odd := range 3 {
			t.Run(fmt.Sprintf("%s of %d, shard %d", c.redundancy, c.osds, odd), func(t *testing.T) {
				w := newRepairWorld(t, c.redundancy, c.osds)
				w.write(t, "o", 1)
				e := w.chunkOf(t)
				odd := odd % len(e.layout.Holders)
				w.spoil(t, e, odd)
				x, err := w.care.ShowChunk(context.Background(), 1, e.fp, true)
				if err != nil || x.Verdict.OK || x.Verdict.Fingerprint != "right" || x.Shards[odd].State != "wrong" || x.Verdict.Together {
					t.Fatalf("%v %+v %+v", err, x.Verdict, x.Shards)
				}
				if rep := w.ask(t, AskVerify); rep.Work != (Work{}) || rep.Chunks.DegradedShards != 1 {
					t.Errorf("verify: %+v %+v", rep.Work, rep.Chunks)
				}
				rep := w.ask(t, AskRepair)
				now := w.chunkOf(t)
				if rep.Work.Repaired != 1 || rep.Chunks.Degraded != 0 || len(now.leaving) != 0 {
					t.Errorf("repair: %+v %+v, marks %v", rep.Work, rep.Chunks, now.leaving)
				}
				if there := now.layout.Holders[odd] == e.layout.Holders[odd]; there != (c.osds == len(e.layout.Holders)) {
					t.Errorf("it was on %s, is on %s", e.layout.Holders[odd], now.layout.Holders[odd])
				}
				if x, err := w.care.ShowChunk(context.Background(), 1, e.fp, true); err != nil || !x.Verdict.OK {
					t.Errorf("%v %+v", err, x)
				}
				w.read(t, "o", 1)
			})
		}
	}
}

// TestOddShardAndLost: a repair of a lost shard that begins with one that is not of the chunk makes nothing of it, but finds it.
func TestOddShardAndLost(t *testing.T) {
	for odd := range 6 {
		w := newRepairWorld(t, "4:2:rs", 9)
		w.write(t, "o", 1)
		e := w.chunkOf(t)
		w.spoil(t, e, odd)
		gone := (odd + 1) % 6
		if err := w.Drop(context.Background(), e.layout.Holders[gone], []ShardID{e.shard(gone)}); err != nil {
			t.Fatal(err)
		}
		w.ask(t, AskAudit) // which reads no shards but to repair
		w.ask(t, AskRepair)
		x, err := w.care.ShowChunk(context.Background(), 1, e.fp, true)
		if err != nil || !x.Verdict.OK {
			t.Errorf("shard %d is wrong, %d lost: %v %+v", odd, gone, err, x.Verdict)
		}
		w.read(t, "o", 1)
	}
}

// TestShowChunk: what is told of a chunk and of its shards.
func TestShowChunk(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	w.write(t, "again", 1)
	e := w.chunkOf(t)
	show := func() *report.Chunk {
		t.Helper()
		x, err := w.care.ShowChunk(context.Background(), 1, e.fp, true)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := show()
	if v := x.Verdict; !v.OK || v.Readable != 3 || v.Needed != 2 || !v.Together || !v.Parity || v.Fingerprint != "right" || v.Text != "" {
		t.Errorf("%+v", v)
	}
	if x.References != 2 || len(x.Refs) != 2 || x.Bytes != 128<<10 || x.Redundancy != "2:1:xor" || len(x.Shards) != 3 || x.Tenant == nil || *x.Tenant != "" || x.Condemned != "" {
		t.Errorf("%+v", x)
	}
	// One shard is lost, then two.
	for i, want := range []report.Verdict{
		{Readable: 2, Needed: 2, Together: true, Parity: true, Fingerprint: "right", Text: "2 of its 3 shards can be read"},
		{Readable: 1, Needed: 2, Fingerprint: "unknown", Text: "1 of its 3 shards can be read, 2 are needed"},
	} {
		if err := w.Drop(context.Background(), e.layout.Holders[i], []ShardID{e.shard(i)}); err != nil {
			t.Fatal(err)
		}
		if x := show(); *x.Verdict != want || x.Shards[i].State != "lost" {
			t.Errorf("%+v, want %+v; %+v", x.Verdict, want, x.Shards)
		}
	}
	if _, err := w.care.ShowChunk(context.Background(), 1, chunk.Fingerprint{chunk.Own}, false); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a chunk that is not there: %v", err)
	}
	// Its bytes are others.
	data := noise(2, 128<<10)
	w.setBytes(t, e, data)
	if v := show().Verdict; v.OK || v.Fingerprint != "wrong" || !v.Together || v.Readable != 3 {
		t.Errorf("%+v", v)
	}
}

// TestListChunks: pages and prefixes list every chunk once.
func TestListChunks(t *testing.T) {
	w := newRepairWorld(t, "replica:2", 3)
	var want []string
	for i := range byte(40) {
		w.write(t, fmt.Sprint("o", i), i)
	}
	for _, n := range w.Records(placement.ChunkEntry) {
		fp, _ := chunk.FingerprintOf(n)
		want = append(want, fp.String())
	}
	slices.Sort(want)
	id := placement.PGID{Pool: 1}
	list := func(prefix string, limit int) (got []string) {
		t.Helper()
		after := ""
		for {
			page, err := w.care.ListChunks(context.Background(), id, prefix, after, limit)
			if err != nil || len(page.Chunks) > limit {
				t.Fatal(len(page.Chunks), err)
			}
			for _, c := range page.Chunks {
				got = append(got, c.Chunk)
			}
			if page.After == "" {
				return got
			}
			after = page.After
		}
	}
	for _, limit := range []int{1, 7, 40, 1000} {
		if got := list("", limit); !slices.Equal(got, want) {
			t.Errorf("by %d: %d chunks, want %d", limit, len(got), len(want))
		}
	}
	for _, n := range []int{len("blake3:"), len("blake3:") + 1, len("blake3:") + 2, len(want[0])} {
		prefix := want[7][:n]
		var with []string
		for _, c := range want {
			if c[:n] == prefix {
				with = append(with, c)
			}
		}
		for _, limit := range []int{1, 5, 1000} {
			if got := list(prefix, limit); !slices.Equal(got, with) {
				t.Errorf("%s by %d: %v, want %v", prefix, limit, got, with)
			}
		}
	}
	if got := list("own:", 10); len(got) != 0 {
		t.Errorf("own: %v", got)
	}
	for _, bad := range []string{"b", "blake3:x", "md5:", want[0] + "0"} {
		if _, err := w.care.ListChunks(context.Background(), id, bad, "", 10); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("prefix %q: %v", bad, err)
		}
	}
}
