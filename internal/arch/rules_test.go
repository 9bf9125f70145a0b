package arch

import "slices"

// module is the path that the tree's own packages share.
const module = "github.com/cairnstore/cairn"

// own starts the names of the tree's own packages in the rules below.
const own = module + "/"

// rule says what the files of some folders may not import. An entry matches every
// import that it begins; the longest matching entry of deny and allow wins, and
// what neither matches is allowed. No entry of a list may begin another one of the
// same list: depguard looks at one entry only.
type rule struct {
	name   string
	dirs   []string // folders, with all below them
	except []string // folders below dirs that another rule covers
	tests  bool     // the rule binds tests too
	allow  []string // exceptions from deny
	deny   []ban
}

// ban forbids packages by the beginning of their names, and says why.
type ban struct{ pkg, why string }

// pure lists the folders whose code computes and nothing else: the same input
// gives the same output, in the cluster, in a test and in the simulator.
var pure = []string{"placement", "mon/fsm", "osd/pg", "osd/objop", "osd/scrub", "client/core", "internal/clock", "internal/codec", "internal/chunk", "internal/sim", "gateways/s3/policy", "gateways/s3/acl", "internal/seal"}

// noIO is what a pure package stays away from; TestPure adds the functions of
// package time that look at a clock.
var noIO = []ban{
	{"bufio", "a pure package does no I/O: its driver does"},
	{"crypto/rand", "a pure package has no source of chance: the simulator could not repeat a run"},
	{"io/fs", "a pure package does no I/O: its driver does"},
	{"io/ioutil", "a pure package does no I/O: its driver does"},
	{"log", "a pure package returns what happened; its driver logs it"},
	{"math/rand", "a pure package has no source of chance: the simulator could not repeat a run"},
	{"net", "a pure package does no I/O: its driver does"},
	{"os", "a pure package does no I/O: its driver does"},
	{"runtime", "a pure package starts no goroutine and does not look at its process"},
	{"syscall", "a pure package does no I/O: its driver does"},
	{"golang.org/x/sys", "a pure package does no I/O: its driver does"},
}

func with(bans ...[]ban) (all []ban) {
	for _, b := range bans {
		all = append(all, b...)
	}
	return all
}

func bans(why string, pkgs ...string) (b []ban) {
	for _, p := range pkgs {
		b = append(b, ban{p, why})
	}
	return b
}

// assemblers put daemons together and may import everything.
var assemblers = []string{"cmd", "internal/node", "internal/testcluster"}

const twoDaemons = "only cmd, internal/node and internal/testcluster see two daemons at once"

