package mon

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLog hands Raft's log to slog. Raft tells at its Info level what the
// monitor logs itself, and repeats its warnings many times a second while a
// peer is away; so everything goes down one level but errors, and the same
// text passes at most once in repeatAfter.
type raftLog struct {
	log  *slog.Logger
	name string
	args []any
	seen *seenTexts
}

const (
	repeatAfter = 30 * time.Second
	seenMax     = 256 // texts remembered; Raft has fewer
)

type seenTexts struct {
	mu   sync.Mutex // guards below
	last map[string]time.Time
}

// first reports whether the text has not passed lately.
func (s *seenTexts) first(text string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.last[text]; ok && now.Sub(at) < repeatAfter {
		return false
	}
	if len(s.last) >= seenMax {
		clear(s.last)
	}
	s.last[text] = now
	return true
}

func newRaftLog(l *slog.Logger) hclog.Logger {
	return &raftLog{log: l, name: "raft", seen: &seenTexts{last: make(map[string]time.Time)}}
}

// Log implements hclog.Logger.
func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	at := slog.LevelDebug
	switch level {
	case hclog.Warn:
		at = slog.LevelInfo
	case hclog.Error:
		at = slog.LevelWarn
	}
	if !l.log.Enabled(context.Background(), at) {
		return
	}
	if at > slog.LevelDebug && !l.seen.first(msg, time.Now()) {
		at = slog.LevelDebug
	}
	all := make([]any, 0, len(l.args)+len(args))
	all = append(append(all, l.args...), args...)
	for i, a := range all { // hclog has its own type for formatted values
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			if format, ok := f[0].(string); ok {
				all[i] = fmt.Sprintf(format, f[1:]...)
			}
		}
	}
	l.log.Log(context.Background(), at, l.name+": "+msg, all...)
}

// Trace implements hclog.Logger.
func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (l *raftLog) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (l *raftLog) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

// IsTrace implements hclog.Logger.
func (l *raftLog) IsTrace() bool { return false }

// IsDebug implements hclog.Logger.
func (l *raftLog) IsDebug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }

// IsInfo implements hclog.Logger.
func (l *raftLog) IsInfo() bool { return l.IsDebug() }

// IsWarn implements hclog.Logger.
func (l *raftLog) IsWarn() bool { return true }

// IsError implements hclog.Logger.
func (l *raftLog) IsError() bool { return true }

// ImpliedArgs implements hclog.Logger.
func (l *raftLog) ImpliedArgs() []any { return l.args }

// With implements hclog.Logger.
func (l *raftLog) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(append([]any(nil), l.args...), args...)
	return &c
}

// Name implements hclog.Logger.
func (l *raftLog) Name() string { return l.name }

// Named implements hclog.Logger.
func (l *raftLog) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

// ResetNamed implements hclog.Logger.
func (l *raftLog) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

// SetLevel implements hclog.Logger. The level is slog's to decide.
func (l *raftLog) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l *raftLog) GetLevel() hclog.Level {
	if l.IsDebug() {
		return hclog.Debug
	}
	return hclog.Warn
}

// StandardLogger implements hclog.Logger.
func (l *raftLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)
}

// StandardWriter implements hclog.Logger.
func (l *raftLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(nil).Writer()
}
