#!/usr/bin/env bash
# Every fuzz driver for SECONDS_EACH (default 60) under ASan and UBSan, from its stored corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-60}
build=build-fuzz
if [ -f $build/build.ninja ]; then
    meson setup --reconfigure $build # drivers are found by folder
else
    CC=clang meson setup $build -Dfuzzers=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
        -Db_lundef=false -Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=all'
fi
ninja -C $build
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    driver=$build/tests/$name
    corpus=tests/fuzz/corpus/${name#fuzz_}
    echo "== $name"
    mkdir -p "$build/new/$name"
    "$driver" -max_total_time="$seconds" -rss_limit_mb=2048 "$build/new/$name" "$corpus"
done
