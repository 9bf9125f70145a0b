package core_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// TestScripts runs the conversations in testdata: what happens to a client's
// operations, and what it wants done. `go test ./client/core -rewrite` writes
// the answers anew; read what has changed before you believe it.
//
//	new [timeout=1s] [ops=N] [bytes=N] [waiting=N]   another core
//	map epoch=N [pgs=N] [pg=(shard,primary|-,term,in-sync...)]... [down=(osds)] [restarted=osd] [paused] [gone]
//	                              the map with these changes to the last one
//	submit ID object|shard=N [write] [bytes=N] [within=30s]
//	answer ID/ATTEMPT CODE [epoch=N] [nobody]    and the text on the next line
//	lost ID/ATTEMPT [unsent] [toolarge]
//	dial ID/ATTEMPT, dialled ID/ATTEMPT
//	cancel ID, close, load
//	pass 10ms                     time passes, with a tick whenever one was asked for
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &stage{now: clock.Mono(time.Second)}
		s.reset(core.Config{Client: 7, AttemptTimeout: time.Second})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			s.run(t, d)
			if s.out.Len() == 0 {
				return "ok\n"
			}
			return s.out.String()
		})
	})
}

// stage is a core and the world of a script around it.
type stage struct {
	core  *core.Core
	m     *placement.Map
	start clock.Mono
	now   clock.Mono
	wake  clock.Mono
	out   strings.Builder
}

func (s *stage) reset(cfg core.Config) {
	s.core, s.start, s.wake = core.New(cfg), s.now, 0
	s.m = &placement.Map{
		Epoch: 4,
		OSDs: []placement.OSD{
			{ID: 0, Incarnation: 1, Addr: "host0:1", Up: true},
			{ID: 1, Incarnation: 1, Addr: "host1:1", Up: true},
			{ID: 2, Incarnation: 1, Addr: "host2:1", Up: true},
		},
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 2, MinSize: 1, PGNum: 1}},
		PGs: []placement.PoolPGs{{Pool: 1, Records: []placement.PGRecord{
			{Term: 1, Version: 1, Primary: 0, InSync: []placement.OSDID{0, 1}, Created: true},
		}}},
	}
}

func (s *stage) run(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	var id, attempt uint64
	// The first argument is 5 or 5/2.
	number := func() {
		t.Helper()
		if _, err := fmt.Sscanf(d.CmdArgs[0].Key, "%d/%d", &id, &attempt); err != nil {
			if _, err := fmt.Sscan(d.CmdArgs[0].Key, &id); err != nil {
				d.Fatalf(t, "%q is no operation", d.CmdArgs[0].Key)
			}
		}
	}
	switch d.Cmd {
	case "new":
		cfg := core.Config{Client: 7, AttemptTimeout: time.Second}
		d.MaybeScanArgs(t, "ops", &cfg.MaxOps)
		d.MaybeScanArgs(t, "bytes", &cfg.MaxBytes)
		d.MaybeScanArgs(t, "waiting", &cfg.MaxWaiting)
		s.reset(cfg)
	case "map":
		s.changeMap(t, d)
		s.step(core.MapEvent{Map: s.m})
	case "submit":
		number()
		op := core.Op{ID: id, Pool: 1, Object: d.CmdArgs[1].Key, Write: d.HasArg("write")}
		op.OnePG = d.MaybeScanArgs(t, "shard", &op.Shard)
		d.MaybeScanArgs(t, "bytes", &op.Bytes)
		within := "30s"
		d.MaybeScanArgs(t, "within", &within)
		if within != "ever" {
			op.Deadline = s.now.Add(duration(t, d, within))
		}
		s.step(core.SubmitEvent{Op: op})
	case "answer":
		number()
		ev := core.AnswerEvent{ID: id, Attempt: attempt, Body: !d.HasArg("nobody"), Reply: "reply"}
		code, ok := wirepb.Code_value[d.CmdArgs[1].Key]
		if !ok {
			d.Fatalf(t, "no code %q", d.CmdArgs[1].Key)
		}
		ev.Code = wirepb.Code(code)
		d.MaybeScanArgs(t, "epoch", &ev.Epoch)
		ev.Text = d.Input
		s.step(ev)
	case "lost":
		number()
		s.step(core.LostEvent{ID: id, Attempt: attempt, Sent: !d.HasArg("unsent"), TooLarge: d.HasArg("toolarge"), Err: errors.New("broken pipe")})
	case "dial", "dialled":
		number()
		s.step(core.DialEvent{ID: id, Attempt: attempt, Connected: d.Cmd == "dialled"})
	case "cancel":
		number()
		s.step(core.CancelEvent{ID: id})
	case "close":
		s.step(core.CloseEvent{})
	case "load":
		ops, bytes, waiting := s.core.Load()
		fmt.Fprintf(&s.out, "%d under way with %d bytes, %d waiting\n", ops, bytes, waiting)
	case "pass":
		end := s.now.Add(duration(t, d, d.CmdArgs[0].Key))
		for n := 0; s.wake != 0 && s.wake <= end; n++ {
			if n == 1000 {
				d.Fatalf(t, "woken a thousand times")
			}
			s.now = max(s.now, s.wake)
			s.step(core.TickEvent{})
		}
		s.now = end
	default:
		d.Fatalf(t, "no such command")
	}
}

