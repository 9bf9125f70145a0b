package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/tools/torture/lab"
)

// launcher starts processes from one operating system thread that lives as long
// as the launcher. The kernel kills the processes when the thread that started
// them ends, so they cannot outlive it however it ends, even by a crash of ours.
type launcher struct {
	host *lab.Host // has such a thread; nil: one of our own
	jobs chan func()
	done chan struct{}
}

func newLauncher() *launcher {
	l := &launcher{jobs: make(chan func()), done: make(chan struct{})}
	go func() { // until close; ends its thread, because it is never unlocked
		defer close(l.done)
		runtime.LockOSThread()
		for run := range l.jobs {
			run()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = childAttr()
	err := make(chan error, 1)
	job := func() { err <- cmd.Start() }
	if l.host != nil {
		l.host.Run(job)
	} else {
		l.jobs <- job
	}
	return <-err
}

func (l *launcher) close() {
	if l.host != nil {
		return // its lab ends it
	}
	close(l.jobs)
	<-l.done
}

// Proc is one daemon of a Cluster. It can be started again after it has ended.
type Proc struct {
	Name string // such as osd0
	Args []string
	Log  string    // file that gets its output, of all its lives
	Host *lab.Host // where it runs; nil: here
	Disk *lab.Disk // an OSD's own; nil: none

	binary string
	env    []string
	l      *launcher
	died   func(*Proc, string) // told of ends that nobody asked for

	mu     sync.Mutex // guards below
	cmd    *exec.Cmd  // nil: not running
	done   chan struct{}
	asked  bool // we ended it, or expect it to end
	starts int
	// revived: our supervisor started it; somebody who killed it may want to as well
	revived bool
	state   *os.ProcessState // of the last life
}

// Start starts the process. It does not wait until it serves. If it ends by
// itself, that is a surprise which fails the run.
func (p *Proc) Start() error { return p.start(false) }

// StartToEnd starts the process and expects it to end by itself; see WaitExit.
func (p *Proc) StartToEnd() error { return p.start(true) }

func (p *Proc) start(ends bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startLocked(ends)
}

func (p *Proc) startLocked(ends bool) error {
	if p.cmd != nil && p.revived {
		p.revived = false
		return nil // the supervisor was faster
	}
	if p.cmd != nil {
		return fmt.Errorf("start %s: it runs already", p.Name)
	}
	p.revived = false
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer out.Close()
	p.starts++
	fmt.Fprintf(out, "--- start %d of %s at %s\n", p.starts, p.Name, time.Now().Format("15:04:05.000"))
	cmd := exec.Command(p.binary, p.Args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), p.env...)
	if err := p.l.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.asked, p.state = cmd, done, ends, nil
	go func() { // until the process has ended
		err := cmd.Wait()
		p.mu.Lock()
		p.cmd, p.state = nil, cmd.ProcessState
		asked := p.asked
		p.mu.Unlock()
		if !asked {
			how := "with exit code 0"
			if err != nil {
				how = "with " + err.Error()
			}
			p.died(p, how)
		}
		close(done)
	}()
	return nil
}

// revive starts the process as a supervisor does, unless it was killed meanwhile by
// somebody who is going to start it.
func (p *Proc) revive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil || p.asked {
		return nil
	}
	err := p.startLocked(false)
	p.revived = err == nil
	return err
}

// Running reports whether the process has not ended.
func (p *Proc) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Pid returns the id of the process, 0 if it does not run.
func (p *Proc) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the process with SIGKILL and waits until it is gone. One that does
// not run is left alone.
func (p *Proc) Kill() { p.end(syscall.SIGKILL) }

// Stop ends the process as an administrator would, with SIGTERM, and waits.
func (p *Proc) Stop() { p.end(syscall.SIGTERM) }

func (p *Proc) end(sig syscall.Signal) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.asked = true
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig) // fails only when it has ended just now
	<-done
}

// Signal sends a signal, such as SIGSTOP.
func (p *Proc) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("signal %v to %s: it does not run", sig, p.Name)
	}
	return p.cmd.Process.Signal(sig)
}

// WaitExit waits until the process ends by itself and returns its exit code, -1
// for a signal.
func (p *Proc) WaitExit(ctx context.Context) (int, error) {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return 0, fmt.Errorf("%s was never started", p.Name)
	}
	select {
	case <-done:
	case <-ctx.Done():
		return 0, fmt.Errorf("%s still runs: %w", p.Name, ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.ExitCode(), nil
}

// Tail returns the last lines of the process's output.
func (p *Proc) Tail(lines int) string {
	b, err := readTail(p.Log, 64<<10)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// readTail reads up to n bytes at the end of a file.
func readTail(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, st.Size()-n), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, n))
}

// crashMarks begin the lines that a Go program leaves when it crashes by itself.
var crashMarks = [][]byte{[]byte("panic: "), []byte("fatal error: "), []byte("SIGSEGV")}

// Crash returns the part of the output that tells of a panic, "" if there is none.
func (p *Proc) Crash() string { return p.told(crashMarks) }

// damageMarks are in the lines by which an OSD tells of damaged copies.
var damageMarks = [][]byte{
	[]byte("a scrub found a damaged copy"), []byte("a copy cannot be read"),
	[]byte("copies differ, and which is right"), []byte("an object has no good copy"),
	[]byte("kind=dangling"), []byte("kind=damaged"), []byte("kind=healed"), // of chunks
}

// Damage returns the part of the output that tells of damaged copies, "" if there is none.
func (p *Proc) Damage() string { return p.told(damageMarks) }

// Count returns how many lines of the output have a text.
func (p *Proc) Count(text string) (n int) {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte(text))
}

func (p *Proc) told(marks [][]byte) string {
	b, err := os.ReadFile(p.Log)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	for _, mark := range marks {
		if i := bytes.Index(b, mark); i >= 0 {
			return string(b[i:min(len(b), i+4096)])
		}
	}
	return ""
}

// neutral leaves out of an environment what would change the ways of S3 clients:
// somebody's credentials, certificates and proxies.
func neutral(env []string) (kept []string) {
	for _, kv := range env {
		name, _, _ := strings.Cut(strings.ToLower(kv), "=")
		if !strings.HasPrefix(name, "aws_") && !strings.HasPrefix(name, "rclone_") && !strings.HasPrefix(name, "s3cmd_") && !strings.HasSuffix(name, "_proxy") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int // -1: ended by a signal, such as that of the deadline
}

// Both returns everything that was printed.
func (r Result) Both() string { return r.Stdout + r.Stderr }

// run runs a command to its end. The error is not nil when it cannot be started.
func (l *launcher) run(ctx context.Context, dir string, env []string, name string, args ...string) (Result, error) {
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, dir
	cmd.Env = append(neutral(os.Environ()), env...)
	cmd.WaitDelay = 5 * time.Second // grandchildren may hold the pipes
	if err := l.start(cmd); err != nil {
		return Result{}, fmt.Errorf("run %s: %w", name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // fails only when it has ended
	err := cmd.Wait()
	stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Result{}, fmt.Errorf("run %s: %w", name, err)
	}
	return Result{Stdout: out.String(), Stderr: errs.String(), Code: cmd.ProcessState.ExitCode()}, nil
}
