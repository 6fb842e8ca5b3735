#!/usr/bin/env bash
# Every C file is as clang-format 14 (Debian 12's) lays it out; without that version the check says that it skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
format=$(command -v clang-format-14 || command -v clang-format)
if [ -z "$format" ] || ! "$format" --version | grep -q 'version 14\.'; then
    echo "SKIPPED format: clang-format 14 is not installed (Debian: apt-get install clang-format)"
    exit 77
fi
git ls-files -z '*.c' '*.h' | xargs -0 "$format" --dry-run -Werror || {
    echo "run \`make format\` and commit what it changes"
    exit 1
}
