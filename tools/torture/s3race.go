package torture

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// raceChain is what is known of a key that clients race for. Its state is the ETag of its
// object, "" if there is none; every state but that is new, so a change that asks for a state
// can take effect once.
type raceChain struct {
	name  string
	state string
	was   []string // all states that it has had, in order
	late  []lateOp // attempts of whose end nobody knows; they may still take effect, whenever their condition holds
}

type lateOp struct{ pre, want string }

// lateKept bounds raceChain.late. What was lost so long ago has ended with its gateway.
const lateKept = 4096

// raceOp is one client's part in a round: a change on the condition that the key is as the
// round found it.
type raceOp struct {
	kind  string // put, copy, complete, delete
	want  string // ETag that it leaves, "" for none
	label string
	out   outcome
	lost  int // attempts of whose end the client knows nothing
	said  []string
}

// seen is what a reader got while a round went on.
type seen struct{ etag string }

// judge holds a round against the model, with the state that was read behind it: at most
// one client was told that it has won, whose change is the state; without one, the state is
// what it was, if nobody was told that it is another, or an attempt of unknown end has won.
func (c *raceChain) judge(ops []raceOp, during []seen, after string) error {
	pre := c.state
	show := func(format string, args ...any) error {
		var b strings.Builder
		fmt.Fprintf(&b, "key %s, which was %s, is %s: %s", c.name, shown(pre), shown(after), fmt.Sprintf(format, args...))
		for _, o := range ops {
			fmt.Fprintf(&b, "\n  %s of %s %s: %s", o.kind, shown(o.want), o.label, strings.Join(o.said, ", then "))
		}
		return fmt.Errorf("%s", b.String())
	}
	var won []string
	couldBe := slices.ContainsFunc(c.late, func(l lateOp) bool { return l.pre == pre && l.want == after })
	anyRefused, anyLost := false, slices.ContainsFunc(c.late, func(l lateOp) bool { return l.pre == pre })
	for _, o := range ops {
		switch {
		case o.out == done && o.want == "" && slices.Contains(won, ""):
			// Who deletes what another one has just deleted is told that it is gone, and not that it won.
		case o.out == done:
			won = append(won, o.want)
		case o.out == refused:
			anyRefused = true
		}
		if o.lost > 0 {
			anyLost = true
			couldBe = couldBe || o.want == after
		}
	}
	switch {
	case len(won) > 1:
		return show("%d clients were told that they have won", len(won))
	case len(won) == 1 && after != won[0]:
		return show("who was told that it has won has not")
	case len(won) == 0 && after == pre && anyRefused:
		return show("nobody has won, though clients were told that somebody had")
	case len(won) == 0 && after == pre && !anyLost:
		return show("nobody has won")
	case len(won) == 0 && after != pre && !couldBe:
		return show("somebody has won who cannot")
	}
	changed := false
	for i, s := range during {
		switch {
		case s.etag == after:
			changed = changed || after != pre
		case s.etag != pre:
			return show("reader %d of %d saw %s", i+1, len(during), shown(s.etag))
		case changed:
			return show("reader %d of %d saw the past", i+1, len(during))
		}
	}
	for _, o := range ops {
		for range o.lost {
			c.late = append(c.late, lateOp{pre, o.want})
		}
	}
	if over := len(c.late) - lateKept; over > 0 {
		c.late = slices.Delete(c.late, 0, over)
	}
	if c.state != after {
		c.was = append(c.was, after)
	}
	c.state = after
	return nil
}

func shown(etag string) string {
	if etag == "" {
		return "absent"
	}
	return etag
}

// racer runs the rounds of one key.
type racer struct {
	t     *s3Torture
	rng   *rand.Rand
	chain raceChain
	round int
}

const raceBucket = "races"

// raceBody is the body that goes with a label. Most are as small as entries of the index
// hold, some have objects of their own.
func raceBody(label string, rng *rand.Rand) []byte {
	size := 10 + rng.IntN(2000)
	if rng.IntN(8) == 0 {
		size = 20<<10 + rng.IntN(100<<10)
	}
	return value(label, 1, size)
}

func md5Hex(b []byte) string { s := md5.Sum(b); return hex.EncodeToString(s[:]) }

// prepared is a contender that only has to start.
type prepared struct {
	op      raceOp
	request s3Request
	upload  string // to be given up if it did not win
}

