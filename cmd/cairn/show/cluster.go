package show

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/api"
)

// Status prints the overview of the cluster.
func Status(w io.Writer, s api.Status) error {
	var b strings.Builder
	fmt.Fprintf(&b, "  cluster:\n    id:     %s\n    health: %s\n", s.FSID, s.Health.Status)
	for _, code := range s.Health.Codes() {
		fmt.Fprintf(&b, "            %s\n", s.Health.Checks[code].Summary.Message)
	}
	b.WriteString(" \n  services:\n")
	services(&b, &s)
	b.WriteString(" \n  data:\n")
	data(&b, &s.PGMap)
	b.WriteString(" \n")
	traffic(&b, &s.PGMap)
	if len(s.Progress) > 0 {
		b.WriteString("  progress:\n")
		progress(&b, s.Progress)
		b.WriteString(" \n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func services(b *strings.Builder, s *api.Status) {
	mon := fmt.Sprintf("%d daemons, quorum %s (age %s)", s.MonMap.NumMons, strings.Join(s.QuorumNames, ","), Age(time.Duration(s.QuorumAge)*time.Second))
	if out := s.MonMap.OutOfQuorum; len(out) > 0 {
		mon += ", out of quorum: " + strings.Join(out, ", ")
	}
	lines := [][2]string{{"mon", mon}, {"osd", osdCounts(s.OSDMap)}}
	if n := s.OSDMap.Remapped; n > 0 {
		lines[1][1] += fmt.Sprintf("; %d remapped pgs", n)
	}
	for i := 0; i < len(s.Services); { // sorted by kind
		kind, hosts, n := s.Services[i].Kind, map[string]bool{}, 0
		for ; i < len(s.Services) && s.Services[i].Kind == kind; i++ {
			host := s.Services[i].Addr
			if h, _, err := net.SplitHostPort(host); err == nil {
				host = h
			}
			hosts[host] = true
			n++
		}
		daemons := "daemon"
		if n > 1 {
			daemons = "daemons"
		}
		lines = append(lines, [2]string{kind, fmt.Sprintf("%d %s active (%d hosts)", n, daemons, len(hosts))})
	}
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range lines {
		fmt.Fprintf(b, "    %-*s %s\n", width+1, l[0]+":", l[1])
		if flags := shownFlags(s.OSDMap.Flags); l[0] == "osd" && flags != "" {
			fmt.Fprintf(b, "    %-*s flags %s\n", width+1, "", flags)
		}
	}
}

// barWidth is that of Ceph's progress bars.
const barWidth = 28

// progress prints a bar for each long work.
func progress(b *strings.Builder, list []api.Progress) {
	for _, p := range list {
		done := int(max(0, min(1, p.Progress)) * barWidth)
		fmt.Fprintf(b, "    %s (%s)\n      [%s%s]", p.Message, Age(time.Duration(p.Elapsed)*time.Second), strings.Repeat("=", done), strings.Repeat(".", barWidth-done))
		if p.Remaining >= 0 {
			fmt.Fprintf(b, " (remaining: %s)", Age(time.Duration(p.Remaining)*time.Second))
		}
		b.WriteByte('\n')
	}
}

// shownFlags names flags as Ceph does.
func shownFlags(flags []string) string {
	return strings.ReplaceAll(strings.Join(flags, ","), "pause", "pauserd,pausewr")
}

func data(b *strings.Builder, m *api.PGSummary) {
	fmt.Fprintf(b, "    pools:   %d pools, %d pgs\n", m.Pools, m.PGs)
	fmt.Fprintf(b, "    objects: %s objects, %s\n", Count(m.Objects), Bytes(m.Bytes))
	fmt.Fprintf(b, "    usage:   %s used, %s / %s avail\n", Bytes(m.Used), Bytes(m.Avail), Bytes(m.Total))
	lines := []string{}
	if m.UnknownRatio > 0 {
		lines = append(lines, fmt.Sprintf("%.3f%% pgs unknown", 100*m.UnknownRatio))
	}
	if m.InactiveRatio > 0 {
		lines = append(lines, fmt.Sprintf("%.3f%% pgs not active", 100*m.InactiveRatio))
	}
	lines = append(lines, losses(m)...)
	width := 0
	for _, c := range m.ByState {
		width = max(width, len(fmt.Sprint(c.Count)))
	}
	for _, c := range m.ByState {
		lines = append(lines, fmt.Sprintf("%-*d %s", width, c.Count, c.State))
	}
	label := "pgs:"
	for _, l := range lines {
		fmt.Fprintf(b, "    %-8s %s\n", label, l)
		label = ""
	}
	if len(lines) == 0 {
		b.WriteString("    pgs:     \n")
	}
}

// losses says how many objects are not as they should be.
func losses(m *api.PGSummary) []string {
	var out []string
	if m.Degraded > 0 {
		out = append(out, fmt.Sprintf("%d/%d objects degraded (%.3f%%)", m.Degraded, m.Copies, 100*m.DegradedRatio))
	}
	if m.Misplaced > 0 {
		out = append(out, fmt.Sprintf("%d/%d objects misplaced (%.3f%%)", m.Misplaced, m.Copies, 100*m.MisplacedRatio))
	}
	if m.Unfound > 0 {
		out = append(out, fmt.Sprintf("%d/%d objects unfound (%.3f%%)", m.Unfound, m.Objects, 100*m.UnfoundRatio))
	}
	return out
}

// volumes is the bytes part of traffic: a direction without operations is left out.
func volumes(m *api.PGSummary) string {
	s := ""
	if m.ReadOps > 0 || m.ReadBytes >= 1 {
		s += Bytes(int64(m.ReadBytes)) + "/s rd, "
	}
	if m.WriteOps > 0 || m.WriteBytes >= 1 {
		s += Bytes(int64(m.WriteBytes)) + "/s wr, "
	}
	return s
}

func traffic(b *strings.Builder, m *api.PGSummary) {
	client := volumes(m)
	recovery := m.RecoveringBytes >= 1 || m.RecoveringObjects >= 1
	if client == "" && !recovery {
		return
	}
	b.WriteString("  io:\n")
	if client != "" {
		fmt.Fprintf(b, "    client:   %s%s op/s rd, %s op/s wr\n", client, Count(int64(m.ReadOps)), Count(int64(m.WriteOps)))
	}
	if recovery {
		fmt.Fprintf(b, "    recovery: %s/s, %s objects/s\n", Bytes(int64(m.RecoveringBytes)), Count(int64(m.RecoveringObjects)))
	}
	b.WriteString(" \n")
}

// Health prints the health in one line, or with detail what it is about.
func Health(w io.Writer, h api.Health, detail bool) error {
	var b strings.Builder
	b.WriteString(string(h.Status))
	codes := h.Codes()
	for i, code := range codes {
		sep := "; "
		if i == 0 {
			sep = " "
		}
		b.WriteString(sep + h.Checks[code].Summary.Message)
	}
	b.WriteByte('\n')
	for _, code := range codes {
		if !detail {
			break
		}
		c := h.Checks[code]
		fmt.Fprintf(&b, "[%s] %s: %s\n", c.Severity.Short(), code, c.Summary.Message)
		for _, d := range c.Detail {
			fmt.Fprintf(&b, "    %s\n", d.Message)
		}
	}
	if detail && len(h.Progress) > 0 {
		b.WriteString("progress:\n")
		progress(&b, h.Progress)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// MonStat prints monitors and quorum in one line.
func MonStat(w io.Writer, s api.MonStat) error {
	var mons, ranks, names []string
	leader := -1
	for _, m := range s.Mons {
		mons = append(mons, m.Name+"="+m.Addr)
		if m.Name == s.Leader {
			leader = m.Rank
		}
	}
	for _, m := range s.Quorum {
		ranks, names = append(ranks, fmt.Sprint(m.Rank)), append(names, m.Name)
	}
	quorum := fmt.Sprintf("leader %d %s, quorum %s %s", leader, s.Leader, strings.Join(ranks, ","), strings.Join(names, ","))
	if s.Leader == "" {
		quorum = "no leader, no quorum (answered by " + s.Answered + ")"
	}
	_, err := fmt.Fprintf(w, "e%d: %d mons at {%s} removed_ranks: {}, election epoch %d, %s\n",
		s.Epoch, s.NumMons, strings.Join(mons, ","), s.ElectionEpoch, quorum)
	return err
}

// DF prints the space of the cluster and of its pools.
func DF(w io.Writer, df api.DF, classes []string) error {
	if _, err := io.WriteString(w, "--- RAW STORAGE ---\n"); err != nil {
		return err
	}
	raw := newTable(column{"CLASS", left, left}, column{"SIZE", right, right}, column{"AVAIL", right, right},
		column{"USED", right, right}, column{"RAW USED", right, right}, column{"%RAW USED", right, right})
	row := func(name string, s api.DFStats) {
		raw.add(name, Bytes(s.Total), Bytes(s.Avail), Bytes(s.Used), Bytes(s.UsedRaw), percent(s.UsedRatio))
	}
	for _, c := range classes {
		row(c, df.ByClass[c])
	}
	row("TOTAL", df.Stats)
	if err := raw.write(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, " \n--- POOLS ---\n"); err != nil {
		return err
	}
	pools := newTable(column{"POOL", left, left}, column{"ID", right, right}, column{"PGS", right, right}, column{"STORED", right, right},
		column{"OBJECTS", right, right}, column{"USED", right, right}, column{"%USED", right, right}, column{"MAX AVAIL", right, right})
	for _, p := range df.Pools {
		pools.add(p.Name, fmt.Sprint(p.ID), fmt.Sprint(p.PGs), Bytes(p.Stats.Stored), Count(p.Stats.Objects), Bytes(p.Stats.Used),
			percent(p.Stats.Percent), Bytes(p.Stats.MaxAvail))
	}
	return pools.write(w)
}
