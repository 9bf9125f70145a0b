package client

import (
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/internal/chunk"
)

// holdersError lists what holders said.
type holdersError struct{ said []held }

// saidMax bounds how much of it an error tells.
const saidMax = 12

func (e *holdersError) Error() string {
	var b strings.Builder
	for i, h := range e.said {
		if i == saidMax {
			fmt.Fprintf(&b, "; and %d more", len(e.said)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(h.String())
	}
	return b.String()
}

// goneError says that the index has no such chunk: references to it have been dropped since.
type goneError struct{ fp chunk.Fingerprint }

func (e *goneError) Error() string {
	return fmt.Sprintf("the index has no chunk %s, which the object refers to", e.fp)
}

func (e *goneError) Unwrap() error { return ErrCorrupt }
