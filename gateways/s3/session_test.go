package s3

import (
	"context"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// FuzzOpenToken opens anything as a token: it is one of ours, and says what it was sealed with, or it is refused.
func FuzzOpenToken(f *testing.F) {
	asked := 0
	s := &sealer{ask: func(context.Context) ([]*wirepb.TokenKey, error) {
		asked++
		return []*wirepb.TokenKey{{Id: 1, Key: []byte(strings.Repeat("a", 32))}, {Id: 2, Key: []byte(strings.Repeat("b", 32))}}, nil
	}}
	now := time.Unix(1e9, 0)
	c := &claims{AccessKey: "ASIA", Secret: "secret", Principal: "AIDA", Account: "corp", Ends: 5, Policies: []string{"{}"}}
	token, err := s.seal(context.Background(), now, c)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("")
	f.Add("nonsense")
	f.Add(token[:40])
	old := append([]byte(nil), raw...)
	old[4] = 1 // another key
	f.Add(base64.StdEncoding.EncodeToString(old))
	f.Add(strings.Repeat("A", maxTokenBytes+4))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.open(context.Background(), now, text)
		switch {
		case err == nil && !reflect.DeepEqual(got, c): // sealed by us, here or in the process that began the fuzzing
			t.Fatalf("%q is a token: %+v", text, got)
		case err != nil && (!errors.Is(err, errBadToken) || text == token):
			t.Fatalf("%q: %v", text, err)
		}
		if asked > 2 { // once, and once more for a key that is not known
			t.Fatalf("the monitors were asked %d times at one moment", asked)
		}
	})
}

// Claims that are too large for a token are not sealed.
func TestLargeClaims(t *testing.T) {
	s := &sealer{ask: func(context.Context) ([]*wirepb.TokenKey, error) {
		return []*wirepb.TokenKey{{Id: 1, Key: []byte(strings.Repeat("a", 32))}}, nil
	}}
	c := &claims{AccessKey: "a", Secret: "b", Principal: "c", Account: "d", Policies: []string{strings.Repeat("x", maxClaimsBytes)}}
	if _, err := s.seal(context.Background(), time.Unix(1e9, 0), c); !errors.Is(err, errTooLarge) {
		t.Errorf("sealed: %v", err)
	}
}
