package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// damageError ends a command whose output has said what is damaged.
type damageError struct{ code int }

func (e *damageError) Error() string { return "damage was found" }

// cannotOpenError is a store that cannot be looked at.
type cannotOpenError struct{ err error }

func (e *cannotOpenError) Error() string { return e.err.Error() }
func (e *cannotOpenError) Unwrap() error { return e.err }

// damagedError is what failed because of damage. Daemons that refuse a damaged store have
// failed like with any other error; a script that looks into stores wants to know.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// objectstore is what the commands about the store of a stopped OSD have in common.
type objectstore struct {
	e    *env
	data string // --data
}

func newObjectstoreCommand(e *env) *cobra.Command {
	o := &objectstore{e: e}
	cmd := group("objectstore", "Check, repair and look into the store of an OSD that does not run",
		newStoreFsckCommand(o),
		newStoreDumpCommand(o),
		newStoreListCommand(o),
		o.leaf("usage", "Show where the bytes of the store are", o.usage),
		newStoreTrimCommand(o),
		newStoreExportCommand(o),
		newStoreImportCommand(o),
		newStoreRemoveCommand(o),
	)
	cmd.Long = `Check, repair and look into the store of an OSD that does not run. While it runs it
holds the store's lock, and every command here is refused.

Commands that look change nothing, and work on stores with which an OSD would not
start. docs/operations/objectstore.md has recipes; ` + "`cairn help exit-codes`" + ` the exit codes.`
	cmd.PersistentFlags().StringVar(&o.data, "data", "", "the OSD's data directory")
	return cmd
}

// leaf makes a command that has no arguments.
func (o *objectstore) leaf(use, short string, f func(ctx context.Context) error) *cobra.Command {
	return o.e.leaf(use, short, args(), func(ctx context.Context, _ []string) error {
		if o.data == "" {
			return usageErrorf("flag --data is missing: which data directory?")
		}
		err := f(ctx)
		if errors.Is(err, store.ErrCorrupt) {
			err = &damagedError{err}
		}
		return err
	})
}

// look opens the store to look at it. files leaves the index out.
func (o *objectstore) look(files bool, f func(in *store.Inspector) error) error {
	in, err := store.Inspect(o.data, store.InspectOptions{FilesOnly: files})
	if err != nil {
		return &cannotOpenError{err}
	}
	err = f(in)
	if cerr := in.Close(); err == nil {
		err = cerr
	}
	return err
}

// change opens the store as an OSD does.
func (o *objectstore) change(f func(s *store.Disk) error) error {
	s, err := store.Open(o.data, store.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return &cannotOpenError{fmt.Errorf("%w; `cairn objectstore fsck` says what is damaged", err)}
	}
	err = f(s)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// progressEvery is how often a long run says how far it is.
const progressEvery = 5 * time.Second

// progress returns a function that prints to standard error, but not often.
func (o *objectstore) progress() func(format string, args ...any) {
	last := time.Now()
	return func(format string, args ...any) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(o.e.stderr, format+"\n", args...)
		}
	}
}

// print prints v for programs or, by f, for people.
func printed[T any](e *env, v T, f func(io.Writer, T) error) error {
	if e.json() {
		return e.printJSON(v)
	}
	return f(e.stdout, v)
}

// fsckOptions configures runFsck.
type fsckOptions struct{ deep, repair bool }

func newStoreFsckCommand(o *objectstore) *cobra.Command {
	var f fsckOptions
	cmd := o.leaf("fsck", "Check the store, and repair what local data allows", func(ctx context.Context) error { return o.fsck(ctx, f) })
	cmd.Flags().BoolVar(&f.deep, "deep", false, "read all data and verify its checksums")
	cmd.Flags().BoolVar(&f.repair, "repair", false, "repair what can be repaired without other copies, and say what the cluster must do")
	return cmd
}

func (o *objectstore) fsck(ctx context.Context, f fsckOptions) error {
	say := o.progress()
	r, err := inspect.Fsck(ctx, o.data, store.FsckOptions{Deep: f.deep, Repair: f.repair, Progress: func(p store.FsckProgress) {
		if p.Total > 0 {
			say("checking %s: %s of %s", p.Step, show.Bytes(p.Done), show.Bytes(p.Total))
		} else {
			say("checking %s: %d", p.Step, p.Done)
		}
	}})
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return &cannotOpenError{err}
	}
	if err := printed(o.e, r, showFsck); err != nil {
		return err
	}
	switch all, repaired := r.Damage(); {
	case all > repaired:
		return &damageError{exitDamage}
	case repaired > 0:
		return &damageError{exitRepaired}
	}
	return nil
}

