package show

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/api"
)

// Map prints the cluster map.
func Map(w io.Writer, m api.Map) error {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d\nfsid %s\ncreated %s\nmodified %s\nflags %s\n", m.Epoch, m.FSID, m.Created, m.Modified, shownFlags(m.Flags))
	for _, mon := range m.Mons {
		fmt.Fprintf(&b, "mon.%s addr %s raft %s admin %s\n", mon.Name, mon.Addr, mon.RaftAddr, mon.AdminAddr)
	}
	var pools strings.Builder
	if err := PoolDetail(&pools, m.Pools); err != nil {
		return err
	}
	b.WriteString(strings.TrimSuffix(pools.String(), "\n"))
	highest := -1
	for _, o := range m.OSDs {
		highest = max(highest, o.ID)
	}
	fmt.Fprintf(&b, "max_osd %d\n", highest+1)
	for _, o := range m.OSDs {
		up, in, state := "down", "out", "exists"
		if o.Up {
			up, state = "up", "exists,up"
		}
		if o.In {
			in = "in"
		}
		if o.AutoOut {
			state += ",autoout"
		}
		fmt.Fprintf(&b, "osd.%d %-4s %-3s weight %s up_from %d down_at %d %s %s %s\n", o.ID, up, in,
			strconv.FormatFloat(o.Reweight, 'g', 6, 64), o.UpFrom, o.DownAt, o.Addr, state, o.UUID)
	}
	for _, s := range m.Services {
		fmt.Fprintf(&b, "service %s.%s %s\n", s.Kind, s.Name, s.Addr)
	}
	for _, pg := range m.PGs {
		fmt.Fprintf(&b, "pg %s term %d version %d primary %d in_sync %s", pg.PGID, pg.Term, pg.Version, pg.Primary, list(pg.InSync))
		if !pg.Created {
			b.WriteString(" creating")
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Buckets prints a list of buckets.
func Buckets(w io.Writer, buckets []api.Bucket) error {
	t := newTable(column{"BUCKET", left, left}, column{"OWNER", left, left}, column{"OBJECTS", right, right}, column{"SIZE", right, right},
		column{"CREATED", left, left})
	for _, b := range buckets {
		t.add(b.Name, b.Owner, counted(b.Objects, b.Partial, Count), counted(b.Bytes, b.Partial, Bytes), stamp(b.Created))
	}
	return t.write(w)
}

// Bucket prints one bucket.
func Bucket(w io.Writer, b api.Bucket) error {
	versioning := b.Versioning
	if versioning == "" {
		versioning = "off"
	}
	return fields(w, [][2]string{{"bucket", b.Name}, {"owner", b.Owner}, {"created", stamp(b.Created)},
		{"objects", counted(b.Objects, b.Partial, num)}, {"size", counted(b.Bytes, b.Partial, Bytes)}, {"versioning", versioning}})
}

// BucketInfo prints a bucket with its settings and what it takes.
func BucketInfo(w io.Writer, i api.BucketInfo) error {
	own := "none of its own"
	if len(i.Bucket.Settings) > 0 {
		var words []string
		for _, k := range slices.Sorted(maps.Keys(i.Bucket.Settings)) {
			words = append(words, k+"="+i.Bucket.Settings[k])
		}
		own = strings.Join(words, " ")
	}
	b := &i.Bucket
	return fields(w, append([][2]string{{"bucket", b.Name}, {"owner", b.Owner}, {"created", stamp(b.Created)}, {"settings", own},
		{"chunks made", cmp.Or(b.Policy, "none")}}, usageFields(&i.Usage)...))
}

// Deleted prints a list of deleted objects.
func Deleted(w io.Writer, p api.DeletedPage) error {
	t := newTable(column{"KEY", left, left}, column{"SIZE", right, right}, column{"DELETED", left, left}, column{"EXPIRES", left, left}, column{"ID", left, left})
	for _, o := range p.Objects {
		t.add(o.Key, Bytes(o.Size), stamp(o.Deleted), stamp(o.Expires), o.ID)
	}
	if err := t.write(w); err != nil || !p.More {
		return err
	}
	_, err := fmt.Fprintf(w, "there are more than these %d, see --limit and --prefix\n", len(p.Objects))
	return err
}

// BucketUsage prints what an object takes, or all buckets of a user.
func BucketUsage(w io.Writer, u api.BucketUsage) error {
	if u.User != "" {
		return fields(w, append([][2]string{{"user", u.User}}, usageFields(&u)...))
	}
	return fields(w, append([][2]string{{"bucket", u.Bucket}, {"key", u.Key}}, usageFields(&u)...))
}

func usageFields(u *api.BucketUsage) [][2]string {
	objects := num(u.Objects)
	if u.Partial {
		objects = "the first " + objects + ": looking at more would take too long"
	}
	ratio := func(r float64) string { return strconv.FormatFloat(r, 'f', 2, 64) }
	rows := [][2]string{
		{"objects", objects}, {"size", Bytes(u.Bytes)}, {"in chunks", Bytes(u.Chunked) + ", " + num(u.Refs) + " references"},
		{"unique", Bytes(u.UniqueBytes) + " in " + num(u.Chunks) + " chunks"}, {"shared with others", Bytes(u.SharedBytes)},
		{"compressed", Bytes(u.Stored)}, {"on OSDs", Bytes(u.Physical)},
		{"ratio", ratio(u.Ratio) + " (deduplication " + ratio(u.DedupRatio) + ")"},
	}
	if u.Kept > 0 {
		rows = append(rows, [2]string{"deleted, kept", num(u.Kept) + " objects of " + Bytes(u.KeptBytes)})
	}
	return rows
}

// counted prints a number that may be unknown, or only a lower bound.
func counted(n int64, partial bool, print func(int64) string) string {
	switch {
	case n < 0:
		return "-"
	case partial:
		return ">=" + print(n)
	}
	return print(n)
}

// Users prints a list of users without their secrets.
func Users(w io.Writer, users []api.User) error {
	t := newTable(column{"USER", left, left}, column{"DISPLAY NAME", left, left}, column{"ACCESS KEYS", left, left}, column{"STATE", left, left})
	for _, u := range users {
		var keys []string
		for _, k := range u.Keys {
			keys = append(keys, k.AccessKey)
		}
		t.add(u.Name, u.DisplayName, strings.Join(keys, ","), state(&u))
	}
	return t.write(w)
}

// User prints one user, with secrets if they are there.
func User(w io.Writer, u api.User) error {
	rows := [][2]string{{"user", u.Name}, {"display name", u.DisplayName}, {"state", state(&u)}}
	for _, k := range u.Keys {
		rows = append(rows, [2]string{"access key", k.AccessKey})
		if k.SecretKey != "" {
			rows = append(rows, [2]string{"secret key", k.SecretKey})
		}
	}
	return fields(w, rows)
}

func state(u *api.User) string {
	if u.Suspended {
		return "suspended"
	}
	return "active"
}

// Object prints what is known of an object.
func Object(w io.Writer, pool, name string, size uint64, mtime time.Time) error {
	_, err := fmt.Fprintf(w, "%s/%s mtime %s, size %d\n", pool, name, mtime.UTC().Format("2006-01-02T15:04:05.000000-0700"), size)
	return err
}

func fields(w io.Writer, rows [][2]string) error {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(w, "%s %s\n", fmt.Sprintf("%-*s", width+1, r[0]+":"), r[1]); err != nil {
			return err
		}
	}
	return nil
}

func stamp(unix int64) string {
	if unix <= 0 {
		return "-"
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}
