package crush

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vectors is a file of crushtool's answers: a header with reweights, then a line
// "rule numrep x [osd,...]" each.
type vectors struct {
	weights []uint32
	cases   []vector
}

type vector struct {
	rule, numRep, x int
	want            string
}

func readVectors(t *testing.T, path string) vectors {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	sc := bufio.NewScanner(zr)
	for sc.Scan() {
		line := sc.Text()
		if rest, ok := strings.CutPrefix(line, "#"); ok {
			if _, list, ok := strings.Cut(rest, "reweights:"); ok {
				v.weights = parseReweights(t, list)
			}
			continue
		}
		var c vector
		if _, err := fmt.Sscanf(line, "%d %d %d %s", &c.rule, &c.numRep, &c.x, &c.want); err != nil {
			t.Fatalf("%s: line %q: %v", path, line, err)
		}
		v.cases = append(v.cases, c)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return v
}

func parseReweights(t *testing.T, list string) []uint32 {
	t.Helper()
	var out []uint32
	for _, f := range strings.Fields(list) {
		id, w, ok := strings.Cut(f, "=")
		n, err1 := strconv.Atoi(id)
		r, err2 := strconv.ParseFloat(w, 64)
		if !ok || err1 != nil || err2 != nil {
			t.Fatalf("reweight %q", f)
		}
		for len(out) <= n {
			out = append(out, uint32(WeightOne))
		}
		out[n] = uint32(r * float64(WeightOne))
	}
	return out
}

func readMap(t testing.TB, path string) *Map {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

func formatResult(devices []int) string {
	return strings.ReplaceAll(fmt.Sprint(devices), " ", ",")
}

// TestVectors proves that the mapper gives crushtool's answer to every vector.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.mappings.gz")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".mappings.gz")
		t.Run(name, func(t *testing.T) {
			m := readMap(t, "testdata/"+name+".txt")
			v := readVectors(t, file)
			bad := 0
			for _, c := range v.cases {
				got, err := m.Do(c.rule, c.x, c.numRep, v.weights)
				if err != nil {
					t.Fatal(err)
				}
				if g := formatResult(got); g != c.want {
					if bad++; bad <= 5 {
						t.Errorf("rule %d num_rep %d x %d: got %s, want %s", c.rule, c.numRep, c.x, g, c.want)
					}
				}
			}
			if bad > 0 {
				t.Errorf("%d of %d mappings differ", bad, len(v.cases))
			}
			t.Logf("%d mappings equal crushtool's", len(v.cases)-bad)
			total += len(v.cases) - bad
		})
	}
	fmt.Printf("crush vectors: %d mappings equal crushtool's\n", total)
	if total < 50000 {
		t.Errorf("%d mappings compared, want more than 50,000", total)
	}
}

// TestDecompileIsFixPoint: text that was decompiled once stays the same.
func TestDecompileIsFixPoint(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		m := readMap(t, file)
		text := m.String()
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := again.String(); got != text {
			t.Errorf("%s: decompiled twice:\n%s\nwant\n%s", file, got, text)
		}
		if !again.Equal(m) {
			t.Errorf("%s: the decompiled text is another map", file)
		}
	}
}
