package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/testcluster"
)

// TestExactlyOnce appends numbered records to objects of a real cluster while
// its OSDs are killed and come back one after the other. Every append that was
// reported done is there once and in order, every other at most once.
func TestExactlyOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cl, err := testcluster.Start(ctx, testcluster.Options{Dir: t.TempDir(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.WaitClean(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect(ctx, client.Options{Mons: cl.MonAddrs(), Log: quiet, AttemptTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Pool(ctx, "s3")
	if err != nil {
		t.Fatal(err)
	}

	const writers = 8
	var stop atomic.Bool
	var longest [writers]time.Duration
	var done, unknown [writers][]string
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				rec := fmt.Sprintf("%d ", i)
				began := time.Now()
				_, err := p.Do(ctx, fmt.Sprint("once-", w), new(client.Op).Append([]byte(rec)))
				longest[w] = max(longest[w], time.Since(began))
				switch {
				case err == nil:
					done[w] = append(done[w], rec)
				case errors.Is(err, client.ErrTimeout):
					unknown[w] = append(unknown[w], rec)
				default:
					t.Errorf("append of %s: %v", rec, err)
					return
				}
			}
		})
	}
	for i := range cl.OSDs() {
		if err := cl.KillOSD(i); err != nil {
			t.Fatal(err)
		}
		// The others must take over: some more appends by everybody.
		if err := p.WriteFull(ctx, fmt.Sprint("after-kill-", i), nil); err != nil {
			t.Fatal(err)
		}
		if err := cl.StartOSD(ctx, i); err != nil {
			t.Fatal(err)
		}
		if err := cl.WaitClean(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	for w := range writers {
		b, err := p.Read(ctx, fmt.Sprint("once-", w), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.SplitAfter(string(b), " ")
		got = got[:len(got)-1]
		for _, rec := range unknown[w] { // may be there once
			if i := slices.Index(got, rec); i >= 0 {
				got = slices.Delete(got, i, i+1)
			}
		}
		if !slices.Equal(got, done[w]) {
			t.Errorf("writer %d: %d records, want %d; unknown %q", w, len(got), len(done[w]), unknown[w])
		}
		t.Logf("writer %d: %d appends, %d unknown, longest %v", w, len(done[w]), len(unknown[w]), longest[w])
	}
}
