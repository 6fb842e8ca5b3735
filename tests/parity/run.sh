#!/usr/bin/env bash
# Runs every tests/parity/check_*: 0 passes, 77 is skipped (loudly), anything else fails.
#   tests/parity/run.sh BUILD_FOLDER
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}")
passed=0 failed=0 skipped=0
if ! setup=$(tests/parity/setup.sh); then
    echo "SKIPPED parity: the programs to compare with could not be installed"
    [ "${CI:-}" = true ] && { echo "parity: 0 passed, 1 failed"; exit 1; }
    echo "parity: 0 passed, 0 failed"
    exit 0
fi
eval "$setup"
export HT_CLI=$build/halftone HT_BUILD=$build HT_SOURCE_ROOT=$PWD HT_SHARED=${HT_SHARED:-$PWD/../shared}
for check in tests/parity/check_*; do
    case $check in
    *.py) "$HT_PARITY_PYTHON" "$check" ;;
    *.sh) "$check" ;;
    *) continue ;;
    esac
    status=$?
    case $status in
    0) passed=$((passed + 1)); echo "ok    $check" ;;
    77) skipped=$((skipped + 1)); echo "SKIP  $check" ;;
    *) failed=$((failed + 1)); echo "FAIL  $check" ;;
    esac
done
[ "$skipped" -gt 0 ] && echo "parity: $skipped SKIPPED (see above)"
echo "parity: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
