#!/usr/bin/env bash
# Runs every check and test and ends with "N passed, N failed".
#   tools/run_tests.sh BUILD_FOLDER
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
passed=0 failed=0

# One check: a name and a command; its output is shown when it fails.
check() {
    local name=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name"
        tail -n 60 "$log"
    fi
    rm -f "$log"
}

check "floors" tools/check_floors.sh
check "exports" tools/check_exports.sh "$build"
ninja -C "$build" >/dev/null
while read -r test; do
    check "$test" meson test -C "$build" --print-errorlogs "$test"
done < <(meson test -C "$build" --list 2>/dev/null | grep -E '^(test|fuzz)_')
for script in tests/cli/*.sh; do
    [ -e "$script" ] && check "$script" "$script" "$build/halftone"
done
if [ -x tests/parity/run.sh ] && [ "${HT_SKIP_PARITY:-}" != 1 ]; then
    log=$(mktemp)
    tests/parity/run.sh "$build" 2>&1 | tee "$log"
    p=$(sed -nE 's/^parity: ([0-9]+) passed, ([0-9]+) failed.*/\1/p' "$log" | tail -1)
    f=$(sed -nE 's/^parity: ([0-9]+) passed, ([0-9]+) failed.*/\2/p' "$log" | tail -1)
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
    rm -f "$log"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
