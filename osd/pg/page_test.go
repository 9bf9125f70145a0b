package pg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/protocol.md names every mutant and every script, so that whoever reads of a rule finds what
// keeps it, and no rule is kept that nobody can read of.
func TestProtocolPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, m := range Mutants() {
		if !strings.Contains(page, "`"+m.String()+"`") {
			t.Errorf("docs/protocol.md does not say which rule the mutant `%s` breaks", m)
		}
	}
	scripts, err := filepath.Glob("testdata/text/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range scripts {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		if !strings.Contains(page, "`"+name+"`") && !strings.Contains(page, "`"+name+".txt`") {
			t.Errorf("docs/protocol.md does not mention the script `%s`", name)
		}
	}
}
