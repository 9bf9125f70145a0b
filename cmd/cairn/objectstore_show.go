package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/store"
)

// showFsck prints what a check of a store found, what was repaired, and what is left to do.
func showFsck(w io.Writer, r store.FsckReport) error {
	p := printer{w: w}
	var pgs []string
	replace, shards := false, false
	for i := range r.Findings {
		f := &r.Findings[i]
		word := "DAMAGE"
		switch {
		case !f.Damage():
			word = "note"
		case f.Repaired != "":
			word = "REPAIRED"
		}
		p.line("%-8s  %s: %s", word, f.Kind, f.Text)
		if f.Repaired != "" {
			p.line("          %s", f.Repaired)
		}
		shards = shards || f.Key.Space == store.Shards && f.Damage()
		touched := f.Key.Name != "" && f.Key.Space != store.Shards && (f.Cure == store.CureCluster || f.Repaired != "")
		if id := f.Key.PG.String(); touched && !slices.Contains(pgs, id) {
			pgs = append(pgs, id)
		}
		replace = replace || f.Cure == store.CureReplace
	}
	if r.Unlisted > 0 {
		p.line("and %d more", r.Unlisted)
	}
	if len(r.Findings) > 0 {
		p.line("")
	}
	verified := ""
	if r.Bytes > 0 {
		verified = fmt.Sprintf(", %s of data verified", show.Bytes(r.Bytes))
	}
	p.line("%d objects, %d attributes and omap keys, %d blocks%s; %d groups in the journal", r.Objects, r.Keys, r.Blocks, verified, r.Journal.Groups)
	all, repaired := r.Damage()
	switch {
	case all == 0:
		p.line("no damage")
	case !r.Changed:
		p.line("%d damaged, nothing was changed", all)
	default:
		p.line("%d damaged, %d repaired", all, repaired)
	}
	if r.Refused != "" {
		p.line("%s", r.Refused)
	}
	if replace {
		p.line("To do: copy the data directory aside. If all its PGs have other copies, remove this OSD and make it anew; if not, export those that have none.")
	}
	for _, id := range pgs {
		p.line("To do: when the OSD runs, `cairn pg repair %s` has the other copies replace what is damaged.", id)
	}
	if shards {
		p.line("To do: when the OSD runs, `cairn gc repair` has the cluster make shards that are damaged or gone anew from the others of their chunks.")
	}
	for _, id := range r.Distrusted {
		p.line("PG %s: an object's entry is gone, so the copy here does not count until the others have compared all of it; they begin when the OSD runs.", id)
	}
	return p.err
}

// printer prints lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// showStoreUsage prints where the bytes of a store are.
func showStoreUsage(w io.Writer, u inspect.Usage) error {
	p := printer{w: w}
	capacity := "what the file system gives"
	if u.Capacity > 0 {
		capacity = show.Bytes(u.Capacity)
	}
	taken := "unknown" // of a block device
	if u.Allocated > 0 {
		taken = show.Bytes(u.Allocated)
	}
	for _, l := range [][2]string{
		{"capacity", capacity}, {"superblock", show.Bytes(u.Superblock)}, {"journal", show.Bytes(u.Journal)}, {"index", show.Bytes(u.Index)},
		{"  of it omap", show.Bytes(u.Omap)}, {"data file", show.Bytes(u.DataFile)}, {"  of it used", show.Bytes(u.DataUsed)},
		{"  of it allocated", taken},
		{"free on the file system", show.Bytes(u.Free)}, {"objects", strconv.FormatInt(u.Objects, 10)},
	} {
		p.line("%-24s  %s", l[0], l[1])
	}
	p.line("")
	if p.err != nil {
		return p.err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PG\tOBJECTS\tBYTES") // Flush says what went wrong
	for _, g := range u.PGs {
		fmt.Fprintf(t, "%s\t%d\t%s\n", g.PG, g.Objects, show.Bytes(g.Bytes))
	}
	if len(u.Shards) > 0 {
		fmt.Fprintln(t, "\nPOOL\tSHARDS\tBYTES")
		for _, s := range u.Shards {
			fmt.Fprintf(t, "%d\t%d\t%s\n", s.Pool, s.Shards, show.Bytes(s.Bytes))
		}
	}
	return t.Flush()
}

// pgWord sums a PG's state up.
func pgWord(s inspect.State) string {
	switch {
	case s.Damage != "":
		return "damaged"
	case s.Importing:
		return "import unfinished"
	case !s.Exists:
		return "no records"
	case s.SplitTo != 0:
		return "splitting"
	case s.Complete:
		return "complete"
	case s.Scan:
		return "incomplete, to be compared"
	}
	return "incomplete"
}

// showStorePGs prints the PGs of a store.
func showStorePGs(w io.Writer, states []inspect.State) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PG\tSTATE\tOBJECTS\tBYTES\tHEAD\tLOG") // Flush says what went wrong
	for _, s := range states {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%d\n", s.PG, pgWord(s), s.Objects, show.Bytes(s.Bytes), s.Head, s.Entries)
	}
	return t.Flush()
}

