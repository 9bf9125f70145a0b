package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	rawBlock = 4 << 20
	rawFile  = 1 << 30
	rawTime  = 3 * time.Second
)

// rawWrite measures what the disk below dir takes, in MiB/s: 4 MiB writes past the
// page cache into a file whose blocks were all written before, four in flight, as
// an OSD's large writes are.
func rawWrite(ctx context.Context, dir string, period time.Duration) (rate float64, err error) {
	name := filepath.Join(dir, "raw-rate")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_DIRECT, 0o600)
	if err != nil {
		return 0, fmt.Errorf("rate of the disk: %w", err)
	}
	defer func() {
		cerr := f.Close()
		if rerr := os.Remove(name); cerr == nil {
			cerr = rerr
		}
		if err == nil {
			err = cerr
		}
	}()
	// Mapped memory is aligned as O_DIRECT wants it.
	buf, err := syscall.Mmap(-1, 0, rawBlock, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return 0, fmt.Errorf("rate of the disk: %w", err)
	}
	defer func() { _ = syscall.Munmap(buf) }()
	for i := range buf {
		buf[i] = byte(i * 7 >> 3)
	}
	for off := int64(0); off < rawFile; off += rawBlock {
		if _, err := f.WriteAt(buf, off); err != nil {
			return 0, fmt.Errorf("rate of the disk: %w", err)
		}
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, 4)
	began := time.Now()
	for i := range errs {
		wg.Go(func() { // until the time is up
			for time.Since(began) < period && ctx.Err() == nil && errs[i] == nil {
				_, errs[i] = f.WriteAt(buf, next.Add(1)*rawBlock%rawFile)
			}
		})
	}
	wg.Wait()
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("rate of the disk: %w", err)
	}
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return 0, fmt.Errorf("rate of the disk: %w", err)
		}
	}
	return float64(next.Load()) * rawBlock / (1 << 20) / took.Seconds(), ctx.Err()
}

// freeBytes is how much the file system of dir can still take.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
