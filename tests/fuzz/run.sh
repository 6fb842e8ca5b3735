#!/usr/bin/env bash
# Every fuzz driver for SECONDS_EACH (default 60) under ASan and UBSan, from its stored corpus. Status 77: this machine
# lacks the compiler.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-60}
build=build-fuzz
if ! echo 'int LLVMFuzzerTestOneInput(const char *data, unsigned long len) { return !data && len; }' |
    clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null 2>/dev/null; then
    echo "skipped: clang builds no fuzzer here (make nightly-packages installs clang and libclang-rt-dev)"
    exit 77
fi
if [ -f $build/build.ninja ]; then
    meson setup --reconfigure $build # drivers are found by folder
else
    CC=clang meson setup $build -Dfuzzers=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
        -Db_lundef=false -Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=all'
fi
names=()
for source in tests/fuzz/fuzz_*.c; do names+=("$(basename "$source" .c)"); done
ninja -C $build "${names[@]/#/tests/}"
failed=0
for name in "${names[@]}"; do
    echo "== $name"
    mkdir -p "$build/new/$name" "$build/found"
    "$build/tests/$name" -max_total_time="$seconds" -rss_limit_mb=2048 -artifact_prefix="$build/found/$name-" \
        "$build/new/$name" "tests/fuzz/corpus/${name#fuzz_}" || { failed=$((failed + 1)) && echo "FAIL  $name"; }
done
echo "${#names[@]} fuzzers, $failed failed$([ $failed -eq 0 ] || echo "; the inputs lie in $build/found")"
[ $failed -eq 0 ]
