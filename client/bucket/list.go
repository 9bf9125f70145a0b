package bucket

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// ListInput selects what List returns.
type ListInput struct {
	Prefix    string
	Delimiter string // keys with it behind the prefix are rolled up to their common prefix
	After     string // only keys, and common prefixes, above this
	Max       int    // objects and common prefixes together; more than MaxListEntries means that many
}

// Listing is a page of a bucket, in byte order.
type Listing struct {
	Objects   []*Object // without bodies
	Prefixes  []string
	Truncated bool   // there is more
	Last      string // the greatest key or prefix returned: After of the next page
}

// List returns a page of the bucket. It sees every object that was put before it
// began and not deleted since.
func (b *Bucket) List(ctx context.Context, in ListInput) (*Listing, error) {
	in.Max = min(max(in.Max, 0), MaxListEntries)
	out := &Listing{}
	if in.Max == 0 {
		return out, nil
	}
	roll := roller{prefix: in.Prefix, delimiter: in.Delimiter, after: in.After}
	from, end := roll.bounds("")
	err := b.scan(ctx, kindEntry, from, end, listBatch(in), func(key string, value []byte) (string, bool, error) {
		common, next := roll.common(key)
		if next != "" && common == "" {
			return next, false, nil
		}
		if len(out.Objects)+len(out.Prefixes) == in.Max {
			out.Truncated = true
			return "", true, nil
		}
		if common != "" {
			out.Prefixes = append(out.Prefixes, common)
			out.Last = common
			return next, false, nil
		}
		e := new(bucketpb.Entry)
		if err := decode(value, e); err != nil {
			return "", false, keyErr("list", b, key, err)
		}
		out.Objects = append(out.Objects, b.object(key, e, nil))
		out.Last = key
		return "", false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list bucket %q: %w", b.name, err)
	}
	return out, nil
}

// listBatch is how many entries to ask for first. With a delimiter most of them
// may fall under one prefix; scan takes larger steps while they do not.
func listBatch(in ListInput) int {
	if in.Delimiter != "" {
		return min(in.Max+1, 64)
	}
	return in.Max + 1
}

// roller rolls keys up to common prefixes.
type roller struct{ prefix, delimiter, after string }

// bounds returns where a scan begins and ends. id says that records with the
// same key as after may follow, those with a greater id.
func (r roller) bounds(id string) (from, end string) {
	from, end = r.prefix, prefixEnd(r.prefix)
	if r.prefix == "" {
		end = keyEnd
	}
	if r.after != "" {
		if id != "" {
			from = max(from, r.after+"\x00"+id+"\x00")
		} else {
			from = max(from, r.after+"\x00")
		}
	}
	return from, end
}

// common returns the common prefix that key is rolled up to, "" for none, and
// where to go on behind it. A next without a common prefix: it was on an earlier page.
func (r roller) common(key string) (common, next string) {
	if r.delimiter == "" {
		return "", ""
	}
	i := strings.Index(key[len(r.prefix):], r.delimiter)
	if i < 0 {
		return "", ""
	}
	common = key[:len(r.prefix)+i+len(r.delimiter)]
	next = prefixEnd(common)
	if common <= r.after {
		return "", next
	}
	return common, next
}

// UploadsInput selects what Uploads returns.
type UploadsInput struct {
	Prefix, Delimiter string
	AfterKey          string
	AfterUpload       string // with AfterKey: also uploads of that key with a greater id
	Max               int
}

// Upload is a multipart upload under way.
type Upload struct {
	Key        string
	ID         string
	Owner      string
	Started    time.Time
	Headers    Headers
	Attrs      Attrs
	Algorithm  string // checksum algorithm, may be empty
	FullObject bool   // checksum type of the whole
}

// UploadsPage is a page of the uploads under way.
type UploadsPage struct {
	Uploads             []Upload
	Prefixes            []string
	Truncated           bool
	LastKey, LastUpload string
}

// Uploads lists the multipart uploads under way by key and id.
func (b *Bucket) Uploads(ctx context.Context, in UploadsInput) (*UploadsPage, error) {
	in.Max = min(max(in.Max, 0), MaxListEntries)
	out := &UploadsPage{}
	if in.Max == 0 {
		return out, nil
	}
	roll := roller{prefix: in.Prefix, delimiter: in.Delimiter, after: in.AfterKey}
	from, end := roll.bounds(in.AfterUpload)
	if in.AfterKey != "" && in.AfterUpload == "" {
		from = max(from, in.AfterKey+"\x01") // behind every upload of that key, whose ids stand behind a NUL
	}
	err := b.scan(ctx, kindUpload, from, end, listBatch(ListInput{Delimiter: in.Delimiter, Max: in.Max}), func(record string, value []byte) (string, bool, error) {
		key, x, err := splitKey(string(kindUpload) + record)
		if err != nil {
			return "", false, err
		}
		common, next := roll.common(key)
		if next != "" && common == "" {
			return next, false, nil
		}
		if len(out.Uploads)+len(out.Prefixes) == in.Max {
			out.Truncated = true
			return "", true, nil
		}
		if common != "" {
			out.Prefixes = append(out.Prefixes, common)
			out.LastKey, out.LastUpload = common, ""
			return next, false, nil
		}
		u := new(bucketpb.Upload)
		if err := decode(value, u); err != nil {
			return "", false, keyErr("list uploads", b, key, err)
		}
		if u.Idle > 0 { // a session
			return "", false, nil
		}
		out.Uploads = append(out.Uploads, uploadFrom(u))
		out.LastKey, out.LastUpload = key, x.String()
		return "", false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list uploads of bucket %q: %w", b.name, err)
	}
	return out, nil
}

func uploadFrom(u *bucketpb.Upload) Upload {
	x, _ := idOf(u.Id)
	return Upload{
		Key: u.Key, ID: x.String(), Owner: u.Owner, Started: time.Unix(0, u.Started),
		Headers: headersFrom(u.Headers), Attrs: attrsFrom(u.Attrs), Algorithm: u.Algorithm, FullObject: u.FullObject,
	}
}
