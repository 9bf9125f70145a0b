package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// An object with more small places of its own over its chunks than an answer has room for is read all the same, as it was at
// one time.
func TestReadMuchCovered(t *testing.T) {
	ctx := context.Background()
	p := clienttest.New(t)
	p.MakeChunks(chunkPolicy(t, "2:1:xor", func(c *client.ChunkPolicy) { c.ChunkSize = 1 << 20 }), 5)
	const every, own = 128, 8
	want := randomBytes(1, 16<<20)
	mustWrite(t, p, "o", want)
	for off := 0; off < len(want); {
		op := new(client.Op)
		for range 1000 {
			if off >= len(want) {
				break
			}
			data := binary.LittleEndian.AppendUint64(nil, uint64(off)*7+1)
			copy(want[off:], data)
			op.Write(uint64(off), data[:own])
			off += every
		}
		if _, err := p.DoRaw(ctx, "o", op); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.DoRaw(ctx, "o", new(client.Op).Read(0, 0)); !errors.Is(err, client.ErrInvalid) {
		t.Fatalf("one answer has room for it: %v", err)
	}
	checkRead(t, p, "o", want)
	res, err := p.Do(ctx, "o", new(client.Op).AssertExists().Stat().Read(77, uint64(len(want)-100)).Read(uint64(len(want)), 5))
	if err != nil {
		t.Fatal(err)
	}
	if res.Items[1].Size != uint64(len(want)) || !bytes.Equal(res.Items[2].Data, want[77:len(want)-23]) || len(res.Items[3].Data) != 0 {
		t.Error("wrong bytes of an Op with several reads")
	}
	res.Release()
	// It changes between two parts.
	writes := 0
	p.Before(func(_ context.Context, call clienttest.Call) error {
		if len(call.Ops) == 2 && call.Ops[1].Kind == wirepb.OpKind_READ && call.Ops[1].Offset > 0 && writes == 0 {
			writes++
			copy(want, "changed")
			copy(want[len(want)-7:], "changed")
			_, err := p.DoRaw(ctx, "o", new(client.Op).Write(0, []byte("changed")).Write(uint64(len(want)-7), []byte("changed")))
			return err
		}
		return nil
	})
	checkRead(t, p, "o", want)
	if writes == 0 {
		t.Error("it was not read in parts")
	}
	p.Before(nil)
	// What is wrong with an Op otherwise is said as before.
	if _, err := p.Do(ctx, "o", new(client.Op).Read(0, 0).Read(0, 0).Read(0, 0).Read(0, 0).Read(0, 0)); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("80 MiB: %v", err)
	}
}
