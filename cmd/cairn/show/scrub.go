package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/api"
)

// Inconsistents prints the copies of the objects that differ, one line each.
func Inconsistents(w io.Writer, l api.Inconsistents) error {
	if len(l.Objects) == 0 {
		_, err := fmt.Fprintln(w, "no inconsistent objects are known")
		return err
	}
	t := newTable(column{"OBJECT", left, left}, column{"OSD", left, left}, column{"ERRORS", left, left}, column{"VERSION", left, right},
		column{"SIZE", left, right}, column{"DATA_DIGEST", left, left})
	for _, o := range l.Objects {
		for _, s := range o.Shards {
			osd := "osd." + strconv.Itoa(s.OSD)
			if s.Primary {
				osd += " (primary)"
			}
			errs := strings.Join(s.Errors, ",")
			if errs == "" {
				errs = "-"
			}
			t.add(strconv.Quote(o.Object.Name), osd, errs, s.Version, strconv.FormatUint(s.Size, 10), s.DataDigest)
		}
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, o := range l.Objects {
		what := "not repaired"
		if o.Unfound {
			what = "no good copy is left"
		}
		if _, err := fmt.Fprintf(w, "%q: %s: %s\n", o.Object.Name, what, o.Why); err != nil {
			return err
		}
	}
	if l.More > 0 {
		_, err := fmt.Fprintf(w, "and %d more\n", l.More)
		return err
	}
	return nil
}

// scrubStamp prints a time, unix seconds.
func scrubStamp(sec int64) string {
	if sec == 0 {
		return "never"
	}
	return time.Unix(sec, 0).UTC().Format("2006-01-02T15:04:05Z")
}
