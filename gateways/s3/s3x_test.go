package s3

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/client/clienttest"
)

// Blocks that are appended at the same time, by two gateways, are all there, whole and once; also where they are encrypted.
func TestAppendBlocksRace(t *testing.T) {
	pool := clienttest.New(t)
	gs := []*gateway{encrypting(t, pool, 1), encrypting(t, pool, 1)}
	gs[0].want(call{method: "PUT", path: "/photos"}, 200)
	for _, header := range []map[string]string{nil, asStore} {
		var all sync.WaitGroup
		var want []string
		for i := range 6 {
			for j := range 4 {
				want = append(want, fmt.Sprintf("<%d.%d>", i, j))
			}
			all.Go(func() {
				for j := range 4 {
					c := call{user: ann, method: "POST", path: "/photos/log?comp=appendblock", header: header, body: fmt.Appendf(nil, "<%d.%d>", i, j)}
					for r := gs[i%2].do(c); r.status != 200; r = gs[i%2].do(c) {
						if r.status != 409 { // too many were faster
							t.Errorf("status %d %s", r.status, r.err.Code)
							return
						}
					}
				}
			})
		}
		all.Wait()
		got := strings.SplitAfter(string(gs[0].want(call{method: "GET", path: "/photos/log"}, 200).body), ">")
		got = got[:len(got)-1]
		sort.Strings(got)
		sort.Strings(want)
		if strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("%d blocks, want %d: %q", len(got), len(want), got)
		}
		gs[0].want(call{method: "DELETE", path: "/photos/log"}, 204)
	}
}
