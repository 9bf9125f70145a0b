package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/osd/store"
)

func newStoreTrimCommand(o *objectstore) *cobra.Command {
	var dry bool
	cmd := o.leaf("trim", "Tell the device of all room that is free", func(ctx context.Context) error { return o.trim(ctx, dry) })
	cmd.Long = `Tell the device of all room of the store that is free, in rows of at least 1 MiB: a
block device discards it (an SSD, a virtual disk, a thin volume); for a store in a
directory the file system gets it back, and others may take it. An OSD that runs with
--discard on does so by itself with what is freed from then on.

A store on a file that is used as a device is refused: it takes all of its room again
whenever it is opened.`
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, only say how much it would be")
	return cmd
}

func (o *objectstore) trim(ctx context.Context, dry bool) error {
	say := o.progress()
	r, err := store.Trim(ctx, o.data, dry, func(done int64) { say("discarded %s", show.Bytes(done)) })
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, store.ErrInvalid):
		return usageErrorf("cairn objectstore trim: %v", err)
	case err != nil && r == (store.TrimReport{}):
		return &cannotOpenError{err}
	case err != nil:
		return err
	}
	return printed(o.e, r, showTrim)
}

func showTrim(w io.Writer, r store.TrimReport) error {
	text := "discarded " + show.Bytes(r.Discarded)
	if r.Dry {
		text = show.Bytes(r.Free) + " can be discarded"
	}
	switch {
	case r.Before == 0: // a device
	case r.Dry && r.Before < r.Free:
		text += "; the file system has given the data file only " + show.Bytes(r.Before) + ", so some of that has been before"
	case r.Dry:
		text += "; the file system has given the data file " + show.Bytes(r.Before)
	default:
		text += fmt.Sprintf("; the file system had given the data file %s, now %s", show.Bytes(r.Before), show.Bytes(r.After))
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
