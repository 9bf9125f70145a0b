package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bench"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/placement"
)

// TestLiveCluster runs the commands against a real cluster: three monitors, of
// which the one asked first does not lead, and three OSDs.
func TestLiveCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := testcluster.Start(ctx, testcluster.Options{Dir: t.TempDir(), Mons: 3, OSDs: 3, Capacity: 1 << 30, NoS3: true,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	leader := 0
	for i := range c.AdminAddrs() {
		if q := c.Mon(i).Quorum(); q.Self == q.Leader {
			leader = i
		}
	}
	follower := c.AdminAddrs()[(leader+1)%3]
	cairn := func(stdin string, args ...string) result {
		var out, errs bytes.Buffer
		e := newEnv()
		e.stdin, e.stdout, e.stderr = strings.NewReader(stdin), &out, &errs
		code := run(ctx, e, append([]string{"--admin", follower}, args...))
		return result{code, out.String(), errs.String()}
	}
	want := func(code int, text, stdin string, args ...string) {
		t.Helper()
		r := cairn(stdin, args...)
		if all := r.stdout + r.stderr; r.code != code || !strings.Contains(all, text) {
			t.Errorf("cairn %s: exit code %d, %q; want %d with %q", strings.Join(args, " "), r.code, all, code, text)
		}
	}
	want(0, "pool 'p' created", "", "pool", "create", "p")
	want(5, "exists", "", "pool", "create", "p")
	want(0, "", "hello", "object", "put", "o1", "-", "-p", "p")
	want(0, "hello", "", "object", "get", "o1", "-", "-p", "p")
	want(0, "o1\n", "", "object", "ls", "-p", "p")
	want(0, "size 5", "", "object", "stat", "o1", "-p", "p")
	want(3, "not found", "", "object", "get", "o2", "-", "-p", "p")
	want(0, "noout is set", "", "osd", "set", "noout")
	want(0, "noout flag(s) set", "", "health")
	want(0, "noout is unset", "", "osd", "unset", "noout")
	want(0, "secret key:", "", "user", "create", "alice")
	want(0, "secret key:", "", "user", "create", "alice/bob")
	want(3, "not exist", "", "user", "get", "alice/carl")
	const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::alice:user/bob"}}]}`
	want(0, "arn:aws:iam::alice:group/devs", "", "group", "create", "alice/devs")
	want(0, "is in group", "", "group", "add", "alice/devs", "bob")
	want(0, "devs", "", "user", "get", "alice/bob")
	want(0, "arn:aws:iam::alice:policy/all", everything, "policy", "create", "alice/all", "--file", "-")
	want(2, "Missing required field Statement", "{}", "policy", "create", "alice/bad", "--file", "-")
	want(0, "attached to group", "", "group", "policy", "attach", "alice/devs", "alice/all")
	want(0, "attached to user", "", "user", "policy", "attach", "alice/bob", "AmazonS3ReadOnlyAccess")
	want(0, "AmazonS3ReadOnlyAccess", "", "user", "policy", "ls", "alice/bob")
	want(0, "put to user", everything, "user", "policy", "put", "alice/bob", "own", "--file", "-")
	want(0, "Statement", everything, "user", "policy", "get", "alice/bob", "own")
	want(0, "version", everything, "policy", "set", "alice/all", "--file", "-")
	want(0, "in force", "", "policy", "versions", "alice/all")
	want(5, "attached", "", "policy", "rm", "alice/all", "--confirm", "alice/all")
	want(0, "service account:", everything, "user", "key", "create", "alice/bob", "--service", "cron", "--file", "-", "--expires", "24h")
	want(0, "cron", "", "user", "key", "ls", "alice/bob")
	want(0, "arn:aws:iam::alice:role/r", trust, "role", "create", "alice/r", "--file", "-", "--max-session", "2h")
	want(0, "7200 s", "", "role", "get", "alice/r")
	want(0, "revoked", "", "role", "revoke", "alice/r")
	want(0, "is alice/all", "", "role", "policy", "boundary", "alice/r", "alice/all")
	want(0, "oidc-provider/login.example", "", "provider", "create", "alice", "https://login.example", "--client-id", "x")
	want(0, "changed", "", "user", "set", "alice/bob", "--email", "bob@example.com", "--suspend")
	want(0, "suspended", "", "user", "get", "alice/bob")
	want(5, "is an account", "", "user", "rm", "alice", "--confirm", "alice")
	want(0, "ACCOUNT", "", "account", "ls")
	want(0, "Policies", "", "account", "get", "alice")
	want(0, "removed", "", "provider", "rm", "alice", "https://login.example")
	want(0, "removed", "", "role", "rm", "alice/r", "--confirm", "alice/r")
	want(0, "removed", "", "group", "rm", "alice/devs", "--confirm", "alice/devs")
	want(0, "removed", "", "policy", "rm", "alice/all", "--confirm", "alice/all")
	want(0, "removed", "", "user", "rm", "alice/bob", "--confirm", "alice/bob")
	want(0, "quorum 0,1,2 a,b,c", "", "mon", "stat")
	want(0, "osd.2", "", "osd", "tree")
	want(0, `"log_head"`, "", "pg", "query", "1.0")

	// Reports come every second or so: wait until they say that all is well.
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		r := cairn("", "health", "detail")
		if r.stdout == "HEALTH_OK\n" {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cluster did not become healthy: %+v", r)
		case <-ticker.C:
		}
	}
	want(0, "32 active+clean", "", "status")
	want(0, "1 objects", "", "status")
	want(0, "osd.0 may stop", "", "osd", "ok-to-stop", "0")
	want(1, "32 pgs would drop below min_size", "", "osd", "ok-to-stop", "0", "1")
	want(1, "have it in their in-sync set", "", "osd", "safe-to-destroy", "0")
	want(5, "finds only 2 of 3 places without them; add OSDs on other hosts", "", "osd", "drain", "2")
	want(0, "draining osd.2", "", "osd", "drain", "2", "--force")
	want(0, "2 in", "", "osd", "stat")
	want(0, "not draining osd.2", "", "osd", "undrain", "2")
	want(5, "osd.2 is up", "", "osd", "rm", "2")
	want(5, "leads it and serves", "", "pg", "force-primary", "1.0", "0", "--accept-loss")
	want(0, "scrub_max_pgs is 3", "", "config", "set", "scrub_max_pgs", "3")
	want(2, "the keys are", "", "config", "set", "colour", "red")
	if got := c.Mon(leader).Map().ConfigNumber(placement.KeyScrubMaxPGs); got != 3 {
		t.Errorf("scrub_max_pgs is %d in the map, want 3", got)
	}
	want(0, "set osd.1 to class nvme", "", "osd", "crush", "set-device-class", "nvme", "osd.1")
	want(0, "nvme", "", "osd", "tree")
	if r := cairn("", "audit", "ls"); !strings.Contains(r.stdout, "127.0.0.1  done      osd drain osd.2") ||
		!strings.Contains(r.stdout, "127.0.0.1  conflict  osd rm osd.2") || !strings.Contains(r.stdout, "user create alice (1 keys)") {
		t.Errorf("audit ls:\n%s", r.stdout)
	}
	// A benchmark, with the daemons' CPU; all of them are in this process.
	want(2, "which pool", "", "bench", "object", "write")
	want(2, "--size", "", "bench", "object", "write", "-p", "p", "-b", "100MiB")
	want(3, "not found", "", "bench", "object", "write", "-p", "nosuch")
	want(0, "write: 40 operations of 4 KiB on objects of 8 KiB, 4 under way", "", "bench", "object", "write", "-p", "p", "-b", "4k", "-O", "8KiB", "-t", "4",
		"--ops", "40", "--no-cleanup")
	want(0, "mon.c ", "", "bench", "object", "rand", "-p", "p", "--ops", "30")
	r := cairn("", "bench", "object", "randwrite", "-p", "p", "--ops", "50", "-o", "json")
	var b bench.Result
	if err := json.Unmarshal([]byte(r.stdout), &b); err != nil || b.Ops != 50 || b.Objects != 20 || b.Size != 4096 || b.Latency.P50 <= 0 || len(b.CPU.Daemons) != 6 || b.CPU.Total.PerOp <= 0 {
		t.Errorf("bench object randwrite: %+v, %v: %+v", r, err, b)
	}
	want(0, "seq: 20 operations of 8 KiB", "", "bench", "object", "seq", "-p", "p", "-b", "8KiB")
	want(0, "removed 20 objects", "", "bench", "object", "cleanup", "-p", "p")
	want(3, "--no-cleanup", "", "bench", "object", "seq", "-p", "p")
	want(0, "write: 10 operations", "", "bench", "object", "write", "-p", "p", "-b", "1k", "--ops", "10")
	want(0, "o1\n", "", "object", "ls", "-p", "p") // it has cleaned up
	want(0, "  2  ", "", "osd", "perf")
	want(0, `"commit_latency_ms"`, "", "osd", "perf", "-o", "json")
	want(0, "", "", "object", "rm", "o1", "-p", "p")
	want(0, "pool 'p' removed", "", "pool", "rm", "p", "--confirm", "p")
	want(0, "pool 's3' created", "", "pool", "create", "s3")
	want(0, "created for user 'alice'", "", "bucket", "create", "pics", "--owner", "alice")
	want(2, "at least one of", "", "bucket", "quota", "set", "pics")
	want(0, "0 B of 1 GiB", "", "bucket", "quota", "set", "pics", "--max-bytes", "1GiB", "--max-objects", "10")
	want(0, "0 of 20,", "", "bucket", "quota", "set", "pics", "--max-objects", "20")
	want(0, "0 B of 1 GiB", "", "bucket", "quota", "show", "pics")
	want(0, "0 of 7,", "", "user", "quota", "set", "alice", "--max-objects", "7")
	want(0, "0 of 7,", "", "user", "quota", "show", "alice")
	want(3, "nobody", "", "user", "quota", "set", "nobody", "--max-objects", "7")
	want(0, "1 partitions, 0 with wrong counts", "", "bucket", "check", "pics")
	want(0, "snapshot 'one' of bucket 'pics' taken", "", "bucket", "snapshot", "create", "pics", "one")
	want(5, "exists", "", "bucket", "snapshot", "create", "pics", "one")
	want(0, "one", "", "bucket", "snapshot", "ls", "pics")
	want(0, "bucket 'copy' created for user 'alice'", "", "bucket", "snapshot", "clone", "pics", "one", "copy")
	want(3, "cairn bucket snapshot ls pics", "", "bucket", "snapshot", "clone", "pics", "two", "copy2")
	want(5, "clones", "", "bucket", "snapshot", "rm", "pics", "one", "--confirm", "one")
	want(5, "snapshots", "", "bucket", "rm", "pics", "--confirm", "pics")
}
