package inspect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// importName names the object in space Meta that says an import is under way.
const importName = "import"

func importKey(id placement.PGID) store.Key {
	return store.Key{PG: id, Space: store.Meta, Name: importName}
}

// ImportOptions configures Import.
type ImportOptions struct {
	// Progress is called now and then, first while the file is checked.
	Progress func(step string, t Totals)
}

// Imported is what Import did.
type Imported struct {
	Info
	Totals
	Left []string // objects that the export says it had left out
}

// movesPerBatch is how many objects take their place at once. PGs of no more appear in one
// batch; of larger ones the last batch makes the PG exist.
const movesPerBatch = 2048

// Import puts an exported PG into a store. The file is read twice: first all of it is checked
// and nothing changes. Then its objects are staged, and moved in place; the PG exists only with
// the last batch. A crash before that leaves no PG, and the next import or Remove clears up.
//
// What is imported claims nothing, see ImportedState in osd/pg.
func Import(ctx context.Context, s store.Store, file io.ReadSeeker, o ImportOptions) (Imported, error) {
	im, err := importPG(ctx, s, file, o)
	if err != nil {
		return im, fmt.Errorf("import: %w", err)
	}
	return im, nil
}

// ImportFile is Import from a file.
func ImportFile(ctx context.Context, s store.Store, path string, o ImportOptions) (Imported, error) {
	f, err := os.Open(path)
	if err != nil {
		return Imported{}, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	return Import(ctx, s, f, o)
}

func importPG(ctx context.Context, s store.Store, file io.ReadSeeker, o ImportOptions) (Imported, error) {
	look := &checkSink{ctx: ctx, id: s.Identity(), o: o}
	t, err := Read(bufio.NewReaderSize(file, 1<<20), look)
	im := Imported{Info: look.info, Totals: t, Left: look.left}
	if err != nil {
		return im, err
	}
	if err := mayImport(s, look.info.PG); err != nil {
		return im, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return im, err
	}
	put := &putSink{ctx: ctx, s: s, id: look.info.PG, uncertain: look.info.Uncertain, o: o}
	if err := put.run(file); err != nil {
		return im, err
	}
	return im, nil
}

// checkSink decides whether a file may be imported, before anything changes.
type checkSink struct {
	ctx   context.Context
	id    store.Identity
	o     ImportOptions
	info  Info
	left  []string
	total Totals
	meta  bool // within the object with the PG's records
	state []byte
	first bool // no log entry has come
	head  store.Version
}

func (c *checkSink) Info(i Info) error {
	c.info = i
	switch {
	case c.id.Cluster.IsZero():
		return fmt.Errorf("%w: this store has not joined any: start its OSD once, stop it, and try again", ErrForeign)
	case i.Cluster != c.id.Cluster:
		return fmt.Errorf("%w: of cluster %s, this store belongs to %s", ErrForeign, i.Cluster, c.id.Cluster)
	}
	return nil
}

func (c *checkSink) Begin(o Object) error {
	c.meta = o.Space == store.Meta && o.Name == pg.MetaKey(c.info.PG).Name
	c.first = true
	return c.ctx.Err()
}

func (c *checkSink) Data(_ uint64, p []byte) error {
	c.total.Bytes += uint64(len(p))
	return nil
}

func (c *checkSink) Attr(kv store.KV) error {
	if c.meta && string(kv.Key) == pg.StateAttr {
		c.state = slices.Clone(kv.Value)
	}
	return nil
}

// Omap checks that the OSD will be able to load the log.
func (c *checkSink) Omap(kvs []store.KV) error {
	if !c.meta {
		return nil
	}
	rec, err := pg.ParseState(c.state)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if c.first {
		c.first, c.head = false, rec.Tail
	}
	for _, kv := range kvs {
		e, err := pg.ParseLogEntry(kv, c.head)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		c.head = store.Version{Term: placement.Term(e.Pos.Term), Seq: e.Pos.Seq}
	}
	return nil
}

func (c *checkSink) End() error {
	if c.meta {
		if _, err := pg.ParseState(c.state); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if c.total.Objects++; c.o.Progress != nil {
		c.o.Progress("checking", c.total)
	}
	return nil
}

func (c *checkSink) LeftOut(sp store.Space, name, why string) error {
	if len(c.left) < 1000 {
		c.left = append(c.left, fmt.Sprintf("%s: %s", store.FullName(store.Key{PG: c.info.PG, Space: sp, Name: name}), why))
	}
	return nil
}

// mayImport refuses to put a PG where something of it is.
func mayImport(s store.Store, id placement.PGID) error {
	_, err := pg.ReadRecord(s, id)
	switch {
	case err == nil:
		return fmt.Errorf("%w: PG %s: remove it first, if its copy here is not needed", ErrExists, id)
	case errors.Is(err, store.ErrCorrupt):
		return fmt.Errorf("%w: PG %s, with damaged records: remove it first, if its copy here is not needed", ErrExists, id)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if err := undivided(s, id); err != nil {
		return err
	}
	if _, err := s.Stat(importKey(id)); err == nil {
		return nil // an import that was interrupted: the next one begins anew
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if objs, _, err := s.List(id, store.Objects, "", 1); err != nil {
		return err
	} else if len(objs) > 0 {
		return fmt.Errorf("%w: PG %s has objects here, but no records: remove it first, if they are not needed", ErrExists, id)
	}
	return nil
}

// undivided refuses a PG whose objects another PG of this store still holds: when that one
// is divided, it would drop them in favour of what was imported.
func undivided(s store.Store, id placement.PGID) error {
	ids, err := s.PGs()
	if err != nil {
		return err
	}
	for _, other := range ids {
		if other.Pool != id.Pool || other == id {
			continue
		}
		rec, err := pg.ReadRecord(s, other)
		if err != nil {
			continue // no copy, or one that counts as lost
		}
		if n := rec.PGNum; n != 0 && id.Shard >= n && placement.SplitParent(id.Shard, n) == other.Shard {
			return fmt.Errorf("%w: PG %s is still a part of PG %s on this store, which is divided when the OSD runs: start it and wait for that, or remove PG %s",
				ErrExists, id, other, other)
		}
	}
	return nil
}

// putSink writes a stream into a store.
type putSink struct {
	ctx       context.Context
	s         store.Store
	id        placement.PGID
	uncertain bool
	o         ImportOptions
	total     Totals

	key   store.Key // the object under way, where it is staged
	obj   Object
	meta  bool
	state []byte
	ops   []store.Op
	size  int
}

// batchBytes is about how much one batch of an import holds.
const batchBytes = 4 << 20

func (p *putSink) run(file io.Reader) error {
	for _, sp := range []store.Space{store.Objects, store.Staging, store.Meta} {
		p.ops = append(p.ops, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: p.id, Space: sp}})
	}
	p.ops = append(p.ops, store.Op{Kind: store.OpTouch, Key: importKey(p.id)})
	if err := p.flush(); err != nil {
		return err
	}
	if _, err := Read(bufio.NewReaderSize(file, 1<<20), p); err != nil {
		return p.giveUp(err)
	}
	if err := p.flush(); err != nil {
		return p.giveUp(err)
	}
	if err := p.settle(); err != nil {
		return p.giveUp(err)
	}
	return nil
}

// giveUp clears up after an error. A crash here leaves what the next import clears up.
func (p *putSink) giveUp(err error) error {
	var ops []store.Op
	for _, sp := range []store.Space{store.Objects, store.Staging, store.Meta} {
		ops = append(ops, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: p.id, Space: sp}})
	}
	if cerr := store.Apply(p.s, &store.Batch{Ops: ops}); cerr != nil {
		return fmt.Errorf("%w (and what was imported so far could not be removed: %w)", err, cerr)
	}
	return err
}

