#!/usr/bin/env bash
# The page in a real browser, against the real server.
#   tests/web/run.sh PROGRAM [CASES…]   CASES: main, pages, wizard, try, levels (all of them by default)
# Exit status 77: there is no Node, no Chromium or no package registry; nothing was tested.
set -uo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-build/halftone}")
cases=("${@:2}")
[ ${#cases[@]} -gt 0 ] || cases=(main pages wizard try levels)
skip() {
    echo "SKIPPED tests/web: $1"
    exit 77
}
command -v node >/dev/null || skip "no Node"
[ "$(node -p 'Number(process.versions.node.split(".")[0])')" -ge 18 ] || skip "Node $(node --version) is older than 18"
for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    [ -n "$name" ] && command -v "$name" >/dev/null && chromium=$(command -v "$name") && break
done
[ -n "${chromium:-}" ] || skip "no Chromium (Debian: apt-get install chromium)"
for name in playwright-core axe-core typescript; do [ -e "web/node_modules/$name" ] || missing=$name; done
if [ -n "${missing:-}" ]; then
    command -v npm >/dev/null || skip "no npm to fetch the browser's driver with"
    (cd web && timeout 300 npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >/dev/null 2>&1 || skip "npm ci in web/ did not work"
fi
(cd web && npx tsc -p .) || exit 1
grep -q 'page\.list' <(ls "$(dirname "$program")/web" 2>/dev/null) || skip "the program carries the plain page (make page)"
export HALFTONE=$program CHROMIUM=$chromium
status=0
for name in "${cases[@]}"; do
    echo "# $name"
    node "tests/web/$name.mjs" || status=1
done
exit $status