func duration(t *testing.T, d *datadriven.TestData, text string) time.Duration {
	t.Helper()
	v, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

// changeMap makes the next map of the script.
func (s *stage) changeMap(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	m := s.m.Clone()
	s.m = m
	d.ScanArgs(t, "epoch", &m.Epoch)
	m.Flags = 0
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "pgs":
			a.Scan(t, 0, &m.Pools[0].PGNum)
			for uint32(len(m.PGs[0].Records)) < m.Pools[0].PGNum {
				r := m.PGs[0].Records[0]
				r.Version = m.Epoch
				m.PGs[0].Records = append(m.PGs[0].Records, r)
			}
		case "pg":
			var shard int
			var primary string
			var term placement.Term
			a.Scan(t, 0, &shard)
			a.Scan(t, 1, &primary)
			a.Scan(t, 2, &term)
			r := placement.PGRecord{Term: term, Version: m.Epoch, Primary: placement.NoOSD, Created: true}
			if primary != "-" {
				fmt.Sscan(primary, &r.Primary)
			}
			for i := 3; i < len(a.Vals); i++ {
				var o placement.OSDID
				a.Scan(t, i, &o)
				r.InSync = append(r.InSync, o)
			}
			m.PGs[0].Records[shard] = r
		case "down":
			for i := range m.OSDs {
				m.OSDs[i].Up = !slices.Contains(a.Vals, fmt.Sprint(i))
			}
		case "restarted":
			var o int
			a.Scan(t, 0, &o)
			m.OSDs[o].Up = true
			m.OSDs[o].Incarnation++
		case "paused":
			m.Flags = placement.FlagPause
		case "gone":
			m.Pools, m.PGs = nil, nil
		}
	}
}

// step gives the core an event and writes down what it wants.
func (s *stage) step(ev core.Event) {
	fx := s.core.Step(s.now, ev)
	at := ""
	if _, ok := ev.(core.TickEvent); ok {
		at = fmt.Sprintf("at %v: ", s.now.Sub(s.start).Round(time.Millisecond))
	}
	say := func(format string, args ...any) { fmt.Fprintf(&s.out, at+format+"\n", args...) }
	for _, d := range fx.Drop {
		silent := ""
		if d.Silent {
			silent = ", which was silent"
		}
		say("drop %d/%d%s", d.ID, d.Attempt, silent)
	}
	for _, x := range fx.Send {
		age := ""
		if x.Age != 0 {
			age = fmt.Sprintf(" age %v", x.Age.Round(time.Millisecond))
		}
		say("send %d/%d to %s.%d (%s) pg %s epoch %d%s", x.ID, x.Attempt, x.OSD, x.Incarnation, x.Addr, x.PG, x.Epoch, age)
	}
	for _, d := range fx.Done {
		switch {
		case d.Err == nil:
			say("done %d: %s %q by %s after %d attempts: %v", d.ID, d.Answer.Code, d.Answer.Text, d.OSD, d.Attempts, d.Answer.Reply)
		default:
			say("done %d: %v", d.ID, d.Err)
		}
	}
	if fx.Newest {
		say("wants the newest map")
	}
	if fx.WantEpoch != 0 {
		say("wants a map of epoch %d", fx.WantEpoch)
	}
	if fx.Suspect {
		say("suspects its monitor")
	}
	if fx.Wake != s.wake {
		switch s.wake = fx.Wake; s.wake {
		case 0:
			say("sleeps")
		default:
			say("wakes in %v", s.wake.Sub(s.now).Round(100*time.Microsecond))
		}
	}
}
