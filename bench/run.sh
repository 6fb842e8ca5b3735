#!/usr/bin/env bash
# Encoding side by side with the reference library: bench/run.sh BUILD [type …]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
shift || true
eval "$(tests/parity/setup.sh)"
ninja -C "$build" bench/bench_encode >/dev/null
"$build/bench/bench_encode" "$HT_LLAMA_LIB" "$@"
