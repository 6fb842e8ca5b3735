#!/usr/bin/env bash
# A standard output that is full or closed: every command says so and fails; none exits 0 without its output.
#   tests/cli/output.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
server=
clean_up() { [ -z "$server" ] || kill "$server"; rm -rf "$work"; }

lost() { # command…: it prints something, which cannot be written
    local got
    for to in full closed; do
        if [ $to = full ]; then "$@" >/dev/full 2>"$work/err"; else "$@" >&- 2>"$work/err"; fi
        got=$?
        [ "$got" -eq 1 ] && grep -q "the standard output is incomplete" "$work/err" && continue
        echo "FAILED output $to: ${*:2}: exit status $got"
        cat "$work/err"
        failed=1
    done
}

mkdir "$work/folder"
for verb in $(tools/commands.sh); do
    lost "$halftone" "$verb" --help
    lost "$halftone" man "$verb"
done
lost "$halftone" --version
lost "$halftone" --help
lost "$halftone" types
lost "$halftone" types --json
lost "$halftone" archs --json
lost "$halftone" gpus --json
for shell in bash zsh fish; do lost "$halftone" completion $shell; done
expect "a model to read" 0 "$halftone" quantize $model -t Q8_0 -o "$work/made.gguf"
for json in "" --json; do
    # shellcheck disable=SC2086 # none or one argument
    lost "$halftone" inspect $model $json
    # shellcheck disable=SC2086
    lost "$halftone" quantize $model -t Q8_0 -o "$work/folder" --overwrite $json
    # shellcheck disable=SC2086
    lost "$halftone" convert $model -t BF16 -o "$work/folder" --overwrite $json
    # shellcheck disable=SC2086
    lost "$halftone" estimate $model -t Q8_0 $json
    # shellcheck disable=SC2086
    lost "$halftone" recommend $model --memory 8G $json
    # shellcheck disable=SC2086
    lost "$halftone" eval "$work/made.gguf" --text default --chunks 1 --ctx 64 $json
    # shellcheck disable=SC2086
    lost "$halftone" compare "$work/made.gguf" $model --text default --chunks 1 --ctx 64 $json
    # shellcheck disable=SC2086
    lost "$halftone" imatrix $model --text default --chunks 1 --ctx 64 -o "$work/imatrix.gguf" --overwrite $json
    # shellcheck disable=SC2086
    lost "$halftone" generate "$work/made.gguf" -p Once -n 2 $json
done
echo Once upon a time >"$work/text"
lost "$halftone" tokenize "$work/made.gguf" --text "$work/text"
expect "a token that is told" 0 "$halftone" serve --data "$work/data" --new-token laptop
"$halftone" serve --data "$work/data" --new-token phone >/dev/full 2>"$work/err" && { echo "FAILED a token that nobody saw is no success"; failed=1; }
lost "$halftone" serve --data "$work/data" --list-tokens
for made in "$work"/folder/*.gguf; do expect "$made is whole" 0 "$halftone" inspect "$made" --verify; done

"$halftone" serve --port 0 --data "$work/served" >"$work/log" 2>&1 &
server=$!
while kill -0 $server 2>/dev/null && ! grep -q '"port"\|http://' "$work/log"; do sleep 0.1; done
address=$(grep -o 'http://[0-9.]*:[0-9]*' "$work/log" | head -1)
lost "$halftone" jobs list --server "$address" --json
lost "$halftone" jobs ready --server "$address"
lost "$halftone" registry list --server "$address" --json
finish
