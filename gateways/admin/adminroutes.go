package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// forwardedFor tells the leader on whose behalf another monitor passes a request on.
const forwardedFor = "Cairn-Forwarded-For"

// stuckAfter is how long a PG with a primary must not have served before its primary may be
// forced: peering ends by itself.
const stuckAfter = 30 * time.Second

// copyTime bounds the question to an OSD what copy of a PG it has.
const copyTime = 3 * time.Second

// identify notes who sends a request, for the audit log.
func (s *Server) identify(c *gin.Context) {
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		host = c.Request.RemoteAddr
	}
	who := host
	if s.token != "" {
		who += " (admin token)"
	}
	if said := c.GetHeader(forwardedFor); said != "" && s.isMonitor(host) {
		who = said // the monitor has looked at the request as we would
	}
	c.Request = c.Request.WithContext(api.WithActor(c.Request.Context(), who))
}

// isMonitor reports whether a monitor of the map has that address.
func (s *Server) isMonitor(host string) bool {
	for _, m := range s.clusterMap().Mons {
		for _, addr := range []string{m.Addr, m.RaftAddr, m.AdminAddr} {
			if h, _, err := net.SplitHostPort(addr); err == nil && h == host {
				return true
			}
		}
	}
	return false
}

func (s *Server) adminRoutes() {
	handle(s, route{"GET", "/audit", "list-audit", "cluster", "What administrators did, oldest first", 0},
		func(_ context.Context, in *struct {
			Limit int `query:"limit" minimum:"0" maximum:"1000" doc:"Only so many of the newest; 0: all that are kept"`
		}) ([]api.AuditEntry, error) {
			list := s.backend.Audit()
			if in.Limit > 0 && len(list) > in.Limit {
				list = list[len(list)-in.Limit:]
			}
			return append([]api.AuditEntry{}, list...), nil
		})
	s.configRoutes()
	s.safetyRoutes()
	s.drainRoutes()
	s.crushRoutes()
	act(s, route{"POST", "/pgs/{pgid}/force-primary", "force-primary", "pgs", "Make an OSD lead a PG that nobody serves, whatever its copy lacks", 0},
		func(ctx context.Context, in *struct {
			ID   string `path:"pgid" maxLength:"32" doc:"POOL.SHARD, the shard in hexadecimal: 1.2f"`
			Body api.ForcePrimary
		}) error {
			return s.forcePrimary(ctx, in.ID, &in.Body)
		})
}

func (s *Server) configRoutes() {
	handle(s, route{"GET", "/config", "list-config", "cluster", "The central configuration: all keys, with what is in force", 0},
		func(context.Context, *none) ([]api.Setting, error) {
			m := s.clusterMap()
			var out []api.Setting
			for _, k := range placement.KnownSettings() {
				v, set := m.Setting(k.Key)
				if !set {
					v = k.Default
				}
				out = append(out, api.Setting{Key: k.Key, Value: v, Default: k.Default, Set: set, Kind: string(k.Kind), Min: k.Min, Max: k.Max, About: k.About})
			}
			return out, nil
		})
	set := func(ctx context.Context, key, value string) error {
		if err := s.backend.ConfigSet(ctx, key, value); err != nil {
			return fail(err, "see `cairn config ls`")
		}
		return nil
	}
	act(s, route{"PUT", "/config/{key}", "set-config", "cluster", "Set a key of the central configuration", 0},
		func(ctx context.Context, in *struct {
			Key  string `path:"key" maxLength:"64"`
			Body api.SettingValue
		}) error {
			return set(ctx, in.Key, in.Body.Value)
		})
	act(s, route{"DELETE", "/config/{key}", "remove-config", "cluster", "Give a key of the central configuration its default again", 0},
		func(ctx context.Context, in *struct {
			Key string `path:"key" maxLength:"64"`
		}) error {
			return set(ctx, in.Key, "")
		})
}

// osdList reads "1,2,3" and checks that the OSDs exist.
func (s *Server) osdList(text string) ([]placement.OSDID, error) {
	var ids []placement.OSDID
	for _, part := range strings.Split(text, ",") {
		id, err := strconv.ParseInt(strings.TrimPrefix(part, "osd."), 10, 32)
		if err != nil || id < 0 {
			return nil, invalid("give numbers with commas between them, such as 1,2", "OSD %q", part)
		}
		ids = append(ids, placement.OSDID(id))
	}
	return s.existing(ids)
}

