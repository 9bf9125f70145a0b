package clienttest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/testcluster"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random test; 0: a new one")

// TestLikeCluster gives the same random operations to a real cluster and to
// the in-memory pool: what passes here must pass there.
func TestLikeCluster(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: go test ./client/clienttest -run TestLikeCluster -seed %d", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	cl, err := testcluster.Start(ctx, testcluster.Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c, err := client.Connect(ctx, client.Options{Mons: cl.MonAddrs(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pool, err := c.Pool(ctx, "s3")
	if err != nil {
		t.Fatal(err)
	}
	mem := clienttest.New(t)

	real, fake := map[string]uint64{}, map[string]uint64{} // versions of the objects
	names := []string{"like-a", "like-b", "like-c"}
	for i := range 600 {
		name := names[rng.IntN(len(names))]
		var what string
		ops := [2]*client.Op{new(client.Op), new(client.Op)}
		for range 1 + rng.IntN(4) {
			what += " " + addRandom(rng, ops, [2]uint64{real[name], fake[name]})
		}
		r1, err1 := pool.Do(ctx, name, ops[0])
		r2, err2 := mem.Do(ctx, name, ops[1])
		if a, b := showResult(r1, err1), showResult(r2, err2); a != b {
			t.Fatalf("operation %d on %s:%s\ncluster: %s\nmemory:  %s", i, name, what, a, b)
		}
		if err1 == nil {
			if (r1.Version == 0) != (r2.Version == 0) || r1.Version < real[name] && r1.Version != 0 {
				t.Fatalf("operation %d on %s:%s: versions %d and %d, the cluster's was %d", i, name, what, r1.Version, r2.Version, real[name])
			}
			real[name], fake[name] = r1.Version, r2.Version
		}
	}
	var listed []string
	for at := (client.Cursor{}); !at.End; {
		var page []string
		if page, at, err = pool.List(ctx, at, 2); err != nil {
			t.Fatal(err)
		}
		for _, n := range page {
			if strings.HasPrefix(n, "like-") {
				listed = append(listed, n)
			}
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, mem.Names()) {
		t.Errorf("the cluster lists %q, the memory %q", listed, mem.Names())
	}
}

// addRandom adds the same operation to both Ops; only versions differ between
// the two worlds.
func addRandom(rng *rand.Rand, ops [2]*client.Op, versions [2]uint64) string {
	key := fmt.Sprint("k", rng.IntN(4))
	val := []byte(fmt.Sprint("v", rng.IntN(3)))
	if rng.IntN(8) == 0 {
		val = nil
	}
	data := []byte(strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(20)))
	off, n := rng.Uint64N(40), rng.Uint64N(40)
	flag := rng.IntN(2) == 0
	all := []func(o *client.Op, v uint64) string{
		func(o *client.Op, _ uint64) string { o.AssertExists(); return "exists" },
		func(o *client.Op, v uint64) string { o.AssertVersion(v); return "version" },
		func(o *client.Op, _ uint64) string {
			o.CmpAttr(key, val)
			return fmt.Sprintf("cmpattr(%s,%s)", key, val)
		},
		func(o *client.Op, _ uint64) string {
			o.CmpOmap(key, val)
			return fmt.Sprintf("cmpomap(%s,%s)", key, val)
		},
		func(o *client.Op, _ uint64) string { o.CmpOmapAbsent(key); return "absent " + key },
		func(o *client.Op, _ uint64) string { o.Stat(); return "stat" },
		func(o *client.Op, _ uint64) string { o.Read(off, n); return fmt.Sprintf("read(%d,%d)", off, n) },
		func(o *client.Op, _ uint64) string { o.GetAttrs(); return "attrs" },
		func(o *client.Op, _ uint64) string { o.GetAttr(key); return "attr " + key },
		func(o *client.Op, _ uint64) string { o.OmapGet(key); return "get " + key },
		func(o *client.Op, _ uint64) string { o.OmapList(key, "k3", int(n%4)); return "list " + key },
		func(o *client.Op, _ uint64) string { o.OmapListAfter(key, "", 2); return "after " + key },
		func(o *client.Op, _ uint64) string { o.Create(flag); return fmt.Sprint("create ", flag) },
		func(o *client.Op, _ uint64) string { o.Write(off, data); return fmt.Sprintf("write(%d,%s)", off, data) },
		func(o *client.Op, _ uint64) string { o.WriteFull(data); return fmt.Sprintf("full(%s)", data) },
		func(o *client.Op, _ uint64) string { o.Append(data); return fmt.Sprintf("append(%s)", data) },
		func(o *client.Op, _ uint64) string { o.Truncate(off); return fmt.Sprintf("truncate(%d)", off) },
		func(o *client.Op, _ uint64) string { o.Zero(off, n); return fmt.Sprintf("zero(%d,%d)", off, n) },
		func(o *client.Op, _ uint64) string { o.Remove(flag); return fmt.Sprint("remove ", flag) },
		func(o *client.Op, _ uint64) string {
			o.SetAttr(key, val)
			return fmt.Sprintf("setattr(%s,%s)", key, val)
		},
		func(o *client.Op, _ uint64) string { o.RmAttr(key); return "rmattr " + key },
		func(o *client.Op, _ uint64) string { o.OmapSet(key, val); return fmt.Sprintf("set(%s,%s)", key, val) },
		func(o *client.Op, _ uint64) string { o.OmapRm(key); return "rm " + key },
		func(o *client.Op, _ uint64) string { o.OmapRmRange("k1", key); return "rmrange to " + key },
		func(o *client.Op, _ uint64) string { o.OmapClear(); return "clear" },
		func(o *client.Op, _ uint64) string {
			add, most := []int64{int64(n%5) - 2, 1}, []int64{int64(off), 10}
			o.OmapAddWithin("n", add, most, flag)
			return fmt.Sprintf("add %v within %v, all %v", add, most, flag)
		},
	}
	// Conditions fail often and removals leave little to look at: make both rarer.
	i := rng.IntN(len(all))
	if (i < 5 || i == 18 || i == 24) && rng.IntN(3) > 0 {
		i = 12 + rng.IntN(5)
	}
	all[i](ops[0], versions[0])
	return all[i](ops[1], versions[1])
}

func showResult(r *client.Result, err error) string {
	if err != nil {
		var oe *client.OpError
		if !errors.As(err, &oe) {
			return fmt.Sprintf("not an OpError: %v", err)
		}
		return fmt.Sprintf("%v at %d", oe.Err, oe.Index)
	}
	var b strings.Builder
	for _, it := range r.Items {
		fmt.Fprintf(&b, "[%v %q %d %v", it.Found, it.Data, it.Size, it.More)
		for _, kv := range it.KVs {
			fmt.Fprintf(&b, " %s=%q", kv.Key, kv.Value)
		}
		b.WriteString("]")
	}
	return b.String()
}
