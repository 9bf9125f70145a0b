package show

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// osdCounts is the part that `osd stat` and `status` have in common.
func osdCounts(s api.OSDStat) string {
	return fmt.Sprintf("%d osds: %d up%s, %d in%s", s.OSDs, s.Up, since(s.UpSince, s.Now), s.In, since(s.InSince, s.Now))
}

// OSDStat prints how many OSDs are up and in.
func OSDStat(w io.Writer, s api.OSDStat) error {
	line := fmt.Sprintf("%s; epoch: e%d\n", osdCounts(s), s.Epoch)
	if flags := shownFlags(s.Flags); flags != "" {
		line += "flags " + flags + "\n"
	}
	_, err := io.WriteString(w, line)
	return err
}

// name indents a node below its parents.
func name(n *api.TreeNode) string {
	s := strings.Repeat("    ", n.Depth)
	if n.IsOSD() {
		return s + n.Name
	}
	return s + n.Type + " " + n.Name
}

// OSDTree prints the CRUSH hierarchy with the OSDs' states.
func OSDTree(w io.Writer, tree api.OSDTree) error {
	t := newTable(column{"ID", left, right}, column{"CLASS", left, right}, column{"WEIGHT", left, right}, column{"TYPE NAME", left, left},
		column{"STATUS", left, right}, column{"REWEIGHT", left, right}, column{"PRI-AFF", left, right})
	for _, nodes := range [][]api.TreeNode{tree.Nodes, tree.Stray} {
		for i := range nodes {
			n := &nodes[i]
			row := []string{strconv.Itoa(n.ID), n.Class, weight(n.CrushWeight), name(n)}
			if n.IsOSD() {
				row = append(row, n.Status, weight(n.Reweight), weight(n.PrimaryAffinity))
			}
			t.add(row...)
		}
	}
	return t.write(w)
}

// OSDDF prints the space of the OSDs, with tree also that of hosts, racks ....
func OSDDF(w io.Writer, df api.OSDDF, tree bool) error {
	columns := []column{{"ID", left, right}, {"CLASS", left, right}, {"WEIGHT", left, right}, {"REWEIGHT", left, right},
		{"SIZE", left, right}, {"RAW USE", left, right}, {"DATA", left, right}, {"OMAP", left, right}, {"META", left, right},
		{"AVAIL", left, right}, {"%USE", left, right}, {"VAR", left, right}, {"PGS", left, right}, {"STATUS", left, right}}
	s := df.Summary
	says := s.KBAllocated > 0 // behind Ceph's columns, which scripts count
	if says {
		columns = append(columns, column{"STORED", left, right}, column{"ALLOC", left, right})
	}
	if tree {
		columns = append(columns, column{"TYPE NAME", left, left})
	}
	t := newTable(columns...)
	kb := func(n int64) string { return Bytes(n << 10) }
	for _, nodes := range [][]api.DFNode{df.Nodes, df.Stray} {
		for i := range nodes {
			n := &nodes[i]
			if !tree && !n.IsOSD() {
				continue
			}
			re, pgs := "-", "-"
			if n.IsOSD() {
				re, pgs = weight(n.Reweight), strconv.Itoa(n.PGs)
			}
			row := []string{strconv.Itoa(n.ID), n.Class, weight(n.CrushWeight), re, kb(n.KB), kb(n.KBUsed), kb(n.KBData), kb(n.KBOmap),
				kb(n.KBMeta), kb(n.KBAvail), low(n.Utilization), low(n.Var), pgs, n.Status}
			if says {
				row = append(row, kb(n.KBStored), kb(n.KBAllocated))
			}
			if tree {
				row = append(row, name(&n.TreeNode))
			}
			t.add(row...)
		}
	}
	total := []string{"", "", "", "TOTAL", kb(s.KB), kb(s.KBUsed), kb(s.KBData), kb(s.KBOmap), kb(s.KBMeta), kb(s.KBAvail), low(s.Utilization)}
	if says {
		total = append(total, "", "", "", kb(s.KBStored), kb(s.KBAllocated))
	}
	t.add(total...)
	if err := t.write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "MIN/MAX VAR: %s/%s  STDDEV: %s\n", low(s.MinVar), low(s.MaxVar), low(s.Dev))
	return err
}

