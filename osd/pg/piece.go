package pg

import (
	"errors"

	"github.com/cairnstore/cairn/osd/store"
)

// PieceSize bounds a piece of an object, in bytes and in pairs of the omap.
type PieceSize struct {
	Bytes uint64
	Pairs int
}

// ReadPiece answers a Read effect with a part of the object's whole state: attributes
// and bytes first, then omap pairs; or with the parts that were asked for. The object does not
// change meanwhile; the PG sees to that.
func ReadPiece(st store.Reader, k store.Key, r Read, size PieceSize) (Piece, error) {
	at := r.At
	info, err := st.Stat(k)
	if errors.Is(err, store.ErrNotFound) {
		return Piece{Missing: true, Last: true}, nil
	}
	if err != nil {
		return Piece{}, err
	}
	if r.Parts != nil {
		return readParts(st, k, info, r.Parts)
	}
	p := Piece{Info: info, Off: at.Off}
	if at.Omap {
		return readPairs(st, k, p, at.OmapAfter, size.Pairs)
	}
	if at.Off == 0 {
		all, err := st.Attrs(k)
		if err != nil {
			return p, err
		}
		n := 0
		for i := min(at.Attrs, len(all)); i < len(all); i++ {
			if n += len(all[i].Key) + len(all[i].Value); uint64(n) > size.Bytes && len(p.Attrs) > 0 {
				p.Next = Cursor{Attrs: i}
				return p, nil
			}
			p.Attrs = append(p.Attrs, all[i])
		}
	}
	if at.Off < info.Size {
		// All that a piece may have, though the object may be shorter: stores answer small reads
		// from memory, and a scrub is to see the disk.
		if p.Data, err = st.Read(k, at.Off, size.Bytes); err != nil {
			return p, err
		}
	}
	end := at.Off + uint64(len(p.Data))
	switch {
	case end < info.Size:
		p.Next = Cursor{Off: end}
	case info.OmapKeys > 0:
		p.Next = Cursor{Off: end, Omap: true}
	default:
		p.Last = true
	}
	return p, nil
}

func readPairs(st store.Reader, k store.Key, p Piece, after []byte, limit int) (Piece, error) {
	start := after
	if after != nil {
		start = append(append([]byte(nil), after...), 0)
	}
	kvs, more, err := st.OmapList(k, start, nil, limit)
	if err != nil {
		return p, err
	}
	p.Omap, p.Last = kvs, !more || len(kvs) == 0
	if !p.Last {
		p.Next = Cursor{Off: p.Off, Omap: true, OmapAfter: kvs[len(kvs)-1].Key}
	}
	return p, nil
}