// rules are all import rules. Imports point one way:
//
//	cmd -> internal/node -> what follows
//	gateways -> client/bucket -> client -> client/core, internal/wire -> placement
//	mon -> mon/fsm -> placement
//	osd -> osd/pg, osd/objop, osd/scrub, osd/store -> placement
//	osd/chunkcare -> client
var rules = []rule{
	{
		name: "placement", dirs: []string{"placement"}, except: []string{"placement/crush"},
		allow: []string{own + "placement", own + "internal/codec"},
		deny:  with(bans("placement is the bottom: every client and daemon computes with it, so it may depend on none of them", own), noIO),
	},
	{
		name: "crush", dirs: []string{"placement/crush"},
		deny: with(bans("CRUSH knows nothing of cairn's own map: it is bit-exact with Ceph's and stays usable alone", own), noIO),
	},
	{
		name: "fsm", dirs: []string{"mon/fsm"},
		allow: []string{own + "mon/fsm", own + "placement", own + "internal/wire/wirepb", own + "internal/codec"},
		deny:  with(bans("the state machine must make the same map on every monitor: it knows messages and placement only", own), noIO),
	},
	{
		name: "pg", dirs: []string{"osd/pg"},
		allow: []string{own + "osd/pg", own + "osd/store", own + "placement", own + "internal/wire/wirepb", own + "internal/clock", own + "internal/codec", own + "internal/chunk", own + "internal/slab"},
		deny:  with(bans("the protocol of a PG is a state machine: drivers (the daemon, the simulation) turn its effects into the world", own), noIO),
	},
	{
		name: "scrub", dirs: []string{"osd/scrub"},
		allow: []string{own + "osd/scrub", own + "osd/store", own + "placement", own + "internal/wire/wirepb"},
		deny:  with(bans("osd/scrub describes what a store holds and knows nothing of PGs or daemons", own), noIO),
	},
	{
		name: "objop", dirs: []string{"osd/objop"},
		allow: []string{own + "osd/objop", own + "osd/store", own + "placement", own + "internal/wire/wirepb", own + "internal/codec", own + "internal/chunk", own + "internal/slab"},
		deny:  with(bans("an object operation is a function of the stored object: nothing else may influence it", own), noIO),
	},
	{
		name: "base", dirs: []string{"internal/clock", "internal/codec"},
		deny: with(bans("the lowest packages depend on nothing of the tree", own), noIO),
	},
	{
		name: "chunk", dirs: []string{"internal/chunk"},
		allow: []string{own + "internal/chunk", own + "internal/codec", own + "placement"},
		deny:  with(bans("what chunks are called and how they are written down: clients and OSDs share it, so it knows neither", own), noIO),
	},
	{
		name: "seal", dirs: []string{"internal/seal"},
		allow: []string{own + "internal/codec"},
		deny:  with(bans("how bodies are encrypted is a function of keys, salts and bytes; those who have them bring them", own), noIO),
	},
	{
		name: "slab", dirs: []string{"internal/slab"},
		allow: []string{"golang.org/x/sys/unix"}, // huge pages
		deny:  with(bans("the lowest packages depend on nothing of the tree", own), noIO),
	},
	{
		name: "store", dirs: []string{"osd/store"}, tests: true,
		allow: []string{own + "osd/store", own + "placement", own + "internal/clock", own + "internal/codec", own + "internal/invariant", own + "internal/obs", own + "internal/slab"},
		deny:  with(bans("the store keeps what it is given: it knows no protocol and no cluster", own), bans("the store has no network", "net")),
	},
	{
		name: "inspect", dirs: []string{"osd/inspect"}, tests: true,
		allow: []string{own + "osd/inspect", own + "osd/pg", own + "osd/store", own + "placement", own + "internal/codec", own + "internal/chunk", own + "internal/wire/wirepb"},
		deny:  with(bans("osd/inspect works on stores no OSD has open: it knows stores and PGs, and speaks to nobody", own), bans("it has no network", "net")),
	},
	{
		name: "osd", dirs: []string{"osd"}, except: []string{"osd/pg", "osd/objop", "osd/scrub", "osd/store", "osd/inspect", "osd/chunkcare"}, tests: true,
		deny: with(bans("an OSD and a monitor meet on the wire only, so that neither can depend on the other's memory", own+"mon"),
			bans("an OSD serves clients and gateways; it is neither", own+"client", own+"gateways", own+"csi", own+"internal/api"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "chunkcare", dirs: []string{"osd/chunkcare"},
		allow: []string{own + "osd/chunkcare"},
		deny: with(bans("the care for chunks is a client that runs beside an OSD: what it needs of the OSD it declares, and internal/node brings", own+"osd", own+"mon"),
			bans("it uses objects and shards, not what stands on them", own+"client/bucket", own+"gateways", own+"csi", own+"internal/api", own+"internal/wire"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "mon", dirs: []string{"mon"}, except: []string{"mon/fsm"}, tests: true,
		deny: with(bans("an OSD and a monitor meet on the wire only, so that neither can depend on the other's memory", own+"osd"),
			bans("the monitors are not in the data path; cmd gives REST to them through the interface that gateways/admin declares", own+"client", own+"gateways", own+"csi"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "core", dirs: []string{"client/core"},
		allow: []string{own + "client/core", own + "placement", own + "internal/wire/wirepb", own + "internal/clock"},
		deny:  with(bans("whom a client asks, and when again, is a state machine: drivers (the client, the simulation) turn its effects into the world", own), noIO),
	},
	{
		name: "client", dirs: []string{"client"}, except: []string{"client/bucket", "client/clienttest", "client/core"},
		deny: with(bans("a client meets the daemons on the wire only", own+"mon", own+"osd"),
			bans("the object client is what buckets and gateways stand on", own+"client/bucket", own+"gateways", own+"csi"),
			bans("the object client's own tests use it, nothing else of the package", own+"client/clienttest"),
			bans("REST is for people and tools", own+"internal/api"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "clienttest", dirs: []string{"client/clienttest"},
		// The pool in memory evaluates operations with the OSD's own pure code, so that the two cannot differ.
		allow: []string{own + "osd/objop", own + "osd/store"},
		deny:  bans("a pool in memory is for tests of what stands on the client; it needs nothing that runs", own+"mon", own+"osd", own+"gateways", own+"cmd", own+"internal/node", own+"internal/testcluster", own+"client/bucket"),
	},
	{
		name: "bucket", dirs: []string{"client/bucket"},
		deny: with(bans("buckets are made of objects: they use the object client and know neither messages nor placement", own+"internal/wire", own+"placement"),
			bans("a client meets the daemons on the wire only", own+"mon", own+"osd"),
			bans("buckets are what gateways stand on", own+"gateways", own+"csi", own+"internal/api"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "access", dirs: []string{"gateways/s3/policy", "gateways/s3/acl"},
		allow: []string{"net/netip"}, // addresses as values
		deny:  with(bans("policies and access control lists are functions of what they are given: they know no request, bucket or user record", own), noIO),
	},
	{
		name: "gateways", dirs: []string{"gateways"}, except: []string{"gateways/admin", "gateways/s3/policy", "gateways/s3/acl"}, tests: true,
		allow: []string{own + "internal/wire/wirepb"}, // the record of a user, as the monitors keep it
		deny: with(bans("a gateway translates a protocol to the object client: it holds no truth and knows no daemon", own+"mon", own+"osd"),
			bans("a gateway uses buckets, images and trees, never messages or placement", own+"internal/wire", own+"placement"),
			bans("gateways stand side by side; cmd starts them", own+"gateways/admin", own+"csi"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "admin", dirs: []string{"gateways/admin"}, tests: true,
		allow: []string{own + "gateways/s3/policy"}, // what a gateway would not understand is refused where it comes in
		deny: with(bans("REST reaches the monitors through the interface it declares; cmd joins the two", own+"mon", own+"osd"),
			bans("gateways stand side by side; cmd starts them", own+"gateways/s3", own+"csi"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "internal", dirs: []string{"internal"}, except: []string{"internal/node", "internal/testcluster", "internal/sim"}, tests: true,
		deny: with(bans("internal holds what daemons and clients share; it can know none of them", own+"mon", own+"osd", own+"client", own+"gateways", own+"csi"),
			bans(twoDaemons, own+"cmd", own+"tools", own+"internal/node", own+"internal/testcluster")),
	},
	{
		name: "sim", dirs: []string{"internal/sim"},
		allow: []string{
			own + "internal/chunk", own + "internal/clock", own + "internal/wire/wirepb", own + "mon/fsm", own + "osd/objop", own + "osd/pg",
			own + "osd/scrub", own + "osd/store", own + "placement",
			// The care for chunks starts no goroutine with Options.Parallel 1, and has its clock from outside; of client it needs the
			// operations; what it says to the log goes nowhere.
			own + "osd/chunkcare", own + "client", "log/slog",
		},
		deny: with(bans("the simulation drives the pure parts of the daemons; what has goroutines or a clock could not be repeated", own),
			slices.DeleteFunc(slices.Clone(noIO), func(b ban) bool { return b.pkg == "math/rand" })), // its chance comes from a seed
	},
	{
		name: "bench", dirs: []string{"tools/bench"}, tests: true,
		allow: []string{own + "tools/bench", own + "tools/torture", own + "client/bench", own + "internal/api", own + "internal/process"},
		deny:  bans("a benchmark sees a cluster as its users do: as processes, commands and REST", own),
	},
	{
		name: "tools", dirs: []string{"tools"}, except: []string{"tools/bench"},
		deny: bans("a tool works on files or as a client; a whole cluster comes from the binary or from internal/testcluster", own+"cmd", own+"mon", own+"gateways"),
	},
	{
		name: "show", dirs: []string{"cmd/cairn/show"}, tests: true,
		allow: []string{own + "cmd/cairn/show", own + "internal/api"},
		deny:  bans("tables are made of the REST interface's answers alone: what people see can be had with -o json too", own),
	},
	{
		name: "raft", dirs: []string{"."}, except: []string{"mon"}, tests: true,
		deny: bans("Raft is the monitors' own affair", "github.com/hashicorp/raft", "go.etcd.io/bbolt"),
	},
	{
		name: "pebble", dirs: []string{"."}, except: []string{"osd/store", "tools"}, tests: true,
		deny: bans("what is below the store's interface stays below it", "github.com/cockroachdb/pebble"),
	},
	{
		name: "flags", dirs: []string{"."}, except: []string{"cmd", "tools", "osd/store/storetest"}, // tests have flags: seeds, -update
		deny: bans("only commands parse command lines; everything else is configured by its Options", "github.com/spf13/cobra", "github.com/spf13/pflag", "flag"),
	},
	{
		name: "http", dirs: []string{"."}, except: append([]string{"gateways"}, assemblers...),
		deny: bans("HTTP frameworks belong to the gateways; daemons speak the messenger", "github.com/gin-gonic/gin", "github.com/danielgtaylor/huma"),
	},
	{
		name: "logs", dirs: []string{"."}, except: []string{"mon"}, tests: true, // Raft's own interface names log.Logger
		allow: []string{"log/slog"},
		deny:  bans("logs go through log/slog, to the logger in Options", "log"),
	},
	{
		name: "everywhere", dirs: []string{"."}, tests: true,
		allow: []string{"math/rand/v2"},
		deny: with(bans("math/rand/v2 replaced it", "math/rand"),
			bans("functions of io and os replaced it", "io/ioutil"),
			bans("errors are wrapped by fmt.Errorf with %w", "github.com/pkg/errors"),
			bans("a plain if says what was got and what was wanted; cmp.Diff compares structures", "github.com/stretchr/testify")),
	},
}