// prepare does what comes before the race: the source of a copy, the part of an upload.
func (r *racer) prepare(ctx context.Context, i int) (prepared, error) {
	label := fmt.Sprintf("%s-%d-%d", r.chain.name, r.round, i)
	path := "/" + raceBucket + "/" + r.chain.name
	p := prepared{op: raceOp{label: label}, request: s3Request{path: path, header: map[string]string{}}}
	if r.chain.state == "" {
		p.request.header["If-None-Match"] = "*"
	} else {
		p.request.header["If-Match"] = `"` + r.chain.state + `"`
	}
	body := raceBody(label, r.rng)
	gateway := r.rng.IntN(len(r.t.c.addrs))
	switch n := r.rng.IntN(10); {
	case n < 2 && r.chain.state != "":
		p.op.kind, p.request.method = "delete", http.MethodDelete
		return p, nil
	case n < 3:
		source := "/" + raceBucket + "/source-" + label
		a, err := r.t.c.surely(ctx, s3Request{gateway: gateway, method: http.MethodPut, path: source, body: body})
		if err == nil && a.outcome() != done {
			err = fmt.Errorf("put %s: %s", source, a)
		}
		p.op.kind, p.op.want, p.request.method = "copy", md5Hex(body), http.MethodPut
		p.request.header["X-Amz-Copy-Source"], p.request.header["X-Amz-Metadata-Directive"] = source, "REPLACE"
		p.request.header["X-Amz-Meta-Label"] = label
		return p, err
	case n < 4:
		a, err := r.t.c.surely(ctx, s3Request{gateway: gateway, method: http.MethodPost, path: path, query: "uploads=", header: map[string]string{"X-Amz-Meta-Label": label}})
		var up struct{ UploadId string }
		if err == nil {
			err = xml.Unmarshal(a.body, &up)
		}
		if err != nil || up.UploadId == "" {
			return p, fmt.Errorf("begin an upload of %s: %s, %w", path, a, err)
		}
		p.upload = "uploadId=" + up.UploadId
		a, err = r.t.c.surely(ctx, s3Request{gateway: gateway, method: http.MethodPut, path: path, query: "partNumber=1&" + p.upload, body: body})
		if err == nil && a.outcome() != done {
			err = fmt.Errorf("upload a part of %s: %s", path, a)
		}
		sum := md5.Sum(body)
		p.op.kind, p.op.want, p.request.method, p.request.query = "complete", md5Hex(sum[:])+"-1", http.MethodPost, p.upload
		p.request.body = fmt.Appendf(nil, `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>`, a.etag())
		return p, err
	}
	p.op.kind, p.op.want, p.request.method, p.request.body = "put", md5Hex(body), http.MethodPut, body
	p.request.header["X-Amz-Meta-Label"] = label
	return p, nil
}

// contend sends a contender's change, and as clients do sends it again, to another gateway, if no
// answer came. Only the answer to one of its attempts may tell it that it has won.
func (r *racer) contend(ctx context.Context, p *prepared, rng *rand.Rand) {
	q := p.request
	q.gateway = rng.IntN(len(r.t.c.addrs))
	p.op.out = unknown
	for range 3 {
		q.lastsUpTo = 30 * time.Second
		if rng.IntN(12) == 0 { // hangs up
			q.lastsUpTo = time.Duration(1 + rng.IntN(20_000_000))
		}
		began := time.Now()
		a := r.t.c.do(ctx, q)
		p.op.said = append(p.op.said, a.String())
		out := a.outcome()
		r.t.stats.op("race "+p.op.kind, true, out != unknown, time.Since(began), r.chain.name)
		switch {
		case out == done:
			p.op.out = done
			return
		case out == refused && a.unmet():
			// Of an earlier attempt, perhaps, which is then among those that are lost.
			p.op.out = refused
			return
		case out == refused && p.op.kind == "complete" && a.code == "NoSuchUpload" && p.op.lost > 0:
			return // completed by an attempt that was lost, it seems
		case out == refused:
			r.t.fault(fmt.Errorf("%s of %s was refused with %s", p.op.kind, r.chain.name, a))
			return
		}
		p.op.lost++
		if rng.IntN(2) == 0 {
			return
		}
		q.gateway++
		if wait(ctx, time.Duration(rng.IntN(100_000_000))) != nil {
			return
		}
	}
}

