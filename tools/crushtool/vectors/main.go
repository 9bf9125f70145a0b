// Command vectors compares the CRUSH mapper with Ceph's crushtool on random maps,
// and makes test vectors from crushtool's answers:
//
//	go run ./tools/crushtool/vectors -maps 200 -seed 1
//	go run ./tools/crushtool/vectors -write placement/crush/testdata -name class-trees -kind straw2 -seed 7
//
// It needs crushtool (Debian: package ceph-base). The seed and the kind determine the map.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/placement/crush"
)

type options struct {
	Crushtool string
	Seed      uint64
	Maps      int
	Inputs    int
	Kind      string
	Write     string
	Name      string
}

func main() {
	var o options
	flag.StringVar(&o.Crushtool, "crushtool", "crushtool", "the crushtool to compare with")
	flag.Uint64Var(&o.Seed, "seed", 1, "seed of the first map; the next ones count up")
	flag.IntVar(&o.Maps, "maps", 20, "how many maps to compare")
	flag.IntVar(&o.Inputs, "inputs", 200, "inputs for each rule and replica count")
	flag.StringVar(&o.Kind, "kind", "any", "bucket algorithms: straw2, list, tree, uniform, straw or any")
	flag.StringVar(&o.Write, "write", "", "write one map and its answers as test vectors into this directory")
	flag.StringVar(&o.Name, "name", "", "name of the files to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "crush-vectors")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.Write != "" {
		if o.Name == "" {
			return errors.New("-write needs -name")
		}
		o.Maps = 1
	}
	total, bad := 0, 0
	for i := range o.Maps {
		seed := o.Seed + uint64(i)
		g := newGenerator(seed, o.Kind)
		n, diff, err := compare(ctx, o, dir, g)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		total += n
		if diff != "" {
			bad++
			fmt.Fprintf(out, "seed %d kind %s differs:\n%s\n", seed, o.Kind, diff)
		}
	}
	fmt.Fprintf(out, "%d mappings on %d maps compared, %d maps differ\n", total, o.Maps, bad)
	if bad > 0 {
		return fmt.Errorf("%d of %d maps differ", bad, o.Maps)
	}
	return nil
}

// compare maps all inputs of one generated map both ways.
func compare(ctx context.Context, o options, dir string, g *generator) (total int, diff string, err error) {
	text := g.mapText()
	textFile, binFile := filepath.Join(dir, "map.txt"), filepath.Join(dir, "map.bin")
	if err := os.WriteFile(textFile, []byte(text), 0o600); err != nil {
		return 0, "", err
	}
	if _, err := tool(ctx, o, "-c", textFile, "-o", binFile); err != nil {
		return 0, "", err
	}
	m, err := crush.Parse(text)
	if err != nil {
		return 0, "", fmt.Errorf("crushtool compiles this map, Parse does not: %w\n%s", err, text)
	}
	theirs, err := tool(ctx, o, "-d", binFile)
	if err != nil {
		return 0, "", err
	}
	ours := m.String()
	if g.comparable && ours != string(theirs) {
		return 0, "decompiled:\n" + firstDifference(ours, string(theirs)), nil
	}
	if same, err := compilesTo(ctx, o, dir, ours, binFile); err != nil || !same {
		return 0, "crushtool compiles the decompiled text to another map", err
	}

	var answers bytes.Buffer
	answers.WriteString("# rule numrep x -> osds; reweights:")
	var args []string
	var weights []uint32
	for id, w := range g.reweights {
		weights = append(weights, uint32(crush.WeightOne))
		if w < 1 {
			weights[id] = uint32(w * float64(crush.WeightOne))
			args = append(args, "--weight", strconv.Itoa(id), strconv.FormatFloat(w, 'g', -1, 64))
			fmt.Fprintf(&answers, " %d=%v", id, w)
		}
	}
	answers.WriteString("\n")
	for _, r := range m.Rules {
		for _, numRep := range g.replicas {
			out, err := tool(ctx, o, append([]string{"-i", binFile, "--test", "--show-mappings",
				"--rule", strconv.Itoa(r.ID), "--num-rep", strconv.Itoa(numRep),
				"--min-x", "0", "--max-x", strconv.Itoa(o.Inputs - 1)}, args...)...)
			if err != nil {
				return total, "", err
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(lines) != o.Inputs {
				return total, "", fmt.Errorf("crushtool printed %d lines for %d inputs", len(lines), o.Inputs)
			}
			for x, line := range lines {
				_, want, _ := strings.Cut(line, "[")
				got, err := m.Do(r.ID, x, numRep, weights)
				if err != nil {
					return total, "", err
				}
				ours := strings.ReplaceAll(fmt.Sprint(got), " ", ",")
				if ours != "["+want {
					return total, fmt.Sprintf("rule %d (%s) num_rep %d x %d: got %s, want [%s", r.ID, r.Name, numRep, x, ours, want), nil
				}
				fmt.Fprintf(&answers, "%d %d %d %s\n", r.ID, numRep, x, ours)
				total++
			}
		}
	}
	if o.Write == "" {
		return total, "", nil
	}
	return total, "", write(o, text, answers.Bytes())
}

// compilesTo reports whether crushtool makes the same binary of text as of the
// original: then nothing was lost in the decompiled form.
func compilesTo(ctx context.Context, o options, dir, text, binFile string) (bool, error) {
	textFile, again := filepath.Join(dir, "ours.txt"), filepath.Join(dir, "ours.bin")
	if err := os.WriteFile(textFile, []byte(text), 0o600); err != nil {
		return false, err
	}
	if _, err := tool(ctx, o, "-c", textFile, "-o", again); err != nil {
		return false, err
	}
	want, err := os.ReadFile(binFile)
	if err != nil {
		return false, err
	}
	got, err := os.ReadFile(again)
	return bytes.Equal(got, want), err
}

func tool(ctx context.Context, o options, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, o.Crushtool, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", o.Crushtool, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

func write(o options, text string, answers []byte) error {
	made := fmt.Sprintf("# made by: go run ./tools/crushtool/vectors -write placement/crush/testdata -name %s -kind %s -seed %d -inputs %d\n",
		o.Name, o.Kind, o.Seed, o.Inputs)
	if err := os.WriteFile(filepath.Join(o.Write, o.Name+".txt"), []byte(made+text), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(o.Write, o.Name+".mappings.gz"))
	if err != nil {
		return err
	}
	defer f.Close()
	zw, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(answers); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return f.Close()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := 0; i < min(len(g), len(w)); i++ {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: got %q, want %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}
