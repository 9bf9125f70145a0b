package torture

import (
	"flag"
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
		"two deletions win":      {ops: []raceOp{won("delete", ""), won("delete", "")}, after: "", wrong: "2 clients"},
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
