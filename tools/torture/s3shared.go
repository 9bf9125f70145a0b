package torture

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// s3Shared is a prefix that many clients work on at once: they put, delete, read and list its
// few keys. Every page of a listing is a read of each key between the first that it could
// have and the last that it has. For each key there must be an order of all operations that
// explains all answers: a register, for which listings are reads like others.
type s3Shared struct {
	t      *s3Torture
	epoch  int
	prefix string
	keys   []string

	mu      sync.Mutex // guards below
	labels  int
	tags    []string // ETags that were put, to be asked for
	history map[string][]porcupine.Operation
}

const (
	sharedBucket  = "shared"
	s3Writers     = 16
	s3SharedKeys  = 12
	s3StepsAnd    = 12 // that each client does in an epoch
	s3CheckTime   = 10 * time.Second
	s3PagesAtMost = 50
)

// s3Register is a key as one copy without failures behaves: its state is an ETag, "" if
// there is no object. Inputs are those of shared objects.
var s3Register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(sharedInput), output.(string)
		switch in.kind {
		case "read", "page":
			return out == s, s
		case "put":
			return true, in.new
		case "delete":
			return true, ""
		}
		if s == in.old { // create, which asks for "", and replace
			return out != failAnswer, in.new
		}
		return out != okAnswer, s
	},
	DescribeOperation: func(input, output any) string {
		in := input.(sharedInput)
		return fmt.Sprintf("%s(%s,%s) -> %s", in.kind, in.old, in.new, output)
	},
}

