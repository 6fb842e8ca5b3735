#!/usr/bin/env bash
# Measuring in parts, on any machine: the figures of one run, and what is refused.
#   tests/cli/eval_parts.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
says() { holds "$1: says $2" grep -qF -- "$2" "$work/err"; }
told() { # a report without times, memory and which part it is of
    python3 - "$1" <<'PY'
import json, sys
def strip(x):
    if isinstance(x, dict):
        return {k: strip(v) for k, v in x.items() if k not in ("seconds", "tokens_per_second", "memory_bytes", "peak_rss_bytes", "part")}
    return [strip(v) for v in x] if isinstance(x, list) else x
print(json.dumps(strip(json.load(open(sys.argv[1]))), indent=1))
PY
}
command -v python3 >/dev/null || { echo "SKIPPED measuring in parts: there is no python3"; exit 77; }
expect "two files" 0 "$halftone" quantize $model -t Q4_K_M,Q2_K -o "$work/q" --quiet
for i in $(seq 120); do echo "Line $i of a text that is measured: $((i * i * 7919 % 10007)) of $((i * 31 % 97)) have come, and the others are late."; done >"$work/text"
files=("$work/q/model-Q4_K_M.gguf" "$work/q/model-Q2_K.gguf")
run() { "$halftone" compare "${files[@]}" --against $model --text "${text:-$work/text}" --ctx 64 --quiet "$@"; }

expect "one run" 0 run --report "$work/one.json"
for i in 1 2; do expect "part $i of 2" 0 run --part $i/2 --threads $i -o "$work/p$i" --report "$work/p$i.json"; done
holds "a part says what it has" grep -q '"part": {"number": 1, "of": 2, "passes": 1, "passes_of_text": [2-9]}' "$work/p1.json"
expect "both" 0 run --take-from "$work/p2" --take-from "$work/p1" --report "$work/both.json"
holds "the figures of one run" cmp <(told "$work/one.json") <(told "$work/both.json")
expect "one is missing, and is made here" 0 run --take-from "$work/p2" --report "$work/one_missing.json"
holds "one is missing: the figures of one run" cmp <(told "$work/one.json") <(told "$work/one_missing.json")
expect "a part that takes another" 0 run --part 2/2 --take-from "$work/p1" -o "$work/p12"
expect "all in one" 0 run --take-from "$work/p12" --report "$work/all.json"
holds "all in one: the figures of one run" cmp <(told "$work/one.json") <(told "$work/all.json")
expect "one model alone" 0 "$halftone" eval "${files[0]}" --text "$work/text" --ctx 64 --quiet --report "$work/e.json"
expect "a part of it" 0 "$halftone" eval "${files[0]}" --text "$work/text" --ctx 64 --quiet --part 1/2 -o "$work/e1"
expect "and the rest" 0 "$halftone" eval "${files[0]}" --text "$work/text" --ctx 64 --quiet --take-from "$work/e1" --report "$work/e2.json"
holds "one model alone: the figures of one run" cmp <(told "$work/e.json") <(told "$work/e2.json")

# what does not belong
sed 's/late/soon/' "$work/text" >"$work/other"
text=$work/other expect "another text" 2 run --take-from "$work/p1"
says "another text" 'other models, another text'
expect "other models" 2 "$halftone" eval "${files[0]}" --text "$work/text" --ctx 64 --quiet --take-from "$work/p1"
expect "another context" 2 run --ctx 32 --take-from "$work/p1"
cp "$work/p1" "$work/bad"
printf 'x' | dd of="$work/bad" bs=1 seek=5000 conv=notrunc status=none
expect "changed bytes" 1 run --take-from "$work/bad"
says "changed bytes" 'it was changed after it was written'
head -c 3000 "$work/p1" >"$work/bad"
expect "cut off" 1 run --take-from "$work/bad"
expect "something else" 3 run --take-from "$work/text"
says "something else" 'no file that `halftone eval --part` wrote'
expect "no file to keep it in" 2 run --part 1/2
expect "a file without a part" 2 run -o "$work/x"
expect "more parts than passes" 2 run --part 1/99 -o "$work/x"
says "more parts than passes" 'passes'
lacks "refused" "$work/x"
finish
