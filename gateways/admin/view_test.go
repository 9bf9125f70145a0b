package admin_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairnstore/cairn/gateways/admin"
	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// look is the view of a fake monitor, long after everything settled.
func look(b *admintest.Backend) *admin.View {
	m := b.Map()
	long := admintest.Now.Add(-time.Hour)
	return &admin.View{Map: m, Quorum: b.Quorum(), Reports: b.Reports(), Services: b.Services(), Now: admintest.Now,
		UpSince: long, InSince: long, Target: m.Target}
}

func TestHealth(t *testing.T) {
	type want map[string]string // code -> summary
	tests := []struct {
		name   string
		edit   func(*admintest.Backend)
		status api.Severity
		want   want
		detail map[string][]string
	}{
		{name: "fresh cluster", edit: func(*admintest.Backend) {}, status: api.HealthOK},
		{
			name: "no pools, few OSDs", status: api.HealthWarn,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) { s.Map.Pools, s.Map.PGs, s.Map.OSDs = nil, nil, s.Map.OSDs[:1] })
			},
			want: want{"TOO_FEW_OSDS": "OSD count 1 < osd_pool_default_size 3"},
		},
		{
			name: "pool larger than the cluster", status: api.HealthWarn,
			edit: func(b *admintest.Backend) { b.Edit(func(s *admintest.State) { s.Map.Pools[0].Size = 4 }) },
			want: want{"TOO_FEW_OSDS": "OSD count 3 < size 4 of pool 'rbd'"},
		},
		{
			name: "single copy", status: api.HealthWarn,
			edit:   func(b *admintest.Backend) { b.Edit(func(s *admintest.State) { s.Map.Pools[1].Size = 1 }) },
			want:   want{"POOL_NO_REDUNDANCY": "1 pool(s) have no replicas configured"},
			detail: map[string][]string{"POOL_NO_REDUNDANCY": {"pool 's3.data' has no replicas configured"}},
		},
		{
			name: "too few PGs", status: api.HealthWarn,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) { s.Map.Pools[0].Flags, _ = placement.AutoscaleFlags("warn") })
			},
			want:   want{"POOL_TOO_FEW_PGS": "1 pool(s) have too few placement groups"},
			detail: map[string][]string{"POOL_TOO_FEW_PGS": {"pool 'rbd' has 8 placement groups, should have 32"}},
		},
		{
			name: "monitor down", status: api.HealthWarn,
			edit:   func(b *admintest.Backend) { b.Edit(func(s *admintest.State) { s.Quorum.Members[2].InQuorum = false }) },
			want:   want{"MON_DOWN": "1/3 mons down, quorum a,b"},
			detail: map[string][]string{"MON_DOWN": {"mon.c (rank 2) addr 127.0.0.1:3302 is down (out of quorum)"}},
		},
		{
			name: "flags", status: api.HealthWarn,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) { s.Map.Flags = placement.FlagNoOut | placement.FlagPause })
			},
			want: want{"OSDMAP_FLAGS": "noout,pauserd,pausewr flag(s) set"},
		},
		{
			name: "OSD down", status: api.HealthWarn,
			edit: func(b *admintest.Backend) { b.KillOSD(2) },
			want: want{
				"OSD_DOWN":      "1 osds down",
				"OSD_HOST_DOWN": "1 host (1 osds) down",
				"PG_DEGRADED":   "Degraded data redundancy: 120/360 objects degraded (33.333%), 12 pgs degraded, 12 pgs undersized",
			},
			detail: map[string][]string{
				"OSD_DOWN":      {"osd.2 (root=default,host=host2) is down"},
				"OSD_HOST_DOWN": {"host host2 (root=default) (1 osds) is down"},
			},
		},
		{
			name: "OSD down and out, another in its place", status: api.HealthOK,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					o := s.Map.OSDs[2]
					o.ID = 3
					s.Map.OSDs[2].Up, s.Map.OSDs[2].Weight = false, 0
					s.Map.OSDs = append(s.Map.OSDs, o)
					for i := range s.Map.PGs {
						for j := range s.Map.PGs[i].Records {
							r := &s.Map.PGs[i].Records[j]
							for k, m := range r.InSync {
								if m == 2 {
									r.InSync[k] = 3
								}
							}
							r.Term++
							r.Primary = r.InSync[0]
						}
					}
				})
				b.Report(admintest.Now)
			},
		},
		{
			name: "all OSDs down", status: api.HealthWarn,
			edit: func(b *admintest.Backend) { b.KillOSD(0); b.KillOSD(1); b.KillOSD(2) },
			want: want{
				"OSD_DOWN":        "3 osds down",
				"OSD_HOST_DOWN":   "3 host (3 osds) down",
				"OSD_ROOT_DOWN":   "1 root (3 osds) down",
				"PG_AVAILABILITY": "Reduced data availability: 12 pgs inactive, 12 pgs down",
				// what the last primaries said still holds
				"PG_DEGRADED": "Degraded data redundancy: 120/360 objects degraded (33.333%)",
			},
			detail: map[string][]string{"OSD_ROOT_DOWN": {"root default (3 osds) is down"}},
		},
		{
			name: "near full and full", status: api.HealthErr,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					s.Reports[0].Report.Available = s.Reports[0].Report.Capacity * 15 / 100
					s.Reports[1].Report.Available = s.Reports[1].Report.Capacity * 5 / 100
				})
			},
			want: want{"OSD_NEARFULL": "1 nearfull osd(s)", "OSD_FULL": "1 full osd(s)", "POOL_FULL": "2 pool(s) full"},
			detail: map[string][]string{"OSD_NEARFULL": {"osd.0 is near full"}, "OSD_FULL": {"osd.1 is full"},
				"POOL_FULL": {"pool 'rbd' is full (no space)", "pool 's3.data' is full (no space)"}},
		},
		{
			name: "backfill full, and PGs that wait for space", status: api.HealthErr,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					s.Map.OSDs[2].Full = placement.BackfillFull
					pgs := s.Reports[0].Report.Pgs
					pgs[0].State, pgs[1].State = "active+remapped+backfill_toofull", "active+undersized+degraded+recovery_toofull"
				})
			},
			want: want{
				"OSD_BACKFILLFULL": "1 backfillfull osd(s)", "POOL_BACKFILLFULL": "2 pool(s) backfillfull",
				"PG_BACKFILL_FULL": "Low space hindering backfill (add storage if this doesn't resolve itself): 1 pg backfill_toofull",
				"PG_RECOVERY_FULL": "Full OSDs blocking recovery: 1 pg recovery_toofull",
				"PG_DEGRADED":      "Degraded data redundancy: 1 pg degraded, 1 pg undersized",
			},
			detail: map[string][]string{"POOL_BACKFILLFULL": {"pool 'rbd' is backfillfull", "pool 's3.data' is backfillfull"}},
		},
		{
			name: "slow devices", status: api.HealthWarn,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					s.Map.OSDs[0].Slow, s.Map.OSDs[1].Slow = true, true
					st := s.Reports[0]
					st.Slow = &api.SlowDevice{Kind: "journal writes", P50: 123456 * time.Microsecond, PeersP50: 2345 * time.Microsecond,
						P99: 12300 * time.Millisecond, PeersP99: 999 * time.Microsecond, Peers: 7, Since: time.Unix(0, 0)}
					s.Reports[0] = st
				})
			},
			want: want{"OSD_SLOW_DEVICE": "2 osd(s) have slow devices"},
			detail: map[string][]string{"OSD_SLOW_DEVICE": {
				"osd.0 (class hdd) is slow in journal writes: a median of 123ms, its 7 peers 2.3ms; p99 12s, its peers 999µs; since 1970-01-01T00:00:00Z; " +
					"see `cairn osd perf`, check its disk and kernel log; if it stays so, `cairn osd drain 0`",
				"osd.1 (class hdd) is slow, as the last leading monitor found; see `cairn osd perf`, check its disk and kernel log; if it stays so, `cairn osd drain 1`",
			}},
		},
		{
			name: "devices with errors", status: api.HealthWarn,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					s.Reports[0].Report.DeviceReadErrors, s.Reports[0].Report.ChecksumErrors = 4, 6
					s.Reports[1].Report.DeviceReadErrors, s.Reports[1].Report.DeviceRetries = 9, 10
				})
			},
			want: want{"OSD_READ_ERRORS": "1 osd(s) have devices with read errors", "OSD_SPURIOUS_READ_ERRORS": "1 osd(s) have spurious read errors"},
			detail: map[string][]string{
				"OSD_READ_ERRORS":          {"osd.0 (class hdd) has had 4 failed reads and 6 damaged blocks since it started; check its disk, cable and kernel log, and replace it: `cairn osd drain 0`"},
				"OSD_SPURIOUS_READ_ERRORS": {"osd.1 (class hdd) has had 10 reads that were good only when tried again; check its disk, cable and kernel log, and replace it: `cairn osd drain 1`"},
			},
		},
		{
			name: "silent OSD", status: api.HealthWarn,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					s.Quorum.LeaderSince = admintest.Now.Add(-time.Hour)
					for i := range s.Map.PGs {
						for j := range s.Map.PGs[i].Records {
							s.Map.PGs[i].Records[j].Primary = 0
							s.Map.PGs[i].Records[j].Term++
						}
					}
				})
				b.Report(admintest.Now)
				b.Edit(func(s *admintest.State) {
					st := s.Reports[1]
					st.At = admintest.Now.Add(-40 * time.Second)
					s.Reports[1] = st
				})
			},
			want:   want{"OSD_NOT_REPORTING": "1 osds do not report"},
			detail: map[string][]string{"OSD_NOT_REPORTING": {"osd.1 is up but last reported 40 s ago"}},
		},
		{
			name: "damage and loss", status: api.HealthErr,
			edit: func(b *admintest.Backend) {
				b.Edit(func(s *admintest.State) {
					for _, st := range s.Reports {
						for _, pg := range st.Report.Pgs {
							if pg.Pool == 2 && pg.Shard == 1 {
								pg.State, pg.Unfound, pg.ScrubErrors = "active+clean+inconsistent", 3, 2
							}
						}
					}
				})
			},
			want: want{"OSD_SCRUB_ERRORS": "2 scrub errors", "PG_DAMAGED": "Possible data damage: 1 pg inconsistent", "OBJECT_UNFOUND": "3/120 objects unfound (2.500%)"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := admintest.New()
			tt.edit(b)
			h := look(b).Health()
			got := want{}
			for code, c := range h.Checks {
				got[code] = c.Summary.Message
			}
			if tt.want == nil {
				tt.want = want{}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("checks (-want +got):\n%s", d)
			}
			if h.Status != tt.status {
				t.Errorf("status %s, want %s", h.Status, tt.status)
			}
			for code, lines := range tt.detail {
				var have []string
				for _, d := range h.Checks[code].Detail {
					have = append(have, d.Message)
				}
				if d := cmp.Diff(lines, have); d != "" {
					t.Errorf("detail of %s (-want +got):\n%s", code, d)
				}
			}
		})
	}
}