func (o *objectstore) usage(context.Context) error {
	return o.look(false, func(in *store.Inspector) error {
		u, err := inspect.UsageOf(in)
		if err != nil {
			return err
		}
		return printed(o.e, u, showStoreUsage)
	})
}

// pgFlag is the flag that names a PG.
func pgFlag(cmd *cobra.Command, id *string, help string) { cmd.Flags().StringVar(id, "pg", "", help) }

// parsePG reads the flag --pg.
func parsePG(s string) (placement.PGID, error) {
	if s == "" {
		return placement.PGID{}, usageErrorf("flag --pg is missing: which PG, such as 1.2? See `cairn objectstore list`")
	}
	id, err := placement.ParsePGID(s)
	if err != nil {
		return id, usageErrorf("flag --pg: %v", err)
	}
	return id, nil
}

// parseSpace reads the flag --space.
func parseSpace(s string) (store.Space, error) {
	for _, sp := range []store.Space{store.Objects, store.Meta, store.Staging} {
		if s == store.SpaceName(sp) {
			return sp, nil
		}
	}
	return 0, usageErrorf("flag --space %q: want objects, meta or staging", s)
}

func newStoreListCommand(o *objectstore) *cobra.Command {
	var id, space string
	var pool uint32
	cmd := o.leaf("list", "List the PGs of the store, with --pg the objects of one, with --pool shards of chunks", func(ctx context.Context) error {
		if pool != 0 {
			if id != "" {
				return usageErrorf("flags --pg and --pool: shards of chunks belong to no PG; give one of the two")
			}
			return o.listShards(ctx, placement.PoolID(pool))
		}
		sp, err := parseSpace(space)
		if err != nil {
			return err
		}
		if id == "" {
			return o.listPGs()
		}
		p, err := parsePG(id)
		if err != nil {
			return err
		}
		return o.listObjects(ctx, p, sp)
	})
	pgFlag(cmd, &id, "list the objects of this PG")
	cmd.Flags().StringVar(&space, "space", "objects", "objects, meta or staging")
	cmd.Flags().Uint32Var(&pool, "pool", 0, "list the shards of this pool's chunks")
	return cmd
}

// listShards prints shards of chunks page by page.
func (o *objectstore) listShards(ctx context.Context, pool placement.PoolID) error {
	return o.look(false, func(in *store.Inspector) error {
		lines := newShardLines(o.e.stdout, o.e.json())
		if err := inspect.Shards(ctx, in, pool, lines.add); err != nil {
			return err
		}
		return lines.end()
	})
}

func (o *objectstore) listPGs() error {
	return o.look(false, func(in *store.Inspector) error {
		ids, err := in.PGs()
		if err != nil {
			return err
		}
		states := []inspect.State{}
		for _, id := range ids {
			st, err := inspect.StateOf(in, id)
			if err != nil {
				return err
			}
			states = append(states, st)
		}
		return printed(o.e, states, showStorePGs)
	})
}

