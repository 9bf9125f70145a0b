package client_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/placement"
)

// grow gives the pool more PGs, as the monitors do.
func grow(to uint32) func(*placement.Map) {
	return func(m *placement.Map) {
		p, pgs := &m.Pools[0], &m.PGs[0]
		for shard := p.PGNum; shard < to; shard++ {
			parent := &pgs.Records[placement.SplitParent(shard, p.PGNum)]
			parent.Term++
			parent.Version = m.Epoch
			kid := *parent
			kid.InSync = slices.Clone(parent.InSync)
			pgs.Records = append(pgs.Records, kid)
		}
		p.PGNum, p.PGNumTarget = to, max(to, p.PGNumTarget)
	}
}

// A pool grows again and again while it is listed: every name comes once, whatever the size of the pages.
func TestListWhileGrowing(t *testing.T) {
	for _, limit := range []int{1, 7, 30} {
		for _, quiet := range []bool{false, true} { // the client hears of it from the OSDs only
			cl := newCluster(t, 1, 3)
			p := cl.pool(cl.connect())
			var want []string
			for i := range 120 {
				n := fmt.Sprintf("o%03d", i)
				want = append(want, n)
				if err := p.WriteFull(bg, n, nil); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			pages := 0
			for at := (client.Cursor{}); !at.End; pages++ {
				if n := cl.current().Pools[0].PGNum; n < 64 && pages%2 == 1 {
					if f := grow(n + n/3); quiet {
						cl.next(f)
					} else {
						cl.change(f)
					}
				}
				names, next, err := p.List(bg, at, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(names) > limit {
					t.Fatalf("%d names, limit %d", len(names), limit)
				}
				if pages > 2000 {
					t.Fatalf("the listing does not end; it is at %+v", next)
				}
				got, at = append(got, names...), next
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: got %d names, want %d: %q", limit, len(got), len(want), got)
			}
		}
	}
}
