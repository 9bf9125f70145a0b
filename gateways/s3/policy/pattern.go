package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is a text with wildcards and variables, ready to be matched.
type pattern struct {
	atoms []atom
	vars  bool
}

type atomKind uint8

const (
	literal  atomKind = iota // text stands for itself
	one                      // ? stands for one character
	many                     // * stands for any number of characters
	variable                 // text names a key, whose value stands there literally
)

type atom struct {
	kind   atomKind
	text   string
	def    string // of a variable: the value if the request has none
	hasDef bool
}

// compile reads a pattern. Without wild, * and ? stand for themselves; without
// vars, so does ${.
func compile(s string, wild, vars bool) (pattern, bool) {
	var p pattern
	lit := func(t string) {
		if t == "" {
			return
		}
		if n := len(p.atoms); n > 0 && p.atoms[n-1].kind == literal {
			p.atoms[n-1].text += t
			return
		}
		p.atoms = append(p.atoms, atom{kind: literal, text: t})
	}
	for s != "" {
		i := strings.IndexAny(s, "*?$")
		if i < 0 {
			lit(s)
			break
		}
		lit(s[:i])
		s = s[i:]
		switch {
		case s[0] == '*' && wild:
			if n := len(p.atoms); n == 0 || p.atoms[n-1].kind != many {
				p.atoms = append(p.atoms, atom{kind: many})
			}
			s = s[1:]
		case s[0] == '?' && wild:
			p.atoms = append(p.atoms, atom{kind: one})
			s = s[1:]
		case vars && strings.HasPrefix(s, "${"):
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return p, false
			}
			name := strings.TrimSpace(s[2:end])
			s = s[end+1:]
			switch name {
			case "*", "?", "$": // the way to write these themselves
				lit(name)
				continue
			case "":
				return p, false
			}
			a := atom{kind: variable}
			if key, def, ok := strings.Cut(name, ","); ok {
				def = strings.TrimSpace(def)
				if len(def) < 2 || def[0] != '\'' || def[len(def)-1] != '\'' {
					return p, false
				}
				name, a.def, a.hasDef = strings.TrimSpace(key), def[1:len(def)-1], true
			}
			if strings.ContainsAny(name, "${*?'") {
				return p, false
			}
			a.text = strings.ToLower(name)
			p.atoms, p.vars = append(p.atoms, a), true
		default:
			lit(s[:1])
			s = s[1:]
		}
	}
	return p, true
}

// Keys finds the values of a condition key, whose name is in lower case. A key
// that the request does not have has none.
type Keys func(name string) []string

// resolve puts the values of variables in their places. It fails if one has none.
func (p pattern) resolve(keys Keys) ([]atom, bool) {
	if !p.vars {
		return p.atoms, true
	}
	out := make([]atom, 0, len(p.atoms))
	for _, a := range p.atoms {
		if a.kind == variable {
			a.kind = literal
			if v := keys(a.text); len(v) == 1 {
				a.text = v[0]
			} else if len(v) == 0 && a.hasDef {
				a.text = a.def
			} else {
				return nil, false // of several values none could be chosen
			}
			if a.text == "" {
				continue
			}
		}
		out = append(out, a)
	}
	return out, true
}

// match reports whether the whole of s is what the pattern describes.
func (p pattern) match(s string, keys Keys) bool {
	atoms, ok := p.resolve(keys)
	return ok && matchAtoms(atoms, s)
}

// matchAtoms matches the pieces between stars one after the other, each as early
// as it goes: a later start could not help those that follow.
func matchAtoms(atoms []atom, s string) bool {
	least := 0
	for _, a := range atoms {
		switch a.kind {
		case literal:
			least += len(a.text)
		case one:
			least++
		}
		if least > len(s) {
			return false
		}
	}
	star := -1
	for i, a := range atoms {
		if a.kind == many {
			star = i
			break
		}
	}
	if star < 0 {
		rest, ok := matchPiece(atoms, s)
		return ok && rest == ""
	}
	s, ok := matchPiece(atoms[:star], s)
	if !ok {
		return false
	}
	last := len(atoms) - 1
	for atoms[last].kind != many {
		last--
	}
	if s, ok = matchEnd(atoms[last+1:], s); !ok {
		return false
	}
	for star < last {
		end := star + 1
		for atoms[end].kind != many {
			end++
		}
		if s, ok = findPiece(atoms[star+1:end], s); !ok {
			return false
		}
		star = end
	}
	return true
}

