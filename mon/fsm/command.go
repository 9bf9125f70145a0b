package fsm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cairnstore/cairn/placement"
)

// CommandVersion is the newest version of the command encoding this package
// writes and understands. It is raised when a body gains a field or a kind
// changes its meaning.
const CommandVersion = 5

// MaxCommandBytes bounds an encoded command.
const MaxCommandBytes = 1 << 20

// ErrUnknownCommand is wrapped by Decode's error about a command that a newer
// version of the program wrote. A monitor that finds one in its log must stop.
var ErrUnknownCommand = errors.New("command is from a newer version")

// ErrMalformed is wrapped by Decode's error about bytes that are no command.
var ErrMalformed = errors.New("not a monitor command")

// Command is one change of the state, with the time at which it was proposed.
type Command struct {
	At   int64  // unix nanoseconds, proposer's clock
	By   string // the administrator who asked for it, for the audit log; empty: the cluster itself
	Body Body
}

// Body is what a command does: one of the exported structs of this package.
type Body interface {
	kind() string
	apply(t *txn) (Result, error)
}

// envelope is the encoded form of a Command.
type envelope struct {
	Version int             `json:"v"`
	Kind    string          `json:"k"`
	At      int64           `json:"t"`
	By      string          `json:"w,omitempty"` // since version 2
	Body    json.RawMessage `json:"b"`
}

// newBody returns an empty body of the kind, or nil.
func newBody(kind string) Body {
	switch kind {
	case "bootstrap":
		return &Bootstrap{}
	case "mon-join":
		return &MonJoin{}
	case "mon-leave":
		return &MonLeave{}
	case "osd-register":
		return &OSDRegister{}
	case "osd-boot":
		return &OSDBoot{}
	case "osd-down":
		return &OSDDown{}
	case "osd-reweight":
		return &OSDReweight{}
	case "osd-auto-out":
		return &OSDAutoOut{}
	case "osd-drain":
		return &OSDDrain{}
	case "osd-remove":
		return &OSDRemove{}
	case "osd-full":
		return &OSDFull{}
	case "osd-slow":
		return &OSDSlow{}
	case "crush-osd":
		return &CrushOSD{}
	case "crush-move":
		return &CrushMove{}
	case "pool-create":
		return &PoolCreate{}
	case "pool-set":
		return &PoolSet{}
	case "pool-split":
		return &PoolSplit{}
	case "pool-remove":
		return &PoolRemove{}
	case "pg-change":
		return &PGChange{}
	case "pg-force":
		return &PGForce{}
	case "flag-set":
		return &FlagSet{}
	case "config-set":
		return &ConfigSet{}
	case "user-create":
		return &UserCreate{}
	case "user-remove":
		return &UserRemove{}
	case "service-set":
		return &ServiceSet{}
	case "service-remove":
		return &ServiceRemove{}
	}
	return newIdentityBody(kind)
}

// Encode returns the command's bytes for the log.
func Encode(c Command) ([]byte, error) {
	body, err := json.Marshal(c.Body)
	if err != nil {
		return nil, fmt.Errorf("encode command %s: %w", c.Body.kind(), err)
	}
	b, err := json.Marshal(envelope{Version: CommandVersion, Kind: c.Body.kind(), At: c.At, By: c.By, Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode command %s: %w", c.Body.kind(), err)
	}
	if len(b) > MaxCommandBytes {
		return nil, fmt.Errorf("encode command %s: %d bytes, at most %d are allowed", c.Body.kind(), len(b), MaxCommandBytes)
	}
	return b, nil
}

// Decode reads what Encode wrote. Its error wraps ErrUnknownCommand when the
// command comes from a newer version, and ErrMalformed when b is no command.
func Decode(b []byte) (Command, error) {
	if len(b) > MaxCommandBytes {
		return Command{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(b), MaxCommandBytes)
	}
	var e envelope
	// The envelope's fields never change, so only the version may tell a newer one.
	if err := json.Unmarshal(b, &e); err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if e.Version < 1 || e.Kind == "" {
		return Command{}, fmt.Errorf("%w: version %d, kind %q", ErrMalformed, e.Version, e.Kind)
	}
	body := newBody(e.Kind)
	if e.Version > CommandVersion || body == nil {
		return Command{}, fmt.Errorf("%w: kind %q, version %d; this program knows versions up to %d: upgrade this monitor",
			ErrUnknownCommand, e.Kind, e.Version, CommandVersion)
	}
	d := json.NewDecoder(bytes.NewReader(e.Body))
	// A field this program does not know would be dropped here and kept by others;
	// whoever adds one raises CommandVersion.
	d.DisallowUnknownFields()
	if err := d.Decode(body); err != nil {
		return Command{}, fmt.Errorf("%w: kind %q: %w", ErrMalformed, e.Kind, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Command{}, fmt.Errorf("%w: kind %q: data after the body", ErrMalformed, e.Kind)
	}
	return Command{At: e.At, By: e.By, Body: body}, nil
}

// KindOf returns the name of a body's kind, for logs and errors.
func KindOf(b Body) string { return b.kind() }

// The following have the fields of their namesakes in package placement, and the
// names those have in JSON. A field added there does not compile here before
// somebody has thought of CommandVersion.

// Mon is a placement.Mon.
type Mon struct {
	Name      string `json:"name"`
	Addr      string `json:"addr"`
	RaftAddr  string `json:"raft_addr"`
	AdminAddr string `json:"admin_addr,omitempty"`
}

// Mons converts a list.
func Mons(list []placement.Mon) []Mon {
	out := make([]Mon, len(list))
	for i, m := range list {
		out[i] = Mon(m)
	}
	return out
}

// Service is a placement.Service.
type Service struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Addr string `json:"addr,omitempty"`
}

// PGID is a placement.PGID.
type PGID struct {
	Pool  placement.PoolID `json:"pool"`
	Shard uint32           `json:"shard"`
}

// UUID is a placement.UUID that is written as hexadecimal text in JSON.
type UUID placement.UUID

// MarshalText implements encoding.TextMarshaler.
func (u UUID) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(u[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *UUID) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(u) || len(b)%2 != 0 {
		return fmt.Errorf("UUID %q: want %d hexadecimal digits", b, 2*len(u))
	}
	_, err := hex.Decode(u[:], b)
	return err
}
