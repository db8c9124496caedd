#!/bin/sh
# Installs the Debian packages named, or else those that the build needs, where they are missing.
set -eu

[ $# -gt 0 ] || set -- libpcre2-dev liburing-dev libxxhash-dev libyaml-dev zlib1g-dev pkg-config python3-pip
missing=""
for package in "$@"; do
    # pip may have come another way.
    if [ "$package" = python3-pip ] && python3 -m pip --version >/dev/null 2>&1; then continue; fi
    state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing Debian packages:$missing"
run=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "missing Debian packages; as root, run: apt-get install$missing" >&2
        exit 1
    }
    run="sudo"
fi
$run apt-get update -qq
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing
