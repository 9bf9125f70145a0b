package torture

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var roundsFlag = flag.Int("torture.rounds", 0, "rounds of TestS3Torture; default 150")

// TestS3Torture: of changes on a condition that race for a key one wins, and listings show what is
// there, while gateways, OSDs and the monitor are killed. A longer run is make s3torture.
func TestS3Torture(t *testing.T) {
	plan := S3Plan{Seed: seed(), Rounds: 150, Logf: t.Logf}
	if testing.Short() {
		plan.Rounds, plan.Calm = 20, true
	}
	if *roundsFlag != 0 {
		plan.Rounds = *roundsFlag
	}
	t.Logf("seed %d; replay with: go test ./tools/torture -run 'TestS3Torture$' -v -torture.seed=%d -torture.rounds=%d", plan.Seed, plan.Seed, plan.Rounds)
	ctx := deadline(t, time.Hour)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3, Gateways: 3})
	stats, err := S3Torture(ctx, c, plan)
	t.Logf("\n%s", stats)
	if err != nil {
		t.Fatalf("seed %d: %v", plan.Seed, err)
	}
}

// TestRaceJudgeSees: the judge of races tells what may be from what may not.
func TestRaceJudgeSees(t *testing.T) {
	won := func(kind, want string) raceOp { return raceOp{kind: kind, want: want, out: done} }
	lose := func(want string) raceOp { return raceOp{kind: "put", want: want, out: refused} }
	lost := func(kind, want string) raceOp { return raceOp{kind: kind, want: want, out: unknown, lost: 1} }
	// Its first attempt was lost, and the second told it that somebody has won: itself, perhaps.
	retried := func(want string) raceOp { return raceOp{kind: "put", want: want, out: refused, lost: 1} }
	for name, x := range map[string]struct {
		ops    []raceOp
		late   []lateOp
		during []seen
		after  string
		wrong  string
	}{
		"one wins":               {ops: []raceOp{won("put", "a"), lose("b")}, after: "a", during: []seen{{"x"}, {"x"}, {"a"}}},
		"a deletion wins":        {ops: []raceOp{won("delete", ""), lose("b")}, after: ""},
		"two win":                {ops: []raceOp{won("put", "a"), won("put", "b")}, after: "b", wrong: "2 clients"},
		"two deletions":          {ops: []raceOp{won("delete", ""), won("delete", ""), lose("a")}, after: ""},
		"a deletion and a put":   {ops: []raceOp{won("delete", ""), won("put", "a")}, after: "a", wrong: "2 clients"},
		"nobody wins":            {ops: []raceOp{lose("a"), lose("b")}, after: "x", wrong: "nobody has won"},
		"the winner is lost":     {ops: []raceOp{won("put", "a"), lose("b")}, after: "x", wrong: "has not"},
		"a loser wins":           {ops: []raceOp{lose("a"), lose("b")}, after: "b", wrong: "cannot"},
		"an unknown one wins":    {ops: []raceOp{lost("put", "a"), lose("b")}, after: "a"},
		"nobody, perhaps":        {ops: []raceOp{lost("put", "a"), lost("put", "b")}, after: "x"},
		"refused by nobody":      {ops: []raceOp{lost("put", "a"), lose("b")}, after: "x", wrong: "nobody has won"},
		"a retry is refused":     {ops: []raceOp{retried("a"), lose("b")}, after: "a"},
		"a retry and another":    {ops: []raceOp{retried("a"), won("put", "b")}, after: "b"},
		"a retry of two winners": {ops: []raceOp{{kind: "put", want: "a", out: done, lost: 1}, won("put", "b")}, after: "b", wrong: "2 clients"},
		"a late one wins":        {ops: []raceOp{lose("a")}, late: []lateOp{{"x", "z"}}, after: "z"},
		"too late":               {ops: []raceOp{lose("a")}, late: []lateOp{{"y", "z"}}, after: "z", wrong: "cannot"},
		"the past is read":       {ops: []raceOp{won("put", "a")}, after: "a", during: []seen{{"a"}, {"x"}}, wrong: "the past"},
		"what never was is read": {ops: []raceOp{won("put", "a"), lost("put", "b")}, after: "a", during: []seen{{"b"}}, wrong: "saw b"},
	} {
		c := raceChain{name: "k", state: "x", late: x.late}
		err := c.judge(x.ops, x.during, x.after)
		if x.wrong == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if x.wrong != "" && (err == nil || !strings.Contains(err.Error(), x.wrong)) {
			t.Errorf("%s: %v, want %q", name, err, x.wrong)
		}
	}
}

