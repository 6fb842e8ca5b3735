#!/usr/bin/env bash
# tools/page_packages.sh with an npm that only says what it was asked for.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/tools" "$work/web"
cp "$source/tools/page_packages.sh" "$work/tools"
printf '%s\n' '#!/bin/sh' 'echo "$@" >>"$ASKED"' 'rm -rf node_modules && mkdir node_modules' \
    'case " $* " in *" --omit=dev "*) ;; *) mkdir node_modules/typescript ;; esac' 'touch node_modules/.package-lock.json' >"$work/bin/npm"
printf '%s\n' '#!/bin/sh' 'echo 20' >"$work/bin/node"
chmod +x "$work/bin/"*
export PATH=$work/bin:$PATH ASKED=$work/asked
fetch() { touch -d "$1" "$work/web/package-lock.json" && "$work/tools/page_packages.sh" "${@:2}" >/dev/null; }
asked() { [ "$(wc -l <"$ASKED")" = "$1" ] || { echo "npm was called $(wc -l <"$ASKED") times, not $1" && exit 1; }; }

fetch '2020-01-01'
asked 1
grep -q -- --omit=dev "$ASKED" || { echo "building fetches what only tests need" && exit 1; }
fetch '2020-01-02'
asked 1 # nothing has changed
fetch 'now + 1 hour' --include=dev
asked 2
fetch 'now + 2 hours'
asked 3
[ -e "$work/web/node_modules/typescript" ] || { echo "a changed list took the compiler away" && exit 1; }
echo "every case passed"