// listObjects prints objects page by page, in one JSON array or one in each line.
func (o *objectstore) listObjects(ctx context.Context, id placement.PGID, sp store.Space) error {
	return o.look(false, func(in *store.Inspector) error {
		lines := newObjectLines(o.e.stdout, o.e.json())
		for after, more := "", true; more; {
			var objs []store.ListEntry
			var err error
			if objs, more, err = in.Reader().List(id, sp, after, 1024); err != nil {
				return err
			}
			for _, ob := range objs {
				if err := lines.add(ob); err != nil {
					return err
				}
				after = ob.Name
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			more = more && len(objs) > 0
		}
		return lines.end()
	})
}

func newStoreExportCommand(o *objectstore) *cobra.Command {
	var id, file string
	var x inspect.ExportOptions
	cmd := o.leaf("export", "Write a PG with all it has to a file", func(ctx context.Context) (err error) {
		if x.PG, err = parsePG(id); err != nil {
			return err
		}
		if file == "" {
			return usageErrorf("flag --file is missing: which file, - for standard output?")
		}
		return o.export(ctx, file, x)
	})
	pgFlag(cmd, &id, "the PG to export")
	cmd.Flags().StringVar(&file, "file", "", "the file to write, which must not exist; - for standard output")
	cmd.Flags().BoolVar(&x.SkipDamaged, "skip-damaged", false, "leave out what cannot be read, and say so, rather than fail")
	cmd.Flags().BoolVar(&x.DespiteJournal, "despite-journal", false, "although the store's journal is damaged and objects may be of different times")
	return cmd
}

func (o *objectstore) export(ctx context.Context, file string, x inspect.ExportOptions) error {
	say := o.progress()
	x.Progress = func(t inspect.Totals) { say("exported %d objects, %s", t.Objects, show.Bytes(int64(t.Bytes))) }
	left := false
	x.LeftOut = func(k store.Key, why error) {
		left = true
		what := fmt.Sprintf("what there may be of PG %s", k.PG)
		if k.Name != "" {
			what = store.FullName(k)
		}
		fmt.Fprintf(o.e.stderr, "left out: %s: %v\n", what, why)
	}
	return o.look(false, func(in *store.Inspector) error {
		if file == "-" {
			_, err := inspect.Export(ctx, in, o.e.stdout, x)
			if err == nil && left {
				err = &damageError{exitDamage}
			}
			return err
		}
		t, err := inspect.ExportFile(ctx, in, file, x)
		if err != nil {
			return err
		}
		if err := o.e.done("exported PG %s to %s: %d objects, %s, %d left out", x.PG, file, t.Objects, show.Bytes(int64(t.Bytes)), t.LeftOut); err != nil {
			return err
		}
		if left {
			return &damageError{exitDamage}
		}
		return nil
	})
}

func newStoreImportCommand(o *objectstore) *cobra.Command {
	var file string
	cmd := o.leaf("import", "Put an exported PG into the store, as a copy that claims nothing", func(ctx context.Context) error {
		if file == "" {
			return usageErrorf("flag --file is missing: which export?")
		}
		return o.importFile(ctx, file)
	})
	cmd.Long = `Put an exported PG into the store. The file is checked as a whole before anything
changes, and the PG appears as a whole or not at all.

The copy is not complete, whatever it was when it was exported: it never leads, and
counts only when the others have compared every object of it. If there are no others,
` + "`cairn pg force-primary`" + ` makes it the truth.`
	cmd.Flags().StringVar(&file, "file", "", "the file that export wrote")
	return cmd
}

func (o *objectstore) importFile(ctx context.Context, file string) error {
	say := o.progress()
	return o.change(func(s *store.Disk) error {
		im, err := inspect.ImportFile(ctx, s, file, inspect.ImportOptions{Progress: func(step string, t inspect.Totals) {
			say("%s: %d objects, %s", step, t.Objects, show.Bytes(int64(t.Bytes)))
		}})
		if err != nil {
			return err
		}
		for _, l := range im.Left {
			fmt.Fprintf(o.e.stderr, "not in the export: %s\n", l)
		}
		return o.e.done("imported PG %s of osd.%d, exported %s: %d objects, %s. The copy is incomplete: when the OSD runs, the PG's primary compares all of it; "+
			"if no other copy is left, see `cairn pg force-primary`", im.PG, im.OSD, time.Unix(0, im.Made).UTC().Format(time.RFC3339), im.Objects, show.Bytes(int64(im.Bytes)))
	})
}

func newStoreRemoveCommand(o *objectstore) *cobra.Command {
	var id, sure string
	cmd := o.leaf("remove", "Remove a PG from the store", func(context.Context) error {
		p, err := parsePG(id)
		if err != nil {
			return err
		}
		if err := confirm("PG", p.String(), sure, "the copy on this store would be lost, and with it the PG if there is no other"); err != nil {
			return err
		}
		return o.remove(p)
	})
	pgFlag(cmd, &id, "the PG to remove")
	cmd.Flags().StringVar(&sure, "confirm", "", "repeat the PG: its copy on this store is lost")
	return cmd
}

func (o *objectstore) remove(id placement.PGID) error {
	return o.change(func(s *store.Disk) error {
		was, err := inspect.Remove(s, id)
		if err == nil && !was {
			err = fmt.Errorf("PG %s is not on this store: %w", id, api.ErrNotFound)
		}
		if err != nil {
			return err
		}
		return o.e.done("removed PG %s from %s", id, o.data)
	})
}
