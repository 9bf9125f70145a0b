package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// Quota prints a quota and what is used of it.
func Quota(w io.Writer, q api.QuotaState) error {
	of := [2]string{"bucket", q.Bucket}
	if q.User != "" {
		of = [2]string{"user", q.User}
	}
	bound := func(n int64, f func(int64) string) string {
		if n == 0 {
			return "no bound"
		}
		return f(n)
	}
	u := &q.Used
	rows := [][2]string{of,
		{"objects", fmt.Sprintf("%d of %s, %d of them are not current", u.Objects, bound(q.Quota.Objects, num), u.Versions)},
		{"bytes", fmt.Sprintf("%s of %s, %s of them are not current", Bytes(u.Bytes), bound(q.Quota.Bytes, Bytes), Bytes(u.VersionBytes))},
		{"warned from", fmt.Sprintf("%s objects, %s", bound(q.Quota.WarnObjects, num), bound(q.Quota.WarnBytes, Bytes))},
		{"delete markers", num(u.Markers)}, {"uploads", num(u.Uploads)},
		{"deleted", fmt.Sprintf("%d, %s; they are not held against the quota", u.Deleted, Bytes(u.DeletedBytes))},
		{"only in snapshots", fmt.Sprintf("%d, %s; they are not held against the quota", u.Held, Bytes(u.HeldBytes))},
	}
	if q.Warning != "" {
		rows = append(rows, [2]string{"warning", q.Warning})
	}
	if u.Partial {
		rows = append(rows, [2]string{"partial", "not all of an old index has been counted yet"})
	}
	return fields(w, rows)
}

// CheckedCounts prints what a check of a bucket's counts found.
func CheckedCounts(w io.Writer, c api.CheckedCounts) error {
	for _, m := range c.Wrong {
		if _, err := fmt.Fprintf(w, "%s: counted %d objects, %d bytes; it has %d objects, %d bytes\n", m.Partition, m.Stored.Objects, m.Stored.Bytes, m.Real.Objects, m.Real.Bytes); err != nil {
			return err
		}
	}
	end := ""
	if c.Repaired {
		end = ", counted anew"
	}
	if c.Busy > 0 {
		end += fmt.Sprintf(", %d too busy to be checked", c.Busy)
	}
	_, err := fmt.Fprintf(w, "bucket '%s': %d partitions, %d with wrong counts%s\n", c.Bucket, c.Partitions, len(c.Wrong), end)
	return err
}

// Snapshots prints a list of snapshots.
func Snapshots(w io.Writer, all []api.Snapshot) error {
	t := newTable(column{"SNAPSHOT", left, left}, column{"TAKEN", left, left}, column{"CLONES", left, left})
	for _, s := range all {
		t.add(s.Name, stamp(s.Taken), strings.Join(s.Clones, " "))
	}
	return t.write(w)
}
