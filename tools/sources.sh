#!/bin/sh
# Lists the C sources under the given folders, one a line, sorted: a new unit is found by being there.
# With -x SUFFIX only those that end in SUFFIX; with -n none that end in a CPU level's suffix.
set -eu
cd "$(dirname "$0")/.."
mode=$1
shift
case $mode in # a folder that is not there yet has no sources
-n) for d; do [ -d "$d" ] && set -- "$@" "$d"; shift; done; [ $# -gt 0 ] || exit 0
    find "$@" -name '*.c' ! -name '*_avx2.c' ! -name '*_avx512.c' ! -name '*_avx512bf16.c' ! -name '*_amx.c' ! -name '*_neon.c' ! -name '*_i8mm.c' | LC_ALL=C sort ;;
-x) suffix=$1; shift; find "$@" -name "*$suffix" | LC_ALL=C sort ;;
*) echo "usage: sources.sh -n DIR... | -x SUFFIX DIR..." >&2; exit 2 ;;
esac