func TestHealthDetailIsBounded(t *testing.T) {
	b := admintest.New()
	b.Edit(func(s *admintest.State) {
		s.Map.Pools[0].PGNum = 4000
		s.Map.PGs[0].Records = make([]placement.PGRecord, 4000)
		for i := range s.Map.PGs[0].Records {
			s.Map.PGs[0].Records[i] = placement.PGRecord{Primary: placement.NoOSD}
		}
	})
	d := look(b).Health().Checks["PG_AVAILABILITY"].Detail
	if len(d) != 51 || d[50].Message != "and 3950 more" {
		t.Errorf("got %d lines, the last is %q; want 51 and a count", len(d), d[len(d)-1].Message)
	}
}

// TestPGStates follows pg 1.0 through what the monitors can know of it.
func TestPGStates(t *testing.T) {
	rec := func(s *admintest.State) *placement.PGRecord { return &s.Map.PGs[0].Records[0] }
	stat := func(s *admintest.State) *wirepb.PGStat {
		for _, st := range s.Reports {
			for _, pg := range st.Report.Pgs {
				if pg.Pool == 1 && pg.Shard == 0 {
					return pg
				}
			}
		}
		t.Fatal("no report of pg 1.0")
		return nil
	}
	age := func(s *admintest.State, d time.Duration) {
		for id, st := range s.Reports {
			st.At = admintest.Now.Add(-d)
			s.Reports[id] = st
		}
	}
	tests := []struct {
		name, state string
		edit        func(*admintest.State)
	}{
		{"reported", "active+clean", func(*admintest.State) {}},
		{"reported as empty", "unknown", func(s *admintest.State) { stat(s).State = "" }},
		{"report at the age limit", "active+clean", func(s *admintest.State) { age(s, admin.ReportMaxAge) }},
		{"silent primary", "stale+active+clean", func(s *admintest.State) { age(s, admin.ReportMaxAge+1) }},
		{"never reported", "unknown", func(s *admintest.State) { clear(s.Reports) }},
		{"new term, old primary's report", "peering", func(s *admintest.State) { rec(s).Term++ }},
		{"new term, all silent", "stale+active+clean", func(s *admintest.State) { rec(s).Term++; age(s, time.Hour) }},
		{"report of a term to come", "peering", func(s *admintest.State) { stat(s).Term = 9 }},
		{"restarted primary not heard yet", "stale+active+clean", func(s *admintest.State) {
			for i := range s.Map.OSDs {
				s.Map.OSDs[i].Incarnation++
			}
		}},
		{"being created", "creating", func(s *admintest.State) { rec(s).Created = false; clear(s.Reports) }},
		{"reported before created", "active+clean", func(s *admintest.State) { rec(s).Created = false }},
		{"nobody to create it", "unknown", func(s *admintest.State) {
			*rec(s) = placement.PGRecord{Primary: placement.NoOSD}
			clear(s.Reports)
		}},
		{"no in-sync member up", "down", func(s *admintest.State) { rec(s).Primary = placement.NoOSD }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := admintest.New()
			b.Edit(tt.edit)
			for _, pg := range look(b).PGs() {
				if pg.PGID == "1.0" && pg.State != tt.state {
					t.Errorf("state %q, want %q (%+v)", pg.State, tt.state, pg)
				}
			}
		})
	}
}

