#!/usr/bin/env bash
# Every fuzz driver for SECONDS (default 60) under ASan and UBSan, from its stored corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-60}
build=build-fuzz
[ -f $build/build.ninja ] || CC=clang meson setup $build -Dfuzzers=true -Dbuildtype=debugoptimized \
    -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link
ninja -C $build
for driver in $build/tests/fuzz_*; do
    [ -x "$driver" ] && [ -f "$driver" ] || continue
    name=$(basename "$driver")
    corpus=tests/fuzz/corpus/${name#fuzz_}
    echo "== $name"
    mkdir -p "$build/new/$name"
    "$driver" -max_total_time="$seconds" -rss_limit_mb=2048 "$build/new/$name" "$corpus"
done
