#!/usr/bin/env bash
# Runs the S3 tests of versitygw (Apache-2.0, github.com/versity/versitygw) one by one
# against a cluster of ours, and prints how many pass, by group.
#
#   scripts/versitygw.sh [-k DIR] [-m REGEXP] [-v]
#     -k DIR     keep the test's binary and what the tests said in DIR
#     -m REGEXP  only tests whose names match
#     -v         print the reason of each failure
#
# The tests want a user of theirs in each test: a small program in the place of their
# own admin command makes it with `cairn user create`. What they ask of versitygw
# alone (its admin commands, its IAM) is not run.
set -eu

version=v1.8.0
keep= match=. verbose=
while getopts k:m:v o; do
	case $o in
	k) keep=$OPTARG ;;
	m) match=$OPTARG ;;
	v) verbose=1 ;;
	*) exit 2 ;;
	esac
done

cd "$(dirname "$0")/.."
work=${keep:-$(mktemp -d)}
mkdir -p "$work/bin" "$work/out" "$work/run"
work=$(cd "$work" && pwd)
dev=
cleanup() {
	if [ -n "$dev" ]; then kill "$dev" 2>/dev/null || true; wait "$dev" 2>/dev/null || true; fi
	rm -rf "$work/cluster"
	[ -n "$keep" ] || rm -rf "$work"
}
trap cleanup EXIT

go build -o "$work/bin/cairn" ./cmd/cairn
source=$work/source
if [ ! -x "$work/bin/versitygw" ]; then
	module=$(go mod download -json "github.com/versity/versitygw@$version" | sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p')
	cp -r "$module" "$source"
	chmod -R u+w "$source"
	# Each run of a test begins to count its buckets at 1: those of a test that failed would be in the way of the next.
	sed -i 's/"test-bucket-%v", val)/"test-%v-bucket-%v", os.Getpid(), val)/; s/^import (/import (\n\t"os"/' "$source/tests/integration/utils.go"
	# A test that is run by its name tidies up as if there were no versions, and then fails for those that are left.
	sed -i '/^func teardown(/,/^}/s/if s.versioningEnabled {/if true || s.versioningEnabled {/' "$source/tests/integration/utils.go"
	(cd "$source" && go build -o "$work/bin/versitygw" ./cmd/versitygw)
fi

# Each test of the full flow, behind the group that calls it, in the order of the calls. With versions, since we keep them.
awk -v match_re="$match" '
	/^func Test[A-Za-z0-9_]*\(ts \*TestState\)/ { fn = $2; sub(/\(.*/, "", fn); next }
	/^}/ { fn = "" }
	fn == "TestFullFlow" && /^\t+Test[A-Za-z0-9_]+\(ts\)/ { g = $1; sub(/\(.*/, "", g); order[++n] = g }
	fn != "" && /ts\.(Run|Sync)\(/ { t = $0; sub(/.*ts\.(Run|Sync)\(/, "", t); sub(/\).*/, "", t); list[fn] = list[fn] " " t }
	END {
		for (i = 1; i <= n; i++) {
			if (order[i] ~ /GatewayIAM|Server$|_VD$|Website/) continue
			k = split(list[order[i]], ts, " ")
			for (j = 1; j <= k; j++) if (ts[j] ~ match_re) print substr(order[i], 5), ts[j]
		}
	}' "$source/tests/integration/group-tests.go" >"$work/tests"

# The program that stands for versitygw admin: it makes users.
cat >"$work/run/versitygw" <<'SHIM'
#!/usr/bin/env bash
# admin ... create-user -a ACCESS -s SECRET -r ROLE
cmd= access= secret=
for a; do
	case $a in create-user | change-bucket-owner | list-buckets | delete-user) cmd=$a ;; esac
done
if [ "$cmd" != create-user ]; then
	echo "XAdminMethodNotSupported: $cmd is versitygw's own"
	exit 1
fi
while [ "$1" != create-user ]; do shift; done
shift
while [ $# -gt 1 ]; do
	case $1 in -a) access=$2 ;; -s) secret=$2 ;; esac
	shift 2
done
printf %s "$secret" | "$CAIRN" user create "$access" --access-key "$access" --secret-key-file - 2>&1 || true
SHIM
chmod +x "$work/run/versitygw"

rm -rf "$work/cluster"
: >"$work/dev.log"
"$work/bin/cairn" dev --dir "$work/cluster" >"$work/dev.log" 2>&1 &
dev=$!
field() { sed -n "s/^  $1 *\([^ ]*\).*/\1/p" "$work/dev.log" | head -1; }
for _ in $(seq 600); do
	grep -q 'Press Ctrl-C' "$work/dev.log" && break
	kill -0 "$dev" 2>/dev/null || { cat "$work/dev.log" >&2; exit 1; }
	sleep 0.1
done
CAIRN=$work/bin/cairn CAIRN_ADMIN=$(field REST | sed 's,http://,,')
export CAIRN CAIRN_ADMIN
endpoint=$(field S3)
unset AWS_CA_BUNDLE
# Owners are named by their access keys in these tests, so the main user's name is its key.
printf %s versitytestsecret | "$CAIRN" user create versitytest --access-key versitytest --secret-key-file - >/dev/null

cd "$work/run"
: >"$work/results"
while read -r group name; do
	# The status tells nothing: a test that panics and one that fails both print it.
	timeout 60 "$work/bin/versitygw" test --allow-insecure --access versitytest --secret versitytestsecret --endpoint "$endpoint" "$name" \
		>"$work/out/$name" 2>&1 </dev/null || true
	if grep -q 'PASS' "$work/out/$name" && ! grep -qE 'FAIL|^panic' "$work/out/$name"; then
		echo "$group $name pass" >>"$work/results"
	else
		echo "$group $name fail" >>"$work/results"
		if [ -n "$verbose" ]; then
			echo "$group $name: $(grep -aE 'FAIL|^panic' "$work/out/$name" | sed 's/\x1b\[[0-9;]*m//g' | tail -1 | cut -c1-200)"
		fi
	fi
done <"$work/tests"

awk '
	{ total[$1]++; if ($3 == "pass") pass[$1]++; if (!($1 in seen)) { seen[$1] = 1; order[++n] = $1 } }
	END {
		printf "%-32s %7s %7s\n", "group", "passed", "failed"
		for (i = 1; i <= n; i++) { g = order[i]; printf "%-32s %7d %7d\n", g, pass[g], total[g] - pass[g]; p += pass[g]; t += total[g] }
		printf "%-32s %7d %7d\n", "all", p, t - p
	}' "$work/results"
