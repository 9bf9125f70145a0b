package osd

import (
	"os"
	"testing"

	"github.com/cairnstore/cairn/internal/slab"
)

func TestMain(m *testing.M) {
	slab.Poison()
	os.Exit(m.Run())
}
