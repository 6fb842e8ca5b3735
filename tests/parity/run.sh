#!/usr/bin/env bash
# Runs tests/parity/check_*, all of them or those named: 0 passes, 77 is skipped (loudly), anything else fails.
#   tests/parity/run.sh BUILD_FOLDER [CHECK…]
# With one check its status is the status.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}")
shift || true
passed=0 failed=0 skipped=0
if ! setup=$(tests/parity/setup.sh); then
    echo "SKIPPED parity: the programs to compare with could not be installed"
    [ "${CI:-}" = true ] && { echo "parity: 0 passed, 1 failed"; exit 1; }
    [ $# -ne 1 ] || exit 77
    echo "parity: 0 passed, 0 failed"
    exit 0
fi
eval "$setup"
export HT_CLI=$build/halftone HT_BUILD=$build HT_SOURCE_ROOT=$PWD HT_SHARED=${HT_SHARED:-$PWD/../shared}
run() {
    case $1 in
    *.py) "$HT_PARITY_PYTHON" "$1" ;;
    *) "$1" ;;
    esac
}
if [ $# -eq 1 ]; then
    run "$1"
    exit
fi
[ $# -gt 0 ] || set -- tests/parity/check_*
for check in "$@"; do
    start=$SECONDS
    run "$check"
    status=$?
    took=$((SECONDS - start))
    case $status in
    0) passed=$((passed + 1)); echo "ok    $check ($took s)" ;;
    77) skipped=$((skipped + 1)); echo "SKIP  $check" ;;
    *) failed=$((failed + 1)); echo "FAIL  $check ($took s)" ;;
    esac
done
[ "$skipped" -gt 0 ] && echo "parity: $skipped SKIPPED (see above)"
echo "parity: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
