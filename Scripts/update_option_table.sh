#!/bin/sh
# Writes the table of options in docs/configuration.md anew, as `nanoflow options` prints it.
# Usage: Scripts/update_option_table.sh [NANOFLOW]
set -eu

cd "$(dirname "$0")/.."
"${1:-.build/release/nanoflow}" options | sed -i \
    -e '/^<!-- options/,/^<!-- end of options/{//!d}' \
    -e '/^<!-- options/r /dev/stdin' docs/configuration.md
