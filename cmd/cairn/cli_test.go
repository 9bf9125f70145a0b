package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/gateways/admin"
	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cluster is a fake cluster behind a real REST interface.
type cluster struct {
	backend *admintest.Backend
	buckets *admintest.Buckets
	url     string
	objects map[string][]byte // of pool rbd
	meta    *clienttest.Pool  // what is put together by operations
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{backend: admintest.New(), buckets: &admintest.Buckets{}, objects: map[string][]byte{}, meta: clienttest.New(t)}
	keys := kms.NewStore(clienttest.NewPool("s3"))
	s, err := admin.New(admin.Options{
		Backend: c.backend, Buckets: c.buckets, Keys: func(context.Context) (*kms.Store, error) { return keys, nil }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now: func() time.Time { return admintest.Now },
		OSDCall: func(_ context.Context, _ placement.OSDID, h *wirepb.Header) (json.RawMessage, error) {
			if h.GetPgScrubStart() != nil {
				return json.RawMessage(`{"pgs":1}`), nil
			}
			if q := h.GetChunkCare(); q != nil {
				switch q.What {
				case "status":
					return json.RawMessage(`{"pgs":4,"looked":4,"chunks":{"chunks":9,"bytes":1048576},"runs":3,"last":{"what":"audit","pgs":4,"errors":[],
						"work":{"leaked":2,"healed":1},"chunks":{"chunks":9}},"problems":[{"kind":"dangling","pool":1,"object":"a\u0007b","text":"it is gone"}]}`), nil
				case "chunks":
					if q.After == "" && q.Shard == 0 {
						return json.RawMessage(`{"chunks":[{"chunk":"blake3:0a","pgid":"1.0","bytes":1048576,"stored_bytes":524288,"redundancy":"4:2:rs","holders":[1,2,-1],
							"references":512,"more_references":true,"lost":"bytes","condemned":"2026-11-23T10:00:00Z"}],"after":"blake3:0a"}`), nil
					}
					return json.RawMessage(`{"chunks":[]}`), nil
				case "chunk", "verify-chunk":
					verdict := ""
					if q.What != "chunk" {
						verdict = fmt.Sprintf(`,"verdict":{"ok":%v,"readable":2,"needed":1,"together":true,"parity":true,"fingerprint":"right"}`, strings.HasPrefix(q.Chunk, "own"))
					}
					return json.RawMessage(`{"chunk":"c","pgid":"1.0","holders":[1],"tenant":"acme","refs":[{"pool":1,"object":"a\u0007b","since":"2026-11-23T10:00:00Z"}],
						"shards":[{"shard":0,"osd":1,"state":"good"}]` + verdict + `}`), nil
				case "gc", "audit", "repair", "verify":
					return json.RawMessage(`{"osd":0,"run":3}`), nil
				}
				return json.RawMessage(fmt.Sprintf(`{"pgs":2,"pending":%d,"objects":5,"settled":3,"chunks":7,"bytes":1048576}`, max(q.MinAgeNs, 0)/1e9)), nil
			}
			if h.GetPgInconsistentList().GetShard() > 0 {
				return json.RawMessage(`{"epoch":1,"inconsistents":[],"more":0}`), nil
			}
			return json.RawMessage(`{"epoch":1,"inconsistents":[{"object":{"name":"a\u0007b","version":5},"errors":["data_digest_mismatch"],
				"union_shard_errors":["data_digest_mismatch"],"why":"nobody knows","shards":[
				{"osd":0,"primary":true,"errors":["data_digest_mismatch"],"version":"1'5","size":9,"data_digest":"0x01"},
				{"osd":2,"primary":false,"errors":[],"version":"1'5","size":9,"data_digest":"0x02"}]}],"more":2}`), nil
		},
		PGQuery: func(_ context.Context, id placement.PGID) (json.RawMessage, error) {
			return json.RawMessage(fmt.Sprintf(`{"pgid":%q,"state":"active+clean","head":18446744073709551615}`, id)), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		srv.Close()
		s.Close()
	})
	c.url = strings.TrimPrefix(srv.URL, "http://")
	return c
}

type result struct {
	code           int
	stdout, stderr string
}

// cairn runs one command line. vars are NAME=VALUE; a file is @NAME=CONTENT.
func (c *cluster) cairn(t *testing.T, stdin string, vars []string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	e := newEnv()
	e.stdin, e.stdout, e.stderr = strings.NewReader(stdin), &out, &errs
	e.getenv = func(name string) string {
		for _, v := range vars {
			if k, val, _ := strings.Cut(v, "="); k == name {
				return val
			}
		}
		return ""
	}
	e.readFile = func(name string) ([]byte, error) {
		if v := e.getenv("@" + name); v != "" {
			return []byte(v), nil
		}
		return nil, fs.ErrNotExist
	}
	e.openPool = func(_ context.Context, mons []string, pool string, _ time.Duration) (objectPool, io.Closer, error) {
		if d := cmp.Diff([]string{"127.0.0.1:3300", "127.0.0.1:3301", "127.0.0.1:3302"}, mons); d != "" {
			t.Errorf("monitors of the map (-want +got):\n%s", d)
		}
		return &memPool{c.meta, pool, c.objects}, io.NopCloser(nil), nil
	}
	code := run(context.Background(), e, args)
	return result{code, out.String(), errs.String()}
}

func (c *cluster) admin(t *testing.T, args ...string) result {
	t.Helper()
	return c.cairn(t, "", []string{"CAIRN_ADMIN=" + c.url}, args...)
}

// memPool is a pool in memory. It lists three names at a time.
type memPool struct {
	client.Objects
	pool    string
	objects map[string][]byte
}

func (p *memPool) fail(object string, err error) error {
	return &client.OpError{Pool: p.pool, Object: object, Index: -1, Err: err}
}

func (p *memPool) Read(_ context.Context, object string, _, _ uint64) ([]byte, error) {
	data, ok := p.objects[object]
	if !ok {
		return nil, p.fail(object, client.ErrNotFound)
	}
	return data, nil
}

func (p *memPool) WriteFull(_ context.Context, object string, data []byte) error {
	p.objects[object] = data
	return nil
}

func (p *memPool) Stat(_ context.Context, object string) (client.Stat, error) {
	data, ok := p.objects[object]
	if !ok {
		return client.Stat{}, p.fail(object, client.ErrNotFound)
	}
	return client.Stat{Size: uint64(len(data)), Version: 7, Mtime: admintest.Now}, nil
}

func (p *memPool) Remove(_ context.Context, object string) error {
	if _, ok := p.objects[object]; !ok {
		return p.fail(object, client.ErrNotFound)
	}
	delete(p.objects, object)
	return nil
}

func (p *memPool) List(_ context.Context, from client.Cursor, _ int) ([]string, client.Cursor, error) {
	var names []string
	for i := int(from.Shard) * 3; i < int(from.Shard)*3+3 && i < len(p.objects); i++ {
		names = append(names, fmt.Sprintf("o%d", i))
	}
	return names, client.Cursor{Shard: from.Shard + 1, End: int(from.Shard)*3+3 >= len(p.objects)}, nil
}

// TestTables compares what commands print, from the fake monitor to the terminal, with golden files.
func TestTables(t *testing.T) {
	tests := []struct {
		name string
		args string
		edit func(*cluster)
	}{
		{"status", "status", nil},
		{"status_osd_down", "status", func(c *cluster) { c.backend.KillOSD(2) }},
		{"health", "health", nil},
		{"health_detail", "health detail", func(c *cluster) { c.backend.KillOSD(2) }},
		{"df", "df", nil},
		{"mon_stat", "mon stat", nil},
		{"osd_tree", "osd tree", nil},
		{"osd_df", "osd df", nil},
		{"osd_df_tree", "osd df tree", nil},
		{"osd_stat", "osd stat", nil},
		{"pg_stat", "pg stat", nil},
		{"pg_ls", "pg ls -p s3.data", nil},
		{"pg_ls_degraded", "pg ls --state degraded --osd osd.1 --pool s3.data", func(c *cluster) { c.backend.KillOSD(0) }},
		{"pg_dump", "pg dump", nil},
		{"pg_query", "pg query 1.3", nil},
		{"pool_ls", "pool ls", nil},
		{"pool_ls_detail", "pool ls detail", nil},
		{"pool_get_all", "pool get rbd all", nil},
		{"map_show", "map show --pgs", nil},
		{"map_crush", "map show --crush", nil},
		{"map_locate", "map locate rbd foo", nil},
		{"help_exit_codes", "help exit-codes", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t)
			if tt.edit != nil {
				tt.edit(c)
			}
			r := c.admin(t, strings.Fields(tt.args)...)
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			file := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(r.stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), r.stdout); d != "" {
				t.Errorf("cairn %s (-want +got):\n%s", tt.args, d)
			}
		})
	}
}

