package store

import "github.com/cairnstore/cairn/internal/slab"

// IntoReader is a Reader that can read into the caller's memory. Whoever reads
// much asks for it through ReadInto: a fresh slice for every 4 MiB costs more
// than reading them.
type IntoReader interface {
	// ReadInto reads up to len(p) bytes at off into p and returns how many there were; fewer at
	// the object's end. Errors are those of Read; then what p holds is undefined. It copies
	// least when p is aligned to 4 KiB, and off and len(p) are multiples of it.
	ReadInto(k Key, off uint64, p []byte) (int, error)
}

// ReadInto reads into p, without a copy where r can.
func ReadInto(r Reader, k Key, off uint64, p []byte) (int, error) {
	if ir, ok := r.(IntoReader); ok {
		return ir.ReadInto(k, off, p)
	}
	b, err := r.Read(k, off, uint64(len(p)))
	return copy(p, b), err
}

// BufReader is a Reader that can read into counted memory, together with the checksums by which it has
// verified what it read: whoever sends that on need not compute any. ReadBuf asks for it.
type BufReader interface {
	// ReadBuf reads up to n bytes at off, fewer at the object's end. The caller is the memory's user.
	// Errors are those of Read.
	ReadBuf(k Key, off, n uint64) (*slab.Buf, error)
}

// ReadBuf reads up to n bytes at off. What it returns lies in mem, whose user the caller is, unless mem is nil.
func ReadBuf(r Reader, k Key, off, n uint64) (data []byte, mem *slab.Buf, err error) {
	if br, ok := r.(BufReader); ok && n > 0 && off%blockBytes == 0 {
		if mem, err = br.ReadBuf(k, off, n); err != nil {
			return nil, nil, err
		}
		return mem.Bytes(), mem, nil
	}
	data, err = r.Read(k, off, n)
	return data, nil, err
}

// ReadBuf implements BufReader.
func (d *Disk) ReadBuf(k Key, off, n uint64) (*slab.Buf, error) { return d.readBuf(k, off, n, false) }

func (d *Disk) readBuf(k Key, off, n uint64, quick bool) (*slab.Buf, error) {
	n = min(n, MaxObjectBytes)
	b := slab.New(roundUp(int(n))) // whole blocks, to read into
	r := reading{mem: b.Bytes(), quick: quick}
	out, err := d.read(&r, k, off, n)
	if err != nil {
		b.Release()
		return nil, err
	}
	b.Shorten(len(out))
	if _, in := b.Holds(out); !in {
		copy(b.Bytes(), out) // it was inline, or did not begin where a block does
		return b, nil
	}
	if len(r.sums) > 0 {
		sums := b.SumRoom()
		copy(sums, r.sums)
		if rest := len(out) % blockBytes; rest != 0 { // the store's sum covers the block's zeros, too
			sums[len(sums)-1] = checksum(out[len(out)-rest:])
		}
		b.SetSummed()
	}
	return b, nil
}

// NewBuffer allocates n bytes of memory that ReadInto and large writes need not copy.
func NewBuffer(n int) []byte {
	if n <= 0 {
		return nil
	}
	return alignedBytes(roundUp(n))[:n]
}

// ReadInto implements IntoReader.
func (d *Disk) ReadInto(k Key, off uint64, p []byte) (int, error) {
	out, err := d.read(&reading{mem: p}, k, off, uint64(len(p)))
	if err != nil || len(out) == 0 {
		return 0, err
	}
	if &out[0] != &p[0] {
		copy(p, out)
	}
	return len(out), nil
}
