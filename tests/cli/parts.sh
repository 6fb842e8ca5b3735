#!/usr/bin/env bash
# One run in parts, in folders of their own and in one; what is taken from them, and what is not: the bytes, hashes and errors
# are those of one run.
#   tests/cli/parts.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

types=Q4_K_M,Q8_0,nvfp4 # nvfp4's matrices share what is known of a whole layer only
run() { "$halftone" quantize "${source:-$model}" -t $types "$@"; }
told() { # a report without times and paths
    python3 - "$1" <<'PY'
import json, re, sys
r = json.load(open(sys.argv[1]))
for k in ("finished_at", "seconds", "weights_per_second", "bytes_read", "bytes_written", "weights_resumed", "peak_rss_bytes"):
    r.pop(k)
print(re.sub(r'"path": "[^"]*/', '"path": "', json.dumps(r)))
PY
}
same() { # name, folder
    holds "$1: the bytes" diff -r "$work/whole" "$2"
}
number() { grep -o "\"$1\": [0-9]*" "$2" | head -1 | grep -o '[0-9]*$'; }

expect "the whole" 0 run -o "$work/whole" --report "$work/whole.json"
for i in 1 2 3; do
    expect "part $i" 0 run -o "$work/p$i" --part $i/3 --report "$work/p$i.json"
    lacks "part $i publishes nothing" "$work/p$i/model-Q4_K_M.gguf"
done
cp -r "$work/p2" "$work/copied"
expect "all of them" 0 run -o "$work/all" --take-from "$work/p1" --take-from "$work/p2" --take-from "$work/p3" --report "$work/all.json"
same "all of them" "$work/all"
holds "and what the report says" cmp <(told "$work/whole.json") <(told "$work/all.json")
holds "nothing was made anew" test "$(number bytes_read "$work/all.json")" = 0
read=0 tensors=0
for i in 1 2 3; do
    read=$((read + $(number bytes_read "$work/p$i.json")))
    tensors=$((tensors + $(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["part"]["tensors"])' "$work/p$i.json")))
done
holds "each part reads its own tensors, once" test $read = "$(number bytes_read "$work/whole.json")"
expect "what there is to take" 0 run -o "$work/again" --take-from "$work/p1" --take-from "$work/p2" --take-from "$work/p3"
taken=$(grep -o '^[0-9]* finished tensors' "$work/err" | awk '{ n += $1 } END { print n + 0 }')
holds "each tensor is in one part ($taken)" test "$taken" = $tensors

expect "one is missing, one is there twice" 0 run -o "$work/two" --take-from "$work/p1" --take-from "$work/p3" --take-from "$work/p1"
same "one is missing" "$work/two"

# a byte of a finished tensor has changed
printf x | dd of="$work/p3/model-Q8_0.gguf.part" bs=1 seek=$(($(stat -c %s "$work/p3/model-Q8_0.gguf.part") - 5)) conv=notrunc 2>/dev/null
expect "one is damaged" 0 run -o "$work/damaged" --take-from "$work/p1" --take-from "$work/p2" --take-from "$work/p3"
holds "it is said" grep -q "is not as it was written; the tensor is made anew" "$work/err"
same "one is damaged" "$work/damaged"
truncate -s 100000 "$work/p3/model-Q8_0.gguf.part"
expect "one is cut off" 0 run -o "$work/cut" --take-from "$work/p3"
same "one is cut off" "$work/cut"

# what is none of this run's
expect "files that another program wrote" 0 run -o "$work/other" --take-from "$work/copied"
holds "are not taken" grep -q "not those that its journal tells of; nothing is taken" "$work/err"
same "other files" "$work/other"
expect "nothing there" 0 run -o "$work/none" --take-from "$work"
holds "it is said" grep -q "there is no unfinished run" "$work/err"
expect "of other types" 0 "$halftone" quantize $model -t Q4_K_M,Q6_K -o "$work/types" --take-from "$work/p1"
holds "nothing is taken" grep -q "of another source, other outputs or another version.*; nothing is taken" "$work/err"
cp -r $model "$work/model"
source=$work/model expect "the same model elsewhere" 0 run -o "$work/far" --part 2/3 --name model
expect "its tensors" 0 run -o "$work/near" --take-from "$work/far" --name model
holds "they are taken" grep -q "^[1-9][0-9]* finished tensors are taken" "$work/err"
same "the same model elsewhere" "$work/near"
python3 - "$work/model/model.safetensors" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f: # between the samples that are looked at first
    f.seek(9000001)
    byte = f.read(1)
    f.seek(9000001)
    f.write(bytes([byte[0] ^ 1]))
PY
source=$work/model expect "a model that differs in a bit" 0 run -o "$work/bit1" --part 1/1 --name model
expect "its tensors are not this model's" 1 run -o "$work/bit" --name model --take-from "$work/bit1"
holds "why" grep -q "what was quantized is not what was hashed" "$work/err"
nothing_left "a source that differs" "$work/bit"

# killed runs, and runs in instalments
killed_at 20 "$work/killed/model-Q4_K_M.gguf.journal" "$work/killed" "$halftone" quantize $model -t $types -o "$work/killed" --checkpoint-seconds 0 --threads 1
expect "what a killed run has finished" 0 run -o "$work/heir" --take-from "$work/killed"
holds "is taken" grep -q "^[1-9][0-9]* finished tensors are taken" "$work/err"
same "a killed run" "$work/heir"
for i in 3 1; do expect "instalment $i" 0 run -o "$work/slow" --part $i/3 --resume; done
expect "the rest" 0 run -o "$work/slow" --resume
holds "it goes on" grep -q "continuing an earlier run" "$work/err"
same "instalments" "$work/slow"
for i in $(seq 12); do expect "a part of small ones, $i" 0 "$halftone" quantize $model -t Q8_0 -o "$work/small$i" --part $i/12 --quiet; done
takes=(); for i in $(seq 12); do takes+=(--take-from "$work/small$i"); done
expect "twelve parts" 0 "$halftone" quantize $model -t Q8_0 -o "$work/twelve" --quiet "${takes[@]}"
holds "twelve parts: the bytes" cmp "$work/twelve/model-Q8_0.gguf" "$work/whole/model-Q8_0.gguf"

# what cannot be divided, and what is no part
expect "with calibration" 3 "$halftone" quantize $model -t Q4_K_M --effort best --calibration default -o "$work/no" --part 1/2
expect "with a budget" 3 "$halftone" quantize $model --bpw 5 -o "$work/no" --part 1/2
for part in 0/3 4/3 1 1/ /3 1/3x 1/10001 -1/3 x; do expect "--part $part" 2 run -o "$work/no" --part "$part"; done
nothing_left "what was refused" "$work/no"
finish
