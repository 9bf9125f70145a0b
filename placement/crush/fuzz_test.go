package crush

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: no text makes Parse panic or hang; what it accepts survives both forms
// and can be mapped.
func FuzzParse(f *testing.F) {
	f.Add(smallMap)
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(text) < 8<<10 {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Line < 1 || se.Col < 1 {
				t.Fatalf("got %v, want a SyntaxError with a place", err)
			}
			return
		}
		checkMap(t, m)
	})
}

// FuzzDecode is FuzzParse for the compiled form. The checksum is made right, or no
// input would ever come to the payload.
func FuzzDecode(f *testing.F) {
	f.Add(Encode(goldenMap(f)))
	f.Add(Encode(NewDefault()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Decode(data); err == nil && !IsEncoded(data) {
			t.Fatal("decoded without the magic")
		}
		if len(data) < encHeader+4 {
			return
		}
		data = reseal(data)
		copy(data, encMagic)
		m, err := Decode(reseal(data))
		if err == nil {
			checkMap(t, m)
		}
	})
}

func checkMap(t *testing.T, m *Map) {
	t.Helper()
	text := m.String()
	again, err := Parse(text)
	if err != nil {
		t.Fatalf("decompiled text is refused: %v\n%s", err, text)
	}
	if !again.Equal(m) { // weights above 256 are rounded, once
		text = again.String()
		if again, err = Parse(text); err != nil {
			t.Fatal(err)
		}
	}
	if got := again.String(); got != text {
		t.Fatalf("decompiling is not a fix point:\n%s\nthen\n%s", text, got)
	}
	enc := Encode(m)
	back, err := Decode(enc)
	if err != nil {
		t.Fatalf("the encoding is refused: %v", err)
	}
	if !bytes.Equal(Encode(back), enc) {
		t.Fatal("the encoding is not canonical")
	}
	for _, r := range m.Rules {
		a, err := m.Do(r.ID, 12345, 3, nil)
		if err != nil && !errors.Is(err, ErrExhausted) {
			t.Fatal(err)
		}
		if b, _ := back.Do(r.ID, 12345, 3, nil); formatResult(a) != formatResult(b) {
			t.Fatalf("rule %d gives %v, decoded %v", r.ID, a, b)
		}
	}
	m.Tree()
}
