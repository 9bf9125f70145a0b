package bench

import (
	"fmt"
	"regexp"
	"strconv"
)

// Row is one measurement.
type Row struct {
	Name     string
	Kind     string // of `cairn bench object`
	Size     string // of an operation; "": what wrote the run
	InFlight int
	Of       string // the run: rows that read say which row's objects
	Ops      int64  // at most; 0: as many as the time allows. What writes objects has a bound: a fast disk is full within seconds
	Object   string // size of an object, "": Size
	NoCeph   bool   // rados bench cannot do it
	PerGiB   bool   // CPU is told per GiB, not per operation
	S3       bool   // of `cairn s3 bench`; Kind is put or get
	Pool     string // of an S3 row: copies or chunks
}

// Rows are the rows of docs/performance.md, in the order they run: reads read what
// the row before has written.
var Rows = []Row{
	{Name: "4 KiB write, 16 in flight", Kind: "write", Size: "4096", InFlight: 16, Of: "small", Ops: 200_000},
	{Name: "4 KiB random read, 16 in flight", Kind: "rand", InFlight: 16, Of: "small"},
	{Name: "4 KiB write, 1 in flight", Kind: "write", Size: "4096", InFlight: 1, Of: "single", Ops: 50_000},
	{Name: "4 KiB random read, 1 in flight", Kind: "rand", InFlight: 1, Of: "small"},
	{Name: "64 KiB write, 16 in flight", Kind: "write", Size: "65536", InFlight: 16, Of: "middle", Ops: 16_384},
	{Name: "64 KiB random read, 16 in flight", Kind: "rand", InFlight: 16, Of: "middle"},
	{Name: "4 MiB write, 16 in flight", Kind: "write", Size: "4194304", InFlight: 16, Of: "large", Ops: 1024, PerGiB: true},
	{Name: "4 MiB sequential read, 16 in flight", Kind: "seq", InFlight: 16, Of: "large", PerGiB: true},
	{Name: "4 KiB random overwrite in 4 MiB objects, 16 in flight", Kind: "randwrite", Size: "4096", InFlight: 16, Of: "large", NoCeph: true},
}

// S3Rows are the rows of docs/performance.md on S3, which Options.S3 adds.
var S3Rows = []Row{
	{Name: "S3 PUT 4 KiB, 16 in flight", S3: true, Kind: "put", Size: "4096", InFlight: 16, Of: "s3small", Ops: 100_000, Pool: "copies"},
	{Name: "S3 GET 4 KiB, 16 in flight", S3: true, Kind: "get", InFlight: 16, Of: "s3small", Pool: "copies"},
	{Name: "S3 PUT 4 MiB, 8 in flight, 3 copies", S3: true, Kind: "put", Size: "4194304", InFlight: 8, Of: "s3large", Ops: 256, PerGiB: true, Pool: "copies"},
	{Name: "S3 GET 4 MiB, 8 in flight, 3 copies", S3: true, Kind: "get", InFlight: 8, Of: "s3large", PerGiB: true, Pool: "copies"},
	{Name: "S3 PUT 4 MiB, 8 in flight, 2:1", S3: true, Kind: "put", Size: "4194304", InFlight: 8, Of: "s3chunked", Ops: 256, PerGiB: true, Pool: "chunks"},
	{Name: "S3 GET 4 MiB, 8 in flight, 2:1", S3: true, Kind: "get", InFlight: 8, Of: "s3chunked", PerGiB: true, Pool: "chunks"},
}

func (r *Row) writes() bool { return r.Kind == "write" || r.Kind == "put" }

// choose returns the rows whose names match, and those that write what they read.
func choose(rows []Row, match *regexp.Regexp) (chosen []Row) {
	wanted := map[string]bool{}
	for i := len(rows) - 1; i >= 0; i-- {
		r := rows[i]
		if match.MatchString(r.Name) || r.writes() && wanted[r.Of] {
			wanted[r.Of] = !r.writes()
			chosen = append([]Row{r}, chosen...)
		}
	}
	return chosen
}

// over reports whether row i is the last of its run, whose objects are then of no more use.
func over(rows []Row, i int) bool {
	for _, r := range rows[i+1:] {
		if r.Of == rows[i].Of {
			return false
		}
	}
	return true
}

// needs is how many bytes the disk must have for the rows: all that a repetition may write, as if nothing
// were removed in between, in all copies and of all clusters, and 20 %.
func needs(rows []Row, clusters int) (bytes int64, err error) {
	for _, r := range rows {
		if !r.writes() {
			continue
		}
		size, err := strconv.ParseInt(r.Size, 10, 64)
		if err != nil || r.Ops <= 0 {
			return 0, fmt.Errorf("row %q writes %d operations of %q bytes: it must have a bound", r.Name, r.Ops, r.Size)
		}
		of := int64(clusters)
		if r.NoCeph {
			of = 1
		}
		bytes += size * r.Ops * copies * of
	}
	return bytes + bytes/5, nil
}
