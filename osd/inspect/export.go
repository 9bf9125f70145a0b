package inspect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// ExportOptions configures Export.
type ExportOptions struct {
	PG placement.PGID
	// SkipDamaged leaves objects out that cannot be read, and says which. Otherwise the first
	// such object ends the export.
	SkipDamaged bool
	// DespiteJournal exports from a store whose journal is damaged. Objects may then be of
	// different times; the export says so, and an import makes no version of it count.
	DespiteJournal bool
	// LeftOut is told of each object that is left out, and with an empty name of parts of
	// the index in which there may have been others.
	LeftOut func(k store.Key, why error)
	// Progress is called now and then.
	Progress func(Totals)

	now time.Time // of the export; default the time
}

// ErrJournal says that the journal of the store is damaged.
var ErrJournal = errors.New("the store's journal is damaged")

// Export writes a PG to w. A copy whose split was under way is exported undivided.
func Export(ctx context.Context, in *store.Inspector, w io.Writer, o ExportOptions) (Totals, error) {
	t, err := export(ctx, in, w, o)
	if err != nil {
		return t, fmt.Errorf("export PG %s: %w", o.PG, err)
	}
	return t, nil
}

func export(ctx context.Context, in *store.Inspector, w io.Writer, o ExportOptions) (Totals, error) {
	r, id := in.Reader(), in.Identity()
	j := in.Journal()
	if j.Err != nil && !o.DespiteJournal {
		return Totals{}, fmt.Errorf("%w: objects may be of different times; with --despite-journal the export says so, and an import of it serves as the last resort only: %w", ErrJournal, j.Err)
	}
	rec, err := pg.ReadRecord(r, o.PG)
	records := err == nil
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Totals{}, fmt.Errorf("this store does not have the PG: %w", ErrNotFound)
	case err != nil && !(o.SkipDamaged && errors.Is(err, store.ErrCorrupt)):
		return Totals{}, err
	case err == nil:
		if cerr := pg.CheckRecords(r, o.PG); cerr != nil {
			if !o.SkipDamaged {
				return Totals{}, cerr
			}
			records, err = false, cerr
		}
	}
	if o.now.IsZero() {
		o.now = time.Now()
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	s, werr := newWriter(buffered, Info{Cluster: id.Cluster, Store: id.Store, OSD: id.OSD, PG: o.PG, Made: o.now.UnixNano(), Uncertain: j.Err != nil})
	if werr != nil {
		return Totals{}, werr
	}
	e := exporter{ctx: ctx, in: in, r: r, s: s, o: &o, buf: store.NewBuffer(pieceBytes)}
	sources := []placement.PGID{o.PG}
	if rec.SplitTo != 0 {
		for _, shard := range placement.SplitChildren(o.PG.Shard, rec.PGNum, rec.SplitTo) {
			kid := placement.PGID{Pool: o.PG.Pool, Shard: shard}
			if _, err := pg.ReadRecord(r, kid); errors.Is(err, store.ErrNotFound) {
				sources = append(sources, kid) // its objects are still this copy's
			}
		}
	}
	if err := e.space(sources, store.Objects); err != nil {
		return s.total, err
	}
	if records {
		err = e.space(sources[:1], store.Meta)
	} else {
		err = e.leaveOut(pg.MetaKey(o.PG), err)
	}
	if err != nil {
		return s.total, err
	}
	if err := s.close(); err != nil {
		return s.total, err
	}
	return s.total, buffered.Flush()
}

type exporter struct {
	ctx context.Context
	in  *store.Inspector
	r   store.Reader
	s   *writer
	o   *ExportOptions
	buf []byte
}

// lister walks over the names of one space.
type lister struct {
	e    *exporter
	pg   placement.PGID
	sp   store.Space
	page []store.ListEntry
	more bool
}