// TestSession runs commands one after the other against one cluster.
func TestSession(t *testing.T) {
	c := newCluster(t)
	c.buckets.Put(api.Bucket{Name: "full", Owner: "u", Objects: 3})
	for i, key := range []string{"a/b", "live", "c1", "c2"} {
		c.buckets.Delete("full", api.DeletedObject{Key: key, ID: fmt.Sprint("id", 1+i), Size: 7})
	}
	tests := []struct {
		args   string
		code   int
		output string // in standard output, or in standard error if the code is not zero
	}{
		{"osd out 1 osd.2", 0, "marked out osd.1.\nmarked out osd.2.\n"},
		{"osd stat", 0, "1 in"},
		{"osd in 1 2", 0, "marked in osd.1.\nmarked in osd.2.\n"},
		{"osd reweight 1 0.5", 0, "reweighted osd.1 to 0.5\n"},
		{"osd reweight 1 1.5", 2, `weight "1.5": want a number from 0`},
		{"osd reweight 1 NaN", 2, `weight "NaN"`},
		{"osd reweight 9 1", 3, "osd.9: not found; see `cairn osd tree`"},
		{"osd down 1", 0, "marked down osd.1.\n"},
		{"osd out", 2, "requires at least 1 arg"},
		{"osd out one", 2, `OSD "one": want a number or osd.NUMBER`},
		{"osd out 77", 3, "osd.77: not found"},
		{"osd set noout", 0, "noout is set\n"},
		{"osd stat", 0, "flags noout\n"},
		{"osd unset noout", 0, "noout is unset\n"},
		{"osd set sortbitwise", 2, `unknown flag "sortbitwise": want noout, pause, nodown, norebalance, norecover, nobackfill, noscrub, nodeep-scrub`},
		{"osd ok-to-stop 1", 0, "osd.1 may stop: every PG goes on serving\n"},
		{"osd ok-to-stop 1 2", 1, "osd.1, osd.2: not ok-to-stop: "},
		{"osd ok-to-stop x", 2, `OSD "x"`},
		{"osd ok-to-stop 9", 3, "osd.9"},
		{"osd safe-to-destroy 1", 1, "have it in their in-sync set"},
		{"osd drain 1", 5, "pool 'rbd': CRUSH rule replicated_rule finds only 2 of 3 places without them; add OSDs on other hosts"},
		{"osd drain 1 --force", 0, "draining osd.1; see"},
		{"osd drain status", 0, "osd.1"},
		{"osd undrain 1", 0, "not draining osd.1 any more\n"},
		{"osd drain osd.1 --force", 0, "draining"},
		{"osd drain 1 --stop", 0, "not draining"},
		{"osd rm 1", 5, "osd.1 is"},
		{"osd rm 9", 3, "osd.9"},
		{"osd crush set-device-class ssd 1 2", 0, "set osd.1 to class ssd\nset osd.2 to class ssd\n"},
		{"osd crush reweight 1 1.5", 0, "reweighted item id 1 name 'osd.1' to 1.5 in crush map\n"},
		{"osd crush reweight 1 NaN", 2, "want a number"},
		{"osd crush move host1 rack=r1", 0, "moved 'host1' to rack=r1 in crush map\n"},
		{"osd crush move host1 rack", 2, "give TYPE=NAME"},
		{"osd crush move host9 rack=r1", 3, "host9"},
		{"config set scrub_interval 12h", 0, "scrub_interval is 12h\n"},
		{"config get scrub_interval", 0, "12h\n"},
		{"config ls", 0, "scrub_interval          12h *"},
		{"config rm scrub_interval", 0, "scrub_interval has its default\n"},
		{"config get scrub_interval", 0, "1d\n"},
		{"config set colour red", 2, "the keys are backfillfull_ratio"},
		{"config get colour", 2, "the keys are backfillfull_ratio"},
		{"config set full_ratio 2", 2, "want 0.1 to 0.99"},
		{"osd set-full-ratio 0.8", 2, "change that first"},
		{"osd set-full-ratio lots", 2, "want a number such as 0.95"},
		{"osd set-backfillfull-ratio NaN", 2, "want 0.1 to 0.99"},
		{"osd set-nearfull-ratio 0.75", 0, "nearfull_ratio is 0.75"},
		{"config get nearfull_ratio", 0, "0.75"},
		{"osd set-nearfull-ratio 0.85", 0, "nearfull_ratio is 0.85"},
		{"pg force-primary 1.0 1", 5, "leads it and serves"},
		{"pg force-primary 1.0 9 --accept-loss", 3, "osd.9"},
		{"pg force-primary 1.77 1", 3, "has only 8 PGs"},
		{"audit ls", 0, "config set scrub_interval 12h"},
		{"audit ls --limit 1", 0, "OUTCOME"},
		{"audit ls --limit 5000", 2, "want 0 to 1000"},
		{"osd tree extra", 2, `argument "extra" is one too many`},
		{"osd df branch", 2, `unknown argument "branch": want tree or nothing`},
		{"osd tre", 2, `unknown command "tre" for "cairn osd"; did you mean "tree"?`},
		{"osd", 2, "--data and --mons are required"},
		{"mon status", 2, `did you mean "stat"?`},
		{"pg", 2, "pg: which command? It has deep-scrub, dump, force-primary, list-inconsistent, ls, query, repair, scrub, stat"},
		{"health --check", 10, ""},
		{"health -o json --check", 10, ""},
		{"health wealth", 2, `unknown argument "wealth"`},
		{"pg query 1.99", 3, "has only 8 PGs"},
		{"pg query x", 2, "POOL.SHARD"},
		{"pg scrub 1.0 2.1", 0, "instructed the primary of pg 1.0 to scrub\ninstructed the primary of pg 2.1 to scrub\n"},
		{"pg repair 1.0", 0, "to repair\n"},
		{"pg deep-scrub 1.99", 3, "has only 8 PGs"},
		{"pg scrub", 2, "requires at least 1 arg"},
		{"pg list-inconsistent 1.0", 0, `osd.0 (primary)  data_digest_mismatch      1'5     9  0x01`},
		{"pg list-inconsistent 1.0", 0, `"a\ab": not repaired: nobody knows` + "\nand 2 more\n"},
		{"pg list-inconsistent 2.1", 0, "no inconsistent objects are known\n"},
		{"osd deep-scrub 0", 0, "instructed osd.0 to deep-scrub the placement groups it leads\n"},
		{"osd scrub 9", 3, "osd.9"},
		{"pg ls -p nope", 3, `pool "nope": not found; see`},
		{"pg ls --osd x", 2, `OSD "x"`},
		{"pool create p --size 2", 0, "pool 'p' created\n"},
		{"pool create p", 5, "exists"},
		{"pool create q --size 4", 2, "only 3 hosts"},
		{"pool create q --size 99", 2, "body.size"},
		{"pool create q --size 2 --min-size 3", 2, "flag --min-size 3: want at most --size, which is 2"},
		{"pool create q --size two", 2, "--size"},
		{"pool create q --rule ec", 3, "CRUSH rule"},
		{"pool create", 2, "argument NAME is missing"},
		{"pool get p size", 0, "size: 2\n"},
		{"pool get p colour", 2, `unknown setting "colour": want all or one of application, chunk_size, chunks, compression, crush_rule, cut, dedup, id`},
		{"pool get nope size", 3, `pool "nope": not found`},
		{"pool set p size 3", 0, "set pool 3 size to 3\n"},
		{"pool set p size three", 2, "not a number"},
		{"pool set p colour red", 2, `unknown setting "colour"`},
		{"pool set p size", 2, "argument VALUE is missing"},
		{"pool create ec --chunks 2:1:xor --dedup cluster --cut content --chunk-size 64K --compression s2", 0, "pool 'ec' created\n"},
		{"pool get ec chunk_size", 0, "chunk_size: 64K\n"},
		{"pool get ec dedup", 0, "dedup: cluster\n"},
		{"pool get p chunks", 0, "chunks: none\n"},
		{"pool set ec compression zstd", 0, "set pool 4 compression to zstd\n"},
		{"pool set ec chunk_size 5M", 2, "want a power of two from 8K to 4M"},
		{"pool create q --chunks 4:2", 2, "want none, replica:N, K:1:xor or K:M:rs"},
		{"pool create q --chunks 2:1:xor --chunk-size 3K", 2, "flag --chunk-size: chunk_size \"3K\": want a power of two"},
		{"pool create q --chunks 2:1:xor --dedup all", 2, "body.dedup"},
		{"pool rm ec --confirm ec", 0, "pool 'ec' removed\n"},
		{"pool rm p", 5, `--confirm is missing, and all its objects would be lost for ever. If you mean it, add --confirm p`},
		{"pool rm p --confirm q", 5, `--confirm says "q"`},
		{"pool rm p --confirm p", 0, "pool 'p' removed\n"},
		{"pool rm p --confirm p", 3, "not found"},
		{"user create alice --display-name Alice", 0, "secret key:   secret-of-alice\n"},
		{"user create alice", 5, "exists"},
		{"user create bob --access-key AK", 2, "--access-key and --secret-key-file: give both"},
		{"user create a:b", 2, "letters, digits"},
		{"user ls", 0, "alice"},
		{"user get alice", 0, "access key:   ACCESSalice\n"},
		{"user get alice --show-secret", 0, "secret-of-alice"},
		{"user get carol", 3, "see `cairn user ls`"},
		{"user usage alice", 0, "user:               alice\n"},
		{"user usage carol", 3, "see `cairn user ls`"},
		{"bucket create pictures", 2, "flag --owner is missing"},
		{"bucket create pictures --owner alice", 0, "bucket 'pictures' created for user 'alice'\n"},
		{"bucket create pictures --owner alice", 5, "exists"},
		{"bucket create other --owner nobody", 3, "cairn user ls"},
		{"bucket ls", 0, "pictures"},
		{"bucket stat pictures", 0, "owner:      alice\n"},
		{"bucket stat none", 3, "cairn bucket ls"},
		{"s3 topic create hook -p rbd", 2, "flag --endpoint is missing"},
		{"s3 topic create hook -p rbd --endpoint ftp://x", 2, "want http"},
		{"s3 topic create a:b -p rbd --endpoint http://x/y", 2, "letters, digits"},
		{"s3 topic create hook -p rbd --endpoint http://x/y", 0, "arn:aws:sns:us-east-1::hook"},
		{"s3 topic ls -p rbd", 0, "http://x/y"},
		{"s3 topic rm hook -p rbd", 0, "topic 'hook' removed\n"},
		{"s3 topic rm hook -p rbd", 3, "cairn s3 topic ls"},
		{"kms key create reports --description theirs", 0, "key 'reports' created\n"},
		{"kms key create reports", 5, "exists"},
		{"kms key create", 0, "' created\n"},
		{"kms key rotate reports", 0, "key 'reports' has a new version\n"},
		{"kms key ls", 0, "reports"},
		{"kms key rm reports", 5, "--confirm reports"},
		{"kms key rm reports --confirm reports", 5, "cairn kms key disable reports"},
		{"kms key disable reports", 0, "key 'reports' is disabled\n"},
		{"kms key enable reports", 0, "key 'reports' is enabled\n"},
		{"kms key disable none", 3, "cairn kms key ls"},
		{"bucket set pictures cut content", 0, "set bucket 'pictures' cut to content\n"},
		{"bucket set pictures colour red", 2, "chunk_size, chunks, compression, cut, dedup, undelete"},
		{"bucket set pictures undelete 7d", 0, "set bucket 'pictures' undelete to 7d\n"},
		{"bucket deleted pictures", 0, "KEY"},
		{"bucket deleted full --prefix l", 0, "id2"},
		{"bucket deleted full --limit 2", 0, "there are more than these 2"},
		{"bucket deleted full --limit 0", 2, "want 1 to 1000000"},
		{"bucket deleted none", 3, "cairn bucket ls"},
		{"bucket undelete full", 2, "want NAME/KEY"},
		{"bucket undelete full/a/b", 0, "object 'a/b' of bucket 'full' is back, 7 B\n"},
		{"bucket undelete full/a/b --id id9", 3, "cairn bucket deleted full"},
		{"bucket undelete full/live", 5, "--force"},
		{"bucket undelete full/live --force --id id2", 0, "is back"},
		{"bucket undelete none/k", 3, "cairn bucket ls"},
		{"bucket purge full", 5, "--confirm full"},
		{"bucket purge full --prefix c --confirm full", 0, "2 deleted objects of bucket 'full' erased\n"},
		{"bucket purge none --confirm none", 3, "cairn bucket ls"},
		{"bucket set none cut content", 3, "cairn bucket ls"},
		{"bucket info pictures", 0, "settings:           cut=content undelete=7d\n"},
		{"bucket info pictures/a/b", 0, "key:                a/b\n"},
		{"bucket info pictures/", 2, "no key"},
		{"bucket info none", 3, "cairn bucket ls"},
		{"bucket rm pictures", 5, "--confirm pictures"},
		{"bucket rm pictures --confirm pictures", 0, "bucket 'pictures' removed\n"},
		{"bucket rm full --confirm full", 5, "holds 3 objects"},
		{"user rm alice --confirm alice", 0, "user 'alice' removed\n"},
		{"user rm alice --confirm alice", 3, "not found"},
		{"map locate nope foo", 3, `pool "nope"`},
		{"status -o yaml", 2, `flag -o/--output "yaml": want table or json`},
		{"status --timeout 0s", 2, "flag --timeout 0s"},
		{"status --timeout soon", 2, "--timeout"},
		{"status --colour", 2, "status: unknown flag: --colour\nRun 'cairn status --help' for usage."},
		{"staus", 2, `did you mean "status"?`},
		{"version", 0, "cairn version "},
		{"completion bash", 0, "bash completion"},
		{"", 0, "Available Commands:"},
		{"crush --help", 0, "CRUSH maps"},
	}
	for _, tt := range tests {
		r := c.admin(t, strings.Fields(tt.args)...)
		where, text := "standard output", r.stdout
		if tt.code != 0 {
			where, text = "standard error", r.stderr
		}
		if r.code != tt.code || !strings.Contains(text, tt.output) {
			t.Errorf("cairn %s: exit code %d, output %q, errors %q; want %d with %q in %s", tt.args, r.code, r.stdout, r.stderr, tt.code, tt.output, where)
		}
		if tt.code != 0 && tt.code < 10 && (r.stdout != "" || !strings.HasPrefix(r.stderr, "cairn: ")) {
			t.Errorf("cairn %s: output %q, errors %q; want nothing but an error that begins with cairn:", tt.args, r.stdout, r.stderr)
		}
	}
}

