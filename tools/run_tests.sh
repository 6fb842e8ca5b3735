#!/usr/bin/env bash
# Runs every check and test and ends with "N passed, N failed".
#   tools/run_tests.sh BUILD_FOLDER
# HT_SKIP_SANITIZED=1 and HT_SKIP_PARITY=1 leave out what takes longest.
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

# Every test program, stored fuzz input and command-line case of one build.
run_build() { # build folder, prefix for the names
    local build=$1 prefix=$2 test script
    check "${prefix}build" ninja -C "$build"
    local tests=()
    mapfile -t tests < <(meson test -C "$build" --list 2>/dev/null | grep -E '^((test|fuzz)_|server |hub |packaging )')
    [ ${#tests[@]} -gt 0 ] || check "${prefix}a list of tests" false
    for test in "${tests[@]}"; do
        check "$prefix$test" meson test -C "$build" --no-rebuild --print-errorlogs "$test"
    done
    for script in tests/cli/*.sh; do
        check "$prefix$script" "$script" "$build/halftone"
    done
}

# The same under AddressSanitizer and UBSan; what they find ends the program. Stack use after return is
# not looked for: with it gcc 12 misaligns the 64-byte vectors of AVX-512 code on its fake stack.
run_sanitized() {
    local build=$1
    if [ -f "$build/build.ninja" ]; then
        check "asan: setup" meson setup --reconfigure "$build"
    else
        check "asan: setup" meson setup "$build" -Dbuildtype=debugoptimized \
            -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fno-sanitize-recover=all
    fi
    export ASAN_OPTIONS=strict_string_checks=1:check_initialization_order=1:strict_init_order=1
    export UBSAN_OPTIONS=print_stacktrace=1
    run_build "$build" "asan: "
    unset ASAN_OPTIONS UBSAN_OPTIONS
}

# The page in a browser; where there is none, or no Node, that is said and nothing counted.
run_page() {
    local log status
    log=$(mktemp)
    tests/web/run.sh "$build/halftone" >"$log" 2>&1
    status=$?
    if [ $status -eq 77 ]; then
        cat "$log"
    elif [ $status -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok    tests/web"
    else
        failed=$((failed + 1))
        echo "FAIL  tests/web"
        tail -n 60 "$log"
    fi
    rm -f "$log"
}

check "floors" tools/check_floors.sh
run_build "$build" ""
run_page
check "exports" tools/check_exports.sh "$build"
[ "${HT_SKIP_SANITIZED:-}" = 1 ] || run_sanitized "${build%/}-asan"
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
