#!/bin/sh
# Checks that the portable C compiles for arm64.
set -eu

"$(dirname "$0")/install_packages.sh" libc6-dev-arm64-cross
for file in Sources/CNanoKernels/*.c; do
    clang -target aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include -std=c17 \
        -Wall -Wextra -Werror -fsyntax-only -I Sources/CNanoKernels/include "$file"
done
echo "arm64: the kernels compile"