// TestJSON checks that every command that prints has a valid JSON form.
func TestJSON(t *testing.T) {
	c := newCluster(t)
	c.objects["o0"] = []byte("x")
	for _, args := range []string{
		"status", "health detail", "df", "mon stat", "osd tree", "osd df", "osd stat", "osd out 1", "osd in 1", "osd reweight 1 1", "osd set pause", "osd unset pause",
		"pg stat", "pg ls", "pg dump", "pg query 1.0", "pg scrub 1.0", "pg list-inconsistent 1.0", "osd repair 1", "pool create p", "pool ls", "pool ls detail", "pool get p size", "pool set p size 2", "pool rm p --confirm p",
		"user create u", "user ls", "user get u", "user usage u", "bucket ls", "bucket create bbb --owner u", "bucket stat bbb", "bucket info bbb", "bucket info bbb/k", "bucket set bbb cut content", "bucket rm bbb --confirm bbb", "user rm u --confirm u",
		"audit ls", "config ls", "config get full_ratio", "config set full_ratio 0.9", "config rm full_ratio", "osd ok-to-stop 1", "osd drain status",
		"osd drain 1 --force", "osd undrain 1", "osd crush set-device-class ssd 1", "osd crush reweight 1 1", "osd crush move host1 rack=r1",
		"s3 topic create -p rbd t --endpoint http://h/", "s3 topic ls -p rbd", "s3 topic rm -p rbd t", "map show", "map locate rbd foo", "object ls -p rbd", "object stat o0 -p rbd", "object rm o0 -p rbd", "version",
	} {
		r := c.admin(t, append(strings.Fields(args), "-o", "json")...)
		if r.code != 0 || !json.Valid([]byte(r.stdout)) {
			t.Errorf("cairn %s -o json: exit code %d, %s, output %q", args, r.code, r.stderr, r.stdout)
		}
		if strings.Contains(r.stdout, "null") {
			t.Errorf("cairn %s -o json: an empty list is null: %s", args, r.stdout)
		}
	}
	// Numbers beyond 2^53 must survive.
	if r := c.admin(t, "pg", "query", "1.0"); !strings.Contains(r.stdout, "18446744073709551615") {
		t.Errorf("pg query: %s", r.stdout)
	}
	var st api.Status
	if err := json.Unmarshal([]byte(c.admin(t, "status", "-o", "json").stdout), &st); err != nil || st.PGMap.PGs != 12 {
		t.Errorf("status: %+v, %v", st.PGMap, err)
	}
}

