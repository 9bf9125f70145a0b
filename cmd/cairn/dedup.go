package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/chunk/cut"
	"github.com/cairnstore/cairn/internal/chunk/estimate"
	"github.com/cairnstore/cairn/placement"
)

func newDedupCommand(e *env) *cobra.Command {
	return group("dedup", "Chunks that are the same", newEstimateCommand(e))
}

// estimateFlags are those of `cairn dedup estimate`.
type estimateFlags struct {
	cut, size, compression string
	limit                  int // different chunks to remember; only tests set it
}

func newEstimateCommand(e *env) *cobra.Command {
	f := estimateFlags{}
	some := func(_ *cobra.Command, got []string) error {
		if len(got) == 0 {
			return errors.New("argument PATH is missing")
		}
		return nil
	}
	cmd := e.leaf("estimate PATH...", "How much files would shrink in a pool with these settings", some, func(ctx context.Context, paths []string) error {
		return runEstimate(ctx, e, f, paths)
	})
	cmd.Long = `Read files, and directories with all below them, cut them into chunks as a pool with
the same settings would, and count the bytes of those that are different. Nothing is
stored, and no cluster is needed.

    cairn dedup estimate --cut content --chunk-size 256K --compression zstd /srv/backups

Symbolic links below a directory are not followed; devices, sockets and the like are
left out. Files that cannot be read are named on standard error; the others are
counted, and the exit code is 1.

Up to ` + show.Count(estimate.DefaultLimit) + ` different chunks are counted exactly, in at most 400 MiB of memory. With more,
what is unique is estimated from a sample, and the output says so.`
	fl := cmd.Flags()
	fl.StringVar(&f.cut, "cut", placement.CutFixed.String(), "where chunks end: fixed or content")
	fl.StringVar(&f.size, "chunk-size", placement.FormatChunkSize(placement.DefaultChunkSize), "size of chunks, of content-defined ones on average: a power of two, 8K to 4M")
	fl.StringVar(&f.compression, "compression", placement.PackNone.String(), "none, s2, zstd or lz4")
	return cmd
}

// estimateReport is what `cairn dedup estimate` prints.
type estimateReport struct {
	Files      int64  `json:"files"`
	LeftOut    int64  `json:"left_out"` // neither files nor directories
	Unreadable int64  `json:"unreadable"`
	Cut        string `json:"cut"`
	ChunkSize  uint32 `json:"chunk_size"`
	Packing    string `json:"compression"`
	estimate.Report
	DedupRatio float64 `json:"dedup_ratio"` // logical / unique
	TotalRatio float64 `json:"total_ratio"` // logical / compressed
}

// unreadableError ends an estimate whose output has said what was not counted.
type unreadableError struct{ files int64 }

func (e *unreadableError) Error() string {
	return fmt.Sprintf("dedup estimate: %d files or directories could not be read and are not counted", e.files)
}

func runEstimate(ctx context.Context, e *env, f estimateFlags, paths []string) error {
	how, err := placement.ParseCut(f.cut)
	if err != nil {
		return usageErrorf("flag --%v", err)
	}
	size, err := placement.ParseChunkSize(f.size)
	if err != nil {
		return usageErrorf("flag --chunk-size: %v", err)
	}
	packing, err := placement.ParsePacking(f.compression)
	if err != nil {
		return usageErrorf("flag --%v", err)
	}
	s := &estimateScan{e: e, counter: estimate.New(packing, f.limit)}
	s.report = estimateReport{Cut: how.String(), ChunkSize: size, Packing: packing.String()}
	if err := s.run(ctx, how, size, paths); err != nil {
		return err
	}
	r := s.report
	r.Report = s.counter.Report()
	r.DedupRatio, r.TotalRatio = ratio(r.Logical, r.Unique), ratio(r.Logical, r.Stored)
	if err := printed(e, r, showEstimate); err != nil {
		return err
	}
	if r.Unreadable > 0 {
		return &unreadableError{r.Unreadable}
	}
	return nil
}

