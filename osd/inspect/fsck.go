package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Fsck checks a store, with what it knows of PGs; see store.Fsck. Distrust and More are filled in.
func Fsck(ctx context.Context, dir string, o store.FsckOptions) (store.FsckReport, error) {
	o.Distrust, o.More = distrust, checkPGs
	return store.Fsck(ctx, dir, o)
}

// distrust makes a copy count for nothing until the others have compared all of it.
func distrust(r store.Reader, id placement.PGID) (store.Key, []store.KV) {
	k := pg.MetaKey(id)
	old, err := r.Attr(k, []byte(pg.StateAttr))
	if err != nil {
		return k, nil
	}
	state, err := pg.UntrustedState(old)
	if err != nil {
		return k, nil // the copy counts as lost already
	}
	// A cursor would keep what is left of it from being compared.
	return k, []store.KV{{Key: []byte(pg.StateAttr), Value: state}, {Key: []byte(pg.CursorAttr)}}
}

// checkPGs looks at the records of every PG.
func checkPGs(in *store.Inspector, found func(store.Finding)) error {
	ids, err := in.PGs()
	if err != nil {
		if errors.Is(err, store.ErrCorrupt) {
			return nil // the index has gaps, which were found
		}
		return err
	}
	r := in.Reader()
	for _, id := range ids {
		err := pg.CheckRecords(r, id)
		if _, serr := r.Stat(importKey(id)); serr == nil {
			text := fmt.Sprintf("PG %s: an import was interrupted: import again, or remove what there is with `cairn objectstore remove`", id)
			if err == nil {
				text = fmt.Sprintf("PG %s: an import was interrupted, and the OSD has made the PG anew since; what is left of the import does no harm", id)
			}
			found(store.Finding{Kind: store.FoundHalfImport, Cure: store.CureNone, Text: text, Key: importKey(id)})
			continue
		}
		switch {
		case err == nil:
		case errors.Is(err, store.ErrCorrupt):
			found(store.Finding{Kind: store.FoundRecords, Cure: store.CureCluster, Key: pg.MetaKey(id),
				Text: fmt.Sprintf("%v: the copy counts as lost, and the others teach it anew; if there are none, export what it has with --skip-damaged", err)})
		case errors.Is(err, store.ErrNotFound):
			if objs, _, lerr := in.SpaceUsage(id, store.Objects); lerr == nil && objs > 0 && !splitting(r, ids, id) {
				found(store.Finding{Kind: store.FoundAbandonedPG, Cure: store.CureNone, Key: pg.MetaKey(id),
					Text: fmt.Sprintf("PG %s does not exist here, and %d objects of it do: the OSD compares them should it get the PG; `cairn objectstore remove` frees their room", id, objs)})
			}
		default:
			found(store.Finding{Kind: store.FoundRecords, Cure: store.CureReplace, Key: pg.MetaKey(id), Text: err.Error()})
		}
	}
	return nil
}

// splitting reports whether a split under way explains a PG's objects.
func splitting(r store.Reader, ids []placement.PGID, kid placement.PGID) bool {
	for _, id := range ids {
		if id.Pool != kid.Pool || id == kid {
			continue
		}
		rec, err := pg.ReadRecord(r, id)
		if err == nil && rec.SplitTo > kid.Shard && rec.PGNum != 0 && kid.Shard >= rec.PGNum && placement.SplitParent(kid.Shard, rec.PGNum) == id.Shard {
			return true
		}
	}
	return false
}
