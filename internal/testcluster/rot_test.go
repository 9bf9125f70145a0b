package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/placement"
)

// journal keeps what daemons log.
type journal struct {
	mu  sync.Mutex // guards below
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

// has reports whether a line has all the words.
func (j *journal) has(words ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for _, line := range strings.Split(j.buf.String(), "\n") {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		return true
	}
	return false
}

// decaying is a cluster of three OSDs whose disks a test damages.
type decaying struct {
	*testcluster.Cluster
	t    *testing.T
	ctx  context.Context
	dir  string
	log  *journal
	pool *client.Pool
	api  *api.Client
}

func newDecaying(t *testing.T, tune func(*osd.Options)) *decaying {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	d := &decaying{t: t, ctx: ctx, dir: t.TempDir(), log: &journal{}}
	d.Cluster = start(t, ctx, testcluster.Options{Dir: d.dir, Log: slog.New(slog.NewTextHandler(d.log, nil)), TuneOSD: tune})
	clean(t, ctx, d.Cluster, "after the start")
	_, d.pool = open(t, ctx, d.Cluster, "s3")
	var err error
	if d.api, err = api.NewClient(api.ClientOptions{Addrs: d.AdminAddrs()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.api.Close)
	return d
}

// put writes an object of random bytes and returns them.
func (d *decaying) put(name string) []byte {
	d.t.Helper()
	data := make([]byte, 300<<10)
	rng := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", name))))
	_, _ = rng.Read(data)
	if _, err := d.pool.Do(d.ctx, name, new(client.Op).WriteFull(data).SetAttr("k", []byte(name))); err != nil {
		d.t.Fatal(err)
	}
	return data
}

func (d *decaying) wantRead(name string, want []byte) {
	d.t.Helper()
	r, err := d.pool.Do(d.ctx, name, new(client.Op).Read(0, 0))
	if err != nil {
		d.t.Fatalf("read %s: %v", name, err)
	}
	if !bytes.Equal(r.Items[0].Data, want) {
		d.t.Fatalf("read %s: %d bytes that are not those that were written", name, len(r.Items[0].Data))
	}
}

// where returns an object's PG and its members, the primary first.
func (d *decaying) where(name string) (placement.PGID, []placement.OSDID) {
	m := d.Mon(0).Map()
	id := placement.PGOf(m.PoolByName("s3"), name)
	rec := m.PG(id)
	members := []placement.OSDID{rec.Primary}
	for _, o := range rec.InSync {
		if o != rec.Primary {
			members = append(members, o)
		}
	}
	return id, members
}

// flip changes one byte of an object on an OSD's disk. The object is found by its bytes.
func (d *decaying) flip(osd placement.OSDID, data []byte) {
	d.t.Helper()
	const at = 128 << 10
	f, err := os.OpenFile(filepath.Join(d.dir, fmt.Sprintf("osd%d", osd), "data"), os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for off := int64(0); ; off += int64(len(block)) {
		if _, err := f.ReadAt(block, off); err != nil {
			d.t.Fatalf("the object's bytes are not on the disk of %s: %v", osd, err)
		}
		if bytes.Equal(block[:64], data[at:at+64]) {
			if _, err := f.WriteAt([]byte{block[100] ^ 1}, off+100); err != nil {
				d.t.Fatal(err)
			}
			return
		}
	}
}

// until waits for something that the cluster brings about.
func (d *decaying) until(what string, ok func() bool) {
	d.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			d.t.Fatalf("not in time: %s", what)
		}
	}
}

// metric sums a metric over all OSDs.
func (d *decaying) metric(name string) (sum float64) {
	d.t.Helper()
	resp, err := http.Get("http://" + d.AdminAddrs()[0] + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{[^}]*\} (\S+)$`).FindAllSubmatch(b, -1) {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			d.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// deepScrub scrubs a PG and waits for the end.
func (d *decaying) deepScrub(id placement.PGID) {
	d.t.Helper()
	stamp := func() int64 {
		pgs, err := d.api.PGs(d.ctx, api.PGFilter{Pool: "s3"})
		if err != nil {
			d.t.Fatal(err)
		}
		for _, pg := range pgs {
			if pg.PGID == id.String() {
				return pg.LastDeepScrub
			}
		}
		return 0
	}
	if _, err := d.api.PGScrub(d.ctx, id.String(), api.DeepScrub); err != nil {
		d.t.Fatal(err)
	}
	d.until("the deep scrub ends", func() bool { return stamp() > 0 })
}

// A byte flips on the primary's disk: the next read is right, and the copy is good again.
func TestFlippedByteIsReadAround(t *testing.T) {
	d := newDecaying(t, nil)
	data := d.put("precious")
	id, members := d.where("precious")
	d.flip(members[0], data)
	d.wantRead("precious", data)
	copyOf := "copy=" + members[0].String()
	if !d.log.has("a copy cannot be read", `object=precious`, copyOf, "checksum") || !d.log.has("a copy was repaired", `object=precious`, copyOf) {
		t.Error("the log does not tell of the damage and its repair")
	}
	d.until("the metrics tell", func() bool {
		return d.metric("cairn_osd_repairs_total") == 1 && d.metric("cairn_osd_read_errors_total") == 1
	})
	d.deepScrub(id)
	if d.log.has("a scrub found a damaged copy") {
		t.Error("a scrub still finds something wrong")
	}
	d.wantRead("precious", data)
}

// Bytes flip on the disk of a member, which nobody reads: a deep scrub finds and repairs it.
func TestFlippedByteIsScrubbed(t *testing.T) {
	d := newDecaying(t, nil)
	data := d.put("precious")
	id, members := d.where("precious")
	for _, m := range members[1:] {
		d.flip(m, data)
	}
	d.wantRead("precious", data)
	d.deepScrub(id)
	for _, m := range members[1:] {
		for _, what := range []string{"a scrub found a damaged copy", "a copy was repaired"} {
			if !d.log.has(what, "object=precious", "copy="+m.String()) {
				t.Errorf("the log does not say %q of %s", what, m)
			}
		}
	}
	if l, err := d.api.PGInconsistent(d.ctx, id.String()); err != nil || len(l.Objects) != 0 {
		t.Errorf("inconsistent objects: %+v, %v", l, err)
	}
	d.until("the metrics tell", func() bool {
		return d.metric("cairn_osd_scrub_errors_total") == 2 && d.metric("cairn_osd_repairs_total") == 2
	})
	if err := d.KillOSD(int(members[0])); err != nil {
		t.Fatal(err)
	}
	d.wantRead("precious", data) // from one of the others
}

// Nobody has a good copy left: the client, the health and the list name the object.
func TestFlippedByteEverywhere(t *testing.T) {
	d := newDecaying(t, nil)
	data := d.put("precious")
	id, members := d.where("precious")
	for _, m := range members {
		d.flip(m, data)
	}
	if _, err := d.pool.Do(d.ctx, "precious", new(client.Op).Read(0, 0)); err == nil || !strings.Contains(err.Error(), "no good copy") || !strings.Contains(err.Error(), "precious") {
		t.Fatalf("read: %v, want an error that names the object", err)
	}
	l, err := d.api.PGInconsistent(d.ctx, id.String())
	if err != nil || len(l.Objects) != 1 || l.Objects[0].Object.Name != "precious" || !l.Objects[0].Unfound {
		t.Fatalf("inconsistent objects: %+v, %v", l, err)
	}
	d.until("the health tells", func() bool {
		h, err := d.api.Health(d.ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, damaged := h.Checks["PG_DAMAGED"]
		_, unfound := h.Checks["OBJECT_UNFOUND"]
		return damaged && unfound && h.Status == api.HealthErr
	})
	fresh := d.put("precious")
	d.wantRead("precious", fresh)
	d.deepScrub(id)
	d.until("the health is good again", func() bool {
		h, err := d.api.Health(d.ctx)
		return err == nil && h.Status == api.HealthOK
	})
}

// Scrubs come by themselves when it is time.
func TestScrubsComeByThemselves(t *testing.T) {
	d := newDecaying(t, func(o *osd.Options) { o.ScrubEvery = 50 * time.Millisecond })
	d.put("a")
	for _, key := range []string{"scrub_interval", "deep_scrub_interval"} {
		if err := d.Mon(0).ConfigSet(d.ctx, key, "1s"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Mon(0).ConfigSet(d.ctx, "scrub_max_pgs", "8"); err != nil {
		t.Fatal(err)
	}
	d.until("every PG is scrubbed", func() bool {
		pgs, err := d.api.PGs(d.ctx, api.PGFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, pg := range pgs {
			if pg.LastScrub == 0 || pg.LastDeepScrub == 0 {
				return false
			}
		}
		return len(pgs) > 0
	})
	if d.log.has("a scrub found a damaged copy") {
		t.Error("a scrub found something wrong with healthy copies")
	}
}

// An administrator has everything scrubbed that an OSD leads; one PG follows the other.
func TestScrubOfAnOSD(t *testing.T) {
	d := newDecaying(t, func(o *osd.Options) { o.ScrubEvery = time.Hour })
	d.put("a")
	started, err := d.api.OSDScrub(d.ctx, 1, api.DeepScrub)
	if err != nil || started.PGs < 2 {
		t.Fatalf("%+v, %v", started, err)
	}
	d.until("the PGs of osd.1 are scrubbed", func() bool {
		pgs, err := d.api.PGs(d.ctx, api.PGFilter{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, pg := range pgs {
			if pg.ActingPrimary == 1 && pg.LastDeepScrub > 0 {
				n++
			}
		}
		return n == started.PGs
	})
}
