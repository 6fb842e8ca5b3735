#!/usr/bin/env bash
# The shared library exports ht_ names and nothing else; every public header compiles alone.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
bad=0
others=$(nm -D --defined-only "$build/libhalftone.so" | awk '{print $3}' | grep -v '^ht_')
if [ -n "$others" ]; then
    echo "exported besides ht_ names:"
    echo "$others"
    bad=1
fi
if nm -D --defined-only "$build/libhalftone.so" | grep -q ' ht__'; then
    echo "internal ht__ names are exported"
    bad=1
fi
for header in include/halftone/*.h; do
    ${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude -x c "$header" 2>&1 || bad=1
done
exit $bad
