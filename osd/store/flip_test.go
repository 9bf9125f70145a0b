package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestFlips damages one place at a time of what a store has on its medium: data,
// journal, superblock, index. The store is refused, or what it then answers is right or
// ErrCorrupt; it is never wrong, and never a panic.
func TestFlips(t *testing.T) {
	seed := seedOf(t)
	flips := 240
	if testing.Short() {
		flips = 40
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	seen := map[string]int{}
	for n := 0; n < flips; {
		l := newFaultLayer(rng.Uint64())
		l.onDevice = rng.IntN(3) == 0
		createFault(t, l)
		var batches []*Batch
		for i := range 20 + rng.IntN(60) {
			batches = append(batches, crashBatch(rng, i+1))
		}
		d, err := Open(crashDir, crashOptions(l, rng))
		if err != nil {
			t.Fatal(err)
		}
		d.reuseSoon()
		if _, err := submitAll(d, batches, 1); err != nil {
			t.Fatal(err)
		}
		crashed := rng.IntN(2) == 0
		if crashed {
			l = l.restart()
		}
		if err := d.Close(); err != nil && !crashed {
			t.Fatal(err)
		}
		m := mirror{NewSim(SimOptions{Manual: true})}
		before, changes := m, false // the last change of anything was one group
		for _, b := range batches {
			was := mirror{m.Reborn()}
			m.apply(b)
			if x, y := mustDump(t, was), mustDump(t, m); x != y {
				before, changes = was, true
			}
		}
		for range 40 {
			n++
			c := l.clone()
			where := c.damage(t, rng)
			models := []mirror{m}
			if crashed && changes && (strings.HasPrefix(where, journalName) || strings.HasPrefix(where, path.Base(crashDevice))) {
				models = append(models, before) // of the last group nobody can tell that it was not torn
			}
			what, err := answers(c, rng, models)
			if err != nil {
				t.Fatalf("%s, crashed %v: %v", where, crashed, err)
			}
			file, _, _ := strings.Cut(where, " ")
			seen[file+" "+what]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%5d %s", seen[what], what)
	}
}

func mustDump(t *testing.T, m mirror) string {
	t.Helper()
	s, err := dump(m.Sim)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOldIndexIsRefused: found by TestFlips. Pebble takes a damaged end of the list of its
// tables for one that was torn off, and opens the index as it was before.
func TestOldIndexIsRefused(t *testing.T) {
	d, l := newFault(t)
	apply(t, d, writeOp("a", 0, []byte("aaaa")))
	d.keeper.await(d)
	apply(t, d, writeOp("a", 0, []byte("bbbb")), Op{Kind: OpRemove, Key: testKey("c")})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := l.index.List(crashDir + "/" + indexName)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	refused := 0
	for _, name := range names {
		if !strings.HasPrefix(name, "MANIFEST-") {
			continue
		}
		c := l.clone()
		f, err := c.index.OpenReadWrite(crashDir+"/"+indexName+"/"+name, "test")
		if err != nil {
			t.Fatal(err)
		}
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, st.Size()-2); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, st.Size()-2); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		d, err := Open(crashDir, faultOptions(c))
		if err == nil {
			wantRead(t, d, "a", 'b', 4) // not the list in use
			d.Close()
			continue
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "MANIFEST") {
			t.Errorf("%v; want ErrCorrupt that names the MANIFEST", err)
		}
		refused++
	}
	if refused != 1 {
		t.Errorf("%d of the lists %q made a difference, want the one in use", refused, names)
	}
}

// damage flips a bit, or wipes a sector, of one file.
func (l *faultLayer) damage(t *testing.T, rng *rand.Rand) string {
	t.Helper()
	name := slices.Sorted(maps.Keys(l.files))[rng.IntN(len(l.files))]
	index, err := l.index.List(crashDir + "/" + indexName)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(index)
	bit := byte(1) << rng.IntN(8)
	if rng.IntN(2) == 0 {
		name = crashDir + "/" + indexName + "/" + index[rng.IntN(len(index))]
		f, err := l.index.OpenReadWrite(name, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() == 0 {
			return "empty index file"
		}
		off := rng.Int64N(st.Size())
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		b[0] ^= bit
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimLeft(name[len(crashDir)+7:], "0123456789")
		kind, _, _ = strings.Cut(strings.TrimLeft(kind, "."), "-")
		return fmt.Sprintf("index-file-%s %s: bit at %d of %d", kind, name, off, st.Size())
	}
	data := l.files[name].data
	if len(data) == 0 {
		return "empty file"
	}
	// Where something is: most of a file is zeros.
	at := rng.IntN(len(data) / sector)
	for try := 0; try < 2000 && len(bytes.TrimLeft(data[at*sector:][:sector], "\x00")) == 0; try++ {
		at = rng.IntN(len(data) / sector)
	}
	file := name[strings.LastIndexByte(name, '/')+1:]
	if rng.IntN(3) == 0 {
		clear(data[at*sector:][:sector])
		return fmt.Sprintf("%s sector %d wiped", file, at)
	}
	off := at*sector + rng.IntN(sector)
	data[off] ^= bit
	return fmt.Sprintf("%s bit at %d", file, off)
}

// answers opens a store and compares all it answers with the models; one must fit.
func answers(l *faultLayer, rng *rand.Rand, models []mirror) (what string, err error) {
	d, err := Open(crashDir, crashOptions(l, rng))
	if err != nil {
		return "refused", nil
	}
	defer d.Close()
	var errs []error
	for _, m := range models {
		corrupt, err := agree(d, m.Sim)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		what = "answered, nothing wrong"
		if corrupt > 0 {
			what = "answered, some ErrCorrupt"
		}
		errs = nil
		break
	}
	if len(errs) > 0 {
		return "", errors.Join(errs...)
	}
	// It goes on, or stops; nothing panics.
	_, _ = d.Check(context.Background(), func(Problem) {})
	for i := range 5 {
		_ = Apply(d, crashBatch(rng, i))
	}
	d.keeper.await(d)
	return what, nil
}

// agree compares all a store answers with the model. ErrCorrupt is an answer, too; it is
// counted. Of an object with damage each block is looked at.
func agree(s Store, m *Sim) (corrupt int, err error) {
	// bad says that an answer is missing for a good reason, or counts as wrong.
	bad := func(err error) (bool, error) {
		if err == nil {
			return false, nil
		}
		if errors.Is(err, ErrCorrupt) {
			corrupt++
			return true, nil
		}
		return true, err
	}
	want, err := m.PGs()
	if err != nil {
		return 0, err
	}
	got, err := s.PGs()
	if skip, err := bad(err); err != nil {
		return 0, err
	} else if !skip && !slices.Equal(got, want) {
		return 0, fmt.Errorf("PGs %v, want %v", got, want)
	}
	for _, pg := range want {
		for sp := Objects; sp <= Staging; sp++ {
			list, _, err := m.List(pg, sp, "", maxListEntries)
			if err != nil {
				return 0, err
			}
			have, _, err := s.List(pg, sp, "", maxListEntries)
			if skip, err := bad(err); err != nil {
				return 0, err
			} else if !skip && !slices.Equal(have, list) {
				return 0, fmt.Errorf("PG %s space %d holds %v, want %v", pg, sp, have, list)
			}
			for _, e := range list {
				if err := agreeObject(s, m, Key{pg, sp, e.Name}, e.Size, bad); err != nil {
					return 0, err
				}
			}
		}
	}
	return corrupt, nil
}

func agreeObject(s Store, m *Sim, k Key, size uint64, bad func(error) (bool, error)) error {
	wantInfo, _ := m.Stat(k)
	info, err := s.Stat(k)
	if skip, err := bad(err); err != nil {
		return err
	} else if info.OmapKeys, wantInfo.OmapKeys = 0, 0; !skip && info != wantInfo {
		return fmt.Errorf("object %s: %+v, want %+v", k, info, wantInfo)
	}
	data, _ := m.Read(k, 0, size)
	step := size
	if _, err := s.Read(k, 0, size); errors.Is(err, ErrCorrupt) {
		step = blockBytes
	}
	for off := uint64(0); off < size; off += step {
		b, err := s.Read(k, off, step)
		if skip, err := bad(err); err != nil {
			return err
		} else if !skip && !bytes.Equal(b, data[off:min(off+step, size)]) {
			return fmt.Errorf("object %s space %d: wrong data from %d on", k, k.Space, off)
		}
	}
	for _, f := range []func(Store) ([]KV, error){
		func(s Store) ([]KV, error) { return s.Attrs(k) },
		func(s Store) ([]KV, error) { kvs, _, err := s.OmapList(k, nil, nil, maxListEntries); return kvs, err },
	} {
		want, _ := f(m)
		got, err := f(s)
		if skip, err := bad(err); err != nil {
			return err
		} else if !skip && !slices.EqualFunc(got, want, func(a, b KV) bool { return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) }) {
			return fmt.Errorf("object %s space %d: %d attributes or keys, want %d", k, k.Space, len(got), len(want))
		}
	}
	return nil
}
