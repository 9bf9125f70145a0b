package crush

import (
	"fmt"
	"testing"
)

// cluster builds a map of racks of hosts of devices.
func cluster(tb testing.TB, racks, hosts, devices int, weight func(id int) Weight) *Map {
	tb.Helper()
	m := NewDefault()
	err := m.Update(func(m *Map) error {
		id := 0
		for r := range racks {
			for h := range hosts {
				for range devices {
					loc := Location{"root": DefaultRoot, "rack": fmt.Sprintf("rack%d", r), "host": fmt.Sprintf("host%d-%d", r, h)}
					if err := m.AddDevice(id, "hdd", weight(id), loc); err != nil {
						return err
					}
					id++
				}
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func equal(int) Weight   { return WeightOne }
func mixed(i int) Weight { return WeightOne + Weight(i%7)*0x2000 }

func BenchmarkDo(b *testing.B) {
	for _, c := range []struct {
		name   string
		m      *Map
		numRep int
		mode   Mode
	}{
		{"1000-equal-firstn3", cluster(b, 5, 20, 10, equal), 3, FirstN},
		{"1000-mixed-firstn3", cluster(b, 5, 20, 10, mixed), 3, FirstN},
		{"1000-mixed-indep6", cluster(b, 5, 20, 10, mixed), 6, Indep},
	} {
		rule, err := c.m.AddSimpleRule("bench", DefaultRoot, "", "host", c.mode)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var out []int
			for x := 0; b.Loop(); x++ {
				var err error
				if out, err = c.m.AppendDo(out[:0], rule, x, c.numRep, nil); err != nil || len(out) != c.numRep {
					b.Fatal(out, err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	text := cluster(b, 5, 20, 10, mixed).String()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