func (p *putSink) flush() error {
	if len(p.ops) == 0 {
		return nil
	}
	err := store.Apply(p.s, &store.Batch{Ops: p.ops})
	clear(p.ops)
	p.ops, p.size = p.ops[:0], 0
	return err
}

func (p *putSink) add(op store.Op) error {
	p.ops = append(p.ops, op)
	if p.size += len(op.Data) + len(op.Name) + len(op.Value) + len(op.Key.Name); p.size >= batchBytes || len(p.ops) >= movesPerBatch {
		return p.flush()
	}
	return nil
}

// Info implements Sink.
func (p *putSink) Info(i Info) error {
	if i.PG != p.id {
		return fmt.Errorf("%w: the file changed while it was read", ErrDamaged)
	}
	return nil
}

// Begin implements Sink.
func (p *putSink) Begin(o Object) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	p.obj = o
	p.meta = o.Space == store.Meta && o.Name == pg.MetaKey(p.id).Name
	// Objects grow in the staging space. The PG's records are in place from the start: without a
	// state, which comes last, they count for nothing.
	p.key = store.Key{PG: p.id, Space: store.Staging, Name: o.Name}
	if o.Space == store.Meta {
		p.key.Space = store.Meta
	}
	return p.add(store.Op{Kind: store.OpTouch, Key: p.key})
}

