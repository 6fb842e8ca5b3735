#!/usr/bin/env bash
# A conversation in the terminal, and the same from a pipe: see run.py for what a person sees.
#   tests/cli/run.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
export XDG_STATE_HOME=$work/state
common=(--threads 1 -n 12)
says() { holds "$1: says $2" grep -qF -- "$2" "$work/err"; }
talk() { # name, status, input, arguments…
    local name=$1 want=$2
    printf '%b' "$3" >"$work/in"
    shift 3
    expect "$name" "$want" "$halftone" run "$@" <"$work/in"
}

# The same conversation as `generate --chat` has
talk "a conversation" 0 'Hello\n\nAnd then?\n' $model --system 'Be kind.' "${common[@]}"
cp "$work/out" "$work/run"
expect "the other command" 0 bash -c "printf 'Hello\n\nAnd then?\n' | '$halftone' generate $model --chat --system 'Be kind.' --quiet ${common[*]}"
holds "the same answers" cmp "$work/out" "$work/run"
talk "the system message by a command" 0 '/set system Be kind.\nHello\nAnd then?\n/bye\nnot said\n' $model "${common[@]}"
holds "the same answers again" cmp "$work/out" "$work/run"
talk "options by commands" 0 '/set parameter num_predict 12\n/set threads 1\n/set system """Be\nkind."""\n/set system Be kind.\nHello\nAnd then?\n' $model
holds "the same answers by commands" cmp "$work/out" "$work/run"
talk "forgotten" 0 'Who?\n/clear\nHello\nAnd then?\n' $model --system 'Be kind.' "${common[@]}"
tail -n "$(wc -l <"$work/run")" "$work/out" >"$work/tail"
holds "forgotten: the same answers" cmp "$work/tail" "$work/run"
talk "another model, which is the same" 0 "/load $(realpath $model)\nHello\nAnd then?\n" $model --system 'Be kind.' "${common[@]}"
holds "another model: settings and system message go with it" cmp "$work/out" "$work/run"
talk "the context grows" 0 '/set num_ctx 64\nHello\n/set num_ctx 128\nAnd then?\n' $model --system 'Be kind.' "${common[@]}"
holds "the context grows: the conversation goes on" cmp "$work/out" "$work/run"

# A message of several lines is one message
talk "several lines" 0 '"""a\nb"""\n' $model "${common[@]}"
cp "$work/out" "$work/run"
expect "several lines by hand" 0 "$halftone" generate $model -p $'user: a\nb\nassistant:' --quiet "${common[@]}"
holds "several lines: one message" diff <(echo "$(<"$work/out")") <(echo "$(<"$work/run")")
talk "the end of several lines on a line of its own" 0 '"""\na\nb"""\n' $model "${common[@]}"
holds "several lines, begun on the next" cmp "$work/out" "$work/run"

# What is shown
talk "what is shown" 0 '/show\n/set seed 3\n/set num_ctx 99\n/show parameters\n/set system A\\tB\n/show system\n/show template\n' $model
holds "the model" grep -qE '^context +1024' "$work/out"
holds "parameters" grep -qE '^ctx +99' "$work/out"
holds "the template" grep -qF '{% for message in messages %}' "$work/out"
talk "the list of commands" 0 '/help\n' $model
for name in /set /show /load /clear /bye; do holds "help: $name" grep -q "^$name" "$work/out"; done
talk "control characters are shown" 0 '/set system a\033]0;x\007b\n/show system\n' $model
holds "no escape" test "$(grep -c $'\033' "$work/out")" = 0

# Mistakes end a script
talk "no such command" 2 '/lod x\nHello\n' $model "${common[@]}"
says "no such command" 'did you mean /load?'
holds "nothing was answered" test ! -s "$work/out"
talk "no such setting" 2 '/set temprature 1\n' $model
says "no such setting" 'did you mean temperature?'
talk "a wrong value" 2 '/set temperature cold\n' $model
says "a wrong value" 'temperature'
talk "no value" 2 '/set temperature\n' $model
talk "no end" 2 '"""a\nb\n' $model
says "no end" 'no end'
talk "no such model to load" 3 "/load $work/nowhere\n" $model
says "no such model to load" 'no such file or folder'
talk "too much" 3 'Hello Hello Hello Hello Hello Hello Hello Hello Hello Hello\n' $model --ctx 16 "${common[@]}"
says "too much" 'do not fit the context of 16'
talk "no such model" 3 '' "$work/nowhere"
talk "two models" 2 '' $model $model
talk "no model" 2 ''
talk "no such option" 2 '' $model --warmth 3
talk "no value of an option" 2 '' $model --system
cp -r $model "$work/plain" && rm "$work/plain/chat_template.jinja"
talk "no template" 3 'Hello\n' "$work/plain"
says "no template" 'the model has no chat template'
head -c 300000 /dev/urandom >"$work/in"
timeout 60 "$halftone" run $model "${common[@]}" --ctx 64 <"$work/in" >"$work/out" 2>"$work/err"
holds "random bytes end in an error" test $? -le 4
lacks "no terminal, no history" "$work/state"

# Ctrl-C ends a script with what was made
expect "130" 130 bash -c "printf 'Once\nOnce\n' | '$halftone' run $model -n 100000 --ctx 1000 --temperature 3 --top-k 0 --top-p 1 --min-p 0 >'$work/made' &
    until [ -s '$work/made' ]; do sleep 0.005; done; kill -INT \$!; wait \$!"
holds "what was made is there" test -s "$work/made"

if command -v python3 >/dev/null; then
    python3 tests/cli/run.py "$halftone" || failed=1
else
    echo "SKIPPED the conversation on a terminal: there is no python3"
fi
finish
