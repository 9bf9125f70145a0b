//go:build linux && (amd64 || arm64)

package wire

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// The Go runtime has the kernel tell it whenever a socket can be read or written to. Of a Unix socket the latter is
// news each time the peer has read something, so that every message would wake its sender once more, for nothing:
// a fifth of all context switches of an OSD that is written to in small pieces. writeEvents turns these events off
// while nobody waits for them.
//
// The runtime has no means for that, but the kernel has: /proc tells what the runtime has asked for, and that can be
// asked for again, without the events. Where anything looks other than expected, all stays as it is.
type writeEvents struct {
	rc syscall.RawConn
	ep int             // the runtime's epoll instance
	ev unix.EpollEvent // what it has asked for
}

// What the runtime asks for, and what the kernel adds and shows.
const (
	runtimeEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	kernelEvents  = unix.EPOLLERR | unix.EPOLLHUP
)

var runtimeEpoll atomic.Int64 // its descriptor, 0: not known yet, -1: not found

// newWriteEvents turns the events off; nil: it cannot, or it would be of no use.
func newWriteEvents(nc net.Conn) *writeEvents {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return nil
	}
	rc, err := uc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &writeEvents{rc: rc}
	found := false
	if err := rc.Control(func(fd uintptr) { found = w.find(int(fd)) }); err != nil || !found || w.listen(false) != nil {
		return nil
	}
	return w
}

// listen turns the events on or off. Those that are true now are told when they are turned on.
func (w *writeEvents) listen(on bool) (err error) {
	ev := w.ev
	if !on {
		ev.Events &^= unix.EPOLLOUT
	}
	cerr := w.rc.Control(func(fd uintptr) { err = unix.EpollCtl(w.ep, unix.EPOLL_CTL_MOD, int(fd), &ev) })
	if err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return cerr
}

// find looks up what the runtime has asked for about a descriptor that stays open meanwhile.
func (w *writeEvents) find(fd int) bool {
	switch ep := runtimeEpoll.Load(); ep {
	case -1:
		return false
	case 0:
	default:
		w.ep = int(ep)
		return w.parse(fd)
	}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return false
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != "anon_inode:[eventpoll]" {
			continue
		}
		if w.ep, err = strconv.Atoi(filepath.Base(link)); err == nil && w.parse(fd) {
			runtimeEpoll.Store(int64(w.ep))
			return true
		}
	}
	runtimeEpoll.Store(-1)
	return false
}

// parse reads what an epoll instance has been asked for, and reports whether that is what we expect.
func (w *writeEvents) parse(fd int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", w.ep))
	if err != nil {
		return false
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// tfd:        7 events: 8000201d data: 7f2a5c3fe00a1234  pos:0 ino:1a2b sdev:9
		parts := strings.Fields(sc.Text())
		if len(parts) < 6 || parts[0] != "tfd:" || parts[1] != strconv.Itoa(fd) || parts[2] != "events:" || parts[4] != "data:" {
			continue
		}
		events, err1 := strconv.ParseUint(parts[3], 16, 32)
		data, err2 := strconv.ParseUint(parts[5], 16, 64)
		if err1 != nil || err2 != nil || events&^kernelEvents != runtimeEvents {
			return false
		}
		w.ev = unix.EpollEvent{Events: uint32(runtimeEvents), Fd: int32(uint32(data)), Pad: int32(data >> 32)}
		return true
	}
	return false
}
