package testcluster_test

import (
	"os"
	"testing"

	"github.com/cairnstore/cairn/internal/slab"
)

// TestMain has memory that everybody has released overwritten, and reused late: whoever still
// reads it gets bytes that no checksum fits, in all tests.
func TestMain(m *testing.M) {
	slab.Poison()
	os.Exit(m.Run())
}
