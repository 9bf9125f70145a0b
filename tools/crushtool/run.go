package crushtool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/cairnstore/cairn/placement/crush"
	"github.com/spf13/cobra"
)

// stdio is where a command reads and prints.
type stdio struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

func stdioOf(cmd *cobra.Command) stdio {
	return stdio{Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()}
}

type compileOptions struct {
	stdio
	In, Out string
}

func runCompile(_ context.Context, o compileOptions) error {
	m, err := load(o.stdio, o.In)
	if err != nil {
		return err
	}
	if o.Out == "" {
		_, err := fmt.Fprintf(o.Stdout, "%s is a valid map of %d devices, %d buckets and %d rules; use -o FILE to write it compiled\n",
			o.In, len(m.Devices), len(m.Buckets), len(m.Rules))
		return err
	}
	return save(o.stdio, o.Out, crush.Encode(m))
}

type decompileOptions struct {
	stdio
	In, Out string
}

func runDecompile(_ context.Context, o decompileOptions) error {
	m, err := load(o.stdio, o.In)
	if err != nil {
		return err
	}
	if o.Out == "" {
		o.Out = "-"
	}
	return save(o.stdio, o.Out, []byte(m.String()))
}

// load reads a map in either form.
func load(s stdio, path string) (*crush.Map, error) {
	in := s.Stdin
	name := "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read map: %w", err)
		}
		defer f.Close()
		in, name = f, path
	}
	// One byte more than a map may have, so that a longer one is refused, not cut.
	data, err := io.ReadAll(io.LimitReader(in, crush.MaxTextBytes+64))
	if err != nil {
		return nil, fmt.Errorf("read map %s: %w", name, err)
	}
	if crush.IsEncoded(data) {
		m, err := crush.Decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return m, nil
	}
	if i := strings.IndexByte(string(data), 0); i >= 0 {
		return nil, fmt.Errorf("%s: neither text nor a map compiled by cairn: decompile a map of Ceph's with crushtool -d first", name)
	}
	m, err := crush.Parse(string(data))
	if se := (*crush.SyntaxError)(nil); errors.As(err, &se) {
		return nil, fmt.Errorf("%s:%w", name, err) // file:line:column: message
	}
	return m, err
}

// save writes a file as a whole or not at all: an old map is not lost to a full disk.
func save(s stdio, path string, data []byte) error {
	if path == "-" {
		_, err := s.Stdout.Write(data)
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

type treeOptions struct {
	stdio
	In, Format string
}

// treeLine is a node in the tree's JSON form.
type treeLine struct {
	ID     int     `json:"id"`
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	Class  string  `json:"class,omitempty"`
	Weight float64 `json:"weight"`
	Depth  int     `json:"depth"`
}

func runTree(_ context.Context, o treeOptions) error {
	if err := checkFormat(o.Format); err != nil {
		return err
	}
	m, err := load(o.stdio, o.In)
	if err != nil {
		return err
	}
	if o.Format == "json" {
		lines := []treeLine{}
		for _, n := range m.Tree() {
			lines = append(lines, treeLine{ID: n.ID, Name: n.Name, Type: n.Type, Class: n.Class, Weight: n.Weight.Float(), Depth: n.Depth})
		}
		return writeJSON(o.Stdout, lines)
	}
	w := tabwriter.NewWriter(o.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tCLASS\tWEIGHT\tTYPE NAME")
	for _, n := range m.Tree() {
		label := n.Name
		if n.ID < 0 {
			label = n.Type + " " + n.Name
		}
		fmt.Fprintf(w, "%d\t%s\t%.5f\t%s%s\n", n.ID, n.Class, n.Weight.Float(), strings.Repeat("    ", n.Depth), label)
	}
	return w.Flush()
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return fmt.Errorf("unknown format %q: use text or json", format)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