// Data implements Sink.
func (p *putSink) Data(off uint64, b []byte) error {
	p.total.Bytes += uint64(len(b))
	return p.add(store.Op{Kind: store.OpWrite, Key: p.key, Off: off, Data: slices.Clone(b)})
}

// Attr implements Sink.
func (p *putSink) Attr(kv store.KV) error {
	if p.meta {
		switch string(kv.Key) {
		case pg.StateAttr:
			p.state = slices.Clone(kv.Value)
			return nil
		case pg.CursorAttr, pg.ScrubAttr:
			return nil // of another copy, at another time
		}
	}
	return p.add(store.Op{Kind: store.OpSetAttr, Key: p.key, Name: slices.Clone(kv.Key), Value: slices.Clone(kv.Value)})
}

// Omap implements Sink.
func (p *putSink) Omap(kvs []store.KV) error {
	for _, kv := range kvs {
		if err := p.add(store.Op{Kind: store.OpOmapSet, Key: p.key, Name: slices.Clone(kv.Key), Value: slices.Clone(kv.Value)}); err != nil {
			return err
		}
	}
	return nil
}

// End implements Sink.
func (p *putSink) End() error {
	v := p.obj.Version
	if p.uncertain && p.obj.Space == store.Objects {
		v.Term = 0 // a version that nobody else has: comparing always copies the object
	}
	if err := p.add(store.Op{Kind: store.OpTruncate, Key: p.key, Off: p.obj.Size}); err != nil {
		return err
	}
	if p.total.Objects++; p.o.Progress != nil {
		p.o.Progress("importing", p.total)
	}
	return p.add(store.Op{Kind: store.OpSetVersion, Key: p.key, Version: v, Mtime: p.obj.Mtime})
}

// LeftOut implements Sink.
func (p *putSink) LeftOut(store.Space, string, string) error { return nil }

// settle moves the staged objects in place and makes the PG exist.
func (p *putSink) settle() error {
	state, err := pg.ImportedState(p.state)
	if err != nil {
		return err
	}
	for {
		objs, more, err := p.s.List(p.id, store.Staging, "", movesPerBatch)
		if err != nil {
			return err
		}
		var ops []store.Op
		for _, o := range objs {
			from := store.Key{PG: p.id, Space: store.Staging, Name: o.Name}
			ops = append(ops, store.Op{Kind: store.OpRename, Key: from, To: store.Key{PG: p.id, Space: store.Objects, Name: o.Name}})
		}
		if !more {
			ops = append(ops,
				store.Op{Kind: store.OpSetAttr, Key: pg.MetaKey(p.id), Name: []byte(pg.StateAttr), Value: state},
				store.Op{Kind: store.OpRemove, Key: importKey(p.id)})
		}
		if err := store.Apply(p.s, &store.Batch{Ops: ops}); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

// Remove takes a PG off a store, with what it has put into PGs that a split under way would
// have made. It reports whether there was anything.
func Remove(s store.Store, id placement.PGID) (bool, error) {
	ids, err := s.PGs()
	if err != nil {
		return false, fmt.Errorf("remove PG %s: %w", id, err)
	}
	gone := []placement.PGID{id}
	for _, other := range ids {
		rec, err := pg.ReadRecord(s, other)
		if err != nil || rec.SplitTo == 0 || other.Pool != id.Pool {
			continue
		}
		for _, shard := range placement.SplitChildren(other.Shard, rec.PGNum, rec.SplitTo) {
			kid := placement.PGID{Pool: id.Pool, Shard: shard}
			if _, err := pg.ReadRecord(s, kid); err == nil {
				continue // a PG of its own
			}
			if kid == id {
				return false, fmt.Errorf("remove PG %s: what is here of it belongs to PG %s, which is being divided: start the OSD, or remove PG %s: %w", id, other, other, ErrExists)
			}
			if other == id {
				gone = append(gone, kid)
			}
		}
	}
	if !slices.Contains(ids, id) {
		return false, nil
	}
	var ops []store.Op
	for _, g := range gone {
		for _, sp := range []store.Space{store.Meta, store.Objects, store.Staging} {
			ops = append(ops, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: g, Space: sp}})
		}
	}
	if err := store.Apply(s, &store.Batch{Ops: ops}); err != nil {
		return false, fmt.Errorf("remove PG %s: %w", id, err)
	}
	return true, nil
}