// TestS3RegisterSees: listings that do not show what was acknowledged, or what was deleted, are noticed.
func TestS3RegisterSees(t *testing.T) {
	op := func(kind, old, fresh, out string, call, back int64) porcupine.Operation {
		return porcupine.Operation{Input: sharedInput{kind, old, fresh}, Output: out, Call: call, Return: back}
	}
	for name, x := range map[string]struct {
		h    []porcupine.Operation
		good bool
	}{
		"listed":              {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 1), op("page", "", "", "a", 2, 3)}, true},
		"not listed":          {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 1), op("page", "", "", "", 2, 3)}, false},
		"not listed yet":      {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 5), op("page", "", "", "", 2, 3)}, true},
		"listed, then not":    {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 9), op("page", "", "", "a", 1, 2), op("page", "", "", "", 3, 4)}, false},
		"listed when deleted": {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 1), op("delete", "", "", okAnswer, 2, 3), op("page", "", "", "a", 4, 5)}, false},
		"created twice":       {[]porcupine.Operation{op("create", "", "a", okAnswer, 0, 1), op("create", "", "b", okAnswer, 0, 1)}, false},
		"replaced":            {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 1), op("replace", "a", "b", okAnswer, 2, 3), op("page", "", "", "b", 4, 5)}, true},
		"replaced another":    {[]porcupine.Operation{op("put", "", "a", okAnswer, 0, 1), op("replace", "c", "b", okAnswer, 2, 3)}, false},
	} {
		if got := porcupine.CheckOperations(s3Register, x.h); got != x.good {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestS3Drain: a gateway that is told to stop takes what is under way to its end, lets the health check fail meanwhile,
// takes nothing new, and ends.
func TestS3Drain(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 10*time.Minute)
	c := startCluster(ctx, t, Options{OSDs: 1, Gateways: 1})
	client := newS3Client(c.S3Addrs, c.AccessKey, c.SecretKey)
	defer client.http.CloseIdleConnections()
	if a, err := client.surely(ctx, s3Request{method: http.MethodPut, path: "/drained"}); err != nil || a.outcome() != done {
		t.Fatal(a, err)
	}
	// Its own, with other deadlines.
	p := c.Proc("s3-drained", append(slices.Clone(c.S3.Args), "--drain-notice", "300ms", "--drain", "20s")...)
	c.S3.Stop()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := c.WaitPort(ctx, p, c.S3Addr); err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+c.S3Addr+"/drained/k", in)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1 << 20
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	if err := client.signer.SignHTTP(ctx, client.creds, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	put := make(chan s3Answer, 1)
	go func() { // until the gateway answers
		resp, err := client.http.Do(r)
		if err != nil {
			put <- s3Answer{err: err}
			return
		}
		resp.Body.Close()
		put <- s3Answer{status: resp.StatusCode}
	}()
	body := value("drained", 1, 1<<20)
	if _, err := out.Write(body[:200<<10]); err != nil { // it has been taken up when more than fits in between has gone
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { p.Stop(); close(ended) }() // until it has ended
	err = c.until(ctx, "the health check to fail", func() error {
		resp, err := http.Get("http://" + c.S3Addr + "/-/health")
		if err != nil {
			return nil // it takes no connections: later, but the same
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			return errors.New(resp.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = c.until(ctx, "no connections to be taken", func() error {
		conn, err := net.Dial("tcp", c.S3Addr)
		if err != nil {
			return nil
		}
		conn.Close()
		return errors.New("one was")
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(body[200<<10:]); err != nil {
		t.Fatal(err)
	}
	if a := <-put; a.status != http.StatusOK {
		t.Errorf("the put under way: %s", a)
	}
	<-ended
	if code, err := p.WaitExit(ctx); err != nil || code != 0 {
		t.Errorf("exit code %d, %v: %s", code, err, p.Tail(5))
	}
	if err := c.S3.Start(); err != nil {
		t.Fatal(err)
	}
	if a, err := client.surely(ctx, s3Request{method: http.MethodGet, path: "/drained/k"}); err != nil || !bytes.Equal(a.body, body) {
		t.Errorf("read back: %s, %v", a, err)
	}
}
