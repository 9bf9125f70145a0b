package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
)

// bucketWork is what clients do with a bucket whose bodies are in the pool with chunks: what S3 gateways do. The model is
// that of the pool's objects.
type bucketWork struct {
	meta, data []*client.Pool // of different clients
	services   []*bucket.Service
	buckets    []*bucket.Bucket
	cells      []*chunkCell
}

const bucketName = "torture"

// Of a service the times are far below what people use: the sweep may take a slow put for abandoned, which must then fail.
const (
	bucketIntent = 6 * time.Second
	bucketGrace  = 10 * time.Second
	sweepEvery   = 3 * time.Second
)

func newBucketWork(ctx context.Context, o Load, meta, data []*client.Pool) (*bucketWork, error) {
	k := &bucketWork{meta: meta, data: data}
	for i := range o.ChunkObjects {
		k.cells = append(k.cells, newChunkCell(fmt.Sprintf("bucket-%d", i)))
	}
	return k, k.open(ctx)
}

// open makes the services.
func (k *bucketWork) open(ctx context.Context) error {
	for i := range k.data {
		s, err := bucket.NewService(bucket.Options{
			Meta: k.meta[i], Data: k.data[i], ChunkBytes: 128 << 10, ChunkedBytes: 256 << 10, Grace: bucketGrace, IntentTTL: bucketIntent,
			KeepAlive: time.Second, SplitEntries: 20, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			return errors.Join(err, k.close())
		}
		k.services = append(k.services, s)
		b, err := s.Create(ctx, bucketName, "somebody", "")
		if errors.Is(err, bucket.ErrBucketExists) {
			b, err = s.Bucket(ctx, bucketName)
		}
		if err != nil {
			return errors.Join(err, k.close())
		}
		k.buckets = append(k.buckets, b)
	}
	return nil
}

// close ends the services, which remove in the background what was replaced.
func (k *bucketWork) close() (err error) {
	for _, s := range k.services {
		err = errors.Join(err, s.Close())
	}
	k.services, k.buckets = nil, nil
	return err
}

// verify reads everything.
func (k *bucketWork) verify(ctx context.Context, c *worker) {
	if err := k.open(ctx); err != nil {
		c.w.fault(fmt.Errorf("open the bucket: %w", err))
		return
	}
	for _, x := range k.cells {
		k.read(ctx, c, x)
	}
	if err := k.close(); err != nil {
		c.w.fault(fmt.Errorf("close the bucket: %w", err))
	}
}

// step does one thing to one of the keys, of which there is one writer.
func (k *bucketWork) step(ctx context.Context, c *worker) {
	x := k.cells[c.rng.IntN(len(k.cells))]
	b := k.buckets[0] // always the same: what one client gave up must not arrive after what another one did later
	switch p := c.rng.IntN(12); {
	case p < 4:
		k.read(ctx, c, x)
	case p == 4:
		n := x.next(chunkRemove, nil)
		x.ended(n, nil, k.carry(ctx, c, "bucket delete", x, func(ctx context.Context) error {
			if err := b.Delete(ctx, x.name, bucket.Cond{}); !errors.Is(err, bucket.ErrNoSuchKey) {
				return err
			}
			return nil
		}))
	case p < 7:
		from := k.cells[c.rng.IntN(len(k.cells))]
		if from == x || !from.sure || from.newest.size() == 0 {
			k.read(ctx, c, from)
			return
		}
		state := from.newest
		n := x.next("bucket copy", state)
		x.ended(n, state, k.carry(ctx, c, "bucket copy", x, func(ctx context.Context) error {
			src, err := b.Get(ctx, from.name)
			if err != nil {
				return err
			}
			_, err = b.Copy(ctx, src, x.name, bucket.CopyInput{Headers: &bucket.Headers{Meta: map[string]string{"write": label(n, state.size())}}})
			return err
		}))
	default:
		var state spans
		for range 1 + c.rng.IntN(3) {
			state = append(state, body(c, x))
		}
		if c.rng.IntN(4) == 0 {
			state = state.cut(c.rng.IntN(10_000), state.size())
		}
		n := x.next("bucket put", state)
		x.ended(n, state, k.carry(ctx, c, "bucket put", x, func(ctx context.Context) error {
			_, err := b.Put(ctx, x.name, bucket.PutInput{
				Body: bytes.NewReader(state.bytes()), Size: int64(state.size()), Headers: bucket.Headers{Meta: map[string]string{"write": label(n, state.size())}},
			})
			return err
		}))
	}
}

// carry carries a change out and says how it ended. One that failed may have taken effect, for all that is said.
func (k *bucketWork) carry(ctx context.Context, c *worker, kind string, x *chunkCell, do func(context.Context) error) outcome {
	ctx, impatient, cancel := c.patience(ctx)
	defer cancel()
	began := time.Now()
	err := do(ctx)
	if err == nil || errors.Is(err, client.ErrCorrupt) || errors.Is(err, bucket.ErrCorrupt) || errors.Is(err, client.ErrTimeout) || ctx.Err() != nil {
		if err != nil && ctx.Err() != nil {
			err = client.ErrTimeout
		}
		return c.judge(kind, x.name, true, began, impatient, err)
	}
	c.w.stats.op(kind, true, false, time.Since(began), x.name)
	var about *bucket.KeyError
	if errors.Is(err, client.ErrNoSpace) {
		err = client.ErrNoSpace
	}
	if errors.As(err, &about) {
		err = about.Err // without the key: these are counted
	}
	c.w.stats.fault("changes of a bucket refused: " + err.Error())
	return unknown
}

// read reads a body, or a part of it, and checks what comes.
func (k *bucketWork) read(ctx context.Context, c *worker, x *chunkCell) {
	b := k.buckets[c.rng.IntN(len(k.buckets))]
	floor := x.now()
	ctx, impatient, cancel := c.patience(ctx)
	defer cancel()
	began := time.Now()
	for {
		o, err := b.Get(ctx, x.name)
		if errors.Is(err, bucket.ErrNoSuchKey) {
			c.w.stats.op("bucket read", false, true, time.Since(began), x.name)
			if err := x.saw(floor, 0); err != nil {
				c.w.fault(err)
			}
			return
		}
		off, n := 0, 0
		var data []byte
		if err == nil {
			if !c.patient && o.Size > 1 && c.rng.IntN(2) == 0 {
				off = c.rng.IntN(int(o.Size))
				n = 1 + c.rng.IntN(int(o.Size)-off)
			}
			want := int64(n)
			if n == 0 {
				want = -1
			}
			var r io.ReadCloser
			if r, err = o.Open(ctx, int64(off), want); err == nil {
				data, err = io.ReadAll(r)
				err = errors.Join(err, r.Close())
			}
		}
		if errors.Is(err, bucket.ErrChanged) && ctx.Err() == nil {
			c.w.stats.fault("bodies that were replaced while they were read")
			floor = max(floor, x.now())
			continue
		}
		if err != nil && ctx.Err() != nil {
			err = client.ErrTimeout
		}
		if c.judge("bucket read", x.name, false, began, impatient, err) != done {
			return
		}
		l := o.Headers.Meta["write"]
		nr, err := x.check(data, off, n, l, l)
		if err == nil {
			err = x.saw(floor, nr)
		}
		if err != nil {
			c.w.fault(err)
		}
		return
	}
}

// sweep does now and then what gateways do.
func (k *bucketWork) sweep(ctx context.Context, c *worker) {
	t := time.NewTimer(sweepEvery)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.w.stop:
		return
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, opPatience)
	defer cancel()
	_, err := k.services[c.rng.IntN(len(k.services))].Sweep(ctx)
	if errors.Is(err, client.ErrCorrupt) || errors.Is(err, bucket.ErrCorrupt) {
		c.w.fault(fmt.Errorf("sweep of the buckets: %w", err))
	}
}
