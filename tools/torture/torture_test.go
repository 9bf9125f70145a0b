package torture

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/tools/torture/lab"
)

var (
	seedFlag    = flag.Uint64("torture.seed", 0, "seed of the plan of kills; default random")
	killsFlag   = flag.Int("torture.kills", 0, "how many processes the kill test kills at least; default 60")
	minutesFlag = flag.Float64("torture.minutes", 0, "how long TestTorture deals blows; default 20 s")
	binaryFlag  = flag.String("torture.cairn", "", "cairn program to test; default: it is built")
	dirFlag     = flag.String("torture.dir", "", "directory that keeps data and logs of the clusters; default: temporary, removed")
)

// program is the cairn program under test.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Setenv(slab.PoisonVariable, "1") // of the daemons, which inherit it
	os.Exit(func() int {
		program = *binaryFlag
		if program == "" {
			dir, err := os.MkdirTemp("", "cairn-torture-")
			if err == nil {
				defer os.RemoveAll(dir)
				program, err = Build(context.Background(), dir)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return m.Run()
	}())
}

// deadline is for a whole test. It decides nothing but when one that hangs ends.
func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// testDir returns a directory for a test's cluster.
func testDir(t *testing.T) string {
	if *dirFlag == "" {
		return t.TempDir()
	}
	dir, err := filepath.Abs(filepath.Join(*dirFlag, t.Name()))
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// startCluster starts a cluster for a test, which then may not end in a panic of any
// process. The logs are shown when the test fails.
func startCluster(ctx context.Context, t *testing.T, o Options) *Cluster {
	t.Helper()
	o.Binary, o.Dir = program, testDir(t)
	c, err := Start(ctx, o)
	if errors.Is(err, lab.ErrUnsupported) && os.Geteuid() != 0 {
		t.Logf("everything runs on loopback, without faults of networks and disks: %v", err)
		o.Hosts, o.DiskBytes = false, 0
		c, err = Start(ctx, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Check(); err != nil {
			t.Error(err)
		}
		tails := c.Tails(30)
		if err := c.Close(); err != nil {
			t.Errorf("close the cluster: %v", err)
		}
		if t.Failed() {
			t.Logf("logs:\n%s", tails)
		}
	})
	return c
}

// inShort reports whether only the quick tests are wanted, and says what is left out.
func inShort(t *testing.T) bool {
	if testing.Short() {
		t.Log("left out by -short, for time")
	}
	return testing.Short()
}

func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(rand.Uint32())
}

// TestKill is the main test of the promise that what was acknowledged is never
// lost: clients work on a cluster of 3 monitors and 4 OSDs while its processes
// are killed, in all phases of recovery: every kind of blow at least once, and more
// with -torture.kills.
func TestKill(t *testing.T) {
	plan := Plan{Seed: seed(), Kills: 60, Logf: t.Logf}
	if testing.Short() {
		plan.Kills = 1 // every kind of blow once would take too long
		plan.Load = Load{Writers: 2, Readers: 1, Appenders: 1, Counters: 2, Sharers: 2}
	}
	if *killsFlag != 0 {
		plan.Kills = *killsFlag
	}
	t.Logf("seed %d; replay with: go test ./tools/torture -run 'TestKill$' -v -torture.seed=%d -torture.kills=%d", plan.Seed, plan.Seed, plan.Kills)
	ctx := deadline(t, time.Hour)
	o := Options{Mons: 3, OSDs: 4}
	if testing.Short() {
		o = Options{Mons: 1, OSDs: 3}
	}
	c := startCluster(ctx, t, o)
	began := time.Now()
	stats, err := Run(ctx, c, plan)
	t.Logf("in %s:\n%s", time.Since(began).Round(time.Second), stats)
	if err != nil {
		t.Fatalf("seed %d: %v", plan.Seed, err)
	}
}

// TestTorture deals everything that kills, networks and disks allow, to a cluster
// whose daemons have hosts and disks of their own. Where there can be none (without
// root), what needs none. A longer run is make torture MINUTES=60.
func TestTorture(t *testing.T) {
	plan := Plan{Seed: seed(), Kills: 1, Duration: 20 * time.Second, Chunks: true, Logf: t.Logf}
	plan.Load.Objects = 40
	o := Options{Mons: 3, OSDs: 5, Hosts: true, DiskBytes: DiskBytes, Config: slices.Concat(Scrubs(), ChunkCare())}
	if testing.Short() {
		plan.Duration = time.Second
		plan.Load = Load{Writers: 2, Readers: 1, Appenders: 1, Counters: 2, Sharers: 2}
		plan.Chunks, o.OSDs = false, 3
	}
	if *minutesFlag != 0 {
		plan.Duration = time.Duration(*minutesFlag * float64(time.Minute))
	}
	t.Logf("seed %d; replay with: go test ./tools/torture -run 'TestTorture$' -v -torture.seed=%d -torture.minutes=%g", plan.Seed, plan.Seed, plan.Duration.Minutes())
	ctx := deadline(t, time.Hour+plan.Duration)
	c := startCluster(ctx, t, o)
	began := time.Now()
	stats, err := Run(ctx, c, plan)
	t.Logf("in %s:\n%s", time.Since(began).Round(time.Second), stats)
	if err != nil {
		t.Fatalf("seed %d: %v", plan.Seed, err)
	}
}
