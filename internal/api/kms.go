package api

import (
	"context"
	"net/http"
	"net/url"
)

// EncryptionKey is a master key of server-side encryption. Nothing of it is secret.
type EncryptionKey struct {
	ID          string `json:"id"`
	Description string `json:"description,omitempty"`
	Created     int64  `json:"created" doc:"Unix seconds"`
	State       string `json:"state" enum:"enabled,disabled"`
	Versions    int    `json:"versions" doc:"The last one encrypts, all of them decrypt"`
	Rotated     int64  `json:"rotated" doc:"When the last version was made, Unix seconds"`
}

// EncryptionKeyCreate is the body of a request for a new key.
type EncryptionKeyCreate struct {
	ID          string `json:"id,omitempty" maxLength:"256" doc:"Default one that is made up"`
	Description string `json:"description,omitempty" maxLength:"1024"`
}

// EncryptionKeys lists the master keys.
func (c *Client) EncryptionKeys(ctx context.Context) ([]EncryptionKey, error) {
	return get[[]EncryptionKey](ctx, c, "/encryption-keys", nil)
}

// EncryptionKeyCreate makes a key.
func (c *Client) EncryptionKeyCreate(ctx context.Context, in EncryptionKeyCreate) (EncryptionKey, error) {
	var out EncryptionKey
	err := c.call(ctx, http.MethodPost, Prefix+"/encryption-keys", nil, in, &out)
	return out, err
}

// EncryptionKeyDo has something done to a key: rotate, enable or disable.
func (c *Client) EncryptionKeyDo(ctx context.Context, id, what string) (EncryptionKey, error) {
	var out EncryptionKey
	err := c.call(ctx, http.MethodPost, Prefix+"/encryption-keys"+seg(id)+"/"+what, nil, nil, &out)
	return out, err
}

// EncryptionKeyRemove removes a disabled key for good.
func (c *Client) EncryptionKeyRemove(ctx context.Context, id, confirm string) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/encryption-keys"+seg(id), url.Values{"confirm": {confirm}}, nil, nil)
}
