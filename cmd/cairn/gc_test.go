package main

import (
	"strings"
	"testing"
)

func TestGC(t *testing.T) {
	c := newCluster(t)
	for _, tt := range []struct {
		argv []string
		code int
		want string
	}{
		{[]string{"status"}, 0, "looked at:  12 of 12 PGs\n"},
		{[]string{"status"}, 0, `dangling: pool 1 object "a\ab": it is gone`},
		{[]string{"audit"}, 0, "3 OSDs, 12 PGs, 27 chunks\nleaked: 6\ndangling: 0\nhealed: 3\nnot healed: 3\n"},
		{[]string{"audit", "--min-age=5s", "-o=json"}, 0, `"leaked": 2`},
		{[]string{"run"}, 0, "deleted: 0 chunks, 0 B\n"},
		{[]string{"repair"}, 0, "unreadable: 0 chunks\n"},
		{[]string{"run", "--no-wait"}, 0, "begun on 3 OSDs"},
		{[]string{"run", "--pool=nope"}, exitNotFound, "nope"},
		{[]string{"run", "now"}, exitUsage, "gc run"},
	} {
		if r := c.admin(t, append([]string{"gc"}, tt.argv...)...); r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("cairn gc %q: exit code %d, want %d and %q:\n%s%s", tt.argv, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
	}
}
