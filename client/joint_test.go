package client_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
)

// drawOp makes a change of a few keys, with conditions of which some do not hold.
func drawOp(r *rand.Rand, guard string) (op *client.Op, add int64) {
	op = new(client.Op).CmpAttr("guard", []byte(guard))
	for range 1 + r.IntN(3) {
		key, value := fmt.Sprintf("k%d", r.IntN(40)), []byte{byte('a' + r.IntN(2))}
		switch r.IntN(12) {
		case 0:
			op.CmpOmapAbsent(key)
		case 1:
			op.CmpOmap(key, value)
		case 2:
			op.OmapRm(key)
		default:
			op.OmapSet(key, value)
		}
	}
	if r.IntN(3) == 0 {
		add = int64(r.IntN(7)) - 2
		op.OmapAddWithin("sum", []int64{add, 1}, []int64{int64(4 + 5*r.IntN(2)), 1 << 40}, false)
	}
	if r.IntN(40) == 0 {
		op.Stat() // cannot be joined
	}
	return op, add
}

// TestJoint holds joined operations against the same ones after each other: a joint one that succeeds leaves what they leave, all
// of which succeed in some order; one that fails changes nothing, and blames only whose condition does not hold.
func TestJoint(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("replay with SEED=%d go test ./client -run '^TestJoint$'", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ctx := t.Context()
	together, blamed, shared := 0, 0, 0
	for range 3000 {
		pools := [2]*clienttest.Pool{clienttest.NewPool("joint"), clienttest.NewPool("single")}
		for _, p := range pools {
			fill := new(client.Op).Create(false).SetAttr("guard", []byte("g"))
			for k := range 40 {
				if k%3 == 0 {
					fill.OmapSet(fmt.Sprintf("k%d", k), []byte("a"))
				}
			}
			if _, err := p.Do(ctx, "o", fill); err != nil {
				t.Fatal(err)
			}
		}
		guard := "g"
		if r.IntN(20) == 0 {
			guard = "old"
		}
		var j client.Joint
		var ops []*client.Op
		var adds []int64
		for range 6 {
			if op, add := drawOp(r, guard); j.Add(op) {
				ops, adds = append(ops, op), append(adds, add)
			}
		}
		if j.Len() != len(ops) {
			t.Fatalf("%d joined of %d", j.Len(), len(ops))
		}
		if len(ops) == 0 {
			continue
		}
		before := omapOf(t, pools[0])
		_, err := pools[0].Do(ctx, "o", j.Op())
		if err == nil {
			together++
			order := make([]int, len(ops))
			for i := range order {
				order[i] = i
			}
			slices.SortFunc(order, func(a, b int) int { return cmp.Compare(adds[a], adds[b]) })
			for _, i := range order {
				if _, err := pools[1].Do(ctx, "o", ops[i]); err != nil {
					t.Fatalf("joint of %d succeeded, member %d by itself: %v", len(ops), i, err)
				}
			}
			if d := gocmp.Diff(omapOf(t, pools[1]), omapOf(t, pools[0])); d != "" {
				t.Fatalf("one after the other, together: %s", d)
			}
			continue
		}
		if d := gocmp.Diff(before, omapOf(t, pools[0])); d != "" {
			t.Fatalf("a joint operation failed and changed something: %s", d)
		}
		each, all := j.Errors(err)
		if all {
			t.Fatalf("the outcome is known: %v", err)
		}
		none := true
		for i, e := range each {
			if e == nil {
				continue
			}
			none = false
			_, alone := pools[1].Do(ctx, "o", ops[i])
			var got, want *client.OpError
			if !errors.As(e, &got) || !errors.As(alone, &want) || got.Index != want.Index || !errors.Is(e, client.ErrConflict) {
				t.Fatalf("member %d: joint says %v, by itself %v", i, e, alone)
			}
		}
		if none {
			shared++
		} else {
			blamed++
		}
	}
	if together < 100 || blamed < 100 || shared < 10 {
		t.Errorf("%d succeeded, %d blamed somebody, %d nobody: the draw is no good", together, blamed, shared)
	}
}

func omapOf(t *testing.T, p *clienttest.Pool) map[string]string {
	t.Helper()
	res, err := p.Do(t.Context(), "o", new(client.Op).OmapList("", "", 0))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, kv := range res.Items[0].KVs {
		m[kv.Key] = string(kv.Value)
	}
	return m
}

// An outcome that nobody knows is everybody's.
func TestJointUnknown(t *testing.T) {
	var j client.Joint
	for i := range 3 {
		if !j.Add(new(client.Op).CmpAttr("guard", nil).OmapSet(fmt.Sprint(i), nil)) {
			t.Fatal("was not joined")
		}
	}
	for _, err := range []error{errors.New("?"), client.ErrTimeout, &client.OpError{Index: -1, Err: client.ErrTimeout}, &client.OpError{Index: -1, Err: client.ErrNoSpace}} {
		if each, all := j.Errors(err); !all || gocmp.Diff(each, make([]error, 3), gocmp.Comparer(func(a, b error) bool { return a == b })) != "" {
			t.Errorf("%v: got %v, %v", err, each, all)
		}
	}
}