// run is one epoch, with a prefix that no other has.
func (s *s3Shared) run(ctx context.Context) error {
	s.epoch++
	s.prefix, s.keys, s.history, s.tags = fmt.Sprintf("epoch-%06d/", s.epoch), nil, map[string][]porcupine.Operation{}, nil
	for i := range s3SharedKeys {
		s.keys = append(s.keys, fmt.Sprintf("%s%c%02d", s.prefix, 'a'+i%3, i))
	}
	slices.Sort(s.keys)
	var wg sync.WaitGroup
	for id := range s3Writers {
		rng := rand.New(rand.NewPCG(s.t.p.Seed, uint64(s.epoch)<<8|uint64(id)))
		wg.Go(func() { // for its steps
			for range s3StepsAnd {
				if ctx.Err() != nil || s.t.isBroken() {
					return
				}
				s.step(ctx, id, rng)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.list(ctx, -1, rand.New(rand.NewPCG(s.t.p.Seed, uint64(s.epoch))))
	return s.check()
}

// step is one operation.
func (s *s3Shared) step(ctx context.Context, id int, rng *rand.Rand) {
	key := s.keys[rng.IntN(len(s.keys))]
	q := s3Request{gateway: rng.IntN(len(s.t.c.addrs)), path: "/" + sharedBucket + "/" + key, lastsUpTo: 30 * time.Second}
	if rng.IntN(25) == 0 {
		q.lastsUpTo = time.Duration(1 + rng.IntN(20_000_000))
	}
	in := sharedInput{kind: "read"}
	p := rng.IntN(20)
	if p < 11 {
		s.mu.Lock()
		s.labels++
		body := value(fmt.Sprintf("%s-%d", s.prefix, s.labels), 1, 20+rng.IntN(300))
		if rng.IntN(30) == 0 {
			body = value(fmt.Sprintf("%s-%d", s.prefix, s.labels), 1, 20<<10)
		}
		in.new, q.method, q.body = md5Hex(body), http.MethodPut, body
		if n := len(s.tags); n > 0 {
			in.old = s.tags[max(0, n-1-rng.IntN(6))]
		}
		s.tags = append(s.tags, in.new)
		s.mu.Unlock()
	}
	switch {
	case p < 7:
		in.kind, in.old = "put", ""
	case p < 9:
		in.kind, in.old, q.header = "create", "", map[string]string{"If-None-Match": "*"}
	case p < 11 && in.old != "":
		in.kind, q.header = "replace", map[string]string{"If-Match": `"` + in.old + `"`}
	case p < 11:
		in.kind = "put"
	case p < 13:
		in.kind, q.method = "delete", http.MethodDelete
	case p < 16:
		q.method = []string{http.MethodGet, http.MethodHead}[rng.IntN(2)]
	default:
		s.list(ctx, id, rng)
		return
	}
	call := time.Since(s.t.began)
	a := s.t.c.do(ctx, q)
	back := time.Since(s.t.began)
	out := a.outcome()
	s.t.stats.op("shared "+in.kind, in.kind != "read", out != unknown, back-call, key)
	rec := porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Return: int64(back), Output: okAnswer}
	switch {
	case out == unknown && in.kind == "read":
		return
	case out == unknown:
		rec.Output, rec.Return = noAnswer, math.MaxInt64
	case in.kind == "read" && (out == done || a.status == http.StatusNotFound):
		rec.Output = a.etag()
		if q.method == http.MethodGet && out == done && md5Hex(a.body) != a.etag() {
			s.t.fault(fmt.Errorf("key %s: %d bytes came with ETag %s, which is another's", key, len(a.body), a.etag()))
		}
	case out == refused && (in.kind == "create" || in.kind == "replace") && a.unmet():
		rec.Output = failAnswer
	case out == refused:
		s.t.fault(fmt.Errorf("%s of %s was refused with %s", in.kind, key, a))
		return
	}
	s.record(key, rec)
}

func (s *s3Shared) record(key string, rec porcupine.Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history[key] = append(s.history[key], rec)
}

// list reads the whole listing in pages, perhaps each from another gateway.
func (s *s3Shared) list(ctx context.Context, id int, rng *rand.Rand) {
	token, from := "", ""
	for range s3PagesAtMost {
		call := time.Since(s.t.began)
		page, a := s.t.c.page(ctx, rng.IntN(len(s.t.c.addrs)), sharedBucket, s.prefix, token, 1+rng.IntN(s3SharedKeys))
		back := time.Since(s.t.began)
		s.t.stats.op("list a page", false, a.outcome() != unknown, back-call, s.prefix)
		if a.outcome() == unknown {
			return
		}
		if a.outcome() != done {
			s.t.fault(fmt.Errorf("list %s: %s", s.prefix, a))
			return
		}
		has, to := map[string]string{}, ""
		for i, e := range page.Contents {
			if e.Key <= to || e.Key <= from || !slices.Contains(s.keys, e.Key) {
				s.t.fault(fmt.Errorf("listing of %s behind %q: line %d is %q, behind %q", s.prefix, from, i+1, e.Key, to))
				return
			}
			has[e.Key], to = e.ETag, e.Key
		}
		for _, key := range s.keys {
			if key > from && (key <= to || !page.IsTruncated) {
				s.record(key, porcupine.Operation{ClientId: id, Input: sharedInput{kind: "page"}, Output: has[key], Call: int64(call), Return: int64(back)})
			}
		}
		if !page.IsTruncated {
			return
		}
		if page.NextContinuationToken == "" || to == "" {
			s.t.fault(fmt.Errorf("listing of %s behind %q: %d lines, and more without a way to get it", s.prefix, from, len(page.Contents)))
			return
		}
		token, from = page.NextContinuationToken, to
	}
	s.t.fault(fmt.Errorf("the listing of %s has no end", s.prefix))
}

// check looks for an order of the operations on each key.
func (s *s3Shared) check() error {
	for _, key := range s.keys {
		h := s.history[key]
		switch porcupine.CheckOperationsTimeout(s3Register, h, s3CheckTime) {
		case porcupine.Ok:
			s.t.histories++
		case porcupine.Unknown:
			s.t.undecided++
		case porcupine.Illegal:
			return fmt.Errorf("key %s: no order of its %d operations explains what the clients were told:\n%s", key, len(h), describeS3(h))
		}
	}
	return nil
}

func describeS3(h []porcupine.Operation) string {
	h = slices.Clone(h)
	slices.SortFunc(h, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return describe(h)
}
