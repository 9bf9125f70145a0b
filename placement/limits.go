package placement

import "github.com/cairnstore/cairn/placement/crush"

// Limits of a cluster map. Validate and the decoders enforce them; they bound
// what a damaged or hostile map can cost.
const (
	MaxPGs       = 32768                 // PGs of all pools together, and of one pool
	MaxOSDs      = 65536                 // OSDs in the map
	MaxOSDID     = crush.MaxDeviceID     // highest OSD id
	MaxPools     = MaxPGs / PGNumMin     // pools in the map
	MaxMons      = 64                    // monitors in the map
	MaxServices  = 65536                 // services in the map
	MaxSettings  = 1024                  // entries of the central configuration
	MaxPoolSize  = 32                    // copies of a pool
	MaxInSync    = 64                    // members of a PG's in-sync set, while it moves
	MaxNameBytes = 255                   // names, kinds, classes and application tags
	MaxAddrBytes = 320                   // host:port
	MaxValue     = 4096                  // bytes of a configuration value
	MaxMapBytes  = 64<<20 + maxCrushSize // encoding of a map or a delta

	maxCrushSize = crush.MaxTextBytes
)

// PGNumMin and PGNumMax bound the number of PGs ChoosePGNum gives to one pool.
const (
	PGNumMin = 8
	PGNumMax = 1024
)

// pgCopiesPerOSD is how many PG copies an OSD should hold: enough that no OSD has
// much more than its share, few enough that idle PGs cost little.
const pgCopiesPerOSD = 100

// ChoosePGNum returns the number of PGs for one of the given number of pools on
// that many in-OSDs. The rule:
//
//   - all pools together have about 100 PG copies per OSD, counting three copies;
//   - at least four pools are assumed, since those a service needs come one by one
//     and merging PGs is harder than splitting them;
//   - the result is the nearest power of two (by ratio), within 8..1024;
//   - the cluster as a whole stays within MaxPGs.
//
// Three OSDs give 32 PGs to each of up to four pools, 16 to each of five to eight.
// The result never falls when OSDs are added.
func ChoosePGNum(osds, pools int) uint32 {
	const copies = 3
	osds = min(max(osds, 1), MaxOSDs)
	pools = min(max(pools, 1), MaxPools)

	share, per := int64(pgCopiesPerOSD*osds), int64(copies*max(pools, 4)) // want share/per PGs
	n := int64(PGNumMin)
	// Doubling is nearer by ratio while share/per > n*sqrt(2), that is 2*n*n < (share/per)^2.
	for n < PGNumMax && 2*n*n*per*per < share*share {
		n *= 2
	}
	for n > PGNumMin && n*int64(pools) > MaxPGs {
		n /= 2
	}
	return uint32(n)
}

// BestPGNum returns how many PGs pool p should have in map m, where share is the part of
// all data that the pool holds, from 0 to 1, or 0 as long as that is too little to count.
// It is what ChoosePGNum says for so many OSDs and pools, or more for a pool that holds
// more than its part of the data: about 100 copies per OSD all together. The cluster as a
// whole stays within MaxPGs, and it never falls below what the pool is to have.
func (m *Map) BestPGNum(p *Pool, share float64) uint32 {
	in, others := 0, 0
	for i := range m.OSDs {
		if o := &m.OSDs[i]; o.In() && !o.Draining {
			in++
		}
	}
	for i := range m.Pools {
		if m.Pools[i].ID != p.ID {
			others += int(m.Pools[i].PGNumTarget)
		}
	}
	want := ChoosePGNum(in, len(m.Pools))
	byData := float64(pgCopiesPerOSD*in) / float64(max(p.Size, 1)) * min(share, 1)
	for want < PGNumMax && byData*byData > 2*float64(want)*float64(want) { // the nearest power of two by ratio
		want *= 2
	}
	for want > PGNumMin && int(want)+others > MaxPGs {
		want /= 2
	}
	return max(want, p.PGNumTarget)
}
