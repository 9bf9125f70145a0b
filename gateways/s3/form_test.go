package s3

import (
	"bytes"
	"encoding/base64"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

const aForm = "--B\r\nContent-Disposition: form-data; name=\"KEY\"\r\n\r\nup/${filename}\r\n" +
	"--B\r\nContent-Disposition: form-data; name=\"x-amz-meta-a\"\r\n\r\nb\r\n" +
	"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\a b.txt\"\r\nContent-Type: text/plain\r\n\r\n"

// endless is a file that does not end, and counts what is read of it.
type endless struct{ n int64 }

func (e *endless) Read(b []byte) (int, error) {
	e.n += int64(len(b))
	return copy(b, bytes.Repeat([]byte{'x'}, len(b))), nil
}

// TestFormIsStreamed: fields are read, and no more of the file than comes with them.
func TestFormIsStreamed(t *testing.T) {
	file := &endless{}
	f, e := readForm(io.MultiReader(strings.NewReader(aForm), file), "B")
	if e != nil {
		t.Fatal(e)
	}
	if f.fields["key"] != "up/a b.txt" || f.fields["x-amz-meta-a"] != "b" || f.name != "a b.txt" {
		t.Errorf("fields %q, file %q", f.fields, f.name)
	}
	if file.n > 8<<10 {
		t.Errorf("%d bytes of the file were read before it was asked for", file.n)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(f.file, 10<<20)); n != 10<<20 || err != nil {
		t.Errorf("read %d bytes of the file: %v", n, err)
	}
	for _, in := range []io.Reader{
		&endless{},
		io.MultiReader(strings.NewReader("--B\r\nX: "), &endless{}),
		io.MultiReader(strings.NewReader("--B\r\nContent-Disposition: form-data; name=a\r\n\r\n"), &endless{}),
	} {
		if _, e := readForm(in, "B"); e == nil || e.Status != 400 {
			t.Errorf("what never comes to a file: %v", e)
		}
	}
}

// FuzzReadForm: bytes that claim to be a form are taken or refused with an error of the client's.
func FuzzReadForm(f *testing.F) {
	f.Add([]byte(aForm+"hello\r\n--B--\r\n"), "B")
	f.Add([]byte(aForm), "B")
	f.Add([]byte("--B\r\n\r\n\r\n--B--"), "B")
	f.Fuzz(func(t *testing.T, in []byte, sep string) {
		form, e := readForm(bytes.NewReader(in), sep)
		if e != nil {
			if e.Status >= 500 {
				t.Fatalf("%v", e)
			}
			return
		}
		size := 0
		for name, v := range form.fields {
			size += len(name) + len(v)
		}
		if size > maxFormFields+len(form.name)*len(in) {
			t.Fatalf("%d bytes of fields", size)
		}
		if n, _ := io.Copy(io.Discard, form.file); n > int64(len(in)) {
			t.Fatalf("a file of %d bytes in a form of %d", n, len(in))
		}
		if h, e := form.headers(nil); e == nil {
			for name, v := range h {
				if !isToken(name) || strings.ContainsAny(v[0], "\r\n\x00") {
					t.Fatalf("header %q: %q", name, v)
				}
			}
		}
	})
}

// FuzzFormPolicy: policies are taken or refused, and one that is taken never lets a field in that it does not speak of.
func FuzzFormPolicy(f *testing.F) {
	for _, doc := range []string{
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[{"bucket":"b"},["starts-with","$key",""],["eq","$acl","private"],["content-length-range",1,10]]}`,
		`{"expiration":"2099-01-01T00:00:00.000Z","conditions":[[]]}`, `{"expiration":1,"conditions":[{"a":1}]}`, `null`, `[]`, `{"conditions":null}`,
	} {
		f.Add([]byte(doc))
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, e := parseFormPolicy(base64.StdEncoding.EncodeToString(doc))
		if e != nil {
			if e.Code != "InvalidPolicyDocument" {
				t.Fatalf("%v", e)
			}
			return
		}
		if p.least < 0 || p.most < 0 {
			t.Fatalf("a range of %d to %d", p.least, p.most)
		}
		name := "x-amz-meta-not-in-policy"
		if e := p.check(map[string]string{"key": "k", "bucket": "b", name: "v"}, now); e == nil && !bytes.Contains(bytes.ToLower(doc), []byte("not-in-policy")) && !bytes.Contains(doc, []byte(`\`)) {
			t.Fatal("a field that the policy does not speak of was let in")
		}
	})
}

// TestFormRange: bounds of several conditions all hold.
func TestFormRange(t *testing.T) {
	doc := `{"expiration":"2099-01-01T00:00:00Z","conditions":[["content-length-range",1,"10"],["CONTENT-length-range","2",100]]}`
	p, e := parseFormPolicy(base64.StdEncoding.EncodeToString([]byte(doc)))
	if e != nil || p.least != 2 || p.most != 10 {
		t.Fatalf("%+v, %v", p, e)
	}
	for n, code := range map[int]string{0: "EntityTooSmall", 1: "EntityTooSmall", 2: "", 10: "", 11: "EntityTooLarge", 5000: "EntityTooLarge"} {
		_, err := io.Copy(io.Discard, &ranged{r: &io.LimitedReader{R: &endless{}, N: int64(n)}, least: p.least, most: p.most})
		if (err == nil) != (code == "") || err != nil && toAPI(err).Code != code {
			t.Errorf("%d bytes: %v, want %q", n, err, code)
		}
	}
	if p, _ := parseFormPolicy(base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2099-01-01T00:00:00Z","conditions":[]}`))); p.most != math.MaxInt64 {
		t.Errorf("without a range, at most %d", p.most)
	}
}
