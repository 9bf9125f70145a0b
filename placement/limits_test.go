package placement

import (
	"testing"

	"pgregory.net/rapid"
)

func TestChoosePGNum(t *testing.T) {
	tests := []struct {
		osds, pools int
		want        uint32
	}{
		{0, 0, 8}, {1, 1, 8}, {3, 1, 32}, {3, 4, 32}, {3, 5, 16}, {3, 8, 16}, {3, 20, 8},
		{6, 4, 64}, {12, 4, 128}, {12, 10, 32}, {100, 4, 1024}, {100, 10, 256},
		{1000, 10, 1024}, {1000, 40, 512}, {65536, 4096, 8}, {1 << 30, 1 << 30, 8}, {-5, -5, 8},
	}
	for _, tt := range tests {
		if got := ChoosePGNum(tt.osds, tt.pools); got != tt.want {
			t.Errorf("ChoosePGNum(%d, %d) = %d, want %d", tt.osds, tt.pools, got, tt.want)
		}
	}
}

func TestChoosePGNumBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		osds := rapid.IntRange(1, MaxOSDs).Draw(t, "osds")
		pools := rapid.IntRange(1, MaxPools).Draw(t, "pools")
		n := ChoosePGNum(osds, pools)
		if n < PGNumMin || n > PGNumMax || n&(n-1) != 0 {
			t.Fatalf("%d PGs", n)
		}
		if int(n)*pools > MaxPGs {
			t.Fatalf("%d pools of %d PGs pass %d", pools, n, MaxPGs)
		}
		if more := ChoosePGNum(osds+rapid.IntRange(0, 1000).Draw(t, "added"), pools); more < n {
			t.Fatalf("adding OSDs lowers PGs from %d to %d", n, more)
		}
		perOSD := float64(n) * 3 * float64(pools) / float64(osds)
		if n > PGNumMin && perOSD > 142 {
			t.Fatalf("%.0f PG copies per OSD", perOSD)
		}
	})
}
