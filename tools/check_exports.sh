#!/usr/bin/env bash
# The shared library exports what the public headers declare as HT_API, all of it and nothing else; every public header
# compiles alone.
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
declared=$(sed -n '/^HT_API /{:more;/[(]/!{N;b more};s/^HT_API [^(]*[ *]\(ht_[a-z0-9_]*\)(.*/\1/p}' include/halftone/*.h | sort)
exported=$(nm -D --defined-only "$build/libhalftone.so" | awk '$3 ~ /^ht_/ {print $3}' | sort)
if ! diff <(echo "$declared") <(echo "$exported"); then
    echo "< is declared in include/halftone and not exported, > is exported and not declared there"
    bad=1
fi
for header in include/halftone/*.h; do
    ${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude -x c "$header" 2>&1 || bad=1
done
exit $bad
