package placement

import "testing"

func TestLocator(t *testing.T) {
	entry := RecordName(ChunkEntry, []byte("0123456789abcdef0123456789abcdef!"), "")
	for _, c := range []struct{ name, want string }{
		{"plain", "plain"},
		{"", ""},
		{entry, entry},
		{RecordName(Outbox, make([]byte, 12), "plain"), "plain"},
		{RecordName(VoidRef, make([]byte, 16), "plain"), "plain"},
		{RecordName(VoidChunk, make([]byte, 8), entry), entry},
		{RecordName(Condemned, make([]byte, 8), entry), entry},
		{RecordName(Outbox, nil, ""), "\x00o"},
	} {
		if got := Locator(c.name); got != c.want {
			t.Errorf("%q has locator %q, want %q", c.name, got, c.want)
		}
		if NameHash(c.name) != NameHash(c.want) {
			t.Errorf("%q and %q are in different PGs", c.name, c.want)
		}
	}
}

func TestParseRedundancy(t *testing.T) {
	for _, s := range []string{"none", "replica:1", "replica:3", "2:1:xor", "3:1:xor", "4:1:xor", "2:2:rs", "3:2:rs", "4:2:rs", "6:2:rs", "9:3:rs", "20:6:rs"} {
		r, err := ParseRedundancy(s)
		if err != nil || r.String() != s {
			t.Errorf("%s: %v, %v", s, r, err)
		}
	}
	for _, s := range []string{"", "3", "replica:0", "replica:99", "1:1:xor", "2:2:xor", "21:2:rs", "2:7:rs", "4:2", "4:2:jerasure", "4:0:rs", "-1:2:rs", "300:2:rs"} {
		if r, err := ParseRedundancy(s); err == nil {
			t.Errorf("%q was taken for %v", s, r)
		}
	}
}