func TestObjects(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "in")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, store.MaxObjectBytes+1); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	tests := []struct {
		args, stdin string
		code        int
		output      string
	}{
		{"object put o0 - -p rbd", "from stdin", 0, ""},
		{"object get o0 - -p rbd", "", 0, "from stdin"},
		{"object put o1 " + file + " --pool rbd", "", 0, ""},
		{"object get o1 " + out + " -p rbd", "", 0, ""},
		{"object put o1 " + dir + "/none -p rbd", "", 1, "no such file"},
		{"object put o1 " + big + " -p rbd", "", 2, "is longer than 64 MiB, the most one object holds; split it, or store it in a bucket"},
		{"object put o2 - -p rbd", "", 0, ""},
		{"object put o3 - -p rbd", "", 0, ""},
		{"object ls -p rbd", "", 0, "o0\no1\no2\no3\n"},
		{"object stat o1 -p rbd", "", 0, "rbd/o1 mtime 2026-11-22T10:15:00.000000+0000, size 11\n"},
		{"object stat none -p rbd", "", 3, `object "none" in pool "rbd": not found`},
		{"object get none - -p rbd", "", 3, "not found"},
		{"object rm o3 -p rbd", "", 0, ""},
		{"object rm o3 -p rbd", "", 3, "not found"},
		{"object ls -p nope", "", 3, "pool \"nope\": not found; see `cairn pool ls`"},
		{"object ls", "", 2, "flag -p/--pool is missing"},
		{"object put o1", "", 2, "argument FILE is missing"},
	}
	for _, tt := range tests {
		r := c.cairn(t, tt.stdin, []string{"CAIRN_ADMIN=" + c.url}, strings.Fields(tt.args)...)
		text := r.stdout
		if tt.code != 0 {
			text = r.stderr
		}
		if r.code != tt.code || tt.code == 0 && text != tt.output || !strings.Contains(text, tt.output) {
			t.Errorf("cairn %s: exit code %d, output %q, errors %q; want %d and %q", tt.args, r.code, r.stdout, r.stderr, tt.code, tt.output)
		}
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "from a file" {
		t.Errorf("object get into a file: %q, %v", got, err)
	}
	// A failed get leaves the file as it was.
	c.cairn(t, "", []string{"CAIRN_ADMIN=" + c.url}, "object", "get", "none", out, "-p", "rbd")
	if got, _ := os.ReadFile(out); string(got) != "from a file" {
		t.Errorf("a failed get left %q in the file", got)
	}
}

