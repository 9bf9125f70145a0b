package crush

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says where a map's text is wrong. Lines and columns count from 1,
// columns in characters.
type SyntaxError struct {
	Line, Col int
	Msg       string
}

// Error formats the error as line:column: message.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg) }

// Unwrap makes a SyntaxError an ErrInvalid.
func (e *SyntaxError) Unwrap() error { return ErrInvalid }

// token is a word or a brace. Its text is empty at the end of the input.
type token struct {
	text string
	off  int
}

// String describes the token for an error message.
func (t token) String() string {
	if t.text == "" {
		return "the end of the map"
	}
	if len(t.text) > 64 {
		return fmt.Sprintf("%q...", t.text[:64])
	}
	return fmt.Sprintf("%q", t.text)
}

// lexer cuts a map's text into words, braces and brackets; '#' starts a comment
// that ends with the line.
type lexer struct {
	src  string
	off  int
	next token // one token of lookahead
	err  *SyntaxError
}

func newLexer(src string) *lexer {
	l := &lexer{src: src}
	l.next = l.scan()
	return l
}

func (l *lexer) peek() token { return l.next }

func (l *lexer) take() token {
	t := l.next
	if t.text != "" {
		l.next = l.scan()
	}
	return t
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'
}

func (l *lexer) scan() token {
	for l.off < len(l.src) {
		switch c := l.src[l.off]; {
		case isSpace(c):
			l.off++
		case c == '#':
			end := strings.IndexByte(l.src[l.off:], '\n')
			if end < 0 {
				l.off = len(l.src)
			} else {
				l.off += end + 1
			}
		case c == '{' || c == '}' || c == '[' || c == ']' || c == ',':
			l.off++
			return token{text: l.src[l.off-1 : l.off], off: l.off - 1}
		case isWordByte(c):
			start := l.off
			for l.off < len(l.src) && isWordByte(l.src[l.off]) {
				l.off++
			}
			return token{text: l.src[start:l.off], off: start}
		default:
			if l.err == nil {
				r, _ := utf8.DecodeRuneInString(l.src[l.off:])
				l.err = l.errorAt(l.off, "unexpected character %q", r)
			}
			l.off = len(l.src) // nothing behind it can be trusted
		}
	}
	return token{off: l.off}
}

// isWordByte also accepts '+' (in numbers) and '~' (in names of shadow buckets),
// so that the error can speak of the whole word.
func isWordByte(c byte) bool { return isNameByte(c) || c == '+' || c == '~' }

func (l *lexer) errorAt(off int, format string, args ...any) *SyntaxError {
	before := l.src[:off]
	start := strings.LastIndexByte(before, '\n') + 1
	return &SyntaxError{
		Line: strings.Count(before, "\n") + 1,
		Col:  utf8.RuneCountInString(before[start:]) + 1,
		Msg:  fmt.Sprintf(format, args...),
	}
}
