#!/usr/bin/env bash
# Statistics of a text in parts, merged: the bytes are those of one run. What is quantized with them, in parts too.
#   tests/cli/calibrate_parts.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
says() { holds "$1: says $2" grep -qF -- "$2" "$work/err"; }
same() { holds "$1: the bytes" diff -r "$2" "$3"; }
few=(--ctx 32 --chunks 47 --quiet) # no multiple of the sixteen groups

expect "the whole" 0 "$halftone" calibrate $model "${few[@]}" -o "$work/whole"
for n in 1 2 3 5; do
    parts=()
    for i in $(seq "$n"); do
        expect "part $i of $n" 0 "$halftone" calibrate $model "${few[@]}" --part "$i/$n" --threads $((1 + i % 2)) -o "$work/$n.$i" --quiet \
            --report "$work/part.json"
        parts=(--in-stats "$work/$n.$i" "${parts[@]}") # in any order
    done
    expect "$n parts" 0 "$halftone" calibrate "${parts[@]}" -o "$work/of$n" --quiet
    same "$n parts" "$work/whole" "$work/of$n"
done
holds "a part says what it ran" grep -q '"part": {"number": 5, "of": 5, "groups": 4, "groups_of_text": 16, "chunks": 12}' "$work/part.json"
expect "a ninth" 0 "$halftone" calibrate $model "${few[@]}" --part 9/16 -o "$work/16.9"
expect "parts of two divisions" 0 "$halftone" calibrate --in-stats "$work/2.1" --in-stats "$work/5.4" --in-stats "$work/5.5" --in-stats "$work/16.9" -o "$work/again" --quiet
same "parts of two divisions" "$work/whole" "$work/again"
expect "more parts than groups" 0 "$halftone" calibrate $model --ctx 32 --chunks 3 --part 2/5 -o "$work/few" --quiet --json
holds "one of them has nothing" test "$(for i in 1 2 3 4 5; do
    "$halftone" calibrate $model --ctx 32 --chunks 3 --part $i/5 -o "$work/few$i" --quiet --json | grep -o '"groups": [0-9]*'; done | sort | uniq -c | tr -s ' \n' ' ')" = \
    ' 2 "groups": 0 3 "groups": 1 '
expect "all of them" 0 "$halftone" calibrate --in-stats "$work/few1" --in-stats "$work/few2" --in-stats "$work/few3" --in-stats "$work/few4" \
    --in-stats "$work/few5" -o "$work/three" --quiet
expect "one run of three chunks" 0 "$halftone" calibrate $model --ctx 32 --chunks 3 -o "$work/chunks3" --quiet
same "three chunks in five parts" "$work/chunks3" "$work/three"

# a part alone is good for nothing
expect "one is missing" 2 "$halftone" calibrate --in-stats "$work/3.1" --in-stats "$work/3.3" -o "$work/x"
says "one is missing" 'group 6 of the 16'
expect "one is there twice" 2 "$halftone" calibrate --in-stats "$work/2.1" --in-stats "$work/2.2" --in-stats "$work/3.2" -o "$work/x"
says "one is there twice" 'is in'
expect "a part and a whole text" 2 "$halftone" calibrate --in-stats "$work/1.1" --in-stats "$work/whole" -o "$work/x"
says "a part and a whole text" 'is a part'
expect "parts of two texts" 2 "$halftone" calibrate --in-stats "$work/2.1" --in-stats "$work/few5" -o "$work/x"
lacks "refused" "$work/x"
expect "quantized with a part" 2 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/1.1" -o "$work/x" --quiet
says "quantized with a part" 'merge all of its parts first'
expect "a part of what is merged" 2 "$halftone" calibrate --in-stats "$work/1.1" --part 1/2 -o "$work/x"
expect "a part of no number" 2 "$halftone" calibrate $model --part 0/2 -o "$work/x"
cp -r "$work/2.1" "$work/bad"
printf 'xxxx' | dd of="$work/bad/layer-0003.group-04.safetensors" bs=1 seek=300000 conv=notrunc status=none
expect "changed bytes" 1 "$halftone" calibrate --in-stats "$work/bad" --in-stats "$work/2.2" -o "$work/x" --quiet
says "changed bytes" 'layer-0003.group-04.safetensors: it was changed after it was written'
lacks "changed bytes" "$work/x"

# quantized in parts: importance, and codes chosen by the statistics
in_parts() { # name, parts, options…
    local name=$1 n=$2 i takes=()
    shift 2
    expect "$name, whole" 0 "$halftone" quantize $model "$@" --calibration-stats "$work/whole" -o "$work/$name" --quiet --report "$work/$name.json"
    for i in $(seq "$n"); do
        expect "$name, part $i" 0 "$halftone" quantize $model "$@" --calibration-stats "$work/whole" -o "$work/$name.$i" --quiet --part "$i/$n" \
            --report "$work/$name.$i.json"
        takes+=(--take-from "$work/$name.$i")
    done
    expect "$name, taken together" 0 "$halftone" quantize $model "$@" --calibration-stats "$work/whole" -o "$work/$name.all" "${takes[@]}" \
        --report "$work/$name.all.json"
    holds "$name: nothing is made anew" grep -q '"bytes_read": 0,' "$work/$name.all.json"
    same "$name" "$work/$name" "$work/$name.all"
}
in_parts importance 3 -t Q4_K_M,IQ2_S,nf4
in_parts codes 3 -t Q4_K_M,gptq:bits=4,group=64,nvfp4 --effort best
expect "estimate: they are divisible" 0 "$halftone" estimate $model -t Q4_K_M --calibration-stats "$work/whole" --effort best --json
holds "estimate: they are divisible" grep -q '"divisible": true' "$work/out"
expect "estimate: layers in turn are not" 0 "$halftone" estimate $model -t Q4_K_M --calibration default --effort best --json
holds "estimate: layers in turn are not" grep -q '"divisible": false' "$work/out"
finish
