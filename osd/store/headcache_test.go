package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnstore/cairn/placement"
)

// Whatever happens to the index, the cache either knows nothing of a key or what the
// index says. The slots are few against the keys, so they take each other's places.
func TestHeadCache(t *testing.T) {
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	c := newHeadCache()
	index := map[string]head{}
	known := 0
	key := func() []byte {
		k := Key{PG: placement.PGID{Pool: 1, Shard: uint32(chance.IntN(3))}, Space: Objects, Name: fmt.Sprintf("%0*d", 1+chance.IntN(90), chance.IntN(20))}
		return appendHeadKey(nil, &k, uint32(chance.IntN(2)))
	}
	for step := range 200_000 {
		k := key()
		switch chance.IntN(10) {
		case 0, 1, 2:
			h := head{oid: 1 + chance.Uint64N(1000), size: chance.Uint64N(1000), omapMax: 3, hasOmap: true}
			index[string(k)] = h
			if err := c.set(k, h.append(nil)); err != nil {
				t.Fatal(err)
			}
		case 3:
			delete(index, string(k))
			if err := c.delete(k); err != nil {
				t.Fatal(err)
			}
		case 4:
			if step%1000 == 4 {
				clear(index)
				if err := c.deleteRange([]byte{keyHead}, []byte{keyHead + 1}); err != nil {
					t.Fatal(err)
				}
			}
		default:
			want, there := index[string(k)]
			h, found, ok := c.get(k)
			if ok && (found != there || h != want) {
				t.Fatalf("seed %d, step %d: key %x: got %+v, %v; the index has %+v, %v", seed, step, k, h, found, want, there)
			}
			if ok {
				known++
			} else {
				c.put(k, want, there)
			}
		}
	}
	if known < 1000 {
		t.Errorf("seed %d: only %d of 100000 lookups were known", seed, known)
	}
	long := append([]byte{keyHead}, make([]byte, headKeyMax)...)
	c.put(long, head{oid: 1}, true)
	if _, _, ok := c.get(long); ok {
		t.Error("a long key was kept")
	}
	if err := c.set([]byte{keySeg, 1}, nil); err != nil {
		t.Error(err)
	}
	// A range of another kind of keys changes nothing.
	k := key()
	for len(k) > headKeyMax { // those are not kept
		k = key()
	}
	c.put(k, head{oid: 7}, true)
	if err := c.deleteRange([]byte{keyOmap}, []byte{keyOmap, 9}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := c.get(k); !ok {
		t.Error("a range of the omap emptied the cache")
	}
}
