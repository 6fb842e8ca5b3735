#!/usr/bin/env bash
# Text from the example model: streams, endings, seeds, limits, interruption.
#   tests/cli/generate.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

says() { holds "$1: says $2" grep -qF -- "$2" "$work/err"; }
last() { tail -n 1 "$work/out" | grep -o "\"$1\":[^,}]*" | cut -d: -f2; }
begin='Once upon a time'
common=(--quiet --threads 1)

expect "greedy" 0 "$halftone" generate $model -p "$begin" -n 40 "${common[@]}"
cp "$work/out" "$work/greedy"
holds "a story" grep -q 'there was a' "$work/greedy"
holds "the text and nothing else" test "$(tail -c 1 "$work/greedy" | wc -l)" = 0
expect "exact" 0 "$halftone" generate $model -p "$begin" -n 40 --exact "${common[@]}"
holds "float weights have one way of being multiplied" cmp "$work/out" "$work/greedy"
printf '%s' "$begin" >"$work/prompt"
expect "from a file" 0 "$halftone" generate $model -f "$work/prompt" --max-tokens=40 "${common[@]}"
holds "from a file: the same" cmp "$work/out" "$work/greedy"
expect "from a pipe" 0 bash -c "printf '%s' '$begin' | '$halftone' generate $model -f - -n 40 --quiet"
holds "from a pipe: the same" cmp "$work/out" "$work/greedy"
expect "top-k 1" 0 "$halftone" generate $model -p "$begin" -n 40 --temperature 1.5 --top-k 1 "${common[@]}"
holds "the best of one is the best" cmp "$work/out" "$work/greedy"

# seeds
for seed in 1 2 1; do
    expect "seed $seed" 0 "$halftone" generate $model -p "$begin" -n 40 --temperature 1 --seed $seed "${common[@]}"
    [ -e "$work/seed$seed" ] && holds "seed $seed again: the same" cmp "$work/out" "$work/seed$seed"
    cp "$work/out" "$work/seed$seed"
done
holds "another seed, another text" test "$(cmp -s "$work/seed1" "$work/seed2"; echo $?)" = 1
expect "other threads" 0 "$halftone" generate $model -p "$begin" -n 40 --temperature 1 --seed 1 --threads 2 --quiet
holds "other threads: the same" cmp "$work/out" "$work/seed1"

# endings
expect "a stop text" 0 "$halftone" generate $model -p "$begin" -n 40 --stop 'no such' --stop 'little' --stop 'zzz' --json "${common[@]}"
holds "stopped" test "$(last reason)" = '"stop"'
holds "before the stop text" test "$(grep -c little "$work/out")" = 0
grep '"event":"text"' "$work/out" | sed 's/.*"text":"\(.*\)"}$/\1/' | tr -d '\n' >"$work/pieces"
holds "up to it" test "$(cat "$work/pieces")" = "$(sed 's/little.*//' "$work/greedy")"
expect "as many as wanted" 0 "$halftone" generate $model -p "$begin" -n 7 --json "${common[@]}"
holds "seven" test "$(last tokens)" = 7 -a "$(last reason)" = '"length"' -a "$(last context_full)" = false
expect "the context" 0 "$halftone" generate $model -p "$begin" -n 100 --ctx 16 --json --threads 1
holds "the context is full" test "$(last reason)" = '"length"' -a "$(last context_full)" = true
holds "to its last token" test "$(($(last prompt_tokens) + $(last tokens)))" = 17
expect "the context, in words" 0 "$halftone" generate $model -p "$begin" -n 100 --ctx 16 --threads 1
says "the context, in words" 'the context of 16 tokens is full'
expect "a long prompt" 3 "$halftone" generate $model -p "$begin $begin $begin $begin $begin" --ctx 16 "${common[@]}"
says "a long prompt" 'do not fit the context of 16'
expect "the longest prompt" 0 "$halftone" generate $model -p "$begin" --ctx "$(echo -n "$begin" | "$halftone" tokenize $model | wc -l)" --json "${common[@]}"
holds "leaves room for one token" test "$(last tokens)" = 1
expect "beyond what was trained" 0 "$halftone" generate $model -p "$begin" -n 2 --ctx 2000 --threads 1
says "beyond what was trained" 'trained with 1024'
expect "nothing at all" 0 "$halftone" generate $model -p '' -n 5 "${common[@]}"

# conversations
expect "an answer" 0 "$halftone" generate $model --chat --system 'Be kind.' -p Hello -n 12 "${common[@]}"
cp "$work/out" "$work/answer"
expect "the same by hand" 0 "$halftone" generate $model -p $'system: Be kind.\nuser: Hello\nassistant:' -n 12 "${common[@]}"
holds "the same by hand: the same" cmp "$work/out" "$work/answer"
expect "lines" 0 bash -c "printf 'Hello\n\nAnd then?\n' | '$halftone' generate $model --chat --system 'Be kind.' -n 12 --json --threads 1"
holds "two answers" test "$(grep -c '"event":"done"' "$work/out")" = 2
holds "the second goes on from the first" test "$(last read_tokens)" -lt "$(last prompt_tokens)" -a "$(last prompt_tokens)" -gt 30
printf '{%% for m in messages %%}<{{ m.content }}>{%% endfor %%}' >"$work/other.jinja"
expect "another template" 0 "$halftone" generate $model --chat -p Hello -n 12 --chat-template "$work/other.jinja" "${common[@]}"
cp "$work/out" "$work/answer"
expect "another template by hand" 0 "$halftone" generate $model -p '<Hello>' -n 12 "${common[@]}"
holds "another template by hand: the same" cmp "$work/out" "$work/answer"
cp -r $model "$work/plain" && rm "$work/plain/chat_template.jinja"
expect "no template" 3 "$halftone" generate "$work/plain" --chat -p Hello "${common[@]}"
says "no template" 'without --chat'
printf 'one\n{{ messages | wordwrap }}' >"$work/odd.jinja"
expect "a template beyond us" 3 "$halftone" generate $model --chat -p Hello --chat-template "$work/odd.jinja" "${common[@]}"
says "a template beyond us" 'chat template, line 2'
says "a template beyond us" 'without --chat'
printf '{{ raise_exception("no system here") }}' >"$work/strict.jinja"
expect "a template that refuses" 2 "$halftone" generate $model --chat -p Hello --chat-template "$work/strict.jinja" "${common[@]}"
says "a template that refuses" 'no system here'
expect "no such template" 3 "$halftone" generate $model --chat -p Hello --chat-template "$work/nowhere" "${common[@]}"
expect "a system message without conversation" 2 "$halftone" generate $model -p x --system y

