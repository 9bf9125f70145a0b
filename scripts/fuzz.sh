#!/usr/bin/env bash
# Runs every fuzz target of the tree for a little while: fuzz.sh [DURATION]
# A failing input is kept in the package's testdata/fuzz; commit it with the fix.
set -eu
cd "$(dirname "$0")/.."
time=${1:-5s}

# Packages come in sorted order, so that two runs compare.
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
	grep -h '^func Fuzz' "$dir"/*_test.go | sed 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/' | sort | while read -r target; do
		echo "== $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir" </dev/null
	done
done
