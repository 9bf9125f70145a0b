package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	beginMark = "      # begin: made by go test ./internal/arch -update\n"
	endMark   = "      # end: made by go test ./internal/arch -update\n"
)

// depguard renders the rules as golangci-lint's configuration of depguard.
func depguard() string {
	var b strings.Builder
	b.WriteString("      rules:\n")
	glob := func(dir string) string {
		if dir == "." {
			return "${config-path}/**"
		}
		return "${config-path}/" + dir + "/**"
	}
	for _, r := range rules {
		fmt.Fprintf(&b, "        %s:\n          list-mode: lax\n          files:\n", r.name)
		for _, d := range r.dirs {
			fmt.Fprintf(&b, "            - %q\n", glob(d))
		}
		for _, d := range r.except {
			fmt.Fprintf(&b, "            - %q\n", "!"+glob(d))
		}
		if !r.tests {
			b.WriteString("            - \"!$test\"\n")
		}
		if len(r.allow) > 0 {
			b.WriteString("          allow:\n")
			for _, a := range r.allow {
				fmt.Fprintf(&b, "            - %s\n", a)
			}
		}
		b.WriteString("          deny:\n")
		for _, d := range r.deny {
			fmt.Fprintf(&b, "            - pkg: %s\n              desc: %q\n", d.pkg, d.why)
		}
	}
	return b.String()
}

// TestLinterHasTheSameRules: the linter shows in the editor what TestImports enforces.
func TestLinterHasTheSameRules(t *testing.T) {
	name := filepath.Join(root, ".golangci.yml")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(data), beginMark)
	got, tail, ok2 := strings.Cut(rest, endMark)
	if !ok1 || !ok2 {
		t.Fatalf("%s: the marks %q and %q are not there", name, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	want := depguard()
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("%s: the depguard rules differ from internal/arch/rules_test.go: run go test ./internal/arch -update", name)
	}
	if err := os.WriteFile(name, []byte(head+beginMark+want+endMark+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