func (l *lister) next() error {
	if len(l.page) > 1 || len(l.page) == 1 && !l.more {
		l.page = l.page[1:]
		return nil
	}
	after := ""
	if len(l.page) > 0 {
		after = l.page[0].Name
	}
	var err error
	if !l.e.o.SkipDamaged {
		l.page, l.more, err = l.e.r.List(l.pg, l.sp, after, 1024)
		return err
	}
	l.page, l.more, err = l.e.in.ListReadable(l.pg, l.sp, after, 1024, func(gap error) {
		if l.e.o.LeftOut != nil {
			l.e.o.LeftOut(store.Key{PG: l.pg, Space: l.sp}, gap)
		}
	})
	return err
}

// space exports the objects of a space, those of several PGs in one order.
func (e *exporter) space(pgs []placement.PGID, sp store.Space) error {
	var ls []*lister
	for _, id := range pgs {
		l := &lister{e: e, pg: id, sp: sp, more: true}
		if err := l.next(); err != nil {
			return err
		}
		ls = append(ls, l)
	}
	for {
		var first *lister
		for _, l := range ls {
			if len(l.page) > 0 && (first == nil || l.page[0].Name < first.page[0].Name) {
				first = l
			}
		}
		if first == nil {
			return nil
		}
		name := first.page[0].Name
		if sp != store.Meta || name != importName {
			if err := e.object(store.Key{PG: first.pg, Space: sp, Name: name}); err != nil {
				return err
			}
		}
		for _, l := range ls { // a name in two PGs is the first one's
			if len(l.page) > 0 && l.page[0].Name == name {
				if err := l.next(); err != nil {
					return err
				}
			}
		}
		if e.o.Progress != nil {
			e.o.Progress(e.s.total)
		}
		if err := e.ctx.Err(); err != nil {
			return err
		}
	}
}

func (e *exporter) leaveOut(k store.Key, why error) error {
	if e.o.LeftOut != nil {
		e.o.LeftOut(k, why)
	}
	return e.s.leftOut(k.Space, k.Name, why.Error())
}

// object exports one object. Whether all of it can be read is found out first: what has been
// written cannot be taken back.
func (e *exporter) object(k store.Key) error {
	info, err := e.r.Stat(k)
	if err == nil {
		err = e.readable(k, info)
	}
	if err != nil {
		if e.o.SkipDamaged && errors.Is(err, store.ErrCorrupt) {
			return e.leaveOut(k, err)
		}
		return err
	}
	if err := e.s.object(Object{Space: k.Space, Name: k.Name, Size: info.Size, Version: info.Version, Mtime: info.Mtime}); err != nil {
		return err
	}
	err = e.data(k, info, func(off uint64, p []byte) error { return e.s.data(off, p) })
	if err != nil {
		return err
	}
	kvs, err := e.r.Attrs(k)
	if err != nil {
		return err
	}
	for _, kv := range kvs {
		if err := e.s.attr(kv); err != nil {
			return err
		}
	}
	if err := e.omap(k, e.s.omap); err != nil {
		return err
	}
	return e.s.end()
}

// readable reads all of an object that takes more than one piece, or omap. The others are read
// once: their data is looked at here.
func (e *exporter) readable(k store.Key, info store.Info) error {
	if err := e.data(k, info, func(uint64, []byte) error { return nil }); err != nil {
		return err
	}
	if _, err := e.r.Attrs(k); err != nil {
		return err
	}
	return e.omap(k, func([]store.KV) error { return nil })
}

// data calls f for the pieces of an object's data that are not zeros.
func (e *exporter) data(k store.Key, info store.Info, f func(uint64, []byte) error) error {
	for off := uint64(0); off < info.Size; {
		n := min(pieceBytes, info.Size-off)
		got, err := store.ReadInto(e.r, k, off, e.buf[:n])
		if err != nil {
			return err
		}
		if uint64(got) != n {
			return fmt.Errorf("object %s: %d bytes at %d, want %d: %w", k, got, off, n, store.ErrCorrupt)
		}
		for at := uint64(0); at < n; {
			end := at
			for end < n && !zeros(e.buf[end:min(end+zeroBytes, n)]) {
				end = min(end+zeroBytes, n)
			}
			if end > at {
				if err := f(off+at, e.buf[at:end]); err != nil {
					return err
				}
			}
			at = end + zeroBytes
		}
		off += n
	}
	return nil
}