// matchPiece matches atoms without stars at the beginning of s.
func matchPiece(atoms []atom, s string) (rest string, ok bool) {
	for _, a := range atoms {
		if a.kind == one {
			if s == "" {
				return s, false
			}
			_, n := utf8.DecodeRuneInString(s)
			s = s[n:]
			continue
		}
		if s, ok = strings.CutPrefix(s, a.text); !ok {
			return s, false
		}
	}
	return s, true
}

// matchEnd matches atoms without stars at the end of s.
func matchEnd(atoms []atom, s string) (rest string, ok bool) {
	for i := len(atoms) - 1; i >= 0; i-- {
		if atoms[i].kind == one {
			if s == "" {
				return s, false
			}
			_, n := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-n]
			continue
		}
		if s, ok = strings.CutSuffix(s, atoms[i].text); !ok {
			return s, false
		}
	}
	return s, true
}

// findPiece matches atoms without stars as early in s as possible.
func findPiece(atoms []atom, s string) (rest string, ok bool) {
	if len(atoms) == 1 && atoms[0].kind == literal {
		_, rest, ok = strings.Cut(s, atoms[0].text)
		return rest, ok
	}
	for i := range len(s) + 1 {
		if i < len(s) && !utf8.RuneStart(s[i]) {
			continue
		}
		if rest, ok = matchPiece(atoms, s[i:]); ok {
			return rest, true
		}
	}
	return s, false
}

// textOf is what a pattern without wildcards stands for; it is not found if that
// were longer than limit.
func (p pattern) textOf(keys Keys, limit int) (string, bool) {
	atoms, ok := p.resolve(keys)
	if !ok {
		return "", false
	}
	if len(atoms) == 1 {
		return atoms[0].text, len(atoms[0].text) <= limit
	}
	size := 0
	for _, a := range atoms {
		if size += len(a.text); size > limit {
			return "", false
		}
	}
	var b strings.Builder
	for _, a := range atoms {
		b.WriteString(a.text)
	}
	return b.String(), true
}

// split cuts a pattern at its first n-1 literal occurrences of a colon, as the
// parts of an ARN are cut.
func (p pattern) split(n int) []pattern {
	var out []pattern
	var now []atom
	push := func() {
		out, now = append(out, pattern{atoms: now, vars: p.vars}), nil
	}
	for _, a := range p.atoms {
		for a.kind == literal && len(out) < n-1 {
			head, tail, ok := strings.Cut(a.text, ":")
			if !ok {
				break
			}
			if head != "" {
				now = append(now, atom{kind: literal, text: head})
			}
			push()
			a.text = tail
		}
		if a.kind != literal || a.text != "" {
			now = append(now, a)
		}
	}
	push()
	return out
}

// fixed reports whether the pattern can stand for one text only.
func (p pattern) fixed() bool {
	for _, a := range p.atoms {
		if a.kind != literal {
			return false
		}
	}
	return true
}

// overlaps reports whether some text that begins with prefix may match, or, with
// whole, whether prefix itself does. Variables may stand for anything here.
func (p pattern) overlaps(prefix string, whole bool) bool {
	atoms := make([]atom, len(p.atoms))
	copy(atoms, p.atoms)
	for i := range atoms {
		if atoms[i].kind == variable {
			atoms[i] = atom{kind: many}
		}
	}
	if whole {
		return matchAtoms(atoms, prefix)
	}
	// What comes after the prefix is free, so a pattern fits as soon as some
	// beginning of it has eaten the prefix.
	return eats(atoms, prefix)
}

// eats reports whether atoms can match a text that begins with s.
func eats(atoms []atom, s string) bool {
	for _, a := range atoms {
		if s == "" {
			return true
		}
		switch a.kind {
		case many:
			return true // it eats all that is left
		case one:
			_, n := utf8.DecodeRuneInString(s)
			s = s[n:]
		default:
			if len(a.text) >= len(s) {
				return strings.HasPrefix(a.text, s)
			}
			var ok bool
			if s, ok = strings.CutPrefix(s, a.text); !ok {
				return false
			}
		}
	}
	return s == ""
}
