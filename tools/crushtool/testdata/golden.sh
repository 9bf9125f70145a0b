#!/bin/sh
# Writes crushtool's own output for every case of cases.txt (package ceph-base).
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -r "$tmp"' EXIT
grep -v '^#' cases.txt | while read -r name map args; do
	crushtool -c "../../../placement/crush/testdata/$map.txt" -o "$tmp/map"
	# shellcheck disable=SC2086
	crushtool -i "$tmp/map" --test $args >"$name.golden"
done
