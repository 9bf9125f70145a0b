package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/gateways/admin"
	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func osds(n ...int) []placement.OSDID {
	var out []placement.OSDID
	for _, i := range n {
		out = append(out, placement.OSDID(i))
	}
	return out
}

// wantCheck fails unless the answer is no, for these reasons and so many PGs; no reasons mean yes.
func wantCheck(t *testing.T, what string, c api.OSDCheck, pgs int, reasons ...string) {
	t.Helper()
	if c.OK != (len(reasons) == 0) || c.NumPGs != pgs || len(c.Reasons) != len(reasons) {
		t.Fatalf("%s: %+v, want %d PGs and %q", what, c, pgs, reasons)
	}
	for i, r := range reasons {
		if !strings.Contains(c.Reasons[i], r) {
			t.Errorf("%s: reason %q, want %q", what, c.Reasons[i], r)
		}
	}
}

func TestOKToStop(t *testing.T) {
	b := admintest.New()
	wantCheck(t, "one of three", look(b).OKToStop(osds(1)), 0)
	wantCheck(t, "two of three", look(b).OKToStop(osds(1, 2)), 12, "12 pgs would drop below min_size")
	wantCheck(t, "all", look(b).OKToStop(osds(0, 1, 2)), 12, "12 pgs would become inactive")
	b.Edit(func(s *admintest.State) {
		s.Map.OSDs[2].Up = false
		s.Map.PGs[1].Records[3].InSync = osds(1)
	})
	v := look(b)
	wantCheck(t, "one of two that are up", v.OKToStop(osds(1)), 12, "would drop below min_size", "would become inactive")
	wantCheck(t, "one that is down", v.OKToStop(osds(2)), 0)
	for _, pg := range v.OKToStop(osds(1)).PGs {
		if pg.PGID == "2.3" && !strings.Contains(pg.Reason, "no other in-sync copy is up") || pg.PGID == "1.0" && !strings.Contains(pg.Reason, "[0] would be left, below min_size 2") {
			t.Errorf("%+v", pg)
		}
	}
}

func TestSafeToDestroy(t *testing.T) {
	b := admintest.New()
	wantCheck(t, "in use", look(b).SafeToDestroy(osds(1)), 12, "12 pgs have it in their in-sync set")
	b.Edit(func(s *admintest.State) {
		s.Map.OSDs[1].Draining = true
		for i := range s.Map.PGs {
			for j := range s.Map.PGs[i].Records {
				s.Map.PGs[i].Records[j].InSync, s.Map.PGs[i].Records[j].Primary = osds(0, 2), 0
			}
		}
	})
	wantCheck(t, "empty", look(b).SafeToDestroy(osds(1)), 0)
	b.Edit(func(s *admintest.State) { s.Map.PGs[0].Records[3].Primary = placement.NoOSD })
	wantCheck(t, "a PG is down", look(b).SafeToDestroy(osds(1)), 1, "may need any copy")
	b.Edit(func(s *admintest.State) { s.Map.OSDs[1].Draining = false })
	wantCheck(t, "chosen by CRUSH", look(b).SafeToDestroy(osds(1)), 12, "are to be placed on it")
}

func TestOKToDrain(t *testing.T) {
	b := admintest.New()
	wantCheck(t, "three hosts, three copies", look(b).OKToDrain(osds(1)), 12,
		"pool 'rbd': CRUSH rule replicated_rule finds only 2 of 3 places without them; add OSDs on other hosts (8 pgs)", "pool 's3.data'")
	b.Edit(func(s *admintest.State) {
		for i := range s.Map.Pools {
			s.Map.Pools[i].Size = 2
		}
		for i := range s.Map.PGs {
			for j := range s.Map.PGs[i].Records {
				r := &s.Map.PGs[i].Records[j]
				r.InSync = s.Map.Target(placement.PGID{Pool: s.Map.PGs[i].Pool, Shard: uint32(j)})
				r.Primary = r.InSync[0]
			}
		}
	})
	wantCheck(t, "two copies", look(b).OKToDrain(osds(1)), 0)
	b.Report(admintest.Now)
	b.Edit(func(s *admintest.State) {
		r := s.Reports[0]
		r.Report.Available = r.Report.Capacity/10 + 1
		s.Reports[0] = r
	})
	wantCheck(t, "no space", look(b).OKToDrain(osds(1)), 0, "osd.0 would become 90 % full, and takes no more from 90 % on")
	if d := look(b).Drains(); len(d) != 0 {
		t.Fatalf("drains: %+v", d)
	}
	b.Edit(func(s *admintest.State) { s.Map.OSDs[1].Draining = true })
	d := look(b).Drains()
	if len(d) != 1 || d[0].OSD != 1 || d[0].PGs == 0 || d[0].Objects != int64(10*d[0].PGs) || d[0].Blocked != 0 || d[0].Empty {
		t.Fatalf("drains: %+v", d)
	}
}

