package osd

import (
	"errors"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
)

// Sizes of the pieces in which an object is copied to another OSD.
const (
	pieceBytes = 2 << 20
	piecePairs = 1000
)

// readPiece reads a part of an object's whole state: attributes and bytes first,
// then omap pairs. The object does not change meanwhile; the PG sees to that.
func readPiece(st store.Reader, k store.Key, at pg.Cursor) (pg.Piece, error) {
	info, err := st.Stat(k)
	if errors.Is(err, store.ErrNotFound) {
		return pg.Piece{Missing: true, Last: true}, nil
	}
	if err != nil {
		return pg.Piece{}, err
	}
	p := pg.Piece{Info: info, Off: at.Off}
	if at.Omap {
		return readPairs(st, k, p, at.OmapAfter)
	}
	if at.Off == 0 {
		all, err := st.Attrs(k)
		if err != nil {
			return p, err
		}
		n := 0
		for i := min(at.Attrs, len(all)); i < len(all); i++ {
			if n += len(all[i].Key) + len(all[i].Value); n > pieceBytes && len(p.Attrs) > 0 {
				p.Next = pg.Cursor{Attrs: i}
				return p, nil
			}
			p.Attrs = append(p.Attrs, all[i])
		}
	}
	if at.Off < info.Size {
		if p.Data, err = st.Read(k, at.Off, min(pieceBytes, info.Size-at.Off)); err != nil {
			return p, err
		}
	}
	end := at.Off + uint64(len(p.Data))
	switch {
	case end < info.Size:
		p.Next = pg.Cursor{Off: end}
	case info.OmapKeys > 0:
		p.Next = pg.Cursor{Off: end, Omap: true}
	default:
		p.Last = true
	}
	return p, nil
}

func readPairs(st store.Reader, k store.Key, p pg.Piece, after []byte) (pg.Piece, error) {
	start := after
	if after != nil {
		start = append(append([]byte(nil), after...), 0)
	}
	kvs, more, err := st.OmapList(k, start, nil, piecePairs)
	if err != nil {
		return p, err
	}
	p.Omap, p.Last = kvs, !more || len(kvs) == 0
	if !p.Last {
		p.Next = pg.Cursor{Off: p.Off, Omap: true, OmapAfter: kvs[len(kvs)-1].Key}
	}
	return p, nil
}