func TestPGWaitsForNamedOSDs(t *testing.T) {
	b := admintest.New()
	b.Edit(func(s *admintest.State) {
		s.Map.PGs[0].Records[0].Primary = placement.NoOSD
		s.Map.PGs[0].Records[0].InSync = []placement.OSDID{2, 0}
		s.Map.PGs[0].Records[1].Primary = placement.NoOSD
		s.Map.PGs[0].Records[1].InSync = []placement.OSDID{1}
	})
	pgs := look(b).PGs()
	if got, want := pgs[0].Waiting, "one of osd.0, osd.2 to come up"; got != want {
		t.Errorf("pg 1.0 waits for %q, want %q", got, want)
	}
	if got, want := pgs[1].Waiting, "osd.1 to come up"; got != want {
		t.Errorf("pg 1.1 waits for %q, want %q", got, want)
	}
	if got := pgs[0].Acting; !cmp.Equal(got, []int{2, 0}) {
		t.Errorf("acting %v, want the awaited [2 0]", got)
	}
}

func TestSummaryAndSpace(t *testing.T) {
	b := admintest.New()
	b.Edit(func(s *admintest.State) {
		st := s.Reports[0]
		st.Rates = api.OSDRates{ReadOps: 7, WriteOps: 5, ReadBytes: 8192, WriteBytes: 100, RecoveredBytes: 1, RecoveredObjects: 2}
		s.Reports[0] = st
	})
	v := look(b)
	s := v.PGSummary(v.PGs())
	want := api.PGSummary{
		ByState: []api.StateCount{{State: "active+clean", Count: 12}}, PGs: 12, Pools: 2, Objects: 120, Copies: 360, Bytes: 12 << 20,
		Used: 3 * 297480 << 10, Avail: 3 * (20971520 - 297480) << 10, Total: 60 << 30,
		ReadBytes: 8192, WriteBytes: 100, ReadOps: 7, WriteOps: 5, RecoveringBytes: 1, RecoveringObjects: 2,
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	df := v.DF()
	if got, want := df.Stats, df.ByClass["hdd"]; got != want || got.Total != 60<<30 || got.OSDs != 3 {
		t.Errorf("raw space %+v and class hdd %+v, want both the same 60 GiB", got, want)
	}
	// Equal OSDs: what fits is what is free below 95 %, over three copies.
	if got, want := df.Pools[0].Stats.MaxAvail, int64(20971520-297480-20971520*5/100)<<10; got < want-1024 || got > want+1024 {
		t.Errorf("max avail %d, want %d", got, want)
	}
	if got, want := df.Pools[0].Stats, int64(8<<20*3); got.Used != want || got.Stored != 8<<20 || got.Objects != 80 {
		t.Errorf("pool rbd: %+v, want used %d", got, want)
	}
	osd := v.OSDDF()
	if len(osd.Nodes) != 7 || osd.Nodes[0].KB != 60<<20 || osd.Nodes[2].PGs != 12 || osd.Summary.Dev > 1e-9 || osd.Summary.MinVar != 1 ||
		osd.Nodes[0].KBStored != 600 || osd.Nodes[2].KBAllocated != 330000 || osd.Summary.KBStored != 600 || osd.Summary.KBAllocated != 990000 {
		t.Errorf("osd df: %+v", osd)
	}
}

func TestEmptyCluster(t *testing.T) {
	b := admintest.New()
	b.Edit(func(s *admintest.State) {
		s.Map.OSDs, s.Map.Pools, s.Map.PGs, s.Map.Mons = nil, nil, nil, nil
		*s.Quorum, *s.Services = api.Quorum{}, nil
		clear(s.Reports)
	})
	v := look(b)
	if h := v.Health(); h.Status != api.HealthWarn || h.Checks["TOO_FEW_OSDS"].Summary.Message != "OSD count 0 < osd_pool_default_size 3" {
		t.Errorf("health %+v", h)
	}
	st := v.Status()
	if st.PGMap.DegradedRatio != 0 || st.PGMap.ByState == nil || st.Quorum == nil {
		t.Errorf("status %+v", st)
	}
	v.DF()
	v.OSDDF()
	v.OSDs()
}

func TestTreeOrderAndStray(t *testing.T) {
	b := admintest.New()
	b.Edit(func(s *admintest.State) {
		o := s.Map.OSDs[0]
		o.ID, o.Up = 7, false
		s.Map.OSDs = append(s.Map.OSDs, o)
	})
	tree := look(b).OSDTree()
	var names []string
	for _, n := range tree.Nodes {
		names = append(names, n.Name)
	}
	if d := cmp.Diff([]string{"default", "host0", "osd.0", "host1", "osd.1", "host2", "osd.2"}, names); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
	if len(tree.Stray) != 1 || tree.Stray[0].Name != "osd.7" || tree.Stray[0].Status != "down" {
		t.Errorf("stray %+v, want osd.7, down", tree.Stray)
	}
}
