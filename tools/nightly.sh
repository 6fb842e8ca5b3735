#!/usr/bin/env bash
# The long tests, one line a part with the time it took, and "N passed, N failed, N skipped" at the end.
#   tools/nightly.sh BUILD_FOLDER [PART…]
# What a part says is kept in BUILD_FOLDER/nightly/PART.log, and shown when it fails.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
shift || true
wanted=" $* " passed=0 failed=0 skipped=0
names=$(sed -n 's/^part \([a-z0-9]*\) .*/\1/p' tools/nightly.sh | paste -sd ' ')
for name in "$@"; do
    [[ " $names " == *" $name "* ]] || { echo "there is no part $name; the parts: $names" && exit 2; }
done
mkdir -p "$build/nightly"

# A part: a name and a command. Status 77: this machine lacks what it needs. Signals that the caller ignores (nohup) act
# on what is tested.
part() {
    local name=$1 log=$build/nightly/$1.log start=$SECONDS status took
    shift
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
    env --default-signal=HUP,INT,QUIT,PIPE "$@" >"$log" 2>&1
    status=$?
    took="$((SECONDS - start)) s"
    case $status in
    0) passed=$((passed + 1)) && echo "ok    $name ($took)" ;;
    77) skipped=$((skipped + 1)) && echo "skip  $name: $(tail -n 1 "$log")" ;;
    *)
        failed=$((failed + 1))
        echo "FAIL  $name ($took, whole output: $log)"
        tail -n 60 "$log"
        ;;
    esac
}

part kills python3 tests/server/test_runner.py "$build/tests/worker" "$build/halftone" examples/model killed killed_at full_at \
    --kills 200 --kill-at "$build/tests/libkill_at.so"
part power python3 tests/server/test_runner.py "$build/tests/worker" "$build/halftone" examples/model power_failed \
    --kills 300 --kill-at "$build/tests/libkill_at.so" --unsynced "$build/tests/libunsynced.so"
part faults env HALFTONE="$build/halftone" python3 -W ignore tests/server/campaign.py --runs 500 --first "$(date +%y%j)000"
part simulated env HT_SIM_SEEDS=2500 "$build/tests/test_sim" # ten million events
part soak env HALFTONE="$build/halftone" python3 -W ignore tests/server/soak.py --seconds 600
part served env HALFTONE="$build/halftone" python3 -W ignore tests/server/soak_served.py
part thorough env HT_EFFORT=2 meson test -C "$build" --no-rebuild --print-errorlogs -t 100 -q \
    $(meson test -C "$build" --list 2>/dev/null | grep -E '^test_')
part sanitized tools/run_tests.sh "$build" sanitized
part python tests/python/run.sh "$build" asan # with the library that `sanitized` builds
part ladder env HT_PARITY_WHOLE=1 tests/parity/run.sh "$build" tests/parity/check_eval.py
part fuzzers tests/fuzz/run.sh
part 32bit tests/bare/run.sh 32bit
part msan tests/bare/run.sh msan
part arm tests/arm/run.sh
part tsan tests/tsan/run.sh
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
