package s3

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// LogFile is an access log: it is appended to, a second late at most, and can be opened anew when it was moved away.
type LogFile struct {
	path string
	stop chan struct{}
	done sync.WaitGroup

	mu sync.Mutex // guards below
	f  *os.File   // nil: closed
	w  *bufio.Writer
}

// OpenLogFile opens or makes an access log that its owner and group may read.
func OpenLogFile(path string) (*LogFile, error) {
	l := &LogFile{path: path, stop: make(chan struct{})}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	l.done.Add(1)
	go l.run() // ended by Close
	return l, nil
}

func (l *LogFile) run() {
	defer l.done.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			l.mu.Lock()
			_ = l.w.Flush() // the next Write reports it
			l.mu.Unlock()
		}
	}
}

// Write implements io.Writer. After an error it begins anew: a full disk may have room again.
func (l *LogFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, errors.New("the access log is closed")
	}
	n, err := l.w.Write(b)
	if err != nil {
		l.w.Reset(l.f)
		return n, fmt.Errorf("access log: %w", err)
	}
	return n, nil
}

// Reopen opens the file anew, after it was moved away to be kept.
func (l *LogFile) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old, last := l.f, l.w
	l.f, l.w = f, bufio.NewWriterSize(f, 64<<10)
	if old == nil {
		return nil
	}
	return errors.Join(last.Flush(), old.Close())
}

// Close writes what is left.
func (l *LogFile) Close() error {
	l.mu.Lock()
	f, w := l.f, l.w
	l.f = nil
	l.mu.Unlock()
	if f == nil {
		return nil
	}
	close(l.stop)
	l.done.Wait()
	return errors.Join(w.Flush(), f.Close())
}
