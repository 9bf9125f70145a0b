package osd

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// TestWrap: a log longer than a header may be still reaches the peer. (A bucket's
// index object with 892 log entries could not be recovered: the entries, with
// their kept results, did not fit into a header.)
func TestWrap(t *testing.T) {
	for _, entries := range []int{0, 3, 2000} {
		learn := &wirepb.PGLearn{}
		for i := range entries {
			learn.Entries = append(learn.Entries, &wirepb.LogEntry{
				Pos: &wirepb.Position{Term: 1, Seq: uint64(i + 1)}, Object: []byte("index"), Result: bytes.Repeat([]byte{7}, 4<<10),
			})
		}
		msg := &wirepb.PGMsg{Pool: 1, Shard: 30, Stream: 4, Body: &wirepb.PGMsg_Learn{Learn: learn}}
		data := []byte("data of the message")
		m, err := new(outgoing).wrap(pg.Out{To: 2, Msg: msg, Payload: [][]byte{data[:5], data[5:]}}, 17)
		if err != nil {
			t.Fatal(err)
		}
		if n := m.Header.SizeVT(); n > wire.MaxHeader {
			t.Fatalf("%d entries: header of %d bytes, at most %d are possible", entries, n, wire.MaxHeader)
		}
		got, payload, err := unwrap(m)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, msg) || !bytes.Equal(payload, data) || m.Header.Epoch != 17 {
			t.Fatalf("%d entries: came back different", entries)
		}
	}
	bad := &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PgWrapped{PgWrapped: &wirepb.PGWrapped{MsgBytes: 10}}}, Payload: []byte("short")}
	if _, _, err := unwrap(bad); err == nil {
		t.Fatal("a length beyond the payload was accepted")
	}
	bad.Payload = []byte("not a protobuf message at all")
	if _, _, err := unwrap(bad); err == nil {
		t.Fatal("garbage was accepted")
	}
}

// TestReadPiece: the pieces of an object together are the object.
func TestReadPiece(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	k := store.Key{PG: placement.PGID{Pool: 1}, Name: "big"}
	data := bytes.Repeat([]byte("0123456789abcdef"), (5<<20)/16+1)
	ops := []store.Op{
		{Kind: store.OpWrite, Key: k, Data: data},
		{Kind: store.OpSetAttr, Key: k, Name: []byte("a"), Value: []byte("1")},
		{Kind: store.OpSetVersion, Key: k, Version: store.Version{Term: 2, Seq: 9}, Mtime: 77},
	}
	for i := range 8 { // more attributes than one batch of the receiver may hold
		ops = append(ops, store.Op{Kind: store.OpSetAttr, Key: k, Name: fmt.Appendf(nil, "b%d", i), Value: make([]byte, 900<<10)})
	}
	for i := range 2500 {
		ops = append(ops, store.Op{Kind: store.OpOmapSet, Key: k, Name: fmt.Appendf(nil, "key-%05d", i), Value: []byte("v")})
	}
	if err := store.Apply(st, &store.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	var got []byte
	var pairs, attrs, pieces int
	at := pg.Cursor{}
	for {
		p, err := pg.ReadPiece(st, k, pg.Read{At: at}, pieceSize)
		if err != nil {
			t.Fatal(err)
		}
		pieces++
		if len(p.Data) > 0 && p.Off != uint64(len(got)) {
			t.Fatalf("piece at %d after %d bytes", p.Off, len(got))
		}
		got = append(got, p.Data...)
		pairs += len(p.Omap)
		attrs += len(p.Attrs)
		size := 0
		for _, kv := range append(p.Attrs, p.Omap...) {
			size += len(kv.Key) + len(kv.Value)
		}
		if size > store.MaxBatchMetaBytes/2 {
			t.Fatalf("piece with %d bytes of names and values", size)
		}
		if p.Info.Version != (store.Version{Term: 2, Seq: 9}) || p.Info.Mtime != 77 {
			t.Fatalf("piece of version %v, mtime %d", p.Info.Version, p.Info.Mtime)
		}
		if p.Last {
			break
		}
		at = p.Next
	}
	if !bytes.Equal(got, data) || pairs != 2500 || attrs != 9 {
		t.Fatalf("%d pieces: %d bytes, %d pairs, %d attributes; want %d, 2500, 9", pieces, len(got), pairs, attrs, len(data))
	}
	if p, err := pg.ReadPiece(st, store.Key{PG: k.PG, Name: "missing"}, pg.Read{}, pieceSize); err != nil || !p.Missing || !p.Last {
		t.Fatalf("missing object: %+v, %v", p, err)
	}
}

func TestGrows(t *testing.T) {
	for kind, want := range map[wirepb.OpKind]bool{
		wirepb.OpKind_WRITE: true, wirepb.OpKind_OMAP_SET: true, wirepb.OpKind_REMOVE: false,
		wirepb.OpKind_TRUNCATE: false, wirepb.OpKind_OMAP_RM: false, wirepb.OpKind_ZERO: false,
	} {
		if got := grows(&wirepb.OpRequest{Ops: []*wirepb.ObjOp{{Kind: kind}}}); got != want {
			t.Errorf("grows(%v) = %v, want %v", kind, got, want)
		}
	}
}

// TestRefusal: a request that makes no sense is refused with the reason's own code
// and names the operation: a newer client must learn UNSUPPORTED, not INVALID.
func TestRefusal(t *testing.T) {
	stat := &wirepb.ObjOp{Kind: wirepb.OpKind_STAT}
	for name, tt := range map[string]struct {
		ops    []*wirepb.ObjOp
		code   wirepb.Code
		failed uint32
	}{
		"unknown kind":  {[]*wirepb.ObjOp{stat, {Kind: 9999}}, wirepb.Code_UNSUPPORTED, 2},
		"bad argument":  {[]*wirepb.ObjOp{{Kind: wirepb.OpKind_TRUNCATE, Offset: 1 << 60}}, wirepb.Code_INVALID, 1},
		"no operations": {nil, wirepb.Code_INVALID, 0},
	} {
		err := objop.Validate(&wirepb.OpRequest{Object: []byte("o"), Ops: tt.ops}, 0)
		if err == nil {
			t.Errorf("%s: valid", name)
			continue
		}
		if h := refusal(err); h.Code != tt.code || h.Error != err.Error() || h.GetOpReply().GetFailed() != tt.failed {
			t.Errorf("%s: got %v, want %s of operation %d", name, h, tt.code, tt.failed)
		}
	}
}