func TestSecretKeyFromStandardInput(t *testing.T) {
	c := newCluster(t)
	r := c.cairn(t, "hush\n", []string{"CAIRN_ADMIN=" + c.url}, "user", "create", "u", "--access-key", "AK", "--secret-key-file", "-")
	if r.code != 0 || !strings.Contains(r.stdout, "secret key:   hush\n") {
		t.Errorf("exit code %d, %q, %q", r.code, r.stdout, r.stderr)
	}
}

// TestAddresses checks where the monitors' addresses come from, in order.
func TestAddresses(t *testing.T) {
	c := newCluster(t)
	dead := deadAddr(t)
	file := "@.cairn/admin="
	home := "@/home/u/.config/cairn/admin="
	tests := []struct {
		name string
		vars []string
		args []string
		code int
		err  string
	}{
		{"flag before variable", []string{"CAIRN_ADMIN=" + dead}, []string{"health", "--admin", c.url}, 0, ""},
		{"flag before the command", nil, []string{"--admin", c.url, "health"}, 0, ""},
		{"URL", nil, []string{"health", "--admin", "http://" + c.url}, 0, ""},
		{"second address", nil, []string{"health", "--admin", dead + "," + c.url}, 0, ""},
		{"change at the second address", nil, []string{"osd", "set", "noout", "--admin", dead + "," + c.url}, 0, ""},
		{"variable before file", []string{"CAIRN_ADMIN=" + c.url, file + dead}, []string{"health"}, 0, ""},
		{"file here before file at home", []string{file + "# mons\n" + c.url + "  # a\n", "HOME=/home/u", home + dead}, []string{"health"}, 0, ""},
		{"file at home", []string{"HOME=/home/u", home + dead + "\n" + c.url}, []string{"health"}, 0, ""},
		{"configuration folder", []string{"XDG_CONFIG_HOME=/x", "@/x/cairn/admin=" + c.url}, []string{"health"}, 0, ""},
		{"empty file", []string{file + "# nothing"}, []string{"health"}, 1, ".cairn/admin names no monitor"},
		{"nobody there", nil, []string{"health", "--admin", dead}, 4, "no monitor answered: " + dead + ": connection refused; check that"},
		{"no address", nil, []string{"health", "--admin", "localhost"}, 2, `--admin: invalid: monitor address "localhost": want HOST:PORT`},
		{"not a host", nil, []string{"health", "--admin", "http://h:1/path"}, 2, "want HOST:PORT"},
		{"only commas", nil, []string{"health", "--admin", ","}, 2, "0 monitor addresses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := c.cairn(t, "", tt.vars, tt.args...)
			if r.code != tt.code || !strings.Contains(r.stderr, tt.err) {
				t.Errorf("exit code %d, errors %q; want %d with %q", r.code, r.stderr, tt.code, tt.err)
			}
		})
	}
}