// showStorePG prints what a store remembers of a PG.
func showStorePG(w io.Writer, s inspect.State) error {
	p := printer{w: w}
	p.line("PG %s: %s, %d objects, %s", s.PG, pgWord(s), s.Objects, show.Bytes(s.Bytes))
	if s.Damage != "" {
		p.line("  damage       %s", s.Damage)
	}
	if !s.Exists {
		return p.err
	}
	p.line("  log          %d entries behind %s, up to %s", s.Entries, s.Tail, s.Head)
	p.line("  committed    %s", s.Committed)
	if s.From != "" {
		p.line("  complete to  %s", s.From)
	}
	if s.Horizon != "" {
		p.line("  horizon      %s", s.Horizon)
	}
	p.line("  pg_num       %d", s.PGNum)
	if s.SplitTo != 0 {
		p.line("  splitting    into pg_num %d", s.SplitTo)
	}
	if s.Staged > 0 {
		p.line("  staged       %d objects", s.Staged)
	}
	return p.err
}

// showSuperblocks prints the copies of a superblock.
func showSuperblocks(w io.Writer, copies []store.SuperCopy) error {
	p := printer{w: w}
	for _, c := range copies {
		if c.SuperInfo == nil {
			p.line("copy %d: %s", c.Copy, c.Error)
			continue
		}
		counts := ""
		if !c.Current {
			counts = " (older, does not count)"
		}
		s := c.SuperInfo
		p.line("copy %d: format %d (readers from %d), generation %d%s", c.Copy, s.Format, s.Oldest, s.Generation, counts)
		p.line("  store        %s", s.Store)
		p.line("  cluster      %s, osd.%d, incarnation %d", s.Cluster, s.OSD, s.Incarnation)
		p.line("  created      %s", s.Created.Format(time.RFC3339))
		p.line("  closed       %s", map[bool]string{true: "in order", false: "not in order: the journal is to be replayed"}[s.Clean])
		p.line("  journal      %s", show.Bytes(s.Journal))
		capacity := "what the file system gives"
		if s.Capacity > 0 {
			capacity = show.Bytes(s.Capacity)
		}
		p.line("  capacity     %s", capacity)
		if s.OnDevice {
			p.line("  device       %s, with journal and data", show.Bytes(s.Device))
		}
		cp := s.Checkpoint
		p.line("  checkpoint   group %d at position %d, link %08x; groups up to %d known to be durable", cp.Sequence, cp.Position, cp.Link, cp.Known)
	}
	return p.err
}

// showStoredObject prints what the index says of an object.
func showStoredObject(w io.Writer, o store.ObjectDump) error {
	p := printer{w: w}
	p.line("object number %d, %d bytes, version %s, mtime %s", o.Number, o.Size, o.Version, time.Unix(0, o.Mtime).UTC().Format(time.RFC3339Nano))
	p.line("  attributes %t, omap %t (at most %d keys)", o.Attrs, o.Omap, o.OmapKeys)
	p.line("  index entry %s", hex.EncodeToString(o.Entry))
	if o.Inline {
		word := "good"
		if o.Damage != "" {
			word = "DAMAGED: " + o.Damage
		}
		p.line("  bytes in the index: %s", word)
	} else if o.Damage != "" {
		p.line("  DAMAGED: %s", o.Damage)
	}
	for _, r := range o.Segments {
		word := "good"
		if len(r.Bad) > 0 {
			word = fmt.Sprintf("DAMAGED at %v", r.Bad)
		}
		p.line("  offset %-10d %8d bytes at %d of the data file: %s", r.Offset, r.Bytes, r.At, word)
	}
	return p.err
}

// lines prints rows as they come: one in each line, or the elements of one JSON array.
type lines struct {
	w    io.Writer
	json bool
	n    int
}

