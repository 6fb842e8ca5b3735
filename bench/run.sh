#!/usr/bin/env bash
# Encoding (with -d: decoding) side by side with libggml-base: bench/run.sh BUILD [-d] [type …]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
shift || true
program=bench_encode
if [ "${1:-}" = -d ]; then
    program=bench_decode
    shift
fi
eval "$(tests/parity/setup.sh)"
ninja -C "$build" "bench/$program" >/dev/null
"$build/bench/$program" "$HT_LLAMA_LIB" "$@"