// deadAddr is an address where nobody listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestExitCodesOfTheCluster(t *testing.T) {
	tests := []struct {
		err  error
		code int
	}{
		{api.ErrNotFound, 3}, {api.ErrExists, 5}, {api.ErrConflict, 5}, {api.ErrInvalid, 2}, {api.ErrNoQuorum, 4}, {api.ErrTryLater, 4},
		{context.DeadlineExceeded, 4}, {fs.ErrClosed, 1},
	}
	for _, tt := range tests {
		c := newCluster(t)
		c.backend.Edit(func(s *admintest.State) { *s.Fail = fmt.Errorf("pool p: %w", tt.err) })
		if r := c.admin(t, "osd", "set", "noout"); r.code != tt.code {
			t.Errorf("%v: exit code %d (%s), want %d", tt.err, r.code, r.stderr, tt.code)
		}
	}
	c := newCluster(t)
	c.backend.Edit(func(s *admintest.State) { s.Quorum.Leader = "" })
	r := c.admin(t, "status")
	if r.code != 4 || !strings.Contains(r.stderr, "no leading monitor") || !strings.Contains(r.stderr, "cairn mon stat") {
		t.Errorf("no leader: exit code %d, %q", r.code, r.stderr)
	}
	if r := c.admin(t, "mon", "stat"); r.code != 0 || !strings.Contains(r.stdout, "no quorum") {
		t.Errorf("mon stat without leader: exit code %d, %q %q", r.code, r.stdout, r.stderr)
	}
}

