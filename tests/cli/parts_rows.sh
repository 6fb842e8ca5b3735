#!/usr/bin/env bash
# Parts that hold some rows of a tensor: of every type, of several outputs at once, of split files and folders; killed, taken up
# again, damaged, from divisions that do not fit. The bytes, hashes and errors are those of one run.
#   tests/cli/parts_rows.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

python3 tests/lib/lopsided_model.py "$work/lopsided"
lopsided=$work/lopsided
told() { # a report without times and paths
    python3 - "$1" <<'PY'
import json, re, sys
r = json.load(open(sys.argv[1]))
for k in ("finished_at", "seconds", "weights_per_second", "bytes_read", "bytes_written", "weights_resumed", "peak_rss_bytes"):
    r.pop(k)
print(re.sub(r'"path": "[^"]*/', '"path": "', json.dumps(r)))
PY
}
of_part() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["part"][sys.argv[2]])' "$1" "$2"; }
number() { grep -o "\"$1\": [0-9]*" "$2" | head -1 | grep -o '[0-9]*$'; }

# name, how many parts, model, options…: the whole, all parts, and what is put together from them
in_parts() {
    local name=$1 parts=$2 source=$3 at=$work/$1 takes=() cut=0 read=0 i
    shift 3
    expect "$name: the whole" 0 "$halftone" quantize "$source" -o "$at/whole" --report "$at.whole.json" "$@"
    for i in $(seq "$parts"); do
        expect "$name: part $i" 0 "$halftone" quantize "$source" -o "$at/$i" --part "$i/$parts" --report "$at.$i.json" "$@"
        cut=$((cut + $(of_part "$at.$i.json" cut)))
        read=$((read + $(number bytes_read "$at.$i.json")))
        takes+=(--take-from "$at/$i")
    done
    holds "$name: a tensor is cut" test "$cut" -ge 2
    holds "$name: each row is read once" test $read = "$(number bytes_read "$at.whole.json")"
    expect "$name: put together" 0 "$halftone" quantize "$source" -o "$at/all" --report "$at.all.json" "${takes[@]}" "$@"
    holds "$name: nothing was made anew" test "$(number bytes_read "$at.all.json")" = 0
    holds "$name: the bytes" diff -r "$at/whole" "$at/all"
    holds "$name: what the report says" cmp <(told "$at.whole.json") <(told "$at.all.json")
}

in_parts files 7 "$lopsided" -t F32,F16,BF16,Q8_0,Q6_K,Q5_K_M,Q5_1,Q5_0,Q4_K_M,Q4_1,Q4_0,IQ4_NL,IQ4_XS,Q3_K_M,Q2_K,TQ2_0,TQ1_0,Q2_0,Q1_0
in_parts one 8 "$lopsided" -t Q4_K_M
in_parts best 3 "$lopsided" -t Q4_0 --effort best
in_parts split 5 "$lopsided" -t Q4_K_M,Q8_0 --split-max-tensors 3
in_parts folders 4 "$lopsided" -t nf4,gptq,fp8,Q4_K_M
expect "importance" 0 "$halftone" imatrix $model --text default --chunks 1 --ctx 64 -o "$work/imatrix.gguf"
in_parts importance 5 $model -t IQ3_XXS,IQ2_S,IQ2_XS,IQ2_XXS,IQ1_M,IQ1_S --imatrix "$work/imatrix.gguf"
expect "a quantized file" 0 "$halftone" quantize "$lopsided" -t Q8_0 -o "$work/source.gguf"
in_parts copied 5 "$work/source.gguf" -t Q8_0,Q4_0 --allow-requantize --name copied

# from here on, five parts of one output
run() { "$halftone" quantize "$lopsided" -t Q4_K_M "$@"; }
same() { holds "$1: the bytes" cmp "$work/one/whole/lopsided-Q4_K_M.gguf" "$2/lopsided-Q4_K_M.gguf"; }
for i in 1 2 3 4 5; do expect "fifth $i" 0 run -o "$work/f$i" --part $i/5 --quiet --checkpoint-seconds 0; done

