package store

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

// NewBuffer allocates n bytes of memory that ReadInto and large writes need not copy.
func NewBuffer(n int) []byte {
	if n <= 0 {
		return nil
	}
	return alignedBytes(roundUp(n))[:n]
}

// ReadInto implements IntoReader.
func (d *Disk) ReadInto(k Key, off uint64, p []byte) (int, error) {
	out, err := d.read(k, off, uint64(len(p)), p)
	if err != nil || len(out) == 0 {
		return 0, err
	}
	if &out[0] != &p[0] {
		copy(p, out)
	}
	return len(out), nil
}
