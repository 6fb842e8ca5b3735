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
finish() {
    [ "$failed" -eq 0 ] && echo "every case passed"
    exit "$failed"
}
