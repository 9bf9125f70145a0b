#!/usr/bin/env bash
# Makes sure that the programs the tests drive are installed: the S3 clients
# that people really use, and mkfs.ext4 for disks that can be full and frozen. As root on Debian it
# installs what is missing; otherwise it says what to install.
set -eu

# Debian keeps these away from the PATH of users other than root.
PATH=$PATH:/usr/sbin:/sbin

# Each line: the command, how to see that it works, its Debian package.
wanted='s3cmd|s3cmd --version|s3cmd
aws|aws --version|awscli
rclone|rclone version|rclone
s3fs|s3fs --version|s3fs
fusermount|fusermount -V|fuse
mkfs.ext4|mkfs.ext4 -V|e2fsprogs
fsfreeze|fsfreeze -V|util-linux'

missing() {
	local name probe package
	while IFS='|' read -r name probe package; do
		# Running it says more than finding it: a broken wrapper is as bad as none.
		if ! $probe >/dev/null 2>&1 </dev/null; then
			echo "$package"
		fi
	done <<<"$wanted"
}

if ! command -v go >/dev/null; then
	echo "test-deps: go is not installed: install Go 1.26 or newer (https://go.dev/dl) and put it on the PATH" >&2
	exit 1
fi

packages=$(missing | tr '\n' ' ')
packages=${packages% }
[ -z "$packages" ] && exit 0

install="apt-get install -y --no-install-recommends $packages"
if [ "$(id -u)" != 0 ]; then
	echo "test-deps: the tests need Debian packages that are not installed. Run: sudo $install" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "test-deps: the tests need $packages, and there is no apt-get here to install them: install them by hand" >&2
	exit 1
fi

echo "test-deps: installing $packages"
export DEBIAN_FRONTEND=noninteractive
# Stale lists are the usual reason for a first failure; only then fetch new ones.
if ! $install </dev/null >/dev/null 2>&1; then
	apt-get update -q </dev/null >/dev/null
	$install </dev/null >/dev/null
fi

left=$(missing | tr '\n' ' ')
if [ -n "$left" ]; then
	echo "test-deps: still not working after apt-get: $left. Run: $install" >&2
	exit 1
fi