func (l *lines) row(v any, text func() string) error {
	if !l.json {
		_, err := fmt.Fprintln(l.w, text())
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	open := ",\n"
	if l.n++; l.n == 1 {
		open = "[\n"
	}
	_, err = fmt.Fprintf(l.w, "%s    %s", open, b)
	return err
}

// end ends the listing.
func (l *lines) end() error {
	if !l.json {
		return nil
	}
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.w, end)
	return err
}

// objectLines prints a listing of objects.
type objectLines struct{ lines }

// newObjectLines prints to w.
func newObjectLines(w io.Writer, json bool) *objectLines {
	return &objectLines{lines{w: w, json: json}}
}

// add prints an object.
func (l *objectLines) add(o store.ListEntry) error {
	return l.row(struct {
		Name    string `json:"name"`
		Size    uint64 `json:"size"`
		Version string `json:"version"`
	}{o.Name, o.Size, o.Version.String()}, func() string {
		return fmt.Sprintf("%12d  %-12s  %s", o.Size, o.Version, strconv.Quote(o.Name))
	})
}

// shardLines prints shards of chunks.
type shardLines struct{ lines }

// newShardLines prints to w.
func newShardLines(w io.Writer, json bool) *shardLines { return &shardLines{lines{w: w, json: json}} }

// add prints a shard.
func (l *shardLines) add(s inspect.Shard) error {
	return l.row(s, func() string {
		return fmt.Sprintf("%12d  %s  %s  %-2d  %s", s.Size, time.Unix(0, s.Stored).UTC().Format("2006-01-02T15:04:05.000Z"), s.Generation, s.Index, s.Chunk)
	})
}

// logLines prints the log of a PG.
type logLines struct{ lines }

// newLogLines prints to w.
func newLogLines(w io.Writer, json bool) *logLines { return &logLines{lines{w: w, json: json}} }

// add prints an entry.
func (l *logLines) add(e inspect.LogEntry) error {
	return l.row(e, func() string {
		s := fmt.Sprintf("%-12s  %s  %s", e.Position, time.Unix(0, e.At).UTC().Format("2006-01-02T15:04:05.000Z"), strconv.Quote(e.Object))
		switch {
		case e.Removed:
			s += "  removed"
		case e.Partial:
			s += fmt.Sprintf("  extents %v, %d omap keys, %d attributes", e.Extents, len(e.Keys), len(e.Attrs))
		}
		if e.Request != "" {
			s += "  request " + e.Request
		}
		return s
	})
}

// pairLines prints attributes and omap.
type pairLines struct{ lines }

// newPairLines prints to w.
func newPairLines(w io.Writer, json bool) *pairLines { return &pairLines{lines{w: w, json: json}} }

// add prints a pair.
func (l *pairLines) add(p inspect.Pair) error {
	return l.row(p, func() string {
		return fmt.Sprintf("%s  %s  %d bytes  %s", p.Kind, readable(p.Key, 200), len(p.Value), readable(p.Value, 100))
	})
}

// readable prints bytes as text if that is what they are, cut at n.
func readable(b []byte, n int) string {
	more := ""
	if len(b) > n {
		b, more = b[:n], "..."
	}
	if utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(string(b)) + more
	}
	return "0x" + hex.EncodeToString(b) + more
}

// journalLines prints the groups of a journal.
type journalLines struct{ lines }

// newJournalLines prints to w.
func newJournalLines(w io.Writer, json bool) *journalLines {
	return &journalLines{lines{w: w, json: json}}
}

// add prints a group.
func (l *journalLines) add(g store.JournalGroup) error {
	return l.row(g, func() string {
		return fmt.Sprintf("group %d at offset %d: %d bytes, %d index entries set, %d deleted, %d blocks, %d freed", g.Sequence, g.Offset, g.Bytes, g.Sets, g.Deletes, g.Blocks, g.Freed)
	})
}

// end ends the listing and says how the journal ends.
func (l *journalLines) end(j store.JournalState) error {
	if err := l.lines.end(); err != nil || l.json {
		return err
	}
	end := "ends in order"
	if j.Torn {
		end = "ends with a torn group, which was never acknowledged"
	} else if j.Damage != "" {
		end = "is damaged"
	}
	_, err := fmt.Fprintf(l.w, "%d groups from %d on, %s in all; it %s\n", j.Groups, j.From, show.Bytes(j.Bytes), end)
	return err
}
