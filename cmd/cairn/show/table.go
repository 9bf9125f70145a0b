package show

import (
	"io"
	"strings"
)

type align bool

const (
	left  align = false
	right align = true
)

// column is a column of a table: its heading and how heading and cells lean.
type column struct {
	heading     string
	head, cells align
}

// table lays out rows in columns two spaces apart. Like Ceph's it pads the last
// column, too, so that the text can be cut into columns by position.
type table struct {
	columns []column
	rows    [][]string
}

func newTable(columns ...column) *table { return &table{columns: columns} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.columns))
	head := make([]string, len(t.columns))
	for i, c := range t.columns {
		head[i], widths[i] = c.heading, len(c.heading)
	}
	for _, r := range t.rows {
		for i, cell := range r {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	line := func(cells []string, lean func(column) align) {
		for i, c := range t.columns {
			cell := ""
			if i < len(cells) {
				cell = cells[i]
			}
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i > 0 {
				b.WriteString("  ")
			}
			if lean(c) == right {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		b.WriteByte('\n')
	}
	line(head, func(c column) align { return c.head })
	for _, r := range t.rows {
		line(r, func(c column) align { return c.cells })
	}
	_, err := io.WriteString(w, b.String())
	return err
}
