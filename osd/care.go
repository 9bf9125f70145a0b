package osd

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Care looks after the chunks of the PGs that an OSD leads (package chunkcare). It is a client of the cluster, which
// this package knows nothing of; so whoever runs both tells them of each other.
type Care interface {
	// Report returns what it found, by pool, and what it has done.
	Report() ([]*wirepb.ChunkStat, *wirepb.ChunkWork)
	// Ask answers a ChunkCare message, with something that is encoded as JSON. It may take long.
	Ask(ctx context.Context, r *wirepb.ChunkCare) (any, error)
}

// SetCare says who looks after the chunks of the OSD's PGs; nil: nobody any more.
func (d *OSD) SetCare(c Care) {
	if c == nil {
		d.care.Store(nil)
		return
	}
	d.care.Store(&c)
}

// chunkStats is what the care for chunks found and did; nil if there is none.
func (d *OSD) chunkStats() ([]*wirepb.ChunkStat, *wirepb.ChunkWork) {
	if c := d.care.Load(); c != nil {
		return (*c).Report()
	}
	return nil, nil
}

// sameChunks compares what matters enough to be told within a second.
func sameChunks(a, b *wirepb.ChunkStat) bool {
	return a.Pool == b.Pool && a.Pgs == b.Pgs && a.Looked == b.Looked && a.Epoch == b.Epoch && a.Chunks == b.Chunks && a.Lacking == b.Lacking &&
		a.Misplaced == b.Misplaced && a.Missing == b.Missing && a.Damaged == b.Damaged && a.Dangling == b.Dangling
}

// LedPG is a PG that the OSD leads and serves.
type LedPG struct {
	ID    placement.PGID
	Clean bool // active, with all its copies in sync
}

// Led returns the PGs that the OSD leads and serves, in order.
func (d *OSD) Led() []LedPG {
	d.mu.Lock()
	m := d.cur
	d.mu.Unlock()
	var led []LedPG
	for _, p := range d.scrubs.collect() {
		pool, rec := m.Pool(p.id.Pool), m.PG(p.id)
		if pool == nil || rec == nil || rec.Primary != d.id {
			continue
		}
		clean := (p.st.Ready || p.st.Running) && len(rec.InSync) >= int(pool.Size)
		for _, id := range rec.InSync {
			clean = clean && m.IsUp(id)
		}
		led = append(led, LedPG{p.id, clean})
	}
	slices.SortFunc(led, func(a, b LedPG) int {
		return cmp.Or(cmp.Compare(a.ID.Pool, b.ID.Pool), cmp.Compare(a.ID.Shard, b.ID.Shard))
	})
	return led
}

// onChunkCare has the care for chunks do or say something.
func (d *OSD) onChunkCare(c *wire.Conn, m *wire.Message, r *wirepb.ChunkCare) {
	care := d.care.Load()
	if care == nil {
		c.ReplyError(m, wirepb.Code_TRY_LATER, "%s is not ready to care for chunks yet", d.id)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.wg.Add(1)
	go func() { // until it is done or Close ends ctx
		defer d.wg.Done()
		v, err := (*care).Ask(d.ctx, r)
		if err != nil {
			var we *wire.Error
			if !errors.As(err, &we) {
				we = &wire.Error{Code: wirepb.Code_INTERNAL, Text: err.Error()}
			}
			c.ReplyError(m, we.Code, "%s", we.Text)
			return
		}
		reply(c, m, v)
	}()
}
