package mon

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/mon/iam"
)

// tokenKeyAge is how old the newest key of tokens gets before there is a newer one. With
// fsm.MaxTokenKeys of them, a token can be opened for three days at least, longer than any is valid.
const tokenKeyAge = 24 * time.Hour

// Identity answers a call about identities: for the REST interface, and for gateways.
// A refusal is an answer with a code.
func (m *Monitor) Identity(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
	if q.GetBy() != "" {
		ctx = api.WithActor(ctx, q.GetBy())
	}
	s := &iam.Service{Read: m.machine.read, Submit: m.submit}
	return s.Answer(ctx, q)
}

// identityCall answers a gateway. Only the leader does: it has what it has just changed.
func (m *Monitor) identityCall(ctx context.Context, c *wire.Conn, req *wire.Message, q *wirepb.IdentityCall) {
	r, err := m.Identity(ctx, q)
	if err != nil {
		m.identityError(c, req, err)
		return
	}
	m.machine.read(func(s *fsm.State) { r.Index = uint64(s.Index()) })
	m.reply(c, req, &wire.Message{Header: &wirepb.Header{
		Epoch: uint64(m.Map().Epoch), Body: &wirepb.Header_IdentityReply{IdentityReply: r},
	}})
}

func (m *Monitor) identityError(c *wire.Conn, req *wire.Message, err error) {
	if errors.Is(err, api.ErrInvalid) {
		m.replyError(c, req, wirepb.Code_INVALID, "%v", err)
		return
	}
	m.decline(c, req, "%v", err)
}

// tokenKeysGet answers with the keys of tokens. The leader makes a new one when the newest is old.
func (m *Monitor) tokenKeysGet(ctx context.Context, c *wire.Conn, req *wire.Message) {
	for {
		keys := m.tokenKeys()
		newest := fsm.TokenKey{}
		if len(keys) > 0 {
			newest = keys[len(keys)-1]
		}
		if age := time.Since(time.Unix(0, newest.Created)); newest.ID != 0 && age < tokenKeyAge {
			out := &wirepb.TokenKeys{}
			for _, k := range keys {
				out.Keys = append(out.Keys, &wirepb.TokenKey{Id: k.ID, Key: k.Key, Created: k.Created})
			}
			m.reply(c, req, &wire.Message{Header: &wirepb.Header{Epoch: uint64(m.Map().Epoch), Body: &wirepb.Header_TokenKeys{TokenKeys: out}}})
			return
		}
		fresh := fsm.TokenKey{ID: newest.ID + 1, Key: make([]byte, 32)}
		rand.Read(fresh.Key) // never fails
		// A conflict: somebody else has made one meanwhile.
		if _, err := m.submit(ctx, &fsm.TokenKeyAdd{Key: fresh, After: newest.ID}); err != nil && !errors.Is(err, api.ErrConflict) {
			m.identityError(c, req, err)
			return
		}
	}
}

func (m *Monitor) tokenKeys() (keys []fsm.TokenKey) {
	m.machine.read(func(s *fsm.State) { keys = s.TokenKeys() })
	return keys
}
