package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// node is a JSON value that keeps the order of members and knows duplicates.
type node struct {
	kind   byte // '{' '[' 's'tring 'n'umber 'b'ool '0' null
	text   string
	keys   []string
	values []node
}

// maxNesting is how deep a document may nest; the language needs five levels.
const maxNesting = 8

var errJSON = errors.New("invalid JSON")

func parseJSON(doc []byte) (node, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	n, err := readNode(d, 0)
	if err != nil {
		return n, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return n, errJSON
	}
	return n, nil
}

func readNode(d *json.Decoder, depth int) (node, error) {
	t, err := d.Token()
	if err != nil || depth > maxNesting {
		return node{}, errJSON
	}
	switch v := t.(type) {
	case string:
		return node{kind: 's', text: v}, nil
	case json.Number:
		return node{kind: 'n', text: v.String()}, nil
	case bool:
		if v {
			return node{kind: 'b', text: "true"}, nil
		}
		return node{kind: 'b', text: "false"}, nil
	case json.Delim:
		n := node{kind: byte(v)}
		var seen map[string]bool
		if v == '{' {
			seen = map[string]bool{}
		}
		for d.More() {
			if v == '{' {
				k, err := d.Token()
				key, ok := k.(string)
				if err != nil || !ok || seen[key] {
					return n, errJSON
				}
				seen[key] = true
				n.keys = append(n.keys, key)
			}
			m, err := readNode(d, depth+1)
			if err != nil {
				return n, err
			}
			n.values = append(n.values, m)
		}
		if _, err := d.Token(); err != nil { // the closing bracket
			return n, errJSON
		}
		return n, nil
	}
	return node{kind: '0'}, nil
}

// strings are the strings of a value that may be one or a list of them.
func (n node) strings() ([]string, bool) {
	if n.kind == 's' {
		return []string{n.text}, true
	}
	if n.kind != '[' {
		return nil, false
	}
	out := make([]string, 0, len(n.values))
	for _, v := range n.values {
		if v.kind != 's' {
			return nil, false
		}
		out = append(out, v.text)
	}
	return out, true
}

// scalars are the values of a condition: strings, numbers and booleans, one or a list.
func (n node) scalars() ([]string, bool) {
	switch n.kind {
	case 's', 'n', 'b':
		return []string{n.text}, true
	case '[':
		out := make([]string, 0, len(n.values))
		for _, v := range n.values {
			if v.kind != 's' && v.kind != 'n' && v.kind != 'b' {
				return nil, false
			}
			out = append(out, v.text)
		}
		return out, true
	}
	return nil, false
}