# a model that writes escape sequences: " little" is "ESC[31m" and a C1 character here
cat >"$work/odd.py" <<'PYTHON'
import json, os, pty, sys
if sys.argv[1] == "make":
    path = os.path.join(sys.argv[2], "tokenizer.json")
    with open(path) as file:
        data = json.load(file)
    model, old, new = data["model"], "\u0120little", "\u011b[31m\u00c2\u013d"
    model["vocab"][new] = model["vocab"].pop(old)
    model["merges"] = [merge for merge in model["merges"] if "".join(merge) != old]
    with open(path, "w") as file:
        json.dump(data, file)
    sys.exit()
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while chunk := os.read(fd, 4096):
        sys.stdout.buffer.write(chunk)
except OSError:  # the other end is closed
    pass
os.waitpid(pid, 0)
PYTHON
if command -v python3 >/dev/null; then
    cp -r $model "$work/odd" && python3 "$work/odd.py" make "$work/odd"
    escape=$'\x1b[31m\xc2\x9b'
    expect "escapes to a pipe" 0 "$halftone" generate "$work/odd" -p "$begin" -n 12 "${common[@]}"
    holds "escapes to a pipe are what the model wrote" grep -qF "$escape" "$work/out"
    expect "escapes to a terminal" 0 python3 "$work/odd.py" "$halftone" generate "$work/odd" -p "$begin" -n 12 "${common[@]}"
    holds "they are shown" grep -qF '^[[31m\u009b' "$work/out"
    holds "and not obeyed" test "$(grep -cP '\x1b|\xc2\x9b' "$work/out")" = 0
else
    echo "SKIPPED escapes to a terminal: there is no python3"
fi

# usage and input errors
expect "no prompt" 2 "$halftone" generate $model
expect "no model" 2 "$halftone" generate -p x
expect "two models" 2 "$halftone" generate $model $model -p x
expect "two prompts" 2 "$halftone" generate $model -p x -f "$work/prompt"
expect "no such option" 2 "$halftone" generate $model -p x --warmth 3
expect "no value" 2 "$halftone" generate $model -p
expect "an empty stop text" 2 "$halftone" generate $model -p x --stop ''
for option in temperature=-1 temperature=nan temperature=inf temperature=1x temperature=1e999 top-k=-1 top-k=1.5 top-p=0 \
    top-p=2 top-p=nan min-p=-0.1 min-p=nan repeat-penalty=0 repeat-penalty=nan seed=-1 seed=99999999999999999999999 \
    max-tokens=0 max-tokens=-5 ctx=0 ctx=99999999999 threads=x memory=lots exact=perhaps; do
    expect "$option" 2 "$halftone" generate $model -p x --$option "${common[@]}"
    says "$option" "${option%%=*}"
done
expect "no such file" 3 "$halftone" generate $model -f "$work/nowhere"
expect "no such model" 3 "$halftone" generate "$work/nowhere" -p x
cp -r $model "$work/mute" && rm "$work/mute"/tokenizer*
expect "no tokenizer" 3 "$halftone" generate "$work/mute" -p x "${common[@]}"
says "no tokenizer" 'tokenizer'
expect "an error in JSON" 3 "$halftone" generate "$work/nowhere" -p x --json
holds "is an event" grep -q '"event":"error"' "$work/out"

# Ctrl-C: what is there is written
timeout --foreground -s INT -k 60 1 "$halftone" generate $model -p "$begin" -n 100000 --ctx 1000 --stop zzzzz --temperature 2 \
    --top-k 0 --top-p 1 --min-p 0 "${common[@]}" >"$work/out" 2>"$work/err"
status=$?
holds "interrupted with 130 or done" test $status -eq 124 -o $status -eq 0
holds "what was made is there" test -s "$work/out"
expect "130" 130 bash -c "'$halftone' generate $model -p '$begin' -n 100000 --ctx 1000 --temperature 3 --top-k 0 --top-p 1 --min-p 0 --json ${common[*]} >'$work/json' &
    until [ -s '$work/json' ]; do sleep 0.005; done; kill -INT \$!; wait \$!"
holds "the figures are there" grep -q '"reason":"interrupted"' "$work/json"

expect "man" 0 "$halftone" man generate
holds "options in the manual" grep -q 'temperature' "$work/out"
expect "completion" 0 "$halftone" completion bash
holds "completed" grep -q 'generate) words=".*--temperature' "$work/out"
finish
