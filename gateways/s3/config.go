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

// readConfig reads the document that the request brings.
func (q *request) readConfig(v any) error {
	found, e := q.readXML(v, bucket.MaxConfigBytes)
	switch {
	case e != nil:
		return e
	case !found:
		return apiErr("MissingRequestBodyError", "Request Body is empty")
	}
	return nil
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
