#!/usr/bin/env bash
# Fetches what the web page is made with, where there is Node; never a reason for a build to fail.
#   tools/page_packages.sh [npm ci's options]
set -uo pipefail
cd "$(dirname "$0")/../web"
plain() {
    echo "page: $1; the program gets a plain page (API and command line are whole). Later: make page"
    exit 0
}
command -v node >/dev/null && command -v npm >/dev/null || plain "no Node"
[ "$(node -p 'Number(process.versions.node.split(".")[0])')" -ge 18 ] || plain "Node $(node --version) is older than 18"
# What type checks and tests need stays where it is: `npm ci` makes the folder anew.
[ $# -gt 0 ] || [ -e node_modules/typescript ] || set -- --omit=dev
[ node_modules/.package-lock.json -nt package-lock.json ] && exit 0
echo "page: npm ci"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! timeout 180 npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1 "$@" >"$log" 2>&1; then
    sed 's/^/page:   /' "$log" | head -n 12
    rm -rf node_modules # half of the packages would be taken for all
    plain "npm ci did not work"
fi
touch node_modules/.package-lock.json
