package monclient

import (
	"encoding/binary"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

func testMap() *placement.Map {
	return &placement.Map{
		Epoch: 5, Cluster: placement.UUID{1}, Crush: crush.NewDefault(), NextPool: 2, NextOSD: 3,
		OSDs: []placement.OSD{
			{ID: 0, Incarnation: 1, Addr: "127.0.0.1:1", Up: true}, {ID: 1, Addr: "127.0.0.1:2"}, {ID: 2, Addr: "127.0.0.1:3"},
		},
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 2, MinSize: 1, PGNum: 2, PGNumTarget: 2, FirstPGNum: 2}},
		PGs: []placement.PoolPGs{{Pool: 1, Records: []placement.PGRecord{
			{Term: 3, Primary: 0, InSync: []placement.OSDID{0, 1}, Created: true},
			{Term: 3, Primary: placement.NoOSD, InSync: []placement.OSDID{1, 2}, Created: true},
		}}},
	}
}

// FuzzMapUpdate gives any bytes as a map update to a session with and without a map.
func FuzzMapUpdate(f *testing.F) {
	old := testMap()
	m := old.Clone()
	m.Epoch, m.Flags = 6, placement.FlagPause
	d := placement.EncodeDelta(placement.Diff(old, m))
	f.Add(uint64(5), uint64(6), false, append(binary.LittleEndian.AppendUint32(nil, uint32(len(d))), d...))
	f.Add(uint64(0), uint64(6), true, placement.EncodeMap(m))
	f.Add(uint64(5), uint64(6), false, []byte{1, 2})
	f.Add(uint64(5), uint64(6), false, []byte{255, 255, 255, 255, 1})
	f.Add(uint64(5), uint64(6), false, []byte{})
	f.Fuzz(func(t *testing.T, from, to uint64, full bool, payload []byte) {
		for _, cur := range []*placement.Map{nil, old} {
			var s maps
			s.init()
			if cur != nil {
				s.now.Store(&view{m: cur, changed: make(chan struct{})})
			}
			changed, err := s.install(&wirepb.MapUpdate{From: from, To: to, Full: full}, payload)
			got := s.load().m
			switch {
			case changed && err != nil:
				t.Fatalf("changed the map and says %v", err)
			case changed && (got == nil || uint64(got.Epoch) != to || cur != nil && (got.Epoch <= cur.Epoch || got.Cluster != cur.Cluster)):
				t.Fatalf("changed to a wrong map")
			case !changed && got != cur:
				t.Fatal("changed the map and does not say so")
			}
		}
	})
}
