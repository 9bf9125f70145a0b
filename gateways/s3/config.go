package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"

	"github.com/cairnstore/cairn/client/bucket"
)

// Configuration documents of buckets are kept as XML without a namespace.

// config reads a document of the bucket into v; found is false if it has none.
func (q *request) config(name string, v any) (found bool, err error) {
	cfg, err := q.b.Config(q.ctx())
	if err != nil {
		return false, err
	}
	doc := cfg.Doc(name)
	if doc == nil {
		return false, nil
	}
	if err := xml.Unmarshal(doc, v); err != nil {
		return false, fmt.Errorf("%s of bucket %q: %w", name, q.bucket, err)
	}
	return true, nil
}

// parsed is config for what many requests ask for: the document is parsed once. It is nil if the bucket has none.
func parsed[T any](cfg *bucket.Config, name string) (*T, error) {
	v, err := cfg.Parsed(name, func(doc []byte) (any, error) {
		x := new(T)
		return x, xml.Unmarshal(doc, x)
	})
	x, _ := v.(*T)
	return x, err
}

// configure stores a document of the bucket and answers.
func (q *request) configure(name string, v any, status int) error {
	doc, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	if err := q.b.SetConfig(q.ctx(), map[string][]byte{name: doc}); err != nil {
		return err
	}
	q.w.WriteHeader(status)
	return nil
}

// unconfigure removes a document of the bucket, which need not be there, and answers.
func (q *request) unconfigure(name string) error {
	if err := q.b.SetConfig(q.ctx(), map[string][]byte{name: nil}); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}
