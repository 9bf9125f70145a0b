package inspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	cluster = placement.UUID{0xc1}
	thePG   = placement.PGID{Pool: 1, Shard: 2}
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// encodeState makes a complete state of format 2, see docs/formats/pg.md.
func encodeState(tail, committed store.Version, pgNum, splitTo uint32) []byte {
	b := []byte{2, 1}
	for _, v := range []store.Version{tail, committed, {}} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Term))
		b = binary.LittleEndian.AppendUint64(b, v.Seq)
	}
	b = binary.LittleEndian.AppendUint64(b, 77)
	b = binary.LittleEndian.AppendUint32(b, pgNum)
	return binary.LittleEndian.AppendUint32(b, splitTo)
}

func newStore(t *testing.T, c placement.UUID) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "osd")
	o := store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 1 << 30, Log: quiet()}
	o.Identity = store.Identity{Cluster: c, OSD: 3}
	if err := store.Create(dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func withStore(t *testing.T, dir string, f func(s *store.Disk)) {
	t.Helper()
	s, err := store.Open(dir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	f(s)
}

func withInspector(t *testing.T, dir string, f func(in *store.Inspector)) {
	t.Helper()
	in, err := store.Inspect(dir, store.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	f(in)
}

func must(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := store.Apply(s, &store.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
}

func obj(id placement.PGID, name string) store.Key {
	return store.Key{PG: id, Space: store.Objects, Name: name}
}

// putPG writes a PG with objects of all kinds and a log of five entries.
func putPG(t *testing.T, s store.Store, id placement.PGID, pgNum, splitTo uint32) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{9})
	big := make([]byte, 3<<20)
	_, _ = rng.Read(big)
	clear(big[1<<20 : 2<<20])
	meta := pg.MetaKey(id)
	must(t, s,
		store.Op{Kind: store.OpTouch, Key: obj(id, "empty")},
		store.Op{Kind: store.OpWrite, Key: obj(id, "small"), Data: []byte("small")},
		store.Op{Kind: store.OpWrite, Key: obj(id, "big"), Data: big},
		store.Op{Kind: store.OpSetVersion, Key: obj(id, "big"), Version: store.Version{Term: 4, Seq: 12}, Mtime: 5},
		store.Op{Kind: store.OpTruncate, Key: obj(id, "hole"), Off: 9 << 20},
		store.Op{Kind: store.OpSetAttr, Key: obj(id, "small"), Name: []byte("a"), Value: []byte("1")},
		store.Op{Kind: store.OpSetAttr, Key: obj(id, "small"), Name: []byte("b"), Value: nil},
		store.Op{Kind: store.OpSetAttr, Key: meta, Name: []byte(pg.StateAttr), Value: encodeState(store.Version{Term: 3, Seq: 9}, store.Version{Term: 4, Seq: 12}, pgNum, splitTo)},
		store.Op{Kind: store.OpSetAttr, Key: meta, Name: []byte(pg.CursorAttr), Value: []byte("\x01............m")},
		store.Op{Kind: store.OpTouch, Key: store.Key{PG: id, Space: store.Staging, Name: "half"}},
	)
	var omap []store.Op
	for i := range 2500 {
		omap = append(omap, store.Op{Kind: store.OpOmapSet, Key: obj(id, "omap"), Name: fmt.Appendf(nil, "k%05d", i), Value: fmt.Append(nil, i)})
	}
	must(t, s, omap...)
	for seq := uint64(10); seq <= 14; seq++ {
		e := &wirepb.LogEntry{Pos: &wirepb.Position{Term: 4, Seq: seq}, Object: []byte("big")}
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		must(t, s, store.Op{Kind: store.OpOmapSet, Key: meta, Name: binary.BigEndian.AppendUint64(nil, seq), Value: b})
	}
}

// contents are all objects of a space, for comparison.
func contents(t *testing.T, r store.Reader, id placement.PGID, sp store.Space) map[string]any {
	t.Helper()
	out := map[string]any{}
	objs, more, err := r.List(id, sp, "", 10000)
	if err != nil || more {
		t.Fatal(err, more)
	}
	for _, o := range objs {
		k := store.Key{PG: id, Space: sp, Name: o.Name}
		info, err := r.Stat(k)
		if err != nil {
			t.Fatal(err)
		}
		info.OmapKeys = 0 // a bound
		data, err := r.Read(k, 0, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		attrs, err := r.Attrs(k)
		if err != nil {
			t.Fatal(err)
		}
		omap, _, err := r.OmapList(k, nil, nil, 10000)
		if err != nil {
			t.Fatal(err)
		}
		out[o.Name] = []any{info, string(data), attrs, omap}
	}
	return out
}

// exported makes a store with a PG and exports it.
func exported(t *testing.T, o ExportOptions) (dir, file string, total Totals) {
	t.Helper()
	dir = newStore(t, cluster)
	withStore(t, dir, func(s *store.Disk) { putPG(t, s, thePG, 4, 0) })
	file = filepath.Join(t.TempDir(), "pg.export")
	o.PG = thePG
	withInspector(t, dir, func(in *store.Inspector) {
		var err error
		if total, err = ExportFile(t.Context(), in, file, o); err != nil {
			t.Fatal(err)
		}
	})
	return dir, file, total
}

// TestExportImport: a PG comes back as it was, but for its claims: in a fresh store, and in its own after
// it was removed.
func TestExportImport(t *testing.T) {
	from, file, total := exported(t, ExportOptions{})
	if total.Objects != 6 || total.OmapKeys != 2505 || total.Bytes < 2<<20 || total.Bytes > 2<<20+100 {
		t.Errorf("exported %+v", total)
	}
	var objects, meta map[string]any
	withInspector(t, from, func(in *store.Inspector) {
		objects, meta = contents(t, in.Reader(), thePG, store.Objects), contents(t, in.Reader(), thePG, store.Meta)
	})
	check := func(dir string) {
		t.Helper()
		withStore(t, dir, func(s *store.Disk) {
			im, err := ImportFile(t.Context(), s, file, ImportOptions{})
			if err != nil || im.PG != thePG || im.Totals != total {
				t.Fatalf("import: %+v, %v", im, err)
			}
			if _, err := ImportFile(t.Context(), s, file, ImportOptions{}); !errors.Is(err, ErrExists) {
				t.Errorf("import over an existing PG: %v", err)
			}
		})
		withInspector(t, dir, func(in *store.Inspector) {
			r := in.Reader()
			if d := cmp.Diff(objects, contents(t, r, thePG, store.Objects)); d != "" {
				t.Errorf("objects (-want +got):\n%s", d)
			}
			st, err := StateOf(in, thePG)
			if err != nil || !st.Exists || st.Complete || !st.Scan || st.From != "" || st.Head != "4'14" || st.Tail != "3'9" || st.Entries != 5 || st.PGNum != 4 || st.Staged != 0 || st.Importing {
				t.Errorf("state: %+v, %v", st, err)
			}
			if err := pg.CheckRecords(r, thePG); err != nil {
				t.Error(err)
			}
			if _, err := r.Attr(pg.MetaKey(thePG), []byte(pg.CursorAttr)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the cursor of the copy it came from: %v", err)
			}
			log := contents(t, r, thePG, store.Meta)["pg"].([]any)[3]
			if d := cmp.Diff(meta["pg"].([]any)[3], log); d != "" {
				t.Errorf("log (-want +got):\n%s", d)
			}
		})
		if r, err := Fsck(t.Context(), dir, store.FsckOptions{Deep: true}); err != nil || len(r.Findings) > 0 {
			t.Errorf("fsck after the import: %+v, %v", r.Findings, err)
		}
	}
	check(newStore(t, cluster))
	withStore(t, from, func(s *store.Disk) {
		if was, err := Remove(s, thePG); !was || err != nil {
			t.Fatalf("remove: %t, %v", was, err)
		}
		if was, err := Remove(s, thePG); was || err != nil {
			t.Errorf("remove what is not there: %t, %v", was, err)
		}
	})
	check(from)
}

// TestImportRefuses what is cut, flipped, foreign, newer or not an export at all. The store stays as it was.
func TestImportRefuses(t *testing.T) {
	_, path, _ := exported(t, ExportOptions{})
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := newStore(t, cluster)
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrDamaged},
		{"cut in the head", good[:10], ErrDamaged},
		{"cut", good[:len(good)/2], ErrDamaged},
		{"cut at the end", good[:len(good)-1], ErrDamaged},
		{"without its last record", good[:len(good)-recordHeader-9], ErrDamaged},
		{"flipped", edit(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), ErrDamaged},
		{"flipped length", edit(func(b []byte) []byte { b[16+4] ^= 0x7f; return b }), ErrDamaged},
		{"more behind it", append(bytes.Clone(good), 0), ErrDamaged},
		{"something else", []byte(strings.Repeat("no export of a PG ", 9)), ErrDamaged},
		{"newer", edit(func(b []byte) []byte { b[12] = 2; return b }), ErrNewFormat},
		{"a later version that this one can read", edit(func(b []byte) []byte { b[8] = 2; b[len(b)-1] ^= 1; return b }), ErrDamaged},
	} {
		withStore(t, dir, func(s *store.Disk) {
			_, err := Import(t.Context(), s, bytes.NewReader(c.b), ImportOptions{})
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			if ids, err := s.PGs(); err != nil || len(ids) > 0 {
				t.Errorf("%s: the store has %v, %v", c.name, ids, err)
			}
		})
	}
	for name, c := range map[string]placement.UUID{"another cluster": {0xc2}, "no cluster": {}} {
		withStore(t, newStore(t, c), func(s *store.Disk) {
			if _, err := Import(t.Context(), s, bytes.NewReader(good), ImportOptions{}); !errors.Is(err, ErrForeign) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// TestImportKeepsOut: a log that the OSD could not load is refused before anything changes.
func TestImportKeepsOut(t *testing.T) {
	dir := newStore(t, cluster)
	withStore(t, dir, func(s *store.Disk) {
		putPG(t, s, thePG, 4, 0)
		must(t, s, store.Op{Kind: store.OpOmapRm, Key: pg.MetaKey(thePG), Name: binary.BigEndian.AppendUint64(nil, 12)})
	})
	withInspector(t, dir, func(in *store.Inspector) {
		if _, err := Export(t.Context(), in, io.Discard, ExportOptions{PG: thePG}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("export of a PG with a gap in its log: %v", err)
		}
		if _, err := Export(t.Context(), in, io.Discard, ExportOptions{PG: placement.PGID{Pool: 9}}); !errors.Is(err, ErrNotFound) {
			t.Errorf("export of no PG: %v", err)
		}
		var b bytes.Buffer
		var left []store.Key
		total, err := Export(t.Context(), in, &b, ExportOptions{PG: thePG, SkipDamaged: true, LeftOut: func(k store.Key, _ error) { left = append(left, k) }})
		if err != nil || total.LeftOut != 1 || len(left) != 1 || left[0] != pg.MetaKey(thePG) {
			t.Errorf("export without the records: %+v, %v, %v", total, left, err)
		}
		withStore(t, newStore(t, cluster), func(s *store.Disk) {
			im, err := Import(t.Context(), s, bytes.NewReader(b.Bytes()), ImportOptions{})
			if err != nil || len(im.Left) != 1 {
				t.Errorf("import without records: %+v, %v", im, err)
			}
			rec, err := pg.ReadRecord(s, thePG)
			if err != nil || rec.Complete || !rec.Scan {
				t.Errorf("record: %+v, %v", rec, err)
			}
		})
	})
}

// stopStore fails at the nth batch, as a process does that is killed there.
type stopStore struct {
	store.Store
	left int
}

var errStop = errors.New("killed")

func (s *stopStore) Submit(b *store.Batch, done func(error)) {
	if s.left--; s.left < 0 {
		go done(errStop)
		return
	}
	s.Store.Submit(b, done)
}

// TestImportKilled: whatever batch an import ends at, the PG exists as a whole or not at all, and the
// next import finds nothing in its way.
func TestImportKilled(t *testing.T) {
	_, path, total := exported(t, ExportOptions{})
	s := store.NewSim(store.SimOptions{Identity: store.Identity{Cluster: cluster}})
	for n := 0; ; n++ {
		_, err := ImportFile(t.Context(), &stopStore{s, n}, path, ImportOptions{})
		_, rerr := pg.ReadRecord(s, thePG)
		if err == nil {
			if n < 3 || rerr != nil || len(contents(t, s, thePG, store.Objects)) != int(total.Objects)-1 {
				t.Fatalf("after %d batches: %v", n, rerr)
			}
			return
		}
		if !errors.Is(err, errStop) || !errors.Is(rerr, store.ErrNotFound) {
			t.Fatalf("killed at batch %d: %v; the PG's record: %v", n, err, rerr)
		}
		if objs, _, _ := s.List(thePG, store.Objects, "", 1); len(objs) > 0 {
			t.Fatalf("killed at batch %d: object %q is visible", n, objs[0].Name)
		}
		if n > 1000 {
			t.Fatal("never done")
		}
	}
}

// TestExportSplit: a copy that is being divided is exported undivided, and what is not divided yet keeps
// its parts from being imported beside it.
func TestExportSplit(t *testing.T) {
	dir := newStore(t, cluster)
	kid := placement.PGID{Pool: 1, Shard: 6}
	withStore(t, dir, func(s *store.Disk) {
		putPG(t, s, thePG, 4, 8)
		must(t, s, store.Op{Kind: store.OpRename, Key: obj(thePG, "hole"), To: obj(kid, "hole")})
		if _, err := Remove(s, kid); !errors.Is(err, ErrExists) {
			t.Errorf("remove a part of a PG that is being divided: %v", err)
		}
	})
	var b bytes.Buffer
	withInspector(t, dir, func(in *store.Inspector) {
		if total, err := Export(t.Context(), in, &b, ExportOptions{PG: thePG}); err != nil || total.Objects != 6 {
			t.Fatalf("%+v, %v", total, err)
		}
	})
	if r, err := Fsck(t.Context(), dir, store.FsckOptions{}); err != nil || len(r.Findings) > 0 {
		t.Errorf("fsck during a split: %+v, %v", r.Findings, err)
	}
	to := newStore(t, cluster)
	withStore(t, to, func(s *store.Disk) {
		if _, err := Import(t.Context(), s, bytes.NewReader(b.Bytes()), ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		if rec, err := pg.ReadRecord(s, thePG); err != nil || rec.SplitTo != 0 || rec.PGNum != 4 {
			t.Errorf("record: %+v, %v", rec, err)
		}
		if _, err := s.Stat(obj(thePG, "hole")); err != nil {
			t.Error(err)
		}
		if err := mayImport(s, kid); !errors.Is(err, ErrExists) {
			t.Errorf("import of a part of a PG that is not divided yet: %v", err)
		}
	})
	withStore(t, dir, func(s *store.Disk) {
		if was, err := Remove(s, thePG); !was || err != nil {
			t.Errorf("remove: %t, %v", was, err)
		}
		if ids, err := s.PGs(); err != nil || len(ids) > 0 {
			t.Errorf("left behind: %v, %v", ids, err)
		}
	})
}

// TestFsckPGs: what the store cannot know of itself.
func TestFsckPGs(t *testing.T) {
	dir := newStore(t, cluster)
	other := func(n uint32) placement.PGID { return placement.PGID{Pool: 7, Shard: n} }
	withStore(t, dir, func(s *store.Disk) {
		putPG(t, s, thePG, 4, 0)
		must(t, s,
			store.Op{Kind: store.OpSetAttr, Key: pg.MetaKey(other(1)), Name: []byte(pg.StateAttr), Value: []byte{2, 3}},
			store.Op{Kind: store.OpTouch, Key: importKey(other(2))},
			store.Op{Kind: store.OpTouch, Key: obj(other(3), "x")})
	})
	r, err := Fsck(t.Context(), dir, store.FsckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[store.FindingKind]store.Cure{}
	for _, f := range r.Findings {
		got[f.Kind] = f.Cure
	}
	want := map[store.FindingKind]store.Cure{store.FoundRecords: store.CureCluster, store.FoundHalfImport: store.CureNone, store.FoundAbandonedPG: store.CureNone}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDistrust: the state that a repair leaves claims nothing, and no cursor keeps objects from being compared.
func TestDistrust(t *testing.T) {
	s := store.NewSim(store.SimOptions{})
	putPG(t, s, thePG, 4, 8)
	k, attrs := distrust(s, thePG)
	if k != pg.MetaKey(thePG) || len(attrs) != 2 || string(attrs[1].Key) != pg.CursorAttr || attrs[1].Value != nil {
		t.Fatalf("%v %v", k, attrs)
	}
	rec, err := pg.ParseState(attrs[0].Value)
	if err != nil || rec.Complete || !rec.Scan || !rec.CompleteTo.IsZero() || rec.SplitTo != 8 || rec.Tail.Seq != 9 || rec.Committed.Seq != 12 {
		t.Errorf("%+v, %v", rec, err)
	}
}

// TestExportDamagedIndex: of a PG whose entries are partly in a damaged table goes out what can be read.
func TestExportDamagedIndex(t *testing.T) {
	dir := newStore(t, cluster)
	withStore(t, dir, func(s *store.Disk) {
		putPG(t, s, thePG, 4, 0)
		rng, noise := rand.NewChaCha8([32]byte{1}), make([]byte, 200)
		for i := range 40 {
			var ops []store.Op
			for j := range 100 {
				_, _ = rng.Read(noise)
				ops = append(ops, store.Op{Kind: store.OpTouch, Key: obj(thePG, fmt.Sprintf("many-%04d-%x", 100*i+j, noise))})
			}
			must(t, s, ops...)
		}
	})
	files, _ := filepath.Glob(filepath.Join(dir, "index", "*.sst"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 100<<10 {
			b[len(b)/2] ^= 1
		}
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	withInspector(t, dir, func(in *store.Inspector) {
		if _, err := Export(t.Context(), in, io.Discard, ExportOptions{PG: thePG}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("export without leave to skip: %v", err)
		}
		var b bytes.Buffer
		gaps := 0
		total, err := Export(t.Context(), in, &b, ExportOptions{PG: thePG, SkipDamaged: true, LeftOut: func(store.Key, error) { gaps++ }})
		if err != nil || gaps == 0 || total.Objects < 1000 || total.Objects >= 4006 {
			t.Fatalf("exported %+v, %d times something was left out, %v", total, gaps, err)
		}
		if _, err := Read(bytes.NewReader(b.Bytes()), nothing{}); err != nil {
			t.Error(err)
		}
	})
}

// TestUncertain: of an export from a store with a damaged journal no version counts.
func TestUncertain(t *testing.T) {
	var b bytes.Buffer
	w, err := newWriter(&b, Info{Cluster: cluster, PG: thePG, Uncertain: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{
		func() error { return w.object(Object{Name: "x", Size: 1, Version: store.Version{Term: 8, Seq: 3}}) },
		func() error { return w.data(0, []byte("x")) }, w.end, w.close,
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	s := store.NewSim(store.SimOptions{Identity: store.Identity{Cluster: cluster}})
	if _, err := Import(context.Background(), s, bytes.NewReader(b.Bytes()), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if i, err := s.Stat(obj(thePG, "x")); err != nil || i.Version != (store.Version{Seq: 3}) {
		t.Errorf("%+v, %v", i, err)
	}
}

// golden is a small stream with every kind of record.
func golden(t testing.TB) []byte {
	var b bytes.Buffer
	w, err := newWriter(&b, Info{Cluster: placement.UUID{1, 2, 3}, Store: placement.UUID{4, 5, 6}, OSD: 7, PG: placement.PGID{Pool: 8, Shard: 9},
		Made: time.Unix(1_700_000_000, 0).UnixNano()})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{
		func() error { return w.leftOut(store.Objects, "bad", "checksum mismatch") },
		func() error {
			return w.object(Object{Name: "name", Size: 5000, Version: store.Version{Term: 2, Seq: 300}, Mtime: -1})
		},
		func() error { return w.data(4096, []byte("data")) },
		func() error { return w.attr(store.KV{Key: []byte("attr"), Value: []byte("value")}) },
		func() error {
			return w.omap([]store.KV{{Key: []byte("k1"), Value: []byte("v1")}, {Key: []byte("k2"), Value: nil}})
		},
		w.end,
		func() error { return w.object(Object{Space: store.Meta, Name: "pg"}) },
		w.end, w.close,
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	got := golden(t)
	path := filepath.Join("testdata", "export.bin")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format of exports changed: got\n%x\nwant\n%x", got, want)
	}
	if total, err := Read(bytes.NewReader(want), nothing{}); err != nil || total != (Totals{Objects: 2, LeftOut: 1, Bytes: 4, Attrs: 1, OmapKeys: 2}) {
		t.Errorf("%+v, %v", total, err)
	}
}

// nothing is a Sink that takes all.
type nothing struct{}

func (nothing) Info(Info) error                           { return nil }
func (nothing) Begin(Object) error                        { return nil }
func (nothing) Data(uint64, []byte) error                 { return nil }
func (nothing) Attr(store.KV) error                       { return nil }
func (nothing) Omap([]store.KV) error                     { return nil }
func (nothing) End() error                                { return nil }
func (nothing) LeftOut(store.Space, string, string) error { return nil }

// FuzzRead: hostile streams, checksums included, neither panic nor get what the store would refuse
// past the decoder.
func FuzzRead(f *testing.F) {
	f.Add(golden(f), false)
	f.Add(golden(f), true)
	var whole bytes.Buffer // one that is imported
	w, err := newWriter(&whole, Info{Cluster: placement.UUID{1, 2, 3}, PG: thePG})
	for _, step := range []func() error{
		func() error { return w.object(Object{Name: "o", Size: 5}) }, func() error { return w.data(1, []byte("abc")) }, w.end,
		func() error { return w.object(Object{Space: store.Meta, Name: "pg"}) },
		func() error {
			return w.attr(store.KV{Key: []byte(pg.StateAttr), Value: encodeState(store.Version{}, store.Version{}, 4, 0)})
		}, w.end, w.close,
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = mended(b)
		}
		s := store.NewSim(store.SimOptions{Identity: store.Identity{Cluster: placement.UUID{1, 2, 3}}})
		defer s.Close()
		im, err := Import(context.Background(), s, bytes.NewReader(b), ImportOptions{})
		if errors.Is(err, store.ErrInvalid) {
			t.Errorf("the store refused what the decoder let through: %v", err)
		}
		if err != nil && !im.PG.Less(placement.PGID{}) {
			if _, rerr := pg.ReadRecord(s, im.PG); rerr == nil {
				t.Errorf("a refused import left a PG: %v", err)
			}
		}
	})
}

// mended gives every record the checksum that it should have, so that the fuzzer gets behind it.
func mended(b []byte) []byte {
	b = bytes.Clone(b)
	for at, n := 16, uint64(0); at+recordHeader <= len(b); n++ {
		size := int(binary.LittleEndian.Uint32(b[at+1:]))
		if size > len(b)-at-recordHeader {
			break
		}
		binary.LittleEndian.PutUint32(b[at+5:], sum(n, b[at], b[at+recordHeader:][:size]))
		at += recordHeader + size
	}
	return b
}
