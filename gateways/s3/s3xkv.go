package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/client/bucket"
)

// Ordered maps. The pairs of a map "m" are the objects "m/KEY": small ones lie in the bucket's index, which is an ordered
// map that splits by itself, so a map has no size of its own and needs nothing that could be left behind.

// Limits of maps.
const (
	maxValue    = 1 << 20
	maxPairs    = 1000
	maxPairsDoc = 8 << 20 // of a document of pairs, and of the values in a page of a list
)

type kvPair struct {
	Key   string  `json:"key"`
	Size  int64   `json:"size"`
	ETag  string  `json:"etag"`
	Value *string `json:"value,omitempty"` // base64
}

type kvPage struct {
	Pairs []kvPair `json:"pairs"`
	More  bool     `json:"more"`
	Next  string   `json:"next,omitempty"` // go on with marker=
}

// escapePath writes a key as it stands in a URL.
func escapePath(key string) string { return (&url.URL{Path: key}).EscapedPath() }

// readBody reads a body of at most limit bytes whole, as it is.
func (q *request) readBody(limit int64) ([]byte, *apiError) {
	p, e := q.body(nil)
	if e != nil {
		return nil, e
	}
	tooLarge := apiErr("MaxMessageLengthExceeded", "Your request was too large: at most %d bytes.", limit)
	if p.size > limit {
		return nil, tooLarge
	}
	b, err := io.ReadAll(io.LimitReader(p, limit+1))
	switch {
	case err != nil:
		return nil, toAPI(err)
	case int64(len(b)) > limit:
		return nil, tooLarge
	case int64(len(b)) != p.size:
		return nil, apiErr("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	case p.md5 != nil && !hasMD5(b, p.md5):
		return nil, apiErr("BadDigest", "The Content-MD5 you specified did not match what we received.")
	}
	return b, nil
}

func hasMD5(b, want []byte) bool {
	sum := md5.Sum(b)
	return bytes.Equal(sum[:], want)
}

// answerJSON answers with a document.
func (q *request) answerJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	q.w.WriteHeader(http.StatusOK)
	if _, err := q.w.Write(b); err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err) // the client has gone
	}
	return nil
}

// mayList decides about listing keys with a prefix: policies see that one, whatever the query says.
func (q *request) mayList(prefix string) error {
	q.query.Set("prefix", prefix)
	q.query.Del("delimiter")
	return q.may(q.t, "s3:ListBucket", "", "")
}

// kvList lists the keys of a map from a prefix on, in order, with their values if they are wanted.
func (q *request) kvList() error {
	base := q.key + "/"
	limit := maxPairs
	if v := q.query.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return apiErr("InvalidArgument", "maxresults is no number above 0.").with("ArgumentName", "maxresults").with("ArgumentValue", v)
		}
		limit = min(n, maxPairs)
	}
	prefix, after := base+q.query.Get("key"), ""
	if m := q.query.Get("marker"); m != "" {
		after = base + m
	}
	q.query.Set("max-keys", strconv.Itoa(limit))
	if err := q.mayList(prefix); err != nil {
		return err
	}
	l, err := q.b.List(q.ctx(), bucket.ListInput{Prefix: prefix, After: after, Max: limit})
	if err != nil {
		return err
	}
	out := kvPage{Pairs: []kvPair{}, More: l.Truncated}
	values, bytes := q.query.Get("values") == "1", int64(0)
	for _, o := range l.Objects {
		p := kvPair{Key: strings.TrimPrefix(o.Key, base), Size: o.Size, ETag: o.ETag()}
		if values {
			if bytes += o.Size; bytes > maxPairsDoc && len(out.Pairs) > 0 {
				out.More = true
				break
			}
			v, err := q.kvValue(o.Key)
			if errors.Is(err, bucket.ErrNoSuchKey) {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			text := base64.StdEncoding.EncodeToString(v)
			p.Size, p.Value = int64(len(v)), &text
		}
		out.Pairs = append(out.Pairs, p)
	}
	if out.More && len(out.Pairs) > 0 {
		out.Next = out.Pairs[len(out.Pairs)-1].Key
	}
	return q.answerJSON(out)
}

// kvValue reads a value, if it may be read.
func (q *request) kvValue(key string) ([]byte, error) {
	check, err := q.ask(q.t, "s3:GetObject", key, "")
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		o, err := q.b.Get(q.ctx(), key)
		if err := q.object(check, o, err); err != nil {
			return nil, err
		}
		if o.Size > maxPairsDoc {
			return nil, apiErr("EntityTooLarge", "The object %q is too large to be listed with its value.", key)
		}
		enc, err := q.opening(o, customerHeader)
		if err != nil {
			return nil, err
		}
		r, err := q.open(o, enc, 0, o.Size)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(r)
			r.Close()
			if err == nil {
				return b, nil
			}
		}
		if !errors.Is(err, bucket.ErrChanged) || try == changedTries {
			return nil, err
		}
	}
}

