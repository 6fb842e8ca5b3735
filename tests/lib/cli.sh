# What the tests of the command line share: sourced by tests/cli/*.sh, whose first argument is the program.
# Gives $halftone, $model (the example) and $work (a folder that goes away at the end), and counts what fails in $failed.
halftone=$(realpath "${1:-build/halftone}")
model=examples/model
work=$(mktemp -d)
failed=0
clean_up() { rm -rf "$work"; }
trap 'clean_up' EXIT

expect() { # name, expected status, command…
    local name=$1 want=$2 got
    shift 2
    "$@" >"$work/out" 2>"$work/err"
    got=$?
    if [ "$got" -ne "$want" ]; then
        echo "FAILED $name: exit status $got, not $want"
        cat "$work/err"
        failed=1
    fi
    keep_reports "$name" "$@"
}
# Every report that a command printed or wrote is held against its schema when the script ends.
keep_reports() { # name, command…
    local name=$1 option= word line
    shift
    line=$(tail -n 1 "$work/out" | tr -d '\0')
    [ "${line#'{"halftone"'}" = "$line" ] || printf '%s\t%s\n' "$name" "$line" >>"$work/reports"
    for word in "$@"; do
        [ "$option" != --report ] || [ ! -f "$word" ] || printf '%s, --report\t%s\n' "$name" "$(<"$word")" >>"$work/reports"
        option=$word
    done
}
holds() { # name, command…
    local name=$1
    shift
    "$@" >/dev/null 2>&1 || { echo "FAILED $name"; failed=1; }
}
lacks() { # name, path
    [ ! -e "$2" ] || { echo "FAILED $1: $2 is there"; failed=1; }
}
nothing_left() { # name, folder
    [ -z "$(ls -A "$2" 2>/dev/null)" ] || { echo "FAILED $1: left behind: $(ls -A "$2")"; failed=1; }
}
# A run that is killed (-9) once it has noted that many finished tensors in its journal. It kills itself, which does not
# depend on how fast the machine is; where a sanitizer wants to be loaded first, it is watched from outside. A run that ended
# before that, as the journal may fall behind on a busy machine, is made once more, from an empty folder.
killed_at() { # tensors, journal, folder that it makes, command…
    local n pid wanted=$1 journal=$2 folder=$3 attempt library
    library=$(dirname "$halftone")/tests/libkill_at.so
    shift 3
    for attempt in $(seq 50); do
        rm -rf "$folder"
        if [ -e "$library" ]; then
            KILL_DONE=$wanted LD_PRELOAD=$library "$@" >/dev/null 2>&1 & pid=$!
            wait $pid 2>/dev/null
            [ $? -ne 137 ] || return 0
            continue
        fi
        "$@" >/dev/null 2>&1 & pid=$!
        n=0
        while kill -0 $pid 2>/dev/null && [ "${n:-0}" -lt "$wanted" ]; do n=$(grep -c '^done' "$journal" 2>/dev/null); done
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
        [ "${n:-0}" -lt "$wanted" ] || [ ! -e "$journal" ] || return 0
    done
    echo "FAILED $journal: $attempt runs ended before $wanted tensors were seen in it"
    failed=1
}
finish() {
    if ! command -v python3 >/dev/null; then
        echo "SKIPPED the reports' schema: there is no python3"
    elif [ -s "$work/reports" ]; then
        python3 tests/lib/reports.py "$work/reports" || failed=1
    fi
    [ "$failed" -eq 0 ] && echo "every case passed"
    exit "$failed"
}
