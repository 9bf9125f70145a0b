package chunk

import (
	"testing"

	"github.com/cairnstore/cairn/placement"
)

// TestRecordNames holds that records belong to the object or entry that they are about, and that outbox names sort by position.
func TestRecordNames(t *testing.T) {
	f := Fingerprint{BLAKE3, 7}
	for name, of := range map[string]string{
		OutboxName(3, 9, "o"):         "o",
		VoidRefName(Nonce{1, 2}, "o"): "o",
		VoidChunkName(5, f):           f.IndexName(),
		f.IndexName():                 f.IndexName(),
	} {
		if !placement.IsRecord(name) || placement.Locator(name) != of {
			t.Errorf("record %q belongs to %q, not %q", name, placement.Locator(name), of)
		}
	}
	term, seq, object, ok := OutboxOf(OutboxName(3, 9, "o"))
	if !ok || term != 3 || seq != 9 || object != "o" {
		t.Errorf("got %d'%d of %q, %v", term, seq, object, ok)
	}
	for _, bad := range []string{"", "o", VoidRefName(Nonce{}, "o"), OutboxName(1, 1, "")} {
		if _, _, _, ok := OutboxOf(bad); ok {
			t.Errorf("%q was taken for an outbox record", bad)
		}
	}
	if OutboxName(1, 256, "o") < OutboxName(1, 255, "o") || OutboxName(2, 1, "o") < OutboxName(1, 2, "o") {
		t.Error("outbox records do not sort by position")
	}
}
