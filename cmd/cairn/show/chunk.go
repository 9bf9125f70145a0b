package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// Chunks prints a list of chunks.
func Chunks(w io.Writer, c api.Chunks) error {
	t := newTable(column{"CHUNK", left, left}, column{"PG", left, left}, column{"SIZE", right, right}, column{"STORED", right, right},
		column{"REDUNDANCY", left, left}, column{"HOLDERS", left, left}, column{"REFS", right, right}, column{"NOTE", left, left})
	for i := range c.Chunks {
		x := &c.Chunks[i]
		t.add(x.Chunk, x.PGID, Bytes(x.Bytes), Bytes(x.Stored), x.Redundancy, list(x.Holders), references(x), note(x))
	}
	if err := t.write(w); err != nil || c.After == "" {
		return err
	}
	_, err := fmt.Fprintln(w, "there are more: see --limit")
	return err
}

func references(x *api.Chunk) string {
	n := strconv.Itoa(x.References)
	if x.More {
		n += "+"
	}
	return n
}

// note says what is not as it mostly is.
func note(x *api.Chunk) string {
	var notes []string
	switch x.Lost {
	case "":
	case "shards":
		notes = append(notes, "too few shards are left")
	case "bytes":
		notes = append(notes, "its bytes are others")
	default:
		notes = append(notes, x.Lost)
	}
	if x.Condemned != "" {
		notes = append(notes, "condemned since "+x.Condemned)
	}
	return strings.Join(notes, "; ")
}

// Chunk prints one chunk.
func Chunk(w io.Writer, x api.Chunk) error {
	domain := "none, or not known"
	switch {
	case x.Tenant == nil:
	case *x.Tenant == "":
		domain = "the cluster"
	default:
		domain = "tenant " + *x.Tenant
	}
	rows := [][2]string{
		{"chunk", x.Chunk}, {"pg", x.PGID}, {"size", Bytes(x.Bytes)}, {"stored", Bytes(x.Stored) + ", compression " + x.Compression},
		{"redundancy", x.Redundancy + ", shards of " + Bytes(x.ShardBytes)}, {"generation", x.Generation}, {"shared by", domain},
	}
	if n := note(&x); n != "" {
		rows = append(rows, [2]string{"note", n})
	}
	for _, s := range x.Shards {
		text := s.State
		if s.OSD >= 0 {
			text = fmt.Sprintf("osd.%d, %s", s.OSD, s.State)
		}
		if s.Text != "" {
			text += ": " + s.Text
		}
		rows = append(rows, [2]string{fmt.Sprintf("shard %d", s.Shard), text})
	}
	for _, id := range x.Leaving {
		rows = append(rows, [2]string{"leaving", fmt.Sprintf("osd.%d drops a shard of it", id)})
	}
	rows = append(rows, [2]string{"references", references(&x)})
	for _, r := range x.Refs {
		rows = append(rows, [2]string{"  " + r.Since, fmt.Sprintf("pool %d object %q", r.Pool, r.Object)})
	}
	if v := x.Verdict; v != nil {
		rows = append(rows, [2]string{"readable", fmt.Sprintf("%d shards of %d, %d are needed", v.Readable, len(x.Shards), v.Needed)},
			[2]string{"together", yes(v.Together)}, [2]string{"by parity", yes(v.Parity)}, [2]string{"fingerprint", v.Fingerprint})
		text := "nothing is wrong"
		switch {
		case v.Text != "":
			text = v.Text
		case !v.OK:
			text = "the parity does not fit"
		}
		rows = append(rows, [2]string{"verdict", text})
	}
	return fields(w, rows)
}

func yes(b bool) string {
	if b {
		return "right"
	}
	return "wrong or not known"
}
