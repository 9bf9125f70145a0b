package arch

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the depguard section of .golangci.yml")

const root = "../.."

// linesMax is how long a file that people write may be: a reader should be able
// to hold it in mind.
const linesMax = 800

// source is one parsed Go file. Its name is relative to the root, with slashes.
type source struct {
	name      string
	test      bool
	generated bool
	lines     int
	file      *ast.File
	fset      *token.FileSet
}

func (s *source) dir() string { return path.Dir(s.name) }

// sources parses every Go file of the module, whatever its build constraints.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			if rel != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" || ownModule(p)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, p, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, &source{
			name: filepath.ToSlash(rel), test: strings.HasSuffix(p, "_test.go"), generated: ast.IsGenerated(f),
			lines: strings.Count(string(data), "\n"), file: f, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatalf("read the sources: %v", err)
	}
	if len(all) < 50 {
		t.Fatalf("found only %d Go files below %s; has this test moved?", len(all), root)
	}
	return all
}

// ownModule reports whether a folder is another module, such as the linter's.
func ownModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// below reports whether dir is one of the folders or is inside one.
func below(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return f == "." || dir == f || strings.HasPrefix(dir, f+"/")
	})
}

func (r *rule) binds(s *source) bool {
	return below(s.dir(), r.dirs) && !below(s.dir(), r.except) && (r.tests || !s.test)
}

// forbids returns why the rule forbids an import; "" if it does not.
func (r *rule) forbids(imp string) string {
	best, why := -1, ""
	for _, b := range r.deny {
		// "net" must not match "net.example/x": a dot is never in the standard library.
		std := !strings.ContainsAny(b.pkg, "./")
		if strings.HasPrefix(imp, b.pkg) && len(b.pkg) > best && !(std && strings.Contains(imp, ".")) {
			best, why = len(b.pkg), b.why
		}
	}
	for _, a := range r.allow {
		if strings.HasPrefix(imp, a) && len(a) > best {
			return ""
		}
	}
	return why
}

func TestImports(t *testing.T) {
	all := sources(t)
	for i := range rules {
		r := &rules[i]
		t.Run(r.name, func(t *testing.T) {
			bound := 0
			for _, s := range all {
				if !r.binds(s) {
					continue
				}
				bound++
				for _, spec := range s.file.Imports {
					imp, err := strconv.Unquote(spec.Path.Value)
					if err != nil {
						t.Fatalf("%s: import %s: %v", s.name, spec.Path.Value, err)
					}
					if why := r.forbids(imp); why != "" {
						t.Errorf("%s:%d imports %s: %s", s.name, s.fset.Position(spec.Pos()).Line, imp, why)
					}
				}
			}
			if bound == 0 {
				t.Errorf("no file in %v: the rule guards nothing", r.dirs)
			}
		})
	}
}

// TestEveryRoomHasARule: a new folder at the root says first what it may import.
func TestEveryRoomHasARule(t *testing.T) {
	for _, s := range sources(t) {
		if below(s.dir(), assemblers) {
			continue
		}
		covered := slices.ContainsFunc(rules, func(r rule) bool {
			return !slices.Contains(r.dirs, ".") && below(s.dir(), r.dirs) && !below(s.dir(), r.except)
		})
		if !covered {
			t.Errorf("%s: no rule covers its folder; add one to internal/arch/rules_test.go", s.name)
		}
	}
}

// TestRulesAreWellFormed: see the comment of type rule.
func TestRulesAreWellFormed(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rules {
		if names[r.name] {
			t.Errorf("two rules are called %s", r.name)
		}
		names[r.name] = true
		var denied []string
		for _, b := range r.deny {
			if b.why == "" {
				t.Errorf("rule %s forbids %s without saying why", r.name, b.pkg)
			}
			denied = append(denied, b.pkg)
		}
		for _, list := range [][]string{denied, r.allow} {
			for i, a := range list {
				for j, b := range list {
					if i != j && strings.HasPrefix(b, a) {
						t.Errorf("rule %s: %s begins %s in the same list", r.name, a, b)
					}
				}
			}
		}
	}
}

func TestForbids(t *testing.T) {
	r := rule{
		allow: []string{"log/slog", own + "osd/store"},
		deny:  with(bans("w", "log", "net", "os", own+"osd", "go.etcd.io/bbolt")),
	}
	for imp, want := range map[string]bool{
		"log": true, "log/slog": false, "net": true, "net/http": true, "os": true, "os/exec": true, "errors": false,
		"net.example/x": false, own + "osd": true, own + "osd/pg": true, own + "osd/store": false, own + "osd/store/storetest": false,
		own + "mon": false, "go.etcd.io/bbolt": true,
	} {
		if got := r.forbids(imp) != ""; got != want {
			t.Errorf("forbids(%q) = %v, want %v", imp, got, want)
		}
	}
}

// clockFuncs of package time look at a clock or wait for one.
var clockFuncs = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// TestPure: what imports cannot show. A pure package starts no goroutine, waits
// for none and does not ask what time it is.
func TestPure(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || !below(s.dir(), pure) {
			continue
		}
		for _, p := range pure {
			if below(s.dir(), []string{p}) {
				seen[p] = true
			}
		}
		// internal/clock is where the clock enters; what it offers to pure packages are types.
		for _, msg := range impurities(s.fset, s.file) {
			if s.dir() == "internal/clock" && strings.Contains(msg, "time.") {
				continue
			}
			t.Errorf("%s:%s: a pure package leaves that to its driver", s.name, msg)
		}
	}
	for _, p := range pure {
		if !seen[p] {
			t.Errorf("no file in %s: the rule guards nothing", p)
		}
	}
}

// impurities lists "line: what is done" for a file of a pure package.
func impurities(fset *token.FileSet, f *ast.File) (found []string) {
	add := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%d: %s", fset.Position(n.Pos()).Line, what))
	}
	timeName := ""
	for _, spec := range f.Imports {
		if spec.Path.Value == `"time"` {
			if timeName = "time"; spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			add(n, "starts a goroutine")
		case *ast.SelectStmt:
			add(n, "waits in a select")
		case *ast.SendStmt:
			add(n, "sends on a channel")
		case *ast.ChanType:
			add(n, "has a channel")
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && timeName != "" && id.Name == timeName && slices.Contains(clockFuncs, n.Sel.Name) {
				add(n, "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}

func TestImpurities(t *testing.T) {
	const src = `package x
import clk "time"
func f(c chan int) {
	go f(c)
	_ = clk.Now()
	clk.Sleep(clk.Second)
	var time struct{ Now int }
	_ = time.Now
	select {}
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "x.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"3: has a channel", "4: starts a goroutine", "5: uses time.Now", "6: uses time.Sleep", "9: waits in a select"}
	if got := impurities(fset, f); !slices.Equal(got, want) {
		t.Errorf("impurities = %q, want %q", got, want)
	}
}

// TestFilesAreShort keeps every file that people write within one sitting.
func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test && !s.generated && s.lines > linesMax {
			t.Errorf("%s has %d lines, want at most %d: it is two files", s.name, s.lines, linesMax)
		}
	}
}

// TestNoSleepInTests: a test that sleeps is slow when it passes and fails on a
// busy machine. In testing/synctest's bubble sleeping is free and exact.
func TestNoSleepInTests(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test || slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }) {
			continue
		}
		for _, msg := range impurities(s.fset, s.file) {
			if strings.HasSuffix(msg, "uses time.Sleep") {
				t.Errorf("%s:%s: wait for the event itself, or use testing/synctest", s.name, msg)
			}
		}
	}
}