// run is one round.
func (r *racer) run(ctx context.Context) error {
	r.round++
	all := make([]prepared, 2+r.rng.IntN(4))
	for i := range all {
		var err error
		if all[i], err = r.prepare(ctx, i); err != nil {
			return err
		}
	}
	var wg, reader sync.WaitGroup
	begin, over := make(chan struct{}), make(chan struct{})
	for i := range all {
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), 2))
		wg.Go(func() { // until it has answers
			<-begin
			r.contend(ctx, &all[i], rng)
		})
	}
	var during []seen
	first := r.rng.IntN(len(r.t.c.addrs))
	reader.Go(func() { // until the contenders are done
		for n := first; ; n++ {
			if etag, known := r.read(ctx, n, all); known {
				during = append(during, seen{etag})
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	close(begin)
	wg.Wait()
	close(over)
	reader.Wait()
	after, err := r.settled(ctx, all)
	if err != nil {
		return err
	}
	ops := make([]raceOp, len(all))
	for i := range all {
		ops[i] = all[i].op
	}
	if err := r.chain.judge(ops, during, after); err != nil {
		return err
	}
	if r.rng.IntN(10) == 0 {
		if err := r.listed(ctx); err != nil {
			return err
		}
	}
	for _, p := range all {
		if p.upload != "" && p.op.out != done { // what is left behind is for the next sweep
			r.t.c.do(ctx, s3Request{gateway: first, method: http.MethodDelete, path: p.request.path, query: p.upload, lastsUpTo: 5 * time.Second})
		}
		if p.op.kind == "copy" {
			r.t.c.do(ctx, s3Request{gateway: first, method: http.MethodDelete, path: "/" + raceBucket + "/source-" + p.op.label, lastsUpTo: 5 * time.Second})
		}
	}
	return nil
}

// read gets the object once, and checks that body and label are of one change.
func (r *racer) read(ctx context.Context, gateway int, all []prepared) (etag string, known bool) {
	began := time.Now()
	a := r.t.c.do(ctx, s3Request{gateway: gateway, method: http.MethodGet, path: "/" + raceBucket + "/" + r.chain.name, lastsUpTo: 20 * time.Second})
	out := a.outcome()
	r.t.stats.op("race read", false, out != unknown, time.Since(began), r.chain.name)
	if out == unknown {
		return "", false
	}
	if err := r.whole(a, all); err != nil {
		r.t.fault(err)
		return "", false
	}
	return a.etag(), true
}

func (r *racer) whole(a s3Answer, all []prepared) error {
	if a.status == http.StatusNotFound {
		return nil
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("read of %s: %s", r.chain.name, a)
	}
	sum := md5.Sum(a.body)
	if e := a.etag(); e != hex.EncodeToString(sum[:]) && e != md5Hex(sum[:])+"-1" {
		return fmt.Errorf("key %s: a body of %d bytes came with ETag %s, which is another's", r.chain.name, len(a.body), e)
	}
	label := a.header.Get("X-Amz-Meta-Label")
	for _, p := range all {
		if p.op.want == a.etag() && p.op.label != label {
			return fmt.Errorf("key %s: label %q came with the body of %q", r.chain.name, label, p.op.label)
		}
	}
	return nil
}

// settled reads the object until there is an answer.
func (r *racer) settled(ctx context.Context, all []prepared) (string, error) {
	a, err := r.t.c.surely(ctx, s3Request{gateway: r.rng.IntN(len(r.t.c.addrs)), method: http.MethodGet, path: "/" + raceBucket + "/" + r.chain.name})
	if err == nil {
		err = r.whole(a, all)
	}
	return a.etag(), err
}

// listed holds the listing against the state. An attempt that was lost may come in between.
func (r *racer) listed(ctx context.Context) error {
	page, a := r.t.c.page(ctx, r.rng.IntN(len(r.t.c.addrs)), raceBucket, r.chain.name, "", 10)
	if a.outcome() == unknown {
		return nil
	}
	got := ""
	for _, e := range page.Contents {
		if e.Key == r.chain.name {
			got = e.ETag
		}
	}
	if got != r.chain.state && !slices.ContainsFunc(r.chain.late, func(l lateOp) bool { return l.pre == r.chain.state && l.want == got }) {
		return fmt.Errorf("key %s is %s, but listed as %s: %s", r.chain.name, shown(r.chain.state), shown(got), a)
	}
	return nil
}
