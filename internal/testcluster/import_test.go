package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/osd/inspect"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// export takes a PG out of the store of an OSD that does not run.
func (d *decaying) export(osd placement.OSDID, id placement.PGID) []byte {
	d.t.Helper()
	in, err := store.Inspect(d.storeOf(osd), store.InspectOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer in.Close()
	var b bytes.Buffer
	if _, err := inspect.Export(d.ctx, in, &b, inspect.ExportOptions{PG: id}); err != nil {
		d.t.Fatal(err)
	}
	return b.Bytes()
}

func (d *decaying) storeOf(osd placement.OSDID) string {
	return filepath.Join(d.dir, fmt.Sprintf("osd%d", osd))
}

// replace removes a PG from the store of an OSD that does not run, and imports another copy.
func (d *decaying) replace(osd placement.OSDID, id placement.PGID, export []byte) {
	d.t.Helper()
	s, err := store.Open(d.storeOf(osd), store.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Close()
	if was, err := inspect.Remove(s, id); err != nil || !was {
		d.t.Fatalf("remove PG %s from %s: %t, %v", id, osd, was, err)
	}
	if _, err := inspect.Import(d.ctx, s, bytes.NewReader(export), inspect.ImportOptions{}); err != nil {
		d.t.Fatal(err)
	}
}

// The OSD that leads a PG comes back with an older copy of it, imported while all were down. It must not lead, nor
// answer for what was written since; the others bring it up to date. When there are only imported copies, the PG
// waits for an administrator, who alone may make one of them the truth.
func TestImportedCopyClaimsNothing(t *testing.T) {
	d := newDecaying(t, nil)
	all := func(f func(int) error) {
		t.Helper()
		for i := range d.OSDs() {
			if err := f(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	start := func(i int) error { return d.StartOSD(d.ctx, i) }
	write := func(name, data string) {
		t.Helper()
		if _, err := d.pool.Do(d.ctx, name, new(client.Op).WriteFull([]byte(data))); err != nil {
			t.Fatal(err)
		}
	}
	write("precious", "old")
	id, members := d.where("precious")
	leader := members[0]
	if err := d.KillOSD(int(leader)); err != nil {
		t.Fatal(err)
	}
	old := d.export(leader, id)
	if err := start(int(leader)); err != nil {
		t.Fatal(err)
	}
	clean(t, d.ctx, d.Cluster, "after the export")
	write("precious", "new")

	all(d.KillOSD)
	// Whoever leads now, or would: every OSD but one has the old copy.
	_, members = d.where("precious")
	for _, m := range members[:len(members)-1] {
		d.replace(m, id, old)
	}
	all(start)
	d.wantRead("precious", []byte("new"))
	clean(t, d.ctx, d.Cluster, "after the imports of old copies")
	d.deepScrub(id)
	d.wantRead("precious", []byte("new"))
	if l, err := d.api.PGInconsistent(d.ctx, id.String()); err != nil || len(l.Objects) != 0 {
		t.Errorf("inconsistent objects: %+v, %v", l, err)
	}

	all(d.KillOSD)
	for i := range d.OSDs() {
		d.replace(placement.OSDID(i), id, old)
	}
	all(start)
	ctx, cancel := context.WithTimeout(d.ctx, 2*time.Second)
	defer cancel()
	if r, err := d.pool.Do(ctx, "precious", new(client.Op).Read(0, 0)); err == nil {
		t.Fatalf("a PG of which there are only imported copies answers %q", r.Items[0].Data)
	}
}