// PGStat prints the sum of the PGs in one line.
func PGStat(w io.Writer, s api.PGSummary) error {
	states := make([]string, len(s.ByState))
	for i, c := range s.ByState {
		states[i] = fmt.Sprintf("%d %s", c.Count, c.State)
	}
	line := fmt.Sprintf("%d pgs: %s; %s data, %s used, %s / %s avail", s.PGs, strings.Join(states, ", "),
		Bytes(s.Bytes), Bytes(s.Used), Bytes(s.Avail), Bytes(s.Total))
	if v := volumes(&s); v != "" {
		line += fmt.Sprintf("; %s%s op/s", v, Count(int64(s.ReadOps+s.WriteOps)))
	}
	for _, l := range losses(&s) {
		line += "; " + l
	}
	if s.RecoveringBytes >= 1 || s.RecoveringObjects >= 1 {
		line += fmt.Sprintf("; %s/s, %s objects/s recovering", Bytes(int64(s.RecoveringBytes)), Count(int64(s.RecoveringObjects)))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// PGBrief prints state and members of PGs, what Ceph calls pgs_brief.
func PGBrief(w io.Writer, pgs []api.PG) error {
	t := newTable(column{"PG_STAT", left, left}, column{"STATE", left, left}, column{"UP", left, left}, column{"UP_PRIMARY", left, right},
		column{"ACTING", left, left}, column{"ACTING_PRIMARY", left, right})
	for i := range pgs {
		pg := &pgs[i]
		t.add(pg.PGID, pg.State, list(pg.Up), strconv.Itoa(pg.UpPrimary), list(pg.Acting), strconv.Itoa(pg.ActingPrimary))
	}
	return t.write(w)
}

// PGs prints PGs with their statistics.
func PGs(w io.Writer, pgs []api.PG) error {
	t := newTable(column{"PG", left, left}, column{"OBJECTS", left, right}, column{"DEGRADED", left, right}, column{"MISPLACED", left, right},
		column{"UNFOUND", left, right}, column{"BYTES", left, right}, column{"OMAP_KEYS", left, right}, column{"LOG", left, right},
		column{"STATE", left, right}, column{"VERSION", left, right}, column{"UP", left, right}, column{"ACTING", left, right},
		column{"SCRUB_STAMP", left, left}, column{"DEEP_SCRUB_STAMP", left, left})
	for i := range pgs {
		pg := &pgs[i]
		t.add(pg.PGID, num(pg.Objects), num(pg.Degraded), num(pg.Misplaced), num(pg.Unfound), num(pg.Bytes), num(pg.OmapKeys),
			strconv.FormatUint(uint64(pg.LogEntries), 10), pg.State, pg.Version, led(pg.Up, pg.UpPrimary), led(pg.Acting, pg.ActingPrimary),
			scrubStamp(pg.LastScrub), scrubStamp(pg.LastDeepScrub))
	}
	return t.write(w)
}

func num(n int64) string { return strconv.FormatInt(n, 10) }

// led prints a set with its primary: [1,2,0]p1.
func led(ids []int, primary int) string { return list(ids) + "p" + strconv.Itoa(primary) }

// PoolDetail prints one line for each pool with all its settings.
func PoolDetail(w io.Writer, pools []api.Pool) error {
	var b strings.Builder
	for _, p := range pools {
		fmt.Fprintf(&b, "pool %d '%s' %s size %d min_size %d crush_rule %d object_hash highwayhash pg_num %d pgp_num %d ",
			p.ID, p.Name, p.Type, p.Size, p.MinSize, p.Rule, p.PGNum, p.PGNum)
		if p.PGNumTarget > p.PGNum {
			fmt.Fprintf(&b, "pg_num_target %d ", p.PGNumTarget)
		}
		fmt.Fprintf(&b, "autoscale_mode %s last_change %d flags hashpspool stripe_width 0", cmp.Or(p.Autoscale, "on"), p.LastChange)
		if p.Application != "" {
			b.WriteString(" application " + p.Application)
		}
		if p.Chunks != "" && p.Chunks != "none" {
			fmt.Fprintf(&b, " chunks %s dedup %s cut %s chunk_size %d compression %s", p.Chunks, p.Dedup, p.Cut, p.ChunkSize, p.Compression)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// Location prints where an object lives.
func Location(w io.Writer, l api.Location) error {
	_, err := fmt.Fprintf(w, "osdmap e%d pool '%s' (%d) object '%s' -> pg %d.%s (%s) -> up (%s, p%d) acting (%s, p%d)\n",
		l.Epoch, l.Pool, l.PoolID, l.Object, l.PoolID, strings.TrimLeft(l.Hash, "0"), l.PGID,
		list(l.Up), l.UpPrimary, list(l.Acting), l.ActingPrimary)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "target %s, row %s\n", list(l.Target), list(l.Row))
	return err
}