func (s *Server) existing(ids []placement.OSDID) ([]placement.OSDID, error) {
	for _, id := range ids {
		if err := s.known(int32(id)); err != nil {
			return nil, err
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

type osdsInput struct {
	OSDs string `query:"osds" required:"true" minLength:"1" maxLength:"8192" doc:"Numbers of OSDs, with commas between them"`
}

func (s *Server) safetyRoutes() {
	checkRoute := func(path, id, summary string, f func(v *View, ids []placement.OSDID) api.OSDCheck) {
		handle(s, route{"GET", path, id, "osds", summary, 0},
			func(_ context.Context, in *osdsInput) (api.OSDCheck, error) {
				ids, err := s.osdList(in.OSDs)
				if err != nil {
					return api.OSDCheck{}, err
				}
				return f(s.view(), ids), nil
			})
	}
	checkRoute("/osds/ok-to-stop", "check-ok-to-stop", "Whether all PGs go on serving when these OSDs stop", (*View).OKToStop)
	checkRoute("/osds/safe-to-destroy", "check-safe-to-destroy", "Whether no PG counts on the copies of these OSDs", (*View).SafeToDestroy)
	checkRoute("/osds/ok-to-drain", "check-ok-to-drain", "Whether these OSDs can be emptied", (*View).OKToDrain)
	act(s, route{"DELETE", "/osds/{id}", "remove-osd", "osds", "Remove an OSD that is down and that no PG counts on, for ever", 0},
		func(ctx context.Context, in *osdInput) error {
			if err := s.known(in.ID); err != nil {
				return err
			}
			id := placement.OSDID(in.ID)
			v := s.view()
			if o := v.Map.OSD(id); !o.Up && !o.In() {
				if c := v.SafeToDestroy([]placement.OSDID{id}); !c.OK {
					return api.NewProblem(fmt.Errorf("%w: %s: %s", api.ErrConflict, id, refusalOf(c)), fmt.Sprintf("wait, and look with `cairn osd safe-to-destroy %d`", in.ID))
				}
			}
			if err := s.backend.OSDRemove(ctx, id); err != nil {
				return fail(err, "see `cairn osd tree`")
			}
			return nil
		})
}

func (s *Server) drainRoutes() {
	handle(s, route{"GET", "/osds/drain", "list-drains", "osds", "How far the OSDs are that are being emptied", 0},
		func(context.Context, *none) ([]api.DrainState, error) {
			v := s.observe()
			out := v.Drains()
			for i := range out {
				for _, p := range v.Progress {
					if p.ID == fmt.Sprintf("drain.%d", out[i].OSD) {
						out[i].Progress = int(100 * p.Progress)
					}
				}
			}
			return out, nil
		})
	type drainInput struct{ Body api.Drain }
	drain := func(ctx context.Context, in *drainInput, on bool) error {
		ids := make([]placement.OSDID, len(in.Body.OSDs))
		for i, id := range in.Body.OSDs {
			ids[i] = placement.OSDID(id)
		}
		ids, err := s.existing(ids)
		if err != nil {
			return err
		}
		if on && !in.Body.Force {
			if c := s.view().OKToDrain(ids); !c.OK {
				return api.NewProblem(fmt.Errorf("%w: %s", api.ErrConflict, refusalOf(c)),
					"or drain with --force: what finds no other place stays where it is, and no copy is lost")
			}
		}
		if err := s.backend.OSDDrain(ctx, ids, on); err != nil {
			return fail(err, "see `cairn osd tree`")
		}
		return nil
	}
	act(s, route{"POST", "/osds/drain", "drain-osds", "osds", "Begin to empty OSDs: others get their data, and they serve meanwhile", 0},
		func(ctx context.Context, in *drainInput) error { return drain(ctx, in, true) })
	act(s, route{"POST", "/osds/undrain", "undrain-osds", "osds", "End the emptying of OSDs: CRUSH chooses them again", 0},
		func(ctx context.Context, in *drainInput) error { return drain(ctx, in, false) })
}

func (s *Server) crushRoutes() {
	act(s, route{"PUT", "/osds/{id}/class", "set-osd-class", "osds", "Change the device class of an OSD", 0},
		func(ctx context.Context, in *struct {
			ID   int32 `path:"id" minimum:"0" doc:"Number of the OSD"`
			Body api.DeviceClass
		}) error {
			return s.crushOSD(ctx, in.ID, in.Body.Class, nil)
		})
	act(s, route{"PUT", "/osds/{id}/crush-weight", "set-osd-crush-weight", "osds", "Change the CRUSH weight of an OSD", 0},
		func(ctx context.Context, in *struct {
			ID   int32 `path:"id" minimum:"0" doc:"Number of the OSD"`
			Body api.CrushWeight
		}) error {
			w := uint32(math.Round(in.Body.Weight * float64(placement.WeightOne)))
			return s.crushOSD(ctx, in.ID, "", &w)
		})
	act(s, route{"POST", "/crush/move", "move-crush-item", "osds", "Put an OSD, or a bucket with all that is in it, elsewhere in the CRUSH map", 0},
		func(ctx context.Context, in *struct{ Body api.CrushMove }) error {
			for _, p := range in.Body.Location {
				if typ, name, ok := strings.Cut(p, "="); !ok || typ == "" || name == "" {
					return invalid("give TYPE=NAME, such as rack=r1", "location %q", p)
				}
			}
			if err := s.backend.CrushMove(ctx, in.Body.Name, in.Body.Location); err != nil {
				return fail(err, "see `cairn osd tree`")
			}
			return nil
		})
}

func (s *Server) crushOSD(ctx context.Context, id int32, class string, weight *uint32) error {
	if err := s.known(id); err != nil {
		return err
	}
	if err := s.backend.CrushOSD(ctx, placement.OSDID(id), class, weight); err != nil {
		return fail(err, "see `cairn osd tree`")
	}
	return nil
}

// forcePrimary checks what only the reports tell, and asks the monitors.
func (s *Server) forcePrimary(ctx context.Context, text string, f *api.ForcePrimary) error {
	v := s.observe()
	id, err := s.pgID(v.Map, text)
	if err != nil {
		return err
	}
	osd := placement.OSDID(f.OSD)
	if err := s.known(f.OSD); err != nil {
		return err
	}
	rec := v.Map.PG(id)
	ask := api.Forced{PGID: id.String(), Term: uint32(rec.Term), Version: uint64(rec.Version), OSD: f.OSD, AcceptLoss: f.AcceptLoss}
	if rec.Primary != placement.NoOSD && rec.Created {
		if ask.Stuck, err = s.stuck(ctx, v, id, osd); err != nil {
			return err
		}
	}
	if err := s.backend.PGForce(ctx, ask); err != nil {
		var p *api.Problem
		if err = fail(err, "see `cairn pg ls`"); errors.As(err, &p) && p.Code == api.CodeConflict && !f.AcceptLoss && p.Next == "" {
			p.Next = s.describeCopy(ctx, osd, id)
		}
		return err
	}
	return nil
}

// stuck reports whether a PG whose primary is up has not served for long; the error says
// what to do instead of forcing it.
func (s *Server) stuck(ctx context.Context, v *View, id placement.PGID, osd placement.OSDID) (bool, error) {
	rec := v.Map.PG(id)
	e, ok := v.stats()[id]
	pg := v.pg(id, v.Map.Pool(id.Pool), rec, e, ok)
	refuse := func(next, format string, args ...any) (bool, error) {
		return false, api.NewProblem(fmt.Errorf("%w: PG %s: %s", api.ErrConflict, id, fmt.Sprintf(format, args...)), next)
	}
	if active(pg.State) {
		return refuse("nothing needs to be forced", "%s leads it and serves, it is %s", rec.Primary, pg.State)
	}
	if d := s.tracker.inactiveFor(pg.PGID, v.Now); d < stuckAfter {
		return refuse(fmt.Sprintf("see in %d s whether it gets on by itself", int((stuckAfter-d).Seconds())+1),
			"%s leads it and is %s, for %d s as far as this monitor knows; it waits for %s", rec.Primary, pg.State, int(d.Seconds()), pg.Waiting)
	}
	if rec.Primary == osd {
		return true, nil
	}
	if c, err := s.copyOf(ctx, rec.Primary, id); err == nil && c.Exists && c.Complete {
		return refuse(fmt.Sprintf("force %s instead: `cairn pg force-primary %s %d`", rec.Primary, id, int(rec.Primary)),
			"its primary %s has everything that was acknowledged, and %s may not", rec.Primary, osd)
	}
	return true, nil
}

// pgCopy is what an OSD says of its copy of a PG, as in `pg query`.
type pgCopy struct {
	Exists   bool   `json:"exists"`
	Complete bool   `json:"complete"`
	Head     string `json:"log_head"`
}

// copyOf asks an OSD for its copy of a PG.
func (s *Server) copyOf(ctx context.Context, osd placement.OSDID, id placement.PGID) (pgCopy, error) {
	var c pgCopy
	if s.osdCall == nil {
		return c, api.ErrUnsupported
	}
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel()
	raw, err := s.osdCall(ctx, osd, &wirepb.Header{Body: &wirepb.Header_PgQueryState{
		PgQueryState: &wirepb.PGQueryState{Pool: uint32(id.Pool), Shard: id.Shard}}})
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	return c, err
}

// describeCopy says for people what an OSD has of a PG.
func (s *Server) describeCopy(ctx context.Context, osd placement.OSDID, id placement.PGID) string {
	c, err := s.copyOf(ctx, osd, id)
	switch {
	case err != nil:
		return fmt.Sprintf("%s did not say what it has of PG %s (%v)", osd, id, err)
	case !c.Exists:
		return fmt.Sprintf("%s has no copy of PG %s at all: it would be empty", osd, id)
	case !c.Complete:
		return fmt.Sprintf("the copy of %s is incomplete: it was being made; its log ends at %s", osd, c.Head)
	}
	return fmt.Sprintf("the copy of %s is complete up to %s of the log", osd, c.Head)
}