# one that is missing in the middle of a tensor; one that does not fit; all of them twice
expect "one is missing" 0 run -o "$work/missing" --take-from "$work/f1" --take-from "$work/f3" --take-from "$work/f5" --report "$work/missing.json"
same "one is missing" "$work/missing"
holds "only what is missing is read" test "$(number bytes_read "$work/missing.json")" -lt "$(($(number bytes_read "$work/one.whole.json") / 2))"
holds "one is missing: what the report says" cmp <(told "$work/one.whole.json") <(told "$work/missing.json")
expect "a part of eight" 0 run -o "$work/mixed" --take-from "$work/f2" --take-from "$work/one/3" --take-from "$work/one/8" --take-from "$work/f2" --report "$work/mixed.json"
same "divisions that do not fit" "$work/mixed"
holds "divisions that do not fit: what the report says" cmp <(told "$work/one.whole.json") <(told "$work/mixed.json")

# a byte of a piece has changed, the last one that the part wrote: that piece alone is made anew
python3 - "$work/f2/lopsided-Q4_K_M.gguf.part" "$work/one/whole/lopsided-Q4_K_M.gguf" <<'PY'
import sys
with open(sys.argv[1], "r+b") as part, open(sys.argv[2], "rb") as whole:
    mine, all = part.read(), whole.read()
    at = max(i for i in range(len(mine)) if mine[i] and mine[i] == all[i])
    part.seek(at)
    part.write(bytes([mine[at] ^ 1]))
PY
expect "a piece is damaged" 0 run -o "$work/damaged" --take-from "$work/f1" --take-from "$work/f2" --take-from "$work/f3" --take-from "$work/f4" --take-from "$work/f5" --report "$work/damaged.json"
holds "it is said" grep -q "is not as it was written; the tensor is made anew" "$work/err"
holds "its neighbours are taken" test "$(number bytes_read "$work/damaged.json")" -lt "$(($(number bytes_read "$work/one.whole.json") / 3))"
same "a piece is damaged" "$work/damaged"

# a part that is killed, and taken up by itself, or by the whole
part() { run --checkpoint-seconds 0 --threads 1 --part 2/2 "$@"; }
killed_at 1 "$work/k/lopsided-Q4_K_M.gguf.journal" "$work/k" "$halftone" quantize "$lopsided" -t Q4_K_M -o "$work/k" --checkpoint-seconds 0 --threads 1 --part 2/2
cp -r "$work/k" "$work/dead"
expect "a killed part goes on" 0 part -o "$work/k" --resume
holds "from what it had" grep -q "continuing an earlier run" "$work/err"
expect "and is whole" 0 run -o "$work/k" --resume --report "$work/k.json"
same "a killed part" "$work/k"
holds "a killed part: what the report says" cmp <(told "$work/one.whole.json") <(told "$work/k.json")
expect "its heir" 0 part -o "$work/heir" --take-from "$work/dead" --take-from "$work/f4"
expect "the heir's heir" 0 run -o "$work/last" --take-from "$work/heir" --report "$work/last.json"
same "heirs" "$work/last"
holds "heirs: what the report says" cmp <(told "$work/one.whole.json") <(told "$work/last.json")

# in instalments, in an order of their own, and killed when a tensor has holes
for i in 4 2; do expect "instalment $i" 0 run -o "$work/slow" --part $i/5 --resume; done
cp -r "$work/slow" "$work/left"
expect "the rest" 0 run -o "$work/slow" --resume --report "$work/slow.json"
same "instalments" "$work/slow"
holds "instalments: what the report says" cmp <(told "$work/one.whole.json") <(told "$work/slow.json")
expect "the next instalment elsewhere" 0 run -o "$work/next" --part 3/5 --take-from "$work/left" --quiet
expect "what both left" 0 run -o "$work/both" --take-from "$work/next" --take-from "$work/f5" --take-from "$work/f1" --report "$work/both.json"
same "what both left" "$work/both"
finish
