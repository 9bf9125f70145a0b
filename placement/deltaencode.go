package placement

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/placement/crush"
)

// EncodeDelta returns the encoding of d: the same bytes for equal deltas.
func EncodeDelta(d *Delta) []byte {
	e := codec.NewEncoder(make([]byte, 0, 512))
	mark := e.Begin(deltaFormat.Magic, deltaFormat.MaxVersion)
	e.Uvarint(uint64(d.From))
	e.Uvarint(uint64(d.To))
	e.U32(d.Sum)
	encodeHeader(e, &header{d.Cluster, d.Created, d.Modified, d.Flags, d.NextPool, d.NextOSD})
	encodeList(e, d.Mons, encodeMon)
	encodeList(e, d.MonsGone, func(e *codec.Encoder, s *string) { e.String(*s) })
	encodeList(e, d.OSDs, encodeOSD)
	encodeList(e, d.OSDsGone, func(e *codec.Encoder, id *OSDID) { e.Varint(int64(*id)) })
	e.Bool(d.CrushChanged)
	if d.CrushChanged {
		var blob []byte
		if d.Crush != nil {
			blob = crush.Encode(d.Crush)
		}
		e.Blob(blob)
	}
	encodeList(e, d.Pools, encodePool)
	encodeList(e, d.PoolsGone, func(e *codec.Encoder, id *PoolID) { e.Uvarint(uint64(*id)) })
	encodeList(e, d.PGs, func(e *codec.Encoder, p *PGsDelta) {
		e.Uvarint(uint64(p.Pool))
		e.Uvarint(uint64(p.Count))
		encodeList(e, p.Changed, func(e *codec.Encoder, s *ShardRecord) {
			e.Uvarint(uint64(s.Shard))
			encodeRecord(e, &s.Record)
		})
	})
	encodeList(e, d.Services, encodeService)
	encodeList(e, d.ServicesGone, func(e *codec.Encoder, s *ServiceID) {
		e.String(s.Kind)
		e.String(s.Name)
	})
	encodeList(e, d.Config, encodeSetting)
	encodeList(e, d.ConfigGone, func(e *codec.Encoder, s *string) { e.String(*s) })
	e.End(mark)
	return e.Bytes()
}

// DecodeDelta reads what EncodeDelta wrote. Errors match ErrCorrupt, or are a
// *VersionError. Whether the delta fits a map is for Apply: one of an earlier
// version carries the checksum of an encoding that this program does not make any
// more, so Apply sends its caller for the whole map.
func DecodeDelta(b []byte) (*Delta, error) {
	if len(b) > MaxMapBytes {
		return nil, fmt.Errorf("cluster map delta: %w: %d bytes, at most %d allowed", ErrCorrupt, len(b), MaxMapBytes)
	}
	env, err := codec.Open(b, deltaFormat)
	if err != nil {
		return nil, err
	}
	if len(env.Rest) > 0 {
		return nil, fmt.Errorf("cluster map delta: %w: %d bytes after its end", ErrCorrupt, len(env.Rest))
	}
	d := newMapDecoder(env.Body, env.Version)
	out := &Delta{From: Epoch(d.Uvarint()), To: Epoch(d.Uvarint()), Sum: d.U32()}
	h := d.header()
	out.Cluster, out.Created, out.Modified, out.Flags, out.NextPool, out.NextOSD = h.cluster, h.created, h.modified, h.flags, h.nextPool, h.nextOSD
	out.Mons = decodeList(d, MaxMons, monBytes, (*mapDecoder).mon)
	out.MonsGone = decodeList(d, MaxMons, 1, func(d *mapDecoder) string { return d.String(MaxNameBytes) })
	out.OSDs = decodeList(d, MaxOSDs, osdBytes, (*mapDecoder).osd)
	out.OSDsGone = decodeList(d, MaxOSDs, 1, func(d *mapDecoder) OSDID { return OSDID(d.Varint32()) })
	if out.CrushChanged = d.Bool(); out.CrushChanged {
		out.Crush = d.crush()
	}
	out.Pools = decodeList(d, MaxPools, poolBytes, (*mapDecoder).pool)
	out.PoolsGone = decodeList(d, MaxPools, 1, func(d *mapDecoder) PoolID { return PoolID(d.Uvarint32()) })
	out.PGs = decodeList(d, MaxPools, 3, func(d *mapDecoder) PGsDelta {
		return PGsDelta{
			Pool: PoolID(d.Uvarint32()), Count: d.Uvarint32(),
			Changed: decodeList(d, MaxPGs, 1+recordBytes, func(d *mapDecoder) ShardRecord {
				return ShardRecord{Shard: d.Uvarint32(), Record: d.record()}
			}),
		}
	})
	out.Services = decodeList(d, MaxServices, serviceBytes, (*mapDecoder).service)
	out.ServicesGone = decodeList(d, MaxServices, 2, func(d *mapDecoder) ServiceID {
		return ServiceID{Kind: d.String(MaxNameBytes), Name: d.String(MaxNameBytes)}
	})
	if d.version >= 2 {
		out.Config = decodeList(d, MaxSettings, settingBytes, (*mapDecoder).setting)
		out.ConfigGone = decodeList(d, MaxSettings, 1, func(d *mapDecoder) string { return d.String(MaxNameBytes) })
	}
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("cluster map delta: %w", err)
	}
	return out, nil
}
