#!/usr/bin/env bash
# Each floor includes its own folder and the floors below it, never above.
set -uo pipefail
cd "$(dirname "$0")/.."
floors=(base kernels formats model engine calibrate recipe job api)
bad=0
level_of() {
    local i
    for i in "${!floors[@]}"; do [ "${floors[$i]}" = "$1" ] && { echo "$i"; return; }; done
    echo -1
}
while IFS=: read -r file line include; do
    floor=$(echo "$file" | cut -d/ -f2)
    target=$(echo "$include" | sed -nE 's/.*"([a-z]+)\/.*/\1/p')
    [ -n "$target" ] || continue
    to=$(level_of "$target")
    [ "$to" -ge 0 ] && [ "$(level_of "$floor")" -ge 0 ] || continue
    if [ "$to" -gt "$(level_of "$floor")" ]; then
        echo "$file:$line: floor $floor includes $target, which is above it"
        bad=1
    fi
done < <(grep -rnE '^#include "[a-z]+/' src)
# hub and net stand beside the floors, on base alone; jobs and the API above may use the hub
if grep -rnE '^#include "(hub|net)/' src/{base,kernels,formats,model,engine,calibrate,recipe}; then
    echo "below the jobs nobody knows where files come from"
    bad=1
fi
if grep -rnE '^#include "(kernels|formats|model|engine|calibrate|recipe|job|api)/' src/hub src/net 2>/dev/null; then
    echo "src/hub and src/net may include only base and themselves"
    bad=1
fi
if grep -rnE '^#include "(base|kernels|formats|model|engine|calibrate|recipe|job|api|hub)/' apps; then
    echo "apps may include only <halftone/...>, and the server net/"
    bad=1
fi
if grep -rnE '^#include "net/' apps/cli; then
    echo "the command line serves nothing itself"
    bad=1
fi
# kernels allocate nothing and print nothing
if grep -rnE '\b(malloc|calloc|realloc|printf|fopen|exit|abort)\(' src/kernels; then
    echo "kernels must not allocate, print or exit"
    bad=1
fi
exit $bad