// TestForcePrimary: what must be so before an OSD may lead a PG by force.
func TestForcePrimary(t *testing.T) {
	b := admintest.New()
	now := admintest.Now
	copies := map[placement.OSDID]string{1: `{"exists":true,"complete":true,"log_head":"4'17"}`, 2: `{"exists":true,"complete":false,"log_head":"4'9"}`}
	s := newServer(t, admin.Options{Backend: b, Now: func() time.Time { return now }, Token: "t",
		OSDCall: func(_ context.Context, osd placement.OSDID, _ *wirepb.Header) (json.RawMessage, error) {
			if c, ok := copies[osd]; ok {
				return json.RawMessage(c), nil
			}
			return nil, fmt.Errorf("PG is not on %s: %w", osd, api.ErrNotFound)
		}})
	force := func(osd int, accept bool, code int, want string) {
		t.Helper()
		a := do(t, s, "POST", api.Prefix+"/pgs/1.0/force-primary", fmt.Sprintf(`{"osd":%d,"accept_loss":%v}`, osd, accept), "Authorization", "Bearer t")
		if a.code != code || !strings.Contains(a.body, want) {
			t.Fatalf("force osd.%d: %d %s, want %d with %q", osd, a.code, a.body, code, want)
		}
	}
	force(1, true, 409, "leads it and serves")
	peering := func() {
		b.Report(now)
		b.Edit(func(s *admintest.State) {
			for _, r := range s.Reports {
				for _, pg := range r.Report.Pgs {
					if pg.Pool == 1 && pg.Shard == 0 {
						pg.State, pg.Waiting = "peering", "osd.0 (down)"
					}
				}
			}
			s.Map.PGs[0].Records[0].Primary, s.Map.PGs[0].Records[0].InSync = 1, osds(1, 0)
		})
		b.Report(now)
		b.Edit(func(s *admintest.State) {
			for _, r := range s.Reports {
				for _, pg := range r.Report.Pgs {
					if pg.Pool == 1 && pg.Shard == 0 {
						pg.State, pg.Waiting = "peering", "osd.0 (down)"
					}
				}
			}
		})
	}
	peering()
	force(1, true, 409, "for 0 s as far as this monitor knows")
	now = now.Add(31 * time.Second)
	peering()
	force(2, true, 409, "pg force-primary 1.0 1")
	copies[1] = `{"exists":true,"complete":false}`
	force(2, false, 409, "the copy of osd.2 is incomplete: it was being made; its log ends at 4'9")
	force(0, false, 409, "did not say what it has")
	force(2, true, 204, "")
	if r := b.Map().PGs[0].Records[0]; !r.Forced || r.Primary != 2 {
		t.Fatalf("record %+v", r)
	}
	b.Edit(func(s *admintest.State) { s.Map.PGs[0].Records[0].Primary = placement.NoOSD })
	force(1, true, 204, "")
	log := b.Audit()
	if n := len(log); n != 4 || log[n-1].By != "192.0.2.1 (admin token)" || !strings.Contains(log[n-1].Command, "force-primary 1.0 osd.1") {
		t.Fatalf("audit: %+v", log)
	}
}

// TestActorOfForwardedRequest: only a monitor is believed when it says for whom it asks.
func TestActorOfForwardedRequest(t *testing.T) {
	b := admintest.New()
	s := newServer(t, admin.Options{Backend: b})
	for from, want := range map[string]string{"127.0.0.1:999": "10.9.8.7", "192.0.2.7:999": "192.0.2.7"} {
		r := httptest.NewRequest("PUT", api.Prefix+"/config/scrub_max_pgs", strings.NewReader(`{"value":"2"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Cairn-Forwarded-For", "10.9.8.7")
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		log := b.Audit()
		if w.Code != 204 || log[len(log)-1].By != want {
			t.Errorf("from %s: %d, %+v, want %s", from, w.Code, log, want)
		}
	}
}
