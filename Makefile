# `make help` lists what there is. Variables that may be set:
#   KEEP=1         make demo: leave the cluster running until interrupted
#   OPS=1000000    make gc: how many operations
#   FUZZTIME=5s    make fuzz: how long each target runs
#   BENCH=.        make bench: which benchmarks, a regular expression
#   KILLS=500      make torture: how many processes to kill at least
#   CUTS=10000     make powercut: how many power cuts
#   MINUTES=60     make torture: how long instead
#   STORE=1        make bench: only the store
#   OBJECT=1       make bench: a cluster of processes instead
#   SECONDS=60     make sim, make outage, make bench STORE=1: how long; OBJECT=1: each measurement (10)
#   SEED=7         make chunkmodes: the same data and victims again
#   ROUNDS=10000   make s3torture: how many
#   MIB=5120       make upload: how large
#   REPS=3         make bench OBJECT=1: measurements of each row
#   CEPH=DIR       make bench OBJECT=1: a running Ceph cluster to alternate with
#   PKG=./...      make test-short, race, bench: which packages

GO       ?= go
PKG      ?= ./...
BENCH    ?= .
FUZZTIME ?= 5s
KILLS    ?= 500
CUTS     ?= 10000
MINUTES  ?= 0
OPS      ?= 1000000
REPS     ?= 3
MIB      ?= 5120
ROUNDS   ?= 10000
# Not ?=, since some shells export a SECONDS of their own.
BENCHSECONDS := 10
ifneq ($(origin SECONDS),command line)
SECONDS  := 60
else
BENCHSECONDS := $(SECONDS)
endif

# A version only when the history has a tag; otherwise the program's own default.
# `cairn version` shows the commit in either case.
VERSION := $(patsubst v%,%,$(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null))
LDFLAGS := $(if $(VERSION),-X main.version=$(VERSION))

# The linter has a module of its own: its dependencies stay out of cairn's.
GOLANGCI := $(GO) tool -modfile=tools/lint/go.mod golangci-lint

.DEFAULT_GOAL := build
.PHONY: build demo test test-deps test-short sim gc outage powercut torture s3torture upload failover chunkmodes idle race lint lint-version bench fuzz generate clean help

build: ## build bin/cairn
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/cairn ./cmd/cairn

demo: build ## a whole cluster in one process: stores, loses an OSD, heals (KEEP=1: stays up)
	./bin/cairn demo $(if $(filter-out 0 no false,$(KEEP)),--keep)

# The torture of real processes runs alone and last, so that nothing else takes
# its cores, and tells what it measured; so do the CRUSH vectors.
test: test-deps ## everything CI runs: vet, all tests, then kill -9 of real processes
	$(GO) vet ./...
	$(GO) test -vet=off -timeout 10m $$($(GO) list ./... | grep -v /tools/torture)
	$(GO) test -vet=off -v -run '^TestVectors$$' ./placement/crush
	$(GO) test -vet=off -v -timeout 14m ./tools/torture/...

test-deps: ## install (root) or name (others) the programs that the tests drive
	@./scripts/test-deps.sh

test-short: ## the quick tests only; needs nothing but Go
	$(GO) test -short -timeout 5m $(PKG)

sim: ## simulate whole clusters under faults for SECONDS, with new seeds
	$(GO) test ./internal/sim -count=1 -timeout 0 -v -run 'TestSimulation$$' -sim.seconds=$(SECONDS)

gc: ## the life of chunks: OPS random operations with crashes at any step, then an audit; prints what leaked and what dangles
	$(GO) test ./osd/chunkcare -count=1 -timeout 0 -v -run 'TestModel$$' -chunk.ops=$(OPS)

outage: ## take an OSD away for SECONDS while clients write; prints what it is sent when it returns
	$(GO) test ./internal/testcluster -count=1 -timeout 0 -v -run 'TestOutage$$' -outage=$(SECONDS)s

powercut: ## the store alone: CUTS power cuts of disks in memory, and 200 processes killed while they write; checks after each
	$(GO) test ./osd/store -count=1 -timeout 0 -v -run 'TestDiskPowerCut$$|TestDiskKill$$' -store.cuts=$(CUTS) -store.kills=200

torture: ## kill KILLS processes of a cluster that clients work on, with and without chunks, or go on for MINUTES; more as root
	$(GO) run ./tools/torture/cmd run --minutes $(MINUTES) --kills $(if $(filter-out 0,$(MINUTES)),1,$(KILLS))

s3torture: ## ROUNDS=10000 of conditional changes that race at three S3 gateways, and clients on one prefix, while processes are killed
	$(GO) run ./tools/torture/cmd s3 --rounds $(ROUNDS)

upload: ## a multipart upload of MIB=5120 that is broken off and resumed, read back whole, against a cluster of processes
	$(GO) test ./tools/torture -count=1 -timeout 0 -v -run 'TestRealClients$$/^3_monitors$$/^clients$$/^upload$$' -torture.upload=$(MIB)

failover: ## print how long a cluster does not serve when daemons go away
	$(GO) run ./tools/torture/cmd failover

chunkmodes: ## 12 OSDs; for each way to keep chunks: measure its space, lose as many holders as it stands, read, repair, scrub, audit
	$(GO) run ./tools/torture/cmd chunkmodes $(if $(SEED),--seed $(SEED))

idle: ## print the memory and CPU that an idle cluster uses
	$(GO) run ./tools/torture/cmd idle

race: ## the quick tests under the race detector; needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m $(PKG)

lint: ## golangci-lint, pinned; the first run builds it, which takes minutes
	$(GOLANGCI) run

lint-version: ## which golangci-lint is pinned
	@$(GOLANGCI) version

bench: ## all Go benchmarks; STORE=1: the store's, its overwrites for SECONDS; OBJECT=1: a cluster of processes (CEPH=DIR, SECONDS, REPS)
ifneq ($(filter-out 0 no false,$(OBJECT)),)
	$(GO) run ./tools/bench/cmd --seconds $(BENCHSECONDS) --reps $(REPS) $(if $(CEPH),--ceph '$(CEPH)')
else
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 -timeout 30m $(if $(STORE),./osd/store -store.seconds=$(SECONDS),$(PKG))
endif

fuzz: ## every fuzz target for FUZZTIME
	./scripts/fuzz.sh $(FUZZTIME)

generate: ## regenerate the protobuf code; needs protoc (Debian: protobuf-compiler)
	$(GO) generate ./...

clean: ## remove what make built
	rm -rf bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
