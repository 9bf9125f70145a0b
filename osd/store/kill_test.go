package store_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest"
	"github.com/cairnstore/cairn/placement"
)

var kills = flag.Int("store.kills", 0, "how many processes TestDiskKill kills; 0: a few")

const killDirEnv = "CAIRN_STORE_KILL_TEST_DIR"

// TestMain lets the test binary be the victim of TestDiskKill.
func TestMain(m *testing.M) {
	slab.Poison()
	if dir := os.Getenv(killDirEnv); dir != "" {
		if err := victim(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func slotKey(slot int) store.Key {
	return store.Key{PG: placement.PGID{Pool: 1, Shard: uint32(slot)}, Name: fmt.Sprint("slot", slot)}
}

const killSlots = 4

// slotBatch writes generation n of a slot: data, an omap key and the version agree.
// Sizes go through the journal, through the data file, and both.
func slotBatch(slot int, n uint64) *store.Batch {
	k := slotKey(slot)
	b := &store.Batch{Ops: []store.Op{
		{Kind: store.OpWrite, Key: k, Data: slotData(slot, n)},
		{Kind: store.OpOmapSet, Key: k, Name: []byte("n"), Value: binary.BigEndian.AppendUint64(nil, n)},
		{Kind: store.OpSetVersion, Key: k, Version: store.Version{Seq: n}},
	}}
	if n%5 == 0 {
		b.Ops = append([]store.Op{{Kind: store.OpRemove, Key: k}}, b.Ops...)
	}
	return b
}

func slotData(slot int, n uint64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), []int{4, 512, 3000, 20000}[slot])
}

// victim writes until it is killed, and says "slot n" for what was acknowledged.
func victim(dir string, out io.Writer) error {
	o := store.Options{DirtyBytes: 1 << 20, Log: quietLog()}
	if os.Getpid()%2 == 0 {
		o = store.WithDiscard(o, 16) // some lives make holes, and others fill them
	}
	d, err := store.Open(dir, o)
	if err != nil {
		return err
	}
	var next [killSlots]uint64
	for slot := range next {
		info, err := d.Stat(slotKey(slot))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		next[slot] = info.Version.Seq + 1
	}
	fmt.Fprintln(out, "ready")
	room := make(chan struct{}, 16)
	for i := 0; ; i++ {
		slot := i % killSlots
		n := next[slot]
		next[slot]++
		room <- struct{}{}
		d.Submit(slotBatch(slot, n), func(err error) {
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Fprintln(out, slot, n)
			<-room
		})
	}
}

// TestDiskKill kills a real process that writes, with SIGKILL, after a random
// number of acknowledgements, again and again on the same directory.
func TestDiskKill(t *testing.T) {
	rng := rand.New(rand.NewPCG(storetest.Seed(t), 1))
	dir := filepath.Join(t.TempDir(), "osd")
	if err := store.Create(dir, store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 256 << 20, Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lives := 12
	if testing.Short() {
		lives = 4
	}
	if *kills > 0 {
		lives = *kills
	}
	total := 0
	var acked [killSlots]uint64
	for life := range lives {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), killDirEnv+"="+dir)
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := rng.IntN(1500)
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			var slot int
			var n uint64
			if _, err := fmt.Sscan(lines.Text(), &slot, &n); err == nil {
				total++
				acked[slot] = max(acked[slot], n)
			}
			if i == 0 {
				if _, err := store.Open(dir, store.Options{Log: quietLog()}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
					t.Errorf("opening a store in use: %v; want an error that names process %d", err, cmd.Process.Pid)
				}
			}
			if i == after {
				if err := cmd.Process.Kill(); err != nil { // what is in the pipe was acknowledged too
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("life %d: the process was not killed: %v: %s", life, err, complaints.String())
		}
		checkSlots(t, dir, life, &acked)
	}
	t.Logf("%d processes killed with SIGKILL while they wrote; %d batches acknowledged; nothing lost, everything checks", lives, total)
}

func checkSlots(t *testing.T, dir string, life int, acked *[killSlots]uint64) {
	t.Helper()
	d, err := store.Open(dir, store.Options{Log: quietLog()})
	if err != nil {
		t.Fatalf("life %d: %v", life, err)
	}
	defer d.Close()
	report, err := d.Check(t.Context(), func(p store.Problem) { t.Errorf("life %d: %s", life, p) })
	if err != nil || report.Problems > 0 {
		t.Fatalf("life %d: check: %+v, %v", life, report, err)
	}
	for slot, low := range acked {
		k := slotKey(slot)
		info, err := d.Stat(k)
		if errors.Is(err, store.ErrNotFound) && low == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("life %d: slot %d: %v", life, slot, err)
		}
		n := info.Version.Seq
		if n < low {
			t.Fatalf("life %d: slot %d holds generation %d, %d was acknowledged", life, slot, n, low)
		}
		b, err := d.Read(k, 0, store.MaxObjectBytes)
		if err != nil || !bytes.Equal(b, slotData(slot, n)) {
			t.Fatalf("life %d: slot %d: data is not that of generation %d: %v", life, slot, n, err)
		}
		kvs, _, err := d.OmapList(k, nil, nil, 10)
		if err != nil || len(kvs) != 1 || binary.BigEndian.Uint64(kvs[0].Value) != n {
			t.Fatalf("life %d: slot %d: omap is not that of generation %d: %v, %v", life, slot, n, kvs, err)
		}
	}
}
