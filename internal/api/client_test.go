package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func dead(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func newClient(t *testing.T, o api.ClientOptions) *api.Client {
	t.Helper()
	c, err := api.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func problem(w http.ResponseWriter, p api.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func ok(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprint(w, `{"status":"HEALTH_OK","checks":{}}`)
}

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func noLeader(w http.ResponseWriter, _ *http.Request) {
	problem(w, api.Problem{Status: 503, Code: api.CodeNoLeader, Detail: "no leader"})
}

func TestNewClientRefuses(t *testing.T) {
	for _, addrs := range [][]string{nil, {""}, {"host"}, {"host:"}, {":80"}, {"ftp://h:1"}, {"h:1?x"}, {"u@h:1"}, {"h:1/x"}, make([]string, 17)} {
		if _, err := api.NewClient(api.ClientOptions{Addrs: addrs}); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("addresses %q: %v, want ErrInvalid", addrs, err)
		}
	}
	for _, addr := range []string{"h:1", "http://h:1", "https://h:1/", "[::1]:7480"} {
		if _, err := api.NewClient(api.ClientOptions{Addrs: []string{addr}}); err != nil {
			t.Errorf("address %q: %v", addr, err)
		}
	}
}

func TestUnreachableNamesAllAndSaysWhatToDo(t *testing.T) {
	a, b := dead(t), serve(t, hangUp)
	_, err := newClient(t, api.ClientOptions{Addrs: []string{a, b}}).Health(context.Background())
	var u *api.UnreachableError
	if !errors.As(err, &u) || len(u.Tried) != 2 {
		t.Fatalf("got %v, want UnreachableError with two attempts", err)
	}
	for _, want := range []string{a + ": connection refused", b + ": EOF", "--admin", "CAIRN_ADMIN"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

func TestQuestionsGoToTheNextMonitor(t *testing.T) {
	noQuorum := func(w http.ResponseWriter, _ *http.Request) {
		problem(w, api.Problem{Status: 503, Code: api.CodeNoQuorum, Detail: "leader unreachable"})
	}
	for name, h := range map[string]http.HandlerFunc{"hangs up": hangUp, "no leader": noLeader, "no quorum": noQuorum} {
		c := newClient(t, api.ClientOptions{Addrs: []string{dead(t), serve(t, h), serve(t, ok)}})
		if got, err := c.Health(context.Background()); err != nil || got.Status != api.HealthOK {
			t.Errorf("first monitor %s: %v, %v", name, got, err)
		}
	}
}

func TestAMonitorThatHangsLeavesTimeForOthers(t *testing.T) {
	release := make(chan struct{})
	slow := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	c := newClient(t, api.ClientOptions{Addrs: []string{slow, serve(t, ok)}, Timeout: 2 * time.Second})
	if got, err := c.Health(context.Background()); err != nil || got.Status != api.HealthOK {
		t.Errorf("%v, %v", got, err)
	}
	c = newClient(t, api.ClientOptions{Addrs: []string{slow}, Timeout: 10 * time.Millisecond})
	if _, err := c.Health(context.Background()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("only a monitor that hangs: %v", err)
	}
}

// TestChangesAreNotRepeated: a change whose answer is lost may have been made.
func TestChangesAreNotRepeated(t *testing.T) {
	count := 0
	second := serve(t, func(w http.ResponseWriter, _ *http.Request) { count++; w.WriteHeader(204) })
	c := newClient(t, api.ClientOptions{Addrs: []string{serve(t, hangUp), second}})
	err := c.FlagSet(context.Background(), "noout", true)
	if err == nil || count != 0 || !strings.Contains(err.Error(), "may or may not have been made") || !errors.Is(err, api.ErrTimeout) {
		t.Errorf("lost answer: %v, and the second monitor got %d requests", err, count)
	}
	for name, first := range map[string]string{"refuses the connection": dead(t), "has no leader": serve(t, noLeader)} {
		count = 0
		c := newClient(t, api.ClientOptions{Addrs: []string{first, second}})
		if err := c.FlagSet(context.Background(), "noout", true); err != nil || count != 1 {
			t.Errorf("first monitor %s: %v, and the second got %d requests, want 1", name, err, count)
		}
	}
	// A monitor without quorum may have proposed the change already.
	noQuorum := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		problem(w, api.Problem{Status: 503, Code: api.CodeNoQuorum, Detail: "lost the quorum"})
	})
	count = 0
	c = newClient(t, api.ClientOptions{Addrs: []string{noQuorum, second}})
	if err := c.FlagSet(context.Background(), "noout", true); !errors.Is(err, api.ErrNoQuorum) || count != 0 {
		t.Errorf("no quorum: %v, and the second monitor got %d requests", err, count)
	}
}

func TestConditionsCrossHTTP(t *testing.T) {
	for _, want := range []error{api.ErrNotFound, api.ErrExists, api.ErrConflict, api.ErrInvalid, api.ErrNoQuorum, api.ErrTryLater,
		api.ErrNotPermitted, api.ErrUnsupported, api.ErrTimeout} {
		c := newClient(t, api.ClientOptions{Addrs: []string{serve(t, func(w http.ResponseWriter, _ *http.Request) {
			problem(w, *api.NewProblem(fmt.Errorf("pool p: %w", want), "do this"))
		})}})
		_, err := c.Pools(context.Background())
		if !errors.Is(err, want) || !strings.HasSuffix(err.Error(), "; do this") {
			t.Errorf("got %v, want %v with the next step", err, want)
		}
		for _, other := range []error{api.ErrNotFound, api.ErrExists, api.ErrConflict} {
			if !errors.Is(want, other) && errors.Is(err, other) {
				t.Errorf("%v is also %v", err, other)
			}
		}
	}
}

func TestStrangeServers(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"a web page":      func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>") },
		"a web page, 404": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 404) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		},
	}
	for name, h := range tests {
		_, err := newClient(t, api.ClientOptions{Addrs: []string{serve(t, h)}}).Health(context.Background())
		if err == nil || errors.Is(err, api.ErrNotFound) || !strings.Contains(err.Error(), "check") {
			t.Errorf("%s: %v, want an error with a next step", name, err)
		}
	}
}

func TestNamesAreEscaped(t *testing.T) {
	for _, name := range []string{"a/b", "..", "a?b", "a b", "ü%"} {
		var got string
		c := newClient(t, api.ClientOptions{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.URL.Path
			_, _ = fmt.Fprint(w, `{}`)
		})}})
		if _, err := c.Pool(context.Background(), name); err != nil || got != api.Prefix+"/pools/"+name {
			t.Errorf("name %q: path %q, %v", name, got, err)
		}
	}
}

func TestTokenIsSent(t *testing.T) {
	c := newClient(t, api.ClientOptions{Token: "tok", Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tok" {
			problem(w, api.Problem{Status: 401, Detail: "token"})
			return
		}
		ok(w, r)
	})}})
	if _, err := c.Health(context.Background()); err != nil {
		t.Error(err)
	}
}
