package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/osd/store"
)

// objectPool is what the object commands need of a pool; *client.Pool is it.
type objectPool interface {
	client.Objects
	Read(ctx context.Context, object string, off, n uint64) ([]byte, error)
	WriteFull(ctx context.Context, object string, data []byte) error
	Stat(ctx context.Context, object string) (client.Stat, error)
	Remove(ctx context.Context, object string) error
	List(ctx context.Context, from client.Cursor, limit int) ([]string, client.Cursor, error)
}

// poolOpener connects to the cluster of those monitors and opens a pool in it.
type poolOpener func(ctx context.Context, mons []string, pool string, timeout time.Duration) (objectPool, io.Closer, error)

func openPool(ctx context.Context, mons []string, pool string, timeout time.Duration) (objectPool, io.Closer, error) {
	c, err := client.Connect(ctx, client.Options{Mons: mons, Entity: "client.admin", Timeout: timeout,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))}) // what goes wrong is in the errors
	if err != nil {
		return nil, nil, err
	}
	p, err := c.Pool(ctx, pool)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return p, c, nil
}

// listPage is how many names one request lists.
const listPage = 1000

func newObjectCommand(e *env) *cobra.Command {
	var pool string
	leaf := func(use, short string, want []string, f func(ctx context.Context, pool string, a []string) error) *cobra.Command {
		return e.leaf(use, short, args(want...), func(ctx context.Context, a []string) error {
			if pool == "" {
				return usageErrorf("flag -p/--pool is missing: which pool? See `cairn pool ls`")
			}
			return f(ctx, pool, a)
		})
	}
	cmd := group("object", "Objects in a pool, without gateway",
		leaf("put NAME FILE", "Store a file, - for standard input, as an object", []string{"NAME", "FILE"},
			func(ctx context.Context, pool string, a []string) error {
				return runObjectPut(ctx, e, pool, a[0], a[1])
			}),
		leaf("get NAME FILE", "Fetch an object into a file, - for standard output", []string{"NAME", "FILE"},
			func(ctx context.Context, pool string, a []string) error {
				return runObjectGet(ctx, e, pool, a[0], a[1])
			}),
		leaf("ls", "List objects", nil,
			func(ctx context.Context, pool string, _ []string) error { return runObjectList(ctx, e, pool) }),
		leaf("stat NAME", "Show size and time of an object", []string{"NAME"},
			func(ctx context.Context, pool string, a []string) error { return runObjectStat(ctx, e, pool, a[0]) }),
		leaf("rm NAME", "Remove an object", []string{"NAME"},
			func(ctx context.Context, pool string, a []string) error { return runObjectRemove(ctx, e, pool, a[0]) }),
	)
	cmd.PersistentFlags().StringVarP(&pool, "pool", "p", "", "pool")
	return cmd
}

// withPool finds the monitors by the REST interface, connects and opens the pool.
func withPool(ctx context.Context, e *env, pool string, f func(objectPool) error) (err error) {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := c.Map(ctx, false)
	if err != nil {
		return err
	}
	var mons []string
	known := false
	for _, mon := range m.Mons {
		mons = append(mons, mon.Addr)
	}
	for _, p := range m.Pools {
		known = known || p.Name == pool
	}
	if !known {
		return fmt.Errorf("pool %q: %w; see `cairn pool ls`", pool, api.ErrNotFound)
	}
	if len(mons) == 0 {
		return errors.New("the cluster map names no monitor; check `cairn map show`")
	}
	p, closer, err := e.openPool(ctx, mons, pool, e.timeout)
	if err != nil {
		return fmt.Errorf("open pool %q: %w", pool, err)
	}
	defer func() {
		if cerr := closer.Close(); err == nil {
			err = cerr
		}
	}()
	return f(p)
}

func runObjectPut(ctx context.Context, e *env, pool, name, file string) error {
	data, err := e.readInput(file, store.MaxObjectBytes)
	var long *tooLongError
	if errors.As(err, &long) {
		return fmt.Errorf("object %q: %w: %w, the most one object holds; split it, or store it in a bucket by S3, which does so by itself",
			name, api.ErrInvalid, err)
	}
	if err != nil {
		return fmt.Errorf("object %q: %w", name, err)
	}
	return withPool(ctx, e, pool, func(p objectPool) error {
		if err := p.WriteFull(ctx, name, data); err != nil {
			return err
		}
		if e.json() {
			return e.printJSON(objectInfo{Name: name, Size: uint64(len(data))})
		}
		return nil
	})
}

func runObjectGet(ctx context.Context, e *env, pool, name, file string) error {
	return withPool(ctx, e, pool, func(p objectPool) error {
		data, err := p.Read(ctx, name, 0, 0)
		if err != nil {
			return err
		}
		if file == "-" {
			_, err := e.stdout.Write(data)
			return err
		}
		f, err := os.Create(file) // only now: a failed read must not empty it
		if err != nil {
			return fmt.Errorf("object %q: %w", name, err)
		}
		_, err = f.Write(data)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("object %q: %w", name, err)
		}
		if e.json() {
			return e.printJSON(objectInfo{Name: name, Size: uint64(len(data))})
		}
		return nil
	})
}

// objectInfo is an object as JSON.
type objectInfo struct {
	Name    string `json:"name"`
	Size    uint64 `json:"size"`
	Version uint64 `json:"version,omitempty"`
	Mtime   string `json:"mtime,omitempty"`
}

// listedObject is an object of a listing, which knows no more than the name.
type listedObject struct {
	Name string `json:"name"`
}

func runObjectList(ctx context.Context, e *env, pool string) error {
	return withPool(ctx, e, pool, func(p objectPool) error {
		all := []listedObject{}
		for at := (client.Cursor{}); !at.End; {
			names, next, err := p.List(ctx, at, listPage)
			if err != nil {
				return err
			}
			for _, n := range names {
				if e.json() {
					all = append(all, listedObject{n})
				} else if _, err := fmt.Fprintln(e.stdout, n); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			at = next
		}
		if e.json() {
			return e.printJSON(all)
		}
		return nil
	})
}

func runObjectStat(ctx context.Context, e *env, pool, name string) error {
	return withPool(ctx, e, pool, func(p objectPool) error {
		st, err := p.Stat(ctx, name)
		if err != nil {
			return err
		}
		if e.json() {
			return e.printJSON(objectInfo{Name: name, Size: st.Size, Version: st.Version, Mtime: st.Mtime.UTC().Format(time.RFC3339Nano)})
		}
		return show.Object(e.stdout, pool, name, st.Size, st.Mtime)
	})
}

func runObjectRemove(ctx context.Context, e *env, pool, name string) error {
	return withPool(ctx, e, pool, func(p objectPool) error {
		if err := p.Remove(ctx, name); err != nil {
			return err
		}
		if e.json() {
			return e.printJSON(map[string]string{"removed": name})
		}
		return nil
	})
}
