package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/monclient"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// monCall asks the monitors, one after the other, until one answers for good:
// with success or an error that another would give too.
func (c *Client) monCall(ctx context.Context, h *wirepb.Header) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	m, err := c.session.Call(ctx, &wire.Message{Header: h})
	if err != nil {
		return nil, monError(err)
	}
	return m, nil
}

// monError gives an error of the session with the monitors the conditions that
// callers of this package test for.
func monError(err error) error {
	var gave *monclient.GaveUpError
	var answer *wire.Error
	switch {
	case errors.Is(err, monclient.ErrClosed):
		return ErrClosed
	case errors.As(err, &gave): // before answer, which it may hold
		if gave.Last != nil {
			return fmt.Errorf("%w: the monitors' last answer: %w%s", timeout(gave.Cause), gave.Last, gave.Trouble)
		}
		return fmt.Errorf("%w%s", timeout(gave.Cause), gave.Trouble)
	case errors.As(err, &answer):
		return fmt.Errorf("%w: %s", ErrorOf(answer.Code), answer.Text)
	case errors.Is(err, wire.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}

// AccessKey is a pair of keys of a User.
type AccessKey struct{ AccessKey, SecretKey string }

// User is an account of the cluster, as the gateways know it.
type User struct {
	Name        string
	DisplayName string
	Keys        []AccessKey
	Suspended   bool
}

// User returns the user that has the given access key, ErrNotFound if none has.
func (c *Client) User(ctx context.Context, accessKey string) (*User, error) {
	return c.user(ctx, "of access key", accessKey, &wirepb.UserGet{AccessKey: accessKey})
}

// UserNamed returns the user of a name, without its keys; ErrNotFound if there is none.
func (c *Client) UserNamed(ctx context.Context, name string) (*User, error) {
	return c.user(ctx, "named", name, &wirepb.UserGet{Name: name})
}

func (c *Client) user(ctx context.Context, what, which string, get *wirepb.UserGet) (*User, error) {
	m, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: get}})
	if err != nil {
		return nil, fmt.Errorf("user %s %q: %w", what, which, err)
	}
	u := m.Header.GetUser()
	if u == nil {
		return nil, fmt.Errorf("user %s %q: %w: monitor answered with %T", what, which, ErrInternal, m.Header.Body)
	}
	user := &User{Name: u.Name, DisplayName: u.DisplayName, Suspended: u.Suspended}
	for _, k := range u.Keys {
		user.Keys = append(user.Keys, AccessKey{AccessKey: k.GetAccessKey(), SecretKey: k.GetSecretKey()})
	}
	return user, nil
}

// ServiceBeacon tells the cluster that a service runs, or stops.
type ServiceBeacon struct {
	Kind    string // s3, ...
	Name    string
	Addr    string // what its users connect to, host:port
	Leaving bool
}

func (s ChunkStats) message() *wirepb.ServiceChunks {
	return &wirepb.ServiceChunks{
		Written: uint64(s.Written), Shared: uint64(s.Shared), LostRaces: uint64(s.LostRaces), Local: uint64(s.Local), Replaced: uint64(s.Replaced),
		Read: uint64(s.Read), Rebuilt: uint64(s.Rebuilt), Hedged: uint64(s.Hedged), BadShards: uint64(s.BadShards), Moved: uint64(s.Moved), Reread: uint64(s.Reread),
	}
}

// Beacon sends a service beacon to the monitors, with what the Client has done with chunks. A service does so every few seconds.
func (c *Client) Beacon(ctx context.Context, b ServiceBeacon) error {
	_, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_ServiceBeacon{ServiceBeacon: &wirepb.ServiceBeacon{
		Kind: b.Kind, Name: b.Name, Addr: b.Addr, Leaving: b.Leaving, Chunks: c.ChunkStats().message(),
	}}})
	if err != nil {
		return fmt.Errorf("beacon of %s.%s: %w", b.Kind, b.Name, err)
	}
	return nil
}
