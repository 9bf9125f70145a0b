package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// TestPGForce forces a PG whose in-sync members are gone, and lets it heal.
func TestPGForce(t *testing.T) {
	r := newRig(t)
	rec := r.created(4, PoolCreate{Size: 3, MinSize: 2})
	in := func(id int) bool { return rec.Has(placement.OSDID(id)) }
	other := 0
	for in(other) {
		other++
	}
	force := func(osd int) *PGForce {
		now := r.rec(0)
		return &PGForce{PG: PGID{Pool: 1}, Term: now.Term, Version: now.Version, OSD: placement.OSDID(osd), AcceptLoss: true}
	}
	r.no(wirepb.Code_CONFLICT, "is led by", force(other))
	for _, id := range rec.InSync {
		r.ok(downOf(int(id), DownSilent))
	}
	if p := r.rec(0).Primary; p != placement.NoOSD {
		t.Fatalf("led by %v", p)
	}
	f := force(other)
	f.AcceptLoss = false
	r.no(wirepb.Code_NOT_PERMITTED, fmt.Sprintf("%v (down)", rec.InSync[0]), f)
	r.no(wirepb.Code_NOT_PERMITTED, "not in the in-sync set", f)
	f.OSD = rec.InSync[0]
	r.no(wirepb.Code_CONFLICT, "is down; start it", f)
	f.OSD = 77
	r.no(wirepb.Code_NOT_FOUND, "osd.77", f)
	f = force(other)
	f.Version--
	r.no(wirepb.Code_CONFLICT, "changed meanwhile", f)
	f = force(other)
	f.PG.Shard = 9
	r.no(wirepb.Code_NOT_FOUND, "1.9", f)

	term := r.rec(0).Term
	r.ok(force(other))
	now := r.rec(0)
	if now.Term != term+1 || now.Primary != placement.OSDID(other) || !slices.Equal(now.InSync, []placement.OSDID{placement.OSDID(other)}) || !now.Forced || now.Version != r.index {
		t.Fatalf("forced: %+v", now)
	}
	r.ok(bootOf(other, 2)) // it restarts before anybody has learned from it
	if now = r.rec(0); !now.Forced || now.Term != term+2 {
		t.Fatalf("after a restart: %+v", now)
	}
	same := r.change(0)
	r.ok(same)
	if !r.rec(0).Forced {
		t.Fatal("a change of nothing made the forced copy like any other")
	}
	r.ok(bootOf(int(rec.InSync[0]), 2))
	add := r.change(0)
	add.InSync = append(slices.Clone(add.InSync), rec.InSync[0])
	r.ok(add)
	if now = r.rec(0); now.Forced || len(now.InSync) != 2 {
		t.Fatalf("with another member: %+v", now)
	}
}

// TestPGForceStuck: the leader may have seen that an up primary does not serve.
func TestPGForceStuck(t *testing.T) {
	r := newRig(t)
	rec := r.created(3, PoolCreate{Size: 3, MinSize: 2})
	f := &PGForce{PG: PGID{Pool: 1}, Term: rec.Term, Version: rec.Version, OSD: rec.Primary, Stuck: true}
	r.no(wirepb.Code_NOT_PERMITTED, "is in the in-sync set", f)
	f.AcceptLoss = true
	r.ok(f)
	if now := r.rec(0); now.Primary != rec.Primary || len(now.InSync) != 1 {
		t.Fatalf("forced: %+v", now)
	}
	r.ok(&PoolCreate{Name: "empty", PGNum: 1})
	now := r.s.Map().PG(placement.PGID{Pool: 2})
	r.no(wirepb.Code_CONFLICT, "holds no data", &PGForce{PG: PGID{Pool: 2}, Term: now.Term, Version: now.Version, OSD: 1, Stuck: true, AcceptLoss: true})
}

// by applies a command on behalf of an administrator.
func (r *rig) by(who string, b Body) Result {
	r.t.Helper()
	r.index++
	enc, err := Encode(Command{At: int64(r.index), By: who, Body: b})
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := Decode(enc)
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = append(r.log, enc)
	return r.s.Apply(c, r.index)
}

func TestAudit(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	if n := len(r.s.Audit()); n != 0 {
		t.Fatalf("%d entries before any administrator did anything", n)
	}
	const who = "10.1.2.3 (token)"
	r.by(who, &PoolCreate{Name: "p", Size: 9})
	r.by(who, &UserCreate{User: User{Name: "ann", Keys: []AccessKey{{AccessKey: "AKIDEXAMPLE", SecretKey: "not-a-real-secret"}}}})
	r.by(strings.Repeat("é", 300), &FlagSet{Flags: placement.FlagNoOut | placement.FlagNoScrub, On: true})
	r.by(who, &PoolRemove{Name: strings.Repeat("é", 500)})
	r.by(who, &PGForce{PG: PGID{Pool: 1, Shard: 31}, OSD: 2, AcceptLoss: true})
	got := r.s.Audit()
	var lines []string
	for _, e := range got {
		lines = append(lines, e.Command)
		if e.At != int64(e.Index) || len(e.By) > maxAuditBytes+3 || len(e.Command) > maxAuditBytes+3 {
			t.Errorf("entry %+v", e)
		}
	}
	want := []string{
		`pool create p --size 9 --min-size 0 --pg-num 0 --rule "" --application ""`, "user create ann (1 keys)",
		"osd set noout,noscrub", "pool rm " + strings.Repeat("é", 146) + "...", "pg force-primary 1.1f osd.2 --accept-loss",
	}
	if !slices.Equal(lines, want) {
		t.Fatalf("commands:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if e := got[0]; e.Code != wirepb.Code_CONFLICT || !strings.Contains(e.Text, "3 of 9 copies") || e.By != who {
		t.Fatalf("a refusal: %+v", e)
	}
	if e := got[1]; e.Code != wirepb.Code_OK || e.Text != "" {
		t.Fatalf("done: %+v", e)
	}
	restored, err := Restore(encoded(t, r.s))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(restored.Audit(), got) {
		t.Fatalf("after a snapshot: %+v, want %+v", restored.Audit(), got)
	}
}

// TestAuditIsBounded: the oldest entries go, and a snapshot under way is not disturbed.
func TestAuditIsBounded(t *testing.T) {
	r := newRig(t)
	var snap *Snapshot
	var before []byte
	for i := range 3*MaxAudit + 7 {
		r.by("ann", &ConfigSet{Key: "osd_flap_limit", Value: fmt.Sprint(i % 10)})
		if i == MaxAudit/2 {
			snap = r.s.Snapshot()
			before, _ = snap.Encode()
		}
	}
	got := r.s.Audit()
	if len(got) != MaxAudit || got[MaxAudit-1].Index != r.index || got[0].Index != r.index-MaxAudit+1 {
		t.Fatalf("%d entries from %d to %d, want the last %d up to %d", len(got), got[0].Index, got[len(got)-1].Index, MaxAudit, r.index)
	}
	if after, _ := snap.Encode(); !bytes.Equal(before, after) {
		t.Fatal("a snapshot changed after it was taken")
	}
}