// ratio is 1 of nothing: nothing is saved.
func ratio(all, left int64) float64 {
	if left == 0 {
		return 1
	}
	return float64(all) / float64(left)
}

// estimateScan reads files for an estimate, several at a time.
type estimateScan struct {
	e       *env
	counter *estimate.Counter

	mu     sync.Mutex // guards below, and the order of messages
	report estimateReport
}

func (s *estimateScan) run(ctx context.Context, how placement.Cut, size uint32, paths []string) error {
	g, ctx := errgroup.WithContext(ctx)
	files := make(chan string)
	g.Go(func() error {
		defer close(files)
		for _, p := range paths {
			if err := s.walk(ctx, p, files); err != nil {
				return err
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		cutter, err := cut.New(how, size)
		if err != nil {
			return err
		}
		g.Go(func() error {
			r := &fileReader{cutter: cutter, counter: s.counter, buf: make([]byte, 2*placement.MaxChunkSize)}
			for path := range files {
				err := r.file(ctx, path)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					s.unreadable(path, err)
					continue
				}
				s.note(func(r *estimateReport) { r.Files++ })
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *estimateScan) note(f func(*estimateReport)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.report)
}

func (s *estimateScan) unreadable(path string, err error) {
	s.note(func(r *estimateReport) {
		r.Unreadable++
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		_, _ = fmt.Fprintf(s.e.stderr, "cairn: cannot read %s: %v\n", path, err) // the exit code says it, too
	})
}

// walk sends the files at and below a path.
func (s *estimateScan) walk(ctx context.Context, path string, files chan<- string) error {
	// A path that somebody names is followed.
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			s.unreadable(p, err)
			return nil // of a directory, the rest is not there
		case d.IsDir():
			return ctx.Err()
		case !d.Type().IsRegular():
			s.note(func(r *estimateReport) { r.LeftOut++ })
			return nil
		}
		select {
		case files <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// fileReader cuts files into chunks and counts them.
type fileReader struct {
	cutter  *cut.Cutter
	counter *estimate.Counter
	buf     []byte // at least twice the most bytes of a chunk
	packed  estimate.Buffer
}

func (r *fileReader) file(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r.cutter.Reset()
	start, at, fill := 0, 0, 0 // of the chunk, of what the cutter has seen, of what was read
	for {
		if fill == len(r.buf) {
			fill = copy(r.buf, r.buf[start:fill])
			start, at = 0, at-start
		}
		n, err := f.Read(r.buf[fill:min(len(r.buf), fill+1<<20)])
		fill += n
		for at < fill {
			n, end := r.cutter.Next(r.buf[at:fill])
			at += n
			if end {
				r.counter.Add(r.buf[start:at], &r.packed)
				start = at
			}
		}
		if err != nil && start < at {
			r.counter.Add(r.buf[start:at], &r.packed)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func showEstimate(w io.Writer, r estimateReport) error {
	about := ""
	if r.Sample > 1 {
		about = fmt.Sprintf("  (estimated: one of %d different chunks was looked at)", r.Sample)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "files\t%d\n", r.Files)
	if r.LeftOut > 0 {
		fmt.Fprintf(t, "left out\t%d  (neither files nor directories)\n", r.LeftOut)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(t, "unreadable\t%d\n", r.Unreadable)
	}
	fmt.Fprintf(t, "chunks\t%d  (%s, %s)\n", r.Chunks, r.Cut, placement.FormatChunkSize(r.ChunkSize))
	fmt.Fprintf(t, "unique chunks\t%d%s\n", r.UniqueChunks, about)
	fmt.Fprintf(t, "logical\t%s\n", show.Bytes(r.Logical))
	fmt.Fprintf(t, "unique\t%s  (%.2f times less)\n", show.Bytes(r.Unique), r.DedupRatio)
	if r.Packing != placement.PackNone.String() {
		fmt.Fprintf(t, "compressed\t%s  (%s; %.2f times less than logical)\n", show.Bytes(r.Stored), r.Packing, r.TotalRatio)
	}
	return t.Flush()
}
