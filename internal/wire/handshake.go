package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// authNone is the only authentication method so far: no proof is asked for.
const authNone = 0

// Three frames make a connection: the dialler's hello, the acceptor's welcome
// and the dialler's confirm. Each side checks the other, and whoever refuses
// says why, so that both ends can log the reason.
type handshake struct {
	nc net.Conn
	fr *frameReader
	o  *Options
}

// agreed is what a handshake settled.
type agreed struct {
	peer     Identity
	version  uint32
	features uint64 // understood by both
	number   uint64 // see Conn.Number
}

func newHandshake(nc net.Conn, o *Options) *handshake {
	return &handshake{nc: nc, o: o, fr: &frameReader{in: newInput(nc), headerMax: helloMax}}
}

// run does one side of a handshake within the handshake timeout and ctx.
func (h *handshake) run(ctx context.Context, side func() (agreed, error)) (agreed, error) {
	deadline := time.Now().Add(h.o.HandshakeTimeout)
	if err := h.nc.SetDeadline(deadline); err != nil {
		return agreed{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = h.nc.SetDeadline(time.Unix(1, 0)) })
	a, err := side()
	if !stop() && err == nil {
		err = ctx.Err() // the deadline was or will be pulled: the connection is spoilt
	}
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause
		} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			err = fmt.Errorf("the peer was silent for %v: %w", h.o.HandshakeTimeout, err)
		}
		return agreed{}, err
	}
	return a, h.nc.SetDeadline(time.Time{})
}

func (h *handshake) hello() *wirepb.Hello {
	m := &wirepb.Hello{
		VersionMin:  h.o.versionMin,
		VersionMax:  h.o.versionMax,
		Entity:      h.o.Self.Entity,
		Incarnation: h.o.Self.Incarnation,
		Features:    h.o.Features,
		Required:    h.o.Required,
		AuthMethod:  authNone,
	}
	if c := h.o.Self.Cluster; !c.IsZero() {
		m.Cluster = c[:]
	}
	return m
}

// dial is the dialler's side.
func (h *handshake) dial() (agreed, error) {
	if err := h.write(kindHello, h.hello()); err != nil {
		return agreed{}, err
	}
	var w wirepb.Welcome
	if err := h.read(kindWelcome, &w); err != nil {
		return agreed{}, err
	}
	if w.Code != wirepb.Code_OK {
		return agreed{}, fmt.Errorf("refused by %s: %w", printable(w.Hello.GetEntity()), &Error{Code: w.Code, Text: printable(w.Error)})
	}
	a, refusal := h.check(w.Hello)
	if refusal == nil && a.version != w.Version {
		refusal = &Error{Code: wirepb.Code_UNSUPPORTED, Text: fmt.Sprintf("%s chose protocol version %d, the highest that both speak is %d", printable(a.peer.Entity), w.Version, a.version)}
	}
	confirm := &wirepb.Confirm{AuthMethod: authNone}
	if refusal != nil {
		confirm.Code, confirm.Error = refusal.Code, refusal.Text
	}
	if err := h.write(kindConfirm, confirm); err != nil && refusal == nil {
		return agreed{}, err
	}
	if refusal != nil {
		return agreed{}, refusal
	}
	return a, nil
}

// accept is the acceptor's side. A non-nil refuse turns every dialler away.
func (h *handshake) accept(refuse *Error) (agreed, error) {
	var hello wirepb.Hello
	if err := h.read(kindHello, &hello); err != nil {
		return agreed{}, err
	}
	a, refusal := h.check(&hello)
	if refusal == nil {
		refusal = refuse
	}
	w := &wirepb.Welcome{Version: a.version, Hello: h.hello()}
	if refusal != nil {
		w.Version, w.Code, w.Error = 0, refusal.Code, refusal.Text
	}
	if err := h.write(kindWelcome, w); err != nil && refusal == nil {
		return agreed{}, err
	}
	if refusal != nil {
		return agreed{}, fmt.Errorf("refused %s: %w", printable(a.peer.Entity), refusal)
	}
	var c wirepb.Confirm
	if err := h.read(kindConfirm, &c); err != nil {
		return agreed{}, err
	}
	if c.Code != wirepb.Code_OK {
		return agreed{}, fmt.Errorf("refused by %s: %w", printable(a.peer.Entity), &Error{Code: c.Code, Text: printable(c.Error)})
	}
	if c.AuthMethod != authNone {
		return agreed{}, fmt.Errorf("%s: %w", printable(a.peer.Entity), unknownAuth(c.AuthMethod))
	}
	return a, nil
}

