package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// localPrefix begins the abstract names of Unix sockets (unix(7)) at which servers are found
// by processes of the same network namespace. The address that a server is known by follows.
const localPrefix = "@cairn/"

// localBuffer is how many bytes may be on their way through a local connection.
const localBuffer = 1 << 20

// listenLocal listens for processes of this machine that look for addr.
func listenLocal(addr string) (net.Listener, error) {
	return net.Listen("unix", localPrefix+addr)
}

// dialLocal connects to a server of this machine that is known by addr. Any process can
// take a name, so the one that listens must be ours, or root's.
func dialLocal(ctx context.Context, addr string) (net.Conn, error) {
	return dialTrusted(ctx, addr, func(uid int) bool { return trusted(uid, os.Geteuid()) })
}

func dialTrusted(ctx context.Context, addr string, trust func(uid int) bool) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", localPrefix+addr)
	if err != nil {
		return nil, err
	}
	uid, err := peerUser(nc.(*net.UnixConn))
	if err == nil && !trust(uid) {
		err = fmt.Errorf("user %d listens for %s on this machine", uid, addr)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	tuneLocal(nc)
	return nc, nil
}

// trusted reports whether a listener of user uid may be taken for a server by a process of user own.
func trusted(uid, own int) bool { return uid == 0 || uid == own }

func peerUser(nc *net.UnixConn) (uid int, err error) {
	rc, err := nc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	cerr := rc.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(cerr, err); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// tuneLocal makes room in a local connection, as far as the system lets us.
func tuneLocal(nc net.Conn) {
	if u, ok := nc.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(localBuffer)
	}
}

// remoteOf names the other end of a connection.
func remoteOf(nc net.Conn) string {
	a := nc.RemoteAddr()
	if a.Network() != "unix" {
		return a.String()
	}
	if addr, ok := strings.CutPrefix(a.String(), localPrefix); ok {
		return addr
	}
	return "this machine"
}
