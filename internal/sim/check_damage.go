package sim

import (
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// Invariant: nobody finds damage where none was done, whatever is written while scrubs look.

func (w *world) checkNotice(n *osd, id placement.PGID, x pg.Notice) {
	w.logf("%s: PG %s: %s: %q on %s: %s", n.id, id, noticeNames[x.Kind], x.Object, x.OSD, x.Text)
	w.count[noticeNames[x.Kind]]++
	switch x.Kind {
	case pg.Found, pg.Inconsistent, pg.Unfound:
		if !w.check.damaged {
			w.failf("PG %s: %s finds damage where none was done: %q on %s: %s", id, n.id, x.Object, x.OSD, x.Text)
		}
	}
}

var noticeNames = map[pg.NoticeKind]string{
	pg.ReadFailed: "(copies that could not be read)", pg.Found: "(damage found by scrubs)", pg.Repaired: "(repairs)",
	pg.Inconsistent: "(inconsistent objects)", pg.Unfound: "(unfound objects)", pg.ScrubStarted: "(scrubs begun)",
	pg.ScrubEnded: "(scrubs ended)", pg.ScrubStopped: "(scrubs given up)",
}
