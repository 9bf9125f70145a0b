package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/internal/api"
)

// env is what commands have in common: the streams, the environment and the
// flags that every command of an administrator takes. Tests make their own.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	readFile       func(string) ([]byte, error)
	openPool       poolOpener
	openBuckets    bucketOpener

	admin   string        // --admin
	timeout time.Duration // --timeout
	output  string        // -o
}

func newEnv() *env {
	return &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, readFile: os.ReadFile, openPool: openPool, openBuckets: openBuckets}
}

const (
	defaultAdmin   = "127.0.0.1:7480"
	adminFileBytes = 64 << 10
)

// adminAddrs finds the monitors' REST addresses: the flag, then CAIRN_ADMIN,
// then the file "admin" in ./.cairn or in the user's configuration folder, then
// this machine. from says where they were found.
func (e *env) adminAddrs() (addrs []string, from string, err error) {
	if e.admin != "" {
		return splitAddrs(e.admin), "--admin", nil
	}
	if v := e.getenv("CAIRN_ADMIN"); v != "" {
		return splitAddrs(v), "CAIRN_ADMIN", nil
	}
	files := []string{filepath.Join(".cairn", "admin")}
	if dir := e.getenv("XDG_CONFIG_HOME"); dir != "" {
		files = append(files, filepath.Join(dir, "cairn", "admin"))
	} else if home := e.getenv("HOME"); home != "" {
		files = append(files, filepath.Join(home, ".config", "cairn", "admin"))
	}
	for _, f := range files {
		data, err := e.readFile(f)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, f, fmt.Errorf("read the monitors' addresses: %w", err)
		case len(data) > adminFileBytes:
			return nil, f, fmt.Errorf("%s is longer than %d bytes; want one HOST:PORT in each line", f, adminFileBytes)
		}
		var lines []string
		for _, l := range strings.Split(string(data), "\n") {
			l, _, _ = strings.Cut(l, "#")
			lines = append(lines, l)
		}
		addrs := splitAddrs(strings.Join(lines, ","))
		if len(addrs) == 0 {
			return nil, f, fmt.Errorf("%s names no monitor; want one HOST:PORT in each line", f)
		}
		return addrs, f, nil
	}
	return []string{defaultAdmin}, "default", nil
}

func splitAddrs(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' })
}

// client connects to the monitors' REST interface. The caller closes it.
func (e *env) client() (*api.Client, error) {
	addrs, from, err := e.adminAddrs()
	if err != nil {
		return nil, err
	}
	hc, err := e.adminHTTP()
	if err != nil {
		return nil, err
	}
	c, err := api.NewClient(api.ClientOptions{Addrs: addrs, Timeout: e.timeout, Token: e.getenv("CAIRN_ADMIN_TOKEN"), HTTP: hc})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return c, nil
}

// json reports whether output is for programs.
func (e *env) json() bool { return e.output == "json" }

// printJSON prints v for programs.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	return enc.Encode(v)
}

// done reports a change that was made.
func (e *env) done(format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	if e.json() {
		return e.printJSON(map[string]string{"result": s})
	}
	_, err := fmt.Fprintln(e.stdout, s)
	return err
}

// ask asks the monitors and prints their answer, as table by show.
func ask[T any](ctx context.Context, e *env, question func(context.Context, *api.Client) (T, error), show func(io.Writer, T) error) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := question(ctx, c)
	if err != nil {
		return err
	}
	if e.json() {
		return e.printJSON(v)
	}
	return show(e.stdout, v)
}

// change has the monitors make a change and reports it.
func change(ctx context.Context, e *env, do func(context.Context, *api.Client) error, format string, args ...any) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := do(ctx, c); err != nil {
		return err
	}
	return e.done(format, args...)
}

// leaf makes a command that does something. f gets the checked arguments.
func (e *env) leaf(use, short string, args cobra.PositionalArgs, f func(ctx context.Context, args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: usageArgs(args),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.output != "table" && e.output != "json" {
				return usageErrorf("flag -o/--output %q: want table or json", e.output)
			}
			if e.timeout <= 0 {
				return usageErrorf("flag --timeout %s: want more than zero", e.timeout)
			}
			return f(cmd.Context(), args)
		},
	}
	cmd.Flags().StringVarP(&e.output, "output", "o", "table", "output format: table or json")
	return cmd
}

// group makes a command that only holds others.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("%s: which command? It has %s", cmd.CommandPath(), names(cmd))
			}
			hint := ""
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				likely := s[0]
				for _, name := range s {
					if strings.HasPrefix(name, args[0]) {
						likely = name
						break
					}
				}
				hint = fmt.Sprintf("; did you mean %q?", likely)
			}
			return usageErrorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // never: Args refuses everything
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(sub...)
	return cmd
}

func names(cmd *cobra.Command) string {
	var out []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			out = append(out, c.Name())
		}
	}
	return strings.Join(out, ", ")
}