func unknownAuth(method uint32) *Error {
	return &Error{Code: wirepb.Code_UNSUPPORTED, Text: fmt.Sprintf("unknown authentication method %d, this side knows only %d (none)", method, authNone)}
}

// check compares the peer's hello with ours. The answer's peer is filled as far
// as it is known even when the peer is refused.
func (h *handshake) check(p *wirepb.Hello) (agreed, *Error) {
	refuse := func(code wirepb.Code, format string, args ...any) *Error {
		return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
	}
	var a agreed
	if p == nil {
		return a, refuse(wirepb.Code_INVALID, "welcome without a hello")
	}
	if len(p.Entity) > entityMax {
		return a, refuse(wirepb.Code_INVALID, "entity name of %d bytes, limit %d", len(p.Entity), entityMax)
	}
	self, peer := printable(h.o.Self.Entity), printable(p.Entity)
	if p.Entity != "" && peer != p.Entity {
		return a, refuse(wirepb.Code_INVALID, "entity name %q is not printable text", p.Entity)
	}
	a.peer.Entity, a.peer.Incarnation = p.Entity, p.Incarnation
	switch len(p.Cluster) {
	case 0:
	case len(placement.UUID{}):
		a.peer.Cluster = placement.UUID(p.Cluster)
	default:
		return a, refuse(wirepb.Code_INVALID, "cluster id of %d bytes, want 16", len(p.Cluster))
	}
	a.version = min(p.VersionMax, h.o.versionMax)
	if a.version < p.VersionMin || a.version < h.o.versionMin {
		return a, refuse(wirepb.Code_UNSUPPORTED, "%s speaks protocol versions %d to %d, %s speaks %d to %d: upgrade the older one",
			peer, p.VersionMin, p.VersionMax, self, h.o.versionMin, h.o.versionMax)
	}
	if mine := h.o.Self.Cluster; !mine.IsZero() && !a.peer.Cluster.IsZero() && mine != a.peer.Cluster {
		return a, refuse(wirepb.Code_NOT_PERMITTED, "%s belongs to cluster %v, %s to cluster %v: check the address", peer, a.peer.Cluster, self, mine)
	}
	if lacking := p.Required &^ h.o.Features; lacking != 0 {
		return a, refuse(wirepb.Code_UNSUPPORTED, "%s requires features %#x that %s lacks", peer, lacking, self)
	}
	if lacking := h.o.Required &^ p.Features; lacking != 0 {
		return a, refuse(wirepb.Code_UNSUPPORTED, "%s requires features %#x that %s lacks", self, lacking, peer)
	}
	if p.AuthMethod != authNone {
		return a, unknownAuth(p.AuthMethod)
	}
	a.features = p.Features & h.o.Features
	return a, nil
}

// printable makes a peer's text fit for logs.
func printable(s string) string {
	if s == "" {
		return "(unnamed)"
	}
	if len(s) > errorTextMax {
		s = s[:errorTextMax]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

type vtMessage interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

func (h *handshake) write(k kind, m vtMessage) error {
	b, err := m.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode %v: %w", k, err)
	}
	p := prefix{kind: k, header: uint32(len(b)), headerSum: checksum(b)}
	out := make([]byte, prefixLen, prefixLen+len(b))
	p.put(out)
	_, err = h.nc.Write(append(out, b...))
	return err
}

func (h *handshake) read(want kind, m vtMessage) error {
	p, b, err := h.fr.next()
	if err == io.EOF {
		return fmt.Errorf("%w while waiting for its %v", errPeerClosed, want)
	}
	if err != nil {
		return err
	}
	if p.kind != want {
		return fmt.Errorf("%w: %v, want %v", ErrBadFrame, p.kind, want)
	}
	if err := m.UnmarshalVT(b); err != nil {
		return fmt.Errorf("%w: %v does not decode: %w", ErrBadFrame, want, err)
	}
	_, err = h.fr.payload(p, new(slab.Buf)) // there is none; this frees the header's place
	return err
}