// kvInsert puts one pair, whose value is the body, or the pairs of a JSON object of strings.
func (q *request) kvInsert() error {
	if q.query.Has("key") {
		b, e := q.wholeBody(maxValue)
		if e != nil {
			return e
		}
		if err := q.kvPut(b); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	doc, e := q.wholeBody(maxPairsDoc)
	if e != nil {
		return e
	}
	var pairs map[string]string
	if err := json.Unmarshal(doc, &pairs); err != nil || len(pairs) == 0 || len(pairs) > maxPairs {
		return apiErr("InvalidRequest", "The body is no JSON object of 1 to %d strings.", maxPairs)
	}
	coded := q.query.Get("encoding") == "base64"
	values, keys := map[string][]byte{}, []string{}
	for k, v := range pairs {
		b := []byte(v)
		if coded {
			var err error
			if b, err = base64.StdEncoding.DecodeString(v); err != nil {
				return apiErr("InvalidRequest", "The value of %q is not in base64.", k)
			}
		}
		key := q.key + "/" + k
		switch {
		case k == "" || bucket.CheckKey(key) != nil:
			return apiErr("InvalidArgument", "%q cannot be a key.", k).with("ArgumentName", "key").with("ArgumentValue", k)
		case len(b) > maxValue:
			return apiErr("EntityTooLarge", "The value of %q has %d bytes.", k, len(b)).with("MaxSizeAllowed", itoa(maxValue))
		}
		values[key], keys = b, append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys { // nothing is put if something may not be
		if err := q.may(q.t, "s3:PutObject", key, ""); err != nil {
			return err
		}
		if err := q.mayBeside(q.t, key, ""); err != nil {
			return err
		}
	}
	for _, q.key = range keys {
		if err := q.kvPut(values[q.key]); err != nil {
			return err
		}
	}
	for _, name := range []string{"ETag", "x-amz-version-id"} {
		q.w.Header().Del(name) // of the last one
	}
	return q.answerJSON(map[string]int{"inserted": len(keys)})
}

// kvPut puts a value under the request's key.
func (q *request) kvPut(value []byte) error {
	_, err := q.store(&payload{in: bytes.NewReader(value), size: int64(len(value))})
	return err
}

// kvDelete removes one pair, those of a JSON array of keys, or with all=1 some of all that there are.
func (q *request) kvDelete() error {
	if q.query.Has("key") {
		return q.deleteObject()
	}
	base := q.key + "/"
	doc, e := q.wholeBody(maxPairsDoc)
	if e != nil {
		return e
	}
	var keys []string
	more := false
	switch {
	case q.query.Get("all") == "1" && len(doc) == 0:
		if err := q.mayList(base); err != nil {
			return err
		}
		l, err := q.b.List(q.ctx(), bucket.ListInput{Prefix: base, Max: maxPairs})
		if err != nil {
			return err
		}
		for _, o := range l.Objects {
			keys = append(keys, o.Key)
		}
		more = l.Truncated
	default:
		if err := json.Unmarshal(doc, &keys); err != nil || len(keys) == 0 || len(keys) > maxPairs {
			return apiErr("InvalidRequest", "Name a key, or 1 to %d in a JSON array, or all=1.", maxPairs)
		}
		for i, k := range keys {
			if keys[i] = base + k; k == "" || bucket.CheckKey(keys[i]) != nil {
				return apiErr("InvalidArgument", "%q cannot be a key.", k).with("ArgumentName", "key").with("ArgumentValue", k)
			}
		}
	}
	for _, key := range keys {
		if err := q.may(q.t, "s3:DeleteObject", key, ""); err != nil {
			return err
		}
	}
	for i, err := range q.b.DeleteMany(q.ctx(), keys) {
		if err != nil && !gone(err) {
			e := toAPI(err)
			return e.with("Key", keys[i])
		}
	}
	return q.answerJSON(map[string]any{"deleted": len(keys), "more": more})
}

// snapshots lists the snapshots of an object.
func (q *request) snapshots() error {
	base := q.key + snapshotSign
	if err := q.mayList(base); err != nil {
		return err
	}
	after := ""
	if m := q.query.Get("marker"); m != "" {
		after = base + m
	}
	l, err := q.b.List(q.ctx(), bucket.ListInput{Prefix: base, After: after, Max: maxPairs})
	if err != nil {
		return err
	}
	type snap struct {
		Name    string `json:"name"`
		Size    int64  `json:"size"`
		ETag    string `json:"etag"`
		Created string `json:"created"`
	}
	out := struct {
		Snapshots []snap `json:"snapshots"`
		More      bool   `json:"more"`
	}{[]snap{}, l.Truncated}
	for _, o := range l.Objects {
		out.Snapshots = append(out.Snapshots, snap{strings.TrimPrefix(o.Key, base), o.Size, o.ETag(), stamp(o.Modified)})
	}
	return q.answerJSON(out)
}
