#!/usr/bin/env bash
# Runs every check and test and ends with "N passed, N failed". Each line says how long it took, and of how much
# processor time.
#   tools/run_tests.sh BUILD_FOLDER
# HT_SKIP_SANITIZED=1 and HT_SKIP_PARITY=1 leave out what takes longest.
#   tools/run_tests.sh BUILD_FOLDER sanitized
# Everything under AddressSanitizer and UBSan, and nothing else.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build} what=${2:-all}
sanitized=${build%/}-asan
state=$(mktemp -d) # the list of checks, how far it is done, and what came out
trap 'rm -rf "$state"' EXIT
: >"$state/results" >"$state/list"
echo 0 >"$state/next"

# One check: a name and a command; its output is shown when it fails. Status 77: skipped, which is said and not counted.
# Signals that the caller ignores (nohup), or that a shell ignores for its background jobs, act on what is tested.
TIMEFORMAT='%R s, %U + %S s of processor time'
check() {
    local name=$1 log status took
    shift
    log=$(mktemp -p "$state")
    { time env --default-signal=HUP,INT,QUIT,PIPE "$@" >"$log" 2>&1; } 2>"$log.time"
    status=$?
    took=$(tail -n 1 "$log.time")
    (
        flock 9
        if [ $status -eq 77 ]; then
            cat "$log"
        elif [ $status -eq 0 ]; then
            echo ok >&9
            echo "ok    $name ($took)"
        else
            echo failed >&9
            echo "FAIL  $name ($took)"
            tail -n 60 "$log"
        fi
    ) 9>>"$state/results"
    rm -f "$log" "$log.time"
}

# ---- what is to be done: a line a check, its name and its command, quoted for the shell ----

later() { printf '%q ' "$@" >>"$state/list" && echo >>"$state/list"; }

# Tests of one build, by name. A slow machine must not fail a test: the time limits are there to end one that hangs.
later_tests() { # build folder, prefix, pattern of names, command in front…
    local test
    meson test -C "$1" --list 2>/dev/null | grep -E "$3" | while read -r test; do
        later "$2$test" "${@:4}" meson test -C "$1" --no-rebuild --print-errorlogs -t 4 "$test"
    done
    grep -q "meson test -C $1 " "$state/list" || later "$2a list of tests" false
}

later_cli() { # build folder, prefix, pattern of names, command in front…
    local script
    for script in tests/cli/*.sh; do
        [[ $script =~ $3 ]] && later "$2$script" "${@:4}" "$script" "$1/halftone"
    done
}

later_parity() {
    local setup script
    [ -x tests/parity/run.sh ] && [ "${HT_SKIP_PARITY:-}" != 1 ] || return 0
    if ! setup=$(tests/parity/setup.sh); then
        echo "SKIPPED parity: the programs to compare with could not be installed"
        [ "${CI:-}" != true ] || later "tests/parity: setup" false
        return 0
    fi
    eval "$setup"
    for script in tests/parity/check_*; do later "$script" tests/parity/run.sh "$build" "$script"; done
}

# Under AddressSanitizer and UBSan; what they find ends the program. Stack use after return is not looked for: with it
# gcc 12 misaligns the 64-byte vectors of AVX-512 code on its fake stack.
build_sanitized() {
    if [ -f "$sanitized/build.ninja" ]; then
        check "asan: setup" meson setup --reconfigure "$sanitized"
    else
        check "asan: setup" meson setup "$sanitized" -Dbuildtype=debugoptimized \
            -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fno-sanitize-recover=all
    fi
    check "asan: build" ninja -C "$sanitized"
}
later_sanitized() { # effort, pattern of services, pattern of the command line
    local front=(env HT_EFFORT="$1" UBSAN_OPTIONS=print_stacktrace=1
        ASAN_OPTIONS=strict_string_checks=1:check_initialization_order=1:strict_init_order=1)
    later_tests "$sanitized" "asan: " "$2" "${front[@]}"
    later_cli "$sanitized" "asan: " "$3" "${front[@]}"
    later_tests "$sanitized" "asan: " "$programs" "${front[@]}"
}

# ---- two checks at a time: most keep one core busy at most ----

work() {
    local n line command
    while :; do
        n=$(flock "$state/next" sh -c 'n=$(($(cat "$1") + 1)) && echo $n >"$1" && echo $n' next "$state/next")
        line=$(sed -n "${n}p" "$state/list")
        [ -n "$line" ] || return 0
        eval "command=($line)"
        check "${command[@]}"
    done
}

programs='^(test|fuzz)_'
services='^(server|hub|packaging) '
if [ "$what" = sanitized ]; then
    build_sanitized
    later_sanitized 1 "$services" .
else
    check "format" tools/check_format.sh
    check "floors" tools/check_floors.sh
    check "build" ninja -C "$build" all benches
    check "exports" tools/check_exports.sh "$build"
    later "tests/web" tests/web/run.sh "$build/halftone" # says what it lacks where there is no browser or no Node
    later_parity
    later "tests/python" tests/python/run.sh "$build" # with PyTorch where parity has set it up
    if [ "${HT_SKIP_SANITIZED:-}" != 1 ]; then
        # Every program; of services and the command line what runs other code. `make nightly` runs all.
        build_sanitized
        later_sanitized 0 '^(server (http|guards|trouble|confinement|folders)|hub (pull|broken|remote|service|secure)$|server runner (complete|measured|cancel|misbehaved|hub)$)' \
            '/(help|locks|output|quantize)\.sh'
    fi
    later_tests "$build" "" "$services"
    later_cli "$build" "" .
    later_tests "$build" "" "$programs" # the short ones last: both workers end together
fi
for _ in $(seq "${JOBS:-2}"); do work & done
wait
passed=$(grep -c ok "$state/results")
failed=$(grep -c failed "$state/results")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
