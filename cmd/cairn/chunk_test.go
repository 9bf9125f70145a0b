package main

import (
	"strings"
	"testing"
)

func TestChunk(t *testing.T) {
	c := newCluster(t)
	fp, own := "blake3:"+strings.Repeat("0a", 32), "own:"+strings.Repeat("0a", 32)
	for _, tt := range []struct {
		argv []string
		code int
		want string
	}{
		{[]string{"ls", "rbd"}, 0, "CHUNK      PG    SIZE   STORED  REDUNDANCY  HOLDERS   REFS  NOTE"},
		{[]string{"ls", "rbd"}, 0, "[1,2,-1]  512+  its bytes are others; condemned since 2026-11-23T10:00:00Z\n"},
		{[]string{"ls", "rbd", "--limit=1"}, 0, "there are more"},
		{[]string{"ls", "rbd", "-o=json"}, 0, `"more_references": true`},
		{[]string{"ls", "rbd", "--limit=-1"}, exitUsage, "--limit"},
		{[]string{"ls", "nope"}, exitNotFound, "nope"},
		{[]string{"show", "rbd", fp}, 0, "tenant acme"},
		{[]string{"show", "rbd", fp}, 0, `object "a\ab"`},
		{[]string{"show", "rbd", "0a"}, exitUsage, "is no fingerprint"},
		{[]string{"verify", "rbd", own}, 0, "nothing is wrong"},
		{[]string{"verify", "rbd", fp}, exitDamage, "the parity does not fit"},
		{[]string{"verify", "rbd", "--all"}, 0, "3 OSDs, 12 PGs, 27 chunks\ndamaged: 0 chunks\n"},
		{[]string{"verify", "rbd"}, exitUsage, "--all"},
		{[]string{"verify", "rbd", fp, "--all"}, exitUsage, "--all"},
	} {
		if r := c.admin(t, append([]string{"chunk"}, tt.argv...)...); r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("cairn chunk %q: exit code %d, want %d and %q:\n%s%s", tt.argv, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
	}
}
