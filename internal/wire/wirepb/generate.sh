#!/bin/sh
# Regenerates the Go code of wire.proto. The two plugins are built from the
# versions go.mod pins (its tool directives); only protoc itself must be
# installed (3.21 or newer; Debian: protobuf-compiler).
set -eu
cd "$(dirname "$0")"
command -v protoc >/dev/null || { echo "generate.sh: protoc is not installed (Debian: apt-get install protobuf-compiler)" >&2; exit 1; }
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin" google.golang.org/protobuf/cmd/protoc-gen-go github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto
PATH="$bin:$PATH" protoc \
	--go_out=. --go_opt=paths=source_relative \
	--go-vtproto_out=. --go-vtproto_opt=paths=source_relative,features=marshal+unmarshal+size+pool \
	--go-vtproto_opt=pool=github.com/cairnstore/cairn/internal/wire/wirepb.PGReplicate \
	--go-vtproto_opt=pool=github.com/cairnstore/cairn/internal/wire/wirepb.OpRequest \
	--go-vtproto_opt=pool=github.com/cairnstore/cairn/internal/wire/wirepb.OpReply \
	wire.proto
