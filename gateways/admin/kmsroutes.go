package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/internal/api"
)

const seeKeys = "see `cairn kms key ls`"

// keysOrFail returns the records of master keys, if this monitor has them.
func (s *Server) keysOrFail(ctx context.Context) (*kms.Store, error) {
	if s.keys == nil {
		return nil, api.NewProblem(fmt.Errorf("this monitor does not administer encryption keys: %w", api.ErrUnsupported), "ask another one")
	}
	k, err := s.keys(ctx)
	if err != nil {
		return nil, fail(err, "make the pool of the S3 gateways first: `cairn pool create s3 --application s3`")
	}
	return k, nil
}

func keyJSON(k *kms.Key) api.EncryptionKey {
	out := api.EncryptionKey{
		ID: k.ID, Description: k.Description, Created: unix(time.Unix(0, k.Created)), State: "enabled",
		Versions: len(k.Versions), Rotated: unix(time.Unix(0, k.Versions[len(k.Versions)-1].Created)),
	}
	if k.Disabled {
		out.State = "disabled"
	}
	return out
}

// keyFailed is fail with the next step of what is peculiar to keys.
func keyFailed(id string, err error) error {
	switch {
	case errors.Is(err, kms.ErrEnabled):
		return api.NewProblem(&translated{err, api.ErrConflict}, "disable it first, and wait whether somebody misses what it encrypts: `cairn kms key disable "+id+"`")
	case errors.Is(err, kms.ErrDisabled):
		return api.NewProblem(&translated{err, api.ErrConflict}, "enable it first: `cairn kms key enable "+id+"`")
	}
	return fail(err, seeKeys)
}

func (s *Server) kmsRoutes() {
	handle(s, route{"GET", "/encryption-keys", "list-encryption-keys", "encryption", "All master keys of server-side encryption", 0},
		func(ctx context.Context, _ *none) ([]api.EncryptionKey, error) {
			k, err := s.keysOrFail(ctx)
			if err != nil {
				return nil, err
			}
			list, err := k.List(ctx)
			if err != nil {
				return nil, fail(err, "")
			}
			out := []api.EncryptionKey{}
			for _, k := range list {
				out = append(out, keyJSON(k))
			}
			return out, nil
		})
	handle(s, route{"POST", "/encryption-keys", "create-encryption-key", "encryption", "Make a master key", http.StatusCreated},
		func(ctx context.Context, in *struct{ Body api.EncryptionKeyCreate }) (api.EncryptionKey, error) {
			k, err := s.keysOrFail(ctx)
			if err != nil {
				return api.EncryptionKey{}, err
			}
			key, err := k.Create(ctx, in.Body.ID, in.Body.Description)
			if err != nil {
				return api.EncryptionKey{}, keyFailed(in.Body.ID, err)
			}
			return keyJSON(key), nil
		})
	for _, do := range []struct {
		what, summary string
		f             func(ctx context.Context, k *kms.Store, id string) (*kms.Key, error)
	}{
		{"rotate", "Give a key a new version, which encrypts from then on; older ones still decrypt", func(ctx context.Context, k *kms.Store, id string) (*kms.Key, error) { return k.Rotate(ctx, id) }},
		{"disable", "Have a key not used any more, also not to decrypt", func(ctx context.Context, k *kms.Store, id string) (*kms.Key, error) {
			return k.SetDisabled(ctx, id, true)
		}},
		{"enable", "Have a key used again", func(ctx context.Context, k *kms.Store, id string) (*kms.Key, error) {
			return k.SetDisabled(ctx, id, false)
		}},
	} {
		handle(s, route{"POST", "/encryption-keys/{id}/" + do.what, do.what + "-encryption-key", "encryption", do.summary, 0},
			func(ctx context.Context, in *struct {
				ID string `path:"id" minLength:"1" maxLength:"256"`
			}) (api.EncryptionKey, error) {
				k, err := s.keysOrFail(ctx)
				if err != nil {
					return api.EncryptionKey{}, err
				}
				key, err := do.f(ctx, k, in.ID)
				if err != nil {
					return api.EncryptionKey{}, keyFailed(in.ID, err)
				}
				return keyJSON(key), nil
			})
	}
	act(s, route{"DELETE", "/encryption-keys/{id}", "remove-encryption-key", "encryption", "Remove a disabled key: what it encrypted is lost", 0},
		func(ctx context.Context, in *struct {
			ID      string `path:"id" minLength:"1" maxLength:"256"`
			Confirm string `query:"confirm" doc:"Repeat the id: what the key encrypted cannot be read any more"`
		}) error {
			k, err := s.keysOrFail(ctx)
			if err != nil {
				return err
			}
			if err := confirmed("encryption key", in.ID, in.Confirm); err != nil {
				return err
			}
			if err := k.Remove(ctx, in.ID); err != nil {
				return keyFailed(in.ID, err)
			}
			return nil
		})
}
