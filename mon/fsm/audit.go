package fsm

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Limits of the audit log.
const (
	MaxAudit      = 1000 // entries; the oldest go first
	maxAuditBytes = 300  // of each text in an entry
)

// AuditEntry is one thing that an administrator did, or was refused.
type AuditEntry struct {
	Index   placement.Epoch `json:"index"` // Raft log index
	At      int64           `json:"at"`    // unix nanoseconds
	By      string          `json:"by"`    // who, as the REST interface knows them
	Command string          `json:"command"`
	Code    wirepb.Code     `json:"code"`           // OK: it was done
	Text    string          `json:"text,omitempty"` // why it was refused
}

// Audit returns the audit log, oldest entry first.
func (s *State) Audit() []AuditEntry { return append([]AuditEntry(nil), s.audit...) }

// note keeps what an administrator did.
func (s *State) note(c Command, r Result) {
	if c.By == "" {
		return
	}
	// A new slice each time it is full: snapshots under way may still be reading the old one.
	if len(s.audit) >= MaxAudit {
		s.audit = append(make([]AuditEntry, 0, 2*MaxAudit), s.audit[len(s.audit)-MaxAudit+1:]...)
	}
	s.audit = append(s.audit, AuditEntry{
		Index: r.Index, At: c.At, By: short(c.By), Command: short(describe(c.Body)), Code: r.Code, Text: short(r.Text),
	})
}

// short cuts a text to what an entry may hold. What was refused may be anything.
func short(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= maxAuditBytes {
		return s
	}
	s = s[:maxAuditBytes]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "..."
}

// describe says what a command does in the words of the command line. Secrets are
// left out.
func describe(body Body) string {
	switch b := body.(type) {
	case *PoolCreate:
		s := fmt.Sprintf("pool create %s --size %d --min-size %d --pg-num %d --rule %q --application %q", b.Name, b.Size, b.MinSize, b.PGNum, b.Rule, b.Application)
		if b.Chunks != "" {
			s += fmt.Sprintf(" --chunks %s --dedup %q --cut %q --chunk-size %d --compression %q", b.Chunks, b.Dedup, b.Cut, b.ChunkSize, b.Compression)
		}
		return s
	case *PoolSet:
		return fmt.Sprintf("pool set %s %s %s", b.Name, b.Key, b.Value)
	case *PoolRemove:
		return "pool rm " + b.Name
	case *OSDReweight:
		return fmt.Sprintf("osd reweight %v %.5f", b.ID, float64(b.Weight)/float64(placement.WeightOne))
	case *OSDDown:
		words := []string{"osd down"}
		for _, d := range b.OSDs {
			words = append(words, d.ID.String())
		}
		return strings.Join(words, " ")
	case *FlagSet:
		verb := "unset"
		if b.On {
			verb = "set"
		}
		return "osd " + verb + " " + strings.Join(b.Flags.FlagNames(), ",")
	case *ConfigSet:
		if b.Value == "" {
			return "config rm " + b.Key
		}
		return fmt.Sprintf("config set %s %s", b.Key, b.Value)
	case *UserCreate:
		return fmt.Sprintf("user create %s (%d keys)", path(b.User.Account, b.User.Name), len(b.User.Keys))
	case *UserRemove:
		return "user rm " + path(b.Account, b.Name)
	case *MonJoin:
		return "mon add " + b.Mon.Name
	case *MonLeave:
		return "mon rm " + b.Name
	case *PGForce:
		s := fmt.Sprintf("pg force-primary %v %v", placement.PGID(b.PG), b.OSD)
		if b.AcceptLoss {
			s += " --accept-loss"
		}
		return s
	case interface{ describe() string }:
		return b.describe()
	}
	return body.kind()
}
