package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// AffectedPGs prints, below a line that is begun, the PGs that stand against something
// that is to be done to OSDs.
func AffectedPGs(w io.Writer, c api.OSDCheck) error {
	if len(c.PGs) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t := newTable(column{"PG", left, left}, column{"POOL", left, left}, column{"REASON", left, left})
	for _, p := range c.PGs {
		t.add(p.PGID, p.Pool, p.Reason)
	}
	if n := c.NumPGs - len(c.PGs); n > 0 {
		t.add("...", "", fmt.Sprintf("and %d more", n))
	}
	return t.write(w)
}

// Drains prints how far the OSDs are that are being emptied.
func Drains(w io.Writer, list []api.DrainState) error {
	t := newTable(column{"OSD", left, left}, column{"STATUS", left, left}, column{"PGS LEFT", right, right}, column{"OBJECTS LEFT", right, right}, column{"SHARDS LEFT", right, right},
		column{"LEFT", right, right}, column{"BLOCKED", right, right}, column{"PROGRESS", right, right})
	for _, d := range list {
		state := "down"
		if d.Up {
			state = "up"
		}
		if d.Empty {
			state += ", empty"
		}
		t.add(fmt.Sprintf("osd.%d", d.OSD), state, strconv.Itoa(d.PGs), Count(d.Objects), Count(d.Shards), Bytes(d.Bytes), strconv.Itoa(d.Blocked), fmt.Sprintf("%d%%", d.Progress))
	}
	return t.write(w)
}

// Config prints the keys of the central configuration.
func Config(w io.Writer, list []api.Setting) error {
	t := newTable(column{"KEY", left, left}, column{"VALUE", left, left}, column{"DEFAULT", left, left}, column{"ALLOWED", left, left}, column{"WHAT", left, left})
	for _, s := range list {
		v := s.Value
		if s.Set {
			v += " *"
		}
		t.add(s.Key, v, s.Default, s.Min+" to "+s.Max, s.About)
	}
	return t.write(w)
}

// Audit prints what administrators did.
func Audit(w io.Writer, list []api.AuditEntry) error {
	t := newTable(column{"TIME", left, left}, column{"BY", left, left}, column{"OUTCOME", left, left}, column{"COMMAND", left, left})
	for _, e := range list {
		at, _, _ := strings.Cut(e.Time, ".")
		t.add(strings.TrimSuffix(at, "Z")+"Z", e.By, e.Outcome, e.Command)
	}
	return t.write(w)
}