const zeroBytes = 4096 // zeros of this size, aligned, are left out

var zeroBlock [zeroBytes]byte

func zeros(b []byte) bool { return bytes.Equal(b, zeroBlock[:len(b)]) }

func (e *exporter) omap(k store.Key, f func([]store.KV) error) error {
	var start []byte
	for {
		kvs, more, err := e.r.OmapList(k, start, nil, 1000)
		if err != nil {
			return err
		}
		if err := f(kvs); err != nil {
			return err
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		start = append(slices.Clone(kvs[len(kvs)-1].Key), 0)
	}
}

// ExportFile is Export to a new file, which is there only if all went well.
func ExportFile(ctx context.Context, in *store.Inspector, path string, o ExportOptions) (t Totals, err error) {
	if _, err := os.Lstat(path); err == nil {
		return t, fmt.Errorf("%s is there already: choose another name: %w", path, os.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return t, err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if t, err = Export(ctx, in, f, o); err != nil {
		return t, err
	}
	if err = f.Sync(); err != nil {
		return t, err
	}
	if err = os.Link(f.Name(), path); err != nil { // not a rename: nothing is replaced
		return t, err
	}
	if err = os.Remove(f.Name()); err != nil {
		return t, err
	}
	return t, f.Close()
}

// State is what a store remembers of a PG, for people.
type State struct {
	PG        string `json:"pg"`
	Exists    bool   `json:"exists"`
	Damage    string `json:"damage,omitempty"`
	Complete  bool   `json:"complete"`
	Scan      bool   `json:"scan"`
	Head      string `json:"head"`
	Tail      string `json:"tail"`
	Committed string `json:"committed"`
	From      string `json:"complete_to,omitempty"`
	Horizon   string `json:"horizon,omitempty"`
	PGNum     uint32 `json:"pg_num"`
	SplitTo   uint32 `json:"split_to,omitempty"`
	Entries   int    `json:"log_entries"`
	Objects   int64  `json:"objects"`
	Bytes     int64  `json:"bytes"`
	Staged    int64  `json:"staged_objects"`
	Importing bool   `json:"import_unfinished,omitempty"`
}

// StateOf reads what a store remembers of a PG, and counts its objects.
func StateOf(in *store.Inspector, id placement.PGID) (State, error) {
	r := in.Reader()
	st := State{PG: id.String()}
	var err error
	if st.Objects, st.Bytes, err = in.SpaceUsage(id, store.Objects); err != nil {
		return st, err
	}
	if st.Staged, _, err = in.SpaceUsage(id, store.Staging); err != nil {
		return st, err
	}
	if _, err := r.Stat(importKey(id)); err == nil {
		st.Importing = true
	}
	rec, err := pg.ReadRecord(r, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return st, nil
	case errors.Is(err, store.ErrCorrupt):
		st.Exists, st.Damage = true, err.Error()
		return st, nil
	case err != nil:
		return st, err
	}
	st.Exists, st.Complete, st.Scan, st.PGNum, st.SplitTo = true, rec.Complete, rec.Scan, rec.PGNum, rec.SplitTo
	st.Tail, st.Committed = rec.Tail.String(), rec.Committed.String()
	if !rec.CompleteTo.IsZero() {
		st.From = rec.CompleteTo.String()
	}
	if rec.Horizon.Unix() != 0 {
		st.Horizon = rec.Horizon.Format(time.RFC3339Nano)
	}
	head, err := pg.WalkLog(r, id, rec, func(*wirepb.LogEntry) error { st.Entries++; return nil })
	st.Head = head.String()
	if errors.Is(err, store.ErrCorrupt) {
		st.Damage, err = err.Error(), nil
	}
	return st, err
}
