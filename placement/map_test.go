package placement

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPGID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := PGID{PoolID(rapid.Uint32Range(1, 1<<32-1).Draw(t, "pool")), rapid.Uint32().Draw(t, "shard")}
		back, err := ParsePGID(id.String())
		if err != nil || back != id {
			t.Fatalf("%s: got %v, %v", id, back, err)
		}
	})
	for _, s := range []string{"", "1", ".", "1.", ".1", "0.1", "1.g", "1.1.1", "-1.1", "4294967296.0", "1.100000000", "1.0x1"} {
		if id, err := ParsePGID(s); err == nil {
			t.Errorf("%q parses as %s", s, id)
		}
	}
	if a, b, c := (PGID{1, 2}), (PGID{1, 3}), (PGID{2, 0}); !a.Less(b) || !b.Less(c) || c.Less(a) || a.Less(a) {
		t.Error("Less does not order by pool, then shard")
	}
}

func TestLookups(t *testing.T) {
	m := goldenMap(t)
	for _, id := range []OSDID{-1, 0, 1, 2, 3} {
		want := id >= 0 && id <= 2
		if o := m.OSD(id); (o != nil) != want || want && o.ID != id {
			t.Errorf("OSD(%d) = %v", id, o)
		}
	}
	if !m.IsUp(0) || m.IsUp(2) || m.IsUp(9) {
		t.Error("IsUp: osd.0 is up, osd.2 down, osd.9 unknown")
	}
	if p := m.Pool(3); p == nil || p != m.PoolByName("bücket") || m.Pool(2) != nil || m.PoolByName("none") != nil {
		t.Errorf("Pool(3) = %v", p)
	}
	if r := m.PG(PGID{1, 2}); r == nil || r.Term != 9 || m.PG(PGID{1, 4}) != nil || m.PG(PGID{2, 0}) != nil || m.PG(PGID{1, 1<<32 - 1}) != nil {
		t.Errorf("PG(1.2) = %v", r)
	}
	if OSDID(3).String() != "osd.3" || NoOSD.String() != "none" {
		t.Error("OSDID.String")
	}
	if got := (UUID{0: 0x12, 15: 0xff}).String(); got != "12000000-0000-0000-0000-0000000000ff" {
		t.Errorf("UUID.String = %s", got)
	}
}

// TestPure: no clock, no I/O, no goroutine, no randomness, no log, here and in what
// placement is made of.
func TestPure(t *testing.T) {
	allowed := map[string]bool{
		"bytes": true, "cmp": true, "encoding/binary": true, "errors": true, "fmt": true, "hash/crc32": true,
		"maps": true, "math": true, "math/big": true, "math/bits": true, "slices": true, "sort": true, "strconv": true, "strings": true,
		"sync/atomic":                  true, // Table remembers answers in atomic pointers
		"time":                         true, // durations; internal/arch forbids its clock
		"unicode/utf8":                 true,
		"github.com/minio/highwayhash": true,
		"github.com/cairnstore/cairn/internal/codec":  true,
		"github.com/cairnstore/cairn/placement/crush": true,
	}
	for _, dir := range []string{".", "crush", "../internal/codec"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				if path, _ := strconv.Unquote(imp.Path.Value); !allowed[path] {
					t.Errorf("%s imports %s; placement is pure", name, path)
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if _, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s starts a goroutine; placement is pure", name)
				}
				return true
			})
		}
	}
}
