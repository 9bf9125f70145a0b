package torture

import (
	"testing"
	"time"
)

// hosted starts a cluster with a host for every daemon, nil without root.
func hosted(t *testing.T, o Options) *Cluster {
	t.Helper()
	o.Hosts = true
	c := startCluster(deadline(t, 20*time.Minute), t, o)
	if c.Lab == nil {
		return nil
	}
	return c
}

// TestStaleReads: a client that stays with a primary, when that is parted from its
// peers and the monitors, never reads less than what others have written meanwhile.
func TestStaleReads(t *testing.T) {
	if inShort(t) {
		return
	}
	c := hosted(t, Options{Mons: 3, OSDs: 3})
	if c == nil {
		return
	}
	all, err := StaleReads(deadline(t, 20*time.Minute), c, 1, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	served := 0
	for _, r := range all {
		served += r.Before
	}
	if served == 0 {
		t.Error("the old primaries answered no read after they were parted: nothing was tried")
	}
}

// TestFailovers measures once some of what the failover command measures several times.
func TestFailovers(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 20*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 3, OSDs: 3, Hosts: true})
	if err := Failovers(ctx, logWriter{t}, c, 1, false); err != nil {
		t.Error(err)
	}
}

// logWriter writes lines to a test's log.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}
