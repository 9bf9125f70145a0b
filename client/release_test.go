package client

import (
	"testing"

	"github.com/cairnstore/cairn/internal/slab"
)

// TestRelease: a result gives its memory back once, and shows nothing of it afterwards.
func TestRelease(t *testing.T) {
	mem := slab.New(5)
	r := &Result{Items: []ResultItem{{Data: mem.Bytes()}}, mem: mem}
	r.Release()
	r.Release()
	if r.Items != nil || mem.Bytes() != nil {
		t.Error("the memory is still there")
	}
	new(Result).Release() // of a write
	(*Result)(nil).Release()
}
