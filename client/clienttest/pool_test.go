package clienttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

func must(t *testing.T, o client.Objects, object string, op *client.Op) *client.Result {
	t.Helper()
	res, err := o.Do(context.Background(), object, op)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestEveryOperation(t *testing.T) {
	p := clienttest.New(t)
	at := time.Unix(1700000000, 5)
	v1 := must(t, p, "o", new(client.Op).AssertAbsent().Create(true).Write(2, []byte("cd")).SetAttr("a", []byte("1")).
		OmapSet("k1", []byte("v1")).OmapSet("k2", nil).OmapSet("k3", []byte("v3")).At(at)).Version
	if v1 == 0 {
		t.Fatal("a write answers version 0")
	}
	res := must(t, p, "o", new(client.Op).AssertExists().AssertVersion(v1).CmpAttr("a", []byte("1")).CmpOmap("k2", nil).CmpOmapAbsent("k9").
		Stat().Read(0, 0).GetAttrs().GetAttr("a").GetAttr("b").OmapGet("k3").OmapGet("k9").OmapList("", "", 2).OmapListAfter("k1", "k3", 9))
	if res.Version != v1 {
		t.Errorf("got version %d, want %d", res.Version, v1)
	}
	it := res.Items[5:]
	if it[0].Size != 4 || it[0].Version != v1 || !it[0].Mtime.Equal(at) {
		t.Errorf("stat: got %+v", it[0])
	}
	if string(it[1].Data) != "\x00\x00cd" {
		t.Errorf("read: got %q", it[1].Data)
	}
	if len(it[2].KVs) != 1 || it[2].KVs[0].Key != "a" || string(it[3].Data) != "1" || !it[3].Found || it[4].Found {
		t.Errorf("attributes: got %+v", it[2:5])
	}
	if string(it[5].Data) != "v3" || !it[5].Found || it[6].Found {
		t.Errorf("omap get: got %+v", it[5:7])
	}
	if keys(it[7]) != "k1 k2" || !it[7].More || keys(it[8]) != "k2" || it[8].More {
		t.Errorf("omap list: got %+v", it[7:9])
	}

	v2 := must(t, p, "o", new(client.Op).Append([]byte("efgh")).Zero(2, 1).Truncate(6).RmAttr("a").OmapRm("k1").OmapRmRange("k3", "")).Version
	if v2 <= v1 {
		t.Errorf("version went from %d to %d", v1, v2)
	}
	res = must(t, p, "o", new(client.Op).Read(0, 0).GetAttrs().OmapList("", "", 0))
	if string(res.Items[0].Data) != "\x00\x00\x00def" || len(res.Items[1].KVs) != 0 || keys(res.Items[2]) != "k2" {
		t.Errorf("after the second write: got %+v", res.Items)
	}
	must(t, p, "o", new(client.Op).WriteFull([]byte("xy")).OmapClear().Append([]byte("z")))
	res = must(t, p, "o", new(client.Op).Read(0, 0).OmapList("", "", 0))
	if string(res.Items[0].Data) != "xyz" || len(res.Items[1].KVs) != 0 {
		t.Errorf("after the third write: got %+v", res.Items)
	}
	// A cut must not show old bytes when the object grows again.
	must(t, p, "o", new(client.Op).Truncate(1))
	must(t, p, "o", new(client.Op).Truncate(3))
	if res = must(t, p, "o", new(client.Op).Read(0, 0)); string(res.Items[0].Data) != "x\x00\x00" {
		t.Errorf("after cut and growth: got %q", res.Items[0].Data)
	}
	if res = must(t, p, "o", new(client.Op).Remove(false)); res.Version != 0 {
		t.Errorf("remove: got version %d, want 0", res.Version)
	}
	if n := p.Names(); len(n) != 0 {
		t.Errorf("objects left: %q", n)
	}
}

func keys(it client.ResultItem) string {
	var ks []string
	for _, kv := range it.KVs {
		ks = append(ks, kv.Key)
	}
	return strings.Join(ks, " ")
}

func TestErrors(t *testing.T) {
	p := clienttest.New(t)
	must(t, p, "there", new(client.Op).Create(false))
	for _, tt := range []struct {
		object string
		op     *client.Op
		want   error
		index  int
	}{
		{"gone", new(client.Op).AssertExists().Create(false), client.ErrNotFound, 0},
		{"gone", new(client.Op).Read(0, 0), client.ErrNotFound, 0},
		{"there", new(client.Op).Stat().AssertAbsent(), client.ErrExists, 1},
		{"there", new(client.Op).Create(true), client.ErrExists, 0},
		{"there", new(client.Op).AssertVersion(99), client.ErrConflict, 0},
		{"", new(client.Op).Stat(), client.ErrInvalid, -1},
		{"there", new(client.Op), client.ErrInvalid, -1},
	} {
		_, err := p.Do(context.Background(), tt.object, tt.op)
		var oe *client.OpError
		if !errors.Is(err, tt.want) || !errors.As(err, &oe) || oe.Index != tt.index {
			t.Errorf("got %v, want %v at %d", err, tt.want, tt.index)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Do(ctx, "there", new(client.Op).Remove(false)); !errors.Is(err, client.ErrTimeout) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a timeout that is a cancellation", err)
	}
	if n := p.Names(); len(n) != 1 {
		t.Errorf("a cancelled operation took effect: %q", n)
	}
}

func TestHooks(t *testing.T) {
	p := clienttest.New(t)
	ctx := context.Background()
	p.Before(func(_ context.Context, c clienttest.Call) error {
		if c.Writes && c.Has(wirepb.OpKind_REMOVE) {
			return client.ErrNoSpace
		}
		return nil
	})
	must(t, p, "o", new(client.Op).Create(false))
	if _, err := p.Do(ctx, "o", new(client.Op).Remove(false)); !errors.Is(err, client.ErrNoSpace) {
		t.Errorf("got %v, want no space", err)
	}
	p.Before(nil)
	p.After(func(_ context.Context, c clienttest.Call, err error) error {
		if err == nil {
			err = client.ErrTimeout
		}
		return err
	})
	if _, err := p.Do(ctx, "o", new(client.Op).Remove(false)); !errors.Is(err, client.ErrTimeout) {
		t.Errorf("got %v, want timeout", err)
	}
	if n := p.Names(); len(n) != 0 {
		t.Errorf("the removal whose answer was lost took no effect: %q", n)
	}
	if p.Calls() != 3 {
		t.Errorf("got %d calls, want 3", p.Calls())
	}
}

// The pool keeps no slice of its caller and gives none of its own away.
func TestCopies(t *testing.T) {
	p := clienttest.New(t)
	data, val := []byte("data"), []byte("val")
	must(t, p, "o", new(client.Op).Write(0, data).OmapSet("k", val).SetAttr("a", val))
	clear(data)
	clear(val)
	for range 2 {
		res := must(t, p, "o", new(client.Op).Read(0, 0).OmapGet("k").GetAttr("a"))
		if s := fmt.Sprintf("%s %s %s", res.Items[0].Data, res.Items[1].Data, res.Items[2].Data); s != "data val val" {
			t.Fatalf("got %q", s)
		}
		for _, it := range res.Items {
			clear(it.Data)
		}
	}
	c := p.Clone()
	must(t, p, "o", new(client.Op).Remove(false))
	if got := c.Names(); !slices.Equal(got, []string{"o"}) {
		t.Errorf("the clone has %q", got)
	}
	if c.Bytes() != 4 || p.Bytes() != 0 {
		t.Errorf("got %d and %d bytes, want 4 and 0", c.Bytes(), p.Bytes())
	}
}

func TestConcurrent(t *testing.T) {
	p := clienttest.New(t)
	must(t, p, "o", new(client.Op).OmapSet("n", []byte("0")))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				for {
					res, err := p.Do(context.Background(), "o", new(client.Op).OmapGet("n"))
					if err != nil {
						t.Error(err)
						return
					}
					n, err := strconv.Atoi(string(res.Items[0].Data))
					if err != nil {
						t.Error(err)
						return
					}
					_, err = p.Do(context.Background(), "o", new(client.Op).AssertVersion(res.Version).OmapSet("n", fmt.Append(nil, n+1)))
					if err == nil {
						break
					}
					if !errors.Is(err, client.ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if res := must(t, p, "o", new(client.Op).OmapGet("n")); string(res.Items[0].Data) != "400" {
		t.Errorf("got %s increments, want 400", res.Items[0].Data)
	}
}
