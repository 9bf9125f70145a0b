package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/store"
)

func newStoreDumpCommand(o *objectstore) *cobra.Command {
	return group("dump", "Show what is stored, as it is stored",
		o.leaf("superblock", "Show both copies of the superblock", o.dumpSuperblock),
		o.leaf("journal", "List the groups of the journal that a start would replay", o.dumpJournal),
		newStoreObjectCommand(o, "object", "Show the index entry of an object, where its blocks are, and which are damaged", o.dumpObject),
		newStoreObjectCommand(o, "omap", "Show attributes and omap of an object", o.dumpOmap),
		newStorePGCommand(o, "pg", "Show the state that the store remembers of a PG", o.dumpPG),
		newStorePGCommand(o, "log", "Show the log of a PG", o.dumpLog),
	)
}

func (o *objectstore) dumpSuperblock(context.Context) error {
	return o.look(true, func(in *store.Inspector) error { return printed(o.e, in.Supers(), showSuperblocks) })
}

func (o *objectstore) dumpJournal(context.Context) error {
	return o.look(true, func(in *store.Inspector) error {
		lines := newJournalLines(o.e.stdout, o.e.json())
		err := in.Groups(lines.add)
		if eerr := lines.end(in.Journal()); eerr != nil {
			return eerr
		}
		return err
	})
}

// newStorePGCommand makes a dump of one PG.
func newStorePGCommand(o *objectstore, use, short string, f func(id string) error) *cobra.Command {
	var id string
	cmd := o.leaf(use, short, func(context.Context) error { return f(id) })
	pgFlag(cmd, &id, "the PG")
	return cmd
}

func (o *objectstore) dumpPG(id string) error {
	p, err := parsePG(id)
	if err != nil {
		return err
	}
	return o.look(false, func(in *store.Inspector) error {
		st, err := inspect.StateOf(in, p)
		if err != nil {
			return err
		}
		if err := printed(o.e, st, showStorePG); err != nil {
			return err
		}
		if st.Damage != "" {
			return &damageError{exitDamage}
		}
		return nil
	})
}

func (o *objectstore) dumpLog(id string) error {
	p, err := parsePG(id)
	if err != nil {
		return err
	}
	return o.look(false, func(in *store.Inspector) error {
		lines := newLogLines(o.e.stdout, o.e.json())
		err := inspect.Log(in.Reader(), p, lines.add)
		if eerr := lines.end(); err == nil {
			err = eerr
		}
		return err
	})
}

// newStoreObjectCommand makes a dump of one object.
func newStoreObjectCommand(o *objectstore, use, short string, f func(k store.Key) error) *cobra.Command {
	var id, name, space string
	cmd := o.leaf(use, short, func(context.Context) error {
		p, err := parsePG(id)
		if err != nil {
			return err
		}
		sp, err := parseSpace(space)
		if err != nil {
			return err
		}
		if name == "" {
			return usageErrorf("flag --name is missing: which object? See `cairn objectstore list --pg %s`", p)
		}
		return f(store.Key{PG: p, Space: sp, Name: storedName(name)})
	})
	pgFlag(cmd, &id, "the PG")
	cmd.Flags().StringVar(&name, "name", "", "the object's name, or what list prints, with its quotes: so records can be named")
	cmd.Flags().StringVar(&space, "space", "objects", "objects, meta or staging")
	return cmd
}

// storedName is the name of an object as it was given: in quotes it is what list has printed, since no shell has zero
// bytes, with which the names of cairn's own records begin.
func storedName(given string) string {
	if strings.HasPrefix(given, `"`) {
		if name, err := strconv.Unquote(given); err == nil {
			return name
		}
	}
	return given
}

func (o *objectstore) dumpObject(k store.Key) error {
	return o.look(false, func(in *store.Inspector) error {
		d, err := in.Dump(k)
		if err != nil {
			return err
		}
		if err := printed(o.e, d, showStoredObject); err != nil {
			return err
		}
		if d.Damaged() {
			return &damageError{exitDamage}
		}
		return nil
	})
}

func (o *objectstore) dumpOmap(k store.Key) error {
	return o.look(false, func(in *store.Inspector) error {
		lines := newPairLines(o.e.stdout, o.e.json())
		err := inspect.Pairs(in.Reader(), k, lines.add)
		if eerr := lines.end(); err == nil {
			err = eerr
		}
		return err
	})
}
