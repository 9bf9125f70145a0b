package crushtool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/placement/crush"
	"github.com/google/go-cmp/cmp"
)

const maps = "../../placement/crush/testdata/"

// run executes the command line and returns what it printed.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := NewCommand()
	var out, errOut bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SilenceErrors = true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(context.Background())
	return out.String(), errOut.String(), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, err := run(t, "", args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, errOut)
	}
	return out
}

// TestGolden compares with the output of Ceph's crushtool; testdata/golden.sh makes it.
func TestGolden(t *testing.T) {
	cases, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(cases)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		t.Run(f[0], func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join("testdata", f[0]+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{"test", "-i", maps + f[1] + ".txt"}, f[2:]...)
			if diff := cmp.Diff(string(want), mustRun(t, args...)); diff != "" {
				t.Errorf("output differs from crushtool's (-crushtool +got):\n%s", diff)
			}
		})
	}
}

func TestCompileDecompile(t *testing.T) {
	dir := t.TempDir()
	compiled, text := filepath.Join(dir, "map"), filepath.Join(dir, "map.txt")
	mustRun(t, "compile", "-c", maps+"mixed-60.txt", "-o", compiled)
	first := mustRun(t, "decompile", "-d", compiled)
	mustRun(t, "decompile", compiled, "-o", text)
	written, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != first {
		t.Error("decompile -o writes another text than decompile prints")
	}
	// Compiled, decompiled and original form give the same mappings.
	args := []string{"--rule", "3", "--num-rep", "6", "--show-mappings", "--max-x", "50"}
	want := mustRun(t, append([]string{"test", "-i", maps + "mixed-60.txt"}, args...)...)
	for _, path := range []string{compiled, text} {
		if got := mustRun(t, append([]string{"test", "-i", path}, args...)...); got != want {
			t.Errorf("%s maps otherwise than the original", filepath.Base(path))
		}
	}
	if out := mustRun(t, "compile", text); !strings.Contains(out, "60 devices") {
		t.Errorf("compile without -o printed %q", out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("temporary files were left behind: %v, %v", entries, err)
	}
}

func TestStandardInput(t *testing.T) {
	text, err := os.ReadFile(maps + "seed-slides.txt")
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, string(text), "test", "-i", "-", "--show-mappings", "--x", "0", "--rule", "0", "--num-rep", "3")
	if err != nil || out != "CRUSH rule 0 x 0 [4,7,6]\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestTree(t *testing.T) {
	want := `ID   CLASS  WEIGHT   TYPE NAME
-1          1.32797  root default
-3          0.37099      host Ceph-01
0    hdd    0.09799          osd.0
6    hdd    0.19499          osd.6
`
	out := mustRun(t, "tree", maps+"seed-slides.txt")
	if !strings.HasPrefix(out, want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", out, want)
	}
	var nodes []treeLine
	if err := json.Unmarshal([]byte(mustRun(t, "tree", maps+"seed-slides.txt", "-f", "json")), &nodes); err != nil || len(nodes) != 18 {
		t.Errorf("%d nodes as JSON, want 18; %v", len(nodes), err)
	}
}

func TestJSON(t *testing.T) {
	out := mustRun(t, "test", "-i", maps+"seed-slides.txt", "-f", "json", "--show-mappings", "--show-utilization",
		"--show-choose-tries", "--rule", "2", "--num-rep", "3", "--max-x", "9")
	var r testReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != 1 || r.Runs[0].Bad != 10 || r.Runs[0].Sizes[2] != 10 || len(r.Runs[0].Mappings) != 10 ||
		len(r.Runs[0].Utilization) != 2 || len(r.Retries) != 50 {
		t.Errorf("unexpected report:\n%s", out)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := file("bad.txt", "device 0 osd.0\ntype 0 osd\ntype 1 host\nhost a {\n\talg straw9\n}\n")
	noSizes := file("nosizes.txt", "device 0 osd.0\ntype 0 osd\ntype 1 root\nroot a {\n\talg straw2\n\titem osd.0\n}\n"+
		"rule r {\n\tid 0\n\ttype replicated\n\tstep take a\n\tstep choose firstn 0 type osd\n\tstep emit\n}\n")
	good := maps + "mixed-60.txt"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"syntax", []string{"compile", bad}, bad + ":5:6: unknown bucket algorithm"},
		{"no such file", []string{"compile", filepath.Join(dir, "none")}, "no such file"},
		{"no map", []string{"decompile"}, "no map given"},
		{"two maps", []string{"decompile", "-d", good, good}, "name one map"},
		{"ceph binary", []string{"test", "-i", file("ceph.bin", "\x00\x00\x01\x00"), "--show-mappings"}, "crushtool -d"},
		{"cut", []string{"decompile", file("cut", "CRNCRUSH\x01\x00")}, "corrupt crush map encoding"},
		{"newer", []string{"decompile", file("newer", "CRNCRUSH\x09\x00\x00\x00\x00\x00")}, "version 9"},
		{"no -i", []string{"test", "--show-mappings"}, "use -i FILE"},
		{"no rule", []string{"test", "-i", good, "--rule", "9"}, "rule 9: not in the crush map"},
		{"weight word", []string{"test", "-i", good, "--weight", "3"}, "no weight given"},
		{"weight range", []string{"test", "-i", good, "--weight", "3=1.5"}, "between 0 and 1"},
		{"weight id", []string{"test", "-i", good, "--weight", "x=1"}, "not the id of a device"},
		{"weight device", []string{"test", "-i", good, "--weight", "99", "0.5"}, "device 99 is not in the crush map"},
		{"argument", []string{"test", good}, "named by -i"},
		{"min-rep alone", []string{"test", "-i", good, "--min-rep", "2"}, "go together"},
		{"num-rep", []string{"test", "-i", good, "--num-rep", "5000"}, "at most 1024"},
		{"x range", []string{"test", "-i", good, "--min-x", "5", "--max-x", "4"}, "less than --min-x"},
		{"too many x", []string{"test", "-i", good, "--max-x", "99999999"}, "more than 10000000 inputs"},
		{"x twice", []string{"test", "-i", good, "--max-x", "9", "--x", "4"}, "not both"},
		{"no sizes", []string{"test", "-i", noSizes, "--show-mappings"}, "give --num-rep"},
		{"format", []string{"test", "-i", good, "-f", "xml"}, "unknown format"},
		{"output", []string{"compile", good, "-o", filepath.Join(dir, "none", "x")}, "no such file"},
	} {
		_, _, err := run(t, "", c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.want)
		}
	}
	_, _, err := run(t, "", "compile", bad)
	if se := (*crush.SyntaxError)(nil); !errors.As(err, &se) || se.Line != 5 || se.Col != 6 {
		t.Errorf("got %v, want a SyntaxError at 5:6", err)
	}
	if _, errOut, err := run(t, "", "test", "-i", good, "--rule", "0"); err != nil || !strings.Contains(errOut, "no output selected") {
		t.Errorf("without --show flags: %q, %v", errOut, err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := testOptions{In: maps + "mixed-60.txt", Format: "text", Rule: 0, NumRep: 3, MaxX: 1 << 20, PoolID: -1, ShowStatistics: true}
	o.Stdout, o.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
	if err := runTest(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
