#!/usr/bin/env bash
# Each floor includes its own folder and the floors below it, never above.
set -uo pipefail
cd "$(dirname "$0")/.."
# Of folders on one floor of the house the order here says which may include which.
floors=(base kernels formats schemes model engine recipe calibrate methods eval pipeline advise job api)
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
if grep -rnE '^#include "(hub|net)/' $(ls -d src/*/ | grep -vE '/(hub|net|job|api)/$'); then
    echo "below the jobs nobody knows where files come from"
    bad=1
fi
if grep -rnE '^#include "(kernels|formats|schemes|model|engine|recipe|calibrate|methods|eval|pipeline|advise|job|api)/' src/hub src/net 2>/dev/null; then
    echo "src/hub and src/net may include only base and themselves"
    bad=1
fi
if grep -rnE '^#include "(base|kernels|formats|schemes|model|engine|recipe|calibrate|methods|eval|pipeline|advise|job|api|hub)/' apps; then
    echo "apps may include only <halftone/...>, and the service net/"
    bad=1
fi
# The service's folders, each above those before it. serve.c, beside them, puts all together.
rooms=(system log settings artifacts store events doorbell child queue runner admin worker runtime levels page api openai ollama)
# Headers that are a folder's own: only its files include them.
own=" store/sql.h store/driver.h child/start.h runner/run.h worker/far.h page/page_data.h "
declare -A room_of
for i in "${!rooms[@]}"; do room_of[${rooms[$i]}]=$i; done
while IFS=: read -r file line include; do
    from=${file#apps/service/} header=${include#*\"service/} header=${header%%\"*}
    [[ $from == */* ]] || continue
    from=${from%%/*} to=${header%%/*}
    if [ -z "${room_of[$from]:-}" ] || [ -z "${room_of[$to]:-}" ]; then
        echo "$file:$line: apps/service/$from or $header is in no folder that is listed here"
        bad=1
    elif [ "${room_of[$to]}" -gt "${room_of[$from]}" ]; then
        echo "$file:$line: apps/service/$from includes $header, which is above it"
        bad=1
    elif [ "$from" != "$to" ] && [[ $own == *" $header "* ]]; then
        echo "$file:$line: $header belongs to apps/service/$to alone"
        bad=1
    fi
done < <(grep -rnE '^#include "service/' apps/service)
if grep -rnE '^#include "service/' apps/cli | grep -vE '"service/(serve\.h|settings/settings\.def)"'; then
    echo "the command line knows of the service only how to start it"
    bad=1
fi
if grep -rnE '^#include "net/' apps/service/{system,log,settings,artifacts,store,events,child,queue,runner,worker,runtime,page}; then
    echo "only apps/service/api, openai and ollama speak HTTP"
    bad=1
fi
if grep -rnE '^#include "service/store/claims.h"' apps/service | grep -vE '^apps/service/(store|queue|runner)/|^apps/service/admin/check.c'; then
    echo "claims are for the queue and the runner"
    bad=1
fi
if grep -rnE '^#include "net/' apps/cli; then
    echo "the command line serves nothing itself"
    bad=1
fi
# names of tensors are taken apart in src/model/slot.c; who wants to know what a tensor is for asks its slot
if grep -rnE '"(blk\.|blk"|token_embd|output\.weight|\.?_exps)|(strstr|strcmp|strncmp)\([^,]*name, "(attn|ffn)_' src apps |
    grep -vE '^src/(model|formats)/|^src/recipe/foreign\.c:'; then
    echo "ask the slot (src/model/slot.h), not the name"
    bad=1
fi
# kernels allocate nothing and print nothing
if grep -rnE '\b(malloc|calloc|realloc|printf|fopen|exit|abort)\(' src/kernels; then
    echo "kernels must not allocate, print or exit"
    bad=1
fi
exit $bad