func TestHealthCheckCodes(t *testing.T) {
	c := newCluster(t)
	if r := c.admin(t, "health", "--check"); r.code != 0 || r.stdout != "HEALTH_OK\n" {
		t.Errorf("healthy: %+v", r)
	}
	c.backend.Edit(func(s *admintest.State) { s.Reports[0].Report.Available = 0 })
	if r := c.admin(t, "health", "--check"); r.code != 11 || !strings.HasPrefix(r.stdout, "HEALTH_ERR 1 full osd(s)") {
		t.Errorf("full: %+v", r)
	}
	if r := c.admin(t, "health"); r.code != 0 {
		t.Errorf("full, without --check: %+v", r)
	}
}

// TestManualNamesEveryExitCode keeps the manual and the program together.
func TestManualNamesEveryExitCode(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitNotFound, exitUnreachable, exitConflict, exitHealthWarn, exitHealthErr, exitDamage, exitRepaired, exitCannotOpen, exitInterrupted} {
		if !strings.Contains(string(manual), fmt.Sprintf("| %d |", code)) {
			t.Errorf("docs/operations/cli.md lacks exit code %d", code)
		}
		if !strings.Contains(exitCodesText, fmt.Sprintf("%5d  ", code)) {
			t.Errorf("help exit-codes lacks %d", code)
		}
	}
	for _, cmd := range newRoot(newEnv()).Commands() {
		if cmd.IsAvailableCommand() && !strings.Contains(string(manual), "`cairn "+cmd.Name()) {
			t.Errorf("docs/operations/cli.md does not tell of `cairn %s`", cmd.Name())
		}
	}
}
