package torture

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestIdle: both kinds of clusters start, are looked at and are closed.
func TestIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	bin, err := Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Idle(ctx, &out, Options{Binary: bin, Dir: filepath.Join(dir, "cluster"), Mons: 1, OSDs: 3}, 50*time.Millisecond); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if s := out.String(); !strings.Contains(s, "cairn dev: 1 monitor(s)") || !strings.Contains(s, "osd2 ") {
		t.Errorf("it printed:\n%s", s)
	}
}
