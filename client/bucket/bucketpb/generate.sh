#!/bin/sh
# Regenerates the Go code of bucket.proto. The two plugins are built from the
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
	--go-vtproto_out=. --go-vtproto_opt=paths=source_relative,features=marshal+unmarshal+size \
	bucket.proto
